"""The checks of the LoRA lesson that a learner may read: examples, not all that is asked.

Every expected value is worked out here, in plain torch, from this side's own copy of the inputs.
"""

import copy
import math
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
    sgd_step,
    state_of,
    trainable,
)
from autograder.checks.shared.common import (
    conv_net,
    expect_float,
    expect_on_its_device,
    expect_same_tensors,
    fill_norm,
    give_parameters,
    output,
)
from autograder.checks.shared.lora import (
    adapt,
    batches,
    classifier,
    expect_same,
    expect_trained_alone,
    give_adapters,
    matrices,
    save_and_go_on,
    two_towers,
    with_updates,
)


def forward_on(seed, function):
    """Return the forward of lora_alpha 16 on a random weight, which is sooner drawn than sent."""
    import torch

    weight = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(seed))

    def forward(x, lora_A, lora_B):
        return function(x, weight, lora_A, lora_B, 16.0)

    return forward


def trainable_elements(module):
    """Report how many elements are trainable."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def expect_learns(student, layer, count, x, upstream):
    """Expect this many elements of a new layer to train, and a step to change its output."""
    came = student.run(trainable_elements, layer)
    expect_equal(came, count, f"{count} elements should be trainable, those of its own matrices.")
    before = expect_tensor(layer(x), upstream.shape, "The output", x.dtype)
    student.run(sgd_step, layer, x, upstream, 0.1)
    after = expect_tensor(layer(x), upstream.shape, "The output", x.dtype)
    moved = (after - before).abs().max().item() > 1e-6
    expect(moved, "From its start a step of training does not change its output.")


# ----------------------------------------------------------------------------------- lora_forward


@pytest.mark.task("lora_forward", points=1)
def test_update_is_added(student, rng):
    """The output is the layer's plus the low-rank update, scaled by lora_alpha / rank."""
    x, weight = rng.normal(3, 6), rng.normal(4, 6)
    lora_A, lora_B = rng.normal(2, 6), rng.normal(4, 2)
    expected = x @ (weight + 3.0 * lora_B @ lora_A).T
    came = student.lora_forward(x, weight, lora_A, lora_B, 6.0)
    expect_close(came, expected, "With lora_alpha=6 and rank 2 the output is not as stated.")


@pytest.mark.task("lora_forward", points=0.5)
def test_bias_is_added_once(student, rng):
    """A bias, where there is one, is added as in a linear layer."""
    x, weight, bias = rng.normal(3, 5), rng.normal(7, 5), rng.normal(7, std=3.0)
    lora_A, lora_B = rng.normal(2, 5), rng.normal(7, 2)
    expected = x @ (weight + 4.0 * lora_B @ lora_A).T + bias
    came = student.lora_forward(x, weight, lora_A, lora_B, 8.0, bias=bias)
    expect_close(came, expected, "With a bias the output is not as stated.")


@pytest.mark.task("lora_forward", points=0.5)
def test_without_update_it_is_the_layer(student, rng):
    """With a B of zeros the output is the frozen layer's."""
    x, weight, bias = rng.normal(4, 5), rng.normal(3, 5), rng.normal(3)
    came = student.lora_forward(x, weight, rng.normal(2, 5), torch.zeros(3, 2), 2.0, bias=bias)
    expect_close(came, x @ weight.T + bias, "With lora_B = 0 the update should vanish.")


@pytest.mark.task("lora_forward", points=1)
@pytest.mark.speed(at_least=0.8)
def test_speed_of_a_few_rows(race, rng):
    """With 16 rows, 2,048 features in and out and rank 8 it is as fast as the reference (0.8 ×)."""
    seed = rng.seed()

    def prepare(side):
        return side.run(forward_on, seed, side.lora_forward)

    def inputs():
        return rng.normal(16, 2048), rng.normal(8, 2048), rng.normal(2048, 8)

    def verify(came, expected, *given):
        expect_close(came, expected, "A timed output is not right.")

    race.time(prepare, inputs, verify)


# ------------------------------------------------------------------------------------ lora_linear


