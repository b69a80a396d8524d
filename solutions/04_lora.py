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
# # LoRA: low-rank adaptation
#
# **The interview question.** *How does LoRA work? What does it save, what does it not save, and how
# would you put it into an existing network?*
#
# You will write LoRA from the formula to a program that adapts a ResNet to digits it has never
# seen, judge what is commonly said of it, and answer the question in your own words.

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
# attempt the reference: `show_reference("lora_linear")`.
#
# Notation: `x` (…, in), `weight` W (out, in) as in `nn.Linear`, `lora_A` (rank, in), `lora_B`
# (out, rank). The paper is *LoRA: Low-Rank Adaptation of Large Language Models*, arXiv 2106.09685.
# LoRA is one method of parameter-efficient fine-tuning (PEFT): what that is, and how its methods
# compare, is said in [lesson 3](../03_distillation/distillation.ipynb).

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
# > LoRA decomposes the model's parameters into a base matrix multiplied by a low-rank matrix, and
# > puts the task's weights on the low-rank one. This lowers the amount of computation in training
# > and inference. Its drawback is that the model may lose the knowledge of its base.
#
# Each of the three sentences contains a mistake. Find them before you open the next part.
#
# <details><summary>What is wrong with it</summary>
#
# 1. *The weights are not decomposed.* The pretrained W stays whole and frozen. What is written as a
#    low-rank product is the **update added to it**, BA (arXiv 2106.09685 §4.1). A sum, too, and not
#    a product of a base and something.
# 2. *The forward pass does not get cheaper.* Wx is computed as before, and BAx besides. What
#    shrinks is what belongs to *trainable* parameters: gradients, optimizer state, checkpoints. Of
#    the computation, training saves W's gradient, and inference nothing.
# 3. *It tends to keep more, not less.* On code and mathematics LoRA learned less than full
#    fine-tuning and forgot less of the base (arXiv 2405.09673, abstract). Less is not nothing.
#
# </details>

# %%
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder import check, show_reference

# %% [markdown]
# ## Task 1: the formula
#
# A linear layer with a low-rank update: x Wᵀ + b + (lora_alpha / rank) · x Aᵀ Bᵀ.
#
# There are two orders in which to multiply. With a few rows of x and a large W one of them is
# several times slower than the other, and needs memory for a second W.
#
# One of the checks at grading measures the memory.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# Count multiplications for one row: (x Aᵀ) Bᵀ takes rank · (in + out), B A alone rank · in · out.
#
# </details>
# <details><summary>Hint</summary>
#
# Never write `lora_B @ lora_A`. `F.linear(x, lora_A)` is (…, rank); put the factor there, where the
# tensor is smallest. `F.linear` takes any leading dimensions by itself.
#
# </details>


# %% task="lora_forward"
def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    """Output of a linear layer with a low-rank update: x Wᵀ + b + (lora_alpha / rank) · x Aᵀ Bᵀ.

    Arguments
        x           (..., in): any number of leading dimensions, none and empty ones included
        weight      (out, in): W, frozen
        lora_A      (rank, in)
        lora_B      (out, rank)
        lora_alpha  int or float
        bias        (out,) or None
    Returns
        (..., out), in the dtype of the arguments (one for all: float64, float32 or a half one)

    Gradients flow to x, lora_A and lora_B. The arguments are left unchanged.

    Memory. Beside `weight` no tensor of out × in elements is made, forward or backward.

    Speed. With 16 rows, 2,048 features in and out and rank 8, on one CPU: at least 0.8 times as
    fast as the reference (forming B·A takes several times as long). Where the grader has a GPU,
    also there: 4 rows, 16,384 features, rank 16, bfloat16, outputs to 2 % of the largest.
    """
    ### BEGIN SOLUTION
    rank = lora_A.shape[0]
    low = F.linear(x, lora_A) * (lora_alpha / rank)  # (..., rank): scaled where it is smallest
    return F.linear(x, weight, bias) + F.linear(low, lora_B)  # (..., out)
    ### END SOLUTION


# %% check="lora_forward" points=8
check("lora_forward")

# %% [markdown]
# ## Task 2: `LoRALinear`
#
# The same as a layer that wraps a pretrained `nn.Linear`: the base is frozen, A and B train.
#
# Why is A random and B zero? Both random, and the network starts somewhere else than where
# pretraining left it. Both zero, and it never leaves: ∂L/∂B has A as a factor and ∂L/∂A has B.
# With B alone at zero the first step moves B, and from the second on both move.
#
# Task 5 comes back to this class and the next one: merged, a layer answers with its base only.
#
# difficulty ●●○○○ · importance ●●●●● · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# An optimizer finds what `model.parameters()` lists; a plain tensor attribute is not in there. And
# `requires_grad` is a property of the base's parameters, not of your forward.
#
# </details>
# <details><summary>Hint</summary>
#
# `nn.Parameter(base.weight.new_zeros(out, rank))` takes dtype and device from the base. Dropout
# goes before A and leaves `self.base(x)` alone. Task 5 will want a merged layer to answer with its
# base only: leave room for a flag that `forward` asks.
#
# </details>


