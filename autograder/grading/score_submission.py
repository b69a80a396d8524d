"""One submission, from its notebook to a `Score`."""

from __future__ import annotations

import builtins
import collections
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autograder.catalogue import lessons, reference
from autograder.catalogue.dependencies import MAX_CODE
from autograder.catalogue.lessons import Lesson, LessonError, Task, lesson_of
from autograder.checking import check_files, gpu_race, plugin
from autograder.checking.disclosure import Disclosure
from autograder.checking.expect import CheckFailed
from autograder.checking.gpu_race import Arena, Nowhere
from autograder.checking.handle import Student
from autograder.grading.plan import Earlier, Plan, in_words
from autograder.notebook import Cell, NotebookError, Submission, read
from autograder.sandbox.errors import NOT_RUN, SandboxError
from autograder.sandbox.launch import Sandbox
from autograder.sandbox.session import SPARE_SECONDS, Exhausted, Session
from autograder.sandbox.warm_process import Limits
from autograder.scores import CheckResult, Score, TaskScore
from autograder.text import clean

TIMEOUT, TASK_TIMEOUT = 120.0, 60.0
"""Seconds for one submission, and for one of its tasks."""
DEATHS_PER_TASK = 2
NOWHERE = Nowhere()
NAMES, LONGEST = 3, 40
"""Of names that were defined again, how many are told, and so many characters of each."""
PROBLEMS = 40
"""Of what there is to say of a submission's cells, how much is said."""
_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Options:
    """How a run grades: the same for all its submissions.

    By default they all meet the same inputs, so that equal answers have equal scores.
    """

    seed: int = 0
    timeout: float = TIMEOUT
    task_timeout: float = TASK_TIMEOUT
    limits: Limits = field(default_factory=Limits)
    hidden: bool = True
    checks: Path | None = None
    """a folder with checks of the instructor's own"""
    lesson: str | None = None
    tasks: tuple[str, ...] | None = None
    by_version: bool = False
    """whether each version of a submission has inputs of its own, and no page tells the next's"""


def grade(
    path: Path,
    sandbox: Sandbox,
    options: Options,
    again: bool = False,
    arena: Arena | Nowhere = NOWHERE,
) -> Score:
    """Grade one notebook; as `graded`, with nothing of it left."""
    with graded(path, sandbox, options, again, arena) as score:
        return score


@contextlib.contextmanager
def graded(
    path: Path,
    sandbox: Sandbox,
    options: Options,
    again: bool = False,
    arena: Arena | Nowhere = NOWHERE,
) -> Iterator[Score]:
    """Yield the score of one notebook as soon as it is known, and then end its processes.

    Args:
        path: the notebook.
        sandbox: where it runs.
        options: how it is graded.
        again: whether it was tried before.
        arena: where it runs for the checks that need a GPU.

    Raises:
        SandboxError: the warm process is gone, cannot close a child off, or somebody killed one.
        plugin.BrokenChecks: the checks cannot be collected.
    """
    start = time.monotonic()
    try:
        submission = read(path)
        lesson = lesson_of(submission, options.lesson)
    except (NotebookError, LessonError) as error:
        seconds = time.monotonic() - start
        yield Score(str(path), "", "unreadable", sandbox.isolation, seconds, (str(error),))
        return
    files = check_files.files(lesson.name, options.hidden, options.checks)
    plan = Plan(submission, lesson)
    problems = _look_over(submission, lesson)
    if not plan.is_read:
        problems.append(f"More than {MAX_CODE:,} characters of code: judged as at its end alone.")
    # all of a version that its code can see: the cells that run, and their numbers
    version = (
        repr([(cell.number, cell.source) for cell in plan.cells]) if options.by_version else ""
    )
    seed = f"{options.seed} {version}" if version else options.seed
    with (
        Session(sandbox, plan.cells, options.limits, options.timeout, again, plan.spare) as session,
        _reference(lesson, sandbox, options) as reference,
    ):

        def on_gpu(bound: float, seconds: float) -> gpu_race.Race | Nowhere:
            if isinstance(arena, Nowhere):
                return arena
            its = _reference_cells(lesson)
            return gpu_race.Race(arena, plan.cells, its, options.limits, bound, seconds)

        checks = _Checks(options, seed, files, reference, on_gpu)
        results = checks.judge(session, options.tasks)
        status = "graded"
        if session.left_out:
            problems.append(
                f"Left out but for imports and definitions: {in_words(session.left_out)}. No "
                f"answer needs more, and the {SPARE_SECONDS:.0f} s of such cells were used up."
            )
        if session.exhausted is not None:
            status = session.exhausted.kind
            problems.append(str(session.exhausted))
        else:
            session.end()

            def once_more(cells: Sequence[Cell]) -> Session:
                return Session(sandbox, cells, options.limits, session.deadlines.left, again)

            results, said = checks.judge_as_at_checks(lesson, plan, results, once_more)
            problems += said
        yield Score(
            str(path), lesson.name, status, sandbox.isolation, time.monotonic() - start,
            _bounded(session.problems + problems),
            tasks=_by_task(lesson, results, options.tasks),
            manual_points=lesson.worth.by_hand,
            pending=tuple(
                {"task": task, "text": cell.source if cell else ""}
                for task, cell in lessons.free_text(submission, lesson).items()
            ),
        )  # fmt: skip


