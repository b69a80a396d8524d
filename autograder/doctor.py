"""What works on this machine, and how to mend what does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from autograder.sandbox import bubblewrap, launch


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `needed` where strangers' notebooks cannot be graded without it."""

    name: str
    found: str
    good: bool
    needed: bool = True
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything, the sandbox included: it is started, and a child closed off in it."""
    return [
        _python(),
        Finding("system", f"{platform.system()} {platform.release()}", sys.platform == "linux"),
        Finding("libraries", _versions(), good=True),
        Finding("processors", f"{os.cpu_count()}; torch {torch.get_num_threads()} threads", True),
        _disk(),
        _gpu(),
        *_sandbox(),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} ({sys.executable})"
    return Finding("python", found, sys.version_info >= (3, 11), mend="")


def _versions() -> str:
    names = ("torch", "torchvision", "transformers", "peft", "nbgrader", "pytest")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    good = free > 1
    return Finding(
        "disk", f"{free:.0f} GB free here", good, mend="" if good else "Free some space."
    )


def _gpu() -> Finding:
    if torch.cuda.is_available():
        return Finding("GPU", torch.cuda.get_device_name(), good=True, needed=False)
    mend = "Not needed: every check runs on the CPU."
    return Finding("GPU", "none that torch can use", good=False, needed=False, mend=mend)


def _sandbox() -> list[Finding]:
    """Try the isolations that `grade` would, in its order."""
    try:
        with launch.start() as zygote:
            found = f"{zygote.isolation}, by {bubblewrap.bwrap_path()}"
            slow = "Works, but slowly: each submission warms up anew. " + launch.way_out()
            mend = slow if zygote.isolation == "single" else ""
            return [Finding("sandbox", found, good=True, mend=mend)]
    except bubblewrap.SandboxError as error:
        return [Finding("sandbox", "none works", good=False, mend=str(error))]
