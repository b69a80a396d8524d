"""What a submission is called: a short name that tells it from the others, and whose it is."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Sequence
from pathlib import PurePath

from autograder.catalogue import lessons
from autograder.scores import Score
from autograder.text import one_line

MAX_LABEL = 60
"""Characters of a submission's short name."""


def labels(scores: Sequence[Score]) -> dict[str, str]:
    """Return a short name for each submission that tells it from the others.

    Its path without the suffix, and without the folders, and the file name, that all share.
    """
    parts = {score.submission: _parts(score.submission) for score in scores}
    start = _shared([path[:-1] for path in parts.values()])
    end = 0 if len(parts) == 1 else _shared([path[start + 1 :][::-1] for path in parts.values()])
    names: dict[str, str] = {}
    taken: collections.Counter[str] = collections.Counter()
    for submission, path in parts.items():
        name = one_line("/".join(path[start : len(path) - end])) or "submission"
        name = name if len(name) <= MAX_LABEL else f"…{name[1 - MAX_LABEL :]}"
        taken[name] += 1
        names[submission] = name if taken[name] == 1 else f"{name} ({taken[name]})"
    return names


def _parts(submission: str) -> tuple[str, ...]:
    path = PurePath(submission)
    return (*path.parts[:-1], path.stem)


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many parts all paths begin with."""
    count = 0
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1:
            break
        count += 1
    return count


_FROM_CANVAS = re.compile(r"([^_]+)_(?:LATE_)?(\d+)_(\d+)_.+", re.DOTALL)
"""A file that Canvas's "Download Submissions" wrote: name, user's id, file's id, file's name."""


def student(submission: str) -> tuple[str, str]:
    """Return whose a submission is: a name, and Canvas's number for the user where that is known.

    The name is the file's, or, where the file is named after its lesson, the nearest folder's that
    is not: as in anna/lora.ipynb, anna.ipynb, and nbgrader's submitted/anna/lora/lora.ipynb.
    """
    parts = _parts(submission)
    found = _FROM_CANVAS.fullmatch(parts[-1])
    if found:
        return found[1], found[2]
    own = [part for part in parts if part not in _lesson_names() and part not in ("/", "..")]
    return (own or parts)[-1], ""


@functools.cache
def _lesson_names() -> frozenset[str]:
    return frozenset(
        name
        for lesson in lessons.catalogue()
        for name in (lesson.name, lesson.notebook.parent.name)
    )
