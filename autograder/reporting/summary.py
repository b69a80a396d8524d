"""What the scores of a class say: per task and check, what failed most, which errors, who is stuck.

Plain figures without a page: `report` shows them, and its JSON is their form.
"""

from __future__ import annotations

import collections
import functools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autograder.catalogue import lessons
from autograder.notebook import read
from autograder.reporting.error_groups import ErrorGroup, grouped
from autograder.scores import CheckResult, Figure, Score, TaskScore

BINS = 10
"""Of the distribution: each ten per cent wide; full marks are in the last."""


@dataclass(frozen=True)
class CheckTally:
    """How a class did in one check."""

    task: str
    name: str
    requirement: str
    hidden: bool
    max_points: float
    passed: int
    partly: int
    """failed, but earned a share of the points"""
    failed: int
    errors: int
    """the check itself broke: its author's to mend"""
    not_counted: int
    earned: float
    """the mean share of the points, in [0, 1]"""

    @property
    def counted(self) -> int:
        """The submissions that it counted for."""
        return self.passed + self.partly + self.failed + self.errors

    @property
    def missed(self) -> int:
        """The submissions that did not meet it."""
        return self.counted - self.passed


@dataclass(frozen=True)
class TaskTally:
    """How a class did in one task."""

    task: str
    title: str
    max_points: float
    earned: float
    """the mean share of the points, in [0, 1]"""
    full: int
    part: int
    nothing: tuple[str, ...]
    """the submissions that earned nothing"""
    checks: tuple[CheckTally, ...]


@dataclass(frozen=True)
class Timing:
    """What was measured of one submission, as times what is required: 1 is just enough."""

    submission: str
    margin: float
    low: float
    high: float
    passed: bool
    student: float
    reference: float


@dataclass(frozen=True)
class TimedCheck:
    """A speed or memory check, and what was measured of each submission, the slowest first."""

    task: str
    name: str
    requirement: str
    kind: str
    hidden: bool
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Waiting:
    """A task whose answers wait for a person."""

    task: str
    title: str
    points: float
    answered: int
    blank: tuple[str, ...]
    """the submissions that have no answer, or the notebook's own text"""


@dataclass(frozen=True)
class LessonSummary:
    """How a class did in one lesson."""

    lesson: str
    title: str
    scores: tuple[Score, ...]
    tasks: tuple[TaskTally, ...]
    errors: tuple[ErrorGroup, ...]
    timed: tuple[TimedCheck, ...]
    waiting: tuple[Waiting, ...]

    @property
    def percents(self) -> list[float]:
        """Each submission's share of its points, in per cent, the lowest first."""
        return sorted(score.percent for score in self.scores)

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The lower quartile, the median and the upper quartile, in per cent."""
        percents = self.percents
        if len(percents) == 1:
            return percents[0], percents[0], percents[0]
        low, middle, high = statistics.quantiles(percents, n=4, method="inclusive")
        return low, middle, high

    @property
    def mean(self) -> float:
        """The mean, in per cent."""
        return statistics.fmean(self.percents)

    @property
    def bins(self) -> list[int]:
        """How many submissions lie in each tenth."""
        counts = collections.Counter(min(int(p * BINS / 100), BINS - 1) for p in self.percents)
        return [counts[number] for number in range(BINS)]

    @property
    def full(self) -> int:
        """How many earned all points."""
        return sum(score.percent >= 100 for score in self.scores)

    @property
    def checks(self) -> list[CheckTally]:
        """All its checks, those that most submissions missed first."""
        every = [check for task in self.tasks for check in task.checks]
        return sorted(every, key=lambda check: (-check.missed, check.earned))

    @property
    def broken(self) -> list[CheckTally]:
        """The checks that broke on some submission."""
        return [check for check in self.checks if check.errors]


def summarise(scores: Sequence[Score]) -> list[LessonSummary]:
    """Return a summary for each lesson, in the catalogue's order; the unreadable are in none."""
    by_lesson: dict[str, list[Score]] = collections.defaultdict(list)
    for score in scores:
        if score.status != "unreadable":
            by_lesson[score.lesson].append(score)
    known = [lesson.name for lesson in lessons.catalogue()]
    order = sorted(by_lesson, key=lambda name: known.index(name) if name in known else len(known))
    return [_lesson(name, by_lesson[name]) for name in order]


