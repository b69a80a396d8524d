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
# # Fine-tuning: what it is, and when to use it
#
# **The interview question.** *What is fine-tuning? When would you use it, when not, and which of a
# model's parameters would you train?*
#
# You will freeze and thaw a network properly, give its parts their own learning rates, count what
# training costs in memory, load a pretrained body under a new head, write a linear probe that does
# not waste a forward pass, judge what is commonly said of all this, and answer the question in your
# own words.

# %% [markdown]
# ## Contents
#
# <!-- contents -->

# %% [markdown]
# ## How the course works
#
# Each lesson starts from one interview question. First you write down what you would say today.
# Then you build the thing, task by task, and at the end you answer the question again: that answer
# is graded.
#
# A task is two cells: one for your code and a locked one, `check("…")`, that tells you at once
# which requirements hold. The docstring is the contract: a check asks for what it says, and for
# nothing else. You may run a check as often as you like. More checks run when the notebook is
# graded, so "all visible checks pass" is not yet full marks: read the docstring to its end.
#
# Tasks build on each other only where their text says so. Leave one open and go on.
#
# Numbers and statements are judged at once, too, when all of them are answered: answer first, then
# check. (In a class, or where one is left at None, that is done at grading.) What a statement asks
# may stand further down, in the facts.
#
# Cells without a task are demonstrations, for you to run. The long ones take a few minutes on two
# cores; started by `COURSE_SCALE=small make lab` they take seconds.

# %% [markdown]
# ## Help, and the notation of this lesson
#
# Help comes in layers: a nudge, then a hint, both folded away below the task, and after an honest
# attempt the reference: `show_reference("set_trainable")`. Dots say how hard a task is, and how
# much it matters in an interview.
#
# Notation: a model is a *body* (pretrained; also: backbone) and a *head* (new, for your classes).
# The body turns inputs (B, …) into `features` (B, D), the head features into `logits` (B, C);
# `labels` are (B,) int64. A parameter's *full name* is its dotted name in
# `model.named_parameters()`: `layer1.0.conv1.weight`. *To train* a parameter means that it
# requires a gradient and the optimizer holds it; *frozen* is the opposite.

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
# > Fine-tuning means retraining a trained model on a new data set, so that it suits a new task. One
# > uses it for special domains, when there is little data, or when requirements change.
#
# It is not wrong. It is thin, and two of its phrases lead astray. Find them before you open the
# next part.
#
# <details><summary>What is missing in it</summary>
#
# 1. *"Retraining"* sounds like starting again. The point is where one starts: from the pretrained
#    weights, with a new head where the classes are new (d2l, "Fine-Tuning", Steps), and one goes on
#    optimising all of the parameters or some.
# 2. *Which* parameters is the question that the interviewer waits for: the head alone, the head
#    first and then all, all with rates that differ by depth, or a few added ones.
# 3. *"Requirements change"* often speaks against it: facts that change every week belong in a
#    prompt or an index, which can be replaced without training.
# 4. Nothing is said of cost, of forgetting, or of how one would know that it helped.
#
# </details>

# %%
import copy
import math
from fnmatch import fnmatchcase

import torch
import torch.nn.functional as F
from torch import nn

from autograder import check, show_reference

# %% [markdown]
# ## Task 1: count
#
# "How many parameters does it train?" is the first number asked of any fine-tuning. Two traps: tied
# weights (an embedding that is also the output layer) are one Parameter with two names, and buffers
# such as batch-norm's running mean are no parameters.
#
# difficulty ●○○○○ · importance ●●●●○ · about 5 minutes
#
# <details><summary>Nudge</summary>
#
# `model.state_dict()` is the wrong list: it has buffers in it, and a tied weight twice.
#
# </details>
# <details><summary>Hint</summary>
#
# `model.parameters()` gives each Parameter object once. Sum `numel()`.
#
# </details>


# %% task="count_parameters"
def count_parameters(model):
    """How many numbers of a model train, and how many it has: (trainable, total).

    Arguments
        model   nn.Module
    Returns
        a tuple of two ints: the elements of all Parameters that require a gradient, and the
        elements of all Parameters

    A Parameter object counts once, however many names it has (tied weights, a module that stands in
    two places); two Parameters with equal values are two. Buffers do not count. A model without
    parameters gives (0, 0). Values are not looked at: a model on the meta device can be counted,
    too. The model is left unchanged.
    """
    ### BEGIN SOLUTION
    parameters = list(model.parameters())  # each object once
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    return trainable, sum(p.numel() for p in parameters)
    ### END SOLUTION


# %% check="count_parameters" points=5
check("count_parameters")

# %% [markdown]
# ## Task 2: freeze and thaw
#
# Choose by name what trains: `["fc.*"]` is the linear probe, `["layer3.*", "fc.*"]` the top of a
# ResNet, `["*"]` full fine-tuning.
#
# `requires_grad = False` is only half of freezing. A batch-norm in train mode normalises with the
# batch's statistics, and moves its running mean and variance with every batch, whether or not its
# weight and bias train. A "frozen" body then changes under your hands, and differs between training
# and inference. And `model.train()`, which every training loop calls, undoes a `bn.eval()`.
#
# The three helpers are one way to go; Tasks 4 and 5 may use them, too. Delete what you don't need.
#
# difficulty ●●●○○ · importance ●●●●● · about 25 minutes
#
# <details><summary>Nudge</summary>
#
# First find, then change: a pattern without a match must leave the model as it was. For
# batch-norm: what could act *after* `model.train()`, at the latest when the layer is called?
#
# </details>
# <details><summary>Hint</summary>
#
# `fnmatchcase(name, pattern)` for every name in `model.named_parameters(remove_duplicate=False)`. A
# forward pre-hook can look whether any parameter of its batch-norm trains *now*, and call `eval()`
# on it if none does: then a second call needs to undo nothing. A hook that is a plain function
# survives `copy.deepcopy`; a list of module ids does not. Momentum 0 does not do it: the batch's
# statistics are still what the layer normalises with.
#
# </details>


# %% task="set_trainable"
def find_parameters(model, patterns):
    """Helper, not graded: the Parameters that have a name which a pattern matches, each once."""
    ### BEGIN SOLUTION
    if isinstance(patterns, str):
        raise ValueError(f"expected a list of patterns, not the string {patterns!r}")
    named = list(model.named_parameters(remove_duplicate=False))  # a tied one under all its names
    found = {}
    for pattern in patterns:
        matched = {id(p): p for name, p in named if fnmatchcase(name, pattern)}
        if not matched:
            raise ValueError(f"no parameter's name matches {pattern!r}")
        found |= matched
    return list(found.values())
    ### END SOLUTION


def keep_statistics(batch_norm, inputs):
    """Helper, not graded: a forward pre-hook that undoes model.train() where nothing trains."""
    ### BEGIN SOLUTION
    if not any(p.requires_grad for p in batch_norm.parameters()):
        batch_norm.eval()
    ### END SOLUTION


def watch_batch_norms(model):
    """Helper, not graded: give every batch-norm of a model that hook, once."""
    ### BEGIN SOLUTION
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for module in model.modules():
        watched = keep_statistics in module._forward_pre_hooks.values()
        if isinstance(module, norms) and module.running_mean is not None and not watched:
            module.register_forward_pre_hook(keep_statistics)
    ### END SOLUTION


