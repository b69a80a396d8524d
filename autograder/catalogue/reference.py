"""A lesson's reference: the solution cells of its source, to run and to show."""

from __future__ import annotations

import ast
import re
import types
from functools import cache

from nbformat import NotebookNode

from autograder.catalogue.lessons import DEMONSTRATION, LessonError
from autograder.catalogue.nbgrader_cells import solution_notebook
from autograder.catalogue.sources import NO_SOURCES, source_of, sources


@cache
def reference(lesson: str) -> types.ModuleType:
    """Return a lesson's reference: the import and solution cells of its source, run as a module.

    It is run once in a process.

    Raises:
        LessonError: this edition has no solutions.
    """
    module = types.ModuleType(f"reference_{lesson}")
    for name in ("check", "progress", "show_reference"):
        vars(module)[name] = lambda *task: None
    for _, text in reference_cells(lesson):
        exec(compile(_without_import(text), str(source_of(lesson)), "exec"), vars(module))
    return module


@cache
def reference_cells(lesson: str) -> tuple[tuple[str, str], ...]:
    """Return a reference's code cells as pairs (task, or an empty text; source).

    Raises:
        LessonError: this edition has no solutions.
    """
    return tuple(
        (cell.metadata.get("nbgrader", {}).get("grade_id", "").removeprefix("task-"), cell.source)
        for cell in solution_notebook(source_of(lesson)).cells
        if cell.cell_type == "code" and _is_reference(cell)
    )


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
    raise LessonError(f"no reference for {task!r}" if sources() else NO_SOURCES)
