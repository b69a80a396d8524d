"""How much of a submission's own words a hidden check tells: they could carry its inputs out."""

from __future__ import annotations

import builtins

from autograder.sandbox.errors import DEBUGGER

A_CHECK, A_SUBMISSION = 100, 1_000
"""Characters that hidden checks tell at most, of exceptions' names and texts and of values."""
_KNOWN = {name for name, value in vars(builtins).items() if isinstance(value, type)}
_KNOWN |= {"Missing", "WireError", "line", "OutOfMemoryError", "LinAlgError", DEBUGGER}
UNNAMED = "an exception"


class Disclosure:
    """Cuts what hidden checks tell of what came; an exception that has been told once is free."""

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
            chosen = "" if name in _KNOWN else self._counted(name)
            shown = name if name in _KNOWN else chosen or UNNAMED
            self._told[name, text] = shown, self._counted(text)
        return self._told[name, text]

    def seen(self, text: str) -> str:
        """Return what may be told of a value that came, and count it."""
        cut = self._counted(text)
        return cut if cut == text else f"{cut}…"

    def _counted(self, text: str) -> str:
        cut = text[: max(min(self._left, self._left_here), 0)]
        self._left -= len(cut)
        self._left_here -= len(cut)
        return cut
