"""How a command ends: its exit code, and a sentence for each error that has one."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from autograder.text import one_line, sentence

OK, BELOW, USAGE, INTERRUPTED = 0, 1, 2, 130


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that have a sentence for the user into that sentence and exit code 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception as error:
            if (sentence := _in_words(error)) is None:
                raise
            raise sentence from None

    return wrapped


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, and SIGINT too where a shell has it ignored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


def _in_words(error: Exception) -> Told | None:
    """Return the sentence for an error, if it has one; what it needs is imported only now."""
    from autograder.catalogue.lessons import LessonError
    from autograder.checking.plugin import BrokenChecks
    from autograder.grading.pool import Unfinished
    from autograder.learner.record import StoreError
    from autograder.notebook import NotebookError
    from autograder.sandbox.errors import SandboxError

    known = [LessonError, NotebookError, BrokenChecks, SandboxError, StoreError]
    if gradebook := sys.modules.get(
        "autograder.lms.gradebook"
    ):  # a second to import: where it is used
        known.append(gradebook.GradebookError)
    if isinstance(error, tuple(known)):
        return Told(str(error))
    if isinstance(error, OSError):
        name = one_line(os.fsdecode(error.filename)) if error.filename else "file"
        return Told(f"{name}: {error.strerror or error}")
    if isinstance(error, Unfinished):
        return Told(str(error), INTERRUPTED if error.interrupted else BELOW)
    return None


class Commands(click.Group):
    """The commands: whatever ends one in words, its own or click's, is fit for a terminal."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was typed.

        Raises:
            click.ClickException: it ended in words, in which no name moves a cursor.
        """
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            error.message = sentence(error.message)  # type: ignore[misc]  # what it shows itself
            raise


class Told(click.ClickException):
    """An end of the command that is a sentence and an exit code."""

    exit_code: int  # type: ignore[misc]  # click has it per class

    def __init__(self, text: str, exit_code: int = USAGE) -> None:
        """Keep the sentence and the code."""
        super().__init__(text)
        self.exit_code = exit_code
