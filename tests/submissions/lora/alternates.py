# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Right answers to the LoRA lesson, written otherwise than the reference. A cell is run after all of
# the reference's cells, and graded on every task: each must earn all points.

# %% alternate="einsum_everywhere"
"""Products are einsums; A is Gaussian as in the paper; DoRA scales outputs instead of weights."""


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    y = torch.einsum("oi,...i->...o", weight, x)
    low = torch.einsum("ri,...i->...r", lora_A, x)
    y = y + torch.einsum("or,...r->...o", lora_B, low) * (lora_alpha / len(lora_A))
    return y if bias is None else y + bias


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        nn.init.normal_(self.lora_A, std=0.02)

    def forward(self, x):
        y = torch.einsum("oi,...i->...o", self.base.weight, x)
        if self.base.bias is not None:
            y = y + self.base.bias
        if self.kept_weight is None:
            low = torch.einsum("ri,...i->...r", self.lora_A, self.dropout(x))
            y = y + self.lora_alpha * torch.einsum("or,...r->...o", self.lora_B, low) / self.rank
        return y


class LoRAConv2d(LoRAConv2d):
    def merge(self):
        if self.kept_weight is not None:
            return super().merge()
        update = torch.einsum("orxy,rikl->oikl", self.lora_B, self.lora_A)
        merged = copy.deepcopy(self.base)
        merged.weight.data = merged.weight.data + update.data * self.lora_alpha / self.rank
        return merged


class DoRALinear(DoRALinear):
    def forward(self, x):
        delta = torch.einsum("or,ri->oi", self.lora_B, self.lora_A) * self.lora_alpha / self.rank
        direction = self.base.weight + delta
        with torch.no_grad():
            norm = torch.einsum("oi,oi->o", direction, direction).sqrt()
            norm = torch.where(norm == 0, torch.ones_like(norm), norm)
        y = torch.einsum("oi,...i->...o", direction, x) * (self.magnitude / norm)
        return y if self.base.bias is None else y + self.base.bias


# %% alternate="modules_in_modules"
"""As peft does: A and B are the weights of small layers, reached by properties; dropout by hand."""


class LoRALinear(nn.Module):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        if not isinstance(base, nn.Linear) or isinstance(rank, bool) or not isinstance(rank, int):
            raise ValueError("a linear layer and a whole rank, please")
        if rank <= 0 or dropout < 0 or dropout >= 1:
            raise ValueError("rank or dropout out of range")
        super().__init__()
        self.base, self.rank, self.lora_alpha, self.p = base, rank, lora_alpha, dropout
        for parameter in base.parameters():
            parameter.requires_grad = False
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        down = torch.rand(rank, base.in_features, **like) - 0.5
        self.register_parameter("lora_A", nn.Parameter(down))
        self.register_parameter(
            "lora_B", nn.Parameter(torch.zeros(base.out_features, rank, **like))
        )
        self.merged = False
        self.training = base.training

    @property
    def kept_weight(self):
        return self.original if self.merged else None

    def forward(self, x):
        y = self.base(x)
        if self.merged:
            return y
        if self.training and self.p:
            keep = torch.empty_like(x).bernoulli_(1 - self.p)
            x = x * keep / (1 - self.p)
        return y.add((x @ self.lora_A.mT) @ self.lora_B.mT, alpha=self.lora_alpha / self.rank)