# %% task="lora_linear"
class LoRALinear(nn.Module):
    """A frozen linear layer with a trainable low-rank update beside it.

        y = base(x) + (lora_alpha / rank) · dropout(x) Aᵀ Bᵀ

    Arguments
        base        nn.Linear; kept (the very object, not a copy), its parameters frozen
        rank        int ≥ 1; it may exceed min(in, out)
        lora_alpha  int or float
        dropout     probability in [0, 1), acting on the *branch's* input only, in train mode only,
                    as nn.Dropout does it: element by element, what is kept divided by 1 − dropout
    Attributes
        base, rank, lora_alpha     as given
        lora_A      nn.Parameter (rank, in): random, not all zero (any distribution)
        lora_B      nn.Parameter (out, rank): zero, so that the output starts as the base's

    lora_A and lora_B are the only trainable parameters, and have the dtype and device of
    base.weight. The new layer starts in the training mode of `base`. x is (..., in) → (..., out).

    Raises ValueError: base is no nn.Linear; rank is not an int (2.0 and True are none) or is < 1;
    dropout is outside [0, 1).
    """

    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__()
        ### BEGIN SOLUTION
        if not isinstance(base, nn.Linear):
            raise ValueError(f"base must be an nn.Linear, not {type(base).__name__}")
        if type(rank) is not int or rank < 1:
            raise ValueError(f"rank must be an int of at least 1, not {rank!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {dropout!r}")
        self.base = base.requires_grad_(False)
        self.rank = rank
        self.lora_alpha = lora_alpha
        self.dropout = nn.Dropout(dropout)
        weight = base.weight  # (out, in)
        self.lora_A = nn.Parameter(weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as loralib and peft do
        # The base's own weight while merge_lora has another in its place. It moves and is copied
        # with the layer, but is in no state_dict.
        self.register_buffer("kept_weight", None, persistent=False)
        self.train(base.training)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        if self.kept_weight is not None:  # merged: the update is in the base already
            return self.base(x)
        low = F.linear(self.dropout(x), self.lora_A) * (self.lora_alpha / self.rank)  # (..., rank)
        return self.base(x) + F.linear(low, self.lora_B)  # (..., out)
        ### END SOLUTION


# %% check="lora_linear" points=12
check("lora_linear")

# %% [markdown]
# **Which moves first?** One backward pass at the start, to see what the algebra says: A's gradient
# is exactly zero, B's is not. And 4,096 parameters train beside 262,656 frozen ones.

# %% tags=["demonstration"]
layer = LoRALinear(nn.Linear(512, 512), rank=4, lora_alpha=8)
layer(torch.randn(4, 512)).square().sum().backward()
print("largest gradient of A:", layer.lora_A.grad.abs().max().item())
print("largest gradient of B:", layer.lora_B.grad.abs().max().item())
print("trainable:", f"{sum(p.numel() for p in layer.parameters() if p.requires_grad):,}")
print("frozen:   ", f"{sum(p.numel() for p in layer.base.parameters()):,}")

# %% [markdown]
# ## Task 3: `LoRAConv2d`
#
# A convolution's weight has four dimensions: what is a low-rank update of that? Two answers are in
# use. loralib reshapes one matrix product, (out·k, rank·k) times (rank·k, in·k), into the kernel.
# peft convolves to `rank` channels with the base's kernel size, stride and padding, and then mixes
# these channels by a 1×1 convolution. Ours is the second.
#
# It is a convolution followed by a 1×1 one, hence linear in the input, hence itself a convolution:
# there must be one kernel that does both, and `merge()` returns it.
#
# difficulty ●●●○○ · importance ●●●○○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# A "sees" what the base sees, so it moves over the image as the base does; B looks at one pixel at
# a time. For `merge`, write the kernel's element [o, i, y, x] as a sum over the rank.
#
# </details>
# <details><summary>Hint</summary>
#
# ΔW[o, i, y, x] = Σᵣ B[o, r] · A[r, i, y, x]: flattened behind their first dimension, a plain
# matrix product. For the many kinds of padding there is a method of `nn.Conv2d` that convolves an
# input with any weight in the layer's own way: `base._conv_forward(x, weight, bias)`.
#
# </details>


# %% task="lora_conv2d"
class LoRAConv2d(nn.Module):
    """A frozen 2-D convolution with a trainable low-rank update beside it.

    The branch is a convolution A to `rank` channels, with the base's stride, padding, padding mode
    and dilation and no bias, then a 1×1 convolution B to `out` channels:

        y = base(x) + (lora_alpha / rank) · B ∗ (A ∗ x)

    Arguments
        base        nn.Conv2d with groups = 1; kept (the very object) and frozen
        rank        int ≥ 1
        lora_alpha  int or float
    Attributes
        base, rank, lora_alpha     as given
        lora_A      nn.Parameter (rank, in, kh, kw): random, not all zero
        lora_B      nn.Parameter (out, rank, 1, 1): zero, so that the output starts as the base's

    lora_A and lora_B are the only trainable parameters, and have the dtype and device of
    base.weight. The new layer starts in the training mode of `base`. Kernels need not be square.
    Every stride, dilation, padding (numbers, "same", "valid") and padding mode ("zeros", "reflect",
    "replicate", "circular") that the base may have is honoured. x is (B, in, H, W).

    Raises ValueError: base is no nn.Conv2d, or has groups > 1; rank is not an int (2.0 and True are
    none) or is < 1.
    """

    def __init__(self, base, rank, lora_alpha):
        super().__init__()
        ### BEGIN SOLUTION
        if not isinstance(base, nn.Conv2d):
            raise ValueError(f"base must be an nn.Conv2d, not {type(base).__name__}")
        if base.groups > 1:
            raise ValueError("a grouped convolution has no such update: A sees all input channels")
        if type(rank) is not int or rank < 1:
            raise ValueError(f"rank must be an int of at least 1, not {rank!r}")
        self.base = base.requires_grad_(False)
        self.rank = rank
        self.lora_alpha = lora_alpha
        weight = base.weight  # (out, in, kh, kw)
        self.lora_A = nn.Parameter(weight.new_empty(rank, *weight.shape[1:]))
        self.lora_B = nn.Parameter(weight.new_zeros(base.out_channels, rank, 1, 1))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.register_buffer("kept_weight", None, persistent=False)  # as in LoRALinear
        self.train(base.training)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        if self.kept_weight is not None:
            return self.base(x)
        # The base's own way to convolve, with A in place of W: stride, padding and all.
        low = self.base._conv_forward(x, self.lora_A, None)  # (B, rank, H', W')
        low = low * (self.lora_alpha / self.rank)
        return self.base(x) + F.conv2d(low, self.lora_B)  # (B, out, H', W')
        ### END SOLUTION

    def merge(self):
        """A new nn.Conv2d with the weight W + (lora_alpha / rank) · BA: one call, the same outputs.

        Its settings, bias, dtype, device and training mode are the base's, its parameters are not
        trainable, and it shares no memory with the layer, which is left unchanged and usable. The
        result is the same whether or not `merge_lora` has merged the layer before.
        """
        ### BEGIN SOLUTION
        merged = copy.deepcopy(self.base)
        if self.kept_weight is None:
            with torch.no_grad():
                scaled = (self.lora_alpha / self.rank) * self.lora_B.flatten(1)  # (out, rank)
                update = scaled @ self.lora_A.flatten(1)  # (out, in · kh · kw)
                merged.weight += update.view_as(merged.weight)
        return merged
        ### END SOLUTION


# %% check="lora_conv2d" points=10
check("lora_conv2d")

# %% [markdown]
# ## Task 4: `inject_lora`
#
# Now a whole network: find the layers, put adapters in their place, freeze everything else but the
# new head. Published programs get wrong here what they had right in the formula: the base goes on
# training, the new head does not, or an optimizer holds parameters that are no longer in the model.
#
# Two things deserve a thought. *Batch-norm*: `requires_grad = False` stops its weight and bias, but
# in train mode it still normalises with the batch and moves its running statistics, so the "frozen"
# base drifts ([lesson 1](../01_fine_tuning/fine_tuning.ipynb) has a task on it). *Refusing*: a call
# that can't be carried out must leave the model as it was.
#
# The two helpers are only a way to cut the work; drop them if you like.
#
# difficulty ●●●●● · importance ●●●●● · about 40 minutes
#
# <details><summary>Nudge</summary>
#
# First collect and judge, then change. `model.named_modules(remove_duplicate=False)` names a shared
# module in every place where it stands. Parameters are tied if two modules hold the same object.
#
# </details>
# <details><summary>Hint</summary>
#
# Suffix by component: `f".{name}".endswith(f".{target}")`. Replace by
# `setattr(model.get_submodule(parent), child, adapter)`, one adapter per `id(module)`. For
# batch-norm something must act *after* `model.train()`: a forward pre-hook that calls `eval()` on
# the module, or a subclass with its own `train`. Momentum 0 does not do it: the batch's statistics
# are still what it normalises with.
#
# </details>


# %% task="inject_lora"
def find_places(model, suffixes):
    """Helper, not graded: {dotted name: module} of all places of the modules that are named."""
    ### BEGIN SOLUTION
    if isinstance(suffixes, str):
        raise ValueError(f"expected a list of names, not the string {suffixes!r}")
    # A module that stands in two places appears under both names.
    places = dict(model.named_modules(remove_duplicate=False))
    places.pop("")  # the model itself is nobody's child and can't be replaced
    found = set()
    for suffix in suffixes:
        named = [id(m) for name, m in places.items() if f".{name}".endswith(f".{suffix}")]
        if not named:
            raise ValueError(f"no module of the model is called {suffix!r}")
        found.update(named)
    return {name: module for name, module in places.items() if id(module) in found}
    ### END SOLUTION


def keep_running_statistics(batch_norm, inputs):
    """Helper, not graded: a forward pre-hook that undoes model.train() for a frozen batch-norm."""
    ### BEGIN SOLUTION
    batch_norm.eval()
    ### END SOLUTION


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    """Replace layers of `model` by LoRALinear or LoRAConv2d and freeze the rest, in place.

    Arguments
        model           nn.Module
        target_modules  list or tuple of names. A name matches a module whose dotted name is equal
                        to it or ends in "." + name: "conv1" and "0.conv1" match "layer1.0.conv1",
                        "onv1" does not. The model itself is never a match.
        rank, lora_alpha  as for LoRALinear; no dropout
        train_also      names, matched by the same rule, of modules of any type that are to be
                        trained in full (the new head); may be empty
    Returns
        list of the dotted names replaced, in the order of
        model.named_modules(remove_duplicate=False) before the call

    Afterwards
    - exactly lora_A and lora_B of the adapters and all parameters inside the `train_also` modules
      are trainable, whatever was trainable before;
    - the model's outputs are unchanged (in eval mode);
    - a matched module that stands in several places of the model (the same object) is replaced in
      all of them by one and the same adapter, and all these names are in the returned list, even if
      only one of them matched;
    - a batch-norm (1d, 2d, 3d, synchronised) outside the `train_also` modules normalises with its
      running statistics and changes none of its buffers, also after model.train(), copy.deepcopy
      and pickling. One without running statistics is left as it is. One inside a `train_also`
      module learns as usual.

    Raises ValueError, *before* anything is changed (weights, requires_grad, modules), if
    - target_modules or train_also is a string, or target_modules is empty;
    - a name in target_modules or train_also matches nothing;
    - any module matched by target_modules is neither an nn.Linear nor an nn.Conv2d, or is a
      convolution with groups > 1;
    - a matched target stands directly in an nn.MultiheadAttention (out_proj) or an
      nn.TransformerEncoderLayer (linear1, linear2), whatever their settings: these read its weight
      past its forward (the second on its fast path: eval mode, batch_first=True), so that an
      adapter there would do nothing or fail;
    - a matched target lies inside a `train_also` module (or is one);
    - a target's weight or bias is also the parameter of another module (tied weights), or a
      parameter inside a `train_also` module is also one of a module outside of them;
    - the model already contains a LoRALinear or LoRAConv2d (a second injection);
    - rank is not an int (2.0 and True are none) or is < 1.
    """
    ### BEGIN SOLUTION
    if type(rank) is not int or rank < 1:
        raise ValueError(f"rank must be an int of at least 1, not {rank!r}")
    if any(isinstance(module, (LoRALinear, LoRAConv2d)) for module in model.modules()):
        raise ValueError("the model has adapters already")
    targets = find_places(model, target_modules)
    heads = find_places(model, train_also)
    if not targets:
        raise ValueError("target_modules is empty")

    trained = {id(module) for head in heads.values() for module in head.modules()}
    owners = {}  # id of a parameter -> ids of the modules that hold it
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(id(module))

    for name, module in targets.items():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            raise ValueError(f"{name} is a {type(module).__name__}: neither Linear nor Conv2d")
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            raise ValueError(f"{name} is a grouped convolution")
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, (nn.MultiheadAttention, nn.TransformerEncoderLayer)):
            raise ValueError(f"{type(parent).__name__} reads the weight of {name} past its forward")
        if id(module) in trained:
            raise ValueError(f"{name} is in train_also, too")
        if any(len(owners[id(parameter)]) > 1 for parameter in module.parameters()):
            raise ValueError(f"{name} shares a parameter with another module")
    for name, head in heads.items():
        if any(owners[id(parameter)] - trained for parameter in head.parameters()):
            raise ValueError(f"{name} shares a parameter with a module that is to stay frozen")

    # Nothing below fails, so that an error above leaves the model as it was.
    model.requires_grad_(False)
    for head in heads.values():
        head.requires_grad_(True)
    adapters = {}  # one a module, however many places it stands in
    for name, module in targets.items():
        if id(module) not in adapters:
            kind = LoRALinear if isinstance(module, nn.Linear) else LoRAConv2d
            adapters[id(module)] = kind(module, rank, lora_alpha)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, adapters[id(module)])
    # Not trainable is not enough for a batch-norm: in train mode it uses and averages the batch's
    # statistics. A hook is a plain function, so deepcopy and pickle keep it.
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for module in model.modules():
        frozen = isinstance(module, norms) and id(module) not in trained
        if frozen and module.running_mean is not None:
            module.register_forward_pre_hook(keep_running_statistics)
    model.lora_train_also = tuple(heads)  # for lora_state_dict
    return list(targets)
    ### END SOLUTION


