"""The checks of the troubleshooting lesson that decide: each looks at one property of a task.

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
    call_and_return_arguments,
    chain,
    fill_gradients,
    hold,
    make_sgd,
    set_mode,
    shift_everything,
    state_of,
    step_of,
)
from autograder.checks.shared import on_gpu
from autograder.checks.shared.common import (
    Tells,
    Tires,
    expect_as_before,
    expect_same_state,
    expect_state,
    expect_unchanged,
    fill_norm,
    output,
    read_state,
    telling,
)
from autograder.checks.shared.troubleshooting import (
    Bigram,
    Root,
    batch_of,
    calm,
    classifier,
    encoder,
    expect_floats,
    expect_near,
    in_turn,
    make_scaler,
    normed,
    probed,
    saved_bytes,
    sgd_on,
    steep,
    total_norm,
)

# ----------------------------------------------------------------- probes: they do, and they report


def make_odd_scaler(scales, shares):
    """Return an object with a scaler's methods; with each update it has another scale, and takes
    another share of a step: half of it for each question too many before.
    """

    class Odd:
        def __init__(self):
            self.at, self.asked = 0, 0

        def scale(self, loss):
            return loss * self.get_scale()

        def get_scale(self):
            self.asked += 1
            return scales[self.at]

        def unscale_(self, optimizer):
            self.multiply(optimizer, 1 / scales[self.at])

        def step(self, optimizer):
            self.multiply(optimizer, shares[self.at] * 2.0 ** (1 - self.asked))
            optimizer.step()

        def update(self):
            self.at, self.asked = self.at + 1, 0

        def multiply(self, optimizer, factor):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad.mul_(factor)

    return Odd()


def penalty_and_gradients(function, module, start, strength):
    """Report a penalty and, after its backward, the gradients of the parameters."""
    penalty = function(module, start, strength)
    penalty.backward()
    return penalty.detach(), [parameter.grad for parameter in module.parameters()]


def gradients_of_start(function, module, start, strength):
    """Report what the backward of a penalty leaves on tensors of the start that require one."""
    start = {name: tensor.clone().requires_grad_() for name, tensor in start.items()}
    penalty = function(module, start, strength)
    penalty.backward()
    return penalty.detach(), [tensor.grad for tensor in start.values()]


def loss_and_gradients(function, model, *args):
    """Report a loss and, after its backward, the gradients of the parameters."""
    loss = function(model, *args)
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in model.parameters()]


def seeded_backward(function, blocks, x, seed, of_x):
    """Seed the generator; report the output of a forward, and all gradients after its backward."""
    import torch

    torch.manual_seed(seed)
    x = x.clone().requires_grad_(of_x)
    output = function(blocks, x)
    output.square().sum().backward()
    parameters = [parameter for block in blocks for parameter in block.parameters()]
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return output.detach(), [*gradients, *([x.grad] if of_x else [])]


def keep_output(function, blocks, x):
    """Return a forward as a function without arguments, which keeps what it has made."""
    kept = []

    def forward():
        kept.append(function(blocks, x))
        return kept[0].detach()

    return forward


# ------------------------------------------------------------------------------- classes and inputs


class TwoPasses:
    """A loader of one batch, another one in every pass."""

    def __init__(self, batches):
        """Serve one of `batches` a pass, in turn."""
        self.batches, self.passes = batches, 0

    def __iter__(self):
        """Begin the next pass."""
        self.passes += 1
        yield self.batches[(self.passes - 1) % len(self.batches)]


class LastFirst(nn.Module):
    """Two layers that are used in the other order than they are registered in."""

    def __init__(self, first, second):
        """Register the one that is used first behind the other."""
        super().__init__()
        self.late, self.early = second, first

    def forward(self, x):
        """Use the second that was registered, then the first."""
        return self.late(self.early(x))


class RootOfItself(nn.Module):
    """A layer, and a root outside of any submodule."""

    def __init__(self, layer):
        """Keep the layer."""
        super().__init__()
        self.layer = layer

    def forward(self, x):
        """Take the root of what the layer gives."""
        return self.layer(x).sqrt()


class Ponders(nn.Module):
    """A block whose forward takes far longer than its backward."""

    def __init__(self, layer):
        """Wrap a layer."""
        super().__init__()
        self.layer = layer

    def forward(self, x):
        """Add to tanh of the layer what comes of many more of them, without a graph."""
        with torch.no_grad():
            far = x
            for _ in range(10):
                far = torch.tanh(self.layer(far))
        return torch.tanh(self.layer(x)) + far


class MindsItsHooks(nn.Module):
    """Gives NaN where |x| > 6; what it gives elsewhere tells how many hooks there are on it."""

    def forward(self, x):
        """Return numbers, or NaN."""
        hooks = len(self._forward_hooks) + len(self._forward_pre_hooks)
        return (36 - x.square()).sqrt() + hooks


class Packs(nn.Module):
    """Returns its input among other things, the root of it, too, if asked for."""

    def __init__(self, root):
        """Say whether to take the root."""
        super().__init__()
        self.root = root

    def forward(self, x):
        """Return a dict with lists in it."""
        count = torch.tensor([1, 2])
        return {"count": count, "states": [x, (x.sqrt() if self.root else x, count)]}


class Unpacks(nn.Module):
    """Takes the first state of what `Packs` returns."""

    def forward(self, packed):
        """Return a tensor again."""
        return packed["states"][0]


class NotInTraining(nn.Module):
    """Gives NaN in train mode, and its input in eval mode."""

    def forward(self, x):
        """Return x or NaN."""
        return x * float("nan") if self.training else x


def filled(net):
    """Return `net` with the gradients that the model of the submission had before: all 2."""
    fill_gradients(net, 2.0)
    return net


# ------------------------------------------------------------------------------ overfit_one_batch


@pytest.mark.task("overfit_one_batch", points=1)
def test_running_statistics_are_used(student, rng):
    """A batch-norm uses its running statistics."""
    net, batch = normed(rng), batch_of(rng, 5)
    losses = student.overfit_one_batch(net.train(), batch, 4, 0.1)
    expected = sgd_on(copy.deepcopy(net).eval(), [batch] * 4, [0.1] * 4)
    expect_floats(losses, expected, "With a batch-norm in the model, the list of losses")


@pytest.mark.task("overfit_one_batch", points=1)
def test_only_the_copy_learns(student, rng):
    """The model keeps its parameters, their .grad, and its modes; the batch is left unchanged."""
    net, batch = telling(rng, classifier(rng)), batch_of(rng, 5)
    model = student.run(hold, net)
    student.run(fill_gradients, model, 2.0)
    given = student.overfit_one_batch, model, batch, 3, 0.3
    losses, left = student.run(call_and_return_arguments, *given)
    fine = type(losses) is list and [type(loss) for loss in losses] == [float] * 3
    expect(fine, "The list of losses should be three floats.")
    expect(losses[0] != losses[2], "The first and the last loss are equal.")
    expect_unchanged(left[1], batch, "The batch")
    expect_same_state(student, model, net.state_dict(), "The model itself has been trained")
    expect_as_before(student, model, filled(net), rng.normal(6, 4).double(), "The model itself")


@pytest.mark.task("overfit_one_batch", points=1)
def test_frozen_parameters_stay(student, rng):
    """Parameters that are not trainable stay as they are."""
    net, batch = classifier(rng), batch_of(rng, 5)
    net[0].requires_grad_(False)
    losses = student.overfit_one_batch(net, batch, 5, 0.5)
    expected = sgd_on(copy.deepcopy(net), [batch] * 5, [0.5] * 5)
    expect_floats(losses, expected, "With a frozen first layer, the list of losses")


@pytest.mark.task("overfit_one_batch", points=0.5)
def test_numbers_of_steps(student, rng):
    """0 steps give an empty list, a negative number is a ValueError."""
    net, batch = classifier(rng), batch_of(rng, 3)
    expect_equal(student.overfit_one_batch(net, batch, 0, 0.1), [], "0 steps should give [].")
    expect_raises(
        ValueError,
        lambda: student.overfit_one_batch(net, batch, -1, 0.1),
        "A negative number of steps should be a ValueError.",
    )


# --------------------------------------------------------------------------------------- diagnose


def expect_findings(student, cases):
    """Expect each (history, classes) to have these findings."""
    for history, classes, findings, what in cases:
        came = student.diagnose(history, classes)
        expect_equal(came, findings, f"{what}, {classes} classes: not the findings of the table.")


@pytest.mark.task("diagnose", points=1)
def test_values_that_are_not_finite(student):
    """A NaN or infinite loss is found, and bars the other findings that read its list."""
    nan, inf = float("nan"), float("inf")
    broken, good = {"not_finite"}, {"suspiciously_good"}
    cases = (
        ({"train_loss": [1.0, 2.0, nan]}, 5, broken, "train_loss = [1, 2, nan]"),
        ({"train_loss": [1.0, inf, 3.0]}, 5, broken, "train_loss = [1, inf, 3]"),
        ({"eval_loss": [-inf, 0.5]}, 5, broken, "eval_loss = [-inf, 0.5]"),
        (
            {"train_loss": [1.0, 0.5, 0.2], "eval_loss": [0.5, nan, 0.9]},
            5,
            broken,
            "eval_loss = [0.5, nan, 0.9] and a falling train_loss",
        ),
        (
            {"train_loss": [1.0, nan], "eval_accuracy": [0.995, 0.996]},
            5,
            broken | good,
            "a NaN in train_loss, and eval_accuracy = [0.995, 0.996]",
        ),
        ({"train_accuracy": [nan, 0.99], "eval_accuracy": [0.5, 0.5]}, 5, set(), "NaN accuracy"),
    )
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=1)
def test_softmax_before_the_loss(student):
    """A good accuracy with a loss above the floor of two softmaxes is found."""
    found = {"probabilities_as_logits"}
    cases = []
    for classes, above, below in ((5, 0.95, 0.86), (10, 1.5, 1.4), (2, 0.35, 0.28)):
        for loss, accuracy, findings in (
            (above, 0.97, found),
            (below, 0.97, set()),
            (above, 0.85, set()),
            (above, 0.9, set()),
        ):
            history = {  # in the middle each is on the other side
                "train_loss": [loss + 0.1, above + below - loss, loss],
                "train_accuracy": [0.6, 1.81 - accuracy, accuracy],
            }
            cases.append((history, classes, findings, f"{loss=}, {accuracy=} at the end"))
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=1)
def test_overfitting_needs_both_curves(student):
    """Overfitting is validation loss above its first minimum and training loss below it there."""
    found = {"overfitting"}
    rows = (
        ([1.0, 0.8, 0.6], [1.0, 0.5, 0.53], set()),  # within a tenth
        ([1.0, 0.8, 0.6], [1.0, 0.5, 0.58], found),
        ([1.0, 0.8, 0.9], [1.0, 0.5, 0.8], set()),  # both rise
        ([1.0, 0.9, 0.4, 0.7], [1.0, 0.5, 0.5, 0.9], found),  # the first of two minima
        ([1.0, 0.5, 0.9, 0.7], [1.0, 0.5, 0.5, 0.9], set()),
        ([1.0, 0.8, 0.6], [0.9, 1.0, 0.9], set()),  # above the start, not above the best
        ([1.0, 0.8, 0.6], [1.0, 0.0, 0.1], found),  # the best is 0
        ([1.0, 0.8, 0.6], [1.5, 1.0, 1.1], set()),  # a tenth, and no more
        ([1.0, 0.8, 0.8], [1.0, 0.5, 0.8], set()),  # not below it there
    )
    cases = [
        ({"train_loss": train, "eval_loss": test}, 2, findings, f"{train} and {test}")
        for train, test, findings in rows
    ]
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=1)
def test_training_against_evaluation(student):
    """A gap of the last accuracies is found, and an evaluation at chance beside good training."""
    gap, broken = {"generalisation_gap"}, {"eval_mode_broken"}
    rows = (
        ([0.5, 0.9], [0.5, 0.75], 10, gap),
        ([0.5, 0.9], [0.5, 0.85], 10, set()),
        ([0.5, 0.5], [0.5, 0.42], 10, set()),  # a difference, not a share of it
        ([0.9, 0.8], [0.1, 0.9], 10, set()),  # only the last entries count, with their sign
        ([0.5, 0.95], [0.5, 0.12], 10, gap | broken),
        ([0.5, 0.95], [0.5, 0.18], 10, gap),
        ([0.5, 0.85], [0.5, 0.12], 10, gap),
        ([0.5, 0.95], [0.5, 0.7], 2, gap | broken),
        ([0.5, 0.2, 0.9], [0.5, 0.9, 0.75], 10, gap),
        ([0.0, 0.1], [0.1, 0.0], 10, set()),  # each of the bounds, met exactly
        ([0.5, 0.9], [0.5, 0.12], 10, gap),
        ([0.5, 0.95], [0.5, 0.75], 2, gap),
    )
    cases = [
        ({"train_accuracy": train, "eval_accuracy": test}, n, findings, f"{train} and {test}")
        for train, test, n, findings in rows
    ]
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=0.5)
def test_too_good_and_forgotten(student):
    """A first accuracy above 0.99 is found, and a drop of more than 0.05 from the old best."""
    cases = (
        ({"eval_accuracy": [0.995, 0.5]}, 4, {"suspiciously_good"}, "0.995 at first"),
        ({"eval_accuracy": [0.5, 0.995]}, 4, set(), "0.995 at last"),
        ({"old_accuracy": [0.8, 0.9, 0.8]}, 4, {"forgetting"}, "old: 0.8, 0.9, 0.8"),
        ({"old_accuracy": [0.8, 0.9, 0.87]}, 4, set(), "old: 0.8, 0.9, 0.87"),
        ({"old_accuracy": [0.9, 0.7, 0.9]}, 4, set(), "old: 0.9, 0.7, 0.9"),
        ({"old_accuracy": [0.5, 0.46]}, 4, set(), "old: 0.5, 0.46"),
        ({"eval_accuracy": [0.99, 0.5]}, 4, set(), "0.99 at first"),
        ({"old_accuracy": [0.05, 0.0]}, 4, set(), "old: 0.05, 0"),
    )
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=0.5)
def test_thresholds_of_the_training_loss(student):
    """Flat is every entry within 5 % of ln(classes); diverging, over 1.2 times the first."""
    ln = math.log
    flat, rising = {"flat_at_chance"}, {"diverging"}
    cases = (
        ({"train_loss": [ln(3), 1.03 * ln(3), 0.97 * ln(3)]}, 3, flat, "ln 3, to 3 %"),
        ({"train_loss": [ln(3), 1.07 * ln(3), ln(3)]}, 3, set(), "ln 3, once 7 % above"),
        ({"train_loss": [ln(3), ln(3), 0.93 * ln(3)]}, 3, set(), "ln 3, at last 7 % below"),
        ({"train_loss": [1.0, 5.0, 1.15]}, 9, set(), "1, 5, 1.15"),
        ({"train_loss": [1.0, 0.5, 1.25]}, 9, rising, "1, 0.5, 1.25"),
        ({"train_loss": [ln(100)]}, 100, flat, "one entry of ln 100"),
        ({"train_loss": [1.04 * ln(10)]}, 10, flat, "one entry of ln 10, to 4 %"),
        ({"train_loss": [1.0, 0.5, 1.2]}, 9, set(), "1, 0.5, 1.2"),
    )
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=0.5)
def test_missing_and_empty_lists(student):
    """Where a list is missing or empty its findings are not made; the history stays as it is."""
    empty = {"train_loss": [], "eval_loss": [], "train_accuracy": [], "eval_accuracy": []}
    cases = (
        ({}, 5, set(), "an empty history"),
        (empty | {"old_accuracy": []}, 5, set(), "empty lists"),
        ({"train_accuracy": [0.99], "old_accuracy": [0.5]}, 5, set(), "two accuracies"),
        ({"eval_loss": [0.5, 0.9]}, 5, set(), "eval_loss alone"),
    )
    expect_findings(student, cases)
    history = {"train_loss": [0.5, 0.9]}
    came, left = student.run(call_and_return_arguments, student.diagnose, history, 5)
    expect_equal(came, {"diverging"}, "train_loss alone, 5 classes: not the findings of the table.")
    expect_unchanged(left[0], history, "The history")


@pytest.mark.task("diagnose", points=0.5)
def test_histories_that_are_refused(student):
    """Fewer than two classes, or lists of different lengths, are a ValueError."""
    rising = {"train_loss": [1.0, 2.0]}
    expect_equal(student.diagnose(rising, 2), {"diverging"}, "A loss that doubles, 2 classes.")
    came = student.diagnose(rising | {"lr": [0.1]}, 2)
    expect_equal(came, {"diverging"}, 'A loss that doubles, and one entry under "lr", ignored.')
    cases = [(rising, 1, "One class")]
    for other in ("eval_loss", "train_accuracy", "eval_accuracy", "old_accuracy"):
        cases.append((rising | {other: [0.5]}, 4, f"train_loss of 2 entries and {other} of 1"))
    for history, classes, what in cases:
        expect_raises(
            ValueError,
            lambda history=history, classes=classes: student.diagnose(history, classes),
            f"{what} should be a ValueError.",
        )


# --------------------------------------------------------------------------------- early_stopping


def answers(student, rng, values, *args, **settings):
    """What an EarlyStopping says to these values."""
    model = student.run(hold, rng.linear(3, 2))
    stopping = student.EarlyStopping(*args, **settings)
    return [stopping.step(value, model) for value in values]


@pytest.mark.task("early_stopping", points=0.5)
def test_step_leaves_the_model_alone(student, rng):
    """step leaves the model as it is: parameters, buffers and modes."""
    net = telling(rng, normed(rng))
    model = student.run(hold, net)
    stopping = student.EarlyStopping(1)
    came = [stopping.step(value, model) for value in (0.5, 0.7)]
    expect_equal(came, [False, True], "For 0.5, 0.7 and patience 1 the answers are not right.")
    expect_same_state(student, model, net.state_dict(), "step has changed the model")
    expect_as_before(student, model, net, rng.normal(6, 4).double(), "After step the model")


@pytest.mark.task("early_stopping", points=0.5)
def test_kept_weights_stay(student, rng):
    """What is kept does not change by training after restore: it can be restored again."""
    net = rng.linear(3, 2)
    model = student.run(hold, net)
    stopping = student.EarlyStopping(2)
    stopping.step(0.5, model)
    for _ in range(2):
        student.run(shift_everything, model)
        stopping.restore(model)
        expect_state(student, model, net.state_dict(), "Not what it was at the best value", 1e-6)
    student.run(shift_everything, model)
    shifted = copy.deepcopy(net)
    shift_everything(shifted)
    expect_state(
        student,
        model,
        shifted.state_dict(),
        "After restore, training does not move the model",
        1e-6,
    )


@pytest.mark.task("early_stopping", points=1)
def test_buffers_come_back(student, rng):
    """restore gives back the buffers of a batch-norm, too."""
    net = normed(rng)
    net[1].num_batches_tracked += 7
    model = student.run(hold, net)
    stopping = student.EarlyStopping(2)
    stopping.step(0.5, model)
    student.run(shift_everything, model)
    student.run(set_mode, model, True)
    model(rng.normal(5, 4).double())
    stopping.restore(model)
    expect_state(student, model, net.state_dict(), "Not what it was at the best value", 1e-6)


@pytest.mark.task("early_stopping", points=0.5)
def test_parameters_stay_the_same_objects(student, rng):
    """An optimizer that was made before goes on to train the model after restore."""
    net = rng.linear(3, 2)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.5)
    stopping = student.EarlyStopping(2)
    stopping.step(0.5, model)
    student.run(shift_everything, model)
    stopping.restore(model)
    expect_state(student, model, net.state_dict(), "Not what it was at the best value", 1e-6)
    student.run(step_of, optimizer, model, 1.0)
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter -= 0.5
    expect_state(
        student,
        model,
        moved.state_dict(),
        "A step of the old optimizer does not move the model",
        1e-6,
    )
    x = rng.normal(4, 3)
    expect_close(model(x), output(moved, x), "After a step of the old optimizer it answers wrongly")


@pytest.mark.task("early_stopping", points=1)
def test_nan_is_no_gain(student, rng):
    """NaN is never a gain, not even as the first value."""
    nan = float("nan")
    for values, patience, mode, expected in (
        ([nan, 0.9, 0.8, 0.85], 2, "min", [False, False, False, False]),
        ([0.9, nan, 0.95], 2, "min", [False, False, True]),
        ([nan, nan], 2, "max", [False, True]),
        ([nan, 0.5, 0.6, nan, nan], 2, "max", [False, False, False, False, True]),
    ):
        came = answers(student, rng, values, patience, mode=mode)
        message = f"For {values}, patience {patience} and mode {mode!r} the answers are not right."
        expect_equal(came, expected, message)


@pytest.mark.task("early_stopping", points=1)
def test_gains_exceed_min_delta(student, rng):
    """A gain is more than min_delta better than the value of the last gain."""
    for values, mode, expected in (
        ([1.0, 0.75, 0.5, 0.375], "min", [False, True, False, True]),  # 0.25 is not more than 0.25
        ([1.0, 0.875, 0.625], "min", [False, True, False]),  # against 1.0, not against 0.875
        ([1.0, 1.25, 1.5], "max", [False, True, False]),
        ([8.0, 7.5, 7.25], "min", [False, False, True]),  # a difference, not a share
    ):
        came = answers(student, rng, values, 1, min_delta=0.25, mode=mode)
        message = f"For {values}, min_delta 0.25 and mode {mode!r} the answers are not right."
        expect_equal(came, expected, message)


@pytest.mark.task("early_stopping", points=0.5)
def test_counting_starts_anew(student, rng):
    """A gain sets the count back, and without one the answer stays True; a best value may be 0."""
    for values, mode, expected in (
        ([1.0, 1.1, 0.9, 1.0, 0.95, 0.97, 0.8, 0.85], "min", [0, 0, 0, 0, 1, 1, 0, 0]),
        ([0.5, 0.0, 0.25, 0.125], "min", [0, 0, 0, 1]),
        ([-0.5, 0.0, -0.25, -0.125], "max", [0, 0, 0, 1]),
    ):
        came, expected = answers(student, rng, values, 2, mode=mode), [bool(e) for e in expected]
        message = f"For {values}, patience 2 and mode {mode!r} the answers are not right."
        expect_equal(came, expected, message)


@pytest.mark.task("early_stopping", points=0.5)
def test_settings_that_are_refused(student, rng):
    """Bad settings are ValueErrors; restoring before any gain is a RuntimeError."""
    for args, settings in (
        ((0,), {}),
        ((2.0,), {}),
        ((True,), {}),
        ((2,), {"min_delta": -0.1}),
        ((2,), {"min_delta": float("nan")}),
        ((2,), {"mode": "lower"}),
    ):
        expect_raises(
            ValueError,
            lambda args=args, settings=settings: student.EarlyStopping(*args, **settings),
            f"EarlyStopping{args} with {settings} should be a ValueError.",
        )
    model = student.run(hold, rng.linear(3, 2))
    stopping = student.EarlyStopping(1)
    message = "restore before any gain should be a RuntimeError."
    expect_raises(RuntimeError, lambda: stopping.restore(model), message)
    came = [stopping.step(value, model) for value in (1.0, 2.0)]
    expect_equal(came, [False, True], "For 1.0, 2.0 and patience 1 the answers are not right.")


# ---------------------------------------------------------------------------------- lr_range_test


def ranged(student, model, loader, low=0.01, high=0.08, steps=4):
    """Run the range test; return the list of losses."""
    came = student.lr_range_test(model, loader, low, high, steps)
    expect(type(came) is dict and set(came) == {"lr", "loss"}, 'It should be {"lr": …, "loss": …}.')
    return came["loss"]


RATES = (0.01, 0.02, 0.04, 0.08)


@pytest.mark.task("lr_range_test", points=1)
def test_loader_is_begun_anew(student, rng):
    """A loader that is used up is iterated anew, and may give other batches then."""
    net, batches = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(3)]
    losses = ranged(student, net, batches[:2])
    expected = sgd_on(copy.deepcopy(net), [*batches[:2], *batches[:2]], RATES)
    expect_floats(losses, expected, "With two batches for four steps, the list of losses")
    loader = student.run(hold, TwoPasses(batches))
    losses = ranged(student, net, loader)
    expected = sgd_on(copy.deepcopy(net), [*batches, batches[0]], RATES)
    expect_floats(losses, expected, "With a loader that differs from pass to pass, the losses")


def batch_with_loss(loss):
    """A batch on which `two_way` has this loss."""
    x = -math.log(math.expm1(loss)) / 2
    return torch.tensor([[x]]).double(), torch.tensor([0])


def two_way():
    """A model with logits (x, −x)."""
    net = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    return net


@pytest.mark.task("lr_range_test", points=1)
def test_it_stops_at_four_times_the_best(student):
    """It ends after the first loss above 4 times the smallest so far, and notes that one, too."""
    for wanted, noted in (
        ([1.0, 0.5, 1.9, 2.2, 0.7], 4),
        ([0.5, 1.9, 0.4, 1.5, 1.7, 0.3], 5),
        ([3.0, 1.0, 3.5, 3.9, 3.0], 5),
        ([0.3, 1.3, 0.3], 2),
    ):
        loader = [batch_with_loss(loss) for loss in wanted]
        came = student.lr_range_test(two_way(), loader, 1e-12, 1e-11, len(wanted))
        expect(type(came) is dict, "It should return a dict.")
        expect_floats(came.get("loss"), wanted[:noted], f"For losses {wanted}, the list", 1e-5)
        length = len(came["lr"]) if type(came.get("lr")) is list else 0
        expect(length == noted, f"For losses {wanted} there are {length} rates, not {noted}.")


@pytest.mark.task("lr_range_test", points=0.5)
def test_it_stops_at_what_is_not_finite(student):
    """It ends after a loss that is NaN or infinite, which is the last that it notes."""
    for odd in (float("nan"), float("inf")):
        loader = [batch_with_loss(1.0), (torch.tensor([[odd]]).double(), torch.tensor([1]))]
        losses = ranged(student, two_way(), [*loader, *loader[:1]], 1e-12, 1e-11, 5)
        message = f"With x = {odd} in the second batch there should be two losses."
        expect(type(losses) is list and len(losses) == 2, message)
        expect(type(losses[1]) is float and not math.isfinite(losses[1]), message)


@pytest.mark.task("lr_range_test", points=0.5)
def test_weights_and_gradients_are_those_of_before(student, rng):
    """Afterwards parameters and their .grad are those of before."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    student.run(fill_gradients, model, 2.0)
    losses = ranged(student, model, loader)
    expect(type(losses) is list and len(losses) == 4, "There should be four losses.")
    expect_same_state(student, model, net.state_dict(), "The model has been changed")
    expect_as_before(student, model, filled(net), rng.normal(6, 4).double(), "The model")


