# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # SFT: supervised fine-tuning
#
# **The interview question.** *How does supervised fine-tuning work? What is it good at, where does
# it fail, and what does a correct program for it look like?*
#
# You will write the parts of such a program, each with the mistake in it that people ship: the
# batch, the labels, the loss over unequal batches, the schedule, the loop. Then you will find the
# same mistakes in somebody else's program, judge what is commonly said of SFT, and answer the
# question in your own words.

# %% [markdown]
# ## Contents
#
# <!-- contents -->

# %% [markdown]
# ## How this lesson works
#
# Each task is a cell for your code and a locked one, `check("…")`, that tells you at once which
# requirements hold. The docstring is the contract: a check asks for what it says, and for nothing
# else. More checks run when the notebook is graded. Numbers and statements are judged once all of
# them are answered (in a class, or where one is left at None, at grading): answer first, then
# check.
#
# Long demonstrations take a few minutes on two cores; started by `COURSE_SCALE=small make lab` they
# take seconds.
#
# Help comes in layers: a nudge, then a hint, both folded away below the task, and after an honest
# attempt the reference: `show_reference("collate")`.
#
# Notation: B examples in a batch, T tokens in the longest of them, C classes or tokens of the
# vocabulary. A *batch* is a dict: `input_ids` (B, T) int64, `attention_mask` (B, T) with 1 for real
# tokens, `labels` (B,) for a class per text or (B, T) for a token per position. The label -100
# means "does not count". A model is called as `model(input_ids=…, attention_mask=…)` and returns
# logits, (B, C) or (B, T, C), or an object that has them as `.logits`.

# %% [markdown]
# ## Before you read on
#
# Write down three or four sentences, as you would say them now. (Scratch paper: not graded. At the
# end you will write the graded answer, and see how far you have come.)
#
# *My first answer:* …

# %% [markdown]
# ## An answer that is often given
#
# In many collections of interview questions the answer reads about like this:
#
# > Supervised fine-tuning trains the model on labelled data for the target task. It is efficient
# > and gives good results. Its drawbacks are that it needs a large amount of good data and that it
# > is computationally expensive.
#
# Little in it is quite false, and an interviewer learns nothing from it. What is missing, which
# claim does not hold, and where does it contradict itself? Think before you open the next part.
#
# <details><summary>What is wrong with it</summary>
#
# 1. *It says no word of how.* Which loss, over which labels? For a language model: the next-token
#    loss on the response, with prompt and padding left out. That is where programs go wrong.
# 2. *Efficient and expensive at once.* Few examples and few steps, compared with pretraining; but a
#    step on as many tokens costs as much memory as a step of pretraining: every weight has its
#    gradient and its optimizer state.
# 3. *A large amount of data is no condition.* A 65 B model was tuned on 1,000 curated examples to
#    good effect (arXiv 2305.11206, abstract).
# 4. *The real weaknesses are absent:* it imitates what is in the data, teaches new facts poorly
#    (2405.05904, abstract), and its result depends on the seed, on small data sets above all
#    (2002.06305, abstract).
#
# </details>

# %%
import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder import check, show_reference

# %% [markdown]
# ## Task 1: from examples to a batch
#
# Texts differ in length, tensors don't. So shorter ones are padded, and a mask says what is real.
#
# The usual shortcut for the mask is `input_ids != pad_token_id`. Many language models have no
# padding token of their own, and one pads with the end token: then the shortcut hides every
# *genuine* end token as well. The mask has to come from the lengths.
#
# difficulty ●●○○○ · importance ●●●●● · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Cut first, then ask which example is the longest. What you pad a list of labels with is not what
# you pad the tokens with.
#
# </details>
# <details><summary>Hint</summary>
#
# Begin with `torch.full((B, T), pad_token_id)` and a mask of zeros, and fill in row by row with
# `[:n]`. Judge the arguments before all that.
#
# </details>


# %% task="collate"
def collate(examples, pad_token_id, max_length=None):
    """Make a batch of tokenized examples, padded on the right to the longest of them.

    Arguments
        examples      list of at least one dict with
                          "input_ids"  list of at least one int
                          "label"      int, the class of the text, or a list of ints, one per token;
                                       the same kind in all examples
                      other keys are ignored
        pad_token_id  int; may also stand for a real token in input_ids
        max_length    int ≥ 1, or None. A longer example is cut at its end, its list of labels too
    Returns
        dict of three int64 tensors
            input_ids       (B, T), T the length of the longest example after cutting
            attention_mask  (B, T), 1 for the tokens of the example and 0 for padding
            labels          (B,) for classes; (B, T) for lists, with -100 on the padding

    The examples are left unchanged.

    Raises ValueError: no examples; max_length < 1; a list of labels of another length than its
    input_ids; classes and lists in one batch.
    """
    ### BEGIN SOLUTION
    if not examples:
        raise ValueError("no examples")
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be at least 1, not {max_length}")
    per_token = [isinstance(example["label"], list) for example in examples]
    if any(per_token) != all(per_token):
        raise ValueError("classes and lists of labels in one batch")
    for example in examples:
        if per_token[0] and len(example["label"]) != len(example["input_ids"]):
            raise ValueError("as many labels as tokens, please")

    rows = [example["input_ids"][:max_length] for example in examples]
    B, T = len(rows), max(map(len, rows))
    input_ids = torch.full((B, T), pad_token_id)
    attention_mask = torch.zeros(B, T, dtype=torch.int64)
    labels = torch.full((B, T), -100)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor(row)
        attention_mask[i, : len(row)] = 1  # by length: a real token may look like padding
        if per_token[0]:
            labels[i, : len(row)] = torch.tensor(examples[i]["label"][:max_length])
    if not per_token[0]:
        labels = torch.tensor([example["label"] for example in examples])  # (B,)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
    ### END SOLUTION


# %% check="collate" points=8
check("collate")

# %% [markdown]
# ## Task 2: which tokens count
#
# In SFT of a language model the text is a prompt and a response, and the labels are the tokens
# themselves: each position learns to predict the next token. Usually only the response is learned:
# the prompt's tokens get the label -100. (It is a choice. Loss on the prompt as well has helped
# where prompts are long and responses short: arXiv 2405.14394, abstract.)
#
# The labels are *not shifted* here. The convention, that of transformers too, is that label t is
# token t, and that the loss does the shift. If both shift, the model learns the token after next.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# Two conditions on (row, position). One compares the position with something of the row.
#
# </details>
# <details><summary>Hint</summary>
#
# `torch.arange(T) < prompt_lengths[:, None]` is (B, T): True on the prompt. `masked_fill` makes a
# new tensor, `masked_fill_` destroys the one that you were given.
#
# </details>


# %% task="mask_prompt"
def mask_prompt(input_ids, prompt_lengths, attention_mask):
    """Labels for a batch of prompts with their responses: the tokens, where they are to be learned.

    Arguments
        input_ids       (B, T) int64: each row is a prompt, its response, then padding
        prompt_lengths  B ints ≥ 0, a list or a 1-d int64 tensor; a prompt may fill its row, and
                        prompt_lengths may exceed T (a row that has been cut)
        attention_mask  (B, T): 1 or True for tokens, 0 or False for padding
    Returns
        (B, T) int64, a new tensor: input_ids on the response, -100 on prompt and padding. Not
        shifted: the label at position t is the token at t

    A token of the response counts whatever its value is, also where it equals the padding's.
    The arguments are left unchanged.

    Raises ValueError: prompt_lengths is not 1-d, or has not exactly B entries (also where it would
    broadcast); one of them is negative; attention_mask has another shape than input_ids.
    """
    ### BEGIN SOLUTION
    prompt_lengths = torch.as_tensor(prompt_lengths, device=input_ids.device)  # (B,)
    B, T = input_ids.shape
    if prompt_lengths.shape != (B,) or (prompt_lengths < 0).any():
        raise ValueError(f"expected {B} prompt lengths, none of them negative")
    if attention_mask.shape != input_ids.shape:
        raise ValueError("attention_mask must have the shape of input_ids")
    positions = torch.arange(T, device=input_ids.device)  # (T,)
    in_prompt = positions < prompt_lengths[:, None]  # (B, T)
    return input_ids.masked_fill(in_prompt | (attention_mask == 0), -100)
    ### END SOLUTION


