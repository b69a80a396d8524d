"""The checks of the distillation lesson that a learner may read: examples, not all that is asked.

Every expected value is worked out here, in plain torch and from this side's own copy of the inputs.
"""

import contextlib
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
    expect_shape,
)
from autograder.checking.probes import (
    fill_gradients,
    gradients_of,
    hold,
    make_sgd,
    modes_of,
    state_of,
)
from autograder.checks.shared.common import (
    expect_same_tensors,
    expect_state,
    expect_timed_losses,
    expect_unchanged,
    large_body,
    output,
    trained_copy,
)
from autograder.checks.shared.distillation import (
    NO_LABELS,
    SETTINGS,
    body_of,
    classifier,
    divergence,
    net_and_images,
    small_resnet,
    softened,
)
from autograder.sandbox.errors import StudentError

# -------------------------------------------------------------------------------- expected values


def trained_by_hand(net, teacher, inputs, labels, temperature, alpha, optimizer):
    """Take one step of `optimizer(parameters)` on the whole loss; return the net and the loss."""
    net = copy.deepcopy(net)
    stepper, logits = optimizer(net.parameters()), net(inputs)
    soft = divergence(output(teacher, inputs), logits, temperature).mean()
    loss = alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(logits, labels)
    loss.backward()
    stepper.step()
    return net, loss.item()


# ----------------------------------------------------------------------------------- soft_targets


@pytest.mark.task("soft_targets", points=1)
def test_softmax_at_a_temperature(student, rng):
    """The probabilities are the softmax of the logits divided by the temperature, of large float16
    logits, too.
    """
    logits = rng.normal(4, 5, std=3.0)
    for temperature in (1, 2.5):
        expected = softened(logits, temperature).float()
        came = student.soft_targets(logits, temperature)
        expect_close(came, expected, f"At a temperature of {temperature} they are not right.")
    logits = torch.tensor([[9000.0, 8992.0, 8976.0], [8936.0, 9000.0, 9000.0]]).half()
    came, expected = student.soft_targets(logits, 7), softened(logits.double() - 9000, 7).half()
    expect_close(came, expected, "Of float16 logits near 9,000 they are not right at T = 7.", 0.01)


@pytest.mark.task("soft_targets", points=1)
def test_high_temperatures_even_out(student, rng):
    """At an infinite temperature every class has the same probability."""
    logits = rng.normal(3, 4, std=5.0)
    came = student.soft_targets(logits, math.inf)
    expect_close(came, torch.full((3, 4), 0.25), "At an infinite temperature they should be equal.")
    expected = softened(logits, 50).float()
    expect_close(student.soft_targets(logits, 50), expected, "At T = 50 they are not right.")


# ------------------------------------------------------------------------------ distillation_loss


@pytest.mark.task("distillation_loss", points=2)
def test_loss_of_an_example(student, rng):
    """The loss is alpha · T² · KL(teacher ‖ student) + (1 − alpha) · cross-entropy."""
    z, v, labels = rng.normal(6, 4).double(), rng.normal(6, 4).double(), rng.integers(0, 4, (6,))
    soft, hard = divergence(v, z, 3.0).mean(), F.cross_entropy(z, labels)
    came = student.distillation_loss(z, v, labels, 3.0, 0.7)
    expected = 0.7 * 9 * soft + 0.3 * hard
    expect_close(came, expected, "With T = 3 and alpha = 0.7 the loss is not right.")


@pytest.mark.task("distillation_loss", points=1)
def test_alpha_of_zero_is_cross_entropy(student, rng):
    """With alpha = 0 the loss is the ordinary cross-entropy of the student at T = 1."""
    z, v, labels = rng.normal(5, 3), rng.normal(5, 3), rng.integers(0, 3, (5,))
    came = student.distillation_loss(z, v, labels, 4.0, 0)
    expect_close(came, F.cross_entropy(z, labels), "With alpha = 0 the loss is not right.")


@pytest.mark.task("distillation_loss", points=1)
def test_loss_of_like_logits(student, rng):
    """Where the two agree up to a constant a row, the soft term is 0; where not, it is positive."""
    z, nobody = rng.normal(5, 4).double(), torch.full((5,), -100)
    other = rng.normal(5, 4).double()
    same = student.distillation_loss(z, z + rng.normal(5, 1).double(), nobody, 2.0, 1.0)
    message = "Of like logits, without labels, the loss should be 0."
    zero = torch.zeros((), dtype=torch.float64)
    expect_close(same, zero, message, atol=1e-9, if_nan=NO_LABELS)
    expected = 4 * divergence(other, z, 2.0).mean()
    came = student.distillation_loss(z, other, nobody, 2.0, 1.0)
    message = "Of unlike logits, without labels, the loss is not right."
    expect_close(came, expected, message, if_nan=NO_LABELS)


