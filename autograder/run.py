"""A run of `grade`: from notebooks to a folder of results, with progress."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from autograder import charts, console, feedback, results
from autograder.grade import Options, Score, grade_all
from autograder.lessons import ROOT
from autograder.notebook import NotebookError
from autograder.sandbox import launch


def make_folder(out: Path, force: bool) -> None:
    """Make the folder of results.

    Raises:
        NotebookError: it exists and `force` is off, or it cannot be made.
    """
    if out.exists() and not force:
        raise NotebookError(f"{out} exists. Choose another --out, or add --force to write into it.")
    try:
        (out / "feedback").mkdir(parents=True, exist_ok=True)
        if not os.access(out, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise NotebookError(
            f"{out}: cannot be written ({error.strerror}). Choose another --out."
        ) from None


def grade_into(
    out: Path, paths: Sequence[Path], options: Options, workers: int | None, no_sandbox: bool
) -> list[Score]:
    """Grade `paths` and leave the results in `out`; return the scores in the order of `paths`.

    Each score is on the disk before the next is graded. On Ctrl-C what was graded stays.

    Raises:
        SandboxError: no sandbox works here; nothing was run.
    """
    if no_sandbox:
        start: Callable[[], launch.Sandbox] = functools.partial(launch.Zygote, "none")
    else:
        hidden = (ROOT, out.resolve(), *{path.resolve().parent for path in paths})
        start = functools.partial(launch.start, hidden)
    scores: dict[Path, Score] = {}
    with results.Journal(out) as journal, console.progress(len(paths)) as advance:
        try:
            for score in grade_all(paths, start, options, workers or os.cpu_count() or 1):
                journal.add(score)
                scores[Path(score.submission)] = score
                advance(score)
        except KeyboardInterrupt:
            console.warn(f"Interrupted: {len(scores)} of {len(paths)} are graded, in {out}.")
            raise
        finally:
            ordered = [scores[path] for path in paths if path in scores]
            journal.sort(ordered)
    for name, score in zip(feedback.page_names(ordered), ordered, strict=True):
        feedback.write_page(out / "feedback" / f"{name}.html", name, score)
    results.write_csv(out / "scores.csv", ordered)
    charts.draw_class(out / "class.png", ordered)
    return ordered