# %% check="mask_prompt" points=7
check("mask_prompt")

# %% [markdown]
# ## Task 3: evaluating
#
# Loss and accuracy over a data set. "The mean over the batches" is something else: the last batch
# is often shorter, and batches of texts hold different numbers of labels. Sum up, then divide once.
#
# And dropout has to be off, and afterwards what was on has to be on again, module by module: a
# model whose body is frozen in eval mode is not to come back in train mode.
#
# Write the helper first; later tasks can use it. It is where token labels are shifted.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# For labels (B, T): which logits predict the label at position 3? And which label does nobody
# predict?
#
# </details>
# <details><summary>Hint</summary>
#
# `logits[:, :-1]` with `labels[:, 1:]`, then keep what is not -100 by a boolean index: (N, C) and
# (N,). `F.cross_entropy(…, reduction="sum")`. Note `{module: module.training}` of all modules
# before `model.eval()`, and set the attribute back at the end: `train(mode)` would go down to the
# children.
#
# </details>


# %% task="evaluate"
def counted(model, batch):
    """Helper, not graded: logits (N, C) and labels (N,) of the labels in a batch that count."""
    ### BEGIN SOLUTION
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    logits, labels = getattr(output, "logits", output), batch["labels"]
    if labels.dim() == 2:  # the logits at t are for the token at t + 1
        logits, labels = logits[:, :-1], labels[:, 1:]  # (B, T - 1, C), (B, T - 1)
    keep = labels != -100
    return logits[keep], labels[keep]
    ### END SOLUTION


def evaluate(model, loader):
    """Loss and accuracy of a model over a data set.

    Arguments
        model   nn.Module, called as model(input_ids=…, attention_mask=…), with nothing else;
                returns logits or an object with `.logits`: (B, C) or (B, T, C)
        loader  iterable of batches (see "Notation"), of any sizes. Labels are (B,) classes, or
                (B, T) token ids, unshifted: then the logits at position t are for the label at
                t + 1, and the first label of a row is nobody's
    Returns
        {"loss": float, "accuracy": float, "n": int}: cross-entropy (natural logarithm) and share of
        right predictions (largest logit), each a mean over all n labels of the data set that are
        not -100 and, for token labels, not the first of their row

    Each batch takes one forward, in eval mode and without a graph. Afterwards each submodule is in
    the mode it was in before, and weights, buffers and gradients are what they were.

    Raises ValueError: no batch, or no label that counts.
    """
    ### BEGIN SOLUTION
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, n = 0.0, 0, 0
    with torch.no_grad():
        for batch in loader:
            logits, labels = counted(model, batch)  # (N, C), (N,)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("no label to evaluate on")
    return {"loss": loss / n, "accuracy": right / n, "n": n}
    ### END SOLUTION


# %% check="evaluate" points=8
check("evaluate")

# %% [markdown]
# ## Task 4: one step over many micro-batches
#
# A batch that does not fit into memory is cut into micro-batches, whose gradients are added up
# before one step: *gradient accumulation*. It saves memory, not time.
#
# It is meant to be the same update as one large batch. For years many trainers got that wrong: each
# micro-batch's loss was its own *mean*, and the means were averaged. A label in a micro-batch of 10
# then weighs five times one in a micro-batch of 50. transformers mended it in October 2024 (Hugging
# Face blog, *Fixing Gradient Accumulation*); averaging over GPUs has the same flaw, and a switch of
# its own (`average_tokens_across_devices`). The sum of losses has to be divided by the number of
# labels in *all* micro-batches.
#
# difficulty ●●●●○ · importance ●●●●● · about 25 minutes
#
# <details><summary>Nudge</summary>
#
# How many labels count is known before any forward pass, if you have all the micro-batches. What
# is the mean over no labels, and what does it do to the sum?
#
# </details>
# <details><summary>Hint</summary>
#
# `list(micro_batches)` first: an iterator can be run through once. Then per micro-batch:
# `(F.cross_entropy(…, reduction="sum") / total).backward()`. One `clip_grad_norm_` after the last.
#
# </details>


# %% task="accumulated_step"
def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    """One optimizer step on several micro-batches, as if they were one large batch.

    The loss is the mean of the cross-entropy over *all* labels that count in all micro-batches
    together (as in `evaluate`: not -100, token labels shifted).

    Arguments
        model          as in `evaluate`, in whatever mode it is in: the mode is left alone
        micro_batches  any iterable of batches, a generator included; they may differ in size and in
                       the number of labels that count, and some may have none
        optimizer      a torch.optim.Optimizer over the model's trainable parameters
        max_grad_norm  float: if the norm of the whole gradient (of the large batch, over all
                       parameters together) exceeds it, the gradient is scaled down to it, once;
                       math.inf never clips
    Returns
        float, the loss before the step

    Weights afterwards are those after one step on the large batch, to rounding (without dropout
    and batch-norm). Gradients left over from before have no influence, not even those on frozen
    parameters.

    Memory. The graph of a micro-batch is gone before the next is made: each takes one forward and
    one backward, and the backward comes before the next forward. (The check measures it: with six
    micro-batches, each with a graph of 20 MB, memory rises by less than 64 MB.)

    Raises ValueError, and leaves the weights unchanged: no micro-batch, or no label that counts.
    """
    ### BEGIN SOLUTION
    micro_batches = list(micro_batches)  # small: the tokens, not the activations
    total = 0
    for batch in micro_batches:
        labels = batch["labels"]
        total += (labels[:, 1:] if labels.dim() == 2 else labels).ne(-100).sum().item()
    if total == 0:
        raise ValueError("no label to learn from")

    model.zero_grad()  # also what lies on parameters that the optimizer does not hold
    loss = 0.0
    for batch in micro_batches:
        logits, labels = counted(model, batch)  # (N, C), (N,)
        share = F.cross_entropy(logits, labels, reduction="sum") / total  # 0 for N = 0, not NaN
        share.backward()
        loss += share.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss
    ### END SOLUTION


# %% check="accumulated_step" points=12
check("accumulated_step")

# %% [markdown]
# **How far off is the mean of means?** Two micro-batches, 50 labels and 10. The same model, the
# gradient of one large batch against the average of the two means.

# %% tags=["demonstration"]
torch.manual_seed(0)
head = nn.Linear(8, 5)
features, targets = torch.randn(60, 8), torch.randint(0, 5, (60,))


def gradient(loss):
    return torch.autograd.grad(loss, head.weight)[0]  # (5, 8)


def mean_loss(rows):
    return F.cross_entropy(head(features[rows]), targets[rows])


whole = gradient(mean_loss(slice(0, 60)))
mean_of_means = gradient((mean_loss(slice(0, 50)) + mean_loss(slice(50, 60))) / 2)
print(f"off by {((mean_of_means - whole).norm() / whole.norm()).item():.0%} of the gradient")

