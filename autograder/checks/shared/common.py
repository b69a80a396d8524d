"""What the checks of several lessons share: models of this side, and expectations on held ones."""

import copy
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from autograder.checking.expect import (
    Inputs,
    expect,
    expect_close,
    expect_equal,
    expect_tensor,
    fail,
    short,
    wanted,
)
from autograder.checking.handle import Handle, Student
from autograder.checking.probes import (
    draw_global,
    made_from_meta,
    set_parameters,
    sgd_step,
    state_of,
)


def output(module: nn.Module, x: Tensor) -> Tensor:
    """What a module of this side answers."""
    with torch.no_grad():
        return module(x)


def fill_norm(rng: Inputs, norm: nn.Module) -> nn.Module:
    """Give a batch-norm a history: no statistic or weight is at its start."""
    with torch.no_grad():
        norm.running_mean.copy_(rng.normal(len(norm.running_mean)))
        norm.running_var.copy_(rng.normal(len(norm.running_var)).square() + 0.5)
        for parameter in norm.parameters():
            parameter.copy_(rng.normal(*parameter.shape) + 2.0)
    return norm


def conv_net(rng: Inputs) -> nn.Module:
    """A small classifier of (B, 2, 6, 6) with a batch-norm."""
    parts = OrderedDict[str, nn.Module](conv1=rng.conv2d(2, 4, 3, bias=False))
    parts |= OrderedDict(bn1=fill_norm(rng, nn.BatchNorm2d(4)), act=nn.Tanh())
    parts |= OrderedDict(flat=nn.Flatten(), fc=rng.linear(64, 3))
    return nn.Sequential(parts)


def of_a_subclass(layer: nn.Linear) -> nn.Linear:
    """Make a linear layer one of the subclass by which torch's attention projects."""
    layer.__class__ = NonDynamicallyQuantizableLinear
    return layer