# %% check="inject_lora" points=14
check("inject_lora")

# %% [markdown]
# ## Task 5: merging
#
# W + (α/r)BA is a matrix like W. Put it in the base's place and the adapter costs nothing at
# inference. Taken out again, the base can serve the next task.
#
# "Subtract what was added" is how many do it. In floating point (W + U) − U need not be W.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# What does a merged layer's `forward` do, and how does it know? What must survive so that unmerging
# is exact?
#
# </details>
# <details><summary>Hint</summary>
#
# Keep a clone of W in the layer before adding to it (a non-persistent buffer moves with `.to()` and
# is copied by `deepcopy`, yet is in no state_dict), and let "is there a clone?" be the flag. Change
# the weight in place under `torch.no_grad()`: it stays the same Parameter.
#
# </details>


# %% task="merge_lora"
def merge_lora(model):
    """Add each adapter's update to its base's weight, in place, and return the model.

    model is any module that contains LoRALinear or LoRAConv2d layers, or is one itself; without any
    it is returned as it is. Afterwards

    - outputs are those of before in eval mode, to rounding;
    - `layer.base.weight` (still the same Parameter) holds W + (lora_alpha / rank) · BA;
    - a forward of the model makes no more matrix products and convolutions than the base model's:
      a merged layer answers with its base alone, in train mode, too (no dropout, no gradient for
      lora_A and lora_B: unmerge before training on);
    - lora_A, lora_B, biases and every requires_grad are what they were;
    - merging a merged model changes nothing, and an adapter in several places is merged once.

    A copy.deepcopy of a merged model is merged, too, and can be unmerged by itself.
    """
    ### BEGIN SOLUTION
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)) and layer.kept_weight is None:
            weight = layer.base.weight
            with torch.no_grad():
                layer.kept_weight = weight.clone()
                # Flattened, the convolution's update is a matrix product as well.
                scaled = (layer.lora_alpha / layer.rank) * layer.lora_B.flatten(1)  # (out, rank)
                weight += (scaled @ layer.lora_A.flatten(1)).view_as(weight)  # (out, in · kh · kw)
    return model
    ### END SOLUTION


def unmerge_lora(model):
    """Undo merge_lora, in place, and return the model.

    Every base weight is *bit for bit* what it was before merging, in every dtype (a copy has been
    kept: subtracting the update again would round), and outputs are again bit for bit those of the
    unmerged model. Unmerging a model that is not merged changes nothing. Merging and unmerging may
    be repeated; a merge after a change of lora_A or lora_B uses the new values.
    """
    ### BEGIN SOLUTION
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)) and layer.kept_weight is not None:
            with torch.no_grad():
                layer.base.weight.copy_(layer.kept_weight)
            layer.kept_weight = None
    return model
    ### END SOLUTION


# %% check="merge_lora" points=10
check("merge_lora")

# %% [markdown]
# **Why keep a copy?** Ten rounds of merging and subtracting again in bfloat16, with another update
# each time, as after further training, against the weight that was there at first. (With one and
# the same update the whole error arises in the first round. The updates are large here, to be
# seen.)

# %% tags=["demonstration"]
weight = torch.randn(256, 256).bfloat16() / 16  # (out, in)
subtracted = weight.clone()
for _ in range(10):
    update = torch.randn(256, 8).bfloat16() @ torch.randn(8, 256).bfloat16() / 8  # rank 8
    subtracted += update  # merge
    subtracted -= update  # "unmerge"
error = (subtracted - weight).abs().max() / weight.abs().max()
print(f"off by {error.item():.1%} of the largest weight")

# %% [markdown]
# ## Task 6: saving and loading
#
# A fine-tuned model is its base plus a small file. In that file belong the adapters *and the new
# head*: a new head that is not saved comes back random, one of the causes that peft's
# troubleshooting guide names for bad results after loading. Batch-norms that trained have buffers,
# which belong there, too.
#
# Loading is all or nothing.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# `model.state_dict()` has all names and values already; which of its entries are yours? You need to
# know which modules were in `train_also`: who could have remembered that?
#
# </details>
# <details><summary>Hint</summary>
#
# Let `inject_lora` leave the names on the model. Detach *and* clone. In `load_lora`, compute what
# `lora_state_dict(model)` would give now and compare keys, shapes, ranks and alphas with it; only
# then `copy_`, which would broadcast if you had not compared the shapes.
#
# </details>


# %% task="lora_state_dict"
def lora_state_dict(model):
    """What fine-tuning has made, and nothing else of the base: a flat dict of name → tensor.

    model has been through inject_lora (or is a deepcopy of such a model). Entries, by name:

    - "<adapter>.lora_A" and "<adapter>.lora_B", under the names of model.state_dict() (an adapter
      in two places: under both names, here and below);
    - "<adapter>.rank", a 0-d int64 tensor, and "<adapter>.lora_alpha", a 0-d float64 tensor;
    - every entry of model.state_dict() that lies inside a module of inject_lora's `train_also`:
      parameters and buffers, under their names there, trainable at this moment or not.

    The tensors are detached copies: training on does not change them. The model is left unchanged.

    Raises ValueError: inject_lora has not been applied to the model; an adapter is merged.
    """
    ### BEGIN SOLUTION
    if not hasattr(model, "lora_train_also"):
        raise ValueError("inject_lora has not been applied to this model")
    adapters = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, (LoRALinear, LoRAConv2d))
    }
    if any(adapter.kept_weight is not None for adapter in adapters.values()):
        raise ValueError("the model is merged: unmerge_lora first")
    matrices = {f"{name}.{part}" for name in adapters for part in ("lora_A", "lora_B")}
    heads = tuple(f"{name}." for name in model.lora_train_also)
    state = {
        key: tensor.detach().clone()
        for key, tensor in model.state_dict().items()
        if key in matrices or key.startswith(heads)
    }
    for name, adapter in adapters.items():
        state[f"{name}.rank"] = torch.tensor(adapter.rank)
        state[f"{name}.lora_alpha"] = torch.tensor(adapter.lora_alpha, dtype=torch.float64)
    return state
    ### END SOLUTION