class LoRAConv2d(nn.Module):
    def __init__(self, base, rank, lora_alpha):
        if not isinstance(base, nn.Conv2d) or base.groups != 1:
            raise ValueError("an ungrouped convolution, please")
        if isinstance(rank, bool) or not isinstance(rank, int) or rank <= 0:
            raise ValueError("a whole rank, please")
        super().__init__()
        self.base, self.rank, self.lora_alpha = base, rank, lora_alpha
        for parameter in base.parameters():
            parameter.requires_grad = False
        down = torch.randn_like(base.weight[:1]).repeat(rank, 1, 1, 1)
        self.lora_A = nn.Parameter(down + torch.randn_like(down))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_channels, rank, 1, 1))
        self.merged = False
        self.training = base.training

    @property
    def kept_weight(self):
        return self.original if self.merged else None

    def forward(self, x):
        y = self.base(x)
        if self.merged:
            return y
        base = self.base
        settings = {"stride": base.stride, "dilation": base.dilation, "bias": False}
        settings |= {"padding": base.padding, "padding_mode": base.padding_mode}
        down = nn.Conv2d(base.in_channels, self.rank, base.kernel_size, **settings)
        low = torch.func.functional_call(down, {"weight": self.lora_A}, x)
        return y + F.conv2d(low, self.lora_B * (self.lora_alpha / self.rank))

    def merge(self):
        base = self.base
        settings = {"stride": base.stride, "dilation": base.dilation, "padding": base.padding}
        settings |= {"padding_mode": base.padding_mode, "bias": base.bias is not None}
        settings |= {"dtype": base.weight.dtype, "device": base.weight.device}
        new = nn.Conv2d(base.in_channels, base.out_channels, base.kernel_size, **settings)
        new.requires_grad_(False).train(base.training)
        new.load_state_dict(base.state_dict())
        if not self.merged:
            matrix = self.lora_B[:, :, 0, 0] @ self.lora_A.reshape(self.rank, -1)
            new.weight.add_(matrix.view_as(new.weight).detach(), alpha=self.lora_alpha / self.rank)
        return new


def merge_lora(model):
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)) and not layer.merged:
            layer.original = layer.base.weight.data
            matrix = (layer.lora_B.data.flatten(1) @ layer.lora_A.data.flatten(1)).view_as(
                layer.original
            )
            layer.base.weight.data = layer.original + matrix * (layer.lora_alpha / layer.rank)
            layer.merged = True
    return model


def unmerge_lora(model):
    for layer in model.modules():
        if isinstance(layer, (LoRALinear, LoRAConv2d)) and layer.merged:
            layer.base.weight.data = layer.original
            layer.merged = False
            del layer.original
    return model


# %% alternate="norms_that_stay_in_eval"
"""A frozen batch-norm gets a class whose train() does nothing; validation comes first."""


class FrozenNorm:
    def train(self, mode=True):
        return nn.Module.train(self, False)


class FrozenNorm1d(FrozenNorm, nn.BatchNorm1d):
    pass


class FrozenNorm2d(FrozenNorm, nn.BatchNorm2d):
    pass


class FrozenNorm3d(FrozenNorm, nn.BatchNorm3d):
    pass


class FrozenSyncNorm(FrozenNorm, nn.SyncBatchNorm):
    pass


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    def refuse(text, unless):
        if not unless:
            raise ValueError(text)

    places = [(n, m) for n, m in model.named_modules(remove_duplicate=False) if n != ""]

    def matching(names):
        refuse("names, not a string", not isinstance(names, (str, bytes)))
        chosen = []
        for wanted in names:
            parts = wanted.split(".")
            hits = [m for n, m in places if n.split(".")[-len(parts) :] == parts]
            refuse(f"nothing is called {wanted}", hits)
            chosen.extend(hits)
        return chosen

    targets, heads = matching(target_modules), matching(train_also)
    refuse("no targets", targets)
    refuse("a whole rank of 1 or more", type(rank) is int and rank >= 1)
    adapter_types = (LoRALinear, LoRAConv2d)
    refuse("adapters are there", not any(isinstance(m, adapter_types) for _, m in places))
    refuse("this is an adapter", not isinstance(model, adapter_types))
    inside = [m for head in heads for m in head.modules()]
    holders = {}
    for holder in {id(m): m for _, m in [*places, ("", model)]}.values():
        for parameter in holder._parameters.values():
            if parameter is not None:
                holders.setdefault(parameter, []).append(holder)
    for target in targets:
        refuse("no adapter for this type", isinstance(target, (nn.Linear, nn.Conv2d)))
        refuse("a grouped convolution", getattr(target, "groups", 1) == 1)
        refuse("in train_also", all(target is not m for m in inside))
        refuse("tied", all(len(holders[p]) == 1 for p in target.parameters()))
    for _, parent in [*places, ("", model)]:
        if isinstance(parent, (nn.MultiheadAttention, nn.TransformerEncoderLayer)):
            children = list(parent.children())
            refuse("read past its forward", not any(t is c for t in targets for c in children))
    for head in heads:
        for parameter in head.parameters():
            outside = [h for h in holders[parameter] if all(h is not m for m in inside)]
            refuse("tied to a frozen one", not outside)

    for parameter in model.parameters():
        parameter.requires_grad = False
    for module in inside:
        for parameter in module.parameters():
            parameter.requires_grad = True
    changed, new = [], {}
    for name, module in places:
        if any(module is target for target in targets):
            if module not in new:
                make = LoRAConv2d if isinstance(module, nn.Conv2d) else LoRALinear
                new[module] = make(module, rank, lora_alpha)
            *path, last = name.split(".")
            parent = model
            for part in path:
                parent = parent._modules[part]
            parent._modules[last] = new[module]
            changed.append(name)
    kinds = {
        nn.BatchNorm1d: FrozenNorm1d,
        nn.BatchNorm2d: FrozenNorm2d,
        nn.BatchNorm3d: FrozenNorm3d,
        nn.SyncBatchNorm: FrozenSyncNorm,
    }
    for _, module in places:
        frozen = type(module) in kinds and all(module is not m for m in inside)
        if frozen and module.running_mean is not None:
            module.__class__ = kinds[type(module)]
            module.training = False
    model.lora_train_also = tuple(n for n, m in places if any(m is head for head in heads))
    return changed


