# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Right answers to the troubleshooting lesson, written otherwise than the reference. A cell is run
# after all of the reference's cells, and graded on every task: each must earn all points.

# %% alternate="gradients_by_hand"
"""No optimizer: autograd.grad, and weights moved by hand; losses by log_softmax and gather."""


def _loss(logits, labels):
    return -logits.log_softmax(dim=-1).gather(1, labels[:, None]).mean()


def _move(model, loss, rate):
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.sub_(slope, alpha=rate)


def overfit_one_batch(model, batch, steps, lr):
    if not steps >= 0:
        raise ValueError("negative")
    clone = copy.deepcopy(model)
    clone.train(False)
    losses = []
    while len(losses) < steps:
        loss = _loss(clone(batch[0]), batch[1])
        losses += [float(loss)]
        _move(clone, loss, lr)
    return losses


def lr_range_test(model, loader, low, high, steps):
    if low <= 0 or high <= low or steps < 2:
        raise ValueError("not a range")
    clone = copy.deepcopy(model)
    clone.train()
    result, source = {"lr": [], "loss": []}, iter(loader)
    exponents = torch.linspace(math.log(low), math.log(high), steps, dtype=torch.float64)
    for rate in exponents.exp().tolist():
        batch = next(source, None)
        if batch is None:
            source = iter(loader)
            batch = next(source, None)
            if batch is None:
                raise ValueError("empty")
        loss = _loss(clone(batch[0]), batch[1])
        result["lr"].append(rate)
        result["loss"].append(float(loss))
        if not float(loss) <= 4 * min(result["loss"]) or math.isinf(float(loss)):
            break
        _move(clone, loss, rate)
    return result


def class_loss(model, x, labels):
    return _loss(model(x), labels)


def joint_step(body, head, optimizer, x, labels):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    loss = _loss(nn.Sequential(body, head)(x), labels)
    loss.backward()
    optimizer.step()
    return float(loss)


def train_step(model, optimizer, x, labels):
    return joint_step(nn.Identity(), model, optimizer, x, labels)


# %% alternate="on_the_model_itself"
"""No deep copies of models: what was there is noted, used and put back."""


def _note(model):
    kept = copy.deepcopy(model.state_dict())
    slopes = {name: p.grad for name, p in model.named_parameters()}
    modes = [(module, module.training) for module in model.modules()]
    for parameter in model.parameters():
        parameter.grad = None

    def put_back():
        model.load_state_dict(kept)
        for name, parameter in model.named_parameters():
            parameter.grad = slopes[name]
        for module, mode in modes:
            module.training = mode

    return put_back


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError("negative")
    put_back = _note(model)
    try:
        model.eval()
        optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr)
        return [train_step(model, optimizer, *batch) for _ in range(steps)]
    finally:
        put_back()


def lr_range_test(model, loader, low, high, steps):
    if not (0 < low < high and steps > 1):
        raise ValueError("not a range")
    put_back = _note(model)
    rates, losses = [], []
    try:
        model.train()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=low)
        ratio = (high / low) ** (1 / (steps - 1))
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: ratio**i)
        while len(losses) < steps:
            seen = len(losses)
            for x, labels in loader:
                loss = nn.functional.cross_entropy(model(x), labels)
                rates.append(optimizer.param_groups[0]["lr"])
                losses.append(loss.item())
                over = math.isnan(losses[-1]) or math.isinf(losses[-1])
                if over or losses[-1] > 4 * min(losses):
                    return {"lr": rates, "loss": losses}
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                if len(losses) == steps:
                    break
            if len(losses) == seen:
                raise ValueError("empty")
        return {"lr": rates, "loss": losses}
    finally:
        put_back()


def first_nan_module(model, batch):
    if not torch.isfinite(batch[0]).all():
        raise ValueError("bad batch")
    found, handles, put_back = [], [], _note(model)

    def tensors(output):
        if isinstance(output, torch.Tensor):
            yield output
        elif isinstance(output, dict):
            for part in output.values():
                yield from tensors(part)
        elif isinstance(output, (list, tuple)):
            for part in output:
                yield from tensors(part)

    for name, module in model.named_modules():

        def hook(module, inputs, output, name=name):
            for tensor in tensors(output):
                if tensor.is_floating_point() and not math.isfinite(tensor.abs().max().item()):
                    found.append(name)
                    return

        handles.append(module.register_forward_hook(hook))
    try:
        with torch.inference_mode():
            model(batch[0])
    finally:
        for handle in handles:
            handle.remove()
        put_back()
    return next(iter(found), None)


# %% alternate="functional_calls"
"""Weights live in dicts, and the model is called with them by torch.func."""
from torch.func import functional_call


