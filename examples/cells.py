# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# The cells in which the example submissions differ from the LoRA lesson's own notebooks;
# `scripts/make_examples.py` puts them in their places. A raw cell holds code that does not parse.

# %%
# ruff: noqa: D100, D101, D102, D103, D105, D107, E402, F811
import torch
import torch.nn.functional as F
from torch import nn

# %% [markdown]
# ## written-differently
#
# Right answers in quite another way: one base class for both layers, whose update is added by a
# forward hook; a convolution by unfolding; batch-norms that change their class; a rank by
# bisection; Adam by hand.


# %% example="written-differently" task="lora_forward"
def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    rows = x.reshape(-1, weight.shape[1])  # (N, in)
    y = rows @ weight.mT
    if bias is not None:
        y = y + bias
    y = torch.addmm(y, rows @ lora_A.mT, lora_B.mT, alpha=lora_alpha / len(lora_A))
    return y.reshape(*x.shape[:-1], len(weight))


# %% example="written-differently" task="lora_linear"
class Adapter(nn.Module):
    """Answers as its base; `add_branch`, a forward hook, adds the update unless it is merged."""

    kind = nn.Module

    def __init__(self, base, rank, lora_alpha):
        super().__init__()
        if not isinstance(base, self.kind) or getattr(base, "groups", 1) != 1:
            raise ValueError(f"not a {self.kind.__name__} without groups: {base}")
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f"not a rank: {rank!r}")
        for parameter in base.parameters():
            parameter.requires_grad = False
        self.base, self.rank, self.lora_alpha = base, rank, lora_alpha
        out, channels, *kernel = base.weight.shape
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.lora_A = nn.Parameter(torch.randn(rank, channels, *kernel, **like) * 0.05)
        self.lora_B = nn.Parameter(torch.zeros(out, rank, *[1] * len(kernel), **like))
        self.original = None  # the base's weight from before a merge
        self.training = base.training
        self.register_forward_hook(add_branch)

    def forward(self, x):
        return self.base(x)

    def delta(self):
        """The update as a tensor of the weight's shape."""
        flat = self.lora_B.flatten(1).detach()  # (out, rank)
        return torch.einsum("or,r...->o...", flat, self.lora_A.detach()) * self.scale

    @property
    def scale(self):
        return self.lora_alpha / self.rank


def add_branch(adapter, inputs, output):
    return output if adapter.original is not None else output + adapter.branch(*inputs)


class LoRALinear(Adapter):
    kind = nn.Linear

    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        if not 0 <= dropout < 1:
            raise ValueError(f"not a probability below 1: {dropout!r}")
        super().__init__(base, rank, lora_alpha)
        self.p = dropout

    def branch(self, x):
        x = F.dropout(x, self.p, self.training)
        return torch.einsum("...i,ri,or->...o", x, self.lora_A, self.lora_B) * self.scale


