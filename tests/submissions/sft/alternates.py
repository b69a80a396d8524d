# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Right answers to the SFT lesson, written otherwise than the reference. A cell is run after all of
# the reference's cells, and graded on every task: each must earn all points.

# %% alternate="lists_and_loops"
"""Lists of Python first, tensors last; labels by loops; losses by logsumexp."""


def collate(examples, pad_token_id, max_length=None):
    if len(examples) == 0 or (max_length is not None and max_length <= 0):
        raise ValueError("examples and a max_length of at least 1, please")
    kinds = {type(example["label"]) for example in examples}
    if list in kinds and len(kinds) > 1:
        raise ValueError("one kind of label, please")
    width = max(len(example["input_ids"]) for example in examples)
    width = width if max_length is None else min(width, max_length)
    ids, masks, labels = [], [], []
    for example in examples:
        kept = list(example["input_ids"])[:width]
        padding = width - len(kept)
        ids.append(kept + [pad_token_id] * padding)
        masks.append([1] * len(kept) + [0] * padding)
        label = example["label"]
        if isinstance(label, list):
            if len(label) != len(example["input_ids"]):
                raise ValueError("a label for each token, please")
            label = label[:width] + [-100] * padding
        labels.append(label)
    batch = {"input_ids": ids, "attention_mask": masks, "labels": labels}
    return {key: torch.tensor(value, dtype=torch.long) for key, value in batch.items()}


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    lengths = list(prompt_lengths)
    if len(lengths) != len(input_ids) or any(getattr(n, "shape", ()) != () for n in lengths):
        raise ValueError("a length for each row, please")
    if input_ids.shape != attention_mask.shape or any(int(n) < 0 for n in lengths):
        raise ValueError("no negative lengths and a mask that fits, please")
    rows = []
    for row, prompt, mask in zip(input_ids.tolist(), lengths, attention_mask.tolist(), strict=True):
        kept = enumerate(zip(row, mask, strict=True))
        rows.append([token if real and i >= int(prompt) else -100 for i, (token, real) in kept])
    return torch.tensor(rows, dtype=torch.long)


def evaluate(model, loader):
    was = [(module, module.training) for module in model.modules()]
    for module, _ in was:
        module.training = False
    losses, hits = [], []
    try:
        with torch.inference_mode():
            for batch in loader:
                logits, labels = counted(model, batch)
                chosen = logits.gather(1, labels[:, None])[:, 0]
                losses += (logits.logsumexp(dim=1) - chosen).tolist()
                hits += (logits.max(dim=1).indices == labels).tolist()
    finally:
        for module, mode in was:
            module.training = mode
    if not losses:
        raise ValueError("nothing to evaluate on")
    n = len(losses)
    return {"n": n, "loss": math.fsum(losses) / n, "accuracy": sum(hits) / n}


# %% alternate="pad_sequence"
"""torch pads; the mask compares positions with lengths; one-hot losses."""
from torch.nn.utils.rnn import pad_sequence


def collate(examples, pad_token_id, max_length=None):
    if not examples or (max_length or 1) < 1 or max_length == 0:
        raise ValueError
    listed = [isinstance(e["label"], list) for e in examples]
    if len(set(listed)) == 2:
        raise ValueError
    if listed[0] and [len(e["label"]) for e in examples] != [len(e["input_ids"]) for e in examples]:
        raise ValueError
    ids = [torch.tensor(e["input_ids"][:max_length]) for e in examples]
    lengths = torch.tensor([len(row) for row in ids])
    labels = [e["label"][:max_length] if listed[0] else e["label"] for e in examples]
    labels = [torch.tensor(label) for label in labels]
    if listed[0]:
        labels = pad_sequence(labels, batch_first=True, padding_value=-100)
    else:
        labels = torch.stack(labels)
    input_ids = pad_sequence(ids, batch_first=True, padding_value=pad_token_id)
    mask = torch.arange(input_ids.shape[1])[None] < lengths[:, None]
    return dict(input_ids=input_ids, attention_mask=mask.long(), labels=labels)  # noqa: C408


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    prompts = torch.tensor([int(n) for n in prompt_lengths])
    flat = not torch.is_tensor(prompt_lengths) or prompt_lengths.dim() == 1
    if not flat or len(prompts) != input_ids.size(0) or prompts.lt(0).any():
        raise ValueError
    if tuple(attention_mask.shape) != tuple(input_ids.shape):
        raise ValueError
    response = torch.ones_like(input_ids).cumsum(dim=1) > prompts.unsqueeze(-1)
    return torch.where(response & attention_mask.bool(), input_ids, -100)


