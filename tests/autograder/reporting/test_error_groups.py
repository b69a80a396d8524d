"""Messages that say the same are one, whoever's they are."""

import time

import pytest

from autograder.reporting import error_groups
from tests.classes import HOSTILE, score, timed


@pytest.mark.parametrize(
    "one, other",
    [
        ("off by 0.25 of the largest value", "off by 1.3e-05 of the largest value"),
        ("should have shape (4, 8), but has (8, 4).", "should have shape (4, 8, 2), but has (1,)."),
        ("Cell 7: name 'x' is not defined", "Cell 12: name 'self.base' is not defined"),
        ("an object at 0x7f3a2c at last", "an object at 0x1 at last"),
        ('"rank" is missing', '"alpha" is missing'),
        ("a  b\n c", "a b c"),
        ("got −3", "got 4"),
        ("rank_768 is not answered yet.", "layer.lora_alpha is not answered yet."),
        ("Rank 3 should be a ValueError. (nothing was raised)", "A Tanh. (nothing was raised)"),
        ("It is off. (got (3, 4) and ['x'])", "So is that. (got (5,) and ['y'])"),
        (
            "Cell 3: Your code raised KeyError: 'a' (cell 3, line 1)",
            "Your code raised KeyError: 'b'",
        ),
        (
            "Should be it. (Your code raised KeyError: 'a' (<cell 3>, line 1))",
            "Cell 2: Your code raised KeyError: 'b' (<cell 2>, line 9)",
        ),
    ],
)
def test_what_differs_in_numbers_and_names_is_one(one, other):
    assert error_groups.normalised(one) == error_groups.normalised(other)


@pytest.mark.parametrize(
    "one, other",
    [
        ("The output is not finite.", "The output is not a tensor."),
        ("It doesn't hold; it isn't so.", "It doesn't matter; it isn't so."),
        ("float32", "float64"),
        ("It is off. (nothing was raised)", "It is off. (off by 0.1)"),
    ],
)
def test_what_differs_in_words_is_not(one, other):
    assert error_groups.normalised(one) != error_groups.normalised(other)


def test_each_submission_counts_once_and_the_commonest_comes_first():
    scores = [score(str(n), [[0.0, 0.0], [0.0]], text=f"off by {n}.5") for n in range(3)]
    scores.append(score("9", [[1.0]], problems=("Cell 3: 'x' is odd",)))
    first, second = error_groups.grouped(scores)
    assert first.submissions == ("0", "1", "2") and first.example == "off by 0.5"
    assert first.tasks == ("lora_forward", "lora_linear")
    assert second.submissions == ("9",) and second.tasks == ()


def test_a_share_of_the_points_and_a_slow_answer_are_no_errors():
    slow = timed(0.1)
    assert error_groups.grouped([score("a", [[0.5, 1.0, None, slow]])]) == []


def test_hostile_messages_are_cut_cleaned_and_grouped_in_no_time():
    parts = ("'", "'a", "9", "“", "# ", "9,", "-", "0x", "e", "\t", "(", ")", "_", "a_")
    texts = [HOSTILE * 100, *(part * 50_000 for part in parts), "(" * 400 + ")" * 400]
    start = time.monotonic()
    groups = error_groups.grouped([score(text[:9], [[0.0]], text=text) for text in texts])
    assert time.monotonic() - start < 1
    for group in groups:
        assert len(group.example) <= error_groups.MAX_EXAMPLE + 1
        assert len(group.form) <= error_groups.MAX_FORM
        assert not set(group.example) & set("\0\x1b\ud800\u202e")