@pytest.mark.task("lr_range_test", points=0.5)
def test_buffers_are_those_of_before(student, rng):
    """Afterwards the buffers of a batch-norm are those of before."""
    net, loader = calm(normed(rng)).train(), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    losses = ranged(student, model, loader)
    expect(type(losses) is list and len(losses) == 4, "There should be four losses.")
    buffers = [name for name, _ in net.named_buffers()]
    expect_same_state(student, model, net.state_dict(), "A buffer has been changed", buffers)
    state = read_state(student, model, net.state_dict())
    net.load_state_dict({n: state[n] for n, _ in net.named_parameters()}, strict=False)
    student.run(set_mode, model, False)
    x = rng.normal(6, 4).double()
    expect_close(model(x), output(net.eval(), x), "In eval mode other statistics are used.")


@pytest.mark.task("lr_range_test", points=0.5)
def test_modes_are_those_of_before(student, rng):
    """Afterwards each submodule is in the mode that it was in."""
    net, loader = telling(rng, calm(classifier(rng))), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    losses = ranged(student, model, loader)
    expect(type(losses) is list and len(losses) == 4, "There should be four losses.")
    net.load_state_dict(read_state(student, model, net.state_dict()))
    x = rng.normal(6, 4).double()
    expect_close(model(x), output(net, x), "A submodule answers in another mode than before.")


