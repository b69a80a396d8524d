"""What the checks of the lesson lora share."""

import copy
from collections import OrderedDict

import torch
from torch import nn

from autograder.checking.expect import expect, expect_close, expect_equal
from autograder.checking.handle import Handle
from autograder.checking.probes import sgd_step, shift_everything
from autograder.checks.shared.common import fail_of_parameter, output


def set_matrices(model, values, names):
    """Give layers of a model, by dotted name, these two matrices.

    Returns the layer's and the attribute's name, and the attribute, of one that cannot have its
    value, being no tensor or of another shape; else None.
    """
    import torch

    with torch.no_grad():
        for name, pair in values.items():
            layer = model.get_submodule(name)
            for matrix, value in zip(names, pair, strict=True):
                parameter = getattr(layer, matrix)
                if not isinstance(parameter, torch.Tensor) or parameter.shape != value.shape:
                    return name, matrix, parameter
                parameter.copy_(value)
    return None


def give_adapters(student, model, values, names=("lora_A", "lora_B")):
    """Give the adapters of a held model, by dotted name, these (lora_A, lora_B)."""
    misfit = student.run(set_matrices, model, values, names)
    if type(misfit) is tuple and len(misfit) == 3:
        for name, pair in values.items():
            for matrix, value in zip(names, pair, strict=True):
                if misfit[:2] == (name, matrix):
                    fail_of_parameter(f"{matrix} of {name}", value, misfit[2])


def save_and_go_on(save, model):
    """Report what was saved, as it is after the model has changed."""
    state = save(model)
    shift_everything(model)
    return {name: state[name] for name in list(state)}


def mark(model, number):
    """Leave a number on a model."""
    model.number = number


def expect_same(student, rng, one, other, message):
    """Expect two handles to stand for one model: what is done to one shows in the other."""
    expect(isinstance(one, Handle), message)
    number = rng.seed()
    student.run(mark, one, number)
    expect_equal(other.number, number, message)


def with_updates(net, values, scale):
    """Return a copy of `net` whose weights, by name, have the update scale · BA added."""
    net = copy.deepcopy(net)
    with torch.no_grad():
        for name, (lora_A, lora_B) in values.items():
            update = torch.einsum("or,r...->o...", lora_B.flatten(1), lora_A)
            net.get_submodule(name).weight += scale * update
    return net


def stepped(net, values, scale, also, x, upstream, lr):
    """Return `net` and its adapters' matrices after a step of SGD in closed form.

    What trains is these matrices, by name, and all inside the modules of `also`.
    """
    net = copy.deepcopy(net).requires_grad_(False)
    for name in also:
        net.get_submodule(name).requires_grad_(True)
    leaves = {name: [t.clone().requires_grad_() for t in pair] for name, pair in values.items()}
    weights = {}
    for name, (lora_A, lora_B) in leaves.items():
        update = torch.einsum("or,r...->o...", lora_B.flatten(1), lora_A)
        weights[f"{name}.weight"] = net.get_submodule(name).weight + scale * update
    torch.func.functional_call(net, weights, x).backward(upstream)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
        moved = {name: tuple(t - lr * t.grad for t in pair) for name, pair in leaves.items()}
    return net, moved


def expect_trained_alone(student, rng, model, net, names, also, rank=2, scale=2.0):
    """Expect a step of SGD to move the adapters of these layers and the modules of `also` alone."""
    values, x, upstream = matrices(rng, net, names, rank), rng.normal(5, 6), rng.normal(5, 3)
    give_adapters(student, model, values)
    student.run(sgd_step, model, x, upstream, 0.1)
    net, values = stepped(net, values, scale, also, x, upstream, 0.1)
    message = "After a step of SGD the model does not answer as with these parameters moved."
    expect_close(model(x), output(with_updates(net, values, scale), x), message)


def matrices(rng, net, names, rank):
    """Return random (lora_A, lora_B) for these layers of `net`."""
    values = {}
    for name in names:
        weight = net.get_submodule(name).weight
        ones = (1,) * (weight.dim() - 2)
        values[name] = (
            rng.normal(rank, *weight.shape[1:], std=0.5).to(weight.dtype),
            rng.normal(weight.shape[0], rank, *ones, std=0.5).to(weight.dtype),
        )
    return values


def adapter_settings(rng, beyond=2):
    """Return a rank above `beyond`, a lora_alpha, and lora_alpha / rank, which is not whole.

    So no constant of a visible check is right, nor a division that rounds.
    """
    rank, whole = beyond + 1 + int(rng.integers(0, 3)), int(rng.integers(0, 3))
    scale = whole + rng.choice((0.25, 0.5, 0.75))
    return rank, rank * scale, scale


def two_towers(rng):
    """Two small networks with layers of equal names, one behind the other, and a head."""

    def tower(width):
        return nn.Sequential(
            OrderedDict(query=rng.linear(6, 6), act=nn.Tanh(), value=rng.linear(6, width))
        )

    return nn.Sequential(OrderedDict(encoder=tower(6), decoder=tower(5), head=rng.linear(5, 3)))


def classifier(rng):
    """A small classifier of (B, 1, 4, 4) images with three classes, in double precision."""
    parts = OrderedDict(conv=rng.conv2d(1, 3, 3), act=nn.Tanh(), flat=nn.Flatten())
    parts |= OrderedDict(mid=rng.linear(12, 6), act2=nn.Tanh(), drop=nn.Dropout(0.0))
    parts |= OrderedDict(head=rng.linear(6, 3))
    return nn.Sequential(parts).double()


def batches(rng, *sizes):
    """Random images and labels in batches of these sizes."""
    return [(rng.normal(n, 1, 4, 4).double(), rng.integers(0, 3, (n,))) for n in sizes]


SETTINGS = {
    "target_modules": ["conv", "mid"],
    "rank": 2,
    "lora_alpha": 4.0,
    "train_also": ["head"],
}
"""What `adapt_with_lora` is given, beside what `adapt` is."""


def adapt(student, model, loader, **settings):
    """Run adapt_with_lora; return the model it gives and the history."""
    came = student.adapt_with_lora(model, loader, **{**SETTINGS, **settings})
    expect(type(came) is tuple and len(came) == 2, "It should return a pair (model, history).")
    expect(type(came[1]) is dict, "The history should be a dict.")
    return came
