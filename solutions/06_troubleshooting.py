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
# # Troubleshooting: what goes wrong in fine-tuning
#
# **The interview question.** *Your fine-tuning run disappoints. What can have gone wrong, how do
# you find out, and what do you do about it?*
#
# You will write the tools that answer it: a test that a model can learn at all, a diagnosis from
# the curves, early stopping, a range test for the rate, a search for the first NaN, a careful
# mixed-precision step, a measure of forgetting and a penalty against it, and checkpointing. You
# will mend six training steps with bugs that people ship, and answer the question in your own
# words.

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
# attempt the reference: `show_reference("diagnose")`.
#
# Notation: a *batch* is a pair `(x, labels)`, where `model(x)` gives `logits` (B, C) and `labels`
# (B,) are int64 classes; a *loader* is an iterable of batches that can be gone through anew, such
# as a `DataLoader` or a list. "The loss" is the mean cross-entropy of the logits. A `history` is a
# dict of lists with one entry an epoch.

# %% [markdown]
# ## Before you read on
#
# A run ends at a validation accuracy of 52 % where you hoped for 90 %. Write down, in the order in
# which you would do them, the first three things that you would look at. (Scratch paper: not
# graded.)
#
# *My first answer:* …

# %% [markdown]
# ## An answer that is often given
#
# In many collections of interview questions the answer reads about like this:
#
# > Overfitting: use more data, regularisation or early stopping. Performance is poor: change the
# > learning rate or the optimizer, or train for longer. It costs too much: take a more efficient
# > algorithm or a smaller model, or distribute the training.
#
# Nothing in it is absurd. Why would it not convince an interviewer?
#
# <details><summary>What is wrong with it</summary>
#
# 1. *It starts at the cure.* "Performance is poor" is no symptom. Which loss, on which data, in
#    which mode, since which step? A head that never trains, labels that are shifted by one and an
#    overfitted model are all "poor", and no cure fits two of them.
# 2. *"Train longer" often makes it worse.* It helps where both losses still fall. Where validation
#    loss rises it raises it further, where the rate is too high it diverges further, and every step
#    more is a chance to forget what the base could do.
# 3. *Bugs are missing.* A good part of what disappoints is not a matter of settings at all.
# 4. *"An efficient algorithm" is no answer.* Memory goes to weights, gradients, optimizer state and
#    activations, and each has its own remedy. Say which of the four is too large.
#
# </details>

# %% [markdown]
# ## Name the symptom first (1): the loss
#
# | | symptom | likely causes |
# |---|---|---|
# | 1 | loss NaN or infinite | rate too high; float16 overflow; log or division of 0; bad input |
# | 2 | flat at ln(classes) | a zero head that stays; dead features; low rate; labels shuffled |
# | 3 | accuracy good, loss stuck high | a softmax before the cross-entropy |
# | 4 | training loss rises | rate too high; gradients never zeroed |
# | 5 | both losses high, still falling | too few steps; rate too low; too much frozen |
#
# | | a test that tells the causes apart | fix |
# |---|---|---|
# | 1 | first module with a non-finite output (Task 6) | lower rate, warm-up, clipping, bfloat16 |
# | 2 | overfit one batch (Task 1); which weights does the run's own step move? | mend the wiring |
# | 3 | is the loss above ln(1 + (C − 1)/e)? (Task 2) | hand over logits |
# | 4 | range test (Task 4); gradient norm at each step | lower rate; `zero_grad` |
# | 5 | a longer run; range test | train longer: here it is right; or unfreeze |
#
# Shuffled labels no test of the wiring sees: look at ten examples beside their labels.
#
# *Flat at ln(classes)* is the sign of a constant guess only where the classes are balanced. Else
# the loss of the best constant guess is the entropy of the labels, which is lower: with 90 % and
# 10 % it is 0.33 and not ln 2 = 0.69.
#
# An optimizer that is older than a *random* new head hides better: the body learns under the fixed
# head, and the loss falls all the same, only less far. So list which weights the run's own step
# moves.

# %% [markdown]
# ## Name the symptom first (2): the rest
#
# | | symptom | likely causes |
# |---|---|---|
# | 6 | training good, validation bad | overfitting; the two sets differ; a transform on one only |
# | 7 | validation suspiciously good | leak: duplicates, the label in the input, tuning on it |
# | 8 | good in train mode, bad in eval mode | batch-norm's running statistics are off |
# | 9 | two evaluations differ | dropout or batch-norm in train mode |
# | 10 | new task good, old one lost | forgetting |
# | 11 | out of memory | weights, gradients, optimizer state or activations |
#
# | | a test that tells the causes apart | fix |
# |---|---|---|
# | 6 | *training* data in eval mode, same transform | early stopping, more data, regularisation |
# | 7 | search for near-duplicates; train on one input field alone | split by source or time |
# | 8 | evaluate one set in both modes | freeze or recompute statistics; LayerNorm |
# | 9 | evaluate twice, the second time in another order | `model.eval()` |
# | 10 | the old task before and after (Task 8) | lower rate, replay, L2-SP, EWC, LoRA |
# | 11 | count the four | LoRA; 8-bit optimizer; sharding; checkpointing |
#
# What a test costs decides the order: one batch first, then the curves, then whatever needs a
# second run.

# %%
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from autograder import check, show_reference

# %% [markdown]
# ## Task 1: overfit one batch
#
# The cheapest test there is: can the model learn *one* batch by heart? If the loss of eight
# different examples does not go to about zero with regularisation off, no amount of data will help.
# Something is frozen or detached, the model gives probabilities and not logits, the rate is far
# off, or so small a model has not the capacity.
#
# Know what it can't see. Eight shuffled labels can be learned by heart, too. A frozen or detached
# body goes unnoticed where the head alone can learn eight examples. And whatever sits in the run's
# own step (its loss, its optimizer, a missing `zero_grad`) goes unnoticed, too: the test makes its
# own.
#
# It is done on a copy: a model that has learned eight examples by heart is of no more use.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# Which call turns dropout off? What does a deep copy of a model share with the model?
#
# </details>
# <details><summary>Hint</summary>
#
# `copy.deepcopy(model).eval()`, then a loop of forward, note the loss, backward, step. Only the
# trainable parameters of the *copy* go into the optimizer.
#
# </details>


