"""The mutants of a piece of Python: each changes one place, by an operator of mutation testing.

Written on `ast`. mutmut and cosmic-ray mutate the modules of a package and run its test command;
here a mutant is a cell of a notebook that is graded, and half of the operators (a `dim`, `detach`,
`no_grad`, a mode, in place or not) are of no concern to a library that does not know torch.
"""

from __future__ import annotations

import ast
import copy
import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch

Scope = tuple[ast.FunctionDef | ast.ClassDef, ...]

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip
ONE_WAY = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
"""Operators whose operands cannot be swapped."""
PAIRS = (
    "mean sum", "max min", "amax amin", "argmax argmin", "any all", "train eval", "zeros ones",
    "maximum minimum", "zeros_like ones_like", "new_zeros new_ones", "floor ceil",
)  # fmt: skip
OTHER = {a: b for pair in PAIRS for a, b in (pair.split(), pair.split()[::-1])}
ATOMS = (ast.Attribute, ast.Call, ast.Constant, ast.Name, ast.Slice, ast.Subscript)
"""What never needs brackets."""


@dataclass(frozen=True)
class Mutant:
    """A cell with one place changed."""

    where: str
    """the function, as in ``LoRALinear.forward``, or an empty text"""
    change: str
    """the lines that differ, as a diff has them"""
    nth: int
    """which of the equal changes of equal lines of a function, from 1"""
    source: str


def mutants(source: str) -> list[Mutant]:
    """Return the mutants of a cell: of what stands in its solution, and of its defaults."""
    tree = ast.parse(source)
    text = _Text(source)
    made: dict[str, tuple[str, str]] = {}
    for where, node, new in _changes(tree, text.solution):
        mutated = text.with_(node, new)
        if mutated != source and mutated not in made:
            made[mutated] = (where, _difference(source, mutated))
    seen = Counter[tuple[str, str]]()
    found = []
    for mutated, (where, change) in made.items():
        seen[where, change] += 1
        found.append(Mutant(where, change, seen[where, change], mutated))
    return found


def _difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(line.rstrip() for line in list(lines)[2:] if not line.startswith("@@"))


class _Text:
    """A cell's text, of which the place of a node can be replaced."""

    def __init__(self, source: str) -> None:
        self._lines = source.encode().splitlines(keepends=True)
        self.solution: set[int] = set()
        inside = False
        for number, line in enumerate(source.splitlines(), start=1):
            inside = (inside or line.strip() == BEGIN) and line.strip() != END
            if inside:
                self.solution.add(number)

    def with_(self, node: ast.AST, new: ast.AST | str) -> str:
        """Return the text with `new` in the place of a node, in brackets where they matter."""
        text = new if isinstance(new, str) else ast.unparse(new)
        plain = self._spliced(node, text)
        if isinstance(new, ast.expr) and not isinstance(new, ATOMS):
            bracketed = self._spliced(node, f"({text})")
            if _tree(bracketed) not in ("", _tree(plain)):
                return bracketed
        return plain

    def _spliced(self, node: ast.AST, text: str) -> str:
        start = self._offset(node.lineno, node.col_offset)
        end = self._offset(node.end_lineno, node.end_col_offset)
        whole = b"".join(self._lines)
        return (whole[:start] + text.encode() + whole[end:]).decode()

    def _offset(self, line: int, column: int) -> int:
        return sum(map(len, self._lines[: line - 1])) + column


def _tree(source: str) -> str:
    try:
        return ast.dump(ast.parse(source))
    except SyntaxError:
        return ""


