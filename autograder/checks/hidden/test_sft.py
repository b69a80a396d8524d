"""The checks of the SFT lesson that decide: each looks at one property of a task.

Every expected value is worked out here, in plain torch, from this side's own copy of the inputs;
what runs beside the submission's objects only does and reports.
"""

import copy
import functools
import math

import numpy as np
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
    expect_shape,
    expect_tensor,
    short,
)
from autograder.checking.probes import (
    call_and_return_arguments,
    fill_gradients,
    hold,
    make_momentum_sgd,
    make_sgd,
    seed_global,
    set_mode,
    set_trainable,
    state_of,
)
from autograder.checks.shared import on_gpu
from autograder.checks.shared.common import (
    Deep,
    MindsAGraph,
    Passes,
    Tells,
    Tires,
    expect_drawn_next,
    expect_same_state,
    expect_state,
    expect_timed_losses,
    expect_unchanged,
    fill_norm,
    trained_copy,
)
from autograder.checks.shared.sft import (
    PLAIN,
    Classifier,
    LanguageModel,
    a_rate,
    a_token,
    batches_of,
    clipped_gradients,
    entry,
    expect_float,
    expect_integers,
    expect_large_step,
    log_normal,
    logits_of,
    loss_and_right,
    pairs,
    random_model,
    sgd_by_hand,
    texts,
    tokens,
)

# ------------------------------------------------------------------------------ models and batches


def ignored(batch):
    """The same batch with no label that counts."""
    return {**batch, "labels": torch.full_like(batch["labels"], -100)}


def scores(net, batches):
    """Loss and accuracy of a model of this side, without dropout."""
    with torch.no_grad():
        loss, right, n = loss_and_right(copy.deepcopy(net).eval(), batches)
    return loss.item() / n, right / n


def adamw_by_hand(net, loader, rates, decay=0.0, max_grad_norm=math.inf):
    """A copy of `net` after one step a batch, `loader` again and again, for these rates.

    Also (loss before the step, labels in the batch), and a copy after it, of each step.
    """
    net, moments, losses, copies = copy.deepcopy(net), {}, [], []
    for step, rate in enumerate(rates):
        batch = loader[step % len(loader)]
        loss, found = clipped_gradients(net, [batch], max_grad_norm)
        losses.append((loss, loss_and_right(net, [batch])[2]))
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                if name not in found:
                    continue
                first, second = moments.get(name, (0.0, 0.0))
                first = 0.9 * first + 0.1 * found[name]
                second = 0.999 * second + 0.001 * found[name].square()
                moments[name] = first, second
                if not name.endswith("bias") and not name.startswith("rest"):
                    parameter *= 1 - rate * decay
                root = (second / (1 - 0.999 ** (step + 1))).sqrt()
                parameter -= rate * (first / (1 - 0.9 ** (step + 1))) / (root + 1e-8)
        copies.append(copy.deepcopy(net))
    return net, losses, copies


def falling(steps, peak):
    """The rates of a schedule without warm-up."""
    return [peak * (steps - step) / steps for step in range(steps)]


# ------------------------------------------------------------------------------------ expectations


def figures(history, key, epochs):
    """A list of the history, once it is known to be floats, one an epoch."""
    values = entry(history, key)
    right = type(values) is list and len(values) == epochs
    expect(right and all(type(v) is float for v in values), f"{key} should be {epochs} floats.")
    return values


def answers_of(model, batch):
    """What a held model answers."""
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])


def telling(net, mode):
    """Give a model two parts that tell their modes by what they add: one in `mode`, one not."""
    net.drop, net.late = Tells(0.0, 1.0), Tells(0.0, 2.0)
    net.train(mode)
    net.late.train(not mode)
    return net


def expect_answers(model, net, batch, message):
    """Expect a held model to answer as one of this side, in whatever modes that is."""
    with torch.no_grad():
        expect_close(answers_of(model, batch), logits_of(net, batch), message, rtol=1e-6)


def expect_modes_kept(model, net, rng):
    """Expect the parts of a held model to be in the modes of those of `net`, which tell them."""
    message = "A submodule is in another mode than before."
    expect_answers(model, net, texts(rng, *[5] * 8), message)


def deep(rng, kind):
    """A model with many layers, whose graph takes 80 MB for 12 texts of 64 tokens."""

    class WithLayers(kind):
        """A model that pools behind many layers."""

        def pool(self, x, mask):
            """Return what the model's own gives, from there on."""
            return super().pool(Deep()(x), mask)

    return random_model(rng, lambda: WithLayers(width=64)).float()


# ------------------------------------------------------------------------------------------ collate


@pytest.mark.task("collate", points=1)
def test_longer_examples_are_cut(student, rng):
    """Examples longer than max_length are cut at their end, labels too; shorter ones are not."""
    rows, pad = tokens(rng, 7, 2, 4), a_token(rng)
    examples = [{"input_ids": row, "label": row[::-1]} for row in rows]
    for limit, width in ((3, 3), (5, 5), (9, 7)):
        came = student.collate(examples, pad, max_length=limit)
        ids, labels = ([], [])
        for row in rows:
            kept = row[:limit]
            ids.append(kept + [pad] * (width - len(kept)))
            labels.append(row[::-1][:limit] + [-100] * (width - len(kept)))
        message = f"With lengths 7, 2, 4 and max_length={limit} it is not as stated."
        expect_integers(entry(came, "input_ids"), torch.tensor(ids), message)
        expect_integers(entry(came, "labels"), torch.tensor(labels), message)


@pytest.mark.task("collate", points=1)
def test_examples_that_are_refused(student, rng):
    """No examples, a bad max_length, labels that do not fit or do not match are ValueErrors."""
    (two, one, three, four), pad = tokens(rng, 2, 1, 3, 1), a_token(rng)
    good = [{"input_ids": two, "label": 0}, {"input_ids": one, "label": 1}]
    came = student.collate(good, pad, max_length=2)
    expected = torch.tensor([two, [*one, pad]])
    expect_integers(entry(came, "input_ids"), expected, "A good batch is not as stated.")
    uneven, even = {"input_ids": three, "label": two}, {"input_ids": four, "label": one}
    for name, call in {
        "No examples": lambda: student.collate([], pad),
        "max_length=0": lambda: student.collate(good, pad, max_length=0),
        "A list of 2 labels for 3 tokens": lambda: student.collate([uneven, even], pad),
        "The same with max_length=2": lambda: student.collate([even, uneven], pad, max_length=2),
        "A class beside a list": lambda: student.collate([good[0], even], pad),
    }.items():
        expect_raises(ValueError, call, f"{name} should be a ValueError.")


@pytest.mark.task("collate", points=0.5)
def test_examples_are_left_alone(student, rng):
    """The examples are left unchanged."""
    rows, pad = tokens(rng, 2, 4), a_token(rng)
    examples = [{"input_ids": row, "label": row} for row in rows]
    came, after = student.run(call_and_return_arguments, student.collate, examples, pad, 3)
    expected = torch.tensor([[*rows[0], pad], rows[1][:3]])
    expect_integers(entry(came, "input_ids"), expected, "input_ids is not as stated.")
    expect_equal(after[0], examples, "The examples have been changed.")


