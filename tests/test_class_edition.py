"""The class edition in an environment of its own: installed from the bundle, without the clone.

The libraries are those of this environment, by a path file; the package and the course are the
bundle's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder.authoring import release
from autograder.catalogue import lessons
from autograder.checking import check_files, plugin
from tests.conftest import reference_cells, write_notebook

ASK = """
import json, sys
from click.testing import CliRunner
from autograder.cli import main

def ask(*args):
    ended = CliRunner().invoke(main, args)
    return {"code": ended.exit_code, "said": ended.output, "broke": repr(ended.exception)}

print(json.dumps({" ".join(args): ask(*args) for args in json.loads(sys.argv[1])}))
"""
LOOK = """
import json, autograder, course
from autograder.catalogue import lessons, sources
from autograder.checking import check_files, plugin
print(json.dumps([autograder.__file__, course.__file__, [str(path) for path in sources.sources()],
    check_files.has_hidden(), [lesson.name for lesson in lessons.catalogue()]]))
"""
COMMANDS = [
    ["--help"],
    ["build"],
    ["build", "--check"],
    ["build", "--solutions"],
    ["release", "--out", "again.zip"],
    ["new", "lesson", "demo"],
    ["lessons"],
    ["progress"],
    ["cards", "--list"],
    ["doctor", "--json"],
    ["grade", "right.ipynb", "--out", "results", "--seed", "1", "--no-sandbox"],
]
WRONG = "def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):\n    return x"


class Edition:
    """The bundle, unpacked and installed."""

    def __init__(self, folder: Path) -> None:
        release.write(folder / "bundle.zip")
        with zipfile.ZipFile(folder / "bundle.zip") as bundle:
            bundle.extractall(folder)
        self.unpacked, self.home = folder / release.TOP, folder / "home"
        self.home.mkdir()
        run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
        self.python = folder / "venv" / "bin" / "python"
        packages = self.ask("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        libraries = "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        (Path(packages) / "libraries.pth").write_text(libraries)
        pip = ("-m", "pip", "--python", self.python, "install", "--quiet", "--no-index")
        run(sys.executable, *pip, "--no-deps", "--no-build-isolation", self.unpacked)

    def ended(self, *command: object, code: int = 0) -> str:
        """What a command says, in an empty folder and with nothing of the clone on its paths."""
        return run(*command, cwd=self.home, env=self.environment(), code=code)

    def ask(self, *args: object) -> str:
        return self.ended(self.python, *args)

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        bins = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        return kept | {"PATH": bins, "AUTOGRADER_DATA": str(self.home / "data")}


def run(*command: object, code: int = 0, **options: object) -> str:
    ended = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert ended.returncode == code, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    made = Edition(tmp_path_factory.mktemp("class"))
    write_notebook(made.home / "right.ipynb", reference_cells())
    write_notebook(made.home / "wrong.ipynb", [*reference_cells(), WRONG])
    return made


@pytest.fixture(scope="module")
def answers(edition):
    """What each command says and how it ends, asked in one process."""
    return json.loads(edition.ask("-c", ASK, json.dumps(COMMANDS)).splitlines()[-1])


def test_it_is_the_bundle_that_runs_and_it_holds_no_answer(edition):
    package, course, sources, hidden, names = json.loads(edition.ask("-c", LOOK))
    environment = str(edition.python.parents[1])
    assert package.startswith(environment) and course.startswith(environment)
    assert sources == [] and hidden is False
    assert names == [lesson.name for lesson in lessons.catalogue()]
    installed = Path(package).parent
    assert not list(installed.rglob("*hidden*")) and list(installed.glob("checks/visible/*.py"))


def test_check_tells_right_from_wrong(edition):
    command = edition.python.with_name("autograder")
    task = ("--task", "lora_forward", "--json")
    right = json.loads(edition.ended(command, "check", "right.ipynb", *task))
    wrong = json.loads(edition.ended(command, "check", "wrong.ipynb", *task, code=1))
    assert right["points"] == right["max_points"] > 0 == wrong["points"]
    [timed] = [c for c in right["tasks"][0]["checks"] if c["outcome"] == "not_counted"]
    assert "decided at grading" in timed["message"]


def test_check_works_in_a_notebook(edition):
    cells = [
        *reference_cells(),
        'import autograder; print(autograder.__file__); points = check("lora_forward"); points',
        'show_reference("lora_forward")',
        'check("lora_numbers")',
        'check("lora_statements")',
        "def lora_linear(*args): pass",
        "LoRALinear = None",
        'check("lora_linear")',
    ]
    made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    nbformat.write(made, edition.home / "worked.ipynb")
    edition.ask("-m", "nbconvert", "--execute", "--to", "notebook", "--inplace", "worked.ipynb")
    ran = nbformat.read(edition.home / "worked.ipynb", as_version=4).cells
    said = {cell.source: "".join(map(texts, cell.outputs)) for cell in ran}
    first = said[cells[len(reference_cells())]]
    assert str(edition.python.parents[1]) in first
    assert "2 of 3 visible points, 1 of these and 5 hidden (1 only on a GPU)" in first
    assert "your instructor's" in said['show_reference("lora_forward")']
    assert "decided at grading" in said['check("lora_numbers")']
    judged = said['check("lora_statements")']
    assert "8 decided at grading" in judged and "is false" not in judged
    assert "✗" in said['check("lora_linear")']


def texts(output):
    return output.get("text", "") + output.get("data", {}).get("text/plain", "")


@pytest.mark.parametrize("name", ["build", "build --check", "build --solutions",
                                  "release --out again.zip", "new lesson demo"])  # fmt: skip
def test_what_needs_solutions_says_that_there_are_none(answers, name):
    assert answers[name]["code"] == 2
    assert "There are no solutions here: this is the class edition" in answers[name]["said"]


def test_what_needs_none_works(answers):
    for name in ("--help", "lessons", "progress", "cards --list", "doctor --json"):
        assert answers[name]["code"] == 0, answers[name]
    assert "not in this edition" in answers["lessons"]["said"]
    found = {entry["name"]: entry for entry in json.loads(answers["doctor --json"]["said"])}
    assert "class" in found["edition"]["found"] and found["course"]["good"]
    assert not found["sandbox"]["needed"]


def test_grade_says_that_it_has_the_visible_checks_only(edition, answers):
    [graded] = [entry for name, entry in answers.items() if name.startswith("grade")]
    assert graded["code"] == 0, graded
    assert "not a grade" in " ".join(graded["said"].split())
    [record] = (edition.home / "results" / "results.jsonl").read_text().splitlines()
    ran = {check["name"] for task in json.loads(record)["tasks"] for check in task["checks"]}
    visible = plugin.census(check_files.files("lora", hidden=False))
    assert ran == {check.name for check in visible}
