"""Gradescope's autograder.zip: built, unpacked and run, as its container would."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from autograder.catalogue import lessons
from autograder.catalogue.lessons import LessonError
from autograder.lms import gradescope
from autograder.notebook import NotebookError
from tests.autograder.sandbox.test_container import as_root
from tests.conftest import ROOT, lora, write_notebook


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "autograder.zip"
    gradescope.build(path, "lora")
    return path


# ---------------------------------------------------------------------------------------- the zip


def test_the_zip_has_what_gradescope_needs_at_its_root(archive):
    with zipfile.ZipFile(archive) as opened:
        modes = {entry.filename: entry.external_attr >> 16 for entry in opened.infolist()}
        assert opened.testzip() is None
    for name in ("setup.sh", "run_autograder"):
        assert modes[name] == 0o755
    assert {"not_graded.json", "requirements.lock", "pyproject.toml"} <= modes.keys()
    assert archive.stat().st_size < 10_000_000


def test_the_zip_is_one_lesson_s_and_holds_nothing_else(archive):
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
    for lesson in lessons.catalogue():
        of_it = re.compile(rf"/test_{lesson.name}\.|\d_{lesson.name}\.|/{lesson.name}\.ipynb")
        own = [name for name in names if of_it.search(name)]
        wanted = {
            f"autograder/checks/visible/test_{lesson.name}.py",
            f"autograder/checks/hidden/test_{lesson.name}.py",
            f"course/{lesson.notebook.parent.name}/{lesson.notebook.name}",
            f"solutions/{lesson.notebook.parent.name}.py",
        }
        assert set(own) == (wanted if lesson.name == "lora" else set())
    parts = {name.split("/")[0] for name in names if "/" in name}
    assert parts == {"autograder", "course", "solutions"}
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_the_same_files_make_the_same_zip(archive, tmp_path):
    said = gradescope.build(tmp_path / "again.zip", "04_lora")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert f"a person gives {lora().worth.by_hand:g} more by hand" in said


def test_checks_of_the_instructor_s_own_come_along(tmp_path):
    (tmp_path / "test_lora.py").write_text("# mine")
    gradescope.build(tmp_path / "a.zip", "lora", tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        assert opened.read("own_checks/test_lora.py") == b"# mine"
    with pytest.raises(LessonError, match=r"no test_sft\.py"):
        gradescope.build(tmp_path / "b.zip", "sft", tmp_path)
    assert not (tmp_path / "b.zip").exists()


def test_an_edition_without_hidden_checks_makes_none(tmp_path, monkeypatch):
    monkeypatch.setattr(gradescope, "CHECKS", tmp_path)
    with pytest.raises(LessonError, match="no hidden checks"):
        gradescope.build(tmp_path / "a.zip", "lora")


def test_the_scripts_are_sound(archive, tmp_path):
    with zipfile.ZipFile(archive) as opened:
        for name in ("setup.sh", "run_autograder"):
            (tmp_path / name).write_bytes(opened.read(name))
            subprocess.run(["bash", "-n", str(tmp_path / name)], check=True)
            assert (tmp_path / name).read_text().startswith("#!/usr/bin/env bash\n")


def test_setup_takes_its_versions_from_the_lock(archive, tmp_path):
    """setup.sh, with stand-ins that note how apt-get, python3 and uv are called."""
    source, home, tools = tmp_path / "source", tmp_path / "home", tmp_path / "bin"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(source)
    tools.mkdir()
    log = tmp_path / "log"
    (source / "run_autograder").write_text(f'echo "run_autograder $@" >> {log}\n')
    note = f'#!/bin/sh\necho "$(basename "$0") $*" >> {log}\n'
    (home / "tools" / "bin").mkdir(parents=True)
    for path in (
        tools / "apt-get",
        tools / "python3",
        *(home / "tools/bin" / n for n in ("python", "uv")),
    ):
        path.write_text(note)
        path.chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "AUTOGRADER_HOME": str(home)}
    subprocess.run(["bash", str(source / "setup.sh")], env=environment, check=True, cwd="/")
    called = log.read_text().splitlines()
    assert [line.split()[0] for line in called] == [
        "apt-get", "python3", "python", "uv", "uv", "run_autograder",
    ]  # fmt: skip
    assert (
        "--torch-backend cpu" in called[4] and f"--constraint {home}/constraints.txt" in called[4]
    )
    constraints = (home / "constraints.txt").read_text()
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.M)
    assert re.findall(r"^([A-Za-z0-9._-]+)==", constraints, re.M) == pinned
    assert "--hash" not in constraints and "\\\n" not in constraints
    assert called[5] == "run_autograder --prove"


# ----------------------------------------------------------------------------------- the submission


def test_the_one_notebook_is_found(tmp_path):
    for names, expected in (
        (["x.ipynb"], "x.ipynb"),
        (["sub/x.ipynb", "y.txt", ".ipynb_checkpoints/x.ipynb"], "x.ipynb"),
        (["lora.ipynb", "notes.ipynb"], "lora.ipynb"),
    ):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("{}")
        assert gradescope.the_notebook(folder, lora()).name == expected


@pytest.mark.parametrize(
    "names, said",
    [
        (["a.txt"], "No notebook was submitted. Submit lora.ipynb."),
        (["a.ipynb", "b.ipynb"], r"2 notebooks were submitted \(a.ipynb, b.ipynb\). Submit one."),
        (["a/lora.ipynb", "b/lora.ipynb"], "2 notebooks"),
        ([f"{n}.ipynb" for n in range(9)], "and 4 more"),
    ],
)
def test_what_cannot_be_told_is_said_to_the_learner(tmp_path, names, said):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(NotebookError, match=said):
        gradescope.the_notebook(tmp_path, lora())


# ----------------------------------------------------------------------------------- run_autograder


@pytest.fixture
def unpacked(archive):
    """The zip as Gradescope unpacks it, with the tests' Python for its own."""
    with tempfile.TemporaryDirectory(prefix="gradescope-") as name:
        top = Path(name)
        top.chmod(0o755)
        shutil.unpack_archive(archive, top / "source")
        (top / "home" / "venv" / "bin").mkdir(parents=True)
        python = top / "home" / "venv" / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        for folder in ("submission", "results"):
            (top / folder).mkdir()
        yield top


