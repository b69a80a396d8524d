"""Tells at once that something in some folders has changed.

watchfiles looks from a thread of its own, and a process with threads must not fork, as the pool
does for each submission: a lock that a thread holds stays locked in the fork for ever. So it has a
process of its own, which forks nothing. It says *that* something changed; what, whoever waits looks
up, and looks unasked every now and then, since some file systems (a network's) tell nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from autograder.sandbox import inner_wall

Stamp = tuple[int, int, int, int] | None
STEP = 20
"""Milliseconds of quiet that end a change: editors save in several steps."""
LONGEST = 200
"""Milliseconds after which a change is told, quiet or not."""
UNTOLD = "The system does not tell of changes here: each is seen a little later"
FAILURES, PAUSE = 3, 0.5
"""So many failures, each within so many seconds of the one before, end the watching."""


class Changes:
    """The changes in some folders; a context manager.

    Attributes:
        told: what can be read once something has changed: for `connection.wait`.
    """

    def __init__(
        self, folders: tuple[Path, ...], recursive: bool, say: Callable[[str], None]
    ) -> None:
        """Begin to watch.

        Args:
            folders: where to look.
            recursive: whether in the folders below them, too.
            say: takes the sentence for where the system does not tell of changes.
        """
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        self._say = say
        self._process = context.Process(target=_watch, args=(folders, recursive, sender))
        self._process.start()
        sender.close()
        self.told: list[Connection] = [receiver]

    def collect(self) -> bool:
        """Return whether something has changed since this was called last."""
        changed = False
        for told in self.told:
            try:
                while told.poll():
                    changed = True
                    if problem := told.recv_bytes().decode():
                        self._say(f"{UNTOLD} ({problem}).")
            except (EOFError, OSError):
                told.close()
                self.told = []
        return changed

    def __enter__(self) -> Changes:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the watching."""
        self._process.kill()
        self._process.join()
        for told in self.told:
            told.close()


def stamp_of(path: Path) -> Stamp:
    """Return what is another once a file was written, or is another file; None where it is gone."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    # the time of the last change of the file itself: a copy may have its original's other times
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _watch(folders: tuple[Path, ...], recursive: bool, sender: Connection) -> None:
    """Send an empty message for each change, or what keeps it from being seen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who waits
    inner_wall.die_with_parent()
    import watchfiles

    failures = 0
    while failures < FAILURES:
        began = time.monotonic()
        try:
            for _ in watchfiles.watch(
                *folders, watch_filter=None, recursive=recursive, debounce=LONGEST, step=STEP,
                rust_timeout=0, ignore_permission_denied=True,
            ):  # fmt: skip
                sender.send_bytes(b"")
        except Exception as error:  # noqa: BLE001 - its kinds are Rust's, and all mean the same
            # a file name that is no UTF-8 ends a watch, too: that is no reason to give up
            failures = failures + 1 if time.monotonic() - began < PAUSE else 1
            sender.send_bytes(str(error).encode("utf-8", "replace") * (failures == FAILURES))
            time.sleep(PAUSE)
