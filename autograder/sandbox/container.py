"""The isolation inside a throwaway container, where no namespace can be had: another uid.

For one submission, by root: it runs as a uid that no account has, under the system-call filter and
the limits. What that uid could read of the checks, the solutions and the results is looked for
first, and nothing runs while there is any. Weaker than a namespace: see SECURITY.md.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from autograder.sandbox import outer_wall, zygote
from autograder.sandbox.errors import SandboxError

UIDS = range(63352, 65520)
"""What is chosen from, apart from `outer_wall.UIDS`: all processes of the chosen one are ended."""
_WRITABLE = ("/tmp", "/var/tmp", "/dev/shm")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_READABLE = """
import os, sys
paths = sys.stdin.buffer.read().split(b"\\0")
sys.stdout.buffer.write(b"\\0".join(path for path in paths if os.access(path, os.R_OK)))
"""


def uid_for(hide: Sequence[Path]) -> int:
    """Return the uid to run as, once nothing in `hide` can be read by it.

    Raises:
        SandboxError: this is not root, or something could be read; the text says what to do.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise SandboxError("the isolation `container` needs root, in a container of its own")
    uid = outer_wall.unused_uid(UIDS)
    if found := _readable(uid, hide):
        tops = sorted({str(_top(Path(path), hide)) for path in found})
        raise SandboxError(
            f"every account can read {found[0]}, and so could a submission. "
            f"In the throwaway container: chmod -R go= {' '.join(tops)}"
        )
    return uid


def _files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder but those of the interpreter's own environment."""
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if Path(path, name) != Path(sys.prefix)]
        yield from (Path(path, name) for name in names)


def _readable(uid: int, hide: Sequence[Path]) -> list[str]:
    files = [str(path) for folder in hide for path in _files(folder) if not path.is_symlink()]
    try:
        looked = subprocess.run(
            [sys.executable, "-I", "-c", _READABLE],
            input="\0".join(files), capture_output=True, encoding="utf-8", errors="surrogateescape",
            user=uid, group=uid, extra_groups=[], check=True, cwd="/",
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        raise SandboxError(f"{sys.executable} cannot be run by another uid ({error})") from None
    return [path for path in looked.stdout.split("\0") if path]


def _top(path: Path, hide: Sequence[Path]) -> Path:
    """Return what is to be closed for a file: the entry that it lies in, of a hidden folder."""
    folder = next(folder for folder in hide if path.is_relative_to(folder))
    return folder / path.relative_to(folder).parts[0]


def package() -> Path:
    """Return a folder with what a submission may import, readable by all: as `outer_wall` binds."""
    folder = Path(tempfile.mkdtemp(prefix="autograder-"))
    inside = folder / "autograder" / "sandbox"
    inside.mkdir(parents=True)
    shutil.copy(outer_wall.HERE / "stub.py", inside.parent / "__init__.py")
    for name in outer_wall.INSIDE:
        shutil.copy(outer_wall.HERE / name, inside)
    shutil.copytree(outer_wall.COURSE, folder / "course")
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", str(folder)], check=True)
    return folder


def command() -> list[str]:
    """Return the command that starts a zygote, in the folder that `package` made.

    The modules to import follow it [`zygote.WARM`].
    """
    return [sys.executable, "-m", zygote.__name__, "container"]


def environment(folder: Path) -> dict[str, str]:
    """Return its environment: nothing of this process's own."""
    inside = {k: v for k, v in outer_wall.ENVIRONMENT.items() if k != "LD_LIBRARY_PATH"}
    return {**inside, "PYTHONPATH": str(folder)}


def end(uid: int) -> None:
    """End every process of `uid`, and remove the files that it left."""
    # by the kernel in one sweep, which no fork escapes: everything but the sender itself
    sweep = ["/bin/sh", "-c", "kill -9 -1"]
    subprocess.run(sweep, user=uid, group=uid, extra_groups=[], check=False, capture_output=True)
    for top in filter(os.path.isdir, _WRITABLE):
        for _, folders, names, inside in os.fwalk(top):
            left = {name for name in (*names, *folders) if _owner(name, inside) == uid}
            for name in left:
                with contextlib.suppress(OSError):  # what still resists ends with the container
                    _remove(name, inside)
            folders[:] = [name for name in folders if name not in left]


def _owner(name: str, folder: int) -> int | None:
    """Return whose something in an open folder is, or None where it is gone."""
    with contextlib.suppress(OSError):
        return os.lstat(name, dir_fd=folder).st_uid
    return None


def _remove(name: str, folder: int) -> None:
    """Remove a file, or a folder that may be deeper than any path: step by step, down and up.

    Raises:
        OSError: some of it cannot be removed.
    """
    if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
        os.unlink(name, dir_fd=folder)
        return
    here = os.open(name, _FOLDER, dir_fd=folder)
    try:
        below = [(name, _emptied(here))]
        while below:
            name, folders = below[-1]
            if folders:
                here = _stepped(here, folders[-1])
                below.append((folders.pop(), _emptied(here)))
            else:
                below.pop()
                here = _stepped(here, "..")
                os.rmdir(name, dir_fd=here)
    finally:
        os.close(here)


def _emptied(folder: int) -> list[str]:
    """Remove the files in an open folder; return the folders in it."""
    entries = list(os.scandir(folder))
    folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in {entry.name for entry in entries}.difference(folders):
        os.unlink(name, dir_fd=folder)
    return folders


def _stepped(here: int, name: str) -> int:
    """Open a folder beside or below an open one, which is closed."""
    there = os.open(name, _FOLDER, dir_fd=here)
    os.close(here)
    return there
