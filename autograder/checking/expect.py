"""What the author of a check writes with: expectations with safe messages, and random inputs.

A check never compares a student's value by that value's own operators: type, shape, dtype and
finiteness come first, then |a − b| ≤ tolerance. Messages say what was expected in words and what
was seen in figures; they are all that a learner sees of a check.
"""

from __future__ import annotations

import builtins
import contextlib
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from autograder.checking.handle import Handle, Student
from autograder.sandbox.errors import StudentError
from autograder.sandbox.wire import with_article

_Module = TypeVar("_Module", bound=nn.Module)


class CheckFailed(Exception):
    """A requirement does not hold; the text is for the learner.

    Attributes:
        share: the part of the check's points that is earned all the same, in [0, 1].
    """

    def __init__(self, message: str, share: float = 0.0) -> None:
        """Keep the message and the share."""
        super().__init__(message)
        self.share = share


def fail(message: str) -> NoReturn:
    """End the check without points."""
    raise CheckFailed(message)


def expect(condition: bool, message: str) -> None:
    """Fail with `message` unless `condition`, a bool made by the check itself, holds."""
    if condition is not True:
        if type(condition) not in (bool, np.bool_):
            raise TypeError("expect() takes a bool that the check itself has made")
        if not condition:
            fail(message)


def expect_equal(value: object, expected: object, message: str) -> None:
    """Compare plain data exactly, types included: True is not 1, 1.0 is not 1."""
    if not _same(value, expected):
        is_other = type(value) is not type(expected) and not isinstance(value, Handle)
        kind = f": {type(value).__name__} and not {type(expected).__name__}" if is_other else ""
        fail(f"{message} (got {short(value)}{kind}{wanted(expected)})")


def _same(value: object, expected: object) -> bool:
    if type(value) is not type(expected):
        return False
    if isinstance(expected, (list, tuple)) and isinstance(value, (list, tuple)):
        return len(value) == len(expected) and all(map(_same, value, expected))
    if isinstance(expected, dict) and isinstance(value, dict):
        same_keys = _same(sorted(map(repr, value)), sorted(map(repr, expected)))
        return same_keys and all(_same(value[key], expected[key]) for key in expected)
    if isinstance(expected, (type(None), bool, int, float, str, bytes, set)):
        return value == expected
    raise TypeError(f"expect_equal() compares plain data, not {type(expected).__name__}")


def expect_tensor(
    value: object,
    shape: Sequence[int],
    what: str,
    dtype: torch.dtype | None = torch.float32,
    if_nan: str = "",
) -> Tensor:
    """Return `value` if it is a finite tensor of this shape and dtype (None: any dtype).

    `what` begins the message, as in "The output of lora_forward"; `if_nan` says of a NaN where it
    comes from, where the inputs leave no doubt.
    """
    if type(value) is not Tensor:
        fail(f"{what} should be a tensor of shape {tuple(shape)}, but is {short(value)}.")
    if tuple(value.shape) != tuple(shape):
        fail(f"{what} should have shape {tuple(shape)}, but has {short(tuple(value.shape))}.")
    if dtype is not None and value.dtype != dtype:
        fail(f"{what} should be {_name(dtype)}, but is {_name(value.dtype)}.")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        which = "NaN" if bool(value.isnan().any()) else "infinite"
        cause = f" {if_nan}" if if_nan and which == "NaN" else ""
        holds = f"holds {which} values" if value.dim() else f"is {which}"
        fail(f"{what} {holds}.{cause}")
    return value


def expect_shape(value: object, shape: Sequence[int], what: str) -> Tensor:
    """Return `value` if it is a finite tensor of this shape, of any dtype."""
    return expect_tensor(value, shape, what, dtype=None)


