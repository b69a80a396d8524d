"""A zip that was handed in: the one notebook in it, read as a stream; nothing is unpacked."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from autograder.notebook import kinds
from autograder.notebook.opening import NotebookError, is_passed_over

START = b"PK\x03\x04"
MAX_DIRECTORY = 1 << 20
"""Bytes of the list of what is in a zip: some 10,000 files."""
_LISTED = 3
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError,
)  # fmt: skip
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How what is in it may be packed; others can take gigabytes to unpack."""


class _Bounded(io.BufferedReader):
    """A file of which no single read takes more than `MAX_DIRECTORY`."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(MAX_DIRECTORY + 1 if size is None or size < 0 else size)
        if len(data) > MAX_DIRECTORY or (size or 0) > MAX_DIRECTORY:
            raise zipfile.BadZipFile("its list of files is too long")
        return data


@contextlib.contextmanager
def unpacked(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the notebook in a zip, or the file itself where it is no zip.

    Raises:
        NotebookError: the zip is damaged, or holds none, or more than one.
    """
    is_zip = file.read(len(START)) == START
    file.seek(0)
    if not is_zip:
        yield file
        return
    try:
        with _listed(file) as archive:
            found = _notebooks(archive.namelist())
            if len(found) != 1:
                raise NotebookError(f"{path}: {_how_many(archive.namelist(), found)}")
            info = archive.getinfo(found[0])
            if info.flag_bits & 1:
                raise NotebookError(f"{path}: a zip with a password. {kinds.ITSELF}")
            if info.compress_type not in _METHODS:
                raise NotebookError(f"{path}: a zip of an unusual kind. {kinds.ITSELF}")
            with archive.open(info) as inside:
                yield inside  # type: ignore[misc]  # likewise
    except _DAMAGE:
        raise NotebookError(f"{path}: a damaged zip. Pack it again. {kinds.ITSELF}") from None


def why_no_notebook(file: BinaryIO) -> str:
    """Return why there is nothing to grade in a zip, or nothing where there is."""
    try:
        with _listed(file) as archive:
            found = _notebooks(archive.namelist())
            return "" if found else _how_many(archive.namelist(), found)
    except _DAMAGE:
        return "a damaged zip."


def _listed(file: BinaryIO) -> zipfile.ZipFile:
    raw = _Bounded(io.FileIO(file.fileno(), closefd=False))
    return zipfile.ZipFile(raw)


def _notebooks(names: list[str]) -> list[str]:
    return [
        name
        for name in dict.fromkeys(names)
        if ".ipynb" in PurePosixPath(name).name.lower()
        and not name.endswith("/")
        and not any(map(is_passed_over, PurePosixPath(name).parts))
    ]


def _how_many(names: list[str], found: list[str]) -> str:
    if "[Content_Types].xml" in names:
        return kinds.OFFICE
    if not found:
        return f"a zip without a notebook in it. {kinds.ITSELF}"
    listed = ", ".join(repr(name[-80:]) for name in found[:_LISTED])
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return (
        f"a zip with {len(found)} notebooks in it ({listed}{more}), and one can be graded. Unpack "
        "it, or hand in one."
    )
