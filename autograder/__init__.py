"""Graded notebooks on fine-tuning, and the autograder that runs their checks.

In a notebook: ``from autograder import check, progress, show_reference``.
"""

from __future__ import annotations

import sys

# jsonschema, by which nbformat validates, compiles a grammar of IRIs when it is imported: a second
# or more of the CPU's before the first verdict, for a format that no notebook's schema has. None
# here means "not installed" to `import` (the language reference, "The module cache"); jsonschema
# then leaves the format out. Where the package is loaded already, it stays.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

__all__ = ["check", "progress", "show_reference"]


def check(task: str) -> float:
    """Run a task's visible checks on this notebook, show the verdict, return the points earned.

    Of a name that no task has, it says which one may have been meant.

    Raises:
        RuntimeError: nbgrader is grading without this package's preprocessor.
    """
    from autograder.learner.output import Output
    from autograder.sandbox import slow_imports

    output = Output()
    with slow_imports.told(output.say):
        from autograder.learner import verdict

        return verdict.check(task, output)


def progress() -> None:
    """Show where you stand in every lesson, by the points of the visible checks."""
    from autograder.learner import verdict

    verdict.progress()


def show_reference(task: str) -> None:
    """Show the reference for a task, once an answer of one's own has been checked.

    The class edition has none, and says so.
    """
    from autograder.learner import verdict

    verdict.show_reference(task)
