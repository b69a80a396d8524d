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
    make_momentum_sgd,
    make_sgd,
    set_mode,
    shift_everything,
    state_of,
    step_of,
)
from autograder.checks.shared import on_gpu
from autograder.checks.shared.common import (
    Passes,
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
    between,
    calm,
    classifier,
    encoder,
    expect_floats,
    expect_near,
    expect_stops,
    falling,
    in_short,
    in_turn,
    lost,
    make_scaler,
    momentum_on,
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


class Counts(nn.Module):
    """A layer, and in the state a number that is no tensor."""

    def __init__(self, layer):
        """Keep the layer."""
        super().__init__()
        self.layer, self.seen = layer, 0

    def forward(self, x):
        """Use the layer."""
        return self.layer(x)

    def get_extra_state(self):
        """Return the number, in a dict."""
        return {"seen": self.seen}

    def set_extra_state(self, state):
        """Take the number again."""
        self.seen = state["seen"]


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


class Narrows(nn.Module):
    """Returns its input times a large number in another dtype, whose range that leaves."""

    def __init__(self, dtype, factor):
        """Keep both."""
        super().__init__()
        self.dtype, self.factor = dtype, factor

    def forward(self, x):
        """Return infinities."""
        return (x.double() * self.factor).to(self.dtype)


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
    steps, lr = int(rng.integers(3, 7)), between(rng, 0.05, 0.2)
    losses = student.overfit_one_batch(net.train(), batch, steps, lr)
    expected = sgd_on(copy.deepcopy(net).eval(), [batch] * steps, [lr] * steps)
    expect_floats(losses, expected, "With a batch-norm in the model, the list of losses")


@pytest.mark.task("overfit_one_batch", points=1)
def test_only_the_copy_learns(student, rng):
    """The model keeps its parameters, their .grad, and its modes; the batch is left unchanged."""
    net, batch = telling(rng, classifier(rng)), batch_of(rng, 5)
    model = student.run(hold, net)
    student.run(fill_gradients, model, 2.0)
    given = student.overfit_one_batch, model, batch, 3, between(rng, 0.2, 0.5)
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
    head = nn.Sequential(nn.Tanh(), rng.linear(6, 3))
    net, batch = LastFirst(rng.linear(4, 6), head).double(), batch_of(rng, 5)
    net.early.requires_grad_(False)
    steps, lr = int(rng.integers(4, 8)), between(rng, 0.3, 0.9)
    losses = student.overfit_one_batch(net, batch, steps, lr)
    expected = sgd_on(copy.deepcopy(net), [batch] * steps, [lr] * steps)
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


def some_classes(rng):
    """A number of classes."""
    return int(rng.integers(3, 13))


def with_one(rng, values, odd):
    """The same list with one more entry somewhere inside."""
    at = int(rng.integers(1, len(values)))
    return [*values[:at], odd, *values[at:]]


@pytest.mark.task("diagnose", points=1)
def test_values_that_are_not_finite(student, rng):
    """A NaN or infinite loss is found, and bars the other findings that read its list."""
    nan, inf = float("nan"), float("inf")
    broken, good = {"not_finite"}, {"suspiciously_good"}
    falls, very = falling(rng, 4), [between(rng, 0.991, 1.0) for _ in range(4)]
    cases = (
        ({"train_loss": [*falls, nan]}, broken, "A NaN at the end of train_loss"),
        (
            {"train_loss": with_one(rng, falls[::-1], inf)},
            broken,
            "Infinity in a rising train_loss",
        ),
        ({"eval_loss": [-inf, *falls]}, broken, "Negative infinity at the start of eval_loss"),
        (
            {"train_loss": falls, "eval_loss": [*with_one(rng, falls[2:], nan), 2 * falls[0]]},
            broken,
            "A NaN in a rising eval_loss, and a falling train_loss",
        ),
        (
            {"train_loss": with_one(rng, falls[:3], nan), "eval_accuracy": very},
            broken | good,
            "A NaN in train_loss, and an eval_accuracy above 0.99",
        ),
        (
            {"train_accuracy": with_one(rng, very[:3], nan), "eval_accuracy": [0.5] * 4},
            set(),
            "A NaN in train_accuracy",
        ),
    )
    expect_findings(student, [(case[0], some_classes(rng), *case[1:]) for case in cases])


@pytest.mark.task("diagnose", points=1)
def test_softmax_before_the_loss(student, rng):
    """A good accuracy with a loss above the floor of two softmaxes is found."""
    found = {"probabilities_as_logits"}
    cases = []
    for classes in (2, *sorted(rng.numpy.choice(range(3, 17), 2, replace=False).tolist())):
        floor = math.log(1 + (classes - 1) / math.e)
        above, below = floor * between(rng, 1.02, 1.15), floor * between(rng, 0.85, 0.98)
        good, fair = between(rng, 0.91, 0.98), between(rng, 0.83, 0.89)
        for loss, accuracy, findings in (
            (above, good, found),
            (below, good, set()),
            (above, fair, set()),
            (above, 0.9, set()),  # the bound itself
        ):
            history = {  # in the middle each is on the other side
                "train_loss": [loss + 0.1, above + below - loss, loss],
                "train_accuracy": [0.6, 1.81 - accuracy, accuracy],
            }
            what = f"loss={round(loss, 4)}, {accuracy=} at the end"
            cases.append((history, classes, findings, what))
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=1)
def test_overfitting_needs_both_curves(student, rng):
    """Overfitting is validation loss above its first minimum and training loss below it there."""
    found = {"overfitting"}
    a, b, c, d = falling(rng, 4)
    high, more, within = (between(rng, *s) for s in ((1.3, 2.0), (1.14, 1.25), (1.02, 1.08)))
    best = between(rng, 0.3, 2.0)
    rows = (
        ([a, b, c], [high, 1.0, within], set()),  # within a tenth
        ([a, b, c], [high, 1.0, more], found),
        ([a, c, b], [high, 1.0, high], set()),  # both rise
        ([a, b, d, c], [high, 1.0, 1.0, more], found),  # the first of two minima
        ([a, d, b, c], [high, 1.0, 1.0, more], set()),
        ([a, b, c], [1.0, high, 1.0], set()),  # above what is before it, not above the best
        ([a, b, c], [high, 0.0, within], found),  # the best is 0
        ([a, b, b], [high, 1.0, more], set()),  # not below it there
    )
    cases = [(train, [best * value for value in test], findings) for train, test, findings in rows]
    cases.append(([a, b, c], [1.5, 1.0, 1.1], set()))  # a tenth, and no more
    expect_findings(
        student,
        [
            (
                {"train_loss": train, "eval_loss": test},
                some_classes(rng),
                findings,
                f"{in_short(train)} and {in_short(test)}",
            )
            for train, test, findings in cases
        ],
    )


