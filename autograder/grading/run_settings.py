"""How a run grades, kept beside its results for `--resume`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from autograder.files import write_whole
from autograder.grading.results_format import SCHEMA
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.sandbox.warm_process import Limits

RUN = "run.json"
MOST = 1e15
"""Of seconds and bytes: more is a mistake."""


def write_run(folder: Path, options: Options) -> None:
    """Keep how a run grades, for `--resume`."""
    entry = {
        "schema": SCHEMA,
        "seed": options.seed,
        "timeout": options.timeout,
        "task_timeout": options.task_timeout,
        "memory": options.limits.memory,
        "lesson": options.lesson,
        "by_version": options.by_version,
        "checks": str(options.checks.resolve()) if options.checks else None,
    }
    write_whole(folder / RUN, json.dumps(entry, indent=2).encode() + b"\n")


def read_run(folder: Path) -> Options:
    """Return how the run in `folder` grades.

    Raises:
        NotebookError: there is no run to go on with, or it cannot be gone on with; nothing is
            changed.
    """
    try:
        entry = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotebookError(f"{folder}: no run to resume. Leave --resume out.") from None
    except (OSError, ValueError, RecursionError):
        entry = None
    place = folder / RUN
    again = "Leave --resume out, and grade into another --out."
    if not isinstance(entry, dict) or entry.get("schema") != SCHEMA:
        raise NotebookError(f"{place}: no settings of this version (schema {SCHEMA}). {again}")
    for name, is_fit in _FIT.items():
        if name not in entry or not is_fit(entry[name]):
            raise NotebookError(f"{place}: {name} cannot be {entry.get(name)!r:.50}. {again}")
    checks = Path(entry["checks"]) if entry["checks"] else None
    if checks is not None and not checks.is_dir():
        way = "Put it back, or leave --resume out, and grade into another --out."
        raise NotebookError(f"{checks}: the folder of this run's --checks is not there. {way}")
    return Options(
        seed=entry["seed"],
        timeout=entry["timeout"],
        task_timeout=entry["task_timeout"],
        limits=Limits(memory=entry["memory"]),
        lesson=entry["lesson"],
        by_version=entry["by_version"],
        checks=checks,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < MOST


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


_FIT: dict[str, Callable[[object], bool]] = {
    "seed": lambda value: type(value) is int and value >= 0,
    "timeout": _is_number,
    "task_timeout": _is_number,
    "memory": lambda value: type(value) is int and _is_number(value),
    "lesson": _is_text_or_none,
    "by_version": lambda value: isinstance(value, bool),
    "checks": _is_text_or_none,
}
"""What each setting may be."""
