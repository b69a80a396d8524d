"""A run of `grade`: from notebooks to a folder of results, with progress."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from autograder.catalogue.lessons import ROOT
from autograder.checking import gpu_race
from autograder.checking.gpu_race import Arena, Nowhere
from autograder.cli import console
from autograder.grading import preparation
from autograder.grading.journal import SCORES, Journal, write_csv
from autograder.grading.pool import Pool, Unfinished, pool_for
from autograder.grading.run_settings import write_run
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.reporting import charts, feedback, submission_names
from autograder.sandbox.errors import SandboxError
from autograder.scores import Score
from autograder.text import one_line

CHART = "class.png"


def refuse_folder(out: Path, force: bool) -> None:
    """Refuse a folder that results cannot go into; nothing is made.

    Raises:
        NotebookError: it exists and `force` is off, or it cannot be written.
    """
    if out.exists() and not force:
        ways = "Choose another --out, add --resume to go on with it, or --force to replace it."
        raise NotebookError(f"{out} exists. {ways}")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written" if there.is_dir() else "is a file"
        raise NotebookError(f"{out}: {there} {why}. Choose another --out.")


def _begin(out: Path, options: Options) -> None:
    """Make the folder of results, or empty it of an older run's."""
    try:
        (out / "feedback").mkdir(parents=True, exist_ok=True)
        for old in (*out.glob("feedback/*.html"), out / SCORES, out / CHART):
            old.unlink(missing_ok=True)
        write_run(out, options)
    except OSError as error:
        why = f"cannot be written ({error.strerror})"
        raise NotebookError(f"{out}: {why}. Choose another --out.") from None


def grade_into(
    out: Path,
    paths: Sequence[Path],
    options: Options,
    workers: int | None = None,
    isolation: str = "",
    resume: bool = False,
) -> list[Score]:
    """Grade `paths` and leave the results in `out`; return brief scores in the order of `paths`.

    Each score is on the disk before the next is graded: what ends the run, a full disk or power
    loss included, costs none that was. With `resume`, only what is left is graded. `isolation` is
    as for `launch.start`.

    Raises:
        NotebookError: `out` cannot be written, or holds submissions that are not in `paths`.
        SandboxError: no sandbox works here; nothing was run or written.
        BrokenChecks: the checks cannot be collected; nothing was run or written.
        Unfinished: it was interrupted, or a result could not be written; those before are kept.
    """
    # the folder itself, not where a link in it leads: that would be the submission's choice
    folders = {path.parent.resolve() for path in paths}
    with opened(out, paths, folders, options, workers, isolation, resume) as (pool, journal):
        try:
            _grade_rest(out, paths, pool, journal, options)
            journal.sort([str(path) for path in paths])
            scores = [journal.scores[str(path)] for path in paths]
            write_csv(out / SCORES, scores)
            charts.draw_class(out / CHART, scores)
        except (KeyboardInterrupt, OSError, SandboxError) as end:
            why = f"Stopped ({end})" if str(end) else "Interrupted"
            done = f"{len(journal.scores)} of {len(paths)} are graded, in {out}"
            text = f"{why}: {done}. The same command with --resume goes on."
            raise Unfinished(text, isinstance(end, KeyboardInterrupt)) from None
    return scores


@contextlib.contextmanager
def opened(
    out: Path,
    paths: Sequence[Path],
    folders: Iterable[Path],
    options: Options,
    workers: int | None,
    isolation: str,
    resume: bool,
) -> Iterator[tuple[Pool, Journal]]:
    """Give what grades and what keeps the scores; nothing is written before a sandbox works.

    No submission sees anything of `folders`, of `out`, of this project or of the run's own checks.

    Raises:
        NotebookError: `out` cannot be written, or another run writes there.
        SandboxError: no sandbox works here.
        BrokenChecks: the checks cannot be collected.
    """
    checks = () if options.checks is None else (options.checks.resolve(),)
    hidden = (ROOT, out.resolve(), *checks, *folders)
    with console.waiting("warming up"):
        arena = _arena(hidden, isolation)
        pool = pool_for(paths, options, workers or os.cpu_count() or 1, hidden, isolation, arena)
    with pool:
        if not resume:
            _begin(out, options)
        with Journal(out, resume) as journal:
            yield pool, journal


def _arena(hidden: tuple[Path, ...], isolation: str) -> Arena | Nowhere:
    """Return where checks that need a GPU run; one that does not work is said, and left out."""
    if isolation:
        return Nowhere(f"Not counted: GPU checks need a sandbox of their own, not {isolation!r}.")
    try:
        return gpu_race.open_arena(hidden)
    except SandboxError as error:
        console.warn(f"{error}. The checks that need it are not counted.")
        return Nowhere("Not counted: the GPU does not work in the sandbox.")


def _grade_rest(
    out: Path, paths: Sequence[Path], pool: Pool, journal: Journal, options: Options
) -> None:
    strangers = journal.scores.keys() - {str(path) for path in paths}
    if strangers:
        example = min(strangers)
        ways = "Name the same notebooks as before, in the same way, or leave --resume out."
        raise NotebookError(f"{out} holds {one_line(example)}, which is not among PATHS. {ways}")
    names = submission_names.names(
        list(map(str, paths)), preparation.lesson_told(options), journal.names
    )
    left = [path for path in paths if str(path) not in journal.scores]
    with console.progress(len(paths), done=len(paths) - len(left)) as advance:
        for score in pool.grade(left):
            name, student = names[score.submission]
            score = replace(score, name=name, student=student)
            feedback.write_page(out / feedback.page_of(score), score)
            journal.add(score)
            advance(score)
