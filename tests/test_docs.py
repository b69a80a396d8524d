"""The pages in docs/: their commands parse, their links lead somewhere, their timetables add up."""

import re
import shlex

import click
import nbformat
import pytest

from autograder.catalogue import lessons
from autograder.cli import main
from tests.conftest import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [*DOCS, ROOT / "autograder" / "templates" / "class" / "README.md"]
MAKEFILES = [(ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "scripts/venv.mk")]
TARGETS = set(re.findall(r"^([a-z]+):", "\n".join(MAKEFILES), re.M))
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}"
)


def commands(page, program):
    """The arguments of each of a program's commands in a page's console blocks."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        for line in re.findall(r"^\$ (.*)", block, re.M):
            words = shlex.split(line, comments=True)
            if words and words[0].rpartition("/")[2] == program:
                yield words[1:]


def parsed(args):
    """The command that arguments lead to, its options parsed; nothing is run."""
    context, command = click.Context(main), main
    while isinstance(command, click.Group):
        name, command, args = command.resolve_command(context, args)
        context = click.Context(command, context, name)
    command.parse_args(context, list(args))
    return command


def test_there_is_a_page_for_each_reader():
    names = {page.stem for page in DOCS}
    assert names >= {"learner", "grader", "instructor", "check-author"}


@each_page
def test_every_command_parses_as_printed(page):
    for args in commands(page, "autograder"):
        parsed(args)
    for args in commands(page, "make"):
        targets = [word for word in args if "=" not in word]
        assert targets and set(targets) <= TARGETS, args


def test_a_wrong_command_would_be_found(tmp_path):
    for line in ("grdae x", "grade x --out y --no-such", "new lessen x", "grade x"):
        with pytest.raises(click.UsageError):
            parsed(line.split())
    page = tmp_path / "page.md"
    page.write_text("```console\n$ .venv/bin/autograder check a.ipynb   # yours\n```\n")
    assert list(commands(page, "autograder")) == [["check", "a.ipynb"]]


def test_the_pages_have_commands():
    assert sum(len(list(commands(page, "autograder"))) for page in DOCS) > 15


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text):
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), f"{page.name}: {target}"
        if anchor:
            said = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in said}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_option_that_a_page_names_exists(page):
    known = {name for command in every_command(main) for name in options(command)}
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    assert set(re.findall(r"`(--[a-z-]+)", prose)) <= known


def every_command(command):
    yield command
    for sub in getattr(command, "commands", {}).values():
        yield from every_command(sub)


def options(command):
    return [name for each in command.params for name in each.opts]


# ------------------------------------------------------------------------------------- timetables

PLAN = re.compile(r"^## (90 minutes|Half a day)\n(.*?)(?=^## )", re.M | re.S)
LENGTHS = {"90 minutes": 90, "Half a day": 210}


def timetables():
    """Heading → its rows, as (minutes, what)."""
    text = (ROOT / "docs" / "instructor.md").read_text(encoding="utf-8")
    return {
        heading: [
            (int(minutes), what)
            for minutes, what in re.findall(r"^\| (\d+) \| ([^|]+) \|", part, re.M)
        ]
        for heading, part in PLAN.findall(text)
    }


def stated():
    """Task → the minutes that its lesson says it takes, where it says so."""
    found = {}
    for lesson in lessons.catalogue():
        minutes = None
        for cell in nbformat.read(lesson.notebook, as_version=4).cells:
            if cell.cell_type == "markdown" and (
                said := re.search(r"about (\d+) minutes", cell.source)
            ):
                minutes = int(said[1])
            mark = cell.metadata.get("nbgrader", {})
            if mark.get("grade"):
                found[mark["grade_id"]], minutes = minutes, None
    return found


def test_each_timetable_is_as_long_as_it_says():
    assert {name: sum(row[0] for row in rows) for name, rows in timetables().items()} == LENGTHS


def test_each_task_of_a_timetable_exists_and_takes_as_long_as_it_says_itself():
    minutes = stated()
    for name, rows in timetables().items():
        tasks = [(took, what.strip("`")) for took, what in rows if what.startswith("`")]
        assert len(tasks) >= 5, name
        for took, task in tasks:
            assert minutes[task] == took, f"{name}: {task}"
