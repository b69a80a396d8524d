"""Finds what was handed in: every file in a folder is a notebook, or left out for a reason."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from autograder.notebook import archive, kinds
from autograder.notebook.opening import NotebookError, is_passed_over, note, opened, real

HEAD = 64 << 10
"""Bytes of a file that are looked at where its name does not say that it is a notebook."""
_KEYS = re.compile(rb'"(?:cells|nbformat|worksheets)"\s*:')
_CELLS = re.compile(rb"^#\s*(?:%%|In\[[\d ]*\]:)", re.MULTILINE)
_PLATFORMS_OWN = re.compile(
    r"timestamp\.txt|submission_metadata\.(?:yml|json)|.+_attempt_\d{4}(?:-\d\d){5}\.txt"
)
"""Files that nbgrader, Gradescope and Blackboard put beside what was handed in."""


@dataclass
class Found:
    """What lies in folders: what is graded, in a stable order, and what is not, with the reason."""

    notebooks: list[Path] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)


def find(paths: tuple[Path, ...]) -> Found:
    """Return the notebooks among `paths`, folders searched; a file that is named is one.

    Raises:
        NotebookError: a path that is not there, or a folder without notebooks.
    """
    found = Found()
    for path in paths:
        if path.is_dir():
            inside = within(path)
            if not inside.notebooks:
                why = [f" {name}: {reason}" for name, reason in inside.left_out.items()][:1]
                raise NotebookError(f"{path}: no notebook in this folder.{''.join(why)}")
            found.notebooks += inside.notebooks
            found.left_out |= inside.left_out
        elif path.is_symlink() or path.exists():
            note(path, real(path.parent))
            found.notebooks.append(path)
        else:
            raise NotebookError(f"{path}: no such file or folder.")
    found.notebooks = list(dict.fromkeys(found.notebooks))
    return found


def within(folder: Path) -> Found:
    """Return what is in a folder and below it, but for what `is_passed_over`."""
    found, top = Found(), real(folder)

    def lost(error: OSError) -> None:
        place = Path(os.fsdecode(error.filename or folder))
        found.left_out[place] = f"cannot be looked into ({error.strerror})."

    for place, folders, names in os.walk(folder, onerror=lost):
        folders[:] = sorted(name for name in folders if not is_passed_over(name))
        for name in sorted([*names, *folders]):
            path = Path(place, name)
            is_folder = name in folders and not path.is_symlink()
            if is_passed_over(name) or (is_folder and not name.lower().endswith(".ipynb")):
                continue  # a folder called so is no notebook, and is told of
            if _PLATFORMS_OWN.fullmatch(name):
                continue
            note(path, top / path.parent.relative_to(folder))  # below what is named, no link counts
            if reason := _why_not(path):
                found.left_out[path] = reason
            else:
                found.notebooks.append(path)
    found.notebooks.sort()
    found.left_out = dict(sorted(found.left_out.items()))
    return found


def _why_not(path: Path) -> str:
    """Return why a file is not graded, or nothing where it is: by its name, else its content."""
    if ".ipynb" in path.name.lower():
        return ""  # reading it says what is wrong with it
    try:
        with opened(path) as file:
            return _why_no_notebook(path, file)
    except NotebookError as error:
        return str(error).removeprefix(f"{path}: ")


def _why_no_notebook(path: Path, file: BinaryIO) -> str:
    head = file.read(HEAD)
    if head.startswith(archive.START):
        return archive.why_no_notebook(file)
    if what := kinds.of_bytes(head):
        return what
    if path.suffix.lower() == ".py":
        ways = "Name it itself on the command line if it is an answer."
        return "" if _CELLS.search(head) else f"Python without cells (# %%). {ways}"
    file.seek(-min(HEAD, os.fstat(file.fileno()).st_size), os.SEEK_END)
    is_object = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")
    if is_object and (_KEYS.search(head) or _KEYS.search(file.read(HEAD))):
        return ""
    return "no notebook."
