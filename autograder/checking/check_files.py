"""The files that hold a lesson's checks: where they are, and their texts."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKS = Path(__file__).resolve().parents[1] / "checks"


@functools.cache
def is_hidden(path: Path) -> bool:
    """Whether a check file is hidden: an instructor's own is, as is all that is not visible."""
    return CHECKS / "visible" not in path.parents


def files(lesson: str, hidden: bool, extra: Path | None = None) -> list[Path]:
    """Return the check files of a lesson, as named by its short name.

    Args:
        lesson: as in ``lora``.
        hidden: whether the hidden ones too, where this edition has them.
        extra: a folder with checks of the instructor's own.
    """
    folders = [CHECKS / "visible"] + [CHECKS / "hidden"] * hidden + [extra] * (extra is not None)
    found = [folder / f"test_{lesson}.py" for folder in folders if folder is not None]
    return [path for path in found if path.is_file()]


def texts(lesson: str, hidden: bool, extra: Path | None = None) -> list[str]:
    """Return the text of a lesson's check files, as of `files`, and of the helpers they share."""
    helpers = [CHECKS / "shared" / f"{name}.py" for name in ("common", lesson)]
    paths = [*files(lesson, hidden, extra), *(path for path in helpers if path.is_file())]
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def has_hidden() -> bool:
    """Whether this edition has the hidden checks: the class edition has not."""
    return (CHECKS / "hidden").is_dir()


def forget(paths: Sequence[Path]) -> None:
    """Let the next run in this process read these check files anew."""
    files = set(map(str, paths))
    for name, module in list(sys.modules.items()):
        if getattr(module, "__file__", None) in files:
            del sys.modules[name]