# %% [markdown]
# ## Task 5: the learning rate's course
#
# BERT-like models are tuned with a rate that climbs linearly to its peak, then falls linearly to
# zero. The climb ("warm-up") keeps the first steps small, while the head is still random and Adam's
# averages rest on few gradients.
#
# Steps count from 0. So with warm-up the very first step has the rate 0 and changes no weight.
#
# difficulty ●○○○○ · importance ●●●●○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# Which denominators can become 0?
#
# </details>
# <details><summary>Hint</summary>
#
# Two branches. In the first `warmup_steps` is above 0 by itself; beyond the end return 0.0 before
# you divide.
#
# </details>


# %% task="learning_rate_at"
def learning_rate_at(step, total_steps, warmup_steps, peak):
    """The learning rate of a step: linear from 0 up to `peak`, then linear down to 0.

    Arguments
        step          int ≥ 0: 0 is the first
        total_steps   int ≥ 1
        warmup_steps  int, 0 ≤ warmup_steps ≤ total_steps
        peak          float
    Returns
        float: peak · step / warmup_steps before step warmup_steps; from there on
        peak · (total_steps − step) / (total_steps − warmup_steps); 0.0 from total_steps on

    The same as transformers' get_linear_schedule_with_warmup. With warmup_steps = 0 the first step
    has the rate `peak`.

    Raises ValueError: step < 0; warmup_steps < 0 or > total_steps; total_steps < 1.
    """
    ### BEGIN SOLUTION
    if step < 0 or total_steps < 1 or not 0 <= warmup_steps <= total_steps:
        raise ValueError("0 ≤ step and 0 ≤ warmup_steps ≤ total_steps, please")
    if step < warmup_steps:
        return peak * step / warmup_steps
    if step >= total_steps:
        return 0.0
    return peak * (total_steps - step) / (total_steps - warmup_steps)
    ### END SOLUTION


# %% check="learning_rate_at" points=6
check("learning_rate_at")

# %% [markdown]
# ## Task 6: the whole program
#
# Now put it together: AdamW, the schedule, clipping, an evaluation after each epoch.
#
# AdamW shrinks weights beside the gradient step instead of through the gradient ("decoupled",
# arXiv 1711.05101). Biases and norm layers are usually spared: there is little to gain from
# shrinking a scale of 1 towards 0. Which layers are norms is a question of their *type*: names
# differ from model to model, and a vector is not a norm for being a vector.
#
# difficulty ●●●●○ · importance ●●●●● · about 35 minutes
#
# <details><summary>Nudge</summary>
#
# One batch is a list of one micro-batch. What does a schedule need to know before the first step?
#
# </details>
# <details><summary>Hint</summary>
#
# Set `group["lr"]` in every group before each step. `torch.random.fork_rng()` gives the caller's
# random state back. For the groups go over `model.named_modules()` and each module's
# `named_parameters(recurse=False)`: there you have type and name. A mean over the labels of an
# epoch weighs each batch's loss with its number of labels.
#
# </details>


# %% task="fine_tune"
def decay_groups(model, weight_decay):
    """Helper, not graded: AdamW's groups over the trainable parameters, with and without decay."""
    ### BEGIN SOLUTION
    decay, spared, seen = [], [], set()  # seen: two modules may share a parameter
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                is_spared = name.endswith("bias") or isinstance(module, nn.LayerNorm)
                (spared if is_spared else decay).append(parameter)
                seen.add(parameter)
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    ### END SOLUTION


def fine_tune(
    model, train_loader, eval_loader, *, epochs, lr, warmup_ratio, weight_decay, max_grad_norm, seed
):
    """Fine-tune a model on batches of texts, in place: the whole program.

    One step a batch on the mean cross-entropy over the batch's labels that count, with
    - AdamW with PyTorch's default betas and eps; weight_decay on all trainable parameters but those
      whose name ends in "bias" and those of an nn.LayerNorm, which are not decayed;
    - the rate of learning_rate_at(step, total_steps, warmup_steps, lr): steps from 0 through all
      epochs, total_steps = epochs · len(train_loader), warmup_steps =
      ceil(warmup_ratio · total_steps);
    - the gradient's norm clipped to max_grad_norm, as in `accumulated_step`.

    Arguments
        model         as in `evaluate`; it trains in train mode, whatever mode it comes in.
                      Parameters that are not trainable stay bit for bit as they are
        train_loader  iterable, once and anew in each epoch, of batches, with a length: a DataLoader
                      or a list. Each batch has a label that counts; batches may differ in size
        eval_loader   iterable, anew in each epoch, of batches
        epochs        int ≥ 0; with 0 nothing is trained and the lists are empty
        warmup_ratio  float in [0, 1]
        seed          int, for whatever draws from torch's global generator in training (dropout, a
                      shuffling loader). Equal weights, loaders and seed give an equal result; that
                      generator's state is afterwards what it was
    Returns
        history: {"train_loss": [...], "eval_loss": [...], "eval_accuracy": [...]}, a float for each
        epoch; more lists of that length are allowed. train_loss is the mean over all labels of the
        epoch that count, from the very passes that train; the other two are from `evaluate` after
        the epoch

    Speed. Each batch is one forward and one backward. Where the grader has a GPU, an epoch of four
    batches of 64 texts of 64 tokens, in a model of eight blocks, is timed there: at least half as
    fast as the reference. Model and batches are on one device.

    Afterwards each submodule is in the training mode that it was in before.

    Raises ValueError, before anything is changed: epochs < 0; warmup_ratio outside [0, 1]; a
    train_loader of length 0 (if epochs > 0).
    """
    ### BEGIN SOLUTION
    if epochs < 0 or not 0 <= warmup_ratio <= 1:
        raise ValueError("epochs must not be negative, warmup_ratio must lie in [0, 1]")
    if epochs and not len(train_loader):
        raise ValueError("the train_loader has no batch")
    total_steps = epochs * len(train_loader)
    warmup_steps = math.ceil(warmup_ratio * total_steps)
    history = {"train_loss": [], "eval_loss": [], "eval_accuracy": []}
    modes = {module: module.training for module in model.modules()}
    # fused: one kernel updates all parameters, a tenth off a small model's step on a CPU
    optimizer = torch.optim.AdamW(decay_groups(model, weight_decay), lr=lr, fused=True)
    step = 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(epochs):
            model.train()
            total_loss, n = 0.0, 0
            for batch in train_loader:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate_at(step, total_steps, warmup_steps, lr)
                loss = accumulated_step(model, [batch], optimizer, max_grad_norm)
                labels = batch["labels"]
                count = (labels[:, 1:] if labels.dim() == 2 else labels).ne(-100).sum().item()
                total_loss += loss * count
                n += count
                step += 1
            scores = evaluate(model, eval_loader)
            history["train_loss"].append(total_loss / n)
            history["eval_loss"].append(scores["loss"])
            history["eval_accuracy"].append(scores["accuracy"])
    for module, mode in modes.items():
        module.training = mode
    return history
    ### END SOLUTION


# %% check="fine_tune" points=13
check("fine_tune")

# %% [markdown]
# ## Task 7: batches of similar length
#
# A batch of one text of 200 tokens and fifteen of 30 is four fifths padding, and the model computes
# it all. Batches of texts of similar length waste little.
#
# Sorting the data set once does that, but then every epoch has the same batches in the same order,
# short texts first: the order of the data is no longer random. You want both.
#
# difficulty ●●●○○ · importance ●●●○○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Texts need not be of equal length in a batch, only of similar length. Where could you put the
# randomness so that each batch has other members in the next epoch?
#
# </details>
# <details><summary>Hint</summary>
#
# Shuffle; cut into pools of, say, 50 batches; sort each pool by length; cut the pools into batches;
# shuffle the batches. Are the pools' sizes multiples of batch_size?
#
# </details>


