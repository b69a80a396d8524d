"""The checks of the fine-tuning lesson that a learner may read: examples, not all that is asked.

Every expected value is worked out here, in plain torch, from this side's own copy of the inputs.
"""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autograder.checking.expect import (
    expect,
    expect_close,
    expect_equal,
    expect_judgements,
    expect_numbers,
    expect_raises,
    expect_tensor,
)
from autograder.checking.probes import (
    fill_gradients,
    hold,
    set_mode,
    set_trainable,
    state_of,
    trainable,
)
from autograder.checks.shared.common import (
    conv_net,
    expect_same_state,
    expect_state,
    expect_timed_losses,
    large_body,
    output,
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

# ------------------------------------------------------------------------------- count_parameters


@pytest.mark.task("count_parameters", points=1)
def test_trainable_and_total(student, rng):
    """It counts the elements that train, and all elements, those of a tied weight once."""
    width, out = int(rng.integers(5, 30)), int(rng.integers(5, 30))
    net = nn.Sequential(nn.Linear(width, out), nn.ReLU(), nn.Linear(out, 3, bias=False))
    net[0].requires_grad_(False)
    expected = (out * 3, (width + 1) * out + out * 3)
    came = student.count_parameters(net)
    expect_equal(came, expected, f"Not right for {width}→{out} frozen and {out}→3 trainable.")
    net = nn.Sequential(nn.Embedding(out, width), nn.Linear(width, out, bias=False))
    net[1].weight = net[0].weight
    came, expected = student.count_parameters(net), (out * width, out * width)
    expect_equal(
        came, expected, f"Not right for an embedding {out} × {width} that is also the head."
    )


@pytest.mark.task("count_parameters", points=1)
def test_buffers_do_not_count(student, rng):
    """Buffers, such as batch-norm's running statistics, do not count."""
    width = int(rng.integers(5, 30))
    came = student.count_parameters(nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width)))
    expected = 2 * width * 9 + width + 2 * width
    expect_equal(came, (expected, expected), "A convolution and a batch-norm: not right.")


# ---------------------------------------------------------------------------------- set_trainable


@pytest.mark.task("set_trainable", points=2)
def test_what_matches_trains(student, rng):
    """A step of training moves the parameters that match a pattern, and no others."""
    net, x, upstream = two_towers(rng), rng.normal(4, 6), rng.normal(4, 3)
    model = student.run(hold, net)
    student.set_trainable(model, ["upper.*", "head.bias"])
    names = {name for name, _ in net.named_parameters() if name.startswith("upper.")}
    expect_step(student, model, net, x, upstream, {*names, "head.bias"}, NOT_THERE)


@pytest.mark.task("set_trainable", points=2)
def test_frozen_batch_norm_uses_running_statistics(student, rng):
    """A frozen batch-norm normalises with its running statistics, also after model.train()."""
    net, x = conv_net(rng), rng.normal(5, 2, 6, 6)
    model = student.run(hold, net)
    student.set_trainable(model, ["fc.*"])
    student.run(set_mode, model, True)
    expect_close(
        model(x), output(net.eval(), x), "In train mode the body does not answer as in eval mode."
    )


@pytest.mark.task("set_trainable", points=1)
def test_pattern_without_match_is_refused(student, rng):
    """A pattern that matches no parameter's name is a ValueError, and changes nothing."""
    net, x, upstream = two_towers(rng), rng.normal(4, 6), rng.normal(4, 3)
    model = student.run(hold, net)
    message = 'The pattern "body.*" matches nothing and should be a ValueError.'
    expect_raises(ValueError, lambda: student.set_trainable(model, ["head.*", "body.*"]), message)
    came = student.run(trainable, model)
    expect_equal(came, trainable(net), "After the error other parameters are trainable.")
    student.set_trainable(model, ["head.*"])
    expect_step(student, model, net, x, upstream, {"head.weight", "head.bias"}, NOT_THERE)


