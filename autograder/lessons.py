"""The catalogue: lessons, tasks, points; and the build of `course/` from `solutions/`.

A lesson has one source, ``solutions/NN_name.py``. `build` makes two notebooks of it: the solution
notebook, and by nbgrader's own preprocessors the release in ``course/NN_name/name.ipynb``. The
catalogue is read from the releases, which every edition has: what a task is worth stands once.
"""

from __future__ import annotations

import ast
import re
import tempfile
import types
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from traitlets.config import Config

from autograder.notebook import Submission, defined_names

ROOT = Path(__file__).resolve().parent.parent
COURSE = ROOT / "course"
SOURCES = ROOT / "solutions"
BUILD = ROOT / "build"
DEMONSTRATION = "demonstration"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


class LessonError(Exception):
    """A lesson that does not exist, or whose source is not in order."""


@dataclass(frozen=True)
class Task:
    """A task: what it is called, what it is worth, and the names that it defines."""

    name: str
    title: str
    points: float
    manual: bool
    names: tuple[str, ...]


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
    def max_points(self) -> float:
        """What is graded automatically."""
        return sum(task.points for task in self.tasks if not task.manual)

    @property
    def manual_points(self) -> float:
        """What a person grades."""
        return sum(task.points for task in self.tasks if task.manual)

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
    lessons = tuple(_lesson(path) for path in found if path.parent.name[3:] == path.stem)
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
    names = ", ".join(entry.name for lesson in catalogue() for entry in lesson.tasks)
    raise LessonError(f"there is no task {task!r}; there are: {names}")


_CHECK_CALL = re.compile(r"""\bcheck\(\s*["'](\w+)["']""")


def lesson_of(submission: Submission) -> Lesson:
    """Return the lesson that a submission answers: by its checks, else its metadata or file name.

    Raises:
        LessonError: it cannot be told.
    """
    called = {name for cell in submission.code for name in _CHECK_CALL.findall(cell.source)}
    known = called | {name for cell in submission.code for name in cell.names}
    best = max(catalogue(), key=lambda lesson: _overlap(lesson, known))
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
    return len(known & {name for task in lesson.tasks for name in (task.name, *task.names)})


def _lesson(path: Path) -> Lesson:
    notebook = nbformat.read(path, as_version=4)
    title, heading = path.stem, ""
    tasks: list[Task] = []
    demonstrations = set()
    names: list[str] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^#+ (.+)$", cell.source, re.M)):
            heading = found[1].strip().replace("`", "")
            title = heading if title == path.stem else title
        if DEMONSTRATION in cell.metadata.get("tags", []):
            demonstrations.add(squeeze(cell.source))
        mark = cell.metadata.get("nbgrader", {})
        if mark.get("solution") and cell.cell_type == "code":
            names = defined_names(cell.source)
        if mark.get("grade"):
            manual = bool(mark["solution"])
            defined = () if manual else tuple(names)
            tasks.append(Task(mark["grade_id"], heading, mark["points"], manual, defined))
    return Lesson(path.stem, title, path, tuple(tasks), frozenset(demonstrations))


# ------------------------------------------------------------------------------------------- build


def sources() -> list[Path]:
    """Return the lessons' sources, in order; empty in the class edition."""
    return sorted(SOURCES.glob("[0-9][0-9]_*.py"))


def build(folder: Path = COURSE) -> list[Path]:
    """Make every lesson's release under `folder`; return the notebooks written.

    Raises:
        LessonError: there are no sources, or one is not in order.
    """
    if not sources():
        raise LessonError(f"no lesson sources in {SOURCES}: this edition cannot be built")
    written = []
    for source in sources():
        target = folder / source.stem / f"{source.stem[3:]}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(release(solution_notebook(source)), target)
        written.append(target)
    catalogue.cache_clear()
    return written


