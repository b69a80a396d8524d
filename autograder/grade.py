"""One submission from notebook to `Score`, and the pool that grades many.

Each submission is graded by a forked process of the grader, which holds the checks and speaks to
a child of the sandbox's warm process: what goes wrong with one costs no other.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from autograder import plugin
from autograder.checking import CheckFailed
from autograder.lessons import Lesson, LessonError, Task, catalogue, lesson_named, lesson_of
from autograder.notebook import Cell, NotebookError, Submission, defined_names, read
from autograder.plugin import CheckResult
from autograder.sandbox.launch import Limits, Sandbox, SandboxError
from autograder.sandbox.session import Exhausted, Session
from autograder.student import Student

TIMEOUT = 120.0
"""Seconds for one submission."""
GRACE = 30.0
"""Seconds over the timeout after which a grading process itself is ended."""
DEATHS_PER_TASK = 2


@dataclass(frozen=True)
class Options:
    """How a run grades: the same for all its submissions."""

    seed: int = 0
    timeout: float = TIMEOUT
    limits: Limits = field(default_factory=Limits)
    hidden: bool = True
    checks: Path | None = None
    """a folder with checks of the instructor's own"""
    lesson: str | None = None
    tasks: tuple[str, ...] | None = None


@dataclass(frozen=True)
class TaskScore:
    """What one task earned."""

    task: str
    title: str
    points: float
    max_points: float
    checks: tuple[CheckResult, ...]


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


def grade(path: Path, sandbox: Sandbox, options: Options) -> Score:
    """Grade one notebook.

    Raises:
        SandboxError: the warm process is gone, or cannot close a child off.
        plugin.BrokenChecks: the checks cannot be collected.
    """
    start = time.monotonic()
    try:
        submission = read(path)
        lesson = lesson_named(options.lesson) if options.lesson else lesson_of(submission)
    except (NotebookError, LessonError) as error:
        return Score(str(path), "", "unreadable", sandbox.isolation, problems=(str(error),))
    files = plugin.files(lesson.name, options.hidden, options.checks)
    cells = [cell for cell in submission.code if not _is_skipped(cell, lesson)]
    problems = _look_over(submission, lesson)
    status = "graded"
    with Session(sandbox, cells, options.limits, options.timeout) as session:
        guard = _Guard(session)
        checks = plugin.Plugin(Student(session), options.seed, options.tasks, guard)
        try:
            session.prepare()
        except Exhausted as end:
            guard.end = end
        results = plugin.run(checks, files)
        if guard.end is not None:
            status = guard.end.kind
            problems.append(str(guard.end))
        problems += session.problems
    score = Score(
        str(path), lesson.name, status, sandbox.isolation, time.monotonic() - start,
        tuple(problems), manual_points=lesson.manual_points,
        pending=_free_text(submission, lesson),
    )  # fmt: skip
    return replace(score, tasks=_by_task(lesson, results, options.tasks))


class _Guard:
    """Called before each check: brings the submission back to life, or says why it is not run."""

    def __init__(self, session: Session) -> None:
        self.end: Exhausted | None = None
        self._session = session
        self._task = ""
        self._deaths = 0

    def __call__(self, task: str) -> None:
        is_new, self._task = task != self._task, task
        if is_new:
            self._deaths = 0
        if self.end is not None:
            raise CheckFailed(f"Not run. {self.end}")
        if self._session.alive:
            return
        self._deaths += not is_new  # a new task does not pay for the one before
        if self._deaths >= DEATHS_PER_TASK:
            raise CheckFailed(f"Not run: its process ended {DEATHS_PER_TASK} times in this task.")
        try:
            self._session.prepare()
        except Exhausted as end:
            self.end = end
            raise CheckFailed(f"Not run. {end}") from None


def _is_skipped(cell: Cell, lesson: Lesson) -> bool:
    return lesson.is_demonstration(cell.source) or "demonstration" in cell.tags


def _look_over(submission: Submission, lesson: Lesson) -> list[str]:
    """Say which task is missing and which is there twice, by what the cells define."""
    places: dict[str, list[int]] = {}
    for cell in submission.code:
        for name in defined_names(cell.source):
            places.setdefault(name, []).append(cell.number)
    problems = []
    for task in lesson.tasks:
        if task.names and not any(name in places for name in task.names):
            problems.append(
                f"{task.name}: no cell defines {' or '.join(task.names)}. "
                "Was the cell deleted or renamed, or does it not parse?"
            )
        for name in task.names:
            if len(set(places.get(name, []))) > 1:
                cells = ", ".join(map(str, places[name]))
                problems.append(
                    f"{task.name}: {name} is defined in cells {cells}; the last one counts."
                )
    return problems