def expect_close(
    value: object,
    expected: Tensor,
    message: str,
    rtol: float = 1e-4,
    atol: float | None = None,
    if_nan: str = "",
) -> None:
    """Compare with `expected`: type, shape, dtype, finiteness, then the largest difference.

    The tolerance is `rtol` times the largest magnitude of `expected`, or `atol` where given: an
    absolute one would let zeros pass where outputs are small.
    """
    expected = expected.detach()
    what = f"{message.rstrip('.:')}: what came"
    tensor = expect_tensor(value, expected.shape, what, expected.dtype, if_nan)
    if expected.numel() == 0:
        return
    difference = (tensor.double() - expected.double()).abs().max().item()
    size = expected.double().abs().max().item()
    tolerance = rtol * size if atol is None else atol
    if not (math.isfinite(size) and difference <= tolerance):
        share = f"{100 * difference / size:.3g} % of the largest value expected" if size else ""
        off = share or f"{difference:.2g}"
        fail(f"{message} (off by {off}{_compared(tensor, expected)})")


def expect_raises(error: type[Exception], call: Callable[[], Any], message: str) -> None:
    """Fail with `message` unless the student's code raises `error`, or a subclass of it.

    What is not written yet is told as such.
    """
    try:
        call()
    except StudentError as raised:
        if raised.is_unwritten:
            raise
        names = {raised.type_name, *raised.bases}
        if error.__name__ in names or any(_is_builtin(name, error) for name in names):
            return
        fail(f"{message} ({raised})")
    fail(f"{message} (nothing was raised)")


def _is_builtin(name: str, error: type[Exception]) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, error)


def award(share: float, message: str) -> None:
    """End the check with this share of its points; a share of 1 passes."""
    if not share >= 1:  # NaN included
        raise CheckFailed(message, share if share > 0 else 0.0)


def expect_number(student: Student, name: str, expected: float, within: float = 0.0) -> None:
    """Expect the answer called `name` to be this number, to `within`."""
    value = getattr(student, name)
    expect(value is not None, f"{name} is not answered yet.")
    expect(type(value) in (int, float), f"{name} is not a number.")
    right = abs(value - expected) <= within  # False for NaN
    expect(right, f"{name} = {short(value)} is not right.")


def expect_numbers(student: Student, names: Sequence[str]) -> None:
    """Expect each answer to be a finite number; not counted as long as one is None."""
    values = {name: getattr(student, name) for name in names}
    for name, value in values.items():
        fine = value is None or (type(value) in (int, float) and math.isfinite(value))
        expect(fine, f"{name} is not a number.")
    _expect_answers(values)


def _expect_answers(answers: Mapping[str, object]) -> None:
    unanswered = [name for name, answer in answers.items() if answer is None]
    if unanswered:
        pytest.skip(f"Not answered yet: {', '.join(unanswered)}.")


LETTERS = "abcdefghijklmnop"
"""The statements of a lesson: sixteen, so that guessing all of them earns 9.8 % on average."""


def expect_judgements(judged: object) -> None:
    """Expect `judged` to have True or False for each letter, and nothing else.

    Not counted as long as one is None.
    """
    if type(judged) is not dict:
        fail("`judged` should be a dict.")
    expect_equal(sorted(map(repr, judged)), sorted(map(repr, LETTERS)), "Its keys are not a to p.")
    odd = [letter for letter in LETTERS if type(judged[letter]) not in (bool, type(None))]
    expect(not odd, f"Neither True, False nor None: {', '.join(odd)}.")
    _expect_answers(judged)


def award_judgements(judged: object, true: str) -> None:
    """End the check with the share (right − wrong) / 16 of its points, never below 0.

    Args:
        judged: letter → True or False; anything else is no answer, and neither earns nor costs.
        true: the letters of the true statements.
    """
    if type(judged) is not dict:
        fail("`judged` should be a dict.")
    answers = {letter: judged.get(letter) for letter in LETTERS}
    answered = [letter for letter in LETTERS if type(answers[letter]) is bool]
    right = sum(answers[letter] is (letter in true) for letter in answered)
    wrong = len(answered) - right
    message = f"{right} right, {wrong} wrong, {16 - right - wrong} without True or False."
    award((right - wrong) / len(LETTERS), message)


