"""The checks of the SFT lesson that a learner may read: examples, not all that is asked.

Every expected value is worked out here, in plain torch, from this side's own copy of the inputs.
"""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from autograder.checking.expect import (
    expect,
    expect_equal,
    expect_judgements,
    expect_numbers,
    expect_shape,
    expect_tensor,
)
from autograder.checking.probes import hold, make_sgd, modes_of
from autograder.checks.shared.common import expect_state, trained_copy
from autograder.checks.shared.sft import (
    PLAIN,
    Classifier,
    LanguageModel,
    a_rate,
    a_token,
    batches_of,
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

# ------------------------------------------------------------------------------------------ collate


@pytest.mark.task("collate", points=1.5)
def test_shorter_examples_are_padded_on_the_right(student, rng):
    """Shorter examples are padded on the right, to the longest of the batch."""
    rows, pad = tokens(rng, 3, 5, 2), a_token(rng)
    came = student.collate([{"input_ids": row, "label": 0} for row in rows], pad)
    expected = torch.tensor([row + [pad] * (5 - len(row)) for row in rows])
    message = f"With lengths 3, 5, 2 and pad_token_id {pad} input_ids is not as stated."
    expect_integers(entry(came, "input_ids"), expected, message)


@pytest.mark.task("collate", points=1)
def test_mask_and_classes(student, rng):
    """The mask is 1 on tokens and 0 on padding; classes become a tensor (B,)."""
    classes = rng.integers(0, 9, (2,))
    rows = zip(tokens(rng, 2, 3), classes.tolist(), strict=True)
    examples = [{"input_ids": row, "label": label} for row, label in rows]
    came = student.collate(examples, 0)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    expect_integers(entry(came, "attention_mask"), mask, "attention_mask is not as stated.")
    expect_integers(entry(came, "labels"), classes, "labels should be the classes.")


@pytest.mark.task("collate", points=1)
def test_labels_of_tokens_are_padded_too(student, rng):
    """Lists of labels are padded with -100."""
    two, three = tokens(rng, 2, 3)
    rows = zip(tokens(rng, 2, 3), (two, three), strict=True)
    examples = [{"input_ids": ids, "label": labels} for ids, labels in rows]
    came = student.collate(examples, 0)
    expected = torch.tensor([[*two, -100], three])
    expect_integers(entry(came, "labels"), expected, "labels (B, T) are not as stated.")


@pytest.mark.task("collate", points=1)
def test_mask_comes_from_the_lengths(student, rng):
    """A token of an example is not masked for looking like padding."""
    a, b, c = rng.integers(1, 99, (3,)).tolist()
    examples = [{"input_ids": [a, 0, b, 0], "label": 1}, {"input_ids": [0, c], "label": 0}]
    came = student.collate(examples, 0)
    expected = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    message = "Where the padding's token stands in an example, the mask is not as stated."
    expect_integers(entry(came, "attention_mask"), expected, message)


# -------------------------------------------------------------------------------------- mask_prompt


@pytest.mark.task("mask_prompt", points=1.5)
def test_only_the_response_counts(student, rng):
    """The prompt's tokens are -100; the label at a position is the token there."""
    ids = torch.tensor(tokens(rng, 4, 4))
    came = student.mask_prompt(ids, torch.tensor([2, 1]), torch.ones_like(ids))
    expected = ids.clone()
    expected[0, :2] = expected[1, :1] = -100
    expect_integers(came, expected, "For prompts of 2 and 1 tokens the labels are not as stated.")


@pytest.mark.task("mask_prompt", points=1.5)
def test_padding_does_not_count(student, rng):
    """Padding is -100, too."""
    ids = torch.tensor(tokens(rng, 4, 4))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    came = student.mask_prompt(ids, torch.tensor([1, 2]), mask)
    expected = ids.clone()
    expected[0, 0] = expected[1, :2] = expected[1, 3] = -100
    expect_integers(came, expected, "Where the mask is 0 the label should be -100.")


# ----------------------------------------------------------------------------------------- evaluate


@pytest.mark.task("evaluate", points=1)
def test_texts_with_classes(student, rng):
    """Loss and accuracy of classes are means over the texts, without dropout."""
    net, loader = random_model(rng, Classifier), [texts(rng, *[5] * 9), texts(rng, *[5] * 3)]
    net.drop.p = 0.5
    came = student.evaluate(student.run(hold, net.train()), loader)
    loss, right, n = loss_and_right(net.eval(), loader)
    expect_float(entry(came, "loss"), loss.item() / n, "The loss of 9 + 3 texts is not their mean.")
    expect_float(entry(came, "accuracy"), right / n, "The accuracy is not the share of 12 texts.")


@pytest.mark.task("evaluate", points=0.5)
def test_modes_after_evaluation(student, rng):
    """Afterwards a model that was in train mode, but for one part of it, is so again."""
    net, loader = random_model(rng, Classifier).train(), [texts(rng, *[5] * 4)]
    net.rest.eval()
    model = student.run(hold, net)
    loss, _, n = loss_and_right(net, loader)
    came = student.evaluate(model, loader)
    expect_float(entry(came, "loss"), loss.item() / n, "The loss is not right.")
    modes = student.run(modes_of, model)
    expect(type(modes) is dict, "The modes could not be read.")
    other = [name for name, mode in modes_of(net).items() if modes.get(name) is not mode]
    expect(not other, f"{len(other)} of {len(modes)} modules are in another mode than before.")


@pytest.mark.task("evaluate", points=1)
def test_texts_with_token_labels(student, rng):
    """With labels (B, T) the logits at a position are for the label at the next one."""
    net = random_model(rng, LanguageModel)
    loader = [pairs(rng, *[(2, 4)] * 4), pairs(rng, *[(2, 4)] * 4)]
    came = student.evaluate(student.run(hold, net), loader)
    loss, right, n = loss_and_right(net, loader)
    expect_float(entry(came, "loss"), loss.item() / n, "The next-token loss is not right.")
    expect_float(entry(came, "accuracy"), right / n, "The next-token accuracy is not right.")


@pytest.mark.task("evaluate", points=0.5)
def test_number_of_labels(student, rng):
    """n is the number of labels that were judged."""
    net = random_model(rng, LanguageModel)
    loader = [pairs(rng, *[(2, 4)] * 4), pairs(rng, *[(2, 4)] * 3)]
    came = student.evaluate(student.run(hold, net), loader)
    expect_equal(entry(came, "n"), 28, "Of 7 rows, 4 labels each count.")


# --------------------------------------------------------------------------------- accumulated_step


@pytest.mark.task("accumulated_step", points=1.5)
def test_equal_micro_batches(student, rng):
    """Two micro-batches of equal size give the step of the batch that they make together."""
    net, batches = random_model(rng, Classifier), [texts(rng, *[5] * 4), texts(rng, *[5] * 4)]
    model = student.run(hold, net)
    student.accumulated_step(model, batches, student.run(make_sgd, model, 0.5), 1e3)
    expected, _ = sgd_by_hand(net, batches, 0.5)
    message = "It is not the step of the large batch"
    expect_state(student, model, expected.state_dict(), message, 1e-5)


@pytest.mark.task("accumulated_step", points=1)
def test_next_token_labels(student, rng):
    """With token labels the loss is the next token's."""
    net = random_model(rng, LanguageModel)
    batches = [pairs(rng, *[(2, 3)] * 3), pairs(rng, *[(2, 3)] * 3)]
    model = student.run(hold, net)
    student.accumulated_step(model, batches, student.run(make_sgd, model, 0.5), 1e3)
    expected, _ = sgd_by_hand(net, batches, 0.5)
    message = "It is not the step of the large batch"
    expect_state(student, model, expected.state_dict(), message, 1e-5)


@pytest.mark.task("accumulated_step", points=1)
def test_loss_before_the_step(student, rng):
    """It returns the loss before the step, a float."""
    net, batches = random_model(rng, Classifier), [texts(rng, *[5] * 4), texts(rng, *[5] * 4)]
    model = student.run(hold, net)
    came = student.accumulated_step(model, batches, student.run(make_sgd, model, 0.5), 1e3)
    _, loss = sgd_by_hand(net, batches, 0.5)
    expect_float(came, loss, "It is not the mean loss before the step.")


@pytest.mark.task("accumulated_step", points=1.5)
def test_unequal_numbers_of_labels(student, rng):
    """Micro-batches with unequal numbers of labels give the step and loss of the large batch."""
    net = random_model(rng, LanguageModel)
    batches = [pairs(rng, (2, 7), (1, 8)), pairs(rng, (5, 1)), pairs(rng, (1, 3), (4, 2), (2, 2))]
    expect_large_step(student, rng, net, batches, "With 15, 1 and 7 labels")


# --------------------------------------------------------------------------------- learning_rate_at


@pytest.mark.task("learning_rate_at", points=1.5)
def test_up_and_down(student, rng):
    """The rate climbs to its peak during warm-up, and then falls."""
    n, peak = int(rng.integers(2, 9)), a_rate(rng)
    for step, share in ((0, 0.0), (n, 0.25), (4 * n, 1.0), (12 * n, 0.5)):
        came = student.learning_rate_at(step, 20 * n, 4 * n, peak)
        message = f"At step {step} of {20 * n}, {4 * n} of them warm-up, it is wrong."
        expect_float(came, peak * share, message)


@pytest.mark.task("learning_rate_at", points=1)
def test_it_ends_at_zero(student, rng):
    """After the warm-up the rate falls in a line, to 0 at total_steps."""
    n, peak = int(rng.integers(3, 12)), a_rate(rng)
    for step, share in ((n, 1.0), (2 * n, 0.5), (3 * n, 0.0)):
        came = student.learning_rate_at(step, 3 * n, n, peak)
        message = f"At step {step} of {3 * n}, {n} of them warm-up, it is wrong."
        expect_float(came, peak * share, message)


# ---------------------------------------------------------------------------------------- fine_tune


@pytest.mark.task("fine_tune", points=1)
def test_history_has_an_entry_for_each_epoch(student, rng):
    """The history has a float for each epoch in each of its three lists, a mean over labels."""
    net, loader = random_model(rng, Classifier), [texts(rng, *[5] * 4), texts(rng, *[5] * 4)]
    came = student.fine_tune(student.run(hold, net), loader, loader, epochs=3, lr=1e-2, **PLAIN)
    for key in ("train_loss", "eval_loss", "eval_accuracy"):
        values = entry(came, key)
        right = type(values) is list and len(values) == 3
        expect(right and all(type(v) is float for v in values), f"{key} should be 3 floats.")
    loader = [texts(rng, *[5] * 6), texts(rng, *[5] * 2)]
    came = student.fine_tune(student.run(hold, net), loader, loader, epochs=1, lr=0.0, **PLAIN)
    loss, _, n = loss_and_right(net, loader)
    [came] = entry(came, "train_loss")
    expect_float(came, loss.item() / n, "At a rate of 0 it is not the mean loss of 6 + 2 texts.")


@pytest.mark.task("fine_tune", points=1.5)
def test_a_step_of_adamw(student, rng):
    """After one step each tensor is where AdamW puts it, decayed if it is to be."""
    net, batch = random_model(rng, Classifier), texts(rng, *[5] * 8)
    model, settings = student.run(hold, net), {**PLAIN, "weight_decay": 2.0}
    student.fine_tune(model, [batch], [batch], epochs=1, lr=1e-2, **settings)
    loss = F.cross_entropy(net(batch["input_ids"], batch["attention_mask"]), batch["labels"])
    names, parameters = zip(*net.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for name, p, g in zip(names, parameters, gradients, strict=True):
            if not name.endswith("bias") and not name.startswith("rest"):  # the LayerNorm
                p *= 1 - 1e-2 * 2.0
            p -= 1e-2 * g / (g.abs() + 1e-8)  # the first step: both moments are the gradient's
    message = "One step of AdamW with weight_decay=2 ends somewhere else"
    expect_state(student, model, net.state_dict(), message, 1e-5)


@pytest.mark.task("fine_tune", points=1)
def test_it_learns_what_it_is_shown(student, rng):
    """After some epochs it has learned a batch by heart."""
    # with some weights a narrow model stays on a plateau, at smaller rates too
    net, batch = random_model(rng, partial(Classifier, width=32)), texts(rng, *[3] * 6)
    batch["input_ids"] = torch.arange(1, 7)[:, None].expand(6, 3).contiguous()
    batch["labels"] = torch.tensor([0, 1, 2, 2, 1, 0])
    model = student.run(hold, net)
    student.fine_tune(model, [batch], [batch], epochs=40, lr=0.05, **PLAIN)
    said = logits_of(trained_copy(student, model, net), batch).argmax(dim=1)
    expect(
        torch.equal(said, batch["labels"]),
        "40 steps at the rate 0.05 should be enough for six texts of one word.",
    )


# -------------------------------------------------------------------------- length_bucketed_batches


@pytest.mark.task("length_bucketed_batches", points=1.5)
def test_each_index_once(student, rng):
    """Each index is in exactly one batch, and all batches but one are full."""
    lengths = rng.integers(4, 60, (50,)).tolist()
    came = batches_of(student.length_bucketed_batches(lengths, 8, rng.numpy), 50)
    sizes = sorted(map(len, came))
    expect_equal(sizes, [2, 8, 8, 8, 8, 8, 8], "50 texts should make 6 batches of 8 and one of 2.")


@pytest.mark.task("length_bucketed_batches", points=1.5)
def test_padding(student, rng):
    """It pads at most half as much as a random order does."""
    lengths = log_normal(rng)
    order = torch.from_numpy(rng.numpy.permutation(2000)).split(16)
    came = batches_of(student.length_bucketed_batches(lengths, 16, rng.numpy), 2000)

    def padding(batches):
        rows = [[lengths[i] for i in batch] for batch in batches]
        return sum(max(row) * len(row) - sum(row) for row in rows)

    random, yours = padding(rows.tolist() for rows in order), padding(came)
    expect(yours <= random / 2, f"It pads with {yours:,} tokens, a random order with {random:,}.")


def two_epochs(function, lengths, batch_size, rng):
    """Call a function twice with the same generator, which goes on."""
    return [function(lengths, batch_size, rng) for _ in range(2)]


@pytest.mark.task("length_bucketed_batches", points=1)
def test_other_batches_in_the_next_epoch(student, rng):
    """In the next epoch at most half of the batches, as sets, come again."""
    function, different = student.length_bucketed_batches, rng.numpy.permutation(2000) + 4
    for lengths, what in ((log_normal(rng), ""), (different.tolist(), "Of different lengths, ")):
        came = student.run(two_epochs, function, lengths, 16, rng.numpy)
        expect(type(came) is list and len(came) == 2, "Two epochs could not be read.")
        first, second = ({frozenset(b) for b in batches_of(epoch, 2000)} for epoch in came)
        share = len(first & second) / len(first)
        expect(share <= 0.5, f"{what}{share:.0%} of the batches come again in the next epoch.")


# --------------------------------------------------------------------------------------------- pack


@pytest.mark.task("pack", points=1)
def test_sequences_share_rows(student, rng):
    """Sequences stand one behind the other, in the first row with room, padded on the right."""
    (a, b, c), pad = tokens(rng, 3, 2, 4), rng.choice((0, a_token(rng)))
    came = student.pack([a, b, c], 6, pad)
    expected = torch.tensor([[*a, *b, pad], [*c, pad, pad]])
    message = "Sequences of 3, 2, 4 tokens in rows of 6: input_ids is not as stated."
    expect_integers(entry(came, "input_ids"), expected, message)


@pytest.mark.task("pack", points=0.5)
def test_positions_begin_anew(student, rng):
    """The positions of each sequence begin at 0."""
    came = student.pack(tokens(rng, 3, 2, 4), 6, a_token(rng))
    expected = torch.tensor([[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 0]])
    expect_integers(entry(came, "position_ids"), expected, "position_ids are not as stated.")


@pytest.mark.task("pack", points=1)
def test_two_sequences_do_not_see_each_other(student, rng):
    """Of two sequences in a row none looks at the other, nor is one's first token to be predicted
    from the other, and no token looks at a later one; padding looks at something.
    """
    a, b = tokens(rng, 2, 3)
    came = student.pack([a, b], 6, a_token(rng))
    mask = expect_tensor(entry(came, "attention_mask"), (1, 6, 6), "attention_mask", torch.bool)
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[:2, :2] = torch.ones(2, 2).tril().bool()
    expected[2:, 2:] = torch.ones(3, 3).tril().bool()
    expect(
        torch.equal(mask[0, :5, :5], expected),
        "For sequences of 2 and 3 tokens it is not as stated.",
    )
    expect(bool(mask[0, 5].any()), "The padding behind them looks at nothing.")
    labels = expect_tensor(entry(came, "labels"), (1, 6), "labels", torch.int64)
    expected = [-100, *a[1:], -100, *b[1:]]
    expect_equal(labels[0, :5].tolist(), expected, "The labels of two sequences are not as stated.")


# ------------------------------------------------------------------------------------- sft_bug_hunt


@pytest.mark.task("sft_bug_hunt", points=1.5)
def test_batch_of_pairs(student, rng):
    """Prompt, response and end token stand in a row no wider than needed; the prompt and padding
    do not count, the response and its end do.
    """
    (a, b, c, d), end = tokens(rng, 3, 2, 1, 2), rng.choice((0, a_token(rng)))
    came = student.build_batch([(a, b), (c, d)], end)
    for key, rows in {
        "input_ids": [[*a, *b, end], [*c, *d, end, end, end]],
        "attention_mask": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]],
        "labels": [[-100, -100, -100, *b, end], [-100, *d, end, -100, -100]],
    }.items():
        message = f"For prompts of 3 and 1 and responses of 2 tokens {key} is not as stated."
        expect_integers(entry(came, key), torch.tensor(rows), message)