def rank_for_budget(model, target_modules, budget):
    if isinstance(target_modules, str) or not target_modules:
        raise ValueError("a list of names, please")
    modules = {}
    for wanted in target_modules:
        hits = [
            (n, m)
            for n, m in model.named_modules(remove_duplicate=False)
            if n and (n == wanted or n.endswith("." + wanted))
        ]
        if not hits:
            raise ValueError(f"nothing is called {wanted}")
        modules.update({id(m): m for _, m in hits})
    rank = 0
    while True:
        cost = 0
        for module in modules.values():
            if isinstance(module, nn.Linear):
                cost += (rank + 1) * (module.in_features + module.out_features)
            elif isinstance(module, nn.Conv2d) and module.groups == 1:
                area = math.prod(module.kernel_size)
                cost += (rank + 1) * (module.in_channels * area + module.out_channels)
            else:
                raise ValueError("no adapter for this type")
        if cost > budget:
            break
        rank += 1
    if rank == 0:
        raise ValueError("not even rank 1 fits")
    return rank


# %% alternate="weights_kept_beside_the_layer"
"""Merging turns the layer's class into one that answers with its base, and keeps a copy on it."""


class MergedLinear(LoRALinear):
    def forward(self, x):
        return F.linear(x, self.base.weight, self.base.bias)


class MergedConv2d(LoRAConv2d):
    def forward(self, x):
        return self.base(x)

    def merge(self):
        return copy.deepcopy(self.base)


_MERGED = {LoRALinear: MergedLinear, LoRAConv2d: MergedConv2d}
_PLAIN = {merged: plain for plain, merged in _MERGED.items()}


def merge_lora(model):
    with torch.no_grad():
        for layer in list(model.modules()):
            if type(layer) in _MERGED:
                layer.old = copy.deepcopy(layer.base.weight.data)
                if isinstance(layer, LoRALinear):
                    update = layer.lora_B.mm(layer.lora_A)
                else:
                    # conv of A's kernels, taken as images, with B
                    update = F.conv2d(layer.lora_A.transpose(0, 1), layer.lora_B).transpose(0, 1)
                layer.base.weight.copy_(layer.old + update * layer.lora_alpha / layer.rank)
                layer.__class__ = _MERGED[type(layer)]
    return model


def unmerge_lora(model):
    for layer in list(model.modules()):
        if type(layer) in _PLAIN:
            layer.base.weight.data.copy_(layer.old)
            del layer.old
            layer.__class__ = _PLAIN[type(layer)]
    return model


def _entries(model):
    if not isinstance(getattr(model, "lora_train_also", None), tuple):
        raise ValueError("not injected")
    entries = {}
    for prefix, layer in model.named_modules(remove_duplicate=False):
        if type(layer) in _PLAIN:
            raise ValueError("merged")
        if type(layer) in _MERGED:
            entries[prefix + ".lora_A"], entries[prefix + ".lora_B"] = layer.lora_A, layer.lora_B
            entries[prefix + ".rank"] = torch.tensor(layer.rank, dtype=torch.int64)
            entries[prefix + ".lora_alpha"] = torch.tensor(float(layer.lora_alpha)).double()
    for prefix in model.lora_train_also:
        for key, value in model.get_submodule(prefix).state_dict().items():
            entries[f"{prefix}.{key}"] = value
    return entries


