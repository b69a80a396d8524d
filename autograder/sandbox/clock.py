"""How much of the time that passes is a submission's own: what other programs on a busy machine
take of it does not count. Linux only; elsewhere all of it counts.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from autograder.sandbox.freezer import cpu_seconds, tree

_TICKS = os.sysconf("SC_CLK_TCK")


class Clock:
    """Looks at one process and all that it has started.

    A thread that waits for a CPU is told from one that sleeps: the kernel counts its waiting. That
    of a crowd of one's own is no loss: time counts at least as far as the CPU has been used.
    """

    def __init__(self, pid: int) -> None:
        """Begin now."""
        self._pid = pid
        self._begin()

    def _begin(self) -> None:
        self._wall = time.monotonic()
        self._cpu, self._waited = _used_and_waited(self._pid)

    def lost(self) -> float:
        """Return the seconds since this was asked last, or begun, that others took; begin anew."""
        wall, cpu, waited = self._wall, self._cpu, self._waited
        self._begin()
        passed = self._wall - wall
        rises = (_rise(now, waited.get(pid, {})) for pid, now in self._waited.items())
        waiting = max(rises, default=0.0)
        counts = max(passed - waiting, min(self._cpu - cpu, passed))
        return max(passed - counts, 0.0)


def _rise(now: dict[int, float], then: dict[int, float]) -> float:
    """Return how much longer than before a thread of a process has waited, as far as all have.

    One that runs another program gets the number of the process's first, with its own waiting.
    """
    each = max((seconds - then.get(thread, 0.0) for thread, seconds in now.items()), default=0.0)
    return min(each, sum(now.values()) - sum(then.values()))


def _used_and_waited(pid: int) -> tuple[float, dict[int, dict[int, float]]]:
    """Return the seconds of the CPU that all have used, and those that each has waited, by process
    and thread.
    """
    processes, waiting = tree(pid), dict[int, dict[int, float]]()
    for each in processes:
        waited = waiting.setdefault(each, {})
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{each}/task").iterdir():
                with contextlib.suppress(OSError, IndexError):
                    text = (thread / "schedstat").read_text(encoding="ascii")
                    waited[int(thread.name)] = int(text.split()[1]) / 1e9
    return sum(cpu_seconds(each) + _of_ended(each) for each in processes), waiting


def _of_ended(pid: int) -> float:
    """Return the seconds of the CPU that a process's children used that have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[13:15]
    return (int(user) + int(system)) / _TICKS