@pytest.mark.task("lora_linear", points=1.5)
def test_layer_adds_its_scaled_update(student, rng):
    """The layer adds the low-rank update to its base, scaled by lora_alpha / rank."""
    base, x = rng.linear(8, 5), rng.normal(3, 8)
    lora_A, lora_B = rng.normal(2, 8), rng.normal(5, 2)
    layer = student.LoRALinear(base, rank=2, lora_alpha=6.0)
    give_parameters(student, layer, lora_A=lora_A, lora_B=lora_B)
    expected = output(base, x) + 3.0 * x @ lora_A.T @ lora_B.T
    expect_close(layer(x), expected, "With lora_alpha=6 and rank 2 the output is not as stated.")


@pytest.mark.task("lora_linear", points=0.5)
def test_layer_has_its_attributes(student, rng):
    """lora_A is (rank, in), lora_B is (out, rank); rank and lora_alpha are kept as given."""
    layer = student.LoRALinear(rng.linear(7, 4), rank=3, lora_alpha=6.0)
    expect_tensor(layer.lora_A, (3, 7), "lora_A")
    expect_tensor(layer.lora_B, (4, 3), "lora_B")
    expect_equal(layer.rank, 3, "The attribute `rank` is not the rank given.")
    expect_equal(layer.lora_alpha, 6.0, "The attribute `lora_alpha` is not what was given.")


@pytest.mark.task("lora_linear", points=1)
def test_layer_starts_as_its_base(student, rng):
    """A new layer answers exactly as its base does."""
    base, x = rng.linear(6, 9), rng.normal(4, 6)
    came = student.LoRALinear(base, rank=2, lora_alpha=4.0)(x)
    expect_close(came, output(base, x), "Before any training the output is not the base's.")


@pytest.mark.task("lora_linear", points=0.5)
def test_layer_can_learn(student, rng):
    """lora_A and lora_B train and nothing else does, and they can begin to."""
    layer = student.LoRALinear(rng.linear(6, 4), 2, 4.0)
    expect_learns(student, layer, 2 * (6 + 4), rng.normal(3, 6), rng.normal(3, 4))


@pytest.mark.task("lora_linear", points=0.5)
def test_dropout_of_single_inputs(student, rng):
    """In train mode an input is kept, and divided by 1 − dropout, or lost, to the branch alone."""
    base, rows = rng.linear(6, 5), 40
    x = torch.zeros(rows, 6)
    x[range(rows), [row % 6 for row in range(rows)]] = rng.normal(rows).abs() + 0.5
    lora_A, lora_B = rng.normal(3, 6), rng.normal(5, 3)
    layer = student.LoRALinear(base, 3, 6.0, dropout=0.5)
    give_parameters(student, layer, lora_A=lora_A, lora_B=lora_B)
    student.run(set_mode, layer, True)
    update = expect_tensor(layer(x), (rows, 5), "The output") - output(base, x)
    whole = 2.0 * x @ lora_A.T @ lora_B.T / 0.5
    lost, kept = ((update - all_or_none).abs().amax(dim=1) < 1e-4 for all_or_none in (0, whole))
    message = "With one input a row and dropout=0.5, {} of {} rows have a part of their update."
    some = rows - int((lost | kept).sum())
    expect(some == 0, message.format(some, rows))
    expect(0 < int(lost.sum()) < rows, f"With dropout=0.5, {int(lost.sum())} of {rows} are lost.")


@pytest.mark.task("lora_linear", points=0.5)
def test_matrices_have_the_bases_dtype(student, rng):
    """lora_A and lora_B have the dtype and device of the base's weight."""
    for dtype in (torch.float64, torch.bfloat16):
        layer = student.LoRALinear(rng.linear(6, 4).to(dtype), 2, 4.0)
        expect_tensor(layer.lora_A, (2, 6), "lora_A", dtype)
        expect_tensor(layer.lora_B, (4, 2), "lora_B", dtype)
    expect_on_its_device(student, student.LoRALinear, rng.linear(6, 4), 2, 4.0)


# ------------------------------------------------------------------------------------ lora_conv2d


