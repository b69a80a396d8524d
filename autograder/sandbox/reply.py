"""What came back of a request: a value, or what the submission's code raised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autograder.notebook import Cell, qualified_names
from autograder.sandbox.child import MAX_NAME, MAX_QUALIFIED, MAX_TEXT
from autograder.sandbox.errors import StudentError
from autograder.sandbox.wire import WireError
from autograder.text import clean

_PLACE = re.compile(r"(?:(.*), )?cell ([0-9]{1,6}), line ([0-9]{1,6})")


def outcome_of(reply: Any, cells: Sequence[Cell] | None = None) -> Any:
    """Return the value in a reply, as `wire.decode` gives both, or the error that was raised.

    Args:
        reply: the reply: evidence, of any form.
        cells: the code that may have raised; a place that is not in it is not told.

    Returns:
        Plain data, or the `StudentError`.

    Raises:
        WireError: the reply is neither a value nor an error.
    """
    match reply:
        case {"value": value} if len(reply) == 1:
            return value
        case {"error": {"type": str(kind), "text": str(text), "where": str(where), **rest}} if (
            len(reply) == 1
        ):
            bases = rest.get("bases", [])
            known = tuple(b for b in bases if type(b) is str) if type(bases) is list else ()
            place = where if cells is None else _place_in(cells, where)
            return StudentError(
                clean(kind, MAX_NAME),
                clean(text, MAX_TEXT),
                clean(place, MAX_NAME),
                known[:20],
                rest.get("own") is not False,
            )
    raise WireError("a reply that is neither a value nor an error")


def _place_in(cells: Sequence[Cell], where: str) -> str:
    """Return the part of "function, cell 3, line 2" that can be, as the cells are written.

    A code object's names and lines are its owner's to choose: they could carry anything out.
    """
    found = _PLACE.fullmatch(where) if len(where) <= MAX_NAME else None
    if found is None:
        return ""
    name, number, line = found[1] or "", int(found[2]), int(found[3])
    text = next((cell.source for cell in cells if cell.number == number), None)
    lines = text.split("\n") if text is not None else []
    if text is None or not 0 < line <= len(lines) or not lines[line - 1].strip():
        return ""
    known = name in qualified_names(text, MAX_QUALIFIED)
    return f"{name}, cell {number}, line {line}" if known else f"cell {number}, line {line}"
