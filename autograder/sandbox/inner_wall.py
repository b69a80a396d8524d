"""Closes a freshly forked child off, before anything of the student's; `zygote` has the order.

Linux only, by system calls that Python 3.11 has no names for. Each step raises `OSError` where it
fails: a child that cannot be closed off never runs a line of a submission.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
CLONE_VM, CLONE_VFORK, CLONE_CHILD_SETTID = 0x00000100, 0x00004000, 0x01000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL, SECCOMP_MODE_FILTER = 4, 2
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")

SCRATCH = "/tmp"
SHARED_MEMORY = "/dev/shm"


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option: int, first: int = 0, second: object = 0) -> None:
    long = ctypes.c_ulong
    other = long(second) if isinstance(second, int) else second
    _check(_libc.prctl(option, long(first), other, long(0), long(0)), f"prctl {option}")


def die_with_parent() -> None:
    """Ask for SIGKILL when the parent ends."""
    _prctl(PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own has ended, as the init of a namespace is."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def hide_from_siblings() -> None:
    """Refuse other processes of the same user this one's memory and descriptors."""
    _prctl(PR_SET_DUMPABLE, 0)


def own_namespaces() -> None:
    """Leave the user, pid, mount, ipc, net and uts namespaces; only a child is in the new pid one.

    The process must be single-threaded, as it is right after a fork.
    """
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS
    _check(_libc.unshare(flags), "unshare")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def own_mounts(scratch_bytes: int) -> None:
    """Put empty file systems over all that siblings could write, and a /proc of this namespace."""
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path in (SCRATCH, SHARED_MEMORY):
        options = f"size={scratch_bytes},nr_inodes=10000,mode=1777"
        _mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options)
    _mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind and kind.encode())
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def next_number() -> int:
    """Return the number that the next process in the pid namespace of this one's children gets; −1
    where none can be begun, as after the end of its first.

    One that ends at once takes it, and shares this one's memory as long: it costs 0.1 ms.
    """
    number, stack = ctypes.c_int(-1), ctypes.create_string_buffer(1 << 16)
    top = ctypes.c_void_p((ctypes.addressof(stack) + len(stack)) & ~15)
    flags = CLONE_VM | CLONE_VFORK | CLONE_CHILD_SETTID | signal.SIGCHLD
    ends = ctypes.cast(_libc._exit, ctypes.c_void_p)
    pid = _libc.clone(ends, top, flags, None, None, None, ctypes.byref(number))
    if pid < 0:
        return -1
    os.waitpid(pid, 0)
    return number.value


def close_descriptors(keep: int) -> None:
    """Close all but `keep`, and put 0, 1 and 2 on /dev/null."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    os.closerange(3, keep)
    os.closerange(keep + 1, 1 << 16)


def limit(memory_bytes: int, processes: int | None, files: int, file_bytes: int) -> None:
    """Set the limits that hold from within; memory, cpu and time are watched from outside too.

    RLIMIT_AS means nothing with torch, whose virtual size is huge.
    """
    for kind, value in (
        (resource.RLIMIT_DATA, grown_by(memory_bytes)),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        if value is not None:
            resource.setrlimit(kind, (value, value))


def grown_by(memory_bytes: int) -> int:
    """Return what this process has of data now, and so much more, for RLIMIT_DATA."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    data_now = next(int(line.split()[1]) for line in status.splitlines() if line[:6] == "VmData")
    return data_now * 1024 + memory_bytes


def seal_proc() -> None:
    """Let no further namespace be made below this one, and nothing in /proc be opened for writing:
    no sysctl, and not what begins the kernel's counting of memory anew.
    """
    Path("/proc/sys/user/max_user_namespaces").write_text("0", encoding="ascii")
    _mount("/proc/sys", "/proc/sys", None, MS_BIND | MS_REC)
    flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
    for target in ("/proc/sys", "/proc"):
        _mount("none", target, None, flags)


def drop_capabilities(bounding: bool) -> None:
    """Give up every capability, for good; `bounding` where this process may lower that set."""
    if bounding:
        for number in range(int(_LAST_CAPABILITY.read_text(encoding="ascii")) + 1):
            _prctl(PR_CAPBSET_DROP, number)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, struct.pack("=6I", *[0] * 6)), "capset")
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter, as the BPF program of `outer_wall.seccomp_program`."""
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: unsigned short len, then a pointer to the instructions of 8 bytes each.
    fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    _prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(fprog))
