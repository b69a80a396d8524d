"""The checks of the fine-tuning lesson that decide: each looks at one property of a task.

Every expected value is worked out here, in plain torch, from this side's own copy of the inputs;
what runs beside the submission's objects only does and reports.
"""

import copy
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autograder.checking.expect import (
    award_judgements,
    expect,
    expect_close,
    expect_equal,
    expect_number,
    expect_raises,
    expect_tensor,
    short,
)
from autograder.checking.probes import (
    deep_copy,
    fill_gradients,
    hold,
    load_and_go_on,
    modes_of,
    set_mode,
    sgd_step,
    state_of,
    step_of,
    trainable,
)
from autograder.checks.shared import on_gpu
from autograder.checks.shared.common import (
    MindsAGraph,
    Tires,
    conv_net,
    expect_as_before,
    expect_same_state,
    expect_state,
    expect_timed_losses,
    fill_norm,
    output,
    read_state,
    telling,
)
from autograder.checks.shared.fine_tuning import (
    batches,
    body,
    drawn_rates,
    expect_groups,
    expect_losses,
    expect_rates,
    expect_step,
    grouped,
    probe_by_hand,
    random_gradients,
    saved_parallel,
    small_net,
    step_by_groups,
    two_towers,
)

NOT_THERE = "A tensor is not where a step of training puts it"

# -------------------------------------------------------------------------- more probes and models


class Tied(nn.Module):
    """An embedding whose weight is also the head's, and a layer between: (B, T) → (B, T, 9)."""

    def __init__(self, rng):
        """Start from random weights."""
        super().__init__()
        self.embed = nn.Embedding(9, 4)
        self.mix = rng.linear(4, 4)
        self.head = nn.Linear(4, 9)
        with torch.no_grad():
            self.embed.weight.copy_(rng.normal(9, 4))
            self.head.bias.copy_(rng.normal(9))
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        """Give logits of tokens."""
        return self.head(torch.tanh(self.mix(self.embed(tokens))))


class Scaled(nn.Module):
    """A scale and an offset for each feature, under names that say little."""

    def __init__(self, rng, width):
        """Start from random values."""
        super().__init__()
        self.gamma = nn.Parameter(rng.normal(width))
        self.shift = nn.Parameter(rng.normal(width))

    def forward(self, x):
        """Scale and shift."""
        return self.gamma * x + self.shift


class OwnNorm(nn.LayerNorm):
    """A subclass of a norm layer."""


def train_forwards(model, *inputs):
    """Forward passes in train mode."""
    model.train()
    for x in inputs:
        model(x)


def shift_of_parameters(model):
    """Return a function that adds one to the Parameters which the model has now."""
    import torch

    found = list(model.parameters())

    def shift():
        with torch.no_grad():
            for parameter in found:
                parameter.add_(1.0)

    return shift


