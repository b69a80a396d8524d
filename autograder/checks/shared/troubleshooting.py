"""What the checks of the lesson troubleshooting share."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from autograder.checking.expect import expect, expect_close, expect_equal, short, wanted
from autograder.checking.probes import hold, make_sgd
from autograder.checks.shared.common import fill_norm


def make_scaler(scale):
    """Return torch's own scaler, for the CPU."""
    import torch

    return torch.amp.GradScaler("cpu", init_scale=scale)


def saved_bytes(function, blocks, x):
    """Report the bytes of what a forward saves for backward, parameters not counted."""
    import torch

    seen, kept = {}, []
    own = {p.untyped_storage().data_ptr() for block in blocks for p in block.parameters()}

    def pack(tensor):
        kept.append(tensor.detach())  # alive: no address is used twice
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return kept[-1]  # not tensor, which would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = function(blocks, x)
    return sum(size for place, size in seen.items() if place not in own), output.detach()


def in_turn(blocks, x):
    """Put x through the blocks."""
    for block in blocks:
        x = block(x)
    return x


class Bend(nn.Module):
    """A block that is not linear in its input: tanh of a layer, scaled."""

    def __init__(self, weight, scale):
        """Keep both."""
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight), nn.Parameter(scale)

    def forward(self, x):
        """Answer."""
        return torch.tanh(x @ self.weight.T) * self.scale


class Root(nn.Module):
    """The square root: NaN where its input is negative."""

    def forward(self, x):
        """Take the root."""
        return x.sqrt()


def between(rng, low, high):
    """A number of the range, to three decimals: it can be read in a message."""
    return round(float(rng.numpy.uniform(low, high)), 3)


def in_short(values):
    """A list of numbers for a message."""
    return str([round(value, 4) for value in values])


def falling(rng, count):
    """Losses that fall by a seventh at least each time: they are not all near one number."""
    values = [between(rng, 1.0, 4.0)]
    while len(values) < count:
        values.append(values[-1] * between(rng, 0.6, 0.85))
    return values


def series(rng, marks, mode="min"):
    """Values for early stopping: where the mark is "g" a gain, where "." none, where "n" NaN."""
    sign, best, values = (1 if mode == "min" else -1), between(rng, 2.0, 4.0), []
    for at, mark in enumerate(marks):
        if mark == "g" and "g" in marks[:at]:
            best -= sign * between(rng, 0.05, 0.3)
        off = {"g": 0.0, ".": sign * between(rng, 0.05, 0.3), "n": math.nan}[mark]
        values.append(round(best + off, 3))
    return values


def expect_stops(student, rng, marks, patience, mode):
    """Expect an EarlyStopping to say True where there have been as many values without a gain."""
    model, values = student.run(hold, rng.linear(3, 2)), series(rng, marks, mode)
    stopping = student.EarlyStopping(patience, mode=mode)
    came = [stopping.step(value, model) for value in values]
    rows = [marks[: at + 1][-patience:] for at in range(len(marks))]
    expected = [len(row) == patience and "g" not in row for row in rows]
    message = f"For {in_short(values)}, patience {patience} and mode {mode!r} it is not right."
    expect_equal(came, expected, message)


TASKS = ("chess", "digits", "faces", "letters", "songs", "words")


def scores_of(rng, count, low=0.1, high=1.0):
    """Scores of the first so many tasks, by name."""
    return {name: between(rng, low, high) for name in TASKS[:count]}


def lost(before, after):
    """What `forgetting` should say, in any order: what is lost of each score of `before`."""
    return {name: score - after[name] for name, score in before.items()}


def classifier(rng, width=4, classes=3):
    """A small classifier without dropout and batch-norm, in double precision."""
    return nn.Sequential(rng.linear(width, 6), nn.Tanh(), rng.linear(6, classes)).double()


def calm(net):
    """Make the head's weights small: on any batch the loss is near that of a constant guess."""
    with torch.no_grad():
        for parameter in net[-1].parameters():
            parameter *= 0.2
    return net