@pytest.mark.task("diagnose", points=1)
def test_training_against_evaluation(student, rng):
    """A gap of the last accuracies is found, and an evaluation at chance beside good training."""
    gap, broken = {"generalisation_gap"}, {"eval_mode_broken"}
    n = int(rng.integers(7, 13))
    chance = 1.5 / n
    good, fair, low = (between(rng, *s) for s in ((0.91, 0.99), (0.65, 0.8), (0.25, 0.5)))
    wide, narrow = between(rng, 0.11, 0.2), between(rng, 0.06, 0.09)
    under, over = chance * between(rng, 0.3, 0.9), chance * between(rng, 1.2, 1.7)
    start = between(rng, 0.3, 0.6)
    rows = (
        ([start, fair], [start, fair - wide], n, gap),
        ([start, fair], [start, fair - narrow], n, set()),
        ([start, low], [start, low - narrow], n, set()),  # a difference, not a share of it
        (
            [fair, fair],
            [0.1, fair + wide],
            n,
            set(),
        ),  # only the last entries count, with their sign
        ([start, good], [start, under], n, gap | broken),
        ([start, good], [start, over], n, gap),
        ([start, fair], [start, under], n, gap),
        ([start, good], [start, between(rng, 0.6, 0.74)], 2, gap | broken),
        ([start, 0.2, fair], [start, fair, fair - wide], n, gap),
        ([0.0, 0.1], [0.1, 0.0], n, set()),  # each of the bounds, met exactly
        ([start, 0.9], [start, under], n, gap),
        ([start, good], [start, 0.75], 2, gap),
    )
    cases = [
        (
            {"train_accuracy": train, "eval_accuracy": test},
            classes,
            findings,
            f"{in_short(train)} and {in_short(test)}",
        )
        for train, test, classes, findings in rows
    ]
    expect_findings(student, cases)


