"""Speed checks: right but slow answers miss them, fast ones meet them, no cheat gains a point.

Each cheat of `tests/submissions/timing/cheats.py` stands behind the slow answer to each task that
is timed, in the real sandbox.
"""

from __future__ import annotations

import os
from pathlib import Path

import jupytext
import pytest

from autograder.grading.score_submission import Options
from autograder.sandbox.warm_process import Limits
from autograder.scores import CheckResult, Score
from tests.conftest import ROOT, pooled, reference_cells, write_notebook
from tests.parallel import ATTACKS
from tests.test_bank import bank

SLOW = {
    "lora_forward": ("lora", "product_formed_first"),
    "bootstrap_interval": ("evaluation", "a_call_a_resample"),
    "linear_probe": ("fine_tuning", "body_in_every_epoch"),
    "distill": ("distillation", "asked_in_every_epoch"),
}
"""Each timed task, with its lesson and the mutant that is right but slow."""
CHEATS = {
    cell.metadata["cheat"]: cell.source
    for cell in jupytext.read(
        ROOT / "tests" / "submissions" / "timing" / "cheats.py", fmt="py:percent"
    ).cells
    if "cheat" in cell.metadata
}
SECONDS = 60.0


def slow(task: str) -> str:
    """The right but slow answer to a task."""
    lesson, wanted = SLOW[task]
    return next(
        source for name, its, source in bank(lesson, "mutant") if (name, its) == (wanted, task)
    )


def fast(task: str) -> list[str]:
    """The alternates of a task's lesson that answer it otherwise."""
    alternates = bank(SLOW[task][0], "alternate")
    return [source for _, _, source in alternates if f"\ndef {task}(" in source]


@pytest.fixture(scope="module")
def timed(sandbox, seed, tmp_path_factory) -> dict[tuple[str, str], CheckResult]:
    """The result of the speed check, by task and by what stands behind the reference."""
    found = {}
    for task, (lesson, _) in SLOW.items():
        answers = {"reference": "", "slow": slow(task)}
        answers |= {f"fast {number}": source for number, source in enumerate(fast(task))}
        for name, source in CHEATS.items():
            answers[name] = f"{slow(task)}\n\n{source}\n\n{task} = cheat({task})"
        folder, before = tmp_path_factory.mktemp(task), reference_cells(lesson)
        paths = [
            write_notebook(folder / f"{name}.ipynb", [*before, source])
            for name, source in answers.items()
        ]
        options = Options(
            seed, SECONDS, limits=Limits(512 << 20), hidden=False, lesson=lesson, tasks=(task,)
        )
        for score in pooled(paths, lambda: sandbox, options, os.cpu_count() or 1):
            found[task, Path(score.submission).stem] = speed_check(score)
    for task in SLOW:
        stopped = {f"{task}:{name}": found[task, name].points == 0 for name in CHEATS}
        ATTACKS.setdefault("timing", {}).update(stopped)
    return found


def speed_check(score: Score) -> CheckResult:
    [check] = [check for check in score.tasks[0].checks if check.name.startswith("test_speed")]
    return check


@pytest.mark.parametrize("task", SLOW)
def test_the_slow_answer_misses_the_threshold(timed, task):
    check = timed[task, "slow"]
    assert check.outcome == "failed" and "Slower than" in check.message, check
    assert check.figure is not None and check.figure.ratio < check.figure.bound / 1.5


@pytest.mark.parametrize("task", SLOW)
def test_fast_answers_meet_it(timed, task):
    assert len(fast(task)) >= 2
    for name in ("reference", *(f"fast {number}" for number in range(len(fast(task))))):
        check = timed[task, name]
        assert check.outcome == "passed", (name, check)


@pytest.mark.parametrize("cheat", CHEATS)
@pytest.mark.parametrize("task", SLOW)
def test_a_cheat_gains_nothing(timed, task, cheat):
    check = timed[task, cheat]
    assert check.outcome == "failed" and check.points == 0, check
