"""The checks of the distillation lesson that decide at grading.

Every expected value is worked out here, in plain torch and from this side's own copy of the inputs.
"""

import copy
import itertools
import math
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from autograder.checking.expect import (
    award,
    award_judgements,
    expect,
    expect_close,
    expect_equal,
    expect_number,
    expect_raises,
    expect_shape,
    expect_tensor,
    short,
)
from autograder.checking.probes import (
    call_and_return_arguments,
    fill_gradients,
    gradients_of,
    hold,
    make_momentum_sgd,
    make_sgd,
    seed_global,
    set_mode,
    sgd_step,
    shift_everything,
    state_of,
)
from autograder.checks.shared import on_gpu
from autograder.checks.shared.common import (
    Tells,
    expect_drawn_next,
    expect_float,
    expect_on_its_device,
    expect_same_state,
    expect_timed_losses,
    expect_unchanged,
    fill_norm,
    large_body,
    of_a_subclass,
    output,
    trained_copy,
)
from autograder.checks.shared.distillation import (
    NO_LABELS,
    body_of,
    classifier,
    divergence,
    drawn_settings,
    net_and_images,
    small_resnet,
    soft_settings,
    softened,
)
from course.data import mnist
from course.models import pretrained_resnet

# ----------------------------------------------------------------- probes: they do, and they report


def gradients(loss, leaves, *rest):
    """Report a loss of some tensors, and the gradient of each: None where none comes."""
    leaves = [leaf.requires_grad_() for leaf in leaves]
    value = loss(*leaves, *rest)
    value.backward()
    return value, [leaf.grad for leaf in leaves]


def pulled_back(function, x, upstream, *rest):
    """Report the gradient of x when `upstream` comes back to what a function gives."""
    x = x.requires_grad_()
    function(x, *rest).backward(upstream)
    return x.grad


def gradient_of_one_leaf(loss, leaf, left, right, *rest, attached=True):
    """Report the gradient of `leaf` by a loss of leaf @ left and leaf @ right, if one comes.

    Unless `attached` the latter are numbers alone, which nothing leads back from.
    """
    leaf = leaf.requires_grad_()
    its = leaf @ right if attached else (leaf @ right).detach()
    value = loss(leaf @ left, its, *rest)
    if value.requires_grad:
        value.backward()
    return leaf.grad


def hint_gradients(loss, student_features, teacher_features, projector):
    """Report the gradients of the student's features and of the projector's weight."""
    features = student_features.requires_grad_()
    loss(features, teacher_features, projector).backward()
    return features.grad, projector.weight.grad


def put_together(stem, rest, head):
    """Make a model of parts that are held."""
    from collections import OrderedDict

    from torch import nn

    return nn.Sequential(OrderedDict(conv1=stem, rest=rest, fc=head))


def step_of_the_head(step, body, head, teacher, batch, *settings):
    """Take a distill_step that trains a head on a body; return the loss."""
    import torch
    from torch import nn

    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    return step(nn.Sequential(body, head), teacher, batch, optimizer, *settings)


def from_a_generator(distill, model, teacher, epochs, draws_from, **settings):
    """Hand the loader over as a generator, which draws its batches as it goes."""
    import torch

    draws = torch.Generator().manual_seed(draws_from)
    batches = (
        (torch.randn(4, 5, generator=draws).double(), torch.randint(3, (4,), generator=draws))
        for _ in range(3)
    )
    return distill(model, teacher, batches, epochs, **settings)


class Moody(nn.Module):
    """Answers as a network does where a row is asked for the first time, and then with zeros."""

    def __init__(self, net):
        """Put `net` inside."""
        super().__init__()
        self.net = net
        self.known = set()

    def forward(self, x):
        """Answer, and keep the rows in mind."""
        keys = [tuple(row) for row in x.tolist()]
        new = [key not in self.known for key in keys]
        self.known.update(keys)
        return self.net(x) * x.new_tensor(new)[:, None]


# -------------------------------------------------------------------------------- expected values


def log_divergence(left, right, temperature):
    """The same from log-sum-exps, for logits of any size."""
    a, b = (
        logits.double() / temperature - (logits.double() / temperature).logsumexp(-1, keepdim=True)
        for logits in (left, right)
    )
    return (a.exp() * (a - b)).sum(dim=-1)


def dropping(rng, p=0.5, width=6):
    """A classifier with a dropout."""
    parts = OrderedDict(body=rng.linear(5, width), act=nn.Tanh(), drop=nn.Dropout(p))
    return nn.Sequential(parts | OrderedDict(head=rng.linear(width, 3))).double()


def telling(rng, mode, width=6):
    """A classifier with two parts that act otherwise in train mode: one in `mode`, one not."""
    parts = OrderedDict(body=rng.linear(5, width), one=Tells(0.0, 1.0), act=nn.Tanh())
    parts |= OrderedDict(two=Tells(0.0, 2.0), head=rng.linear(width, 3))
    net = nn.Sequential(parts).double().train(mode)
    net.two.train(not mode)
    return net


def normed(rng, width=6):
    """A classifier with a batch-norm that has seen data: no statistic is at its start."""
    norm = fill_norm(rng, nn.BatchNorm1d(width))
    parts = OrderedDict(body=rng.linear(5, width), norm=norm, act=nn.Tanh())
    return nn.Sequential(parts | OrderedDict(head=rng.linear(width, 3))).double()


def rows(rng, count, classes=3):
    """Inputs in double precision, and labels."""
    return rng.normal(count, 5).double(), rng.integers(0, classes, (count,))


def whole_loss(logits, teacher_logits, labels, temperature, alpha):
    """The distillation loss of logits whose examples all have labels."""
    soft = divergence(teacher_logits, logits, temperature).mean()
    hard = -softened(logits, 1).log()[torch.arange(len(labels)), labels].mean()
    return alpha * temperature**2 * soft + (1 - alpha) * hard


def after_sgd(net, answers, inputs, labels, temperature, alpha, lr=0.1):
    """Return a copy of `net` after one step of plain SGD on the loss, in the mode it is in."""
    net = copy.deepcopy(net)
    whole_loss(net(inputs), answers, labels, temperature, alpha).backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= lr * parameter.grad
    return net


def trained_by_adam(net, answers, inputs, labels, steps, settings):
    """Return a copy of `net` after steps of Adam on one batch, and the losses before them."""
    net, losses = copy.deepcopy(net), []
    optimizer = torch.optim.Adam(net.parameters(), lr=settings["lr"])
    for _ in range(steps):
        losses.append(adam_step(net, optimizer, answers, inputs, labels, settings))
    return net, losses


def adam_step(net, optimizer, answers, inputs, labels, settings):
    """Take a step; return the loss before it."""
    temperature, alpha = settings["temperature"], settings["alpha"]
    loss = whole_loss(net(inputs), answers, labels, temperature, alpha)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def expect_parameters(student, model, net, message):
    """Expect a held model's parameters to be those of `net`."""
    came = student.run(state_of, model)
    expect(type(came) is dict, "The parameters could not be read.")
    for name, parameter in net.named_parameters():
        expect_close(came.get(name), parameter, f"{message} ({name})", rtol=1e-5)


def expect_no_gradients(student, teacher):
    """Expect no gradient on a held teacher's parameters."""
    came = student.run(gradients_of, teacher)
    none = type(came) is dict and all(gradient is None for gradient in came.values())
    expect(none, "The teacher has gradients.")


def expect_moved(student, model, net):
    """Expect a held model to have been trained."""
    head = student.run(state_of, model).get("head.weight")
    head = expect_shape(head, net.head.weight.shape, "The student's head")
    expect(not torch.equal(head, net.head.weight.detach()), "The student has not moved.")