@pytest.mark.task("collate", points=0.5)
def test_one_example(student, rng):
    """A batch of one, and one of single tokens, have the same number of dimensions as others."""
    for row in tokens(rng, 3, 1):
        label = int(rng.integers(0, 5))
        came = student.collate([{"input_ids": row, "label": label}], a_token(rng))
        message = f"For one example of {len(row)} token(s) it is not as stated."
        expect_integers(entry(came, "input_ids"), torch.tensor([row]), message)
        expect_integers(entry(came, "labels"), torch.tensor([label]), message)


@pytest.mark.task("collate", points=0.5)
def test_other_keys_are_ignored(student, rng):
    """Other keys of an example are ignored."""
    (two, one), pad = tokens(rng, 2, 1), a_token(rng)
    examples = [
        {"input_ids": two, "label": 1, "text": "two words", "token_type_ids": [0, 0]},
        {"input_ids": one, "label": 0, "text": "one", "token_type_ids": [0]},
    ]
    came = student.collate(examples, pad)
    expected = torch.tensor([two, [*one, pad]])
    expect_integers(entry(came, "input_ids"), expected, "input_ids is not as stated.")
    message = "The result should have its three keys and no other."
    expect_equal(sorted(came), ["attention_mask", "input_ids", "labels"], message)


# -------------------------------------------------------------------------------------- mask_prompt


@pytest.mark.task("mask_prompt", points=1)
def test_a_token_like_padding_counts(student, rng):
    """A token of the response counts, also where it equals the padding's."""
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    for pad in (0, int(rng.integers(100, 200))):
        ids = rng.integers(1, 99, (2, 4))
        ids[0, 1] = ids[0, 3] = ids[1, 2] = ids[1, 3] = pad
        came = student.mask_prompt(ids, torch.tensor([1, 1]), mask)
        expected = ids.clone()
        expected[:, 0] = expected[1, 3] = -100
        message = "Where padding's token stands in a response, it is not right."
        expect_integers(came, expected, message)


@pytest.mark.task("mask_prompt", points=1)
def test_lists_and_bools(student, rng):
    """prompt_lengths may be a list, attention_mask may be bool."""
    ids = 1 + torch.from_numpy(rng.numpy.permutation(12)).reshape(3, 4)  # no token twice
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
    expected = ids.clone()
    lengths = [1, *rng.numpy.permutation([1, 2]).tolist()]
    for i, n in enumerate(lengths):
        expected[i, :n] = -100
    expected[mask == 0] = -100
    for prompts in (lengths, torch.tensor(lengths)):
        for each in (mask, mask.bool()):
            came = student.mask_prompt(ids, prompts, each)
            kinds = f"{type(prompts).__name__} and {each.dtype}"
            expect_integers(came, expected, f"With prompt_lengths and mask of {kinds} it is wrong.")


@pytest.mark.task("mask_prompt", points=0.5)
def test_no_prompt_and_nothing_but_prompt(student, rng):
    """A prompt may have no token, fill its row, or be longer than it."""
    ids = rng.integers(1, 99, (3, 4))
    longer = int(rng.integers(5, 12))
    came = student.mask_prompt(ids, torch.tensor([0, 4, longer]), torch.ones_like(ids))
    expected = torch.full((3, 4), -100)
    expected[0] = ids[0]
    message = f"For prompts of 0, 4 and {longer} tokens in rows of 4 it is wrong."
    expect_integers(came, expected, message)


@pytest.mark.task("mask_prompt", points=0.5)
def test_labels_are_a_new_tensor(student, rng):
    """The arguments are left unchanged."""
    ids, prompts = rng.integers(1, 99, (2, 4)), torch.tensor([1, 2])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    given = ids, prompts, mask
    came, after = student.run(call_and_return_arguments, student.mask_prompt, *given)
    expected = ids.clone()
    expected[0, :1] = expected[1, :2] = expected[1, 3] = -100
    expect_integers(came, expected, "The labels are not right.")
    expect_unchanged(after, list(given), "An argument")


@pytest.mark.task("mask_prompt", points=1)
def test_prompts_that_do_not_fit(student, rng):
    """Prompt lengths that are not B, or negative, and a mask of another shape are ValueErrors."""
    ids = rng.integers(1, 99, (3, 4))
    mask, good = torch.ones_like(ids), torch.tensor([1, 1, 1])
    expected = ids.clone()
    expected[:, 0] = -100
    expect_integers(student.mask_prompt(ids, good, mask), expected, "A good call is not right.")
    for name, prompts, each in (
        ("One length for three rows", torch.tensor([1]), mask),
        ("Two lengths for three rows", [1, 2], mask),
        ("Lengths of shape (3, 1)", good[:, None], mask),
        ("A negative length", torch.tensor([1, -1, 2]), mask),
        ("A mask of one row", good, mask[:1]),
    ):
        call = functools.partial(student.mask_prompt, ids, prompts, each)
        expect_raises(ValueError, call, f"{name} should be a ValueError.")


# ----------------------------------------------------------------------------------------- evaluate


def expect_scores(came, net, loader, message):
    """Expect the scores of a model of this side, without dropout."""
    loss, accuracy = scores(net, loader)
    expect_float(entry(came, "loss"), loss, f"{message}: the loss is not right.")
    expect_float(entry(came, "accuracy"), accuracy, f"{message}: the accuracy is not right.")


@pytest.mark.task("evaluate", points=1)
def test_means_over_labels_not_batches(student, rng):
    """Both are means over the labels of the data set, whatever the sizes of the batches."""
    net = random_model(rng)
    loader = [texts(rng, 4, 4, 4, 4, 4, 4, 4), texts(rng, 4, 4), texts(rng, 4)]
    # the last text is hit, the others are what they are: the mean of means differs
    loader[2]["labels"] = logits_of(net, loader[2]).argmax(dim=1)
    loader[1]["labels"] = logits_of(net, loader[1]).argmin(dim=1)
    model = student.run(hold, net)
    came = student.evaluate(model, student.run(hold, Passes(loader)))
    expect_scores(came, net, loader, "With batches of 7, 2 and 1")


@pytest.mark.task("evaluate", points=1)
def test_each_module_gets_its_mode_back(student, rng):
    """Each submodule is afterwards in the training mode that it had before."""
    for mode in (True, False):
        net, loader = telling(random_model(rng), mode), [texts(rng, 4, 4, 4)]
        model = student.run(hold, net)
        expect_scores(student.evaluate(model, loader), net, loader, "With modes mixed")
        expect_modes_kept(model, net, rng)


@pytest.mark.task("evaluate", points=0.5, seconds=20)
@pytest.mark.memory(at_most=40 << 20)
def test_no_graph(student, race, rng):
    """A batch takes one forward, without a graph: of many layers it would take 80 MB."""
    net, loader = random_model(rng), [texts(rng, 4, 4, 4), texts(rng, 5, 5)]
    net.drop, net.late = MindsAGraph(), Tires()
    came = student.evaluate(student.run(hold, net), loader)
    expect_scores(came, net, loader, "With parts that a graph, and each forward, change")
    net, batch = deep(rng, Classifier), texts(rng, *[64] * 12)
    loss, _ = scores(net, [batch])

    def prepare(side):
        held, loader = side.run(hold, net), side.run(hold, [batch])
        side.evaluate(held, [texts(rng, 4, 4)])  # what a first call brings is not the task's
        return lambda: side.evaluate(held, loader)

    def verify(came):
        expect_float(entry(came, "loss"), loss, "With many layers the loss is not right.", 1e-3)

    race.weigh(prepare, verify)