@pytest.mark.task("lr_range_test", points=1)
def test_it_trains_in_train_mode(student, rng):
    """The model trains in train mode: a batch-norm uses the batch's statistics."""
    net, loader = calm(normed(rng)).eval(), [batch_of(rng, 12) for _ in range(4)]
    expected = sgd_on(copy.deepcopy(net).train(), loader, RATES)
    expect_floats(ranged(student, net, loader), expected, "The list of losses")


@pytest.mark.task("lr_range_test", points=0.5)
def test_old_gradients_do_not_count(student, rng):
    """Gradients that the model had before have no influence."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    student.run(fill_gradients, model, 3.0)
    expected = sgd_on(copy.deepcopy(net), loader, RATES)
    expect_floats(ranged(student, model, loader), expected, "The list of losses")


@pytest.mark.task("lr_range_test", points=0.5)
def test_frozen_parameters_stay_in_the_test(student, rng):
    """Only trainable parameters are moved."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(4)]
    net[0].requires_grad_(False)
    expected = sgd_on(copy.deepcopy(net), loader, [0.1, 0.2, 0.4, 0.8])
    losses = ranged(student, net, loader, 0.1, 0.8)
    expect_floats(losses, expected, "With a frozen first layer, the list of losses")


@pytest.mark.task("lr_range_test", points=0.5)
def test_ranges_that_are_refused(student, rng):
    """Bad ranges, fewer than two steps and a loader without a batch are ValueErrors."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12)]
    for low, high, steps, batches, what in (
        (0.0, 0.1, 3, loader, "low = 0"),
        (0.1, 0.01, 3, loader, "low > high"),
        (0.1, 0.1, 3, loader, "low = high"),
        (0.01, 0.1, 1, loader, "One step"),
        (0.01, 0.1, 3, [], "A loader without a batch"),
    ):
        expect_raises(
            ValueError,
            lambda given=(batches, low, high, steps): student.lr_range_test(net, *given),
            f"{what} should be a ValueError.",
        )
    expected = sgd_on(copy.deepcopy(net), loader * 2, [0.01, 0.1])
    expect_floats(ranged(student, net, loader, 0.01, 0.1, 2), expected, "With 2 steps, the losses")


# ---------------------------------------------------------------- the six broken steps: training


@pytest.mark.task("broken_training_steps", points=0.5)
def test_class_loss_takes_large_logits(student, rng):
    """Large logits make class_loss neither NaN nor infinite."""
    for scale in (1.0, 1000.0, 1e30):
        logits = torch.tensor([[0.0, scale], [2 * scale, 0.0]]).double()
        came = student.class_loss(nn.Identity(), logits, torch.tensor([0, 0]))
        what = f"With logits of size {short(scale)} the loss"
        value = expect_tensor(came, (), what, torch.float64)
        expect(value.item() > 0, f"{what} should be above 0.")


@pytest.mark.task("broken_training_steps", points=0.5)
def test_class_loss_reaches_the_model(student, rng):
    """The gradient of class_loss reaches the model."""
    net, (x, labels) = rng.linear(4, 3).double(), batch_of(rng, 6)
    came = student.run(loss_and_gradients, student.class_loss, net, x, labels)
    expect(type(came) is tuple and len(came) == 2, "The gradients could not be read.")
    for gradient, parameter in zip(came[1], net.parameters(), strict=True):
        expect(gradient is not None, "No gradient reaches the model.")
        value = expect_tensor(gradient, parameter.shape, "A gradient", torch.float64)
        expect(bool(value.any()), "A gradient of the model is zero.")


@pytest.mark.task("broken_training_steps", points=0.5)
def test_joint_step_forgets_old_gradients(student, rng):
    """Gradients left over from before have no influence on joint_step."""
    net, batch = classifier(rng), batch_of(rng, 6)
    parts = student.run(hold, net[:2]), student.run(hold, net[2])
    optimizer = student.run(make_sgd, student.run(chain, *parts), 0.2)
    student.run(fill_gradients, parts[1], 2.0)
    student.joint_step(*parts, optimizer, *batch)
    trained = copy.deepcopy(net)
    sgd_on(trained, [batch], [0.2])
    expect_state(
        student,
        parts[1],
        trained[2].state_dict(),
        "With old gradients the head is not where it should be",
        1e-6,
    )


# -------------------------------------------------------------- the six broken steps: evaluation


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_validate_restores_modes(student, rng):
    """After validate each submodule is in the mode that it was in, and no buffer has changed."""
    for training in (True, False):
        net = telling(rng, normed(rng))
        for module in net.modules():
            module.training = module.training is training
        model = student.run(hold, net)
        x, labels = batch_of(rng, 50)
        with torch.no_grad():
            right = (copy.deepcopy(net).eval()(x).argmax(dim=1) == labels).double().mean().item()
        came = student.validate(model, [(x, labels)])
        if training:
            expect_near(came, right, "The accuracy of a model in eval mode")
        expect_same_state(student, model, net.state_dict(), "validate has changed the model")
        expect_as_before(student, model, net, rng.normal(6, 4).double(), "The model")


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_frozen_body_answers_in_eval_mode(student, rng):
    """In probe_step the head learns from the body's features in eval mode."""
    net = normed(rng)
    (x, labels), parts = probed(student, rng, net[:3], net[3])
    trained = copy.deepcopy(net[3])
    sgd_on(trained, [(copy.deepcopy(net[:3]).eval()(x).detach(), labels)], [0.2])
    expect_state(
        student, parts[1], trained.state_dict(), "The head is not where a step puts it", 1e-6
    )


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_head_learns_in_its_own_mode(student, rng):
    """probe_step leaves the head in its mode; gradients left over on it have no influence."""
    body = nn.Sequential(rng.linear(4, 5), nn.Tanh()).double()
    head = nn.Sequential(fill_norm(rng, nn.BatchNorm1d(5)), rng.linear(5, 3)).double()
    for training in (True, False):
        x, labels = batch_of(rng, 6)
        parts = student.run(hold, body), student.run(hold, head.train(training))
        optimizer = student.run(make_sgd, parts[1], 0.2)
        student.run(fill_gradients, parts[1], 2.0)
        student.probe_step(*parts, optimizer, x, labels)
        trained = copy.deepcopy(head)
        sgd_on(trained, [(output(body, x), labels)], [0.2])
        message = f"The head is not where a step puts it with training={training}"
        expect_state(student, parts[1], trained.state_dict(), message, 1e-6)


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_probe_step_restores_modes(student, rng):
    """After probe_step each submodule of the body is in the mode that it was in."""
    for training in (True, False):
        net = classifier(rng)
        body = telling(rng, net[:2])
        for module in body.modules():
            module.training = module.training is training
        parts = student.run(hold, body), student.run(hold, net[2])
        optimizer = student.run(make_sgd, parts[1], 0.2)
        student.probe_step(*parts, optimizer, *batch_of(rng, 6))
        x = rng.normal(5, 4).double()
        expect_close(parts[0](x), output(body, x), "The body answers in other modes than before.")
        head = expect_tensor(parts[1].weight, (3, 6), "The head's weight", torch.float64)
        expect(not torch.equal(head, net[2].weight.detach()), "The head has not moved.")


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_next_token_loss_reaches_the_model(student, rng):
    """The gradient of next_token_loss reaches the model."""
    net, tokens = Bigram(rng.normal(7, 7)), rng.integers(0, 7, (3, 6))
    came = student.run(loss_and_gradients, student.next_token_loss, net, tokens, tokens.clone())
    expect(type(came) is tuple and len(came) == 2, "The gradients could not be read.")
    expect(type(came[1]) is list and len(came[1]) == 1, "The gradients could not be read.")
    expect(came[1][0] is not None, "No gradient reaches the model.")
    value = expect_tensor(came[1][0], (7, 7), "The gradient")
    expect(bool(value.any()), "The gradient of the model is zero.")


