"""Starts the warm process and its children, and ends them: what cannot be closed off never runs.

A `Zygote` is the warm process in the sandbox, a `Child` one submission's process in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgpack
import torch

from autograder.sandbox import bubblewrap, zygote
from autograder.sandbox.bubblewrap import SandboxError

WARM_UP_SECONDS = 180
BIRTH_SECONDS = 20


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    memory: int = 2 << 30
    """bytes of growth over the warm process, over all its processes"""
    scratch: int = bubblewrap.SCRATCH
    """bytes of files, in each of /tmp and /dev/shm"""
    processes: int = 64
    files: int = 256


class Zygote:
    """A warm process, ready to fork children; a context manager."""

    def __init__(
        self, isolation: str, hide: tuple[Path, ...] = (), scratch: int = bubblewrap.SCRATCH
    ) -> None:
        """Start it and wait until it is warm.

        Args:
            isolation: ``nested``, ``single`` or ``none``.
            hide: folders that a submission must not see even if the interpreter's hold them.
            scratch: bytes of files where the isolation is ``single``; else each child has its own.

        Raises:
            SandboxError: it did not start, or sees from inside what it should not.
        """
        self.isolation = isolation
        self._hide, self._scratch = hide, scratch
        self._filter = b"" if isolation == "none" else bubblewrap.seccomp_program()
        self._folder = tempfile.mkdtemp(prefix="autograder-") if isolation == "none" else None
        self._control, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inside, tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self._environment(),
                preexec_fn=lambda: _place(inside.fileno(), zygote.CONTROL),
                close_fds=False,
                start_new_session=True,
            )
            inside.close()
            try:
                self.report = self._wait_until_warm()
            except (OSError, ValueError, EOFError) as error:
                self.close()
                errors.seek(0)
                said = errors.read()[-600:].decode(errors="replace").strip()
                raise SandboxError(f"the warm process did not start ({said or error})") from None
        self._look_at(self.report)

    def _command(self) -> list[str]:
        if self.isolation == "none":
            return [sys.executable, "-m", zygote.__name__, "none"]
        return bubblewrap.command(self.isolation, self._hide, self._scratch)

    def _environment(self) -> dict[str, str]:
        if self._folder is None:
            return {}
        path = str(bubblewrap.PACKAGE.parent)
        mine = {"TMPDIR": self._folder, "MPLBACKEND": "agg", "PYTHONPATH": path}
        return {**os.environ, **mine, "OMP_NUM_THREADS": "1"}

    def _wait_until_warm(self) -> dict[str, object]:
        self._control.settimeout(WARM_UP_SECONDS)
        message = self._control.recv(1 << 16)
        self._control.settimeout(None)
        if not message:
            raise EOFError("it ended while it was importing")
        return dict(msgpack.unpackb(message))

    def _look_at(self, report: dict[str, object]) -> None:
        """Compare what the zygote sees from inside with what it should see."""
        if self.isolation == "none":
            return
        expected = {
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "autograder": ["__init__.py", "sandbox"],
        }
        wrong = [name for name, value in expected.items() if report.get(name) != value]
        if report.get("uid") == 0:
            wrong.append("uid")
        if wrong:
            self.close()
            seen = ", ".join(f"{name} is {report.get(name)!r}" for name in wrong)
            raise SandboxError(f"the sandbox is not what it should be: inside, {seen}")

    @property
    def alive(self) -> bool:
        """Whether the warm process still runs."""
        return self._process.poll() is None

    def fork(self, limits: Limits) -> Child:
        """Fork a child for one submission.

        Raises:
            SandboxError: it could not be closed off, or the warm process is gone.
        """
        channel, channel_inside = socket.socketpair()
        birth, birth_inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        message = msgpack.packb({**asdict(limits), "filter": self._filter})
        try:
            with channel_inside, birth_inside:
                numbers = [channel_inside.fileno(), birth_inside.fileno()]
                socket.send_fds(self._control, [message], numbers)
            return Child(channel, birth, self.close if self.isolation == "single" else None)
        except (OSError, SandboxError) as error:
            channel.close()
            birth.close()
            raise SandboxError(f"a submission's process could not be closed off: {error}") from None

    def close(self) -> None:
        """End the warm process and, with it, every child."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Zygote:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class Single:
    """Where only nesting is refused: a sandbox, and a warm-up, for each submission."""

    isolation = "single"
    alive = True

    def __init__(self, hide: tuple[Path, ...] = ()) -> None:
        """Hide these folders from every submission."""
        self._hide = hide

    def fork(self, limits: Limits) -> Child:
        """Start a sandbox for one submission; it ends with the child."""
        zygote = Zygote("single", self._hide, limits.scratch)
        try:
            return zygote.fork(limits)
        except SandboxError:
            zygote.close()
            raise

    def close(self) -> None:
        """Do nothing: each sandbox ends with its child."""

    def __enter__(self) -> Single:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""