def set_trainable(model, patterns):
    """Train the parameters whose names match, freeze all others, in place; returns None.

    Arguments
        model       nn.Module
        patterns    list or tuple of shell globs, each compared with the *whole* full name of a
                    parameter, upper and lower case told apart: * stands for any text, dots
                    included, ? for one character, [01] for one of a set ("layer1.*" matches
                    "layer1.0.conv1.weight"; "conv1" and "conv1.*" do not). An empty list freezes
                    everything.

    Afterwards
    - a Parameter requires a gradient if and only if a pattern matches one of its names (a tied one
      has several), whatever trained before: a second call replaces the first;
    - a batch-norm (1d, 2d, 3d, synchronised) with running statistics, none of whose own parameters
      trains (one with affine=False has none), normalises with its running statistics and changes
      none of its buffers, num_batches_tracked included, also after model.train() and in a
      copy.deepcopy of the model. Gradients still flow through it;
    - a batch-norm of which weight, bias or both train learns as usual, from the next model.train()
      on: it normalises with the batch and updates its statistics, also if an earlier call froze it.

    No parameter's value changes.

    Raises ValueError, before anything is changed: a pattern matches no parameter's name; patterns
    is a string.
    """
    ### BEGIN SOLUTION
    chosen = find_parameters(model, patterns)
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad = True
    watch_batch_norms(model)
    ### END SOLUTION


# %% check="set_trainable" points=12
check("set_trainable")

# %% [markdown]
# **Half frozen.** A batch-norm whose weight and bias are frozen, in train mode, before and after
# three batches with another mean: once with `requires_grad_(False)` alone, once by `set_trainable`.

# %% tags=["demonstration"]
torch.manual_seed(0)
for frozen_by in ("requires_grad_(False)", "set_trainable"):
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    if frozen_by == "set_trainable":
        set_trainable(net, ["2.*"])
    else:
        net.requires_grad_(False)[2].requires_grad_(True)
    net.train()
    for _ in range(3):
        net(torch.randn(8, 4) + 3)
    drift = net[1].running_mean.abs().max().item()
    print(f"{frozen_by:22} the running mean moved by {drift:.2f}")

# %% [markdown]
# ## Task 3: two rates, and decay where it belongs
#
# A new head is random and has far to go; the pretrained body is nearly there. So the head gets a
# higher rate. And weight decay pulls *weights* towards zero: biases and the scales and shifts of
# norm layers are usually spared.
#
# A rule of thumb in circulation is "fewer than two dimensions: no decay". It lets a LayerNorm over
# two dimensions decay, whose weight is a matrix, and spares every other vector, wanted or not. Here
# go by module type. (That, too, misses some: the RMSNorm of Llama in transformers is a class of its
# own, and would have to be added to the list, or found by its name.)
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# You need to know of every Parameter in which module it stands, under which names, and that it is
# put into one group only.
#
# </details>
# <details><summary>Hint</summary>
#
# Two loops: `model.named_modules(remove_duplicate=False)`, and inside
# `module.named_parameters(recurse=False)`. Collect ids: which were seen outside the head, which
# were seen as bias or in a norm layer. Only then sort the Parameters into groups, by their ids.
# `"fc2.weight".startswith("fc")` is True: mind the dot.
#
# </details>


