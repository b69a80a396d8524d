"""What a check's functions carry into the submission's process: what they do, and no more.

A submission can walk from its own frames to those of a probe that calls it. What a probe does
cannot be hidden where it runs; where it is from and what it is for can.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
from typing import Any

from autograder.sandbox.child import CHECK

NAME = "f"
GLOBALS = {"__name__": NAME}
"""What cloudpickle would take of a module's globals is its name, package and file."""
_LOADS_CONSTANT = ("LOAD_CONST", "RETURN_CONST", "KW_NAMES", "LOAD_CONST_IMMORTAL")
_HAS_DOCSTRING = 0x4000000
"""A flag of code objects from Python 3.14 on; before, a docstring is the first constant."""


@functools.lru_cache(maxsize=4096)
def bare_code(code: types.CodeType) -> types.CodeType:
    """Return code that does the same, without its file, name, lines and docstring."""
    constants = code.co_consts
    if _has_docstring(code) and not _uses_first_constant(code):
        constants = (None, *constants[1:])
    return code.replace(
        co_filename=CHECK, co_name=NAME, co_qualname=NAME, co_firstlineno=1,
        co_linetable=_one_line(len(code.co_code) // 2), co_consts=constants,
    )  # fmt: skip


def bare_reduced(obj: object, reduced: Any) -> Any:
    """Take names and docstrings out of what cloudpickle makes of a function or class, by value."""
    if not isinstance(reduced, tuple) or len(reduced) != 6:
        return reduced
    if isinstance(obj, types.FunctionType):
        reduced[2][1].update(__doc__=None, __name__=NAME, __qualname__=NAME, __module__=NAME)
    elif isinstance(obj, type) and "__doc__" in reduced[2][0]:
        reduced[2][0]["__doc__"] = None
    return reduced


def _has_docstring(code: types.CodeType) -> bool:
    if sys.version_info >= (3, 14):
        return bool(code.co_flags & _HAS_DOCSTRING)
    # what `def` makes has a docstring there, or None; what has a name in brackets is no `def`
    is_def = code.co_flags & 1 and not code.co_name.startswith("<")
    return bool(is_def and code.co_consts and isinstance(code.co_consts[0], str))


def _uses_first_constant(code: types.CodeType) -> bool:
    steps = dis.get_instructions(code)
    return any(step.opname in _LOADS_CONSTANT and step.arg == 0 for step in steps)


def _one_line(units: int) -> bytes:
    """Return a table of lines in which all is on the first: entries of at most eight units.

    Each has the form without columns, 13, and a difference of 0 to the line before
    (CPython's `InternalDocs/code_objects.md`, "Source code locations").
    """
    counts = [8] * (units // 8) + ([units % 8] if units % 8 else [])
    return b"".join(bytes([0x80 | 13 << 3 | count - 1, 0]) for count in counts)