def short(value: object, spec: str = ".6g") -> str:
    """Return a value that came in few words, for a message; of a float what `spec` formats.

    A check that writes one into a message otherwise lets a submission tell what it likes.
    """
    if type(value) is Tensor:
        return f"a tensor of shape {short(tuple(value.shape))}"
    if isinstance(value, Handle):
        return with_article(_tell.get()(value._kind)) if value._kind else with_article("")
    text = format(value, spec) if type(value) is float else _SHORT.repr(value)
    return _tell.get()(text if len(text) <= 60 else f"{text[:57]}…")


class _Shortening(reprlib.Repr):
    """Words the start of what is long, and not all to cut it."""

    def repr_Tensor(self, tensor: Tensor, level: int) -> str:
        """Say a tensor's shape: torch may write all of it out."""
        return f"a tensor of shape {tuple(tensor.shape)}"


_SHORT = _Shortening()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60

_tell: ContextVar[Callable[[str], str]] = ContextVar("tell", default=str)


_open: ContextVar[bool] = ContextVar("open", default=False)


@contextlib.contextmanager
def telling(cut: Callable[[str], str], openly: bool = False) -> Iterator[None]:
    """Have what messages tell of values pass through `cut`.

    `openly`: they say what was expected, too.
    """
    before = _tell.set(cut), _open.set(openly)
    try:
        yield
    finally:
        _tell.reset(before[0])
        _open.reset(before[1])


def wanted(expected: object) -> str:
    """Return what was expected, behind a comma, for a message that may say it; else nothing."""
    return f", expected {short(expected)}" if _open.get() else ""


def _compared(value: Tensor, expected: Tensor) -> str:
    """Return what came and was expected, likewise: all of little, else where they differ most."""
    if not _open.get():
        return ""
    if expected.numel() <= 6:
        return f", expected {_written(expected)}, got {_written(value)}"
    far = (value.double() - expected.double()).abs()
    place = [int(i) for i in torch.unravel_index(far.argmax(), far.shape)]
    at = tuple(place)
    return f", at {place} expected {_written(expected[at])}, got {_written(value[at])}"


def _written(tensor: Tensor) -> str:
    """Return numbers as nested lists."""
    if tensor.dim():
        return f"[{', '.join(map(_written, tensor))}]"
    return f"{tensor.item():.5g}" if tensor.is_floating_point() else repr(tensor.item())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class Inputs:
    """Random inputs of one check, from a seed that never enters the sandbox.

    Attributes:
        numpy: the generator behind it.
    """

    def __init__(self, seed: Sequence[int]) -> None:
        """Begin a stream."""
        self.numpy = np.random.default_rng(list(seed))

    def normal(self, *shape: int, std: float = 1.0) -> Tensor:
        """Return a float32 tensor of `shape`, normal with mean 0."""
        return torch.from_numpy(self.numpy.normal(0.0, std, shape).astype(np.float32))

    def integers(self, low: int, high: int, shape: Sequence[int] = ()) -> Tensor:
        """Return an int64 tensor of `shape` with values in [low, high)."""
        return torch.from_numpy(np.asarray(self.numpy.integers(low, high, tuple(shape))))

    def choice(self, items: Sequence[Any]) -> Any:
        """Return one of `items`."""
        return items[int(self.numpy.integers(len(items)))]

    def linear(self, in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
        """Return a linear layer with random weights."""
        return self._filled(nn.Linear(in_features, out_features, bias))

    def conv2d(self, in_channels: int, out_channels: int, kernel: Any, **kw: Any) -> nn.Conv2d:
        """Return a convolution with random weights; `kw` as for `nn.Conv2d`."""
        return self._filled(nn.Conv2d(in_channels, out_channels, kernel, **kw))

    def seed(self) -> int:
        """Return a fresh seed."""
        return int(self.numpy.integers(1 << 31))

    def _filled(self, module: _Module) -> _Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(self.normal(*parameter.shape, std=0.5))
        return module
