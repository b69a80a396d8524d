"""nbgrader's gradebook, filled from a run of `grade`, and the course that it belongs to."""

from __future__ import annotations

import collections
import contextlib
import glob
import hashlib
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_notebook
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps.api import NbGraderAPI
from nbgrader.apps.baseapp import NbGrader
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.exc import SQLAlchemyError

from autograder import notebook
from autograder.authoring import build
from autograder.catalogue import lessons, sources
from autograder.files import write_whole
from autograder.lms import nbgrader
from autograder.notebook import NotebookError
from autograder.reporting import submission_names
from autograder.scores import Learner


class GradebookError(Exception):
    """A gradebook or course that cannot be used; the text says what to do."""


@dataclass(frozen=True)
class Entry:
    """A submission as nbgrader keeps it: ``submitted/STUDENT/ASSIGNMENT/LESSON.ipynb``."""

    path: Path
    student: str
    assignment: str


class Course:
    """The nbgrader course of the working directory, as its ``nbgrader_config.py`` has it."""

    def __init__(self, url: str = "") -> None:
        """Read the configuration, and open the gradebook at `url`, or the course's own.

        Raises:
            GradebookError: the gradebook cannot be opened.
        """
        # nbgrader runs alembic by its name, which is found only where the environment is active
        programs = str(Path(sys.executable).parent)
        os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        app = NbGrader()
        app.log.handlers.clear()
        app.load_config_file()
        nbgrader.configure(app.config)
        if url:
            app.config.CourseDirectory.db_url = url
        self._config = app.config
        self._directory = CourseDirectory(config=app.config)
        scheme, _, file = self._directory.db_url.partition(":///")
        if scheme == "sqlite":
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        with self._book():
            pass

    @contextlib.contextmanager
    def _book(self) -> Iterator[Gradebook]:
        try:
            with Gradebook(self._directory.db_url, self._directory.course_id) as book:
                yield book
        except (SQLAlchemyError, ImportError) as error:
            reason = str(error).strip().partition("\n")[0]
            ways = "Is the server running, and the URL as in postgresql+psycopg://user@host/name?"
            raise GradebookError(f"the gradebook cannot be used ({reason}). {ways}") from None

    @property
    def submitted(self) -> Path:
        """The folder of all submissions."""
        step = self._directory.submitted_directory
        return Path(self._directory.format_path(step, ".", ".")).resolve()

    def enter(
        self, paths: Sequence[Path], lesson: str | None, force: bool
    ) -> dict[Path, Entry | None]:
        """Return what each of `paths` is in the course; what lies elsewhere is copied into it.

        A notebook ``alice.ipynb`` beside others is the student alice's; one in a folder of its own,
        as ``alice/lora.ipynb``, is its folder's. What cannot be read, or told, is None, and so are
        two that would be one student's. A name with odd signs has a number instead of them, the
        same each time.

        Raises:
            GradebookError: another notebook is there already and `force` is off.
        """
        answered = {path: self._lesson(path, lesson) for path in paths}
        told = {
            str(nbgrader.in_place(path)): found.name for path, found in answered.items() if found
        }
        whose = submission_names.students(told, told.__getitem__)
        entries = {path: self._entry(path, found, whose) for path, found in answered.items()}
        taken = collections.Counter(entry.path for entry in entries.values() if entry)
        entries = {
            path: entry if entry and taken[entry.path] == 1 else None
            for path, entry in entries.items()
        }
        for path, entry in entries.items():
            if entry is not None and entry.path != nbgrader.in_place(path):
                _copy(path, entry.path, force)
        return entries

    def _lesson(self, path: Path, named: str | None) -> lessons.Lesson | None:
        """Return what a notebook from elsewhere answers, if it can be read and told."""
        if nbgrader.in_place(path).is_relative_to(self.submitted):
            return None
        try:
            return lessons.lesson_of(notebook.read(path), named)
        except (NotebookError, lessons.LessonError):
            return None

    def _entry(
        self, path: Path, lesson: lessons.Lesson | None, whose: Mapping[str, Learner]
    ) -> Entry | None:
        place = nbgrader.in_place(path)
        if place.is_relative_to(self.submitted):
            parts = place.relative_to(self.submitted).parts
            return Entry(place, *parts[:2]) if len(parts) == 3 else None
        if lesson is None:
            return None
        assignment = lesson.notebook.parent.name
        student = submission_names.file_name(str(whose[str(place)]))
        return Entry(
            self.submitted / student / assignment / f"{lesson.name}.ipynb", student, assignment
        )

    def fill(self, run: Path, entries: Sequence[Entry]) -> Iterator[str]:
        """Put what a run of `grade` left in `run` into the gradebook, by `nbgrader autograde`.

        Yields a sentence for each entry once it is done, empty where all is well: what one lacks
        costs the others nothing. Manual grades and comments stay; late penalties are the course's.

        Raises:
            GradebookError: the course cannot be used.
            KeyboardInterrupt: what was filled stays; the same command with `--resume` fills all.
        """
        run = run.resolve()
        self._config.GradeInSandbox.results = str(run)
        api = NbGraderAPI(self._directory, config=self._config)
        api.log.setLevel(logging.ERROR)
        assignments = dict.fromkeys(entry.assignment for entry in entries)
        unknown = {each: _told(self._announce, api, each) for each in assignments}
        for entry in entries:
            problem = unknown[entry.assignment] or _told(self._fill, api, run, entry)
            yield problem and f"{entry.path}: not in the gradebook: {problem}"

    def _fill(self, api: NbGraderAPI, run: Path, entry: Entry) -> str:
        """Put one entry into the gradebook, and return why it is not there, or nothing."""
        with self._book() as book:
            book.find_notebook(entry.path.stem, entry.assignment)
        odd = _odd(entry.path.parent)
        if odd or nbgrader.result(run, entry.path).status == "unreadable":
            self._flag(entry)  # not for nbgrader's reader either
            return odd and f"{odd}. It has 0 and waits for a person."
        done = api.autograde(entry.assignment, glob.escape(entry.student), force=True)
        if done.get("error", "").rstrip().endswith("KeyboardInterrupt"):  # it catches that, too
            raise KeyboardInterrupt
        return "" if done["success"] else _reason(done)

    def _flag(self, entry: Entry) -> None:
        with self._book() as book:
            book.update_or_create_student(entry.student)
            book.update_or_create_submission(entry.assignment, entry.student)
        nbgrader.flag(
            {
                "student": entry.student,
                "assignment": entry.assignment,
                "notebook": entry.path.stem,
                "db_url": self._directory.db_url,
            }
        )

    def _announce(self, api: NbGraderAPI, assignment: str) -> str:
        """Have the gradebook know an assignment: by `nbgrader generate_assignment`, where it can.

        Returns why it does not know it, or nothing.
        """
        with self._book() as book, contextlib.suppress(MissingEntry):
            book.find_assignment(assignment)
            return ""
        if glob.escape(assignment) != assignment:  # nbgrader would take it for others, too
            return f"the gradebook does not know {assignment}"
        step = self._directory.source_directory
        source = Path(self._directory.format_path(step, ".", assignment))
        if not any(source.glob("*.ipynb")) and sources.sources():
            build.build_solutions(source.parent, only=assignment)
        made = api.generate_assignment(assignment)
        return (
            ""
            if made["success"]
            else (
                f"the gradebook does not know {assignment}, and `nbgrader generate_assignment` "
                f"cannot make it: {_reason(made)}"
            )
        )