def called(top, *arguments, **more):
    """Call run_autograder there: as root as a container has it, and an interpreter for all."""
    parts = ("source", "submission", "results", "home")
    named = {f"AUTOGRADER_{part.upper()}": str(top / part) for part in parts}
    command = ["env", f"--chdir={top / 'source'}", "bash", "./run_autograder", *arguments]
    if os.geteuid() == 0:
        command = [sys.executable, "-m", "tests.without_namespaces", *command]
    return subprocess.run(
        command, env={"PATH": os.environ["PATH"], **named}, cwd=ROOT, capture_output=True,
        text=True, check=False, timeout=300,
    )  # fmt: skip


def run(top):
    """Grade what was submitted there; return what was said, and results.json."""
    ended = called(top)
    assert ended.returncode == 0, ended.stderr
    path = top / "results" / "results.json"
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    return ended.stdout + ended.stderr, json.loads(path.read_text())


STALE = {"score": 107.0, "tests": []}


@as_root
def test_the_reference_gets_full_marks_on_gradescope(unpacked):
    """What setup.sh ends with: the reference, by the way that submissions take."""
    (unpacked / "results" / "results.json").write_text(json.dumps(STALE))
    ended = called(unpacked, "--prove")
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^(\d+) of \1 points\.", ended.stdout, re.M)
    made = json.loads((unpacked / "results" / "results.json").read_text())
    assert made["extra_data"] == {"lesson": "lora", "status": "graded"}
    assert made["score"] == sum(test["max_score"] for test in made["tests"]) > 90
    assert all(test["status"] == "passed" for test in made["tests"])
    assert {test["visibility"] for test in made["tests"]} == {"visible", "after_published"}


def test_an_image_in_which_nothing_can_be_graded_is_not_proved(unpacked):
    (unpacked / "source/autograder/checks/hidden/test_lora.py").write_text("import nowhere\n")
    ended = called(unpacked, "--prove")
    assert ended.returncode == 1 and "0 of 0 points" in ended.stdout


HOSTILE = """
import glob, os
for path in glob.glob("@TOP@/**/*", recursive=True) + ["@TOP@/results/results.json"]:
    try:
        open(path, "a").write("mine")
        print("WROTE", path)
    except OSError:
        pass
try:
    open("@TOP@/results/results.json", "w").write('{"score": 1000}')
except OSError as error:
    raise RuntimeError(f"refused: {type(error).__name__}")
"""


@as_root
def test_a_hostile_notebook_gets_nothing_and_changes_nothing(unpacked):
    (unpacked / "results" / "results.json").write_text(json.dumps(STALE))
    source = HOSTILE.replace("@TOP@", str(unpacked))
    write_notebook(unpacked / "submission" / "lora.ipynb", [source, "import os; os._exit(0)"])
    output, made = run(unpacked)
    assert made["score"] == 0 and made["tests"], output
    assert "refused: PermissionError" in made["output"]
    assert [p.name for p in (unpacked / "results").iterdir()] == ["results.json"]


@as_root
def test_a_file_that_is_no_notebook_is_said_to_the_learner(unpacked):
    (unpacked / "results" / "results.json").write_text(json.dumps(STALE))
    (unpacked / "submission" / "essay.txt").write_text("This is what I think.")
    _, made = run(unpacked)
    assert (made["score"], made["tests"]) == (0, [])
    assert made["output"] == "No notebook was submitted. Submit lora.ipynb."


@pytest.mark.parametrize(
    "breakage",
    ["no python", "no checks", "a python that is killed", "no lesson", "not root", "no submission"],
)
def test_what_fails_is_never_a_score(unpacked, breakage):
    """Whatever breaks: the learner is told, the instructor finds why, an older score is gone."""
    (unpacked / "results" / "results.json").write_text(json.dumps(STALE))
    write_notebook(unpacked / "submission" / "lora.ipynb", ["x = 1"])
    python = unpacked / "home" / "venv" / "bin" / "python"
    if breakage == "no python":
        python.unlink()
    elif breakage == "no checks":
        (unpacked / "source/autograder/checks/hidden/test_lora.py").write_text("import nowhere\n")
    elif breakage == "a python that is killed":
        python.write_text("#!/bin/sh\nkill -9 $$\n")
    elif breakage == "no lesson":
        shutil.rmtree(unpacked / "source" / "course" / "04_lora")
    elif breakage == "not root":
        path = unpacked / "source/autograder/sandbox/container.py"
        path.write_text(path.read_text().replace("os.geteuid() != 0", "True"))
    else:
        shutil.rmtree(unpacked / "submission")
    output, made = run(unpacked)
    assert (made["score"], made["tests"]) == (0, [])
    assert "could not be graded" in made["output"] and "tell your instructor" in made["output"]
    assert "was not graded; the reason is above" in output and len(output.splitlines()) > 1