def _changes(tree: ast.Module, lines: set[int]) -> Iterator[tuple[str, ast.AST, ast.AST | str]]:
    """Yield (the function, a node, what to put in its place) for each mutant."""

    def walk(
        node: ast.AST, scope: tuple[ast.AST, ...]
    ) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return  # what an error says is not asked for
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            scope = (*scope, node)
        yield node, scope
        for child in ast.iter_child_nodes(node):
            yield from walk(child, scope)

    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node, scope in walk(tree, ()):
        is_default = any(
            isinstance(f, ast.FunctionDef) and node in (*f.args.defaults, *f.args.kw_defaults)
            for f in scope
        )
        if getattr(node, "lineno", 0) not in lines and not is_default:
            continue
        where = ".".join(each.name for each in scope)
        if isinstance(node, ast.stmt):
            function = scope[-1] if scope else tree
            changes = _statement(node, parents[node], function)
        else:
            changes = ((node, new) for new in _expression(node, parents[node]))
        for old, new in changes:
            yield where, old, new


# --------------------------------------------------------------------------------------- statements


def _statement(
    node: ast.stmt, parent: ast.AST, function: ast.AST
) -> Iterator[tuple[ast.AST, ast.AST | str]]:
    if _may_be_dropped(node, parent, function):
        yield node, "pass"
    match node:
        case ast.Break():
            yield node, "continue"
        case ast.Continue():
            yield node, "break"
        case ast.With(items=items):  # its body alone
            head = ast.Pass(
                lineno=node.lineno, col_offset=node.col_offset,
                end_lineno=items[-1].context_expr.end_lineno,
                end_col_offset=items[-1].context_expr.end_col_offset,
            )  # fmt: skip
            if not any(item.optional_vars for item in items):
                yield head, "if True"
        case ast.AugAssign(target=target, op=op, value=value):
            left = copy.deepcopy(target)
            if type(op) in ARITHMETIC:
                yield node, ast.AugAssign(target, ARITHMETIC[type(op)](), value)
            yield node, ast.Assign([target], ast.BinOp(left, op, value), lineno=0)
        case ast.Assign(targets=[target], value=ast.BinOp(left=left, op=op, right=right)):
            if ast.unparse(target) == ast.unparse(left):
                yield node, ast.AugAssign(target, op, right)
        case ast.If(test=test) | ast.While(test=test) | ast.Assert(test=test):
            yield from ((test, new) for new in _negated(test))


def _may_be_dropped(node: ast.stmt, parent: ast.AST, function: ast.AST) -> bool:
    """Whether what is left can run, and is not what dropping the statement around it leaves."""
    if isinstance(parent, ast.If) and parent.body == [node] and not parent.orelse:
        return False
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.FunctionDef() | ast.ClassDef():
            return False
        case ast.Import() | ast.ImportFrom() | ast.With():
            return False
        case ast.Return():
            return node is not function.body[-1]
        case ast.Assign(targets=targets) if any(isinstance(t, ast.Name) for t in targets):
            names = {t.id for t in targets if isinstance(t, ast.Name)}
            others = {
                each.id if isinstance(each, ast.Name) else each.arg
                for each in ast.walk(function)
                if isinstance(each, ast.arg)
                or (
                    isinstance(each, ast.Name)
                    and isinstance(each.ctx, ast.Store)
                    and each not in targets
                )
            }
            return names <= others  # without it they would be unknown
        case ast.Assign(targets=[ast.Tuple()]):
            return False
    return True


# -------------------------------------------------------------------------------------- expressions


def _expression(node: ast.AST, parent: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=rights):
            for i, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], rights)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
            yield from (_without(node, "values", i) for i in range(len(values)))
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in ARITHMETIC:
                yield ast.BinOp(left, ARITHMETIC[type(op)](), right)
            if isinstance(op, ONE_WAY) and ast.unparse(left) != ast.unparse(right):
                yield ast.BinOp(right, op, left)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.UnaryOp(op=ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.Constant(value=value):
            if not _is_text(node, parent):
                yield from map(ast.Constant, _other_values(value))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield from (ast.IfExp(new, body, orelse) for new in _negated(test))
            yield body
            yield orelse
        case ast.Slice(lower=lower, upper=upper, step=step):
            yield from (ast.Slice(*[None if p is part else p for p in (lower, upper, step)])
                        for part in (lower, upper, step) if part is not None)  # fmt: skip
        case ast.Attribute(value=value, attr="T" | "mT", ctx=ast.Load()):
            yield value
        case ast.Attribute(attr="training", ctx=ast.Load()):
            yield ast.UnaryOp(ast.Not(), node)
        case ast.Name(id=name, ctx=ast.Load()) if name in OTHER and isinstance(parent, ast.Call):
            yield ast.Name(OTHER[name])
        case ast.Call():
            yield from _call(node)
    if isinstance(parent, ast.comprehension) and node in parent.ifs:
        yield from _negated(node)
        yield ast.Constant(True)


def _negated(test: ast.expr) -> Iterator[ast.expr]:
    """Yield the opposite of a condition, unless an operator of its own makes it."""
    is_own = isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and len(test.ops) == 1)
    if not is_own:
        yield ast.UnaryOp(ast.Not(), test)


