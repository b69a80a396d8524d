"""What answers need of other cells, by the text of these alone."""

import time

import pytest

from autograder.catalogue.dependencies import Dependencies
from tests.conftest import cells


def changing(names, *sources):
    read = Dependencies(cells(*sources))
    return read.changing(read.needed(names))


def test_a_long_chain_is_followed_in_a_moment():
    chain = cells("\n".join(f"a{n} = a{n + 1}" for n in range(5_000)))
    began = time.monotonic()
    assert len(Dependencies(chain).needed(["a0"])) == 5_001
    assert time.monotonic() - began < 5


def test_a_cell_s_definitions_are_found_among_its_own_statements():
    each = cells(*["\n".join("a" * 40)] * 2_000)
    read = Dependencies(each)
    began = time.monotonic()
    assert {read.definitions(cell.number) for cell in each} == {""}
    assert time.monotonic() - began < 5


def test_a_function_s_own_names_are_no_need():
    answer = (
        "def train(loader, lr=RATE):\n    rows = [x for x in loader]\n    return step(rows, lr)"
    )
    needed = Dependencies(cells(answer, "def loader(n=BATCH): return n")).needed(["train"])
    assert needed == {"train", "RATE", "step"}
    method = (
        "class Net:\n    def go(self, x):\n        loader = self.make(x)\n        return loader"
    )
    assert Dependencies(cells(method)).needed(["Net"]) == {"Net"}
    both = "def f(x):\n    def g(x): return scale(x)\n    return x"
    assert Dependencies(cells(both)).needed(["f"]) == {"f", "scale"}


def test_a_method_s_name_hides_nothing():
    read = Dependencies(cells("model.eval()", "eval(text)", "%reset -f"))
    assert [read.is_opaque(number) for number in (1, 2, 3)] == [False, True, True]


def test_an_answer_needs_what_it_uses_and_what_that_uses():
    found = changing(
        ["answer"],
        "import math\nSCALE = math.pi",
        "def helper(x): return x * SCALE",
        "def answer(x): return helper(x)",
        "other = 3",
    )
    assert found == {"math": [1], "SCALE": [1], "helper": [2], "answer": [3]}


@pytest.mark.parametrize(
    "source",
    [
        "helper = 3", "helper.scale = 2", "helper['a'] += 1", "del helper", "helper += 1",
        "for helper in (): pass", "with open('x') as helper: pass", "import os as helper",
        "def helper(): pass",
        "if True:\n    helper = 1", "helper.append(3)", "fill(helper)", "fill(into=helper.part)",
        "[x := 1 for helper in ()]", "try: import helper\nexcept ImportError: pass",
    ],
)  # fmt: skip
def test_ways_to_change_a_value_are_seen(source):
    assert changing(["helper"], "helper = []", source)["helper"] == [1, 2]


@pytest.mark.parametrize(
    "source",
    ["answer(3)", "print(answer)", "import torch\ntorch.manual_seed(answer)", "x = answer"],
)
def test_what_a_function_is_called_with_does_not_change_the_function(source):
    assert changing(["answer"], "def answer(x): return x", source)["answer"] == [1]


def test_names_of_python_s_own_count_once_a_cell_takes_them():
    assert changing(["answer"], "def answer(x): return sum(x)", "sum = 3")["sum"] == [2]


def test_magics_and_what_does_not_parse_change_nothing():
    found = changing(["a"], "%matplotlib inline\na = !ls", "def (:", "%reset -f", "a = 1")
    assert found == {"a": [1, 4]}


def test_what_the_text_of_a_statement_does_not_show_is_opaque():
    read = Dependencies(cells("%reset -f", "exec('x = 1')", "x = 1"))
    assert [read.is_opaque(number) for number in (1, 2, 3)] == [True, True, False]


def test_definitions_keep_their_lines():
    cell = "import os\nprint('long')\n@wraps\ndef f():\n    return os\nx = f()\nclass A: pass"
    read = Dependencies(cells(cell))
    assert read.definitions(1).split("\n") == [
        "import os", "", "@wraps", "def f():", "    return os", "", "class A: pass",
    ]  # fmt: skip
    assert read.definitions(1, frozenset({"A"})) == "\n\n\n\n\n\nclass A: pass"
    assert read.definitions(1, frozenset({"x"})) == ""