def settings_of(function, model, *settings):
    """Make groups; report each one's rate and the names of its parameters."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = function(model, *settings)
    return [[group["lr"], sorted(names[id(p)] for p in group["params"])] for group in groups]


def set_modes(model, modes):
    """Put submodules, by their dotted names, into train or eval mode, each by itself."""
    for name, mode in modes.items():
        model.get_submodule(name).training = mode


def start_and_report(start_from, model, state):
    """Prepare a model; report the checkpoint as it is afterwards."""
    start_from(model, state, 4, 0.1)
    return state


def all_names(net):
    """The names of all parameters."""
    return {name for name, _ in net.named_parameters()}


def expect_left_alone(student, model, net, x):
    """Expect tensors, modes and what trains of a held model to be those of `net`."""
    expect_same_state(student, model, state_of(net), "A tensor has changed")
    expect_as_before(student, model, net, x, "The model")


# ------------------------------------------------------------------------------- count_parameters


@pytest.mark.task("count_parameters", points=1)
def test_shared_parameters_count_once(student, rng):
    """A Parameter with several names counts once, and counting leaves the model unchanged."""
    net = Tied(rng)
    net.again = net.mix
    net.mix.requires_grad_(False)
    expected = (9 * 4 + 9, 9 * 4 + 9 + 4 * 4 + 4)
    model = student.run(hold, net)
    came = student.count_parameters(model)
    expect_equal(came, expected, "With a tied weight and a module in two places it is not right.")
    expect_equal(student.run(trainable, model), trainable(net), "Other parameters are trainable.")


@pytest.mark.task("count_parameters", points=1)
def test_nothing_is_read(student, rng):
    """A model on the meta device, without values, is counted as well."""
    width = int(rng.integers(2_000, 9_000))
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width, bias=False))
    expected = 2 * width**2 + width
    came = student.count_parameters(net)
    expect_equal(came, (expected, expected), "On the meta device it is not right.")


@pytest.mark.task("count_parameters", points=1)
def test_model_without_parameters(student, rng):
    """A model without parameters has (0, 0), two ints."""
    came = student.count_parameters(nn.Sequential(nn.Flatten(), nn.ReLU()))
    expect_equal(came, (0, 0), "Without parameters it should be (0, 0).")
    width = int(rng.integers(3, 30))
    expected = (2 * width + 2,) * 2
    came = student.count_parameters(rng.linear(width, 2))
    expect_equal(came, expected, "A linear layer is not counted rightly.")


# ---------------------------------------------------------------------------------- set_trainable


@pytest.mark.task("set_trainable", points=1)
def test_frozen_batch_norm_changes_no_buffer(student, rng):
    """Forward passes in train mode change no buffer of a frozen batch-norm."""
    net, x = conv_net(rng), rng.normal(5, 2, 6, 6)
    model = student.run(hold, net)
    student.set_trainable(model, ["fc.*"])
    student.run(train_forwards, model, x, rng.normal(5, 2, 6, 6))
    expect_same_state(student, model, state_of(net), "A tensor has changed")
    student.run(set_mode, model, False)
    expect_close(model(x), output(net.eval(), x), "In eval mode it answers otherwise.")


@pytest.mark.task("set_trainable", points=1)
def test_frozen_batch_norm_in_a_copy(student, rng):
    """In a copy.deepcopy of the model a frozen batch-norm stays frozen."""
    net, x = conv_net(rng), rng.normal(5, 2, 6, 6)
    model = student.run(hold, net)
    student.set_trainable(model, ["fc.*"])
    twin = student.run(deep_copy, model)
    student.run(train_forwards, twin, x)
    student.run(set_mode, twin, True)
    expect_close(
        twin(x), output(net.eval(), x), "In train mode the copy does not answer as in eval mode."
    )


@pytest.mark.task("set_trainable", points=0.5)
def test_second_call_replaces_the_first(student, rng):
    """A second call replaces the first, an empty list freezes everything; it returns None."""
    net, x, upstream = two_towers(rng), rng.normal(4, 6), rng.normal(4, 3)
    for second in (["head.*"], []):
        model = student.run(hold, net)
        student.set_trainable(model, ["lower.*"])
        expect_equal(student.set_trainable(model, second), None, "It should return None.")
        names = {name for name in all_names(net) if second and name.startswith("head.")}
        message = f"A tensor is not right after {second} as second call"
        expect_step(student, model, copy.deepcopy(net), x, upstream, names, message)


def expect_learning(student, rng, model, net, names):
    """Expect a model to train on a batch as `net` does with these parameters."""
    x, upstream = rng.normal(5, 2, 6, 6), rng.normal(5, 3)
    student.run(set_mode, model, True)
    message = "A tensor is not where a step in train mode puts it"
    expect_step(student, model, net.train(), x, upstream, names, message)


@pytest.mark.task("set_trainable", points=1)
def test_thawed_batch_norm_learns(student, rng):
    """A batch-norm that a second call thaws normalises with the batch and updates its buffers."""
    net = conv_net(rng)
    model = student.run(hold, net)
    student.set_trainable(model, ["fc.*"])
    student.run(set_mode, model, False)
    x, upstream = rng.normal(5, 2, 6, 6), rng.normal(5, 3)
    message = "Frozen, it does not answer and train as in eval mode"
    expect_step(student, model, net.eval(), x, upstream, {"fc.weight", "fc.bias"}, message)
    student.set_trainable(model, ["*"])
    expect_learning(student, rng, model, net, all_names(net))


@pytest.mark.task("set_trainable", points=1)
def test_half_a_batch_norm_learns(student, rng):
    """A batch-norm of which only the weight or only the bias trains learns as usual."""
    for part in ("bn1.bias", "bn1.weight"):
        net = conv_net(rng)
        model = student.run(hold, net)
        student.set_trainable(model, [part])
        expect_learning(student, rng, model, net, {part})


@pytest.mark.task("set_trainable", points=0.5)
def test_patterns_are_globs_over_whole_names(student, rng):
    """Patterns, a list or a tuple, are globs over whole names: dots, ?, [sets], upper case."""
    net, x, upstream = two_towers(rng), rng.normal(4, 6), rng.normal(4, 3)
    cases = {
        "*.second.weight": {"lower.second.weight", "upper.second.weight"},
        "*[ds].bias": {"upper.second.bias", "lower.second.bias", "head.bias"},
        "?????.first.bias": {"lower.first.bias", "upper.first.bias"},
    }
    for pattern, names in cases.items():
        model = student.run(hold, net)
        student.set_trainable(model, (pattern,))
        message = f"A tensor is not right with the pattern {pattern!r}"
        expect_step(student, model, copy.deepcopy(net), x, upstream, names, message)
    for pattern in ("head", "ead.weight", "Head.*", "first"):
        message = f"The pattern {pattern!r} matches no whole name and should be a ValueError."
        expect_raises(ValueError, lambda p=pattern: student.set_trainable(model, [p]), message)


@pytest.mark.task("set_trainable", points=0.5)
def test_refusal_changes_nothing(student, rng):
    """A call that is refused, a string instead of a list included, leaves the model unchanged."""
    net, x, upstream = two_towers(rng), rng.normal(4, 6), rng.normal(4, 3)
    model = student.run(hold, net)
    student.set_trainable(model, ["lower.*"])
    for patterns in (["head.*", "body.*"], "head.*", "*"):
        message = f"{patterns!r} should be a ValueError."
        expect_raises(ValueError, lambda p=patterns: student.set_trainable(model, p), message)
    names = {name for name in all_names(net) if name.startswith("lower.")}
    message = "A tensor does not train as before the refusal"
    expect_step(student, model, net, x, upstream, names, message)


@pytest.mark.task("set_trainable", points=0.5)
def test_tied_parameter_has_several_names(student, rng):
    """A tied Parameter trains if a pattern matches any of its names."""
    net, tokens, upstream = Tied(rng), rng.integers(0, 9, (2, 5)), rng.normal(2, 5, 9)
    for pattern in ("head.weight", "embed.*"):
        model = student.run(hold, net)
        student.set_trainable(model, [pattern])
        message, tied = f"A tensor is not right with the pattern {pattern!r}", {"embed.weight"}
        expect_step(student, model, copy.deepcopy(net), tokens, upstream, tied, message)


@pytest.mark.task("set_trainable", points=0.5)
def test_every_kind_of_batch_norm(student, rng):
    """Batch-norms of 1 and 3 dimensions, synchronised or without parameters are frozen, too."""
    one, three = nn.BatchNorm1d(4), nn.BatchNorm3d(4)
    plain, synchronised = nn.BatchNorm1d(4, affine=False), nn.SyncBatchNorm(4)
    for norm, x in (
        (one, rng.normal(6, 4)),
        (three, rng.normal(3, 4, 2, 2, 2)),
        (plain, rng.normal(6, 4)),
        (synchronised, rng.normal(6, 4)),
    ):
        net = nn.Sequential(OrderedDict(norm=fill_norm(rng, norm), flat=nn.Flatten()))
        net.add_module("fc", rng.linear(x[0].numel(), 3))
        model = student.run(hold, net)
        student.set_trainable(model, ["fc.*"])
        student.run(train_forwards, model, x)
        student.run(set_mode, model, True)
        kind = f"{type(norm).__name__}{'' if norm.affine else ' without parameters'}"
        expect_close(model(x), output(net.eval(), x), f"A {kind} is not frozen in train mode.")
    net, x = fill_norm(rng, nn.BatchNorm1d(4)), rng.normal(6, 4)
    model = student.run(hold, net)
    student.set_trainable(model, [])
    student.run(train_forwards, model, x)
    message = "A batch-norm that is the model itself is not frozen in train mode."
    expect_close(model(x), output(net.eval(), x), message)


@pytest.mark.task("set_trainable", points=0.5)
def test_gradients_pass_a_frozen_batch_norm(student, rng):
    """Gradients flow through a frozen batch-norm to what trains below it."""
    net = conv_net(rng)
    model = student.run(hold, net)
    student.set_trainable(model, ["conv1.*"])
    net.bn1.requires_grad_(False)
    net.fc.requires_grad_(False)
    x, upstream = rng.normal(5, 2, 6, 6), rng.normal(5, 3)
    student.run(set_mode, model, True)
    student.run(sgd_step, model, x, upstream, 0.1)
    sgd_step(net.eval(), x, upstream, 0.1)
    expect_close(model.conv1.weight, net.conv1.weight, "conv1.weight is not where a step puts it.")
    expect_close(model(x), output(net, x), "After a step the outputs are not right.")


# ------------------------------------------------------------------------------- parameter_groups


@pytest.mark.task("parameter_groups", points=1)
def test_norms_are_known_by_their_type(student, rng):
    """Every kind of norm layer is spared decay, whatever the shape of its weight, by its type."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 12), square=nn.LayerNorm((3, 4))))
    for name, norm in (
        ("a", nn.RMSNorm(12)),
        ("b", nn.GroupNorm(2, 12)),
        ("c", nn.InstanceNorm1d(12, affine=True)),
        ("d", nn.BatchNorm1d(12)),
        ("e", OwnNorm((2, 6))),
    ):
        net.add_module(name, norm)
    net.add_module("head", rng.linear(12, 3))
    rules = dict.fromkeys(all_names(net), (lr, 0.0)) | {"body.weight": (lr, decay)}
    rules |= {"head.weight": (head_lr, decay), "head.bias": (head_lr, 0.0)}
    expect_groups(
        student, rng, net, rules, "A tensor does not have the decay that it should have", settings
    )


