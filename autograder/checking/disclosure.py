"""How much of a submission's own words a hidden check tells: they could carry its inputs out."""

from __future__ import annotations

import builtins

from autograder.sandbox.errors import StudentError
from autograder.sandbox.session import Death

A_CHECK, A_SUBMISSION = 100, 1_000
"""Characters, of exceptions' names and texts together, that hidden checks tell at most."""
_KNOWN = {name for name, value in vars(builtins).items() if isinstance(value, type)}
_KNOWN |= {"Missing", "WireError", "OutOfMemoryError", "LinAlgError"}


class Disclosure:
    """Cuts what exceptions say in hidden checks; what has been told once is free."""

    def __init__(self) -> None:
        """Begin a submission."""
        self._left, self._left_here = A_SUBMISSION, A_CHECK
        self._told: dict[tuple[str, str], tuple[str, str]] = {}

    def begin_check(self) -> None:
        """Begin a check."""
        self._left_here = A_CHECK

    def cut(self, error: StudentError) -> StudentError:
        """Return an error that tells no more than may be told; a `Death` has words of ours."""
        if isinstance(error, Death):
            return error
        said = error.type_name, error.text
        if said not in self._told:
            self._told[said] = self._cut(*said)
        return StudentError(*self._told[said], error.where, error.bases)

    def _cut(self, name: str, text: str) -> tuple[str, str]:
        room = max(min(self._left, self._left_here), 0)
        chosen = "" if name in _KNOWN else name[:room]
        text = text[: room - len(chosen)]
        self._left -= len(chosen) + len(text)
        self._left_here -= len(chosen) + len(text)
        return name if name in _KNOWN else chosen or "an exception", text
