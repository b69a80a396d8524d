"""Graded notebooks on fine-tuning, and the autograder that runs their checks.

In a notebook: ``from autograder import check, show_reference``.
"""

from __future__ import annotations

__all__ = ["check", "show_reference"]


def check(task: str) -> float:
    """Run a task's visible checks on this notebook, show the verdict, return the points earned.

    Raises:
        LessonError: there is no such task.
        RuntimeError: nbgrader is grading without this package's preprocessor.
    """
    from autograder import learner

    return learner.check(task)


def show_reference(task: str) -> None:
    """Show the reference for a task, once an answer of one's own has been checked.

    Raises:
        LessonError: there is no such task, or this edition has no references.
    """
    from autograder import learner

    learner.show_reference(task)