# %% task="length_bucketed_batches"
def length_bucketed_batches(lengths, batch_size, rng):
    """Batches of texts of similar length, in random order: the indices for one epoch.

    Arguments
        lengths     list of n ints ≥ 1, the tokens of each text; n may be 0
        batch_size  int ≥ 1
        rng         numpy.random.Generator, the only source of randomness
    Returns
        list of ceil(n / batch_size) lists of int: each index from 0 to n − 1 exactly once; every
        list has batch_size entries, but for one (anywhere) where n is no multiple. Empty for n = 0

    The same state of rng gives the same batches. lengths are left unchanged.

    Raises ValueError: batch_size < 1.

    Waste, counted in padding tokens: the sum over the batches of (longest length in it · size −
    real tokens). The data: 2,000 lengths, log-normal (μ = 4, σ = 0.7, rounded, cut to 4 … 512), and
    batches of 16. These have about 139,000 real tokens; a random order pads with about 258,000
    more, the reference with about 12,500 (means of 30 draws). Required, on such data:
    - at most half of the padding that a random order needs;
    - other batches in the next epoch (the next call with the same rng): at most half of them, as
      sets, come again. This holds for 2,000 lengths that all differ, too;
    - the order of the batches does not follow the lengths: the correlation of a batch's mean
      length with that of the batch after it is below 0.35.
    """
    ### BEGIN SOLUTION
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    order = rng.permutation(len(lengths)).tolist()
    pool = 50 * batch_size  # a multiple: only the last pool can leave a short batch
    batches = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]
    ### END SOLUTION


# %% check="length_bucketed_batches" points=8
check("length_bucketed_batches")

# %% [markdown]
# **What it saves.** Padding for one epoch, by the number of batches in a pool: a pool of one batch
# is a random order, the largest pool is the whole data set.

# %% tags=["demonstration"]
import matplotlib.pyplot as plt

rng = np.random.default_rng(0)
lengths = np.clip(rng.lognormal(4, 0.7, 2000).round(), 4, 512).astype(int)  # (2000,)


def padding(batches):
    return sum(lengths[rows].max() * len(rows) - lengths[rows].sum() for rows in batches)


def pooled(size):
    parts = np.split(rng.permutation(2000), range(16 * size, 2000, 16 * size))
    parts = [part[lengths[part].argsort(kind="stable")] for part in parts]
    return [part[k : k + 16] for part in parts for k in range(0, len(part), 16)]


sizes = [1, 2, 4, 8, 16, 32, 64, 125]
wasted = [padding(pooled(size)) / lengths.sum() for size in sizes]
yours = padding(length_bucketed_batches(lengths.tolist(), 16, rng)) / lengths.sum()
plt.figure(figsize=(6, 3.5))
plt.plot(sizes, wasted, "o-", label="sorted within pools")
plt.axhline(yours, linestyle="--", color="C1", label="length_bucketed_batches")
plt.xscale("log", base=2)
plt.xlabel("batches in a pool")
plt.ylabel("padding tokens per real token")
plt.title("2,000 texts in batches of 16")
plt.legend()
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Task 8: packing
#
# Packing goes further: several texts in one row, one behind the other. Then three things must be
# mended, or a text is not treated as it would be alone:
#
# - *attention*: a causal mask alone lets a text look at the one before it. The mask has to be
#   block-diagonal as well;
# - *positions* begin at 0 with every text (under rotary embeddings only their differences count,
#   but transformers finds the boundaries for FlashAttention by them);
# - *labels*: the last token of one text is not to predict the first of the next.
#
# Done right, each text gets the logits that it would get alone. And a padding position has to look
# at something: a plain softmax over nothing is NaN. (PyTorch's `scaled_dot_product_attention` gives
# zeros there since 2.5, other kernels need not.)
#
# difficulty ●●●●○ · importance ●●●○○ · about 30 minutes
#
# <details><summary>Nudge</summary>
#
# Give every token the number of its text. What does the mask say about two numbers?
#
# </details>
# <details><summary>Hint</summary>
#
# With `document` (R, L), -1 on padding: `document[:, :, None] == document[:, None, :]` is
# block-diagonal, `.tril()` makes it causal. Padding has the number -1 in common, too: leave it only
# the diagonal.
#
# </details>


# %% task="pack"
def pack(sequences, max_length, pad_token_id):
    """Pack sequences of tokens into rows of max_length, so that a causal model keeps them apart.

    First fit: in the order given, each goes behind what is already in the first row that has room
    for all of it; where none has, a new row begins. Nothing is cut.

    Arguments
        sequences     list of at least one list of ints, each of length 1 to max_length
        max_length    int ≥ 1: L
        pad_token_id  int; may also stand for a real token
    Returns
        dict of tensors, R rows:
            input_ids       (R, L) int64, padded on the right
            position_ids    (R, L) int64: 0, 1, 2, … within each sequence; 0 on padding
            attention_mask  (R, L, L) bool: [r, i, j] is True where position i may look at j: both
                            belong to the same sequence, and j ≤ i. A padding position looks at
                            itself, and at nothing else
            labels          (R, L) int64, unshifted: the tokens; -100 on padding and on the first
                            token of each sequence (what would predict it belongs to another)

    The sequences are left unchanged.

    Raises ValueError: no sequences; an empty one; one longer than max_length.
    """
    ### BEGIN SOLUTION
    if not sequences:
        raise ValueError("no sequences")
    if not all(0 < len(sequence) <= max_length for sequence in sequences):
        raise ValueError(f"each sequence needs 1 to {max_length} tokens")
    rows = []  # lists of sequences
    for sequence in sequences:
        for row in rows:
            if sum(map(len, row)) + len(sequence) <= max_length:
                row.append(sequence)
                break
        else:
            rows.append([sequence])

    shape = len(rows), max_length
    input_ids = torch.full(shape, pad_token_id)
    labels = torch.full(shape, -100)
    position_ids = torch.zeros(shape, dtype=torch.int64)
    document = torch.full(shape, -1)  # the number of each token's sequence in its row
    for r, row in enumerate(rows):
        start = 0
        for number, sequence in enumerate(row):
            end = start + len(sequence)
            input_ids[r, start:end] = torch.tensor(sequence)
            labels[r, start + 1 : end] = torch.tensor(sequence[1:])
            position_ids[r, start:end] = torch.arange(len(sequence))
            document[r, start:end] = number
            start = end
    same = document[:, :, None] == document[:, None, :]  # (R, L, L): block-diagonal
    real = (document >= 0)[:, :, None]  # (R, L, 1)
    attention_mask = (same & real).tril() | torch.eye(max_length, dtype=torch.bool)
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "attention_mask": attention_mask,
        "labels": labels,
    }
    ### END SOLUTION


# %% check="pack" points=8
check("pack")

# %% [markdown]
# ## What it does: topics of interview questions
#
# 600 questions of the kind asked in interviews, written for this course, on eight topics: 360 to
# train on, 120 to validate on, 120 to test on. The model is a small BERT, pretrained to embed
# sentences (6 layers, 22.7 million parameters); the classifier reads the mean of its last states.
# Six ways to do it, and the first three are what the others have to beat:
#
# - *majority*: always the most frequent topic;
# - *bag of words*: tf-idf and logistic regression, which needs no network at all;
# - *probe*: logistic regression on the frozen encoder's mean states;
# - *from scratch*: the same network from random weights, all of it trained;
# - *fine-tuned*: the pretrained network with a random head, all of it trained;
# - *probe, then fine-tuned*: the head starts as the probe, then all weights train at a low rate.
#
# The regularisation of the two regressions was chosen on the validation questions, and the rate of
# "fine-tuned" among three; the other two rates are guesses. `COURSE_SCALE=full` takes
# bert-base-uncased, which is downloaded, and more seeds.