def _is_text(node: ast.Constant, parent: ast.AST) -> bool:
    return isinstance(parent, ast.Expr) or node.value in (None, Ellipsis)


def _other_values(value: object) -> tuple[object, ...]:
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1, value - 1) if value > 0 else (1,)
        case float():
            return (value * 2, value / 2) if value else (1.0,)
        case str():
            return (f"{value}_",)
    return ()


def _call(node: ast.Call) -> Iterator[ast.expr]:
    function, args, keywords = node.func, node.args, node.keywords
    for i in range(len(keywords)):
        if keywords[i].arg is not None:
            yield _without(node, "keywords", i)
        if keywords[i].arg in ("dim", "axis") and ast.unparse(keywords[i].value) == "0":
            minus = ast.keyword(keywords[i].arg, ast.UnaryOp(ast.USub(), ast.Constant(1)))
            yield ast.Call(function, args, [*keywords[:i], minus, *keywords[i + 1 :]])
    for i in range(len(args) - 1):
        yield ast.Call(function, [*args[:i], args[i + 1], args[i], *args[i + 2 :]], keywords)
    if len(args) > 1 and not isinstance(args[-1], ast.Starred):
        yield _without(node, "args", len(args) - 1)
    if ast.unparse(function) == "isinstance" and isinstance(args[1], ast.Tuple):
        for i in range(len(args[1].elts)):
            yield ast.Call(function, [args[0], _without(args[1], "elts", i)], [])
    name = getattr(function, "id", getattr(function, "attr", ""))
    if name.islower() and len(args) == 1 and not isinstance(args[0], ast.Starred | ast.Constant):
        yield args[0]  # deepcopy(x), sorted(x), self.dropout(x)
    if not isinstance(function, ast.Attribute):
        return
    others = {OTHER[name]} if name in OTHER else set()
    if not _is_module_or_self(function.value):
        yield function.value  # x.detach(), x.clone(), x.float()
        others |= _in_place_or_not(name)
    if name == "train" and args:
        others = set()
        yield ast.Call(function, [ast.UnaryOp(ast.Not(), args[0])], keywords)
    for other in sorted(others):
        yield ast.Call(ast.Attribute(function.value, other), args, keywords)


def _in_place_or_not(name: str) -> set[str]:
    other = name[:-1] if name.endswith("_") else f"{name}_"
    return {other} if callable(getattr(torch.Tensor, other, None)) else set()


def _is_module_or_self(node: ast.expr) -> bool:
    """Whether it is, by the course's names, what a method cannot be left out behind."""
    match ast.unparse(node).split(".")[0].split("(")[0]:
        case "torch" | "nn" | "F" | "np" | "math" | "copy" | "super" | "itertools" | "scipy":
            return not any(isinstance(each, ast.Call) for each in ast.walk(node)) or (
                ast.unparse(node) == "super()"
            )
        case "self":
            return isinstance(node, ast.Name)
    return False


def _without(node: ast.expr, field: str, i: int) -> ast.expr:
    """Return a node without one of its parts."""
    made = copy.copy(node)
    parts = list(getattr(node, field))
    del parts[i]
    setattr(made, field, parts)
    return parts[0] if isinstance(node, ast.BoolOp) and len(parts) == 1 else made