# ------------------------------------------------------------------------------- parameter_groups


@pytest.mark.task("parameter_groups", points=1.5)
def test_body_and_head_have_their_rates(student, rng):
    """Every parameter moves with its rate: the head's with head_lr, all others with lr."""
    lr, head_lr, _ = drawn_rates(rng)
    net = two_towers(rng)
    net.add_module("head2", rng.linear(3, 3))
    rules = {n: (head_lr if n.startswith("head.") else lr, 0.0) for n, _ in net.named_parameters()}
    message = "A tensor does not move with the rate that it should have"
    expect_groups(student, rng, net, rules, message, (lr, head_lr, 0.0))


@pytest.mark.task("parameter_groups", points=1)
def test_biases_do_not_decay(student, rng):
    """Weights decay and biases do not."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 4), head=rng.linear(4, 3)))
    rules = {"body.weight": (lr, decay), "body.bias": (lr, 0.0)}
    rules |= {"head.weight": (head_lr, decay), "head.bias": (head_lr, 0.0)}
    expect_groups(
        student, rng, net, rules, "A tensor does not have the decay that it should have", settings
    )


@pytest.mark.task("parameter_groups", points=1)
def test_norm_layers_do_not_decay(student, rng):
    """Weight and bias of a norm layer do not decay, of one over two dimensions neither."""
    lr, head_lr, decay = settings = drawn_rates(rng)
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 4), norm=nn.LayerNorm(4)))
    net.add_module("square", nn.LayerNorm((2, 2)))
    net.add_module("head", rng.linear(4, 3, bias=False))
    rules = {"body.weight": (lr, decay), "body.bias": (lr, 0.0), "head.weight": (head_lr, decay)}
    rules |= {f"{n}.{part}": (lr, 0.0) for n in ("norm", "square") for part in ("weight", "bias")}
    expect_groups(
        student, rng, net, rules, "A tensor does not have the decay that it should have", settings
    )


# -------------------------------------------------------------------------------- layerwise_rates


BLOCKS = [["lower.first.*"], ["lower.second.*", "upper.*"], ["head.*"]]


@pytest.mark.task("layerwise_rates", points=2)
def test_rates_fall_towards_the_input(student, rng):
    """The last block moves with lr, each block before it with decay times the next one's rate."""
    powers = {"head": 0, "upper": 1, "lower.second": 1, "lower.first": 2}
    message = "A tensor does not move with the rate of its block"
    expect_rates(student, rng, two_towers(rng), BLOCKS, powers, message)


@pytest.mark.task("layerwise_rates", points=1)
def test_no_parameter_is_left_out(student, rng):
    """A trainable parameter that lies in no block is a ValueError."""
    net = two_towers(rng)
    model, gradients = student.run(hold, net), random_gradients(rng, net)
    message = "The head lies in no block: that should be a ValueError."
    expect_raises(ValueError, lambda: student.layerwise_rates(model, BLOCKS[:2], 0.8, 0.5), message)
    lr = float(rng.numpy.uniform(0.3, 0.9))
    student.run(step_by_groups, student.layerwise_rates, model, gradients, [["*"]], lr, 0.5)
    rules = dict.fromkeys(gradients, (lr, 0.0))
    message = "A tensor does not move with the rate of the only block"
    expect_state(student, model, grouped(net, gradients, rules), message)


# ---------------------------------------------------------------------------------- unfreeze_next


@pytest.mark.task("unfreeze_next", points=1.5)
def test_blocks_thaw_from_the_last(student, rng):
    """Each call thaws one more block, from the last to the first, and returns its index."""
    net, names = two_towers(rng).requires_grad_(False), set()
    model = student.run(hold, net)
    for index, part in ((2, "head."), (1, "upper."), (0, "lower.")):
        came = student.unfreeze_next(model, [["lower.*"], ["upper.*"], ["head.*"]])
        expect_equal(came, index, f"It should have thawed block {index} and returned its index.")
        names |= {name for name, _ in net.named_parameters() if name.startswith(part)}
        expect_step(student, model, net, rng.normal(4, 6), rng.normal(4, 3), names, NOT_THERE)


