"""What a submission is called: a short name that tells it from the others, and whose it is."""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Mapping, Sequence
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


def students(lesson_of: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return whose each submission is: a name, and Canvas's number for the user where that is told.

    Folders that all share, and those that hold a class each, are passed over. What comes next is a
    student's: a folder, whatever the files in it are called, or a file that lies beside others'.
    Nobody is called as a lesson: anna has anna/lora.ipynb and submitted/anna/04_lora/any.ipynb.

    Args:
        lesson_of: submission -> the lesson that it answers, empty where that is not known.
    """
    own = {submission: _own(submission, len(lesson_of) == 1) for submission in lesson_of}
    depth: dict[str, int] = {}
    waiting = [(0, list(lesson_of))]
    while waiting:
        level, group = waiting.pop()
        below: dict[str, list[str]] = collections.defaultdict(list)
        for submission in group:
            below[own[submission][level]].append(submission)
        are_classes = sum(_is_class(each, lesson_of) for each in below.values())
        is_shared = len(below) == 1 and len(group) == len(lesson_of)
        is_passed = is_shared or 2 * are_classes >= len(below)  # not by one who puts in more files
        for members in below.values():
            deeper = [each for each in members if is_passed and level + 1 < len(own[each])]
            depth.update(dict.fromkeys(members, level))
            if deeper:
                waiting.append((level + 1, deeper))
    return {
        submission: _named(submission, own[submission][depth[submission]]) for submission in own
    }


def _own(submission: str, is_alone: bool) -> tuple[str, ...]:
    """Return the parts of a path that may be a student's name; a lone one's may be nbgrader's."""
    parts = _parts(submission)
    if is_alone and parts[-2:-1] and parts[-2] in _assignments():
        parts = parts[:-1]
    own = [part for part in parts if part not in _lesson_names() and part not in ("/", "..")]
    return tuple(own) or parts[-1:]


def _is_class(submissions: Sequence[str], lesson_of: Mapping[str, str]) -> bool:
    """Return whether there are more than one of a lesson."""
    answered = [lesson_of[each] for each in submissions if lesson_of[each]]
    return len(set(answered)) < len(answered)


def _named(submission: str, part: str) -> tuple[str, str]:
    found = _FROM_CANVAS.fullmatch(part) if part == _parts(submission)[-1] else None
    return (found[1], found[2]) if found else (part, "")


@functools.cache
def _assignments() -> frozenset[str]:
    return frozenset(lesson.notebook.parent.name for lesson in lessons.catalogue())


@functools.cache
def _lesson_names() -> frozenset[str]:
    return _assignments() | {lesson.name for lesson in lessons.catalogue()}
