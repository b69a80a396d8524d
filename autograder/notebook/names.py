"""The names that a cell's code defines, found without running any of it."""

from __future__ import annotations

import ast
import functools
import warnings

MAX_CELL = 100_000
"""Characters of a cell that are looked through."""


def defined_names(source: str) -> list[str]:
    """Return the names that a cell defines at its top level.

    None where it does not parse, or is longer than `MAX_CELL`.
    """
    names: list[str] = []
    for node in statements(source):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [name for target in node.targets for name in _bound(target)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return list(dict.fromkeys(names))


@functools.lru_cache(maxsize=64)
def qualified_names(source: str, longest: int) -> frozenset[str]:
    """Return what the functions and classes of a cell are called in full, as in ``A.f.<locals>.g``.

    Each is cut to `longest`: one long name would be there again in each that is inside it. None
    where the cell does not parse, or is longer than `MAX_CELL`.
    """
    names: set[str] = set()
    open_: list[tuple[str, ast.AST]] = [("", node) for node in statements(source)]
    while open_:
        before, node = open_.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = node.name
        else:
            name = _UNNAMED.get(type(node), "")
        if name:
            names.add((before + name)[:longest])
            inside = "." if isinstance(node, ast.ClassDef) else ".<locals>."
            before = f"{before}{name}{inside}"[:longest]
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


def statements(source: str) -> list[ast.stmt]:
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