def expect_same_modes(student, rng, model, net, held, teacher):
    """Expect the bodies of both held models to answer as those of this side, which tell modes."""
    x = rng.normal(4, 5).double()
    for handle, own, what in ((model, net, "student"), (held, teacher, "teacher")):
        message = f"A part of the {what} is not in the mode that it was in."
        expect_close(student.run(body_of, handle)(x), output(own[:-1], x), message)


def expect_left_alone(student, rng, held, teacher, stepper, gradient=0.0):
    """Expect a held teacher to answer as before, and the gradients on it to be what they were.

    `stepper`: plain SGD at a rate of 1 over it, made before; its step moves all by the gradient.
    """
    x = rng.normal(7, 5).double()
    own = copy.deepcopy(teacher).eval()
    student.run(set_mode, held, False)
    expect_close(held(x), output(own, x), "The teacher has changed.", rtol=1e-6)
    stepper.step()
    with torch.no_grad():
        for parameter in own.parameters():
            parameter -= gradient
    message = "The teacher's gradients are not what they were."
    expect_close(held(x), output(own, x), message, rtol=1e-6)


def expect_one_sided(student, function, rng, *rest, leading=(4,), mine=None):
    """Expect a loss of logits that come from one tensor to reach it by way of the student's alone.

    With `mine`, the loss in closed form, the gradient is to be right; else it is to be the one
    that comes when the teacher's logits lead nowhere.
    """
    leaf = rng.normal(*leading, 6).double()
    left, right = rng.normal(6, 5).double(), rng.normal(6, 5).double()
    given = gradient_of_one_leaf, function, leaf, left, right, *rest
    came = student.run(*given)
    if mine is None:
        expected = student.run(*given, attached=False)
    else:
        leaf.requires_grad_()
        mine(leaf @ left, (leaf @ right).detach(), *rest).backward()
        expected = leaf.grad
    expect((came is None) == (expected is None), "A gradient should come by way of the student's.")
    if expected is not None:
        expected = expect_shape(expected, leaf.shape, "A gradient")
        message = "What the logits were made from gets a gradient by way of the teacher's, too."
        expect_close(came, expected, message)


def expect_no_old_gradients(student, rng, step, temperature, alpha):
    """Expect steps to be right after steps for the head alone, which leave gradients on the body.

    `step(model, teacher, batch, optimizer)` takes one. Two optimizers take turns: plain SGD over
    the head, and over the whole one with a momentum and two groups.
    """
    net, teacher = classifier(rng), classifier(rng, 9)
    model, rates = student.run(hold, net), (0.05, 0.2)
    optimizers = [
        (student.run(make_sgd, model.head, 0.1), make_sgd(net.head, 0.1)),
        (student.run(make_momentum_sgd, model, rates), make_momentum_sgd(net, rates)),
    ]
    for theirs, own in optimizers * 2:
        inputs, labels = rows(rng, 8)
        step(model, teacher, (inputs, labels), theirs)
        answers = output(teacher, inputs)
        net.zero_grad()
        whole_loss(net(inputs), answers, labels, temperature, alpha).backward()
        own.step()
    expect_parameters(student, model, net, "With what earlier steps have left it is not right")


# ----------------------------------------------------------------------------------- soft_targets


@pytest.mark.task("soft_targets", points=1.5)
def test_half_precision_is_as_good(student, rng):
    """Large half-precision logits give what float32 arithmetic gives, and do not overflow."""
    for dtype in (torch.float16, torch.bfloat16):
        size = float(rng.integers(8300, 9900))
        top = torch.full((6, 1), size)
        gaps = torch.tensor([[0.0, -8.0, -24.0], [0.0, -64.0, 0.0]]).repeat(3, 1)
        logits = (top + gaps).to(dtype)
        for temperature in (7, 0.1, 100):
            expected = softened(logits.double() - size, temperature).to(dtype)
            came = student.soft_targets(logits, temperature)
            message = (
                f"For logits about {round(size)} in half precision, T = {temperature}, it is off."
            )
            expect_close(came, expected, message, rtol=0.01)
        logits = rng.normal(20, 8, std=4.0).to(dtype)
        temperature = rng.choice((2.7, 3, 3.3))
        expected = softened(logits.double(), temperature)
        came = student.soft_targets(logits, temperature)
        came = expect_tensor(came, (20, 8), "The result", dtype)
        off = (came.double() / expected - 1).abs()[expected > 1e-3].max().item()
        said = short(off, ".1%")
        message = f"In {dtype} a probability is off by more than its own rounding ({said})."
        expect(off < torch.finfo(dtype).eps, message)


@pytest.mark.task("soft_targets", points=1)
def test_low_temperatures_choose(student, rng):
    """Towards T = 0 all goes to the largest logit; equal ones share."""
    extreme = [-9.9e3, -9e3, 9.9e3, 0.0]
    logits = torch.tensor([[1.0, 3.0, 2.875, -5.0], [4.0, 4.0, 3.75, 0.0], extreme])
    logits = logits + rng.integers(-3, 4, (3, 1))
    expected = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    order = torch.from_numpy(rng.numpy.permutation(4))
    logits, expected = logits[:, order], expected[:, order]
    for temperature in (1e-2, 1e-6):  # a usual one, and the least
        came = student.soft_targets(logits, temperature)
        expect_close(came, expected, f"At T = {temperature} the probabilities are not right.")
    # next to each other among float32's numbers, and rows of very different sizes
    logits = torch.tensor([[1e4, 1e4 - 2**-10, -1e4], [1e-4, 0.0, -1.0]])
    order = torch.from_numpy(rng.numpy.permutation(3))
    came = student.soft_targets(logits[:, order], 1e-6)
    message = "At T = 1e-6 it does not choose between logits that are nearly equal."
    expect_close(came, torch.tensor([[1.0, 0.0, 0.0]] * 2)[:, order], message)


@pytest.mark.task("soft_targets", points=0.5)
def test_bad_temperatures_are_refused(student, rng):
    """A temperature that is zero, negative or NaN is a ValueError."""
    logits = rng.normal(2, 3)
    for temperature in (0, -1.0, math.nan):
        expect_raises(
            ValueError,
            lambda temperature=temperature: student.soft_targets(logits, temperature),
            f"A temperature of {temperature} should be a ValueError.",
        )
    came = student.soft_targets(logits, 0.5)
    expect_close(came, softened(logits, 0.5).float(), "At T = 0.5 it is not right.")


@pytest.mark.task("soft_targets", points=0.5)
def test_any_rows_of_logits(student, rng):
    """The last dimension holds the classes, whatever stands before it; float64 stays exact, up
    to a temperature of 1e6.

    The logits are left unchanged.
    """
    for leading, temperature in (((), 1.5), ((2, 3), rng.choice((0.5, 2, 3))), ((2, 1, 2), 1e6)):
        logits = rng.normal(*leading, 4).double()
        given = student.soft_targets, logits, temperature
        came, after = student.run(call_and_return_arguments, *given)
        message = f"For logits of shape {tuple(logits.shape)}, T = {temperature}, it is off."
        expect_close(came, softened(logits, temperature), message, rtol=1e-12)
        expect_unchanged(after[0], logits, "The tensor of logits")


@pytest.mark.task("soft_targets", points=0.5)
def test_targets_have_gradients(student, rng):
    """Gradients flow to the logits, and are right."""
    logits, upstream = rng.normal(3, 4).double(), rng.normal(3, 4).double()
    p = softened(logits, 2.0)
    expected = p * (upstream - (p * upstream).sum(dim=-1, keepdim=True)) / 2.0
    came = student.run(pulled_back, student.soft_targets, logits, upstream, 2.0)
    expect_close(came, expected, "The gradient of the logits is not right.")


# ------------------------------------------------------------------------------ distillation_loss