@pytest.mark.task("evaluate", points=0.5)
def test_a_batch_that_does_not_count(student, rng):
    """A batch without a label that counts changes neither figure."""
    net = random_model(rng, LanguageModel)
    loader = [pairs(rng, (2, 2), (2, 2)), ignored(pairs(rng, (2, 2))), pairs(rng, (3, 4))]
    came = student.evaluate(student.run(hold, net), loader)
    expect_scores(came, net, loader, "With a batch of labels -100, whose own mean is NaN (0 / 0)")


@pytest.mark.task("evaluate", points=0.5)
def test_logits_in_an_object(student, rng):
    """The model may return an object with `.logits`."""
    net, loader = random_model(rng), [texts(rng, 4, 4, 4)]
    net.wraps = True
    came = student.evaluate(student.run(hold, net), loader)
    expect_scores(came, net, loader, "With logits in an object")


@pytest.mark.task("evaluate", points=0.5)
def test_the_mask_is_handed_on(student, rng):
    """The model gets the attention mask."""
    net, loader = random_model(rng), [texts(rng, 2, 7, 4)]
    came = student.evaluate(student.run(hold, net), loader)
    expect_scores(came, net, loader, "With padded texts")


@pytest.mark.task("evaluate", points=0.5)
def test_nothing_to_evaluate_on(student, rng):
    """A loader without a batch, or without a label that counts, is a ValueError."""
    net, loader = random_model(rng), [texts(rng, 4, 4)]
    model = student.run(hold, net)
    expect_scores(student.evaluate(model, loader), net, loader, "With a good loader")
    for name, empty in (("no batch", []), ("no label that counts", [ignored(loader[0])])):
        call = functools.partial(student.evaluate, model, empty)
        expect_raises(ValueError, call, f"A loader with {name} should be a ValueError.")


@pytest.mark.task("evaluate", points=0.5)
def test_model_is_left_alone(student, rng):
    """Weights, buffers (a batch-norm's statistics, too) and gradients are left as they are."""
    net, loader, fresh = random_model(rng), [texts(rng, 4, 4)], texts(rng, 5, 5, 5)
    net.rest = fill_norm(rng, nn.BatchNorm1d(6)).double()
    model = student.run(hold, net.train())
    stepper = student.run(make_sgd, model, 0.1)
    student.run(fill_gradients, model, 2.0)
    expect_scores(student.evaluate(model, loader), net, loader, "With a batch-norm in train mode")
    student.run(set_mode, model, False)
    expect_answers(model, net.eval(), fresh, "evaluate has changed the model.")
    stepper.step()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 0.1 * 2.0
    expect_answers(model, net, fresh, "The gradients on the model are not what they were.")


# --------------------------------------------------------------------------------- accumulated_step


@pytest.mark.task("accumulated_step", points=1)
def test_a_micro_batch_without_labels(student, rng):
    """A micro-batch with no label that counts changes nothing."""
    net = random_model(rng)
    batches = [texts(rng, 4, 4), ignored(texts(rng, 3, 5)), texts(rng, 4, 4)]
    what = "With a micro-batch of labels -100, whose own mean is NaN (0 / 0),"
    expect_large_step(student, rng, net, batches, what)


@pytest.mark.task("accumulated_step", points=1)
def test_first_labels_are_nobodys(student, rng):
    """The first label of a row, which nothing predicts, is not counted."""
    net = random_model(rng, LanguageModel)
    batches = [pairs(rng, (0, 5), (0, 5)), pairs(rng, (0, 5), (0, 5))]
    expect_large_step(student, rng, net, batches, "With rows that have no prompt")


def sgd_over_trainable(module, lr):
    """Plain SGD over the parameters of a module that train."""
    import torch

    return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=lr)


@pytest.mark.task("accumulated_step", points=1)
def test_old_gradients_have_no_influence(student, rng):
    """Gradients left over from before have no influence, nor have those on frozen parameters."""
    start, batches = random_model(rng), [texts(rng, 4, 4), texts(rng, 4, 4)]
    net, by_hand = copy.deepcopy(start), sgd_by_hand(start, batches, 0.5)[0]
    net.head = by_hand.head
    net.embed.weight.requires_grad_(False)
    _, found = clipped_gradients(net, batches, math.inf)
    norm = math.sqrt(sum(g.square().sum().item() for g in found.values()))
    for max_grad_norm in (math.inf, 1.01 * norm):  # neither clips, but with what is left over
        model = student.run(hold, start)
        head = student.run(make_sgd, model.head, 0.5)
        student.accumulated_step(model, batches, head, 1e3)  # leaves some on all that stays
        student.run(set_trainable, model.embed, False)
        optimizer = student.run(sgd_over_trainable, model, 0.5)
        student.accumulated_step(model, batches, optimizer, max_grad_norm)
        expected, _ = sgd_by_hand(net, batches, 0.5, max_grad_norm)
        message = f"With max_grad_norm={short(max_grad_norm)} old gradients have an influence"
        expect_state(student, model, expected.state_dict(), message, 1e-5)


@pytest.mark.task("accumulated_step", points=1)
def test_one_clip_at_the_end(student, rng):
    """The whole gradient is clipped, once, when it is complete; math.inf never clips. The step is
    the optimizer's, with its momentum and the rate of each group.
    """
    net = random_model(rng)
    rates = [float(rng.numpy.uniform(*bounds)) for bounds in ((0.2, 0.4), (0.5, 0.9))]
    batches = [texts(rng, 4, 4) for _ in range(6)]
    _, found = clipped_gradients(net, batches[:3], math.inf)
    norm = math.sqrt(sum(g.square().sum().item() for g in found.values()))
    for limit, what in ((norm / 10, "a tenth of the gradient's norm"), (math.inf, "math.inf")):
        expected, speeds = copy.deepcopy(net), {}
        model = student.run(hold, net)
        optimizer = student.run(make_momentum_sgd, model, tuple(rates))
        for given in (batches[:3], batches[3:]):
            student.accumulated_step(model, given, optimizer, limit)
            _, found = clipped_gradients(expected, given, limit)
            with torch.no_grad():
                for index, (name, gradient) in enumerate(found.items()):
                    speeds[name] = 0.9 * speeds.get(name, 0.0) + gradient
                    expected.get_parameter(name).sub_(rates[min(index, 1)] * speeds[name])
        message = f"With max_grad_norm {what}, two steps with momentum end somewhere else"
        expect_state(student, model, expected.state_dict(), message, 1e-5)


def from_a_generator(step, model, batches, optimizer, max_grad_norm):
    """Hand the micro-batches over as a generator, which can be run through once."""
    return step(model, (batch for batch in batches), optimizer, max_grad_norm)


@pytest.mark.task("accumulated_step", points=0.5)
def test_micro_batches_from_a_generator(student, rng):
    """The micro-batches may come from a generator."""
    net, batches = random_model(rng), [texts(rng, 4, 4), texts(rng, 4, 4)]
    model = student.run(hold, net)
    optimizer = student.run(make_sgd, model, 0.5)
    student.run(from_a_generator, student.accumulated_step, model, batches, optimizer, 1e3)
    expected, _ = sgd_by_hand(net, batches, 0.5)
    message = "It is not the step of the large batch"
    expect_state(student, model, expected.state_dict(), message, 1e-5)