@pytest.mark.task("unfreeze_next", points=1)
def test_nothing_is_left_to_thaw(student, rng):
    """Where every block is trainable it returns None, and everything stays trainable."""
    net, x, upstream = two_towers(rng), rng.normal(4, 6), rng.normal(4, 3)
    model = student.run(hold, net)
    student.run(set_trainable, model, False)
    came = student.unfreeze_next(model, [["*"]])
    expect_equal(came, 0, "All is frozen: it should have thawed block 0.")
    came = student.unfreeze_next(model, [["*"]])
    expect_equal(came, None, "All is trainable: it should have returned None.")
    names = {name for name, _ in net.named_parameters()}
    expect_step(student, model, net, x, upstream, names, NOT_THERE)


# -------------------------------------------------------------------------------- training_memory


@pytest.mark.task("training_memory", points=1.5)
def test_mixed_precision(student, rng):
    """Half-precision weights and gradients with Adam and master weights: 16 bytes a parameter."""
    for count in (7e9, int(rng.integers(1_000, 1_000_000))):
        for dtype in (torch.float16, torch.bfloat16):
            came = student.training_memory(count, weight_dtype=dtype, master_weights=True)
            expect_equal(came, 16 * int(count), f"Not right for {count:g} parameters in {dtype}.")


@pytest.mark.task("training_memory", points=1)
def test_single_precision(student, rng):
    """All in float32 with Adam or AdamW: weight, gradient and two numbers of four bytes each."""
    count = int(rng.integers(1_000, 1_000_000))
    for name in ("adam", "adamw"):
        came = student.training_memory(count, weight_dtype=torch.float32, optimizer=name)
        expect_equal(came, 16 * count, f"Not right for {count} parameters and {name!r}.")


@pytest.mark.task("training_memory", points=0.5)
def test_frozen_parameters_cost_their_weights(student, rng):
    """Frozen parameters cost their weights and nothing else."""
    few, many = (int(n) for n in rng.integers(1_000, 1_000_000, (2,)))
    came = student.training_memory(few, many, weight_dtype=torch.bfloat16)
    expected = few * (2 + 2 + 8) + many * 2
    expect_equal(came, expected, f"Not right for {few} trainable and {many} frozen parameters.")


# ---------------------------------------------------------------------------------- load_backbone


def with_head(rng, net, classes):
    """A network of the same body, with random weights, and a head for other classes."""
    other = two_towers(rng)
    other.head = rng.linear(5, classes)
    return other


@pytest.mark.task("load_backbone", points=2)
def test_body_is_loaded_and_head_kept(student, rng):
    """What fits by name and shape is loaded; what has another shape keeps its own values."""
    old = two_towers(rng)
    net, odd = with_head(rng, old, 4), ("head.weight", "head.bias", "upper.first.bias")
    model = student.run(hold, net)
    student.load_backbone(model, state_of(old) | {"upper.first.bias": rng.normal(1)})
    expected = {n: state_of(net if n in odd else old)[n] for n in state_of(net)}
    expect_same_state(student, model, expected, "A tensor is not what it should be after loading")


@pytest.mark.task("load_backbone", points=1.5)
def test_report_tells_everything(student, rng):
    """The report lists what was loaded, of another shape, missing and unexpected."""
    old = two_towers(rng)
    net = with_head(rng, old, 4)
    net.add_module("extra", rng.linear(4, 4))
    state = {"old_norm.weight": rng.normal(3), **state_of(old), "old_norm.bias": rng.normal(3)}
    came = student.load_backbone(student.run(hold, net), state)
    expected = {
        "loaded": [name for name in state_of(old) if not name.startswith("head.")],
        "mismatched": ["head.weight", "head.bias"],
        "missing": ["extra.weight", "extra.bias"],
        "unexpected": ["old_norm.weight", "old_norm.bias"],
    }
    expect(type(came) is dict, "load_backbone should return a dict.")
    expect_equal(sorted(map(str, came)), sorted(expected), "The report's keys are not as stated.")
    for key, names in expected.items():
        expect_equal(came[key], names, f"The list {key!r} is not right.")


