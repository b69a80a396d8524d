"""One submission's life in the sandbox: cells run, calls answered, deaths counted.

A death (a deadline, memory, a process that ended, a reply that breaks the format) costs what it
touched: the process is forked again, the cells run again without the one that died, and the next
task begins. Too many deaths, or the submission's own deadline, end it.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import psutil

from autograder.notebook import Cell
from autograder.sandbox import frames, wire
from autograder.sandbox.clock import Clock
from autograder.sandbox.deadlines import Deadlines
from autograder.sandbox.errors import TOO_LONG, SandboxError, StudentError
from autograder.sandbox.freezer import Took
from autograder.sandbox.launch import Sandbox
from autograder.sandbox.memory_limit import MemoryWatch
from autograder.sandbox.process import Process, in_words
from autograder.sandbox.reply import outcome_of
from autograder.sandbox.warm_process import Limits

CELL_SECONDS, SPARE_SECONDS = 20.0, 40.0
"""Of one cell; of all those together, beside the submission's time, that no answer needs."""
LOST_SECONDS = 0.05
"""What others took, if it is less, is nothing to wait for."""
DEATHS = 12
"""Deaths that end a submission."""
SETTLE = pickle.dumps(("settle", None, (), {}))
"""Asks for the process's settings to be put back; the reply tells which of them had changed."""
ANOTHER_TIME = "It raised an error when it was run another time."
"""What is told of a cell's error once checks have asked: its words could carry their inputs out."""


class Death(StudentError):
    """The submission's process ended, or was ended, during a call."""

    def __init__(self, kind: str, text: str) -> None:
        """Keep the kind: ``timeout``, ``memory`` or ``crashed``."""
        super().__init__(kind, text)
        self.kind = kind

    def _sentence(self, kind: str, text: str, where: str) -> str:
        return self.text


class Exhausted(Death):
    """The submission's time or deaths are used up: `kind` is the status it gets."""


