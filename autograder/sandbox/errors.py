"""What keeps a submission from answering: no sandbox, or what its own code raised."""

from __future__ import annotations

import re
from collections.abc import Callable


class SandboxError(Exception):
    """The sandbox cannot be had here; the text says why and what to do."""


UNDEFINED = "is not defined. Did its cell fail, or was it renamed?"
UNWRITTEN = "is not written yet."
_CALL = re.compile(r"\(\) (takes|missing|got an unexpected|got multiple)")
DEBUGGER = "WaitsForDebugger"
"""What is raised where a debugger would wait for someone."""
NOT_RUN = "Not run"
"""How the message of a check begins that was not reached."""
TOO_LONG = "Your code ran for more than"
"""How it begins where a call was stopped."""


class StudentError(Exception):
    """What the student's code raised, as plain text: evidence, never an object of theirs.

    Attributes:
        type_name: the exception's class name; ``Missing`` where a name is not defined.
        bases: the class names of its bases, itself first.
        text: its message, at most 2,000 characters.
        where: the student's function, cell and line, or an empty string.
        own: whether it came out of code of the student's, and not of what a check did with it.
        told: takes class name and text, and returns what `str()` says of them; None: all.
    """

    def __init__(
        self,
        type_name: str,
        text: str,
        where: str = "",
        bases: tuple[str, ...] = (),
        own: bool = True,
    ) -> None:
        """Keep the parts."""
        self.type_name, self.text, self.where, self.bases = type_name, text, where, bases
        self.own = own
        self.told: Callable[[str, str], tuple[str, str]] | None = None
        super().__init__(type_name, text, where, bases, own)

    @property
    def is_unwritten(self) -> bool:
        """Whether the task has not been begun: its name is missing, or its body."""
        unwritten = self.type_name == "NotImplementedError" and not self.text
        return unwritten or self.type_name == "Missing"

    def __str__(self) -> str:
        """Return the sentence that a learner reads."""
        if self.told is None:
            return self._sentence(self.type_name, self.text, self.where)
        kind, text = self.told(self.type_name, self.text)
        place, _, line = self.where.rpartition(", line ")
        if line and self.told("line", line)[1] != line:  # of a line's number, its digits are chosen
            return self._sentence(kind, text, place)
        return self._sentence(kind, text, self.where)

    def _sentence(self, kind: str, text: str, where: str) -> str:
        if kind == "Missing":
            return f"`{text}` {UNDEFINED}" if text else f"A name that is asked for {UNDEFINED}"
        if kind == "NotImplementedError" and not self.text:
            function, _, place = where.partition(", ")
            return f"`{function}` {UNWRITTEN}" if ", " in place else f"This {UNWRITTEN}"
        if kind == "WireError":
            return f"Your code returned {text or 'something'}, which cannot be graded."
        place = f" ({where})" if where else ""
        if kind == DEBUGGER:
            return f"Your code waits for a debugger: take out breakpoint() or set_trace(){place}"
        if not self.own and kind == "TypeError" and _CALL.search(self.text):
            return f"Your code cannot be called as the task says: {text}"
        if not self.own:
            raised = "" if kind == "AttributeError" else f"{kind}: "
            return f"What came of your code cannot be used here: {raised}{text}"
        return f"Your code raised {kind}{': ' if text else ''}{text}{place}"
