"""What answers need of a notebook's other cells, told from their text alone: nothing is run.

A statement matters to some names if it binds one of them, and then all that it uses matters too.
What is told so errs on the careful side: a name counts as bound wherever a value behind it may have
been changed. What goes by text in strings (`exec`, `globals()`) is not seen.
"""

from __future__ import annotations

import ast
import builtins
import symtable
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autograder.notebook import Cell, statements

DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BUILTINS = frozenset(dir(builtins))
_UNSEEN = frozenset({"exec", "eval", "globals", "locals", "vars", "*"})
"""What changes names in a way that the text of a statement does not show; so does ``%reset``."""
MAX_CODE = 200_000
"""Characters, of all cells together, that are read."""


@dataclass(frozen=True)
class Statement:
    """One statement at a cell's top level.

    Attributes:
        cell: the cell's number.
        binds: the names to which it gives a value, or whose value it may change.
        uses: the names that it reads, in functions that it defines too.
        is_definition: whether it is an import or defines a function or class.
        lines: its first and last line, from 1.
    """

    cell: int
    binds: frozenset[str]
    uses: frozenset[str]
    is_definition: bool
    lines: tuple[int, int]


class Dependencies:
    """What the cells of one notebook need of each other."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        """Read the cells, of `MAX_CODE` in all; one that does not parse has no statements."""
        parsed = [(cell.number, node) for cell in cells for node in statements(cell.source)]
        fixed = {name for _, node in parsed for name in _defined(node)}
        self._all = [_statement(number, node, fixed) for number, node in parsed]
        self._of: dict[int, list[Statement]] = {}
        for statement in self._all:
            self._of.setdefault(statement.cell, []).append(statement)
        self._sources = {cell.number: cell.source for cell in cells}
        self._binding: dict[str, list[int]] = {}
        for number, statement in enumerate(self._all):
            for name in statement.binds:
                self._binding.setdefault(name, []).append(number)
        self._opaque = {each.cell for each in self._all if (each.binds | each.uses) & _UNSEEN}
        self._opaque |= {cell.number for cell in cells if "%reset" in cell.source}

    def needed(self, wanted: Iterable[str]) -> frozenset[str]:
        """Return the names that matter to some, these and Python's own included."""
        found: set[str] = set()
        open_, seen = set(wanted), set[int]()
        while open_:
            found.add(name := open_.pop())
            for number in self._binding.get(name, ()):
                if number not in seen:
                    seen.add(number)
                    open_ |= self._all[number].uses - found
        return frozenset(found)

    def changing(self, names: frozenset[str]) -> dict[str, list[int]]:
        """Return, for each of these names that cells may change, the cells' numbers in order."""
        return {
            name: list(dict.fromkeys(self._all[number].cell for number in self._binding[name]))
            for name in sorted(names & self._binding.keys())
        }

    def is_opaque(self, cell: int) -> bool:
        """Whether a cell may change names in a way that its text does not show."""
        return cell in self._opaque

    def definitions(self, cell: int, names: frozenset[str] | None = None) -> str:
        """Return a cell's text with its imports and definitions only; all, or those of `names`.

        Lines keep their numbers.
        """
        kept: set[int] = set()
        for statement in self._of.get(cell, ()):
            is_wanted = names is None or statement.binds & names
            if statement.is_definition and is_wanted:
                first, last = statement.lines
                kept |= set(range(first, last + 1))
        lines = enumerate(self._sources[cell].split("\n"), start=1)
        return "\n".join(line if number in kept else "" for number, line in lines).rstrip()


def _statement(number: int, node: ast.stmt, fixed: set[str]) -> Statement:
    parts, is_definition = list(ast.walk(node)), isinstance(node, DEFINITIONS)
    names = [part for part in parts if isinstance(part, ast.Name)]
    uses = {name.id for name in names if isinstance(name.ctx, ast.Load)}
    if is_definition:
        uses -= _local(node)
    binds = _defined(node)
    if not is_definition:  # what a function does, it does when it is called
        binds = set[str]().union(*(_changed(part, fixed) for part in parts))
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
    lines = first, node.end_lineno or node.lineno
    return Statement(number, frozenset(binds), frozenset(uses), is_definition, lines)


def _local(node: ast.stmt) -> set[str]:
    """Return the names in a definition that are nowhere in it the cell's: parameters, variables."""
    try:
        open_ = [symtable.symtable(ast.unparse(node), "<cell>", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # the careful side
    local, outer = set[str](), set[str]()
    while open_:
        table = open_.pop()
        open_ += table.get_children()
        for symbol in table.get_symbols():
            is_outer = symbol.is_global() or table.get_type() == "module"
            (outer if is_outer else local).add(symbol.get_name())
    return local - outer


def _defined(node: ast.AST) -> set[str]:
    """Return the names that an import, a function's or a class's definition binds."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    return set()


def _changed(part: ast.AST, fixed: set[str]) -> set[str]:
    """Return the names to which a part of a statement gives a value, or whose value it may change.

    A call may change what it is given and what it is a method of, but no function, class or module.
    """
    match part:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case ast.Attribute(ctx=ast.Store() | ast.Del()):
            return _root(part)
        case ast.Subscript(ctx=ast.Store() | ast.Del()):
            return _root(part)
        case ast.Call():
            owner = [part.func] if isinstance(part.func, ast.Attribute) else []
            given = [*owner, *part.args, *(each.value for each in part.keywords)]
            return set[str]().union(*map(_root, given)) - fixed - _BUILTINS
    return _defined(part)


def _root(part: ast.AST) -> set[str]:
    """Return the name at the left of a chain of attributes and items."""
    while isinstance(part, (ast.Attribute, ast.Subscript, ast.Starred)):
        part = part.value
    return {part.id} if isinstance(part, ast.Name) else set()
