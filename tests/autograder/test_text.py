"""A stranger's text, as any page, terminal or spreadsheet takes it."""

import pytest

from autograder.text import clean, harmless


def test_what_could_move_a_terminal_or_break_a_file_is_replaced():
    assert clean("a\x1b[2J\0b\u202e\ud800c\n\td é 漢") == "a\ufffd[2J\ufffdb\ufffd?c\n\td é 漢"


def test_it_is_cut_where_asked():
    assert clean("abcdef", 3) == "abc" and clean("abc", 9) == clean("abc") == "abc"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", " =1", "\t=1", "\n-1"])
def test_no_spreadsheet_takes_it_for_a_formula(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=b", "1", "anna/lora.ipynb"])
def test_other_texts_stay_as_they_are(text):
    assert harmless(text) == text
