"""Whose a submission is, and what it is called in tables, on pages, in exports and gradebooks.

What platforms call the folders and files of their bulk downloads: docs/grader.md.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from autograder.catalogue import lessons
from autograder.notebook import NotebookError, opened
from autograder.scores import Learner, Score
from autograder.text import one_line

MAX_LABEL = 60
"""Characters of a submission's name."""
MAX_FILE_NAME = 80
"""Bytes of it in the name of its page."""
_RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³])(\.|$)", re.IGNORECASE)
"""Names that are devices' on Windows, whatever their suffix."""

LessonOf = Callable[[str], str]
"""submission -> the lesson that it answers, empty where that is not known"""


# -------------------------------------------------------------------------------- what it is called


def named(scores: Sequence[Score]) -> list[Score]:
    """Return scores of one run, each with its name, which those of an older run do not have."""
    found = names([score.submission for score in scores], _lessons(scores), _known(scores))
    return [
        replace(score, name=name, student=student)
        for score, (name, student) in zip(scores, found.values(), strict=True)
    ]


def _lessons(scores: Iterable[Score]) -> LessonOf:
    return {score.submission: score.lesson for score in scores}.__getitem__


def _known(scores: Iterable[Score]) -> dict[str, tuple[str, Learner]]:
    return {score.submission: (score.name, score.student) for score in scores if score.name}


def names(
    submissions: Sequence[str],
    lesson_of: LessonOf,
    known: Mapping[str, tuple[str, Learner]] | None = None,
    below: int = 0,
) -> dict[str, tuple[str, Learner]]:
    """Return for each submission what it is called, which no other is, and whose it is.

    It is called as its student is; of several of one student's, each has what tells it apart behind
    that. Those that are `known` keep what they have. So many first parts of each path say nothing:
    `below` them a folder is a student's even while it is the only one.
    """
    known = known or {}
    whose, places = _placed(submissions, lesson_of, below)
    together: dict[Learner, list[str]] = collections.defaultdict(list)
    for submission in submissions:
        together[whose[submission]].append(submission)
    taken = {file_name(name).casefold() for name, _ in known.values()}
    found = {}
    for submission in submissions:
        if submission in known:
            found[submission] = known[submission]
            continue
        student = whose[submission]
        ends = {each: _parts(each)[places[each] + 1 :] for each in together[student]}
        base = _short(" ".join([str(student), *_telling(ends, submission)]))
        name, number = base, 2
        while file_name(name).casefold() in taken:
            name, number = f"{base} {number}", number + 1
        taken.add(file_name(name).casefold())
        found[submission] = name, student
    return found


def _telling(ends: Mapping[str, tuple[str, ...]], submission: str) -> tuple[str, ...]:
    """Return the fewest last parts that tell one of a student's submissions from the others."""
    if len(ends) == 1:
        return ()
    for count in range(1, max(map(len, ends.values())) + 1):
        if len({parts[-count:] for parts in ends.values()}) == len(ends):
            return ends[submission][-count:]
    return ends[submission][-1:]


def _short(text: str) -> str:
    name = one_line(text) or "submission"
    return name if len(name) <= MAX_LABEL else f"…{name[1 - MAX_LABEL :]}"


def file_name(text: str) -> str:
    """Return a text as a file name that no other text has: one with odd signs gets a number."""
    kept = safe(text)
    number = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return kept if kept == text else f"{kept}-{number}"


def safe(text: str) -> str:
    """Return a text as part of a file name, on any system."""
    kept = re.sub(r"[^\w. -]+", "_", text).strip("._ ").encode()[:MAX_FILE_NAME]
    name = kept.decode(errors="ignore").rstrip(". ") or "submission"
    return f"_{name}" if _RESERVED.match(name) else name


# ------------------------------------------------------------------------------------- whose it is


def students(submissions: Iterable[str], lesson_of: LessonOf) -> dict[str, Learner]:
    """Return whose each submission is.

    Folders that all share, and those that hold a class each, are passed over. What comes next is a
    student's: a folder, whatever the files in it are called, or a file that lies beside others'.
    Nobody is called as a lesson: anna has anna/lora.ipynb and submitted/anna/04_lora/any.ipynb.
    Which lesson a submission answers is asked only where a folder may be a class's.
    """
    return _placed(list(submissions), lesson_of)[0]


def _placed(
    submissions: Sequence[str], lesson_of: LessonOf, top: int = 0
) -> tuple[dict[str, Learner], dict[str, int]]:
    """Return whose each submission is, and which part of its path says so."""
    is_alone = len(submissions) == 1
    own = {submission: _own(submission, is_alone, top) for submission in submissions}
    depth: dict[str, int] = {}
    waiting = [(0, list(submissions))]
    while waiting:
        level, group = waiting.pop()
        below: dict[str, list[str]] = collections.defaultdict(list)
        for submission in group:
            below[_parts(submission)[own[submission][level]]].append(submission)
        are_all = len(group) == len(submissions) and not (is_alone and top)
        is_passed = _is_passed(below, are_all, lesson_of)
        for members in below.values():
            deeper = [each for each in members if is_passed and level + 1 < len(own[each])]
            depth.update(dict.fromkeys(members, level))
            if deeper:
                waiting.append((level + 1, deeper))
    places = {submission: own[submission][depth[submission]] for submission in submissions}
    platforms = _platforms([each for each, place in places.items() if _is_file(each, place)])
    return {each: _learner(each, place, platforms) for each, place in places.items()}, places