# %% example="written-differently" task="lora_conv2d"
class LoRAConv2d(Adapter):
    kind = nn.Conv2d

    def branch(self, x):
        conv, pads = self.base, []
        for axis in (1, 0):  # as F.pad wants them: left, right, top, bottom
            if conv.padding == "same":
                both = conv.dilation[axis] * (conv.kernel_size[axis] - 1)
                pads += [both // 2, both - both // 2]
            else:
                pads += [0, 0] if conv.padding == "valid" else [conv.padding[axis]] * 2
        x = F.pad(x, pads, "constant" if conv.padding_mode == "zeros" else conv.padding_mode)
        height, width = (
            (size - dilation * (kernel - 1) - 1) // stride + 1
            for size, dilation, kernel, stride in zip(
                x.shape[2:], conv.dilation, conv.kernel_size, conv.stride, strict=True
            )
        )
        patches = F.unfold(x, conv.kernel_size, conv.dilation, 0, conv.stride)  # (B, in·kh·kw, L)
        low = self.lora_A.flatten(1) @ patches  # (B, rank, L)
        return (self.lora_B.flatten(1) @ low * self.scale).unflatten(2, (height, width))

    def merge(self):
        conv = self.base
        merged = nn.utils.skip_init(
            nn.Conv2d, conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride,
            conv.padding, conv.dilation, bias=conv.bias is not None,
            padding_mode=conv.padding_mode, dtype=conv.weight.dtype, device=conv.weight.device,
        )  # fmt: skip
        merged.requires_grad_(False).train(conv.training)
        merged.weight.copy_(conv.weight)
        if self.original is None:
            merged.weight.add_(self.delta())
        if conv.bias is not None:
            merged.bias.copy_(conv.bias)
        return merged


# %% example="written-differently" task="inject_lora"
import functools


def walk(parent, path=()):
    """Yield (path, parent, module) for every place below `parent`, a path being a tuple."""
    for name, module in parent._modules.items():
        if module is not None:
            yield (*path, name), parent, module
            yield from walk(module, (*path, name))


def named(model, targets):
    """The places of the modules that are named, wherever these stand."""
    if isinstance(targets, str):
        raise ValueError("names come in a list")
    ids, places = set(), list(walk(model))
    for target in (tuple(target.split(".")) for target in targets):
        hits = {id(module) for path, _, module in places if path[-len(target) :] == target}
        if not hits:
            raise ValueError(f"{'.'.join(target)} is the name of nothing")
        ids |= hits
    return [place for place in places if id(place[2]) in ids]


def adaptable(model, targets):
    """The places that can be adapted: no other kinds, no groups, at least one."""
    places = named(model, targets)
    kinds = {type(m) for _, _, m in places if not isinstance(m, (nn.Linear, nn.Conv2d))}
    if not places or kinds or any(getattr(m, "groups", 1) > 1 for _, _, m in places):
        raise ValueError(f"these cannot be adapted: {places}")
    return places


class Held:
    """Mixed into a batch-norm's class: in its forward, and only there, it is in eval mode."""

    def forward(self, x):
        mode, self.training = self.training, False
        try:
            return super().forward(x)
        finally:
            self.training = mode

    def __reduce__(self):
        return revive, (type(self).__bases__[1],), self.__dict__


@functools.cache
def held(kind):
    return type(f"Held{kind.__name__}", (Held, kind), {})


def revive(kind):
    return held(kind).__new__(held(kind))


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    places, heads = adaptable(model, target_modules), named(model, train_also)
    inside = {id(part) for _, _, head in heads for part in head.modules()}
    everything = list(model.modules())

    def owners(parameter):
        return {id(m) for m in everything if any(p is parameter for p in m._parameters.values())}

    past_forward = (nn.MultiheadAttention, nn.TransformerEncoderLayer)
    refusals = {
        "adapted already": any(isinstance(module, Adapter) for module in everything),
        "not a rank": type(rank) is not int or rank < 1,
        "its weight is read": any(isinstance(parent, past_forward) for _, parent, _ in places),
        "trained in full": any(id(module) in inside for _, _, module in places),
        "tied": any(len(owners(p)) > 1 for _, _, module in places for p in module.parameters()),
        "tied head": any(owners(p) - inside for _, _, head in heads for p in head.parameters()),
    }
    if any(refusals.values()):
        raise ValueError([reason for reason, holds in refusals.items() if holds])

    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in (p for _, _, head in heads for p in head.parameters()):
        parameter.requires_grad = True
    memo = {}
    for path, parent, module in places:
        if module not in memo:
            kind = LoRAConv2d if isinstance(module, nn.Conv2d) else LoRALinear
            memo[module] = kind(module, rank, lora_alpha)
        parent._modules[path[-1]] = memo[module]
    for module in everything:
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if is_norm and module.running_mean is not None and id(module) not in inside:
            module.__class__ = held(type(module))
    model.heads_in_full = {path for path, _, _ in heads}
    return [".".join(path) for path, _, _ in places]


# %% example="written-differently" task="merge_lora"
def adapters_of(model):
    return [module for module in model.modules() if isinstance(module, Adapter)]


def merge_lora(model):
    for adapter in adapters_of(model):
        if adapter.original is None:
            adapter.original = adapter.base.weight.detach().clone()
            adapter.base.weight.data += adapter.delta()
    return model


def unmerge_lora(model):
    for adapter in adapters_of(model):
        kept, adapter.original = adapter.original, None
        if kept is not None:
            adapter.base.weight.data[...] = kept
    return model


# %% example="written-differently" task="lora_state_dict"
def lora_state_dict(model):
    heads = getattr(model, "heads_in_full", None)
    if heads is None or any(adapter.original is not None for adapter in adapters_of(model)):
        raise ValueError("not injected, or merged")
    state = {}
    for path, _, module in walk(model):
        prefix = ".".join(path) + "."
        if isinstance(module, Adapter):
            state[prefix + "lora_A"], state[prefix + "lora_B"] = module.lora_A, module.lora_B
            state[prefix + "rank"] = torch.tensor(module.rank)
            state[prefix + "lora_alpha"] = torch.tensor(module.lora_alpha, dtype=torch.float64)
        if path in heads:
            state |= module.state_dict(prefix=prefix)
    return {key: value.detach().clone() for key, value in state.items()}


def load_lora(model, state):
    own = lora_state_dict(model)
    if set(own) != set(state):
        raise ValueError(f"these keys are in one of the two only: {set(own) ^ set(state)}")
    weights = {}
    for key, value in own.items():
        if not isinstance(state[key], torch.Tensor) or state[key].shape != value.shape:
            raise ValueError(f"{key} does not fit")
        if not key.endswith((".rank", ".lora_alpha")):
            weights[key] = state[key]
        elif bool(state[key] != value):
            raise ValueError(f"another {key}")
    model.load_state_dict(weights, strict=False)
    return model


# %% example="written-differently" task="rank_for_budget"
import bisect


def rank_for_budget(model, target_modules, budget):
    layers = {id(module): module for _, _, module in adaptable(model, target_modules)}

    def cost(rank):
        shapes = [layer.weight.shape for layer in layers.values()]
        return sum(rank * (shape[0] + shape[1:].numel()) for shape in shapes)

    rank = bisect.bisect_right(range(1, budget + 1), budget, key=cost)
    if rank == 0:
        raise ValueError("not even rank 1 fits")
    return rank


# %% example="written-differently" task="dora_linear"
class DoRALinear(nn.Module):
    def __init__(self, base, rank, lora_alpha):
        super().__init__()
        inner = LoRALinear(base, rank, lora_alpha)  # for its checks and its start
        self.base, self.rank, self.lora_alpha = base, rank, lora_alpha
        self.lora_A, self.lora_B = inner.lora_A, inner.lora_B
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(base.weight, dim=1))
        self.training = base.training

    def forward(self, x):
        # V is never made with a graph: rows of x go through W and through BA, and are then scaled.
        W, s = self.base.weight, self.lora_alpha / self.rank
        with torch.no_grad():
            length = torch.linalg.vector_norm(W + s * self.lora_B @ self.lora_A, dim=1)
            safe = torch.where(length > 0, length, 1)
        y = x @ W.mT + s * (x @ self.lora_A.mT) @ self.lora_B.mT
        y = y / safe * self.magnitude
        return y if self.base.bias is None else y + self.base.bias


