"""Runs a lesson's checks on one student, and tells what came of each.

A check is a test function marked ``@pytest.mark.task(name, points=…)``, whose docstring is the
requirement. ``seconds=…`` is the deadline of each of its calls. One that is also marked
``@pytest.mark.speed(at_least=…)`` or ``@pytest.mark.memory(at_most=…)`` has the fixture `race`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from autograder.catalogue.lessons import LessonError
from autograder.checking import check_files, gpu_race
from autograder.checking.collection import BrokenChecks as BrokenChecks
from autograder.checking.collection import collected, mark_of
from autograder.checking.disclosure import Disclosure
from autograder.checking.expect import CheckFailed, Inputs, telling
from autograder.checking.handle import CALL_SECONDS, Student
from autograder.checking.misuse import misuse
from autograder.checking.race import Race
from autograder.checking.transcript import pasted
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.wire import WireError
from autograder.scores import CALL, CheckResult, Figure

MAX_MESSAGE = 2_500
NO_REFERENCE = "The reference is not in this edition: decided at grading."
RACE = pytest.StashKey[Race | gpu_race.Race | gpu_race.Nowhere]()


def drawn_seed() -> int:
    """Return a seed for a run's inputs: `AUTOGRADER_SEED`, which repeats them, else a random one.

    Raises:
        LessonError: the variable holds no whole number.
    """
    given = os.environ.get("AUTOGRADER_SEED")
    if given is None:
        return secrets.randbits(128)
    if not given.isdecimal():
        raise LessonError(f"AUTOGRADER_SEED={given!r} is no whole number: correct it, or unset it.")
    return int(given)


def nobody() -> Student:
    """Return no reference.

    Raises:
        LessonError: there is none.
    """
    raise LessonError("no reference is at hand")


class Plugin:
    """One student before the checks: what they are given, and what came of them."""

    def __init__(
        self,
        student: Student,
        seed: object,
        tasks: Sequence[str] | None = None,
        before: Callable[[str], None] = lambda task: None,
        reference: Callable[[], Student] = nobody,
        on_gpu: Callable[[float, float], gpu_race.Race | gpu_race.Nowhere] = lambda *_: (
            gpu_race.Nowhere()
        ),
        disclosure: Disclosure | None = None,
    ) -> None:
        """Check `student`.

        Args:
            student: the submission.
            seed: the run's seed, by its text; each check draws from a stream of its own.
            tasks: the tasks to check, or None for all.
            before: called with a check's task before it; may raise `CheckFailed`.
            reference: starts the lesson's reference beside it, or returns the one that is there.
            on_gpu: makes the race of a GPU-only check, of its bound and a call's deadline.
            disclosure: what the submission has told so far [nothing].
        """
        self._student, self._seed, self._tasks, self._before = student, seed, tasks, before
        self._reference, self._on_gpu = reference, on_gpu
        self._disclosure = disclosure or Disclosure()
        self.refused: SandboxError | None = None
        """what kept a check from being run, through no fault of the submission's"""
        self.results: list[CheckResult] = []

    def is_for(self, item: pytest.Item) -> bool:
        """Whether a check is one of those that are to be run."""
        return self._tasks is None or mark_of(item).args[0] in self._tasks

    def student(self, node: pytest.Item) -> Student:
        """Provide the submission."""
        is_hidden = check_files.is_hidden(node.path)
        self._disclosure.begin_check()
        is_race = "race" in getattr(node, "fixturenames", ())
        disclosure = self._disclosure if is_hidden else None
        self._student._begin_check(_seconds(node), disclosure, keeps_steps=not is_race)
        return self._student

    def race(self, node: pytest.Item) -> Race:
        """Provide what measures the submission beside the reference."""
        made = Race(self._student, self._reference, _bound(node))
        node.stash[RACE] = made
        return made

    def gpu_race(self, node: pytest.Item) -> gpu_race.Race | gpu_race.Nowhere:
        """Provide what measures the submission beside the reference on a GPU."""
        made = self._on_gpu(_bound(node), _seconds(node))
        node.stash[RACE] = made
        return made

    def rng(self, node: pytest.Item) -> Inputs:
        """Provide random inputs that depend on the run's seed and the check's name alone.

        They are seen where the submission is: the seed is their key, which no number of them tells.
        """
        key = f"{self._seed} {node.name}".encode()
        return Inputs((int.from_bytes(hashlib.sha256(key).digest()),))

    def judged(self, item: pytest.Item) -> Iterator[None]:
        """Run one check, where this yields, and record what came of it."""
        start = time.monotonic()
        outcome, share, message = "passed", 1.0, ""
        try:
            self._before(mark_of(item).args[0])
        except CheckFailed as refusal:
            why: Exception = refusal
            if isinstance(race := item.stash.get(RACE, None), gpu_race.Nowhere):
                why = gpu_race.NotCounted(race.reason)  # whatever has become of the submission
            item.runtest = functools.partial(_refuse, why)  # type: ignore[method-assign]
        is_hidden = check_files.is_hidden(item.path)
        cut = self._disclosure.seen if is_hidden else str
        try:
            with telling(cut, openly=not is_hidden):
                yield
        except CheckFailed as error:
            outcome, share, message = "failed", error.share, str(error)
        except StudentError as error:
            if error.told is None and is_hidden:
                error.told = self._disclosure.told
            outcome, share, message = "failed", 0.0, str(error)
        except WireError as error:
            outcome, share, message = "failed", 0.0, str(error)
        except AssertionError as error:
            outcome, share = "failed", 0.0
            message = str(error) or "The requirement does not hold."
        except (pytest.skip.Exception, gpu_race.NotCounted) as skipped:
            outcome, share, message = "not_counted", 0.0, str(skipped)
        except LessonError:
            outcome, share, message = "not_counted", 0.0, NO_REFERENCE
        except SandboxError as error:
            outcome, share, self.refused = "error", 0.0, error
        except Exception as error:  # noqa: BLE001 - recorded as the check's own error, for the grader
            with telling(cut):
                message = misuse(self._student._steps, error)
            outcome, share = "failed" if message else "error", 0.0
            message = (
                message or f"The check could not make use of what came ({type(error).__name__})."
            )
        if outcome == "failed" and not is_hidden and (line := pasted(self._student._steps)):
            message += CALL + line
        vars(item).pop("runtest", None)
        changed = self._student._settle()
        if changed and outcome == "passed":
            outcome, share = "failed", 0.0
            message = f"A call leaves {' and '.join(changed)} changed for all code after it."
        self._student._steps.clear()
        seconds = time.monotonic() - start
        race = item.stash.get(RACE, None)
        figure = race.figure if race is not None else None
        self.results.append(_result(item, outcome, share, message, seconds, figure))
        if race is not None:
            del item.stash[RACE]


