"""What a check has asked, as code that can be pasted into a cell, and who is at fault."""

import pytest
import torch
from torch import nn

from autograder.checking.handle import InProcess, Student
from autograder.checking.misuse import misuse
from autograder.checking.probes import hold, set_parameters
from autograder.checking.transcript import MAX_LINE, named, pasted


class Layer(nn.Module):
    def __init__(self, base, rank):
        super().__init__()
        self.base, self.lora_A = base, nn.Parameter(torch.zeros(rank, 3))

    def forward(self, x):
        return x @ self.lora_A.T


NAMES = {"Layer": Layer, "double": lambda x, times=2: x * times, "nothing": lambda x: None}


@pytest.fixture
def student():
    return Student(InProcess(NAMES))


def result_of(line):
    """What the last expression of a line gives, where it is pasted."""
    names = {**NAMES, "torch": torch, "nn": nn}
    before, _, last = line.partition("  #")[0].rpartition("; ")
    exec(before, names)
    return eval(last, names)


def test_a_call_is_written_with_its_arguments(student):
    x = torch.tensor([[0.123456, -2.0]])
    student.double(x, times=3)
    assert pasted(student._steps) == "double(torch.tensor([[0.1235, -2.0]]), times=3)"
    assert torch.allclose(result_of(pasted(student._steps)), 3 * x, rtol=1e-3)


def test_an_object_that_came_has_a_name(student):
    layer = student.Layer(nn.Linear(3, 4), 2)
    A, x = torch.randn(2, 3), torch.randn(5, 3)
    student.run(set_parameters, layer, lora_A=A)
    came = layer(x)
    line = pasted(student._steps)
    assert "\n" not in line and line.startswith("from autograder.checking.probes import set_")
    assert "it = Layer(nn.Linear(in_features=3, out_features=4), 2)" in line
    assert line.endswith("drawn anew here")
    assert torch.allclose(result_of(line), came, rtol=1e-2, atol=1e-2)


def test_a_model_that_is_held_is_built_again(student):
    body = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double()
    model = student.run(hold, nn.Sequential(body, nn.BatchNorm1d(3).double()).eval())
    student.double(model.training)
    student.nothing(model)
    line = pasted(student._steps)
    assert result_of(line) is None and "nn.Sequential(nn.Linear(" in line and ".eval()" in line


ARGUMENTS = {
    "large": lambda: torch.randn(40, 40),
    "integers": lambda: torch.randint(3, 9, (100,)),
    "bools": lambda: torch.ones(2).bool(),
    "nested": lambda: [1, (2.5,), None],
    "dict": lambda: {"a": torch.ones(1, dtype=torch.int64)},
    "dtype": lambda: torch.float64,
    "infinity": lambda: float("inf"),
    "empty": lambda: torch.empty(0, 3),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_every_kind_of_argument_can_be_pasted(student, kind):
    value = ARGUMENTS[kind]()
    student.nothing(value)
    line = pasted(student._steps)
    assert result_of(line) is None and len(line) < 300
    assert ("drawn anew" in line) == (isinstance(value, torch.Tensor) and value.numel() > 64)


@pytest.mark.parametrize("value", [object(), lambda: 1, "x" * MAX_LINE, list(range(999))])
def test_where_there_is_no_short_code_there_is_none(student, value):
    if type(value) is object:
        value = {1, 2}
    student.nothing(value)
    assert pasted(student._steps) == ""


def test_what_was_asked_for_has_a_short_name(student):
    layer = student.Layer(nn.Linear(3, 4), 2)
    assert named(list(student._steps), layer) == "Layer(…)"
    assert named(list(student._steps), layer.base) == ""
    assert named(list(student._steps), object()) == ""
    base = layer.base
    assert named(list(student._steps), base) == "Layer(…).base"


def raised(call):
    with pytest.raises((AttributeError, TypeError)) as caught:
        call()
    return caught.value


def test_what_came_and_cannot_be_used_is_named(student):
    came = student.nothing(1)
    said = misuse(student._steps, raised(lambda: came.weight))
    assert said == "`nothing(…)` should give an object with `weight`; it is None."
    said = misuse(student._steps, raised(lambda: came(1)))
    assert said == "`nothing(…)` should give what can be called; it is None."
    first, second = student.double((1,)), student.double(2.5)
    assert first == (1, 1)
    said = misuse(student._steps, raised(lambda: iter(second)))
    assert said == "`double(…)` should give another type; it is 5."


def test_what_is_the_check_s_own_fault_is_not_the_learner_s(student):
    student.double(2)
    assert misuse(student._steps, raised(lambda: torch.ones(2).nope)) == ""
    assert misuse(student._steps, ValueError("its own")) == ""