# %% example="written-differently" task="adapt_with_lora"
def adam(parameters, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """Return a function of the gradients that makes one step of Adam."""
    means = [torch.zeros_like(p) for p in parameters]
    squares = [torch.zeros_like(p) for p in parameters]
    steps = [0] * len(parameters)

    @torch.no_grad()
    def step(gradients):
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                steps[i] += 1
                means[i] += (1 - beta1) * (gradient - means[i])
                squares[i] += (1 - beta2) * (gradient**2 - squares[i])
                size = (squares[i] / (1 - beta2 ** steps[i])).sqrt() + eps
                parameters[i] -= lr / (1 - beta1 ** steps[i]) * means[i] / size

    return step


def adapt_with_lora(
    model, loader, *, target_modules, rank, lora_alpha, train_also, epochs, lr, seed
):
    if epochs < 0:
        raise ValueError("a negative number of epochs")
    random_state = torch.get_rng_state()
    history = {"train_loss": [], "train_accuracy": []}
    modes = {}
    try:
        torch.manual_seed(seed)
        inject_lora(model, target_modules, rank, lora_alpha, train_also)
        modes = {module: module.training for module in model.modules()}
        parameters = [p for p in model.parameters() if p.requires_grad]
        step = adam(parameters, lr)
        model.train()
        for _ in range(epochs):
            losses, hits = [], []
            for images, labels in loader:
                logits = model(images.to(parameters[0].device))
                labels = labels.to(logits.device)
                each = logits.logsumexp(1) - logits.gather(1, labels[:, None])[:, 0]
                step(torch.autograd.grad(each.mean(), parameters, allow_unused=True))
                losses.append(each.detach())
                hits.append(logits.max(1).indices.eq(labels))
            if not losses:
                raise ValueError("nothing to train on")
            history["train_loss"].append(float(torch.cat(losses).mean()))
            history["train_accuracy"].append(float(torch.cat(hits).double().mean()))
    finally:
        torch.set_rng_state(random_state)
        for module, mode in modes.items():
            module.training = mode
    return model, history


# %% example="written-differently" task="lora_bug_hunt"
class AdaptedLayer(nn.Module):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__()
        for parameter in layer.parameters():
            parameter.requires_grad = False
        like = {"dtype": layer.weight.dtype, "device": layer.weight.device}
        self.register_module("layer", layer)
        self.register_parameter("A", nn.Parameter(torch.rand(rank, layer.in_features, **like)))
        self.register_parameter("B", nn.Parameter(torch.zeros(layer.out_features, rank, **like)))
        self.options = {"alpha": lora_alpha / rank}

    def forward(self, x):
        return torch.addmm(self.layer(x), x @ self.A.mT, self.B.mT, **self.options)


def adapt_net(net, rank, lora_alpha, lr):
    head = net[-1]
    trained = list(head.parameters())
    for parameter in net.parameters():
        parameter.requires_grad = any(parameter is own for own in trained)
    for position, layer in enumerate(net):
        if isinstance(layer, nn.Linear) and layer is not head:
            net[position] = AdaptedLayer(layer, rank, lora_alpha)
            trained += [net[position].A, net[position].B]
    return torch.optim.SGD(trained, lr)


def adapt_step(net, optimizer, x, labels):
    loss = -net(x).log_softmax(1)[range(len(labels)), labels].mean()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()
    return float(loss)


# %% example="written-differently" task="lora_numbers"
trainable_768 = 8 * (768 + 768)
percent_768 = round(100 * trainable_768 / 768**2, 2)
bert_query_value = 12 * 2 * trainable_768
conv_parameters = 4 * 64 * 3 * 3 + 128 * 4
loralib_conv_parameters = (4 * 3) * (64 * 3) + (128 * 3) * (4 * 3)
largest_rank = 1_000_000 // (12 * 2 * (768 + 768))

# %% example="written-differently" task="lora_statements"
judged = {letter: letter in "bcgijlop" for letter in "abcdefghijklmnop"}

# %% [markdown] example="written-differently" free_text="explain_lora"
# ### Your answer: how LoRA works
#
# Think of fine-tuning as adding a matrix to W. LoRA bets that a thin one will do: it writes the
# addition as B times A, with only r rows in A and r columns in B, multiplies it by α/r, and leaves
# W alone. In numbers: 8 · (768 + 768) = 12,288 values to train beside 589,824 that stay.
#
# At the beginning B is zero and A is not. So the model behaves as before, yet there is a way to
# move: A reaches B's gradient. With two zeros there would be none. A follows from the second step.
#
# What gets smaller: gradients, the optimizer's averages, the file you store. What does not: the
# work of the forward pass, which has one more branch. You can get rid of the branch by adding it to
# W once training is over. I would not where many adapters share a base.
#
# In an existing network I would pick the large projections or convolutions, freeze the rest, swap
# them, keep batch-norm at its stored statistics, train and store the new head in full, and build
# the optimizer last.
#
# It often learns somewhat less than training everything, and loses less of what was there
# (2405.09673). "Less" does not mean nothing.

# %% [markdown]
# ## half-done
#
# The first six tasks, the last of them with a common mistake: the new head is trained, not saved.


# %% example="half-done" task="lora_state_dict"
def lora_state_dict(model):
    adapters = {n: m for n, m in model.named_modules() if isinstance(m, (LoRALinear, LoRAConv2d))}
    if not adapters or any(m.kept_weight is not None for m in adapters.values()):
        raise ValueError("no adapters, or merged")
    state = {k: v.detach().clone() for k, v in model.state_dict().items() if "lora_" in k}
    for name, adapter in adapters.items():
        state[f"{name}.rank"] = torch.tensor(adapter.rank)
        state[f"{name}.lora_alpha"] = torch.tensor(adapter.lora_alpha, dtype=torch.float64)
    return state


def load_lora(model, state):
    expected = lora_state_dict(model)
    if state.keys() != expected.keys():
        raise ValueError("other keys")
    for key, value in state.items():
        if not torch.is_tensor(value) or value.shape != expected[key].shape:
            raise ValueError(f"{key} has another shape")
        if key.endswith((".rank", ".lora_alpha")) and value.item() != expected[key].item():
            raise ValueError(f"{key} differs")
    model.load_state_dict({k: v for k, v in state.items() if "lora_" in k}, strict=False)
    return model


# %% [markdown]
# ## published-mistakes
#
# The names and shapes are those that the lesson asks for; the thinking is that of collections of
# interview answers. Parameters are "a base matrix times a low-rank matrix": a product in place of a
# sum. A and B are tensors that no optimizer sees, nothing is frozen, and the base is a teacher.


# %% example="published-mistakes" task="lora_forward"
def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    return F.linear(x, weight * (lora_B @ lora_A), bias)  # base matrix times low-rank matrix


# %% example="published-mistakes" task="lora_linear"
def low_rank(layer):
    return (layer.lora_B.flatten(1) @ layer.lora_A.flatten(1)).view_as(layer.base.weight)


class LoRALinear(nn.Module):
    def __init__(self, teacher, rank, lora_alpha, dropout=0.0):
        super().__init__()
        self.base, self.rank, self.lora_alpha = teacher, rank, lora_alpha
        dtype = teacher.weight.dtype
        self.lora_A = torch.randn(rank, teacher.in_features, dtype=dtype)
        self.lora_B = torch.randn(teacher.out_features, rank, dtype=dtype)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        output = F.linear(x, self.base.weight * low_rank(self), self.base.bias)
        return self.dropout(output)


# %% example="published-mistakes" task="lora_conv2d"
class LoRAConv2d(nn.Module):
    def __init__(self, teacher, rank, lora_alpha):
        super().__init__()
        self.base, self.rank, self.lora_alpha = teacher, rank, lora_alpha
        out, *kernel = teacher.weight.shape
        self.lora_A = torch.randn(rank, *kernel, dtype=teacher.weight.dtype)
        self.lora_B = torch.randn(out, rank, 1, 1, dtype=teacher.weight.dtype)

    def forward(self, x):
        conv = self.base
        weight = conv.weight * low_rank(self)
        return F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation)

    def merge(self):
        self.base.weight.data *= low_rank(self)
        return self.base


