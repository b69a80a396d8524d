"""Where a learner stands: what the visible checks have made of each task, and how often.

Kept by `record` on this machine alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from autograder.catalogue import questions
from autograder.catalogue.lessons import Lesson, Task, catalogue, lesson_named
from autograder.checking import check_files
from autograder.learner import cards
from autograder.learner.record import Say, Store, StoreError
from autograder.sandbox.errors import NOT_RUN, UNDEFINED, UNWRITTEN
from autograder.scores import CheckResult

NOTE = (
    "Visible points, with those of numbers and statements that are judged here: the hidden checks "
    "decide the rest at grading."
)
_NO_ATTEMPT = (UNDEFINED, UNWRITTEN, NOT_RUN)
_said: set[str] = set()


@dataclass(frozen=True)
class Practised:
    """What the visible checks have made of one task so far."""

    last: float
    best: float
    maximum: float
    attempts: int
    when: datetime


def _load(entry: Any) -> Practised:
    made = Practised(
        float(entry["last"]), float(entry["best"]), float(entry["maximum"]),
        int(entry["attempts"]), datetime.fromisoformat(entry["when"]).astimezone(UTC),
    )  # fmt: skip
    if not all(map(math.isfinite, (made.last, made.best, made.maximum))):
        raise ValueError("points are numbers")
    return made


def _dump(entry: Practised) -> dict[str, Any]:
    return {**vars(entry), "when": entry.when.isoformat(timespec="seconds")}


STORE = Store("progress.json", _load, _dump)


# ---------------------------------------------------------------------------------------- recording


def record(checked: Mapping[str, Sequence[CheckResult]], say: Say) -> None:
    """Note what came of the visible checks of some tasks.

    A task without an attempt is left out, and so is one whose results are worth nothing: numbers
    and statements pass the visible checks unanswered. Nothing prevents the verdict: where nothing
    can be written, that is said, once. Under nbgrader nothing is noted: the learner is not there.
    """
    tried = {
        task: results
        for task, results in checked.items()
        if _maximum(results) and any(map(is_attempt, results))
    }
    if not tried or "NBGRADER_EXECUTION" in os.environ:
        return
    try:
        with STORE.changing(say) as kept:
            for task, results in tried.items():
                kept[task] = _after(kept.get(task), results)
    except StoreError as error:
        if str(error) not in _said:
            _said.add(str(error))
            say(f"Your progress is not recorded. {error}")


def is_attempt(result: CheckResult) -> bool:
    """Whether a check met an answer, whatever it made of it."""
    return not any(text in result.message for text in _NO_ATTEMPT)


def _maximum(results: Sequence[CheckResult]) -> float:
    counted = [result for result in results if result.outcome != "not_counted"]
    return round(sum(result.max_points for result in counted), 4)


def _after(before: Practised | None, results: Sequence[CheckResult]) -> Practised:
    points, maximum = round(sum(result.points for result in results), 4), _maximum(results)
    attempts = before.attempts + 1 if before else 1
    # another maximum means other checks: what was earned by the old ones says nothing any more
    best = max(points, before.best) if before and before.maximum == maximum else points
    return Practised(points, best, maximum, attempts, datetime.now(UTC))


# ----------------------------------------------------------------------------------------- standing


@dataclass(frozen=True)
class TaskStanding:
    """Where a learner stands in one task."""

    task: str
    title: str
    maximum: float
    """the points that are told before grading"""
    practised: Practised | None

    @property
    def best(self) -> float:
        """The most visible points that an answer has earned."""
        return self.practised.best if self.practised else 0.0

    @property
    def done(self) -> bool:
        """Whether an answer has earned all visible points."""
        return self.practised is not None and self.best >= self.maximum


@dataclass(frozen=True)
class LessonStanding:
    """Where a learner stands in one lesson."""

    lesson: str
    title: str
    tasks: tuple[TaskStanding, ...]
    cards: cards.Counts

    @property
    def done(self) -> int:
        """The tasks that are done."""
        return sum(task.done for task in self.tasks)

    @property
    def countable(self) -> int:
        """The tasks that can be done before grading: those with visible points."""
        return sum(task.maximum > 0 for task in self.tasks)

    @property
    def points(self) -> float:
        """The visible points earned, each task's best."""
        return round(sum(task.best for task in self.tasks), 4)

    @property
    def maximum(self) -> float:
        """The visible points that there are."""
        return round(sum(task.maximum for task in self.tasks), 4)

    @property
    def when(self) -> datetime | None:
        """When a check last met an answer."""
        return max((task.practised.when for task in self.tasks if task.practised), default=None)


def standings(say: Say, only: str | None = None) -> tuple[LessonStanding, ...]:
    """Return where the learner stands in every lesson, or in one.

    Raises:
        LessonError: there is no such lesson.
        StoreError: the record cannot be read.
    """
    lessons = (lesson_named(only),) if only else catalogue()
    kept = STORE.read(say)
    counts = cards.counts([lesson.name for lesson in lessons], say)
    return tuple(
        LessonStanding(lesson.name, lesson.title, _tasks(lesson, kept), counts[lesson.name])
        for lesson in lessons
    )


def _told(task: Task) -> float:
    """Return what `check` in a notebook can earn for a task."""
    # a question is judged at once, where its key is at hand
    is_judged = task.name.endswith(questions.KINDS) and check_files.has_hidden()
    return task.worth.graded if is_judged else task.worth.visible


def _tasks(lesson: Lesson, kept: Mapping[str, Practised]) -> tuple[TaskStanding, ...]:
    found = []
    for task in lesson.tasks:
        practised = kept.get(task.name)
        maximum = practised.maximum if practised else _told(task)
        if not task.manual:
            found.append(TaskStanding(task.name, task.title, maximum, practised))
    return tuple(found)


def as_json(standings: Sequence[LessonStanding]) -> dict[str, Any]:
    """Return standings in the form that `autograder progress --json` prints, schema 1."""
    return {"schema": 1, "lessons": [_lesson_json(standing) for standing in standings]}


def _lesson_json(standing: LessonStanding) -> dict[str, Any]:
    return {
        "lesson": standing.lesson,
        "title": standing.title,
        "tasks_done": standing.done,
        "tasks_with_visible_points": standing.countable,
        "visible_points": standing.points,
        "visible_max_points": standing.maximum,
        "last_practised": standing.when.isoformat(timespec="seconds") if standing.when else None,
        "flashcards_due": standing.cards.due,
        "flashcards_new": standing.cards.new,
        "tasks": [_task_json(task) for task in standing.tasks],
    }


def _task_json(task: TaskStanding) -> dict[str, Any]:
    practised = task.practised
    return {
        "task": task.task,
        "title": task.title,
        "done": task.done,
        "visible_points_last": practised.last if practised else None,
        "visible_points_best": task.best,
        "visible_max_points": task.maximum,
        "attempts": practised.attempts if practised else 0,
        "last_practised": practised.when.isoformat(timespec="seconds") if practised else None,
    }
