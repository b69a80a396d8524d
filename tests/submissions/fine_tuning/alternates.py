# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Right answers to the fine-tuning lesson, written otherwise than the reference. A cell is run after
# all of the reference's cells, and graded on every task: each must earn all points.

# %% alternate="own_train_method"
"""Frozen batch-norms get a class whose train() does nothing; counting by hand, module by module."""


def count_parameters(model):
    seen, trainable, total = set(), 0, 0
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                total += math.prod(parameter.shape)
                trainable += math.prod(parameter.shape) if parameter.requires_grad else 0
    return trainable, total


class _Frozen:
    def train(self, mode=True):
        return super().train(False)


_KINDS = {
    kind: type(f"Frozen{kind.__name__}", (_Frozen, kind), {})
    for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
}
_BACK = {frozen: kind for kind, frozen in _KINDS.items()}


def watch_batch_norms(model):
    for module in model.modules():
        kind = _BACK.get(type(module), type(module))
        if kind in _KINDS and module.running_mean is not None:
            trains = any(p.requires_grad for p in module.parameters())
            module.__class__ = kind if trains else _KINDS[kind]
            if not trains:
                module.eval()


# %% alternate="functional_batch_norm"
"""A frozen batch-norm's forward is replaced by the formula; globs become regular expressions."""
import fnmatch
import re
import types


def find_parameters(model, patterns):
    if not isinstance(patterns, (list, tuple)):
        raise ValueError("patterns must be a list")
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    chosen = []
    for pattern in patterns:
        regex = re.compile(fnmatch.translate(pattern))
        hits = [p for p, its in names.items() if any(map(regex.match, its))]
        if not hits:
            raise ValueError(f"{pattern} matches nothing")
        chosen += [p for p in hits if not any(p is q for q in chosen)]
    return chosen


def _forward(self, x):
    trains = any(p.requires_grad for p in self.parameters())
    if trains or self.running_mean is None:
        return type(self).forward(self, x)
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, var = self.running_mean.view(shape), self.running_var.view(shape)
    y = (x - mean) / (var + self.eps).sqrt()
    if self.affine:
        y = y * self.weight.view(shape) + self.bias.view(shape)
    return y


def watch_batch_norms(model):
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.forward = types.MethodType(_forward, module)


def set_trainable(model, patterns):
    chosen = {id(p) for p in find_parameters(model, patterns)}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    watch_batch_norms(model)


# %% alternate="hooks_taken_off_again"
"""Hooks that always freeze, removed by the next call; everything else goes through it."""


def _always_eval(module, inputs):
    module.eval()


def _rehook(model):
    for module in model.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.running_var is None:
            continue
        for key, hook in list(module._forward_pre_hooks.items()):
            if hook is _always_eval:
                del module._forward_pre_hooks[key]
        if all(not p.requires_grad for p in module.parameters()):
            module.register_forward_pre_hook(_always_eval)


watch_batch_norms = _rehook


def unfreeze_next(model, blocks):
    chosen = [find_parameters(model, block) for block in blocks]
    pending = [i for i, params in enumerate(chosen) if any(not p.requires_grad for p in params)]
    if not pending:
        return None
    for parameter in chosen[pending[-1]]:
        parameter.requires_grad_()
    _rehook(model)
    return pending[-1]


# %% alternate="one_group_a_parameter"
"""Groups of one parameter each, found by name alone; blocks by set difference."""


def parameter_groups(model, head, lr, head_lr, weight_decay):
    try:
        model.get_submodule(head)
    except AttributeError as error:
        raise ValueError(f"no {head}") from error
    norm_names = set()
    for prefix, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, NORM_LAYERS):
            norm_names |= {f"{prefix}.{n}" for n, _ in module.named_parameters(recurse=False)}
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    groups = []
    for parameter, its in names.items():
        if parameter.requires_grad:
            inside = all(name.startswith(head + ".") for name in its)
            spared = any(name.endswith("bias") or name in norm_names for name in its)
            groups.append(
                {
                    "params": [parameter],
                    "lr": head_lr if inside else lr,
                    "weight_decay": 0.0 if spared else weight_decay,
                    "name": its[0],
                }
            )
    return groups


