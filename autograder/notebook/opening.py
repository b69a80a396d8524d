"""Finds notebooks in folders, and opens them: the files that were found, and no others."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import sys
from pathlib import Path

MAX_BYTES = 40 << 20
"""Pictures in outputs are large; what is left without them has bounds of its own."""
_FOUND: dict[Path, Path] = {}
"""notebook → the folder that it was found in, without links; processes forked since know it, too"""


class NotebookError(Exception):
    """A file that cannot be graded; the text names it and says what to do."""


def find(paths: tuple[Path, ...]) -> list[Path]:
    """Return the notebooks among `paths`, folders searched, in a stable order.

    Raises:
        NotebookError: a path that is not there, or a folder without notebooks.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            if not (inside := within(path)):
                raise NotebookError(f"{path}: no notebook (*.ipynb) in this folder.")
            found += inside
        elif path.is_symlink() or path.exists():
            _note(path, _real(path.parent))
            found.append(path)
        else:
            raise NotebookError(f"{path}: no such file or folder.")
    return list(dict.fromkeys(found))


def within(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and below it, without hidden ones, in a stable order."""
    real = _real(folder)
    found = sorted(
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*names, *folders)  # a folder called so is no notebook, and is told of
        if name.endswith(".ipynb")
        and not any(part[0] == "." for part in Path(place, name).relative_to(folder).parts)
    )
    for path in found:
        _note(path, real / path.parent.relative_to(folder))  # below what is named, no link counts
    return found


def contents(path: Path) -> bytes:
    """Return what is in a notebook's file.

    Raises:
        NotebookError: it cannot be opened, is a link, no regular file or too large, or its folder
            is no longer the one that it was found in.
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
            data = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_BYTES:
        raise NotebookError(
            f"{path}: larger than {MAX_BYTES >> 20} MB. Clear its outputs and save it again."
        )
    return data


def digest(path: Path) -> str:
    """Return what tells one version of a file from another, even where it cannot be read."""
    try:
        return hashlib.sha256(contents(path)).hexdigest()
    except NotebookError as error:
        return hashlib.sha256(str(error).encode("utf-8", "replace")).hexdigest()


def _note(path: Path, folder: Path) -> None:
    """Keep where a notebook was found, under each of the two ways to write it."""
    _FOUND[path] = _FOUND[folder / path.name] = folder


def _real(folder: Path) -> Path:
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
