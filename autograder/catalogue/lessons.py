"""The catalogue: lessons, tasks, points.

It is read from the released notebooks in `course/`, which every edition has: what a task is worth,
and how much of it the visible checks decide, stands once.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat

from autograder.catalogue.points import Points, added
from autograder.notebook import Cell, Submission, defined_names

ROOT = Path(__file__).resolve().parents[2]
COURSE = ROOT / "course"
DEMONSTRATION = "demonstration"


class LessonError(Exception):
    """A lesson that does not exist, or whose source is not in order."""


@dataclass(frozen=True)
class Task:
    """A task: what it is called, what it is worth, and the names that it defines.

    Attributes:
        is_code: whether functions or classes are asked for, and not values alone.
    """

    name: str
    title: str
    worth: Points
    names: tuple[str, ...]
    manual: bool
    """whether a person grades it"""
    is_code: bool = True

    @property
    def points(self) -> float:
        """All that it is worth."""
        return self.worth.total


@dataclass(frozen=True)
class Lesson:
    """A lesson of the course, as its released notebook tells it."""

    name: str
    title: str
    notebook: Path
    tasks: tuple[Task, ...]
    demonstrations: frozenset[str]
    """the demonstration cells' texts, without white space: skipped when grading"""

    @property
    def worth(self) -> Points:
        """All that it is worth."""
        return added(task.worth for task in self.tasks)

    def is_demonstration(self, source: str) -> bool:
        """Whether a cell is one of the lesson's own demonstrations, unchanged."""
        return squeeze(source) in self.demonstrations


def squeeze(source: str) -> str:
    """Return a cell's text without white space."""
    return "".join(source.split())


@cache
def catalogue() -> tuple[Lesson, ...]:
    """Return the lessons, in the course's order.

    Raises:
        LessonError: no lesson has been built.
    """
    found = sorted(COURSE.glob("[0-9][0-9]_*/*.ipynb"))
    lessons = tuple(read_lesson(path) for path in found if path.parent.name[3:] == path.stem)
    if not lessons:
        raise LessonError(f"no lesson in {COURSE}: run `autograder build`")
    return lessons


def lesson_named(name: str) -> Lesson:
    """Return the lesson of this name, as in ``lora`` or ``04_lora``.

    Raises:
        LessonError: there is none.
    """
    for lesson in catalogue():
        if name in (lesson.name, lesson.notebook.parent.name):
            return lesson
    names = ", ".join(lesson.name for lesson in catalogue())
    raise LessonError(f"there is no lesson {name!r}; there are: {names}")


def task_lesson(task: str) -> Lesson:
    """Return the lesson that has this task.

    Raises:
        LessonError: there is none.
    """
    for lesson in catalogue():
        if any(entry.name == task for entry in lesson.tasks):
            return lesson
    names = [entry.name for lesson in catalogue() for entry in lesson.tasks]
    near = difflib.get_close_matches(task, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "`autograder lessons` lists them."
    raise LessonError(f"there is no task {task!r}; {hint}")


_CHECK_CALL = re.compile(r"""\bcheck\(\s*["'](\w+)["']""")


def called(source: str) -> list[str]:
    """Return the tasks that a cell asks a check of."""
    return _CHECK_CALL.findall(source)


def lesson_of(submission: Submission, named: str | None = None) -> Lesson:
    """Return the lesson that a submission answers: by its checks, else its metadata or file name.

    Args:
        submission: the notebook.
        named: the lesson's name, where it is known.

    Raises:
        LessonError: it cannot be told, or is another one than `named`.
    """
    asked = {name for cell in submission.code for name in called(cell.source)}
    known = asked | {name for cell in submission.code for name in cell.names}
    best = max(catalogue(), key=lambda lesson: _overlap(lesson, known))
    if named is not None:
        lesson = lesson_named(named)
        if _overlap(best, known) and not _overlap(lesson, known):
            raise LessonError(
                f"{submission.path}: its code answers the lesson {best.name}, and {lesson.name} is "
                "what is graded here. Hand in the notebook of that lesson."
            )
        return lesson
    if _overlap(best, known):
        return best
    names = {submission.lesson, submission.path.stem, submission.path.parent.name}
    for lesson in catalogue():
        if names & {lesson.name, lesson.notebook.parent.name}:
            return lesson
    raise LessonError(
        f"{submission.path}: cannot tell which lesson this answers. Is it a notebook of the course?"
    )


def _overlap(lesson: Lesson, known: set[str]) -> int:
    """Return how many of the names are the lesson's, and no other's."""
    others = {name for other in catalogue() if other != lesson for name in _names(other)}
    return len(known & (_names(lesson) - others))


@cache
def _names(lesson: Lesson) -> frozenset[str]:
    return frozenset(name for task in lesson.tasks for name in (task.name, *task.names))


def free_text(submission: Submission, lesson: Lesson) -> dict[str, Cell | None]:
    """Return the answers that wait for a person, by task: by grade id, else by their heading."""
    # reversed: of two cells that claim one name, the first counts
    texts = [cell for cell in reversed(submission.cells) if not cell.is_code]
    by_id = {cell.grade_id: cell for cell in texts}
    by_heading = {heading(cell.source): cell for cell in texts}
    return {
        task.name: by_id.get(task.name, by_heading.get(heading(task.title)))
        for task in lesson.tasks
        if task.manual
    }


def heading(text: str) -> str:
    """Return a text's first line, without its marks and white space."""
    return squeeze(text.strip().partition("\n")[0].lstrip("#").replace("`", ""))


def read_lesson(path: Path) -> Lesson:
    """Return the lesson that a released notebook tells."""
    notebook = nbformat.read(path, as_version=4)
    title, said = path.stem, ""
    tasks: list[Task] = []
    demonstrations = set()
    names: list[str] = []
    is_code = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^#+ (.+)$", cell.source, re.M)):
            said = found[1].strip().replace("`", "")
            title = said if title == path.stem else title
        if DEMONSTRATION in cell.metadata.get("tags", []):
            demonstrations.add(squeeze(cell.source))
        mark = cell.metadata.get("nbgrader", {})
        if mark.get("solution") and cell.cell_type == "code":
            names = defined_names(cell.source)
            is_code = re.search(r"^(def|class) ", cell.source, re.M) is not None
        if mark.get("grade"):
            manual = bool(mark["solution"])
            defined = () if manual else tuple(names)
            tasks.append(Task(mark["grade_id"], said, _worth(cell), defined, manual, is_code))
    return Lesson(path.stem, title, path, tuple(tasks), frozenset(demonstrations))


def _worth(cell: nbformat.NotebookNode) -> Points:
    """Return what the task of this cell is worth: the build has noted which checks decide it."""
    mark, noted = cell.metadata.nbgrader, cell.metadata.get("autograder", {})
    points = float(mark["points"])
    if mark["solution"]:
        return Points(by_hand=points)
    visible = float(noted.get("visible", 0.0))
    return Points(visible, points - visible, on_gpu=float(noted.get("on_gpu", 0.0)))