@pytest.mark.task("distillation_loss", points=1.5)
def test_examples_without_labels(student, rng):
    """Examples without a label take part in the soft term only; without any label it is alone."""
    z, v = rng.normal(6, 4).double(), rng.normal(6, 4).double()
    labels = rng.integers(0, 4, (6,))
    labels[torch.from_numpy(rng.numpy.permutation(6)[:3])] = -100
    temperature, alpha = soft_settings(rng)
    soft = alpha * temperature**2 * divergence(v, z, temperature).mean()
    has = labels >= 0
    hard = -softened(z[has], 1).log()[torch.arange(3), labels[has]].mean()
    came = student.distillation_loss(z, v, labels, temperature, alpha)
    expect_close(came, soft + (1 - alpha) * hard, "With 3 of 6 labelled the loss is not right.")
    came = student.distillation_loss(z, v, torch.full((6,), -100), temperature, alpha)
    message = "With no label at all the loss is not right."
    expect_close(came, soft, message, if_nan=NO_LABELS)


@pytest.mark.task("distillation_loss", points=1.5)
def test_large_logits(student, rng):
    """For logits up to 1e4 the value is right and the gradient finite."""
    z, v = rng.normal(5, 4), rng.normal(5, 4)
    z, v = (1e4 * x / x.abs().max() for x in (z, v))
    labels = rng.integers(0, 4, (5,))
    temperature, alpha = soft_settings(rng)
    hard = (1 - alpha) * F.cross_entropy(z.double(), labels)
    soft = alpha * temperature**2 * log_divergence(v, z, temperature).mean()
    given = student.distillation_loss, [z, v], labels, temperature, alpha
    value, (gradient, _) = student.run(gradients, *given)
    expect_close(value, (soft + hard).float(), "For logits up to 1e4 the loss is not right.")
    expect(gradient is not None, "No gradient reaches the student's logits.")
    expect_tensor(gradient, (5, 4), "For logits up to 1e4 the gradient")


@pytest.mark.task("distillation_loss", points=1)
def test_gradient_of_the_student(student, rng):
    """The gradient of the student's logits is that of both terms."""
    z, v, labels = rng.normal(4, 5).double(), rng.normal(4, 5).double(), rng.integers(0, 5, (4,))
    temperature, alpha = soft_settings(rng)
    # In closed form: T² · (q(T) − p(T)) / T, and q − one-hot, as means over the rows.
    soft = temperature * (softened(z, temperature) - softened(v, temperature)) / 4
    hard = (softened(z, 1) - F.one_hot(labels, 5)) / 4
    given = student.distillation_loss, [z, v], labels, temperature, alpha
    _, (gradient, _) = student.run(gradients, *given)
    expect(gradient is not None, "No gradient reaches the student's logits.")
    expected = alpha * soft + (1 - alpha) * hard
    expect_close(gradient, expected, "The gradient is not right.")


@pytest.mark.task("distillation_loss", points=0.5)
def test_no_gradient_for_the_teacher(student, rng):
    """No gradient reaches the teacher's logits."""
    labels = rng.integers(0, 5, (4,))
    expect_one_sided(student, student.distillation_loss, rng, labels, *soft_settings(rng))


@pytest.mark.task("distillation_loss", points=1)
def test_loss_does_not_broadcast(student, rng):
    """Logits of different shapes are a ValueError."""
    z, labels = rng.normal(4, 5).double(), rng.integers(0, 5, (4,))
    for shape in ((1, 5), (5,), (4, 1), (4, 6)):
        expect_raises(
            ValueError,
            lambda shape=shape: student.distillation_loss(
                z, rng.normal(*shape).double(), labels, 2.0, 0.5
            ),
            f"A teacher's logits {shape} for a student's (4, 5) should be a ValueError.",
        )
    v, settings = rng.normal(4, 5).double(), soft_settings(rng)
    came = student.distillation_loss(z, v, labels, *settings)
    expect_close(came, whole_loss(z, v, labels, *settings), "With equal shapes it is not right.")


@pytest.mark.task("distillation_loss", points=0.5)
def test_settings_out_of_range(student, rng):
    """A temperature that is not positive and an alpha outside [0, 1] are ValueErrors; NaN is in
    neither range.
    """
    z, v, labels = rng.normal(4, 3).double(), rng.normal(4, 3).double(), rng.integers(0, 3, (4,))
    bad = (0, 0.5), (-2.0, 0.5), (math.nan, 0.5), (2.0, -0.1), (2.0, 1.5), (2.0, math.nan)
    for temperature, alpha in bad:
        expect_raises(
            ValueError,
            lambda pair=(temperature, alpha): student.distillation_loss(z, v, labels, *pair),
            f"temperature={temperature}, alpha={alpha} should be a ValueError.",
        )
    for temperature, alpha in ((2.0, 0.0), (2.0, 1.0), (0.25, soft_settings(rng)[1])):
        came = student.distillation_loss(z, v, labels, temperature, alpha)
        message = f"With T={temperature} and alpha={alpha} it is not right."
        expect_close(came, whole_loss(z, v, labels, temperature, alpha), message)


# ------------------------------------------------------------------------------ feature_hint_loss


@pytest.mark.task("feature_hint_loss", points=1.5)
def test_hint_does_not_broadcast(student, rng):
    """Shapes that would broadcast to each other are a ValueError, too."""
    features = rng.normal(4, 6)
    for width, shape in ((1, (4, 5)), (5, (4, 1)), (5, (1, 5)), (5, (5,)), (5, (2, 4, 5))):
        projector = rng.linear(6, width)
        expect_raises(
            ValueError,
            lambda shape=shape, projector=projector: student.feature_hint_loss(
                features, rng.normal(*shape), projector
            ),
            f"Projected to (4, {width}), against a teacher's {shape}, it should be a ValueError.",
        )
    projector, target = rng.linear(6, 5), rng.normal(4, 5)
    expected = (output(projector, features) - target).square().mean()
    came = student.feature_hint_loss(features, target, projector)
    expect_close(came, expected, "With equal shapes the loss is not right.")


@pytest.mark.task("feature_hint_loss", points=1)
def test_hint_trains_student_and_projector(student, rng):
    """Gradients flow to the student's features and to the projector, and are right."""
    projector, features, target = rng.linear(4, 6), rng.normal(3, 4), rng.normal(3, 6)
    came = student.run(hint_gradients, student.feature_hint_loss, features, target, projector)
    error = 2 * (output(projector, features) - target) / 18
    for value, expected, what in (
        (came[0], error @ projector.weight.detach(), "the student's features"),
        (came[1], error.T @ features, "the projector's weight"),
    ):
        expect(value is not None, f"No gradient reaches {what}.")
        expect_close(value, expected, f"The gradient of {what} is not right.")


@pytest.mark.task("feature_hint_loss", points=0.5)
def test_hint_leaves_the_teacher(student, rng):
    """No gradient reaches the teacher's features."""
    projector = rng.linear(5, 5).double()
    expect_one_sided(student, student.feature_hint_loss, rng, projector)


@pytest.mark.task("feature_hint_loss", points=0.5)
def test_hint_of_feature_maps(student, rng):
    """Feature maps of any number of dimensions do, with any projector."""
    projector, features, target = (
        rng.conv2d(3, 5, 1),
        rng.normal(2, 3, 4, 4),
        rng.normal(2, 5, 4, 4),
    )
    expected = (output(projector, features) - target).square().mean()
    came = student.feature_hint_loss(features, target, projector)
    expect_close(came, expected, "For feature maps the loss is not right.")
    same = rng.normal(2, 3, 4, 4)
    came = student.feature_hint_loss(features, same, nn.Identity())
    expect_close(came, (features - same).square().mean(), "Without a projection it is not right.")


# --------------------------------------------------------------------- sequence_distillation_loss


