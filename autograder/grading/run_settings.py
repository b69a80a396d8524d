"""How a run grades, kept beside its results for `--resume`."""

from __future__ import annotations

import json
from pathlib import Path

from autograder.files import write_whole
from autograder.grading.results_format import SCHEMA
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.sandbox.warm_process import Limits

RUN = "run.json"


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
        NotebookError: there is no run to go on with.
    """
    try:
        entry = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return Options(
            seed=entry["seed"],
            timeout=entry["timeout"],
            task_timeout=entry["task_timeout"],
            limits=Limits(memory=entry["memory"]),
            lesson=entry["lesson"],
            by_version=entry["by_version"],
            checks=Path(entry["checks"]) if entry["checks"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise NotebookError(f"{folder}: no run to resume. Leave --resume out.") from None