def outdated() -> list[Path]:
    """Return the notebooks of `course/` that differ from what `build` makes of their sources."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = build(Path(folder))
        return [
            COURSE / path.relative_to(folder)
            for path in fresh
            if not (COURSE / path.relative_to(folder)).is_file()
            or (COURSE / path.relative_to(folder)).read_bytes() != path.read_bytes()
        ]


def build_solutions(folder: Path = BUILD / "source") -> list[Path]:
    """Write every solution notebook under `folder`; return them."""
    written = []
    for source in sources():
        target = folder / source.stem / f"{source.stem[3:]}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(solution_notebook(source), target)
        written.append(target)
    return written


def _write(notebook: NotebookNode, path: Path) -> None:
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def solution_notebook(source: Path) -> NotebookNode:
    """Return a lesson's source as a notebook with nbgrader's metadata.

    Raises:
        LessonError: a task without a check, a check without points, or a name used twice.
    """
    notebook: NotebookNode = jupytext.read(source, fmt="py:percent")
    notebook.metadata = NotebookNode(
        kernelspec=KERNEL,
        language_info={"name": "python"},
        autograder={"lesson": source.stem[3:]},
    )
    seen: set[str] = set()
    for position, cell in enumerate(notebook.cells):
        mark, tags = _nbgrader(cell.metadata, f"{source.name}: cell {position + 1}"), []
        tags = cell.metadata.get("tags", [])
        cell.metadata = NotebookNode()
        cell["id"] = f"cell-{position:03d}"
        if tags:
            cell.metadata["tags"] = tags
        if mark is not None:
            if mark["grade_id"] in seen:
                raise LessonError(f"{source.name}: {mark['grade_id']!r} is used twice")
            seen.add(mark["grade_id"])
            cell.metadata["nbgrader"] = mark
            cell["id"] = mark["grade_id"].replace("_", "-")[:64]
    tasks = {name.removeprefix("task-") for name in seen if name.startswith("task-")}
    if unchecked := tasks - seen:
        raise LessonError(f"{source.name}: no check for {', '.join(sorted(unchecked))}")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


def _nbgrader(metadata: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Return nbgrader's metadata for a source cell's short form."""
    mark: dict[str, Any] = {"schema_version": 3, "task": False}
    if "task" in metadata:
        return {
            **mark, "grade_id": f"task-{metadata['task']}", "grade": False, "solution": True,
            "locked": False,
        }  # fmt: skip
    name = metadata.get("check") or metadata.get("free_text")
    if name is None:
        return None
    if not isinstance(metadata.get("points"), (int, float)):
        raise LessonError(f"{where}: {name} has no points")
    manual = "free_text" in metadata
    return {
        **mark, "grade_id": name, "grade": True, "solution": manual, "locked": not manual,
        "points": metadata["points"],
    }  # fmt: skip


def release(notebook: NotebookNode) -> NotebookNode:
    """Return what a learner gets, by the preprocessors of nbgrader's `generate_assignment`."""
    from nbgrader import preprocessors

    names = ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums")
    released: NotebookNode = nbformat.from_dict(notebook)
    for name in names:
        step = getattr(preprocessors, name)(config=Config())
        released, _ = step.preprocess(released, {})
    return released


def reference(lesson: str) -> types.ModuleType:
    """Return a lesson's reference: the import and solution cells of its source, run as a module.

    Raises:
        LessonError: this edition has no solutions.
    """
    for source in sources():
        if source.stem[3:] == lesson:
            module = types.ModuleType(f"reference_{lesson}")
            module.__dict__["check"] = module.__dict__["show_reference"] = lambda task: None
            for cell in solution_notebook(source).cells:
                if cell.cell_type == "code" and _is_reference(cell):
                    exec(compile(_without_import(cell.source), str(source), "exec"), vars(module))
            return module
    raise LessonError(f"this edition has no reference for {lesson!r}")


def _is_reference(cell: NotebookNode) -> bool:
    mark = cell.metadata.get("nbgrader", {})
    return not mark.get("grade") and DEMONSTRATION not in cell.metadata.get("tags", [])


def _without_import(source: str) -> str:
    """Return a cell without its import of this package: a reference needs none."""
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.ImportFrom) and node.module == "autograder")
    ]
    return ast.unparse(tree)


def reference_source(task: str) -> str:
    """Return the reference's text for a task.

    Raises:
        LessonError: this edition has no solutions.
    """
    for source in sources():
        for cell in solution_notebook(source).cells:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == f"task-{task}":
                return re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", str(cell.source), flags=re.M)
    raise LessonError(f"this edition has no reference for {task!r}")