# %% tags=["demonstration"]
import statistics

from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tqdm.auto import tqdm
from transformers import BertModel

from course import SCALE
from course.data import interview_questions
from course.models import pretrained_bert

DEVICE = "cuda" if SCALE == "full" and torch.cuda.is_available() else "cpu"
texts, classes, examples = {}, {}, {}
_, tokenizer = pretrained_bert(8, full=SCALE == "full")
for split in ("train", "validation", "test"):
    texts[split], classes[split], topics = interview_questions(split)
    rows = zip(tokenizer(texts[split])["input_ids"], classes[split].tolist(), strict=True)
    examples[split] = [{"input_ids": ids, "label": label} for ids, label in rows]


def batch_of(rows):
    batch = collate(rows, tokenizer.pad_token_id)
    return {key: tensor.to(DEVICE) for key, tensor in batch.items()}


def fixed_batches(split, limit=None):
    rows = examples[split][:limit]
    return [batch_of(rows[k : k + 40]) for k in range(0, len(rows), 40)]


class Shuffled:
    """A loader of length-bucketed batches, other ones in each epoch."""

    def __init__(self, rows, size=16):
        self.rows, self.size = rows, size

    def __len__(self):
        return math.ceil(len(self.rows) / self.size)

    def __iter__(self):
        rng = np.random.default_rng(torch.randint(2**31, ()).item())  # from fine_tune's seed
        lengths = [len(row["input_ids"]) for row in self.rows]
        for batch in length_bucketed_batches(lengths, self.size, rng):
            yield batch_of([self.rows[i] for i in batch])


# %% tags=["demonstration"]
class TopicModel(nn.Module):
    """An encoder, the mean of its last states, dropout, a linear head: logits (B, 8)."""

    def __init__(self, pretrained=True):
        super().__init__()
        model, _ = pretrained_bert(8, full=SCALE == "full")
        self.encoder = model.bert if pretrained else BertModel(model.config)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(model.config.hidden_size, 8)
        self.to(DEVICE)

    def embed(self, input_ids, attention_mask):
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        mask = attention_mask[..., None]  # (B, T, 1)
        return (states.last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)  # (B, D)

    def forward(self, input_ids, attention_mask):
        return self.head(self.drop(self.embed(input_ids, attention_mask)))


@torch.no_grad()
def embedded(model, split):
    """The frozen encoder's mean states (N, D)."""
    model.eval()
    batches = fixed_batches(split)
    return torch.cat([model.embed(b["input_ids"], b["attention_mask"]) for b in batches]).cpu()


frozen = TopicModel()
probe = LogisticRegression(max_iter=5000).fit(embedded(frozen, "train"), classes["train"])
words = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=30, max_iter=5000))
words.fit(texts["train"], classes["train"])
majority = DummyClassifier().fit(texts["train"], classes["train"])
results = {
    "majority": [majority.score(texts["test"], classes["test"])],
    "bag of words": [words.score(texts["test"], classes["test"])],
    "probe": [probe.score(embedded(frozen, "test"), classes["test"])],
}

# %% tags=["demonstration"]
SMALL, SEEDS = SCALE == "small", {"small": 1, "default": 2, "full": 5}[SCALE]
SETTINGS = {"warmup_ratio": 0.1, "weight_decay": 0.01, "max_grad_norm": 1.0}
WAYS = {  # epochs, rate, seeds
    "from scratch": (4, 3e-4, SEEDS if SCALE == "full" else 1),
    "fine-tuned": (4, 2e-4 if SCALE != "full" else 5e-5, SEEDS),
    "probe, then fine-tuned": (2, 3e-5, SEEDS),
}
rows, limit = examples["train"][: 32 if SMALL else None], 24 if SMALL else None
histories = {}
runs = [(way, seed) for way, (_, _, seeds) in WAYS.items() for seed in range(seeds)]
for way, seed in tqdm(runs, desc="training"):
    epochs, lr, _ = WAYS[way]
    torch.manual_seed(seed)
    model = TopicModel(pretrained=way != "from scratch")
    if way == "probe, then fine-tuned":
        with torch.no_grad():
            model.head.weight.copy_(torch.from_numpy(probe.coef_))
            model.head.bias.copy_(torch.from_numpy(probe.intercept_))
    loaders = Shuffled(rows), fixed_batches("validation", limit)
    settings = {**SETTINGS, "epochs": 1 if SMALL else epochs, "lr": lr, "seed": seed}
    histories[way, seed] = fine_tune(model, *loaders, **settings)
    results.setdefault(way, []).append(evaluate(model, fixed_batches("test", limit))["accuracy"])

# %% tags=["demonstration"]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4))
for k, (way, found) in enumerate(results.items()):
    left.barh(k, statistics.mean(found), color=f"C{k}", label=f"{way} ({len(found)})")
    left.plot(found, [k] * len(found), "k.")
left.set(
    xlabel="accuracy on 120 test questions",
    yticks=range(len(results)),
    yticklabels=list(results),
    title="each dot is a seed",
)
left.axvline(results["probe"][0], color="C2", linestyle="--", label="the probe")
left.legend(fontsize=7, title="way (seeds)", title_fontsize=7)
for (way, seed), history in histories.items():
    accuracy = history["eval_accuracy"]
    color, name = f"C{list(results).index(way)}", way if seed == 0 else None
    right.plot(range(1, len(accuracy) + 1), accuracy, "o-", color=color, label=name)
right.axhline(
    probe.score(embedded(frozen, "validation"), classes["validation"]),
    color="C2",
    linestyle="--",
    label="the probe",
)
right.set(
    xlabel="epoch", ylabel="accuracy on 120 validation questions", title="fine_tune's history"
)
right.legend(fontsize=7)
figure.tight_layout()
plt.show()

# %% [markdown]
# **What to expect.** Mean and standard deviation over four seeds at the default scale are those of
# the next cell. (At the small scale the training runs are cut short, and are not compared.)

# %% tags=["demonstration"]
STATED = {  # accuracy on the test questions
    "majority": (0.125, 0.0),
    "bag of words": (0.633, 0.0),
    "probe": (0.858, 0.0),
    "from scratch": (0.406, 0.042),
    "fine-tuned": (0.829, 0.016),
    "probe, then fine-tuned": (0.850, 0.000),
}
TOLERANCE = 0.03  # of 120 questions: three or four that other batches and rounding decide otherwise
compared = {"small": list(results)[:3], "default": list(results), "full": list(results)[:2]}[SCALE]
measured = {way: statistics.mean(results[way]) for way in compared}
for way, value in measured.items():
    mean, std = STATED[way]
    off = abs(value - mean) > max(4 * std, TOLERANCE)
    print(f"{way:24} here {value:.3f}   stated {mean:.3f} ± {std:.3f}{'   not as stated' * off}")

# %% [markdown]
# **What follows, and what does not.**
#
# - *Pretraining is what helps.* From random weights the network, in the same four epochs and at a
#   rate that was not tuned, reaches 0.406 ± 0.042, less than a bag of words, 0.633. The same
#   network, pretrained, reaches 0.829 ± 0.016.
# - *Fine-tuning everything does not beat the probe*, 0.858, which trains 3,080 parameters instead
#   of millions. The encoder was pretrained to put texts of one meaning together, which is half the
#   task, and 360 examples are few.
# - *Begun at the probe, at a low rate and for two epochs, fine-tuning stays near it*: 0.850 for
#   each of four seeds, one question less than the probe. Start, rate and epochs all differ from
#   those of "fine-tuned", so this does not say which of them does it.
# - *The probe and the two fine-tuned ways are not ranked by this.* Between the best and the worst
#   lie three or four questions of 120. All answer the same questions, so what counts is on how many
#   of them two ways disagree (lesson 5: McNemar's test); and on other questions the accuracy of
#   each would differ, by a standard error of about √(0.85 · 0.15 / 120) = 0.033. More seeds would
#   not change that: they share the test set.
#
# An interviewer who hears "we fine-tuned BERT and got 83 %" asks for these baselines. Without them
# nobody would know that a regression on frozen features was enough.

