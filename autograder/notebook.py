"""Reads a submitted notebook, as if the file bit, into a `Submission`.

Nothing of a notebook is believed but the text of its cells: points, grade ids and locks are the
catalogue's. Metadata serves only to find free text, and a heading does where it is missing.
"""

from __future__ import annotations

import ast
import errno
import functools
import hashlib
import json
import logging
import os
import re
import stat
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

MAX_BYTES = 20 << 20
MAX_CELLS = 2_000
MAX_CELL, MAX_CODE = 100_000, 1_000_000
"""Characters, of a cell and of all of them, that are looked through for the names they define."""
SUFFIXES = (".ipynb", ".py")


class NotebookError(Exception):
    """A file that cannot be graded; the text names it and says what to do."""


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
    text = _text(path)
    if path.suffix == ".py":
        notebook = _parse(path, lambda: jupytext.reads(_without_header(text), fmt="py:percent"))
    else:
        raw = _parse(path, lambda: json.loads(text))
        _drop_what_is_not_graded(path, raw)
        notebook = _parse(path, lambda: nbformat.reads(json.dumps(raw), as_version=4))
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise NotebookError(
            f"{path}: a notebook without a list of cells. Save it again in Jupyter."
        )
    _refuse_crowd(path, cells)
    metadata = _dict(notebook.get("metadata"))
    lesson = _dict(metadata.get("autograder")).get("lesson")
    made = [_cell(number, _dict(cell)) for number, cell in enumerate(cells, start=1)]
    return Submission(path, _named(made), lesson if isinstance(lesson, str) else "")


def _refuse_crowd(path: Path, cells: list[Any]) -> None:
    if len(cells) > MAX_CELLS:
        raise NotebookError(f"{path}: {len(cells)} cells; at most {MAX_CELLS} are graded.")


def _named(cells: list[Cell]) -> list[Cell]:
    """Return the cells with the names that they define, found once and for so much text only."""
    left, named = MAX_CODE, []
    for cell in cells:
        if cell.is_code and len(cell.source) <= left:
            left -= len(cell.source)
            cell = replace(cell, names=tuple(defined_names(cell.source)))
        named.append(cell)
    return named


def digest(path: Path) -> str:
    """Return what tells one version of a file from another, even where it cannot be read."""
    try:
        return hashlib.sha256(_bytes(path)).hexdigest()
    except NotebookError as error:
        return hashlib.sha256(str(error).encode("utf-8", "replace")).hexdigest()


def _bytes(path: Path) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotebookError(f"{path}: a symbolic link. Hand in the file itself.") from None
        raise NotebookError(f"{path}: cannot be opened ({error.strerror}).") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotebookError(f"{path}: not a file. Name the notebook itself.")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise NotebookError(
            f"{path}: larger than {MAX_BYTES >> 20} MB. Clear its outputs and save it again."
        )
    return data


def _text(path: Path) -> str:
    data = _bytes(path)
    if not data.strip():
        raise NotebookError(f"{path}: the file is empty. Save the notebook again.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotebookError(
            f"{path}: not UTF-8 text (byte {error.start}). Export it again from Jupyter."
        ) from None


def _parse(path: Path, parse: Any) -> dict[str, Any]:
    way = "Open it in Jupyter and save it again."
    logger = logging.getLogger("traitlets")  # nbformat tells it of every oddity; we say our own
    was, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _dict(parse())
    except RecursionError:
        raise NotebookError(f"{path}: nested too deeply to be a notebook.") from None
    except json.JSONDecodeError as error:
        raise NotebookError(f"{path}: not a notebook ({error}). {way}") from None
    except Exception:  # noqa: BLE001 - parsers of hostile files raise anything, in words of their own
        raise NotebookError(f"{path}: not a notebook as Jupyter writes it. {way}") from None
    finally:
        logger.disabled = was


def _drop_what_is_not_graded(path: Path, notebook: dict[str, Any]) -> None:
    """Drop outputs, attachments and most metadata before the format is looked at."""
    sheets = _list(notebook.get("worksheets"))  # before nbformat 4
    _refuse_crowd(path, sheets)
    notebook["metadata"] = _read_metadata(notebook)
    for holder in (notebook, *sheets):
        cells = _list(_dict(holder).get("cells"))
        _refuse_crowd(path, cells)
        for cell in cells:
            if isinstance(cell, dict):
                cell.pop("attachments", None)
                cell["metadata"] = _read_metadata(cell)
                if "outputs" in cell:
                    cell["outputs"] = []


