"""The pytest plugin: runs a lesson's checks on one student, and tells what came of each.

A check is a test function marked ``@pytest.mark.task(name, points=…)``, whose docstring is the
requirement. ``seconds=…`` is the deadline of each of its calls. One that is also marked
``@pytest.mark.speed(at_least=…)`` or ``@pytest.mark.memory(at_most=…)`` has the fixture `race`.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from autograder.catalogue.lessons import LessonError
from autograder.checking import check_files, gpu_race
from autograder.checking.check_files import CHECKS
from autograder.checking.disclosure import Disclosure
from autograder.checking.expect import CheckFailed, Inputs, telling
from autograder.checking.handle import CALL_SECONDS, InProcess, Student
from autograder.checking.misuse import misuse
from autograder.checking.race import Race
from autograder.checking.requests import send_by_value
from autograder.checking.transcript import pasted
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.wire import WireError
from autograder.scores import CALL, CheckResult, Figure

MAX_MESSAGE = 2_500
NO_REFERENCE = "The reference is not in this edition: decided at grading."
SHARED = "autograder.checks.shared"
RACE = pytest.StashKey[Race | gpu_race.Race | gpu_race.Nowhere]()
UNUSED = (
    "terminal", "cacheprovider", "faulthandler", "logging", "warnings", "unraisableexception",
    "threadexception", "doctest", "junitxml", "pastebin", "setuponly", "setupplan", "stepwise",
    "unittest",
)  # fmt: skip
"""Plugins of pytest's own: no report of theirs is read, and each costs a millisecond a run."""
OPTIONS = (
    "-c", str(CHECKS / "pytest.ini"), f"--rootdir={CHECKS}", "--noconftest", "-s", "--assert=plain",
    "--import-mode=importlib", *(f"-pno:{name}" for name in UNUSED),
)  # fmt: skip


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


class BrokenChecks(Exception):
    """The check files cannot be collected: the instructor's to mend."""