def large_body(rng: Inputs) -> nn.Module:
    """A convolutional body, (B, 1, 16, 16) to (B, 2048), that takes far longer than a head."""
    return nn.Sequential(
        rng.conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        rng.conv2d(32, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip


class Tells(nn.Module):
    """Adds one number in train mode, and another in eval mode: its outputs tell the mode."""

    def __init__(self, eval_adds: float, train_adds: float) -> None:
        """Keep both."""
        super().__init__()
        self.adds = eval_adds, train_adds

    def forward(self, x: Tensor) -> Tensor:
        """Return x with the mode's number added."""
        return x + self.adds[self.training]


def telling(rng: Inputs, net: nn.Module) -> nn.Module:
    """Return a Sequential of the parts of `net`, with one that tells its mode after each.

    Every second of these, and of the parts, is in train mode.
    """
    parts = OrderedDict[str, nn.Module]()
    for name, part in net.named_children():
        parts[name] = telling(rng, part) if type(part) is nn.Sequential else part
        parts[f"{name}_tells"] = Tells(*rng.normal(2).tolist())
    made = nn.Sequential(parts)
    for kind in (nn.Module, Tells):
        some = [module for module in made.modules() if isinstance(module, kind)]
        for index, module in enumerate(some):
            module.training = index % 2 == 0
    return made


class Passes:
    """A loader that can only be iterated, with other batches in each pass."""

    def __init__(self, *passes: Sequence[object]) -> None:
        """Keep the batches of each pass; behind the last it begins anew."""
        self.passes, self.begun = passes, 0

    def __iter__(self) -> Iterator[object]:
        """Begin the next pass."""
        self.begun += 1
        yield from self.passes[(self.begun - 1) % len(self.passes)]


class Tires(nn.Module):
    """Adds to each row how many rows it has seen before it, also as a copy of itself."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.seen = [0]

    def forward(self, x: Tensor) -> Tensor:
        """Add to each row its number."""
        self.seen[0] += len(x)
        numbers = torch.arange(self.seen[0] - len(x), self.seen[0])
        return x + numbers.view(-1, *[1] * (x.dim() - 1)) / 10

    def __deepcopy__(self, memo: dict[int, object]) -> "Tires":
        """Tire with its copy."""
        made = Tires()
        made.seen = self.seen
        return made


class MindsAGraph(nn.Module):
    """Adds one where a graph is recorded in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Add one, or nothing."""
        return x + (x.requires_grad and not self.training)


class Deep(nn.Module):
    """Four hundred layers of which all but the first change nothing: a graph keeps each output.

    Many small outputs, so that a run without a graph needs hardly more memory than one of them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is positive, and 0 elsewhere."""
        for _ in range(400):
            x = torch.relu(x)
        return x


def expect_timed_losses(came: object, expected: list[float], *given: object) -> None:
    """Expect a timed call to have returned the reference's losses: the first to rounding."""
    message = "A timed run does not return the reference's losses, so its time does not count."
    expect(type(came) is list and len(came) == len(expected), message)
    assert isinstance(came, list)
    for epoch, (loss, its) in enumerate(zip(came, expected, strict=True)):
        tolerance = 0.1 if epoch else 1e-3
        near = type(loss) is float and abs(loss - its) <= tolerance * abs(its)
        expect(near, message)


def give_parameters(student: Student, module: Handle, **values: Tensor) -> None:
    """Give parameters of a held module new values, which must have these shapes."""
    misfit = student.run(set_parameters, module, **values)
    for name, value in values.items():
        if misfit == name:
            fail_of_parameter(name, value, getattr(module, name))


def fail_of_parameter(name: str, value: Tensor, came: object) -> NoReturn:
    """Say what an attribute that cannot have this value should be, and what it is."""
    shape = tuple(value.shape)
    fail(f"{name} should be an nn.Parameter of shape {shape}; it is {short(came)}.")


def read_state(student: Student, model: Handle, names: Iterable[str]) -> dict[str, Tensor]:
    """The parameters and buffers of a held model, which should have just these names."""
    came = student.run(state_of, model)
    expect(type(came) is dict and came.keys() == set(names), "The model's parts have changed.")
    return came


def trained_copy(student: Student, model: Handle, net: nn.Module) -> nn.Module:
    """A copy of a module of this side with the parameters and buffers of a held one.

    It answers in place of the held one, whose forward may have been replaced.
    """
    net = copy.deepcopy(net)
    came = read_state(student, model, net.state_dict())
    for name, tensor in net.state_dict().items():
        tensor.copy_(expect_tensor(came[name], tensor.shape, f"The tensor {name!r}", tensor.dtype))
    return net


def expect_state(
    student: Student,
    model: Handle,
    expected: Mapping[str, Tensor],
    message: str,
    rtol: float = 1e-4,
) -> None:
    """Expect every parameter and buffer of a held model to be near those of a state dict."""
    came = read_state(student, model, expected)
    for name, tensor in expected.items():
        expect_close(came[name], tensor, f"{message}: the tensor {name!r}", rtol=rtol)


def expect_same_tensors(came: Any, expected: Mapping[str, Tensor], message: str) -> None:
    """Expect a dict of tensors, with these names, to be bit for bit those expected."""
    expect(type(came) is dict and came.keys() == expected.keys(), message)
    for name, tensor in expected.items():
        value = expect_tensor(came[name], tensor.shape, name, tensor.dtype)
        expect(torch.equal(value, tensor), f"{message}: {name}")


def expect_same_state(
    student: Student,
    model: Handle,
    expected: Mapping[str, Tensor],
    message: str,
    names: Iterable[str] | None = None,
) -> None:
    """Expect a held model's tensors, all or those of `names`, to be bit for bit those expected."""
    came = read_state(student, model, expected)
    names = list(expected if names is None else names)
    some = {name: expected[name] for name in names}
    expect_same_tensors({name: came[name] for name in names}, some, message)


def expect_as_before(
    student: Student, model: Handle, net: nn.Module, x: Tensor, what: str, rtol: float = 1e-4
) -> None:
    """Expect a held model to answer as `net` does, before and after a step of SGD that both take.

    So its tensors, its modes, what trains and what stands in .grad are those of `net`, as far as
    outputs tell.
    """
    expected = output(net, x)
    expect_close(model(x), expected, f"{what} answers otherwise.", rtol)
    upstream = expected.flip(0) / expected.abs().max()
    student.run(sgd_step, model, x, upstream, 0.1)
    sgd_step(net, x, upstream, 0.1)
    message = f"{what} is trained otherwise by a step of SGD."
    expect_close(model(x), output(net, x), message, rtol)


def expect_on_its_device(
    student: Student,
    make: Handle,
    module: nn.Module,
    *args: object,
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> None:
    """Expect what `make` makes of a module to lie where that lies, here on the device "meta".

    `shapes`: of all its parameters, in any order; whoever makes nothing there does not have them.
    """
    came = student.run(made_from_meta, make, module, *args)
    message = "What is new is not on the device of what was there."
    expect(type(came) is list and len(came) > 0, message)
    expect(all(type(p) is tuple and len(p) == 2 and p[0] is True for p in came), message)
    if shapes is not None:
        message = 'On the device "meta" the layers are not made as elsewhere.'
        found = sorted((shape for _, shape in came), key=repr)
        expect_equal(found, sorted(shapes, key=repr), message)


def expect_drawn_next(student: Student, rng: Inputs, seed: int) -> None:
    """Expect torch's global generator to be as it was when it was seeded with `seed`.

    It draws in one of several ways: to be ready for all of them one puts it back.
    """
    kind = rng.choice(("uniform_", "normal_", "exponential_"))
    drawn = getattr(torch.empty(50), kind)(generator=torch.Generator().manual_seed(seed))
    message = "The generator is in another state."
    expect_close(student.run(draw_global, 50, kind), drawn, message)


def expect_float(value: Any, expected: float, message: str, within: float = 1e-6) -> None:
    """Expect a number, to `within`."""
    expect(type(value) in (int, float), f"{message} (it is {short(value)}, not a number)")
    right = abs(value - expected) <= within  # False for NaN
    expect(right, f"{message} (got {short(value)}{wanted(expected)})")


def expect_unchanged(came: Any, given: Any, what: str) -> None:
    """Expect what came back of an argument to be what was given: tensors, plain data, or both."""
    changed = f"{what} has been changed."
    if isinstance(given, np.ndarray):
        given = torch.from_numpy(given)  # as arrays come back
    if isinstance(given, Tensor):
        value = expect_tensor(came, given.shape, what, given.dtype)
        expect(torch.equal(value, given.detach()), changed)
    elif isinstance(given, (list, tuple)):
        expect(type(came) is type(given) and len(came) == len(given), changed)
        for left, part in zip(came, given, strict=True):
            expect_unchanged(left, part, what)
    elif isinstance(given, dict):
        expect(type(came) is dict and came.keys() == given.keys(), changed)
        for key, part in given.items():
            expect_unchanged(came[key], part, what)
    else:
        expect_equal(came, given, changed)
