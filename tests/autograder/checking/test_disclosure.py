"""What hidden checks tell of a submission's own words: little, in a check and in all."""

import pytest

from autograder.checking import disclosure
from autograder.checking.disclosure import A_CHECK, A_SUBMISSION, Disclosure
from autograder.sandbox.errors import StudentError
from autograder.sandbox.session import Death


def chosen(error):
    """The characters of an error that the submission chose."""
    known = error.type_name in (*disclosure._KNOWN, "an exception")
    return error.text + ("" if known else error.type_name)


def test_an_ordinary_error_is_told_whole():
    error = StudentError(
        "ValueError", "rank must be positive", "f, cell 3, line 2", ("ValueError",)
    )
    told = Disclosure().cut(error)
    assert str(told) == str(error) and told.bases == error.bases


@pytest.mark.parametrize("name", ["x" * 90, "ValueError"])
def test_name_and_text_together_are_bounded(name):
    told = Disclosure().cut(StudentError(name, "y" * 2_000))
    assert len(chosen(told)) == A_CHECK


def test_all_errors_of_a_check_and_of_a_submission_are_bounded():
    counted, told = Disclosure(), []
    for check in range(50):
        counted.begin_check()
        here = [counted.cut(StudentError(f"E{check}{n}", f"{check} {n} {'y' * 90}")) for n in "ab"]
        assert sum(len(chosen(error)) for error in here) <= A_CHECK
        told += here
    assert sum(len(chosen(error)) for error in told) <= A_SUBMISSION
    assert str(told[-1]) == "Your code raised an exception"


def test_what_has_been_told_is_told_again():
    counted, told = Disclosure(), set()
    for _ in range(50):
        counted.begin_check()
        told.add(str(counted.cut(StudentError("KeyError", "'lora_A'" * 5))))
    assert told == {"Your code raised KeyError: " + "'lora_A'" * 5}


def test_a_death_is_told_in_our_words():
    death = Death("timeout", "Your code ran for more than 5 s." * 9)
    assert Disclosure().cut(death) is death