@pytest.mark.task("diagnose", points=0.5)
def test_too_good_and_forgotten(student, rng):
    """A first accuracy above 0.99 is found, and a drop of more than 0.05 from the old best."""
    good, forgot = {"suspiciously_good"}, {"forgetting"}
    very, fair, poor = (between(rng, *s) for s in ((0.991, 1.0), (0.5, 0.8), (0.2, 0.45)))
    best, more, less = (between(rng, *s) for s in ((0.7, 0.95), (0.06, 0.2), (0.03, 0.045)))
    last = best - more
    cases = (
        ("eval_accuracy", [very, fair], good),
        ("eval_accuracy", [fair, very], set()),
        ("old_accuracy", [last, best, last], forgot),
        ("old_accuracy", [last, best, best - less], set()),
        ("old_accuracy", [best, last, best], set()),
        ("old_accuracy", [poor, poor - less], set()),  # a difference, not a share of it
        ("eval_accuracy", [0.99, fair], set()),  # the bounds, met exactly
        ("old_accuracy", [0.05, 0.0], set()),
    )
    expect_findings(
        student,
        [
            ({key: values}, some_classes(rng), findings, f"{key} = {in_short(values)}")
            for key, values, findings in cases
        ],
    )


@pytest.mark.task("diagnose", points=0.5)
def test_thresholds_of_the_training_loss(student, rng):
    """Flat is every entry within 5 % of ln(classes); diverging, over 1.2 times the first."""
    flat, rising = {"flat_at_chance"}, {"diverging"}
    few, many = int(rng.integers(3, 6)), int(rng.integers(40, 200))
    up, down = between(rng, 1.01, 1.04), between(rng, 0.96, 0.99)
    high, low = between(rng, 1.06, 1.1), between(rng, 0.9, 0.94)
    first, more, less = (between(rng, *s) for s in ((0.5, 4.0), (1.22, 1.5), (1.1, 1.18)))
    of_chance = (
        ([1.0, up, down], few, flat),
        ([1.0, high, down], few, set()),
        ([up, 1.0, low], few, set()),
        ([1.0], many, flat),
        ([between(rng, 1.03, 1.04)], many, flat),
    )
    of_the_first = (
        ([1.0, 5.0, less], first, set()),
        ([1.0, 0.5, more], first, rising),
        ([1.0, 0.5, 1.2], rng.choice((0.5, 1.0, 2.0)), set()),  # the bound itself
    )
    cases = [
        (values, math.log(classes), classes, findings, "ln(classes)")
        for values, classes, findings in of_chance
    ] + [
        (values, unit, some_classes(rng), findings, f"{unit}")
        for values, unit, findings in of_the_first
    ]
    expect_findings(
        student,
        [
            (
                {"train_loss": [value * unit for value in values]},
                classes,
                findings,
                f"train_loss = {in_short(values)} times {name}",
            )
            for values, unit, classes, findings, name in cases
        ],
    )


