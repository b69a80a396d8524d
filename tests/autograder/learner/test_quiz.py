"""The flashcards in a terminal: keys, what is shown when, and the closing line."""

import pytest

from autograder.learner import cards, quiz
from autograder.learner.cards import Counts, Sitting
from tests.autograder.learner.test_cards import NOON, deck

SHOWN = "Because."


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))


def run(keys, **options):
    """Sit with these keys; None stands for the end of the input."""
    left = list(keys)

    def key():
        pressed = left.pop(0)
        if pressed is None:
            raise EOFError
        if isinstance(pressed, type):
            raise pressed
        return pressed

    sitting = Sitting(deck(3), pytest.fail, clock=lambda: NOON, **options)
    quiz.run(sitting, key)
    assert not left, "keys that nobody waited for"
    return sitting


def test_a_sitting_ends_when_nothing_is_due(capsys):
    assert run("\r4\n4 4").done == 3
    said = capsys.readouterr().out
    assert said.count(SHOWN) == 3 and said.count("arXiv:2106.09685") == 3
    assert "3 answers rated. The next is due on 2026-03-" in said


@pytest.mark.parametrize("stop", ["q", "Q", "\x04", None], ids=repr)
def test_stopping_before_the_answer_shows_none(capsys, stop):
    assert run([stop]).done == 0
    said = capsys.readouterr().out
    assert SHOWN not in said and "No card was rated. 3 not begun" in said


@pytest.mark.parametrize("stop", ["q", None], ids=repr)
def test_stopping_before_the_rating_keeps_what_was_rated(capsys, stop):
    assert run(["\r", "3", "\r", stop]).done == 1
    assert "1 answer rated. 1 due today. 2 not begun" in capsys.readouterr().out


def test_keys_that_mean_nothing_are_passed_over():
    assert run(["x", "1", "\r", "\r", "0", "5", "é", "\x1b[A", "4", "q"]).done == 1


def test_ctrl_c_keeps_what_was_rated_and_closes(capsys):
    with pytest.raises(KeyboardInterrupt):
        run(["\r", "4", "\r", KeyboardInterrupt])
    assert len(cards.STORE.read(pytest.fail)) == 1
    assert "1 answer rated" in capsys.readouterr().out


def test_where_nothing_is_due_the_next_day_is_named(capsys):
    run("\r4\r4\r4")
    capsys.readouterr()
    assert run("").done == 0
    assert "No card was rated. The next is due on 2026-03-" in capsys.readouterr().out


def test_the_counts_are_a_table(capsys):
    quiz.show_counts({"lora": Counts(17, 3, 5, NOON), "sft": Counts()})
    said = capsys.readouterr().out
    assert "lora" in said and "17" in said and "2026-03-01" in said and "sft" in said
