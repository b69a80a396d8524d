"""A new lesson: a source, checks and a bank of submissions, from templates that pass the tests."""

from __future__ import annotations

import contextlib
import keyword
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from autograder.authoring import build
from autograder.catalogue import lessons
from autograder.catalogue.lessons import COURSE, ROOT, LessonError
from autograder.catalogue.sources import NO_SOURCES, SOURCES, sources
from autograder.checking.check_files import CHECKS
from autograder.checking.expect import LETTERS

BANK = ROOT / "tests" / "submissions"
NAME = re.compile(r"[a-z][a-z0-9_]{1,19}")


def begin(name: str, title: str | None = None) -> list[Path]:
    """Write a lesson from the templates, and build the course; return the files of the lesson.

    Args:
        name: as in ``lora``.
        title: its heading; from the name where None.

    Raises:
        LessonError: the name is no good or taken, `course/` is not as built, or this edition has no
            solutions; nothing is written.
        OSError: a file cannot be written; nothing is left.
    """
    targets = _targets(name)
    if outdated := build.outdated():
        why = "is not what `autograder build` makes of its source, and a build would replace it"
        raise LessonError(f"{outdated[0]} {why}. Keep it elsewhere, or run `autograder build`.")
    title = title or name.replace("_", " ").capitalize()
    settings = {"name": name, "title": title, "letters": LETTERS}
    with _undone_on_failure(name, targets):
        for path, template in targets.items():
            text = build.PAGES.get_template(f"lesson/{template}.j2").render(settings)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        written = build.build()
    return [*targets, *(path for path in written if path.stem == name)]


def _targets(name: str) -> dict[Path, str]:
    """Return what is to be written, and from which template.

    Raises:
        LessonError: it cannot be.
    """
    if not sources():
        raise LessonError(NO_SOURCES)
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        rule = "2 to 20 small letters, digits and underscores, a letter first, no word of Python's"
        raise LessonError(f"{name!r} cannot be a lesson's name: that is {rule}.")
    number = int(sources()[-1].name[:2]) + 1
    targets = {
        SOURCES / f"{number:02}_{name}.py": "source.py",
        CHECKS / "visible" / f"test_{name}.py": "visible.py",
        CHECKS / "hidden" / f"test_{name}.py": "hidden.py",
        BANK / name / "mutants.py": "mutants.py",
        BANK / name / "alternates.py": "alternates.py",
    }
    taken = [path for path in (*targets, BANK / name) if path.exists()]
    taken += [lesson.notebook for lesson in lessons.catalogue() if lesson.name == name]
    if taken:
        raise LessonError(f"the name {name!r} is taken: {taken[0]} exists. Choose another.")
    return targets


@contextlib.contextmanager
def _undone_on_failure(name: str, targets: Iterable[Path]) -> Iterator[None]:
    """Remove what was made if not all of it can be, Ctrl-C included."""
    try:
        yield
    except BaseException:
        made = [*targets, *COURSE.glob(f"[0-9][0-9]_{name}/{name}.ipynb")]
        for path in made:
            path.unlink(missing_ok=True)
        for folder in (BANK / name, *(path.parent for path in made if COURSE in path.parents)):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