@dataclass(frozen=True)
class _Checks:
    """The checks of one grading, for whichever process of the submission they are to judge."""

    options: Options
    seed: object
    files: Sequence[Path]
    reference: Callable[[], Student]
    on_gpu: Callable[[float, float], gpu_race.Race | Nowhere]
    disclosure: Disclosure = field(default_factory=Disclosure)

    def judge(self, session: Session, tasks: tuple[str, ...] | None) -> list[CheckResult]:
        """Run the cells and then the checks of these tasks, or of all.

        Raises:
            SandboxError, plugin.BrokenChecks: as for `graded`.
        """
        checks = plugin.Plugin(
            Student(session), self.seed, tasks, _Guard(session, self.options), self.reference,
            self.on_gpu, self.disclosure,
        )  # fmt: skip
        with contextlib.suppress(Exhausted):  # the checks fail, and say so
            session.prepare()
        try:
            return plugin.run(checks, self.files)
        finally:  # whatever the checks made of it
            if refused := session.refused or checks.refused:
                raise refused

    def judge_as_at_checks(
        self,
        lesson: Lesson,
        plan: Plan,
        results: list[CheckResult],
        once_more: Callable[[Sequence[Cell]], Session],
    ) -> tuple[list[CheckResult], list[str]]:
        """Judge again what loses points, as things stood at its check; the better counts.

        An answer that is values alone is not tried twice, though: the state at its check decides.

        Args:
            lesson: the lesson.
            plan: the submission's cells.
            results: those of the notebook run to its end.
            once_more: makes a process of the submission that runs these cells.

        Returns:
            The results that count, and what there is to say of them.

        Raises:
            SandboxError, plugin.BrokenChecks: as for `graded`.
        """
        gained: dict[str, list[str]] = {}
        for task in lesson.tasks:
            its = [result for result in results if result.task == task.name]
            before, why = _points(its), ""
            for earlier in plan.earlier(task) if its else ():
                if task.is_code and _points(its) >= _of(its):
                    break
                with once_more(earlier.cells) as session:
                    then = self.judge(session, (task.name,))
                if _points(then) > _points(its):
                    its, why = then, _why(earlier)
                elif not task.is_code:  # though its time is up: it chooses when
                    its = then
            results = [result for result in results if result.task != task.name] + its
            if why:
                gained.setdefault(why, []).append(f"{task.name} ({_points(its) - before:g} more)")
        return results, [
            f"As things stood at the check, these earn points that count: {', '.join(names)}. {why}"
            for why, names in gained.items()
        ]


