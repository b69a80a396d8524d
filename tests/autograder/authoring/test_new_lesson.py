"""A new lesson, begun in a copy of the repository: it passes all that a lesson must."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from autograder.authoring import new_lesson
from autograder.catalogue import sources
from autograder.catalogue.lessons import LessonError
from tests.conftest import ROOT
from tests.test_style import tool

NAME = "pooling"
FILES = {
    f"solutions/07_{NAME}.py",
    f"autograder/checks/visible/test_{NAME}.py",
    f"autograder/checks/hidden/test_{NAME}.py",
    f"tests/submissions/{NAME}/mutants.py",
    f"tests/submissions/{NAME}/alternates.py",
    f"course/07_{NAME}/{NAME}.ipynb",
}
LONGEST = "a_name_of_20_letters"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository in which two lessons have been begun."""
    folder = tmp_path_factory.mktemp("copy") / "clone"
    left_out = shutil.ignore_patterns(
        ".git", ".venv", "build", "results", "__pycache__", ".*_cache", "node_modules"
    )
    shutil.copytree(ROOT, folder, ignore=left_out)
    said = run(folder, "-m", "autograder.cli", "new", "lesson", NAME, "--title", "A first lesson")
    assert all(f in said for f in FILES)
    run(folder, "-m", "autograder.cli", "new", "lesson", LONGEST)
    return folder


def run(folder, *args, code=0):
    environment = os.environ | {"PYTHONPATH": str(folder)}
    ended = subprocess.run(
        [sys.executable, *args], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == code, f"{args}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr


def test_its_files_are_there_and_the_course_has_it(copy):
    assert all((copy / name).is_file() for name in FILES)
    assert "A first lesson" in (copy / "course" / "README.md").read_text()
    assert f"08_{LONGEST}" in (copy / "course" / f"07_{NAME}" / f"{NAME}.ipynb").read_text()
    run(copy, "-m", "autograder.cli", "build", "--check")


def test_it_is_in_style(copy):
    ruff = tool("ruff")
    for command in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        ended = subprocess.run(
            [ruff, *command, "."], cwd=copy, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout


def test_it_passes_what_is_asked_of_a_lesson(copy):
    """The bank: the reference gets all points, an untouched notebook none, every mutant less."""
    files = (
        "bank",
        "demonstrations",
        "autograder/catalogue/test_questions",
        "autograder/authoring/test_build",
    )
    paths = [f"tests/{name}.py" if "/" in name else f"tests/test_{name}.py" for name in files]
    wanted = f"[{NAME}] or {NAME}- or test_course_is or test_every_link"
    said = run(copy, "-m", "pytest", "-q", *paths, "-k", wanted, "-p", "no:cacheprovider")
    ran = int(re.search(r"(\d+) passed", said)[1])
    assert ran > 30 and "failed" not in said.splitlines()[-1]


@pytest.mark.parametrize(
    "name", ["Demo", "7demo", "a", "de-mo", "../demo", "class", "de mo", "", "a" * 21, "démo"]
)
def test_a_name_that_no_file_or_function_can_have_is_refused(name):
    with pytest.raises(LessonError, match="cannot be a lesson's name"):
        new_lesson.begin(name)


@pytest.mark.parametrize("name", ["lora", "hostile", "timing"])
def test_a_name_that_is_taken_is_refused(name):
    with pytest.raises(LessonError, match="taken"):
        new_lesson.begin(name)


def test_without_solutions_no_lesson_is_begun(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    with pytest.raises(LessonError, match="no solutions here"):
        new_lesson.begin("demo")


def test_what_cannot_be_finished_leaves_nothing(monkeypatch, tmp_path):
    for name in ("SOURCES", "CHECKS", "BANK"):
        monkeypatch.setattr(new_lesson, name, tmp_path / name)
    (tmp_path / "SOURCES").mkdir()
    (tmp_path / "CHECKS").write_text("a file where a folder should be")
    with pytest.raises(OSError, match="CHECKS"):
        new_lesson.begin("demo")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "CHECKS"]
