"""What came back of a request: a value, or what the submission's code raised."""

from __future__ import annotations

from typing import Any

from autograder.sandbox.child import MAX_NAME, MAX_TEXT
from autograder.sandbox.errors import StudentError
from autograder.sandbox.wire import WireError
from autograder.text import clean


def value_of(reply: Any, longest: int = MAX_TEXT) -> Any:
    """Return the value in a reply, as `wire.decode` gives both.

    Args:
        reply: the reply: evidence, of any form.
        longest: characters of an exception's text that are kept.

    Raises:
        StudentError: the code raised.
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
            raise StudentError(
                clean(kind, MAX_NAME), clean(text, longest), clean(where, MAX_NAME), known[:20]
            )
    raise WireError("a reply that is neither a value nor an error")