def layerwise_rates(model, blocks, lr, decay):
    if decay <= 0 or decay > 1:
        raise ValueError("decay must lie in (0, 1]")
    rate, rates = lr, []
    for _ in blocks:
        rates.insert(0, rate)
        rate *= decay
    left, groups = [p for p in model.parameters() if p.requires_grad], []
    for block, rate in zip(blocks, rates, strict=True):
        own = {id(p) for p in find_parameters(model, block)}
        here = [p for p in left if id(p) in own]
        left = [p for p in left if id(p) not in own]
        if here:
            groups.append({"params": here, "lr": rate})
    if left:
        raise ValueError(f"{len(left)} parameters lie in no block")
    return groups


# %% alternate="four_groups_and_tuples"
"""Groups in a fixed order from a comprehension; reports by sets; memory by a table."""


def parameter_groups(model, head, lr, head_lr, weight_decay):
    everything = dict(model.named_modules(remove_duplicate=False))
    if head not in everything:
        raise ValueError(head)
    outside = {
        id(p)
        for name, p in model.named_parameters(remove_duplicate=False)
        if name[: len(head) + 1] != f"{head}."
    }
    spared = {id(p) for n, p in model.named_parameters(remove_duplicate=False) if n[-4:] == "bias"}
    for module in everything.values():
        if isinstance(module, NORM_LAYERS):
            spared |= {id(p) for p in module.parameters(recurse=False)}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {
            "weight_decay": weight_decay if decays else 0.0,
            "lr": lr if body else head_lr,
            "params": [p for p in trained if ((id(p) in outside), id(p) not in spared) == key],
        }
        for key in ((False, False), (False, True), (True, False), (True, True))
        for body, decays in [key]
    ]
    return [group for group in groups if group["params"]]


def training_memory(
    trainable, frozen=0, *, weight_dtype, frozen_dtype=None, grad_dtype=None, optimizer="adam",
    state_dtype=torch.float32, master_weights=False,
):  # fmt: skip
    if min(trainable, frozen) < 0:
        raise ValueError("negative")

    def size(dtype):
        return torch.empty(0, dtype=dtype).element_size()

    frozen_dtype = weight_dtype if frozen_dtype is None else frozen_dtype
    grad_dtype = weight_dtype if grad_dtype is None else grad_dtype
    match optimizer:
        case "adam" | "adamw":
            kept = 2 * size(state_dtype)
        case "momentum":
            kept = size(state_dtype)
        case "sgd":
            kept = 0
        case _:
            raise ValueError(optimizer)
    master = 4 if master_weights and size(weight_dtype) in (1, 2) else 0
    total = round(trainable) * (size(weight_dtype) + size(grad_dtype) + kept + master)
    return total + round(frozen) * size(frozen_dtype)


def load_backbone(model, state):
    own, report = model.state_dict(keep_vars=True), {}
    report["loaded"] = [n for n, t in own.items() if n in state and t.size() == state[n].size()]
    report["mismatched"] = [n for n in own if n in state and n not in report["loaded"]]
    report["missing"] = [n for n in own if n not in state]
    report["unexpected"] = [n for n in state if n not in own]
    if not report["loaded"]:
        raise ValueError("nothing to load")
    chosen = {name: state[name] for name in report["loaded"]}
    model.load_state_dict(chosen, strict=False)
    return report


# %% alternate="one_large_pass"
"""The probe puts all inputs through a copy of the body at once, and cuts the features apart."""


def linear_probe(backbone, head, loader, epochs, lr):
    if epochs < 0:
        raise ValueError("epochs")
    if epochs == 0:
        return []
    batches = list(loader)
    if len(batches) == 0:
        raise ValueError("empty loader")
    before = [(m, m.training) for m in head.modules()]
    try:
        frozen = copy.deepcopy(backbone).train(False)
        with torch.inference_mode():
            features = frozen(torch.cat([inputs for inputs, _ in batches]))
        features = features.clone().split([len(labels) for _, labels in batches])
        head.train(True)
        optimizer = torch.optim.Adam(list(head.parameters()), lr)
        history = []
        for _ in range(epochs):
            losses = []
            for part, (_, labels) in zip(features, batches, strict=True):
                head.zero_grad()
                log_probabilities = head(part).log_softmax(dim=1)
                each = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
                each.mean().backward()
                optimizer.step()
                losses.append(each.detach())
            history.append(float(torch.cat(losses).mean()))
        return history
    finally:
        for module, mode in before:
            module.training = mode


