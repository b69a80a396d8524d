"""A lesson's source as a notebook, with nbgrader's metadata on its cells.

The source has short cell headers: ``task="name"``, ``check="name" points=8``, ``free_text="name"
points=10``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from autograder.catalogue.lessons import LessonError
from autograder.catalogue.sources import sources

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


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
    _fill_contents(notebook, source)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return notebook


CONTENTS = "<!-- contents -->"


def _fill_contents(notebook: NotebookNode, source: Path) -> None:
    """Put links to the lesson's parts, and to its neighbours, where the source leaves room."""
    headings = [
        heading
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for heading in re.findall(r"^## (.+)$", cell.source, re.M)
        if heading != "Contents"
    ]
    for cell in notebook.cells:
        if CONTENTS in cell.source:
            parts = [f"- [{heading}](#{_anchor(heading)})" for heading in headings]
            cell.source = cell.source.replace(CONTENTS, "\n".join([*parts, "", _around(source)]))


def _anchor(heading: str) -> str:
    """Return Jupyter's anchor of a heading."""
    return re.sub(r"[`*]", "", heading).replace(" ", "-")


def _around(source: Path) -> str:
    """Return links to the lesson before, the table of contents and the lesson behind."""
    links, row = ["[All lessons](../README.md)"], sources()
    at = row.index(source)
    for neighbour, words in ((row[at - 1 : at], "Before"), (row[at + 1 : at + 2], "Next")):
        for other in neighbour:
            title = jupytext.read(other, fmt="py:percent").cells[0].source
            title = re.sub(r"^# ", "", title.splitlines()[0])
            links.append(f"{words}: [{title}](../{other.stem}/{other.stem[3:]}.ipynb)")
    return " · ".join(links)


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