@pytest.mark.task("broken_evaluation_steps", points=0.5)
def test_masked_labels_do_not_count(student, rng):
    """In next_token_loss labels of -100 do not count; the mean is over all others."""
    table, tokens = rng.normal(7, 7, std=2.0), rng.integers(0, 7, (3, 6))
    labels = tokens.clone()
    labels[:, 0] = labels[0, :5] = labels[1, 3] = -100
    scores = table.log_softmax(dim=1)
    kept = [(b, t) for b in range(3) for t in range(5) if labels[b, t + 1] != -100]
    values = torch.stack([scores[tokens[b, t], labels[b, t + 1]] for b, t in kept])
    came = student.next_token_loss(Bigram(table), tokens, labels)
    expect_close(came, -values.mean(), "With labels of -100 the loss is not right.")


# ------------------------------------------------------------------------------- first_nan_module


def first_nan(student, rng, model, x=None):
    """What first_nan_module says of a model that is held; x is (8, 4)."""
    x = rng.normal(8, 4) if x is None else x
    return student.first_nan_module(model, (x, torch.zeros(len(x), dtype=torch.int64)))


@pytest.mark.task("first_nan_module", points=0.5)
def test_order_is_that_of_running(student, rng):
    """The first is told by the order in which modules finish, not that of registration."""
    inner = LastFirst(nn.Sequential(rng.linear(4, 4), Root()), nn.Sequential(Root()))
    model = student.run(hold, nn.Sequential(OrderedDict(body=inner)))
    expect_equal(
        first_nan(student, rng, model), "body.early.1", "The layer used first is to blame."
    )


