"""How the tests share the processors: who runs what, in which order, and the tables at the end.

`make test` starts a worker a processor. A file's tests stay together, since its fixtures are what
takes long; where they are one lesson's each (the bank, the demonstrations), a lesson's do. What
takes longest begins first, so that nobody waits long for the last. Without `--numprocesses` all is
as usual, in one process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from xdist.scheduler import LoadScopeScheduling

from autograder.checking import check_files, plugin

KILLS: dict[str, dict[str, dict[str, dict[str, bool]]]] = {}
"""lesson → task → mutant → check → whether it failed: filled by the bank, printed at the end"""
ATTACKS: dict[str, dict[str, bool]] = {}
"""family → attack → whether it was stopped: filled by the attack suite, printed at the end"""
TABLES = {"kills": KILLS, "attacks": ATTACKS}

BY_LESSON = ("test_bank.py", "test_demonstrations.py")
TOGETHER = {"test_gradescope.py": "test_container.py"}
"""Files of which only one may run at a time: each looks for what the other leaves behind."""
LONGEST = (
    "test_class.py", "test_hostile.py", "test_bank.py", "test_container.py",
    "test_demonstrations.py", "test_cli.py", "test_inbox.py", "test_pool.py", "test_new_lesson.py",
    "test_recheck.py", "test_defences.py", "test_verdict.py", "test_broken_files.py",
    "test_timing.py", "test_class_edition.py", "test_run.py", "test_gpu_race.py",
)  # fmt: skip
"""The files that take longest, as measured, the longest first."""


def scope(nodeid: str) -> str:
    """Return what a test is run together with."""
    path, _, test = nodeid.partition("::")
    name = path.rpartition("/")[2]
    if name in BY_LESSON and (lesson := re.search(r"\[([a-z_]+)", test)):
        return f"{name}::{lesson[1]}"
    return TOGETHER.get(name, name)


class Scheduling(LoadScopeScheduling):
    """xdist's own scheduling, by `scope`."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def ordered(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return tests with those first whose files take longest; else in their order."""
    return sorted(
        items,
        key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else 99,
    )


class Tables:
    """The pytest plugin that brings the workers' parts of the tables together and prints them."""

    def __init__(self, config: pytest.Config) -> None:
        """Look at whether this is a worker, which prints nothing."""
        self._output = getattr(config, "workeroutput", None)

    def pytest_sessionfinish(self) -> None:
        """Hand a worker's parts over."""
        if self._output is not None:
            self._output.update(TABLES)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Take a worker's parts."""
        for name, table in TABLES.items():
            for key, rows in getattr(node, "workeroutput", {}).get(name, {}).items():
                table.setdefault(key, {}).update(rows)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print which check kills which mutant, and of each family what was stopped."""
        if KILLS:
            _print_kills(terminalreporter)
        if ATTACKS:
            terminalreporter.section("attacks: tried and stopped")
            for family, attacks in sorted(ATTACKS.items()):
                line = f"{family:14} tried {len(attacks):3}, stopped {sum(attacks.values()):3}"
                terminalreporter.write_line(line)


def _print_kills(terminalreporter: pytest.TerminalReporter) -> None:
    for lesson, tasks in sorted(KILLS.items()):
        hidden = {
            (check.task, check.name)
            for check in plugin.census(check_files.files(lesson, hidden=True))
            if check.hidden
        }
        terminalreporter.section(f"kill matrix: mutants of {lesson} × checks")
        for task, mutants in tasks.items():
            checks = list(dict.fromkeys(check for row in mutants.values() for check in row))
            terminalreporter.write_line(f"\n{task}")
            for number, check in enumerate(checks, start=1):
                rows = [row for row in mutants.values() if row.get(check)]
                alone = sum(sum(row.values()) == 1 for row in rows)
                kind = "hidden " if (task, check) in hidden else "visible"
                terminalreporter.write_line(f"  {number:2} {kind} kills {alone} alone: {check}")
            for mutant, row in mutants.items():
                marks = "".join("x" if row.get(check) else "." for check in checks)
                terminalreporter.write_line(f"     {marks}  {mutant}")
