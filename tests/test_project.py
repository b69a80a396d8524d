"""The project's files agree: two environments, the lock, the README, the sizes."""

import re
import tomllib

import click
import pytest

from autograder.cli import main
from tests.conftest import ROOT

NAMED = {"jupyter", "nbgrader", "torch", "torchvision", "transformers", "matplotlib", "pytest"}
LARGEST = 5_000_000


def requirements(lines):
    """name → version range, without spaces and comments."""
    found = {}
    for line in lines:
        name, rest = re.match(r"([A-Za-z0-9_.-]+)\s*(.*)", line.split("#")[0].strip()).groups()
        found[name.lower()] = rest.replace(" ", "").replace("'", '"')
    return found


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]["dev"]
    return requirements(project["project"]["dependencies"] + groups), project["project"]


def conda():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    entries = re.findall(r"^\s*-\s+\"?([^\"\n#]+?)\"?\s*(?:#.*)?$", text, re.M)
    plain = [entry.split("::")[-1] for entry in entries if not entry.endswith(":")]
    return requirements(entry for entry in plain if entry not in ("conda-forge", "pip", "defaults"))


def test_the_two_environments_have_the_same_versions():
    pip, project = declared()
    other = conda()
    assert other.pop("python") == project["requires-python"]
    assert {name: other.get(name) for name in pip} == pip


@pytest.mark.parametrize("environment", [lambda: declared()[0], conda], ids=["pip", "conda"])
def test_an_environment_names_what_it_must(environment):
    assert environment().keys() >= NAMED


def lock():
    return (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_the_lock_holds_every_declared_package_with_hashes():
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock(), flags=re.M)[1:]
    names = {re.match(r"[A-Za-z0-9._-]+", block)[0].lower() for block in blocks}
    assert {name.replace("_", "-") for name in declared()[0]} <= names
    for block in blocks:
        assert re.match(r"\S+==\S+", block), block[:60]
        assert "--hash=sha256:" in block, block[:60]


def test_the_lock_names_no_index_host_or_path():
    for line in lock().splitlines():
        assert "://" not in line and " @ " not in line and "index-url" not in line, line
        assert not re.search(r"(^|\s)(/|\.\.?/|file:|-e\b|--find-links)", line), line


def commands():
    return sorted(main.commands.items())


@pytest.mark.parametrize("name, command", commands(), ids=[name for name, _ in commands()])
def test_every_command_has_help_and_stands_in_the_readme(name, command):
    assert command.help and len(command.help) > 20
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"autograder {name}" in readme
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.name} has no help"


def test_the_commands_say_their_exit_codes():
    for name in ("check", "grade", "build", "doctor"):
        assert "Exit code" in main.commands[name].help


def test_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make grade" in readme and "make test" in readme


def test_data_and_weights_are_small():
    files = [
        path
        for folder in ("data", "weights")
        for path in (ROOT / "course" / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert files
    assert sum(path.stat().st_size for path in files) < LARGEST