def lora_state_dict(model):
    return {key: value.detach().clone() for key, value in _entries(model).items()}


def load_lora(model, state):
    entries = _entries(model)
    problems = [key for key in entries if key not in state]
    problems += [key for key in state if key not in entries]
    for key in entries.keys() & state.keys():
        given, mine = state[key], entries[key]
        fits = isinstance(given, torch.Tensor) and given.size() == mine.size()
        if fits and key.endswith((".rank", ".lora_alpha")):
            fits = float(given) == float(mine)
        problems += [] if fits else [key]
    if problems:
        raise ValueError(f"these do not fit: {problems}")
    for key in entries:
        if not key.endswith((".rank", ".lora_alpha")):
            entries[key].data.copy_(state[key])
    return model


# %% alternate="written_out_by_hand"
"""Adam written out, DoRA row by row, and another way to mend the broken program."""


def adapt_with_lora(
    model, loader, *, target_modules, rank, lora_alpha, train_also, epochs, lr, seed
):
    if not epochs >= 0:
        raise ValueError("epochs")
    before = torch.get_rng_state()
    modes = [(module, module.training) for module in model.modules()]
    losses, accuracies = [], []
    try:
        torch.manual_seed(seed)
        inject_lora(model, target_modules, rank, lora_alpha, train_also)
        learning = [p for p in model.parameters() if p.requires_grad]
        first = [torch.zeros_like(p) for p in learning]
        second = [torch.zeros_like(p) for p in learning]
        step = 0
        for _ in range(epochs):
            model.train()
            sums, hits, count = 0.0, 0, 0
            for images, labels in loader:
                step += 1
                logits = model(images)
                each = F.cross_entropy(logits, labels, reduction="none")
                gradients = torch.autograd.grad(each.mean(), learning, allow_unused=True)
                with torch.no_grad():
                    for p, g, m, v in zip(learning, gradients, first, second, strict=True):
                        g = torch.zeros_like(p) if g is None else g
                        m.mul_(0.9).add_(g, alpha=0.1)
                        v.mul_(0.999).addcmul_(g, g, value=0.001)
                        corrected = (v / (1 - 0.999**step)).sqrt() + 1e-8
                        p.sub_(lr * (m / (1 - 0.9**step)) / corrected)
                sums += each.sum().item()
                hits += int((logits.max(dim=1).indices == labels).sum())
                count += labels.numel()
            if not count:
                raise ValueError("no batch")
            losses.append(sums / count)
            accuracies.append(hits / count)
    finally:
        torch.set_rng_state(before)
        for module in model.modules():
            if isinstance(module, (LoRALinear, LoRAConv2d)):
                module.training = dict(modes).get(module.base, module.training)
                for part in module.children():
                    part.training = module.training
        for module, mode in modes:
            module.training = mode
    return model, {"train_accuracy": accuracies, "train_loss": losses}


class DoRALinear(nn.Module):
    def __init__(self, base, rank, lora_alpha):
        nn.Module.__init__(self)
        LoRALinear(base, rank, lora_alpha)  # refuses what is to be refused
        self.base, self.rank, self.lora_alpha = base, rank, lora_alpha
        base.weight.requires_grad = False
        if base.bias is not None:
            base.bias.requires_grad = False
        weight = base.weight.data
        self.magnitude = nn.Parameter(weight.square().sum(dim=1).sqrt())
        self.lora_B = nn.Parameter(torch.zeros_like(weight[:, :1]).repeat(1, rank))
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features).to(weight) * 0.1)
        self.training = base.training

    def forward(self, x):
        weight = torch.addmm(
            self.base.weight, self.lora_B, self.lora_A, alpha=self.lora_alpha / self.rank
        )
        rows = []
        for row, magnitude in zip(weight, self.magnitude, strict=True):
            length = row.detach().square().sum().sqrt()
            rows.append(row * magnitude / length if length > 0 else row * 0)
        y = x @ torch.stack(rows).T
        return y if self.base.bias is None else y + self.base.bias


class AdaptedLayer(nn.Module):
    def __init__(self, layer, rank, lora_alpha):
        super().__init__()
        self.layer, self.factor = layer, lora_alpha / rank
        for parameter in layer.parameters():
            parameter.requires_grad = False
        self.A = nn.Parameter(torch.rand(rank, layer.in_features) - 0.5)
        self.B = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x):
        weight = self.layer.weight + self.factor * self.B @ self.A
        return F.linear(x, weight, self.layer.bias)


