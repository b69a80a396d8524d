"""The class edition: what participants get, with no solution and no hidden check in it."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from errno import EEXIST, EISDIR, ENOENT
from pathlib import Path

import nbformat

from autograder.authoring import build
from autograder.authoring.prune import prune
from autograder.catalogue.lessons import COURSE, ROOT, Lesson, LessonError, catalogue, lesson_named
from autograder.catalogue.questions import SHORT_ANSWER
from autograder.checking.check_files import CHECKS
from autograder.files import write_whole

TOP = "fine-tuning-interviews"
"""The one folder that everything in the bundle lies in."""
AS_THEY_ARE = (
    "LICENSE", "docs/learner.md", "environment.yml", "pyproject.toml", "requirements.lock",
    "scripts/setup", "scripts/venv.mk",
)  # fmt: skip
EXECUTABLE = ("scripts/setup",)
CODE = (".html", ".ini", ".md", ".py")
MOMENT = (2000, 1, 1, 0, 0, 0)
"""The time of every file in a zip of ours: the same input gives the same bytes."""


def write(
    out: Path, names: Sequence[str] = (), force: bool = False, with_answers: bool = False
) -> dict[str, bytes]:
    """Write the class edition as a zip file, whole or not at all; return what is in it.

    Args:
        out: the file.
        names: the lessons; all where it is empty.
        force: whether a file that is there is replaced.
        with_answers: whether the short answers to what a person grades are in the notebooks.

    Raises:
        LessonError: no such lesson, no sources, or `course/` is not what `build` makes of them.
        OSError: it is there already, or cannot be written.
    """
    if out.is_dir():
        raise IsADirectoryError(EISDIR, "is a folder. Name a file, as in --out x.zip", str(out))
    if out.exists() and not force:
        ways = "exists. Choose another --out, or add --force to replace it"
        raise FileExistsError(EEXIST, ways, str(out))
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(ENOENT, "there is no such folder to write to", str(out.parent))
    held = files([lesson_named(name) for name in names] or catalogue(), with_answers)
    inside = {f"{TOP}/{name}": content for name, content in held.items()}
    write_whole(out, packed(inside, [f"{TOP}/{name}" for name in EXECUTABLE]))
    return held


def packed(held: Mapping[str, bytes], executable: Sequence[str]) -> bytes:
    """Return files as a zip file: the same ones give the same bytes."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name, content in sorted(held.items()):
            bundle.writestr(_entry(name, name in executable), content)
    return made.getvalue()


def _entry(name: str, executable: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, MOMENT)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # the mode below is Unix's
    entry.external_attr = (0o755 if executable else 0o644) << 16
    return entry


def files(lessons: Sequence[Lesson], with_answers: bool = False) -> dict[str, bytes]:
    """Return the class edition of some lessons: path → content, sorted.

    Raises:
        LessonError: this edition has no sources, or `course/` is not what `build` makes of them.
    """
    if outdated := build.outdated():
        names = ", ".join(str(path.relative_to(ROOT)) for path in outdated)
        raise LessonError(
            f"{names}: not what `autograder build` makes of solutions/. Undo what was changed "
            "there, or run `autograder build`; then release again."
        )
    chosen = [lesson for lesson in catalogue() if lesson in lessons]
    paths = [ROOT / name for name in AS_THEY_ARE]
    paths += [*plain_files(COURSE / "data"), *plain_files(COURSE / "weights")]
    held = {path: path.read_bytes() for path in paths}
    held |= {path: text.encode() for path, text in _texts(chosen, with_answers)}
    return {str(path.relative_to(ROOT)): content for path, content in sorted(held.items())}


def _texts(chosen: Sequence[Lesson], with_answers: bool) -> Iterator[tuple[Path, str]]:
    """Yield the texts that are not as they are in the clone, and the code."""
    yield from _package(chosen).items()
    for path in COURSE.glob("*.py"):
        yield path, path.read_text(encoding="utf-8")
    for lesson in chosen:
        yield lesson.notebook, _notebook(lesson.notebook, chosen, with_answers)
    for name, text in build.pages_of(chosen).items():
        yield COURSE / name, text
    for name in ("README.md", "Makefile"):
        page = build.PAGES.get_template(f"class/{name}")
        yield ROOT / name, page.render(lessons=chosen)


def _package(chosen: Sequence[Lesson]) -> dict[Path, str]:
    """Return the package: the lessons' visible checks, and of their helpers what these need."""
    folder, shared = CHECKS.parent, CHECKS / "shared"
    apart = (CHECKS, folder / "templates" / "class", folder / "templates" / "lesson")
    paths = [path for path in plain_files(folder) if not any(p in path.parents for p in apart)]
    paths += [CHECKS / "visible" / f"test_{lesson.name}.py" for lesson in chosen]
    paths += [CHECKS / "pytest.ini", shared / "__init__.py"]
    texts = {path: path.read_text(encoding="utf-8") for path in paths if path.suffix in CODE}
    probes = folder / "checking" / "probes.py"
    helpers = {_module(path): path for path in (probes, *shared.glob("[!_]*.py"))}
    for path in helpers.values():
        texts.pop(path, None)
    users = [text for path, text in texts.items() if path.suffix == ".py"]
    whole = {name: path.read_text(encoding="utf-8") for name, path in helpers.items()}
    return texts | {helpers[name]: text for name, text in prune(whole, users).items()}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def plain_files(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder, at any depth, without what programs leave behind there."""
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inside):
            yield path


_LINK = re.compile(r"\[([^\]]+)\]\(\.\./(\d\d_\w+)/[^)]*\)")
"""A link from a lesson to another one."""


ANSWER = f"## {SHORT_ANSWER}"
"""How the heading begins of a lesson's own answer to what a person grades."""
LATER = "Your instructor has it, and gives it out when all are handed in."


def _notebook(path: Path, chosen: Sequence[Lesson], with_answers: bool) -> str:
    """Return a lesson's notebook in which a lesson that is not there is named, and no link."""
    there = {lesson.notebook.parent.name for lesson in chosen}
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(lambda m: m[0] if m[2] in there else m[1], cell.source)
            if cell.source.startswith(ANSWER) and not with_answers:
                cell.source = f"{cell.source.splitlines()[0]}\n\n{LATER}"
    return f"{nbformat.writes(notebook)}\n"