@pytest.mark.task("parameter_groups", points=1)
def test_other_vectors_decay(student, rng):
    """A vector that is neither a bias nor a norm layer's decays; so does a single number."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 4), scale=Scaled(rng, 4)))
    net.add_module("head", rng.linear(4, 3))
    net.scale.register_parameter("temperature", nn.Parameter(rng.normal()))
    rules = {"body.weight": (lr, decay), "body.bias": (lr, 0.0)}
    rules |= {f"scale.{name}": (lr, decay) for name in ("gamma", "shift", "temperature")}
    rules |= {"head.weight": (head_lr, decay), "head.bias": (head_lr, 0.0)}
    expect_groups(
        student, rng, net, rules, "A tensor does not have the decay that it should have", settings
    )


@pytest.mark.task("parameter_groups", points=1)
def test_frozen_parameters_are_in_no_group(student, rng):
    """A frozen parameter stands in no group, no group is empty, and the model stays as it is."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = two_towers(rng)
    net.lower.requires_grad_(False)
    net.head.bias.requires_grad_(False)
    rules = {n: (lr, 0.0 if "bias" in n else decay) for n in all_names(net) if "upper" in n}
    rules["head.weight"] = (head_lr, decay)
    expect_groups(student, rng, net, rules, "A tensor does not move as it should", settings)
    net.head.requires_grad_(False)
    net = telling(rng, net)
    model = student.run(hold, net)
    groups = student.run(settings_of, student.parameter_groups, model, "head", 0.1, 0.2, 0.3)
    expect(all(len(names) > 0 for _, names in groups), "A group has no parameters.")
    expect_left_alone(student, model, net, rng.normal(4, 6))


@pytest.mark.task("parameter_groups", points=0.5)
def test_tied_weight_takes_the_bodys_rate(student, rng):
    """A weight that is tied between body and head moves once, with the body's rate."""
    lr, head_lr, decay = drawn_rates(rng)
    net = Tied(rng)
    rules = {"embed.weight": (lr, decay), "mix.weight": (lr, decay), "mix.bias": (lr, 0.0)}
    rules["head.bias"] = (head_lr, 0.0)
    model, gradients = student.run(hold, net), random_gradients(rng, net)
    given = student.parameter_groups, model, gradients, "head", lr, head_lr, decay
    student.run(step_by_groups, *given)
    expected = grouped(net, gradients, rules)
    expected["head.weight"] = expected["embed.weight"]
    expect_state(student, model, expected, "A tensor does not move as it should")


@pytest.mark.task("parameter_groups", points=0.5)
def test_tied_parameter_is_spared_decay(student, rng):
    """A Parameter is spared decay if any of its names is a bias's or stands in a norm layer."""
    lr, head_lr, decay = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 4), scale=Scaled(rng, 4)))
    net.add_module("norm", nn.LayerNorm(4))
    net.add_module("last", rng.linear(4, 4))
    net.add_module("head", rng.linear(4, 3, bias=False))
    net.norm.weight, net.last.bias = net.scale.gamma, net.scale.shift
    rules = dict.fromkeys(all_names(net), (lr, 0.0)) | {"head.weight": (head_lr, decay)}
    rules |= {"body.weight": (lr, decay), "last.weight": (lr, decay)}
    model, gradients = student.run(hold, net), random_gradients(rng, net)
    given = student.parameter_groups, model, gradients, "head", lr, head_lr, decay
    student.run(step_by_groups, *given)
    expected = grouped(net, gradients, rules)
    expected |= {"norm.weight": expected["scale.gamma"], "last.bias": expected["scale.shift"]}
    expect_state(student, model, expected, "A tensor does not move as it should")


@pytest.mark.task("parameter_groups", points=0.5)
def test_heads_name_is_a_whole_name(student, rng):
    """`head` is the whole dotted name of a module: fc2 is no part of fc."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    inner = nn.Sequential(OrderedDict(fc=rng.linear(4, 4), fc2=rng.linear(4, 4)))
    net = nn.Sequential(OrderedDict(net=inner, fc=rng.linear(4, 3)))
    for head in ("net.fc", "fc"):
        rates = {n: head_lr if n.startswith(f"{head}.") else lr for n in all_names(net)}
        rules = {n: (rate, 0.0 if "bias" in n else decay) for n, rate in rates.items()}
        expect_groups(
            student,
            rng,
            net,
            rules,
            f"A tensor is not right with head={head!r}",
            settings,
            head=head,
        )


@pytest.mark.task("parameter_groups", points=0.5)
def test_any_name_that_ends_in_bias(student, rng):
    """A parameter whose name ends in "bias" is spared decay, as in_proj_bias of an attention; one
    in whose name it stands elsewhere is not.
    """
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(attention=nn.MultiheadAttention(4, 2), head=rng.linear(4, 3)))
    net.attention.register_parameter("bias_table", nn.Parameter(rng.normal(4, 2)))
    for name in ("q_bias", "kbias"):
        net.attention.register_parameter(name, nn.Parameter(rng.normal(4)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(rng.normal(*parameter.shape))
    rates = {n: head_lr if n.startswith("head.") else lr for n in all_names(net)}
    rules = {n: (rate, 0.0 if n.endswith("bias") else decay) for n, rate in rates.items()}
    expect_groups(
        student, rng, net, rules, "A tensor does not have the decay that it should have", settings
    )


@pytest.mark.task("parameter_groups", points=0.5)
def test_unknown_head_is_refused(student, rng):
    """A head that the model does not have is a ValueError."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 4), head=rng.linear(4, 3)))
    for head in ("classifier", "hea", "body.head"):
        expect_raises(
            ValueError,
            lambda h=head: student.parameter_groups(net, h, lr, head_lr, decay),
            f"The model has no {head!r}: that should be a ValueError.",
        )
    rules = {"body.weight": (lr, decay), "body.bias": (lr, 0.0)}
    rules |= {"head.weight": (head_lr, decay), "head.bias": (head_lr, 0.0)}
    expect_groups(student, rng, net, rules, "A tensor does not move as it should", settings)


