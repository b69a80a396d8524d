"""What a run leaves: the journal `results.jsonl`, `scores.csv`, and their reading back."""

from __future__ import annotations

import csv
import fcntl
import functools
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from autograder.catalogue import lessons
from autograder.files import write_whole
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.sandbox.launch import Limits
from autograder.scores import CheckResult, Figure, Score, TaskScore
from autograder.text import harmless

SCHEMA = 1
JOURNAL, RUN, SCORES = "results.jsonl", "run.json", "scores.csv"


def record(score: Score) -> dict[str, Any]:
    """Return a score in the form of `results.jsonl`, schema 1."""
    tasks = []
    for task in score.tasks:
        checks = [
            {key: value for key, value in asdict(check).items() if key != "task"}
            for check in task.checks
        ]
        tasks.append(
            {
                "task": task.task,
                "points": task.points,
                "max_points": task.max_points,
                "checks": checks,
            }
        )
    return {
        "schema": SCHEMA,
        "submission": score.submission,
        "lesson": score.lesson,
        "status": score.status,
        "points": score.points,
        "max_points": score.max_points,
        "manual_points": score.manual_points,
        "pending": list(score.pending),
        "isolation": score.isolation,
        "seconds": round(score.seconds, 3),
        "problems": list(score.problems),
        "tasks": tasks,
    }


def brief(score: Score) -> Score:
    """Return what the class needs of a score: the points per task, and the first problem."""
    tasks = tuple(replace(task, checks=()) for task in score.tasks)
    return replace(score, tasks=tasks, pending=(), problems=score.problems[:1])


def _revived(line: bytes) -> Score:
    """Return the score that a line of the journal stands for.

    Raises:
        ValueError: it is none, or of another schema.
    """
    try:
        entry = json.loads(line, parse_constant=_refuse)
        if entry["schema"] != SCHEMA:
            raise ValueError(f"schema {entry['schema']!r}; this version reads {SCHEMA}")
        titles = _titles(entry["lesson"])
        tasks = [_revived_task(task, titles) for task in entry["tasks"]]
        return Score(
            _text(entry["submission"]),
            _text(entry["lesson"]),
            _text(entry["status"]),
            _text(entry["isolation"]),
            seconds=_number(entry["seconds"]),
            problems=tuple(map(_text, entry["problems"])),
            tasks=tuple(tasks),
            manual_points=_number(entry["manual_points"]),
            pending=tuple(
                {"task": _text(each["task"]), "text": _text(each["text"])}
                for each in entry["pending"]
            ),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__} {error}") from None


def _revived_task(entry: dict[str, Any], titles: dict[str, str]) -> TaskScore:
    name = _text(entry["task"])
    checks = tuple(_revived_check(name, check) for check in entry["checks"])
    points = (_number(entry["points"]), _number(entry["max_points"]))
    return TaskScore(name, titles.get(name, name), *points, checks)


def _revived_check(task: str, entry: dict[str, Any]) -> CheckResult:
    figure = None if entry["figure"] is None else Figure(**entry["figure"])
    if figure is not None:
        measured = (figure.ratio, figure.low, figure.high)
        known = [value for value in measured if value is not None]
        for value in (figure.student, figure.reference, figure.bound, *known):
            _number(value)
    return CheckResult(
        task,
        _text(entry["name"]),
        _text(entry["requirement"]),
        _text(entry["outcome"]),
        _number(entry["points"]),
        _number(entry["max_points"]),
        _text(entry["message"]),
        _number(entry["seconds"]),
        entry.get("hidden", True) is not False,  # what is not known to be visible is hidden
        figure,
    )


@functools.cache
def _titles(lesson: str) -> dict[str, str]:
    """Return the tasks' titles, which the journal leaves to the catalogue; none if it has none."""
    try:
        return {task.name: task.title for task in lessons.lesson_named(lesson).tasks}
    except lessons.LessonError:
        return {}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError("not a number")
    return float(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


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
                score = _revived(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    return Results(tuple(scores.values()), False, cut=True)
                way = "Grade again, with this version, into another --out."
                raise NotebookError(f"{path}, line {number}: no result ({error}). {way}") from None
            scores[score.submission] = score
    return Results(tuple(scores.values()), (folder / SCORES).exists())


class Journal:
    """`results.jsonl` as it grows: a line a submission, on the disk before the next.

    A context manager. Killed at any moment, it holds whole lines and at most one that is not.

    Attributes:
        scores: submission -> its brief score, for each line that is there.
    """

    def __init__(self, folder: Path, resume: bool = False) -> None:
        """Begin a journal in `folder`, or go on with the one that is there.

        Raises:
            NotebookError: another run writes there.
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
        self._file.truncate(self._recover() if resume else 0)
        _flush(self._file)

    def _recover(self) -> int:
        """Take in the lines that are whole; return where the last of them ends."""
        end = 0
        self._file.seek(0)
        for line in self._file:
            try:
                score = brief(_revived(line))
            except ValueError:
                break
            self._note(score, end, len(line))
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


def write_run(folder: Path, options: Options) -> None:
    """Keep how a run grades, for `--resume`."""
    entry = {
        "schema": SCHEMA,
        "seed": options.seed,
        "timeout": options.timeout,
        "task_timeout": options.task_timeout,
        "memory": options.limits.memory,
        "lesson": options.lesson,
        "checks": str(options.checks.resolve()) if options.checks else None,
    }
    write_whole(folder / RUN, json.dumps(entry, indent=2).encode() + b"\n")


def read_run(folder: Path) -> Options:
    """Return how the run in `folder` grades.

    Raises:
        NotebookError: there is no run to go on with.
    """
    try:
        entry = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return Options(
            seed=entry["seed"],
            timeout=entry["timeout"],
            task_timeout=entry["task_timeout"],
            limits=Limits(memory=entry["memory"]),
            lesson=entry["lesson"],
            checks=Path(entry["checks"]) if entry["checks"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise NotebookError(f"{folder}: no run to resume. Leave --resume out.") from None


def write_csv(path: Path, scores: Sequence[Score]) -> None:
    """Write a row a submission, a column a task.

    A name that a spreadsheet would take for a formula is written with an apostrophe before it.
    """
    tasks = list(dict.fromkeys(task.task for score in scores for task in score.tasks))
    head = ["submission", "lesson", "status", "points", "max_points", "percent", *tasks]
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(head)
    for score in scores:
        points = {task.task: task.points for task in score.tasks}
        row = [harmless(score.submission), score.lesson, score.status, score.points]
        row += [score.max_points, f"{score.percent:.1f}"]
        writer.writerow(row + [points.get(task, "") for task in tasks])
    # a file name need not be UTF-8
    write_whole(path, table.getvalue().encode("utf-8", "backslashreplace"))