def _free_text(submission: Submission, lesson: Lesson) -> tuple[dict[str, str], ...]:
    """Return the answers that wait for a person: by grade id, else below the task's heading."""
    found = []
    for task in lesson.tasks:
        if not task.manual:
            continue
        texts = [cell for cell in submission.cells if not cell.is_code]
        answer = next((cell.source for cell in texts if cell.grade_id == task.name), None)
        if answer is None:
            headings = (
                at
                for at, cell in enumerate(texts)
                if _squeezed(task.title) in _squeezed(cell.source)
            )
            after = texts[next(headings, len(texts)) + 1 :]
            answer = after[0].source if after else ""
        found.append({"task": task.name, "text": answer})
    return tuple(found)


def _squeezed(text: str) -> str:
    return "".join(text.replace("`", "").split())


def _by_task(
    lesson: Lesson, results: Sequence[CheckResult], only: tuple[str, ...] | None
) -> tuple[TaskScore, ...]:
    return tuple(
        _task_score(task, [result for result in results if result.task == task.name])
        for task in lesson.tasks
        if not task.manual and (only is None or task.name in only)
    )


def _task_score(task: Task, checks: list[CheckResult]) -> TaskScore:
    counted = [check for check in checks if check.outcome != "not_counted"]
    return TaskScore(
        task.name,
        task.title,
        round(sum(check.points for check in counted), 4),
        round(sum(check.max_points for check in counted), 4),
        tuple(checks),
    )


# -------------------------------------------------------------------------------------------- pool


@dataclass
class _Running:
    path: Path
    process: BaseProcess
    result: Connection
    deadline: float
    tries: int


def grade_all(
    paths: Sequence[Path], start: Callable[[], Sandbox], options: Options, workers: int
) -> Iterator[Score]:
    """Grade `paths`, `workers` at a time, and yield each score as it comes.

    `start` starts a sandbox; it is called again where its warm process has ended.

    Raises:
        SandboxError: a warm process cannot be started.
        BrokenChecks: the checks cannot be collected.
    """
    torch.set_num_threads(1)  # a process that has run threads must not fork
    for lesson in catalogue():  # imports once, for all forks, what the checks import
        plugin.census(plugin.files(lesson.name, options.hidden, options.checks))
    context = multiprocessing.get_context("fork")
    waiting = [(path, 0) for path in reversed(paths)]
    running: list[_Running] = []
    warm = start()
    gc.collect()
    gc.freeze()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                if not warm.alive:
                    warm.close()
                    warm = start()
                path, tries = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_judge, args=(path, warm, options, sender))
                process.start()
                sender.close()
                until = time.monotonic() + options.timeout + GRACE
                running.append(_Running(path, process, receiver, until, tries + 1))
            for job in _ended(running):
                running.remove(job)
                score = _outcome(job, warm.isolation)
                if score is None:
                    waiting.append((job.path, job.tries))
                else:
                    yield score
    finally:
        for job in running:
            job.process.kill()
            job.process.join()
        warm.close()
        gc.unfreeze()


def _ended(running: list[_Running]) -> list[_Running]:
    ready = wait([job.result for job in running], timeout=0.1)
    late = [job for job in running if time.monotonic() > job.deadline]
    return [job for job in running if job.result in ready or job in late]


def _outcome(job: _Running, isolation: str) -> Score | None:
    """Return a job's score, or None where it is to be tried again."""
    try:
        answer = job.result.recv() if job.result.poll() else "it did not end in time"
    except EOFError:
        answer = "its grading process was ended from outside"
    job.process.kill()
    job.process.join()
    job.result.close()
    if isinstance(answer, Score):
        return answer
    if job.tries < 2:
        return None
    problem = f"{job.path}: could not be graded ({answer}); tried {job.tries} times."
    return Score(str(job.path), "", "crashed", isolation, 0.0, (problem,))


def _judge(path: Path, sandbox: Sandbox, options: Options, result: Connection) -> None:
    """Grade one submission in a process of its own, and send what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool to act on
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        result.send(grade(path, sandbox, options))
    except (SandboxError, plugin.BrokenChecks) as error:
        result.send(str(error))
    except Exception as error:  # noqa: BLE001 - reported, with the submission's name, as crashed
        result.send(f"{type(error).__name__}: {error}")
    result.close()