class Plugin:
    """Provides the fixtures, selects tasks and collects results."""

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
        self.collected: list[CheckResult] = []
        self.broken: list[str] = []

    @pytest.fixture
    def student(self, request: pytest.FixtureRequest) -> Student:
        """Provide the submission."""
        seconds = _mark(request.node).kwargs.get("seconds", CALL_SECONDS)
        is_hidden = check_files.is_hidden(request.path)
        self._disclosure.begin_check()
        is_race = "race" in request.fixturenames
        disclosure = self._disclosure if is_hidden else None
        self._student._begin_check(seconds, disclosure, keeps_steps=not is_race)
        return self._student

    @pytest.fixture
    def race(self, request: pytest.FixtureRequest, student: Student) -> Race:
        """Provide what measures the submission beside the reference."""
        made = Race(student, self._reference, _bound(request.node))
        request.node.stash[RACE] = made
        return made

    @pytest.fixture
    def gpu_race(self, request: pytest.FixtureRequest) -> gpu_race.Race | gpu_race.Nowhere:
        """Provide what measures the submission beside the reference on a GPU."""
        seconds = _mark(request.node).kwargs.get("seconds", CALL_SECONDS)
        made = self._on_gpu(_bound(request.node), seconds)
        request.node.stash[RACE] = made
        return made

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest) -> Inputs:
        """Provide random inputs that depend on the run's seed and the check's name alone.

        They are seen where the submission is: the seed is their key, which no number of them tells.
        """
        key = f"{self._seed} {request.node.name}".encode()
        return Inputs((int.from_bytes(hashlib.sha256(key).digest()),))

    def pytest_configure(self, config: pytest.Config) -> None:
        """Declare the markers."""
        for line in (
            "task(name, points, seconds): what the check is for",
            "speed(at_least): the least ratio of the reference's time to the student's",
            "memory(at_most): the most bytes by which the student's memory may rise",
        ):
            config.addinivalue_line("markers", line)

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
        """Note what pytest itself could not get past, such as a check file that ends the run."""
        place = excinfo.traceback[-1]
        self.broken.append(f"{place.path}, line {place.lineno + 1}: {excinfo.exconly()}")
        return True

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport
    ) -> None:
        """Note a check file that cannot be read, and a check with an unknown fixture."""
        if report.when != "call":
            self.broken.append(f"{node.path}: {_errors(report.longrepr)}")

    def pytest_pycollect_makeitem(self, obj: object) -> list[pytest.Item] | None:
        """Leave out the checks of other tasks before pytest makes items of them, which is slow."""
        if self._tasks is None or not inspect.isfunction(obj):
            return None
        marks = [mark.args for mark in getattr(obj, "pytestmark", []) if mark.name == "task"]
        others = [args for args in marks if args and args[0] not in self._tasks]
        return [] if marks and others == marks else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the checks of the chosen tasks, those that are visible first, then task by task.

        So a visible check's words, which are not counted, can carry nothing of a hidden one.
        """
        # a check hands over models of classes of its own, or of what the checks share
        modules = {item.module for item in items if isinstance(item, pytest.Function)}
        for module in {*modules, sys.modules.get(SHARED)} - {None}:
            send_by_value(module)
        for item in items:
            mark = item.get_closest_marker("task")
            if mark is None or len(mark.args) != 1 or "points" not in mark.kwargs:
                wanted = "@pytest.mark.task(name, points=…)"
                self.broken.append(f"{item.nodeid}: needs {wanted}")
        if self.broken:
            items.clear()
        tasks = {item: _mark(item).args[0] for item in items}
        order = list(dict.fromkeys(tasks.values()))
        items.sort(key=lambda item: (check_files.is_hidden(item.path), order.index(tasks[item])))
        if self._tasks is not None:
            items[:] = [item for item in items if tasks[item] in self._tasks]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note every check, as one that has not run, where none will."""
        if session.config.option.collectonly:
            self.collected = [
                _result(item, "not_counted", 0.0, _why_not_counted(item), 0.0)
                for item in session.items
            ]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Run one check and record what came of it; nothing of it reaches pytest's report."""
        start = time.monotonic()
        outcome, share, message = "passed", 1.0, ""
        try:
            self._before(_mark(item).args[0])
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
        changed = self._student._settle()
        if changed and outcome == "passed":
            outcome, share = "failed", 0.0
            message = f"A call leaves {' and '.join(changed)} changed for all code after it."
        self._student._steps.clear()
        seconds = time.monotonic() - start
        race = item.stash.get(RACE, None)
        figure = race.figure if race is not None else None
        self.results.append(_result(item, outcome, share, message, seconds, figure))


def _why_not_counted(item: pytest.Item) -> str:
    needs_gpu = isinstance(item, pytest.Function) and "gpu_race" in item.fixturenames
    return gpu_race.ON_GPU if needs_gpu else ""


def _refuse(why: Exception) -> None:
    raise why


def _mark(item: pytest.Item) -> pytest.Mark:
    mark = item.get_closest_marker("task")
    assert mark is not None  # collection refuses a check without one
    return mark


def _errors(report: object) -> str:
    """Return the lines of pytest's report that say what is wrong, without the way there."""
    lines = [line for line in str(report).splitlines() if line.strip()]
    return "\n".join(line[1:].strip() for line in lines if line.startswith("E ")) or lines[-1]


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
    mark = _mark(item)
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
    plugin = Plugin(Student(InProcess({})), seed=0)
    run(plugin, paths, "--collect-only")
    return plugin.collected


def run(plugin: Plugin, paths: Sequence[Path], *options: str) -> list[CheckResult]:
    """Run the checks in `paths`; return the results in the files' order.

    Raises:
        BrokenChecks: a file cannot be collected, or holds no check.
    """
    if not paths:
        return []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.delenv("PYTEST_PLUGINS", raising=False)
        code = pytest.main([*OPTIONS, *options, *map(str, paths)], plugins=[plugin])
    if plugin.broken or code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise BrokenChecks("\n".join(plugin.broken) or f"pytest ended with {code}")
    return plugin.results
