"""Holds a submission's processes still, on one CPU, and reads their time: what a fair clock needs.
Linux only.

While one side is timed, nothing of the other's runs. Without a cgroup of one's own that is SIGSTOP
to each process, looked for again until there is none that was not stopped: what is stopped starts
no other. What inside might have the kernel continue it is refused (`outer_wall`), and the time that
it uses while it is held still tells on it: the kernel counts that for each process.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Took:
    """How long one answer took, in seconds."""

    wall: float
    """on the grader's clock, from the request to the last byte of the reply"""
    cpu: float = math.nan
    """of the CPU, by all threads of the process that answered: the least that the answer took"""
    alone: bool = False
    """whether that is all, since no other process can have worked for it: it had none beside it,
    before or after, and none was begun in its namespace meanwhile"""
    helpers: bool = False
    """whether other processes of its own were there, before or after"""
    stirred: bool = False
    """whether it ran before, while it was held still"""


STOP_SECONDS = 2.0
"""A process that takes longer to stop is in the kernel's hands: it does not compute."""
STIRRING = 1e-3
"""Seconds of the CPU by which the clocks of what is still may be late."""
_STILL = "TtZX"
_CPU_SCHEDULED = 2
"""With a pid's complement before it: that process's CPU clock, as clock_getcpuclockid(3) has it."""
_CHILDREN = Path("/proc/thread-self/children")


class Freezer:
    """Stops and continues one process and all that it has started."""

    def __init__(self, pid: int, next_number: Callable[[], int]) -> None:
        """Stand for the process `pid` and those below it.

        Args:
            pid: its number.
            next_number: begins a process beside it and returns that one's number; −1 if there is
                none.
        """
        self._pid = pid
        self._next_number = next_number
        self._stopped: dict[int, psutil.Process] = {}
        self._cpu, self._begun = math.nan, -1
        self._used: dict[int, float] = {}
        """pid → seconds of the CPU when it was still"""

    def freeze(self) -> None:
        """Stop every process, those that are being started included.

        Raises:
            psutil.Error: the first of them has ended.
        """
        until = time.monotonic() + STOP_SECONDS
        while new := [pid for pid in tree(self._pid) if pid not in self._stopped]:
            for pid in new:
                try:
                    process = psutil.Process(pid)  # remembers when it began: pids come again
                    process.suspend()
                    self._stopped[pid] = process
                except psutil.Error:
                    if pid == self._pid:
                        raise
            for pid in new:
                _wait_until_still(pid, until)
        self._used = {pid: cpu_seconds(pid) for pid in self._stopped}

    def stirred(self) -> bool:
        """Whether any of what is held still has run since, or has begun another."""
        return any(pid not in self._stopped for pid in tree(self._pid)) or any(
            cpu_seconds(pid) > used + STIRRING for pid, used in self._used.items()
        )

    def thaw(self) -> None:
        """Continue what was stopped, and note what `cpu_seconds` counts from."""
        if self._stopped:
            self._begun = self._next_number() if not self.has_helpers else -1
            self._cpu = cpu_seconds(self._pid)
        for process in self._stopped.values():
            with contextlib.suppress(psutil.Error):
                process.resume()
        self._stopped.clear()
        self._used.clear()

    def cpu_seconds(self) -> float:
        """Return the seconds of the CPU that the process used between being continued and stopped.

        Of a process that runs the kernel knows them only to its last tick.
        """
        return cpu_seconds(self._pid) - self._cpu

    def was_alone(self) -> bool:
        """Whether, stopped again, it is and was alone, and nothing was begun since it ran."""
        if self._begun < 0 or self.has_helpers:
            return False
        return self._next_number() == self._begun + 1

    @property
    def has_helpers(self) -> bool:
        """Whether it has a process beside it that has not ended; it must be stopped."""
        return any(pid != self._pid and _states(pid) != ["Z"] for pid in self._stopped)

    def pin(self, cpu: int) -> None:
        """Bind every thread to one CPU; what they start is bound to it too."""
        for pid in tree(self._pid):
            with contextlib.suppress(OSError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {cpu})


def cpu_seconds(pid: int) -> float:
    """Return what a process has used of the CPU, by all its threads; 0 where it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | _CPU_SCHEDULED)
    except OSError:
        return 0.0


def idlest_cpu(seconds: float = 0.03) -> int:
    """Return the CPU, of those that this process may use, that did least for so many seconds."""
    if sys.platform != "linux":
        return 0  # nothing can be bound to it there
    before = psutil.cpu_times(percpu=True)
    time.sleep(seconds)
    after = psutil.cpu_times(percpu=True)
    idle = {cpu: after[cpu].idle - before[cpu].idle for cpu in os.sched_getaffinity(0)}
    return max(idle, key=lambda cpu: idle[cpu])


def tree(pid: int) -> list[int]:
    """Return `pid` and the processes below it."""
    if not _CHILDREN.exists():  # a kernel without such files: look through all processes
        with contextlib.suppress(psutil.Error):
            return [pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))]
    found, open_ = [], [pid]
    while open_:
        each = open_.pop()
        found.append(each)
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                with contextlib.suppress(OSError):  # it has ended: the others' count none the less
                    open_ += map(int, (thread / "children").read_text(encoding="ascii").split())
    return found


def _wait_until_still(pid: int, until: float) -> None:
    while time.monotonic() < until and any(state not in _STILL for state in _states(pid)):
        time.sleep(0)


def _states(pid: int) -> list[str]:
    """Return the state of each thread of a process; none where it has ended."""
    states = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            status = (thread / "stat").read_text(encoding="ascii", errors="replace")
            states.append(status.rpartition(")")[2].split()[0])
    return states