# %% alternate="frozen_for_a_while"
"""The probe freezes the body for the time of the pass instead of switching gradients off."""


def linear_probe(backbone, head, loader, epochs, lr):
    if epochs < 0:
        raise ValueError(f"{epochs} epochs")
    flags = [(p, p.requires_grad) for p in backbone.parameters()]
    modes = {m: m.training for m in backbone.modules()} | {m: m.training for m in head.modules()}
    backbone.requires_grad_(False).eval()
    stored = [(backbone(inputs), labels.clone()) for inputs, labels in loader]
    for parameter, flag in flags:
        parameter.requires_grad = flag
    if epochs and not stored:
        for module, mode in modes.items():
            module.training = mode
        raise ValueError("no batch")
    for parameter in head.parameters():
        parameter.grad = None
    head.train()
    optimizer, losses = torch.optim.Adam(head.parameters(), lr=lr), []
    criterion = nn.CrossEntropyLoss(reduction="sum")
    for _ in range(epochs):
        loss_sum = examples = 0
        for features, labels in stored:
            loss = criterion(head(features), labels)
            (loss / len(labels)).backward()
            optimizer.step()
            optimizer.zero_grad()
            loss_sum, examples = loss_sum + loss.item(), examples + len(labels)
        losses.append(loss_sum / examples)
    for module, mode in modes.items():
        module.training = mode
    return losses


# %% alternate="hunt_by_other_means"
"""The mended program: names rebuilt by hand, the body run without gradients, autograd by hand."""


def start_from(model, state, num_classes, lr):
    stripped = {name[len("module.") :]: t for name, t in state.items() if name[:7] == "module."}
    own = model.state_dict()
    if len(stripped) != len(state) or set(stripped) != set(own):
        raise ValueError("checkpoint and model do not fit")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stripped[name])
    features = model.fc.in_features
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.fc = nn.Linear(features, num_classes, device=model.fc.weight.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=lr, momentum=0.0)


def head_step(model, optimizer, inputs, labels):
    modes = [m.training for m in model.modules()]
    model.eval()
    loss = nn.functional.nll_loss(model(inputs).log_softmax(-1), labels)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimizer.step()
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return float(loss)


@torch.no_grad()
def held_out_accuracy(model, batches):
    modes = [m.training for m in model.modules()]
    model.eval()
    hits = torch.cat([model(x).argmax(1) == y for x, y in batches])
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return hits.double().mean().item()


# %% alternate="numbers_by_computation"
"""Numbers as results of sums; counting through named_parameters; judgements in another order."""
mixed_precision_gb = 13e9 * 16 / 1e9
float32_gb = 4 * 4 * 13.0
adapter_gb = round(7 * 2 - 0.02 * 2 + 0.02 * 18, 2)
resnet_probe = sum(p.numel() for p in nn.Linear(512, 10).parameters())
bert_classifier = 2 * (768 + 1)
bert_with_pooler = bert_classifier + 768 * (768 + 1)
lowest_rate = 1e-3 * (1 / 2.6) ** 4
first_loss = round(math.log(10), 2)
judged = {letter: letter in "bcfgjlnp" for letter in reversed("abcdefghijklmnop")}


def count_parameters(model):
    sizes = {p: p.nelement() for _, p in model.named_parameters()}
    return sum(n for p, n in sizes.items() if p.requires_grad), sum(sizes.values())


def unfreeze_next(model, blocks):
    named = list(model.named_parameters(remove_duplicate=False))
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    groups = []
    for block in blocks:
        for pattern in block:
            if not any(fnmatchcase(name, pattern) for name, _ in named):
                raise ValueError(pattern)
        groups.append({id(p) for n, p in named if any(fnmatchcase(n, x) for x in block)})
    for index in range(len(blocks) - 1, -1, -1):
        if groups[index] - trained:
            names = [name for name, p in named if id(p) in trained | groups[index]]
            set_trainable(model, names)
            return index
    return None