@pytest.mark.task("diagnose", points=0.5)
def test_missing_and_empty_lists(student, rng):
    """Where a list is missing or empty its findings are not made; the history stays as it is."""
    empty = {"train_loss": [], "eval_loss": [], "train_accuracy": [], "eval_accuracy": []}
    loss, good, fair = (between(rng, *s) for s in ((0.3, 3.0), (0.91, 0.98), (0.3, 0.7)))
    cases = (
        ({}, set(), "An empty history"),
        (empty | {"old_accuracy": []}, set(), "Empty lists"),
        ({"train_accuracy": [good], "old_accuracy": [fair]}, set(), "Two accuracies"),
        ({"eval_loss": [loss, 2 * loss]}, set(), "eval_loss alone"),
    )
    expect_findings(student, [(case[0], some_classes(rng), *case[1:]) for case in cases])
    history, classes = {"train_loss": [loss, 2 * loss]}, some_classes(rng)
    came, left = student.run(call_and_return_arguments, student.diagnose, history, classes)
    expect_equal(came, {"diverging"}, "A train_loss that doubles: not the findings of the table.")
    expect_unchanged(left[0], history, "The history")


@pytest.mark.task("diagnose", points=0.5)
def test_histories_that_are_refused(student, rng):
    """Fewer than two classes, or lists of different lengths, are a ValueError."""
    loss = between(rng, 0.3, 3.0)
    rising = {"train_loss": [loss, 2 * loss]}
    expect_equal(student.diagnose(rising, 2), {"diverging"}, "A loss that doubles, 2 classes.")
    came = student.diagnose(rising | {"lr": [loss]}, 2)
    expect_equal(came, {"diverging"}, 'A loss that doubles, and one entry under "lr", ignored.')
    cases = [(rising, 1, "One class")]
    for other in ("eval_loss", "train_accuracy", "eval_accuracy", "old_accuracy"):
        few = rising | {other: [between(rng, 0.3, 0.7)]}
        cases.append((few, some_classes(rng), f"train_loss of 2 entries and {other} of 1"))
    for history, classes, what in cases:
        expect_raises(
            ValueError,
            lambda history=history, classes=classes: student.diagnose(history, classes),
            f"{what} should be a ValueError.",
        )


# --------------------------------------------------------------------------------- early_stopping


@pytest.mark.task("early_stopping", points=0.5)
def test_step_leaves_the_model_alone(student, rng):
    """step leaves the model as it is: parameters, buffers and modes."""
    net = telling(rng, normed(rng))
    model = student.run(hold, net)
    stopping = student.EarlyStopping(1)
    came = [stopping.step(value, model) for value in series(rng, "g.")]
    message = "For a value, a larger one, and patience 1 the answers are not right."
    expect_equal(came, [False, True], message)
    expect_same_state(student, model, net.state_dict(), "step has changed the model")
    expect_as_before(student, model, net, rng.normal(6, 4).double(), "After step the model")


@pytest.mark.task("early_stopping", points=0.5)
def test_kept_weights_stay(student, rng):
    """What is kept does not change by training after restore: it can be restored again.

    That holds whatever is in the state, and for a first value that is infinite.
    """
    net, x = Counts(rng.linear(3, 2)), rng.normal(4, 3)
    expected = output(net, x)
    for mode, worst in (("min", math.inf), ("max", -math.inf)):
        model = student.run(hold, net)
        stopping = student.EarlyStopping(2, mode=mode)
        stopping.step(worst, model)
        for _ in range(2):
            student.run(shift_everything, model)
            stopping.restore(model)
            expect_close(model(x), expected, "It does not answer as it did at the best value.")
    student.run(shift_everything, model)
    shifted = copy.deepcopy(net)
    shift_everything(shifted)
    message = "After restore, training does not move the model."
    expect_close(model(x), output(shifted, x), message)


@pytest.mark.task("early_stopping", points=1)
def test_buffers_come_back(student, rng):
    """restore gives back the buffers of a batch-norm, too."""
    net = normed(rng)
    net[1].num_batches_tracked += 7
    model = student.run(hold, net)
    stopping = student.EarlyStopping(2)
    stopping.step(between(rng, 0.1, 2.0), model)
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
    stopping.step(between(rng, 0.1, 2.0), model)
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
    n = int(rng.integers(2, 5))
    for marks, patience in (
        ("n" * (n - 1) + "gg" + "." * (n - 1), n),
        ("gn" + "." * (n - 1), n),
        ("n" * n, n),
        ("ngg" + "n" * n, n),
        ("nn", 1),
    ):
        expect_stops(student, rng, marks, patience, rng.choice(("min", "max")))