def _read_metadata(holder: dict[str, Any]) -> dict[str, Any]:
    """Return what we read of the metadata of a notebook or a cell, however deep the rest is."""
    metadata = _dict(holder.get("metadata"))
    tags = [tag for tag in _list(metadata.get("tags")) if isinstance(tag, str)]
    parts = {
        "autograder": {"lesson": _dict(metadata.get("autograder")).get("lesson")},
        "nbgrader": {"grade_id": _dict(metadata.get("nbgrader")).get("grade_id")},
        "free_text": metadata.get("free_text"),
    }
    texts = {name: value for name, value in parts.items() if _is_of_texts(value)}
    return texts | ({"tags": tags} if tags else {})


def _is_of_texts(value: object) -> bool:
    parts = value.values() if isinstance(value, dict) else [value]
    return all(isinstance(part, str) for part in parts)


def _without_header(text: str) -> str:
    """Return a py:percent file without its YAML, whose aliases can grow without end."""
    lines = text.split("\n")
    marks = [number for number, line in enumerate(lines) if re.fullmatch(r"#\s*---\s*", line)]
    first_cell = next((n for n, line in enumerate(lines) if line.startswith("# %%")), len(lines))
    if len(marks) < 2 or marks[0] > first_cell:
        return text
    return "\n".join(lines[: marks[0]] + lines[marks[1] + 1 :])


def _cell(number: int, raw: dict[str, Any]) -> Cell:
    source = raw.get("source")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    text = source if isinstance(source, str) else ""
    metadata = _dict(raw.get("metadata"))
    grade_id = _dict(metadata.get("nbgrader")).get("grade_id") or metadata.get("free_text") or ""
    return Cell(
        number,
        text.encode("utf-8", "replace").decode("utf-8"),
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


def defined_names(source: str) -> list[str]:
    """Return the names that a cell defines at its top level.

    None where it does not parse, or is longer than `MAX_CELL`.
    """
    names: list[str] = []
    for node in _body(source):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [name for target in node.targets for name in _bound(target)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return list(dict.fromkeys(names))


@functools.lru_cache(maxsize=64)
def qualified_names(source: str) -> frozenset[str]:
    """Return what the functions and classes of a cell are called in full, as in ``A.f.<locals>.g``.

    None where it does not parse, or is longer than `MAX_CELL`.
    """
    names: set[str] = set()
    open_: list[tuple[str, ast.AST]] = [("", node) for node in _body(source)]
    while open_:
        before, node = open_.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = node.name
        else:
            name = _UNNAMED.get(type(node), "")
        if name:
            names.add(before + name)
            inside = "." if isinstance(node, ast.ClassDef) else ".<locals>."
            before = f"{before}{name}{inside}"
        open_ += [(before, child) for child in ast.iter_child_nodes(node)]
    return frozenset(names)


_UNNAMED: dict[type[ast.AST], str] = {
    ast.Lambda: "<lambda>",
    ast.ListComp: "<listcomp>",
    ast.SetComp: "<setcomp>",
    ast.DictComp: "<dictcomp>",
    ast.GeneratorExp: "<genexpr>",
}


def _bound(target: ast.expr) -> list[str]:
    """Return the names that an assignment's target binds, one level of a tuple or list deep."""
    parts = target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    return [part.id for part in parts if isinstance(part, ast.Name)]


def _body(source: str) -> list[ast.stmt]:
    """Return a cell's statements, magics apart; none if it does not parse, or is too long."""
    if len(source) > MAX_CELL:
        return []
    return _parsed(source) or _parsed("\n".join(map(_without_magic, source.split("\n"))))


def _parsed(source: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _without_magic(line: str) -> str:
    """Return a line as Python: IPython's own transformer takes minutes over a hostile cell."""
    text = line.strip()
    indent = line[: len(line) - len(line.lstrip())]
    if text.startswith(("%", "!", "?")) or text.endswith("?"):
        return f"{indent}pass"
    left, equals, right = line.partition("=")
    return f"{left}= 0" if equals and right.lstrip().startswith(("%", "!")) else line


def find(paths: tuple[Path, ...]) -> list[Path]:
    """Return the notebooks among `paths`, folders searched, in a stable order.

    Raises:
        NotebookError: a path that is not there, or a folder without notebooks.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            if not (inside := within(path)):
                raise NotebookError(f"{path}: no notebook (*.ipynb) in this folder.")
            found += inside
        elif path.is_symlink() or path.exists():
            found.append(path)
        else:
            raise NotebookError(f"{path}: no such file or folder.")
    return list(dict.fromkeys(found))


def within(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and below it, without hidden ones, in a stable order."""
    return sorted(
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*names, *folders)  # a folder called so is no notebook, and is told of
        if name.endswith(".ipynb")
        and not any(part[0] == "." for part in Path(place, name).relative_to(folder).parts)
    )
