"""The warm process, from the grader's side: started, looked over, asked for children.

What it does inside is in `zygote`; each `process.Process` that it forks is a submission's.
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
from dataclasses import asdict, dataclass
from pathlib import Path

import msgpack
import torch

from autograder.sandbox import container, outer_wall, slow_imports, zygote
from autograder.sandbox.errors import SandboxError
from autograder.sandbox.process import Process, has_ended

FRESH = ("single", "container")
"""The isolations in which each submission's process has a warm process of its own."""
WARM_UP_SECONDS = 180


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    memory: int = 2 << 30
    """bytes of growth over the warm process, over all its processes"""
    scratch: int = outer_wall.SCRATCH
    """bytes of files, in each of /tmp and /dev/shm"""
    processes: int = 64
    files: int = 256


class Zygote:
    """A warm process, ready to fork children; a context manager."""

    def __init__(
        self,
        isolation: str,
        hide: tuple[Path, ...] = (),
        scratch: int = outer_wall.SCRATCH,
        devices: tuple[Path, ...] = (),
        warm: tuple[str, ...] = (),
    ) -> None:
        """Start it and wait until it is warm.

        Args:
            isolation: ``nested``, ``single``, ``container`` or ``none``.
            hide: folders that a submission must not see even if the interpreter's hold them.
            scratch: bytes of files where the isolation is ``single``; else each child has its own.
            devices: files in /dev that are there inside too: a GPU's.
            warm: the modules to import [`zygote.WARM`].

        Raises:
            SandboxError: it did not start, or sees from inside what it should not.
        """
        self.isolation = isolation
        self._hide, self._scratch, self._devices, self._warm = hide, scratch, devices, warm
        self._uid = container.uid_for(hide) if isolation == "container" else None
        self._filter = b""
        if isolation != "none":
            # where the network is not the submission's own, neither are the sockets without a path
            self._filter = outer_wall.seccomp_program(sockets=self._uid is None)
        self._folder: Path | None = None
        if isolation == "none":
            self._folder = Path(tempfile.mkdtemp(prefix="autograder-"))
        elif self._uid is not None:
            container.end(self._uid)  # a killed run's files, which a submission could read
            self._folder = container.package()
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
                cwd=self._folder if self._uid is not None else None,
                user=self._uid,
                group=self._uid,
                extra_groups=None if self._uid is None else [],
            )
            inside.close()
            self._pidfd = os.pidfd_open(self._process.pid)
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
            line = [sys.executable, "-m", zygote.__name__, "none"]
        elif self.isolation == "container":
            line = container.command()
        else:
            line = outer_wall.command(self.isolation, self._hide, self._scratch, self._devices)
        return [*line, *(self._warm or zygote.WARM)]

    def _environment(self) -> dict[str, str]:
        if self._folder is None:
            return {}
        if self.isolation == "container":
            return container.environment(self._folder)
        path = str(outer_wall.PACKAGE.parent)
        mine = {"TMPDIR": str(self._folder), "MPLBACKEND": "agg", "PYTHONPATH": path}
        return {**os.environ, **mine, "OMP_NUM_THREADS": "1"}

    def _wait_until_warm(self) -> dict[str, object]:
        self._control.settimeout(WARM_UP_SECONDS)
        while message := self._control.recv(1 << 16):
            report = dict(msgpack.unpackb(message))
            if "importing" not in report:
                self._control.settimeout(None)
                return report
            slow_imports.begins(report["importing"])
        raise EOFError("it ended while it was importing")

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
        """Whether the warm process still runs: any process that inherited this one can tell.

        Killed, it takes a while to die: its sandbox's end is seen at once, its own by its socket.
        """
        if has_ended(self._pidfd):
            return False
        try:
            return self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def fork(self, limits: Limits) -> Process:
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
            return Process(channel, birth, self.close if self.isolation in FRESH else None)
        except (OSError, SandboxError) as error:
            channel.close()
            birth.close()
            raise SandboxError(f"a submission's process could not be closed off: {error}") from None

    def close(self) -> None:
        """End the warm process and, with it, every child; once closed, do nothing."""
        if self._pidfd < 0:
            return
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._pidfd)
        self._pidfd = -1
        if self._uid is not None:
            container.end(self._uid)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Zygote:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _place(source: int, target: int) -> None:
    """Put `source` on the descriptor `target` in a child about to exec, and close all others."""
    os.dup2(source, target, inheritable=True)
    os.closerange(target + 1, 1 << 16)
