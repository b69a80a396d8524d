"""A stranger's text, as any page, terminal or spreadsheet takes it."""

import pytest

from autograder.text import clean, harmless, one_line, sentence
from tests.fuzz import within


def test_what_could_move_a_terminal_or_break_a_file_is_replaced():
    assert clean("a\x1b[2J\0b\u202e\ud800c\n\td é 漢") == "a\ufffd[2J\ufffdb\ufffd?c\n\td é 漢"


@pytest.mark.parametrize(
    "sign",
    ["\x07", "\x1b", "\x9b", "\u2028", "\u200f", "\u061c", "\u202e", "\u2066", "\ufeff", "\uffff"],
    ids=ascii,
)
def test_no_sign_that_moves_or_turns_what_is_around_it_is_left(sign):
    assert clean(f"a{sign}b") == one_line(f"a{sign}b") == "a\ufffdb"


@pytest.mark.parametrize(
    "text",
    [
        "1\N{NO-BREAK SPACE}000", "全角\N{IDEOGRAPHIC SPACE}です", "👩\N{ZERO WIDTH JOINER}💻",
        "می\N{ZERO WIDTH NON-JOINER}خواهم", "❤\N{VARIATION SELECTOR-16}", "é",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_people_write_stays(text):
    assert clean(text) == one_line(text) == text


@pytest.mark.parametrize(
    "sign",
    ["\u00ad", "\u034f", "\u180b", "\u200c", "\u200d", "\u2065", "\u2800", "\ufe0f", "\U0001d173"],
    ids=ascii,
)
def test_two_names_that_differ_look_different(sign):
    assert one_line(f"alice{sign}") == "alice\ufffd"
    assert one_line(f"al{sign}ice") == "al\ufffdice"


def test_a_hyphen_that_is_seen_where_a_line_breaks_stays_in_other_texts():
    assert clean("soft\N{SOFT HYPHEN}hyphen") == "soft\N{SOFT HYPHEN}hyphen"


def test_a_name_is_one_line_and_half_characters_are_told():
    assert one_line("a\nb\t\udcff") == "a\ufffdb\ufffd\\udcff"


def test_a_further_line_of_a_sentence_is_set_in():
    assert sentence("one\ntwo\x1b") == "one\n    two\ufffd"
    assert sentence("lora.ipynb: no notebook.") == "lora.ipynb: no notebook."


def test_it_is_cut_where_asked():
    assert clean("abcdef", 3) == "abc" and clean("abc", 9) == clean("abc") == "abc"


@pytest.mark.parametrize(
    "text",
    [
        "=1+1", "+1", "-1", "@a", " =1", "\u200b=1", "\u0301=1", "\uff1d1", "\uff0b1", "\uff0d1",
        "\uff20a", '"=1', ' " =1', "\ta",
    ],
    ids=ascii,
)  # fmt: skip
def test_no_spreadsheet_takes_it_for_a_formula(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("splits", [";", ",", "|", "\t", "\n"], ids=ascii)
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", " =", '"=', "\u200b="], ids=ascii)
def test_nor_a_part_of_it_wherever_it_splits(splits, start):
    formula = f"{start}cmd|'/C calc'!A0"
    assert harmless(f"x{splits}{formula}{splits}y") == f"x{splits}'{formula}{splits}y"


def test_looking_for_formulas_takes_a_long_text_no_longer_than_it_is():
    for text in (
        " " * 100_000,
        "\t" * 100_000,
        "; " * 50_000,
        ", -1" * 30_000,
        ",-" + "1" * 99_999,
    ):
        with within(2.0):
            harmless(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "a=b", "1", "anna/lora.ipynb", "[1, -2, 3.5e-4]", "got (2, -1)", "rank; alpha",
        "It is off by -0.25: f(x=1, y=2) is lower, not higher.\n  x | y\n  a-b", 'say "=1"',
    ],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text):
    assert harmless(text) == text