def batch_of(rng, size, width=4, classes=3):
    """One batch (x, labels) in double precision."""
    return rng.normal(size, width).double(), rng.integers(0, classes, (size,))


def sgd_on(net, batches, rates):
    """Train `net` in place by SGD in closed form; return the loss before each step."""
    losses = []
    for (x, labels), rate in zip(batches, rates, strict=True):
        loss = F.cross_entropy(net(x), labels)
        losses.append(loss.item())
        parameters = [p for p in net.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= rate * gradient
    return losses


def momentum_on(net, batches, rates):
    """Train `net` in place by what `make_momentum_sgd` makes, in closed form."""
    speeds = [torch.zeros_like(parameter) for parameter in net.parameters()]
    for x, labels in batches:
        parameters = list(net.parameters())
        gradients = torch.autograd.grad(F.cross_entropy(net(x), labels), parameters)
        with torch.no_grad():
            for index, (speed, gradient) in enumerate(zip(speeds, gradients, strict=True)):
                speed.mul_(0.9).add_(gradient)
                parameters[index] -= rates[min(index, 1)] * speed


def expect_floats(value, expected, what, rtol=1e-9):
    """Expect a list of floats to be these."""
    fine = type(value) is list and all(type(each) is float for each in value)
    expect(fine, f"{what} should be a list of floats.")
    expect(
        len(value) == len(expected), f"{what} has {short(len(value))} entries, not {len(expected)}."
    )
    came, right = (torch.tensor(each, dtype=torch.float64) for each in (value, expected))
    expect_close(came, right, f"{what} is not right.", rtol=rtol)


def expect_near(value, expected, what, rtol=1e-6):
    """Expect one float to be this, to `rtol` of its size."""
    expect(type(value) is float, f"{what} should be a float.")
    right = abs(value - expected) <= rtol * abs(expected)  # False for NaN
    expect(right, f"{what} is {short(value)}, which is not right{wanted(expected)}.")


def encoder(rng, blocks, dropout=0.0):
    """Blocks of a transformer, in train mode, with random weights."""
    layers = []
    for _ in range(blocks):
        block = nn.TransformerEncoderLayer(
            32, 4, 128, dropout=dropout, batch_first=True, norm_first=True
        )
        with torch.no_grad():
            for parameter in block.parameters():
                parameter.copy_(rng.normal(*parameter.shape, std=0.1))
            block.norm1.weight += 1.0
            block.norm2.weight += 1.0
        layers.append(block)
    return layers


def normed(rng, width=4, classes=3):
    """A small classifier with a batch-norm that has seen other data, in double precision."""
    norm = fill_norm(rng, nn.BatchNorm1d(6))
    return nn.Sequential(rng.linear(width, 6), norm, nn.Tanh(), rng.linear(6, classes)).double()


class Bigram(nn.Module):
    """A language model that sees one token: its logits are a row of a table."""

    def __init__(self, table):
        """Keep the table (V, V)."""
        super().__init__()
        self.table = nn.Parameter(table)

    def forward(self, input_ids):
        """Return logits (B, T, V) of tokens (B, T)."""
        return self.table[input_ids]


def probed(student, rng, body, head, training=True):
    """Take a probe_step; return the batch and the two parts, that are held."""
    batch = batch_of(rng, 6)
    parts = student.run(hold, body.train(training)), student.run(hold, head)
    optimizer = student.run(make_sgd, parts[1], 0.2)
    student.probe_step(*parts, optimizer, *batch)
    return batch, parts


def steep(rng):
    """A network and a batch with large gradients, in single precision."""
    net = nn.Sequential(rng.linear(6, 8), nn.Tanh(), rng.linear(8, 3))
    return net, rng.normal(16, 6, std=3.0), rng.integers(0, 3, (16,))


def total_norm(net, x, labels):
    """The gradients of a batch, and their total norm."""
    gradients = torch.autograd.grad(F.cross_entropy(net(x), labels), list(net.parameters()))
    return gradients, math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
