"""What a lesson claims is found in its text, and a claim without a known source is reported."""

import pytest

from autograder.catalogue import questions, sources
from autograder.catalogue.lessons import LessonError
from autograder.catalogue.questions import cited

LESSONS = [source.stem[3:] for source in sources.sources()]
each_lesson = pytest.mark.parametrize("lesson", LESSONS)

TEXT = """
# %% [markdown]
# # A lesson
#
# - **a.** A first statement that
#   runs on.
# - **b.** Another.

# %% task="tiny_statements"
judged = dict.fromkeys("ab")
### BEGIN SOLUTION
judged = {
    # For a reason
    # in two lines — algebra; 2106.09685 §4.1.
    "a": True,
    # No source.
    "b": False,
}
### END SOLUTION

# %% check="tiny_statements" points=1
check("tiny_statements")

# %% task="tiny_numbers"
first = None
second = None
### BEGIN SOLUTION
first = 2  # 1 + 1 — counting
# 1 + 2 — nobody's paper
second = 3
### END SOLUTION

# %% check="tiny_numbers" points=1
check("tiny_numbers")

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open</summary>
#
# One thing (arXiv 2106.09685 §4.1).
#
# Another, unsourced (see above).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview
#
# 1. One — with a dash inside —
#    PyTorch `nn.Linear`.
# 2. Two without any.

# %% [markdown]
# ## Follow-up questions
#
# <details><summary>Why
# not?</summary>
#
# A first paragraph.
#
# A second — algebra.
#
# </details>
# <details><summary>And this?</summary>
#
# Nothing.
#
# </details>
"""


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A course of one small lesson, with four claims that lack a source."""
    (tmp_path / "01_tiny.py").write_text(TEXT, encoding="utf-8")
    known = questions.bibliography()
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    monkeypatch.setattr(questions, "bibliography", lambda: known)


def test_statements_are_read_with_reason_and_source(tiny):
    first, second = questions.statements("tiny")
    assert (first.letter, first.text, first.true) == ("a", "A first statement that runs on.", True)
    assert first.reason == "For a reason in two lines"
    assert first.source == "algebra; 2106.09685 §4.1"
    assert (second.true, second.reason, second.source) == (False, "No source.", "")


def test_every_kind_of_claim_is_found(tiny):
    assert {claim.what: claim.source for claim in questions.claims("tiny")} == {
        "statement a": "algebra; 2106.09685 §4.1",
        "statement b": "",
        "number `first`": "counting",
        "number `second`": "nobody's paper",
        "short answer, paragraph 1": "2106.09685 §4.1",
        "short answer, paragraph 2": "",
        "fact 1": "PyTorch `nn.Linear`",
        "fact 2": "",
        "follow-up “Why not?”": "algebra",
        "follow-up “And this?”": "",
    }


def test_what_has_no_known_source_is_complained_of(tiny):
    said = questions.complaints("tiny")
    assert len(said) == 5
    for what in ("statement b", "paragraph 2", "fact 2", "And this?", "nobody's paper"):
        assert sum(what in line for line in said) == 1


def test_a_source_is_parted_into_key_and_place():
    assert cited("2106.09685 §4.1; peft LoRA guide; Dietterich 1998, Table 1; else") == [
        ("2106.09685", "§4.1"),
        ("peft", "LoRA guide"),
        ("Dietterich 1998", "Table 1"),
        ("", "else"),
    ]


def test_a_key_is_a_whole_word():
    assert cited("pefty; 2106.096851") == [("", "pefty"), ("", "2106.096851")]


def test_an_arxiv_number_has_its_address_and_every_source_its_title():
    assert questions.bibliography()["2106.09685"].url == "https://arxiv.org/abs/2106.09685"
    assert all(source.title for source in questions.bibliography().values())


@each_lesson
def test_a_lesson_has_its_questions_each_with_a_source(lesson):
    assert questions.complaints(lesson) == []
    said = questions.statements(lesson)
    assert [statement.letter for statement in said] == list("abcdefghijklmnop")
    assert all(statement.text and statement.reason for statement in said)
    assert sum(statement.true for statement in said) == 8, "a constant answer must earn nothing"
    assert len(questions.flashcards(lesson)) >= 10
    numbers = [c for c in questions.claims(lesson) if c.what.startswith("number")]
    assert len(numbers) >= 5


def test_flashcards_are_in_the_release_and_told_apart():
    cards = questions.flashcards("lora")
    assert len({card.question for card in cards}) == len(cards)
    assert all(card.answer and "<details>" not in card.answer for card in cards)


def test_an_unknown_lesson_is_an_error():
    with pytest.raises(LessonError, match="nope"):
        questions.flashcards("nope")
    with pytest.raises(LessonError, match="nope"):
        questions.statements("nope")