# %% alternate="sums_divided_afterwards"
"""Gradients of sums are divided at the end; clipping by hand; labels counted on the way."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in model.parameters():
        parameter.grad = None
    total, n = 0.0, 0
    for batch in micro_batches:
        logits, labels = counted(model, batch)
        if len(labels):
            loss = F.nll_loss(logits.log_softmax(dim=-1), labels, reduction="sum")
            loss.backward()
            total, n = total + loss.item(), n + len(labels)
    if n == 0:
        raise ValueError("no label that counts")
    gradients = [p.grad for p in parameters if p.grad is not None]
    for gradient in gradients:
        gradient /= n
    norm = math.sqrt(sum(g.pow(2).sum().item() for g in gradients))
    if norm > max_grad_norm:
        for gradient in gradients:
            gradient *= max_grad_norm / norm
    optimizer.step()
    return total / n


def learning_rate_at(step, total_steps, warmup_steps, peak):
    if min(step, warmup_steps) < 0 or total_steps < 1 or warmup_steps > total_steps:
        raise ValueError
    up = step / max(1, warmup_steps) if warmup_steps else 1.0
    down = (total_steps - step) / max(1, total_steps - warmup_steps)
    return max(0.0, peak * down) if step >= warmup_steps else peak * up


# %% alternate="transformers_schedule"
"""The schedule is transformers', driven by LambdaLR; the loop is written out."""
from transformers import get_linear_schedule_with_warmup


def learning_rate_at(step, total_steps, warmup_steps, peak):
    if step < 0 or warmup_steps not in range(total_steps + 1) or total_steps == 0:
        raise ValueError("steps that cannot be")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup_steps, total_steps)
    return float(peak * schedule.lr_lambdas[0](step))