def sequences(rng, length=4):
    """Logits of student and teacher (2, length, 5), and a mask: half of the second is out."""
    mask = torch.ones(2, length, dtype=torch.int64)
    mask[1, torch.from_numpy(rng.numpy.permutation(length)[: length // 2])] = 0
    return rng.normal(2, length, 5).double(), rng.normal(2, length, 5).double(), mask


def sequence_loss(z, v, mask, temperature, direction):
    """The loss of sequences in closed form."""
    z, v = z[mask.bool()], v[mask.bool()]
    left, right = (v, z) if direction == "forward" else (z, v)
    return temperature**2 * log_divergence(left, right, temperature).mean()


@pytest.mark.task("sequence_distillation_loss", points=2)
def test_padding_has_no_influence(student, rng):
    """What stands at padded positions, even NaN, has no influence on value or gradient."""
    z, v, mask = sequences(rng)
    leaf = z.clone().requires_grad_()
    temperature, padded = soft_settings(rng)[0], (mask[1] == 0).nonzero()[:, 0]
    expected = sequence_loss(leaf, v, mask, temperature, "forward")
    expected.backward()
    for filler in (math.nan, math.inf, -math.inf, 1e30):
        rubbish_z, rubbish_v = z.clone(), v.clone()
        rubbish_z[1, padded], rubbish_v[1, padded[1:]] = filler, filler
        given = [rubbish_z, rubbish_v], mask, temperature, "forward"
        value, (gradient, _) = student.run(gradients, student.sequence_distillation_loss, *given)
        expect_close(value, expected, f"With {filler} in the padding the loss is not right.")
        message = f"With {filler} in the padding the gradient is not right."
        expect_close(gradient, leaf.grad, message)


@pytest.mark.task("sequence_distillation_loss", points=0.5)
def test_masks_of_bools(student, rng):
    """The mask may be of bools as well as of integers."""
    z, v, mask = sequences(rng)
    temperature, _ = soft_settings(rng)
    expected = sequence_loss(z, v, mask, temperature, "reverse")
    for given in (mask, mask.bool()):
        came = student.sequence_distillation_loss(z, v, given, temperature, "reverse")
        expect_close(came, expected, f"With a mask of {given.dtype} the loss is not right.")


@pytest.mark.task("sequence_distillation_loss", points=1)
def test_no_position_counts(student, rng):
    """Where no position counts, the loss is 0; sequences without a token do no harm."""
    z, v, mask = sequences(rng)
    temperature, _ = soft_settings(rng)
    nothing = torch.zeros_like(mask)
    came = student.sequence_distillation_loss(z, v, nothing, temperature, "forward")
    zero = torch.zeros((), dtype=torch.float64)
    expect_close(came, zero, "Where no position counts it should be 0.", atol=1e-12)
    mask[1] = 0
    came = student.sequence_distillation_loss(z, v, mask, temperature, "forward")
    expected = sequence_loss(z, v, mask, temperature, "forward")
    expect_close(came, expected, "With one sequence all padding the loss is not right.")


@pytest.mark.task("sequence_distillation_loss", points=1)
def test_large_logits_in_sequences(student, rng):
    """For logits up to 1e4 the value is right and the gradient finite, in both directions."""
    for direction in ("forward", "reverse"):
        z, v, mask = sequences(rng)
        temperature, _ = soft_settings(rng)
        z, v = ((1e4 * x / x.abs().max()).float() for x in (z, v))
        expected = sequence_loss(z, v, mask, temperature, direction).float()
        value, (gradient, _) = student.run(
            gradients, student.sequence_distillation_loss, [z, v], mask, temperature, direction
        )
        expect_close(value, expected, f"{direction}: for logits up to 1e4 the loss is not right.")
        expect(gradient is not None, "No gradient reaches the student's logits.")
        expect_tensor(gradient, z.shape, f"{direction}: for logits up to 1e4 the gradient")


@pytest.mark.task("sequence_distillation_loss", points=1)
def test_sequences_do_not_broadcast(student, rng):
    """Logits of different shapes, or a mask of another shape, are a ValueError."""
    z, v, mask = sequences(rng)
    for shape, size in (((1, 4, 5), (2, 4)), ((2, 4, 1), (2, 4)), ((2, 4, 5), (1, 4))):
        expect_raises(
            ValueError,
            lambda shape=shape, size=size: student.sequence_distillation_loss(
                z, v[: shape[0], :, : shape[2]], mask[: size[0]], 2.0, "forward"
            ),
            f"A teacher's logits {shape} and a mask {size} for (2, 4, 5) should be a ValueError.",
        )
    temperature, _ = soft_settings(rng)
    came = student.sequence_distillation_loss(z, v, mask, temperature, "forward")
    expected = sequence_loss(z, v, mask, temperature, "forward")
    expect_close(came, expected, "With shapes that fit the loss is not right.")


@pytest.mark.task("sequence_distillation_loss", points=0.5)
def test_other_directions_are_refused(student, rng):
    """Another direction and a temperature that is not positive, or NaN, are ValueErrors."""
    z, v, mask = sequences(rng)
    bad = (2.0, "both"), (2.0, None), (0, "forward"), (-1.0, "reverse"), (math.nan, "forward")
    for temperature, direction in bad:
        expect_raises(
            ValueError,
            lambda pair=(temperature, direction): student.sequence_distillation_loss(
                z, v, mask, *pair
            ),
            f"temperature={temperature}, direction={direction!r} should be a ValueError.",
        )
    for temperature, direction in ((2.0, "forward"), (2.0, "reverse"), (0.25, "forward")):
        came = student.sequence_distillation_loss(z, v, mask, temperature, direction)
        expected = sequence_loss(z, v, mask, temperature, direction)
        message = f"With T={temperature} in the {direction} direction it is not right."
        expect_close(came, expected, message)


@pytest.mark.task("sequence_distillation_loss", points=1)
def test_gradients_of_sequences(student, rng):
    """Gradients flow to the student's logits, in both directions, and none to the teacher's."""
    *_, mask = sequences(rng)
    for direction in ("forward", "reverse"):
        given = student.sequence_distillation_loss, rng, mask, soft_settings(rng)[0], direction
        expect_one_sided(student, *given, leading=(2, 4), mine=sequence_loss)


# ----------------------------------------------------------------------------------- adapt_resnet


@pytest.mark.task("adapt_resnet", points=1.5)
def test_settings_of_the_stem_are_kept(student, rng):
    """The folded stem has the stride, padding, padding mode, dilation and bias of the old one."""
    for settings in (
        {"stride": 2, "bias": True},
        {"padding": 2, "padding_mode": "reflect"},
        {"dilation": 2, "padding": (1, 0)},
        {"padding": "same", "padding_mode": "circular", "bias": True},
    ):
        net, grey = small_resnet(rng, **settings), rng.normal(2, 1, 9, 9)
        model = student.run(hold, net)
        student.adapt_resnet(model, 1, rng.choice((2, 6, 8)))
        came, expected = model.conv1(grey), output(net.conv1, grey.repeat(1, 3, 1, 1))
        expect_close(came, expected, f"With {settings} the folded stem is not right.")


@pytest.mark.task("adapt_resnet", points=1)
def test_new_layers_have_the_old_dtype(student, rng):
    """Stem and head have the old ones' dtype and device; the head has a bias in any case."""
    classes = rng.choice((2, 6, 8))
    for dtype, has_bias in ((torch.float64, True), (torch.bfloat16, False)):
        net = small_resnet(rng)
        net.fc = rng.linear(16, 7, bias=has_bias)
        model = student.adapt_resnet(net.to(dtype), 1, classes)
        expect_tensor(model.conv1.weight, (4, 1, 3, 3), "The stem's weight", dtype)
        expect_tensor(model.fc.weight, (classes, 16), "The head's weight", dtype)
        expect_tensor(model.fc.bias, (classes,), "The head's bias", dtype)
    shapes = [(4, 1, 3, 3), (4,), (classes, 16), (classes,)]
    given = student.adapt_resnet, small_resnet(rng, bias=True), 1, classes
    expect_on_its_device(student, *given, shapes=shapes)


@pytest.mark.task("adapt_resnet", points=1)
def test_three_channels_keep_the_stem(student, rng):
    """With three channels the stem stays the very object that it was."""
    net, images = small_resnet(rng, bias=True), rng.normal(2, 3, 8, 8)
    classes = rng.choice((2, 6, 8))
    stem = student.run(hold, net.conv1)
    model = student.run(put_together, stem, net[1:-1], net.fc)
    student.adapt_resnet(model, 3, classes)
    student.run(shift_everything, stem)
    changed = copy.deepcopy(net[:-1])
    shift_everything(changed.conv1)
    came = student.run(body_of, model)(images)
    expected = output(changed, images)
    expect_close(came, expected, "What happens to the old stem does not show in the model.")
    expect_shape(model.fc.weight, (classes, 16), "The head's weight")


@pytest.mark.task("adapt_resnet", points=1)
def test_refusals_change_nothing(student, rng):
    """What can't be done is a ValueError, and leaves the model as it was."""
    images = rng.normal(2, 3, 8, 8)
    fits = small_resnet(rng)
    linear, no_head, grouped = small_resnet(rng), small_resnet(rng), small_resnet(rng)
    linear.conv1 = nn.Identity()
    no_head.fc = nn.Sequential(rng.linear(16, 7))
    grouped.conv1 = rng.conv2d(3, 6, 3, groups=3, padding=1)
    grouped.fc = rng.linear(24, 7)
    one = small_resnet(rng)
    one.conv1 = rng.conv2d(1, 4, 3, padding=1, bias=False)
    for net, channels, classes, what in (
        (fits, 2, 5, "in_channels=2"),
        (fits, 1, 0, "num_classes=0"),
        (fits, 1, 5.0, "num_classes=5.0"),
        (fits, 1, True, "num_classes=True"),
        *((linear, c, 5, "A stem that is no convolution") for c in (1, 3)),
        *((grouped, c, 5, "A grouped stem") for c in (1, 3)),
        *((one, c, 5, "A stem for one channel") for c in (1, 3)),
        (no_head, 1, 5, "A head that is no nn.Linear"),
    ):
        model = student.run(hold, net)
        expect_raises(
            ValueError,
            lambda model=model, c=channels, n=classes: student.adapt_resnet(model, c, n),
            f"{what} should be a ValueError (in_channels={channels}).",
        )
        if net in (fits, no_head):
            came = model(images)
            expect_close(came, output(net, images), f"{what} has changed the model all the same.")
    fits.fc = of_a_subclass(fits.fc)
    for classes in (5, 1):
        model = student.adapt_resnet(fits, 1, classes)
        expect_shape(model(images[:, :1]), (2, classes), "What a model gives that fits")


@pytest.mark.task("adapt_resnet", points=0.5)
def test_frozen_stems_stay_frozen(student, rng):
    """The folded stem is trainable if the old one was; the head is trainable and random."""
    classes = rng.choice((2, 6, 8))
    for flag in (False, True):
        net, grey = small_resnet(rng, bias=True), rng.normal(3, 1, 8, 8)
        model = student.run(hold, net.requires_grad_(flag))
        student.adapt_resnet(model, 1, classes)
        folded = net.conv1.weight.detach().sum(dim=1, keepdim=True)
        net.conv1.weight, net.fc = nn.Parameter(folded, flag), nn.Linear(16, classes)
        net = trained_copy(student, model, net)
        distinct = net.fc.weight.detach().unique(dim=0)
        expect(len(distinct) == classes, "The head is not random: rows of it are equal.")
        again = student.adapt_resnet(small_resnet(rng), 1, classes).fc.weight
        again = expect_shape(again, net.fc.weight.shape, "The head's weight")
        alike = torch.equal(again, net.fc.weight.detach())
        expect(not alike, "The head is not random: another model's is the same.")
        upstream, fresh = rng.normal(3, classes), rng.normal(3, 1, 8, 8)
        student.run(sgd_step, model, grey, upstream, 0.1)
        sgd_step(net, grey, upstream, 0.1)
        message = (
            f"A stem with requires_grad={flag} is now otherwise: after a step it is elsewhere."
        )
        expect_close(student.run(body_of, model)(fresh), output(net[:-1], fresh), message)
        expect_close(model(fresh), output(net, fresh), "The head does not train.")


@pytest.mark.task("adapt_resnet", points=0.5)
def test_it_works_in_place(student, rng):
    """The very model that was given is changed and returned; its old stem is left as it was."""
    net, colour = small_resnet(rng), rng.normal(2, 3, 8, 8)
    model, classes = student.run(hold, net), rng.choice((2, 6, 8))
    stem = model.conv1
    returned = student.adapt_resnet(model, 1, classes)
    expect_close(stem(colour), output(net.conv1, colour), "The old stem has been changed.")
    expect_equal(model.conv1.in_channels, 1, "The new stem is no nn.Conv2d for one channel.")
    expect_shape(model.fc.weight, (classes, 16), "The head of the model that was given")
    expect_shape(model.conv1.weight, (4, 1, 3, 3), "The stem of the model that was given")
    student.run(shift_everything, model)
    images = rng.normal(2, 1, 8, 8)
    came = expect_shape(model(images), (2, classes), "What the model gives")
    expect_close(returned(images), came, "What is returned is not the model that was given.")


@pytest.mark.task("adapt_resnet", points=0.5)
def test_torchvisions_resnet(student, rng):
    """torchvision's ResNet can be adapted, and nothing but stem and head changes."""
    torch.manual_seed(rng.seed())
    net, grey = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=6).eval(), rng.normal(2, 1, 32, 32)
    model, classes = student.run(hold, net), rng.choice((2, 6, 8))
    student.adapt_resnet(model, 1, classes)
    weight = expect_shape(model.fc.weight, (classes, 512), "The head's weight")
    bias = expect_shape(model.fc.bias, (classes,), "The head's bias")
    net.fc = nn.Identity()
    expected = output(net, grey.repeat(1, 3, 1, 1)) @ weight.T + bias
    expect_close(model(grey), expected, "The adapted ResNet answers otherwise.", rtol=1e-3)


# ----------------------------------------------------------------------------------- distill_step


@pytest.mark.task("distill_step", points=1.5)
def test_step_restores_modes(student, rng):
    """Each submodule of both is afterwards in the training mode that it had before."""
    for mode in (False, True):
        net, teacher = telling(rng, mode), telling(rng, not mode, 9)
        model, held = student.run(hold, net), student.run(hold, teacher)
        optimizer = student.run(make_sgd, model.head, 0.1)
        student.distill_step(model, held, rows(rng, 6), optimizer, *soft_settings(rng))
        expect_same_modes(student, rng, model, net, held, teacher)
        expect_moved(student, model, net)


@pytest.mark.task("distill_step", points=1)
def test_modes_after_an_error(student, rng):
    """The modes are put back also if the step ends in an error, which is passed on."""
    net, teacher = telling(rng, False).eval(), telling(rng, True, 9).train()
    model, held = student.run(hold, net), student.run(hold, teacher)
    optimizer = student.run(make_sgd, model, 0.1)
    (inputs, labels), settings = rows(rng, 6), soft_settings(rng)
    for batch, what in (((inputs[:, :4], labels), "inputs"), ((inputs, labels + 9), "labels")):
        expect_raises(
            Exception,  # of which type depends on how the loss is written
            lambda batch=batch: student.distill_step(model, held, batch, optimizer, *settings),
            f"An error in the step, from {what} that do not fit, should come out of it.",
        )
        expect_same_modes(student, rng, model, net, held, teacher)
    net, teacher = classifier(rng), classifier(rng, 9)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.1)
    student.distill_step(model, teacher, (inputs, labels), optimizer, *settings)
    expected = after_sgd(net, output(teacher, inputs), inputs, labels, *settings)
    expect_parameters(student, model, expected, "A good step is not right")


@pytest.mark.task("distill_step", points=1.5)
def test_student_steps_in_train_mode(student, rng):
    """The student steps in train mode, whatever mode it was in."""
    net, teacher = normed(rng).eval(), classifier(rng, 9)
    (inputs, labels), settings = rows(rng, 8), soft_settings(rng)
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.1)
    came = student.distill_step(model, teacher, (inputs, labels), optimizer, *settings)
    trained = copy.deepcopy(net).train()
    answers = output(teacher, inputs)
    loss = whole_loss(trained(inputs), answers, labels, *settings).item()
    expect(type(came) is float and abs(came - loss) < 1e-6 * loss, "The loss is not train mode's.")
    expected = after_sgd(copy.deepcopy(net).train(), answers, inputs, labels, *settings)
    expect_parameters(student, model, expected, "It is not where a step in train mode puts it")


