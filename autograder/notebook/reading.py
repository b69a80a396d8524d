"""From a notebook's file to a `Submission`.

Nothing of a notebook is believed but the text of its cells: points, grade ids and locks are the
catalogue's. Metadata serves only to find free text, and a heading does where it is missing.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder.notebook import archive, kinds
from autograder.notebook.lean import TooMuch, lean
from autograder.notebook.names import defined_names, statements
from autograder.notebook.opening import NotebookError, opened, pieces

MAX_VALUES = 1_500_000
"""Texts, numbers, lists and objects in a file without outputs: each takes memory when parsed."""
MAX_TEXT = 20 << 20
"""Characters of a file without its outputs."""
MAX_CELLS, MAX_TAGS = 2_000, 100
MAX_PERCENT, MAX_HEAD = 500_000, 2_000
"""Characters of a percent file, and of the first line of one of its cells."""
MAX_CODE = 1_000_000
"""Characters, of all cells together, that are looked through for the names they define."""


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook: `number` counts all cells from 1, as messages name it."""

    number: int
    source: str
    is_code: bool = True
    grade_id: str = ""
    tags: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    """what it defines at its top level, as `defined_names` finds it"""


@dataclass
class Submission:
    """A notebook as read: its cells, and what was noticed on the way."""

    path: Path
    cells: list[Cell]
    lesson: str = ""
    """what the notebook says of its lesson; a hint, not a fact"""
    problems: list[str] = field(default_factory=list)

    @property
    def code(self) -> list[Cell]:
        """The code cells."""
        return [cell for cell in self.cells if cell.is_code]


def read(path: Path) -> Submission:
    """Read a notebook, or a py:percent file.

    Raises:
        NotebookError: no such file, not a regular one, too large, or not a notebook.
    """
    if path.suffix.lower() == ".py":
        text = _without_header(_percent(path))
        notebook = _parse(path, lambda: jupytext.reads(text, fmt="py:percent"))
    else:
        text = _bounded(path, json.dumps(_what_is_graded(path)))
        notebook = _parse(path, lambda: nbformat.reads(text, as_version=4))
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise NotebookError(
            f"{path}: a notebook without a list of cells. Save it again in Jupyter."
        )
    _refuse_crowd(path, cells)
    metadata = _dict(notebook.get("metadata"))
    lesson = _dict(metadata.get("autograder")).get("lesson")
    made = _named([_cell(number, _dict(cell)) for number, cell in enumerate(cells, start=1)])
    language = kinds.other_language(metadata)
    if language and not any(map(_is_python, made)):
        raise NotebookError(f"{path}: {kinds.of_language(language)}")
    return Submission(path, made, lesson if isinstance(lesson, str) else "")


def _is_python(cell: Cell) -> bool:
    """Whether a cell is certainly Python: most assignments are another language's, too."""
    return any(
        isinstance(each, (ast.FunctionDef, ast.ClassDef)) for each in statements(cell.source)
    )


def _bounded(path: Path, text: str) -> str:
    if len(text) > MAX_TEXT:
        raise NotebookError(
            f"{path}: more than {MAX_TEXT >> 20} MB without its outputs. Shorten its texts."
        )
    return text


def _refuse_crowd(path: Path, cells: list[Any]) -> None:
    if len(cells) > MAX_CELLS:
        raise NotebookError(f"{path}: {len(cells)} cells; at most {MAX_CELLS} are graded.")


def _percent(path: Path) -> str:
    """Return a percent file's text, unless jupytext would take minutes or gigabytes over it."""
    with opened(path) as file:
        text = _text(path, file.read(4 * MAX_PERCENT + 1))
    lines = text.splitlines() if len(text) <= MAX_PERCENT else []
    heads = [line for line in lines if line.lstrip("# \t").startswith("%%")]
    _refuse_crowd(path, heads)
    if len(text) > MAX_PERCENT or any(len(head) > MAX_HEAD for head in heads):
        raise NotebookError(
            f"{path}: more than {MAX_PERCENT:,} characters, or more than {MAX_HEAD:,} in a cell's "
            "first line. Hand in the notebook itself (.ipynb)."
        )
    return text


def _named(cells: list[Cell]) -> list[Cell]:
    """Return the cells with the names that they define, found once and for so much text only."""
    left, named = MAX_CODE, []
    for cell in cells:
        if cell.is_code and len(cell.source) <= left:
            left -= len(cell.source)
            cell = replace(cell, names=tuple(defined_names(cell.source)))
        named.append(cell)
    return named


def _text(path: Path, data: bytes) -> str:
    if what := kinds.of_bytes(data):
        raise NotebookError(f"{path}: {what}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotebookError(
            f"{path}: not UTF-8 text (byte {error.start}). Export it again from Jupyter."
        ) from None


def _parse(path: Path, parse: Callable[[], Any]) -> Any:
    logger = logging.getLogger("traitlets")  # nbformat tells it of every oddity; we say our own
    was, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parse()
    except NotebookError:
        raise
    except RecursionError:
        raise NotebookError(f"{path}: nested too deeply to be a notebook.") from None
    except Exception:  # noqa: BLE001 - parsers of hostile files raise anything, in words of their own
        raise NotebookError(f"{path}: not a notebook as Jupyter writes it. {kinds.AGAIN}") from None
    finally:
        logger.disabled = was


