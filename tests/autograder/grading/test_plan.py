"""Which cells are run, which are spare, and what has come between a check and the end."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder.catalogue import lessons
from autograder.catalogue.dependencies import MAX_CODE
from autograder.grading.plan import Plan, in_words
from autograder.notebook import read

LORA = lessons.lesson_named("lora")
[FORWARD] = [task for task in LORA.tasks if task.name == "lora_forward"]
ANSWER = "def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):\n    return helper(x)"
CHECK = 'check("lora_forward")'
SHOWN = ("demonstration",)


@pytest.fixture
def planned(tmp_path):
    """The plan of a notebook of these cells; a pair is a cell with its tags."""

    def made(*sources):
        pairs = [(s, ()) if isinstance(s, str) else s for s in sources]
        made = [new_code_cell(text, metadata={"tags": list(tags)}) for text, tags in pairs]
        nbformat.write(new_notebook(cells=made), tmp_path / "lora.ipynb")
        return Plan(read(tmp_path / "lora.ipynb"), LORA)

    return made


def ran(earlier):
    return [cell.number for cell in earlier.cells]


def stood(plan):
    """The cells of the notebook as it stood before, each way."""
    return [ran(earlier) for earlier in plan.earlier(FORWARD)]


def test_of_a_demonstration_only_what_an_answer_lacks_is_run(planned):
    shown = "import time\nimport json\ntime.sleep(100)\ndef helper(x):\n    return time.time()"
    run = planned((shown, SHOWN), ANSWER, CHECK).cells
    assert [cell.number for cell in run] == [1, 2, 3]
    assert run[0].source.split("\n") == [
        "import time", "", "", "def helper(x):", "    return time.time()",
    ]  # fmt: skip
    own = "import time\ndef helper(x):\n    return x"
    assert [cell.number for cell in planned((shown, SHOWN), own, ANSWER).cells] == [2, 3]


def test_cells_that_no_answer_needs_are_spare_but_for_their_definitions(planned):
    sweep = "import time\nfor rate in range(9):\n    time.sleep(rate)"
    spare = planned("def helper(x): return x", ANSWER, CHECK, sweep, "import os").spare
    assert {number: cell.source for number, cell in spare.items()} == {4: "import time"}
    assert planned("helper = 3\nprint(helper)", ANSWER, "exec('y = 1')").spare == {}


def test_what_comes_behind_the_check_and_changes_what_the_answer_needs_disturbs(planned):
    helper = "def helper(x): return x"
    same = planned(helper, ANSWER, CHECK, "other = 3", "print(lora_forward)")
    assert stood(same) == []
    [again] = planned(helper, ANSWER, CHECK, "def helper(x, y): pass").earlier(FORWARD)
    assert (ran(again), again.names) == ([1, 2, 3], {"helper": [1, 4]})
    [unseen] = planned(helper, ANSWER, CHECK, "%reset -f").earlier(FORWARD)
    assert (ran(unseen), unseen.names, unseen.unseen) == ([1, 2, 3], {}, [4])


def test_what_other_answers_needed_at_their_checks_is_there_too(planned):
    """A check may call answers to several tasks."""
    merge, its = "def merge_lora(model): return places(model)", 'check("merge_lora")'
    places = "def places(model): return 1"
    cells = ["def helper(x): return x", ANSWER, CHECK, places, merge, its]
    own = "helper = places = None"
    plan = planned(*cells, "def places(): pass", own)
    assert stood(plan) == [[1, 2, 3, 4, 5]]


def test_long_code_is_run_as_it_stands(planned):
    plan = planned("def helper(x): return x", ANSWER, CHECK, "helper = 1", "x = 1\n" * MAX_CODE)
    assert not plan.is_read and len(plan.cells) == 5
    assert (plan.spare, stood(plan)) == ({}, [])


def test_a_later_correction_moves_the_check_behind_it(planned):
    helper = "def helper(x): return x"
    plan = planned(helper, ANSWER, CHECK, ANSWER, "x = 1", CHECK, "helper = 1")
    assert stood(plan) == [[1, 2, 3, 4, 5, 6]]
    unchecked = planned(helper, ANSWER, CHECK, ANSWER, "helper = 1")
    assert stood(unchecked) == [[1, 2, 3], [1, 2, 3, 4]], "as checked, and as corrected"
    assert stood(planned(helper, CHECK)) == []


@pytest.mark.parametrize(
    "numbers, words",
    [
        ([4], "cell 4"), ([9, 4], "cells 4 and 9"), ([4, 5], "cells 4 and 5"),
        (range(1, 99, 2), "49 cells"), ([4, 5, 6, 9], "cells 4 to 6 and 9"),
        ([1, 3, 5, 6, 7, 9], "cells 1, 3, 5 to 7 and 9"),
    ],
)  # fmt: skip
def test_numbers_in_words(numbers, words):
    assert in_words(numbers) == words