def _is_passed(below: Mapping[str, list[str]], are_all: bool, lesson_of: LessonOf) -> bool:
    """Whether these folders are nobody's: one that all share, or mostly a class's each.

    Not by one who puts in more files, or calls a folder as a platform does.
    """
    if 2 * sum(any(each.fullmatch(part) for each in _FOLDERS) for part in below) >= len(below):
        return False
    if len(below) == 1 and are_all:
        return True
    return 2 * sum(_is_class(each, lesson_of) for each in below.values()) >= len(below)


def _own(submission: str, is_alone: bool, top: int) -> tuple[int, ...]:
    """Return which parts of a path may be a student's name; a lone one's may be nbgrader's."""
    parts = _parts(submission)
    last = len(parts) - bool(is_alone and parts[-2:-1] and parts[-2] in _assignments())
    passed = _lesson_names() | {"/", ".."}
    own = [number for number in range(top, last) if parts[number] not in passed]
    return tuple(own) or (len(parts) - 1,)


def _parts(submission: str) -> tuple[str, ...]:
    """Return the parts of a path, the file's name without what says that it is a notebook."""
    path = PurePath(submission)
    at = path.name.lower().find(".ipynb")
    return (*path.parts[:-1], path.name[:at] if at > 0 else path.stem)


def _is_class(submissions: Sequence[str], lesson_of: LessonOf) -> bool:
    """Return whether there are more than one of a lesson."""
    if len(submissions) == 1:
        return False
    answered = [lesson for lesson in map(lesson_of, submissions) if lesson]
    return len(set(answered)) < len(answered)


@functools.cache
def _assignments() -> frozenset[str]:
    return frozenset(lesson.notebook.parent.name for lesson in lessons.catalogue())


@functools.cache
def _lesson_names() -> frozenset[str]:
    return _assignments() | {lesson.name for lesson in lessons.catalogue()}


# ---------------------------------------------------------------------------------------- platforms

_MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_file_?", re.DOTALL)
_NBGRADER = re.compile(r"(?P<name>[^+]+)\+[^+]+\+\d{4}-\d\d-\d\d [^+]+(?:\+[^+]*)?", re.DOTALL)
_GRADESCOPE = re.compile(r"submission_\d+")
_FOLDERS = (_MOODLE, _NBGRADER, _GRADESCOPE)
_FILES = {
    "moodle": re.compile(_MOODLE.pattern + r".*", re.DOTALL),
    "blackboard": re.compile(r".+?_(?P<name>[^_]+)_attempt_\d{4}(?:-\d\d){5}(?:_.*)?", re.DOTALL),
    "canvas": re.compile(
        r"(?P<name>.+?)_(?:LATE_)?(?P<number>\d+)_\d+_.+|"
        r"(?:LATE_)?(?P<anonymous>anon_[^_]+)_\d+_.+",
        re.DOTALL,
    ),
}


def _is_file(submission: str, place: int) -> bool:
    return place == len(_parts(submission)) - 1


def _platforms(files: Sequence[str]) -> Mapping[str, re.Pattern[str]]:
    """Return the platform that most of these are called as by, or all: no file chooses its own."""
    told = {
        platform: sum(pattern.fullmatch(_parts(each)[-1]) is not None for each in files)
        for platform, pattern in _FILES.items()
    }
    most = max(told, key=lambda platform: told[platform])
    return {most: _FILES[most]} if 2 * told[most] > len(files) else _FILES


def _learner(submission: str, place: int, platforms: Mapping[str, re.Pattern[str]]) -> Learner:
    """Return whose a submission is, where one part of its path says so.

    Args:
        submission: its path.
        place: which part of it.
        platforms: those that may have named it, if that is a file.
    """
    parts = _parts(submission)
    part = parts[place]
    folders = {"moodle": _MOODLE, "nbgrader": _NBGRADER}
    for platform, pattern in (platforms if _is_file(submission, place) else folders).items():
        if found := pattern.fullmatch(part):
            told = found.groupdict()
            name = told["name"] or told.get("anonymous") or part
            return Learner(name, told.get("number") or "", platform)
    if _GRADESCOPE.fullmatch(part):
        return _submitters(Path(*parts[:place])).get(part, Learner(part))
    return Learner(part)


@functools.cache
def _submitters(folder: Path) -> dict[str, Learner]:
    """Return whose the folders of Gradescope's export are: the first of a group, by its list."""
    found: dict[str, Learner] = {}
    folder_name, told = "", dict[str, str]()
    for line in _lines(folder / "submission_metadata.yml"):
        if head := re.fullmatch(r"(submission_\d+)(?:\.\w+)?:\s*", line):
            folder_name, told = head[1], {}
        elif (
            entry := re.fullmatch(r"\s{2,4}(?:- )?\s*:(name|sid): *(.*?)\s*", line)
        ) and folder_name:
            told.setdefault(entry[1], _plain(entry[2]))
            if told.get("name"):
                found[folder_name] = Learner(told["name"], told.get("sid", ""), "gradescope")
    return found


def _lines(path: Path) -> Iterator[str]:
    try:
        with opened(path) as file:
            for line in file:
                yield line.decode("utf-8", "replace")
    except NotebookError:  # it was not downloaded with the folders
        return


def _plain(value: str) -> str:
    """Return a value of YAML's that is one line, without its quotes."""
    if value[:1] == value[-1:] == '"':
        return value[1:-1].replace('\\"', '"')
    if value[:1] == value[-1:] == "'":
        return value[1:-1].replace("''", "'")
    return value