# ------------------------------------------------------------------------------ feature_hint_loss


@pytest.mark.task("feature_hint_loss", points=1.5)
def test_hint_is_a_mean_squared_error(student, rng):
    """The loss is the mean over all elements of the squared differences, after projecting."""
    projector, features, target = rng.linear(4, 6), rng.normal(3, 4), rng.normal(3, 6)
    expected = (output(projector, features) - target).square().sum() / 18
    came = student.feature_hint_loss(features, target, projector)
    expect_close(came, expected, "The loss is not right.")


@pytest.mark.task("feature_hint_loss", points=1)
def test_hint_refuses_another_shape(student, rng):
    """Features of another shape than the teacher's are a ValueError."""
    projector, features = rng.linear(4, 6), rng.normal(3, 4)
    for shape in ((3, 5), (2, 6), (3, 1)):
        expect_raises(
            ValueError,
            lambda shape=shape: student.feature_hint_loss(features, rng.normal(*shape), projector),
            f"Projected to (3, 6), against a teacher's {shape}, it should be a ValueError.",
        )
    target = rng.normal(3, 6)
    expected = (output(projector, features) - target).square().mean()
    came = student.feature_hint_loss(features, target, projector)
    expect_close(came, expected, "With shapes that fit the loss is not right.")


# --------------------------------------------------------------------- sequence_distillation_loss


@pytest.mark.task("sequence_distillation_loss", points=1.5)
def test_forward_direction(student, rng):
    """ "forward" is T² · KL(teacher ‖ student), as the mean over the positions that count."""
    z, v = rng.normal(2, 3, 5).double(), rng.normal(2, 3, 5).double()
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    expected = 4 * divergence(v, z, 2.0)[mask.bool()].mean()
    z[1, 2], v[1, 1:] = math.inf, math.nan
    came = student.sequence_distillation_loss(z, v, mask, 2.0, "forward")
    message = "With T = 2, infinity and NaN in the padding, the forward loss is not right."
    expect_close(came, expected, message)


@pytest.mark.task("sequence_distillation_loss", points=1.5)
def test_reverse_direction(student, rng):
    """ "reverse" is T² · KL(student ‖ teacher), as the mean over the positions that count."""
    z, v = rng.normal(2, 3, 5).double(), rng.normal(2, 3, 5).double()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    expected = 9 * divergence(z, v, 3.0)[mask.bool()].mean()
    came = student.sequence_distillation_loss(z, v, mask, 3.0, "reverse")
    expect_close(came, expected, "With T = 3 the reverse loss is not right.")


# ----------------------------------------------------------------------------------- adapt_resnet


@pytest.mark.task("adapt_resnet", points=2)
def test_one_channel_gives_what_three_gave(student, rng):
    """With one channel, a grey image gives what it gave as three equal channels."""
    net, grey = small_resnet(rng), rng.normal(2, 1, 8, 8)
    model = student.run(hold, net)
    student.adapt_resnet(model, 1, 5)
    expected = output(net[:-1], grey.repeat(1, 3, 1, 1))
    came = student.run(body_of, model)(grey)
    expect_close(came, expected, "The features of a grey image are not what they were.")
    expect_shape(model(grey), (2, 5), "What the model gives for 5 classes")


@pytest.mark.task("adapt_resnet", points=1)
def test_head_has_the_classes(student, rng):
    """The head is a new linear layer on the old features, with one output a class."""
    net, images = small_resnet(rng), rng.normal(2, 3, 8, 8)
    model = student.adapt_resnet(student.run(hold, net), 3, 4)
    weight = expect_shape(model.fc.weight, (4, 16), "The weight of the head")
    bias = expect_shape(model.fc.bias, (4,), "The bias of the head")
    expected = output(net[:-1], images) @ weight.T + bias
    expect_close(model(images), expected, "The head does not stand on the old features.")


@pytest.mark.task("adapt_resnet", points=1)
def test_other_channels_are_refused(student, rng):
    """Other numbers of channels than 1 and 3 are a ValueError, which changes nothing."""
    net = small_resnet(rng)
    for channels in (0, 2, 4):
        model = student.run(hold, net)
        expect_raises(
            ValueError,
            lambda model=model, channels=channels: student.adapt_resnet(model, channels, 5),
            f"in_channels={channels} should be a ValueError.",
        )
        message = "After the error a layer is another"
        expect_same_tensors(student.run(state_of, model), state_of(net), message)
    model = student.adapt_resnet(small_resnet(rng), 1, 5)
    expect_shape(model(rng.normal(2, 1, 8, 8)), (2, 5), "With one channel, what the model gives")


