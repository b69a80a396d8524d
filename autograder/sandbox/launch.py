"""Where submissions run: the isolations, the best of them that works here, and how to get one.

What cannot be closed off never runs.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from autograder.sandbox import zygote
from autograder.sandbox.errors import SandboxError
from autograder.sandbox.process import Process
from autograder.sandbox.warm_process import FRESH, Limits, Zygote


class Fresh:
    """Where nesting is refused: a sandbox, and a warm-up, for each submission's process."""

    alive = True

    def __init__(
        self, isolation: str, hide: tuple[Path, ...] = (), warm: tuple[str, ...] = ()
    ) -> None:
        """Hide these folders from every submission; `isolation` is one of `FRESH`."""
        self.isolation = isolation
        self._hide, self._warm = hide, warm

    def fork(self, limits: Limits) -> Process:
        """Start a sandbox for one process; it ends with it.

        Raises:
            SandboxError: it could not be had, or closed off.
        """
        zygote = Zygote(self.isolation, self._hide, limits.scratch, warm=self._warm)
        try:
            return zygote.fork(limits)
        except SandboxError:
            zygote.close()
            raise

    def close(self) -> None:
        """Do nothing: each sandbox ends with its child."""

    def __enter__(self) -> Fresh:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""


class Ahead:
    """A sandbox that has forked some children before they are asked for; a context manager."""

    def __init__(self, sandbox: Sandbox, limits: Limits, count: int) -> None:
        """Fork `count` children.

        Raises:
            SandboxError: one could not be closed off, or the warm process is gone.
        """
        self.isolation: str = sandbox.isolation
        self._sandbox, self._limits = sandbox, limits
        self._ready = [sandbox.fork(limits) for _ in range(count)]

    @property
    def alive(self) -> bool:
        """Whether the warm process still runs."""
        return self._sandbox.alive

    def fork(self, limits: Limits) -> Process:
        """Return a child that is there, of the same limits, or fork one.

        Raises:
            SandboxError: it could not be closed off, or the warm process is gone.
        """
        if self._ready and limits == self._limits:
            return self._ready.pop()
        return self._sandbox.fork(limits)

    def close(self) -> None:
        """End the children that nobody has asked for; the sandbox itself stays."""
        while self._ready:
            self._ready.pop().kill()

    def __enter__(self) -> Ahead:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


Sandbox = Zygote | Fresh | Ahead


def start(hide: tuple[Path, ...] = (), isolation: str = "", warm: tuple[str, ...] = ()) -> Sandbox:
    """Return a sandbox of this isolation, or of the best that works here, having tried a child.

    Args:
        hide: folders that a submission must not see.
        isolation: ``container`` or ``none``, which are never chosen unasked; else empty.
        warm: the modules that its warm process imports [`zygote.WARM`].

    Raises:
        SandboxError: none works; the text says how to mend it.
    """
    if isolation == "none":
        return Zygote("none", warm=warm)
    reasons = []
    for tried in (isolation,) if isolation else ("nested", "single"):
        made: Zygote | None = None
        try:
            if tried in FRESH:  # tried with no more than it needs: each warm-up is for one process
                Fresh(tried, hide, zygote.BASE).fork(Limits()).kill()
                return Fresh(tried, hide, warm)
            made = Zygote(tried, hide, warm=warm)
            made.fork(Limits()).kill()
            return made
        except SandboxError as error:
            reasons.append(f"{tried}: {error}")
            if made is not None:
                made.close()
    way = "" if isolation else "\n" + way_out()
    raise SandboxError("no sandbox works here.\n" + "\n".join(reasons) + way)


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
    return (
        "Allow user namespaces here (in a container: its seccomp profile refuses them), or, in a "
        "throwaway container with one submission, as root: --container."
    )