# %% task="overfit_one_batch"
def overfit_one_batch(model, batch, steps, lr):
    """Train a copy of `model` on one batch, and return the losses.

    Arguments
        model   nn.Module with something trainable; left unchanged: parameters, their .grad, buffers
                and modes
        batch   pair (x, labels): model(x) gives logits (B, C); labels (B,) int64. Left unchanged
        steps   int ≥ 0
        lr      float
    Returns
        list of `steps` floats: the loss (mean cross-entropy) *before* each step; [] for 0 steps

    The copy is in eval mode all the time, so that dropout is off and batch-norm uses its running
    statistics. Each step is one of plain SGD (no momentum, no weight decay) with rate `lr` on
    those parameters that are trainable (`requires_grad`): frozen ones stay as they are.

    Raises ValueError if `steps` is negative.
    """
    ### BEGIN SOLUTION
    if steps < 0:
        raise ValueError(f"steps must not be negative: {steps}")
    x, labels = batch
    trial = copy.deepcopy(model).eval()
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=lr)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(trial(x), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses
    ### END SOLUTION


# %% check="overfit_one_batch" points=7
check("overfit_one_batch")

# %% [markdown]
# ## Task 2: `diagnose`
#
# Curves tell a good deal, and always the same things, so a program can read them. With C classes,
# v[0] and v[-1] the first and last entry of a list, and b the first epoch with the smallest
# eval_loss:
#
# | finding | is made if |
# |---|---|
# | `"not_finite"` | some entry of train_loss or eval_loss is NaN or infinite |
# | `"diverging"` | train_loss[-1] > 1.2 · train_loss[0] |
# | `"flat_at_chance"` | ln C − 0.05 · ln C < x < ln C + 0.05 · ln C, each x of train_loss |
# | `"probabilities_as_logits"` | train_accuracy[-1] > 0.9 and train_loss[-1] > ln(1 + (C − 1)/e) |
# | `"overfitting"` | eval_loss[-1] > 1.1 · eval_loss[b] and train_loss[-1] < train_loss[b] |
# | `"generalisation_gap"` | train_accuracy[-1] − eval_accuracy[-1] > 0.1 |
# | `"eval_mode_broken"` | train_accuracy[-1] > 0.9 and eval_accuracy[-1] < 1.5 / C |
# | `"suspiciously_good"` | eval_accuracy[0] > 0.99 |
# | `"forgetting"` | max(old_accuracy) − old_accuracy[-1] > 0.05 |
#
# A finding reads the lists that its rule names. The numbers are rules of thumb, and ours; a finding
# is a question to ask, not a verdict: a model that starts at 99.5 % may be just good.

# %% [markdown]
# **Why ln(1 + (C − 1)/e)?** A second softmax sees probabilities, numbers between 0 and 1. At its
# most certain the first one gives 1 to the right class and 0 to the others, and the second turns
# that into e/(e + C − 1). The loss cannot fall below −ln of it. With ten classes that is 1.46.
#
# difficulty ●●○○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Before the rules, one helper: give me the lists under these keys, or nothing if one of them can't
# be used. What do comparisons with NaN give, and `min` of a list that holds NaN?
#
# </details>
# <details><summary>Hint</summary>
#
# Let the helper return None unless all lists are there, not empty and finite; then each rule is an
# `if` of one line. `values.index(min(values))` is the first epoch with the smallest value.
#
# </details>


# %% task="diagnose"
def diagnose(history, num_classes):
    """What the curves of a training run point at, by the table above.

    Arguments
        history      dict of lists of floats with one entry an epoch, under some of the keys
                     "train_loss", "eval_loss", "train_accuracy", "eval_accuracy", "old_accuracy"
                     (accuracies in [0, 1]); other keys are ignored. Left unchanged
        num_classes  int ≥ 2: C in the table
    Returns
        set of str: the findings' names. Several may hold at once; the set may be empty

    "not_finite" reads those of train_loss and eval_loss that are there. Any other finding is *not*
    made if one of the lists under its keys is missing, empty, or holds a NaN or infinite entry
    (other lists do not matter). With one epoch, first and last entry are the same.

    Raises ValueError if num_classes < 2, or if two of the five lists differ in length.
    """
    ### BEGIN SOLUTION
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, not {num_classes}")
    keys = ("train_loss", "eval_loss", "train_accuracy", "eval_accuracy", "old_accuracy")
    if len({len(history[key]) for key in keys if key in history}) > 1:
        raise ValueError("the lists of the history differ in length")

    def usable(*names):
        lists = [history.get(name, []) for name in names]
        return all(values and all(map(math.isfinite, values)) for values in lists)

    found = set()
    losses = [*history.get("train_loss", []), *history.get("eval_loss", [])]
    if not all(map(math.isfinite, losses)):
        found.add("not_finite")
    if usable("train_loss"):
        train_loss, chance = history["train_loss"], math.log(num_classes)
        if train_loss[-1] > 1.2 * train_loss[0]:
            found.add("diverging")
        if all(abs(value - chance) < 0.05 * chance for value in train_loss):
            found.add("flat_at_chance")
    if usable("train_loss", "train_accuracy"):
        floor = math.log(1 + (num_classes - 1) / math.e)  # of a softmax behind a softmax
        if history["train_accuracy"][-1] > 0.9 and history["train_loss"][-1] > floor:
            found.add("probabilities_as_logits")
    if usable("train_loss", "eval_loss"):
        train_loss, eval_loss = history["train_loss"], history["eval_loss"]
        best = eval_loss.index(min(eval_loss))
        if eval_loss[-1] > 1.1 * eval_loss[best] and train_loss[-1] < train_loss[best]:
            found.add("overfitting")
    if usable("train_accuracy", "eval_accuracy"):
        train, evaluated = history["train_accuracy"][-1], history["eval_accuracy"][-1]
        if train - evaluated > 0.1:
            found.add("generalisation_gap")
        if train > 0.9 and evaluated < 1.5 / num_classes:
            found.add("eval_mode_broken")
    if usable("eval_accuracy") and history["eval_accuracy"][0] > 0.99:
        found.add("suspiciously_good")
    if usable("old_accuracy"):
        old = history["old_accuracy"]
        if max(old) - old[-1] > 0.05:
            found.add("forgetting")
    return found
    ### END SOLUTION


# %% check="diagnose" points=9
check("diagnose")

# %% [markdown]
# ## Task 3: early stopping
#
# Stop when validation no longer gains, *and go back to the best weights*. Published versions
# forget the second half, or keep a reference where they need a copy: a `state_dict()` shares its
# memory with the model, and what you restore is then what you had anyway.
#
# What you stop on is data that you have used. A validation set that chose the epoch is a little too
# kind to it: report the test set, once.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Three things to remember between calls: the best value, how long ago it was, and a copy of all
# that the model was then. How does `NaN < best` come out?
#
# </details>
# <details><summary>Hint</summary>
#
# `copy.deepcopy(model.state_dict())` holds parameters *and* buffers; `load_state_dict` copies them
# back in place. Write "gain" so that it is False for NaN, then count what is no gain.
#
# </details>


# %% task="early_stopping"
class EarlyStopping:
    """Tells when to stop, and gives back the best weights.

    Arguments
        patience   int ≥ 1: stop at this many values in a row without a gain
        min_delta  float ≥ 0: a gain must be larger than this
        mode       "min": smaller values are better (a loss); "max": larger ones (an accuracy)

    A value is a *gain* if it is the first that is not NaN, or if it is better than the best value
    by strictly more than min_delta: value < best − min_delta, or value > best + min_delta. "The
    best value" is that of the last gain. NaN is never a gain.

    Raises ValueError: patience is not an int (2.0 and True are none) or is < 1; min_delta is
    negative or NaN; mode is neither "min" nor "max".
    """

    def __init__(self, patience, min_delta=0.0, mode="min"):
        ### BEGIN SOLUTION
        if type(patience) is not int or patience < 1:
            raise ValueError(f"patience must be an int of at least 1, not {patience!r}")
        if not min_delta >= 0:  # NaN, too
            raise ValueError(f"min_delta must not be negative, but is {min_delta!r}")
        if mode not in ("min", "max"):
            raise ValueError(f'mode is "min" or "max", not {mode!r}')
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.best = self.state = None
        self.waited = 0
        ### END SOLUTION

    def step(self, value, model):
        """Take the value (a float) of one epoch, and the model as it is now; return a bool.

        True if this is at least the `patience`-th value in a row without a gain, else False. At a
        gain a copy of everything in model.state_dict() is kept, so that training on does not
        change it. The model itself is left unchanged.
        """
        ### BEGIN SOLUTION
        sign = 1 if self.mode == "min" else -1  # in "max", less is better for −value
        if self.best is None:
            gain = not math.isnan(value)
        else:
            gain = sign * value < sign * self.best - self.min_delta  # False for NaN
        if gain:
            self.best, self.waited = value, 0
            self.state = copy.deepcopy(model.state_dict())  # state_dict() alone shares memory
        else:
            self.waited += 1
        return self.waited >= self.patience
        ### END SOLUTION

    def restore(self, model):
        """Give `model` the parameters and buffers that it had at the last gain, in place.

        Its Parameters stay the same objects, and what is kept stays as it is: restore can be
        called again after more training.

        Raises RuntimeError if there has been no gain yet.
        """
        ### BEGIN SOLUTION
        if self.state is None:
            raise RuntimeError("there has been no gain: nothing to restore")
        model.load_state_dict(self.state)
        ### END SOLUTION


# %% check="early_stopping" points=9
check("early_stopping")

# %% [markdown]
# ## Task 4: a range test for the learning rate
#
# Which rate? Start far too low, raise it from step to step, and watch the loss: it stays, falls,
# and explodes. A usable rate lies below the explosion: how far, a small search has to say, and with
# something to forget it is further. Leslie Smith's test raises the rate linearly over a few epochs
# (arXiv 1506.01186 §3.3); ours geometrically, since rates matter by their ratio.
#
# A few steps at a large rate ruin a model, so the test must leave no trace: weights, *batch-norm
# buffers* and modes are those of before.
#
# difficulty ●●●○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# For `steps` rates there are steps − 1 ratios between them. And what does a `for` loop over a list
# of three batches do at the fourth step?
#
# </details>
# <details><summary>Hint</summary>
#
# rate = low · (high/low)^(i/(steps − 1)). A small generator, `while True: yield from loader`, goes
# round for ever (think of the empty loader). The simplest way to leave no trace is a deep copy.
#
# </details>


# %% task="lr_range_test"
def lr_range_test(model, loader, low, high, steps):
    """Train with a rate that rises from `low` to `high`; return the rates and the losses.

    Arguments
        model      nn.Module, x → logits (B, C), with something trainable; left unchanged:
                   parameters, their .grad, buffers, and the mode of each submodule
        loader     iterable of batches (x, labels). One batch a step, from the first on; when it is
                   used up it is iterated anew (one that shuffles shuffles again), and for nothing
                   else
        low, high  floats, 0 < low < high
        steps      int ≥ 2
    Returns
        {"lr": [...], "loss": [...]}, two lists of floats of one length, at most `steps`

    Step i = 0, 1, …, steps − 1 has the rate low · (high / low) ** (i / (steps − 1)): evenly spaced
    in the logarithm, both ends included. In each step the loss (mean cross-entropy) of the next
    batch is computed and noted beside the rate; then follows a step of plain SGD with that rate on
    the trainable parameters (requires_grad). The model trains in train mode; gradients that it had
    before have no influence.

    Stop rule: the test ends early after the first loss that is NaN, infinite, or larger than 4
    times the smallest loss noted so far. That loss and its rate are the last entries.

    Raises ValueError: not 0 < low < high; steps < 2; a loader without a batch.
    """
    ### BEGIN SOLUTION
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, not {low}, {high}")
    if steps < 2:
        raise ValueError(f"two steps at least, not {steps}")

    def endless():
        while True:
            empty = True
            for batch in loader:
                empty = False
                yield batch
            if empty:
                raise ValueError("the loader has no batch")

    trial = copy.deepcopy(model).train()  # whatever happens to it, `model` does not see it
    optimizer = torch.optim.SGD([p for p in trial.parameters() if p.requires_grad], lr=low)
    rates, losses = [], []
    for i, (x, labels) in zip(range(steps), endless(), strict=False):
        optimizer.param_groups[0]["lr"] = low * (high / low) ** (i / (steps - 1))
        loss = F.cross_entropy(trial(x), labels)
        rates.append(optimizer.param_groups[0]["lr"])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 4 * min(losses):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"lr": rates, "loss": losses}
    ### END SOLUTION


