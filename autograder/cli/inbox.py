"""`grade --watch`: grades the notebooks that arrive in a folder, until Ctrl-C.

What was graded is told by its digest, not by its times: a file that is copied again, or saved
without a change, is not graded again; one that has changed gives its score up for the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autograder import files, notebook
from autograder.cli import console, run
from autograder.cli.filewatch import Changes, Stamp, stamp_of
from autograder.grading import journal, preparation
from autograder.grading.pool import Pool, Unfinished
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.reporting import charts, feedback, submission_names
from autograder.sandbox.errors import SandboxError
from autograder.scores import Score
from autograder.text import one_line

VERSIONS = "versions.json"
SETTLE = 1.0
"""Seconds for which a file must not have changed: one that is being copied is not graded half."""
SOON, LATER = 0.25, 2.0
"""Seconds between two looks while a file has yet to settle, and while no change is told of."""


@dataclass
class _Seen:
    """What a look found of a file: None where it is gone."""

    stamp: Stamp
    since: float
    is_told: bool = False


class Arrivals:
    """The notebooks of a folder: which are there, new, changed or gone, once they have settled."""

    def __init__(self, folder: Path, known: Sequence[Path]) -> None:
        """Watch `folder`, where those `known` have been before."""
        self._folder = folder
        self._seen = {path: _Seen(None, -SETTLE) for path in known}

    def look(self) -> Iterator[tuple[Path, str | None]]:
        """Yield each notebook that has settled since, with its digest, or None if it is gone.

        What is no notebook is said instead.
        """
        now = time.monotonic()
        found = notebook.within(self._folder)
        there = {path: stamp_of(path) for path in (*found.notebooks, *found.left_out)}
        for path in [*there, *(self._seen.keys() - there.keys())]:
            stamp, seen = there.get(path), self._seen.get(path)
            if seen is None or seen.stamp != stamp:
                self._seen[path] = _Seen(stamp, now)
            elif not seen.is_told and now - seen.since >= SETTLE:
                seen.is_told = True
                if path in found.left_out:
                    console.warn(f"{one_line(str(path))}: left out: {found.left_out[path]}")
                else:
                    yield path, notebook.digest(path) if stamp else None

    @property
    def there(self) -> list[Path]:
        """What was there at the last look."""
        return [path for path, seen in self._seen.items() if seen.stamp]

    @property
    def patience(self) -> float:
        """How many seconds may pass until the next look."""
        return LATER if all(seen.is_told for seen in self._seen.values()) else SOON


class Desk:
    """Grades what has arrived, first come first served, and keeps all results current."""

    def __init__(
        self, out: Path, folder: Path, pool: Pool, journal: journal.Journal, options: Options
    ) -> None:
        """Begin, or go on with what the journal holds.

        Raises:
            NotebookError: the journal holds submissions from elsewhere.
        """
        self._out, self._folder, self._pool, self._journal = out, folder, pool, journal
        known = [Path(submission) for submission in journal.scores]
        for path in known:
            if folder not in path.parents:
                ways = "Name the same folder as before, in the same way, or leave --resume out."
                raise NotebookError(
                    f"{out} holds {one_line(str(path))}, which is not in {folder}. {ways}"
                )
        self._arrivals = Arrivals(folder, known)
        self._lesson_of = preparation.lesson_told(options)
        self._graded = _read_versions(out, known)
        """notebook → the digest of the version whose score is in the journal"""
        self._waiting: dict[Path, str] = {}
        self._running: dict[Path, str] = {}
        self._next_look = 0.0
        self._is_drawn = False

    @property
    def scores(self) -> list[Score]:
        """What was graded, in the order of arrival."""
        return list(self._journal.scores.values())

    def left(self) -> int:
        """Return how many notebooks are there whose newest version is not graded."""
        there = notebook.within(self._folder).notebooks
        return sum(notebook.digest(path) != self._graded.get(path) for path in there)

    def work(self, changes: Changes) -> None:
        """Do what there is to do, and wait a while for more.

        Raises:
            OSError: a result cannot be written.
            SandboxError: the warm process ended, and another cannot be started.
        """
        if changes.collect() or time.monotonic() >= self._next_look:
            for path, version in self._arrivals.look():
                self._note(path, version)
            self._next_look = time.monotonic() + self._arrivals.patience
        while self._waiting and self._pool.has_room:
            path = next(iter(self._waiting))
            self._running[path] = self._waiting.pop(path)
            self._pool.begin(path)
        if not self._running:
            self.draw()
        patience = max(0.0, self._next_look - time.monotonic())
        for score in self._pool.ended(patience, changes.told):
            self._take(score)

    def _note(self, path: Path, version: str | None) -> None:
        """Have a version graded if it is new; one that it replaces is not graded to the end."""
        was_waiting = self._waiting.pop(path, None)
        if version is None:
            known = [Path(submission) for submission in self._journal.scores]
            if was_waiting or path in known:
                stays = "its score stays" if path in known else "it was not graded"
                console.warn(f"{one_line(str(path))} is gone: {stays}.")
        elif self._running.get(path) != version:
            if self._running.pop(path, None):
                self._pool.cancel(path)
            if self._graded.get(path) != version:
                self._waiting[path] = version

    def _take(self, score: Score) -> None:
        """Keep a score, unless it is of a version that is there no more."""
        path = Path(score.submission)
        version = self._running.pop(path)
        if os.path.lexists(path):
            is_stale = notebook.digest(path) != version
        else:
            is_stale = score.status == "unreadable"  # it went before it could be read
        if is_stale:
            return  # what is there now will be noted
        known = self._journal.scores.keys()
        there = list(dict.fromkeys([*known, *map(str, self._arrivals.there), score.submission]))
        top = len(self._folder.parts)
        names = submission_names.names(there, self._lesson_of, self._journal.names, top)
        name, student = names[score.submission]
        is_newer = score.submission in known
        score = replace(score, name=name, student=student)
        feedback.write_page(self._out / feedback.page_of(score), score)
        self._journal.add(score)
        self._graded[path] = version
        _write_versions(self._out, self._graded)
        self.write_table()
        self._is_drawn = False
        console.show_arrival(score, is_newer, len(self._waiting) + len(self._running))

    def write_table(self) -> None:
        """Write the scores as a table."""
        journal.write_csv(self._out / journal.SCORES, self.scores)

    def draw(self) -> None:
        """Draw the class, if the picture is not of these scores already."""
        if self._journal.scores and not self._is_drawn:
            beside = self._out / f"new-{run.CHART}"
            charts.draw_class(beside, self.scores)
            beside.replace(self._out / run.CHART)
            self._is_drawn = True


def _read_versions(out: Path, known: Sequence[Path]) -> dict[Path, str]:
    """Return which version was graded of each known notebook; of some it may not be told."""
    try:
        entries = json.loads((out / VERSIONS).read_bytes())
        return {path: entries[str(path)] for path in known if str(path) in entries}
    except (OSError, ValueError, TypeError):
        return {}


def _write_versions(out: Path, versions: dict[Path, str]) -> None:
    entries = {str(path): version for path, version in versions.items()}
    files.write_whole(out / VERSIONS, json.dumps(entries, indent=1).encode() + b"\n")


def grade_arrivals(
    out: Path,
    folder: Path,
    options: Options,
    workers: int | None = None,
    isolation: str = "",
    resume: bool = False,
) -> tuple[list[Score], int]:
    """Grade what is in `folder` and what arrives there, until Ctrl-C; leave the results in `out`.

    Each score is on the disk, in the table and on its page before the next. With `resume`, what was
    graded and has not changed is not graded again.

    Returns:
        Brief scores in the order of arrival, and how many notebooks are there that are not graded.

    Raises:
        NotebookError: `out` cannot be written, or holds submissions that are not in `folder`.
        SandboxError: no sandbox works here; nothing was run or written.
        BrokenChecks: the checks cannot be collected; nothing was run or written.
        Unfinished: a result could not be written, or the sandbox is gone; those before are kept.
    """
    hidden = (folder.resolve(),)
    with (
        Changes((folder,), recursive=True, say=console.warn) as changes,
        run.opened(out, (), hidden, options, workers, isolation, resume) as (pool, journal),
    ):
        desk = Desk(out, folder, pool, journal, options)
        console.show_watching(folder, len(journal.scores))
        try:
            desk.write_table()
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    desk.work(changes)
            desk.draw()
        except (OSError, SandboxError) as end:
            done = f"Stopped ({end}): {len(desk.scores)} are graded, in {out}"
            text = f"{done}. The same command with --resume goes on."
            raise Unfinished(text, interrupted=False) from None
        return desk.scores, desk.left()