@pytest.mark.task("early_stopping", points=1)
def test_gains_exceed_min_delta(student, rng):
    """A gain is more than min_delta better than the value of the last gain."""
    model = student.run(hold, rng.linear(3, 2))
    for low, high in ((4, 13), (20, 41)):
        # of 64ths, so that no rounding decides; large beside min_delta: that is a difference
        delta, first = (int(rng.integers(*s)) / 64 for s in ((low, high), (512, 1024)))
        for steps, expected in (
            ((0, 1, 2, 2.5), [False, True, False, True]),  # min_delta is not more than itself
            ((0, 0.5, 1.5), [False, True, False]),  # against the first, not against the second
        ):
            mode = rng.choice(("min", "max"))
            values = [first - (delta if mode == "min" else -delta) * step for step in steps]
            stopping = student.EarlyStopping(1, min_delta=delta, mode=mode)
            came = [stopping.step(value, model) for value in values]
            message = (
                f"For {values}, min_delta {delta} and mode {mode!r} the answers are not right."
            )
            expect_equal(came, expected, message)


@pytest.mark.task("early_stopping", points=0.5)
def test_counting_starts_anew(student, rng):
    """A gain sets the count back, and without one the answer stays True; a best value may be 0."""
    n = int(rng.integers(3, 6))
    for mode in ("min", "max"):
        expect_stops(student, rng, "g.g" + "." * (n + 1) + "g" + "." * (n - 1), n, mode)
        model, sign = student.run(hold, rng.linear(3, 2)), 1 if mode == "min" else -1
        stopping = student.EarlyStopping(2, mode=mode)
        a, b, c = (sign * between(rng, 0.1, 2.0) for _ in "abc")
        came = [stopping.step(value, model) for value in (a, 0.0, b, c)]
        message = f"For {a}, 0.0, {b}, {c}, patience 2 and mode {mode!r} the answers are not right."
        expect_equal(came, [False, False, False, True], message)


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
    came = [stopping.step(value, model) for value in series(rng, "g.")]
    message = "For a value, a larger one, and patience 1 the answers are not right."
    expect_equal(came, [False, True], message)


# ---------------------------------------------------------------------------------- lr_range_test


def ranged(student, model, loader, rates):
    """Run the range test over rates of equal ratios; return the list of losses."""
    came = student.lr_range_test(model, loader, rates[0], rates[-1], len(rates))
    expect(type(came) is dict and set(came) == {"lr", "loss"}, 'It should be {"lr": …, "loss": …}.')
    return came["loss"]


def rising(rng, steps=4, low=0.01):
    """Rates that rise by a drawn ratio, from about `low` on."""
    low, ratio = low * between(rng, 0.7, 1.4), between(rng, 1.6, 2.2)
    return [low * ratio**step for step in range(steps)]


