"""What a learner meets in a notebook: the verdict on a task, and the reference after an attempt."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from IPython.display import Code, display

from autograder.catalogue import questions
from autograder.catalogue.lessons import Lesson, LessonError, Task, task_lesson
from autograder.catalogue.reference import reference, reference_source
from autograder.catalogue.sources import sources
from autograder.checking import check_files, plugin
from autograder.checking.handle import InProcess, Student
from autograder.learner import attempts, display_bundles
from autograder.learner.output import Output
from autograder.learner.record import StoreError
from autograder.reporting import feedback
from autograder.sandbox.child import kernel_locator
from autograder.sandbox.errors import StudentError
from autograder.scores import CheckResult

_attempted: set[str] = set()


def check(task: str, output: Output) -> float:
    """Run a task's visible checks on the notebook that this runs in; return the points earned.

    The verdict is shown in `output`, and what is going on until it is there.
    """
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        raise RuntimeError(
            "check() was called by `nbgrader autograde` in the submission's own kernel, where no "
            "score can be trusted. Grade with `autograder grade`, or start nbgrader where an "
            "nbgrader_config.py calls autograder.lms.nbgrader.configure(get_config())."
        )
    if (lesson := _lesson(task)) is None:
        return 0.0
    student = _notebook()
    entry = next(entry for entry in lesson.tasks if entry.name == task)
    is_question = task.endswith(questions.KINDS)
    still_open = _still_open(entry, student) if is_question else 0
    # A question is judged at once, where its key is at hand, but only as a whole: no answer is
    # found by trying.
    hidden = is_question and not still_open
    output.say(f"checking {task} …")
    results = run_checks(lesson, task, student, hidden, output.say)
    if not still_open and any(map(attempts.is_attempt, results)):
        _attempted.add(task)
    output.show(feedback.verdict(task, results, entry.worth))
    if still_open:
        print(f"{still_open} still open. Once every one is answered, they are judged.")
    elif task.endswith(questions.STATEMENTS) and sources():
        display(
            display_bundles.reasons(questions.statements(lesson.name), student.judged), raw=True
        )
    if not still_open:
        attempts.record({task: results}, print)
    return float(sum(result.points for result in results))


def _lesson(task: str) -> Lesson | None:
    """Return the lesson that has this task; where there is none, say what was meant."""
    try:
        return task_lesson(task)
    except LessonError as error:
        print(f"{str(error)[:1].upper()}{str(error)[1:]}")
        return None


def run_checks(
    lesson: Lesson,
    task: str,
    student: Student,
    hidden: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[CheckResult]:
    """Return what came of a task's visible checks on `student`, or of all that are at hand.

    `say` is told what takes long, while it lasts.
    """

    def reference_beside() -> Student:
        say(f"checking {task}: measured beside the reference …")
        return _reference(lesson.name)

    seed = plugin.drawn_seed()
    with _random_state_kept():
        checks = plugin.Plugin(student, seed, (task,), reference=reference_beside)
        return plugin.run(checks, check_files.files(lesson.name, hidden))


def _reference(lesson: str) -> Student:
    """Return a lesson's reference, in this very process, without what earlier checks made there.

    Raises:
        LessonError: this edition has none.
    """
    return Student(InProcess(vars(reference(lesson))))


def _still_open(task: Task, student: Student) -> int:
    """Return how many of a question's answers are None, or missing."""
    answers: list[object] = []
    for name in task.names:
        try:
            value = getattr(student, name)
        except StudentError:
            value = None
        answers += value.values() if type(value) is dict else [value]
    return sum(answer is None for answer in answers)


def show_reference(task: str) -> None:
    """Show the reference for a task, once an answer of one's own has been checked."""
    if _lesson(task) is None:
        return
    if not sources():
        print(f"The class edition has no reference for {task}: it is your instructor's to show.")
        return
    if task not in _attempted:
        print(f'Try it first: write an answer and run check("{task}"); then this shows ours.')
        return
    display(Code(reference_source(task), language="python"))


def progress() -> None:
    """Show where the learner stands in every lesson."""
    try:
        with _random_state_kept():
            standings = attempts.standings(print)
    except StoreError as error:
        print(error)
        return
    display(display_bundles.standing(standings), raw=True)


def _notebook() -> Student:
    """Return the student whose code is the running notebook, or script."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return Student(InProcess(vars(sys.modules["__main__"])))
    return Student(InProcess(shell.user_ns, kernel_locator()))


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    """Leave the notebook's random streams as they were: a check draws from none of them."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