@pytest.mark.task("accumulated_step", points=1, seconds=20)
@pytest.mark.memory(at_most=64 << 20)
def test_one_graph_at_a_time(student, race, rng):
    """A micro-batch takes one forward, and its graph is gone before the next: memory rises by
    that of one.
    """
    net = random_model(rng)
    net.late = Tires()
    given = [texts(rng, 4, 4), texts(rng, 4, 4)]
    expect_large_step(student, rng, net, given, "With a part that each forward changes")
    net = deep(rng, Classifier)
    batches = [texts(rng, *[64] * 3) for _ in range(6)]  # six graphs of 20 MB
    loss, _ = scores(net, batches)

    def prepare(side):
        held, given = side.run(hold, net), side.run(hold, batches)
        optimizer = side.run(make_sgd, held, 0.0)
        side.accumulated_step(held, batches[:1], optimizer, 1e3)
        return lambda: side.accumulated_step(held, given, optimizer, 1e3)

    def verify(came):
        expect_float(came, loss, "With many layers the loss is not right.", 1e-3)

    race.weigh(prepare, verify)


@pytest.mark.task("accumulated_step", points=0.5)
def test_nothing_to_learn_from(student, rng):
    """No micro-batch, or no label that counts, is a ValueError and leaves the weights unchanged."""
    net, batches = random_model(rng), [texts(rng, 4, 4)]
    expect_large_step(student, rng, net, batches, "With one micro-batch")
    model = student.run(hold, net)
    student.run(fill_gradients, model, 0.5)
    optimizer = student.run(make_sgd, model, 0.5)
    for name, bad in (("No micro-batch", []), ("No label that counts", [ignored(batches[0])])):
        call = functools.partial(student.accumulated_step, model, bad, optimizer, 1e3)
        expect_raises(ValueError, call, f"{name} should be a ValueError.")
        expect_same_state(student, model, net.state_dict(), f"{name}: the weights have changed")


@pytest.mark.task("accumulated_step", points=0.5)
def test_the_mode_is_left_alone(student, rng):
    """The model is used in the mode that it is in."""
    net, batches = random_model(rng).eval(), [texts(rng, 4, 4), texts(rng, 4, 4)]
    net.drop.p = 0.5
    expect_large_step(student, rng, net, batches, "With a model in eval mode")


@pytest.mark.task("accumulated_step", points=0.5)
def test_mask_in_and_object_out(student, rng):
    """The model gets the mask, and may return an object with `.logits`."""
    net, batches = random_model(rng), [texts(rng, 2, 6), texts(rng, 5, 3)]
    expect_large_step(student, rng, net, batches, "With padded texts")
    net.wraps = True
    expect_large_step(student, rng, net, batches, "With logits in an object")


# --------------------------------------------------------------------------------- learning_rate_at


def linear_schedule(step, total, warmup):
    """The share of the peak by transformers' linear schedule; a test holds it to the library."""
    if step < warmup:
        return step / warmup
    return max(0.0, (total - step) / max(1, total - warmup))


@pytest.mark.task("learning_rate_at", points=1)
def test_it_is_transformers_schedule(student, rng):
    """At every step it is transformers' linear schedule."""
    total, warmup = int(rng.integers(40, 60)), int(rng.integers(5, 20))
    peak = a_rate(rng)
    for step in range(0, total, 3):
        rate = peak * linear_schedule(step, total, warmup)
        came = student.learning_rate_at(step, total, warmup, peak)
        expect_float(
            came, rate, f"At step {step} of {total}, {warmup} of them warm-up, it is wrong."
        )


def expect_rates(student, rng, total, warmup, *shares):
    """Expect the rates of these (step, share of the peak)."""
    peak = a_rate(rng)
    for step, share in shares:
        came = student.learning_rate_at(step, total, warmup, peak)
        message = f"At step {step} of {total}, {warmup} of them warm-up, it is wrong."
        expect_float(came, peak * share, message)


@pytest.mark.task("learning_rate_at", points=0.5)
def test_without_warmup(student, rng):
    """Without warm-up it begins at the peak."""
    half = int(rng.integers(3, 20))
    expect_rates(student, rng, 2 * half, 0, (0, 1.0), (half, 0.5))


@pytest.mark.task("learning_rate_at", points=0.5)
def test_nothing_but_warmup(student, rng):
    """Where all steps are warm-up it climbs to the end, and is 0 from there on."""
    n = int(rng.integers(3, 20))
    expect_rates(student, rng, n, n, (n - 1, (n - 1) / n), (n, 0.0))


@pytest.mark.task("learning_rate_at", points=0.5)
def test_beyond_the_end(student, rng):
    """Beyond the end it stays 0, and is never negative."""
    half, warmup = int(rng.integers(3, 20)), int(rng.integers(1, 9))
    total = warmup + 2 * half
    expect_rates(
        student, rng, total, warmup, (warmup + half, 0.5), (total + 1, 0.0), (5 * total, 0.0)
    )


@pytest.mark.task("learning_rate_at", points=1)
def test_steps_that_cannot_be(student, rng):
    """Negative steps, no steps at all, and more warm-up than steps are ValueErrors."""
    half = int(rng.integers(2, 9))
    expect_rates(student, rng, 4 * half, 2 * half, (half, 0.5))
    for given in ((-1, 10, 2), (3, 10, -1), (3, 10, 11), (0, 0, 0)):
        call = functools.partial(student.learning_rate_at, *given, 2e-4)
        step, total, warmup = given
        named = f"step={step}, total_steps={total}, warmup_steps={warmup}"
        expect_raises(ValueError, call, f"{named} should be a ValueError.")


# ---------------------------------------------------------------------------------------- fine_tune


def tune(student, model, loader, epochs=1, lr=1e-2, unseen=None, **settings):
    """Fine-tune with plain settings, but for those that are given."""
    unseen = loader if unseen is None else unseen
    settings = {**PLAIN, **settings}
    return student.fine_tune(model, loader, unseen, epochs=epochs, lr=lr, **settings)


def expect_tuned(student, rng, net, loader, message, epochs=1, shares=None, **settings):
    """Expect the weights after training to be those of AdamW by hand; return model and history."""
    model, lr = student.run(hold, net), a_rate(rng)
    history = tune(student, model, loader, epochs, lr, **settings)
    if shares is None:
        shares = falling(epochs * len(loader), 1.0)
    rates = [lr * share for share in shares]
    decay = settings.get("weight_decay", 0.0)
    norm = settings.get("max_grad_norm", 1e3)
    expected, _, _ = adamw_by_hand(net, loader, rates, decay, norm)
    expect_state(student, model, expected.state_dict(), message, 1e-5)
    return model, history


class Counted(Passes):
    """A loader with a length, and other batches in each pass."""

    def __len__(self):
        """Count the batches of a pass."""
        return len(self.passes[0])


class Gated(Classifier):
    """Normalises its logits by another norm, multiplies them by a single number, and adds to them
    what is no bias by its name.
    """

    def __init__(self):
        """Make the layers."""
        super().__init__()
        self.group = nn.GroupNorm(1, 3)
        self.gate = nn.Parameter(torch.tensor(1.0))
        self.bias_shift = nn.Parameter(torch.zeros(3))

    def forward(self, input_ids, attention_mask=None):
        """Return the logits."""
        logits = super().forward(input_ids, attention_mask)
        return self.group(logits) * self.gate + self.bias_shift


def three_batches(rng):
    """A loader of three batches of unequal sizes."""
    return [texts(rng, 4, 4, 4), texts(rng, 3, 5), texts(rng, 2, 6, 4, 5)]