def load_lora(model, state):
    """Put what lora_state_dict saved into a model that has been injected alike; returns the model.

    In place: the Parameters and buffers stay the same objects and get the values of `state`, cast
    to their dtype and device. `state` is left unchanged and shares no memory with the model.

    Raises ValueError, and leaves every tensor of the model unchanged, if
    - inject_lora has not been applied to the model, or an adapter of it is merged;
    - a key is missing, or one is unexpected;
    - a value is not a tensor, or its shape is not exactly that of the model's (no broadcasting);
    - a rank or lora_alpha differs from the model's.
    """
    ### BEGIN SOLUTION
    expected = lora_state_dict(model)
    if state.keys() != expected.keys():
        missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
        raise ValueError(f"missing: {sorted(missing)}, unexpected: {sorted(unexpected)}")
    own = model.state_dict()  # its tensors share memory with the model
    for key, value in state.items():
        if not torch.is_tensor(value) or value.shape != expected[key].shape:
            raise ValueError(f"{key} must be a tensor of shape {tuple(expected[key].shape)}")
        if key not in own and value.item() != expected[key].item():
            raise ValueError(f"{key} is {value.item()}, the model's is {expected[key].item()}")
    # All is well: only now is the model touched.
    with torch.no_grad():
        for key in own.keys() & state.keys():
            own[key].copy_(state[key])
    return model
    ### END SOLUTION


# %% check="lora_state_dict" points=10
check("lora_state_dict")

# %% [markdown]
# ## Task 7: a rank for a budget
#
# "You may train 100,000 parameters. Which rank?" The number of parameters is linear in the rank, so
# this takes one pass over the layers.
#
# difficulty ●●○○○ · importance ●●●○○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# What does one more rank cost for a linear layer? For a convolution?
#
# </details>
# <details><summary>Hint</summary>
#
# One row of A and one column of B: in + out, or in · kh · kw + out. Count each module once, even if
# it stands in two places.
#
# </details>


# %% task="rank_for_budget"
def rank_for_budget(model, target_modules, budget):
    """The largest rank at which the adapters of these targets have at most `budget` parameters.

    Arguments
        model, target_modules   as for inject_lora (the same matching of names)
        budget                  int: the most elements that all lora_A and lora_B may have together;
                                what `train_also` would train does not count
    Returns
        int ≥ 1, without an upper limit (it may exceed min(in, out) of a layer)

    A module that stands in several places counts once. The model is left unchanged, its
    requires_grad and the state of the random generators included.

    Raises ValueError: not even rank 1 fits; target_modules is a string or empty; a name matches
    nothing; a match is neither nn.Linear nor nn.Conv2d, or is a convolution with groups > 1.
    """
    ### BEGIN SOLUTION
    targets = find_places(model, target_modules)
    if not targets:
        raise ValueError("target_modules is empty")
    per_rank = 0
    for module in set(targets.values()):  # a set: each module once
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or getattr(module, "groups", 1) > 1:
            raise ValueError(f"no adapter for {module}")
        # One more rank: a row of A, (in,) or (in, kh, kw), and a column of B, (out,).
        per_rank += module.weight[0].numel() + module.weight.shape[0]
    if budget < per_rank:
        raise ValueError(f"rank 1 takes {per_rank} parameters, the budget is {budget}")
    return budget // per_rank
    ### END SOLUTION


# %% check="rank_for_budget" points=6
check("rank_for_budget")

# %% [markdown]
# ## Task 8: DoRA
#
# DoRA (arXiv 2402.09353) writes a weight as magnitude times direction, lets LoRA change the
# direction, and trains the magnitude beside it: one number an output in the authors' code and in
# peft (the paper's formula says one a column).
#
# The norm in the denominator depends on A and B. The paper proposes to treat it as a constant in
# the backward pass, which saves memory; peft does so.
#
# difficulty ●●●○○ · importance ●●○○○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# At the start V = W. What must the magnitude be so that the output does not change?
#
# </details>
# <details><summary>Hint</summary>
#
# `self.magnitude = nn.Parameter(base.weight.norm(dim=1))`. In forward, `V.detach().norm(dim=1)`,
# kept away from zero by `clamp_min`. Divide V by it before the magnitude multiplies: magnitude
# divided by a tiny norm overflows. The bias takes no part.
#
# </details>


# %% task="dora_linear"
class DoRALinear(nn.Module):
    """A linear layer with magnitude and direction adapted apart (DoRA, arXiv 2402.09353).

        V = W + (lora_alpha / rank) · BA        W' = magnitude · V / ‖V‖        y = x W'ᵀ + bias

    ‖V‖ is the Euclidean norm over the input dimension, one number an output: (out,), as in peft.

    Arguments
        base, rank, lora_alpha     as for LoRALinear, with the same errors; no dropout
    Attributes
        base, rank, lora_alpha     as given; base is kept (the very object) and frozen
        lora_A      nn.Parameter (rank, in): random, not all zero
        lora_B      nn.Parameter (out, rank): zero
        magnitude   nn.Parameter (out,): ‖W‖ at the start, so that the output equals the base's
                    (to rounding)

    These three are the only trainable parameters, in the dtype and on the device of base.weight.
    The new layer starts in the training mode of `base`. x is (..., in) → (..., out). The bias is
    added last, neither normalised nor scaled.

    In the backward pass ‖V‖ is a constant (§4.3 of the paper): it follows V from step to step, but
    no gradient flows through it. Where a row of V is all zero, W' is zero there (and not NaN),
    whatever its magnitude.
    """

    def __init__(self, base, rank, lora_alpha):
        super().__init__()
        ### BEGIN SOLUTION
        if not isinstance(base, nn.Linear):
            raise ValueError(f"base must be an nn.Linear, not {type(base).__name__}")
        if type(rank) is not int or rank < 1:
            raise ValueError(f"rank must be an int of at least 1, not {rank!r}")
        self.base = base.requires_grad_(False)
        self.rank = rank
        self.lora_alpha = lora_alpha
        weight = base.weight  # (out, in)
        self.lora_A = nn.Parameter(weight.new_empty(rank, base.in_features))
        self.lora_B = nn.Parameter(weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.magnitude = nn.Parameter(weight.norm(dim=1))  # (out,)
        self.train(base.training)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        update = (self.lora_alpha / self.rank) * (self.lora_B @ self.lora_A)
        direction = self.base.weight + update  # V: (out, in)
        tiny = torch.finfo(direction.dtype).tiny  # 0 / tiny is 0, and 0 / 0 is not
        norm = direction.detach().norm(dim=1).clamp_min(tiny)  # (out,), a constant for autograd
        unit = direction / norm[:, None]  # (out, in): each row of length 1, or zero
        return F.linear(x, self.magnitude[:, None] * unit, self.base.bias)  # (..., out)
        ### END SOLUTION


# %% check="dora_linear" points=8
check("dora_linear")

# %% [markdown]
# ## Task 9: the whole program
#
# From a pretrained classifier and a loader to an adapted model. After it, the base is bit for bit
# what it was: only then can a hundred tasks share one base.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# In which order do injecting, making the optimizer and seeding have to come?
#
# </details>
# <details><summary>Hint</summary>
#
# Seed first (A is random), inject, then collect the trainable parameters, then Adam.
# `torch.random.fork_rng()` gives the caller's random state back. Means over *examples*: weigh each
# batch's loss by its size. Note the modes of all modules before, adapters after the injection, and
# put them back at the end.
#
# </details>


# %% task="adapt_with_lora"
def adapt_with_lora(
    model, loader, *, target_modules, rank, lora_alpha, train_also, epochs, lr, seed
):
    """Adapt an image classifier to new data with LoRA: the whole program.

    Injects adapters as inject_lora does (in place, with the same errors), then trains them and the
    `train_also` modules with Adam (constant rate `lr`, no weight decay) on the cross-entropy, one
    step a batch, `epochs` passes over the loader, the model in train mode.

    Arguments
        model       nn.Module, images (B, C, H, W) → logits (B, classes); changed in place. A new
                    head is put in by the caller, and named in train_also
        loader      iterable, anew in each epoch, of (images, labels): a DataLoader or a list;
                    labels (B,) int64; batches may differ in size
        target_modules, rank, lora_alpha, train_also    as for inject_lora
        epochs      int ≥ 0; with 0 nothing is trained: adapters are there, the output is the same
        lr          float
        seed        int, for the adapters' start and for whatever draws from torch's global
                    generator in training (dropout, a shuffling loader). Equal weights, loader and
                    seed give an equal result; that generator's state is afterwards what it was
    Returns
        (model, history): the model given, and {"train_loss": [...], "train_accuracy": [...]}, two
        lists of `epochs` floats: means over the *examples* of the epoch (a batch of 5 counts 5),
        computed from the very forward passes that train

    Afterwards every base weight, bias and batch-norm buffer outside `train_also` is bit for bit
    what it was, and each submodule is in the training mode it had before (an adapter: its base's).

    Raises ValueError: what inject_lora refuses, and epochs < 0, both before anything is changed; a
    loader without a batch (if epochs > 0).
    """
    ### BEGIN SOLUTION
    if epochs < 0:
        raise ValueError(f"epochs must not be negative: {epochs}")
    history = {"train_loss": [], "train_accuracy": []}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        modes = {module: module.training for module in model.modules()}
        inject_lora(model, target_modules, rank, lora_alpha, train_also)
        modes |= {m: m.training for m in model.modules() if m not in modes}  # the adapters'
        # After the injection: only now do lora_A and lora_B exist.
        trainable = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trainable, lr=lr)
        device = trainable[0].device
        model.train()
        for _ in range(epochs):
            seen, total_loss, correct = 0, 0.0, 0
            for images, labels in loader:
                images, labels = images.to(device), labels.to(device)
                logits = model(images)  # (B, classes)
                loss = F.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                seen += len(labels)
                total_loss += loss.item() * len(labels)  # a sum: batches differ in size
                correct += (logits.argmax(-1) == labels).sum().item()
            if seen == 0:
                raise ValueError("the loader has no batch")
            history["train_loss"].append(total_loss / seen)
            history["train_accuracy"].append(correct / seen)
        for module, mode in modes.items():
            module.training = mode
    return model, history
    ### END SOLUTION


