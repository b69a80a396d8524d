"""The handle that checks hold on a submission, and the transport for one's own notebook.

`student.lora_forward(x, …)` sends a copy of the arguments to where the submission lives and
returns a copy of the result. Plain data and tensors come out as such; any other object stays
there and comes back as a `Handle`. The sandboxed transport is `sandbox.session.Session`.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import math
import os
import time
from collections.abc import Callable
from typing import Any, Protocol

from autograder.checking import probes
from autograder.checking.disclosure import Disclosure
from autograder.checking.requests import Held, pickled, send_by_value
from autograder.checking.transcript import Step
from autograder.sandbox import memory_peak, wire
from autograder.sandbox.child import Executor, nowhere, printing_to
from autograder.sandbox.errors import StudentError
from autograder.sandbox.freezer import Took
from autograder.sandbox.reply import outcome_of
from autograder.sandbox.session import SETTLE
from autograder.sandbox.settings import FOR_GOOD

MAX_KEPT = 40
"""Requests of a check that are kept, to be told where it fails."""
CALL_SECONDS = 5.0
"""The deadline of one call, unless the check's marker says otherwise."""


class Transport(Protocol):
    """Takes a request to a submission and brings the reply."""

    @property
    def pid(self) -> int:
        """Return the number of the process in which the submission lives."""

    def ask(self, request: bytes, seconds: float) -> Any:
        """Return the value that comes back within `seconds`, or raise the `StudentError`."""

    def timed(self, call: Callable[[], Any]) -> tuple[Any, Took]:
        """Return what `call`, of one request, returns, and how long the answer took."""

    def held_still(self, cpu: int) -> contextlib.AbstractContextManager[None]:
        """Keep it on one CPU, and stopped except while it answers."""

    def restart(self) -> None:
        """Begin again in a new process, where it has one of its own."""


class InProcess:
    """The transport for a learner's own notebook: the same messages, without a sandbox."""

    def __init__(
        self, namespace: dict[str, Any], locate: Callable[[str], str | None] = lambda name: None
    ) -> None:
        """Serve `namespace`; `locate` names the cell of a code object's file name."""
        self._executor = Executor(namespace, locate)
        self.pid = os.getpid()
        self._took = math.nan

    def ask(self, request: bytes, seconds: float) -> Any:
        """Answer here; there is no deadline but the learner's own interrupt."""
        began = time.perf_counter()
        with nowhere() as stream, printing_to(stream):
            reply = self._executor.answer(request)
        self._took = time.perf_counter() - began
        outcome = outcome_of(wire.decode(*reply))
        if isinstance(outcome, StudentError):
            raise outcome
        return outcome

    def timed(self, call: Callable[[], Any]) -> tuple[Any, Took]:
        """Return what `call`, of one request, returns, and how long the answer took here."""
        value = call()
        return value, Took(self._took)

    def held_still(self, cpu: int) -> contextlib.AbstractContextManager[None]:
        """Do nothing: both sides are in the learner's own process."""
        return contextlib.nullcontext()

    def restart(self) -> None:
        """Do nothing: the learner's process goes on."""


class Handle(Held):
    """An object that stays in the submission's process."""

    def __init__(self, student: Student, key: int, kind: str = "") -> None:
        """Stand for the object number `key` of `student`, whose class is called `kind`."""
        self._student, self._key, self._kind = student, key, kind

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
        self._disclosure: Disclosure | None = None
        self._named: dict[tuple[int, str], Handle] = {}
        """process and name → what it stood for: a check asks for a function once"""
        self._steps = collections.deque[Step](maxlen=MAX_KEPT)
        """what the check that runs has asked for last, and what came"""
        self._keeps_steps = True

    def __getattr__(self, name: str) -> Any:
        """Return what the submission calls `name`: plain data, a tensor or a `Handle`."""
        if name.startswith("_"):
            raise AttributeError(name)
        key = self._transport.pid, name
        if key in self._named:
            return self._named[key]
        value = self._ask("name", name, (), {})
        if isinstance(value, Handle):
            self._named[key] = value
        return value

    def _begin_check(
        self, seconds: float, disclosure: Disclosure | None, keeps_steps: bool = True
    ) -> None:
        """Give each call `seconds`, tell of exceptions what `disclosure` does, ask for names anew.

        None: tell all of them. `keeps_steps`: whether what is asked for and comes is kept, to be
        told; where time and memory are measured, it is not.
        """
        self._seconds, self._disclosure = seconds, disclosure
        self._named.clear()
        self._steps.clear()
        self._keeps_steps = keeps_steps

    def _settle(self) -> list[str]:
        """Put the process's settings back; return those that its code has left changed.

        What ended in the meantime has left none.
        """
        try:
            changed = self._transport.ask(SETTLE, CALL_SECONDS)
        except StudentError:
            return []
        told = changed if type(changed) is list else []
        return [name for name in FOR_GOOD if name in told]

    def restart(self) -> None:
        """Begin again in a new process, which remembers nothing; handles of before are no more.

        In a learner's own notebook the process goes on.
        """
        self._transport.restart()
        self._named.clear()

    def run(self, probe: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run `probe` beside the submission's objects.

        It is pickled by value; it holds no expected value, and what it reports can be forged.
        """
        return self._ask("call", probe, args, kwargs)

    def measured(self, call: Callable[[], Any]) -> tuple[Any, int, int]:
        """Return what `call` returns, the bytes by which the submission's memory rose at most, and
        those of the pages that it has touched.

        The kernel counts them, for the process that answers: nothing in it can lie of them. What is
        let go of meanwhile makes no room: the rise is from the least that was held.
        """
        try:
            self._steps.clear()  # what was kept is no memory of the submission's
            self._keeps_steps = False
            self.run(gc.freeze)  # a collection that happens to be due would touch every object
            pid = self._transport.pid
            before = memory_peak.reset(pid)
            value = call()
            least = min(before, memory_peak.held(pid))
            return value, memory_peak.most(pid) - least, memory_peak.touched(pid)
        except OSError as error:
            raise StudentError("OSError", f"its memory cannot be measured ({error})") from None

    def _ask(self, operation: str, target: Any, args: Any, kwargs: Any) -> Any:
        request = pickled(operation, target, args, kwargs)
        try:
            value = self._handles(self._transport.ask(request, self._seconds))
            if self._keeps_steps:
                self._steps.append(Step(operation, target, args, kwargs, value))
            return value
        except StudentError as error:
            if self._keeps_steps:
                self._steps.append(Step(operation, target, args, kwargs, None))
            if error.type_name == "KeyboardInterrupt" and isinstance(self._transport, InProcess):
                raise KeyboardInterrupt from None
            if operation == "name" and error.type_name == "Missing":
                error.text, error.told = target, lambda *said: said  # the name is the check's
            elif self._disclosure is not None:
                error.told = self._disclosure.told
            raise

    def _handles(self, value: Any) -> Any:
        if type(value) is wire.Key:
            return Handle(self, value.number, value.kind)
        if type(value) in (list, tuple):
            return type(value)(self._handles(part) for part in value)
        if type(value) is dict:
            return {key: self._handles(part) for key, part in value.items()}
        return value


send_by_value(probes)