def _what_is_graded(path: Path) -> dict[str, Any]:
    """Return the part of a notebook's file that is looked at, before its format is: little of it.

    Raises:
        NotebookError: it holds too much to be parsed, or is no JSON.
    """
    with opened(path) as file, archive.unpacked(path, file) as inside:
        try:
            data = lean(pieces(path, inside))
        except TooMuch as error:
            raise NotebookError(f"{path}: {error}. Clear its outputs and save it again.") from None
    text = _text(path, data)
    values = islice(_VALUE.finditer(text), MAX_VALUES + 1)
    if sum(1 for _ in values) > MAX_VALUES:
        raise NotebookError(
            f"{path}: more than {MAX_VALUES:,} texts, numbers and lists without its outputs. "
            "Clear its outputs and save it again."
        )
    notebook = _parse(path, lambda: _loaded(path, text))
    if what := kinds.of_json(notebook):
        raise NotebookError(f"{path}: {what}")
    sheets = _list(notebook.get("worksheets"))  # before nbformat 4
    _refuse_crowd(path, sheets)
    kept = _of_type(notebook, (int, float, str), "nbformat", "nbformat_minor")
    kept["metadata"] = _read_metadata(notebook)
    if sheets:
        _refuse_crowd(path, [each for sheet in sheets for each in _list(_dict(sheet).get("cells"))])
        kept["worksheets"] = [{"metadata": {}, **_kept_cells(path, sheet)} for sheet in sheets]
    return kept | _kept_cells(path, notebook)


def _loaded(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise NotebookError(f"{path}: {kinds.of_broken(text, error)}") from None


_VALUE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[^\s"\[\]{},:]++', re.DOTALL)
"""A text, the start of a list or an object, or anything else; quick over texts of any length."""


def _kept_cells(path: Path, holder: object) -> dict[str, Any]:
    cells = _dict(holder).get("cells")
    _refuse_crowd(path, _list(cells))
    return {"cells": list(map(_kept_cell, cells))} if isinstance(cells, list) else {}


def _kept_cell(cell: object) -> dict[str, Any] | None:
    if not isinstance(cell, dict):
        return None
    kept = _of_type(cell, str, "cell_type", "language") | {"metadata": _read_metadata(cell)}
    if cell.get("level") in range(1, 7):  # of a heading, before nbformat 4: so many # are written
        kept["level"] = int(cell["level"])
    if "outputs" in cell:
        kept["outputs"] = []
    return kept | {key: _joined(cell[key]) for key in _TEXTS if key in cell}


_TEXTS = ("source", "input", "code", "text")
"""What a cell's text is called, from one nbformat to the next."""


def _joined(source: object) -> str:
    parts = source if isinstance(source, list) else [source]
    return "".join(part for part in parts if isinstance(part, str))


def _of_type(holder: dict[str, Any], kind: Any, *keys: str) -> dict[str, Any]:
    return {key: holder[key] for key in keys if isinstance(holder.get(key), kind)}


def _read_metadata(holder: dict[str, Any]) -> dict[str, Any]:
    """Return what we read of the metadata of a notebook or a cell, however deep the rest is."""
    metadata = _dict(holder.get("metadata"))
    tags = [tag for tag in _list(metadata.get("tags"))[:MAX_TAGS] if isinstance(tag, str)]
    parts = {
        "autograder": {"lesson": _dict(metadata.get("autograder")).get("lesson")},
        "nbgrader": {"grade_id": _dict(metadata.get("nbgrader")).get("grade_id")},
        "free_text": metadata.get("free_text"),
        "kernelspec": _of_type(_dict(metadata.get("kernelspec")), str, "name", "language"),
        "language_info": _of_type(_dict(metadata.get("language_info")), str, "name"),
    }
    texts = {name: value for name, value in parts.items() if value and _is_of_texts(value)}
    return texts | ({"tags": tags} if tags else {})


def _is_of_texts(value: object) -> bool:
    parts = value.values() if isinstance(value, dict) else [value]
    return all(isinstance(part, str) for part in parts)


def _without_header(text: str) -> str:
    """Return a py:percent file without its YAML, whose aliases can grow without end."""
    lines = text.splitlines()  # as jupytext does
    marks = [number for number, line in enumerate(lines) if _HEADER_MARK.fullmatch(line)][:2]
    is_header = len(marks) == 2 and marks[0] < _first_cell(lines)
    if is_header and all(line.startswith("#") for line in lines[: marks[1]]):
        lines = lines[: marks[0]] + lines[marks[1] + 1 :]
    first_cell = _first_cell(lines)
    # jupytext would take another header for the first
    before = [_HEADER_MARK.sub("#", line) for line in lines[:first_cell]]
    return "\n".join([*before, *lines[first_cell:]]).lstrip("\n")


_HEADER_MARK = re.compile(r"^#\s*---\s*$")


def _first_cell(lines: list[str]) -> int:
    """Return where the first cell's mark, or code, is."""
    starts = (n for n, line in enumerate(lines) if re.match(r"#\s*%%|[^#\s]|\s+\S", line))
    return next(starts, len(lines))


def _cell(number: int, raw: dict[str, Any]) -> Cell:
    metadata = _dict(raw.get("metadata"))
    grade_id = _dict(metadata.get("nbgrader")).get("grade_id") or metadata.get("free_text") or ""
    return Cell(
        number,
        _joined(raw.get("source")).encode("utf-8", "replace").decode("utf-8"),
        raw.get("cell_type") == "code",
        grade_id if isinstance(grade_id, str) else "",
        frozenset(tag for tag in _list(metadata.get("tags")) if isinstance(tag, str)),
    )


def bare(cell: Cell) -> NotebookNode:
    """Return a cell as nbformat's: its text, and nothing else of what the submission had there."""
    made: NotebookNode = (
        new_code_cell(cell.source) if cell.is_code else new_markdown_cell(cell.source)
    )
    made.id = f"cell-{cell.number:04d}"
    return made


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