@pytest.mark.task("fine_tune", points=1)
def test_schedule_of_single_steps(student, rng):
    """Each step has its own rate, over all epochs; the steps of warm-up are rounded up."""
    net, loader = random_model(rng), [*three_batches(rng), texts(rng, 4, 4)]
    # of 8 steps a whole number and a half are warm-up: rounded up
    warmup = int(rng.integers(2, 7))
    ratio = (2 * warmup - 1) / 16
    shares = [step / warmup for step in range(warmup)] + falling(8 - warmup, 1.0)
    message = f"Two epochs of 4 batches with warmup_ratio={ratio} end somewhere else"
    expect_tuned(student, rng, net, loader, message, 2, shares, warmup_ratio=ratio)


@pytest.mark.task("fine_tune", points=1)
def test_what_decays(student, rng):
    """Weights decay, decoupled from the gradient; biases and the parameters of a LayerNorm do not:
    a single number does, those of another norm, and what has "bias" elsewhere in its name.
    """
    net, loader = random_model(rng, Gated), three_batches(rng)
    decay = round(float(rng.numpy.uniform(1.0, 4.0)), 2)
    message = f"With weight_decay={decay} the weights are not as stated"
    expect_tuned(student, rng, net, loader, message, 2, weight_decay=decay)


@pytest.mark.task("fine_tune", points=0.5)
def test_gradients_are_clipped(student, rng):
    """The gradient's norm is clipped."""
    net, loader = random_model(rng), three_batches(rng)
    # the gradients' norms are above it, and differ: Adam's moments then depend on the clipping
    norms = []
    for batch in loader:
        _, found = clipped_gradients(net, [batch], math.inf)
        norms.append(math.sqrt(sum(g.square().sum().item() for g in found.values())))
    message = "With a small max_grad_norm the weights are not as stated"
    limit = min(norms) / 10
    expect_tuned(student, rng, net, loader, message, max_grad_norm=limit)


@pytest.mark.task("fine_tune", points=0.5)
def test_frozen_parameters_stay(student, rng):
    """Parameters that are not trainable are afterwards bit for bit what they were."""
    net, loader = random_model(rng), three_batches(rng)
    net.embed.requires_grad_(False)
    net.rest.bias.requires_grad_(False)
    model = student.run(hold, net)
    tune(student, model, loader, epochs=2, weight_decay=0.5)
    trained = trained_copy(student, model, net)
    state, before = trained.state_dict(), net.state_dict()
    for name in ("embed.weight", "rest.bias"):
        expect(torch.equal(state[name], before[name]), f"{name} has changed.")
    for name in ("scale", "head.weight", "rest.weight"):
        expect(not torch.equal(state[name], before[name]), f"{name} has not moved.")
    student.run(set_mode, model, False)
    message = "The model answers otherwise than with the weights that it shows."
    expect_answers(model, trained.eval(), texts(rng, 5, 5, 5), message)


@pytest.mark.task("fine_tune", points=0.5)
def test_modes_come_back(student, rng):
    """Each submodule is afterwards in the training mode that it had before."""
    for mode in (True, False):
        net, loader = telling(random_model(rng), mode), three_batches(rng)
        model = student.run(hold, net)
        figures(tune(student, model, loader, epochs=2, lr=0.0), "train_loss", 2)
        expect_modes_kept(model, net, rng)


@pytest.mark.task("fine_tune", points=0.5)
def test_it_trains_in_train_mode(student, rng):
    """It trains in train mode, in every epoch, whatever mode the model came in."""
    net, loader = telling(random_model(rng), False), three_batches(rng)
    model = student.run(hold, net)
    tune(student, model, loader, epochs=2)
    expected, _, _ = adamw_by_hand(copy.deepcopy(net).train(), loader, falling(6, 1e-2))
    expect_state(student, model, expected.state_dict(), "It has not trained in train mode", 1e-5)


@pytest.mark.task("fine_tune", points=0.5)
def test_train_loss(student, rng):
    """train_loss is a mean over the epoch's labels, from the passes that train."""
    for net, loader in (
        (random_model(rng), [texts(rng, 4), *three_batches(rng)]),
        (random_model(rng, LanguageModel), [pairs(rng, (0, 2)), pairs(rng, (2, 4), (1, 5))]),
    ):
        steps = len(loader)
        lr = a_rate(rng)
        history = tune(student, student.run(hold, net), loader, 2, lr)
        _, losses, _ = adamw_by_hand(net, loader, falling(2 * steps, lr))
        for epoch, came in enumerate(figures(history, "train_loss", 2)):
            part = losses[steps * epoch : steps * epoch + steps]
            expected = sum(loss * n for loss, n in part) / sum(n for _, n in part)
            expect_float(came, expected, f"Of epoch {epoch + 1} it is not as stated.", rtol=1e-5)


@pytest.mark.task("fine_tune", points=0.5)
def test_evaluation_after_each_epoch(student, rng):
    """eval_loss and eval_accuracy are of the model after the epoch, on the other loader; the first
    may have other batches in each epoch.
    """
    net, first, second, lr = random_model(rng), three_batches(rng), three_batches(rng), a_rate(rng)
    unseen = [texts(rng, 4, 4, 4, 4, 4), texts(rng, 3, 3)]
    loaders = [student.run(hold, part) for part in (Counted(first, second), Passes(unseen))]
    model = student.run(hold, net)
    history = tune(student, model, loaders[0], 2, lr, unseen=loaders[1])
    _, _, copies = adamw_by_hand(net, first + second, falling(6, lr))
    came = zip(figures(history, "eval_loss", 2), figures(history, "eval_accuracy", 2), strict=True)
    for epoch, (loss, accuracy) in enumerate(came, start=1):
        expected = scores(copies[3 * epoch - 1], unseen)
        expect_float(loss, expected[0], f"The loss after epoch {epoch} is wrong.", rtol=1e-5)
        expect_float(accuracy, expected[1], f"The accuracy after epoch {epoch} is wrong.")


@pytest.mark.task("fine_tune", points=0.5)
def test_equal_seeds_give_equal_results(student, rng):
    """Equal seeds give equal results, dropout included, and other seeds others."""
    net, loader, seed, heads = random_model(rng), three_batches(rng), rng.seed(), []
    net.drop.p = 0.5
    for use in (seed + 1, seed, seed, seed):
        if len(heads) == 3:
            student.restart()  # what it remembers of the seed is no result of it
        student.run(seed_global, rng.seed())
        model = student.run(hold, net)
        tune(student, model, loader, epochs=2, seed=use)
        head = student.run(state_of, model).get("head.weight")
        heads.append(expect_shape(head, net.head.weight.shape, "head.weight"))
    other, first, *again = heads
    for second in again:
        expect_close(second, first, "The same seed gave another result.")
    differ = (other - first).abs().max().item() > 1e-6
    expect(differ, "Another seed gave the same result.")


@pytest.mark.task("fine_tune", points=0.5)
def test_global_generator_is_put_back(student, rng):
    """The state of torch's global generator is afterwards what it was."""
    net, loader, seed = random_model(rng), three_batches(rng), rng.seed()
    net.drop.p = 0.5
    model = student.run(hold, net)
    student.run(seed_global, seed)
    figures(tune(student, model, loader), "train_loss", 1)
    expect_drawn_next(student, rng, seed)