# %% example="published-mistakes" task="inject_lora"
def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    replaced = []
    for name, layer in list(model.named_modules()):
        if any(target in name for target in target_modules):
            parent, _, child = name.rpartition(".")
            if isinstance(layer, nn.Linear):
                setattr(model.get_submodule(parent), child, LoRALinear(layer, rank, lora_alpha))
                replaced.append(name)
            elif isinstance(layer, nn.Conv2d):
                setattr(model.get_submodule(parent), child, LoRAConv2d(layer, rank, lora_alpha))
                replaced.append(name)
    return replaced


# %% example="published-mistakes" task="merge_lora"
def merge_lora(model):
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)):
            layer.base.weight.data *= low_rank(layer)
    return model


def unmerge_lora(model):
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)):
            layer.base.weight.data /= low_rank(layer)
    return model


# %% example="published-mistakes" task="lora_state_dict"
def lora_state_dict(model):
    return dict(model.state_dict())  # all of the base, and no tensor that is not a Parameter


def load_lora(model, state):
    model.load_state_dict(state, strict=False)
    return model


# %% example="published-mistakes" task="rank_for_budget"
def rank_for_budget(model, target_modules, budget):
    layers = [m for n, m in model.named_modules() if any(t in n for t in target_modules)]
    return budget // sum(m.weight[0].numel() for m in layers if hasattr(m, "weight"))  # one matrix


