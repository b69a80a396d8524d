"""What the checks of the lesson sft share."""

import copy
import math
import types

import torch
from torch import nn

from autograder.checking.expect import expect, expect_tensor
from autograder.checking.probes import hold, make_sgd
from autograder.checks.shared import common


class Model(nn.Module):
    """What the models here have in common. With `wraps` the logits come in an object."""

    def __init__(self, vocabulary, width, classes):
        """Make the layers."""
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.drop, self.late = nn.Dropout(0.0), nn.Dropout(0.0)
        self.norm_mix = nn.Linear(width, width)  # no norm, whatever its name says
        self.scale = nn.Parameter(torch.ones(width))  # a vector that is neither norm nor bias
        self.scale_bias = nn.Parameter(torch.zeros(width))  # a bias, by the end of its name
        self.rest = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        self.wraps = False

    def forward(self, input_ids, attention_mask=None):
        """Return the logits."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        mask = attention_mask.to(self.embed.weight.dtype)[..., None]  # (B, T, 1)
        x = self.pool(self.drop(self.embed(input_ids)) * mask, mask)
        x = self.rest(torch.tanh(self.norm_mix(x)) * self.scale + self.scale_bias)
        logits = self.head(self.late(x))
        return types.SimpleNamespace(logits=logits) if self.wraps else logits


class Classifier(Model):
    """Logits (B, 3) from the mean over the text."""

    def __init__(self, vocabulary=11, width=6, classes=3):
        """Make the layers."""
        super().__init__(vocabulary, width, classes)

    def pool(self, x, mask):
        """Return the mean where the mask is 1: (B, D)."""
        return x.sum(dim=1) / mask.sum(dim=1)


class LanguageModel(Model):
    """Logits (B, T, 11) from the running mean and, so that the mask matters, the text's sum."""

    def __init__(self, vocabulary=11, width=6):
        """Make the layers."""
        super().__init__(vocabulary, width, vocabulary)

    def pool(self, x, mask):
        """Return the running mean plus a tenth of the sum: (B, T, D)."""
        return x.cumsum(dim=1) / mask.cumsum(dim=1) + 0.1 * x.sum(dim=1, keepdim=True)


def random_model(rng, kind=Classifier):
    """A model with random weights, in float64."""
    net = kind()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(rng.normal(*parameter.shape, std=0.7))
    return net.double()


def tokens(rng, *lengths):
    """Lists of random tokens from 1 on, of these lengths."""
    return [rng.integers(1, 99, (n,)).tolist() for n in lengths]


def a_token(rng):
    """A token for padding, or for an end, that is none of `tokens`."""
    return int(rng.integers(100, 200))


def a_rate(rng):
    """A learning rate for a few steps of AdamW, or the peak of a schedule."""
    return round(float(rng.numpy.uniform(0.005, 0.02)), 4)


def padded(rng, lengths):
    """Random tokens (B, T), padded with 0 on the right, and their mask."""
    input_ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    mask = torch.zeros_like(input_ids)
    for i, n in enumerate(lengths):
        input_ids[i, :n] = rng.integers(1, 11, (n,))
        mask[i, :n] = 1
    return input_ids, mask


def texts(rng, *lengths):
    """A batch of texts of these lengths, each with a class."""
    input_ids, mask = padded(rng, lengths)
    labels = rng.integers(0, 3, (len(lengths),))
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def pairs(rng, *lengths):
    """A batch of prompts with responses, of these (prompt, response) lengths."""
    input_ids, mask = padded(rng, [a + b for a, b in lengths])
    labels = input_ids.masked_fill(mask == 0, -100)
    for i, (prompt, _) in enumerate(lengths):
        labels[i, :prompt] = -100
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def logits_of(net, batch):
    """What a model of this side answers."""
    came = net(batch["input_ids"], batch["attention_mask"])
    return came.logits if net.wraps else came


def loss_and_right(net, batches):
    """Sum of the losses, number of right predictions, number of labels, one label at a time."""
    loss, right, n = 0.0, 0, 0
    for batch in batches:
        for row, labels in zip(logits_of(net, batch), batch["labels"], strict=True):
            rows, labels = (row[:-1], labels[1:]) if labels.dim() else (row[None], labels[None])
            for scores, label in zip(rows, labels.tolist(), strict=True):
                if label != -100:
                    loss = loss - scores.log_softmax(dim=0)[label]
                    right += int(scores.argmax()) == label
                    n += 1
    return loss, right, n


def clipped_gradients(net, batches, max_grad_norm):
    """The loss over all batches together, and its gradient by name, clipped as a whole."""
    total, _, n = loss_and_right(net, batches)
    names, parameters = zip(
        *[(k, p) for k, p in net.named_parameters() if p.requires_grad], strict=True
    )
    found = torch.autograd.grad(total / n, parameters)
    norm = math.sqrt(sum(g.square().sum().item() for g in found))
    factor = min(1.0, max_grad_norm / norm)
    return total.item() / n, {k: g * factor for k, g in zip(names, found, strict=True)}


def sgd_by_hand(net, batches, lr, max_grad_norm=math.inf):
    """A copy of `net`, without dropout, after a step of SGD on all batches, and the loss before."""
    net = copy.deepcopy(net).eval()
    loss, found = clipped_gradients(net, batches, max_grad_norm)
    with torch.no_grad():
        for name, gradient in found.items():
            net.get_parameter(name).sub_(lr * gradient)
    return net, loss


def expect_integers(value, expected, message):
    """Expect this very tensor of integers."""
    came = expect_tensor(value, expected.shape, f"{message.rstrip('.')}: what came", torch.int64)
    expect(torch.equal(came, expected), message)


def expect_float(value, expected, message, rtol=1e-6):
    """Expect a float, to rounding."""
    common.expect_float(value, expected, message, rtol * max(1e-3, abs(expected)))


def entry(result, key):
    """What a dict that came back has under a key."""
    expect(type(result) is dict, "The result should be a dict.")
    expect(key in result, f"The result has no {key!r}.")
    return result[key]


def log_normal(rng):
    """The lengths that the task states."""
    return rng.numpy.lognormal(4, 0.7, 2000).round().clip(4, 512).astype(int).tolist()


def batches_of(value, n):
    """The batches that came back, if they are lists of ints that hold each index once."""
    expect(type(value) is list, "The result should be a list.")
    ok = all(type(b) is list and all(type(i) is int for i in b) for b in value)
    expect(ok, "Each batch should be a list of ints.")
    once = sorted(i for batch in value for i in batch) == list(range(n))
    expect(once, "Not every index is there exactly once.")
    return value


PLAIN = {"warmup_ratio": 0.0, "weight_decay": 0.0, "max_grad_norm": 1e3, "seed": 1}
"""What `fine_tune` is given where a check is about something else."""


def expect_large_step(student, rng, net, batches, message, max_grad_norm=1e3, given=None):
    """Expect one step on these micro-batches to be that on the large batch; return the model."""
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.5)
    given = batches if given is None else given
    came = student.accumulated_step(model, given, optimizer, max_grad_norm)
    expected, loss = sgd_by_hand(net, batches, 0.5, max_grad_norm)
    expect_float(came, loss, f"{message} the loss is not that of the large batch.")
    message = f"{message} it is not the step of the large batch"
    common.expect_state(student, model, expected.state_dict(), message, 1e-5)
    return model
