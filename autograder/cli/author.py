"""What an instructor or an author types: lessons, build, release, new."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from autograder.cli.exits import BELOW, OK, told

PATH = click.Path(path_type=Path)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the catalogue as JSON.")
@told
def lessons(as_json: bool) -> None:
    """List the lessons, their tasks, points and checks."""
    from autograder.catalogue.lessons import catalogue
    from autograder.checking import check_files, plugin
    from autograder.cli import console

    entries = []
    for lesson in catalogue():
        checks = plugin.census(check_files.files(lesson.name, hidden=True))
        tasks = [
            {
                "task": task.name,
                "title": task.title,
                "points": task.points,
                "visible_points": task.worth.visible,
                "hidden_points": task.worth.hidden,
                "gpu_only_points": task.worth.on_gpu,
                "by_hand_points": task.worth.by_hand,
                "graded_by": "person" if task.manual else "checks",
                "visible_checks": sum(c.task == task.name and not c.hidden for c in checks),
                "hidden_checks": sum(c.task == task.name and c.hidden for c in checks),
            }
            for task in lesson.tasks
        ]
        entry = {"lesson": lesson.name, "title": lesson.title, "worth": str(lesson.worth)}
        entries.append({**entry, "tasks": tasks})
    if as_json:
        click.echo(json.dumps(entries, indent=2))
    else:
        console.show_catalogue(entries)
        click.echo(
            "Visible points: `check` tells them. Hidden: decided at grading, and numbers and "
            "statements once all are answered; of these, GPU: only where there is one. Checks: "
            "visible + hidden."
        )
        if not check_files.has_hidden():
            click.echo("The hidden checks are not in this edition: more is decided at grading.")


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Change nothing; say what differs.")
@click.option("--solutions", is_flag=True, help="Write the solution notebooks to build/source/.")
@told
def build(only_check: bool, solutions: bool) -> None:
    """Make course/ from solutions/.

    Exit code with --check: 0 when course/ is what would be built and every claim of the lessons has
    a source that solutions/sources.toml knows, 1 when not.
    """
    from autograder.authoring import build as construction
    from autograder.catalogue import questions
    from autograder.catalogue.sources import sources

    if solutions:
        written, wrong = construction.build_solutions(), []
    elif only_check:
        wrong = [
            f"{path} is not what `autograder build` makes of its source"
            for path in construction.outdated()
        ]
        written = []
    else:
        written, wrong = construction.build(), []
    for path in written:
        click.echo(path)
    if not solutions:
        wrong += [line for source in sources() for line in questions.complaints(source.stem[3:])]
    for line in wrong:
        click.echo(line, err=True)
    sys.exit(BELOW if wrong and only_check else OK)


@click.command()
@click.option("--out", required=True, type=PATH, metavar="BUNDLE.zip", help="The file to write.")
@click.option("--lesson", "names", multiple=True, help="This lesson only; may be repeated [all].")
@click.option("--with-answers", is_flag=True, help="With the short answers: for afterwards.")
@click.option("--force", is_flag=True, help="Replace the file in --out.")
@told
def release(out: Path, names: tuple[str, ...], with_answers: bool, force: bool) -> None:
    """Write the class edition: what participants get.

    Notebooks, data and visible checks, which install and work on their own; no solutions, no hidden
    checks, and not the short answers to what a person grades. The same lessons give the same bytes.
    """
    from autograder.authoring import release as edition
    from autograder.cli import console

    with console.waiting("building"):
        held = edition.write(out, names, force, with_answers)
    size = f"{len(held)} files, {out.stat().st_size / 1e6:.1f} MB"
    click.echo(f"{out}: {size}, no solutions, no hidden checks. Its README.md is for participants.")


@click.group()
def new() -> None:
    """Begin a lesson of your own."""


@new.command("lesson")
@click.argument("name")
@click.option("--title", help="Its heading [from NAME].")
@told
def new_lesson(name: str, title: str | None) -> None:
    """Begin the lesson NAME: a source, checks and a bank of wrong answers that pass the tests.

    NAME is of small letters, digits and underscores. Nothing that is there is overwritten.
    """
    from autograder.authoring.new_lesson import begin
    from autograder.cli import console

    with console.waiting("building"):
        written = begin(name, title)
    for path in written:
        click.echo(path)
    click.echo(f"Make it yours (docs/check-author.md); try pytest tests/test_bank.py -k {name}")