# %% [markdown]
# ## Task 9: bug hunt
#
# The cell below is a program of our own that makes mistakes of published ones. It tunes a language
# model on pairs of a prompt and a response. It runs, its loss falls to almost nothing, and the
# model has learned nothing. There are at least ten mistakes.
#
# Mend it in the task's cell, further down, under the names that are there.
#
# difficulty ●●●○○ · importance ●●●●○ · about 25 minutes
#
# <details><summary>Nudge</summary>
#
# Ask of each position: which token does it see, which one is it to predict, does it count? Then ask
# of the accuracy: of how many predictions is it the share?
#
# </details>
# <details><summary>Hint</summary>
#
# Look at: the fixed width · what the mask is made from · which labels are -100 and which are not ·
# the token at the end · what the model is not given · the shift · dropout · the graph · positions
# that don't count · the mean of means.
#
# </details>


# %%
def broken_batch(pairs, eos_token_id):
    rows = [prompt + response + [eos_token_id] for prompt, response in pairs]
    input_ids = torch.full((len(rows), 64), eos_token_id)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor(row)
    attention_mask = (input_ids != eos_token_id).long()
    labels = input_ids.clone()
    labels[labels == eos_token_id] = -100
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def broken_loss(model, batch):
    logits = model(batch["input_ids"])
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


def broken_accuracy(model, loader):
    scores = []
    for batch in loader:
        predicted = model(batch["input_ids"]).argmax(dim=-1)
        scores.append((predicted == batch["labels"]).float().mean())
    return torch.stack(scores).mean().item()


# %% [markdown]
# Watch it: a small recurrent model is to repeat its prompt backwards. Token 0 ends a text.


# %% tags=["demonstration"]
class SmallLM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.gru = nn.Embedding(10, 48), nn.GRU(48, 96, batch_first=True)
        self.head = nn.Linear(96, 10)

    def forward(self, input_ids, attention_mask=None):  # padding on the right: the past is intact
        return self.head(self.gru(self.embed(input_ids))[0])  # (B, T, 10)


