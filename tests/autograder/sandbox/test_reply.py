"""What a reply may be: a value, or an error in plain text; whatever else came is refused."""

import pytest

from autograder.sandbox.errors import StudentError
from autograder.sandbox.reply import value_of
from autograder.sandbox.wire import WireError

ERROR = {"type": "KeyError", "text": "'a'", "where": "f, cell 3, line 2"}


@pytest.mark.parametrize("value", [None, 0, "text", [1, 2], {"error": 1}])
def test_a_value_comes_out(value):
    assert value_of({"value": value}) is value


def test_an_error_is_raised_as_text():
    with pytest.raises(StudentError, match="KeyError: 'a'") as caught:
        value_of({"error": {**ERROR, "bases": ["KeyError", "LookupError", 3]}})
    assert caught.value.bases == ("KeyError", "LookupError")
    assert caught.value.where == ERROR["where"]


def test_its_text_is_cleaned_and_cut():
    with pytest.raises(StudentError) as caught:
        value_of({"error": {**ERROR, "text": "\x1b" + "x" * 500}}, longest=100)
    assert caught.value.text == "\ufffd" + "x" * 99


def test_bases_that_are_no_list_are_none():
    with pytest.raises(StudentError) as caught:
        value_of({"error": {**ERROR, "bases": "KeyError"}})
    assert caught.value.bases == ()


@pytest.mark.parametrize(
    "reply",
    [
        None, 1, [], {}, {"value": 1, "more": 2}, {"error": {**ERROR, "type": 1}},
        {"error": {"type": "KeyError"}}, {"error": ERROR, "value": 1},
    ],
)  # fmt: skip
def test_anything_else_is_refused(reply):
    with pytest.raises(WireError):
        value_of(reply)