# %% check="adapt_with_lora" points=10
check("adapt_with_lora")

# %% [markdown]
# ## What it does: from the digits 0–4 to 5–9
#
# `pretrained_resnet()` knows the digits 0 to 4. It gets a new head and 500 images of the digits
# 5 to 9. Three ways to adapt it: train the head alone (the linear probe), LoRA on the stem and the
# two convolutions of every block, and full fine-tuning.
#
# Two measures on held-out images: accuracy on the new digits, and, with the *old* head put back on
# the adapted body, accuracy on the old ones. The second was 0.99 and shows what was forgotten.
#
# One comparison is easily unfair. Full fine-tuning lets batch-norm's statistics adapt, LoRA (here)
# holds them still. So full fine-tuning runs in both ways (batch-norm's weights and biases train in
# both). And each method starts once with a random head, once with a head that was trained first on
# the frozen body, for eight epochs more.
#
# With `COURSE_SCALE=full` in the environment the network is torchvision's ResNet-18 with ImageNet
# weights and the data is all of MNIST, both downloaded; there the old digits have no head, and
# nothing is said of forgetting.

# %% tags=["demonstration"]
import statistics

import matplotlib.pyplot as plt
import torchvision
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from course import SCALE
from course.data import mnist
from course.models import pretrained_resnet

FULL = SCALE == "full"
DEVICE = "cuda" if FULL and torch.cuda.is_available() else "cpu"
source = {"full": FULL, "download": FULL}
new_train = mnist("train", digits=range(5, 10), limit=None if FULL else 500, **source)
new_test = mnist("test", digits=range(5, 10), **source)
old_test = mnist("test", digits=range(5), **source)


def pretrained():
    """The network to adapt, in eval mode: batch-norm uses its running statistics."""
    if not FULL:
        return pretrained_resnet()
    model = torchvision.models.resnet18(weights="DEFAULT")
    grey = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    grey.weight.data = model.conv1.weight.data.sum(dim=1, keepdim=True)  # (64, 1, 7, 7)
    model.conv1 = grey  # answers a grey image as the old stem did its three equal channels
    return model.eval().to(DEVICE)


# %% tags=["demonstration"]
@torch.no_grad()
def accuracy(model, data):
    model.eval()
    right = sum(
        (model(images.to(DEVICE)).argmax(dim=1).cpu() == classes).sum().item()
        for images, classes in DataLoader(data, batch_size=500)
    )
    return right / len(data)


