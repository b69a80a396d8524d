"""A score as a line of `results.jsonl`, and read back from one."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import asdict, replace
from typing import Any, NoReturn

from autograder.catalogue import lessons
from autograder.sandbox.errors import NOT_RUN, TOO_LONG
from autograder.scores import CheckResult, Figure, Learner, Score, TaskScore

SCHEMA = 1


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
        "name": score.name,
        "student": asdict(score.student),
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
    """Return what the class needs of a score: the points per task, what was noticed, and the end.

    The last problem is why grading was not finished, where it was not.
    """
    tasks = tuple(replace(task, checks=()) for task in score.tasks)
    problems = (noticed(score), *score.problems[-1:]) if score.problems else (noticed(score),)
    return replace(score, tasks=tasks, pending=(), problems=tuple(filter(None, problems)))


def noticed(score: Score) -> str:
    """Say in a line what a person must know of a score: what was stopped, and left out, first."""
    stopped = _with(score, TOO_LONG)
    parts = [f"stopped: {', '.join(dict.fromkeys(stopped))}"] * bool(stopped)
    if missed := len(_with(score, NOT_RUN)):
        parts.append(f"{missed} {'check' if missed == 1 else 'checks'} not reached")
    own = [problem.removeprefix(f"{score.submission}: ") for problem in score.problems]
    own.sort(key=lambda problem: "left out" not in problem.lower())
    parts += own[:1]
    if len(own) > 1:
        parts.append(f"{len(own) - 1} more on the page")
    return "; ".join(part.rstrip(".") for part in parts)


def _with(score: Score, start: str) -> list[str]:
    """Return the task of each check whose message begins so."""
    checks = [check for task in score.tasks for check in task.checks]
    return [check.task for check in checks if check.message.startswith(start)]


def revived(line: bytes) -> Score:
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
            name=_text(entry.get("name", "")),
            student=Learner(**{key: _text(each) for key, each in entry.get("student", {}).items()}),
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
        is_speed = figure.kind == "speed"
        needed = [value for value in measured if is_speed or value is not None]
        for value in (figure.student, figure.reference, figure.bound, *needed):
            _number(value)
        if figure.bound <= 0 if is_speed else figure.kind != "memory":
            raise TypeError("no figure")
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
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError("not a number")
    if not abs(value) <= sys.float_info.max:  # as NaN and a whole number of 400 digits
        raise TypeError("not a number")
    return float(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")
