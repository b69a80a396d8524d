"""Opens notebooks: the files that were found, and no others."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 100 << 20
"""Pictures in outputs are large; what is left without them has bounds of its own."""
PIECE = 1 << 20
_FOUND: dict[Path, Path] = {}
"""notebook → the folder that it was found in, without links; processes forked since know it, too"""


class NotebookError(Exception):
    """A file that cannot be graded; the text names it and says what to do."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Yield a notebook's file, open for reading.

    Raises:
        NotebookError: it cannot be opened, is a link or no regular file, or its folder is no longer
            the one that it was found in.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotebookError(f"{path}: a symbolic link. Hand in the file itself.") from None
        raise NotebookError(f"{path}: cannot be opened ({error.strerror}).") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotebookError(f"{path}: not a file. Name the notebook itself.")
        # asked of what is open: a folder can become a link at any time before
        if path in _FOUND and _place(descriptor).parent != _FOUND[path]:
            raise NotebookError(
                f"{path}: its folder was moved, or replaced by a link, since the notebook was "
                "found. Put the folder itself back, and grade it again."
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def pieces(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yield what is in a file, piece by piece.

    Raises:
        NotebookError: there is more than `MAX_BYTES`.
    """
    total = 0
    while piece := file.read(PIECE):
        total += len(piece)
        if total > MAX_BYTES:
            raise NotebookError(
                f"{path}: larger than {MAX_BYTES >> 20} MB. Clear its outputs and save it again."
            )
        yield piece


def digest(path: Path) -> str:
    """Return what tells one version of a file from another, even where it cannot be read."""
    try:
        with opened(path) as file:
            made = hashlib.sha256()
            for piece in pieces(path, file):
                made.update(piece)
            return made.hexdigest()
    except NotebookError as error:
        return hashlib.sha256(str(error).encode("utf-8", "replace")).hexdigest()


def is_passed_over(name: str) -> bool:
    """Whether a file or folder is one that no learner made: systems, editors and tools leave it.

    Hidden ones (.DS_Store, .ipynb_checkpoints, .git), __MACOSX, __pycache__, Thumbs.db and
    desktop.ini.
    """
    is_hidden = name.startswith(".") and name not in (".", "..")
    return is_hidden or name.lower() in _LEFT_BY_TOOLS


_LEFT_BY_TOOLS = {"__macosx", "__pycache__", "thumbs.db", "desktop.ini"}


def note(path: Path, folder: Path) -> None:
    """Keep where a notebook was found, under each of the two ways to write it."""
    _FOUND[path] = _FOUND[folder / path.name] = folder


def real(folder: Path) -> Path:
    """Return where a folder lies, spelled as `_place` spells it."""
    try:
        descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    except OSError:  # macOS opens none that it may not list
        return folder.resolve()
    try:
        return _place(descriptor)
    finally:
        os.close(descriptor)


def _place(descriptor: int) -> Path:
    """Return where an open file or folder lies, whichever way led to it."""
    if sys.platform == "darwin":
        place = fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(place.rstrip(b"\0")))
    return Path(f"/proc/self/fd/{descriptor}").readlink()