class Session:
    """The sandboxed transport of a submission; a context manager."""

    def __init__(
        self,
        sandbox: Sandbox,
        cells: Sequence[Cell],
        limits: Limits,
        seconds: float,
        again: bool = False,
        spare: Mapping[int, Cell] = MappingProxyType({}),
    ) -> None:
        """Prepare to run `cells`, in their order, for at most `seconds` in all.

        Args:
            sandbox: where.
            cells: the notebook's code.
            limits: what it may use.
            seconds: for all of it.
            again: whether this is a second try: then an end from outside counts as its own.
            spare: number → what is run of a cell that no answer needs when time is short. Such
                cells have `SPARE_SECONDS` of their own, in all.
        """
        self.problems: list[str] = []
        self.left_out: list[int] = []
        """numbers of cells that were not run, the time of those that no answer needs being up"""
        self.refused: SandboxError | None = None
        """what keeps this submission from being graded, through no fault of its own"""
        self._again = again
        self.exhausted: Exhausted | None = None
        self._sandbox, self._cells, self._limits = sandbox, cells, limits
        self.deadlines = Deadlines(seconds)
        self._spare, self._spare_left = spare, SPARE_SECONDS
        self._skipped: set[int] = set()
        self._reported: set[int] = set()
        self._deaths = 0
        self._child: Process | None = None
        self._watch: MemoryWatch | None = None
        self._held_still = False
        self._asked = False
        self._took = Took(math.nan)
        self._clock: Clock | None = None

    def __enter__(self) -> Session:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.end()

    @property
    def pid(self) -> int:
        """Return the process's number.

        Raises:
            Death: it has ended.
        """
        if self._child is None:
            raise Death("crashed", "The process of your code has ended.")
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether the submission's process is there, with its cells run."""
        if self._child is None or self._watch is None:
            return False
        return not self._watch.exceeded and self._child.runs

    def timed(self, call: Callable[[], Any]) -> tuple[Any, Took]:
        """Return what `call`, of one request, returns, and how long the answer took."""
        value = call()
        return value, self._took

    @contextlib.contextmanager
    def held_still(self, cpu: int) -> Iterator[None]:
        """Keep its processes on one CPU, and stopped except while they answer a request.

        Raises:
            Death: the process has ended.
        """
        if self._child is None:
            raise Death("crashed", "The process of your code has ended.")
        self._held_still = True
        self._freeze()
        self._child.freezer.pin(cpu)  # once it is still: what is being forked has its parent's CPUs
        try:
            yield
        finally:
            self._held_still = False
            if self._child is not None:
                self._child.freezer.thaw()

    def _freeze(self) -> None:
        assert self._child is not None
        try:
            self._child.freezer.freeze()
        except psutil.Error:
            raise self._died(*self._how_it_ended()) from None

    def restart(self) -> None:
        """Begin again in a new process, as after a death, but at no cost.

        Raises:
            Exhausted: no time is left.
            SandboxError: no process could be had.
        """
        self.end()
        self.prepare()

    def _more(self) -> float:
        """Put the deadlines off by what others took; return the seconds that it is."""
        lost = self._clock.lost() if self._clock is not None else 0.0
        return self.deadlines.put_off(lost) if lost >= LOST_SECONDS else 0.0

    def begin_task(self, name: str, seconds: float) -> None:
        """Give what follows, until this is called again, what is left of a task's `seconds`."""
        self._more()
        self.deadlines.begin_task(name, seconds)

    def prepare(self) -> None:
        """Fork a process and run the cells, again without those that end it.

        That is nobody's task: a cell is not left out since a task's time is up.

        Raises:
            Exhausted: no time is left, or it died too often.
            SandboxError: no process could be had.
        """
        with self.deadlines.of_no_task():
            while not self.alive:
                self._begin()
            with contextlib.suppress(StudentError):  # the next check tells
                self.ask(SETTLE, CELL_SECONDS)

    def _begin(self) -> None:
        """Fork a process and run the cells, up to one that ends it."""
        if self._child is not None:
            kind, text = self._how_it_ended()
            self.problems.append(f"Between two checks: {text}")
            self._died(kind, text)
        self._spend()
        try:
            self._child = self._sandbox.fork(self._limits)
        except SandboxError as error:
            self.refused = error
            raise
        self._watch = MemoryWatch(self._child, self._limits.memory, self._sandbox.isolation)
        self._clock = Clock(self._child.pid)
        for cell in self._cells:
            if cell.number in self._skipped:
                continue
            if cell.number in self._spare and self._spare_left <= 0:
                cell = self._spare[cell.number]
                if cell.number not in self.left_out:
                    self.left_out.append(cell.number)
            try:
                self._run(cell)
            except Exhausted:
                raise
            except Death as death:
                if cell.number not in self._spare or self._spare_left > 0:
                    self._skipped.add(cell.number)
                    self._report(cell.number, f"{death} It is left out.")
                return
            except StudentError as error:
                if error.type_name != "NotImplementedError":
                    self._report(cell.number, ANOTHER_TIME if self._asked else str(error))

    def _run(self, cell: Cell) -> None:
        """Run one cell; the time of one that no answer needs is not the submission's."""
        request = pickle.dumps(("cell", None, (cell.number, cell.source), {}))
        if cell.number not in self._spare or self._spare_left <= 0:
            self._ask(request, CELL_SECONDS)
            return
        began, room = time.monotonic(), min(CELL_SECONDS, self._spare_left)
        self.deadlines.lend(room)
        try:
            self._ask(request, room)
        finally:
            took = time.monotonic() - began
            self._spare_left -= took
            self.deadlines.lend(-max(room - took, 0.0))

    def _report(self, number: int, text: str) -> None:
        if number not in self._reported:
            self._reported.add(number)
            self.problems.append(f"Cell {number}: {text}")

    def _spend(self) -> None:
        if self.exhausted is None and self.deadlines.are_over:
            text = f"The submission's {self.deadlines.seconds:.0f} s are used up."
            self.exhausted = Exhausted("timeout", text)
        if self.exhausted is not None:
            raise self.exhausted

    def ask(self, request: bytes, seconds: float) -> Any:
        """Send one request and return the value that comes back.

        Raises:
            StudentError: the code raised.
            Death: the process ended, or was ended, before a good reply came.
            Exhausted: the submission's own time or deaths are used up.
        """
        self._asked = True
        runs = self._child is not None
        try:
            return self._ask(request, seconds)
        except Death as death:
            if runs and request == SETTLE:  # it is no check's: none tells
                self.problems.append(f"Between two checks: {death}")
            raise

    def _ask(self, request: bytes, seconds: float) -> Any:
        self._spend()
        if self._child is None or self._watch is None:
            raise Death("crashed", "The process of your code has ended.")
        until = self.deadlines.until(seconds)
        nonce = secrets.randbits(64)
        channel = self._child.channel
        try:
            channel.settimeout(max(until - time.monotonic(), 1e-3))
            freezer = self._child.freezer
            stirred = self._held_still and freezer.stirred()
            helpers = self._held_still and freezer.has_helpers
            began = time.perf_counter()
            freezer.thaw()
            frames.send(channel, nonce, request)
            sizes = wire.MAX_PLAIN, wire.MAX_TENSORS
            echo, plain, blob = frames.receive(channel, sizes, until, self._more)
            self._took = Took(time.perf_counter() - began)
            if self._held_still:
                self._freeze()
                self._took = Took(
                    self._took.wall,
                    freezer.cpu_seconds(),
                    freezer.was_alone(),
                    helpers or freezer.has_helpers,
                    stirred,
                )
            if echo != nonce:
                raise wire.WireError("a reply to another request")
            outcome = outcome_of(wire.decode(plain, blob), self._cells)
        except TimeoutError:
            text = self.deadlines.task_is_over or f"{TOO_LONG} {seconds:.0f} s."
            raise self._died("timeout", text) from None
        except (EOFError, ConnectionError):
            raise self._died(*self._how_it_ended()) from None
        except wire.WireError as error:
            raise self._died("crashed", f"Your code's process sent {error}.") from None
        if self._watch.exceeded:
            raise self._died("memory", self._watch.exceeded)
        if isinstance(outcome, StudentError):
            raise outcome
        return outcome

    def _how_it_ended(self) -> tuple[str, str]:
        """Return the kind of its end, and the sentence.

        Raises:
            SandboxError: somebody else has killed it.
        """
        assert self._child is not None and self._watch is not None
        code = self._child.ended()
        if self._watch.exceeded:
            return "memory", self._watch.exceeded
        if code == -signal.SIGKILL and self._sandbox.isolation == "nested" and not self._again:
            # nothing inside may kill the init of its namespace
            self.refused = SandboxError("its process was killed from outside")
            raise self.refused
        return "crashed", f"Your code ended: {in_words(code)}."

    def _died(self, kind: str, text: str) -> Death:
        self.end()
        self._deaths += 1
        if self._deaths >= DEATHS:
            text = f"Its process ended {DEATHS} times; the last time: {text}"
            self.exhausted = Exhausted(kind, text)
        self._spend()
        return Death(kind, text)

    def end(self) -> None:
        """End the process."""
        if self._watch is not None:
            self._watch.stop()
        if self._child is not None:
            self._child.kill()
        self._child = self._watch = self._clock = None
