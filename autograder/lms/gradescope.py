"""Grading on Gradescope: the zip that it builds an image from, and what runs in it.

Its documentation: https://gradescope-autograders.readthedocs.io/en/latest/specs/. In the container,
which is thrown away after one submission, this engine grades as root in the isolation `container`.
The zip holds the grader's side of one lesson, hidden checks and solution included.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from autograder import notebook
from autograder.authoring.release import packed, plain_files
from autograder.catalogue import lessons, sources
from autograder.catalogue.lessons import ROOT, Lesson, LessonError
from autograder.checking import check_files, plugin
from autograder.checking.check_files import CHECKS
from autograder.files import write_whole
from autograder.grading.pool import pool_for
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.reporting import exports
from autograder.scores import Score

OWN = "own_checks"
"""The folder in the zip for the instructor's further checks."""
NOT_GRADED = "not_graded.json"
_LISTED = 5
_SCRIPTS = {"gradescope_setup.sh": "setup.sh", "gradescope_run_autograder": "run_autograder"}


# ---------------------------------------------------------------------------------------- the zip


def build(path: Path, name: str, checks: Path | None = None) -> str:
    """Write the zip for a lesson; the same files make the same bytes.

    Args:
        path: where.
        name: the lesson that it grades.
        checks: a folder with further checks, test_LESSON.py.

    Returns:
        What to do with it, for the instructor.

    Raises:
        LessonError: there is no such lesson, this edition has no hidden checks or no solution of
            it, or `checks` has none.
        OSError: it cannot be written.
    """
    lesson = lessons.lesson_named(name)
    content = {name: (ROOT / name).read_bytes() for name in _names(lesson)}
    if checks is not None:
        own = checks / f"test_{lesson.name}.py"
        if not own.is_file():
            raise LessonError(f"{checks}: no {own.name} in this folder.")
        content[f"{OWN}/{own.name}"] = own.read_bytes()
    for template, name in _SCRIPTS.items():
        content[name] = (ROOT / "autograder" / "templates" / template).read_bytes()
    content[NOT_GRADED] = json.dumps(exports.not_graded(), indent=2).encode()
    write_whole(path, packed(content, list(_SCRIPTS.values())))
    return (
        f"{path}: {path.stat().st_size / 1e6:.1f} MB. On Gradescope, in a programming assignment, "
        "under Configure Autograder: upload it and choose the largest container. The log of the "
        f"build ends with the assignment's points; a person gives {lesson.worth.by_hand:g} more by "
        "hand. Then try Test Autograder with a notebook of your own."
    )


def _names(lesson: Lesson) -> Iterator[str]:
    """Yield the project's files that grading one lesson needs."""
    source = sources.source_of(lesson.name)
    hidden = CHECKS / "hidden" / f"test_{lesson.name}.py"
    if not hidden.is_file():
        raise LessonError("this edition has no hidden checks: build the zip from the full clone.")
    yield from ("pyproject.toml", "requirements.lock")
    others = {CHECKS / "visible", CHECKS / "hidden"}
    wanted = {source, *check_files.files(lesson.name, hidden=True)}
    wanted.update(plain_files(lesson.notebook.parent))
    for path in (*plain_files(ROOT / "autograder"), *plain_files(ROOT / "course")):
        if path.parent not in others and not path.parent.name[:2].isdigit():
            wanted.add(path)
    yield from (path.relative_to(ROOT).as_posix() for path in wanted)


# --------------------------------------------------------------------------------- in the container


def grade(path: Path, lesson: Lesson) -> Score:
    """Grade one notebook as root in a container.

    Raises:
        SandboxError: the isolation does not work here; nothing was run.
        BrokenChecks: the checks cannot be collected.
    """
    own = ROOT / OWN
    options = Options(
        seed=plugin.drawn_seed(), lesson=lesson.name, checks=own if own.is_dir() else None
    )
    hidden = (ROOT, path.parent.resolve())
    with pool_for([path], options, 1, hidden, "container") as pool:
        [score] = pool.grade([path])
    return score


def the_notebook(submission: Path, lesson: Lesson) -> Path:
    """Return the notebook of a submission, a file or a folder.

    Raises:
        NotebookError: there is none, or it cannot be told which one is meant; for the learner.
    """
    try:
        found = notebook.find((submission,)).notebooks
    except NotebookError:
        raise NotebookError(f"No notebook was submitted. Submit {lesson.notebook.name}.") from None
    named = [path for path in found if path.name == lesson.notebook.name]
    if len(found) > 1 and len(named) != 1:
        names = ", ".join(path.name for path in found[:_LISTED])
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise NotebookError(f"{len(found)} notebooks were submitted ({names}{more}). Submit one.")
    return named[0] if len(named) == 1 else found[0]


def main(submission: Path, place: Path) -> int:
    """Grade a submission into a results.json.

    Args:
        submission: a notebook, or a folder with one.
        place: where the results.json goes; one that is there says that nothing was graded.

    Returns:
        The exit code: 0 where there is a score, or the learner is told what to mend. The reason for
        any other is printed, for the instructor; the results.json that was there stays.
    """
    try:
        [lesson] = lessons.catalogue()
        try:
            path = the_notebook(submission, lesson)
        except NotebookError as error:
            exports.write_results(place, exports.gradescope_refusal(str(error)))
        else:
            exports.write_results(place, exports.gradescope(grade(path, lesson)))
    except Exception:  # noqa: BLE001 - whatever it is, the learner is told that nothing was graded
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