# -------------------------------------------------------------------------------- layerwise_rates


BLOCKS = [["lower.*"], ["upper.first.*"], ["upper.second.*"], ["head.*"]]


@pytest.mark.task("layerwise_rates", points=1)
def test_frozen_block_still_counts(student, rng):
    """A frozen parameter stands in no group; a block that is wholly frozen, or has no glob, counts
    all the same.
    """
    net = two_towers(rng)
    net.upper.second.requires_grad_(False)
    net.lower.first.bias.requires_grad_(False)
    powers = {"head": 0, "upper.first": 2, "lower": 4}
    blocks = [BLOCKS[0], [], *BLOCKS[1:]]
    expect_rates(student, rng, net, blocks, powers, "A tensor does not move as it should")


@pytest.mark.task("layerwise_rates", points=1)
def test_first_of_several_blocks(student, rng):
    """A Parameter that several blocks match moves once, with the rate of the first of them."""
    net = two_towers(rng)
    blocks = [["lower.*"], ["*.first.*"], ["*"]]
    powers = {"head": 0, "upper.second": 0, "upper.first": 1, "lower": 2}
    message = "A tensor does not move with the rate of its block"
    expect_rates(student, rng, net, blocks, powers, message)


@pytest.mark.task("layerwise_rates", points=0.5)
def test_a_group_a_block_in_their_order(student, rng):
    """There is one group a block that trains, in their order, and the model stays as it is."""
    net = two_towers(rng)
    net.upper.first.requires_grad_(False)
    net = telling(rng, net)
    model = student.run(hold, net)
    came = student.run(settings_of, student.layerwise_rates, model, BLOCKS, 0.8, 0.5)
    expect(len(came) == 3, f"Three of four blocks train, and there are {len(came)} groups.")
    for (_, names), part in zip(came, ("lower.", "upper.second.", "head."), strict=True):
        expected = sorted(name for name in all_names(net) if name.startswith(part))
        expect_equal(names, expected, "A group does not hold the parameters of its block.")
    expect_left_alone(student, model, net, rng.normal(4, 6))


@pytest.mark.task("layerwise_rates", points=0.5)
def test_decay_lies_between_zero_and_one(student, rng):
    """A decay outside (0, 1] is a ValueError; 1 gives all blocks the same rate."""
    net = two_towers(rng)
    model, gradients = student.run(hold, net), random_gradients(rng, net)
    for decay in (0.0, -0.5, 1.5):
        message = f"decay={decay} should be a ValueError."
        expect_raises(
            ValueError, lambda d=decay: student.layerwise_rates(model, BLOCKS, 0.5, d), message
        )
    lr = float(rng.numpy.uniform(0.3, 0.9))
    student.run(step_by_groups, student.layerwise_rates, model, gradients, BLOCKS, lr, 1)
    rules = dict.fromkeys(gradients, (lr, 0.0))
    expect_state(
        student, model, grouped(net, gradients, rules), "A tensor is not right with decay=1"
    )


@pytest.mark.task("layerwise_rates", points=0.5)
def test_glob_without_match_is_refused(student, rng):
    """A glob that matches no parameter's name is a ValueError."""
    net = two_towers(rng)
    model = student.run(hold, net)
    expect_raises(
        ValueError,
        lambda: student.layerwise_rates(model, [["*", "body.*"], ["head.*"]], 0.8, 0.5),
        'The glob "body.*" matches nothing: that should be a ValueError.',
    )
    powers, blocks = {"head.": 0, "lower.": 1, "upper.": 1}, [["lower.*", "upper.*"], ["head.*"]]
    message = "A tensor does not move with the rate of its block"
    expect_rates(student, rng, net, blocks, powers, message)


@pytest.mark.task("layerwise_rates", points=0.5)
def test_frozen_parameters_need_no_block(student, rng):
    """A frozen parameter may lie in no block."""
    net = two_towers(rng)
    net.lower.requires_grad_(False)
    powers, blocks = {"head.": 0, "upper.": 1}, [["upper.*"], ["head.*"]]
    message = "A tensor does not move with the rate of its block"
    expect_rates(student, rng, net, blocks, powers, message)


# ---------------------------------------------------------------------------------- unfreeze_next


THREE = [["lower.*"], ["upper.*"], ["head.*"]]


def expect_trains(student, rng, model, net, names, message):
    """Expect a step to move exactly the parameters that are named."""
    expect_step(student, model, net, rng.normal(4, 6), rng.normal(4, 3), names, message)


@pytest.mark.task("unfreeze_next", points=1)
def test_others_stay_as_they_are(student, rng):
    """What trained goes on training, and what lies in no block stays as it is."""
    net = two_towers(rng).requires_grad_(False)
    net.lower.first.requires_grad_(True)
    model = student.run(hold, net)
    came = student.unfreeze_next(model, [["upper.*"], ["head.*"]])
    expect_equal(came, 1, "The head is frozen and should be thawed.")
    names = {n for n in all_names(net) if n.startswith(("lower.first.", "head."))}
    expect_trains(
        student, rng, model, net, names, "A tensor is not where a step of training puts it"
    )


@pytest.mark.task("unfreeze_next", points=1)
def test_half_frozen_block_is_next(student, rng):
    """A block is the next one if any of its parameters is frozen, and thaws as a whole."""
    net = two_towers(rng).requires_grad_(False)
    net.head.requires_grad_(True)
    net.upper.first.requires_grad_(True)
    model = student.run(hold, net)
    came = student.unfreeze_next(model, THREE)
    expect_equal(came, 1, "Block 1 is frozen in part and should be thawed.")
    names = {n for n in all_names(net) if n.startswith(("upper.", "head."))}
    expect_trains(
        student, rng, model, net, names, "A tensor is not where a step of training puts it"
    )


@pytest.mark.task("unfreeze_next", points=0.5)
def test_unmatched_block_is_refused(student, rng):
    """A glob without a match is a ValueError, and nothing is thawed."""
    net = two_towers(rng).requires_grad_(False)
    net.lower.requires_grad_(True)
    model = student.run(hold, net)
    expect_raises(
        ValueError,
        lambda: student.unfreeze_next(model, [["body.*"], ["upper.*"], ["head.*"]]),
        'The glob "body.*" matches nothing: that should be a ValueError.',
    )
    names = {n for n in all_names(net) if n.startswith("lower.")}
    message = "A tensor does not train as before the refusal"
    expect_trains(student, rng, model, net, names, message)
    came = student.unfreeze_next(model, THREE)
    expect_equal(came, 2, "The head is frozen and should be thawed.")