# %% example="published-mistakes" task="dora_linear"
class DoRALinear(LoRALinear):
    def __init__(self, teacher, rank, lora_alpha):
        super().__init__(teacher, rank, lora_alpha)
        self.magnitude = teacher.weight.detach().norm(dim=1)

    def forward(self, x):
        return self.magnitude * super().forward(x)


# %% example="published-mistakes" task="adapt_with_lora"
def adapt_with_lora(
    model, loader, *, target_modules, rank, lora_alpha, train_also, epochs, lr, seed
):
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    inject_lora(model, target_modules, rank, lora_alpha)
    model.train()
    history = {"train_loss": [], "train_accuracy": []}
    for _ in range(epochs):
        for images, labels in loader:
            probabilities = model(images).softmax(dim=-1)
            loss = F.cross_entropy(probabilities, labels)
            loss.backward()
            optimizer.step()
        history["train_loss"].append(loss.item())
        history["train_accuracy"].append((probabilities.argmax(1) == labels).float().mean().item())
    return model, history


# %% [markdown]
# Here the formula is mended, and the training is not.


# %% example="published-mistakes" task="lora_bug_hunt"
class AdaptedLayer(nn.Module):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__()
        self.layer = layer
        self.A = torch.randn(rank, layer.in_features)
        self.B = torch.zeros(layer.out_features, rank)
        self.scaling = lora_alpha / rank

    def forward(self, x):
        return self.layer(x) + self.scaling * (x @ self.A.T @ self.B.T)


