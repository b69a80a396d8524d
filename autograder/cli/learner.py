"""What a learner types: check, progress, cards."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from autograder.cli.exits import BELOW, OK, USAGE, Told, told

if TYPE_CHECKING:
    from autograder.catalogue.questions import Flashcard

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("notebook", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (schema 1).")
@click.option("--task", "tasks", multiple=True, help="Check this task only; may be repeated.")
@click.option("--watch", is_flag=True, help="Check again at each save, until Ctrl-C.")
@told
def check(notebook: Path, as_json: bool, tasks: tuple[str, ...], watch: bool) -> None:
    """Run the visible checks on your own NOTEBOOK, without a sandbox.

    With --watch the verdict comes soon after each save that changes the code, and begins with what
    is different; with --json it is one line of JSON for each.

    Exit code: 0 when every visible point is earned, 1 below that, 2 when the notebook cannot be
    checked, 130 on Ctrl-C.
    """
    from autograder.cli import console

    with console.waiting("starting"):
        from autograder.catalogue import lessons
        from autograder.checking import plugin
        from autograder.grading import score_submission
        from autograder.grading.preparation import needs
        from autograder.grading.results_format import record
        from autograder.learner import attempts
        from autograder.sandbox.warm_process import Zygote

    for task in tasks:
        lessons.task_lesson(task)
    options = score_submission.Options(plugin.drawn_seed(), hidden=False, tasks=tasks or None)
    if watch:
        from autograder.cli import recheck

        recheck.watch(notebook, options, as_json)
    warm = needs([notebook], options).modules
    with console.waiting("warming up") as say, Zygote("none", warm=warm) as zygote:
        say("running the cells and the checks …")
        score = score_submission.grade(notebook, zygote, options)
    if as_json:
        click.echo(json.dumps(record(score), indent=2))
    else:
        console.show_score(score)
    attempts.record({task.task: task.checks for task in score.tasks}, console.warn)
    if score.status == "unreadable":
        sys.exit(USAGE)
    sys.exit(OK if score.points == score.max_points and score.status == "graded" else BELOW)


@click.command()
@click.option("--lesson", help="The tasks of this lesson [the lessons].")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON (schema 1).")
@click.option("--forget", is_flag=True, help="Delete what is kept: checks and flashcards.")
@click.option("--yes", is_flag=True, help="With --forget: do not ask.")
@told
def progress(lesson: str | None, as_json: bool, forget: bool, yes: bool) -> None:
    """Show where you stand: tasks done, visible points, flashcards due.

    Kept in your data folder (AUTOGRADER_DATA names another); it never leaves this machine.
    """
    if forget:
        _forget(yes)
        return
    from autograder.cli import console
    from autograder.learner import attempts

    with console.waiting("reading the lessons"):
        standings = attempts.standings(console.warn, lesson)
    if as_json:
        click.echo(json.dumps(attempts.as_json(standings), indent=2))
    elif lesson:
        console.show_tasks(standings[0])
    else:
        console.show_progress(standings)


def _forget(yes: bool) -> None:
    from autograder.learner import attempts, cards

    stores = (attempts.STORE, cards.STORE)
    files = [path for store in stores for path in store.files()]
    if not files:
        click.echo("Nothing is kept.")
        return
    names = "\n".join(f"  {path}" for path in files)
    if not yes:
        click.confirm(f"{names}\nDelete all checks and flashcards that are kept?", abort=True)
    for store in stores:
        store.forget()
    click.echo("Deleted.")


@click.command()
@click.option("--lesson", help="Of this lesson only.")
@click.option("--new", type=click.IntRange(min=0), help="New cards in a day, at most [10].")
@click.option("--all", "every", is_flag=True, help="Every card, due or not.")
@click.option("--list", "only_list", is_flag=True, help="Ask nothing; print how many are due.")
@click.option("--export", type=PATH, metavar="FILE.apkg", help="Write a deck for Anki instead.")
@told
def cards(
    lesson: str | None, new: int | None, every: bool, only_list: bool, export: Path | None
) -> None:
    """Ask the follow-up questions that are due today, one by one.

    Each rating is kept at once, so that Ctrl-C (exit code 130) loses none of them.
    """
    from autograder.learner import cards, quiz

    deck = cards.deck(lesson)
    if only_list:
        names = dict.fromkeys(card.lesson for card in deck.values())
        quiz.show_counts(cards.counts(tuple(names), quiz.warn))
    elif export is not None:
        _export(export, deck)
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Told(
            "there is no terminal to ask in. Run this in one, or print what is due with --list, or "
            "write a deck for Anki with --export FILE.apkg."
        )
    else:
        most = cards.NEW_A_DAY if new is None else new
        quiz.run(cards.Sitting(deck, quiz.warn, most, every))


def _export(path: Path, deck: Mapping[str, Flashcard]) -> None:
    from autograder.learner import anki

    if path.suffix != ".apkg":
        raise click.BadParameter(f"{path}: Anki opens FILE.apkg", param_hint="--export")
    anki.write(path, deck)
    click.echo(f"{path}: {len(deck)} cards. In Anki: File, Import; again after each update.")