def _why_not_counted(item: pytest.Item) -> str:
    needs_gpu = "gpu_race" in getattr(item, "fixturenames", ())
    return gpu_race.ON_GPU if needs_gpu else ""


def _refuse(why: Exception) -> None:
    raise why


def _seconds(item: pytest.Item) -> float:
    """Return the deadline of a check's calls."""
    return float(mark_of(item).kwargs.get("seconds", CALL_SECONDS))


def _bound(item: pytest.Item) -> float:
    """Return the bound that a check's marker states."""
    for name, argument in (("speed", "at_least"), ("memory", "at_most")):
        mark = item.get_closest_marker(name)
        if mark is not None:
            return float(mark.kwargs[argument])
    raise TypeError("a check with `race` needs @pytest.mark.speed(at_least=…) or memory(at_most=…)")


def _result(
    item: pytest.Item,
    outcome: str,
    share: float,
    message: str,
    seconds: float,
    figure: Figure | None = None,
) -> CheckResult:
    mark = mark_of(item)
    points = float(mark.kwargs["points"])
    function = getattr(item, "function", None)
    return CheckResult(
        task=mark.args[0],
        name=item.name,
        requirement=" ".join((function.__doc__ or item.name).split()),
        outcome=outcome,
        points=round(share * points, 4),
        max_points=points,
        message=message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…",
        seconds=round(seconds, 4),
        hidden=check_files.is_hidden(item.path),
        figure=figure,
    )


def census(paths: Sequence[Path]) -> list[CheckResult]:
    """Return the checks in `paths`, unrun."""
    items = collected(paths).items if paths else []
    return [_result(item, "not_counted", 0.0, _why_not_counted(item), 0.0) for item in items]


def run(plugin: Plugin, paths: Sequence[Path]) -> list[CheckResult]:
    """Run the checks in `paths`; return the results in the files' order.

    Raises:
        BrokenChecks: a file cannot be collected, or holds no check.
    """
    if paths:
        collected(paths).run(plugin)
    return plugin.results
