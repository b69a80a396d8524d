"""Flashcards from the lessons' follow-up questions: which are due, and what a rating makes of them.

The scheduling is FSRS by its own library (https://github.com/open-spaced-repetition/py-fsrs), with
its defaults; what it keeps of a card is stored in its own JSON form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import fsrs

from autograder.catalogue import questions
from autograder.catalogue.lessons import catalogue, lesson_named
from autograder.catalogue.questions import Flashcard
from autograder.learner.record import Say, Store

NEW_A_DAY = 10
_scheduler = fsrs.Scheduler()


@dataclass(frozen=True)
class Seen:
    """What is kept of a card that has been rated."""

    card: fsrs.Card
    first: datetime
    """when it was new"""


def _load(entry: Any) -> Seen:
    card = fsrs.Card.from_dict(entry["fsrs"])
    card.due, card.last_review = (_utc(entry["fsrs"][name]) for name in ("due", "last_review"))
    _scheduler.review_card(card, fsrs.Rating.Easy)  # a trial: figures that cannot be end here
    return Seen(card, _utc(entry["first"]))


def _dump(entry: Seen) -> dict[str, Any]:
    return {"first": entry.first.isoformat(), "fsrs": entry.card.to_dict()}


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


STORE = Store("cards.json", _load, _dump)


def key(card: Flashcard) -> str:
    """Return a card's id, by its question alone: an edited answer keeps its history."""
    text = f"{card.lesson}\n{' '.join(card.question.split())}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def deck(only: str | None = None) -> dict[str, Flashcard]:
    """Return the cards of every lesson, or of one, by their ids and in the course's order.

    Raises:
        LessonError: there is no such lesson, or its questions are not in order.
    """
    lessons = (lesson_named(only),) if only else catalogue()
    cards = [card for lesson in lessons for card in questions.flashcards(lesson.name)]
    return {key(card): card for card in cards}


# ----------------------------------------------------------------------------------------- counting


@dataclass(frozen=True)
class Counts:
    """How many cards of a lesson there are, and how they stand."""

    total: int = 0
    due: int = 0
    """rated before, and due again by the end of today"""
    new: int = 0
    """never rated"""
    next: datetime | None = None
    """when the first of those rated is due"""


def now_utc() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def local(when: datetime) -> str:
    """Return a time as the learner's clock shows it."""
    return f"{when.astimezone():%Y-%m-%d %H:%M}"


def counts(
    lessons: Sequence[str], say: Say, clock: Callable[[], datetime] = now_utc
) -> dict[str, Counts]:
    """Return how the cards of some lessons stand.

    Raises:
        LessonError: there is no such lesson, or its questions are not in order.
        StoreError: the record cannot be read.
    """
    seen, tonight = STORE.read(say), _midnight(clock())
    return {lesson: _counts(deck(lesson), seen, tonight) for lesson in lessons}


def _counts(cards: Mapping[str, Flashcard], seen: Mapping[str, Seen], tonight: datetime) -> Counts:
    due = [seen[name].card.due for name in cards if name in seen]
    soon = sum(when < tonight for when in due)
    return Counts(len(cards), soon, len(cards) - len(due), min(due, default=None))


def _midnight(now: datetime) -> datetime:
    """Return when the day ends where the learner lives."""
    tomorrow = now.astimezone() + timedelta(days=1)
    return tomorrow.replace(hour=0, minute=0, second=0, microsecond=0)


# ------------------------------------------------------------------------------------------ sitting


class Sitting:
    """One sitting over a deck: which card comes next, and what its rating makes of it.

    Attributes:
        done: how many ratings were given.
    """

    def __init__(
        self,
        cards: Mapping[str, Flashcard],
        say: Say,
        new: int = NEW_A_DAY,
        every: bool = False,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        """Begin.

        Args:
            cards: the deck, by ids.
            say: takes a word on a damaged record.
            new: how many cards may be new in a day, over all lessons.
            every: whether every card of the deck comes, due or not.
            clock: tells the time, in UTC.

        Raises:
            StoreError: the record cannot be read.
        """
        self._cards, self._say, self._new, self._every, self._clock = cards, say, new, every, clock
        self._seen = STORE.read(say)
        self._shown: set[str] = set()
        self.done = 0

    def next(self) -> Flashcard | None:
        """Return the card to ask now, or None at the end of the sitting.

        What is due comes first, then what is new, then what a rating has put off by minutes.
        """
        now = self._clock()
        old = sorted(
            (self._seen[name].card.due, name) for name in self._cards if name in self._seen
        )
        new = [name for name in self._cards if name not in self._seen]
        order = [name for due, name in old if due <= now]
        order += new[: max(0, self._new - self._begun(now))]
        if self._every:
            order += [
                name for name in (*new, *(name for _, name in old)) if name not in self._shown
            ]
        order += [name for due, name in old if due < _midnight(now)]
        return self._cards[order[0]] if order else None

    def rate(self, card: Flashcard, rating: fsrs.Rating) -> None:
        """Take in how well a card was known, and keep it.

        Raises:
            StoreError: it cannot be kept.
        """
        name, now = key(card), self._clock()
        with STORE.changing(self._say) as seen:
            # what another terminal has made of the card meanwhile counts too
            before = seen.get(name) or Seen(fsrs.Card(int(name[:12], 16), due=now), now)
            after, _ = _scheduler.review_card(before.card, rating, now)
            seen[name] = Seen(after, before.first)
        self._seen = dict(seen)
        self._shown.add(name)
        self.done += 1

    def counts(self) -> Counts:
        """Return how the deck stands now."""
        return _counts(self._cards, self._seen, _midnight(self._clock()))

    def _begun(self, now: datetime) -> int:
        """Count the cards of all lessons that were new today."""
        today = now.astimezone().date()
        return sum(entry.first.astimezone().date() == today for entry in self._seen.values())