@pytest.mark.task("lora_conv2d", points=1)
def test_convolution_adds_its_scaled_update(student, rng):
    """The layer adds B ∗ (A ∗ x) to its base, scaled by lora_alpha / rank."""
    base, x = rng.conv2d(3, 5, 3, padding=1), rng.normal(2, 3, 6, 6)
    values = matrices(rng, nn.Sequential(base), ["0"], rank=2)
    layer = student.LoRAConv2d(base, 2, 6.0)
    give_parameters(student, layer, lora_A=values["0"][0], lora_B=values["0"][1])
    expected = output(with_updates(nn.Sequential(base), values, 3.0), x)
    expect_close(layer(x), expected, "With lora_alpha=6 and rank 2 the output is not as stated.")


@pytest.mark.task("lora_conv2d", points=0.5)
def test_convolution_has_its_shapes(student, rng):
    """lora_A is (rank, in, kh, kw), lora_B is (out, rank, 1, 1)."""
    layer = student.LoRAConv2d(rng.conv2d(3, 6, 3), 2, 4.0)
    expect_tensor(layer.lora_A, (2, 3, 3, 3), "lora_A")
    expect_tensor(layer.lora_B, (6, 2, 1, 1), "lora_B")


@pytest.mark.task("lora_conv2d", points=0.5)
def test_convolution_can_learn(student, rng):
    """lora_A and lora_B train and nothing else does, and they can begin to."""
    layer = student.LoRAConv2d(rng.conv2d(3, 4, 3), 2, 4.0)
    x, upstream = rng.normal(2, 3, 5, 5), rng.normal(2, 4, 3, 3)
    expect_learns(student, layer, 2 * 3 * 9 + 4 * 2, x, upstream)


@pytest.mark.task("lora_conv2d", points=1)
def test_merge_gives_one_convolution(student, rng):
    """merge() gives one ordinary convolution with the layer's outputs."""
    base, x = rng.conv2d(3, 4, 3, padding=1), rng.normal(2, 3, 5, 5)
    values = matrices(rng, nn.Sequential(base), ["0"], rank=2)
    layer = student.LoRAConv2d(base, 2, 4.0)
    give_parameters(student, layer, lora_A=values["0"][0], lora_B=values["0"][1])
    merged = layer.merge()
    expected = with_updates(nn.Sequential(base), values, 2.0)
    expect_close(merged.weight, expected[0].weight, "The merged weight is not as stated.")
    expect_close(merged(x), output(expected, x), "The merged convolution answers otherwise.")


# ------------------------------------------------------------------------------------ inject_lora


@pytest.mark.task("inject_lora", points=1)
def test_named_layers_are_replaced(student, rng):
    """The layers that are named are replaced, and their dotted names returned."""
    model = student.run(hold, two_towers(rng))
    names = student.inject_lora(model, ["query"], 2, 4.0)
    expect_equal(names, ["encoder.query", "decoder.query"], "The names returned are not right.")
    for name, out in (("encoder", 6), ("decoder", 6)):
        layer = getattr(getattr(model, name), "query")  # noqa: B009 - a handle's attributes
        expect_tensor(layer.lora_A, (2, 6), f"lora_A of {name}.query")
        expect_tensor(layer.lora_B, (out, 2), f"lora_B of {name}.query")
    net = nn.Sequential(OrderedDict(conv1=rng.linear(4, 4), preconv1=rng.linear(4, 4)))
    names = student.inject_lora(net, ["conv1"], 2, 4.0)
    expect_equal(names, ["conv1"], 'Of "conv1" and "preconv1" the name "conv1" matches one.')


@pytest.mark.task("inject_lora", points=1.5)
def test_only_adapters_and_head_train(student, rng):
    """Adapters and the modules of train_also are trainable, and nothing else is."""
    net = two_towers(rng)
    model = student.run(hold, net)
    student.inject_lora(model, ["value"], 2, 4.0, train_also=["head"])
    names = student.run(trainable, model)
    adapters = [f"{part}.value.lora_{m}" for part in ("encoder", "decoder") for m in "AB"]
    expected = sorted([*adapters, "head.weight", "head.bias"])
    expect(type(names) is list, "The trainable parameters could not be read.")
    missing, extra = set(expected) - set(names), set(names) - set(expected)
    expect(not missing, f"{len(missing)} parameter(s) should be trainable and are not.")
    expect(not extra, f"{len(extra)} parameter(s) are trainable and should not be.")
    towers = ["encoder.value", "decoder.value"]
    expect_trained_alone(student, rng, model, net, towers, ["head"])


