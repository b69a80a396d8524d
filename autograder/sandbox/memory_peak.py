"""How much memory a process needs in a call, as the kernel counts it: nothing in the process can
lie of it. Linux only.

Memory that was taken beforehand does not rise any more; but whoever uses it touches it.
"""

from __future__ import annotations

from pathlib import Path

_OF_A_MAPPING = ("Shared_Dirty", "Private_Dirty", "Referenced")
"""Fields of /proc/PID/smaps, in their order."""


def reset(pid: int) -> int:
    """Begin anew to note the most that a process holds; return the bytes that it holds now.

    Raises:
        OSError: this process may not, or it has ended.
    """
    folder = Path(f"/proc/{pid}")
    for what in ("1", "5"):  # the pages that have been touched; the most that was held
        (folder / "clear_refs").write_text(what, encoding="ascii")
    return held(pid)


def held(pid: int) -> int:
    """Return the bytes that a process holds now.

    Raises:
        OSError: it has ended.
    """
    return field(_status(pid), "VmRSS")


def most(pid: int) -> int:
    """Return the most bytes that a process has held since `reset`.

    Raises:
        OSError: it has ended.
    """
    return field(_status(pid), "VmHWM")


def touched(pid: int) -> int:
    """Return the bytes of the pages, written by it or before it, that a process has read or written
    since `reset`.

    Clean pages are files': wherever another process that has them ends, they seem touched here too.

    Raises:
        OSError: it has ended.
    """
    maps = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace")
    found = dict.fromkeys(_OF_A_MAPPING, 0)
    touched = 0
    for line in maps.splitlines():
        name, _, value = line.partition(":")
        if name in found:
            found[name] = int(value.split()[0]) << 10
        if name == _OF_A_MAPPING[-1]:
            *dirty, referenced = found.values()
            touched += min(referenced, sum(dirty))
    return touched


def _status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")


def field(status: str, name: str) -> int:
    """Return a figure of a file like /proc/PID/status, in bytes; 0 where it is not there."""
    for line in status.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) << 10
    return 0