@pytest.mark.task("distill_step", points=1)
def test_old_gradients_do_not_count(student, rng):
    """Gradients left over from before have no influence on the step, which is that of the
    optimizer given, whatever its kind and its groups.
    """
    step, settings = student.distill_step, soft_settings(rng)
    expect_no_old_gradients(student, rng, lambda *given: step(*given, *settings), *settings)


@pytest.mark.task("distill_step", points=1, seconds=10)
@pytest.mark.speed(at_least=0.8)
def test_each_forward_runs_once(race, rng):
    """The forward of each runs once a step: of large models one more is seen in the time."""
    bodies, top = [large_body(rng).requires_grad_(False) for _ in "st"], rng.linear(2048, 5)

    settings = soft_settings(rng)

    def prepare(side):
        body, teacher = side.run(hold, bodies[0]), side.run(hold, nn.Sequential(bodies[1], top))
        step = side.distill_step
        given = step_of_the_head, step, body
        return lambda head, batch: side.run(*given, head, teacher, batch, *settings)

    def inputs():  # the head alone is trained: the two forwards take nearly all the time
        images = rng.normal(32, 1, 16, 16)
        return rng.linear(2048, 5), (images, rng.integers(0, 5, (32,)))

    def verify(came, expected, *given):
        expect_float(came, expected, "A timed step does not return its loss.", 1e-3 * abs(expected))

    race.time(prepare, inputs, verify)