@pytest.mark.task("inject_lora", points=0.5)
def test_refused_it_changes_nothing(student, rng):
    """A name that matches nothing is a ValueError, which leaves the model as it was."""
    net = two_towers(rng)
    model, names = student.run(hold, net), [name for name, _ in net.named_parameters()]
    message = 'The model has no "key": that should be a ValueError.'
    expect_raises(
        ValueError,
        lambda: student.inject_lora(model, ["query", "key"], 2, 4.0, train_also=["head"]),
        message,
    )
    came = student.run(trainable, model)
    expect_equal(came, names, "After the error other parameters are there, or trainable.")
    student.inject_lora(model, ["query"], 2, 4.0)
    found = "encoder.query.lora_A" in student.run(trainable, model)
    expect(found, "After the error, names that are there get no adapters.")


@pytest.mark.task("inject_lora", points=1)
def test_outputs_start_unchanged(student, rng):
    """Before any training the model answers as it did."""
    net, x = two_towers(rng).eval(), rng.normal(4, 6)
    model = student.run(hold, net)
    student.inject_lora(model, ["query", "value"], 3, 6.0)
    expect_tensor(model.encoder.value.lora_A, (3, 6), "lora_A of encoder.value")
    expect_close(model(x), output(net, x), "The injected model answers otherwise.")


@pytest.mark.task("inject_lora", points=1)
def test_frozen_batch_norm_is_still(student, rng):
    """A frozen batch-norm keeps to its running statistics after model.train(), and keeps them."""
    net, x = conv_net(rng).eval(), rng.normal(5, 2, 6, 6)
    model = student.run(hold, net)
    student.inject_lora(model, ["conv1"], 2, 4.0, train_also=["fc"])
    student.run(set_mode, model, True)
    for _ in range(2):
        expect_close(model(x), output(net, x), "In train mode the batch's statistics are used.")
    for name, old in net.bn1.named_buffers():
        new = expect_tensor(getattr(model.bn1, name), old.shape, f"bn1.{name}", old.dtype)
        expect(torch.equal(new, old), f"bn1.{name} has changed in train mode.")


# ------------------------------------------------------------------------------------- merge_lora


@pytest.mark.task("merge_lora", points=1.5)
def test_merging_keeps_the_outputs(student, rng):
    """After merging, the base weights hold the update, and the outputs are the same."""
    net, x = two_towers(rng).eval(), rng.normal(4, 6)
    values = matrices(rng, net, ["encoder.query", "decoder.query"], rank=2)
    model = student.run(hold, net)
    student.inject_lora(model, ["query"], 2, 4.0)
    give_adapters(student, model, values)
    student.merge_lora(model)
    expected = with_updates(net, values, 2.0)
    weight = model.encoder.query.base.weight
    expect_close(weight, expected.encoder.query.weight, "A merged base weight is not as stated.")
    expect_close(model(x), output(expected, x), "The merged model answers otherwise.")


@pytest.mark.task("merge_lora", points=1)
def test_unmerging_takes_it_back(student, rng):
    """After unmerging, the base weights are bit for bit the old ones and the adapters act again."""
    net, x = two_towers(rng).eval(), rng.normal(4, 6)
    values = matrices(rng, net, ["encoder.value", "decoder.value"], rank=2)
    model = student.run(hold, net)
    student.inject_lora(model, ["value"], 2, 4.0)
    give_adapters(student, model, values)
    student.merge_lora(model)
    expected, weight = with_updates(net, values, 2.0), model.encoder.value.base.weight
    expect_close(weight, expected.encoder.value.weight, "A merged base weight is not as stated.")
    student.unmerge_lora(model)
    weight, old = model.encoder.value.base.weight, net.encoder.value.weight.detach()
    expect_close(weight, old, "A base weight is not the old one.")
    expect(torch.equal(weight, old), "A base weight is not bit for bit the old one.")
    expected = output(expected, x)
    expect_close(model(x), expected, "The unmerged model answers otherwise than before merging.")


