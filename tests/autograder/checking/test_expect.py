"""What the author of a check writes with: each helper accepts the right and refuses the wrong."""

import math
import time

import pytest
import torch

from autograder.checking.expect import (
    LETTERS,
    CheckFailed,
    Inputs,
    award,
    award_judgements,
    expect,
    expect_close,
    expect_equal,
    expect_judgements,
    expect_number,
    expect_numbers,
    expect_raises,
    expect_shape,
    expect_tensor,
    fail,
    short,
    telling,
)
from autograder.checking.handle import Handle, InProcess, Student
from autograder.sandbox.errors import StudentError

ONES = torch.ones(2, 3)
NAN, INF = float("nan"), float("inf")
STUDENT = Student(InProcess({}))
OBJECT = Handle(STUDENT, 1)


def refused(call, *args, **kwargs):
    with pytest.raises(CheckFailed) as caught:
        call(*args, **kwargs)
    assert caught.value.share == 0.0
    return str(caught.value)


def test_expect_holds_and_fails():
    expect(True, "unused")
    assert refused(expect, False, "It should.") == "It should."


@pytest.mark.parametrize("value", [1, "yes", ONES, [1], None, OBJECT, torch.tensor(True)], ids=repr)
def test_expect_takes_no_truthiness(value):
    """A check must not ask a student's object whether it is true."""
    with pytest.raises(TypeError):
        expect(value, "unused")


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, "α", b"x", [1, [2]], (1, "b"), {"a": [1.0], "b": None}, {1, 2}, []],
    ids=repr,
)
def test_expect_equal_accepts_the_same(value):
    expect_equal(value, value, "unused")


@pytest.mark.parametrize(
    "value, expected",
    [
        (1, True),
        (True, 1),
        (1.0, 1),
        (1, 1.0),
        (0, False),
        ("1", 1),
        (b"x", "x"),
        ([1], (1,)),
        ([True], [1]),
        ([1, 2], [1]),
        ([], [1]),
        ({"a": 1}, {"a": True}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, {"a": 1}),
        ({1: "a"}, {"1": "a"}),
        ({1}, [1]),
        (NAN, NAN),
        (None, False),
        (ONES, 1),
        (OBJECT, 1),
        (torch.tensor(1), 1),
    ],
    ids=repr,
)
def test_expect_equal_refuses_all_else(value, expected):
    assert refused(expect_equal, value, expected, "Wrong").startswith("Wrong")


def test_expect_equal_is_not_for_tensors():
    with pytest.raises(TypeError):
        expect_equal(ONES, ONES, "unused")


def test_expect_equal_shows_what_came_but_not_all_of_it():
    assert "got 7" in refused(expect_equal, 7, 8, "Wrong")
    assert len(refused(expect_equal, "x" * 10_000, "y", "Wrong")) < 200


def test_expect_tensor_returns_the_tensor():
    assert expect_tensor(ONES, (2, 3), "It") is ONES
    half = ONES.half()
    assert expect_tensor(half, [2, 3], "It", dtype=torch.float16) is half
    whole = torch.ones(3, dtype=torch.int64)
    assert expect_tensor(whole, (3,), "It", dtype=torch.int64) is whole
    assert expect_shape(whole, (3,), "It") is whole
    assert expect_shape(torch.zeros(0, 4), (0, 4), "It").numel() == 0


