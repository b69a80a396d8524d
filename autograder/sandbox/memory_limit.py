"""Watches what a submission holds of the machine's memory, from outside, and ends it at its limit.

Resident memory alone misses much. Counted are the anonymous memory of all its processes, swapped
out or not, their page tables, the files that lie in its file systems in memory, and what its
sockets may buffer. What else would hold memory unseen (memfd, SysV, shared anonymous mappings,
pages given to a pipe) the system-call filter refuses.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import psutil

from autograder.sandbox.freezer import tree
from autograder.sandbox.memory_peak import field
from autograder.sandbox.process import Process

MACHINE_FLOOR = 512 << 20
"""Bytes of free memory under which a growing submission is ended."""
WATCH_SECONDS = 0.05
SOCKET_BUFFER = 416 << 10
"""Bytes that a socket's buffer may hold: Linux's default, twice, for a last message over it. The
filter of system calls lets nobody enlarge one."""
_KEPT = ("RssAnon", "VmSwap", "VmPTE")


class MemoryWatch(threading.Thread):
    """Watches one child until it is stopped.

    Attributes:
        exceeded: why it ended the child, or an empty string.
    """

    def __init__(self, child: Process, limit: int, isolation: str) -> None:
        """Take what the child holds now as the baseline, and begin.

        Args:
            child: a process before a line of the student's.
            limit: bytes that it may grow by.
            isolation: as of the sandbox; file systems in memory are its own unless it is ``none``.
        """
        super().__init__(daemon=True)
        self.exceeded = ""
        self._child, self._limit = child, limit
        self._folders: list[int] = []
        self._sockets: int | None = None
        self._shares: dict[int, tuple[int, int]] = {}
        """fork → its page faults, and its share when it had them"""
        if isolation != "none":
            # opened now: later its root may be closed to us
            root = Path(f"/proc/{child.pid}/root")
            held = _in_memory() if isolation == "container" else ("/tmp", "/dev/shm")
            self._folders = [os.open(root / name[1:], os.O_PATH) for name in held]
            self._sockets = os.open(f"/proc/{child.pid}/net/protocols", os.O_RDONLY)
        self._inherited = field(_read(f"/proc/{child.pid}/status"), "RssAnon")
        self._baseline = self._held()
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        """Look, until the watch is stopped or the child is over its limit."""
        while not self._done.wait(WATCH_SECONDS):
            try:
                growth = self._held() - self._baseline
            except OSError:
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
        if self._sockets is not None:
            os.close(self._sockets)

    def _held(self) -> int:
        """Return the bytes that the child and all that it started hold."""
        status = _read(f"/proc/{self._child.pid}/status")
        held = sum(field(status, name) for name in _KEPT)
        _, *forks = tree(self._child.pid)
        if self._shares.keys() != set(forks):
            self._shares.clear()  # with other forks beside it, a fork's share is another
        shares = 0
        for fork in forks:
            with contextlib.suppress(OSError):
                status = _read(f"/proc/{fork}/status")
                held += sum(field(status, name) for name in _KEPT if name != "RssAnon")
                shares += self._share(fork)
        # A fork counts with its share of what several hold. Of what all of them have from the warm
        # process, which has it too, as its parent and the child do, their shares are this much:
        inherited = self._inherited * len(forks) // (len(forks) + 3)
        return held + max(0, shares - inherited) + self._in_files() + self._in_sockets()

    def _share(self, pid: int) -> int:
        """Return a fork's share of what it holds; slow to read, so again only after page faults."""
        faults = int(_read(f"/proc/{pid}/stat").rpartition(")")[2].split()[7])
        seen, share = self._shares.get(pid, (-1, 0))
        if faults != seen:
            try:
                share = field(_read(f"/proc/{pid}/smaps_rollup"), "Pss_Anon")
            except PermissionError:  # it hides: then all that is resident counts
                share = field(_read(f"/proc/{pid}/status"), "RssAnon")
            self._shares[pid] = faults, share
        return share

    def _in_files(self) -> int:
        """Return the bytes that lie in the file systems that the child has in memory."""
        used = 0
        for folder in self._folders:
            use = os.fstatvfs(folder)
            used += (use.f_blocks - use.f_bfree) * use.f_frsize
        return used

    def _in_sockets(self) -> int:
        """Return the bytes that the sockets of the child's network namespace may hold."""
        if self._sockets is None:
            return 0
        lines = os.pread(self._sockets, 1 << 16, 0).decode("ascii").splitlines()
        counts = (line.split() for line in lines if line.startswith("UNIX"))  # and UNIX-STREAM
        return sum(int(count) for _, _, count, *_ in counts) * SOCKET_BUFFER


def _in_memory() -> list[str]:
    """Return which of the folders that anybody may write to is a file system in memory."""
    kinds = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    return [name for name in ("/tmp", "/dev/shm") if kinds.get(name) == "tmpfs"]


def _read(path: str) -> str:
    return Path(path).read_text(encoding="ascii", errors="replace")