@pytest.mark.task("unfreeze_next", points=1)
def test_batch_norms_of_frozen_blocks_hold_still(student, rng):
    """A batch-norm keeps its statistics until its block is thawed, and then learns."""
    net = conv_net(rng).requires_grad_(False)
    model, blocks = student.run(hold, net), [["conv1.*", "bn1.*"], ["fc.*"]]
    student.unfreeze_next(model, blocks)
    x = rng.normal(5, 2, 6, 6)
    student.run(set_mode, model, True)
    for _ in range(2):
        message = "The frozen block does not answer as in eval mode."
        expect_close(model(x), output(net.eval(), x), message)
    expect_same_state(
        student, model, state_of(net), "A tensor has changed before its block was thawed"
    )
    student.unfreeze_next(model, blocks)
    x, upstream = rng.normal(5, 2, 6, 6), rng.normal(5, 3)
    student.run(set_mode, model, True)
    message = "A tensor is not where a step puts it once its block is thawed"
    expect_step(student, model, net.train(), x, upstream, all_names(net), message)


# -------------------------------------------------------------------------------- training_memory


@pytest.mark.task("training_memory", points=1)
def test_other_optimizers_keep_less(student, rng):
    """SGD with momentum keeps one number for each trainable parameter, plain SGD none."""
    count, still = (int(n) for n in rng.integers(1_000, 1_000_000, (2,)))
    for name, states in (("momentum", 1), ("sgd", 0)):
        came = student.training_memory(count, still, weight_dtype=torch.float32, optimizer=name)
        expected = count * (4 + 4 + 4 * states) + still * 4
        expect_equal(came, expected, f"Not right with optimizer={name!r}.")


@pytest.mark.task("training_memory", points=1)
def test_frozen_weights_have_their_own_type(student, rng):
    """Frozen weights may have another dtype; they get no gradient, no state, no master copy."""
    count, still = (int(n) for n in rng.integers(1_000, 1_000_000, (2,)))
    for dtype, size in ((torch.int8, 1), (torch.float32, 4)):
        settings = {"weight_dtype": torch.bfloat16, "frozen_dtype": dtype, "master_weights": True}
        came = student.training_memory(count, still, **settings)
        expect_equal(came, count * 16 + still * size, f"Not right with frozen weights in {dtype}.")


@pytest.mark.task("training_memory", points=0.5)
def test_gradients_have_their_own_type(student, rng):
    """Gradients may have another dtype than weights."""
    count = int(rng.integers(1_000, 1_000_000))
    for dtype, size in ((torch.bfloat16, 2), (torch.float8_e4m3fn, 1)):
        settings = {"weight_dtype": dtype, "grad_dtype": torch.float32}
        came = student.training_memory(count, **settings, master_weights=True)
        message = f"Not right with gradients in float32 and weights in {dtype}."
        expect_equal(came, count * (size + 4 + 8 + 4), message)


@pytest.mark.task("training_memory", points=0.5)
def test_states_have_their_own_type(student, rng):
    """The optimizer's numbers may have another dtype than float32."""
    count = int(rng.integers(1_000, 1_000_000))
    for dtype, size in ((torch.int8, 1), (torch.bfloat16, 2)):
        settings = {"weight_dtype": torch.bfloat16, "state_dtype": dtype}
        came = student.training_memory(count, **settings, master_weights=True)
        expect_equal(came, count * (2 + 2 + 2 * size + 4), f"Not right with states in {dtype}.")


@pytest.mark.task("training_memory", points=0.5)
def test_full_weights_are_their_own_masters(student, rng):
    """Master weights add nothing where the weights have four bytes or more."""
    count = int(rng.integers(1_000, 1_000_000))
    for dtype, size in ((torch.float32, 4), (torch.float64, 8)):
        came = student.training_memory(count, weight_dtype=dtype, master_weights=True)
        expect_equal(came, count * (2 * size + 8), f"Not right with {dtype} and master weights.")


@pytest.mark.task("training_memory", points=0.5)
def test_impossible_settings_are_refused(student, rng):
    """Another optimizer and a negative number of parameters are ValueErrors."""
    count, half = int(rng.integers(1_000, 1_000_000)), torch.float16
    for args, settings in (
        ((count,), {"optimizer": "lion"}),
        ((-count,), {}),
        ((count, -1), {}),
    ):
        expect_raises(
            ValueError,
            lambda a=args, s=settings: student.training_memory(*a, weight_dtype=half, **s),
            f"training_memory{args} with {settings or 'Adam'} should be a ValueError.",
        )
    expect_equal(student.training_memory(count, weight_dtype=half), count * 12, "Not right.")


# ---------------------------------------------------------------------------------- load_backbone


@pytest.mark.task("load_backbone", points=1)
def test_shapes_are_not_broadcast(student, rng):
    """A tensor of another shape is not loaded, even if it could be broadcast."""
    net = two_towers(rng)
    model = student.run(hold, net)
    state = {name: rng.normal(*tensor.shape) for name, tensor in state_of(net).items()}
    state["lower.first.weight"] = rng.normal(1, 6)
    state["upper.first.bias"] = rng.normal(1)
    state["head.weight"] = rng.normal(1, 3, 5)
    state["head.bias"] = torch.tensor(3.0)
    report = student.load_backbone(model, state)
    odd = ["lower.first.weight", "upper.first.bias", "head.weight", "head.bias"]
    expected = {name: state[name] for name in state if name not in odd}
    expected |= {name: state_of(net)[name] for name in odd}
    expect_same_state(student, model, expected, "A tensor is not what it should be after loading")
    expect(type(report) is dict, "load_backbone should return a dict.")
    expect_equal(report.get("mismatched"), odd, 'The list "mismatched" is not right.')


@pytest.mark.task("load_backbone", points=1)
def test_buffers_are_loaded(student, rng):
    """Buffers, such as batch-norm's statistics, are loaded like parameters."""
    old, net = conv_net(rng), conv_net(rng)
    old.bn1.num_batches_tracked.fill_(41)
    net.fc = rng.linear(64, 7)
    model = student.run(hold, net)
    student.load_backbone(model, state_of(old))
    for name, tensor in old.bn1.state_dict().items():
        came = expect_tensor(getattr(model.bn1, name), tensor.shape, f"bn1.{name}", tensor.dtype)
        expect(torch.equal(came, tensor), f"bn1.{name} is not the state's.")


@pytest.mark.task("load_backbone", points=1)
def test_state_is_left_alone(student, rng):
    """The state is left unchanged, and what happens to the model later does not show in it."""
    old, net = two_towers(rng), two_towers(rng)
    state = {**state_of(old), "old_norm.weight": rng.normal(3), "head.bias": rng.normal(8)}
    model = student.run(hold, net)
    came = student.run(load_and_go_on, student.load_backbone, model, state)
    expect(type(came) is dict and list(came) == list(state), "The state's names have changed.")
    for name, tensor in state.items():
        value = expect_tensor(came[name], tensor.shape, f"The state's {name}")
        expect(torch.equal(value, tensor), f"The state's {name} has changed.")
    weight = model.lower.first.weight
    expect_close(weight, (old.lower.first.weight + 1).detach(), "The model was not loaded.")