@pytest.mark.task("distill_step", points=1)
def test_teachers_gradients_stay(student, rng):
    """The teacher's gradients stay what they are: None stays None, and old ones stay."""
    net, teacher = classifier(rng), classifier(rng, 9)
    batch = rows(rng, 8)
    for old in (0.0, 0.5):
        model, held = student.run(hold, net), student.run(hold, teacher)
        optimizer, stepper = student.run(make_sgd, model, 0.1), student.run(make_sgd, held, 1.0)
        if old:
            student.run(fill_gradients, held, old)
        student.distill_step(model, held, batch, optimizer, *soft_settings(rng))
        if not old:
            expect_no_gradients(student, held)
        expect_left_alone(student, rng, held, teacher, stepper, old)
        expect_moved(student, model, net)


# ---------------------------------------------------------------------------------------- distill


def ways(sizes):
    """All ways through sum(sizes) examples in batches of these sizes, in whatever order."""
    found = set()
    for order in itertools.permutations(sizes):
        for rows in itertools.permutations(range(sum(sizes))):
            left = iter(rows)
            found.add(tuple(tuple(sorted(itertools.islice(left, size))) for size in order))
    return [[list(batch) for batch in way] for way in sorted(found)]


def numbered(rng, *sizes):
    """Batches whose rows can be told apart, and all rows in order."""
    inputs = torch.arange(sum(sizes))[:, None] * 0.1 + rng.normal(1, 5).double()
    labels = rng.integers(0, 3, (sum(sizes),))
    return list(zip(inputs.split(sizes), labels.split(sizes), strict=True)), inputs


@pytest.mark.task("distill", points=1, seconds=10)
@pytest.mark.speed(at_least=0.7)
def test_teacher_sees_each_example_once(student, race, rng):
    """The teacher sees each example exactly once, however many epochs there are.

    With two epochs and a large teacher, asking it twice takes twice the time.
    """
    net, teacher, settings = classifier(rng), classifier(rng, 9), drawn_settings(rng)
    one, label = rows(rng, 1)
    # all but alike, so that any order is the same; the teacher tells them apart
    inputs, labels = one + 1e-9 * torch.arange(20)[:, None], label.repeat(20)
    batches = list(zip(inputs.split(10), labels.split(10), strict=True))
    expected, _ = trained_by_adam(net, output(teacher, one), one, label, 4, settings)
    for loader in (batches, DataLoader(TensorDataset(inputs, labels), 10, shuffle=True)):
        held, model = student.run(hold, Moody(teacher)), student.run(hold, net)
        student.distill(model, held, loader, 2, **settings)
        message = "It has not learned from what the teacher says when it is asked once"
        expect_parameters(student, model, expected, message)
    large = nn.Sequential(large_body(rng), rng.linear(2048, 5))

    def prepare(side):
        distill, held = side.distill, side.run(hold, large)
        return lambda net, loader: distill(net, held, loader, 2, **settings)

    race.time(prepare, lambda: net_and_images(rng, 64), expect_timed_losses)


@pytest.mark.task("distill", points=1)
def test_student_sees_each_example_every_epoch(student, rng):
    """The student sees each example once an epoch, in batches of the loader's sizes."""
    for sizes, epochs in (((1, 1, 2), 1), ((1, 2), 2)):
        net, teacher = telling(rng, False), classifier(rng, 9)
        settings = drawn_settings(rng)
        inputs, labels = rows(rng, sum(sizes))
        batches = list(zip(inputs.split(sizes), labels.split(sizes), strict=True))
        model = student.run(hold, net)
        student.distill(model, teacher, batches, epochs, **settings)
        came = trained_copy(student, model, net).state_dict()
        # there are few ways through so few examples: in train mode it ends where one of them does
        trained, answers = copy.deepcopy(net).train(), output(teacher, inputs)
        ends = [(trained, torch.optim.Adam(trained.parameters(), lr=settings["lr"]))]
        for _ in range(epochs):
            starts = [copy.deepcopy(pair) for pair in ends for _ in ways(sizes)]
            for (other, adam), way in zip(starts, itertools.cycle(ways(sizes))):
                for batch in way:
                    adam_step(other, adam, answers[batch], inputs[batch], labels[batch], settings)
            ends = starts
        states = [other.state_dict() for other, _ in ends]
        off = min(max((came[k] - v).abs().max().item() for k, v in s.items()) for s in states)
        message = f"With batches of {sizes} and {epochs} epoch(s) no order ends with such weights."
        expect(off < 1e-6, message)


