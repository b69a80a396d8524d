"""The checks of the troubleshooting lesson that a learner may read: examples, not all.

Every expected value is worked out here, in plain torch, from this side's own copy of the inputs.
"""

import copy
import math

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
    call_and_return_arguments,
    chain,
    fill_gradients,
    hold,
    make_sgd,
    modes_of,
    set_mode,
    state_of,
)
from autograder.checks.shared.common import (
    expect_same_state,
    expect_state,
    expect_unchanged,
    give_parameters,
    output,
)
from autograder.checks.shared.troubleshooting import (
    Bend,
    Bigram,
    Root,
    batch_of,
    between,
    calm,
    classifier,
    encoder,
    expect_floats,
    expect_near,
    expect_stops,
    falling,
    in_turn,
    lost,
    make_scaler,
    normed,
    probed,
    saved_bytes,
    scores_of,
    series,
    sgd_on,
    steep,
    total_norm,
)

# ----------------------------------------------------------------- probes: they do, and they report


def run_backward(function, blocks, x):
    """Report the output, and the gradient of x."""
    x = x.clone().requires_grad_()
    output = function(blocks, x)
    output.sum().backward()
    return output.detach(), x.grad


def backward_later(function, blocks, x, weight, upstream):
    """Report the gradient of x where the first block has another weight before the backward."""
    x = x.clone().requires_grad_()
    output = function(blocks, x)
    blocks[0].weight.data.copy_(weight)
    output.backward(upstream)
    return x.grad


# ------------------------------------------------------------------------------ overfit_one_batch


@pytest.mark.task("overfit_one_batch", points=2.5)
def test_losses_of_one_batch(student, rng):
    """The losses are those before each step of plain SGD on the batch, without dropout; the model
    itself stays as it was.
    """
    net, batch = classifier(rng), batch_of(rng, 5)
    net.insert(2, nn.Dropout(0.5))
    model = student.run(hold, net.train())
    steps, lr = int(rng.integers(4, 9)), between(rng, 0.1, 0.5)
    losses = student.overfit_one_batch(model, batch, steps, lr)
    expected = sgd_on(copy.deepcopy(net).eval(), [batch] * steps, [lr] * steps)
    expect_floats(losses, expected, "With a dropout in the model, the list of losses")
    expect_same_state(student, model, net.state_dict(), "The model itself has been trained")


@pytest.mark.task("overfit_one_batch", points=1)
def test_a_batch_is_learned_by_heart(student, rng):
    """Within many steps the loss of a small batch goes to about zero."""
    losses = student.overfit_one_batch(
        classifier(rng, width=8), batch_of(rng, 3, width=8), 300, 0.5
    )
    fine = type(losses) is list and len(losses) == 300 and type(losses[-1]) is float
    expect(fine, "It should return one float a step.")
    expect(0 < losses[-1] < 0.1, f"After 300 steps the loss is {losses[-1]:.3g}.")


# --------------------------------------------------------------------------------------- diagnose


@pytest.mark.task("diagnose", points=1)
def test_a_healthy_run_has_no_finding(student, rng):
    """A run that learns steadily has no finding."""
    losses, shares = (
        falling(rng, 3),
        [between(rng, *s) for s in ((0.3, 0.5), (0.6, 0.7), (0.8, 0.88))],
    )
    history = {
        "train_loss": losses,
        "eval_loss": [loss + 0.1 for loss in losses],
        "train_accuracy": shares,
        "eval_accuracy": [share - 0.05 for share in shares],
    }
    came = student.diagnose(history, int(rng.integers(5, 12)))
    expect_equal(came, set(), "A healthy run should have no finding.")


@pytest.mark.task("diagnose", points=1)
def test_flat_and_diverging(student, rng):
    """A loss flat at ln(classes) and one that rises are told apart."""
    classes = int(rng.integers(3, 13))
    flat = [math.log(classes) * between(rng, 0.97, 1.03) for _ in range(3)]
    came = student.diagnose({"train_loss": flat}, classes)
    expect_equal(came, {"flat_at_chance"}, f"A loss flat near the logarithm of {classes} classes.")
    came = student.diagnose({"train_loss": falling(rng, 3)[::-1]}, classes)
    expect_equal(came, {"diverging"}, f"A loss that rises in each epoch, {classes} classes.")