# ----------------------------------------------------------------------------------- distill_step


def unsteady(rng):
    """A teacher with a dropout, in eval mode."""
    teacher = classifier(rng, 9)
    teacher.act = nn.Sequential(nn.Tanh(), nn.Dropout(0.5))
    return teacher.eval()


@pytest.mark.task("distill_step", points=3.5)
def test_step_follows_the_gradient(student, rng):
    """A step of plain SGD puts the student where the gradient of the loss says, whatever mode the
    teacher is in and whatever gradients were left.
    """
    net, teacher = classifier(rng), unsteady(rng)
    inputs, labels = rng.normal(8, 5).double(), rng.integers(0, 3, (8,))
    expected, loss = trained_by_hand(
        net, teacher, inputs, labels, 3.0, 0.6, lambda p: torch.optim.SGD(p, lr=0.1)
    )
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.1)
    student.run(fill_gradients, model, 2.0)
    came = student.distill_step(model, teacher.train(), (inputs, labels), optimizer, 3.0, 0.6)
    message = "After a step with T = 3, alpha = 0.6, old gradients and a teacher in train mode"
    expect_state(student, model, expected.state_dict(), f"{message} it is not right", 1e-5)
    expect(type(came) is float, "The loss should be returned as a float.")
    expect(abs(came - loss) < 1e-6 * abs(loss), "What is returned is not the loss before the step.")


@pytest.mark.task("distill_step", points=0.5)
def test_modes_after_a_step(student, rng):
    """A part in eval mode of a model in train mode is so after a step, and after one that fails."""
    net, teacher = classifier(rng).train(), unsteady(rng).train()
    net.act.eval()
    teacher.act[1].eval()
    model, held = student.run(hold, net), student.run(hold, teacher)
    optimizer = student.run(make_sgd, model, 0.1)
    for labels, when in ((rng.integers(0, 3, (8,)), "a step"), (torch.full((8,), 9), "an error")):
        batch, fails = (rng.normal(8, 5).double(), labels), when == "an error"
        with contextlib.suppress(StudentError) if fails else contextlib.nullcontext():
            student.distill_step(model, held, batch, optimizer, 2, 0.5)
        for handle, own, what in ((model, net, "student"), (held, teacher, "teacher")):
            came = student.run(modes_of, handle)
            message = f"After {when} parts of the {what} are in other modes."
            expect_equal(came, modes_of(own), message)


@pytest.mark.task("distill_step", points=1)
def test_teacher_stays_as_it_is(student, rng):
    """A step changes the student's parameters and none of the teacher's."""
    net, teacher = classifier(rng), classifier(rng, 9)
    inputs, labels = rng.normal(8, 5).double(), rng.integers(0, 3, (8,))
    model, held = student.run(hold, net), student.run(hold, teacher)
    optimizer = student.run(make_sgd, model, 0.1)
    student.distill_step(model, held, (inputs, labels), optimizer, 2.0, 0.5)
    fresh = rng.normal(7, 5).double()
    expect_close(held(fresh), output(teacher, fresh), "The teacher has changed.", rtol=1e-6)
    moved = expect_shape(student.run(state_of, model)["head.weight"], (3, 6), "The head")
    expect(not torch.equal(moved, net.head.weight.detach()), "The student has not moved.")


# ---------------------------------------------------------------------------------------- distill


@pytest.mark.task("distill", points=2)
def test_adam_on_one_batch(student, rng):
    """The student is where Adam, with one step a batch, puts it."""
    net, teacher = classifier(rng), classifier(rng, 9)
    inputs, labels = rng.normal(10, 5).double(), rng.integers(0, 3, (10,))
    expected, _ = trained_by_hand(
        net, teacher, inputs, labels, 2.0, 0.5, lambda p: torch.optim.Adam(p, lr=0.01)
    )
    model = student.run(hold, net)
    student.distill(model, teacher, [(inputs, labels)], 1, **SETTINGS)
    expect_state(
        student,
        model,
        expected.state_dict(),
        "After one epoch with one batch it is not right",
        1e-5,
    )