def fine_tune(
    model, train_loader, eval_loader, *, epochs, lr, warmup_ratio, weight_decay, max_grad_norm, seed
):
    if (
        epochs < 0
        or warmup_ratio < 0
        or warmup_ratio > 1
        or (epochs > 0 and len(train_loader) == 0)
    ):
        raise ValueError("settings that cannot be")
    total = len(train_loader) * epochs
    norms = {
        f"{name}.{part}".lstrip(".")
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part, _ in module.named_parameters(recurse=False)
    }
    groups = {0.0: [], weight_decay: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spared = name in norms or name.endswith("bias")
            groups[0.0 if spared else weight_decay].append(parameter)
    groups = [{"params": p, "weight_decay": w} for w, p in groups.items() if p]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    warmup = -int(-warmup_ratio * total // 1)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, max(1, total))
    history = {"train_loss": [], "eval_loss": [], "eval_accuracy": [], "lr": []}
    modes = [module.training for module in model.modules()]
    kept = torch.get_rng_state()
    torch.manual_seed(seed)
    for _ in range(epochs):
        model.train()
        losses = []
        for batch in train_loader:
            logits, labels = counted(model, batch)
            each = F.cross_entropy(logits, labels, reduction="none")
            optimizer.zero_grad(set_to_none=True)
            each.mean().backward()
            nn.utils.clip_grad_norm_(
                [p for p in model.parameters() if p.grad is not None], max_grad_norm
            )
            history_rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            schedule.step()
            losses.append(each.detach())
        result = evaluate(model, eval_loader)
        history["train_loss"].append(torch.cat(losses).mean().item())
        history["eval_loss"].append(result["loss"])
        history["eval_accuracy"].append(result["accuracy"])
        history["lr"].append(history_rate)
    torch.set_rng_state(kept)
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    return history


# %% alternate="own_adamw"
"""AdamW by hand, without torch.optim."""


def fine_tune(
    model, train_loader, eval_loader, *, epochs, lr, warmup_ratio, weight_decay, max_grad_norm, seed
):
    if epochs < 0 or not 0 <= warmup_ratio <= 1:
        raise ValueError
    if epochs and len(train_loader) < 1:
        raise ValueError
    spared = {id(p) for m in model.modules() if type(m) is nn.LayerNorm for p in m.parameters()}
    spared |= {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    trained = [p for p in model.parameters() if p.requires_grad]
    first, second = [torch.zeros_like(p) for p in trained], [torch.zeros_like(p) for p in trained]
    steps = epochs * len(train_loader)
    warmup, step = math.ceil(warmup_ratio * steps), 0
    history = {key: [] for key in ("train_loss", "eval_loss", "eval_accuracy")}
    modes = {name: module.training for name, module in model.named_modules()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(epochs):
            model.train()
            weighted, n = 0.0, 0
            for batch in train_loader:
                rate = learning_rate_at(step, steps, warmup, lr)
                step += 1
                logits, labels = counted(model, batch)
                loss = F.cross_entropy(logits, labels)
                gradients = torch.autograd.grad(loss, trained, allow_unused=True)
                gradients = [
                    torch.zeros_like(p) if g is None else g
                    for p, g in zip(trained, gradients, strict=True)
                ]
                norm = torch.cat([g.flatten() for g in gradients]).norm().item()
                shrink = min(1.0, max_grad_norm / max(norm, 1e-12))
                with torch.no_grad():
                    for p, g, m, v in zip(trained, gradients, first, second, strict=True):
                        m.mul_(0.9).add_(g * shrink, alpha=0.1)
                        v.mul_(0.999).add_((g * shrink) ** 2, alpha=0.001)
                        if id(p) not in spared:
                            p.mul_(1 - rate * weight_decay)
                        root = (v / (1 - 0.999**step)).sqrt() + 1e-8
                        p.sub_(rate * (m / (1 - 0.9**step)) / root)
                weighted += loss.item() * labels.numel()
                n += labels.numel()
            scores = evaluate(model, eval_loader)
            for key, value in zip(history, (weighted / n, *scores.values()), strict=False):
                history[key].append(value)
    for name, module in model.named_modules():
        module.training = modes[name]
    return history


# %% alternate="sorted_with_noise"
"""The lengths are blurred before sorting; the short batch is put last and then shuffled in."""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size <= 0:
        raise ValueError("batch_size")
    lengths = np.asarray(lengths, dtype=float)
    blurred = lengths * rng.uniform(0.9, 1.1, len(lengths))
    order = np.argsort(blurred, kind="stable")
    batches = [order[k : k + batch_size].tolist() for k in range(0, len(order), batch_size)]
    rng.shuffle(batches)
    return batches


# %% alternate="random_offset"
"""Sorted by length give or take some, cut from a random offset on."""


def length_bucketed_batches(lengths, batch_size, rng):
    if not batch_size >= 1:
        raise ValueError
    n = len(lengths)
    blur = 1 + 0.15 * rng.random(n)
    order = sorted(range(n), key=lambda i: lengths[i] * blur[i])
    short = n % batch_size
    # the short batch comes off at a random place, at a multiple of the size
    at = int(rng.integers(n // batch_size + 1)) * batch_size
    batches = [order[at : at + short]] if short else []
    rest = order[:at] + order[at + short :]
    batches += [rest[k : k + batch_size] for k in range(0, len(rest), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches)).tolist()]


# %% alternate="packed_by_block_diag"
"""Rows are packed by their free space; masks come from torch.block_diag."""


def pack(sequences, max_length, pad_token_id):
    lengths = [len(sequence) for sequence in sequences]
    if not lengths or min(lengths) == 0 or max(lengths) > max_length:
        raise ValueError("sequences that cannot be packed")
    free, rows = [], []
    for sequence, n in zip(sequences, lengths, strict=True):
        fitting = [r for r, left in enumerate(free) if left >= n]
        if fitting:
            r = fitting[0]
        else:
            r = len(rows)
            free.append(max_length)
            rows.append([])
        free[r] -= n
        rows[r].append(list(sequence))
    ids, places, masks, labels = [], [], [], []
    for row, left in zip(rows, free, strict=True):
        ids.append([t for s in row for t in s] + [pad_token_id] * left)
        places.append([i for s in row for i in range(len(s))] + [0] * left)
        labels.append([t for s in row for t in [-100, *s[1:]]] + [-100] * left)
        blocks = [torch.ones(len(s), len(s)).tril() for s in row] + [torch.ones(1, 1)] * left
        masks.append(torch.block_diag(*blocks).bool())
    return {
        "labels": torch.tensor(labels),
        "attention_mask": torch.stack(masks),
        "position_ids": torch.tensor(places),
        "input_ids": torch.tensor(ids),
    }


# %% alternate="mended_in_place"
"""The bug hunt, mended line by line instead of by the earlier tasks; answers as other literals."""


def build_batch(pairs, eos_token_id):
    rows = [list(prompt) + list(response) + [eos_token_id] for prompt, response in pairs]
    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), eos_token_id)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, -100)
    for i, (row, (prompt, _)) in enumerate(zip(rows, pairs, strict=True)):
        input_ids[i, : len(row)] = torch.tensor(row)
        attention_mask[i, : len(row)] = 1
        labels[i, len(prompt) : len(row)] = input_ids[i, len(prompt) : len(row)]
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def response_loss(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    targets = F.pad(batch["labels"], (0, 1), value=-100)[:, 1:]
    # in float32, as transformers' own loss
    return F.cross_entropy(logits.float().transpose(1, 2), targets, ignore_index=-100)


def response_accuracy(model, loader):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    right = counted_labels = 0
    with torch.no_grad():
        for batch in loader:
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            predicted, labels = logits[:, :-1].argmax(dim=-1), batch["labels"][:, 1:]
            right += int(((predicted == labels) & (labels != -100)).sum())
            counted_labels += int((labels != -100).sum())
    for module, mode in modes:
        module.training = mode
    return right / counted_labels


warmup_steps, effective_batch, uniform_loss = 35.0, 128.0, 10.82
judged = {letter: letter in "bdfhjlno" for letter in "abcdefghijklmnop"}


# %% alternate="one_matrix_of_rows"
"""Helpers of another shape: counted() is gone, losses come from flattened logits."""
del counted, decay_groups


def loss_of(model, batch, reduction="sum"):
    output = model(attention_mask=batch["attention_mask"], input_ids=batch["input_ids"])
    logits = output if torch.is_tensor(output) else output.logits
    labels = batch["labels"]
    if labels.ndim == 2:
        labels = torch.cat([labels[:, 1:], torch.full_like(labels[:, :1], -100)], dim=1)
    flat, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    return F.cross_entropy(flat, wanted, reduction=reduction), flat, wanted


def evaluate(model, loader):
    sums = torch.zeros(3, dtype=torch.float64)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        for batch in loader:
            loss, flat, wanted = loss_of(model, batch)
            hits = (flat.argmax(dim=1) == wanted) & (wanted != -100)
            sums += torch.stack([loss.double(), hits.sum().double(), (wanted >= 0).sum().double()])
    for module, mode in modes.items():
        module.training = mode
    loss, hits, n = sums.tolist()
    if n == 0:
        raise ValueError("no label")
    return {"loss": loss / n, "accuracy": hits / n, "n": int(n)}


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    batches = tuple(micro_batches)
    n = sum(
        int((b["labels"][:, 1:] if b["labels"].ndim == 2 else b["labels"]).ge(0).sum())
        for b in batches
    )
    if n == 0:
        raise ValueError("no label")
    optimizer.zero_grad()
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss, _, _ = loss_of(model, batch)
        (loss / n).backward()
        total += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=max_grad_norm)
    optimizer.step()
    return total / n


def fine_tune(model, train_loader, eval_loader, *, epochs, lr, warmup_ratio, weight_decay, **rest):
    if epochs < 0 or not 0 <= warmup_ratio <= 1 or (epochs and not len(train_loader)):
        raise ValueError("settings")
    norms = [p for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    spared = {*norms, *biases}
    groups = [
        {"params": [p], "weight_decay": 0.0 if p in spared else weight_decay}
        for p in model.parameters()
        if p.requires_grad
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr) if groups else None
    history, modes = {"train_loss": [], "eval_loss": [], "eval_accuracy": []}, {}
    for module in model.modules():
        modes[module] = module.training
    steps, step = epochs * len(train_loader), 0
    state = torch.random.get_rng_state()
    torch.random.manual_seed(rest["seed"])
    try:
        for _ in range(epochs):
            model.train()
            total, n = 0.0, 0
            for batch in train_loader:
                rate = learning_rate_at(step, steps, math.ceil(steps * warmup_ratio), lr)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                labels = batch["labels"]
                count = int((labels[:, 1:] if labels.ndim == 2 else labels).ge(0).sum())
                total += count * accumulated_step(
                    model, iter([batch]), optimizer, rest["max_grad_norm"]
                )
                n, step = n + count, step + 1
            scores = evaluate(model, eval_loader)
            history["train_loss"] += [total / n]
            history["eval_loss"] += [scores["loss"]]
            history["eval_accuracy"] += [scores["accuracy"]]
    finally:
        torch.random.set_rng_state(state)
        for module in modes:
            module.training = modes[module]
    return history


def response_accuracy(model, loader):
    return evaluate(model, loader)["accuracy"]