@pytest.mark.task("diagnose", points=1)
def test_overfitting_is_found(student, rng):
    """Validation loss that rises while training loss falls is overfitting."""
    losses, rate = falling(rng, 3), between(rng, 0.01, 1.0)
    tested = [losses[0], losses[0] * between(rng, 0.7, 0.9), losses[0] * between(rng, 1.1, 1.5)]
    history = {"train_loss": losses, "eval_loss": tested, "lr": [rate] * 3}
    came = student.diagnose(history, int(rng.integers(3, 13)))
    expect_equal(came, {"overfitting"}, "A run that overfits.")


# --------------------------------------------------------------------------------- early_stopping


@pytest.mark.task("early_stopping", points=1)
def test_it_stops_after_patience_values(student, rng):
    """It says True at as many values in a row without a gain as its patience."""
    patience = int(rng.integers(2, 5))
    expect_stops(student, rng, "gg" + "." * patience, patience, "min")


@pytest.mark.task("early_stopping", points=1.5)
def test_the_best_weights_come_back(student, rng):
    """restore gives the model the weights that it had at the best value."""
    best, later = rng.linear(3, 2), rng.linear(3, 2)
    model = student.run(hold, rng.linear(3, 2))
    stopping = student.EarlyStopping(3)
    for net, value in zip((best, later), series(rng, "g."), strict=True):
        give_parameters(student, model, weight=net.weight.detach(), bias=net.bias.detach())
        stopping.step(value, model)
    stopping.restore(model)
    expect_close(model.weight, best.weight, "The weight is not that of the best value.")
    expect_close(model.bias, best.bias, "The bias is not that of the best value.")


@pytest.mark.task("early_stopping", points=1)
def test_larger_may_be_better(student, rng):
    """With mode="max" larger values are gains."""
    expect_stops(student, rng, "ggg.", 1, "max")


# ---------------------------------------------------------------------------------- lr_range_test


@pytest.mark.task("lr_range_test", points=1)
def test_rates_are_geometric(student, rng):
    """The rates run from low to high in equal ratios."""
    loader, low = [batch_of(rng, 12) for _ in range(5)], between(rng, 0.5, 2.0) * 1e-6
    came = student.lr_range_test(calm(classifier(rng)), loader, low, 1e4 * low, 5)
    expect(type(came) is dict and set(came) == {"lr", "loss"}, 'It should be {"lr": …, "loss": …}.')
    rates = [low * 10**step for step in range(5)]
    expect_floats(came["lr"], rates, "The list of rates", rtol=1e-9)
    ratios = [b / a for a, b in zip(came["lr"], came["lr"][1:], strict=False)]
    expect_floats(ratios, [10.0] * 4, "The list of the rates' ratios")


@pytest.mark.task("lr_range_test", points=1)
def test_each_step_has_its_rate(student, rng):
    """Each loss is that of the next batch, after steps of SGD with the rates before it; a loader
    that is used up is begun anew.
    """
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(3)]
    low = between(rng, 0.005, 0.015)
    rates = [low * 2**step for step in range(5)]
    came = student.lr_range_test(net, loader, rates[0], rates[-1], 5)
    expect(type(came) is dict, "It should return a dict.")
    expected = sgd_on(copy.deepcopy(net), [*loader, *loader[:2]], rates)
    expect_floats(came.get("loss"), expected, "With three batches for five steps, the losses")


@pytest.mark.task("lr_range_test", points=0.5)
def test_the_range_test_leaves_no_trace(student, rng):
    """Afterwards weights, the buffers of a batch-norm and modes are those of before."""
    net, loader = calm(normed(rng)).train(), [batch_of(rng, 12) for _ in range(3)]
    net[2].eval()
    model = student.run(hold, net)
    low = between(rng, 0.005, 0.015)
    came = student.lr_range_test(model, loader, low, 4 * low, 3)
    expected = sgd_on(copy.deepcopy(net).train(), loader, [low, 2 * low, 4 * low])
    expect(type(came) is dict, "It should return a dict.")
    expect_floats(came.get("loss"), expected, "The list of losses")
    expect_same_state(student, model, net.state_dict(), "A tensor of the model has changed")
    message = "A part of the model is in another mode."
    expect_equal(student.run(modes_of, model), modes_of(net), message)