@pytest.mark.task("lr_range_test", points=1)
def test_loader_is_begun_anew(student, rng):
    """A loader that is used up is iterated anew, and may give other batches then."""
    net, batches = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(3)]
    steps = int(rng.integers(4, 7))
    rates = rising(rng, steps)
    losses = ranged(student, net, batches[:2], rates)
    expected = sgd_on(copy.deepcopy(net), (batches[:2] * 3)[:steps], rates)
    expect_floats(losses, expected, f"With two batches for {steps} steps, the list of losses")
    loader = student.run(hold, Passes(*([batch] for batch in batches)))
    losses = ranged(student, net, loader, rates)
    expected = sgd_on(copy.deepcopy(net), (batches * 2)[:steps], rates)
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
def test_it_stops_at_four_times_the_best(student, rng):
    """It ends after the first loss above 4 times the smallest so far, and notes that one, too."""
    over, under = between(rng, 4.1, 4.8), between(rng, 3.3, 3.9)
    for shares, noted in (
        ([2.0, 1.0, under, over, 1.4], 4),
        ([1.2, over, 1.0, under, over, 0.8], 5),
        ([3.0, 1.0, under - 0.2, under, over, 3.0], 5),
        ([1.0, over, 1.0], 2),
        ([1.0, *[under] * 9, over, 1.0], 11),
    ):
        best = between(rng, 0.2, 0.8)
        wanted = [best * share for share in shares]
        loader, low = [batch_with_loss(loss) for loss in wanted], between(rng, 1.0, 9.0) * 1e-12
        came = student.lr_range_test(two_way(), loader, low, 10 * low, len(wanted))
        expect(type(came) is dict, "It should return a dict.")
        what = f"For losses {in_short(wanted)}"
        expect_floats(came.get("loss"), wanted[:noted], f"{what}, the list", 1e-5)
        length = len(came["lr"]) if type(came.get("lr")) is list else 0
        expect(length == noted, f"{what} there are {short(length)} rates, not {noted}.")


@pytest.mark.task("lr_range_test", points=0.5)
def test_it_stops_at_what_is_not_finite(student, rng):
    """It ends after a loss that is NaN or infinite, which is the last that it notes."""
    for odd in (float("nan"), float("inf")):
        loader = [batch_with_loss(between(rng, 0.3, 2.0)) for _ in range(2)]
        loader.insert(1, (torch.tensor([[odd]]).double(), torch.tensor([1])))
        losses = ranged(student, two_way(), loader, rising(rng, 5, 1e-12))
        message = f"With x = {odd} in the second batch there should be two losses."
        expect(type(losses) is list and len(losses) == 2, message)
        expect(type(losses[1]) is float and not math.isfinite(losses[1]), message)


@pytest.mark.task("lr_range_test", points=0.5)
def test_weights_and_gradients_are_those_of_before(student, rng):
    """Afterwards parameters and their .grad are those of before."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    student.run(fill_gradients, model, 2.0)
    losses = ranged(student, model, loader, rising(rng))
    expect(type(losses) is list and len(losses) == 4, "There should be four losses.")
    expect_same_state(student, model, net.state_dict(), "The model has been changed")
    expect_as_before(student, model, filled(net), rng.normal(6, 4).double(), "The model")


@pytest.mark.task("lr_range_test", points=0.5)
def test_buffers_are_those_of_before(student, rng):
    """Afterwards the buffers of a batch-norm are those of before."""
    net, loader = calm(normed(rng)).train(), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    losses = ranged(student, model, loader, rising(rng))
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
    losses = ranged(student, model, loader, rising(rng))
    expect(type(losses) is list and len(losses) == 4, "There should be four losses.")
    net.load_state_dict(read_state(student, model, net.state_dict()))
    x = rng.normal(6, 4).double()
    expect_close(model(x), output(net, x), "A submodule answers in another mode than before.")


@pytest.mark.task("lr_range_test", points=1)
def test_it_trains_in_train_mode(student, rng):
    """The model trains in train mode: a batch-norm uses the batch's statistics."""
    net, loader = calm(normed(rng)).eval(), [batch_of(rng, 12) for _ in range(4)]
    rates = rising(rng)
    expected = sgd_on(copy.deepcopy(net).train(), loader, rates)
    expect_floats(ranged(student, net, loader, rates), expected, "The list of losses")


