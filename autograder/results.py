"""What a run leaves: the journal `results.jsonl`, `scores.csv`, and their reading back."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from autograder.grade import Score

SCHEMA = 1
JOURNAL = "results.jsonl"


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


class Journal:
    """Appends one line a submission, on the disk before the next; in order once it is closed."""

    def __init__(self, folder: Path) -> None:
        """Begin a journal in `folder`."""
        self._path = folder / JOURNAL
        self._file: TextIO = self._path.open("w", encoding="utf-8")

    def add(self, score: Score) -> None:
        """Write one score down.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        self._file.write(_line(record(score)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def sort(self, scores: Sequence[Score]) -> None:
        """Put the lines into the order of `scores`, in one step."""
        beside = self._path.with_suffix(".new")
        beside.write_text("".join(_line(record(score)) for score in scores), encoding="utf-8")
        beside.replace(self._path)

    def __enter__(self) -> Journal:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=True, allow_nan=False) + "\n"


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
