"""How much of a submission's own words a hidden check tells: they could carry its inputs out."""

from __future__ import annotations

import builtins

A_CHECK, A_SUBMISSION = 100, 1_000
"""Characters, of exceptions' names and texts together, that hidden checks tell at most."""
_KNOWN = {name for name, value in vars(builtins).items() if isinstance(value, type)}
_KNOWN |= {"Missing", "WireError", "OutOfMemoryError", "LinAlgError"}
UNNAMED = "an exception"


class Disclosure:
    """Cuts what is told of exceptions in hidden checks; what has been told once is free."""

    def __init__(self) -> None:
        """Begin a submission."""
        self._left, self._left_here = A_SUBMISSION, A_CHECK
        self._told: dict[tuple[str, str], tuple[str, str]] = {}

    def begin_check(self) -> None:
        """Begin a check."""
        self._left_here = A_CHECK

    def told(self, name: str, text: str) -> tuple[str, str]:
        """Return what may be told of an exception's class name and text, and count it."""
        if (name, text) not in self._told:
            room = max(min(self._left, self._left_here), 0)
            chosen = "" if name in _KNOWN else name[:room]
            cut = text[: room - len(chosen)]
            self._left -= len(chosen) + len(cut)
            self._left_here -= len(chosen) + len(cut)
            self._told[name, text] = (name if name in _KNOWN else chosen or UNNAMED), cut
        return self._told[name, text]
