"""Style, types, and that what is generated is up to date."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

MOST_LINES = 350


def tool(name):
    """A command of the environment that runs the tests."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is not installed: `make setup`"
    return found


def run(*command):
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"


def test_ruff_finds_nothing():
    run(tool("ruff"), "check", "--quiet", "--output-format=concise", ".")


def test_the_code_is_formatted():
    run(tool("ruff"), "format", "--check", ".")


def test_the_types_hold():
    run(tool("mypy"))


def test_the_course_is_what_build_makes():
    run(tool("autograder"), "build", "--check")


@pytest.mark.parametrize(
    "path",
    sorted(path for path in ROOT.glob("autograder/**/*.py") if "checks" not in path.parts),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_files_are_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