def adapt_net(net, rank, lora_alpha, lr):
    trained = list(net[-1].parameters())
    for parameter in net.parameters():
        parameter.requires_grad = any(parameter is p for p in trained)
    for i in range(len(net) - 1):
        if isinstance(net[i], nn.Linear):
            net[i] = AdaptedLayer(net[i], rank, lora_alpha)
            trained += [net[i].A, net[i].B]
    return torch.optim.SGD([{"params": trained}], lr=lr, momentum=0.0)


def adapt_step(net, optimizer, x, labels):
    for parameter in net.parameters():
        parameter.grad = None
    log_probabilities = net(x).log_softmax(dim=1)
    loss = -log_probabilities.gather(1, labels[:, None]).mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


# %% alternate="an_autograd_function"
"""The forward is a torch.autograd.Function of its own, and the layers use it."""


class LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, lora_A, lora_B, scale):
        low = x @ lora_A.T
        ctx.save_for_backward(x, low, lora_A, lora_B)
        ctx.scale = scale
        return (low * scale) @ lora_B.T

    @staticmethod
    def backward(ctx, upstream):
        x, low, lora_A, lora_B = ctx.saved_tensors
        back = ctx.scale * (upstream @ lora_B)  # (..., rank)
        flat = [t.reshape(-1, t.shape[-1]) for t in (x, low, upstream, back)]
        grad_A = flat[3].T @ flat[0]
        grad_B = ctx.scale * flat[2].T @ flat[1]
        return back @ lora_A, grad_A, grad_B, None


def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    base = x.matmul(weight.t())
    if bias is not None:
        base = base + bias
    return base + LowRank.apply(x, lora_A, lora_B, lora_alpha / lora_A.size(0))


class LoRALinear(LoRALinear):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__(base, rank, lora_alpha, dropout)
        nn.init.xavier_uniform_(self.lora_A)

    def forward(self, x):
        if self.kept_weight is not None:
            return F.linear(x, self.base.weight, self.base.bias)
        dropped = F.dropout(x, self.dropout.p, self.training)
        update = LowRank.apply(dropped, self.lora_A, self.lora_B, self.lora_alpha / self.rank)
        return F.linear(x, self.base.weight, self.base.bias) + update


class AdaptedLayer(AdaptedLayer):
    def forward(self, x):
        return LowRank.apply(x, self.A, self.B, self.scaling) + self.layer(x)


# %% alternate="through_the_weight"
"""Layers add the update to the weight: one product or convolution, with dropout kept apart."""


class LoRALinear(LoRALinear):
    def forward(self, x):
        if self.kept_weight is not None:
            return self.base(x)
        update = self.lora_alpha / self.rank * (self.lora_B @ self.lora_A)
        if self.training and self.dropout.p > 0:
            return self.base(x) + F.linear(self.dropout(x), update)
        return F.linear(x, self.base.weight + update, self.base.bias)


class LoRAConv2d(LoRAConv2d):
    def _whole(self):
        base = self.base.weight
        if self.kept_weight is not None:
            return base
        update = torch.tensordot(self.lora_B[..., 0, 0], self.lora_A, dims=1)
        return base + update * (self.lora_alpha / self.rank)

    def forward(self, x):
        return self.base._conv_forward(x, self._whole(), self.base.bias)

    def merge(self):
        merged = copy.copy(self.base)
        merged._parameters = {
            "weight": nn.Parameter(self._whole().detach().clone(), requires_grad=False),
            "bias": None if self.base.bias is None else copy.deepcopy(self.base.bias),
        }
        return merged


def rank_for_budget(model, target_modules, budget):
    """Bisection over real adapters, on copies and the meta device."""
    trial = copy.deepcopy(model).to("meta")

    def cost(rank):
        total = 0
        for module in set(find_places(trial, target_modules).values()):
            kind = LoRAConv2d if isinstance(module, nn.Conv2d) else LoRALinear
            with torch.device("meta"):
                layer = kind(module, rank, 1)
            total += layer.lora_A.numel() + layer.lora_B.numel()
        return total

    if not target_modules or cost(1) > budget:
        raise ValueError("not even rank 1 fits, or there is no target")
    low, high = 1, 2
    while cost(high) <= budget:
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle)
    return low


