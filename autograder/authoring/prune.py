"""Modules without what nobody needs: so that a release holds no helper of hidden checks alone."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence

Need = tuple[str, str]
"""A module and a name in it; an empty name is the module as a whole."""


def prune(modules: Mapping[str, str], users: Sequence[str]) -> dict[str, str]:
    """Return `modules` without the definitions that the `users` do not need, directly or not.

    A module that nobody needs is left out.

    Args:
        modules: dotted name → source. At its top level a module holds imports and definitions.
        users: sources that take from them, by ``from … import …``.
    """
    parsed = {name: _Source(text, modules, name) for name, text in modules.items()}
    new = {need for user in users for need in _Source(user, modules).all_needs()}
    needed: set[Need] = set()
    while new:
        needed |= new
        new = {need for module, name in new for need in parsed[module].needs(name)} - needed
    names = {module: {name for its, name in needed if its == module} for module in parsed}
    return {module: parsed[module].kept(its) for module, its in names.items() if its}


class _Source:
    """A source in parts: a top-level statement with the comments above and the text below it."""

    def __init__(self, text: str, modules: Collection[str], name: str = "") -> None:
        self._name, self._lines = name, text.splitlines(keepends=True)
        self._tree = ast.parse(text)
        self._taken = dict(_taken(self._tree, modules))
        self._parts: list[tuple[ast.stmt, int, int]] = []
        end = 0
        for statement in self._tree.body:
            start, end = end, statement.end_lineno or end
            if self._parts and isinstance(statement, ast.Expr):  # what is said of a constant
                statement, start, _ = self._parts.pop()
            self._parts.append((statement, start, end))
        self._defined = {name: part[0] for part in self._parts for name in _defined(part[0])}

    def all_needs(self) -> set[Need]:
        """Return what the whole source takes from the modules."""
        return {*self._taken.values(), *self._needs_of(self._tree)}

    def needs(self, name: str) -> set[Need]:
        """Return what one definition needs, of this source or of others."""
        statement = self._defined.get(name)
        return set() if statement is None else set(self._needs_of(statement))

    def _needs_of(self, node: ast.AST) -> Iterator[Need]:
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                if each.id in self._taken:
                    yield self._taken[each.id]
                elif each.id in self._defined and self._name:
                    yield self._name, each.id
            elif isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
                module, name = self._taken.get(each.value.id, ("", ""))
                if module and not name:
                    yield module, each.attr

    def kept(self, names: Collection[str]) -> str:
        """Return the source with the definitions of these names, and the imports that they use."""
        kept = [part for part in self._parts if self._stays(part[0], names)]
        used = {
            each.id
            for statement, _, _ in kept
            for each in ast.walk(statement)
            if isinstance(each, ast.Name)
        }
        text = ""
        for statement, start, end in kept:
            if not isinstance(statement, (ast.Import, ast.ImportFrom)) or _is_future(statement):
                text += "".join(self._lines[start:end])
            elif aliases := [alias for alias in statement.names if _bound(alias) in used]:
                whole = len(aliases) == len(statement.names)
                statement.names = aliases
                until = end if whole else statement.lineno - 1
                text += "".join(self._lines[start:until])
                text += "" if whole else ast.unparse(statement) + "\n"
        return text

    @staticmethod
    def _stays(statement: ast.stmt, names: Collection[str]) -> bool:
        defined = _defined(statement)
        return not defined or any(name in names for name in defined)


def _taken(tree: ast.AST, modules: Collection[str]) -> Iterator[tuple[str, Need]]:
    """Yield each name that a source binds to something of `modules`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                if node.module in modules:
                    yield _bound(alias), (node.module, alias.name)
                elif (module := f"{node.module}.{alias.name}") in modules:
                    yield _bound(alias), (module, "")


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def _defined(statement: ast.stmt) -> list[str]:
    """Return the names that a top-level statement defines."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