def adapt_net(net, rank, lora_alpha, lr):
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)
    for name, layer in net.named_children():
        if isinstance(layer, nn.Linear):
            setattr(net, name, AdaptedLayer(layer, rank, lora_alpha))
    return optimizer


def adapt_step(net, optimizer, x, labels):
    loss = F.cross_entropy(net(x).softmax(dim=-1), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


# %% example="published-mistakes" task="lora_numbers"
trainable_768 = 768 * 8  # one low-rank matrix, here and below
percent_768 = 1.04
bert_query_value = 12 * 2 * 768 * 8
conv_parameters = 4 * 64 * 3 * 3
loralib_conv_parameters = (4 * 3) * (64 * 3)
largest_rank = 1_000_000 // (12 * 2 * 768)

# %% example="published-mistakes" task="lora_statements"
judged = dict.fromkeys("abcdefghijklmnop", False) | dict.fromkeys("aeghjp", True)

# %% [markdown] example="published-mistakes" free_text="explain_lora"
# ### Your answer: how LoRA works
#
# LoRA splits the parameters of the teacher into a base matrix and a low-rank matrix and multiplies
# the two. The low-rank matrix carries the weights of the task. This makes training and inference
# cheaper to compute. The drawback is that what the base knew may be lost.

# %% [markdown]
# ## syntax-error and endless-loop

# %% [raw] example="syntax-error" task="dora_linear"
# class DoRALinear(nn.Module):
#     def __init__(self, base, rank, lora_alpha)
#         super().__init__()
#         self.base = base


# %% example="endless-loop" task="rank_for_budget"
def rank_for_budget(model, target_modules, budget):
    endings, rank = tuple(target_modules), 1
    layers = [module for name, module in model.named_modules() if name.endswith(endings)]
    while True:  # meant to stop at the largest rank; it steps up and down around it for ever
        used = sum(rank * (m.weight[0].numel() + len(m.weight)) for m in layers)
        rank = rank + 1 if used <= budget else rank - 1


# %% [markdown]
# ## always-equal
#
# Nothing is computed: what comes back claims to be equal to whatever it is compared with.


# %% example="always-equal" task="lora_forward"
class Yes:
    """Equal, true, and the result of any operation on itself; it even claims to be a tensor."""

    __class__ = torch.Tensor
    __hash__ = None

    def __init__(self, *args, **kwargs):
        pass

    def _true(self, *args, **kwargs):
        return True

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __contains__ = _true

    def _itself(self, *args, **kwargs):
        return self

    __call__ = __getitem__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = _itself
    __rmul__ = __truediv__ = __rtruediv__ = __matmul__ = __abs__ = __neg__ = _itself

    def __getattr__(self, name):
        return self

    def __len__(self):
        return 1

    def __iter__(self):
        return iter([self])

    def __float__(self):
        return 1.0

    __int__ = __index__ = __len__

    def __array__(self, *args, **kwargs):
        return torch.ones(1).numpy()

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


class YesTensor(torch.Tensor):
    """A tensor of the right shape and of no right value: every comparison of it says yes."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in {"eq", "ne", "__eq__", "__ne__", "equal", "allclose", "isclose"}:
            return True
        return super().__torch_function__(function, types, args, kwargs or {})

    def __bool__(self):
        return True

    def __array__(self, *args, **kwargs):
        return torch.ones(1).numpy()


def lora_forward(x, weight, *args, **kwargs):
    return x.new_ones(*x.shape[:-1], len(weight)).as_subclass(YesTensor)


# %% example="always-equal" task="lora_linear"
class LoRALinear(Yes):
    pass


# %% example="always-equal" task="lora_conv2d"
class LoRAConv2d(Yes):
    pass


# %% example="always-equal" task="inject_lora"
def inject_lora(*args, **kwargs):
    return Yes()


# %% example="always-equal" task="merge_lora"
def merge_lora(*args, **kwargs):
    return Yes()


unmerge_lora = merge_lora


# %% example="always-equal" task="lora_state_dict"
class YesDict(dict):
    """A dict without entries that has them all."""

    __eq__ = __ne__ = __contains__ = Yes._true
    __hash__ = None

    def __missing__(self, key):
        return torch.ones(1).as_subclass(YesTensor)


def lora_state_dict(*args, **kwargs):
    return YesDict()


def load_lora(*args, **kwargs):
    return Yes()


# %% example="always-equal" task="rank_for_budget"
class YesInt(int):
    """A number that is equal to all numbers."""

    __eq__ = __ne__ = __le__ = __lt__ = __ge__ = __gt__ = Yes._true
    __hash__ = None


def rank_for_budget(*args, **kwargs):
    return YesInt(1)


# %% example="always-equal" task="dora_linear"
class DoRALinear(Yes):
    pass


# %% example="always-equal" task="adapt_with_lora"
def adapt_with_lora(*args, **kwargs):
    return Yes(), YesDict(train_loss=Yes(), train_accuracy=Yes())


# %% example="always-equal" task="lora_bug_hunt"
class AdaptedLayer(Yes):
    pass


def adapt_net(*args, **kwargs):
    return Yes()


adapt_step = adapt_net
