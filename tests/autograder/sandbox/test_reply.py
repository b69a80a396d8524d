"""What a reply may be: a value, or an error in plain text; whatever else came is refused."""

import pytest

from autograder.notebook import Cell
from autograder.sandbox.errors import StudentError
from autograder.sandbox.reply import outcome_of
from autograder.sandbox.wire import WireError

ERROR = {"type": "KeyError", "text": "'a'", "where": "f, cell 3, line 2"}
CELLS = (Cell(3, "class Model:\n    def forward(self, x):\n        return [y for y in x.z]"),)


@pytest.mark.parametrize("value", [None, 0, "text", [1, 2], {"error": 1}])
def test_a_value_comes_out(value):
    assert outcome_of({"value": value}) is value


def test_an_error_is_plain_text():
    error = outcome_of({"error": {**ERROR, "bases": ["KeyError", "LookupError", 3]}})
    assert isinstance(error, StudentError) and str(error).startswith(
        "Your code raised KeyError: 'a'"
    )
    assert error.bases == ("KeyError", "LookupError")
    assert error.where == ERROR["where"]


def test_its_text_is_cleaned_and_cut():
    error = outcome_of({"error": {**ERROR, "text": "\x1b" + "x" * 5_000}})
    assert error.text == "\ufffd" + "x" * 1_999


def test_bases_that_are_no_list_are_none():
    assert outcome_of({"error": {**ERROR, "bases": "KeyError"}}).bases == ()


@pytest.mark.parametrize(
    "where, told",
    [
        ("Model.forward, cell 3, line 2", "Model.forward, cell 3, line 2"),
        ("Model.forward.<locals>.<listcomp>, cell 3, line 3",) * 2,
        ("cell 3, line 1", "cell 3, line 1"),
        ("SECRET, cell 3, line 2", "cell 3, line 2"),
        ("Model.SECRET, cell 3, line 2", "cell 3, line 2"),
        ("forward, SECRET, cell 3, line 2", "cell 3, line 2"),
        ("forward, cell 3, line 2", "cell 3, line 2"),
        ("x.y.x.x.y, cell 3, line 2", "cell 3, line 2"),
        ("Model.forward, cell 3, line 0002", "Model.forward, cell 3, line 2"),
        ("Model.forward, cell 3, line \u0662", ""),
        ("Model.forward.<locals>." * 50_000 + "f, cell 3, line 2", ""),
        ("forward, cell 3, line 4", ""),
        ("forward, cell 4, line 1", ""),
        ("forward, cell SECRET, line 1", ""),
        ("SECRET", ""),
        ("", ""),
    ],
)
def test_only_a_place_that_is_in_the_cells_is_told(where, told):
    assert outcome_of({"error": {**ERROR, "where": where}}, CELLS).where == told


@pytest.mark.parametrize(
    "reply",
    [
        None, 1, [], {}, {"value": 1, "more": 2}, {"error": {**ERROR, "type": 1}},
        {"error": {"type": "KeyError"}}, {"error": ERROR, "value": 1},
    ],
)  # fmt: skip
def test_anything_else_is_refused(reply):
    with pytest.raises(WireError):
        outcome_of(reply)
