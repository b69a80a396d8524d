"""A run of `grade`: from notebooks to a folder of results, with progress."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from autograder import charts, console, feedback, results
from autograder.grade import Options, Score
from autograder.lessons import ROOT
from autograder.notebook import NotebookError
from autograder.pool import Pool
from autograder.sandbox import launch

SCORES, CHART = "scores.csv", "class.png"


def refuse_folder(out: Path, force: bool) -> None:
    """Refuse a folder that results cannot go into; nothing is made.

    Raises:
        NotebookError: it exists and `force` is off, or it cannot be written.
    """
    if out.exists() and not force:
        raise NotebookError(f"{out} exists. Choose another --out, or add --force to replace it.")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written" if there.is_dir() else "is a file"
        raise NotebookError(f"{out}: {there} {why}. Choose another --out.")


def _clear(out: Path) -> None:
    """Make the folder of results, or empty it of an older run's."""
    try:
        (out / "feedback").mkdir(parents=True, exist_ok=True)
        for old in (*out.glob("feedback/*.html"), out / SCORES, out / CHART):
            old.unlink(missing_ok=True)
    except OSError as error:
        why = f"cannot be written ({error.strerror})"
        raise NotebookError(f"{out}: {why}. Choose another --out.") from None


def grade_into(
    out: Path, paths: Sequence[Path], options: Options, workers: int | None, no_sandbox: bool
) -> list[Score]:
    """Grade `paths` and leave the results in `out`; return the scores in the order of `paths`.

    Each score is on the disk before the next is graded. On Ctrl-C what was graded stays.

    Raises:
        NotebookError: `out` cannot be written; nothing was run.
        SandboxError: no sandbox works here; nothing was run or written.
        BrokenChecks: the checks cannot be collected; nothing was run or written.
    """
    if no_sandbox:
        start: Callable[[], launch.Sandbox] = functools.partial(launch.Zygote, "none")
    else:
        hidden = (ROOT, out.resolve(), *{path.resolve().parent for path in paths})
        start = functools.partial(launch.start, hidden)
    with console.waiting("warming up"):
        pool = Pool(start, options, workers or os.cpu_count() or 1)
    scores: dict[Path, Score] = {}
    with pool:
        _clear(out)
        with results.Journal(out) as journal, console.progress(len(paths)) as advance:
            try:
                for score in pool.grade(paths):
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
    results.write_csv(out / SCORES, ordered)
    charts.draw_class(out / CHART, ordered)
    return ordered