# %% alternate="restored_by_context"
"""State is kept in dicts: merging on a table in the model, saving by filters on state_dict()."""


def lora_state_dict(model):
    also = getattr(model, "lora_train_also", None)
    if also is None:
        raise ValueError("not injected")
    kept = {}
    for key, value in copy.deepcopy(model.state_dict()).items():
        part = key.rsplit(".", 1)[-1]
        if any(key[: len(name) + 1] == name + "." for name in also) or part in ("lora_A", "lora_B"):
            kept[key] = value.requires_grad_(False) if value.is_floating_point() else value
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (LoRALinear, LoRAConv2d)):
            if module.kept_weight is not None:
                raise ValueError("merged")
            kept[name + ".rank"] = torch.full((), module.rank)
            kept[name + ".lora_alpha"] = torch.full((), module.lora_alpha, dtype=torch.float64)
    return kept


def load_lora(model, state):
    backup = lora_state_dict(model)
    if set(backup) ^ set(state):
        raise ValueError("other keys")
    for key, mine in backup.items():
        value = state[key]
        if not torch.is_tensor(value) or list(value.shape) != list(mine.shape):
            raise ValueError(f"another shape: {key}")
        if key.rsplit(".", 1)[-1] in ("rank", "lora_alpha") and not torch.equal(value, mine):
            raise ValueError(f"another value: {key}")
    weights = {k: v.clone() for k, v in state.items() if k in model.state_dict()}
    model.load_state_dict(weights, strict=False)
    return model


_injected = inject_lora


def inject_lora(model, target_modules, rank, lora_alpha, train_also=()):
    """The reference's rules on a deep copy first: an error can't have touched the model."""
    _injected(copy.deepcopy(model), target_modules, rank, lora_alpha, train_also)
    return _injected(model, target_modules, rank, lora_alpha, train_also)


def adapt_with_lora(model, loader, *, epochs, lr, seed, **injection):
    if epochs < 0:
        raise ValueError("epochs")
    modes = {name: module.training for name, module in model.named_modules()}
    history = {"train_loss": [], "train_accuracy": []}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names = inject_lora(model, **injection)
        model.train()
        groups = [{"params": [p]} for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(groups, lr=lr, foreach=False)
        for _ in range(epochs):
            outputs, truths = [], []
            for images, labels in loader:
                optimizer.zero_grad(set_to_none=False)
                outputs.append(model(images))
                truths.append(labels)
                F.nll_loss(outputs[-1].log_softmax(-1), labels).backward()
                optimizer.step()
            if not outputs:
                raise ValueError("no batch")
            logits, labels = torch.cat(outputs).detach(), torch.cat(truths)
            history["train_loss"].append(float(F.cross_entropy(logits, labels)))
            history["train_accuracy"].append(float((logits.argmax(1) == labels).double().mean()))
    for name in names:
        model.get_submodule(name).train(modes[name])
    for name, module in model.named_modules():
        module.training = modes.get(name, module.training)
    return model, history


# %% alternate="answers_in_other_types"
"""Numbers as floats, by formula and from numpy, judgements as numpy booleans."""
import numpy as np

trainable_768 = float(8 * 768 * 2)
percent_768 = 100 * trainable_768 / 768**2
bert_query_value = np.int64(12) * 2 * 12_288
conv_parameters = np.float32(2816)
loralib_conv_parameters = 6912.0
largest_rank = int(1e6 / 36_864)
judged = {letter: np.bool_(letter in "bcgijlop") for letter in "ponmlkjihgfedcba"}


def adapt_net(net, rank, lora_alpha, lr):
    children = list(net.named_children())
    for name, child in children[:-1]:
        child.requires_grad_(False)
        if isinstance(child, nn.Linear):
            net.add_module(name, AdaptedLayer(child, rank, lora_alpha))
    children[-1][1].requires_grad_(True)
    return torch.optim.SGD((p for p in net.parameters() if p.requires_grad), lr=lr)


def adapt_step(net, optimizer, x, labels):
    net.zero_grad()
    loss = nn.CrossEntropyLoss()(net(x), labels)
    loss.backward()
    optimizer.step()
    return loss.detach().item()