@pytest.mark.task("load_backbone", points=1)
def test_parameters_stay_the_same_objects(student, rng):
    """Parameters stay the objects that they were, and train or not as before."""
    old, net = two_towers(rng), two_towers(rng)
    net.lower.requires_grad_(False)
    model = student.run(hold, net)
    shift = student.run(shift_of_parameters, model)
    student.load_backbone(model, state_of(old))
    shift()
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(1.0)
    message = "A tensor does not follow the Parameter that an optimizer would hold"
    expect_state(student, model, state_of(old), message)
    names = {name for name in all_names(net) if not name.startswith("lower.")}
    expect_trains(
        student, rng, model, old, names, "A tensor does not train as it did before loading"
    )


@pytest.mark.task("load_backbone", points=0.5)
def test_values_are_cast(student, rng):
    """Values are cast to the model's dtype, and not by way of another."""
    net = two_towers(rng).double()
    net.upper.bfloat16()
    model = student.run(hold, net)
    state = {
        name: torch.from_numpy(rng.numpy.normal(size=tuple(tensor.shape)))  # float64
        for name, tensor in state_of(net).items()
    }
    student.load_backbone(model, state)
    expected = {n: t.to(net.state_dict()[n].dtype) for n, t in state.items()}
    expect_same_state(student, model, expected, "A tensor is not the state's in the model's dtype")


@pytest.mark.task("load_backbone", points=1)
def test_nothing_that_fits_is_refused(student, rng):
    """Where nothing can be loaded it is a ValueError, and the model is unchanged."""
    old, net = two_towers(rng), two_towers(rng)
    model = student.run(hold, net)
    prefixed = {f"module.{name}": tensor for name, tensor in state_of(old).items()}
    wide = {name: rng.normal(*tensor.shape, 2) for name, tensor in state_of(old).items()}
    for state, what in ((prefixed, "Other names"), (wide, "Other shapes"), ({}, "An empty state")):
        message = f"{what} should be a ValueError: nothing is loaded."
        expect_raises(ValueError, lambda s=state: student.load_backbone(model, s), message)
    expect_same_state(
        student, model, state_of(net), "A tensor has changed in a call that was refused"
    )
    expect_as_before(student, model, net, rng.normal(4, 6), "After a refusal the model")
    student.load_backbone(model, {"head.bias": old.head.bias.detach()})
    expect_close(model.head.bias, old.head.bias, "One tensor that fits should be loaded.")


# ----------------------------------------------------------------------------------- linear_probe


@pytest.mark.task("linear_probe", points=0.5)
def test_body_sees_each_example_once(student, rng):
    """The body sees each example exactly once, however many epochs there are."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 5, 5, 5)
    backbone.act = nn.Sequential(nn.Tanh(), Tires())
    held, held_head = student.run(hold, backbone), student.run(hold, head)
    student.linear_probe(held, held_head, loader, 4, 0.05)
    expected, _ = probe_by_hand(backbone, head, loader, 4, 0.05)
    message = "With a body that adds to each row how many it has seen, a tensor of the head"
    expect_state(student, held_head, expected, message)


@pytest.mark.task("linear_probe", points=1)
def test_body_is_in_eval_mode(student, rng):
    """The body is in eval mode: no dropout, running statistics, and no buffer changes."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 6, 6)
    backbone.act = nn.Sequential(nn.Tanh(), nn.Dropout(0.5))
    backbone.train()
    held, held_head = student.run(hold, backbone), student.run(hold, head)
    student.linear_probe(held, held_head, loader, 3, 0.05)
    expected, _ = probe_by_hand(backbone, head, loader, 3, 0.05)
    expect_state(student, held_head, expected, "A tensor is not where it should be")
    expect_same_state(student, held, state_of(backbone), "A tensor of the body has changed")
    student.run(set_mode, held, False)
    x = rng.normal(6, 6)
    expect_close(held(x), output(backbone.eval(), x), "The body answers otherwise.")


def probe_of(linear_probe, backbone, head, loader):
    """Return one epoch of a probe as a function without arguments."""
    return lambda: linear_probe(backbone, head, loader, 1, 0.05)


@pytest.mark.task("linear_probe", points=1)
@pytest.mark.memory(at_most=0.5)
def test_no_graph_for_the_body(race, rng):
    """No graph is built for the body: memory rises by less than half of what it would keep."""
    rows, width, depth = 8192, 64, 64
    parts = [rng.linear(width, width), *(nn.LeakyReLU(0.9) for _ in range(depth))]
    backbone, head = nn.Sequential(*parts), rng.linear(width, 3)
    small, large = ([(rng.normal(n, width), rng.integers(0, 3, (n,)))] for n in (2, rows))
    _, [expected] = probe_by_hand(backbone, head, large, 1, 0.05)

    def prepare(side):
        held = side.run(hold, backbone), side.run(hold, head)
        # small at first: what a first call brings into memory is not the task's
        side.linear_probe(*held, small, 1, 0.0)
        return side.run(probe_of, side.linear_probe, *held, large)

    race.weigh(prepare, lambda came: expect_losses(came, [expected]), depth * rows * width * 4)


@pytest.mark.task("linear_probe", points=1)
def test_modes_are_restored(student, rng):
    """Every submodule of body and head is afterwards in the training mode it had before."""
    backbone, loader = telling(rng, body(rng)), batches(rng, 6)
    parts = OrderedDict(act=nn.Tanh(), fold=nn.Identity(), out=rng.linear(5, 3))
    head = telling(rng, nn.Sequential(parts))
    held, held_head = student.run(hold, backbone), student.run(hold, head)
    student.linear_probe(held, held_head, loader, 2, 0.05)
    weight = expect_tensor(held_head.out.weight, (3, 5), "The head's weight")
    expect((weight - head.out.weight).abs().max().item() > 1e-4, "The head has not moved.")
    head.load_state_dict(read_state(student, held_head, state_of(head)))
    for model, net, what in ((held, backbone, "body"), (held_head, head, "head")):
        x = rng.normal(8, 6 if net is backbone else 5)
        message = f"A submodule of the {what} answers in another mode than before."
        expect_close(model(x), output(net, x), message)