def _told(work: Callable[..., str], *of: object) -> str:
    """Return what `work` says that it could not do, and so where it fails, too."""
    try:
        return work(*of)
    except Exception as error:  # noqa: BLE001 - what one student handed in costs the others nothing
        return f"{error or type(error).__name__}".strip().partition("\n")[0]


def _odd(folder: Path) -> str:
    """Say what in a submission's folder nbgrader would follow out of it, or wait for."""
    if os.path.realpath(folder) != str(folder):
        return f"{folder} is reached by a symbolic link"
    for place, folders, names in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return f"{path} is a symbolic link, or no plain file"
    return ""


def _copy(path: Path, target: Path, force: bool) -> None:
    submission = notebook.read(path)
    copy = new_notebook(cells=[notebook.bare(cell) for cell in submission.cells])
    data = f"{nbformat.writes(copy)}\n".encode()
    folder = target.parent
    if os.path.realpath(folder) != str(folder):
        raise GradebookError(
            f"{folder}: a symbolic link is on the way. Put a folder there, or remove the link."
        )
    is_same = notebook.digest(target) == hashlib.sha256(data).hexdigest()
    if os.path.lexists(target) and not force and not is_same:
        raise GradebookError(
            f"{target} is another notebook than {path}. Add --force to replace it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(target, data)


def _reason(done: dict[str, str]) -> str:
    """Return the last line of nbgrader's that says why."""
    lines = [each.strip() for each in (done.get("log") or done.get("error") or "").splitlines()]
    telling = [line for line in lines if line and not line.startswith(_SAYS_NOTHING)]
    return telling[-1] if telling else "nbgrader gave no reason"


_SAYS_NOTHING = ("[ERROR] There was an error processing", "[ERROR] Please see the")