@pytest.mark.task("sft_bug_hunt", points=1)
def test_loss_is_the_next_tokens(student, rng):
    """The loss is the mean over the labels that count, of the token after the one that is seen:
    of padded rows, too.
    """
    net, batch = random_model(rng, LanguageModel), pairs(rng, (2, 5), (1, 2), (3, 1))
    came = student.response_loss(student.run(hold, net), batch)
    loss, _, n = loss_and_right(net, [batch])
    came = expect_shape(came, (), "The loss")
    message = "It is not the mean next-token loss."
    expect_float(came.item(), loss.item() / n, message, rtol=1e-5)


@pytest.mark.task("sft_bug_hunt", points=0.5)
def test_accuracy_of_the_responses(student, rng):
    """The accuracy is the share of all labels that count, of all batches together, without
    dropout.
    """
    net = random_model(rng, LanguageModel)
    loader = [pairs(rng, (2, 9), (1, 9), (3, 8)), pairs(rng, (5, 1)), pairs(rng, (4, 2))]
    for batch, hits in zip(loader, (2, 1, 0), strict=True):
        logits = logits_of(net, batch)[:, :-1]
        chosen = logits.argmin(dim=-1)
        chosen[:hits] = logits[:hits].argmax(dim=-1)  # whole rows are hit, without dropout
        batch["labels"][:, 1:] = chosen.masked_fill(batch["labels"][:, 1:] == -100, -100)
    net.drop.p = net.late.p = 0.9
    came = student.response_accuracy(student.run(hold, net.train()), loader)
    _, right, n = loss_and_right(net.eval(), loader)
    expect_float(came, right / n, f"{right} of {n} labels in three batches are predicted.")


# ------------------------------------------------------------------------- numbers and statements


NUMBERS = (
    "warmup_steps",
    "rate_at_200",
    "effective_batch",
    "padding_together",
    "padding_sorted",
    "excess_loss",
    "uniform_loss",
)


@pytest.mark.task("sft_numbers", points=0)
def test_answers_are_numbers(student):
    """Each answer given is a number; those still None are open."""
    expect_numbers(student, NUMBERS)


@pytest.mark.task("sft_statements", points=0)
def test_judgements_are_true_or_false(student):
    """`judged` has an entry for each of a to p: True, False or None."""
    expect_judgements(student.judged)