@pytest.mark.task("first_nan_module", points=0.5)
def test_the_model_itself_may_be_to_blame(student, rng):
    """If no submodule but the model itself goes wrong, the name is the empty string."""
    model = student.run(hold, RootOfItself(rng.linear(4, 6)))
    expect_equal(first_nan(student, rng, model), "", "The root is taken by the model itself.")


@pytest.mark.task("first_nan_module", points=1)
def test_outputs_may_be_nested(student, rng):
    """Lists, tuples and dicts of outputs are looked into, and integers in them are no trouble."""
    for root, expected in ((True, "pack"), (False, "root")):
        parts = OrderedDict(pack=Packs(root), unpack=Unpacks(), root=Root())
        model = student.run(hold, nn.Sequential(parts))
        message = f"The NaN arises in “{expected}”; “pack” returns a dict with lists in it."
        expect_equal(first_nan(student, rng, model), expected, message)


@pytest.mark.task("first_nan_module", points=1)
def test_the_search_leaves_no_trace(student, rng):
    """Afterwards the buffers, .grad, modes and hooks of the model are those of before."""
    a, b = (Tells(*rng.normal(2).tolist()) for _ in "ab")
    parts = OrderedDict(norm=nn.BatchNorm1d(4), root=MindsItsHooks(), a=a, b=b)
    net = nn.Sequential(parts | OrderedDict(head=rng.linear(4, 3)))
    net.root.eval()
    net.b.eval()
    model = student.run(hold, net)
    student.run(fill_gradients, model, 2.0)
    odd = rng.normal(64, 4)
    odd[5] = 1e4  # normalised with its batch it is about 8, and nothing in a small batch is above 3
    expect_equal(first_nan(student, rng, model, odd), "root", "The NaN arises in “root”.")
    expect_same_state(student, model, net.state_dict(), "The model has been changed")
    x = rng.normal(6, 4, std=0.5)
    expect_as_before(student, model, filled(net), x, "The model")
    student.run(set_mode, model, False)
    expect_close(model(x), output(net.eval(), x), "In eval mode the model answers otherwise.")