@pytest.mark.task("linear_probe", points=1)
def test_loss_is_a_mean_over_examples(student, rng):
    """The loss of an epoch is the mean over its examples, whatever the batches' sizes."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 7, 7, 1)
    came = student.linear_probe(backbone, head, loader, 2, 0.2)
    expect_losses(came, probe_by_hand(backbone, head, loader, 2, 0.2)[1])


@pytest.mark.task("linear_probe", points=0.5)
def test_head_is_in_train_mode(student, rng):
    """The head is in train mode while it trains: its dropout acts."""
    backbone, loader = body(rng).eval(), batches(rng, 40)
    head = nn.Sequential(nn.Dropout(0.8), rng.linear(5, 3)).eval()
    came = student.linear_probe(backbone, head, loader, 1, 0.05)
    fine = type(came) is list and len(came) == 1 and type(came[0]) is float
    expect(fine, "linear_probe should return a list of floats.")
    still = probe_by_hand(backbone, head, loader, 1, 0.05)[1][0]
    acts = math.isfinite(came[0]) and abs(came[0] - still) > 1e-4
    expect(acts, "The first loss is the same as without the head's dropout.")


@pytest.mark.task("linear_probe", points=0.5)
def test_loader_is_read_once(student, rng):
    """The loader is read once: an iterator will do."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 6, 6)
    held = student.run(hold, head)
    came = student.linear_probe(backbone, held, iter(loader), 3, 0.05)
    expected, losses = probe_by_hand(backbone, head, loader, 3, 0.05)
    expect_losses(came, losses)
    expect_state(student, held, expected, "A tensor is not where it should be")


@pytest.mark.task("linear_probe", points=0.5)
def test_old_gradients_have_no_influence(student, rng):
    """Gradients that were left on the head have no influence."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 6, 6)
    held = student.run(hold, head)
    student.run(fill_gradients, held, 3.0)
    student.linear_probe(backbone, held, loader, 2, 0.05)
    expected, _ = probe_by_hand(backbone, head, loader, 2, 0.05)
    expect_state(student, held, expected, "A tensor is not where it should be")


@pytest.mark.task("linear_probe", points=0.5)
def test_empty_runs(student, rng):
    """Negative epochs and a loader without a batch are ValueErrors; 0 epochs train nothing."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 6)
    held = student.run(hold, head)
    for data, epochs, what in ((loader, -1, "epochs=-1"), ([], 2, "A loader without a batch")):
        expect_raises(
            ValueError,
            lambda d=data, e=epochs: student.linear_probe(backbone, held, d, e, 0.05),
            f"{what} should be a ValueError.",
        )
    expect_equal(student.linear_probe(backbone, held, loader, 0, 0.05), [], "0 epochs: not [].")
    expect_same_state(student, held, state_of(head), "A tensor of the head has changed in 0 epochs")
    came = student.linear_probe(backbone, held, loader, 1, 0.05)
    expect_losses(came, probe_by_hand(backbone, head, loader, 1, 0.05)[1])


@pytest.mark.task("linear_probe", points=1, seconds=60)
@pytest.mark.speed(at_least=0.5)
def test_speed_on_a_gpu(gpu_race, rng):
    """On a GPU, with a large body, 10 epochs are at least half as fast as the reference."""
    made_from = rng.seed()

    def prepare(side):
        return side.run(on_gpu.probes, side.linear_probe, gpu_race.device, made_from)

    gpu_race.time(prepare, lambda: (rng.seed(),), expect_timed_losses)


# --------------------------------------------------------------------------- fine_tuning_bug_hunt


def started(student, rng):
    """A model that start_from has prepared, its optimizer and rate, and this side's checkpoint.

    The latter gets a head of the new one's shape, which has 2 to 6 classes.
    """
    old, model = small_net(rng), student.run(hold, small_net(rng))
    classes, lr = int(rng.integers(2, 7)), float(rng.numpy.uniform(0.2, 0.6))
    optimizer = student.start_from(model, saved_parallel(old), classes, lr)
    old.fc = nn.Linear(5, classes)
    return model, optimizer, lr, old


def head_of(model, old):
    """The weight and bias of a prepared model's head."""
    weight = expect_tensor(model.fc.weight, old.fc.weight.shape, "The head's weight")
    return weight, expect_tensor(model.fc.bias, old.fc.bias.shape, "The head's bias")


def labels_for(rng, old):
    """Labels of eight examples."""
    return rng.integers(0, len(old.fc.bias), (8,))


def expect_body_answers(model, old, x, when):
    """Expect a prepared model to judge by its head what the checkpoint's body makes of x."""
    expected = F.linear(output(old.body, x), *head_of(model, old))
    came = expect_tensor(model(x), expected.shape, "The output")
    expect_close(came.log_softmax(dim=1), expected.log_softmax(dim=1), f"{when} it is not right.")


def expect_body(student, model, old, what):
    """Expect a prepared model's body to be, bit for bit, the checkpoint's."""
    expect_same_state(student, model.body, state_of(old.body), f"A tensor of the body {what}")


@pytest.mark.task("fine_tuning_bug_hunt", points=1)
def test_frozen_body_stays_frozen(student, rng):
    """A step leaves the body bit for bit as it was, and no parameter of it requires a gradient."""
    model, optimizer, _, old = started(student, rng)
    student.run(set_mode, model, True)
    x, labels = rng.normal(8, 6), labels_for(rng, old)
    before = head_of(model, old)
    for _ in range(2):
        student.head_step(model, optimizer, x, labels)
    expect_body(student, model, old, "has changed")
    student.run(set_mode, model, False)
    old.eval()
    expect_body_answers(model, old, rng.normal(6, 6), "By the checkpoint's body and the head")
    moved = (head_of(model, old)[0] - before[0]).abs().max().item() > 1e-4
    expect(moved, "The head has not moved.")
    upstream = rng.normal(8, len(old.fc.bias))
    student.run(sgd_step, model, x, upstream, 0.1)  # moves whatever requires a gradient
    expect_body(student, model, old, "requires a gradient")
    expect_body_answers(model, old, rng.normal(6, 6), "After a step on all that trains")


@pytest.mark.task("fine_tuning_bug_hunt", points=0.5)
def test_step_forgets_old_gradients(student, rng):
    """Gradients left over from before have no influence on a step."""
    model, optimizer, lr, old = started(student, rng)
    student.run(set_mode, model, False)
    x, labels = rng.normal(8, 6), labels_for(rng, old)
    leaves = [tensor.clone().requires_grad_() for tensor in head_of(model, old)]
    features = output(old.body.eval(), x)
    for _ in range(2):
        loss = F.cross_entropy(F.linear(features, *leaves), labels)
        steps = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            for leaf, step in zip(leaves, steps, strict=True):
                leaf -= lr * step
        student.head_step(model, optimizer, x, labels)
    for name, leaf, value in zip(("weight", "bias"), leaves, head_of(model, old), strict=True):
        expect_close(value, leaf, f"After two steps the head's {name} is not where it should be.")


