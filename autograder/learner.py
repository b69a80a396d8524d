"""What a learner meets in a notebook: the verdict on a task, and the reference after an attempt."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from IPython.display import Code, display

from autograder import feedback, plugin
from autograder.lessons import Lesson, reference_source, task_lesson
from autograder.plugin import CheckResult
from autograder.sandbox.child import kernel_locator
from autograder.student import InProcess, Student

_attempted: set[str] = set()


def check(task: str) -> float:
    """Run a task's visible checks on the notebook that this runs in; return the points earned."""
    if os.environ.get("NBGRADER_EXECUTION") == "autograde":
        raise RuntimeError(
            "check() was called by `nbgrader autograde` in the submission's own kernel, where no "
            "score can be trusted. Grade with `autograder grade`."
        )
    lesson = task_lesson(task)
    results = run_visible(lesson, task, _notebook())
    if any(_is_attempt(result) for result in results):
        _attempted.add(task)
    total = next(entry.points for entry in lesson.tasks if entry.name == task)
    display(feedback.verdict(task, results, total), raw=True)
    return float(sum(result.points for result in results))


def run_visible(lesson: Lesson, task: str, student: Student) -> list[CheckResult]:
    """Return what came of a task's visible checks on `student`."""
    seed = random.SystemRandom().getrandbits(32)
    with _random_state_kept():
        checks = plugin.Plugin(student, seed, (task,))
        return plugin.run(checks, plugin.files(lesson.name, hidden=False))


def show_reference(task: str) -> None:
    """Show the reference for a task, once an answer of one's own has been checked."""
    task_lesson(task)
    if task not in _attempted:
        print(f'Try it first: write an answer and run check("{task}"); then this shows ours.')
        return
    display(Code(reference_source(task), language="python"))


def _is_attempt(result: CheckResult) -> bool:
    return "not written yet" not in result.message and "is not defined" not in result.message


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
