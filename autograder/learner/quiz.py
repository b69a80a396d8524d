"""The flashcards in a terminal: a question, the answer after a key, a rating."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import click
import fsrs
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape
from rich.table import Table

from autograder.catalogue.questions import Flashcard
from autograder.learner.cards import Counts, Sitting, local
from autograder.text import sentence

# Not `console`, which would import torch: the first question comes at once.
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)
RATINGS = {str(rating.value): rating for rating in fsrs.Rating}
REVEAL, STOP = ("\r", "\n", " "), ("q", "Q", "\x04")


def warn(text: str) -> None:
    """Print a warning to stderr."""
    _err.print(f"[bold yellow]{escape(sentence(text))}[/]")


def run(sitting: Sitting, key: Callable[[], str] = click.getchar) -> None:
    """Ask card after card until none is due or the learner stops; each rating is kept at once.

    Args:
        sitting: what is to be asked.
        key: waits for a key; an EOFError stops the sitting.

    Raises:
        StoreError: a rating cannot be kept.
        KeyboardInterrupt: Ctrl-C, after the closing line.
    """
    try:
        while (card := sitting.next()) is not None:
            rating = _asked(card, key)
            if rating is None:
                break
            sitting.rate(card, rating)
    finally:
        _out.print(closing(sitting.done, sitting.counts()))


def _asked(card: Flashcard, key: Callable[[], str]) -> fsrs.Rating | None:
    """Show one card; return how well it was known, or None where the learner stops."""
    _out.rule(escape(card.lesson), style="dim")
    _out.print(Markdown(card.question), style="bold")
    _out.print("\n[dim]Answer aloud. Enter shows ours, q stops.[/]")
    if _pressed(key, REVEAL) in STOP:
        return None
    _out.print(Markdown(card.answer))
    if card.source:
        _out.print(Markdown(f"Source: {card.source}"), style="dim")
    _out.print("\n[dim]How well did you know it? 1 again, 2 hard, 3 good, 4 easy, q stops.[/]")
    return RATINGS.get(_pressed(key, tuple(RATINGS)))


def _pressed(key: Callable[[], str], allowed: tuple[str, ...]) -> str:
    """Wait for one of the keys that mean something here; others are passed over."""
    while True:
        try:
            pressed = key()
        except EOFError:
            return STOP[0]
        if pressed in (*allowed, *STOP):
            return pressed


def closing(done: int, counts: Counts) -> str:
    """Say what was done, and what comes next."""
    said = [f"{done} answer{'' if done == 1 else 's'} rated." if done else "No card was rated."]
    if counts.due:
        said.append(f"{counts.due} due today.")
    elif counts.next:
        said.append(f"The next is due on {local(counts.next)}.")
    if counts.new:
        said.append(f"{counts.new} not begun: some are asked each day (--new, or all with --all).")
    return " ".join(said)


def show_counts(counts: Mapping[str, Counts]) -> None:
    """Print how the cards of each lesson stand."""
    table = Table(title="Flashcards", title_justify="left")
    for name in ("Lesson", "Due today", "Not begun", "Cards", "Next due"):
        table.add_column(name, justify="left" if name == "Lesson" else "right")
    for lesson, count in counts.items():
        when = local(count.next) if count.next else ""
        table.add_row(escape(lesson), str(count.due), str(count.new), str(count.total), when)
    _out.print(table)
