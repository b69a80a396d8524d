"""The build of `course/` from `solutions/`.

The release of a lesson is made from its solution notebook by nbgrader's own preprocessors. Beside
the lessons stand two pages: ``README.md``, the table of contents, and ``SOURCES.md``.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import nbformat
from jinja2 import Environment, PackageLoader, StrictUndefined
from nbformat import NotebookNode
from traitlets.config import Config

from autograder.catalogue import lessons, questions
from autograder.catalogue.lessons import COURSE, ROOT, Lesson, LessonError
from autograder.catalogue.nbgrader_cells import solution_notebook
from autograder.catalogue.points import Points
from autograder.catalogue.sources import NO_SOURCES, sources
from autograder.checking import check_files, gpu_race, plugin

BUILD = ROOT / "build"

PAGES = Environment(
    loader=PackageLoader("autograder"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def build(folder: Path = COURSE) -> list[Path]:
    """Make every lesson's release, and the course's pages, under `folder`; return what is written.

    Raises:
        LessonError: this edition has no sources, or one is not in order.
    """
    written = _write_all(folder, released=True)
    lessons.catalogue.cache_clear()
    made = [lessons.read_lesson(path) for path in written]
    pages = pages_of(made)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [*written, *(folder / name for name in pages)]


def outdated() -> list[Path]:
    """Return the files of `course/` that differ from what `build` makes of their sources."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = build(Path(folder))
        return [
            COURSE / path.relative_to(folder)
            for path in fresh
            if not (COURSE / path.relative_to(folder)).is_file()
            or (COURSE / path.relative_to(folder)).read_bytes() != path.read_bytes()
        ]


def build_solutions(folder: Path = BUILD / "source", only: str = "") -> list[Path]:
    """Write every solution notebook under `folder`, or `only` that of ``04_lora``; return them.

    Raises:
        LessonError: this edition has no sources, or one is not in order.
    """
    return _write_all(folder, released=False, only=only)


def _write_all(folder: Path, released: bool, only: str = "") -> list[Path]:
    if not sources():
        raise LessonError(NO_SOURCES)
    written = []
    for source in sources():
        if only not in ("", source.stem):
            continue
        target = folder / source.stem / f"{source.stem[3:]}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        notebook = solution_notebook(source)
        _fill_points(notebook, source)
        notebook = release(notebook) if released else notebook
        target.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        written.append(target)
    return written


EFFORT = re.compile(r"^difficulty .* about \d+ minutes$", re.MULTILINE)


def _fill_points(notebook: NotebookNode, source: Path) -> None:
    """Say what each task is worth, behind what is said of its difficulty, importance and length.

    How much of it the visible checks decide, and how much counts only on a GPU, is noted in its
    cell, where the catalogue finds it.

    Raises:
        LessonError: a task has no such line, shares it, or its visible checks have more points.
        BrokenChecks: the checks cannot be collected.
    """
    checks = plugin.census(check_files.files(source.stem[3:], hidden=True))
    told: NotebookNode | None = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and EFFORT.search(cell.source):
            told = cell
        mark = cell.metadata.get("nbgrader", {})
        if not mark.get("grade"):
            continue
        name, points = mark["grade_id"], float(mark["points"])
        its = [check for check in checks if check.task == name]
        if mark["solution"]:
            worth = Points(by_hand=points)
        else:
            visible = sum(check.max_points for check in its if not check.hidden)
            on_gpu = sum(check.max_points for check in its if check.message == gpu_race.ON_GPU)
            worth = Points(visible, points - visible, on_gpu=on_gpu)
            cell.metadata["autograder"] = NotebookNode(visible=visible, on_gpu=on_gpu)
        if told is None:
            raise LessonError(
                f"{source.name}: {name} has no line 'difficulty … minutes' of its own."
            )
        if worth.hidden < 0:
            raise LessonError(f"{source.name}: {name} has {points:g} points, its checks have more.")
        told.source, told = EFFORT.sub(rf"\g<0> · {worth}", told.source), None


def release(notebook: NotebookNode) -> NotebookNode:
    """Return what a learner gets, by the preprocessors of nbgrader's `generate_assignment`."""
    from nbgrader import preprocessors

    names = ("LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums")
    released: NotebookNode = nbformat.from_dict(notebook)
    for name in names:
        step = getattr(preprocessors, name)(config=Config())
        released, _ = step.preprocess(released, {})
    return released


# ----------------------------------------------------------------------------------- the two pages


def pages_of(made: Sequence[Lesson]) -> dict[str, str]:
    """Return the pages beside these lessons, by name: the table of contents, and the sources."""
    contents = PAGES.get_template("contents.md").render(lessons=made, minutes=minutes)
    return {"README.md": contents, "SOURCES.md": _bibliography(made)}


def minutes(lesson: Lesson) -> int:
    """Return how long a lesson's tasks say that they take."""
    text = lesson.notebook.read_text(encoding="utf-8")
    return sum(map(int, re.findall(r"about (\d+) minutes", text)))


def _bibliography(made: Sequence[Lesson]) -> str:
    """Return the page of all sources, with the claims that rest on each."""
    used: dict[str, list[str]] = defaultdict(list)
    for lesson in made:
        for claim in questions.claims(lesson.name):
            for key, place in questions.cited(claim.source):
                used[key].append(f"{lesson.name}, {claim.what}" + f": {place}" * bool(place))
    entries = [(entry, used[key]) for key, entry in questions.bibliography().items() if used[key]]
    return PAGES.get_template("sources.md").render(entries=entries)
