"""The project's files agree: two environments, the locks, the README, the sizes."""

import datetime
import json
import re
import tomllib

import click
import pytest

from autograder.cli import main
from scripts import wheels
from tests.conftest import ROOT

NAMED = {"jupyter", "nbgrader", "torch", "torchvision", "transformers", "matplotlib", "pytest"}
LOCKS = ("requirements.lock", "requirements-dev.lock")
LARGEST = 5_000_000


def requirements(lines):
    """name → version range, without spaces and comments."""
    found = {}
    for line in lines:
        name, rest = re.match(r"([A-Za-z0-9_.-]+)\s*(.*)", line.split("#")[0].strip()).groups()
        found[name.lower()] = rest.replace(" ", "").replace("'", '"')
    return found


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEEDED = requirements(PROJECT["project"]["dependencies"])
"""What grading and learning need."""
DEVELOPED = requirements(PROJECT["dependency-groups"]["dev"])
"""What the tests need besides."""


def conda():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    entries = re.findall(r"^\s*-\s+\"?([^\"\n#]+?)\"?\s*(?:#.*)?$", text, re.M)
    plain = [entry.split("::")[-1] for entry in entries if not entry.endswith(":")]
    return requirements(entry for entry in plain if entry not in ("conda-forge", "pip", "defaults"))


def test_conda_s_environment_is_what_grading_and_learning_need():
    other = conda()
    assert other.pop("python") == PROJECT["project"]["requires-python"]
    assert other == NEEDED
    said = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "pip install --group dev" in said, "how a developer adds the rest"


@pytest.mark.parametrize("environment", [lambda: NEEDED, conda], ids=["pip", "conda"])
def test_an_environment_names_what_it_must(environment):
    assert environment().keys() >= NAMED


def lock(name):
    return (ROOT / name).read_text(encoding="utf-8")


def locked(name):
    """package and version, with its marker → its hashes"""
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock(name), flags=re.M)[1:]
    return {
        block.partition(" \\\n")[0]: set(re.findall(r"--hash=(sha256:\w+)", block))
        for block in blocks
    }


def names(entries):
    return {re.match(r"[A-Za-z0-9._-]+", entry)[0].lower().replace("_", "-") for entry in entries}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_every_declared_package_with_hashes(name):
    entries = locked(name)
    wanted = NEEDED | DEVELOPED if name == LOCKS[1] else NEEDED
    assert {each.replace("_", "-") for each in wanted} <= names(entries)
    for entry, hashes in entries.items():
        assert re.match(r"\S+==\S+", entry), entry
        assert hashes, entry


def test_the_development_lock_contains_the_other_exactly():
    needed, developed = map(locked, LOCKS)
    assert {entry: developed.get(entry) for entry in needed} == needed
    assert names(developed.keys() - needed.keys()) >= set(DEVELOPED)
    assert names(needed).isdisjoint(DEVELOPED)


def test_every_locked_package_has_wheels_where_we_say_it_works():
    record = json.loads(wheels.RECORD.read_text(encoding="utf-8"))
    assert record["lock"] == wheels.digest(), "asked of another lock: python scripts/wheels.py"
    assert datetime.date.fromisoformat(record["asked"])
    complete = dict.fromkeys(wheels.PYTHONS, "complete")
    assert record["wheels"] == dict.fromkeys(wheels.SYSTEMS, complete)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index_host_or_path(name):
    for line in lock(name).splitlines():
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
