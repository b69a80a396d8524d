"""The rooms of the package: what each imports, and what only one of them does."""

import ast

from scripts import architecture
from tests.conftest import ROOT

PACKAGE = ROOT / "autograder"
MODULES = {architecture.module(path): path for path in PACKAGE.rglob("*.py")}
del MODULES["autograder"]  # of no room
GROUND = ("files", "notebook", "scores", "text")
FLOORS = 8


def tree(name):
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def called(name):
    """The names and attributes that a module calls."""
    calls = [node.func for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]
    return {getattr(call, "id", getattr(call, "attr", "")) for call in calls}


def builtins_called(name):
    """The names, with nothing before a dot, that a module calls."""
    calls = [node.func for node in ast.walk(tree(name)) if isinstance(node, ast.Call)]
    return {call.id for call in calls if isinstance(call, ast.Name)}


def imported(name):
    """What a module imports, by its first name, and by its whole one."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_room_imports_one_above_it_and_the_floors_are_few():
    floors = architecture.floors()  # ends in a RecursionError where two import each other
    assert max(floors.values()) < FLOORS
    for room, wanted in architecture.rooms().items():
        assert all(floors[other] < floors[room] for other in wanted)


def test_the_ground_imports_nothing_of_ours():
    assert {room: architecture.rooms()[room] for room in GROUND} == {room: set() for room in GROUND}


def test_the_sandbox_knows_nothing_of_checks_and_scores():
    assert architecture.rooms()["sandbox"] <= {"notebook", "text"}


def test_only_one_room_and_the_builder_import_nbgrader():
    users = {
        name for name in MODULES if any(each.split(".")[0] == "nbgrader" for each in imported(name))
    }
    users.remove("autograder.authoring.build")  # nbgrader itself takes the solutions out
    assert {architecture.room(name) for name in users} == {"lms"}


def test_only_one_module_runs_a_submission_s_code():
    running = {name for name in MODULES if builtins_called(name) & {"exec", "eval"}}
    # the reference is ours: the source of a lesson
    assert running == {"autograder.sandbox.child", "autograder.catalogue.reference"}


def test_nothing_is_unpickled_but_where_a_submission_lives():
    loading = {name for name in MODULES if called(name) & {"Unpickler", "_Unpickler"}}
    assert loading == {"autograder.sandbox.child"}
    ours = [name for name in MODULES if architecture.room(name) != "checks"]
    users = {name for name in ours if {"pickle", "cloudpickle"} & set(imported(name))}
    assert users == {
        "autograder.sandbox.child",
        "autograder.sandbox.session",
        "autograder.checking.requests",
    }


def test_the_page_is_what_the_imports_say():
    assert architecture.PAGE.read_text(encoding="utf-8") == architecture.page()