def overfit_one_batch(model, batch, steps, lr):
    if steps < 0:
        raise ValueError("negative")
    x, labels = batch
    frozen = copy.deepcopy(model).eval()
    state = {name: p.detach().clone() for name, p in frozen.named_parameters()}
    learns = [name for name, p in frozen.named_parameters() if p.requires_grad]
    losses = []
    for _ in range(steps):
        for name in learns:
            state[name].requires_grad_(True)
        loss = F.cross_entropy(functional_call(frozen, state, (x,)), labels)
        losses.append(loss.item())
        slopes = torch.autograd.grad(loss, [state[name] for name in learns])
        for name, slope in zip(learns, slopes, strict=True):
            state[name] = state[name].detach() - lr * slope
    return losses


def validate(model, loader):
    answers = copy.deepcopy(model).eval()
    with torch.inference_mode():
        rows = [answers(x).argmax(dim=1).eq(labels) for x, labels in loader]
    return torch.cat(rows).double().mean().item()


def probe_step(body, head, optimizer, x, labels):
    features = copy.deepcopy(body).eval()(x).detach()
    return train_step(head, optimizer, features, labels)


# %% alternate="rules_in_a_table"
"""diagnose as a table of functions, which are asked one by one; numpy does the arithmetic."""
import numpy as np

_RULES = {
    "diverging": (("train_loss",), lambda c, t: t[-1] / t[0] > 1.2),
    "flat_at_chance": (("train_loss",), lambda c, t: abs(t / np.log(c) - 1).max() < 0.05),
    "probabilities_as_logits": (
        ("train_loss", "train_accuracy"),
        lambda c, t, a: a[-1] > 0.9 and np.exp(t[-1]) > 1 + (c - 1) / np.e,
    ),
    "overfitting": (
        ("train_loss", "eval_loss"),
        lambda c, t, e: e[-1] > 1.1 * e.min() and t[-1] < t[e.argmin()],
    ),
    "generalisation_gap": (
        ("train_accuracy", "eval_accuracy"),
        lambda c, t, e: t[-1] - e[-1] > 0.1,
    ),
    "eval_mode_broken": (
        ("train_accuracy", "eval_accuracy"),
        lambda c, t, e: t[-1] > 0.9 and e[-1] * c < 1.5,
    ),
    "suspiciously_good": (("eval_accuracy",), lambda c, e: e[0] > 0.99),
    "forgetting": (("old_accuracy",), lambda c, o: o.max() - o[-1] > 0.05),
}


def diagnose(history, num_classes):
    known = {key for keys, _ in _RULES.values() for key in keys}
    curves = {key: np.array(history[key], dtype=float) for key in known & history.keys()}
    if num_classes < 2 or len({len(curve) for curve in curves.values()}) > 1:
        raise ValueError("cannot be read")
    bad = {key for key, curve in curves.items() if not np.isfinite(curve).all()}
    findings = {"not_finite"} if bad & {"train_loss", "eval_loss"} else set()
    usable = {key for key, curve in curves.items() if len(curve) and key not in bad}
    for name, (keys, rule) in _RULES.items():
        if usable.issuperset(keys) and rule(num_classes, *(curves[key] for key in keys)):
            findings.add(name)
    return findings


# %% alternate="saved_as_bytes"
"""Early stopping that keeps the state as a file in memory, and negates values for "max"."""
import io


class EarlyStopping:
    def __init__(self, patience, min_delta=0.0, mode="min"):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience <= 0:
            raise ValueError("patience")
        if math.isnan(min_delta) or min_delta < 0:
            raise ValueError("min_delta")
        self._sign = {"min": 1.0, "max": -1.0}.get(mode)
        if self._sign is None:
            raise ValueError("mode")
        self._patience, self._delta = patience, min_delta
        self._best, self._since, self._file = math.inf, 0, None

    def step(self, value, model):
        value = self._sign * value
        first = self._file is None and value == value
        if first or self._best - value > self._delta:
            self._best, self._since, self._file = value, 0, io.BytesIO()
            torch.save(model.state_dict(), self._file)
        else:
            self._since += 1
        return not self._since < self._patience

    def restore(self, model):
        if self._file is None:
            raise RuntimeError("nothing yet")
        self._file.seek(0)
        model.load_state_dict(torch.load(self._file, weights_only=True))


# %% alternate="segments"
"""Segments of about √n blocks are checkpointed; the state is kept tensor by tensor."""


def checkpointed(blocks, x):
    blocks = list(blocks)
    size = max(1, math.isqrt(len(blocks)))
    for first in range(0, len(blocks), size):
        segment = nn.Sequential(*blocks[first : first + size])
        x = checkpoint(segment, x, use_reentrant=False, preserve_rng_state=True)
    return x


