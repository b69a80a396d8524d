"""What works on this machine, and how to mend what does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from autograder.catalogue.lessons import ROOT, catalogue
from autograder.checking import check_files, gpu_race
from autograder.checking.handle import Student
from autograder.notebook import Cell
from autograder.sandbox import errors, launch, outer_wall, zygote
from autograder.sandbox.session import Session
from autograder.sandbox.warm_process import Limits
from course import data, models

SMALLER = "rm -rf .venv && make setup TORCH=cpu."
LIBRARIES = ("torch", "torchvision", "transformers", "peft", "nbgrader", "jupyterlab", "pytest")


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `needed` where this edition cannot do its work without it."""

    name: str
    found: str
    good: bool
    needed: bool = True
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything, the sandbox included: it is started, and a child closed off in it."""
    return [
        _edition(),
        _python(),
        _system(),
        _libraries(),
        _course(),
        Finding("processors", f"{os.cpu_count()}; torch {torch.get_num_threads()} threads", True),
        _disk(),
        _gpu(),
        *_sandbox(),
    ]


LOOK = """
import os

def seen(places):
    found = []
    for place in places:
        if os.path.isfile(place):
            found.append(place)
        for folder, _, names in os.walk(place):
            found += [os.path.join(folder, name) for name in names]
            found = [path for path in found if os.access(path, os.R_OK)][:3]
            if found:
                break
    return found
"""
"""What tries, inside the sandbox, to see what is in some places."""


def look_from_inside(folders: Sequence[Path]) -> list[Finding]:
    """Try to see each of these folders, and this project's, from inside, hidden as `grade` does."""
    own = [ROOT, *(folder.resolve() for folder in folders)]
    with (
        launch.start(tuple(own), warm=zygote.BASE) as sandbox,
        Session(sandbox, [Cell(1, LOOK)], Limits(), seconds=120) as session,
    ):
        session.prepare()
        return [_from_inside(Student(session, seconds=60), folder) for folder in own]


def _from_inside(student: Student, folder: Path) -> Finding:
    try:
        seen = student.seen(outer_wall.places(folder))
    except errors.StudentError as error:
        raise errors.SandboxError(f"{folder}: nobody could look from inside: {error}") from None
    if seen == []:
        return Finding(str(folder), "not seen from inside", good=True)
    mend = "Grade no stranger's notebook here, and report it: see SECURITY.md."
    return Finding(str(folder), f"seen from inside: {seen}", good=False, mend=mend)


def _edition() -> Finding:
    study, of_class = "study: solutions and hidden checks are in it", "class: visible checks only"
    return Finding("edition", study if check_files.has_hidden() else of_class, True)


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    return Finding("python", found, sys.version_info >= (3, 11), mend="")


def _system() -> Finding:
    good = sys.platform == "linux"
    mend = 'check("…") in a notebook works here; the commands `check` and `grade` need Linux.'
    found = f"{platform.system()} {platform.release()}"
    return Finding("system", found, good, check_files.has_hidden(), "" if good else mend)


def _libraries() -> Finding:
    found, missing = [], []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    mend = f"Missing: {', '.join(missing)}. Set up again: make setup." if missing else ""
    return Finding("libraries", ", ".join(found), not missing, mend=mend)


def _course() -> Finding:
    """Load what the lessons start from."""
    try:
        lessons, images = len(catalogue()), len(data.mnist("test"))
        models.pretrained_resnet()
        bert = importlib.metadata.version(models.BERT)
    except Exception as error:  # noqa: BLE001 - whatever a damaged file brings is a finding
        mend = "Unpack, or clone, the course anew, and set it up again: make setup."
        return Finding("course", f"{type(error).__name__}: {error}", good=False, mend=mend)
    found = f"{lessons} lessons, {images:,} test images, ResNet, BERT {bert}"
    return Finding("course", found, good=True)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    good = free > 1
    return Finding(
        "disk", f"{free:.0f} GB free here", good, mend="" if good else "Free some space."
    )


def _gpu() -> Finding:
    """Try a product on the GPU from inside the sandbox, as a check that needs one would."""
    try:
        arena = gpu_race.open_arena()
    except errors.SandboxError as error:
        mend = f"{error}. Checks that need a GPU are not counted."
        return Finding("GPU", "does not work", good=False, needed=False, mend=mend)
    arena.close()
    if isinstance(arena, gpu_race.Nowhere):
        mend, found = "Not needed: checks that need a GPU are not counted.", "none"
        if torch.version.cuda is not None:
            found = f"none; torch's build is CUDA {torch.version.cuda}"
            mend += " Without CUDA the environment is 5 GB smaller: " + SMALLER
        return Finding("GPU", found, good=False, needed=False, mend=mend)
    return Finding("GPU", f"{arena.lock}, in the sandbox too", good=True, needed=False)


def _sandbox() -> list[Finding]:
    """Try the isolations that `grade` would, in its order."""
    try:
        with launch.start() as zygote:
            found = f"{zygote.isolation}, by {outer_wall.bwrap_path()}"
            slow = "Works, but slowly: each submission warms up anew. " + launch.way_out()
            mend = slow if zygote.isolation == "single" else ""
            return [Finding("sandbox", found, good=True, mend=mend)]
    except errors.SandboxError as error:
        needed = check_files.has_hidden()
        mend = str(error) if needed else f"Needed only to grade strangers' notebooks. {error}"
        return [Finding("sandbox", "none works", good=False, needed=needed, mend=mend)]