@pytest.mark.task("first_nan_module", points=0.5)
def test_the_batch_may_be_to_blame(student, rng):
    """A batch that is not finite itself is a ValueError."""
    model = student.run(hold, nn.Sequential(rng.linear(4, 6), Root()))
    for odd in (float("nan"), float("-inf")):
        x = rng.normal(8, 4)
        x[5, 2] = odd
        message = f"A batch with {odd} in it should be a ValueError."
        expect_raises(ValueError, lambda x=x: first_nan(student, rng, model, x), message)
    expect_equal(first_nan(student, rng, model), "1", "In a good batch the root is to blame.")


@pytest.mark.task("first_nan_module", points=0.5)
def test_modes_stay_as_they_are(student, rng):
    """One forward runs, in the modes that the submodules are in."""
    net = nn.Sequential(OrderedDict(odd=NotInTraining(), head=rng.linear(4, 3)))
    for training, expected in ((True, "odd"), (False, None)):
        model = student.run(hold, net.train(training))
        message = f"With training={training} in a layer that gives NaN in train mode only."
        expect_equal(first_nan(student, rng, model), expected, message)
    net = nn.Sequential(Tires(), nn.Linear(4, 4), Root())  # of 3/4 less a tenth of the row's number
    with torch.no_grad():
        net[1].weight.copy_(-torch.eye(4))
        net[1].bias.fill_(0.75)
    came = first_nan(student, rng, student.run(hold, net), torch.zeros(8, 4))
    expect_equal(came, None, "In one forward no output is NaN: in a second, one would be.")


# --------------------------------------------------------------------------------------- amp_step


@pytest.mark.task("amp_step", points=1)
def test_norm_is_the_true_one(student, rng):
    """The norm returned is that of the unscaled gradients, before clipping."""
    net, x, labels = steep(rng)
    _, norm = total_norm(net, x, labels)
    for share in (0.25, 4.0):
        model = student.run(hold, net)
        optimizer = student.run(make_sgd, model, 1.0)
        scaler = student.run(make_scaler, 256.0)
        came = student.amp_step(model, optimizer, scaler, x, labels, share * norm)
        expect(type(came) is tuple and len(came) == 2, "It should return a pair (loss, norm).")
        expect_near(came[1], norm, f"With max_norm {share} times the norm, the norm", rtol=0.1)


@pytest.mark.task("amp_step", points=1)
def test_an_overflow_is_skipped(student, rng):
    """If a gradient is not finite nothing is raised, and the model stays as it was."""
    net, x, labels = steep(rng)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.1)
    scaler = student.run(make_scaler, 2.0**10)
    x[3, 2] = float("inf")
    came = student.amp_step(model, optimizer, scaler, x, labels, 1.0)
    expect(type(came) is tuple and len(came) == 2, "It should return a pair (loss, norm).")
    odd_norm = type(came[1]) is float and not math.isfinite(came[1])
    expect(odd_norm, "With a gradient that is not finite the norm should be inf or NaN.")
    expect_same_state(student, model, net.state_dict(), "An overflow has changed the model")
    x = rng.normal(5, 6)
    expect_close(model(x), output(net, x), "After an overflow the model answers otherwise.")


@pytest.mark.task("amp_step", points=1)
def test_scaler_is_used_in_order(student, rng):
    """scale, unscale_, step and update are each called once, in this order, and nothing else."""
    net, x, labels = steep(rng)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.1)
    shares = (rng.numpy.permutation([3.0, 6.0, 12.0]) * rng.numpy.uniform(0.8, 1.2)).tolist()
    scaler = student.run(make_odd_scaler, [64.0, 1024.0, 2.0], shares)
    for share in shares[:2]:
        gradients, norm = total_norm(net, x, labels)
        student.amp_step(model, optimizer, scaler, x, labels, 0.5 * norm)
        state = read_state(student, model, net.state_dict())
        for (name, start), gradient in zip(net.named_parameters(), gradients, strict=True):
            value = expect_tensor(state[name], start.shape, name)
            moved, message = -0.05 * share * gradient, f"{name} is not where the scaler puts it."
            expect_close(value - start.detach(), moved, message, atol=0.0025 * share * norm)
        net.load_state_dict(state)


def loss_in(dtype, net, x, labels):
    """The loss of a forward under autocast."""
    with torch.autocast("cpu", dtype):
        return F.cross_entropy(output(net, x), labels).item()


@pytest.mark.task("amp_step", points=0.5)
def test_forward_is_in_low_precision(student, rng):
    """Forward and loss run under autocast to bfloat16, and the loss is not scaled."""
    net = nn.Sequential(rng.linear(6, 3, bias=False))
    exact = low = 0.0
    while abs(low - exact) <= 1e-3 * exact:  # until it is a batch where rounding is easily seen
        x = rng.normal(4, 6, std=20.0)
        labels = output(net, x).argmin(dim=1)  # wrong ones, so that the loss is large
        exact = F.cross_entropy(output(net, x), labels).item()
        low = loss_in(torch.bfloat16, net, x, labels)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 1e-6)
    came = student.amp_step(model, optimizer, student.run(make_scaler, 64.0), x, labels, 1.0)
    expect(type(came) is tuple and type(came[0]) is float, "It should return (loss, norm).")
    seen = abs(came[0] - low) < 0.25 * abs(low - exact)
    expect(seen, f"The loss is {short(came[0])}, which is not that of a forward in bfloat16.")