def fit(model, parameters, lr, epochs=8):
    """Plain training in the model's present mode."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for _ in range(epochs):
        for images, classes in DataLoader(new_train, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            F.cross_entropy(model(images.to(DEVICE)), classes.to(DEVICE)).backward()
            optimizer.step()


# %% tags=["demonstration"]
def adapt(method, rank, head_first, seed):
    """Accuracy on new digits, accuracy on old digits, trainable parameters."""
    torch.manual_seed(seed)
    model = pretrained()
    old_head, model.fc = model.fc, nn.Linear(model.fc.in_features, 5).to(DEVICE)
    if head_first or method == "probe":
        fit(model, model.fc.parameters(), lr=1e-2)
    if method == "probe":
        model.requires_grad_(False).fc.requires_grad_(True)
    elif method == "LoRA":
        loader = DataLoader(new_train, batch_size=32, shuffle=True)
        settings = {"rank": rank, "lora_alpha": rank, "epochs": 8, "lr": 3e-3, "seed": seed}
        targets = ["conv1", "conv2"]  # of every block, and the stem
        adapt_with_lora(model, loader, target_modules=targets, train_also=["fc"], **settings)
    else:
        model.train(method == "full")  # else "full, norm held": in eval mode
        fit(model, model.parameters(), lr=3e-4)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    new = accuracy(model, new_test)
    model.fc = old_head
    return new, math.nan if FULL else accuracy(model, old_test), trainable


# %% tags=["demonstration"]
SMALL = SCALE == "small"
SEEDS = range(1 if SMALL else 2)
METHODS = [("probe", 0), *(("LoRA", rank) for rank in ((4,) if SMALL else (1, 4, 16)))]
METHODS += [("full", 0)] if SMALL else [("full, norm held", 0), ("full", 0)]
STARTS = (True,) if SMALL else (False, True)
runs = [(m, r, first) for m, r in METHODS for first in STARTS if first or m != "probe"]
results = {}
for method, rank, head_first in tqdm(runs, desc="adapting"):
    label = f"LoRA, rank {rank}" if method == "LoRA" else method
    results[label, head_first] = [adapt(method, rank, head_first, seed) for seed in SEEDS]


def mean_and_spread(rows, column):
    values = [row[column] for row in rows]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


print(f"{'':17}{'head first':>12}{'trainable':>11}{'new digits':>16}{'old digits':>16}")
for (label, head_first), rows in results.items():
    new, old = mean_and_spread(rows, 0), mean_and_spread(rows, 1)
    print(
        f"{label:17}{'yes' if head_first else 'no':>12}{rows[0][2]:11,}"
        f"{new[0]:9.3f} ± {new[1]:.3f}{old[0]:9.3f} ± {old[1]:.3f}"
    )

# %% tags=["demonstration"]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), sharey=True)
labels = list(dict.fromkeys(label for label, _ in results))
for (label, head_first), rows in results.items():
    (new, new_std), (old, old_std) = mean_and_spread(rows, 0), mean_and_spread(rows, 1)
    look = {
        "color": f"C{labels.index(label)}",
        "marker": "o" if head_first else "s",
        "markerfacecolor": None if head_first else "white",
        "linestyle": "none",
        "capsize": 3,
    }
    name = f"{label}, {'head first' if head_first else 'random head'}"
    left.errorbar(old, new, xerr=old_std, yerr=new_std, label=name, **look)
    right.errorbar(rows[0][2], new, yerr=new_std, **look)
left.set(
    xlabel="accuracy on old digits 0–4 (old head)",
    ylabel="accuracy on new digits 5–9",
    title="learned against kept: right and up is better",
)
right.set(xlabel="trainable parameters", xscale="log", title="learned against size")
left.legend(fontsize=7)
figure.suptitle(f"{len(new_train):,} images, mean ± standard deviation over {len(SEEDS)} seeds")
figure.tight_layout()
plt.show()

# %% [markdown]
# **What to expect.** The runs above have two seeds at the default scale. Over ten seeds, with one
# learning rate a method that was not tuned, mean and standard deviation were those of the next
# cell: accuracy on the new digits, then on the old ones.

# %% tags=["demonstration"]
TEN_SEEDS = {  # at the default scale: ((mean, std) on new digits, (mean, std) on old ones)
    "probe, head first": ((0.824, 0.009), (0.990, 0.000)),
    "LoRA, rank 1, random head": ((0.908, 0.027), (0.947, 0.018)),
    "LoRA, rank 1, head first": ((0.918, 0.011), (0.974, 0.007)),
    "LoRA, rank 4, random head": ((0.927, 0.017), (0.931, 0.030)),
    "LoRA, rank 4, head first": ((0.937, 0.006), (0.975, 0.004)),
    "LoRA, rank 16, random head": ((0.934, 0.018), (0.903, 0.061)),
    "LoRA, rank 16, head first": ((0.939, 0.009), (0.977, 0.007)),
    "full, norm held, random head": ((0.936, 0.008), (0.804, 0.113)),
    "full, norm held, head first": ((0.939, 0.005), (0.983, 0.002)),
    "full, random head": ((0.960, 0.005), (0.879, 0.069)),
    "full, head first": ((0.946, 0.003), (0.984, 0.002)),
}
STATED = {
    f"{name}, {d} digits": row[k]
    for name, row in TEN_SEEDS.items()
    for k, d in enumerate(["new", "old"])
}
TOLERANCE = 0.02  # of 1,000 images: what another machine's rounding may do to a training run
measured = {}
for (label, head_first), rows in results.items():
    for column, digits in enumerate(["new", "old"]):
        name = f"{label}, {'head first' if head_first else 'random head'}, {digits} digits"
        measured[name] = mean_and_spread(rows, column)[0]
        mean, std = STATED[name]
        off = "   not as stated" * (abs(measured[name] - mean) > max(4 * std, TOLERANCE))
        stated = "of another network" if FULL else f"{mean:.3f} ± {std:.3f}{off}"
        print(f"{name:42} here {measured[name]:.3f}   stated {stated}")

# %% [markdown]
# **What follows, and what does not.**
#
# - With the head first, LoRA of rank 4 trains a tenth of the parameters and learns as much as full
#   fine-tuning with batch-norm's statistics held: 0.937 ± 0.006 against 0.939 ± 0.005. More rank
#   hardly helps here.
# - Full fine-tuning with the batch's statistics learns more: 0.946 ± 0.003 with the head first,
#   0.960 ± 0.005 from a random one (LoRA there: 0.927 ± 0.017). Some of what is put down to "full
#   against LoRA" is batch-norm.
# - From a random head LoRA of rank 4 forgets less than full fine-tuning: 0.931 ± 0.030 against
#   0.804 ± 0.113 and 0.879 ± 0.069. From a trained head nobody forgets much, and full fine-tuning
#   least. So "LoRA forgets less" is a tendency, not a law, and whoever wants to keep the old digits
#   trains the head first ([lesson 1](../01_fine_tuning/fine_tuning.ipynb) says more of that order).
# - No rate was tuned, so the order of the methods is that of these settings. How such a comparison
#   is made fair is [lesson 5](../05_evaluation/evaluation.ipynb)'s subject.
# - The probe forgets nothing, since the old head finds the body as it was.

# %% [markdown]
# ## Task 10: bug hunt
#
# The cell below is a program of our own that makes mistakes of published ones: it runs, its loss
# even falls a little, and yet almost nothing in it is LoRA. There are ten mistakes, at least.
#
# Mend it under the names of the task's cell.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Ask of each function: which tensors does the optimizer hold? Which of them does the forward use?
# What is frozen? What is the loss computed from? Run a layer with in ≠ out.
#
# </details>
# <details><summary>Hint</summary>
#
# Look at: what A multiplies · its shape · tensors against Parameters · two zeros · the factor ·
# what is frozen · when the optimizer is made · what becomes of the head · what `cross_entropy`
# expects · what `backward` does to gradients that are there already.
#
# </details>


# %%
class BrokenLayer(nn.Module):
    def __init__(self, teacher, rank, lora_alpha):
        super().__init__()
        self.teacher = teacher
        self.A = torch.zeros(teacher.out_features, rank)
        self.B = torch.zeros(rank, teacher.out_features)
        self.scaling = lora_alpha

    def forward(self, x):
        h = self.teacher(x)
        return h + self.scaling * (h @ self.A @ self.B)


def broken_adapt(net, rank, lora_alpha, lr):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for name, layer in net.named_children():
        if isinstance(layer, nn.Linear):
            setattr(net, name, BrokenLayer(layer, rank, lora_alpha))
    return optimizer


def broken_step(net, optimizer, x, labels):
    probabilities = net(x).softmax(dim=-1)
    loss = F.cross_entropy(probabilities, labels)
    loss.backward()
    optimizer.step()
    return loss


# %% tags=["demonstration"]
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
x, labels = torch.randn(32, 10), torch.randint(0, 3, (32,))
before = net[0].weight.detach().clone()
optimizer = broken_adapt(net, rank=2, lora_alpha=4, lr=0.1)
print("losses:", [round(broken_step(net, optimizer, x, labels).item(), 3) for _ in range(5)])
print("parameters:", [name for name, _ in net.named_parameters()])
print("largest change of a base weight:", (net[0].teacher.weight - before).abs().max().item())


# %% task="lora_bug_hunt"
class AdaptedLayer(nn.Module):
    """BrokenLayer, mended: layer(x) + (lora_alpha / rank) · x Aᵀ Bᵀ.

    Arguments: layer, an nn.Linear; rank, int ≥ 1; lora_alpha, int or float. Attributes: `layer`
    (the object given, frozen), `A` (rank, in), random, not all zero, and `B` (out, rank), zero, so
    that the output starts as layer(x). A and B are float32 Parameters (named_parameters() lists "A"
    and "B"), and the only trainable ones. x is (batch, in), and in need not equal out.
    """

    def __init__(self, layer, rank, lora_alpha):
        super().__init__()
        ### BEGIN SOLUTION
        self.layer = layer.requires_grad_(False)  # frozen: it is a base, and teaches nobody
        self.A = nn.Parameter(torch.randn(rank, layer.in_features) / layer.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(layer.out_features, rank))  # one of the two is not zero
        self.scaling = lora_alpha / rank
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        # Beside the layer, on its input, not behind it.
        return self.layer(x) + self.scaling * (x @ self.A.T @ self.B.T)  # (batch, out)
        ### END SOLUTION


def adapt_net(net, rank, lora_alpha, lr):
    """broken_adapt, mended: adapt `net` in place, and return the optimizer that trains it.

    net is an nn.Sequential. Its last module is a new head, an nn.Linear, which stays as it is (the
    same object) and trains. Every other child that is an nn.Linear is replaced by an AdaptedLayer
    around it; all other parameters (of a LayerNorm, say) are frozen. The optimizer is a
    torch.optim.SGD with rate lr, without momentum, over exactly the trainable parameters: each A
    and B, and the head's.
    """
    ### BEGIN SOLUTION
    *body, (_, head) = net.named_children()
    net.requires_grad_(False)
    head.requires_grad_(True)  # new and random: frozen it would stay so
    for name, layer in body:
        if isinstance(layer, nn.Linear):
            setattr(net, name, AdaptedLayer(layer, rank, lora_alpha))
    # Made last: an optimizer knows only the parameters that exist when it is made.
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr)
    ### END SOLUTION


def adapt_step(net, optimizer, x, labels):
    """broken_step, mended: one step of `optimizer` on the mean cross-entropy of net's logits.

    x (batch, in), labels (batch,) int64; the optimizer may be another than adapt_net's. Gradients
    left over from before have no influence. Returns the loss before the step as a float.
    """
    ### BEGIN SOLUTION
    loss = F.cross_entropy(net(x), labels)  # takes logits: it has the softmax inside
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
    ### END SOLUTION


# %% check="lora_bug_hunt" points=6
check("lora_bug_hunt")

# %% [markdown]
# ## Task 11: numbers
#
# Interviewers like a number. Compute by hand; write a number or an expression.
#
# difficulty ●●○○○ · importance ●●●●○ · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# A is (rank, in), B is (out, rank).
#
# </details>
# <details><summary>Hint</summary>
#
# rank · (in + out) for a matrix; for a convolution see the shapes in Task 3. The percentage is that
# of trainable to *frozen* weights of the layer.
#
# </details>

# %% task="lora_numbers"
# 1. Trainable parameters of LoRA with rank 8 on one 768 × 768 linear layer (the bias is frozen).
trainable_768 = None
# 2. The same as a percentage of that layer's weight matrix (589,824 elements), to two decimals.
percent_768 = None
# 3. Trainable parameters of LoRA with rank 8 on the query and value projections (768 × 768) of all
#    12 layers of BERT-base.
bert_query_value = None
# 4. Trainable parameters of our LoRAConv2d with rank 4 around Conv2d(64, 128, kernel_size=3).
conv_parameters = None
# 5. The same layer in loralib's form: A is (rank · k, in · k), B is (out · k, rank · k).
loralib_conv_parameters = None
# 6. The largest rank for the targets of question 3 if you may train a million parameters.
largest_rank = None
### BEGIN SOLUTION
trainable_768 = 12_288  # 8 · 768 + 768 · 8 — counting
percent_768 = 2.08  # 12,288 / 589,824 — counting
bert_query_value = 294_912  # 12 layers · 2 · 12,288 — counting; 1810.04805 §3, BERT-base
conv_parameters = 2_816  # A: 4 · 64 · 3 · 3 = 2,304, B: 128 · 4 = 512 — counting
loralib_conv_parameters = 6_912  # A: 12 · 192, B: 384 · 12 — counting; loralib `ConvLoRA`
largest_rank = 27  # 1,000,000 // (12 · 2 · 1,536) — counting
### END SOLUTION

# %% check="lora_numbers" points=6
check("lora_numbers")

# %% [markdown]
# ## Task 12: judge these statements
#
# Each is said or written of LoRA somewhere. True or False? A right answer is worth 1, a wrong one
# −1, None 0; the sum, never below 0, divided by 16, is your share of the points.
#
# difficulty ●●○○○ · importance ●●●●○ · about 10 minutes
#
# - **a.** LoRA splits every pretrained weight matrix into a base matrix and a low-rank matrix, and
#   trains the second.
# - **b.** With B = 0 adapters change nothing before the first step: in eval mode and with the same
#   head the network computes exactly what the pretrained one computes.
# - **c.** In the first step of plain SGD from that start B moves, and A does not.
# - **d.** A and B may both start at zero: the noise of the batches soon tells them apart.
# - **e.** A training step's forward pass gets cheaper with LoRA, since so few parameters train.
# - **f.** "A third of the GPU memory, a ten-thousandth of the trainable parameters" is what LoRA
#   brings for a model of any size.
# - **g.** peft adapts a 3×3 convolution by a 3×3 convolution to `rank` channels and a 1×1 one
#   behind it; loralib by reshaping one matrix product: with the same rank their numbers of
#   parameters differ.
# - **h.** Adapters add no latency at inference, merged or not.

# %% [markdown]
# - **i.** A batch-norm layer with `requires_grad=False` on its weight and bias can still make the
#   model's outputs drift during training.
# - **j.** In LoRA as first published, doubling the rank at a fixed lora_alpha halves the factor in
#   front of BA.
# - **k.** Merging in bfloat16 and later subtracting the same update gives the old weights back bit
#   for bit.
# - **l.** In a comparison on code and mathematics, LoRA in the usual low-rank settings learned less
#   than full fine-tuning and kept more of the base model's other skills.
# - **m.** Since the base is frozen, a network with LoRA can't forget what it was pretrained for.
# - **n.** According to the analysis behind rsLoRA, LoRA's factor α/r keeps learning equally fast
#   however large the rank is.
# - **o.** A new classification head is not an adapter: under a peft `LoraConfig` that does not
#   target it, and sets none of `modules_to_save`, `task_type` and `bias`, it is neither trained nor
#   saved.
# - **p.** QLoRA backpropagates through a frozen base in 4 bits into adapters of higher precision.

# %% task="lora_statements"
judged = dict.fromkeys("abcdefghijklmnop")  # judged["a"] = True or False; None is no answer
### BEGIN SOLUTION
judged = {
    # W₀ stays whole and frozen; it is the *update* that is a product — 2106.09685 §4.1.
    "a": False,
    # The update is (α/r)·BA, and B is zero — 2106.09685 §4.1; algebra.
    "b": True,
    # ∂L/∂A has the factor Bᵀ = 0, ∂L/∂B the factor A ≠ 0 — algebra.
    "c": True,
    # Then both gradients are zero in every step: noise times zero is zero — algebra.
    "d": False,
    # W₀x is computed as before, and BAx besides; gradients and optimizer state shrink — algebra.
    "e": False,
    # Those figures are GPT-3 175B's, trained with Adam — 2106.09685 abstract.
    "f": False,
    # r·in·k² + r·out against r·k²·(in + out) — peft `lora/layer.py`; loralib `ConvLoRA`.
    "g": True,
    # None is added once they are merged; unmerged, BAx is computed besides — 2106.09685 §4.1.
    "h": False,
    # In train mode it normalises by the batch and moves its running statistics, which are buffers —
    # peft troubleshooting; PyTorch `nn.BatchNorm2d`.
    "i": True,
    # α/(2r) is half of α/r; rsLoRA's α/√r would shrink by √2 — algebra.
    "j": True,
    # (W + U) − U is rounded twice: keep a copy of W — measured in Task 5.
    "k": False,
    # It "learns less and forgets less" — 2405.09673 abstract.
    "l": True,
    # The outputs are those of W₀ + BA, for old inputs too: it forgets less — 2405.09673 abstract.
    "m": False,
    # With α/r learning slows as r grows; α/√r is proposed — 2312.03732 abstract.
    "n": False,
    # `modules_to_save` asks for it; task type SEQ_CLS fills that in — peft `peft_model.py`.
    "o": True,
    # The base is frozen in 4-bit NormalFloat, the adapters are in 16 bits — 2305.14314.
    "p": True,
}
### END SOLUTION

# %% check="lora_statements" points=8
check("lora_statements")

# %% [markdown]
# ## Task 13: the interview answer, yours
#
# "How does LoRA work? What does it save, what does it not save, and how would you put it into an
# existing network?" Answer in the next cell, in 150 to 300 words, as you would say it to an
# interviewer. A person grades it, 10 points:
#
# | points | for |
# |---|---|
# | 2 | the base is frozen and whole; the *update* is the product BA, added with the factor α/r |
# | 1 | the shapes, and the number of trainable parameters of an example |
# | 2 | A random, B zero: why not both zero, and what the first step changes |
# | 2 | what shrinks (gradients, optimizer state, checkpoints), what does not (the forward pass) |
# | 1 | inference: no extra cost if merged, some if not, and a reason to leave it unmerged |
# | 1 | where it goes: which layers, the new head, batch-norm |
# | 1 | a limit, with a source: it may learn less; it forgets less, which is not nothing |
#
# A false statement in the answer costs 1, down to 0.
#
# difficulty ●●●○○ · importance ●●●●● · about 15 minutes

# %% [markdown] free_text="explain_lora" points=10
# ### Your answer: how LoRA works
#
# ### BEGIN SOLUTION
# LoRA leaves the pretrained weight W as it is, frozen, and learns a low-rank update beside it:
# h = Wx + (α/r)·BAx, with A of shape (r, in) and B of shape (out, r). Only A and B train: for a
# 768 × 768 layer and r = 8 that is 12,288 parameters, about 2 % of the layer's.
#
# A starts random and B at zero, so that the network starts as the pretrained one. Were both zero,
# both gradients would be zero for ever, since each has the other matrix as a factor. In the first
# step only B moves.
#
# It saves what trainable parameters cost: their gradients, Adam's two moments, and the size of a
# checkpoint, so that one base serves many tasks. It does not save the forward pass: Wx is computed
# as before, with BAx on top. For inference the update can be merged into W, which then costs
# nothing extra; left unmerged it costs a little, but adapters can be exchanged, and one base serves
# several.
#
# To put it in: choose layers (attention and MLP projections, or convolutions as a k×k convolution
# to r channels and a 1×1 one), freeze the rest, replace the layers, only then make the optimizer.
# Train and save the new head in full. Keep frozen batch-norms at their running statistics.
#
# Its limits: in common low-rank settings it learned less than full fine-tuning on code and
# mathematics, and forgot less (2405.09673); it does not rule out forgetting. At large ranks α/r
# slows learning, which rsLoRA answers with α/√r (2312.03732).
# ### END SOLUTION

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open it when yours is written</summary>
#
# LoRA freezes the pretrained weights and adds a trainable product of two thin matrices to some of
# them: h = W₀x + (α/r)·BAx, A random, B zero, so that training starts at the base (arXiv 2106.09685
# §4.1). The thought behind it is that the *change* a task asks for has a low rank; a base tuned
# through 200 randomly projected parameters can reach 90 % of full performance on a task
# (2012.13255, abstract). It is a hypothesis: updates of full fine-tuning on code and mathematics
# had 10 to 100 times the rank that LoRA is usually given (2405.09673, abstract).
#
# It saves gradients, optimizer state and disk: for GPT-3 175B with Adam, 10,000 times fewer
# trainable parameters and a third of the GPU memory (2106.09685, abstract). It does not make the
# forward pass cheaper. Merged it adds no latency to inference (ibid.).
#
# It learns less and forgets less than full fine-tuning in common settings (2405.09673). What
# matters around it: which layers (2106.09685 §7.1), the factor (2312.03732), a head that is trained
# and saved, and batch-norm statistics that stay put (peft, troubleshooting guide).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview (1): the method
#
# 1. W₀ frozen; ΔW = BA with B (d × r) and A (r × k); W₀x and ΔWx are added — 2106.09685 §4.1.
# 2. A Gaussian and B zero in the paper; Kaiming-uniform A and zero B in loralib and, by default, in
#    peft — 2106.09685 §4.1; loralib `layers.py`; peft `lora/layer.py`, `reset_lora_parameters`.
# 3. For *embeddings* it is the other way round: A zero, B normal — peft `lora/layer.py`,
#    `reset_lora_parameters`.
# 4. At the start ∂L/∂A = 0 and ∂L/∂B ≠ 0: the first has the factor Bᵀ, the second A — algebra.
# 5. r(in + out) trainable parameters for in · out frozen ones — counting.
# 6. Of the three large products in a linear layer's step (output, gradient of the input, gradient
#    of the weight) the frozen base needs the first two, the second as long as something below it
#    trains: only the third is saved — algebra.
# 7. Adam keeps two running averages per trainable parameter, `exp_avg` and `exp_avg_sq`, and none
#    for a frozen one — PyTorch `torch.optim.Adam`.
# 8. For GPT-3 175B and Adam, and not as a law for other models: 10,000 times fewer trainable
#    parameters, a third of the memory — 2106.09685 abstract.
# 9. No latency is added at inference once the update is merged; peft merges only when asked
#    (`merge_and_unload`) — 2106.09685 §4.1; peft LoRA guide.
# 10. RoBERTa-base on GLUE: 0.8 M trainable (0.3 M of them adapters) against 125 M, average 87.24
#     against 86.40 of *reported* full fine-tuning; without RTE (86.6 against 78.7) it is 87.3
#     against 87.4 — loralib README; counting.

# %% [markdown]
# ## Facts to carry into the interview (2): choices and relatives
#
# 11. Spread the rank: with 18 M parameters to spend on GPT-3's attention, W_q and W_v at r = 4 got
#     73.7 on WikiSQL (± 0.5 over seeds), all four matrices at r = 2 73.7, one at r = 8 70.0 (W_k)
#     to 73.2 (W_o). Not any two, though: W_q and W_k got 71.4. On MultiNLI W_o alone was level with
#     W_q and W_v (91.3), all four had 91.7 — 2106.09685 §7.1, Table 5.
# 12. Divided by r, learning slows as r grows; α/√r keeps it stable (rsLoRA) —
#     2312.03732 abstract.
# 13. One learning rate for A and B is suboptimal at large width; different ones gave 1–2 % —
#     LoRA+ — 2402.12354 abstract.
# 14. A frozen base in 4 bits below the adapters: 65 B parameters fine-tuned on one 48 GB GPU
#     (QLoRA) — 2305.14314 abstract.
# 15. Magnitude and direction apart, the norm constant in the backward pass (DoRA) —
#     2402.09353 §4.3.
# 16. A and B random, shared and frozen, two small vectors a layer trained: for L layers of d × d
#     L(d + r) parameters instead of 2Ldr (VeRA) — 2310.11454; peft VeRA page.
# 17. A and B started from the principal singular vectors of W, and W replaced by the rest (PiSSA):
#     so the base is *not* the one you downloaded — 2404.02948 abstract; peft `lora/layer.py`,
#     `pissa_init`.
# 18. Convolutions: r·in·k² + r·out parameters in peft, r·k²·(in + out) in loralib — peft
#     `lora/layer.py`; loralib `ConvLoRA`.
# 19. Learns less and forgets less than full fine-tuning on code and mathematics, and keeps more
#     than weight decay or dropout do — 2405.09673 abstract.
# 20. Both seemed to lie on one curve of learning against forgetting, with exceptions in LoRA's
#     favour: ask *at which accuracy* somebody forgot less — 2405.09673 §4.3 of its first version.
# 21. Batch-norm statistics move in train mode whatever `requires_grad` says, and are not in an
#     adapter's file — peft troubleshooting guide, "Models using batch norm".

# %% [markdown]
# ## Follow-up questions (1)
#
# Answer aloud, then open.
#
# <details><summary>Why is a low rank enough?</summary>
#
# It is a hypothesis about the *change*, not about W. In its favour: a RoBERTa tuned through 200
# parameters, projected at random into the full space, reaches 90 % of full performance on MRPC.
# Against: full fine-tuning on code and mathematics changed weights by matrices of 10–100 times the
# usual rank — 2012.13255 abstract; 2405.09673 abstract.
#
# </details>
# <details><summary>Could A be zero and B random instead?</summary>
#
# Yes, it also starts at the base, and then A moves first. peft does just that for embeddings — peft
# `lora/layer.py`, `reset_lora_parameters`.
#
# </details>
# <details><summary>What does lora_alpha do?</summary>
#
# It scales the update by α/r: doubling r at a fixed α halves the factor. With Adam, whose steps do
# not depend on the gradients' scale, a factor c makes the first steps count c times: much like a
# learning rate. With plain SGD it is c², since the gradients grow by c as well — algebra.
#
# </details>
# <details><summary>You go from rank 8 to 64 and it learns no better. Why?</summary>
#
# With α fixed the factor has shrunk eightfold. Scale α along, or divide by √r (rsLoRA;
# `use_rslora` in peft). Or the task did not need the rank — 2312.03732 abstract; peft LoRA guide.
#
# </details>
# <details><summary>Which layers would you adapt?</summary>
#
# All large linear ones rather than one kind at a high rank. With one budget, all four attention
# matrices at r = 2 were best or equal to the best on both data sets, while W_q or W_k alone at r =
# 8 were clearly behind; and QLoRA's habit of all linear layers is one setting in peft,
# `target_modules="all-linear"` — 2106.09685 §7.1, Table 5; peft LoRA guide.
#
# </details>
# <details><summary>How large is the adapter of a 4096 × 4096 layer at r = 16?</summary>
#
# 16 · (4096 + 4096) = 131,072 parameters against 16.8 million: 128 times fewer — counting.
#
# </details>
# <details><summary>Does LoRA make a training step faster?</summary>
#
# The forward pass takes a little longer. The backward pass skips the gradient of W, one of three
# large products, and the optimizer has less to do. How that adds up must be measured: the paper
# reports a higher throughput than full fine-tuning's; memory is the safe gain — 2106.09685
# abstract; algebra.
#
# </details>

# %% [markdown]
# ## Follow-up questions (2)
#
# <details><summary>One server, fifty customers, fifty adapters: merge?</summary>
#
# No: merging makes fifty bases. Keep one base in memory, leave adapters unmerged, and let each row
# of a batch use its own. Merge where one adapter serves all — 2106.09685 §4.2; counting.
#
# </details>
# <details><summary>Merged and unmerged model give slightly different outputs. A bug?</summary>
#
# Not by itself: rounding alone does that, most visibly in half precision or on a quantised base.
# Compare in eval mode and with a tolerance that fits the dtype — peft troubleshooting guide;
# algebra.
#
# </details>
# <details><summary>Where does dropout go, and must it be undone when merging?</summary>
#
# Before A, on the branch's input. Inverted dropout has the right mean already and is off in eval
# mode, so nothing is rescaled — loralib `layers.py`; PyTorch `nn.Dropout`.
#
# </details>
# <details><summary>The adapter loads without an error, the model is at chance: why?</summary>
#
# Look at the head first: new, random, and not saved with the adapter. In peft name it in
# `modules_to_save`; with task type SEQ_CLS peft adds `classifier` and `score` there by itself —
# peft troubleshooting guide; peft `peft_model.py`.
#
# </details>
# <details><summary>Why not adapt the `out_proj` of `nn.MultiheadAttention` so?</summary>
#
# Its forward hands `self.out_proj.weight` to a function and never calls the module, so a wrapper's
# forward would not run — PyTorch `torch/nn/modules/activation.py`.
#
# </details>
# <details><summary>And an `nn.TransformerEncoderLayer`?</summary>
#
# In eval mode and with `batch_first=True` its fast path reads `self.linear1.weight` in the same
# way: a wrapper without a `weight` ends in an AttributeError, and one that passes on the base's
# weight silently loses its adapter (even with gradients enabled, if neither the rest of the layer
# nor its input needs one). Task 4 refuses both layers — PyTorch `torch/nn/modules/transformer.py`.
#
# </details>
# <details><summary>Embedding and output layer share a weight: adapt one?</summary>
#
# On merging, the sum is written into a tensor that both use: the other changes as well. Untie them
# or leave both alone; Task 4 refuses it — algebra.
#
# </details>
# <details><summary>LoRA or full fine-tuning with Adam: the same learning rate?</summary>
#
# Hardly: they train different parameters. One report puts LoRA's best rate about ten times higher.
# Tune it for each, or your comparison compares rates. Our demonstration uses 3e-3 and 3e-4 —
# LoRA Without Regret.
#
# </details>
# <details><summary>QLoRA: does a gradient flow through 4-bit weights?</summary>
#
# Through them to the adapters, yes: they are dequantised for each product. To them, no: they are
# frozen — 2305.14314.
#
# </details>
# <details><summary>Does LoRA prevent forgetting?</summary>
#
# It reduces it in common settings. In the demonstration above it did so from a random head, which
# distorts what is below it; with the head trained first neither forgot much, full fine-tuning less
# — 2405.09673 abstract; 2202.10054 abstract; measured in "What it does".
#
# </details>