@pytest.mark.task("distill", points=1.5)
def test_one_loss_an_epoch(student, rng):
    """One loss an epoch is returned; over the epochs it falls, and the student grows alike."""
    net, teacher = classifier(rng), classifier(rng, 9)
    loader = [(rng.normal(8, 5).double(), torch.full((8,), -100)) for _ in range(4)]
    model = student.run(hold, net)
    losses = student.distill(model, teacher, loader, 12, **{**SETTINGS, "alpha": 1.0})
    expect(type(losses) is list, "A list should be returned.")
    fine = len(losses) == 12 and all(type(loss) is float for loss in losses)
    expect(fine, "With 12 epochs the list should hold 12 floats.")
    expect(all(map(math.isfinite, losses)), f"Not all losses are finite. {NO_LABELS}")
    expect(losses[-1] < 0.9 * losses[0], "The loss does not fall.")
    inputs = torch.cat([x for x, _ in loader])
    before = divergence(output(teacher, inputs), output(net, inputs), 1).mean().item()
    logits = output(trained_copy(student, model, net), inputs)
    after = divergence(output(teacher, inputs), logits, 1).mean().item()
    expect(after < 0.9 * before, "The student is no more like the teacher than before.")


@pytest.mark.task("distill", points=1, seconds=10)
@pytest.mark.speed(at_least=0.5)
def test_speed_of_a_distillation(race, rng):
    """With 10 epochs it is at least half as fast as the reference."""
    teacher = nn.Sequential(large_body(rng), rng.linear(2048, 5))

    def prepare(side):
        distill, held = side.distill, side.run(hold, teacher)
        return lambda net, loader: distill(net, held, loader, 10, **SETTINGS)

    race.time(prepare, lambda: net_and_images(rng), expect_timed_losses)


# -------------------------------------------------------------------------- distillation_bug_hunt


@pytest.mark.task("distillation_bug_hunt", points=0.5)
def test_new_head_of_a_student(student, rng):
    """make_student puts a new head on the features that the old one had."""
    body = nn.Sequential(OrderedDict(body=rng.linear(5, 6), act=nn.Tanh(), fc=rng.linear(6, 20)))
    made, x = student.make_student(body, 3), rng.normal(4, 5)
    weight = expect_shape(made.fc.weight, (3, 6), "The new head's weight")
    bias = expect_shape(made.fc.bias, (3,), "The new head's bias")
    expected = output(body[:-1], x) @ weight.T + bias
    expect_close(made(x), expected, "The new head does not stand on the features.")


@pytest.mark.task("distillation_bug_hunt", points=1)
def test_imitation_is_the_divergence(student, rng):
    """`imitation` is the soft term of Task 2's loss."""
    z, v = rng.normal(6, 4).double(), rng.normal(6, 4).double()
    expected = 9 * divergence(v, z, 3.0).mean()
    expect_close(student.imitation(z, v, 3.0), expected, "With T = 3 it is not right.")


@pytest.mark.task("distillation_bug_hunt", points=1.5)
def test_imitation_step_learns_from_the_teacher(student, rng):
    """A step moves the student alone, along the gradient of its divergence from the teacher,
    whatever mode the teacher is in and whatever gradients were left.
    """
    net, teacher = classifier(rng), unsteady(rng)
    inputs, nobody = rng.normal(8, 5).double(), torch.zeros(8, dtype=torch.int64)
    expected, loss = trained_by_hand(
        net, teacher, inputs, nobody, 2.0, 1.0, lambda p: torch.optim.SGD(p, lr=0.1)
    )
    model = student.run(hold, net)
    held, before = student.run(hold, teacher.train()), copy.deepcopy(teacher.state_dict())
    optimizer = student.make_optimizer(model, held, 0.1)
    for each in (model, held):
        student.run(fill_gradients, each, 2.0)
    left = student.run(gradients_of, held)
    came = student.imitation_step(model, held, optimizer, inputs, 2.0)
    message = "After a step with old gradients and a teacher in train mode"
    expect_state(student, model, expected.state_dict(), f"{message} it is not right", 1e-5)
    expect_state(student, held, before, f"{message} the teacher is another")
    expect_unchanged(student.run(gradients_of, held), left, "A gradient left on the teacher")
    expect(type(came) is float, "The loss should be returned as a float.")
    expect(abs(came - loss) < 1e-6 * abs(loss), "What is returned is not the loss before the step.")


# ------------------------------------------------------------------------- numbers and statements


NUMBERS = (
    "adapter_parameters",
    "prompt_parameters",
    "prefix_parameters",
    "ia3_parameters",
    "bitfit_parameters",
    "softened",
    "terabytes",
)


@pytest.mark.task("distillation_numbers", points=0)
def test_answers_are_numbers(student):
    """Each answer given is a number; those still None are open."""
    expect_numbers(student, NUMBERS)


@pytest.mark.task("distillation_statements", points=0)
def test_judgements_are_true_or_false(student):
    """`judged` has an entry for each of a to p: True, False or None."""
    expect_judgements(student.judged)