@pytest.mark.task("amp_step", points=0.5)
def test_dtype_is_the_one_asked_for(student, rng):
    """With dtype=torch.float16 autocast is to float16."""
    net = nn.Sequential(rng.linear(6, 3, bias=False))
    exact = low = half = 0.0
    while abs(low - exact) <= max(1e-3 * exact, 20 * abs(half - exact)):  # until the two differ
        x = rng.normal(4, 6, std=20.0)
        labels = output(net, x).argmin(dim=1)
        exact = F.cross_entropy(output(net, x), labels).item()
        low, half = (loss_in(dtype, net, x, labels) for dtype in (torch.bfloat16, torch.float16))
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 1e-6)
    scaler = student.run(make_scaler, 64.0)
    came = student.amp_step(model, optimizer, scaler, x, labels, 1.0, dtype=torch.float16)
    expect(type(came) is tuple and type(came[0]) is float, "It should return (loss, norm).")
    seen = abs(came[0] - half) < 0.25 * abs(low - half)
    expect(seen, f"The loss is {short(came[0])}, which is not that of a forward in float16.")


@pytest.mark.task("amp_step", points=0.5)
def test_amp_step_forgets_old_gradients(student, rng):
    """Gradients left over from before have no influence on amp_step."""
    net, x, labels = steep(rng)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 1.0)
    student.run(fill_gradients, model, 1e4)
    student.amp_step(model, optimizer, student.run(make_scaler, 256.0), x, labels, 1e6)
    gradients, norm = total_norm(net, x, labels)
    came = student.run(state_of, model)
    for (name, start), gradient in zip(net.named_parameters(), gradients, strict=True):
        value = expect_tensor(came[name], start.shape, name)
        message = f"With old gradients {name} does not move as it should."
        expect_close(value - start.detach(), -gradient, message, atol=0.1 * norm)


# ------------------------------------------------------------------------------------- forgetting


@pytest.mark.task("forgetting", points=1)
def test_a_missing_task_is_an_error(student):
    """A task that was not measured afterwards is a ValueError."""
    message = "A task that is missing in `after` should be a ValueError."
    before = {"a": 0.5, "b": 0.5}
    expect_raises(ValueError, lambda: student.forgetting(before, {"a": 0.25}), message)
    expect_raises(ValueError, lambda: student.forgetting(before, {}), message)
    came = student.forgetting(before, {"b": 0.25, "a": 0.5})
    expect_equal(came, {"a": 0.0, "b": 0.25}, "With all tasks measured.")


@pytest.mark.task("forgetting", points=0.5)
def test_new_tasks_do_not_appear(student):
    """A task that is only in `after` does not appear; the order is that of `before`."""
    came = student.forgetting({"b": 0.5, "a": 1.0}, {"new": 0.75, "a": 0.5, "b": 0.5})
    expect_equal(came, {"b": 0.0, "a": 0.5}, "With a new task in `after`.")
    expect_equal(list(came), ["b", "a"], "The order is not that of `before`.")


@pytest.mark.task("forgetting", points=0.5)
def test_scores_are_left_alone(student):
    """Both dicts are left unchanged."""
    before, after = {"a": 0.5, "b": 0.75}, {"a": 0.25, "b": 0.5, "c": 1.0}
    came = student.run(call_and_return_arguments, student.forgetting, before, after)
    expect_equal(came[0], {"a": 0.25, "b": 0.25}, "The losses of the old tasks.")
    expect_equal(came[1], [before, after], "A dict of scores has been changed.")


# ---------------------------------------------------------------------------------- l2_sp_penalty


def two_layers(rng):
    """A body and a head, in double precision, a single number, and the start of all these."""
    net = nn.Sequential(OrderedDict(body=rng.linear(5, 4), head=rng.linear(4, 3)))
    net.register_parameter("gate", nn.Parameter(rng.normal()))
    net = net.double()
    start = {name: rng.normal(*p.shape).double() for name, p in net.named_parameters()}
    return net, start


@pytest.mark.task("l2_sp_penalty", points=1)
def test_gradient_pulls_towards_the_start(student, rng):
    """The gradient at w is strength · (w − w₀)."""
    net, start = two_layers(rng)
    came = student.run(penalty_and_gradients, student.l2_sp_penalty, net, start, 0.3)
    expect(type(came) is tuple and len(came) == 2, "The gradients could not be read.")
    for (name, parameter), gradient in zip(net.named_parameters(), came[1], strict=True):
        expect(gradient is not None, f"No gradient reaches {name}.")
        expected = 0.3 * (parameter.detach() - start[name])
        expect_close(gradient, expected, f"The gradient of {name} is not right.", rtol=1e-6)


@pytest.mark.task("l2_sp_penalty", points=1)
def test_a_new_head_takes_no_part(student, rng):
    """Parameters that `start` does not name take no part, and it is left unchanged."""
    net, start = two_layers(rng)
    body = {name: tensor for name, tensor in start.items() if name.startswith("body")}
    squares = [(net.get_parameter(name).detach() - body[name]).square().sum() for name in body]
    given = student.l2_sp_penalty, net, body, 3.0
    came, left = student.run(call_and_return_arguments, *given)
    expect_close(came, 1.5 * sum(squares), "Without the head in `start` it is not right.")
    expect_unchanged(left[1], body, "`start`")
    came = student.l2_sp_penalty(net, {}, 3.0)
    value = expect_tensor(came, (), "The penalty with an empty start", dtype=None)
    expect(value.item() == 0.0, "With an empty start the penalty should be zero.")


@pytest.mark.task("l2_sp_penalty", points=0.5)
def test_the_start_gets_no_gradient(student, rng):
    """No gradient flows to the start, even if its tensors require one."""
    net, start = two_layers(rng)
    came = student.run(gradients_of_start, student.l2_sp_penalty, net, start, 1.0)
    expect(type(came) is tuple and len(came) == 2, "The gradients could not be read.")
    squares = [(p.detach() - start[name]).square().sum() for name, p in net.named_parameters()]
    expect_close(came[0], sum(squares) / 2, "The penalty is not right.")
    reached = [gradient for gradient in came[1] if gradient is not None]
    zero = all(type(g) is torch.Tensor and not g.any() for g in reached)
    expect(zero, "A gradient flows to the start.")


@pytest.mark.task("l2_sp_penalty", points=0.5)
def test_names_and_strengths_that_are_refused(student, rng):
    """A name that is no parameter, and a negative strength, are ValueErrors."""
    net, start = two_layers(rng)
    for given, strength, what in (
        (start | {"tail.weight": rng.normal(2, 2)}, 1.0, "An unknown name"),
        (start, -1.0, "A negative strength"),
    ):
        expect_raises(
            ValueError,
            lambda given=given, strength=strength: student.l2_sp_penalty(net, given, strength),
            f"{what} should be a ValueError.",
        )
    squares = [(p.detach() - start[name]).square().sum() for name, p in net.named_parameters()]
    expect_close(student.l2_sp_penalty(net, start, 2.0), sum(squares), "The penalty is not right.")