class EarlyStopping(EarlyStopping):
    def restore(self, model):
        if self.state is None:
            raise RuntimeError("nothing yet")
        with torch.no_grad():
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                tensor.copy_(self.state[name])


def next_token_loss(model, input_ids, labels):
    logits, targets = model(input_ids)[:, :-1, :], labels[:, 1:]
    keep = targets != -100
    return F.nll_loss(logits[keep].log_softmax(dim=-1), targets[keep])


# %% alternate="recomputed_by_hand"
"""Checkpointing as an autograd function of our own; a penalty over one long vector."""


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, block, x, *parameters):
        ctx.block, ctx.state = block, torch.get_rng_state()
        ctx.save_for_backward(x)
        with torch.no_grad():
            return block(x)

    @staticmethod
    def backward(ctx, slope):
        [x] = ctx.saved_tensors
        x = x.detach().requires_grad_()
        parameters = list(ctx.block.parameters())
        with torch.random.fork_rng(), torch.enable_grad():
            torch.set_rng_state(ctx.state)
            y = ctx.block(x)
        return None, *torch.autograd.grad(y, [x, *parameters], slope)


def checkpointed(blocks, x):
    for block in blocks:
        x = _Again.apply(block, x, *block.parameters())
    return x


def l2_sp_penalty(model, start, strength):
    if strength < 0 or not start.keys() <= {name for name, _ in model.named_parameters()}:
        raise ValueError("strength or names")
    apart = []
    for name, parameter in model.named_parameters():
        if name in start:
            if start[name].size() != parameter.size():
                raise ValueError("shape")
            apart.append((parameter - start[name].data).flatten())
    if not apart:
        return torch.tensor(0.0)
    apart = torch.cat(apart)
    return 0.5 * strength * torch.dot(apart, apart)


# %% alternate="clipped_by_hand"
"""The norm and the clipping are worked out by hand; plain loops where there can be some."""


def amp_step(model, optimizer, scaler, x, labels, max_norm, dtype=torch.bfloat16):
    for parameter in model.parameters():
        parameter.grad = None
    with torch.amp.autocast(device_type=x.device.type, dtype=dtype):
        logits = model(x)
        loss = F.cross_entropy(logits.float(), labels)
    scaled = scaler.scale(loss)
    scaled.backward()
    scaler.unscale_(optimizer)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients))
    if norm > max_norm:
        for gradient in gradients:
            gradient.mul_(max_norm / norm)
    scaler.step(optimizer)
    scaler.update()
    return float(loss), norm


def forgetting(before, after):
    lost = {}
    for task in before:
        if task not in after:
            raise ValueError(f"{task} is missing")
        lost[task] = before[task] - after[task]
    return lost


def validate(model, loader):
    was = [module.training for module in model.modules()]
    model.train(False)
    answers = []
    try:
        with torch.no_grad():
            for x, labels in loader:
                answers += (model(x).max(dim=1).indices == labels).tolist()
    finally:
        for module, mode in zip(model.modules(), was, strict=True):
            module.training = mode
    return sum(answers) / len(answers)


def next_token_loss(model, input_ids, labels):
    scores = model(input_ids).log_softmax(dim=-1)
    total, count = 0.0, 0
    for b in range(labels.shape[0]):
        for t in range(1, labels.shape[1]):
            if labels[b, t] != -100:
                total, count = total - scores[b, t - 1, labels[b, t]], count + 1
    return total / count


# %% alternate="numbers_by_formula"
"""The numbers are computed, to full precision; steps call each other."""
chance_loss = -math.log(1 / 7)
label_entropy = -sum(p * math.log(p) for p in (0.8, 0.2))
double_softmax_floor = math.log(math.e + 19) - 1
middle_rate = 10 ** ((math.log10(1e-6) + math.log10(1)) / 2)
loss_scale = 2 ** math.ceil(math.log2(2**-14 / 2e-8))
adam_8bit_gigabytes = 7e9 * 10 / 1e9
segment_peak = 144 // 12 + 12 * 5


def joint_step(body, head, optimizer, x, labels):
    return train_step(nn.Sequential(body, head), optimizer, x, labels)


def probe_step(body, head, optimizer, x, labels):
    modes = [(module, module.training) for module in body.modules()]
    needed = [(parameter, parameter.requires_grad) for parameter in body.parameters()]
    body.eval().requires_grad_(False)
    loss = F.cross_entropy(head(body(x)), labels)
    for module, mode in modes:
        module.training = mode
    for parameter, flag in needed:
        parameter.requires_grad_(flag)
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    optimizer.step()
    return loss.item()
