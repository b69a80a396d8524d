"""What a run imports before its first submission: for a few notebooks, no more than they need."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autograder.catalogue.lessons import LessonError, catalogue, lesson_named, lesson_of
from autograder.checking import check_files
from autograder.grading.plan import Plan
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError, read
from autograder.sandbox import zygote

FEW = 8
"""Notebooks that are looked through beforehand; for more, all that any could need is imported."""
LARGE = 2 << 20
"""Bytes of all of them together; for more, it is so as well: the process that reads them is the one
that holds the run."""


@dataclass(frozen=True)
class Needs:
    """What grading is quicker for having imported beforehand."""

    lessons: tuple[str, ...]
    """whose checks the grader imports"""
    modules: tuple[str, ...]
    """what the sandbox's warm process imports"""


def needs(paths: Sequence[Path], options: Options) -> Needs:
    """Return what grading these notebooks needs; where none are known yet, or they
    are many or large, all there is.

    A warm process imports what is in their cells, and in their checks, which run code of theirs
    beside them. What is not among it is imported when it is needed; so nothing is wrong where a
    notebook cannot be read, or changes.
    """
    if not 0 < len(paths) <= FEW or sum(map(_size, paths)) > LARGE:
        known = (lesson_named(options.lesson),) if options.lesson else catalogue()
        return Needs(tuple(lesson.name for lesson in known), zygote.WARM)
    lessons: dict[str, None] = {}
    texts: list[str] = []
    for path in paths:
        with contextlib.suppress(NotebookError, LessonError):  # its score will say so
            submission = read(path)
            lesson = lesson_of(submission, options.lesson)
            lessons[lesson.name] = None
            texts += [cell.source for cell in Plan(submission, lesson).cells]
    for name in lessons:
        texts += check_files.texts(name, options.hidden, options.checks)
    return Needs(tuple(lessons), zygote.named(texts))


def lesson_told(options: Options) -> Callable[[str], str]:
    """Return what says which lesson a submission answers; empty where it is large, or not told."""

    def told(submission: str) -> str:
        path = Path(submission)
        with contextlib.suppress(NotebookError, LessonError):
            return lesson_of(read(path), options.lesson).name if _size(path) <= LARGE else ""
        return ""

    return functools.cache(told)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # reading it will say so
        return 0
