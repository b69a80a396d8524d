"""Finds notebooks in folders, and opens them: no links are followed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

MAX_BYTES = 20 << 20


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
            found.append(path)
        else:
            raise NotebookError(f"{path}: no such file or folder.")
    return list(dict.fromkeys(found))


def within(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and below it, without hidden ones, in a stable order."""
    return sorted(
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*names, *folders)  # a folder called so is no notebook, and is told of
        if name.endswith(".ipynb")
        and not any(part[0] == "." for part in Path(place, name).relative_to(folder).parts)
    )


def contents(path: Path) -> bytes:
    """Return what is in a notebook's file.

    Raises:
        NotebookError: it cannot be opened, is a link, no regular file, or too large.
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