# -------------------------------------------------------------------------- the six broken steps


@pytest.mark.task("broken_training_steps", points=1)
def test_train_step_is_a_step(student, rng):
    """train_step moves the model along its gradient and returns the loss from before."""
    net, batch = classifier(rng), batch_of(rng, 6)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.2)
    loss = student.train_step(model, optimizer, *batch)
    trained = copy.deepcopy(net)
    [expected] = sgd_on(trained, [batch], [0.2])
    expect_near(loss, expected, "The loss returned")
    expect_state(student, model, trained.state_dict(), "Not where a step of SGD puts it", 1e-6)


@pytest.mark.task("broken_training_steps", points=1)
def test_train_step_forgets_old_gradients(student, rng):
    """Gradients left over from before have no influence on train_step."""
    net, batch = classifier(rng), batch_of(rng, 6)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.2)
    student.run(fill_gradients, model, 2.0)
    student.train_step(model, optimizer, *batch)
    trained = copy.deepcopy(net)
    sgd_on(trained, [batch], [0.2])
    expect_state(
        student, model, trained.state_dict(), "With old gradients, not where a step puts it", 1e-6
    )


@pytest.mark.task("broken_training_steps", points=1)
def test_class_loss_is_that_of_the_logits(student, rng):
    """class_loss is the mean cross-entropy of the logits."""
    net, (x, labels) = classifier(rng), batch_of(rng, 6)
    logits = 3 * net(x).detach()
    rows = logits - logits.exp().sum(dim=1, keepdim=True).log()
    expected = -rows[torch.arange(6), labels].mean()
    with torch.no_grad():
        net[2].weight *= 3
        net[2].bias *= 3
    came = student.class_loss(net, x, labels)
    expect_close(came, expected, "The loss is not the cross-entropy of the logits.", rtol=1e-6)


@pytest.mark.task("broken_training_steps", points=1)
def test_joint_step_returns_the_loss(student, rng):
    """joint_step returns the loss before the step, and the head learns."""
    net, batch = classifier(rng), batch_of(rng, 6)
    parts = student.run(hold, net[:2]), student.run(hold, net[2])
    optimizer = student.run(make_sgd, student.run(chain, *parts), 0.2)
    loss = student.joint_step(*parts, optimizer, *batch)
    trained = copy.deepcopy(net)
    [expected] = sgd_on(trained, [batch], [0.2])
    expect_near(loss, expected, "The loss returned")
    expect_close(parts[1].weight, trained[2].weight, "The head is not where a step puts it.", 1e-6)


@pytest.mark.task("broken_training_steps", points=1.5)
def test_joint_step_trains_the_body(student, rng):
    """joint_step moves the body's parameters along their gradients."""
    net, batch = classifier(rng), batch_of(rng, 6)
    parts = student.run(hold, net[:2]), student.run(hold, net[2])
    optimizer = student.run(make_sgd, student.run(chain, *parts), 0.2)
    student.joint_step(*parts, optimizer, *batch)
    trained = copy.deepcopy(net)
    sgd_on(trained, [batch], [0.2])
    expect_state(
        student, parts[0], trained[:2].state_dict(), "The body is not where a step puts it", 1e-6
    )


@pytest.mark.task("broken_evaluation_steps", points=1)
def test_validate_counts_examples(student, rng):
    """validate gives the share of right answers, over batches of different sizes."""
    net, loader = classifier(rng).eval(), [batch_of(rng, size) for size in (7, 2, 4)]
    with torch.no_grad():
        right = sum(int((net(x).argmax(dim=-1) == labels).sum()) for x, labels in loader)
    expect_near(student.validate(net, loader), right / 13, "The accuracy")


@pytest.mark.task("broken_evaluation_steps", points=1)
def test_validate_answers_in_eval_mode(student, rng):
    """validate answers in eval mode: with running statistics, without dropout, in any batches."""
    net = normed(rng)
    net.insert(3, nn.Dropout(0.9))
    x, labels = batch_of(rng, 120)
    with torch.no_grad():
        right = (copy.deepcopy(net).eval()(x).argmax(dim=1) == labels).double().mean().item()
    for size in (120, 40, 3):
        loader = list(zip(x.split(size), labels.split(size), strict=True))
        came = student.validate(net.train(), loader)
        expect_near(came, right, f"In batches of {size} the accuracy")


