"""What a run leaves: the journal `results.jsonl`, `scores.csv`, and their reading back."""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO

from autograder.grade import Options, Score, TaskScore
from autograder.notebook import NotebookError
from autograder.sandbox.launch import Limits

SCHEMA = 1
JOURNAL, RUN = "results.jsonl", "run.json"


def record(score: Score) -> dict[str, Any]:
    """Return a score in the form of `results.jsonl`, schema 1."""
    tasks = []
    for task in score.tasks:
        checks = [
            {key: value for key, value in asdict(check).items() if key not in ("task", "hidden")}
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


def _revived(entry: dict[str, Any]) -> Score:
    """Return the brief score that a line of the journal stands for."""
    tasks = [
        TaskScore(task["task"], "", task["points"], task["max_points"], ())
        for task in entry["tasks"]
    ]
    return Score(
        entry["submission"], entry["lesson"], entry["status"], entry["isolation"],
        entry["seconds"], tuple(entry["problems"][:1]), tuple(tasks), entry["manual_points"],
    )  # fmt: skip


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
                score = _revived(json.loads(line))
            except (ValueError, KeyError, TypeError):
                break
            self._note(score, end, len(line))
            end += len(line)
        return end

    def _note(self, score: Score, start: int, length: int) -> None:
        self.scores[score.submission] = brief(score)
        self._places[score.submission] = (start, length)

    def add(self, score: Score) -> None:
        """Write one score down.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        line = json.dumps(record(score), ensure_ascii=True, allow_nan=False).encode() + b"\n"
        start = self._file.seek(0, os.SEEK_END)
        self._file.write(line)
        _flush(self._file)
        self._note(score, start, len(line))

    def sort(self, submissions: Sequence[str]) -> None:
        """Put the lines into the order of `submissions`, in one step."""
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            for submission in submissions:
                start, length = self._places[submission]
                self._file.seek(start)
                file.write(self._file.read(length))
            _flush(file)
        beside.replace(self._path)

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
    beside = (folder / RUN).with_suffix(".new")
    with beside.open("wb") as file:
        file.write(json.dumps(entry, indent=2).encode() + b"\n")
        _flush(file)
    beside.replace(folder / RUN)


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
    # a file name need not be UTF-8
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for score in scores:
            points = {task.task: task.points for task in score.tasks}
            row = [_harmless(score.submission), score.lesson, score.status, score.points]
            row += [score.max_points, f"{score.percent:.1f}"]
            writer.writerow(row + [points.get(task, "") for task in tasks])


def _harmless(text: str) -> str:
    starts = text[:1].isspace() or text.lstrip()[:1] in ("=", "+", "-", "@")
    return f"'{text}" if starts else text
