"""Where the lessons' sources are: ``solutions/NN_name.py``, one a lesson, in jupytext's py:percent.

The class edition has none.
"""

from __future__ import annotations

from pathlib import Path

from autograder.catalogue.lessons import ROOT, LessonError

SOURCES = ROOT / "solutions"
NO_SOURCES = (
    "There are no solutions here: this is the class edition, or an installation without its clone. "
    "Do this in a clone of the repository."
)


def sources() -> list[Path]:
    """Return the lessons' sources, in order; empty in the class edition."""
    return sorted(SOURCES.glob("[0-9][0-9]_*.py"))


def source_of(lesson: str) -> Path:
    """Return the source of a lesson, as named by its short name.

    Raises:
        LessonError: this edition has none.
    """
    for source in sources():
        if source.stem[3:] == lesson:
            return source
    raise LessonError(f"no source of {lesson!r}" if sources() else NO_SOURCES)