@pytest.mark.task("broken_evaluation_steps", points=1)
def test_probe_step_trains_the_head(student, rng):
    """probe_step moves the head along its gradient and returns the loss from before."""
    body, head = nn.Sequential(rng.linear(4, 5), nn.Tanh()).double(), rng.linear(5, 3).double()
    x, labels = batch_of(rng, 6)
    parts = student.run(hold, body), student.run(hold, head)
    optimizer = student.run(make_sgd, parts[1], 0.2)
    loss = student.probe_step(*parts, optimizer, x, labels)
    trained = copy.deepcopy(head)
    [expected] = sgd_on(trained, [(body(x).detach(), labels)], [0.2])
    expect_near(loss, expected, "The loss returned")
    expect_state(
        student, parts[1], trained.state_dict(), "The head is not where a step of SGD puts it", 1e-6
    )


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_frozen_body_does_not_drift(student, rng):
    """probe_step leaves the body's parameters and buffers bit for bit as they were."""
    net = normed(rng)
    _, parts = probed(student, rng, net[:3], net[3])
    body = net[:3]
    expect_same_state(student, parts[0], body.state_dict(), "The frozen body has changed")
    student.run(set_mode, parts[0], False)
    x = rng.normal(5, 4).double()
    expect_close(parts[0](x), output(body.eval(), x), "The frozen body answers otherwise.")
    moved = expect_tensor(parts[1].weight, net[3].weight.shape, "The head", torch.float64)
    expect(not torch.equal(moved, net[3].weight.detach()), "The head has not moved.")


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_labels_are_shifted_once(student, rng):
    """next_token_loss compares the logits at t with the token at t + 1, and changes no argument."""
    table, tokens = rng.normal(7, 7, std=2.0), rng.integers(0, 7, (3, 6))
    scores = table.log_softmax(dim=1)
    pairs = [scores[row[t], row[t + 1]] for row in tokens.tolist() for t in range(5)]
    given = student.next_token_loss, Bigram(table), tokens, tokens.clone()
    came, left = student.run(call_and_return_arguments, *given)
    expect_close(came, -torch.stack(pairs).mean(), "The loss of the next tokens is not right.")
    expect_unchanged(left[1:], [tokens, tokens], "An argument")


# ------------------------------------------------------------------------------- first_nan_module


@pytest.mark.task("first_nan_module", points=1.5)
def test_the_layer_is_named(student, rng):
    """The name is that of the innermost module where the first NaN arises."""
    block = nn.Sequential(nn.Identity(), Root(), nn.Identity())
    model = student.run(hold, nn.Sequential(rng.linear(4, 6), nn.Tanh(), block, rng.linear(6, 3)))
    name = student.first_nan_module(model, (rng.normal(8, 4), torch.zeros(8, dtype=torch.int64)))
    expect_equal(name, "2.1", "Roots of negative numbers in the layer “2.1”.")


@pytest.mark.task("first_nan_module", points=1.5)
def test_a_healthy_forward_names_nothing(student, rng):
    """If all outputs are finite the answer is None; an infinite one is not, even if all behind it
    are.
    """
    net = nn.Sequential(rng.linear(4, 6), nn.Tanh(), rng.linear(6, 3))
    model, batch = student.run(hold, net), (rng.normal(8, 4), torch.zeros(8, dtype=torch.int64))
    expect_equal(student.first_nan_module(model, batch), None, "A healthy model has no first NaN.")
    net[0].bias.data[2] = float("nan")
    name = student.first_nan_module(student.run(hold, net), batch)
    expect_equal(name, "0", "With a NaN in the bias of layer “0”.")
    net[0].bias.data[2] = float("inf")
    name = student.first_nan_module(student.run(hold, net), batch)
    expect_equal(name, "0", "With an infinity in the bias of layer “0”, and a Tanh behind it.")


# --------------------------------------------------------------------------------------- amp_step