Sandbox = Zygote | Single


class Child:
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

    def signal_kill(self) -> None:
        """End it and all that it started: it is the init of its namespace."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def kill(self) -> str:
        """End it, release what was held for it, and return how it ended, in words."""
        self.signal_kill()
        self.channel.close()
        how = self._how_it_ended()
        self._birth.close()
        os.close(self._pidfd)
        if self._after is not None:
            self._after()
        return how

    def ended(self, patience: float = 1.0) -> str | None:
        """Return how it ended by itself, in words, or None if it still runs after `patience` s."""
        self._birth.settimeout(patience)
        with contextlib.suppress(OSError):
            if code := self._birth.recv(64):
                return _in_words(int(code))
        return None

    def _how_it_ended(self) -> str:
        return self.ended(BIRTH_SECONDS) or "its process ended"


def _in_words(code: int) -> str:
    if code >= 0:
        return f"its process ended itself (exit code {code})"
    named = {each.value: each.name for each in signal.Signals}  # real-time signals have no name
    return f"its process was ended by {named.get(-code, f'signal {-code}')}"


def _pid_of(pidfd: int) -> int:
    """Return the pid, in this process's namespace, that a pidfd stands for."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))


def _place(source: int, target: int) -> None:
    """Put `source` on the descriptor `target` in a child about to exec, and close all others."""
    os.dup2(source, target, inheritable=True)
    os.closerange(target + 1, 1 << 16)


def start(hide: tuple[Path, ...] = ()) -> Sandbox:
    """Return the best isolation that works here, having tried a child in it.

    Raises:
        SandboxError: none works; the text says how to mend it.
    """
    reasons = []
    for isolation in ("nested", "single"):
        made = None
        try:
            made = Zygote(isolation, hide)
            made.fork(Limits()).kill()
        except SandboxError as error:
            reasons.append(f"{isolation}: {error}")
            if made is not None:
                made.close()
            continue
        return made if isolation == "nested" else Single(hide)
    raise SandboxError("no sandbox works here.\n" + "\n".join(reasons) + "\n" + way_out())


def way_out() -> str:
    """Say how to mend a system on which no sandbox works."""
    restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    with contextlib.suppress(OSError):
        if restricted.read_text(encoding="ascii").strip() == "1":
            return (
                "AppArmor refuses user namespaces to ordinary users (Ubuntu 23.10 and later). "
                "An administrator may allow them:\n"
                "  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            )
    with contextlib.suppress(OSError):
        if Path("/proc/sys/user/max_user_namespaces").read_text(encoding="ascii").strip() == "0":
            return "User namespaces are switched off: sudo sysctl -w user.max_user_namespaces=15000"
    if sys.platform != "linux":
        return "The sandbox needs Linux: grade strangers' notebooks there, or in a container."
    return "See `autograder doctor`, and docs of your container about user namespaces."