@pytest.mark.task("fine_tune", points=0.5)
def test_settings_that_are_refused(student, rng):
    """Negative epochs, a ratio outside [0, 1], no batches: ValueErrors; 0 epochs are allowed."""
    net, loader = random_model(rng), three_batches(rng)
    model = student.run(hold, net)
    for name, epochs, ratio, given in (
        ("Negative epochs", -1, 0.0, loader),
        ("warmup_ratio=1.5", 1, 1.5, loader),
        ("warmup_ratio=-0.5", 1, -0.5, loader),
        ("A train_loader without a batch", 1, 0.0, []),
    ):
        settings = {"unseen": loader, "warmup_ratio": ratio}
        call = functools.partial(tune, student, model, given, epochs, **settings)
        expect_raises(ValueError, call, f"{name} should be a ValueError.")
        expect_same_state(student, model, net.state_dict(), f"{name}: the weights have changed")
    for given in (loader, []):
        history = tune(student, model, given, epochs=0, unseen=loader)
        for key in ("train_loss", "eval_loss", "eval_accuracy"):
            figures(history, key, 0)
    expect_same_state(student, model, net.state_dict(), "With 0 epochs the weights have changed")


@pytest.mark.task("fine_tune", points=0.5)
def test_a_language_model(student, rng):
    """A model of tokens, which answers with an object, learns the next token."""
    net = random_model(rng, LanguageModel)
    net.wraps = True
    loader = [pairs(rng, (2, 4), (1, 2)), pairs(rng, (0, 3), (3, 1))]
    message = "With token labels the weights are not as stated"
    expect_tuned(student, rng, net, loader, message, 2)


def topic_texts(rng, topic_of, count):
    """Texts on four topics: half of the words are the topic's own, half are any."""
    draw, rows = rng.numpy, []
    for i in range(count):
        own, n = np.flatnonzero(topic_of == i % 4), int(draw.integers(8, 17))
        words = np.where(draw.random(n) < 0.5, draw.choice(own, n), draw.integers(1, 200, n))
        rows.append((words.tolist(), i % 4))
    draw.shuffle(rows)
    return rows