@pytest.mark.task("amp_step", points=2)
def test_amp_step_moves_the_model(student, rng):
    """With a scale of 1,024 and no clipping it is a step of SGD, as far as bfloat16 goes."""
    net = nn.Sequential(rng.linear(6, 8), nn.Tanh(), rng.linear(8, 3))
    x, labels = rng.normal(16, 6), rng.integers(0, 3, (16,))
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.5)
    scaler = student.run(make_scaler, 1024.0)
    student.amp_step(model, optimizer, scaler, x, labels, 1e6)
    trained = copy.deepcopy(net)
    sgd_on(trained, [(x, labels)], [0.5])
    for index in (0, 2):
        start, end = net[index].weight.detach(), trained[index].weight.detach()
        came = expect_tensor(student.run(state_of, model)[f"{index}.weight"], end.shape, "A weight")
        message = f"The weight of layer {index} has not moved as a step of SGD moves it."
        expect_close(came - start, end - start, message, rtol=0.1)


@pytest.mark.task("amp_step", points=1)
def test_amp_step_returns_loss_and_norm(student, rng):
    """It returns the unscaled loss and the gradients' norm as two floats."""
    net = nn.Sequential(rng.linear(6, 8), nn.Tanh(), rng.linear(8, 3))
    x, labels = rng.normal(16, 6), rng.integers(0, 3, (16,))
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.5)
    came = student.amp_step(model, optimizer, student.run(make_scaler, 512.0), x, labels, 1e6)
    expect(type(came) is tuple and len(came) == 2, "It should return a pair (loss, norm).")
    expect(all(type(value) is float for value in came), "Loss and norm should be floats.")
    expect_near(came[0], F.cross_entropy(net(x), labels).item(), "The loss", rtol=0.05)


@pytest.mark.task("amp_step", points=1.5)
def test_true_gradients_are_clipped(student, rng):
    """max_norm is compared with the true gradients, and scales them all down together."""
    net, x, labels = steep(rng)
    gradients, norm = total_norm(net, x, labels)
    for share in (0.25, 4.0):  # clipped to a quarter; not clipped
        model = student.run(hold, net)
        optimizer = student.run(make_sgd, model, 1.0)
        scaler = student.run(make_scaler, 4096.0)
        student.amp_step(model, optimizer, scaler, x, labels, share * norm)
        came = student.run(state_of, model)
        factor = min(share, 1.0)
        for (name, start), gradient in zip(net.named_parameters(), gradients, strict=True):
            value = expect_tensor(came[name], start.shape, name)
            message = f"With max_norm {share} times the gradients' norm {name} moves otherwise."
            expected = -factor * gradient
            expect_close(value - start.detach(), expected, message, atol=0.1 * factor * norm)


# ------------------------------------------------------------------------------------- forgetting


@pytest.mark.task("forgetting", points=1)
def test_losses_of_old_tasks(student, rng):
    """For each old task it is the score before minus the score after."""
    before, after = scores_of(rng, 2, 0.5, 1.0), scores_of(rng, 2, 0.1, 0.4)
    came = student.forgetting(before, after)
    expect_equal(came, lost(before, after), "The losses of two tasks, both worse than before.")


@pytest.mark.task("forgetting", points=1)
def test_gains_are_negative(student, rng):
    """A task that has gained has a negative entry."""
    before, after = scores_of(rng, 2, 0.1, 0.4), scores_of(rng, 2, 0.5, 1.0)
    came = student.forgetting(before, after)
    expect_equal(came, lost(before, after), "The losses of two tasks, both better than before.")


@pytest.mark.task("forgetting", points=1)
def test_nothing_to_forget(student, rng):
    """Without tasks there is nothing to report, and equal scores give 0.0."""
    expect_equal(student.forgetting({}, {}), {}, "Two empty dicts should give an empty one.")
    before = scores_of(rng, 1)
    came = student.forgetting(before, dict(before))
    expect_equal(came, dict.fromkeys(before, 0.0), "An equal score before and after.")


# ---------------------------------------------------------------------------------- l2_sp_penalty


