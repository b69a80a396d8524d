"""Check files, collected by pytest once, to be run for one student after another."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from autograder.checking.check_files import CHECKS, is_hidden
from autograder.checking.requests import send_by_value

SHARED = "autograder.checks.shared"
UNUSED = (
    "capture", "terminal", "cacheprovider", "faulthandler", "logging", "warnings",
    "unraisableexception", "threadexception", "doctest", "junitxml", "pastebin", "setuponly",
    "setupplan", "stepwise", "unittest",
)  # fmt: skip
"""Plugins of pytest's own: no report of theirs is read, and each costs a millisecond a run."""
OPTIONS = (
    "-c", str(CHECKS / "pytest.ini"), f"--rootdir={CHECKS}", "--noconftest", "--assert=plain",
    "--collect-only", "--import-mode=importlib", *(f"-pno:{name}" for name in UNUSED),
)  # fmt: skip


class BrokenChecks(Exception):
    """The check files cannot be collected: the instructor's to mend."""


class Judge(Protocol):
    """What checks are run for: one student, and what is kept of the outcomes."""

    results: list[Any]

    def is_for(self, item: pytest.Item) -> bool:
        """Whether a check is one of those that are to be run."""

    def student(self, node: pytest.Item) -> Any:
        """Provide the submission."""

    def race(self, node: pytest.Item) -> Any:
        """Provide what measures the submission beside the reference."""

    def gpu_race(self, node: pytest.Item) -> Any:
        """Provide what measures the submission beside the reference on a GPU."""

    def rng(self, node: pytest.Item) -> Any:
        """Provide random inputs."""

    def judged(self, item: pytest.Item) -> Iterator[None]:
        """Run one check, where this yields, and record what came of it."""


class Collection:
    """The pytest plugin: the checks of some files, to be run for one student after another."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Have pytest collect them.

        Raises:
            BrokenChecks: a file cannot be read, or a check of it not be used.
        """
        self.items: list[pytest.Item] = []
        self._broken: list[str] = []
        self._now: Judge
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            patch.delenv("PYTEST_ADDOPTS", raising=False)
            patch.delenv("PYTEST_PLUGINS", raising=False)
            code = pytest.main([*OPTIONS, *map(str, paths)], plugins=[self])
        fine = code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        self._refuse("" if fine else f"pytest ended with {code}")

    def run(self, judge: Judge) -> None:
        """Run the checks on one student.

        Raises:
            BrokenChecks: one of them has an unknown fixture, or ends pytest.
        """
        self._now = judge
        items = [item for item in self.items if judge.is_for(item)]
        for count, item in enumerate(items, start=1):
            following = items[count] if count < len(items) else None
            try:
                item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            except pytest.exit.Exception as error:
                self._broken.append(f"{item.nodeid}: {error}")
            self._refuse("" if len(judge.results) == count else f"{item.nodeid}: it has no result")

    def _refuse(self, also: str = "") -> None:
        if text := "\n".join(self._broken) or also:
            raise BrokenChecks(text)

    @pytest.fixture
    def student(self, request: pytest.FixtureRequest) -> Any:
        """Provide the submission."""
        return self._now.student(request.node)

    @pytest.fixture
    def race(self, request: pytest.FixtureRequest, student: Any) -> Any:
        """Provide what measures the submission beside the reference."""
        return self._now.race(request.node)

    @pytest.fixture
    def gpu_race(self, request: pytest.FixtureRequest) -> Any:
        """Provide what measures the submission beside the reference on a GPU."""
        return self._now.gpu_race(request.node)

    @pytest.fixture
    def rng(self, request: pytest.FixtureRequest) -> Any:
        """Provide random inputs."""
        return self._now.rng(request.node)

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
        self._broken.append(f"{place.path}, line {place.lineno + 1}: {excinfo.exconly()}")
        return True

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport
    ) -> None:
        """Note a check file that cannot be read, and a check with an unknown fixture."""
        if report.when != "call":
            self._broken.append(f"{node.path}: {_errors(report.longrepr)}")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the checks that are visible first, then bring those of one task together.

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
                self._broken.append(f"{item.nodeid}: needs {wanted}")
        if self._broken:
            items.clear()
        tasks = {item: mark_of(item).args[0] for item in items}
        order = list(dict.fromkeys(tasks.values()))
        items.sort(key=lambda item: (is_hidden(item.path), order.index(tasks[item])))
        self.items = list(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Run one check; nothing of it reaches pytest's report."""
        yield from self._now.judged(item)


_COLLECTED: dict[tuple[tuple[Path, int, int], ...], Collection] = {}
"""check files, as they are: collecting them takes as long as a dozen checks"""


def collected(paths: Sequence[Path]) -> Collection:
    """Return the checks of these files, collected anew where one has changed.

    Raises:
        BrokenChecks: a file cannot be read, or a check of it not be used.
    """
    stats = [path.stat() for path in paths]
    key = tuple((p, s.st_mtime_ns, s.st_size) for p, s in zip(paths, stats, strict=True))
    if key not in _COLLECTED:
        _COLLECTED[key] = Collection(paths)
    return _COLLECTED[key]


def mark_of(item: pytest.Item) -> pytest.Mark:
    """Return the marker that says what a check is for."""
    mark = item.get_closest_marker("task")
    assert mark is not None  # collection refuses a check without one
    return mark


def _errors(report: object) -> str:
    """Return the lines of pytest's report that say what is wrong, without the way there."""
    lines = [line for line in str(report).splitlines() if line.strip()]
    return "\n".join(line[1:].strip() for line in lines if line.startswith("E ")) or lines[-1]
