"""What came back of a request: a value, or what the submission's code raised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autograder.notebook import Cell
from autograder.sandbox.child import MAX_NAME, MAX_TEXT
from autograder.sandbox.errors import StudentError
from autograder.sandbox.wire import WireError
from autograder.text import clean

_PLACE = re.compile(r"(?:(?P<name>.*), )?(?P<there>cell (?P<cell>\d{1,6}), line (?P<line>\d{1,6}))")
_UNNAMED = ("<locals>", "<lambda>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


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
                clean(kind, MAX_NAME), clean(text, MAX_TEXT), clean(place, MAX_NAME), known[:20]
            )
    raise WireError("a reply that is neither a value nor an error")


def _place_in(cells: Sequence[Cell], where: str) -> str:
    """Return the part of "function, cell 3, line 2" that can be, as the cells are written.

    A code object's names are its owner's to choose: they could carry anything out.
    """
    found = _PLACE.fullmatch(where)
    texts = {cell.number: cell.source for cell in cells}
    text = texts.get(int(found["cell"])) if found else None
    if found is None or text is None or int(found["line"]) > text.count("\n") + 1:
        return ""
    parts = [part for part in (found["name"] or "").split(".") if part not in _UNNAMED]
    if not found["name"] or not all(re.search(rf"\b{re.escape(part)}\b", text) for part in parts):
        return found["there"]
    return where
