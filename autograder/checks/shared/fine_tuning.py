"""What the checks of the lesson fine_tuning share."""

import copy
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from autograder.checking.expect import expect, expect_close, short, wanted
from autograder.checking.probes import hold, sgd_step, state_of
from autograder.checks.shared.common import expect_state, fill_norm, output


def step_by_groups(function, model, gradients, *settings):
    """Make groups of a model, step by SGD with decay and these gradients; report their keys.

    A parameter that stands twice moves twice.
    """
    import torch

    groups = function(model, *settings)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for group in groups:
            decay = group.get("weight_decay", 0.0)
            for parameter in group["params"]:
                gradient = gradients[names[id(parameter)]]
                parameter -= group["lr"] * (gradient + decay * parameter)
    return [list(group) for group in groups]


def expect_step(student, model, net, x, upstream, trainable, message):
    """Expect a step of SGD to move of a held model the parameters that are named; `net` takes it.

    Its tensors may be shown otherwise than they are: its outputs have to follow.
    """
    for name, parameter in net.named_parameters():
        parameter.requires_grad = name in trainable
    student.run(sgd_step, model, x, upstream, 0.1)
    sgd_step(net, x, upstream, 0.1)
    expect_state(student, model, state_of(net), message)
    expect_close(model(x), output(net, x), f"{message}: the outputs")


def grouped(net, gradients, rules):
    """The state of `net` after a step with (rate, decay) by name; parameters not named stay."""
    state = {name: tensor.clone() for name, tensor in state_of(net).items()}
    for name, (rate, decay) in rules.items():
        state[name] -= rate * (gradients[name] + decay * state[name])
    return state


def expect_rates(student, rng, net, blocks, powers, message):
    """Expect groups by which each parameter moves with a rate of lr · decay to its power, if any.

    `powers` are those of the parameters whose names begin so.
    """
    model, gradients = student.run(hold, net), random_gradients(rng, net)
    lr, decay = (float(rng.numpy.uniform(*ends)) for ends in ((0.5, 0.9), (0.4, 0.7)))
    student.run(step_by_groups, student.layerwise_rates, model, gradients, blocks, lr, decay)
    trained = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    rules = {n: (lr * decay**k, 0.0) for n in trained for p, k in powers.items() if n.startswith(p)}
    expect_state(student, model, grouped(net, gradients, rules), message)


def random_gradients(rng, net):
    """A random gradient for each parameter."""
    return {name: rng.normal(*parameter.shape) for name, parameter in net.named_parameters()}


def two_towers(rng):
    """A network of two parts with layers of equal names, and a head."""

    def tower(width):
        return nn.Sequential(
            OrderedDict(first=rng.linear(6, 6), act=nn.Tanh(), second=rng.linear(6, width))
        )

    return nn.Sequential(OrderedDict(lower=tower(6), upper=tower(5), head=rng.linear(5, 3)))


def drawn_rates(rng):
    """A rate for the body, one for the head, and a decay."""
    return [float(rng.numpy.uniform(*ends)) for ends in ((0.1, 0.3), (0.4, 0.6), (0.05, 0.2))]


def expect_groups(student, rng, net, rules, message, settings, head="head"):
    """Expect groups by which a step puts each parameter where `rules`, by name, would."""
    lr, head_lr, decay = settings
    model, gradients = student.run(hold, net), random_gradients(rng, net)
    given = student.parameter_groups, model, gradients, head, lr, head_lr, decay
    keys = student.run(step_by_groups, *given)
    whole = all({"params", "lr", "weight_decay"} <= set(group) for group in keys)
    expect(whole, "Each group should set params, lr and weight_decay.")
    expect_state(student, model, grouped(net, gradients, rules), message)


def batches(rng, *sizes):
    """Random inputs (n, 6) and labels of three classes, in batches of these sizes."""
    return [(rng.normal(n, 6), rng.integers(0, 3, (n,))) for n in sizes]


def body(rng):
    """A small body, inputs (B, 6) → features (B, 5), with a batch-norm, in train mode."""
    parts = OrderedDict(first=rng.linear(6, 8), bn=fill_norm(rng, nn.BatchNorm1d(8)))
    parts |= OrderedDict(act=nn.Tanh(), second=rng.linear(8, 5))
    return nn.Sequential(parts)


def probe_by_hand(backbone, head, loader, epochs, lr):
    """Train a copy of the head on the body's features; return its state and the losses."""
    backbone, head = copy.deepcopy(backbone).eval(), copy.deepcopy(head)
    features = [output(backbone, inputs) for inputs, _ in loader]
    optimizer, losses = torch.optim.Adam(head.parameters(), lr=lr), []
    for _ in range(epochs):
        total = 0.0
        for x, (_, labels) in zip(features, loader, strict=True):
            loss = F.cross_entropy(head(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / sum(len(labels) for _, labels in loader))
    return state_of(head), losses


def expect_losses(came, expected):
    """Expect a list of floats near these."""
    fine = type(came) is list and all(type(loss) is float for loss in came)
    expect(fine, "linear_probe should return a list of floats.")
    expect(
        len(came) == len(expected), f"It returned {short(len(came))} losses, not {len(expected)}."
    )
    for index, (loss, right) in enumerate(zip(came, expected, strict=True)):
        near = abs(loss - right) <= 1e-3 * right  # False for NaN
        told = f"{short(loss)}, which is not right{wanted(right)}"
        expect(near, f"The loss of epoch {index + 1} is {told}.")


def small_net(rng):
    """A small classifier of (B, 6), with a batch-norm in its body and a head `fc`."""
    return nn.Sequential(OrderedDict(body=body(rng), fc=rng.linear(5, 3)))


def saved_parallel(net):
    """A checkpoint of `net` as DataParallel would save it."""
    return {f"module.{name}": tensor for name, tensor in state_of(net).items()}