@pytest.mark.task("merge_lora", points=1)
def test_both_return_the_model(student, rng):
    """merge_lora and unmerge_lora return the very model they were given."""
    net = two_towers(rng)
    values = matrices(rng, net, ["encoder.query"], rank=2)
    model = student.run(hold, net)
    student.inject_lora(model, ["encoder.query"], 2, 4.0)
    give_adapters(student, model, values)
    expected = with_updates(net, values, 2.0).encoder.query.weight
    for function, weight in (("merge_lora", expected), ("unmerge_lora", net.encoder.query.weight)):
        message = f"{function} did not return the model it was given."
        expect_same(student, rng, getattr(student, function)(model), model, message)
        message = f"After {function} the base's weight is not as stated."
        expect_close(model.encoder.query.base.weight, weight, message)


# -------------------------------------------------------------------------------- lora_state_dict


@pytest.mark.task("lora_state_dict", points=1)
def test_state_holds_adapters_and_head(student, rng):
    """The state holds the adapters and the train_also modules, under the model's names."""
    net = two_towers(rng)
    net.head = nn.Sequential(fill_norm(rng, nn.BatchNorm1d(5)), rng.linear(5, 3))
    values = matrices(rng, net, ["encoder.query", "decoder.query"], rank=2)
    model = student.run(hold, net)
    student.inject_lora(model, ["query"], 2, 4.0, train_also=["head"])
    give_adapters(student, model, values)
    state = student.lora_state_dict(model)
    expect(type(state) is dict, "lora_state_dict should return a dict.")
    expected = {name: t for name, t in net.state_dict().items() if name.startswith("head.")}
    for name, (lora_A, lora_B) in values.items():
        expected |= {f"{name}.lora_A": lora_A, f"{name}.lora_B": lora_B}
    settings = {f"{name}.{part}" for name in values for part in ("rank", "lora_alpha")}
    missing = len((expected.keys() | settings) - state.keys())
    extra = len(state.keys() - (expected.keys() | settings))
    expect(not missing, f"{missing} entries are missing from the state.")
    expect(not extra, f"The state holds {extra} entries that do not belong there.")
    for name, tensor in expected.items():
        expect_close(state[name], tensor, f"The entry {name} is not the model's.")
    after = student.run(save_and_go_on, student.lora_state_dict, model)
    expect_same_tensors(after, state, "What was saved changes when the model changes")


@pytest.mark.task("lora_state_dict", points=1)
def test_saved_and_loaded_it_answers_alike(student, rng):
    """Loaded into a fresh base that has been injected alike, the state gives the same outputs."""
    net, x = two_towers(rng).eval(), rng.normal(4, 6)
    values = matrices(rng, net, ["encoder.value", "decoder.value"], rank=2)
    fresh = copy.deepcopy(net)
    fresh.head = rng.linear(5, 3)
    first, second = student.run(hold, net), student.run(hold, fresh)
    for model in (first, second):
        student.inject_lora(model, ["value"], 2, 4.0, train_also=["head"])
    give_adapters(student, first, values)
    student.load_lora(second, student.lora_state_dict(first))
    expected = output(with_updates(net, values, 2.0), x)
    expect_close(second(x), expected, "The loaded model does not answer as the saved one.")


@pytest.mark.task("lora_state_dict", points=0.5)
def test_loading_is_all_or_nothing(student, rng):
    """A state with a tensor of another shape is a ValueError, which loads nothing of it."""
    model = student.run(hold, two_towers(rng))
    student.inject_lora(model, ["query"], 2, 4.0, train_also=["head"])
    good, before = student.lora_state_dict(model), student.run(state_of, model)
    expect(type(good) is dict and type(before) is dict, "lora_state_dict should return a dict.")
    other = {name: t + 1.0 for name, t in good.items() if t.dim()} | {"head.bias": rng.normal(1)}
    message = "A head.bias of one element for one of three should be a ValueError."
    expect_raises(ValueError, lambda: student.load_lora(model, good | other), message)
    message = "After the error a tensor of the model is another."
    expect_same_tensors(student.run(state_of, model), before, message)