@pytest.mark.parametrize(
    "value, part",
    [
        (None, "tensor"),
        (1.0, "tensor"),
        ([[1.0] * 3] * 2, "tensor"),
        (OBJECT, "another type"),
        (torch.nn.Parameter(ONES), "tensor"),
        (torch.ones(3), "(3,)"),
        (torch.ones(1, 2, 3), "(1, 2, 3)"),
        (torch.ones(3, 2), "(3, 2)"),
        (torch.ones(()), "()"),
        (ONES.double(), "float64"),
        (ONES.half(), "float16"),
        (ONES.long(), "int64"),
        (ONES * NAN, "NaN"),
        (ONES * INF, "infinite"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_expect_tensor_refuses_and_says_why(value, part):
    assert part in refused(expect_tensor, value, (2, 3), "The output")


def test_expect_shape_refuses_a_nan_of_any_dtype():
    assert "NaN" in refused(expect_shape, (ONES * NAN).double(), (2, 3), "It")


def test_expect_close_accepts_what_is_within_the_tolerance():
    expect_close(ONES, ONES.clone(), "unused")
    expect_close(ONES + 5e-5, ONES, "unused")
    expect_close(1e6 * ONES + 50, 1e6 * ONES, "unused")
    expect_close(ONES + 0.4, ONES, "unused", atol=0.5)
    expect_close(ONES.long(), ONES.long(), "unused")
    expect_close(torch.zeros(0, 3), torch.zeros(0, 3), "unused")
    expect_close(torch.zeros(3), torch.zeros(3), "unused")
    expect_close(ONES, torch.nn.Parameter(ONES.clone()), "unused")


SMALL = 1e-6 * torch.tensor([[1.0, -2.0, 3.0]])


@pytest.mark.parametrize(
    "value, expected",
    [
        (ONES + 1e-3, ONES),
        (torch.zeros(2, 3), ONES),
        (torch.zeros(1, 3), SMALL),
        (SMALL * 1.01, SMALL),
        (-SMALL, SMALL),
        (ONES * NAN, ONES),
        (ONES * INF, ONES),
        (ONES, ONES * NAN),
        (ONES, ONES * INF),
        (torch.ones(3), ONES),
        (torch.ones(1, 3), ONES),
        (torch.ones(2, 1), ONES),
        (torch.ones(()), ONES),
        (torch.ones(1, 2, 3), ONES),
        (torch.zeros(0, 3), ONES),
        (torch.zeros(0), torch.zeros(0, 3)),
        (ONES.double(), ONES),
        (ONES.half(), ONES),
        (ONES.long(), ONES),
        (ONES.bool(), ONES),
        (1.0, ONES),
        ([1.0], torch.ones(1)),
        (None, ONES),
        (OBJECT, ONES),
    ],
    ids=lambda value: f"{value.dtype}{tuple(value.shape)}" if type(value) is torch.Tensor else "",
)
def test_expect_close_refuses_all_else(value, expected):
    assert refused(expect_close, value, expected, "It is off.")


def test_expect_close_says_by_how_much_but_not_what():
    said = refused(expect_close, 1.5 * ONES, ONES, "It is off.")
    assert said.startswith("It is off.") and "off by 50 % of" in said and "tensor(" not in said


def raiser(error, *bases):
    def call():
        raise StudentError(error, "text", "cell 1", (error, *bases))

    return call


def test_expect_raises_accepts_the_class_and_what_is_below_it():
    expect_raises(ValueError, raiser("ValueError", "Exception"), "unused")
    expect_raises(ValueError, raiser("UnicodeDecodeError", "UnicodeError", "ValueError"), "unused")
    expect_raises(LookupError, raiser("KeyError", "LookupError"), "unused")
    expect_raises(ValueError, raiser("RankError", "ValueError", "Exception"), "unused")


@pytest.mark.parametrize("error", ["TypeError", "Exception", "BaseException", "timeout"])
def test_expect_raises_refuses_other_errors(error):
    bases = ("Exception", "BaseException", "object")
    assert refused(expect_raises, ValueError, raiser(error, *bases), "No.").startswith("No.")


@pytest.mark.parametrize("error, text", [("Missing", "f"), ("NotImplementedError", "")])
def test_expect_raises_says_of_what_is_not_written_no_more_than_that(error, text):
    def call():
        raise StudentError(error, text, "", (error, "Exception"))

    with pytest.raises(StudentError):
        expect_raises(ValueError, call, "No.")


def test_expect_raises_refuses_silence():
    assert "nothing was raised" in refused(expect_raises, ValueError, lambda: 1, "No.")


def test_expect_raises_lets_an_error_of_the_check_s_own_through():
    with pytest.raises(ZeroDivisionError):
        expect_raises(ValueError, lambda: 1 / 0, "unused")


def test_award_gives_a_share():
    award(1.0, "unused")
    for share, given in ((0.25, 0.25), (0.0, 0.0), (-1.0, 0.0)):
        with pytest.raises(CheckFailed) as caught:
            award(share, "Some.")
        assert caught.value.share == given


@pytest.mark.parametrize("share", [NAN, -INF], ids=str)
def test_award_never_gives_more_or_less_than_there_is(share):
    with pytest.raises(CheckFailed) as caught:
        award(share, "Some.")
    assert caught.value.share == 0.0


def test_fail_ends_without_points():
    assert refused(fail, "No.") == "No."


# ------------------------------------------------------------------------------------------- inputs


def draw(inputs):
    layer, conv = inputs.linear(3, 2), inputs.conv2d(2, 4, 3, stride=2, bias=False)
    return [
        inputs.normal(2, 3),
        inputs.normal(4, std=0.1),
        inputs.integers(0, 10, (5,)),
        torch.tensor(inputs.choice([1, 2, 3])),
        torch.tensor(inputs.seed()),
        *layer.parameters(),
        *conv.parameters(),
    ]


def test_inputs_repeat_with_their_seed_alone():
    torch.manual_seed(1)
    first = draw(Inputs((7, 1)))
    torch.manual_seed(2)
    again = draw(Inputs((7, 1)))
    other = draw(Inputs((8, 1)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_inputs_have_the_shapes_and_types_that_checks_count_on():
    inputs = Inputs((0,))
    assert inputs.normal(2, 3).dtype == torch.float32
    assert inputs.integers(0, 5, (4,)).dtype == torch.int64
    assert inputs.integers(0, 5).shape == ()
    assert 3 <= int(inputs.integers(3, 4)) < 4
    assert inputs.linear(3, 2, bias=False).bias is None
    assert inputs.conv2d(2, 4, 3, groups=2).weight.shape == (4, 1, 3, 3)
    assert inputs.choice("a") == "a"
    assert abs(float(inputs.normal(10_000, std=3.0).std()) - 3.0) < 0.2


def test_inputs_leave_torch_s_stream_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Inputs((3,)).normal(5)
    assert torch.equal(torch.rand(3), expected)


def guesses(right, wrong):
    """Judgements of the first letters when the truth is a to h."""
    letters = LETTERS[: right + wrong]
    return {c: (c in "abcdefgh") is (number < right) for number, c in enumerate(letters)}


@pytest.mark.parametrize("right, wrong, share", [(16, 0, 1), (12, 4, 0.5), (9, 0, 9 / 16)])
def test_a_wrong_judgement_costs_what_a_right_one_earns(right, wrong, share):
    if share == 1:
        award_judgements(guesses(right, wrong), "abcdefgh")
        return
    with pytest.raises(CheckFailed, match=f"{right} right, {wrong} wrong") as raised:
        award_judgements(guesses(right, wrong), "abcdefgh")
    assert raised.value.share == share


def test_judgements_that_are_none_count_neither_way():
    odd = dict.fromkeys("ijkl", 1) | {"m": None, "z": True, 3: True}
    with pytest.raises(CheckFailed, match="8 right, 0 wrong, 8 without") as raised:
        award_judgements(guesses(8, 0) | odd, "abcdefgh")
    assert raised.value.share == 0.5


def test_guessing_every_statement_earns_less_than_a_tenth():
    size = len(LETTERS)
    shares = [
        max(0, 2 * right - size) / size * math.comb(size, right) / 2**size
        for right in range(size + 1)
    ]
    assert sum(shares) < 0.1


@pytest.mark.parametrize("value", [12, 12.004, 11.996])
def test_a_number_within_the_tolerance_is_right(value):
    expect_number(Student(InProcess({"answer": value})), "answer", 12, within=0.005)


@pytest.mark.parametrize("value", [12.01, -12, math.nan, math.inf, True, "12", None, [12]])
def test_another_number_is_not(value):
    with pytest.raises(CheckFailed, match="answer"):
        expect_number(Student(InProcess({"answer": value})), "answer", 12, within=0.005)


@pytest.mark.parametrize("value", [True, "12", [12], math.nan, math.inf])
def test_an_answer_that_is_no_number_is_told(value):
    with pytest.raises(CheckFailed, match="second is not a number"):
        expect_numbers(Student(InProcess({"first": 1.5, "second": value})), ["first", "second"])


@pytest.mark.parametrize("value, spec, said", [(0.25, ".0%", "25%"), (7, ".2f", "7")])
def test_a_value_in_a_message_is_counted_as_it_is_written(value, spec, said):
    told = []
    with telling(lambda text: told.append(text) or "…"):
        assert short(value, spec) == "…"
    assert told == [said]


@pytest.mark.parametrize("around", [lambda t: t, lambda t: [t], lambda t: {"a": (t,)}])
def test_a_tensor_is_told_by_its_shape_wherever_it_is(around):
    """torch would write all of its numbers out, since none of its dimensions is long."""
    shape = (6,) * 9
    began = time.process_time()
    assert "a tensor of shape (6, 6, 6" in short(around(torch.zeros(shape, dtype=torch.bool)))
    assert time.process_time() - began < 1


def test_open_answers_are_no_mistake_and_do_not_count():
    answers = Student(InProcess({"first": None, "second": 3}))
    with pytest.raises(pytest.skip.Exception, match="Not answered yet: first"):
        expect_numbers(answers, ["first", "second"])
    with pytest.raises(pytest.skip.Exception, match="Not answered yet: c, d"):
        expect_judgements(dict.fromkeys(LETTERS) | {"a": True, "b": False})
    expect_numbers(answers, ["second"])
    expect_judgements(dict.fromkeys(LETTERS, True))


@pytest.mark.parametrize(
    "judged",
    [None, {}, dict.fromkeys("abc"), dict.fromkeys(LETTERS, 1), dict.fromkeys(LETTERS + "q")],
)
def test_judgements_in_another_form_are_told(judged):
    with pytest.raises(CheckFailed):
        expect_judgements(judged)