@contextlib.contextmanager
def _reference(
    lesson: Lesson, sandbox: Sandbox, options: Options
) -> Iterator[Callable[[], Student]]:
    """Yield what starts the lesson's reference in a sandbox like the submission's, once."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def reference() -> Student:
            session = Session(sandbox, _reference_cells(lesson), options.limits, options.timeout)
            stack.enter_context(session).prepare()
            if session.problems:
                raise SandboxError(f"the reference of {lesson.name}: {session.problems[0]}")
            return Student(session)

        yield reference


def _reference_cells(lesson: Lesson) -> list[Cell]:
    """Return a reference's code as one cell, which runs sooner than many."""
    texts = (text for _, text in reference.reference_cells(lesson.name))
    return [Cell(1, "\n\n".join(texts))]


class _Guard:
    """Called before each check: brings the submission back to life, or says why it is not run."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session, self._seconds = session, options.task_timeout
        self._task = ""
        self._deaths: collections.Counter[str] = collections.Counter()

    def __call__(self, task: str) -> None:
        before, self._task = self._task, task
        alive = self._session.alive
        self._deaths[before] += not alive  # the one whose check ran last pays
        if task != before:
            self._session.begin_task(task, self._seconds)
        if self._session.deadlines.task_is_over:
            raise CheckFailed(f"{NOT_RUN}. {self._session.deadlines.task_is_over}")
        if self._deaths[task] >= DEATHS_PER_TASK:
            raise CheckFailed(f"{NOT_RUN}: its process ended {DEATHS_PER_TASK} times in this task.")
        if alive:
            return
        try:
            self._session.prepare()
        except Exhausted as end:
            raise CheckFailed(f"{NOT_RUN}. {end}") from None


def _why(earlier: Earlier) -> str:
    """Say what has come between a task's check and the end."""
    said = []
    for name, cells in earlier.names.items():
        short = clean(name, LONGEST)
        if name in _BUILTINS:
            said.append(f"{name}, a name of Python's own, is defined in {in_words(cells)}.")
        elif len(cells) > 1:
            said.append(f"{short} is defined in {in_words(cells)}; the last one was used.")
    if earlier.unseen:
        said.insert(NAMES - 1, f"Any name may be changed by {in_words(earlier.unseen)}.")
    return " ".join(said[:NAMES]) or "A cell behind it changes what they need."


def _bounded(problems: list[str]) -> tuple[str, ...]:
    """Return the first `PROBLEMS`, and how many more there are: each is a submission's to make."""
    more = len(problems) - PROBLEMS
    return (*problems[:PROBLEMS], *([f"And {more} more of the kind."] if more > 0 else []))


def _points(results: Sequence[CheckResult]) -> float:
    return sum(result.points for result in results)


def _of(results: Sequence[CheckResult]) -> float:
    return sum(result.max_points for result in results if result.outcome != "not_counted")


def _look_over(submission: Submission, lesson: Lesson) -> list[str]:
    """Say which task is missing and which is there twice, by what the cells define."""
    places: dict[str, list[int]] = {}
    for cell in submission.code:
        for name in cell.names:
            places.setdefault(name, []).append(cell.number)
    problems: list[str] = []
    missing: list[str] = []
    for task in lesson.tasks:
        if task.names and not any(name in places for name in task.names):
            missing.append(f"{' or '.join(task.names)} ({task.name})")
        for name in task.names:
            if len(set(places.get(name, []))) > 1:
                cells = in_words(places[name])
                problems.append(
                    f"{task.name}: {name} is defined in {cells}; the last one counts, "
                    "or the one at its check where that earns more."
                )
    if missing:
        what = "Was the cell deleted or renamed, or does it not parse?"
        problems.insert(0, f"No cell defines {'; '.join(missing)}. {what}")
    return problems


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