@pytest.mark.task("l2_sp_penalty", points=1.5)
def test_penalty_of_a_moved_model(student, rng):
    """It is half the strength times the squared distance from the start, of what that names and in
    its very shape.
    """
    net = nn.Sequential(rng.linear(5, 3), rng.linear(3, 2))
    start = {"0.weight": rng.normal(3, 5), "0.bias": rng.normal(3)}
    distance = (net[0].weight - start["0.weight"]).square().sum()
    distance = distance + (net[0].bias - start["0.bias"]).square().sum()
    strength = between(rng, 0.1, 2.0)
    came = student.l2_sp_penalty(net, start, strength)
    message = "With a new layer that has no start the penalty is not as stated."
    expect_close(came, strength / 2 * distance.detach(), message)
    other = start | {"0.weight": rng.normal(1, 5)}
    message = "A start of shape (1, 5) for a weight of (3, 5) should be a ValueError."
    expect_raises(ValueError, lambda: student.l2_sp_penalty(net, other, 0.4), message)


@pytest.mark.task("l2_sp_penalty", points=1)
def test_no_penalty_at_the_start(student, rng):
    """At the start itself the penalty is zero, and one step away from it is not."""
    net = rng.linear(5, 3)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    came = expect_tensor(student.l2_sp_penalty(net, start, 3.0), (), "The penalty")
    expect(came.item() == 0.0, "At the start the penalty should be zero.")
    start["bias"] += 1.0
    came = student.l2_sp_penalty(net, start, 3.0)
    expect_close(came, torch.tensor(4.5), "One away in each of 3 biases, with strength 3.")


# ----------------------------------------------------------------------------------- checkpointed


@pytest.mark.task("checkpointed", points=1.5)
def test_output_and_gradients_are_the_same(student, rng):
    """The output and the gradients of x are those without checkpointing."""
    blocks, x = encoder(rng, 3), rng.normal(2, 5, 32)
    leaf = x.clone().requires_grad_()
    expected = leaf
    for block in blocks:
        expected = block(expected)
    expected.sum().backward()
    came, gradient = student.run(run_backward, student.checkpointed, blocks, x)
    expect_close(came, expected, "The output is not that of the blocks in turn.")
    expect_close(gradient, leaf.grad, "The gradient of x is not right.", rtol=1e-3)


@pytest.mark.task("checkpointed", points=1.5)
def test_less_is_saved_for_backward(student, rng):
    """At least 40 % fewer bytes are saved for backward than without checkpointing: what is inside
    of the blocks is computed anew.
    """
    blocks, x = encoder(rng, 6, dropout=0.1), rng.normal(4, 48, 32)
    plain, output = saved_bytes(in_turn, blocks, x)
    came = student.run(saved_bytes, student.checkpointed, blocks, x)
    expect(type(came) is tuple and type(came[0]) is int, "What is saved could not be counted.")
    expect_tensor(came[1], output.shape, "The output")
    share = came[0] / plain
    expect(share <= 0.6, f"{came[0] / 1e6:.1f} MB are saved, {share:.0%} of {plain / 1e6:.1f} MB.")
    # What is not kept is computed anew: with the weights that there are then.
    first, new = Bend(rng.normal(8, 8, std=0.3), rng.normal(8)), rng.normal(8, 8, std=0.3)
    blocks, x, upstream = [first, rng.linear(8, 8)], rng.normal(2, 5, 8), rng.normal(2, 5, 8)
    came = student.run(backward_later, student.checkpointed, blocks, x, new, upstream)
    with torch.no_grad():
        first.weight.copy_(new)
    leaf = x.clone().requires_grad_()
    in_turn(blocks, leaf).backward(upstream)
    message = "Where the first block's weight changes before the backward, the gradient of x"
    expect_close(came, leaf.grad, f"{message} is not that of this weight.")


# ------------------------------------------------------------------------- numbers and statements


NUMBERS = (
    "chance_loss",
    "label_entropy",
    "double_softmax_floor",
    "middle_rate",
    "stop_epoch",
    "loss_scale",
    "adam_8bit_gigabytes",
    "segment_peak",
)


@pytest.mark.task("troubleshooting_numbers", points=0)
def test_answers_are_numbers(student):
    """Each answer given is a number; those still None are open."""
    expect_numbers(student, NUMBERS)


@pytest.mark.task("troubleshooting_statements", points=0)
def test_judgements_are_true_or_false(student):
    """`judged` has an entry for each of a to p: True, False or None."""
    expect_judgements(student.judged)