# ----------------------------------------------------------------------------------- linear_probe


@pytest.mark.task("linear_probe", points=2)
def test_head_is_trained_with_adam(student, rng):
    """The head is where Adam with its defaults, one step a batch on the body's features, puts it:
    also where these are very small, or only the first ones are not.
    """
    lr = float(rng.numpy.uniform(0.2, 0.4))
    first, second = batches(rng, 6, 6)
    small = [(1e-6 * x, y) for x, y in batches(rng, 6, 6)]
    smaller = [first, *((1e-3 * x, y) for x, y in batches(rng, *[2] * 30))]
    for backbone, head, loader in (
        (body(rng).eval(), rng.linear(5, 3), [first, second]),
        (rng.linear(6, 5, bias=False), rng.linear(5, 3, bias=False), small),
        (rng.linear(6, 5, bias=False), rng.linear(5, 3, bias=False), smaller),
    ):
        held = student.run(hold, head)
        student.linear_probe(student.run(hold, backbone), held, loader, 2, lr)
        expected, _ = probe_by_hand(backbone, head, loader, 2, lr)
        expect_state(student, held, expected, "A tensor is not where it should be")


@pytest.mark.task("linear_probe", points=1)
def test_losses_are_returned(student, rng):
    """It returns one loss an epoch, the mean over its examples in the passes that train."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 8, 2)
    came = student.linear_probe(backbone, head, loader, 4, 0.05)
    expect_losses(came, probe_by_hand(backbone, head, loader, 4, 0.05)[1])


@pytest.mark.task("linear_probe", points=1)
def test_body_is_left_as_it_was(student, rng):
    """The body's parameters and buffers are what they were, and can be trained as before."""
    backbone, head, loader = body(rng).eval(), rng.linear(5, 3), batches(rng, 6, 6)
    backbone.first.requires_grad_(False)
    held_head, held = student.run(hold, head), student.run(hold, backbone)
    student.linear_probe(held, held_head, loader, 2, 0.05)
    expect_same_state(student, held, state_of(backbone), "A tensor of the body has changed")
    expected, _ = probe_by_hand(backbone, head, loader, 2, 0.05)
    expect_state(student, held_head, expected, "A tensor of the head is not where it should be")
    trains = {name for name, p in backbone.named_parameters() if p.requires_grad}
    message = "A tensor of the body does not train as it did before"
    expect_step(student, held, backbone, rng.normal(4, 6), rng.normal(4, 5), trains, message)


@pytest.mark.task("linear_probe", points=1.5, seconds=10)
@pytest.mark.speed(at_least=0.5)
def test_speed_of_a_probe(race, rng):
    """With 10 epochs it is at least half as fast as the reference."""
    backbone = large_body(rng)

    def prepare(side):
        probe, held = side.linear_probe, side.run(hold, backbone)
        return lambda head, loader: probe(held, head, loader, 10, 1e-3)

    def inputs():
        loader = [(rng.normal(16, 1, 16, 16), rng.integers(0, 5, (16,))) for _ in range(2)]
        return rng.linear(2048, 5), loader

    race.time(prepare, inputs, expect_timed_losses)


# --------------------------------------------------------------------------- fine_tuning_bug_hunt