@pytest.mark.task("lora_state_dict", points=1)
def test_state_tells_rank_and_alpha(student, rng):
    """The state tells each adapter's rank and lora_alpha as tensors without dimensions."""
    model = student.run(hold, two_towers(rng))
    student.inject_lora(model, ["encoder.query"], 3, 4.5)
    state = student.lora_state_dict(model)
    expect(type(state) is dict, "lora_state_dict should return a dict.")
    rank = expect_tensor(state.get("encoder.query.rank"), (), "The entry of the rank", torch.int64)
    alpha = state.get("encoder.query.lora_alpha")
    alpha = expect_tensor(alpha, (), "The entry of lora_alpha", torch.float64)
    expect_equal(rank.item(), 3, "The entry of the rank is not the adapter's.")
    expect_equal(alpha.item(), 4.5, "The entry of lora_alpha is not the adapter's.")


# -------------------------------------------------------------------------------- rank_for_budget


@pytest.mark.task("rank_for_budget", points=1)
def test_rank_of_one_layer(student, rng):
    """For one linear layer it is the largest rank whose two matrices fit."""
    width, out = int(rng.integers(5, 20)), int(rng.integers(5, 20))
    net = nn.Sequential(OrderedDict(proj=nn.Linear(width, out)))
    rank = int(rng.integers(2, 5))
    budget = rank * (width + out) + 3
    came = student.rank_for_budget(net, ["proj"], budget)
    expect_equal(came, rank, f"Not the largest rank for {width}→{out} and a budget of {budget}.")


@pytest.mark.task("rank_for_budget", points=1)
def test_rank_of_many_layers(student, rng):
    """All layers that are named share the budget, at one rank."""
    net = two_towers(rng)
    each = (6 + 6) + (6 + 5) + (5 + 3)  # the two called "value", and the head
    came = student.rank_for_budget(net, ["value", "head"], 3 * each + 7)
    expect_equal(came, 3, "Not the largest rank that all the targets can have together.")


# ------------------------------------------------------------------------------------ dora_linear


@pytest.mark.task("dora_linear", points=1)
def test_dora_starts_as_its_base(student, rng):
    """A new layer answers as its base does."""
    base, x = rng.linear(6, 4), rng.normal(3, 6)
    came = student.DoRALinear(base, 2, 4.0)(x)
    expect_close(came, output(base, x), "Before any training the output is not the base's.")


@pytest.mark.task("dora_linear", points=1)
def test_dora_scales_directions(student, rng):
    """An output's weights are magnitude times the unit vector along W + (lora_alpha / rank) BA."""
    base, x = rng.linear(6, 4, bias=False), rng.normal(3, 6)
    lora_A, lora_B, magnitude = rng.normal(2, 6), rng.normal(4, 2), rng.normal(4)
    layer = student.DoRALinear(base, 2, 6.0)
    give_parameters(student, layer, lora_A=lora_A, lora_B=lora_B, magnitude=magnitude)
    adapted = base.weight.detach() + 3.0 * lora_B @ lora_A
    expected = (x @ adapted.T) * magnitude / adapted.square().sum(dim=1).sqrt()
    expect_close(layer(x), expected, "With lora_alpha=6 and rank 2 the output is not as stated.")


@pytest.mark.task("dora_linear", points=0.5)
def test_dora_can_learn(student, rng):
    """lora_A, lora_B and magnitude train and nothing else does, and they can begin to."""
    base, x, upstream = rng.linear(6, 4), rng.normal(3, 6), rng.normal(3, 4)
    layer = student.DoRALinear(base, 2, 4.0)
    expect_learns(student, layer, 2 * (6 + 4) + 4, x, upstream)
    lora_B = expect_tensor(layer.lora_B, (4, 2), "lora_B")
    expect(lora_B.abs().max().item() > 0, "From its start a step of training leaves lora_B.")