@pytest.mark.task("distill", points=1.5, seconds=30)
def test_it_beats_labels_on_held_out_data(student, rng):
    """On held-out digits it is over 0.1 better than untouched, a head alone, and labels alone."""
    train, test = mnist("train", range(5), 1500), mnist("test", range(5))
    (images, truth), (unseen, classes) = train.tensors, test.tensors
    labels = truth.clone()
    labels[15:] = -100  # three of each digit are labelled
    hidden, head = rng.linear(784, 32), rng.linear(32, 5)
    with torch.no_grad():
        for layer, scale in ((hidden, 0.05), (head, 0.2)):
            layer.weight.mul_(scale)
            layer.bias.mul_(scale)
    net = nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), head)

    def accuracy(logits):
        return (logits.argmax(dim=1) == classes).double().mean().item()

    baselines = {"untouched": accuracy(output(net, unseen))}
    for name in ("a head alone", "15 labels alone"):
        other = copy.deepcopy(net)
        trained = other[3] if name == "a head alone" else other
        optimizer = torch.optim.Adam(trained.parameters(), lr=1e-3)
        for _ in range(240):
            optimizer.zero_grad()
            F.cross_entropy(other(images[:15]), truth[:15]).backward()
            optimizer.step()
        baselines[name] = accuracy(output(other, unseen))

    order = torch.from_numpy(rng.numpy.permutation(1500)).split(50)
    loader = [(images[part], labels[part]) for part in order]
    model = student.run(hold, net)
    settings = {"lr": 1e-3, "temperature": 4.0, "alpha": 0.9, "seed": rng.seed()}
    student.distill(model, pretrained_resnet(), loader, 8, **settings)
    reached = accuracy(output(trained_copy(student, model, net), unseen))
    # Over 12 seeds the lead over the best of the three is 0.22 with a standard deviation of 0.017.
    shown = ", ".join(f"{name} {short(value, '.1%')}" for name, value in baselines.items())
    lead = reached - max(baselines.values())
    expect(lead > 0.1, f"{short(reached, '.1%')} right, {shown}: too small a lead.")


@pytest.mark.task("distill", points=0.5)
def test_loader_is_read_once(student, rng):
    """The loader is iterated only once."""
    net, teacher = classifier(rng), classifier(rng, 9)
    model = student.run(hold, net)
    given = from_a_generator, student.distill, model, teacher, 3, rng.seed()
    losses = student.run(*given, **drawn_settings(rng))
    expect(type(losses) is list and len(losses) == 3, "With 3 epochs there should be 3 losses.")
    expect_moved(student, model, net)


@pytest.mark.task("distill", points=0.5)
def test_equal_seeds_give_equal_results(student, rng):
    """Equal seeds give equal results, with dropout and a shuffling loader, too; others do not."""
    net, teacher = dropping(rng), classifier(rng, 9)
    inputs, labels = rows(rng, 12)
    loader = DataLoader(TensorDataset(inputs, labels), 4, shuffle=True)
    settings, results = drawn_settings(rng), []
    seed = settings["seed"]
    for use in (seed + 1000, seed, seed, seed):  # of the same last digits
        if len(results) == 3:
            student.restart()  # what it remembers of the seed is no result of it
        student.run(seed_global, rng.seed())
        model = student.run(hold, net)
        losses = student.distill(model, teacher, loader, 3, **settings | {"seed": use})
        head = student.run(state_of, model).get("head.weight")
        results.append(expect_shape(head, (3, 6), "The head"))
        expect(type(losses) is list, "A list should be returned.")
    other, first, *again = results
    for second in again:
        expect_close(second, first, "The same seed gave another result.", rtol=1e-9)
    expect(not torch.equal(other, first), "Another seed gave the same result.")
    expect(not torch.equal(first, net.head.weight.detach()), "The student has not moved.")


@pytest.mark.task("distill", points=0.5)
def test_global_generator_is_put_back(student, rng):
    """The state of torch's global generator is afterwards what it was."""
    net, teacher, seed = dropping(rng), classifier(rng, 9), rng.seed()
    model = student.run(hold, net)
    student.run(seed_global, seed)
    student.distill(model, teacher, numbered(rng, 4, 4)[0], 2, **drawn_settings(rng))
    expect_drawn_next(student, rng, seed)
    expect_moved(student, model, net)


@pytest.mark.task("distill", points=0.5)
def test_training_modes_are_restored(student, rng):
    """Each submodule of both is afterwards in the training mode that it had before."""
    for mode in (False, True):
        net, teacher = telling(rng, mode), telling(rng, not mode, 9)
        net.body.requires_grad_(False)
        model, held = student.run(hold, net), student.run(hold, teacher)
        student.distill(model, held, numbered(rng, 4, 4)[0], 1, **drawn_settings(rng))
        expect_same_modes(student, rng, model, net, held, teacher)
        expect_moved(student, model, net)


@pytest.mark.task("distill", points=0.5)
def test_means_over_examples(student, rng):
    """An epoch's loss is the mean over its examples, whatever the batches' sizes."""
    batches, inputs = numbered(rng, 7, 1, 1)
    net, teacher, settings = classifier(rng), classifier(rng, 9), drawn_settings(rng)
    labels = torch.cat([y for _, y in batches])
    losses = student.distill(net, teacher, batches, 1, **settings | {"lr": 0.0})
    expect(type(losses) is list and len(losses) == 1, "With one epoch there should be one loss.")
    soft = settings["temperature"], settings["alpha"]
    loss = whole_loss(output(net, inputs), output(teacher, inputs), labels, *soft).item()
    fine = type(losses[0]) is float and abs(losses[0] - loss) < 1e-6 * loss
    expect(fine, "The loss is not the mean over the examples.")


@pytest.mark.task("distill", points=0.5)
def test_adam_over_several_epochs(student, rng):
    """One Adam at a constant rate trains through all batches and epochs."""
    net, teacher, settings = classifier(rng), classifier(rng, 9), drawn_settings(rng)
    one, label = rows(rng, 1)
    inputs, labels = one.repeat(4, 1), label.repeat(4)  # all alike: any order is the same
    model = student.run(hold, net)
    losses = student.distill(model, teacher, [(inputs, labels)] * 3, 4, **settings)
    expected, seen = trained_by_adam(net, output(teacher, inputs), inputs, labels, 12, settings)
    expect_parameters(student, model, expected, "After 4 epochs of 3 batches it is not right")
    means = [sum(seen[i : i + 3]) / 3 for i in range(0, 12, 3)]
    right = type(losses) is list and len(losses) == 4
    right = right and all(
        type(a) is float and abs(a - b) < 1e-6 * b for a, b in zip(losses, means, strict=True)
    )
    expect(right, "The losses are not those of the passes that train.")


@pytest.mark.task("distill", points=0.5)
def test_teacher_is_left_alone(student, rng):
    """The teacher answers in eval mode; its parameters, buffers and gradients are left alone."""
    net, teacher = classifier(rng), normed(rng, 9).train()
    (inputs, labels), settings = rows(rng, 10), drawn_settings(rng)
    model, held = student.run(hold, net), student.run(hold, teacher)
    stepper = student.run(make_sgd, held, 1.0)
    student.distill(model, held, [(inputs, labels)], 1, **settings)
    expect_left_alone(student, rng, held, teacher, stepper)
    answers = output(copy.deepcopy(teacher).eval(), inputs)
    expected, _ = trained_by_adam(net, answers, inputs, labels, 1, settings)
    expect_parameters(student, model, expected, "It has not learned from eval mode's answers")


@pytest.mark.task("distill", points=0.5)
def test_epochs_and_loaders_that_are_refused(student, rng):
    """Negative epochs and a loader without a batch are ValueErrors; 0 epochs train nothing."""
    net, teacher = classifier(rng), classifier(rng, 9)
    (batches, _), settings = numbered(rng, 4, 4), drawn_settings(rng)
    model = student.run(hold, net)
    expect_equal(student.distill(model, teacher, [], 0, **settings), [], "0 epochs need no batch.")
    for loader, epochs, what in ((batches, -1, "Negative epochs"), ([], 2, "An empty loader")):
        expect_raises(
            ValueError,
            lambda loader=loader, epochs=epochs: student.distill(
                model, teacher, loader, epochs, **settings
            ),
            f"{what} should be a ValueError.",
        )
    expect_equal(student.distill(model, teacher, batches, 0, **settings), [], "Not empty.")
    expect_same_state(
        student, model, net.state_dict(), "0 epochs, or a refusal, have changed the student"
    )
    student.distill(model, teacher, batches, 1, **settings)
    expect_moved(student, model, net)