def batch_of(rows):
    """Pad these (words, topic) to a batch."""
    input_ids = torch.zeros(len(rows), max(len(words) for words, _ in rows), dtype=torch.int64)
    mask = torch.zeros_like(input_ids)
    for i, (words, _) in enumerate(rows):
        input_ids[i, : len(words)] = torch.tensor(words)
        mask[i, : len(words)] = 1
    labels = torch.tensor([topic for _, topic in rows])
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def fitted_head(net, batch):
    """A copy of `net` whose head alone has been trained, on all texts at once."""
    net, features = copy.deepcopy(net), []
    net.head.register_forward_pre_hook(lambda module, given: features.append(given[0]))
    with torch.no_grad():
        logits_of(net, batch)
    optimizer = torch.optim.Adam(net.head.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(F.linear(features[0], *net.head.parameters()), batch["labels"]).backward()
        optimizer.step()
    net.head._forward_pre_hooks.clear()
    return net


@pytest.mark.task("fine_tune", points=1.5, seconds=30)
def test_it_beats_the_probe_on_held_out_data(student, rng):
    """On held-out texts it is better than the untouched model and than a head trained alone."""
    topic_of = rng.numpy.integers(0, 4, 200)
    train, test = topic_texts(rng, topic_of, 600), batch_of(topic_texts(rng, topic_of, 400))
    loader = [batch_of(train[k : k + 12]) for k in range(0, 600, 12)]
    others = [batch_of(topic_texts(rng, topic_of, 40))]  # the test's labels stay here
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(rng.seed())
    net = Classifier(vocabulary=200, width=8, classes=4)
    torch.random.set_rng_state(torch_state)

    def accuracy(net):
        with torch.no_grad():
            return (logits_of(net, test).argmax(dim=1) == test["labels"]).double().mean().item()

    untouched, probe = accuracy(net), accuracy(fitted_head(net, batch_of(train)))
    model = student.run(hold, net)
    settings = {"epochs": 5, "lr": 3e-2, "warmup_ratio": 0.1, "weight_decay": 0.01}
    tune(student, model, loader, unseen=others, max_grad_norm=1.0, seed=rng.seed(), **settings)
    reached = accuracy(trained_copy(student, model, net))
    lead = reached - max(probe, untouched)
    shown = f"{short(reached, '.1%')} right, the untouched model {short(untouched, '.1%')}"
    expect(lead > 0.22, f"{shown}, a head trained alone {short(probe, '.1%')}: too small a lead.")


@pytest.mark.task("fine_tune", points=1, seconds=60)
@pytest.mark.speed(at_least=0.5)
def test_speed_on_a_gpu(gpu_race, rng):
    """On a GPU an epoch is at least half as fast as the reference."""
    made_from = rng.seed()

    def prepare(side):
        return side.run(on_gpu.fine_tunings, side.fine_tune, gpu_race.device, made_from)

    gpu_race.time(prepare, lambda: (rng.seed(),), expect_timed_losses)


# -------------------------------------------------------------------------- length_bucketed_batches


@pytest.mark.task("length_bucketed_batches", points=1)
def test_order_does_not_follow_length(student, rng):
    """The order of the batches does not follow their lengths."""
    lengths = log_normal(rng)
    came = batches_of(student.length_bucketed_batches(lengths, 16, rng.numpy), 2000)
    means = np.array([np.mean([lengths[i] for i in batch]) for batch in came])
    correlation = np.corrcoef(means[:-1], means[1:])[0, 1]
    message = (
        f"A batch's mean length and the next one's correlate by {short(float(correlation), '.2f')}."
    )
    expect(bool(correlation < 0.35), message)  # at random 0 ± 0.09


@pytest.mark.task("length_bucketed_batches", points=0.5)
def test_rng_is_the_only_randomness(student, rng):
    """The same state of rng gives the same batches."""
    lengths = rng.integers(4, 60, (300,)).tolist()
    first = batches_of(student.length_bucketed_batches(lengths, 8, rng.numpy), 300)
    for call in range(2):
        if call == 1:
            student.restart()  # so that it cannot remember them; a copy of rng goes in each time
        again = student.length_bucketed_batches(lengths, 8, rng.numpy)
        expect_equal(again, first, "The same state of rng gave other batches.")


@pytest.mark.task("length_bucketed_batches", points=0.5)
def test_few_texts(student, rng):
    """It works for no text, for fewer than a batch, and for batches of one."""
    function, size = student.length_bucketed_batches, int(rng.integers(4, 20))
    lengths = rng.integers(1, 30, (3,)).tolist()
    expect_equal(function([], size, rng.numpy), [], "For no texts there should be no batches.")
    came = batches_of(function(lengths, size, rng.numpy), 3)
    expect_equal(len(came), 1, f"Three texts should make one batch of at most {size}.")
    came = batches_of(function(lengths, 1, rng.numpy), 3)
    expect_equal(len(came), 3, "Three texts should make three batches of 1.")


@pytest.mark.task("length_bucketed_batches", points=1)
def test_one_short_batch_at_most(student, rng):
    """Of many batches one at most is short."""
    for n, size in ((1003, 7), (2000, 11), (1500, 9)):
        lengths = rng.integers(4, 60, (n,)).tolist()
        came = batches_of(student.length_bucketed_batches(lengths, size, rng.numpy), n)
        expected = [size] * (n // size) + ([n % size] if n % size else [])
        message = f"{n} texts in batches of {size}: the sizes of the batches are not as stated."
        expect(sorted(map(len, came)) == sorted(expected), message)


@pytest.mark.task("length_bucketed_batches", points=0.5)
def test_lengths_are_left_alone(student, rng):
    """The list of lengths is left unchanged."""
    lengths = rng.integers(4, 60, (40,)).tolist()
    function = student.length_bucketed_batches
    came, after = student.run(call_and_return_arguments, function, lengths, 8, rng.numpy)
    batches_of(came, 40)
    expect_equal(after[0], lengths, "The lengths have been changed.")


@pytest.mark.task("length_bucketed_batches", points=0.5)
def test_a_batch_size_that_cannot_be(student, rng):
    """A batch_size below 1 is a ValueError."""
    function = student.length_bucketed_batches
    lengths = rng.integers(1, 30, (3,)).tolist()
    batches_of(function(lengths, 2, rng.numpy), 3)
    for size in (0, -2):
        call = functools.partial(function, lengths, size, rng.numpy)
        expect_raises(ValueError, call, f"batch_size={size} should be a ValueError.")


# --------------------------------------------------------------------------------------------- pack


class Transformer(nn.Module):
    """Positions, one attention layer and a head: logits (R, L, 20). It runs on this side only."""

    def __init__(self, rng):
        """Make random weights."""
        super().__init__()
        self.token, self.place = rng.normal(20, 8), rng.normal(16, 8)
        self.qkv, self.out = rng.normal(8, 24, std=0.5), rng.normal(8, 20, std=0.5)

    def forward(self, input_ids, position_ids, attention_mask):
        """Return the logits."""
        x = self.token[input_ids] + self.place[position_ids]  # (R, L, 8)
        q, k, v = (x @ self.qkv).chunk(3, dim=-1)
        return (x + F.scaled_dot_product_attention(q, k, v, attention_mask)) @ self.out


def packed(came, rows, length):
    """The four tensors of a result, once their shapes and dtypes are right."""
    shape = rows, length
    ids = expect_tensor(entry(came, "input_ids"), shape, "input_ids", torch.int64)
    places = expect_tensor(entry(came, "position_ids"), shape, "position_ids", torch.int64)
    mask = entry(came, "attention_mask")
    mask = expect_tensor(mask, (rows, length, length), "attention_mask", torch.bool)
    return ids, places, mask, expect_tensor(entry(came, "labels"), shape, "labels", torch.int64)


@pytest.mark.task("pack", points=1)
def test_logits_as_if_alone(student, rng):
    """Each of several sequences in a row gets the logits that it gets alone."""
    net = Transformer(rng)
    lengths, pad = rng.numpy.permutation([3, 1, 4, 2]).tolist(), int(rng.integers(0, 20))
    sequences = [rng.integers(1, 20, (n,)).tolist() for n in lengths]
    ids, places, mask, _ = packed(student.pack(sequences, 12, pad), 1, 12)
    expect_equal(ids[0].tolist(), [*sum(sequences, []), pad, pad], "input_ids is not as stated.")  # noqa: RUF017
    expect(bool(((places >= 0) & (places < 12)).all()), "A position is out of range.")
    logits, start = net(ids, places, mask), 0
    for sequence in sequences:
        n = len(sequence)
        causal = torch.ones(1, n, n).tril().bool()
        alone = net(torch.tensor([sequence]), torch.arange(n)[None], causal)
        message = f"A sequence of {n} from position {start} on gets other logits than alone."
        expect_close(logits[:, start : start + n], alone, message)
        start += n


@pytest.mark.task("pack", points=0.5)
def test_padding_looks_at_itself(student, rng):
    """A padding position looks at itself and at nothing else, and nothing looks at it."""
    sequences = [rng.integers(1, 20, (n,)).tolist() for n in (2, 2)]
    _, _, mask, _ = packed(student.pack(sequences, 7, a_token(rng)), 1, 7)
    expected = torch.eye(7, dtype=torch.bool)
    expected[1, 0] = expected[3, 2] = True
    expect(torch.equal(mask[0], expected), "For 2 and 2 tokens in a row of 7 it is not as stated.")


@pytest.mark.task("pack", points=1)
def test_labels_of_packed_sequences(student, rng):
    """Labels are the tokens, but -100 on padding and on the first token of each sequence."""
    sequences = [rng.integers(1, 20, (n,)).tolist() for n in (3, 2, 1, 4)]
    *_, labels = packed(student.pack(sequences, 7, a_token(rng)), 2, 7)
    a, b, _, d = sequences
    expected = [[-100, *a[1:], -100, b[1], -100, -100], [-100, *d[1:], -100, -100, -100]]
    expect_integers(labels, torch.tensor(expected), "The labels are not as stated.")


@pytest.mark.task("pack", points=1)
def test_first_row_with_room(student, rng):
    """Each sequence goes into the first row that has room, which need not be the last."""
    sequences, pad = tokens(rng, 3, 6, 2, 5, 1), a_token(rng)
    ids, *_ = packed(student.pack(sequences, 8, pad), 3, 8)
    a, b, c, d, e = sequences
    expected = torch.tensor([[*a, *c, *e, pad, pad], [*b, pad, pad], [*d, pad, pad, pad]])
    expect_integers(ids, expected, "3, 6, 2, 5, 1 tokens in rows of 8: it is not the first fit.")


@pytest.mark.task("pack", points=0.5)
def test_a_token_like_padding_is_real(student, rng):
    """A token that equals the padding's is treated like any other."""
    pad, (a, b) = a_token(rng), rng.integers(1, 99, (2,)).tolist()
    _, places, mask, labels = packed(student.pack([[a, pad, pad], [pad, b]], 6, pad), 1, 6)
    expected = torch.tensor([[0, 1, 2, 0, 1, 0]])
    expect_integers(places, expected, "The positions are not as stated.")
    expect_equal(labels[0, 1:3].tolist(), [pad, pad], "The labels are not as stated.")
    expect(mask[0].sum().item() == 10, "The attention mask is not as stated.")


@pytest.mark.task("pack", points=0.5)
def test_sequences_that_cannot_be_packed(student, rng):
    """No sequences, an empty one and one that is too long are ValueErrors."""
    (two, one, five), pad = tokens(rng, 2, 1, 5), a_token(rng)
    ids, *_ = packed(student.pack([two, one], 4, pad), 1, 4)
    expect_integers(ids, torch.tensor([[*two, *one, pad]]), "A good call is not as stated.")
    for name, bad in (
        ("No sequences", []),
        ("An empty sequence", [two, []]),
        ("A sequence of 5 in rows of 4", [two, five]),
    ):
        call = functools.partial(student.pack, bad, 4, pad)
        expect_raises(ValueError, call, f"{name} should be a ValueError.")


@pytest.mark.task("pack", points=0.5)
def test_sequences_are_left_alone(student, rng):
    """The sequences are left unchanged."""
    sequences, pad = tokens(rng, 4, 2, 3), a_token(rng)
    came, after = student.run(call_and_return_arguments, student.pack, sequences, 7, pad)
    ids, *_ = packed(came, 2, 7)
    a, b, c = sequences
    expected = torch.tensor([[*a, *b, pad], [*c, pad, pad, pad, pad]])
    expect_integers(ids, expected, "input_ids is not as stated.")
    expect_equal(after[0], sequences, "The sequences have been changed.")


@pytest.mark.task("pack", points=0.5)
def test_a_row_filled_to_the_last(student, rng):
    """A sequence may fill what is left of a row to the last position, or a whole row."""
    sequences = [rng.integers(1, 20, (n,)).tolist() for n in (3, 2, 5)]
    ids, *_ = packed(student.pack(sequences, 5, a_token(rng)), 2, 5)
    a, b, c = sequences
    expect_integers(ids, torch.tensor([[*a, *b], c]), "3, 2, 5 tokens should fill two rows of 5.")


# ------------------------------------------------------------------------------------- sft_bug_hunt


@pytest.mark.task("sft_bug_hunt", points=0.5)
def test_rows_are_no_wider_than_needed(student, rng):
    """The batch is as wide as its longest row, and padded with the end token."""
    for n in (3, int(rng.integers(150, 250))):
        (prompt, response, a, b), end = tokens(rng, n, 4, 1, 1), a_token(rng)
        came = student.build_batch([(prompt, response), (a, b)], end)
        expected = torch.tensor([[*prompt, *response, end], [*a, *b, *[end] * (n + 3)]])
        message = f"For a prompt of {n} tokens and a response of 4 input_ids is not as stated."
        expect_integers(entry(came, "input_ids"), expected, message)


@pytest.mark.task("sft_bug_hunt", points=0.5)
def test_end_tokens_are_not_masked(student, rng):
    """The mask is 1 on end tokens, wherever they stand, and 0 on padding alone."""
    (a, b, c, d), end = rng.integers(1, 99, (4,)).tolist(), a_token(rng)
    came = student.build_batch([([a, end, b], [end, c]), ([d], [])], end)
    mask = entry(came, "attention_mask")
    fits = type(mask) is torch.Tensor and mask.dim() == 2 and mask.shape[1] >= 6
    expect(fits, "The mask should be a tensor (2, T) with room for the longest row.")
    expected = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    expect_integers(mask[:, :6], expected, "The mask is not as stated.")


@pytest.mark.task("sft_bug_hunt", points=0.5)
def test_pairs_are_left_alone(student, rng):
    """The pairs are left unchanged."""
    a, b, c, d = tokens(rng, 2, 2, 1, 1)
    given, end = [[a, b], [c, d]], a_token(rng)
    came, after = student.run(call_and_return_arguments, student.build_batch, given, end)
    expect(type(entry(came, "input_ids")) is torch.Tensor, "input_ids should be a tensor.")
    expect_equal(came["input_ids"][0, :4].tolist(), a + b, "The first row is not right.")
    expect_equal(after[0], given, "The pairs have been changed.")


def loss_gradients(response_loss, model, batch):
    """Report the gradients of the loss."""
    response_loss(model, batch).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.task("sft_bug_hunt", points=0.5)
def test_gradients_of_the_loss(student, rng):
    """Gradients flow through the loss to the model."""
    net, batch = random_model(rng, LanguageModel), pairs(rng, (2, 3), (2, 3))
    came = student.run(loss_gradients, student.response_loss, student.run(hold, net), batch)
    expect(type(came) is dict, "The gradients could not be read.")
    _, found = clipped_gradients(net, [batch], math.inf)
    for name, gradient in found.items():
        expect(came.get(name) is not None, f"No gradient reaches {name}.")
        expect_close(came[name], gradient, f"The gradient of {name} is not right.")


@pytest.mark.task("sft_bug_hunt", points=0.5, seconds=20)
@pytest.mark.memory(at_most=40 << 20)
def test_accuracy_in_eval_mode(student, race, rng):
    """The accuracy is taken in eval mode, without a graph: of many layers it would take 80 MB."""
    net, loader = random_model(rng, LanguageModel), [pairs(rng, *[(2, 6)] * 20)]
    still = logits_of(copy.deepcopy(net), loader[0])[:, :-1]
    chosen = still.argmax(dim=-1)  # three in four are hit without dropout
    chosen[15:] = still[15:].argmin(dim=-1)
    loader[0]["labels"][:, 2:] = chosen[:, 1:]
    net.train()
    net.drop.p = net.late.p = 0.9
    came = student.response_accuracy(student.run(hold, net), loader)
    expect_float(came, scores(net, loader)[1], "With dropout in the model it is not right.")
    net.drop, net.late = MindsAGraph(), Tires()
    came = student.response_accuracy(student.run(hold, net), loader)
    message = "With parts that a graph, and each forward, change it is not right."
    expect_float(came, scores(net, loader)[1], message)
    large, batch = deep(rng, LanguageModel), pairs(rng, *[(32, 32)] * 12)
    with torch.no_grad():
        right = logits_of(large, batch)[:, :-1].argmax(dim=-1) == batch["labels"][:, 1:]
    share = right[batch["labels"][:, 1:] != -100].double().mean().item()

    def prepare(side):
        held, given = side.run(hold, large), side.run(hold, [batch])
        side.response_accuracy(held, loader)
        return lambda: side.response_accuracy(held, given)

    def verify(came):
        expect_float(came, share, "With many layers it is not right.", 1e-2)

    race.weigh(prepare, verify)


@pytest.mark.task("sft_bug_hunt", points=0.5)
def test_accuracy_restores_the_modes(student, rng):
    """Each submodule is afterwards in the mode that it was in."""
    for mode in (True, False):
        net, batch = telling(random_model(rng, LanguageModel), mode), pairs(rng, (2, 6), (1, 3))
        model = student.run(hold, net)
        came = student.response_accuracy(model, student.run(hold, Passes([batch])))
        expect_float(came, scores(net, [batch])[1], "The accuracy is not right.")
        expect_modes_kept(model, net, rng)


# ------------------------------------------------------------------------- numbers and statements


@pytest.mark.task("sft_numbers", points=1)
def test_steps_of_warmup(student):
    """warmup_steps: the whole number."""
    expect_number(student, "warmup_steps", math.ceil(3 * math.ceil(3668 / 32) / 10))


@pytest.mark.task("sft_numbers", points=1)
def test_rate_at_a_step(student):
    """rate_at_200: to 1e-8."""
    expect_number(student, "rate_at_200", 2e-5 * 800 / 900, within=1e-8)


@pytest.mark.task("sft_numbers", points=1)
def test_effective_batch(student):
    """effective_batch: the whole number."""
    expect_number(student, "effective_batch", 4 * 8 * 4)


TEXTS = (12, 30, 7, 51, 20, 9, 64, 15)


@pytest.mark.task("sft_numbers", points=1)
def test_padding_of_one_batch(student):
    """padding_together: the whole number."""
    expect_number(student, "padding_together", 8 * max(TEXTS) - sum(TEXTS))


@pytest.mark.task("sft_numbers", points=1)
def test_padding_of_two_sorted_batches(student):
    """padding_sorted: the whole number."""
    short, long = sorted(TEXTS)[:4], sorted(TEXTS)[4:]
    expect_number(student, "padding_sorted", 4 * max(short) + 4 * max(long) - sum(TEXTS))


@pytest.mark.task("sft_numbers", points=1)
def test_excess_of_the_mean_of_means(student):
    """excess_loss: to 0.001."""
    expect_number(student, "excess_loss", (1 + 3) / 2 - (90 * 1 + 10 * 3) / 100, within=0.001)


@pytest.mark.task("sft_numbers", points=1)
def test_loss_of_a_uniform_guess(student):
    """uniform_loss: to 0.005."""
    expect_number(student, "uniform_loss", math.log(50257), within=0.005)


@pytest.mark.task("sft_statements", points=8)
def test_statements(student):
    """Right judgements count 1, wrong ones −1; the sum, never below 0, is divided by 16."""
    award_judgements(student.judged, true="bdfhjlno")
