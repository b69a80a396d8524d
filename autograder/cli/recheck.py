"""`check --watch`: checks a notebook again whenever its code is saved, from a warm process.

Each check runs in a fork of this process, which reads the notebook and the check files anew and is
killed where a newer version of the notebook makes it stale.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click

from autograder import notebook
from autograder.catalogue import lessons
from autograder.catalogue.lessons import LessonError
from autograder.checking import check_files
from autograder.cli import console
from autograder.cli.filewatch import Changes, Stamp, stamp_of
from autograder.grading.pool import Pool
from autograder.grading.results_format import record
from autograder.grading.score_submission import Options
from autograder.learner import attempts
from autograder.notebook import NotebookError
from autograder.sandbox.warm_process import Zygote
from autograder.scores import Score

SETTLE = 0.5
"""Seconds for which a file must stay as it is before it is said to be none, or no notebook: an
editor may be in the middle of saving it."""
SOON, LATER = 0.05, 2.0
"""Seconds between two looks at a file that is not whole, and at one that no change is told of."""


def watch(path: Path, options: Options, as_json: bool) -> NoReturn:
    """Check a notebook, and again at each save, until Ctrl-C.

    Raises:
        KeyboardInterrupt: the user has ended it.
        NotebookError: there is no such file, or not a regular one.
        BrokenChecks: the checks cannot be collected.
        SandboxError: the warm process cannot be started.
    """
    if path.is_symlink() or not path.is_file():
        notebook.read(path)  # says what it is instead
    with contextlib.suppress(NotebookError, LessonError):  # said once it is warm
        lesson = lessons.lesson_of(notebook.read(path))
        options = replace(options, lesson=lesson.name)  # the others' checks need not be read
    folders = (path.parent, check_files.CHECKS / "visible")
    with Changes(folders, recursive=False, say=console.warn) as changes:
        with console.waiting("warming up"):
            pool = Pool(lambda: Zygote("none"), options, workers=1, reread=True)
        with pool:
            pool.stand_by()
            follower = Follower(path, pool, as_json)
            while True:
                patience = follower.look()
                for score in pool.ended(patience, changes.told):
                    follower.take(score)
                    pool.stand_by()
                changes.collect()


class Follower:
    """Begins a check of each new version of a notebook's code, and shows the newest verdict."""

    def __init__(self, path: Path, pool: Pool, as_json: bool) -> None:
        """Follow the notebook at `path`; nothing is looked at yet."""
        self._path, self._pool, self._as_json = path, pool, as_json
        self._stamps: list[Stamp] = []
        self._since = 0.0
        self._is_open = False
        self._checked: object = None
        """the version that is being checked, or was: its code and the stamps of the checks"""
        self._before: Score | None = None

    def look(self) -> float:
        """Act on what was saved; return how many seconds may pass until the next look."""
        now, stamps = time.monotonic(), _stamps(self._path)
        if stamps != self._stamps:
            self._stamps, self._since, self._is_open = stamps, now, True
        if not self._is_open:
            return LATER
        try:
            version = (_code(self._path), stamps[1:])
        except (NotebookError, LessonError) as error:
            if now - self._since < SETTLE:
                return SOON
            self._refuse(str(error))
        else:
            if version != self._checked:
                self._begin(version)
        self._is_open = False
        return LATER

    def _begin(self, version: object) -> None:
        self._pool.cancel(self._path)
        self._pool.begin(self._path)
        self._checked = version
        if not self._as_json:
            console.show_rechecking()

    def _refuse(self, why: str) -> None:
        self._pool.cancel(self._path)
        self._checked = None
        self._show(Score(str(self._path), "", "unreadable", "none", 0.0, (why,)))

    def take(self, score: Score) -> None:
        """Show a score, unless the file was being written when it was read."""
        if score.status == "unreadable" and _stamps(self._path) != self._stamps:
            self._checked = None
            return
        self._show(score)
        attempts.record({task.task: task.checks for task in score.tasks}, console.warn)

    def _show(self, score: Score) -> None:
        if self._as_json:
            click.echo(json.dumps(record(score)))
        else:
            console.show_recheck(score, self._before, time.monotonic() - self._since)
        if score.tasks:
            self._before = score


def _code(path: Path) -> list[tuple[str, frozenset[str]]]:
    """Return what of a notebook is checked: its code, and the tags that leave a cell out.

    Raises:
        NotebookError: it is no notebook.
        LessonError: it cannot be told which lesson it answers.
    """
    submission = notebook.read(path)
    lessons.lesson_of(submission)
    return [(cell.source, cell.tags) for cell in submission.code]


def _stamps(path: Path) -> list[Stamp]:
    """Return what changes when the notebook is written, then the same for the check files."""
    checks = sorted((check_files.CHECKS / "visible").glob("*.py"))
    return [stamp_of(each) for each in (path, *checks)]
