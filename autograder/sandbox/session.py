"""One submission's life in the sandbox: cells run, calls answered, deaths counted.

A death (a deadline, memory, a process that ended, a reply that breaks the format) costs what it
touched: the process is forked again, the cells run again without the one that died, and the next
task begins. Too many deaths, or the submission's own deadline, end it.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import threading
import time
from collections.abc import Sequence

import psutil

from autograder.notebook import Cell
from autograder.sandbox import wire
from autograder.sandbox.launch import Child, Limits, Sandbox
from autograder.student import Student, StudentError

CELL_SECONDS = 20.0
DEATHS = 12
"""Deaths that end a submission."""
MACHINE_FLOOR = 512 << 20
"""Bytes of free memory under which a growing submission is ended."""
WATCH_SECONDS = 0.05


class Death(StudentError):
    """The submission's process ended, or was ended, during a call."""

    def __init__(self, kind: str, text: str) -> None:
        """Keep the kind: ``timeout``, ``memory`` or ``crashed``."""
        super().__init__(kind, text)
        self.kind = kind

    def _sentence(self) -> str:
        return self.text


class Exhausted(Death):
    """The submission's time or deaths are used up: `kind` is the status it gets."""


class Session:
    """The sandboxed transport of a submission; a context manager."""

    def __init__(
        self, sandbox: Sandbox, cells: Sequence[Cell], limits: Limits, seconds: float
    ) -> None:
        """Prepare to run `cells`, in their order, for at most `seconds` in all."""
        self.problems: list[str] = []
        self.exhausted: Exhausted | None = None
        self._sandbox, self._cells, self._limits = sandbox, cells, limits
        self._deadline = time.monotonic() + seconds
        self._task_deadline, self._task_seconds = math.inf, math.inf
        self._seconds = seconds
        self._skipped: set[int] = set()
        self._reported: set[int] = set()
        self._deaths = 0
        self._child: Child | None = None
        self._watch: _Watch | None = None

    def __enter__(self) -> Session:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._end()

    @property
    def alive(self) -> bool:
        """Whether the submission's process is there, with its cells run."""
        return self._child is not None

    def begin_task(self, seconds: float) -> None:
        """Give what follows `seconds` in all, until this is called again."""
        self._task_deadline, self._task_seconds = time.monotonic() + seconds, seconds

    @property
    def task_is_over(self) -> str:
        """Why no more of this task is run, or an empty string."""
        if time.monotonic() < self._task_deadline:
            return ""
        return f"The task's {self._task_seconds:.0f} s are used up."

    def prepare(self) -> None:
        """Fork a process and run the cells, again without those that end it.

        Raises:
            Exhausted: no time is left, or it died too often.
            SandboxError: no process could be had.
        """
        while not self.alive:
            self._spend()
            self._child = self._sandbox.fork(self._limits)
            self._watch = _Watch(self._child, self._limits.memory, self._sandbox.isolation)
            student = Student(self, CELL_SECONDS)
            for cell in self._cells:
                if cell.number in self._skipped:
                    continue
                try:
                    student.run_cell(cell.number, cell.source)
                except Exhausted:
                    raise
                except Death as death:
                    self._skipped.add(cell.number)
                    self._report(cell.number, f"{death} It is left out.")
                    break
                except StudentError as error:
                    if error.type_name != "NotImplementedError":
                        self._report(cell.number, str(error))

    def _report(self, number: int, text: str) -> None:
        if number not in self._reported:
            self._reported.add(number)
            self.problems.append(f"Cell {number}: {text}")

    def _spend(self) -> None:
        if self.exhausted is None and time.monotonic() > self._deadline:
            text = f"The submission's {self._seconds:.0f} s are used up."
            self.exhausted = Exhausted("timeout", text)
        if self.exhausted is not None:
            raise self.exhausted

    def ask(self, request: bytes, seconds: float) -> tuple[bytes, bytes]:
        """Send one request and return the reply's two parts.

        Raises:
            Death: the process ended, or was ended, before a good reply came.
            Exhausted: the submission's own time or deaths are used up.
        """
        self._spend()
        if self._child is None or self._watch is None:
            raise Death("crashed", "The process of your code has ended.")
        until = min(time.monotonic() + seconds, self._deadline, self._task_deadline)
        nonce = secrets.randbits(64)
        channel = self._child.channel
        try:
            channel.settimeout(max(until - time.monotonic(), 1e-3))
            wire.send(channel, nonce, request)
            echo, plain, blob = wire.receive(channel, (wire.MAX_PLAIN, wire.MAX_TENSORS), until)
            if echo != nonce:
                raise wire.WireError("a reply to another request")
            wire.decode(plain, blob)
        except TimeoutError:
            text = self.task_is_over or f"Your code ran for more than {seconds:.0f} s."
            raise self._died("timeout", text) from None
        except (EOFError, ConnectionError):
            if self._watch.exceeded:
                raise self._died("memory", self._watch.exceeded) from None
            how = self._child.ended() or "its process closed the channel"
            raise self._died("crashed", f"Your code ended: {how}.") from None
        except wire.WireError as error:
            raise self._died("crashed", f"Your code's process sent {error}.") from None
        return plain, blob

    def _died(self, kind: str, text: str) -> Death:
        self._end()
        self._deaths += 1
        if self._deaths >= DEATHS:
            text = f"Its process ended {DEATHS} times; the last time: {text}"
            self.exhausted = Exhausted(kind, text)
        self._spend()
        return Death(kind, text)

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        if self._child is not None:
            self._child.kill()
        self._child = self._watch = None


class _Watch(threading.Thread):
    """Watches a child's memory from outside, and kills it where it grows too large."""

    def __init__(self, child: Child, limit: int, isolation: str) -> None:
        super().__init__(daemon=True)
        self.exceeded = ""
        self._child, self._limit = child, limit
        self._process = psutil.Process(child.pid)
        own = ("tmp", "dev/shm") if isolation != "none" else ()
        # opened now, before a line of the student's: later its root may be closed to us
        root = f"/proc/{child.pid}/root"
        self._folders = [os.open(f"{root}/{folder}", os.O_PATH) for folder in own]
        self._baseline = self._process.memory_info().rss + self._files()
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(WATCH_SECONDS):
            try:
                growth = self._growth()
            except (psutil.Error, OSError):
                continue  # it is ending; the channel will say so
            free = psutil.virtual_memory().available
            if growth > self._limit:
                self.exceeded = f"Your code took more than {self._limit >> 20} MB of memory."
            elif free < MACHINE_FLOOR < growth:
                self.exceeded = "Your code took the last of the machine's memory."
            if self.exceeded:
                self._child.signal_kill()
                return

    def stop(self) -> None:
        """End the watch."""
        self._done.set()
        self.join()
        while self._folders:
            os.close(self._folders.pop())

    def _growth(self) -> int:
        """Return the bytes that the child's processes and files hold beyond the fork's baseline.

        A process that it forked counts with its share of what several hold (PSS): what two of them
        hold together is nobody's own. Where that may not be read, with all that is resident.
        """
        growth = self._process.memory_info().rss + self._files() - self._baseline
        for other in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                try:
                    growth += other.memory_full_info().pss
                except (psutil.AccessDenied, PermissionError):
                    growth += other.memory_info().rss
        return growth

    def _files(self) -> int:
        """Return the bytes that lie in the file systems that the child has in memory."""
        used = 0
        for folder in self._folders:
            use = os.fstatvfs(folder)
            used += (use.f_blocks - use.f_bfree) * use.f_frsize
        return used