@pytest.mark.task("lr_range_test", points=0.5)
def test_old_gradients_do_not_count(student, rng):
    """Gradients that the model had before have no influence."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(4)]
    model = student.run(hold, net)
    student.run(fill_gradients, model, 3.0)
    rates = rising(rng)
    expected = sgd_on(copy.deepcopy(net), loader, rates)
    expect_floats(ranged(student, model, loader, rates), expected, "The list of losses")


@pytest.mark.task("lr_range_test", points=0.5)
def test_frozen_parameters_stay_in_the_test(student, rng):
    """Only trainable parameters are moved."""
    net, loader = calm(classifier(rng)), [batch_of(rng, 12) for _ in range(4)]
    net[0].requires_grad_(False)
    rates = rising(rng, low=0.1)
    expected = sgd_on(copy.deepcopy(net), loader, rates)
    losses = ranged(student, net, loader, rates)
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
    rates = rising(rng, 2)
    expected = sgd_on(copy.deepcopy(net), loader * 2, rates)
    expect_floats(ranged(student, net, loader, rates), expected, "With 2 steps, the losses")


# ---------------------------------------------------------------- the six broken steps: training


@pytest.mark.task("broken_training_steps", points=0.5)
def test_class_loss_takes_large_logits(student, rng):
    """Large logits make class_loss neither NaN nor infinite."""
    for size in (1.0, 1000.0, 1e30):
        scale = size * between(rng, 0.5, 2.0)
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
def test_steps_are_those_of_the_optimizer(student, rng):
    """train_step and joint_step step as the optimizer does, with its momentum and the rate of each
    group; gradients left over from before have no influence.
    """
    for joint in (False, True):
        net = classifier(rng)
        parts = student.run(hold, net[:2]), student.run(hold, net[2])
        model = student.run(chain, *parts)
        rates = between(rng, 0.1, 0.3), between(rng, 0.4, 0.8)
        optimizer = student.run(make_momentum_sgd, model, rates)
        student.run(fill_gradients, parts[1], 2.0)
        batches = [batch_of(rng, 6) for _ in range(2)]
        for batch in batches:
            if joint:
                student.joint_step(*parts, optimizer, *batch)
            else:
                student.train_step(model, optimizer, *batch)
        trained = copy.deepcopy(net)
        momentum_on(trained, batches, rates)
        message = f"After two steps of {'joint_step' if joint else 'train_step'} the head is wrong"
        expect_state(student, parts[1], trained[2].state_dict(), message, 1e-6)


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
        loader = Passes(list(zip(x.split(20), labels.split(20), strict=True)))
        came = student.validate(model, student.run(hold, loader))
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
    """probe_step leaves the head in its mode, and steps as the optimizer does; gradients left over
    on it have no influence.
    """
    body = nn.Sequential(rng.linear(4, 5), nn.Tanh()).double()
    head = nn.Sequential(fill_norm(rng, nn.BatchNorm1d(5)), rng.linear(5, 3)).double()
    for training in (True, False):
        batches = [batch_of(rng, 6) for _ in range(2)]
        rates = between(rng, 0.1, 0.3), between(rng, 0.4, 0.8)
        parts = student.run(hold, body), student.run(hold, head.train(training))
        optimizer = student.run(make_momentum_sgd, parts[1], rates)
        student.run(fill_gradients, parts[1], 2.0)
        for batch in batches:
            student.probe_step(*parts, optimizer, *batch)
        trained = copy.deepcopy(head)
        momentum_on(trained, [(output(body, x), labels) for x, labels in batches], rates)
        message = f"The head is not where two steps put it with training={training}"
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
    """Lists, tuples and dicts of outputs are looked into, and integers in them are no trouble;
    tensors of any floating point count.
    """
    for root, expected in ((True, "pack"), (False, "root")):
        parts = OrderedDict(pack=Packs(root), unpack=Unpacks(), root=Root())
        model = student.run(hold, nn.Sequential(parts))
        message = f"The NaN arises in “{expected}”; “pack” returns a dict with lists in it."
        expect_equal(first_nan(student, rng, model), expected, message)
    for dtype, factor in ((torch.float16, 1e8), (torch.bfloat16, 1e50)):
        parts = nn.Identity(), Narrows(dtype, factor), Narrows(torch.float64, 1.0)
        message = f"The infinity arises in “1”, whose output is of {dtype}."
        expect_equal(
            first_nan(student, rng, student.run(hold, nn.Sequential(*parts))), "1", message
        )


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
    first, norm = 1.0, 1.0
    while first > 0.8 * norm:  # until the first group's norm is another
        net, x, labels = steep(rng)
        gradients, norm = total_norm(net, x, labels)
        first = gradients[0].norm().item()
    for share in (between(rng, 0.2, 0.4), between(rng, 2.0, 5.0)):
        model = student.run(hold, net)
        optimizer = student.run(make_momentum_sgd, model, (0.5, 1.0))
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
def test_a_missing_task_is_an_error(student, rng):
    """A task that was not measured afterwards is a ValueError."""
    message = "A task that is missing in `after` should be a ValueError."
    before, after = scores_of(rng, 3), scores_of(rng, 3)
    for few in ({}, {name: after[name] for name in list(after)[:-1]}):
        expect_raises(ValueError, lambda few=few: student.forgetting(before, few), message)
    came = student.forgetting(before, dict(reversed(after.items())))
    expect_equal(came, lost(before, after), "With all tasks measured.")


@pytest.mark.task("forgetting", points=0.5)
def test_new_tasks_do_not_appear(student, rng):
    """A task that is only in `after` does not appear; the order is that of `before`."""
    before, after = dict(reversed(scores_of(rng, 3).items())), scores_of(rng, 4)
    came = student.forgetting(before, after)
    expect_equal(came, lost(before, after), "With a new task in `after`.")
    expect_equal(list(came), list(before), "The order is not that of `before`.")


@pytest.mark.task("forgetting", points=0.5)
def test_scores_are_left_alone(student, rng):
    """Both dicts are left unchanged."""
    before, after = scores_of(rng, 2), scores_of(rng, 3)
    came = student.run(call_and_return_arguments, student.forgetting, before, after)
    expect_equal(came[0], lost(before, after), "The losses of the old tasks.")
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
    strength = between(rng, 0.1, 5.0)
    came = student.run(penalty_and_gradients, student.l2_sp_penalty, net, start, strength)
    expect(type(came) is tuple and len(came) == 2, "The gradients could not be read.")
    for (name, parameter), gradient in zip(net.named_parameters(), came[1], strict=True):
        expect(gradient is not None, f"No gradient reaches {name}.")
        expected = strength * (parameter.detach() - start[name])
        expect_close(gradient, expected, f"The gradient of {name} is not right.", rtol=1e-6)


@pytest.mark.task("l2_sp_penalty", points=1)
def test_a_new_head_takes_no_part(student, rng):
    """Parameters that `start` does not name take no part, and it is left unchanged."""
    net, start = two_layers(rng)
    body = {name: tensor for name, tensor in start.items() if name.startswith("body")}
    squares = [(net.get_parameter(name).detach() - body[name]).square().sum() for name in body]
    strength = between(rng, 1.0, 5.0)
    given = student.l2_sp_penalty, net, body, strength
    came, left = student.run(call_and_return_arguments, *given)
    message = "Without the head in `start` it is not right."
    expect_close(came, strength / 2 * sum(squares), message)
    expect_unchanged(left[1], body, "`start`")
    came = student.l2_sp_penalty(net, {}, strength)
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
    """A name that is no parameter, and a negative strength, are ValueErrors; 0 is a strength."""
    net, start = two_layers(rng)
    net.register_buffer("mean", rng.normal(3).double())
    for given, strength, what in (
        (start | {"tail.weight": rng.normal(2, 2)}, 1.0, "An unknown name"),
        (start | {"mean": rng.normal(3).double()}, 1.0, "The name of a buffer"),
        (start, -1.0, "A negative strength"),
    ):
        expect_raises(
            ValueError,
            lambda given=given, strength=strength: student.l2_sp_penalty(net, given, strength),
            f"{what} should be a ValueError.",
        )
    squares = [(p.detach() - start[name]).square().sum() for name, p in net.named_parameters()]
    expect_close(student.l2_sp_penalty(net, start, 2.0), sum(squares), "The penalty is not right.")
    came = expect_tensor(student.l2_sp_penalty(net, start, 0.0), (), "The penalty", torch.float64)
    expect(came.item() == 0.0, "With strength 0 the penalty should be zero.")


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