@pytest.mark.task("fine_tuning_bug_hunt", points=1)
def test_checkpoint_is_really_loaded(student, rng):
    """start_from loads the checkpoint's body and puts a new head on it."""
    old, model = small_net(rng), student.run(hold, small_net(rng))
    classes = int(rng.integers(4, 8))
    student.start_from(model, saved_parallel(old), classes, 0.1)
    came = student.run(state_of, model)
    expect(type(came) is dict, "The model's state could not be read.")
    for name, tensor in state_of(old.body).items():
        value = expect_tensor(came.get(f"body.{name}"), tensor.shape, f"body.{name}", tensor.dtype)
        expect(torch.equal(value, tensor), f"body.{name} is not the checkpoint's.")
    expect_tensor(came.get("fc.weight"), (classes, 5), "The new head's weight")
    expect_tensor(came.get("fc.bias"), (classes,), "The new head's bias")


@pytest.mark.task("fine_tuning_bug_hunt", points=1)
def test_step_trains_the_head(student, rng):
    """head_step moves the new head by a step of SGD, and returns the loss before it as a float."""
    old, model = small_net(rng), student.run(hold, small_net(rng))
    lr = float(rng.numpy.uniform(0.2, 0.6))
    optimizer = student.start_from(model, saved_parallel(old), 4, lr)
    student.run(set_mode, model, False)
    names = student.run(trainable, model)
    message = "Other parameters than the new head's require a gradient."
    expect_equal(names, ["fc.weight", "fc.bias"], message)
    student.run(fill_gradients, model.fc, 2.0)
    x, labels = rng.normal(8, 6), rng.integers(0, 4, (8,))
    leaves = [
        expect_tensor(model.fc.weight, (4, 5), "The head's weight").clone().requires_grad_(),
        expect_tensor(model.fc.bias, (4,), "The head's bias").clone().requires_grad_(),
    ]
    loss = F.cross_entropy(F.linear(output(old.body.eval(), x), *leaves), labels)
    loss.backward()
    came = student.head_step(model, optimizer, x, labels)
    expect(type(came) is float, "head_step should return a float.")
    near = abs(came - loss.item()) <= 1e-3 * loss.item()
    expect(near, f"head_step returned {came:.4f}, which is not the loss before the step.")
    for name, leaf in zip(("weight", "bias"), leaves, strict=True):
        moved = (leaf - lr * leaf.grad).detach()
        message = f"With old gradients the head's {name} is not where it should be."
        expect_close(getattr(model.fc, name), moved, message)


@pytest.mark.task("fine_tuning_bug_hunt", points=1)
def test_accuracy_is_a_share(student, rng):
    """held_out_accuracy returns the share of examples that are classified rightly, as a float:
    of unequal batches, and in eval mode.
    """
    net, (x, _) = small_net(rng), batches(rng, 40)[0]
    logits = output(copy.deepcopy(net).eval(), x)
    labels = logits.argmax(dim=1)
    labels[27:] = logits[27:].argmin(dim=1)  # 27 of 40 right: all of the first batch, 7 of another
    data = list(zip(x.split([20, 14, 6]), labels.split([20, 14, 6]), strict=True))
    came = student.held_out_accuracy(net, data)
    expect(type(came) is float, "held_out_accuracy should return a float.")
    expect(abs(came - 27 / 40) < 1e-6, f"27 of 40 are right in eval mode; it returned {came:.4f}.")


# ------------------------------------------------------------------------- numbers and statements


NUMBERS = (
    "mixed_precision_gb",
    "float32_gb",
    "adapter_gb",
    "resnet_probe",
    "bert_classifier",
    "bert_with_pooler",
    "lowest_rate",
    "first_loss",
)


@pytest.mark.task("fine_tuning_numbers", points=0)
def test_answers_are_numbers(student):
    """Each answer given is a number; those still None are open."""
    expect_numbers(student, NUMBERS)


@pytest.mark.task("fine_tuning_statements", points=0)
def test_judgements_are_true_or_false(student):
    """`judged` has an entry for each of a to p: True, False or None."""
    expect_judgements(student.judged)