def _lesson(name: str, scores: list[Score]) -> LessonSummary:
    return LessonSummary(
        name,
        _title(name),
        tuple(scores),
        tuple(_tasks(scores)),
        tuple(grouped(scores)),
        tuple(_timed(scores)),
        tuple(_waiting(name, scores)),
    )


def _title(lesson: str) -> str:
    try:
        return lessons.lesson_named(lesson).title
    except lessons.LessonError:
        return lesson


def _tasks(scores: Sequence[Score]) -> Iterator[TaskTally]:
    by_task: dict[str, list[tuple[str, TaskScore]]] = collections.defaultdict(list)
    for score in scores:
        for task in score.tasks:
            by_task[task.task].append((score.submission, task))
    for name, entries in by_task.items():
        counted = [(submission, task) for submission, task in entries if task.max_points]
        shares = [task.points / task.max_points for _, task in counted]
        yield TaskTally(
            name,
            entries[0][1].title,
            max(task.max_points for _, task in entries),
            statistics.fmean(shares) if shares else 0.0,
            sum(share >= 1 for share in shares),
            sum(0 < share < 1 for share in shares),
            tuple(submission for submission, task in counted if not task.points),
            tuple(_checks([task for _, task in entries])),
        )


def _checks(tasks: Iterable[TaskScore]) -> Iterator[CheckTally]:
    by_name: dict[str, list[CheckResult]] = collections.defaultdict(list)
    for task in tasks:
        for check in task.checks:
            by_name[check.name].append(check)
    for name, results in by_name.items():
        counted = [check for check in results if check.outcome != "not_counted"]
        shares = [check.points / check.max_points for check in counted if check.max_points]
        outcomes = collections.Counter(
            "partly" if check.outcome == "failed" and check.points else check.outcome
            for check in results
        )
        first = results[0]
        yield CheckTally(
            first.task, name, first.requirement, first.hidden, first.max_points,
            outcomes["passed"], outcomes["partly"], outcomes["failed"], outcomes["error"],
            outcomes["not_counted"], statistics.fmean(shares) if shares else 0.0,
        )  # fmt: skip


def _timed(scores: Sequence[Score]) -> Iterator[TimedCheck]:
    first: dict[tuple[str, str], CheckResult] = {}
    timings: dict[tuple[str, str], list[Timing]] = collections.defaultdict(list)
    for score in scores:
        for task in score.tasks:
            for check in task.checks:
                if check.figure is not None:
                    key = (task.task, check.name)
                    first.setdefault(key, check)
                    timings[key].append(_timing(score.submission, check, check.figure))
    for (task_name, name), check in first.items():
        assert check.figure is not None
        ordered = sorted(timings[task_name, name], key=lambda timing: timing.margin)
        yield TimedCheck(
            task_name, name, check.requirement, check.figure.kind, check.hidden, tuple(ordered)
        )


def _timing(submission: str, check: CheckResult, figure: Figure) -> Timing:
    if figure.kind == "speed":
        ratio = figure.ratio or 0.0
        low, high = figure.low or ratio, figure.high or ratio
        margins = (ratio / figure.bound, low / figure.bound, high / figure.bound)
    else:
        margins = 3 * (figure.bound / max(figure.student, 1.0),)
    passed = check.outcome == "passed"
    return Timing(submission, *margins, passed, figure.student, figure.reference)


def _waiting(lesson: str, scores: Sequence[Score]) -> Iterator[Waiting]:
    released = _released(lesson)
    answers: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)
    for score in scores:
        for entry in score.pending:
            answers[entry["task"]].append((score.submission, entry["text"]))
    for task, given in answers.items():
        title, points, own = released.get(task, (task, 0.0, ""))
        blank = [name for name, text in given if lessons.squeeze(text) in ("", own)]
        yield Waiting(task, title, points, len(given) - len(blank), tuple(blank))


@functools.cache
def _released(name: str) -> dict[str, tuple[str, float, str]]:
    """Return, for each task that a person grades: title, points, the released notebook's text."""
    try:
        lesson = lessons.lesson_named(name)
    except lessons.LessonError:
        return {}
    texts = {
        task: lessons.squeeze(cell.source if cell else "")
        for task, cell in lessons.free_text(read(lesson.notebook), lesson).items()
    }
    return {
        task.name: (task.title, task.points, texts[task.name])
        for task in lesson.tasks
        if task.manual
    }