@pytest.mark.task("fine_tuning_bug_hunt", points=0.5)
def test_head_gives_logits(student, rng):
    """The prepared model gives logits: a linear function of the body's features."""
    model, _, _, old = started(student, rng)
    student.run(set_mode, model, False)
    x = rng.normal(6, 6)
    expected = F.linear(output(old.body.eval(), x), *head_of(model, old))
    expect_close(model(x), expected, "The outputs are not the new head's logits.")


@pytest.mark.task("fine_tuning_bug_hunt", points=0.5)
def test_optimizer_holds_the_head_alone(student, rng):
    """The optimizer is plain SGD over exactly the new head's parameters."""
    model, optimizer, lr, old = started(student, rng)
    weight, bias = head_of(model, old)
    for step in (1, 2):
        student.run(step_of, optimizer, model, 2.0)
        came_weight, came_bias = head_of(model, old)
        message = "is not where plain SGD with the rate given puts it."
        expect_close(came_weight, weight - 2.0 * lr * step, f"The head's weight {message}")
        expect_close(came_bias, bias - 2.0 * lr * step, f"The head's bias {message}")
    came = expect_tensor(model.body.first.weight, (8, 6), "body.first.weight")
    message = "The optimizer moves the body, too."
    expect(torch.equal(came, old.body.first.weight.detach()), message)
    student.run(set_mode, model, False)
    expect_body_answers(model, old.eval(), rng.normal(6, 6), "After two steps of the optimizer")


@pytest.mark.task("fine_tuning_bug_hunt", points=0.5)
def test_unknown_names_are_refused(student, rng):
    """A checkpoint with another set of names is a ValueError; a good one is left unchanged."""
    old, net = small_net(rng), small_net(rng)
    model, state = student.run(hold, net), saved_parallel(old)
    short = {name: state[name] for name in state if name != "module.body.bn.running_mean"}
    long = {**state, "module.extra.weight": rng.normal(3)}
    for checkpoint, what in (
        (state_of(old), "Names without their prefix"),
        (short, "A missing buffer"),
        (long, "An unknown name"),
    ):
        message = f"{what} should be a ValueError."
        expect_raises(
            ValueError, lambda c=checkpoint: student.start_from(model, c, 4, 0.1), message
        )
    expect_same_state(
        student, model, state_of(net), "A tensor has changed in a call that was refused"
    )
    expect_as_before(student, model, net, rng.normal(8, 6), "After a refusal the model")
    left = student.run(start_and_report, student.start_from, model, state)
    came = expect_tensor(model.body.first.weight, (8, 6), "body.first.weight")
    expect(torch.equal(came, old.body.first.weight.detach()), "A good checkpoint is not loaded.")
    fine = type(left) is dict and list(left) == list(state)
    expect(fine, "The names in the checkpoint have changed.")
    for name, tensor in state.items():
        value = expect_tensor(left[name], tensor.shape, f"The checkpoint's {name}", tensor.dtype)
        expect(torch.equal(value, tensor), f"The checkpoint's {name} has changed.")


@pytest.mark.task("fine_tuning_bug_hunt", points=0.5)
def test_accuracy_in_eval_mode(student, rng):
    """The accuracy is measured in eval mode, without a graph; buffers and modes stay."""
    net = telling(rng, small_net(rng))
    net.body.act = nn.Sequential(nn.Tanh(), nn.Dropout(0.9), MindsAGraph())
    inputs = rng.normal(300, 6)
    with torch.no_grad():  # for some of the inputs it is a close call
        net.fc.bias -= output(copy.deepcopy(net).eval(), inputs).mean(dim=0)
    labels = output(copy.deepcopy(net).eval(), inputs).argmax(dim=1)
    net.body.act[1].eval()
    model = student.run(hold, net)
    came = student.held_out_accuracy(model, [(inputs, labels)])
    expect(type(came) is float, "held_out_accuracy should return a float.")
    seen = "In eval mode, without a graph, all are right"
    expect(abs(came - 1.0) < 1e-6, f"{seen}, and it returned {short(came)}.")
    expect_same_state(student, model, state_of(net), "A tensor has changed")
    expect_as_before(student, model, net, rng.normal(8, 6), "The model")


@pytest.mark.task("fine_tuning_bug_hunt", points=0.5)
def test_step_restores_the_modes(student, rng):
    """After a step every submodule is in the training mode that it had before."""
    old = small_net(rng)
    old.body = telling(rng, old.body)
    modes = modes_of(old.body)
    model = student.run(hold, old)
    optimizer = student.start_from(model, saved_parallel(old), 4, 0.5)
    old.fc = nn.Linear(5, 4)
    student.run(
        set_modes, model, {f"body.{name}".rstrip("."): mode for name, mode in modes.items()}
    )
    weight = head_of(model, old)[0]
    student.head_step(model, optimizer, rng.normal(8, 6), labels_for(rng, old))
    expect((head_of(model, old)[0] - weight).abs().max().item() > 1e-4, "The head has not moved.")
    expect_body_answers(model, old, rng.normal(6, 6), "In the modes of before")


# ------------------------------------------------------------------------- numbers and statements


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_memory_in_mixed_precision(student):
    """mixed_precision_gb: in GB (0.05 either way)."""
    expect_number(student, "mixed_precision_gb", 13 * (2 + 2 + 4 + 4 + 4), within=0.05)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_memory_in_single_precision(student):
    """float32_gb: in GB (0.05 either way)."""
    expect_number(student, "float32_gb", 13 * (4 + 4 + 4 + 4), within=0.05)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_memory_with_few_trainable(student):
    """adapter_gb: in GB, to two decimals (0.005 either way)."""
    expect_number(student, "adapter_gb", 7 * 2 + 0.02 * 16, within=0.005)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_probe_on_a_resnet(student):
    """resnet_probe: the exact count."""
    expect_number(student, "resnet_probe", 512 * 10 + 10)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_classifier_on_bert(student):
    """bert_classifier: the exact count."""
    expect_number(student, "bert_classifier", 768 * 2 + 2)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_classifier_and_pooler_on_bert(student):
    """bert_with_pooler: the exact count."""
    expect_number(student, "bert_with_pooler", 768 * 2 + 2 + 768 * 768 + 768)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_rate_of_the_lowest_block(student):
    """lowest_rate: to three significant digits (5e-8 either way)."""
    expect_number(student, "lowest_rate", 1e-3 / 2.6**4, within=5e-8)


@pytest.mark.task("fine_tuning_numbers", points=1)
def test_loss_at_the_start(student):
    """first_loss: in nats, to two decimals (0.005 either way)."""
    expect_number(student, "first_loss", math.log(10), within=0.005)


@pytest.mark.task("fine_tuning_statements", points=8)
def test_statements(student):
    """Right judgements count 1, wrong ones −1; the sum, never below 0, is divided by 16."""
    award_judgements(student.judged, true="bcfgjlnp")