# %% task="parameter_groups"
NORM_LAYERS = (
    nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.SyncBatchNorm,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


def parameter_groups(model, head, lr, head_lr, weight_decay):
    """Sort a model's trainable parameters into groups for an optimizer such as AdamW.

    Arguments
        model           nn.Module
        head            str: the full dotted name of the module that is the head, such as "fc". A
                        parameter belongs to the head if its full name begins with head + "."
        lr, head_lr     floats: the rate of everything else, and that of the head
        weight_decay    float
    Returns
        a list of dicts with "params" (a list of Parameters, not empty), "lr" and "weight_decay".
        How many groups and in which order is free.

    Each parameter that requires a gradient stands in exactly one group, exactly once; a frozen one
    in none. Without decay ("weight_decay" is 0.0) are
    - a parameter whose name ends in "bias" ("fc.bias", "attention.in_proj_bias"),
    - every parameter that stands directly in a norm layer (an instance of NORM_LAYERS above, or of
      a subclass), whatever its shape.
    All others decay, vectors included.

    A Parameter with several names (tied weights) takes the body's rate if any of them lies outside
    the head, and is spared decay if any of them is a bias's or stands in a norm layer.

    The model is left unchanged. Raises ValueError: the model has no module of the name `head`.
    """
    ### BEGIN SOLUTION
    modules = dict(model.named_modules(remove_duplicate=False))
    if head not in modules:
        raise ValueError(f"the model has no module {head!r}")
    trainable, in_body, spared = {}, set(), set()
    for prefix, module in modules.items():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            trainable[id(parameter)] = parameter
            if not f"{prefix}.{name}".startswith(f"{head}."):
                in_body.add(id(parameter))
            if name.endswith("bias") or isinstance(module, NORM_LAYERS):
                spared.add(id(parameter))
    groups = {}
    for key, parameter in trainable.items():
        rate = lr if key in in_body else head_lr
        decay = 0.0 if key in spared else weight_decay
        empty = {"params": [], "lr": rate, "weight_decay": decay}
        groups.setdefault((key in in_body, key in spared), empty)["params"].append(parameter)
    return list(groups.values())
    ### END SOLUTION


# %% check="parameter_groups" points=9
check("parameter_groups")

# %% [markdown]
# ## Task 4: discriminative rates
#
# Lower layers hold what is general, upper ones what belongs to the old task. So let each block move
# the less the closer it is to the input: ULMFiT divides the rate by 2.6 from each layer to the one
# below it (arXiv 1801.06146 §3.2).
#
# A *block* is a list of shell globs, as in Task 2; `blocks` lists them from the input to the
# output: `[["conv1.*", "bn1.*"], ["layer1.*"], ["layer2.*"], ["layer3.*"], ["fc.*"]]`.
#
# difficulty ●●○○○ · importance ●●●○○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Which power of `decay` has the last block, which the first? What becomes of a parameter that no
# block names?
#
# </details>
# <details><summary>Hint</summary>
#
# Map each Parameter's id to the index of its block, going from the last block to the first, so that
# the lower one wins. `find_parameters` of Task 2 does the matching.
#
# </details>


# %% task="layerwise_rates"
def layerwise_rates(model, blocks, lr, decay):
    """Parameter groups whose learning rate falls from the output to the input.

    The last block gets `lr`, each block before it `decay` times the rate of the next one: block i
    of n has lr · decay^(n − 1 − i).

    Arguments
        model   nn.Module
        blocks  list of blocks from the input to the output; a block is a list of shell globs over
                the parameters' full names (matched as by set_trainable)
        lr      float, the rate of the last block
        decay   float in (0, 1]
    Returns
        a list of dicts {"params": [Parameters], "lr": float}, one a block and in their order; a
        block of which nothing trains is left out (and still counts in the power)

    Each parameter that requires a gradient stands in exactly one group, once; a frozen one in none.
    A Parameter that several blocks match (tied weights, overlapping globs) belongs to the first of
    them, with the lowest rate. The model is left unchanged.

    Raises ValueError: a parameter that requires a gradient lies in no block; a glob matches no
    parameter's name; decay is outside (0, 1].
    """
    ### BEGIN SOLUTION
    if not 0 < decay <= 1:
        raise ValueError(f"decay must lie in (0, 1], not {decay!r}")
    block_of = {}
    for index in reversed(range(len(blocks))):  # from the last, so that an earlier one overwrites
        for parameter in find_parameters(model, blocks[index]):
            block_of[id(parameter)] = index
    groups = [{"params": [], "lr": lr * decay ** (len(blocks) - 1 - i)} for i in range(len(blocks))]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if id(parameter) not in block_of:
                raise ValueError(f"{name} lies in no block")
            groups[block_of[id(parameter)]]["params"].append(parameter)
    return [group for group in groups if group["params"]]
    ### END SOLUTION


# %% check="layerwise_rates" points=7
check("layerwise_rates")

# %% [markdown]
# ## Task 5: gradual unfreezing
#
# Thawing everything at once lets a head that is still random steer the whole body. ULMFiT starts
# with the last layer and thaws one more after each epoch (arXiv 1801.06146 §3.3).
#
# difficulty ●●○○○ · importance ●●○○○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# The model itself says how far you are: which is the last block with something frozen in it?
#
# </details>
# <details><summary>Hint</summary>
#
# Match all blocks first (a glob without a match must change nothing), then go backwards. The
# batch-norms of the blocks still frozen need the care of Task 2: `watch_batch_norms(model)`.
#
# </details>


# %% task="unfreeze_next"
def unfreeze_next(model, blocks):
    """Thaw one more block, the last that is not wholly trainable yet, in place.

    Arguments
        model   nn.Module
        blocks  as for layerwise_rates: lists of shell globs, from the input to the output
    Returns
        the index in `blocks` (an int ≥ 0) of the block that was thawed; None if every parameter of
        every block was trainable, and then nothing is changed

    A block is the next one if any of its parameters is frozen, and then all of its parameters
    become trainable. No other parameter's requires_grad changes: what trained goes on training,
    what lies in no block stays as it is. Batch-norms behave as after set_trainable: those of which
    nothing trains keep their statistics, those of a thawed block learn from the next model.train()
    on.

    Raises ValueError, before anything is changed: a glob matches no parameter's name.
    """
    ### BEGIN SOLUTION
    found = [find_parameters(model, block) for block in blocks]
    for index in reversed(range(len(blocks))):
        if not all(parameter.requires_grad for parameter in found[index]):
            for parameter in found[index]:
                parameter.requires_grad = True
            watch_batch_norms(model)
            return index
    return None
    ### END SOLUTION


# %% check="unfreeze_next" points=6
check("unfreeze_next")

# %% [markdown]
# ## Task 6: what training costs in memory
#
# "Can you fine-tune 7 B parameters on this card?" Answer by a sum and say what you assumed. Four
# things are stored for each trainable parameter: the weight, its gradient, what the optimizer
# remembers of it, and, in mixed precision, often a float32 copy that the small steps are added to.
# A frozen parameter costs its weight only. Activations come on top and are not part of this sum.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# Adam remembers two numbers for each trainable parameter, SGD with momentum one, plain SGD none.
#
# </details>
# <details><summary>Hint</summary>
#
# `dtype.itemsize` is in bytes. Sum up the bytes of one trainable parameter, then multiply.
#
# </details>


# %% task="training_memory"
def training_memory(
    trainable,
    frozen=0,
    *,
    weight_dtype,
    frozen_dtype=None,
    grad_dtype=None,
    optimizer="adam",
    state_dtype=torch.float32,
    master_weights=False,
):
    """Bytes that weights, gradients and optimizer take in training; without activations.

    Arguments
        trainable       number of trainable parameters: an int ≥ 0, or a whole float such as 7e9
        frozen          number of frozen ones, likewise: they cost their weights and nothing else
        weight_dtype    torch.dtype of the trainable weights
        frozen_dtype    torch.dtype of the frozen weights; None: weight_dtype
        grad_dtype      torch.dtype of the gradients; None: weight_dtype
        optimizer       "adam" or "adamw": two numbers in state_dtype for each trainable parameter;
                        "momentum" (SGD with momentum): one; "sgd": none
        state_dtype     torch.dtype of the optimizer's numbers
        master_weights  True: a float32 copy of the trainable weights besides. Where weight_dtype
                        has four bytes or more, it adds nothing: the weights are their own masters
    Returns
        int

    Example: 7e9 parameters in float16 with Adam and master weights take 112e9 bytes.

    Raises ValueError: another optimizer; a negative number of parameters.
    """
    ### BEGIN SOLUTION
    states = {"adam": 2, "adamw": 2, "momentum": 1, "sgd": 0}
    if optimizer not in states:
        raise ValueError(f"optimizer is one of {', '.join(states)}, not {optimizer!r}")
    if trainable < 0 or frozen < 0:
        raise ValueError("there are no negative numbers of parameters")
    each = weight_dtype.itemsize + (grad_dtype or weight_dtype).itemsize
    each += states[optimizer] * state_dtype.itemsize
    if master_weights and weight_dtype.itemsize < 4:
        each += torch.float32.itemsize
    return int(trainable) * each + int(frozen) * (frozen_dtype or weight_dtype).itemsize
    ### END SOLUTION


# %% check="training_memory" points=7
check("training_memory")

# %% [markdown]
# **Where the memory goes.** The same 7 B parameters, trained in four ways.

# %% tags=["demonstration"]
half = torch.bfloat16
ways = {
    "all, mixed precision, Adam": training_memory(7e9, weight_dtype=half, master_weights=True),
    "all, float32, Adam": training_memory(7e9, weight_dtype=torch.float32),
    "all, bfloat16, SGD": training_memory(7e9, weight_dtype=half, optimizer="sgd"),
    "20 M of them, Adam": training_memory(20e6, 7e9 - 20e6, weight_dtype=half, master_weights=True),
}
for way, size in ways.items():
    print(f"{way:28}{size / 1e9:7.1f} GB")

# %% [markdown]
# ## Task 7: a pretrained body under a new head
#
# `load_state_dict(state, strict=False)` takes whatever fits by *name*. It says nothing (unless you
# look at what it returns) if no name fits, as after saving from `DataParallel`, which puts
# "module." before each; and it raises an error for a tensor of another shape, as is the old head.
#
# Write the loader that you would want: it loads what fits, and reports everything.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Each name falls into one of four lists. `copy_` broadcasts: compare shapes before.
#
# </details>
# <details><summary>Hint</summary>
#
# The tensors in `model.state_dict()` share memory with the model: `own[name].copy_(state[name])`
# under `torch.no_grad()` loads one, casts it, and keeps the Parameter the object that it was.
#
# </details>


# %% task="load_backbone"
def load_backbone(model, state):
    """Load into a model what fits of another model's state, in place, and report all of it.

    Arguments
        model   nn.Module, with a new head, say
        state   dict of name → tensor, as from the state_dict() of a pretrained model
    Returns
        a dict of four lists of names, which together hold every name of model.state_dict() and of
        `state`:
        "loaded"        in both, with exactly the same shape: these and no others are loaded
        "mismatched"    in both, with another shape (no broadcasting): the model keeps its own
        "missing"       in the model only: it keeps its own
        "unexpected"    in `state` only
        The first three are in the order of model.state_dict(), the last in that of `state`.

    Parameters and buffers alike. Each Parameter stays the same object (an optimizer that holds it
    goes on working) with its requires_grad; values are cast to the model's dtype. `state` is left
    unchanged and shares no memory with the model afterwards.

    Raises ValueError, and leaves the model unchanged: nothing can be loaded ("loaded" would be
    empty).
    """
    ### BEGIN SOLUTION
    own = model.state_dict()  # parameters and buffers; its tensors share memory with the model
    both = [name for name in own if name in state]
    fits = {name: own[name].shape == state[name].shape for name in both}
    report = {
        "loaded": [name for name in both if fits[name]],
        "mismatched": [name for name in both if not fits[name]],
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
    }
    if not report["loaded"]:
        raise ValueError(f"nothing fits: {report['unexpected'][:3]} against {list(own)[:3]}")
    with torch.no_grad():
        for name in report["loaded"]:
            own[name].copy_(state[name])
    return report
    ### END SOLUTION


# %% check="load_backbone" points=9
check("load_backbone")

# %% [markdown]
# ## Task 8: a linear probe that looks once
#
# The probe trains a head on a frozen body. Written as an ordinary training loop with a frozen body
# it sends every example through the body in every epoch, to get the same features every time. With
# 20 epochs that is 20 times the work, and the body is nearly all of it.
#
# This is the lesson's speed task: counted is how often the body sees an example, and timed how long
# ten epochs take.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Why are the features the same in every epoch? What would make them differ: a mode, a shuffle, an
# augmentation?
#
# </details>
# <details><summary>Hint</summary>
#
# Note the mode of every submodule first. One pass over the loader under `torch.no_grad()` with the
# body in eval mode gives a list of (features, labels); train on that list. Weigh each batch's loss
# by its size for the epoch's mean.
#
# </details>


# %% task="linear_probe"
def linear_probe(backbone, head, loader, epochs, lr):
    """Train a head, in place, on the features of a frozen body; return the losses of the epochs.

    Arguments
        backbone    nn.Module, inputs (B, …) → features (B, D)
        head        nn.Module, features (B, D) → logits (B, C); all of its parameters require a
                    gradient
        loader      iterable of (inputs, labels), labels (B,) int64; batches may differ in size. It
                    is read *once*, from first to last: an iterator will do
        epochs      int ≥ 0
        lr          float
    Returns
        a list of `epochs` floats: for each epoch the mean over its *examples* of the cross-entropy,
        from the very forward passes that train

    Training. torch.optim.Adam with rate lr and otherwise its defaults, one step a batch, over the
    batches as the loader gave them, in the same order in every epoch. Gradients that were left on
    the head have no influence. The head is in train mode.

    Speed. The backbone sees each example exactly once, whatever `epochs` is, in eval mode (no
    dropout, running statistics), and no graph is built for it. (With 0 epochs it may see nothing.)
    Timed on one CPU, with a convolutional body, 32 images in batches of 16 and 10 epochs: at least
    half as fast as the reference. Where the grader has a GPU, also there: a body of eight layers
    8,192 wide, two batches of 4,096, 10 epochs. Tensors and modules are on one device.

    Afterwards the backbone's parameters, their requires_grad and .grad, and its buffers are what
    they were, and every submodule of backbone and head is in the training mode it had before.

    Raises ValueError: epochs < 0; a loader without a batch, if epochs > 0.
    """
    ### BEGIN SOLUTION
    if epochs < 0:
        raise ValueError(f"epochs must not be negative: {epochs}")
    modes = {module: module.training for net in (backbone, head) for module in net.modules()}
    backbone.eval()
    with torch.no_grad():
        batches = [(backbone(inputs), labels) for inputs, labels in loader]  # (B, D), (B,)
    head.train()
    optimizer = torch.optim.Adam(head.parameters(), lr=lr)
    losses = []
    for _ in range(epochs if batches else 0):
        total, seen = 0.0, 0
        for features, labels in batches:
            loss = F.cross_entropy(head(features), labels)  # logits (B, C)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)  # a sum: batches differ in size
            seen += len(labels)
        losses.append(total / seen)
    for module, mode in modes.items():
        module.training = mode
    if epochs and not batches:
        raise ValueError("the loader has no batch")
    return losses
    ### END SOLUTION


# %% check="linear_probe" points=13
check("linear_probe")

# %% [markdown]
# ## Task 9: bug hunt
#
# The cell below is a program of our own that makes mistakes of published ones. It runs without an
# error, its loss falls, and almost nothing that its author believed of it is true. There are at
# least ten mistakes.
#
# Mend it under the names of the task's cell.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Which weights does the model really start from? Which tensors does the optimizer hold? What does
# an assignment to `requires_grad` do on a module? What else changes in train mode?
#
# </details>
# <details><summary>Hint</summary>
#
# Look at: names against names · when the optimizer is made and over what · an attribute that nobody
# reads · what `cross_entropy` expects · gradients that are there already · what train mode does to
# a frozen body · what the step returns · the mode and the graph while evaluating · a mean of means.
#
# </details>


# %%
def broken_start(model, state, num_classes, lr):
    model.load_state_dict(state, strict=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    model.requires_grad = False
    head = nn.Linear(model.fc.in_features, num_classes)
    model.fc = nn.Sequential(head, nn.Softmax(dim=-1))
    return optimizer


def broken_step(model, optimizer, inputs, labels):
    model.train()
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss


def broken_accuracy(model, batches):
    right = [(model(inputs).argmax(dim=-1) == labels).float().mean() for inputs, labels in batches]
    return sum(right) / len(right)


# %% [markdown]
# It misbehaves quietly: a checkpoint of the course's ResNet, saved from `DataParallel`, ten steps
# on the digits 5 to 9.

# %% tags=["demonstration"]
from course.data import mnist
from course.models import SmallResNet, pretrained_resnet

torch.manual_seed(0)
checkpoint = {f"module.{name}": value for name, value in pretrained_resnet().state_dict().items()}
model = SmallResNet()
images, digits = mnist("train", digits=range(5, 10), limit=50).tensors  # (50, 1, 28, 28), (50,)
optimizer = broken_start(model, checkpoint, num_classes=5, lr=0.1)
start, fc = model.conv1.weight.detach().clone(), model.fc[0].weight.detach().clone()
off = (start - checkpoint["module.conv1.weight"]).abs().max().item()
print(f"conv1 differs from the checkpoint by {off:.2f} after loading")
for _ in range(10):
    loss = broken_step(model, optimizer, images, digits)
print(f"loss after ten steps: {loss.item():.3f} (it started at about ln 5 = {math.log(5):.3f})")
print(f"the 'frozen' conv1 moved by {(model.conv1.weight - start).abs().max().item():.3f}")
print(f"the new head moved by       {(model.fc[0].weight - fc).abs().max().item():.3f}")


# %% task="fine_tuning_bug_hunt"
def start_from(model, state, num_classes, lr):
    """broken_start, mended: prepare a linear probe in place, and return its optimizer.

    Arguments
        model           nn.Module with an nn.Linear `fc` as its last layer; the rest is the body
        state           a checkpoint of the same architecture, saved from DataParallel: the names of
                        model.state_dict(), each with "module." before it
        num_classes     int, classes of the new head
        lr              float

    Every parameter and buffer of the checkpoint is loaded. Then model.fc is a new nn.Linear on the
    same features that gives logits, no parameter of the body requires a gradient, and the optimizer
    is a torch.optim.SGD with rate lr, without momentum, over exactly the new head's parameters.
    `state` is left unchanged.

    Raises ValueError, before anything is changed: a name is missing from the checkpoint, or one of
    it does not belong to the model (a name without "module." is one of both).
    """
    ### BEGIN SOLUTION
    if state.keys() != {f"module.{name}" for name in model.state_dict()}:
        raise ValueError("the checkpoint's names are not the model's, with 'module.' before each")
    model.load_state_dict({name.removeprefix("module."): t for name, t in state.items()})
    model.requires_grad_(False)  # a method: model.requires_grad = False is a new attribute
    model.fc = nn.Linear(model.fc.in_features, num_classes)  # logits; its parameters train
    return torch.optim.SGD(model.fc.parameters(), lr=lr)  # made last, over what trains
    ### END SOLUTION


def head_step(model, optimizer, inputs, labels):
    """broken_step, mended: one step on the mean cross-entropy; returns it as a float.

    model and optimizer are as start_from leaves them; inputs (B, …), labels (B,) int64. The loss is
    that before the step. Gradients left over from before have no influence. In the step the body
    is in eval mode: no dropout, running statistics, and no buffer changes. Afterwards every
    submodule is in the training mode it had before.
    """
    ### BEGIN SOLUTION
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss = F.cross_entropy(model(inputs), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    for module, mode in modes.items():
        module.training = mode
    return loss.item()  # not the tensor, which would keep its graph
    ### END SOLUTION


def held_out_accuracy(model, batches):
    """broken_accuracy, mended: the share of *examples* that are classified rightly, a float.

    batches is a list, not empty, of (inputs, labels), which may differ in size. The model is in
    eval mode for it, no graph is built, and every submodule is afterwards in the training mode it
    had before.
    """
    ### BEGIN SOLUTION
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(dim=-1) == labels).sum().item() for x, labels in batches)
    for module, mode in modes.items():
        module.training = mode
    return right / sum(len(labels) for _, labels in batches)
    ### END SOLUTION


# %% check="fine_tuning_bug_hunt" points=7
check("fine_tuning_bug_hunt")

# %% [markdown]
# ## What it does: five ways to learn the digits 5–9
#
# `pretrained_resnet()` knows the digits 0 to 4. It gets a new head and a few labelled images of the
# digits 5 to 9. Five ways, 60 steps each (the probe: 100 epochs on stored features):
#
# - *from scratch*: the same network from random weights, the baseline of "pretrained helps";
# - *probe*: the head alone, by your `linear_probe`;
# - *full*: everything, from a random head, one rate;
# - *probe, then full*: the same after the probe has trained the head;
# - *rates by depth*: from a random head, the rate divided by 2.6 from block to block.
#
# Two measures on 1,000 held-out images each: accuracy on the new digits, and, with the *old* head
# put back on the adapted body, accuracy on the old ones. The second was 0.990 before.

# %% tags=["demonstration"]
import statistics

import matplotlib.pyplot as plt
from tqdm.auto import tqdm

from course import SCALE

SEEDS = {"small": range(1), "default": range(3), "full": range(10)}[SCALE]
LABELS = {"small": [100], "default": [25, 100, 500], "full": [25, 100, 500, 2500]}[SCALE]
METHODS = ["from scratch", "probe", "full", "probe, then full", "rates by depth"]
BLOCKS = [["conv1.*", "bn1.*"], ["layer1.*"], ["layer2.*"], ["layer3.*"], ["fc.*"]]
STEPS, BATCH, RATE = 60, 25, 1e-3

new_images, new_classes = mnist("train", digits=range(5, 10)).tensors  # (2500, 1, 28, 28), (2500,)
new_test, old_test = mnist("test", digits=range(5, 10)), mnist("test", digits=range(5))


def draw(count):
    """Batches of `count` training images, as many of each digit, drawn at random."""
    order = torch.randperm(len(new_classes))
    rows = [order[new_classes[order] == digit][: count // 5] for digit in range(5)]
    rows = torch.cat(rows)[torch.randperm(count)]  # (count,)
    return [(new_images[part], new_classes[part]) for part in rows.split(BATCH)]


def accuracy(model, data):
    images, classes = data.tensors
    with torch.no_grad():
        return (model.eval()(images).argmax(dim=1) == classes).float().mean().item()


def fit(model, groups, batches):
    """STEPS steps of AdamW in train mode, the rate falling linearly to zero."""
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    model.train()
    for step in range(STEPS):
        images, classes = batches[step % len(batches)]
        optimizer.zero_grad()
        F.cross_entropy(model(images), classes).backward()
        optimizer.step()
        schedule.step()


# %% tags=["demonstration"]
def adapt(method, count, seed):
    """Accuracy on new digits and, with the old head, on old ones."""
    torch.manual_seed(seed)
    batches = draw(count)
    model = SmallResNet() if method == "from scratch" else pretrained_resnet()
    old_head, head = model.fc, nn.Linear(model.fc.in_features, 5)
    if method.startswith("probe"):
        model.fc = nn.Identity()  # images -> features (B, 64)
        linear_probe(model, head, batches, epochs=100, lr=1e-2)
    model.fc = head
    if method == "rates by depth":
        # these groups set no decay: AdamW's 0.01 for all, which is little in so few steps
        fit(model, layerwise_rates(model, BLOCKS, lr=RATE, decay=1 / 2.6), batches)
    elif method != "probe":
        fit(model, parameter_groups(model, "fc", RATE, RATE, weight_decay=0.01), batches)
    new = accuracy(model, new_test)
    model.fc = old_head
    return new, accuracy(model, old_test)


cells = [(method, count) for method in METHODS for count in LABELS]
results = {cell: [] for cell in cells}
for method, count in tqdm(cells, desc="adapting"):
    results[method, count] = [adapt(method, count, seed) for seed in SEEDS]


def spreads(rows):
    """(mean, standard deviation) over the seeds, of new digits and of old ones."""
    columns = zip(*rows, strict=True)
    return [(statistics.mean(c), statistics.stdev(c) if len(c) > 1 else 0.0) for c in columns]


print(f"{'':18}{'labels':>7}{'new digits':>16}{'old digits':>16}")
for (method, count), rows in results.items():
    (new, new_std), (old, old_std) = spreads(rows)
    kept = "" if method == "from scratch" else f"{old:9.3f} ± {old_std:.3f}"
    print(f"{method:18}{count:7}{new:9.3f} ± {new_std:.3f}{kept}")

# %% tags=["demonstration"]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5))
for index, method in enumerate(METHODS):
    figures = torch.tensor([spreads(results[method, count]) for count in LABELS])
    new, old = figures.permute(1, 2, 0)  # each (mean or standard deviation, labels)
    look = {"color": f"C{index}", "marker": "o", "capsize": 3, "label": method}
    left.errorbar(LABELS, *new, **look)
    if method != "from scratch":  # it has never seen the old digits
        right.errorbar(LABELS, *old, **look)
left.set(title="learned", ylabel="accuracy on the new digits 5–9")
right.set(title="kept", ylabel="accuracy on the old digits 0–4 (old head)")
for axes in (left, right):
    axes.set(xscale="log", xlabel="labelled images of the new digits")
    axes.set_xticks(LABELS, labels=LABELS)
    axes.legend()
figure.suptitle(f"mean ± standard deviation over {len(SEEDS)} seed(s)")
figure.tight_layout()
plt.show()

# %% tags=["demonstration"]
# Accuracy with 100 labels over ten seeds: (mean, standard deviation). The runs above have fewer
# seeds, and rounding differs between machines: a run is as stated if it is off by no more than four
# standard deviations, or by three points where the seeds hardly differ.
STATED = {
    "from scratch, new digits": (0.714, 0.038),
    "probe, new digits": (0.838, 0.015),
    "full, new digits": (0.918, 0.017),
    "probe, then full, new digits": (0.905, 0.016),
    "rates by depth, new digits": (0.877, 0.021),
    "probe, old digits": (0.990, 0.000),
    "full, old digits": (0.868, 0.086),
    "probe, then full, old digits": (0.978, 0.005),
    "rates by depth, old digits": (0.979, 0.005),
}
TOLERANCE = 0.03
measured = {}
for key in STATED:
    method, _, which = key.rpartition(", ")
    column = ["new digits", "old digits"].index(which)
    measured[key] = spreads(results[method, 100])[column][0]

print(f"{'with 100 labels':30}{'stated':>16}{'measured':>10}")
for key, (mean, spread) in STATED.items():
    off = abs(measured[key] - mean) > max(4 * spread, TOLERANCE)
    print(f"{key:30}{mean:8.3f} ± {spread:.3f}{measured[key]:10.3f}{'   not as stated' * off}")

# %% [markdown]
# **What to see in it.** Over ten seeds (the cells above run fewer), one rate, nothing tuned:
#
# | new digits, labels: | 25 | 100 | 500 |
# |---|---|---|---|
# | from scratch | 0.472 ± 0.058 | 0.714 ± 0.038 | 0.897 ± 0.015 |
# | probe | 0.746 ± 0.036 | 0.838 ± 0.015 | 0.911 ± 0.008 |
# | full | 0.812 ± 0.041 | 0.918 ± 0.017 | 0.951 ± 0.005 |
# | probe, then full | 0.794 ± 0.060 | 0.905 ± 0.016 | 0.949 ± 0.005 |
# | rates by depth | 0.803 ± 0.041 | 0.877 ± 0.021 | 0.889 ± 0.008 |
#
# | old digits, labels: | 25 | 100 | 500 |
# |---|---|---|---|
# | probe | 0.990 ± 0.000 | 0.990 ± 0.000 | 0.990 ± 0.000 |
# | full | 0.913 ± 0.038 | 0.868 ± 0.086 | 0.843 ± 0.088 |
# | probe, then full | 0.960 ± 0.034 | 0.978 ± 0.005 | 0.981 ± 0.004 |
# | rates by depth | 0.978 ± 0.007 | 0.979 ± 0.005 | 0.978 ± 0.009 |

# %% [markdown]
# **What follows, and what does not.**
#
# - Starting from pretrained weights is worth most where labels are few: with 25 of them every
#   pretrained way leads random weights by 27 points or more, with 500 the probe by 1 and full
#   fine-tuning by 5. Sixty steps are few for random weights: with more, the gap may well shrink.
# - The probe forgets nothing, since the old head finds the body as it was. It also learns less than
#   full fine-tuning at each number of labels.
# - Full fine-tuning from a random head forgets most, and how much depends on the seed: 0.868 ±
#   0.086 with 100 labels. From a trained head it keeps 0.978 ± 0.005 and learns as much, within the
#   spread of seeds. That a random head distorts the body is the finding of 2202.10054 (abstract).
# - Rates by depth keep as much, without a trained head. But they learn less: 0.877 against 0.918
#   with 100 labels, and with 500 no more than random weights, 0.889 against 0.897 (full: 0.951).
#   The lowest block moves at 1/46 of the rate, in as many steps.
# - It is no ranking of methods: each has a best rate and number of steps of its own, and nobody
#   looked for it. Here the new task is close to the old one; a farther one would need more of the
#   body to move.

# %% [markdown]
# ## Task 10: numbers
#
# Interviewers like a number. Compute by hand; write a number or an expression.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# For the memory: list what is stored for one trainable parameter, and its bytes. For the heads: a
# linear layer has in · out weights and out biases.
#
# </details>
# <details><summary>Hint</summary>
#
# Adam keeps two float32 numbers for each trainable parameter. ResNet-18's features have 512
# dimensions, BERT-base's 768; BERT's pooler is a 768 × 768 linear layer with a bias. With a head of
# zeros all classes are equally likely.
#
# </details>

# %% task="fine_tuning_numbers"
# 1. GB (1e9 bytes) for weights, gradients and optimizer to fine-tune all of 13 B parameters with
#    Adam: weights and gradients in bfloat16, Adam's numbers and a master copy in float32.
mixed_precision_gb = None
# 2. The same with everything in float32 (and so without a master copy).
float32_gb = None
# 3. GB if 7 B are frozen in bfloat16, and 20 million added parameters train as in question 1
#    (to two decimals).
adapter_gb = None
# 4. Trainable parameters of a linear probe on ResNet-18 with 10 classes (with biases).
resnet_probe = None
# 5. Parameters of the classifier alone, on BERT-base's pooled output, for 2 labels (with biases).
bert_classifier = None
# 6. The same and the pooler, which BertForSequenceClassification trains along with it.
bert_with_pooler = None
# 7. The rate of the lowest of five blocks, if the highest has 1e-3 and each block 1/2.6 of the one
#    above it (to three significant digits).
lowest_rate = None
# 8. The mean cross-entropy (in nats, to two decimals) with which a 10-class head of zeros starts.
first_loss = None
### BEGIN SOLUTION
mixed_precision_gb = 208  # 13 · (2 + 2 + 4 + 4 + 4) bytes — counting; 1910.02054 §3.1
float32_gb = 208  # 13 · (4 + 4 + 4 + 4): mixed precision saves activations, not these — counting
adapter_gb = 14.32  # 7 · 2 for the frozen ones, 0.02 · 16 for the others — counting
resnet_probe = 5_130  # 512 · 10 + 10 — counting
bert_classifier = 1_538  # 768 · 2 + 2 — counting; transformers BertForSequenceClassification
bert_with_pooler = 592_130  # 768 · 768 + 768 = 590,592 more — counting
lowest_rate = 2.19e-5  # 1e-3 / 2.6⁴: four steps between five blocks — counting; 1801.06146 §3.2
first_loss = 2.30  # ln 10: each class gets 1/10, whatever the labels are — algebra
### END SOLUTION

# %% check="fine_tuning_numbers" points=8
check("fine_tuning_numbers")

# %% [markdown]
# ## Task 11: judge these statements
#
# Each is said or written of fine-tuning somewhere. True or False? A right answer is worth 1, a
# wrong one −1, None 0; the sum, never below 0, divided by 16, is your share of the points.
#
# difficulty ●●○○○ · importance ●●●●● · about 15 minutes
#
# - **a.** Fine-tuning trains the pretrained network's architecture anew, from random weights, on
#   the new data set.
# - **b.** The first layers of convolutional networks for natural images learn features that serve
#   many tasks; towards the last layer features become specific to the task.
# - **c.** With Adam in mixed precision and a float32 master copy of the weights, optimizer state
#   and master copy together take more memory than the 16-bit weights and gradients.
# - **d.** Full fine-tuning can do whatever a linear probe can, so it is never worse than one on new
#   data.
# - **e.** Once `requires_grad` is False for all of a model's parameters, its outputs in eval mode
#   can't be changed by forward passes in train mode.
# - **f.** On average over ten data sets with a distribution shift, training the head first and then
#   everything did better, in and out of distribution, than training everything at once.
# - **g.** Without random augmentation, and with the frozen body in eval mode, a linear probe needs
#   each input's features once, however many epochs the head is trained for.
# - **h.** The best way to keep a language model up to date with facts that change weekly is to
#   fine-tune it on them every week.

# %% [markdown]
# - **i.** After `model.requires_grad = False` no parameter of the module `model` gets a gradient.
# - **j.** Gradual unfreezing, as proposed for language models, starts with the last layer and works
#   its way down.
# - **k.** Freezing half of a model's parameters halves the memory for weights, gradients and
#   optimizer.
# - **l.** In object detection on COCO, networks that started from random weights and were trained
#   long enough came out no worse than networks pretrained on ImageNet.
# - **m.** Discriminative rates give the layers next to the input the largest rate, since they are
#   farthest from the loss.
# - **n.** When the shift lies in the input, such as image corruptions, it can be best to fine-tune
#   the first layers only.
# - **o.** A fine-tuned model answers faster than its base, because fine-tuning makes it smaller.
# - **p.** On film reviews a classifier with 100 labels, from a pretrained language model that was
#   first tuned on unlabelled reviews, matched one from scratch with 100 times as many labels.

# %% task="fine_tuning_statements"
judged = dict.fromkeys("abcdefghijklmnop")  # judged["a"] = True or False; None is no answer
### BEGIN SOLUTION
judged = {
    # It goes on from the pretrained weights; only a new head is random — d2l Fine-Tuning, Steps.
    "a": False,
    # "General" to "specific", measured layer by layer — 1411.1792 abstract.
    "b": True,
    # 4 + 4 + 4 bytes against 2 + 2 for each parameter — 1910.02054 §3.1.
    "c": True,
    # It could, but on average it was 7 points worse out of distribution — 2202.10054 abstract.
    "d": False,
    # Batch-norm's running statistics are buffers, and move in train mode — PyTorch BatchNorm2d.
    "e": False,
    # 1 point better in distribution and 10 out of it — 2202.10054 abstract.
    "f": True,
    # Frozen, in eval mode, on equal inputs: equal features — algebra.
    "g": True,
    # Retrieval did better; new facts are learned slowly — 2312.05934 abstract; 2405.05904 abstract.
    "h": False,
    # It sets an attribute that nobody reads; requires_grad_() is the method — PyTorch nn.Module.
    "i": False,
    # The last layer holds the least general knowledge — 1801.06146 §3.3.
    "j": True,
    # The frozen half still costs its weights — counting.
    "k": False,
    # With more iterations, even with a tenth of the data — 1811.08883 abstract.
    "l": True,
    # The lowest get the smallest: each layer 1/2.6 of the one above — 1801.06146 §3.2.
    "m": False,
    # "Surgical" fine-tuning: which layers are best depends on the shift — 2210.11466 abstract.
    "n": True,
    # The architecture stays, and so do its operations; a smaller base is faster — definition.
    "o": False,
    # On IMDb; without the unlabelled reviews it was 10 times — 1801.06146 §5.
    "p": True,
}
### END SOLUTION

# %% check="fine_tuning_statements" points=8
check("fine_tuning_statements")

# %% [markdown]
# ## Task 12: the interview answer, yours
#
# "What is fine-tuning? When would you use it, when not, and which of a model's parameters would you
# train?" Answer in the next cell, in 150 to 300 words, as you would say it to an interviewer. A
# person grades it, 10 points:
#
# | points | for |
# |---|---|
# | 2 | what it is: go on from pretrained weights, a new head where the task is new, all or some |
# | 1 | why it works: what lower layers hold, and why few labels can be enough |
# | 2 | what to train: probe, full, probe then full, rates by depth; what speaks for each |
# | 2 | when not: what prompting or retrieval does better, changing facts, no evaluation set |
# | 1 | cost, with a sum: bytes a trainable parameter, for a model of your choice |
# | 1 | a danger: forgetting, distorted features, drifting batch-norm; and what you do about it |
# | 1 | how you would know that it helped: baselines, held-out data, the old task |
#
# A false statement in the answer costs 1, down to 0.
#
# difficulty ●●●○○ · importance ●●●●● · about 15 minutes

# %% [markdown] free_text="explain_fine_tuning" points=10
# ### Your answer: what fine-tuning is, and when to use it
#
# ### BEGIN SOLUTION
# Fine-tuning means to start from the weights of a pretrained model, put a new head on it where the
# classes are new, and go on optimising all of the parameters or some of them on the data of my
# task. It works because early layers learn features that serve many tasks, as was measured on
# convolutional networks, while the upper ones are more and more specific to the old task. So a few
# hundred labels can be enough.
#
# I would begin with a linear probe: cheap, nothing is forgotten, the features are computed once. If
# it falls short I train everything, from the trained head, since a random one distorts the features
# below it, with a small rate for the body, the smaller the closer a layer is to the input. Where
# memory is short I train few parameters, as in LoRA.
#
# I would not fine-tune where a prompt does it, where facts are missing or change often (retrieval
# is better at that), or where I have no evaluation set to tell me whether it helped. In order of
# cost: prompt, retrieval, parameter-efficient, full; and where there are many texts of the domain,
# continued pretraining before that.
#
# Cost: with Adam in mixed precision 16 bytes a trainable parameter, so 112 GB for 7 B, and
# activations on top. A frozen parameter costs its 2 bytes.
#
# Dangers: it forgets old skills and can get worse out of distribution; frozen batch-norms drift in
# train mode unless held in eval mode.
#
# I compare with the prompted base model, a probe and a simple baseline, on held-out data, over
# several seeds, and look at the old task as well.
# ### END SOLUTION

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open it when yours is written</summary>
#
# Fine-tuning copies a pretrained model except for its output layer, adds a new one, and trains on
# the target data: the output layer from scratch, the rest from where it was (d2l, "Fine-Tuning",
# Steps). First-layer features are general, last-layer features specific, and starting from
# transferred features can help even after fine-tuning (1411.1792, abstract).
#
# *What to train.* On average over ten data sets with a distribution shift, full fine-tuning was 2
# points more accurate than a linear probe in distribution and 7 points less out of it; the probe
# first and then everything did better on both (2202.10054, abstract). ULMFiT gives lower layers
# smaller rates and thaws from the top (1801.06146 §3.2, §3.3). Which layers are best to tune
# depends on the shift (2210.11466, abstract).
#
# *When not.* Retrieval brought facts in better than unsupervised fine-tuning (2312.05934,
# abstract); examples with new facts are learned slowly, and once learned they raise the tendency to
# hallucinate (2405.05904, abstract). With few examples in the prompt a large model can do a task
# without any training (2005.14165, abstract), though training a few parameters on those examples
# did better and was cheaper to run (2205.05638, abstract). For a whole domain there is continued
# pretraining on its texts (2004.10964, abstract).
#
# *Cost.* 16 bytes a parameter in mixed precision with Adam (1910.02054 §3.1): 112 GB for 7 B.
#
# *Danger.* Old skills can be lost (1612.00796, abstract); batch-norm drifts (Task 2).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview (1): what moves
#
# 1. Copy all but the output layer, make that anew, train it from scratch and the rest from where it
#    was — d2l Fine-Tuning, Steps.
# 2. First layers general, last layers specific; the farther the tasks, the less transfers, but even
#    distant features can beat random ones — 1411.1792 abstract.
# 3. Two things hurt transfer: upper layers are specialised, and a cut between layers that had
#    adapted to each other makes them hard to train. Which weighs more depends on where one cuts —
#    1411.1792 abstract.
# 4. Full fine-tuning against a linear probe: accuracy 2 points higher in distribution, 7 lower out
#    of it, on average over ten data sets; it loses there where the features are good and the shift
#    is large — 2202.10054 abstract.
# 5. Why: a random head lets the layers below change before it is any good — 2202.10054 abstract.
# 6. Probe, then full: 1 point better in and 10 points better out of distribution than full —
#    2202.10054 abstract.
# 7. Last layer only can be too little: on a small GPT-2 for spam, all at one rate (5e-5, five
#    epochs), 72.0 % against 95.0 % with the last block, too, and 96.7 % with everything (a head
#    alone may want a larger rate) — LLMs-from-scratch ch06/02_bonus README.
# 8. Discriminative rates: each layer 1/2.6 of the one above it — 1801.06146 §3.2.
# 9. Gradual unfreezing: the last layer first, one more an epoch — 1801.06146 §3.3.
# 10. On IMDb and AG 100 labels did as well as 10 and 20 times as many from scratch, and as 100 and
#     50 times as many with unlabelled texts of the task besides — 1801.06146 §5.
# 11. Which layers to tune depends on the shift: the first for corrupted images — 2210.11466
#     abstract.

# %% [markdown]
# ## Facts to carry into the interview (2): cost, limits, alternatives
#
# 12. Mixed precision with Adam: 2 + 2 + 12 = 16 bytes a trainable parameter — 1910.02054 §3.1.
# 13. transformers' guide counts 18: 6 for the weights (a 16-bit and a float32 copy), 8 for Adam's
#     numbers, and 4 for gradients, kept in float32 — transformers docs, GPU memory usage.
# 14. All in float32: 16 as well; what mixed precision with a master copy saves is activations and
#     time — counting.
# 15. A frozen parameter costs its weight: no gradient, no optimizer state — counting.
# 16. `requires_grad = False` does not stop batch-norm's statistics; `eval()` does — PyTorch
#     BatchNorm2d.
# 17. transformers decays no biases, no `LayerNorm` (by its type) and no other norm layer that it
#     knows by its name: of a batch-norm called `bn1` it decays the weight — transformers
#     Trainer.get_decay_parameter_names.
# 18. Pretraining speeds up convergence; random weights caught up on COCO with more iterations, even
#     on a tenth of the data — 1811.08883 abstract.
# 19. Retrieval beat unsupervised fine-tuning for facts, old and new — 2312.05934 abstract.
# 20. New facts are learned slowly, and once learned they make hallucination likelier — 2405.05904
#     abstract.
# 21. Large language models do tasks from examples in the prompt, without an update — 2005.14165
#     abstract.
# 22. A second phase of pretraining on the domain's texts helps with many labels and with few —
#     2004.10964 abstract.
# 23. Networks lose old tasks as they learn new ones; holding back the weights that mattered helps —
#     1612.00796 abstract.

# %% [markdown]
# ## Follow-up questions (1)
#
# Answer aloud, then open.
#
# <details><summary>Linear probe or full fine-tuning: how do you choose?</summary>
#
# Probe first: it costs one pass over the data and tells how good the features are. Full if the
# probe falls short and held-out data from where the model will be used says it is better: it tends
# to win in distribution, and can lose out of it, where the features are good and the shift is large
# — 2202.10054 abstract.
#
# </details>
# <details><summary>Why a smaller rate for the pretrained layers?</summary>
#
# They are close to a good place and hold what was learned from far more data than yours; layers
# hold different kinds of information and should change to different extents — 1801.06146 §3.2; d2l
# Fine-Tuning, Steps.
#
# </details>
# <details><summary>Why train the head first?</summary>
#
# Through a random head the layers below change while the head is still learning, and the pretrained
# features are distorted — 2202.10054 abstract.
#
# </details>
# <details><summary>You have 25 labels. What do you do?</summary>
#
# A probe, over several draws of the 25, and a held-out set that I do not tune on. In this lesson's
# demonstration a probe with 25 labels leads random weights by 27 points; full fine-tuning is 7
# better still, and forgets — measured in "What it does".
#
# </details>
# <details><summary>When is training from scratch the better choice?</summary>
#
# When nothing pretrained fits, and data and time allow. It need not be worse: on COCO, with more
# iterations, random weights came out no worse, even on a tenth of the data — 1811.08883 abstract.
#
# </details>

# %% [markdown]
# ## Follow-up questions (2)
#
# <details><summary>Prompt, retrieval or fine-tuning?</summary>
#
# The cheapest that passes the evaluation; as a rule the prompt costs least to try, then retrieval,
# then fine-tuning. Examples in the prompt change behaviour without training
# (2005.14165). For facts retrieval did better than unsupervised fine-tuning (2312.05934). As a rule
# of thumb, fine-tune for behaviour, format, latency or cost at volume (2205.05638 for the cost),
# once the evaluation shows what is missing — 2005.14165 abstract; 2312.05934 abstract; 2205.05638
# abstract.
#
# </details>
# <details><summary>Few examples: put them into the prompt or train on them?</summary>
#
# Every call pays for examples in the prompt, if less so where the prefix is cached. Training a few
# parameters on them was more accurate and computed far less in one comparison — 2205.05638
# abstract.
#
# </details>
# <details><summary>Can you fine-tune 7 B parameters on one 80 GB card?</summary>
#
# Not all of them with Adam in mixed precision: 112 GB before activations. Frozen in 16 bits with
# small adapters: 14 GB and a little, so yes. Other ways out: state spread over several cards
# (ZeRO); 8-bit optimizer state, 70 GB; no master copy and 16-bit state, 56 GB (no master copy
# alone: 84 GB, still too much) — counting; 1910.02054 abstract.
#
# </details>
# <details><summary>Does mixed precision halve the memory?</summary>
#
# Not of weights, gradients and Adam: 2 + 2 + 4 + 4 + 4 bytes against 4 + 4 + 4 + 4. It saves
# activations, and time where the hardware is faster in half precision — counting.
#
# </details>
# <details><summary>The body is frozen, yet its outputs change. Why?</summary>
#
# Batch-norm in train mode moves its running statistics, whatever requires_grad says; dropout, if it
# is on, changes outputs, too — PyTorch BatchNorm2d, Dropout.
#
# </details>

# %% [markdown]
# ## Follow-up questions (3)
#
# <details><summary>Is momentum 0 a way to freeze a batch-norm?</summary>
#
# No. Its running mean and variance stop (`num_batches_tracked` counts on), but in train mode it
# still normalises with the batch, so that an example's output depends on its neighbours — PyTorch
# BatchNorm2d.
#
# </details>
# <details><summary>Loading says nothing and accuracy is at chance. What do you look at?</summary>
#
# The lists of missing and unexpected names that `load_state_dict(strict=False)` returns: a prefix
# such as "module." is enough to load nothing — PyTorch nn.Module.load_state_dict.
#
# </details>
# <details><summary>Why no weight decay on biases and norm layers?</summary>
#
# It is a convention: decay holds down large weights, and these are few and set scale and offset.
# transformers goes by the type for `LayerNorm` and by the name for other norms, not by the number
# of dimensions; names can miss one (`bn1`), and so can types (Llama's own RMSNorm) — transformers
# Trainer.get_decay_parameter_names.
#
# </details>
# <details><summary>How would you keep a fine-tuned model from forgetting?</summary>
#
# Train less (LoRA forgets less than full fine-tuning, and learns less), or penalise moving the
# weights that mattered for the old task, as EWC does; smaller rates and mixing in old data are
# common, too. And measure the old task — 1612.00796 abstract; 2405.09673 abstract.
#
# </details>
# <details><summary>It got better on your test set and worse in the field. What now?</summary>
#
# Full fine-tuning can cost accuracy out of distribution. Start from a trained head, or average the
# weights of the model before and after: for models such as CLIP that was far more accurate under a
# shift than fine-tuning alone, at no cost in inference — 2202.10054 abstract; 2109.01903 abstract.
#
# </details>

# %% [markdown]
# ## Follow-up questions (4)
#
# <details><summary>Is it always the last layers that one tunes?</summary>
#
# No. Where the input changed, as with image corruptions, the first layers alone worked best —
# 2210.11466 abstract.
#
# </details>
# <details><summary>What is continued pretraining, and when?</summary>
#
# The objective of pretraining, on unlabelled texts of the domain, before fine-tuning. A candidate
# where you have such texts: in four domains it helped, with many labels and with few — 2004.10964
# abstract.
#
# </details>
# <details><summary>Does a fine-tuned model run faster?</summary>
#
# Not by itself: but for a new head the architecture and its operations are the same. It can let you
# shorten the prompt or take a smaller base, and these are faster — definition.
#
# </details>
# <details><summary>What do you need before you start?</summary>
#
# A held-out set that looks like the use, a metric that follows the cost of errors, and the figures
# of the prompted base, a probe and a simple baseline. Without them nobody can say whether
# fine-tuning helped — definition.
#
# </details>
