"""What hidden checks tell of a submission's own words: little, in a check and in all."""

import pytest

from autograder.checking import disclosure
from autograder.checking.disclosure import A_CHECK, A_SUBMISSION, UNNAMED, Disclosure
from autograder.sandbox.errors import StudentError
from tests.conftest import running

KNOWN = (*disclosure._KNOWN, UNNAMED)


def chosen(name, text):
    """How many characters of what is told the submission chose."""
    return len(text) + (0 if name in KNOWN else len(name))


def test_an_ordinary_error_is_told_whole():
    said = ("ValueError", "rank must be positive")
    assert Disclosure().told(*said) == said


@pytest.mark.parametrize("name", ["x" * 90, "ValueError"])
def test_name_and_text_together_are_bounded(name):
    assert chosen(*Disclosure().told(name, "y" * 2_000)) == A_CHECK


def test_all_errors_of_a_check_and_of_a_submission_are_bounded():
    counted, told = Disclosure(), []
    for check in range(50):
        counted.begin_check()
        here = [counted.told(f"E{check}{n}", f"{check} {n} {'y' * 90}") for n in "ab"]
        assert sum(chosen(*said) for said in here) <= A_CHECK
        told += here
    assert sum(chosen(*said) for said in told) <= A_SUBMISSION
    assert told[-1] == (UNNAMED, "")


def test_what_has_been_told_is_told_again():
    counted, told = Disclosure(), set()
    for _ in range(50):
        counted.begin_check()
        told.add(counted.told("KeyError", "'lora_A'" * 5))
    assert told == {("KeyError", "'lora_A'" * 5)}


def test_only_what_is_shown_is_counted_and_a_check_s_own_name_is_not(sandbox):
    cell = "def refuses(n): raise ValueError(f'{n} ' + 'is not what I take' * 3)"
    counted = Disclosure()
    with running(sandbox, cell) as (student, _):
        student._begin_check(5.0, counted)
        for number in range(50):
            with pytest.raises(StudentError) as caught:
                student.refuses(number)
            assert caught.value.type_name == "ValueError"
        assert "49 is not what I take" in str(caught.value)
        counted._left = 0
        with pytest.raises(StudentError, match="`lora_forward` is not defined"):
            _ = student.lora_forward
        with pytest.raises(StudentError) as caught:
            student.refuses(50)
        assert str(caught.value) == "Your code raised ValueError (refuses, cell 1, line 1)"


def test_a_line_s_number_is_counted_and_left_out_where_no_more_is_told():
    counted = Disclosure()
    error = StudentError("ValueError", "no", "f, cell 3, line 12345")
    error.told = counted.told
    assert str(error) == "Your code raised ValueError: no (f, cell 3, line 12345)"
    assert counted._left == A_SUBMISSION - len("no") - len("12345")
    other = StudentError("ValueError", "", "f, cell 3, line 54321")
    other.told, counted._left = counted.told, 2
    assert str(other) == "Your code raised ValueError (f, cell 3)"