@pytest.mark.task("dora_linear", points=0.5)
def test_dora_has_its_shapes(student, rng):
    """lora_A, lora_B and magnitude have their shapes; the magnitude starts at the rows' norms."""
    base = rng.linear(7, 4)
    layer = student.DoRALinear(base, 3, 6.0)
    expect_tensor(layer.lora_A, (3, 7), "lora_A")
    expect_tensor(layer.lora_B, (4, 3), "lora_B")
    norms = base.weight.detach().square().sum(dim=1).sqrt()
    expect_close(layer.magnitude, norms, "The magnitude does not start at the norms of W's rows.")


# -------------------------------------------------------------------------------- adapt_with_lora


@pytest.mark.task("adapt_with_lora", points=1)
def test_history_has_an_entry_an_epoch(student, rng):
    """It returns the model given and a history with one loss and one accuracy an epoch: means over
    the epoch's examples.
    """
    model = student.run(hold, classifier(rng))
    given, history = adapt(student, model, batches(rng, 4, 4), epochs=3, lr=0.01, seed=1)
    expect_same(student, rng, given, model, "The first thing returned is not the model given.")
    expect(type(history) is dict, "The history should be a dict.")
    for key in ("train_loss", "train_accuracy"):
        values = history.get(key)
        fine = type(values) is list and all(type(value) is float for value in values)
        expect(fine, f"history[{key!r}] should be a list of floats.")
        expect(len(values) == 3, f"history[{key!r}] has {len(values)} entries after 3 epochs.")
        expect(all(map(math.isfinite, values)), f"history[{key!r}] holds NaN or infinite values.")
    net, loader = classifier(rng), batches(rng, 6, 2)
    _, history = adapt(student, net, loader, epochs=1, lr=0.0, seed=1)
    images, labels = (torch.cat(parts) for parts in zip(*loader, strict=True))
    loss = F.cross_entropy(output(net, images), labels).item()
    message = "With batches of 6 and 2 and a rate of 0 the loss is not the mean of the 8 examples."
    expect_float(history["train_loss"][0], loss, message)


@pytest.mark.task("adapt_with_lora", points=1)
def test_adaptation_learns(student, rng):
    """On a few examples the model's loss falls well below its start, and every adapter moves."""
    net, loader = classifier(rng), batches(rng, 5, 5)
    model = student.run(hold, net)
    adapt(student, model, loader, epochs=40, lr=0.02, seed=2)
    images, labels = torch.cat([x for x, _ in loader]), torch.cat([y for _, y in loader])
    before = F.cross_entropy(output(net, images), labels).item()
    logits = expect_tensor(model(images), (10, 3), "The output", torch.float64)
    after = F.cross_entropy(logits, labels).item()
    expect(after < 0.5 * before, f"The loss was {before:.2f} before training, {after:.2f} after.")
    for name, shape in (("conv", (3, 2, 1, 1)), ("mid", (6, 2))):
        lora_B = expect_tensor(getattr(model, name).lora_B, shape, "lora_B", torch.float64)
        expect(lora_B.abs().max().item() > 0, f"40 epochs have not moved lora_B of {name}.")


def expect_base_answers(student, rng, model, net):
    """Expect an adapted classifier to be what adapters and head, as read, make of `net`."""
    values, tuned = {}, copy.deepcopy(net).eval()
    for name, old in matrices(rng, net, ["conv", "mid"], rank=2).items():
        layer = getattr(model, name)
        given = zip(("lora_A", "lora_B"), old, strict=True)
        values[name] = [expect_tensor(getattr(layer, n), o.shape, n, o.dtype) for n, o in given]
    for name, parameter in tuned.head.named_parameters():
        came = getattr(model.head, name)
        parameter.data = expect_tensor(came, parameter.shape, f"The head's {name}", torch.float64)
    student.run(set_mode, model, False)
    images = rng.normal(4, 1, 4, 4).double()
    message = "Another base than that of before answers."
    expected = output(with_updates(tuned, values, 2.0), images)
    expect_close(model(images), expected, message, rtol=1e-9)