@pytest.mark.task("l2_sp_penalty", points=0.5)
def test_shapes_are_not_broadcast(student, rng):
    """A tensor of another shape is a ValueError, also where it would broadcast."""
    net, start = two_layers(rng)
    for shape in ((1, 4), (3, 1), (), (2, 4)):
        given = start | {"head.weight": rng.normal(*shape).double()}
        expect_raises(
            ValueError,
            lambda given=given: student.l2_sp_penalty(net, given, 1.0),
            f"A start of shape {shape} for a weight of (3, 4) should be a ValueError.",
        )
    squares = [(p.detach() - start[name]).square().sum() for name, p in net.named_parameters()]
    expect_close(student.l2_sp_penalty(net, start, 2.0), sum(squares), "The penalty is not right.")


# ----------------------------------------------------------------------------------- checkpointed


def expect_gradients(came, expected, what):
    """Expect a list of gradients to be these."""
    expect(type(came) is list and len(came) == len(expected), "The gradients could not be read.")
    size = max(gradient.abs().max().item() for gradient in expected)
    for gradient, right in zip(came, expected, strict=True):
        expect(gradient is not None, f"{what}: a parameter has no gradient.")
        expect_close(gradient, right, f"{what}: a gradient is not right.", atol=1e-4 * size)


@pytest.mark.task("checkpointed", points=1.5)
def test_dropout_is_the_same_twice(student, rng):
    """With dropout the gradients are those of the very forward that gave the output."""
    blocks, x, seed = encoder(rng, 3, dropout=0.4), rng.normal(2, 6, 32), rng.seed()
    held = [student.run(hold, block) for block in blocks]
    plain = student.run(seeded_backward, in_turn, held, x, seed, True)
    came = student.run(seeded_backward, student.checkpointed, held, x, seed, True)
    expect(type(plain[1]) is list and len(plain[1]) == 37, "The gradients could not be read.")
    expect_tensor(plain[0], x.shape, "The output")
    expect_close(came[0], plain[0], "With dropout the output is not that of the blocks in turn.")
    for gradient in plain[1]:
        expect(type(gradient) is torch.Tensor, "A gradient could not be read.")
    expect_gradients(came[1], plain[1], "With dropout")


@pytest.mark.task("checkpointed", points=1.5)
def test_x_need_not_require_a_gradient(student, rng):
    """Where x requires no gradient the blocks' parameters still get theirs."""
    blocks, x = encoder(rng, 2), rng.normal(2, 5, 32)
    output = nn.Sequential(*blocks)(x)
    parameters = [parameter for block in blocks for parameter in block.parameters()]
    expected = torch.autograd.grad(output.square().sum(), parameters)
    came = student.run(seeded_backward, student.checkpointed, blocks, x, 0, False)
    expect(type(came) is tuple and len(came) == 2, "The gradients could not be read.")
    expect_close(came[0], output, "The output is not that of the blocks in turn.")
    expect_gradients(came[1], list(expected), "With an x that requires no gradient")


def both_ways(function, blocks):
    """Return a forward and backward: the output, and the gradient of x."""

    def run(x, upstream):
        x = x.clone().requires_grad_()
        output = function(blocks, x)
        output.backward(upstream)
        return [output.detach(), x.grad]

    return run


@pytest.mark.task("checkpointed", points=0.5)
@pytest.mark.speed(at_least=0.75)
def test_blocks_run_twice_at_most(race, rng):
    """In a forward and backward together each block runs at most twice: they are as fast as the
    reference (0.75 ×).
    """
    blocks = [Ponders(rng.linear(64, 64)) for _ in range(3)]

    def prepare(side):
        held = [side.run(hold, block) for block in blocks]
        return side.run(both_ways, side.checkpointed, held)

    def verify(came, expected, *given):
        fine = type(came) is list and len(came) == 2
        expect(fine, "The output and the gradient of x could not be read.")
        for value, right in zip(came, expected, strict=True):
            expect_close(value, right, "A timed result is not right.", rtol=1e-3)

    race.time(prepare, lambda: (rng.normal(1, 512, 64), rng.normal(1, 512, 64)), verify)


@pytest.mark.task("checkpointed", points=1, seconds=20)
@pytest.mark.memory(at_most=0.6)
def test_memory_does_not_rise(race, rng):
    """The process's memory rises in the forward by less than 60 % of what plain blocks save."""
    blocks, x = encoder(rng, 24, dropout=0.1), rng.normal(16, 96, 32)
    plain = len(blocks) * saved_bytes(in_turn, blocks[:1], x)[0]  # they are alike

    def prepare(side):
        held = [side.run(hold, block) for block in blocks]
        # small at first: what a first call brings into memory is not the task's
        side.run(keep_output, side.checkpointed, held, rng.normal(2, 96, 32))()
        return side.run(keep_output, side.checkpointed, held, x)

    race.weigh(prepare, lambda came: expect_tensor(came, x.shape, "The output"), plain)


@pytest.mark.task("checkpointed", points=0.5)
def test_no_blocks_and_one(student, rng):
    """Without blocks the output is x; one block is enough."""
    x = rng.normal(2, 5, 32)
    expect_close(student.checkpointed([], x), x, "Without blocks the output should be x.")
    [block] = encoder(rng, 1)
    expect_close(student.checkpointed([block], x), block(x), "With one block it is not right.")


@pytest.mark.task("checkpointed", points=1, seconds=60)
@pytest.mark.memory(at_most=0.6)
def test_memory_on_a_gpu(gpu_race, rng):
    """On a GPU, after the forward, the process holds at most 60 % of the memory that it holds
    without checkpointing, and the gradients are right.
    """
    made_from = rng.seed()

    def prepare(side):
        function = side.checkpointed
        return side.run(on_gpu.held_by_a_forward, function, gpu_race.device, made_from)

    def plain(side):
        return side.run(on_gpu.held_by_a_forward, on_gpu.in_turn, gpu_race.device, made_from)

    gpu_race.weigh(prepare, plain, on_gpu.expect_same_backward)


# ------------------------------------------------------------------------- numbers and statements


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_loss_of_a_constant_guess(student):
    """chance_loss: to two decimals (0.005 either way)."""
    expect_number(student, "chance_loss", math.log(7), within=0.005)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_entropy_of_the_labels(student):
    """label_entropy: to two decimals (0.005 either way)."""
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    expect_number(student, "label_entropy", entropy, within=0.005)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_floor_of_two_softmaxes(student):
    """double_softmax_floor: to two decimals (0.005 either way)."""
    floor = -math.log(math.e / (math.e + 19))
    expect_number(student, "double_softmax_floor", floor, within=0.005)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_rate_in_the_middle(student):
    """middle_rate: to 1 %."""
    expect_number(student, "middle_rate", 1e-6 * 1e6 ** (50 / 100), within=1e-5)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_epoch_of_the_stop(student):
    """stop_epoch: the whole number."""
    expect_number(student, "stop_epoch", 5)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_smallest_loss_scale(student):
    """loss_scale: the whole number."""
    scale = 1
    while 2e-8 * scale < 2.0**-14:
        scale *= 2
    expect_number(student, "loss_scale", scale)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_memory_with_8_bit_moments(student):
    """adam_8bit_gigabytes: to the gigabyte (0.5 either way)."""
    expect_number(student, "adam_8bit_gigabytes", 7 * (4 + 4 + 1 + 1), within=0.5)


@pytest.mark.task("troubleshooting_numbers", points=1)
def test_peak_of_segments(student):
    """segment_peak: the whole number."""
    expect_number(student, "segment_peak", 12 * 1 + 12 * 5)


TRUE_STATEMENTS = "bcfijlnp"


@pytest.mark.task("troubleshooting_statements", points=8)
def test_statements(student):
    """Right judgements count 1, wrong ones −1; the sum, never below 0, is divided by 16."""
    award_judgements(student.judged, TRUE_STATEMENTS)
