"""What a score is: of a submission, a task, a check; and the figure of a speed or memory check."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """What was measured of a student and of the reference, and the bound."""

    kind: str
    """``speed``, in seconds, or ``memory``, in bytes"""
    student: float
    reference: float
    bound: float
    """speed: the least ratio of the reference's time to the student's; memory: the most bytes"""
    ratio: float | None = None
    """the median of the pairs' ratios; `low` and `high` bound it with 95 % confidence at least"""
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    decided: bool = True
    """whether the verdict was clear before the time was up"""


CALL = "\n>>> "
"""Before the call that a visible check's message ends with, to be pasted into a cell."""


@dataclass(frozen=True)
class CheckResult:
    """What came of one check: the record of `results.jsonl`."""

    task: str
    name: str
    requirement: str
    outcome: str
    """``passed``, ``failed``, ``error`` (the check itself broke) or ``not_counted``"""
    points: float
    max_points: float
    message: str
    seconds: float
    hidden: bool
    figure: Figure | None = None
    """what a speed or memory check measured"""


@dataclass(frozen=True)
class TaskScore:
    """What one task earned."""

    task: str
    title: str
    points: float
    max_points: float
    checks: tuple[CheckResult, ...]


@dataclass(frozen=True)
class Learner:
    """Whose a submission is, as far as its folders and file name tell."""

    name: str = ""
    number: str = ""
    """the platform's for the student; empty where it tells none"""
    platform: str = ""
    """whose layout told it: ``canvas``, ``moodle``, ``blackboard``, ``gradescope``, ``nbgrader``"""

    def __str__(self) -> str:
        """Return the name, with the number behind it."""
        return f"{self.name} {self.number}".strip()


@dataclass(frozen=True)
class Score:
    """What one submission earned; `status` is ``graded`` unless grading could not be finished."""

    submission: str
    lesson: str
    status: str
    isolation: str
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    tasks: tuple[TaskScore, ...] = ()
    manual_points: float = 0.0
    pending: tuple[dict[str, str], ...] = field(default=())
    """free text that waits for a person: task and text"""
    name: str = ""
    """what it is called in its run, as no other is"""
    student: Learner = Learner()

    @property
    def points(self) -> float:
        """What was earned automatically."""
        return round(sum(task.points for task in self.tasks), 4)

    @property
    def max_points(self) -> float:
        """What could be: the points of checks that were counted."""
        return round(sum(task.max_points for task in self.tasks), 4)

    @property
    def percent(self) -> float:
        """The share earned, in per cent."""
        return 100 * self.points / self.max_points if self.max_points else 0.0


def rounded_down(percent: float, digits: int = 0) -> str:
    """Return a share of points as every page and table tells it: 100 stands for all of them."""
    whole = math.floor(percent * 10**digits + 1e-9)  # of 29 %, a float may be a little below
    return f"{whole / 10**digits:.{digits}f}"
