"""Flashcards: which are due, what a rating makes of them, and that none is lost."""

import json
import random
from datetime import UTC, datetime, timedelta

import fsrs
import pytest

from autograder.catalogue import lessons
from autograder.catalogue.questions import Flashcard
from autograder.learner import cards
from autograder.learner.cards import Sitting

AGAIN, HARD, GOOD, EASY = fsrs.Rating
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path / "data"


class Clock:
    """Stands still until it is set."""

    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now

    def pass_by(self, **time):
        self.now += timedelta(**time)


@pytest.fixture
def clock():
    return Clock()


def made(number, lesson="lora", answer="Because."):
    return Flashcard(lesson, f"Why {number}?", answer, "arXiv:2106.09685")


def deck(count=5, lesson="lora"):
    return {cards.key(card): card for card in (made(number, lesson) for number in range(count))}


def sit(clock, count=5, **options):
    return Sitting(deck(count), pytest.fail, clock=clock, **options)


def asked(sitting, rating=EASY):
    """Rate all that comes; return the questions."""
    found = []
    while (card := sitting.next()) is not None:
        found.append(card.question)
        sitting.rate(card, rating)
        assert len(found) < 100
    return found


def test_an_id_depends_on_the_question_alone():
    card = made(1)
    assert cards.key(card) == cards.key(made(1, answer="Something else."))
    assert cards.key(card) == cards.key(Flashcard("lora", " Why\n1?", "", ""))
    assert len({cards.key(each) for each in (card, made(2), made(1, "sft"))}) == 3
    assert cards.key(card) == "65e5aeed4b8649f4", "a changed id loses every learner's history"


def test_the_course_s_cards_have_ids_of_their_own():
    course = cards.deck()
    assert {card.lesson for card in course.values()} <= {each.name for each in lessons.catalogue()}
    assert all(card.question and card.answer for card in course.values())
    for lesson in lessons.catalogue():
        own = cards.deck(lesson.name)
        assert own == {name: card for name, card in course.items() if card.lesson == lesson.name}
    with pytest.raises(lessons.LessonError, match="nope"):
        cards.deck("nope")


def test_new_cards_are_bounded_by_the_day(clock):
    assert len(asked(sit(clock, new=2))) == 2
    assert asked(sit(clock, new=2)) == []
    assert len(asked(sit(clock, new=3))) == 1
    clock.pass_by(days=1)
    assert asked(sit(clock, new=2)) == ["Why 3?", "Why 4?"]
    assert asked(sit(clock, count=6, new=0)) == []


def test_the_bound_is_over_all_lessons(clock):
    asked(sit(clock, new=3))
    other = Sitting(deck(5, "sft"), pytest.fail, new=4, clock=clock)
    assert len(asked(other)) == 1


def test_a_card_comes_again_when_it_is_due(clock):
    assert asked(sit(clock, count=1)) == ["Why 0?"]
    due = sit(clock, count=1).counts().next
    assert due > clock.now + timedelta(days=2)
    clock.now = due - timedelta(days=1)
    assert asked(sit(clock, count=1)) == []
    clock.now = due.replace(hour=0, minute=1)  # the day counts, not the minute
    assert asked(sit(clock, count=1), GOOD) == ["Why 0?"]


def test_what_was_not_known_comes_back_in_the_same_sitting(clock):
    sitting = sit(clock, count=2)
    first = sitting.next()
    sitting.rate(first, AGAIN)
    second = sitting.next()
    assert second != first
    sitting.rate(second, EASY)
    assert sitting.next() == first
    sitting.rate(first, EASY)
    assert sitting.next() is None
    assert sitting.done == 3


def test_what_is_due_comes_before_what_is_new(clock):
    asked(sit(clock, count=1))
    clock.pass_by(days=60)
    assert asked(sit(clock, count=3)) == ["Why 0?", "Why 1?", "Why 2?"]
    clock.pass_by(days=-30)  # the clock was set back
    assert asked(sit(clock, count=3)) == []


def test_every_card_comes_once_when_all_are_asked_for(clock):
    asked(sit(clock, new=2))
    assert sorted(asked(sit(clock, new=0, every=True))) == [f"Why {n}?" for n in range(5)]


@pytest.mark.parametrize("rating", fsrs.Rating)
def test_a_rating_is_kept_at_once(clock, rating):
    sitting = sit(clock, count=1)
    drawn = random.getstate()  # the library moves what is due by some days, at random
    sitting.rate(sitting.next(), rating)
    [entry] = cards.STORE.read(pytest.fail).values()
    random.setstate(drawn)
    expected, _ = fsrs.Scheduler().review_card(
        fsrs.Card(entry.card.card_id, due=NOON), rating, NOON
    )
    assert entry.card == expected
    assert entry.first == NOON


def test_of_two_terminals_neither_loses_a_rating(clock):
    one, other = sit(clock), sit(clock)
    card = one.next()
    one.rate(card, GOOD)
    clock.pass_by(minutes=1)
    other.rate(card, GOOD)
    other.rate(made(4), EASY)
    one.rate(made(3), EASY)
    seen = cards.STORE.read(pytest.fail)
    assert seen.keys() == {cards.key(card) for card in (card, made(3), made(4))}
    assert seen[cards.key(card)].card.state is fsrs.State.Review  # good twice, not once
    assert seen[cards.key(card)].first == NOON


def test_an_edited_answer_keeps_its_history(clock):
    asked(sit(clock, count=1))
    edited = made(0, answer="For another reason.")
    again = Sitting({cards.key(edited): edited}, pytest.fail, clock=clock)
    assert again.next() is None


def test_lessons_are_counted_with_the_next_day(clock):
    before = sit(clock).counts()
    assert (before.total, before.due, before.new, before.next) == (5, 0, 5, None)
    sitting = sit(clock, new=2)
    sitting.rate(sitting.next(), AGAIN)
    sitting.rate(sitting.next(), EASY)
    after = sitting.counts()
    assert (after.total, after.due, after.new) == (5, 1, 3)
    assert after.next == NOON + timedelta(minutes=1)
    name = lessons.catalogue()[0].name
    assert cards.counts([name], pytest.fail)[name].total == len(cards.deck(name))


@pytest.mark.parametrize(
    "changed",
    [
        {"due": "soon"},
        {"last_review": None},
        {"state": 2, "stability": None},
        {"stability": -1.0},
        {"stability": float("nan")},
        {"difficulty": "easy"},
        {"state": 9},
        {"state": 3, "step": None},
        {"step": "first"},
    ],
    ids=str,
)
def test_a_card_that_cannot_be_is_damage(clock, folder, changed):
    sitting = sit(clock, count=1)
    sitting.rate(sitting.next(), AGAIN)
    path = folder / "cards.json"
    file = json.loads(path.read_text())
    [entry] = file["entries"].values()
    entry["fsrs"].update(changed)
    path.write_text(json.dumps(file))
    said = []
    again = Sitting(deck(1), said.append, clock=clock)
    assert asked(again) == ["Why 0?"]
    assert len(said) == 1 and "damaged" in said[0]
