"""One submission's process, from the grader's side: a channel to it, and a handle that kills it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from autograder.sandbox.errors import SandboxError
from autograder.sandbox.freezer import Freezer
from autograder.sandbox.zygote import NEXT

BIRTH_SECONDS = 20


class Process:
    """One submission's process: a channel to it, and a handle that kills it whole."""

    def __init__(
        self, channel: socket.socket, birth: socket.socket, after: Callable[[], None] | None
    ) -> None:
        """Wait for the birth; `after` is called once it has ended.

        Raises:
            SandboxError: the child refused to run, since it could not be closed off.
        """
        self.channel = channel
        self._birth = birth
        self._after = after
        birth.settimeout(BIRTH_SECONDS)
        channel.settimeout(BIRTH_SECONDS)
        try:
            message, descriptors, _, _ = socket.recv_fds(birth, 1 << 12, 1)
            if message != b"born" or len(descriptors) != 1:
                raise SandboxError(message.decode(errors="replace") or "no answer")
            self._pidfd = descriptors[0]
            if (sign := channel.recv(1)) != b"+":
                said = channel.recv(512) if sign else b"no answer"
                raise SandboxError(said.decode(errors="replace"))
        except TimeoutError:
            raise SandboxError(f"no answer within {BIRTH_SECONDS} s") from None
        self.pid = _pid_of(self._pidfd)
        self._end = b""
        self.freezer = Freezer(self.pid, self.next_number)

    def signal_kill(self) -> None:
        """End it and all that it started: it is the init of its namespace."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return not has_ended(self._pidfd)

    def next_number(self) -> int:
        """Return the number of a process that its parent begins beside it; −1 once it has ended.

        Each is one more than the last, unless it has begun others.
        """
        self._birth.settimeout(BIRTH_SECONDS)
        with contextlib.suppress(OSError):
            self._birth.send(b"?")
            answer = self._birth.recv(64)
            if answer.startswith(NEXT):
                return int(answer.removeprefix(NEXT))
            self._end = answer
        return -1

    def kill(self) -> None:
        """End it, and release what was held for it."""
        self.signal_kill()
        self.channel.close()
        self.ended(BIRTH_SECONDS)
        self._birth.close()
        os.close(self._pidfd)
        if self._after is not None:
            self._after()

    def ended(self, patience: float = 1.0) -> int | None:
        """Return how it ended by itself: its exit code, or minus the signal that ended it.

        None if it still runs after `patience` seconds. Where its parent in the sandbox, which would
        have told, is gone too, both were killed.
        """
        self._birth.settimeout(patience)
        try:
            code = self._end or self._birth.recv(64)
        except OSError:
            return None
        return int(code) if code else -signal.SIGKILL


def has_ended(pidfd: int) -> bool:
    """Whether the process that a pidfd stands for has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def in_words(code: int | None) -> str:
    """Say how a process ended, as `Process.ended` tells it."""
    if code is None:
        return "its process closed the channel"
    if code >= 0:
        return f"its process ended itself (exit code {code})"
    named = {each.value: each.name for each in signal.Signals}  # real-time signals have no name
    return f"its process was ended by {named.get(-code, f'signal {-code}')}"


def _pid_of(pidfd: int) -> int:
    """Return the pid, in this process's namespace, that a pidfd stands for."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