def tune_and_answer(make_batch, loss_of, prompt, steps=300):
    torch.manual_seed(0)
    model, draw = SmallLM(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        prompts = [draw.integers(1, 10, 3).tolist() for _ in range(64)]
        loss = loss_of(model, make_batch([(p, p[::-1]) for p in prompts], 0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    text = list(prompt)
    while len(text) < 10 and text[-1] != 0:
        text.append(model(torch.tensor([text]))[0, -1].argmax().item())
    print(f"loss {loss.item():.3f}: {prompt} is continued by {text[3:]}")


tune_and_answer(broken_batch, broken_loss, [3, 7, 5], steps=60)


# %% task="sft_bug_hunt"
def build_batch(pairs, eos_token_id):
    """broken_batch, mended: a batch of prompts with their responses.

    pairs is a list of at least one (prompt, response), two lists of ints; a prompt has at least one
    token, a response may have none. The token eos_token_id may also stand inside of them. Each row
    is prompt + response + [eos_token_id], padded on the right with eos_token_id to the longest row
    of the batch. Returns a batch (see "Notation") of three int64 tensors (B, T): input_ids;
    attention_mask, 1 on the whole row with its end token and 0 on padding; labels, unshifted: the
    tokens of the response and the end token behind it, -100 on prompt and padding. The pairs are
    left unchanged.
    """
    ### BEGIN SOLUTION
    rows = [[*prompt, *response, eos_token_id] for prompt, response in pairs]
    examples = [{"input_ids": row, "label": row} for row in rows]
    batch = collate(examples, eos_token_id)  # as wide as needed, the mask from the lengths
    prompt_lengths = [len(prompt) for prompt, _ in pairs]
    # The end token counts: a model that never learns it never stops.
    labels = mask_prompt(batch["input_ids"], prompt_lengths, batch["attention_mask"])
    return {**batch, "labels": labels}
    ### END SOLUTION


def response_loss(model, batch):
    """broken_loss, mended: the mean next-token cross-entropy over the labels that count.

    model is called as model(input_ids=…, attention_mask=…) and returns logits (B, T, C). Logits at
    position t are for the label at t + 1. Returns a 0-d tensor of a floating dtype through which
    gradients flow.
    """
    ### BEGIN SOLUTION
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    ### END SOLUTION


def response_accuracy(model, loader):
    """broken_accuracy, mended: the share of labels that count which are predicted, as a float.

    Over all batches of loader together; model and shift as in response_loss. One forward a batch,
    in eval mode, without a graph; each submodule is afterwards in the mode that it was in.
    """
    ### BEGIN SOLUTION
    return evaluate(model, loader)["accuracy"]
    ### END SOLUTION


# %% check="sft_bug_hunt" points=6
check("sft_bug_hunt")

# %% [markdown]
# The same model, tuned with the mended functions:

# %% tags=["demonstration"]
tune_and_answer(build_batch, response_loss, [3, 7, 5])

# %% [markdown]
# The broken loss asked each position for the token that it *sees*: hence a loss near zero, and an
# answer that repeats the last token and never ends. The mended one has to remember its prompt, up
# to four tokens back, and to stop.

# %% [markdown]
# ## Task 10: numbers
#
# Interviewers like a number. Compute by hand; write a number or an expression.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Does the last, short batch of an epoch make a step of its own?
#
# </details>
# <details><summary>Hint</summary>
#
# Steps in an epoch: examples / batch, rounded up. A padded batch holds size · longest tokens. In
# question 6 sum the losses of labels, not of micro-batches. In question 7 all logits are equal.
#
# </details>

# %% task="sft_numbers"
# 1. 3,668 examples, batches of 32 (the last one is kept), 3 epochs, a tenth of all steps as
#    warm-up, rounded up: how many steps of warm-up?
warmup_steps = None
# 2. The learning rate at step 200 (the first is step 0) of 1,000, with 100 steps of warm-up and the
#    peak 2e-5, linear up and down. To 1e-8.
rate_at_200 = None
# 3. Four GPUs, micro-batches of 8 on each, gradients accumulated over 4 of them before each step:
#    how many examples does one update see?
effective_batch = None
# 4. Texts of 12, 30, 7, 51, 20, 9, 64 and 15 tokens in one batch, padded to the longest: how many
#    padding tokens?
padding_together = None
# 5. The same eight, sorted by length, in two batches of four: how many padding tokens in both?
padding_sorted = None
# 6. Two micro-batches: 90 labels that count with the mean loss 1.0, and 10 with 3.0. By how much is
#    the mean of the two means above the loss of the large batch?
excess_loss = None
# 7. The loss in natural units of a model that gives each of the 50,257 tokens of GPT-2's vocabulary
#    the same probability. To 0.005.
uniform_loss = None
### BEGIN SOLUTION
warmup_steps = 35  # ceil(0.1 · 3 · ceil(3,668 / 32)) = ceil(0.1 · 345) — counting
rate_at_200 = 1.7778e-5  # 2e-5 · (1,000 − 200) / (1,000 − 100) — algebra
effective_batch = 128  # 4 · 8 · 4 — counting
padding_together = 304  # 8 · 64 − 208 — counting
padding_sorted = 108  # (4 · 15 − 43) + (4 · 64 − 165) = 17 + 91 — counting
excess_loss = 0.8  # (1 + 3) / 2 − (90 · 1 + 10 · 3) / 100 = 2.0 − 1.2 — algebra
uniform_loss = 10.825  # ln 50,257 — algebra
### END SOLUTION

# %% check="sft_numbers" points=7
check("sft_numbers")

# %% [markdown]
# ## Task 11: judge these statements
#
# Each is said or written of SFT somewhere. True or False? A right answer is worth 1, a wrong one
# −1, None 0; the sum, never below 0, divided by 16, is your share of the points.
#
# difficulty ●●○○○ · importance ●●●●○ · about 10 minutes
#
# - **a.** Before one hands labels to a causal language model of transformers, one shifts them by
#   one position, so that each position gets the next token.
# - **b.** `F.cross_entropy` with its default settings leaves labels of -100 out of the sum, and out
#   of the number that it divides by.
# - **c.** Averaging the mean losses of k micro-batches gives the gradient of the one large batch,
#   however many labels count in each.
# - **d.** If all micro-batches have equally many labels that count, averaging their mean losses
#   does give the gradient of the large batch (without dropout and batch-norm).
# - **e.** `input_ids != pad_token_id` is a safe way to make the attention mask, whatever the
#   tokenizer.
# - **f.** With a warm-up that gives the first step the rate zero, that step of AdamW changes no
#   weight, in spite of weight decay.
# - **g.** With a thousand examples supervised fine-tuning of a large language model can't succeed:
#   it takes tens of thousands.
# - **h.** Leaving the loss on the prompt's tokens as well has improved instruction tuning in some
#   settings, such as long prompts with short responses.

# %% [markdown]
# - **i.** SFT is efficient: to fine-tune all weights with Adam takes about the memory that it takes
#   to run the model.
# - **j.** BERT fine-tuned with the same hyperparameters can give substantially different results
#   for different random seeds.
# - **k.** For packing several texts into a row, a causal mask is enough to keep the texts apart.
# - **l.** With a shorter last batch, the mean of the batches' accuracies is in general not the
#   accuracy over the examples.
# - **m.** AdamW's weight decay is another name for adding an L2 penalty to the loss that Adam
#   minimises.
# - **n.** In InstructGPT's recipe, supervised fine-tuning on demonstrations comes first, and
#   reinforcement learning from human feedback after it.
# - **o.** With padding on the right, a causal transformer's logits at the real tokens are the same
#   with and without the padding mask.
# - **p.** That fine-tuning BERT fails on some seeds is explained by forgetting and by small data
#   sets; optimisation has nothing to do with it.

# %% task="sft_statements"
judged = dict.fromkeys("abcdefghijklmnop")  # judged["a"] = True or False; None is no answer
### BEGIN SOLUTION
judged = {
    # The loss inside the model shifts; shifting before as well skips a token — transformers
    # `ForCausalLMLoss`.
    "a": False,
    # The mean is over the targets that are not ignored — PyTorch `nn.CrossEntropyLoss`.
    "b": True,
    # Labels in a micro-batch with few of them weigh more — algebra; Hugging Face blog Fixing
    # Gradient Accumulation.
    "c": False,
    # Then each mean is the sum divided by the same number — algebra.
    "d": True,
    # Where the end token is used for padding it hides genuine ends — algebra.
    "e": False,
    # Both the step and the decoupled decay are multiplied by the rate — algebra; PyTorch
    # `optim.AdamW`.
    "f": True,
    # 1,000 curated prompts and responses, a 65 B model — 2305.11206 abstract.
    "g": False,
    # Loss over instructions — 2405.14394 abstract.
    "h": True,
    # Gradients and two moments come on top of the weights — 1910.02054 §3.1; PyTorch `optim.Adam`.
    "i": False,
    # Hundreds of runs that differ in the seed only — 2002.06305 abstract.
    "j": True,
    # A causal mask lets a text look at the texts before it — algebra; Hugging Face blog Packing
    # with Flash Attention.
    "k": False,
    # An example in the short batch weighs more — algebra.
    "l": True,
    # They differ for adaptive methods: a penalty's gradient is rescaled — 1711.05101 abstract.
    "m": False,
    # Demonstrations first, then rankings and reinforcement learning — 2203.02155 abstract.
    "n": True,
    # Padding lies in the future of every real token, which is masked anyway — algebra.
    "o": True,
    # Optimisation difficulties, vanishing gradients — 2006.04884 abstract.
    "p": False,
}
### END SOLUTION

# %% check="sft_statements" points=8
check("sft_statements")

# %% [markdown]
# ## Task 12: the interview answer, yours
#
# "How does supervised fine-tuning work? What is it good at, where does it fail, and what does a
# correct program for it look like?" Answer in the next cell, in 150 to 300 words, as you would say
# it to an interviewer. A person grades it, 10 points:
#
# | points | for |
# |---|---|
# | 2 | start from pretrained weights, labelled pairs, cross-entropy: what is maximised |
# | 2 | for language models: next token, response only, what -100 is for, who shifts |
# | 1 | the recipe with figures: optimizer, rate, batch, epochs, warm-up |
# | 2 | two mistakes that are easily made, and how you would notice them |
# | 2 | strengths and limits, without the contradiction "efficient and expensive" |
# | 1 | seeds and an honest baseline: what makes the result evidence |
#
# A false statement in the answer costs 1, down to 0.
#
# difficulty ●●●○○ · importance ●●●●● · about 15 minutes

# %% [markdown] free_text="explain_sft" points=10
# ### Your answer: how supervised fine-tuning works
#
# ### BEGIN SOLUTION
# Supervised fine-tuning starts from pretrained weights and goes on training on pairs of input and
# target, by maximising the likelihood of the target: cross-entropy. For classification a new head
# comes on top. For a language model the targets are the response's own tokens: each position
# predicts the next one. Prompt and padding get the label -100 and don't count, the end token does.
# Labels stay unshifted, the loss shifts by one.
#
# A usual recipe for BERT: AdamW, rate 2e-5 to 5e-5, batches of 16 or 32, two to four epochs, a
# short linear warm-up, then linear decay, no weight decay on biases and norms.
#
# Easy mistakes: gradient accumulation that averages means instead of dividing by all labels
# (compare one step with a large batch), and labels masked where `ids == pad` although padding is
# the end token (the model never stops). Also dropout left on in evaluation.
#
# It needs far less data and compute than pretraining: 1,000 curated examples were enough for LIMA.
# A step of full fine-tuning is not cheap, though: gradients and Adam's moments come on top of the
# weights, which is what LoRA saves. It imitates its data, mistakes included; it learns new facts
# slowly, and learning them can increase hallucination; it can forget, and on small sets results
# depend on the seed.
#
# So I report mean and spread over several seeds, on held-out data, beside a majority vote, bag of
# words and a linear probe on the frozen encoder.
# ### END SOLUTION

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open it when yours is written</summary>
#
# SFT continues the training of pretrained weights on labelled pairs, maximising the likelihood of
# the label. BERT needs one additional output layer for it (arXiv 1810.04805, abstract). For
# language models the loss is the next token's, usually on the response alone; that choice is
# debated (2405.14394, abstract). In InstructGPT it is the first stage, before reinforcement
# learning from human rankings (2203.02155, abstract).
#
# It can do with little data: 1,000 curated examples (2305.11206, abstract). It is brittle: equal
# settings and other seeds give other results, and on small sets many runs diverge (2002.06305,
# abstract); Adam without bias correction and too few steps make it worse (2006.05987, abstract,
# §4), and behind failed runs stand vanishing gradients rather than forgetting (2006.04884,
# abstract). It teaches new facts slowly, and with them a tendency to hallucinate (2405.05904,
# abstract).
#
# A correct program masks by lengths, ignores what is not to be learned, divides by the number of
# labels that count in all micro-batches, gives each step its own rate, and evaluates in eval mode
# over the data set (measured in the checks of Tasks 1 to 6).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview (1): loss and data
#
# 1. SFT maximises the likelihood of the labels given the inputs; minimising cross-entropy is the
#    same — definition.
# 2. BERT is fine-tuned with one additional output layer — 1810.04805 abstract.
# 3. Cross-entropy ignores targets of -100 by default and, as a mean, divides by the number of the
#    others; where all are ignored that is 0/0, NaN — PyTorch `nn.CrossEntropyLoss`; algebra.
# 4. transformers' causal models take unshifted labels and shift inside — transformers
#    `ForCausalLMLoss`.
# 5. With data of prompts and completions, TRL's trainer counts the completion alone by default;
#    with plain texts it counts all tokens — TRL `SFTConfig`, `completion_only_loss`.
# 6. Loss on the instructions too helped in many of their settings, most with long instructions and
#    short outputs or few examples — 2405.14394 abstract.
# 7. LIMA: 65 B parameters, 1,000 curated prompts and responses, no reinforcement learning —
#    2305.11206 abstract.
# 8. InstructGPT: demonstrations first, then rankings and reinforcement learning. Outputs of its 1.3
#    B model were preferred to those of the 175 B GPT-3 — 2203.02155 abstract.
# 9. Examples with new facts are learned more slowly than others, and once learned raise the
#    tendency to hallucinate — 2405.05904 abstract.
# 10. A pretrained language model tuned on 100 labelled examples matched training from scratch on
#     100 times as many; on film reviews, with unlabelled ones besides — 1801.06146 abstract, §5.

# %% [markdown]
# ## Facts to carry into the interview (2): training
#
# 11. BERT's grid: batch 16 or 32; rate 5e-5, 3e-5 or 2e-5; 2, 3 or 4 epochs — 1810.04805 A.3.
# 12. Seeds alone change BERT's results substantially; initial weights of the head and order of the
#     data contribute about equally — 2002.06305 abstract.
# 13. Leaving out Adam's bias correction, as a common BERT optimizer did, makes small-data runs
#     unstable; so does a small, fixed number of steps — 2006.05987 abstract, §4.
# 14. Failed runs come with vanishing gradients; among those that did not fail, what still varies is
#     generalisation at equal training loss — 2006.04884 abstract.
# 15. AdamW decays weights beside the gradient; an L2 penalty under Adam is something else —
#     1711.05101 abstract.
# 16. The rate multiplies decay as well: weights shrink by the factor 1 − rate · decay — PyTorch
#     `optim.AdamW`.
# 17. Gradient accumulation equals the large batch only if the sum of losses is divided by all
#     labels that count; many trainers averaged means until October 2024 — algebra; Hugging Face
#     blog, Fixing Gradient Accumulation.
# 18. Full fine-tuning with Adam in mixed precision: about 16 bytes a parameter before activations —
#     1910.02054 §3.1.
# 19. Packing with boundaries kept gave up to twice the training throughput — Hugging Face blog,
#     Packing with Flash Attention.
# 20. Fine-tuning everything can do worse out of distribution than a linear probe: −7 % on average
#     over ten data sets, with +2 % in distribution — 2202.10054 abstract.

# %% [markdown]
# ## Follow-up questions (1)
#
# Answer aloud, then open.
#
# <details><summary>Why no loss on the prompt?</summary>
#
# At inference the prompt is given: predicting it is not what the model is tuned for. It is a
# choice, though: loss on it has helped with long prompts and short responses, where it acts against
# overfitting — 2405.14394 abstract.
#
# </details>
# <details><summary>Your tuned model never stops talking. Where do you look?</summary>
#
# At the labels of the end token. If padding is the end token and padding is masked by value, the
# genuine end is masked with it and never learned — algebra.
#
# </details>
# <details><summary>The training loss is near zero after a few steps. Good?</summary>
#
# Suspicious: a model that is asked for the token that it sees gets there at once. Check the shift
# by hand on one row, and let it generate — measured in Task 9.
#
# </details>
# <details><summary>Does gradient accumulation make training faster?</summary>
#
# No: the same forwards and backwards, one after the other. It saves memory: activations of one
# micro-batch at a time — definition.
#
# </details>
# <details><summary>When does accumulation differ from the large batch all the same?</summary>
#
# With batch-norm, whose statistics are the micro-batch's, and with dropout, whose masks differ —
# algebra.
#
# </details>
# <details><summary>Eight texts, one of 512 tokens, seven of 20: what do you do?</summary>
#
# As one batch it is 84 % padding: 4,096 positions for 652 tokens. Batch by length, or pack —
# counting.
#
# </details>
# <details><summary>Sorting by length is simple. Why not?</summary>
#
# Every epoch would have the same batches in the same order, short texts first: steps are no longer
# on random samples. Sort within random pools instead — algebra; measured in
# Task 7.
#
# </details>

# %% [markdown]
# ## Follow-up questions (2)
#
# <details><summary>Which learning rate would you begin with for BERT, and why so low?</summary>
#
# 2e-5 to 5e-5 (its own grid). The weights are good already, and large steps make BERT forget them:
# with 4e-4 training did not even converge — 1810.04805 A.3; 1905.05583 §5.3.
#
# </details>
# <details><summary>Same code, two seeds, 61 % and 70 %. What do you report?</summary>
#
# Mean and spread over several seeds, not the better one: seeds alone change the result — 2002.06305
# abstract.
#
# </details>
# <details><summary>Fine-tuning collapsed to the majority class. Forgetting?</summary>
#
# Rather optimisation, which ends in vanishing gradients. Check that Adam corrects its bias, and
# train for more steps — 2006.04884 abstract; 2006.05987 abstract.
#
# </details>
# <details><summary>Can SFT teach the model our product's facts?</summary>
#
# Poorly: new facts are learned slowly, and once learned they raise hallucination. For facts that
# change, retrieval is the better place: it beat (unsupervised) fine-tuning on new facts as well —
# 2405.05904 abstract; 2312.05934 abstract.
#
# </details>
# <details><summary>Why clip after accumulating and not each micro-batch?</summary>
#
# The large batch's gradient is clipped once. Clipping parts changes their weights and so the
# direction of the sum — algebra.
#
# </details>
# <details><summary>Why padding left for generation, right for training?</summary>
#
# A causal model continues from the last position: with padding on the right that would be a padding
# token for all but the longest row. In training each real position has only its past to look at,
# and right padding is not in it — algebra.
#
# </details>
# <details><summary>SFT, then what?</summary>
#
# In InstructGPT reinforcement learning from rankings of outputs follows: SFT imitates
# demonstrations, rankings say which of several outputs is better — 2203.02155 abstract.
#
# </details>
# <details><summary>Is SFT the alternative to LoRA?</summary>
#
# No: SFT names the objective, LoRA names which parameters move. SFT with LoRA is common —
# definition.
#
# </details>
# <details><summary>You have 200 labelled texts. Which baselines first?</summary>
#
# The majority class, bag of words with logistic regression, and a linear probe on a frozen encoder.
# Fine-tuning has to beat all three on held-out texts, over several seeds — measured in "What it
# does".
#
# </details>
