"""What keeps a submission from answering: no sandbox, or what its own code raised."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox cannot be had here; the text says why and what to do."""


UNDEFINED = "is not defined. Did its cell fail, or was it renamed?"
UNWRITTEN = "is not written yet."


class StudentError(Exception):
    """What the student's code raised, as plain text: evidence, never an object of theirs.

    Attributes:
        type_name: the exception's class name; ``Missing`` where a name is not defined.
        bases: the class names of its bases, itself first.
        text: its message, at most 2,000 characters.
        where: the student's function, cell and line, or an empty string.
    """

    def __init__(self, type_name: str, text: str, where: str = "", bases: tuple[str, ...] = ()):
        """Keep the parts; `str()` is the sentence that a learner reads."""
        self.type_name, self.text, self.where, self.bases = type_name, text, where, bases
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        if self.type_name == "Missing":
            return f"`{self.text}` {UNDEFINED}"
        if self.type_name == "NotImplementedError" and not self.text:
            function, _, place = self.where.partition(", ")
            return f"`{function}` {UNWRITTEN}" if ", " in place else f"This {UNWRITTEN}"
        if self.type_name == "WireError":
            return f"Your code returned {self.text}, which cannot be graded."
        place = f" ({self.where})" if self.where else ""
        text = f": {self.text}" if self.text else ""
        return f"Your code raised {self.type_name}{text}{place}"
