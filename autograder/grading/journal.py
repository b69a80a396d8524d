"""What a run leaves: the journal `results.jsonl`, which is read back, and `scores.csv`."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autograder.files import write_whole
from autograder.grading.results_format import brief, record, revived
from autograder.notebook import NotebookError
from autograder.scores import Learner, Score, rounded_down
from autograder.text import harmless, one_line

JOURNAL, SCORES = "results.jsonl", "scores.csv"


@dataclass(frozen=True)
class Results:
    """What a run has left: whole scores, in the order of its submissions."""

    scores: tuple[Score, ...]
    finished: bool
    """whether the run came to its end"""
    cut: bool = False
    """whether the last line is not whole: the run was killed as it wrote"""


def load(folder: Path) -> Results:
    """Read what a run left in `folder`; of a submission that is there twice, the last counts.

    Raises:
        NotebookError: there is no journal, or a line of it is no result.
        OSError: it cannot be read.
    """
    path = folder / JOURNAL
    if not path.is_file():
        way = "Name the folder that `autograder grade … --out` made."
        raise NotebookError(f"{folder}: no {JOURNAL} here. {way}")
    scores: dict[str, Score] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                score = _read(path, number, line)
            except NotebookError:
                if not line.endswith(b"\n"):
                    return Results(tuple(scores.values()), False, cut=True)
                raise
            scores[score.submission] = score
    return Results(tuple(scores.values()), (folder / SCORES).exists())


def _read(path: Path, number: int, line: bytes) -> Score:
    """Return the score of a line.

    Raises:
        NotebookError: it is no result.
    """
    try:
        return revived(line)
    except ValueError as error:
        way = "Grade again, with this version, into another --out."
        raise NotebookError(f"{path}, line {number}: no result ({error}). {way}") from None


class Journal:
    """`results.jsonl` as it grows: a line a submission, on the disk before the next.

    A context manager. Killed at any moment, it holds whole lines and at most one that is not.

    Attributes:
        scores: submission -> its brief score, for each line that is there.
    """

    def __init__(self, folder: Path, resume: bool = False) -> None:
        """Begin a journal in `folder`, or go on with the one that is there.

        Raises:
            NotebookError: another run writes there, or a line of it is no result.
            OSError: it cannot be opened.
        """
        self.scores: dict[str, Score] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._path = folder / JOURNAL
        self._file = self._path.open("ab+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise NotebookError(f"{folder}: another run is writing there. Wait for it.") from None
        try:
            self._file.truncate(self._recover() if resume else 0)
        except NotebookError:
            self._file.close()
            raise
        _flush(self._file)

    @property
    def names(self) -> dict[str, tuple[str, Learner]]:
        """What each submission of it is called, and whose it is."""
        scores = self.scores.items()
        return {each: (score.name, score.student) for each, score in scores if score.name}

    def _recover(self) -> int:
        """Take in the lines that are whole; return where the last of them ends.

        Raises:
            NotebookError: one of them is no result.
        """
        end = 0
        self._file.seek(0)
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            self._note(_read(self._path, number, line), end, len(line))
            end += len(line)
        return end

    def _note(self, score: Score, start: int, length: int) -> None:
        self.scores[score.submission] = brief(score)
        self._places[score.submission] = (start, length)

    def add(self, score: Score) -> None:
        """Write one score down; one of the same submission gives way to it, in one step.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        line = json.dumps(record(score), ensure_ascii=True, allow_nan=False).encode() + b"\n"
        if score.submission in self._places:
            self._rewrite(
                {each: self._line(each) for each in self._places} | {score.submission: line}
            )
            self.scores[score.submission] = brief(score)
            return
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        _flush(self._file)
        self._note(score, start, len(line))

    def sort(self, submissions: Sequence[str]) -> None:
        """Put the lines into the order of `submissions`, in one step."""
        self._rewrite({submission: self._line(submission) for submission in submissions})

    def _line(self, submission: str) -> bytes:
        start, length = self._places[submission]
        self._file.seek(start)
        return self._file.read(length)

    def _rewrite(self, lines: dict[str, bytes]) -> None:
        """Let the journal be these lines; whoever opens it finds it locked, as before."""
        file = self._path.with_suffix(".new").open("wb+")
        places = {}
        for submission, line in lines.items():
            places[submission] = (file.tell(), len(line))
            file.write(line)
        _flush(file)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path.with_suffix(".new").replace(self._path)
        self._file.close()
        self._file, self._places = file, places

    def __enter__(self) -> Journal:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def write_csv(path: Path, scores: Sequence[Score]) -> None:
    """Write a row a submission, a column a task.

    Where a spreadsheet would take a part of a name for a formula, an apostrophe is before it.
    """
    tasks = list(dict.fromkeys(task.task for score in scores for task in score.tasks))
    head = [
        "submission",
        "student",
        "number",
        "lesson",
        "status",
        "points",
        "max_points",
        "percent",
        *tasks,
    ]
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(head)
    for score in scores:
        points = {task.task: task.points for task in score.tasks}
        whose = (score.submission, score.student.name, score.student.number)
        row: list[object] = [harmless(one_line(each)) for each in whose]
        row += [score.lesson, score.status, score.points, score.max_points]
        row.append(rounded_down(score.percent, 1))
        writer.writerow(row + [points.get(task, "") for task in tasks])
    write_whole(path, table.getvalue().encode())
