"""The checks that need a GPU, with answers to try them on: tests do so on the CPU in its place, and
`benchmarks/gpu.py` on a GPU.
"""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

import jupytext

from autograder.checking import gpu_race
from autograder.checking.expect import CheckFailed, Inputs
from autograder.checking.gpu_race import Arena
from autograder.notebook import Cell
from autograder.sandbox.errors import StudentError
from autograder.sandbox.warm_process import Limits
from autograder.scores import Figure
from tests.conftest import ROOT, reference_cells
from tests.test_bank import bank

TIMING = ROOT / "tests" / "submissions" / "timing"
CHECKS = {
    "linear_probe": ("fine_tuning", "test_speed_on_a_gpu", "body_in_every_epoch"),
    "fine_tune": ("sft", "test_speed_on_a_gpu", "one_text_at_a_time"),
    "distill": ("distillation", "test_speed_on_a_gpu", "asked_in_every_epoch"),
    "lora_forward": ("lora", "test_speed_on_a_gpu", "product_formed_first"),
    "checkpointed": ("troubleshooting", "test_memory_on_a_gpu", "plain"),
}
"""Each task that has a check of the GPU: its lesson, the check, and the answer that misses it."""


@dataclass(frozen=True)
class Verdict:
    """What a check says of an answer."""

    passed: bool
    message: str
    figure: Figure | None
    seconds: float


def answers(task: str) -> dict[str, str]:
    """Return the cells behind the reference's: none, the naive answer, and right ones written
    otherwise, by name.
    """
    lesson, _, naive = CHECKS[task]
    found = {"reference": "", "naive": _named(task, naive)}
    return found | {
        name: source for name, _, source in bank(lesson, "alternate") if f"\ndef {task}(" in source
    }


def cheats(task: str, every: bool) -> dict[str, str]:
    """Return cells that put ways to look fast on the naive answer, by name: those that only a GPU
    has, or every one.
    """
    naive = answers(task)["naive"]
    cells = _cells("on_gpu.py") | (_cells("cheats.py") if every else {})
    return {
        name: f"{naive}\n\n{source}\n\n{task} = cheat({task})"
        for (kind, name), source in cells.items()
        if kind == "cheat"
    }


def judge(task: str, source: str, arena: Arena) -> Verdict:
    """Run a task's check of the GPU on an answer that stands behind the reference's cells.

    Raises:
        NotCounted: this machine cannot decide it.
    """
    lesson, name, _ = CHECKS[task]
    check: Any = getattr(importlib.import_module(f"autograder.checks.hidden.test_{lesson}"), name)
    its = [Cell(1, "\n\n".join(reference_cells(lesson)))]
    cells = [*its, Cell(2, source)]
    race = gpu_race.Race(arena, cells, its, Limits(), *_bound_and_seconds(check))
    began, message = time.monotonic(), ""
    try:
        check(race, Inputs([time.time_ns()]))
    except (CheckFailed, StudentError) as error:
        message = str(error)
    return Verdict(not message, message, race.figure, time.monotonic() - began)


def _bound_and_seconds(check: FunctionType) -> tuple[float, float]:
    marks = {mark.name: mark.kwargs for mark in check.pytestmark}  # type: ignore[attr-defined]
    bounds = marks.get("speed", {}).get("at_least"), marks.get("memory", {}).get("at_most")
    return next(bound for bound in bounds if bound is not None), marks["task"]["seconds"]


def _named(task: str, name: str) -> str:
    """Return a mutant of the bank's by name, or what is naive only on a GPU."""
    mutants = {(its, of): source for its, of, source in bank(CHECKS[task][0], "mutant")}
    return mutants[name, task] if (name, task) in mutants else _cells("on_gpu.py")["naive", name]


@cache
def _cells(file: str) -> dict[tuple[str, str], str]:
    cells = jupytext.read(TIMING / file, fmt="py:percent").cells
    kinds = ("cheat", "naive")
    return {(k, c.metadata[k]): c.source for c in cells for k in kinds if k in c.metadata}
