"""What is said where a check cannot make use of what came: whose it was, and what was needed."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autograder.checking.expect import short
from autograder.checking.transcript import Step, named

_OBJECT = re.compile(r"'(\w+)' object|non-iterable (\w+) object")


def misuse(asked: Iterable[Step], error: Exception) -> str:
    """Return a sentence for the learner, or nothing where the error is of the check's own making.

    Args:
        asked: what the check has asked for, and what came.
        error: what it raised.
    """
    steps = list(asked)
    if isinstance(error, AttributeError):
        source, value = named(steps, error.obj), error.obj
        needed = f"an object with `{error.name}`"
    elif isinstance(error, TypeError) and (found := _OBJECT.search(str(error))):
        kind = found[1] or found[2]
        came = [step.value for step in steps if type(step.value).__name__ == kind]
        value = came[-1] if came else None
        source = named(steps, value) if came else ""
        needed = str(error).partition(" object ")[2].replace("is not", "something", 1)
        needed = {"something callable": "what can be called"}.get(needed, "another type")
    else:
        return ""
    return f"`{source}` should give {needed}; it is {short(value)}." if source else ""
