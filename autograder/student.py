"""The handle that checks hold on a submission, and the transport for one's own notebook.

`student.lora_forward(x, …)` sends a copy of the arguments to where the submission lives and
returns a copy of the result. Plain data and tensors come out as such; any other object stays
there and comes back as a `Handle`. The sandboxed transport is `sandbox.session.Session`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

import cloudpickle

from autograder.sandbox import peak, wire
from autograder.sandbox.child import MAX_NAME, MAX_TEXT, Executor

CALL_SECONDS = 5.0
"""The deadline of one call, unless the check's marker says otherwise."""


def clean(text: str, longest: int | None = None) -> str:
    """Return text of a submission's as any terminal, page or file takes it, cut to `longest`."""
    cut = text[:longest].encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in cut)


class StudentError(Exception):
    """What the student's code raised, as plain text: evidence, never an object of theirs.

    Attributes:
        type_name: the exception's class name; ``Missing`` where a name is not defined.
        bases: the class names of its bases, itself first.
        text: its message, at most 2,000 characters.
        where: the student's cell and line, or an empty string.
    """

    def __init__(self, type_name: str, text: str, where: str = "", bases: tuple[str, ...] = ()):
        """Keep the parts; `str()` is the sentence that a learner reads."""
        self.type_name, self.text, self.where, self.bases = type_name, text, where, bases
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        if self.type_name == "Missing":
            return f"`{self.text}` is not defined. Did its cell fail, or was it renamed?"
        if self.type_name == "NotImplementedError" and not self.text:
            return "This is not written yet."
        if self.type_name == "WireError":
            return f"Your code returned {self.text}, which cannot be graded."
        place = f" ({self.where})" if self.where else ""
        text = f": {self.text}" if self.text else ""
        return f"Your code raised {self.type_name}{text}{place}"


class Transport(Protocol):
    """Takes a request to a submission and brings the reply."""

    @property
    def pid(self) -> int:
        """Return the number of the process in which the submission lives."""

    def ask(self, request: bytes, seconds: float) -> Any:
        """Return the reply, decoded by `wire.decode`, within `seconds`."""


class InProcess:
    """The transport for a learner's own notebook: the same messages, without a sandbox."""

    def __init__(
        self, namespace: dict[str, Any], locate: Callable[[str], str | None] = lambda name: None
    ) -> None:
        """Serve `namespace`; `locate` names the cell of a code object's file name."""
        self._executor = Executor(namespace, locate)
        self.pid = os.getpid()

    def ask(self, request: bytes, seconds: float) -> Any:
        """Answer here; there is no deadline but the learner's own interrupt."""
        return wire.decode(*self._executor.answer(request))


class Handle:
    """An object that stays in the submission's process."""

    def __init__(self, student: Student, key: int) -> None:
        """Stand for the object number `key` of `student`."""
        self._student, self._key = student, key

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it with copies of the arguments; return a copy of the result."""
        return self._student._ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        """Read an attribute of it."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._student._ask("attribute", self, (name,), {})

    def __repr__(self) -> str:
        """Say nothing of the object: it is not known here."""
        return f"<object {self._key} of the submission>"


class Student:
    """A submission, as checks see it."""

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        """Speak to a submission through `transport`, with `seconds` for each call."""
        self._transport = transport
        self._seconds = seconds
        self._longest = MAX_TEXT

    def __getattr__(self, name: str) -> Any:
        """Return what the submission calls `name`: plain data, a tensor or a `Handle`."""
        if name.startswith("_"):
            raise AttributeError(name)
        return self._ask("name", name, (), {})

    def run(self, probe: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `probe` beside the submission's objects.

        It is pickled by value; it holds no expected value, and what it reports can be forged.
        """
        return self._ask("call", probe, args, kwargs)

    def measured(self, call: Callable[[], Any]) -> tuple[Any, int]:
        """Return what `call` returns, and the bytes by which the submission's memory rose, at most.

        The kernel counts them, for the process that answers: nothing in it can lie of them.
        """
        try:
            pid = self._transport.pid
            before = peak.reset(pid)
            value = call()
            return value, peak.most(pid) - before
        except OSError as error:
            raise StudentError("OSError", f"its memory cannot be measured ({error})") from None

    def run_cell(self, number: int, source: str) -> None:
        """Run one cell of the notebook."""
        self._ask("cell", None, (number, source), {})

    def forget(self) -> None:
        """Let the submission's process drop the objects that handles stood for."""
        self._ask("forget", None, (), {})

    def _ask(self, operation: str, target: Any, args: Any, kwargs: Any) -> Any:
        request = _pickled((operation, target, args, kwargs))
        reply = self._transport.ask(request, self._seconds)
        match reply:
            case {"value": value} if len(reply) == 1:
                return self._handles(value)
            case {"error": {"type": str(kind), "text": str(text), "where": str(where), **rest}} if (
                len(reply) == 1
            ):
                if kind == "KeyboardInterrupt" and isinstance(self._transport, InProcess):
                    raise KeyboardInterrupt
                bases = rest.get("bases", [])
                known = tuple(b for b in bases if type(b) is str) if type(bases) is list else ()
                raise StudentError(
                    clean(kind, MAX_NAME),
                    clean(text, self._longest),
                    clean(where, MAX_NAME),
                    known[:20],
                )
        raise wire.WireError("a reply that is neither a value nor an error")

    def _handles(self, value: Any) -> Any:
        if type(value) is wire.Key:
            return Handle(self, value.number)
        if type(value) in (list, tuple):
            return type(value)(self._handles(part) for part in value)
        if type(value) is dict:
            return {key: self._handles(part) for key, part in value.items()}
        return value


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a request: a handle as its number, the check file's functions by value."""

    def persistent_id(self, obj: object) -> int | None:
        return obj._key if isinstance(obj, Handle) else None


def _pickled(request: tuple[Any, ...]) -> bytes:
    target = request[1]
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    by_value = callable(target) and not isinstance(target, Handle) and module is not None
    if by_value:
        cloudpickle.register_pickle_by_value(module)
    try:
        buffer = io.BytesIO()
        _Pickler(buffer).dump(request)
        return buffer.getvalue()
    finally:
        if by_value:
            cloudpickle.unregister_pickle_by_value(module)