# %% check="lr_range_test" points=9
check("lr_range_test")

# %% [markdown]
# ## Task 5: bug hunt, six steps that people ship
#
# Each of the functions below runs, returns a sensible-looking number, and is wrong in one way. None
# raises an error: that is what makes such bugs dear.
#
# Look at what they print before you read on: what should each have printed? Then mend them, three
# and three, under the names of the tasks' cells.


# %%
def broken_train_step(model, optimizer, x, labels):
    loss = F.cross_entropy(model(x), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def broken_class_loss(model, x, labels):
    probabilities = model(x).softmax(dim=-1)
    return F.cross_entropy(probabilities, labels)


def broken_joint_step(body, head, optimizer, x, labels):
    features = body(x).detach()
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def broken_validate(model, loader):
    correct = seen = 0
    for x, labels in loader:
        correct += (model(x).argmax(dim=-1) == labels).sum().item()
        seen += len(labels)
    return correct / seen


def broken_probe_step(body, head, optimizer, x, labels):
    body.requires_grad_(False)
    body.train()
    loss = F.cross_entropy(head(body(x)), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def broken_next_token_loss(model, input_ids, labels):
    filler = labels.new_full((len(labels), 1), -100)
    labels = torch.cat([labels[:, 1:], filler], dim=1)
    logits = model(input_ids)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


# %% tags=["demonstration"]
torch.manual_seed(0)
x, labels = torch.randn(64, 10), torch.randint(0, 5, (64,))
body = nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU())
head = nn.Linear(32, 5)
model = nn.Sequential(body, head, nn.Dropout(0.3))

trial = copy.deepcopy(model)
optimizer = torch.optim.SGD(trial.parameters(), lr=1.0)
losses = [round(broken_train_step(trial, optimizer, x, labels), 2) for _ in range(81)]
print("train_step:      losses", losses[::10], "(every tenth)")
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
sure = nn.Linear(10, 5)  # a confident model, and always right
sure.weight.data.normal_(std=50)
print("class_loss:     ", round(broken_class_loss(sure, x, sure(x).argmax(dim=1)).item(), 3))
before = body[0].weight.clone()
broken_joint_step(body, head, optimizer, x, labels)
moved = (body[0].weight - before).abs().max().item()
print("joint_step:     ", f"the body has moved by {moved}")
print("validate:       ", [broken_validate(model, [(x, labels)]) for _ in range(3)])
mean = body[1].running_mean.clone()
broken_probe_step(body, head, optimizer, x, labels)
drift = (body[1].running_mean - mean).abs().max().item()
print("probe_step:     ", f"the body's running mean has moved by {drift:.3f}")
tokens = torch.arange(20).repeat(2, 1)  # 0, 1, 2, … : every next token is this one plus 1


def counts_on(input_ids):
    """A perfect model of these sequences."""
    return 20.0 * F.one_hot((input_ids + 1) % 20, 20)


print("next_token_loss:", broken_next_token_loss(counts_on, tokens, tokens).item())

# %% [markdown]
# ### Task 5: the first three, training
#
# None of the three stops the loss from falling at first.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# For each, ask what the numbers of a *second* step depend on, what `cross_entropy` expects, and
# which parameters get a gradient.
#
# </details>
# <details><summary>Hint</summary>
#
# `optimizer.zero_grad()` belongs before `backward()`. `F.cross_entropy` takes logits: it has the
# log-softmax inside. `.detach()` ends the graph: nothing before it learns.
#
# </details>


# %% task="broken_training_steps"
def train_step(model, optimizer, x, labels):
    """broken_train_step, mended: one step of `optimizer` on the loss of this batch alone.

    x → model(x), logits (B, C); labels (B,) int64. Gradients left over from before, on parameters
    that `optimizer` holds, have no influence. Returns the loss before the step as a float.
    """
    ### BEGIN SOLUTION
    loss = F.cross_entropy(model(x), labels)
    optimizer.zero_grad()  # backward() adds to the gradients that are there
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


def class_loss(model, x, labels):
    """broken_class_loss, mended: the mean cross-entropy of the model's logits (B, C).

    labels (B,) int64. Returns a tensor without dimensions, with its graph: .backward() reaches the
    model. Large logits make it neither NaN nor infinite.
    """
    ### BEGIN SOLUTION
    return F.cross_entropy(model(x), labels)  # it takes logits: the softmax is inside
    ### END SOLUTION


def joint_step(body, head, optimizer, x, labels):
    """broken_joint_step, mended: one step that trains the body *and* the head.

    head(body(x)) gives logits (B, C); labels (B,) int64; `optimizer` holds the parameters of both.
    Gradients left over from before have no influence. Returns the loss before the step as a float.
    """
    ### BEGIN SOLUTION
    loss = F.cross_entropy(head(body(x)), labels)  # nothing is detached on the way
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


# %% check="broken_training_steps" points=7
check("broken_training_steps")

# %% [markdown]
# ### Task 5: the other three, modes and labels
#
# `requires_grad` and train mode are two different switches, and `torch.no_grad()` is a third one.
# None does the work of another. As to labels, one place shifts them, and only one: here the loss.
#
# difficulty ●●○○○ · importance ●●●●● · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# On what does a batch-norm's output depend in train mode? What does it change there, with or
# without gradients? And which logits speak about which token?
#
# </details>
# <details><summary>Hint</summary>
#
# Note `{module: module.training for module in model.modules()}`, call `eval()`, work, and set each
# `module.training` back. Logits at position t are about token t + 1: `logits[:, :-1]` against
# `labels[:, 1:]`, once.
#
# </details>


# %% task="broken_evaluation_steps"
def validate(model, loader):
    """broken_validate, mended: the share of right answers, as a float.

    loader: iterable of batches (x, labels) with at least one example in all; batches may differ in
    size. The model answers in eval mode: the result does not depend on how the examples are
    batched, nor on chance. Afterwards each submodule is in the mode that it was in, and parameters
    and buffers are those of before.
    """
    ### BEGIN SOLUTION
    modes = {module: module.training for module in model.modules()}
    model.eval()
    correct = seen = 0
    with torch.no_grad():  # saves memory; it does not turn dropout off
        for x, labels in loader:
            correct += (model(x).argmax(dim=-1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return correct / seen
    ### END SOLUTION


def probe_step(body, head, optimizer, x, labels):
    """broken_probe_step, mended: one step that trains the head on a body that is really frozen.

    head(body(x)) gives logits (B, C); labels (B,) int64; `optimizer` holds the head's parameters,
    and gradients left over on them have no influence. The body answers in eval mode; the head in
    the mode that it is in. Afterwards the body's parameters and buffers are bit for bit what they
    were, and each of its submodules is in the mode that it was in. Returns the loss before the
    step as a float.
    """
    ### BEGIN SOLUTION
    modes = {module: module.training for module in body.modules()}
    body.eval()  # else a batch-norm uses the batch's statistics and moves its own
    with torch.no_grad():
        features = body(x)
    for module, mode in modes.items():
        module.training = mode
    loss = F.cross_entropy(head(features), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


def next_token_loss(model, input_ids, labels):
    """broken_next_token_loss, mended: the mean cross-entropy of predicting the next token.

    model(input_ids) gives logits (B, T, V) for input_ids (B, T) int64, T ≥ 2; the logits at
    position t are about the token at t + 1. labels (B, T) int64 stand beside the tokens that they
    name (they are *not* shifted: without a mask labels equals input_ids), -100 is ignored. The mean
    is over the labels at positions 1 to T − 1 that are not -100, of which there is one at least.
    Returns a tensor without dimensions, with its graph. The arguments are left unchanged.
    """
    ### BEGIN SOLUTION
    logits = model(input_ids)  # (B, T, V)
    # Shifted once: (B, T − 1, V) against (B, T − 1).
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    ### END SOLUTION


# %% check="broken_evaluation_steps" points=7
check("broken_evaluation_steps")

# %% [markdown]
# ## Task 6: the first NaN
#
# By the time a loss is NaN, nearly everything is: one bad number spreads to all that follows in one
# forward, and to the weights in one step. What you want to know is where it *began*. Hooks see each
# module's output at the moment when it is finished.
#
# Look at the weights from *before* that step: afterwards the first layer is to blame for
# everything. (A NaN that arises in the backward pass no forward hook sees;
# `torch.autograd.detect_anomaly()` does.)
#
# An infinity counts, too. It is often there first: ∞ − ∞ and 0 · ∞ are NaN.
#
# difficulty ●●●○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# A block finishes after the layers inside it. So in order of finishing, which name comes first?
#
# </details>
# <details><summary>Hint</summary>
#
# `module.register_forward_hook(hook)` with `hook(module, inputs, output)`, on each of
# `model.named_modules()`. Outputs may be nested: a small recursive function says whether all
# floating-point tensors in them are finite. On a deep copy, hooks and buffers need no tidying up.
#
# </details>


# %% task="first_nan_module"
def first_nan_module(model, batch):
    """The dotted name of the module where a forward first goes wrong, or None.

    Arguments
        model   nn.Module. It is called once as model(x), in the modes that its submodules are in
        batch   pair (x, labels); x a tensor; the labels are not used
    Returns
        the name, as in model.named_modules(), of the first module whose output holds a NaN or an
        infinite value, in the order in which the modules *finish* their forward (a layer before
        the block around it; not the order in which they were registered); "" if that is the model
        itself, outside of any submodule; None if all outputs are finite

    An output may be a tensor or a list, tuple or dict of outputs, nested at will. Only tensors of
    floating point count. A module in several places has the first of its names. The model is left
    unchanged: parameters, .grad, buffers (batch-norm in train mode included), modes, hooks.

    Raises ValueError if x itself holds a NaN or an infinite value: no module is to blame for it.
    """
    ### BEGIN SOLUTION
    x, _ = batch

    def is_finite(output):
        if torch.is_tensor(output):
            return not output.is_floating_point() or bool(output.isfinite().all())
        if isinstance(output, dict):
            output = output.values()
        if isinstance(output, (list, tuple)) or not isinstance(output, (str, type(None))):
            return all(map(is_finite, output)) if hasattr(output, "__iter__") else True
        return True

    if not is_finite(x):
        raise ValueError("the batch itself holds values that are not finite")
    found = []

    def hook_for(name):
        def hook(module, inputs, output):
            if not is_finite(output):
                found.append(name)

        return hook

    trial = copy.deepcopy(model)  # hooks and buffers of `model` stay as they are
    for name, module in trial.named_modules():
        module.register_forward_hook(hook_for(name))
    with torch.no_grad():
        trial(x)
    return found[0] if found else None
    ### END SOLUTION


# %% check="first_nan_module" points=7
check("first_nan_module")

# %% [markdown]
# ## Task 7: a step in mixed precision
#
# float16 has a narrow range: its smallest above 0 is 6e-8, and gradients below half of it become 0.
# Loss scaling multiplies the loss, and so every gradient, by a large factor, and divides before the
# step (arXiv 1710.03740). When something overflows, the step is skipped and the factor lowered.
# bfloat16 has the range of float32 and needs none of it.
#
# Clipping (arXiv 1211.5063) comes between, and its place is what people get wrong: before the
# division it compares `max_norm` with gradients that are 65,536 times too large, clips nearly
# all, and after the division next to nothing is left. With SGD the run does not fail; it only
# hardly learns.
#
# difficulty ●●●○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Four verbs: scale, unscale, clip, step. And a fifth, for the next time.
#
# </details>
# <details><summary>Hint</summary>
#
# `with torch.autocast(x.device.type, dtype=dtype):` around forward and loss only. Then
# `scaler.scale(loss).backward()`, `scaler.unscale_(optimizer)`, `nn.utils.clip_grad_norm_` (which
# returns the norm from before), `scaler.step(optimizer)`, `scaler.update()`.
#
# </details>


# %% task="amp_step"
def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    """One training step in mixed precision, with loss scaling and clipping.

    Arguments
        model      nn.Module with float32 parameters, x → logits (B, C)
        optimizer  holds the model's parameters
        scaler     torch.amp.GradScaler, or any object with its scale(loss), unscale_(optimizer),
                   step(optimizer) and update(); no other method of it is used
        x, labels  one batch, on the model's device; labels (B,) int64
        max_norm   float > 0: the true gradients are scaled down to this total norm if theirs is
                   larger (all parameters of the model taken as one vector), and else left alone
        dtype      torch.bfloat16 or torch.float16: forward and loss run under torch.autocast with
                   it, on the device type of x
    Returns
        (loss, norm), two floats: the loss before the step, *not* scaled; the total norm of the
        true (unscaled) gradients before clipping

    Gradients left over from before have no influence. Each of the scaler's four methods is called
    exactly once. If a gradient is not finite, nothing is raised; it is for the scaler to skip the
    step and lower its scale, and norm is inf or NaN.
    """
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    with torch.autocast(x.device.type, dtype=dtype):
        loss = F.cross_entropy(model(x), labels)
    scaler.scale(loss).backward()  # gradients times the scale
    scaler.unscale_(optimizer)  # true gradients: only now is max_norm in their unit
    norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    scaler.step(optimizer)  # skipped if unscale_ met one that is not finite
    scaler.update()
    return loss.item(), norm.item()
    ### END SOLUTION


# %% check="amp_step" points=9
check("amp_step")

# %% [markdown]
# ## Task 8: forgetting
#
# "It has not forgotten anything" is a claim about *other* data than those on which the new model is
# judged. Measure the old tasks before you begin: afterwards it is too late, or at least a nuisance.
#
# difficulty ●○○○○ · importance ●●●●○ · about 5 minutes
#
# <details><summary>Nudge</summary>
#
# What should a task that was measured before and not after count as: 0, or an error?
#
# </details>
# <details><summary>Hint</summary>
#
# One dict comprehension over `before`, and a check of the keys ahead of it. No `abs`, no `max`.
#
# </details>


# %% task="forgetting"
def forgetting(before, after):
    """How much each old task has lost.

    Arguments
        before, after   dicts of task name → score (float, more is better), before and after
                        fine-tuning. Left unchanged
    Returns
        a new dict of task name → before − after, as a float, for every task in `before`, in its
        order. Positive: lost. Negative: gained (it is not cut off at 0). A task that is only in
        `after` is new and does not appear. Two empty dicts give an empty one

    Raises ValueError if a task of `before` is missing in `after`.
    """
    ### BEGIN SOLUTION
    if missing := before.keys() - after.keys():
        raise ValueError(f"not measured afterwards: {sorted(missing)}")
    return {task: float(score - after[task]) for task, score in before.items()}
    ### END SOLUTION


# %% check="forgetting" points=5
check("forgetting")

# %% [markdown]
# ## Task 9: L2-SP, a pull towards the start
#
# Weight decay pulls every weight towards 0, also those that pretraining has put somewhere else with
# good reason. L2-SP (arXiv 1802.01483; SP for *starting point*) pulls towards the pretrained
# weights instead. A new head has none: the paper gives it ordinary weight decay, with a strength of
# its own; here it stays out.
#
# EWC (arXiv 1612.00796) goes one step further, with a strength of its own for each weight: how much
# the old task depends on it.
#
# difficulty ●●○○○ · importance ●●●○○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# With a half in front of the square, what is the gradient?
#
# </details>
# <details><summary>Hint</summary>
#
# `dict(model.named_parameters())`. Subtracting tensors of different shapes may broadcast without a
# word: compare the shapes first.
#
# </details>


# %% task="l2_sp_penalty"
def l2_sp_penalty(model, start, strength):
    """strength / 2 · Σ ‖w − w₀‖², over the parameters that `start` names.

    Arguments
        model     nn.Module
        start     dict of parameter name → tensor w₀ of the parameter's shape, as made before
                  training by {name: p.detach().clone() for name, p in model.named_parameters()},
                  with all names or some of them. Left unchanged; no gradient flows to it, whether
                  or not its tensors require one
        strength  float ≥ 0
    Returns
        tensor without dimensions, in the parameters' dtype (float32 or float64), to be added to
        the loss: its gradient at w is strength · (w − w₀). With an empty `start`: 0.0, in any
        floating-point dtype

    Parameters that `start` does not name (a new head) take no part: decay of theirs is the
    optimizer's business.

    Raises ValueError: a name that is no parameter of the model; a shape that is not exactly the
    parameter's (no broadcasting); a negative strength.
    """
    ### BEGIN SOLUTION
    if strength < 0:
        raise ValueError(f"strength must not be negative: {strength}")
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for name, origin in start.items():
        if name not in parameters:
            raise ValueError(f"the model has no parameter {name!r}")
        if parameters[name].shape != origin.shape:
            raise ValueError(f"{name} is {tuple(parameters[name].shape)} in the model")
        total = total + (parameters[name] - origin.detach()).square().sum()
    return strength / 2 * total
    ### END SOLUTION


# %% check="l2_sp_penalty" points=6
check("l2_sp_penalty")

# %% [markdown]
# ## Task 10: checkpointing
#
# The backward pass needs what the forward pass computed, and in a deep network with large inputs
# that is often most of the memory. Checkpointing keeps only the inputs of some segments and
# computes the rest again on the way back: about one more forward for much less memory (arXiv
# 1604.06174).
#
# Be exact about how much. Each block its own segment: n inputs are kept, so memory still grows with
# n, only far more slowly. O(√n) takes segments of about √n blocks: √n inputs, and the insides of √n
# blocks while one segment is on its way back.
#
# Block by block it saves nothing on a chain of plain linear layers: all that such a layer keeps is
# its input. (Segments of several layers save there, too.)
#
# difficulty ●●●○○ · importance ●●●●○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# `torch.utils.checkpoint.checkpoint(function, *args)`. It has two variants. Which of them still
# gives the blocks their gradients where x is a plain input that needs none?
#
# </details>
# <details><summary>Hint</summary>
#
# `use_reentrant=False`. Leave `preserve_rng_state` as it is: the second forward must draw the same
# dropout masks as the first.
#
# </details>


# %% task="checkpointed"
def checkpointed(blocks, x):
    """Put x through each of `blocks` in turn, with less memory for the backward pass.

    Arguments
        blocks  list or nn.ModuleList of nn.Modules, tensor (B, T, d) → tensor (B, T, d), without
                batch-norm (computed twice, it would move its statistics twice); no blocks: x
        x       tensor (B, T, d), with or without requires_grad
    Returns
        tensor (B, T, d): the same output, and after .backward() the same gradients of x (if it
        requires one) and of the blocks' parameters as without checkpointing, dropout in train mode
        included (if torch's generator was in the same state before)

    Each block's forward runs at most twice in a forward and backward together.

    Memory, on nn.TransformerEncoderLayer(32, 4, 128, batch_first=True, norm_first=True) blocks in
    train mode. What is saved for backward must be at least 40 % less than without checkpointing:
    the bytes of all distinct storages that torch.autograd.graph.saved_tensors_hooks sees,
    parameters not counted (six blocks, x of (4, 48, 32); the reference saves 98 % less). And in a
    forward the process's memory must rise by less than 60 % of what is saved without checkpointing
    (24 blocks, x of (16, 96, 32)). Where the grader has a GPU, also there: after the forward of
    twelve blocks 256 wide on x of (64, 256, 256) the process holds at most 60 % of the GPU's memory
    that it holds without checkpointing.
    """
    ### BEGIN SOLUTION
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False)  # keeps x, and nothing from inside
    return x
    ### END SOLUTION


# %% check="checkpointed" points=9
check("checkpointed")

# %% [markdown]
# **Where it helps, and where not.** What is saved for backward by six blocks of a transformer and
# by six plain linear layers, without checkpointing and with it.


# %% tags=["demonstration"]
def saved_for_backward(function, blocks, x):
    """Bytes of the distinct storages that a forward saves, parameters not counted."""
    seen, kept = {}, []
    own = {p.untyped_storage().data_ptr() for block in blocks for p in block.parameters()}

    def note(tensor):
        kept.append(tensor.detach())  # alive: no address is used twice
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return kept[-1]  # not tensor, which would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        function(blocks, x)
    return sum(size for place, size in seen.items() if place not in own)


settings = {"dropout": 0.1, "batch_first": True, "norm_first": True}
chains = {
    "transformer": [nn.TransformerEncoderLayer(32, 4, 128, **settings) for _ in range(6)],
    "plain linear": [nn.Linear(32, 32) for _ in range(6)],
}
for name, blocks in chains.items():
    x = torch.randn(16, 96, 32)  # (B, T, d)
    plain = saved_for_backward(lambda blocks, x: nn.Sequential(*blocks)(x), blocks, x)
    less = saved_for_backward(checkpointed, blocks, x)
    print(f"{name:14}{plain / 1e6:6.1f} MB → {less / 1e6:4.1f} MB, {1 - less / plain:.0%} less")

# %% [markdown]
# ## What it does (1): symptoms on demand
#
# `pretrained_resnet()` knows the digits 0 to 4. It gets a new head and 250 images of the digits 5
# to 9. One run is done properly. In each of the others one thing is wrong, and `diagnose`, *your*
# `diagnose`, reads the curves without knowing which.
#
# A guess before you look: which of the faults can it name, and which will it miss?

# %% tags=["demonstration"]
import statistics

import matplotlib.pyplot as plt
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from course import SCALE
from course.data import mnist
from course.models import pretrained_resnet

new_train = mnist("train", digits=range(5, 10), limit=250)
new_test = mnist("test", digits=range(5, 10), limit=400)
old_train = mnist("train", digits=range(5), limit=250)
old_test = mnist("test", digits=range(5), limit=400)


@torch.no_grad()
def loss_and_accuracy(model, data, head=None):
    """In eval mode, with another head if there is one."""
    model.eval()
    own, model.fc = model.fc, head or model.fc
    images, classes = data.tensors  # (N, 1, 28, 28), (N,)
    logits = model(images)  # (N, 5)
    model.fc = own
    accuracy = (logits.argmax(dim=1) == classes).float().mean().item()
    return F.cross_entropy(logits, classes).item(), accuracy


# %% tags=["demonstration"]
def faulty_run(
    lr=0.05, epochs=5, images=250, zero_grad=True, softmax=False, frozen=False, hold=False
):
    """Plain SGD with one thing wrong, or none: the history."""
    torch.manual_seed(0)
    model = pretrained_resnet()
    old_head, model.fc = model.fc, nn.Linear(model.fc.in_features, 5)
    learns = model.parameters()
    if frozen:  # the head starts at zero, and the optimizer does not know of it
        nn.init.zeros_(model.fc.weight)
        nn.init.zeros_(model.fc.bias)
        learns = [p for name, p in model.named_parameters() if not name.startswith("fc")]
    optimizer = torch.optim.SGD(learns, lr=lr)
    loader = DataLoader(Subset(new_train, range(images)), batch_size=25, shuffle=True)
    names = ("train_loss", "train_accuracy", "eval_loss", "eval_accuracy", "old_accuracy")
    history = {name: [] for name in names}
    for _ in range(1 if SCALE == "small" else epochs):
        model.train(not hold)  # hold: batch-norm keeps its statistics
        total = right = 0
        for x, classes in loader:
            logits = model(x)
            loss = F.cross_entropy(logits.softmax(dim=1) if softmax else logits, classes)
            if zero_grad:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x)
            right += (logits.argmax(dim=1) == classes).sum().item()
        values = (total / images, right / images, *loss_and_accuracy(model, new_test))
        old = loss_and_accuracy(model, old_test, old_head)[1]
        for name, value in zip(names, (*values, old), strict=True):
            history[name].append(value)
    return model, history


# %% tags=["demonstration"]
RUNS = {
    "nothing wrong": {},
    "rate 1, batch-norm held": {"lr": 1.0, "hold": True},
    "rate 0.3": {"lr": 0.3},
    "no zero_grad, rate 0.1": {"lr": 0.1, "zero_grad": False},
    "softmax twice, rate 0.2": {"lr": 0.2, "softmax": True},
    "head at zero, frozen": {"frozen": True},
    "40 images, 12 epochs": {"images": 40, "epochs": 12},
}
histories, models = {}, {}
for label, fault in tqdm(RUNS.items(), desc="symptoms"):
    models[label], histories[label] = faulty_run(**fault)
    print(f"{label:26}{', '.join(sorted(diagnose(histories[label], 5))) or '(nothing found)'}")

# %% tags=["demonstration"]
figure, panels = plt.subplots(1, 3, figsize=(14, 4))
for label, history in histories.items():
    epochs = range(1, len(history["train_loss"]) + 1)
    for panel, key in zip(panels, ("train_loss", "eval_loss", "eval_accuracy"), strict=True):
        panel.plot(epochs, history[key], marker=".", label=label)
chance, floor = math.log(5), math.log(1 + 4 / math.e)
panels[0].axhline(chance, color="grey", linestyle=":", label="ln 5")
panels[0].axhline(floor, color="grey", linestyle="--", label="ln(1 + 4/e): softmax twice")
panels[0].set(title="training loss (NaN is not drawn)", xlabel="epoch", ylabel="loss", ylim=(0, 3))
panels[1].set(title="validation loss", xlabel="epoch", ylabel="loss", yscale="log")
panels[2].set(title="validation accuracy", xlabel="epoch", ylabel="accuracy")
panels[0].legend(fontsize=7)
figure.suptitle("New digits, one seed: one run done properly, six with one thing wrong")
figure.tight_layout()
plt.show()

# %% [markdown]
# **What to see in it.**
#
# - *Named rightly:* the rate of 1 with batch-norm held (`not_finite`, in the first epoch), the
#   frozen head (`flat_at_chance`: all losses are 1.609 = ln 5, and since the head is zero no
#   gradient reaches the body either), and the second softmax (`probabilities_as_logits`: 98 % right
#   in training, with a loss of 0.96, above the floor of 0.905; validation is
#   measured without the bug, and may lie below). Beside it stand a gap and, by a
#   hair, overfitting: a fault seldom comes with one symptom.
# - *Half named:* gradients that are never zeroed. What shows is a validation loss that explodes,
#   and `diagnose` says overfitting, gap and forgetting. It names symptoms. A gradient norm at each
#   step, or reading the step, would have told the cause.
# - *A choice and not a bug:* the rate of 0.3 ends no worse on the new digits than 0.05 (0.910
#   against 0.887) and is named for what it did to the old ones: 0.623 are left of 0.99.
# - *A gap that is no overfitting:* with 40 images training accuracy is 1.000 and validation 0.825,
#   but validation loss still falls. Stopping early would not help; more images would.

# %% [markdown]
# ## What it does (2): evaluating in train mode
#
# The model that was trained properly, on the same 400 images, three times: in eval mode; in train
# mode in shuffled batches; and in train mode in batches that hold one digit each, as a folder of
# images that is read in order would give them.

# %% tags=["demonstration"]
images, classes = new_test.tensors
orders = {
    "shuffled": torch.randperm(400, generator=torch.Generator().manual_seed(0)),
    "sorted by digit": classes.argsort(),
}
for name, order in orders.items():
    loader = list(zip(images[order].split(20), classes[order].split(20), strict=True))
    right = validate(models["nothing wrong"].train(), loader)
    wrong = broken_validate(copy.deepcopy(models["nothing wrong"]).train(), loader)
    print(f"{name:18}eval mode {right:.3f}   train mode {wrong:.3f}")

# %% [markdown]
# **What to see in it.** Shuffled, train mode gives nearly the same, 0.890 against 0.887: that is
# why nobody notices. Sorted, it gives 0.292 against 0.887, since batch-norm normalises each digit
# by itself. Eval mode gives 0.887 in any order, which is what one wants of a measurement. And each
# evaluation in train mode moves the running statistics: the model that you ship is another one.

# %% [markdown]
# ## What it does (3): a range test
#
# From 1e-4 to 10 on the same 250 images, with a random head, from three seeds. Look for three
# parts: nothing happens; the loss falls; it explodes.

# %% tags=["demonstration"]
figure, panel = plt.subplots(figsize=(7, 4))
for seed in range(1 if SCALE == "small" else 3):
    torch.manual_seed(seed)
    model = pretrained_resnet()
    model.fc = nn.Linear(model.fc.in_features, 5)
    loader = DataLoader(new_train, batch_size=25, shuffle=True)
    found = lr_range_test(model, loader, 1e-4, 10.0, 20 if SCALE == "small" else 80)
    panel.plot(found["lr"], found["loss"], label=f"seed {seed}")
panel.axvline(0.05, color="grey", linestyle="--", label="0.05, used above")
panel.axvline(0.3, color="grey", linestyle=":", label="0.3, used above")
panel.set(xscale="log", xlabel="learning rate", ylabel="loss of the batch", ylim=(0, 7))
panel.set_title("Range test of the pretrained ResNet with a new head")
panel.legend()
plt.show()

# %% [markdown]
# **What to see in it.** Below about 1e-3 the loss hardly moves, then it falls, and between 0.2 and
# 0.5 it explodes for each of the seeds; there the test stops itself. 0.05 lies well inside. 0.3
# lies on the edge, and its run above shows it: a training loss of 2.6 in the first epoch. The curve
# is noisy, being made of single batches: read a power of ten from it, not two digits.

# %% [markdown]
# ## What it does (4): forgetting, and four ways
#
# Now with Adam and rate 2e-3, six epochs: good for the new digits, and hard on the old. With the
# *old* head put back on the new body, how much accuracy on the old digits is lost?
#
# | way | what differs |
# |---|---|
# | plain | nothing |
# | lower rate | 3e-4 |
# | L2-SP | a penalty of strength 0.1 towards the pretrained body (Task 9) |
# | replay | 32 images of old digits in each step, through the old head |
#
# Nothing was tuned but the rate of the plain way, which is high on purpose. At each figure ask what
# it costs on the new digits.


# %% tags=["demonstration"]
def adapt(way, seed):
    """Accuracy on the new digits, and what was lost on the old ones."""
    torch.manual_seed(seed)
    model = pretrained_resnet()
    old_head, model.fc = model.fc, nn.Linear(model.fc.in_features, 5)
    before = {"digits 0 to 4": loss_and_accuracy(model, old_test, old_head)[1]}
    start = {name: p.detach().clone() for name, p in model.named_parameters() if name[:2] != "fc"}
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4 if way == "lower rate" else 2e-3)
    new_head = model.fc
    for _ in range(6):
        model.train()
        for x, classes in DataLoader(new_train, batch_size=32, shuffle=True):
            loss = F.cross_entropy(model(x), classes)
            if way == "L2-SP":
                loss = loss + l2_sp_penalty(model, start, 0.1)
            if way == "replay":
                old_x, old_classes = old_train[torch.randint(len(old_train), (32,))]
                model.fc = old_head
                loss = loss + F.cross_entropy(model(old_x), old_classes)
                model.fc = new_head
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    after = {"digits 0 to 4": loss_and_accuracy(model, old_test, old_head)[1]}
    lost = forgetting(before, after)["digits 0 to 4"]
    return loss_and_accuracy(model, new_test)[1], lost


# %% tags=["demonstration"]
SEEDS = range({"small": 1, "default": 3, "full": 10}[SCALE])
WAYS = ("plain", "lower rate", "L2-SP", "replay")
runs = [(way, seed) for way in WAYS for seed in SEEDS]
results = {way: [] for way in WAYS}
for way, seed in tqdm(runs, desc="forgetting"):
    results[way].append(adapt(way, seed))

figure, panel = plt.subplots(figsize=(6, 4))
for way, rows in results.items():
    new, lost = zip(*rows, strict=True)
    panel.scatter(lost, new, label=way)
panel.set(xlabel="accuracy lost on old digits", ylabel="accuracy on new digits")
panel.set_title(f"Up and left is better; {len(SEEDS)} seed(s) each")
panel.legend()
plt.show()

# %% tags=["demonstration"]
# Ten seeds (COURSE_SCALE=full): mean and standard deviation. A run with fewer seeds is as stated if
# it is off by no more than four standard deviations, or by 0.05 where seeds hardly differ: with 400
# test images the standard error of an accuracy of 0.9 is 0.015.
STATED = {
    "plain, new digits": (0.945, 0.017),
    "plain, lost on old digits": (0.269, 0.100),
    "lower rate, new digits": (0.905, 0.012),
    "lower rate, lost on old digits": (0.030, 0.026),
    "L2-SP, new digits": (0.889, 0.036),
    "L2-SP, lost on old digits": (0.067, 0.067),
    "replay, new digits": (0.936, 0.016),
    "replay, lost on old digits": (0.001, 0.005),
}
TOLERANCE = 0.05
measured = {}
for way, rows in results.items():
    for column, what in enumerate(("new digits", "lost on old digits")):
        measured[f"{way}, {what}"] = statistics.mean(row[column] for row in rows)

print(f"{'':32}{'stated':>16}{'measured':>10}")
for key, (mean, spread) in STATED.items():
    off = abs(measured[key] - mean) > max(4 * spread, TOLERANCE)
    print(f"{key:32}{mean:8.3f} ± {spread:.3f}{measured[key]:10.3f}{'   not as stated' * off}")

# %% [markdown]
# **What follows, and what does not.**
#
# - Plain fine-tuning loses 0.269 ± 0.100 on the old digits: more than a quarter, and how much
#   depends on the seed. One seed would have proved anything between 0.14 and 0.43.
# - Replay loses nothing (0.001 ± 0.005), and its accuracy on the new digits, 0.936 ± 0.016, can't
#   be told from the plain 0.945 ± 0.017. It needs old data, and twice the work in each step.
# - A lower rate loses 0.030 ± 0.026 and costs 4 points on the new digits in as many steps. With
#   more steps it would learn more, and perhaps forget more.
# - L2-SP of this strength forgets less than the plain way, 0.067 ± 0.067, and more than the lower
#   rate in nine seeds of ten; on the new digits, 0.889 ± 0.036, the two can't be told apart (one
#   bad seed pulls the mean down). That is one strength, with Adam, which rescales the penalty's
#   gradient like any other: no verdict on L2-SP, but a reason not to take a remedy for granted.
# - All of it is one small network, two halves of MNIST, ten seeds. What carries over is the method:
#   measure both columns, with several seeds.

# %% [markdown]
# ## Task 11: numbers
#
# Interviewers like a number. Compute by hand; write a number or an expression. Logarithms are
# natural.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# For each loss: which probability does the model give to the right class?
#
# </details>
# <details><summary>Hint</summary>
#
# 2: the best constant guess is the frequencies themselves. 4: the middle of the *logarithms*.
# 5: go through the values with the rule of Task 3. 6: by how much is
# 2⁻¹⁴ larger? 7: gradients stay in float32.
#
# </details>

# %% task="troubleshooting_numbers"
# 1. The loss of a model that gives each of seven classes the same probability, to two decimals.
chance_loss = None
# 2. Two classes, 80 % and 20 % of the labels: the loss of the best guess that does not look at the
#    input, to two decimals.
label_entropy = None
# 3. Twenty classes, and a softmax before F.cross_entropy: the smallest loss there can be, to two
#    decimals.
double_softmax_floor = None
# 4. A range test in 101 steps, geometrically from 1e-6 to 1, both ends included: the rate of the
#    51st step, to 1 %.
middle_rate = None
# 5. EarlyStopping(patience=2, min_delta=0.01) sees the losses 0.80, 0.60, 0.55, 0.57, 0.545, 0.56,
#    0.53 of epochs 1 to 7: after which epoch does it first say True?
stop_epoch = None
# 6. float16 has full precision down to 2⁻¹⁴. The smallest power of two by which the loss must be
#    multiplied so that a gradient of 2e-8 gets at least there.
loss_scale = None
# 7. Gigabytes (10⁹ bytes) of weights, gradients and Adam's two moments for 7 · 10⁹ parameters,
#    weights and gradients in 4 bytes each, each moment in 8 bits; without activations.
adam_8bit_gigabytes = None
# 8. A network of 144 equal blocks. Run plainly a block keeps 5 MB for backward. Checkpointed in
#    segments of 12 blocks: 1 MB for each segment's input, and 5 MB for each block of the one
#    segment that is on its way back. The peak in MB, both added in full.
segment_peak = None
### BEGIN SOLUTION
chance_loss = 1.95  # ln 7 — algebra
label_entropy = 0.50  # −0.8 ln 0.8 − 0.2 ln 0.2 = 0.5004 — definition of entropy; algebra
double_softmax_floor = 2.08  # −ln(e / (e + 19)) = ln(1 + 19/e) — algebra
middle_rate = 1e-3  # 1e-6 · (1e6)^(50/100) — algebra
stop_epoch = 5  # 0.57 is no gain, and 0.545 is not below 0.55 − 0.01 — counting
loss_scale = 4_096  # 2⁻¹⁴ / 2e-8 = 3,052, and the next power of two is 2¹² — counting; 1710.03740
adam_8bit_gigabytes = 70  # 7 · (4 + 4 + 1 + 1) — counting; 2110.02861 abstract
segment_peak = 72  # 12 · 1 + 12 · 5; each block its own segment: 144 + 5 = 149 — counting
### END SOLUTION

# %% check="troubleshooting_numbers" points=8
check("troubleshooting_numbers")

# %% [markdown]
# ## Task 12: judge these statements
#
# Each is said or written somewhere. True or False? A right answer is worth 1, a wrong one −1, None
# 0; the sum, never below 0, divided by 16, is your share of the points.
#
# difficulty ●●○○○ · importance ●●●●○ · about 10 minutes
#
# - **a.** Validation loss has risen for three epochs while training loss went on falling. This
#   shows that the model has not converged: train longer.
# - **b.** With ten balanced classes ln 10 = 2.30 is the lowest mean cross-entropy that a model can
#   have which ignores its input.
# - **c.** A batch-norm whose weight and bias have `requires_grad=False` still moves its running
#   statistics in train mode.
# - **d.** With labels of two classes at 90 % and 10 %, a model that ignores its input can't get
#   below a mean cross-entropy of ln 2 = 0.69.
# - **e.** `optimizer.step()` uses the gradients up, so `zero_grad()` matters only where one
#   accumulates over several batches.
# - **f.** With a softmax before `F.cross_entropy` a classifier can reach a good accuracy, but its
#   loss never falls below ln(1 + (C − 1)/e).
# - **g.** `torch.no_grad()` around validation switches dropout off.
# - **h.** bfloat16 has 16 bits as float16 has, so it needs loss scaling just as much.

# %% [markdown]
# - **i.** With a loss scaler, one who clips before unscaling compares `max_norm` with gradients
#   that the scale has multiplied.
# - **j.** Checkpointing gives the same gradients as before, at the price of about one more forward
#   pass.
# - **k.** To checkpoint each of n equal blocks by itself brings the kept activations down from
#   O(n) to O(√n).
# - **l.** L2-SP pulls weights towards their pretrained values, plain weight decay towards zero.
# - **m.** No gradient is taken on the test set, so choosing the epoch by it is harmless.
# - **n.** A validation accuracy of 99.8 % after one epoch on a task where people disagree is a
#   reason to look for validation examples in the training data.
# - **o.** Elastic weight consolidation keeps old skills by storing old examples and mixing them
#   into each batch.
# - **p.** If a model can't bring the loss of eight examples near zero with regularisation off, more
#   data is not what it lacks.

# %% task="troubleshooting_statements"
judged = dict.fromkeys("abcdefghijklmnop")  # judged["a"] = True or False; None is no answer
### BEGIN SOLUTION
judged = {
    # That is overfitting of the loss: more steps raise it further. Accuracy may still hold, so stop
    # by the metric that you need — definition.
    "a": False,
    # The best such guess is the frequencies, here equal: −ln(1/10) in each example — algebra.
    "b": True,
    # They are buffers, moved by every forward in train mode — PyTorch `nn.BatchNorm1d`.
    "c": True,
    # Guessing the frequencies costs their entropy, 0.33 — algebra.
    "d": False,
    # It leaves them, and the next backward adds to them — PyTorch `Tensor.backward`.
    "e": False,
    # The order of the classes survives a second softmax; its certainty does not — algebra.
    "f": True,
    # It stops the recording of gradients; `eval()` switches dropout — PyTorch `Module.eval`.
    "g": False,
    # It has float32's eight exponent bits: the range is what matters here — PyTorch `torch.finfo`.
    "h": False,
    # `unscale_` first, then clip, then step — PyTorch Automatic Mixed Precision examples.
    "i": True,
    # The forward of a segment is done again on the way back — 1604.06174 abstract.
    "j": True,
    # n inputs are kept; O(√n) takes about √n segments of √n blocks — counting.
    "k": False,
    # Its reference is the pretrained model — 1802.01483 abstract.
    "l": True,
    # Choosing is fitting: the best of many epochs looks better than it is — definition.
    "m": False,
    # A leak is the likelier reason where the labels themselves are not that certain — definition.
    "n": True,
    # That is replay; EWC slows learning on the weights that old tasks need — 1612.00796 abstract.
    "o": False,
    # Even this little it can't fit: wiring, loss, rate or its capacity is to blame — definition.
    "p": True,
}
### END SOLUTION

# %% check="troubleshooting_statements" points=8
check("troubleshooting_statements")

# %% [markdown]
# ## Task 13: the interview answer, yours
#
# "Your fine-tuning run disappoints. What can have gone wrong, how do you find out, and what do you
# do about it?" Answer in the next cell, in 150 to 300 words, as you would say it to an interviewer.
# A person grades it, 10 points:
#
# | points | for |
# |---|---|
# | 1 | the symptom first: which loss, on which data, in which mode |
# | 2 | a cheap test of the wiring before any setting is changed, and what it rules out |
# | 2 | two bugs that raise no error, each with the sign by which one knows it |
# | 1 | overfitting: how it is told from the rest, and two remedies |
# | 1 | the rate: a test, and what too high a one looks like |
# | 1 | forgetting: measured on the old task, and two remedies |
# | 1 | memory: which of its four parts is too large, with the remedy of one |
# | 1 | when training longer helps, and when it makes things worse |
#
# A false statement in the answer costs 1, down to 0.
#
# difficulty ●●●○○ · importance ●●●●● · about 15 minutes

# %% [markdown] free_text="explain_troubleshooting" points=10
# ### Your answer: what goes wrong in fine-tuning
#
# ### BEGIN SOLUTION
# I name the symptom before I touch a setting: training or validation, loss or accuracy, in which
# mode, since when.
#
# Then the cheapest test: can the model learn one batch of eight by heart, with dropout off? If
# not, data and regularisation are not the problem; something is frozen or detached, the model gives
# probabilities, or the rate is far off. A loss flat at ln C with balanced classes is what a
# model costs that ignores its input: dead features, a rate far too low, labels shuffled apart
# from inputs. I list which weights one step moves: an optimizer made before the new head leaves
# that as it was. Good accuracy with a loss that can't fall below ln(1 + (C − 1)/e) is a softmax
# too many. Two evaluations that differ by more than rounding are a forgotten `eval()`.
#
# Once the wiring is right I read the curves. Training loss rises or turns NaN: the rate, which a
# range test finds; in float16 I look for overflow, too. Both losses are high and still fall: here
# training longer helps. Training loss falls while validation loss rises: overfitting; I look at
# accuracy, too, which may still gain while the model grows over-confident. I stop by the metric
# that counts and restore the best weights, get more data, or train fewer parameters. Suspiciously
# good: I look for duplicates.
#
# If the new task is good I measure the old one, before and after. Forgetting is eased by a lower
# rate, replayed old examples, L2-SP, or LoRA, none of which excludes it.
#
# Out of memory, I ask which part: optimizer state (8-bit optimizer, LoRA), activations
# (checkpointing, about one more forward; a smaller batch with accumulation), weights (lower
# precision), or weights, gradients and optimizer state together (sharding over devices).
# ### END SOLUTION

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open it when yours is written</summary>
#
# Start from the symptom, not from the cure. One batch that can't be learned by heart is a matter of
# wiring or of the rate; a loss flat at the entropy of the labels says that the input is not used,
# be it for dead features, a low rate or shuffled labels; two softmaxes keep the loss above
# ln(1 + (C − 1)/e) (algebra). Frozen is not the same as fixed: batch-norm moves its statistics in
# train mode whatever `requires_grad` says (PyTorch `nn.BatchNorm1d`).
#
# A range of rates is found by raising the rate for a few epochs and watching when training breaks
# (1506.01186 abstract). Exploding gradients are clipped by their norm (1211.5063 abstract), in
# mixed precision after they have been unscaled (PyTorch Automatic Mixed Precision examples).
# float16 needs loss scaling to keep small gradients (1710.03740 abstract), bfloat16 does not.
#
# Forgetting is measured on the old task and eased by a pull to the start (1802.01483 abstract), by
# slowing the weights that the old task needs (1612.00796 abstract), by replay, or by LoRA, which
# forgets less, not nothing (2405.09673 abstract).
#
# Memory has four parts. Checkpointing trades about one more forward for activations, down to O(√n)
# with segments of √n (1604.06174 abstract). 8-bit optimizers shrink the moments (2110.02861
# abstract). ZeRO and FSDP shard what every device would otherwise hold whole (1910.02054 abstract;
# 2304.11277 §1).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview (1): symptoms
#
# 1. A constant guess costs ln C with C balanced classes, and in general the entropy of the labels
#    — algebra.
# 2. A softmax before the cross-entropy: no loss below ln(1 + (C − 1)/e), 1.46 for ten classes —
#    algebra; measured in the demonstration.
# 3. `F.cross_entropy` takes logits; it is log-softmax and negative log-likelihood in one —
#    PyTorch `nn.CrossEntropyLoss`.
# 4. `backward()` adds to `.grad`: without `zero_grad` each step uses the sum of all gradients so
#    far — PyTorch `Tensor.backward`.
# 5. `eval()` switches dropout and batch-norm, `no_grad()` the recording, `requires_grad` who
#    learns: three switches — PyTorch Autograd mechanics.
# 6. A frozen batch-norm in train mode still normalises by the batch and moves its statistics —
#    PyTorch `nn.BatchNorm1d`; peft troubleshooting guide.
# 7. An optimizer knows the parameters that it was made with: a head put in later does not learn,
#    unless `add_param_group` adds it — PyTorch `torch.optim`.
# 8. Mean over micro-batches of unequal token counts is not the mean over tokens: divide by the
#    total — algebra.
# 9. `state_dict()` returns references; a copy is needed to go back to — PyTorch
#    Saving and Loading Models.

# %% [markdown]
# ## Facts to carry into the interview (2): remedies
#
# 10. A range test raises the rate over a few epochs, linearly in the original — 1506.01186
#     abstract.
# 11. Clipping by the norm is an answer to exploding gradients, not to vanishing ones — 1211.5063
#     abstract.
# 12. float16 with loss scaling and a float32 copy of the weights trains many networks without
#     loss of accuracy — 1710.03740 abstract.
# 13. float16's largest number is 65,504, bfloat16's 3.4e38, as float32's — PyTorch `torch.finfo`.
# 14. unscale, clip, step, update: in this order — PyTorch Automatic Mixed Precision examples.
# 15. L2-SP, a penalty on the distance from the pretrained weights, is recommended as the baseline
#     penalty for transfer learning — 1802.01483 abstract.
# 16. EWC slows learning on the weights that matter to old tasks — 1612.00796 abstract.
# 17. LoRA learned less and forgot less than full fine-tuning on code and mathematics — 2405.09673
#     abstract.
# 18. Checkpointing: O(√n) memory for one more forward a batch; a residual network of 1,000 layers
#     went from 48 GB to 7 — 1604.06174 abstract.
# 19. Each block its own segment keeps n inputs; O(√n) takes segments of √n blocks — counting.
# 20. 8-bit optimizers keep the results of 32-bit ones in a fraction of the memory, without other
#     settings — 2110.02861 abstract.
# 21. ZeRO and FSDP shard instead of replicating — 1910.02054 abstract; 2304.11277 §1.

# %% [markdown]
# ## Follow-up questions (1)
#
# Answer aloud, then open.
#
# <details><summary>The loss starts at 2.9 with ten classes. Is that a bug?</summary>
#
# It is above ln 10 = 2.30, so the model is surer than it should be of wrong classes: a new head
# with large weights or features of a large scale. Start the head small or at zero — algebra.
#
# </details>
# <details><summary>A head that starts at zero: does the body learn?</summary>
#
# Not in the first step: its gradient has the head's weight as a factor. From the second on it does,
# if the head is trained. If it is not, nothing ever learns — algebra; measured in the
# demonstration.
#
# </details>
# <details><summary>Training loss is above validation loss. A bug?</summary>
#
# Not by itself: dropout acts in training only, and training loss is a mean over an epoch in which
# the model was still getting better. Evaluate the training data in eval mode, then compare —
# PyTorch `nn.Dropout`; definition.
#
# </details>
# <details><summary>You overfit one batch, and still the real run is flat. Now what?</summary>
#
# The model can learn, so look at what differs: the run's own loss and optimizer (does it hold the
# head?), the rate, the loader (are labels shuffled apart from inputs?), augmentation,
# regularisation. Then overfit 100 examples, then 1,000 — definition.
#
# </details>

# %% [markdown]
# ## Follow-up questions (2)
#
# <details><summary>How does a leak get in unnoticed?</summary>
#
# Split after augmentation or oversampling; several examples of one patient, author or video on both
# sides; statistics fitted on all data; the validation set used to choose over and over —
# definition.
#
# </details>
# <details><summary>Patience: how long?</summary>
#
# Longer than the longest pause from which a run has recovered: look at the curves of a few seeds.
# For min_delta take the standard error of the *paired* difference between two epochs, example by
# example: both saw the same validation set, so halves of it would overstate the noise — algebra;
# definition.
#
# </details>
# <details><summary>Why is the range test not the answer to "which rate"?</summary>
#
# It sees a few steps from one start. It finds where training breaks; the best rate of a whole run
# lies below, and depends on schedule and length. Take it as the range of a small search —
# definition; 1506.01186 abstract, for the bounds.
#
# </details>
# <details><summary>Does clipping replace a lower rate?</summary>
#
# It bounds the length of a step of plain SGD to rate · max_norm. With Adam it hardly does: a
# constant factor on all gradients cancels out there, and what clipping still does is to keep single
# spikes out of the moments. A norm that is clipped in every step says that max_norm lies below the
# usual norm: then each step of SGD has the length rate · max_norm, and the rate decides alone —
# algebra.
#
# </details>

# %% [markdown]
# ## Follow-up questions (3)
#
# <details><summary>Why not clip before `unscale_`, with max_norm times the scale?</summary>
#
# In exact arithmetic it is the same, if you ask the scaler for its scale anew in each step, since
# it changes. `unscale_` does that for you, and the norm that you log is the true one — PyTorch
# `torch.amp.GradScaler`.
#
# </details>
# <details><summary>Checkpointing and batch-norm: why not?</summary>
#
# The forward runs twice, so running statistics are moved twice a step. Use LayerNorm, or keep
# batch-norm in eval mode — counting; PyTorch `nn.BatchNorm1d`.
#
# </details>
# <details><summary>Checkpointing saved nothing. Why?</summary>
#
# Perhaps each block is its own segment and keeps nothing but its input, as plain linear layers do:
# then take longer segments. Or the memory is not in activations at all, but in weights and
# optimizer state — counting; measured in Task 10.
#
# </details>
# <details><summary>LoRA with checkpointing, and no gradient arrives. Why?</summary>
#
# The base is frozen, so the first segment's input requires no gradient, and the reentrant variant
# then cuts the graph. `use_reentrant=False` (transformers 5 takes it where nothing is given), or
# make the embeddings' output require one — PyTorch `torch.utils.checkpoint`; peft `utils/other.py`.
#
# </details>

# %% [markdown]
# ## Follow-up questions (4)
#
# <details><summary>Does gradient accumulation make training faster?</summary>
#
# No: it makes a large batch fit, by doing its parts one after the other. The work is the same —
# counting.
#
# </details>
# <details><summary>EWC, L2-SP, replay: which first?</summary>
#
# A lower rate before any of them: it costs no code, though in the demonstration 4 points on the new
# digits. Then replay, if you have old data: it acts on what you care about, old outputs, and there
# it kept nearly all at hardly a cost in accuracy. L2-SP needs only the old weights, EWC old data
# once, for the importances — 1802.01483 abstract; 1612.00796 §2; measured in the demonstration.
#
# </details>
# <details><summary>Some runs end at chance, by the seed alone. What is it?</summary>
#
# Known of BERT on small data. It was put down to optimisation that fails, with vanishing gradients,
# rather than to forgetting or few data, and to Adam without bias correction and too few steps. Fix
# these before you pick lucky seeds — 2006.04884 abstract; 2006.05987 abstract.
#
# </details>
# <details><summary>The client says the model "got worse in production". Where do you
# begin?</summary>
#
# Is it the model or the data? Run the saved test set through the *served* model: same tokenizer,
# preprocessing, mode and precision. If the figure is the old one, what has changed is what comes
# in, or what counts as right; or the test set never was like production — definition.
#
# </details>
