"""Which tests `make check` runs: the fast ones of what changed.

What changed is what git sees against the branch that this one follows, or against the last commit.
Of it come the test files that changed, and those that import a changed module themselves; of a
changed lesson, whatever the bank asks but its mutants and alternates. Files that take long are left
to `make test`, and named.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.parallel import LONGEST

ROOT = Path(__file__).resolve().parent.parent
ALWAYS = ROOT / "tests" / "test_style.py"
BANK = ROOT / "tests" / "test_bank.py"
_LESSON = re.compile(
    r"solutions/\d\d_(\w+)\.py|course/\d\d_(\w+)/|checks/\w+/test_(\w+)\.py"
    r"|checks/shared/(\w+)\.py|tests/submissions/(\w+)/"
)


def _said(*command: str) -> list[str]:
    """Return the lines that a command prints; none where it fails, as git does without a branch."""
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout.splitlines() if ended.returncode == 0 else []


def files() -> set[str]:
    """Return the paths of what changed, below the root."""
    since = (_said("git", "merge-base", "HEAD", "@{upstream}") or ["HEAD"])[0]
    tracked = _said("git", "diff", "--name-only", "--no-renames", since)
    return {*tracked, *_said("git", "ls-files", "--others", "--exclude-standard")}


def lessons(changed: Collection[str]) -> set[str]:
    """Return the short names of the lessons that changed."""
    return {next(filter(None, m.groups())) for path in changed if (m := _LESSON.search(path))}


def test_files(changed: Collection[str]) -> set[Path]:
    """Return the test files that changed, or import what did."""
    graph = json.loads("".join(_said("ruff", "analyze", "graph", "--direction", "dependents")))
    concerned = {*changed, *(user for path in changed for user in graph.get(path, ()))}
    return {ROOT / path for path in concerned if Path(path).name.startswith("test_")}


class Selection:
    """The pytest plugin behind ``--changed``."""

    def __init__(self) -> None:
        """Look at what changed."""
        changed = files()
        self._lessons, self._files = lessons(changed), {ALWAYS, *test_files(changed)}
        self._left = sorted(path.name for path in self._files if path.name in LONGEST)

    def _is_wanted(self, item: pytest.Item) -> bool:
        if item.path == BANK:
            lesson = re.search(r"\[(\w+)\]$", item.name)
            return lesson is not None and lesson[1] in self._lessons and "kills" not in item.name
        return item.path in self._files and item.path.name not in LONGEST

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep what is wanted."""
        others = [item for item in items if not self._is_wanted(item)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if self._is_wanted(item)]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what was left to `make test`."""
        left = f" These concern it too: {', '.join(self._left)}." if self._left else ""
        terminalreporter.write_line(f"What changed, and what is fast. `make test` runs all.{left}")