@pytest.mark.task("adapt_with_lora", points=1)
def test_base_stays_bit_for_bit(student, rng):
    """Training leaves every base weight bit for bit as it was."""
    net = classifier(rng)
    model = student.run(hold, net)
    adapt(student, model, batches(rng, 4, 4), epochs=2, lr=0.05, seed=3)
    for name in ("conv", "mid"):
        base = getattr(model, name).base
        for part in ("weight", "bias"):
            old = getattr(net.get_submodule(name), part)
            new = expect_tensor(getattr(base, part), old.shape, f"{name}.{part}", torch.float64)
            expect(torch.equal(new, old), f"The base's {name}.{part} has changed.")
    expect_base_answers(student, rng, model, net)


# ---------------------------------------------------------------------------------- lora_bug_hunt


@pytest.mark.task("lora_bug_hunt", points=1)
def test_mended_layer_adds_its_update(student, rng):
    """The mended layer adds the scaled low-rank update of its input to the layer's output."""
    base, x = rng.linear(7, 4), rng.normal(3, 7)
    A, B = rng.normal(2, 7), rng.normal(4, 2)
    layer = student.AdaptedLayer(base, 2, 6.0)
    give_parameters(student, layer, A=A, B=B)
    expected = output(base, x) + 3.0 * x @ A.T @ B.T
    expect_close(layer(x), expected, "With lora_alpha=6 and rank 2 the output is not as stated.")


@pytest.mark.task("lora_bug_hunt", points=0.5)
def test_mended_net_trains(student, rng):
    """A and B of every adapted layer and the head train, from the start and by one batch alone."""
    net = nn.Sequential(rng.linear(5, 6), nn.LayerNorm(6), rng.linear(6, 4), rng.linear(4, 3))
    model = student.run(hold, net)
    optimizer = student.adapt_net(model, 2, 6.0, 0.1)
    names = student.run(trainable, model)
    expect(type(names) is list, "The trainable parameters could not be read.")
    expected = {"0.A", "0.B", "2.A", "2.B", "3.weight", "3.bias"}
    missing, extra = expected - set(names), set(names) - expected
    expect(not missing, f"{len(missing)} parameter(s) should be trainable and are not.")
    expect(not extra, f"{len(extra)} parameter(s) are trainable and should not be.")
    x, labels = rng.normal(8, 5), rng.integers(0, 3, (8,))
    F.cross_entropy(net(x), labels).backward()
    student.run(fill_gradients, model, 2.0)
    student.adapt_step(model, optimizer, x, labels)
    moved = net[3].weight.detach() - 0.1 * net[3].weight.grad
    head = getattr(model, "3").weight
    expect_close(head, moved, "With old gradients the head is not where a step of SGD puts it.")
    for name in "02":
        B = expect_tensor(getattr(model, name).B, (net[int(name)].out_features, 2), "B")
        expect(B.abs().max().item() > 0, f"A step has not moved B of layer {name}.")


@pytest.mark.task("lora_bug_hunt", points=0.5)
def test_mended_step_returns_the_loss(student, rng):
    """The mended step returns the mean cross-entropy before the step, as a float."""
    net = nn.Sequential(rng.linear(5, 6), nn.Tanh(), rng.linear(6, 3))
    x, labels = rng.normal(8, 5, std=2.0), rng.integers(0, 3, (8,))
    model = student.run(hold, net)
    loss = student.adapt_step(model, student.adapt_net(model, 2, 4.0, 0.1), x, labels)
    expect(type(loss) is float, "adapt_step should return a float.")
    expected = F.cross_entropy(output(net, x), labels).item()
    right = abs(loss - expected) <= 1e-4 * expected
    expect(right, f"adapt_step returned {loss:.4f}, which is not the loss before the step.")


# ------------------------------------------------------------------------- numbers and statements


NUMBERS = (
    "trainable_768",
    "percent_768",
    "bert_query_value",
    "conv_parameters",
    "loralib_conv_parameters",
    "largest_rank",
)


@pytest.mark.task("lora_numbers", points=0)
def test_answers_are_numbers(student):
    """Each answer given is a number; those still None are open."""
    expect_numbers(student, NUMBERS)


@pytest.mark.task("lora_statements", points=0)
def test_judgements_are_true_or_false(student):
    """`judged` has an entry for each of a to p: True, False or None."""
    expect_judgements(student.judged)
