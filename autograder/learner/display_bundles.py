"""What a notebook shows a learner, as display bundles: ``text/html`` and ``text/plain``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from autograder.catalogue.questions import Statement
from autograder.learner import attempts, cards
from autograder.learner.attempts import LessonStanding
from autograder.reporting.feedback import render


def standing(lessons: Sequence[LessonStanding]) -> dict[str, str]:
    """Return where a learner stands as a display bundle: ``text/html`` and ``text/plain``."""
    lines = [
        f"{each.lesson}: {each.done} of {each.countable} tasks done, "
        f"{each.points:g} of {each.maximum:g} visible points, last practised "
        f"{day(each.when) or 'never'}, {each.cards.due} flashcards due, {each.cards.new} new"
        for each in lessons
    ]
    return {
        "text/html": render("progress.html", lessons=lessons, note=attempts.NOTE, day=day),
        "text/plain": "\n".join([*lines, attempts.NOTE]),
    }


def day(when: datetime | None) -> str:
    """Return a time as the learner's clock shows it; never is an empty text."""
    return cards.local(when) if when else ""


def reasons(statements: Sequence[Statement], judged: Mapping[str, object]) -> dict[str, str]:
    """Return the reasons of judged statements as a display bundle; for after the answer."""
    rows = [(said, judged.get(said.letter) is said.true) for said in statements]
    lines = [
        f"  {'✓' if right else '✗'} {said.letter} is {str(said.true).lower()}: {said.reason} "
        f"[{said.source}]"
        for said, right in rows
    ]
    return {
        "text/html": render("reasons.html", rows=rows),
        "text/plain": "\n".join(lines),
    }