@pytest.mark.task("distill", points=1, seconds=60)
@pytest.mark.speed(at_least=0.5)
def test_speed_on_a_gpu(gpu_race, rng):
    """On a GPU, with a large teacher, 10 epochs are at least half as fast as the reference."""
    made_from = rng.seed()

    def prepare(side):
        return side.run(on_gpu.distillations, side.distill, gpu_race.device, made_from)

    gpu_race.time(prepare, lambda: (rng.seed(),), expect_timed_losses)


# -------------------------------------------------------------------------- distillation_bug_hunt


def headed(rng):
    """A network with a head `fc` for 20 classes, in double precision."""
    return nn.Sequential(OrderedDict(body=rng.linear(5, 6), act=nn.Tanh(), fc=rng.linear(6, 20)))


@pytest.mark.task("distillation_bug_hunt", points=1)
def test_head_stands_in_the_place_of_the_old(student, rng):
    """The new head stands on the features, in the place of the old one, in the net itself."""
    net, inputs = headed(rng).double(), rng.normal(4, 5).double()
    model, classes = student.run(hold, net), rng.choice((2, 4, 5))
    returned = student.make_student(model, classes)
    weight = expect_tensor(model.fc.weight, (classes, 6), "The new head's weight", torch.float64)
    bias = expect_tensor(model.fc.bias, (classes,), "The new head's bias", torch.float64)
    expected = output(net[:-1], inputs) @ weight.T + bias
    expect_close(returned(inputs), expected, "What is returned does not answer as it should.")
    student.run(shift_everything, model)
    came = expect_tensor(model(inputs), (4, classes), "The output", torch.float64)
    expect_close(returned(inputs), came, "What is returned is not the net that was given.")


@pytest.mark.task("distillation_bug_hunt", points=1)
def test_only_the_student_learns(student, rng):
    """The optimizer is plain SGD over the student's parameters and none of the teacher's."""
    net, teacher = classifier(rng), classifier(rng, 9)
    model, held = student.run(hold, net), student.run(hold, teacher)
    lr, (temperature, _) = rng.choice((0.05, 0.15, 0.2)), soft_settings(rng)
    stepper = student.run(make_sgd, held, 1.0)
    optimizer = student.make_optimizer(model, held, lr)
    student.run(fill_gradients, held, 1.0)
    now = net
    for _ in range(3):  # by the third a momentum would show
        inputs, labels = rows(rng, 8)
        student.imitation_step(model, held, optimizer, inputs, temperature)
        now = after_sgd(now, output(teacher, inputs), inputs, labels, temperature, 1.0, lr)
    expect_parameters(student, model, now, "After three steps of SGD it is not right")
    expect_left_alone(student, rng, held, teacher, stepper, 1.0)


@pytest.mark.task("distillation_bug_hunt", points=1)
def test_modes_during_the_step(student, rng):
    """The student steps in train mode and the teacher answers in eval mode, without a graph."""
    net, teacher = normed(rng).eval(), normed(rng, 9).train()
    (inputs, labels), (temperature, _) = rows(rng, 8), soft_settings(rng)
    model, held = student.run(hold, net), student.run(hold, teacher)
    optimizer, stepper = student.run(make_sgd, model, 0.1), student.run(make_sgd, held, 1.0)
    student.imitation_step(model, held, optimizer, inputs, temperature)
    expect_left_alone(student, rng, held, teacher, stepper)
    answers = output(copy.deepcopy(teacher).eval(), inputs)
    expected = after_sgd(net.train(), answers, inputs, labels, temperature, 1.0)
    expect_parameters(student, model, expected, "The student is not where the step puts it")


@pytest.mark.task("distillation_bug_hunt", points=0.5)
def test_stale_gradients(student, rng):
    """Gradients left over from before have no influence on a step, which is that of the optimizer
    given, whatever its kind and its groups.
    """
    temperature, _ = soft_settings(rng)

    def step(model, teacher, batch, optimizer):
        student.imitation_step(model, teacher, optimizer, batch[0], temperature)

    expect_no_old_gradients(student, rng, step, temperature, 1.0)


@pytest.mark.task("distillation_bug_hunt", points=0.5)
def test_imitation_leaves_the_teacher(student, rng):
    """`imitation` gives the student's logits their gradient, and the teacher's none."""

    def mine(z, v, temperature):
        return temperature**2 * divergence(v, z, temperature).mean()

    for temperature in (3.0, 0.5):
        expect_one_sided(student, student.imitation, rng, temperature, mine=mine)


# ------------------------------------------------------------------------- numbers and statements

WIDTH, INNER, LAYERS = 768, 3072, 12


@pytest.mark.task("distillation_numbers", points=1)
def test_parameters_of_adapters(student):
    """adapter_parameters: the exact count."""
    one = WIDTH * 64 + 64 + 64 * WIDTH + WIDTH
    expect_number(student, "adapter_parameters", 2 * LAYERS * one)


@pytest.mark.task("distillation_numbers", points=1)
def test_parameters_of_a_prompt(student):
    """prompt_parameters: the exact count."""
    expect_number(student, "prompt_parameters", 20 * WIDTH)


@pytest.mark.task("distillation_numbers", points=1)
def test_parameters_of_a_prefix(student):
    """prefix_parameters: the exact count."""
    expect_number(student, "prefix_parameters", LAYERS * 2 * 20 * WIDTH)


@pytest.mark.task("distillation_numbers", points=1)
def test_parameters_of_ia3(student):
    """ia3_parameters: the exact count."""
    expect_number(student, "ia3_parameters", LAYERS * (WIDTH + WIDTH + INNER))


@pytest.mark.task("distillation_numbers", points=1)
def test_parameters_of_bitfit(student):
    """bitfit_parameters: the exact count."""
    layer = nn.TransformerEncoderLayer(WIDTH, 12, INNER, device="meta")
    biases = sum(p.numel() for name, p in layer.named_parameters() if name.endswith("bias"))
    expect_number(student, "bitfit_parameters", LAYERS * biases)


@pytest.mark.task("distillation_numbers", points=1)
def test_softened_probability(student):
    """softened: to three decimals (0.0005 either way)."""
    expect_number(student, "softened", math.e**2 / (math.e**2 + math.e + 1), within=0.0006)


@pytest.mark.task("distillation_numbers", points=1)
def test_terabytes(student):
    """terabytes: the exact number."""
    expect_number(student, "terabytes", 10_000_000 * 50_000 * 2 / 1e12, within=1e-9)


KEEPS_WORKING = {"adapters", "prompt tuning", "prefix tuning"}
METHODS = ("full fine-tuning", "adapters", "LoRA", "(IA)³", "BitFit", "prompt tuning")
METHODS += ("prefix tuning",)


@pytest.mark.task("distillation_numbers", points=2)
def test_latency_of_the_methods(student):
    """adds_latency: right answers count 1, wrong ones −1; the sum is divided by 7."""
    answers = student.adds_latency
    expect(type(answers) is dict, "`adds_latency` should be a dict.")
    given = [name for name in METHODS if type(answers.get(name)) is bool]
    right = sum(answers[name] is (name in KEEPS_WORKING) for name in given)
    wrong = len(given) - right
    message = f"{right} right, {wrong} wrong, {7 - right - wrong} without True or False."
    award((right - wrong) / 7, message)


@pytest.mark.task("distillation_statements", points=8)
def test_statements(student):
    """Right judgements count 1, wrong ones −1; the sum, never below 0, is divided by 16."""
    award_judgements(student.judged, true="bdfgjlnp")
