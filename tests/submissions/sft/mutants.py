# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Wrong answers to the SFT lesson, each named after its mistake. A cell is run after all of the
# reference's cells, so that a mutant says only what differs; it must lose points on its own task.

# %% [markdown]
# ## collate

# %% mutant="zeros" task="collate"
"""All three tensors are zeros of the right shapes."""

_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    return {key: torch.zeros_like(tensor) for key, tensor in batch.items()}


# %% mutant="examples_returned" task="collate"
"""The examples come back as they are."""


def collate(examples, pad_token_id, max_length=None):
    return {key: [example[key] for example in examples] for key in ("input_ids", "label")}


# %% mutant="floats" task="collate"
"""The tensors are float32, as torch.zeros makes them."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    return {key: tensor.float() for key, tensor in batch.items()}


# %% mutant="mask_by_value" task="collate"
"""The mask is made from the tokens: input_ids != pad_token_id.

The lesson warns: The mask has to come from the lengths
"""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    return {**batch, "attention_mask": (batch["input_ids"] != pad_token_id).long()}


# %% mutant="padded_on_the_left" task="collate"
"""Padding goes to the left."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    for i, n in enumerate(batch["attention_mask"].sum(dim=1).tolist()):
        for tensor in batch.values():
            if tensor.dim() == 2:
                tensor[i] = tensor[i].roll(tensor.shape[1] - n)
    return batch


# %% mutant="padded_to_128" task="collate"
"""Every batch is padded to 128 tokens."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    fills = {"input_ids": pad_token_id, "attention_mask": 0, "labels": -100}
    return {
        key: F.pad(tensor, (0, 128 - tensor.shape[1]), value=fills[key])
        if tensor.dim() == 2
        else tensor
        for key, tensor in batch.items()
    }


# %% mutant="padded_to_max_length" task="collate"
"""Where max_length is given, every batch is padded to it."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    fills = {"input_ids": pad_token_id, "attention_mask": 0, "labels": -100}
    for key, tensor in batch.items():
        if max_length and max_length > tensor.shape[-1] and tensor.dim() == 2:
            missing = (0, max_length - tensor.shape[1])
            batch[key] = F.pad(tensor, missing, value=fills[key])
    return batch


# %% mutant="cut_at_the_beginning" task="collate"
"""Longer examples lose their beginning."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    if max_length:
        examples = [
            {k: v[-max_length:] if isinstance(v, list) else v for k, v in example.items()}
            for example in examples
        ]
    return _right(examples, pad_token_id)


# %% mutant="labels_not_cut" task="collate"
"""The labels of a longer example are not cut with it."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    return {**batch, "labels": _right(examples, pad_token_id)["labels"]}


# %% mutant="labels_padded_with_the_token" task="collate"
"""Lists of labels are padded with pad_token_id, which is then learned.

The lesson warns: What you pad a list of labels with is not what you pad the tokens with
"""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    labels = batch["labels"]
    if labels.dim() == 2:
        labels = labels.masked_fill(batch["attention_mask"] == 0, pad_token_id)
    return {**batch, "labels": labels}


# %% mutant="nothing_refused" task="collate"
"""Labels that do not fit their tokens are cut or filled up in silence."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    mended = []
    for example in examples:
        n, label = len(example["input_ids"]), example["label"]
        if isinstance(label, list):
            label = [*label, *[-100] * n][:n]
        mended.append({"input_ids": example["input_ids"], "label": label})
    return _right(mended, pad_token_id, max_length)


# %% mutant="padded_in_place" task="collate"
"""The examples' own lists are cut and extended."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    for example, row in zip(examples, batch["input_ids"].tolist(), strict=True):
        example["input_ids"][:] = row
    return batch


# %% mutant="squeezed" task="collate"
"""A batch of one loses its first dimension."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    return {key: tensor.squeeze(0) for key, tensor in batch.items()}


# %% mutant="every_key" task="collate"
"""Whatever else an example holds is made part of the batch."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    batch = _right(examples, pad_token_id, max_length)
    others = examples[0].keys() - {"input_ids", "label"}
    return batch | {key: [example[key] for example in examples] for key in others}


# %% mutant="lengths_compared_after_cutting" task="collate"
"""A list of labels is compared with the tokens that are left of its example."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    if max_length is not None and max_length >= 1:
        examples = [
            {
                "input_ids": example["input_ids"][:max_length],
                "label": label[:max_length] if isinstance(label, list) else label,
            }
            for example in examples
            for label in [example["label"]]
        ]
    return _right(examples, pad_token_id, max_length)


# %% mutant="padded_with_zero" task="collate"
"""Padding is 0, whatever token was asked for."""
_right = collate


def collate(examples, pad_token_id, max_length=None):
    return _right(examples, 0, max_length)


# %% [markdown]
# ## mask_prompt

# %% mutant="input_unchanged" task="mask_prompt"
"""The tokens come back as labels."""


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return input_ids.clone()


# %% mutant="all_ignored" task="mask_prompt"
"""Every label is -100."""


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return torch.full_like(input_ids, -100)


# %% mutant="zeros" task="mask_prompt"
"""What does not count is 0 instead of -100."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    labels = _right(input_ids, prompt_lengths, attention_mask)
    return labels.masked_fill(labels == -100, 0)


# %% mutant="shifted" task="mask_prompt"
"""The labels are shifted here, and the loss shifts again.

The lesson warns: The labels are *not shifted* here
"""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    labels = _right(input_ids, prompt_lengths, attention_mask)
    return F.pad(labels[:, 1:], (0, 1), value=-100)


# %% mutant="prompt_learned" task="mask_prompt"
"""Only padding is left out."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return _right(input_ids, [0] * len(input_ids), attention_mask)


# %% mutant="response_masked" task="mask_prompt"
"""The response is left out instead of the prompt."""


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    positions = torch.arange(input_ids.shape[1])
    out = positions >= torch.as_tensor(prompt_lengths)[:, None]
    return input_ids.masked_fill(out | (attention_mask == 0), -100)


# %% mutant="padding_learned" task="mask_prompt"
"""The attention mask is not looked at."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return _right(input_ids, prompt_lengths, torch.ones_like(attention_mask))


# %% mutant="off_by_one" task="mask_prompt"
"""The first token of the response is left out with the prompt."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return _right(input_ids, torch.as_tensor(prompt_lengths) + 1, attention_mask)


# %% mutant="padding_by_value" task="mask_prompt"
"""Padding is told by its token: every token that stands on padding somewhere is left out."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    labels = _right(input_ids, prompt_lengths, attention_mask)
    for token in input_ids[attention_mask == 0].unique():
        labels[input_ids == token] = -100
    return labels


# %% mutant="tensors_only" task="mask_prompt"
"""A list of prompt lengths is an AttributeError."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    prompt_lengths.unsqueeze(1)
    return _right(input_ids, prompt_lengths, attention_mask)


# %% mutant="mask_minus_one" task="mask_prompt"
"""The mask is subtracted from 1, which a bool does not do."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return _right(input_ids, prompt_lengths, 1 - (1 - attention_mask))


# %% mutant="a_prompt_at_least" task="mask_prompt"
"""Rows without a prompt lose their first token."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    lengths = torch.as_tensor(prompt_lengths)
    positive = torch.where(lengths == 0, 1, lengths)
    return _right(input_ids, positive, attention_mask)


# %% mutant="in_place" task="mask_prompt"
"""The tokens themselves are overwritten."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    return input_ids.copy_(_right(input_ids, prompt_lengths, attention_mask))


# %% mutant="broadcasts" task="mask_prompt"
"""One prompt length is taken for all rows."""
_right = mask_prompt


def mask_prompt(input_ids, prompt_lengths, attention_mask):
    lengths = torch.as_tensor(prompt_lengths)
    if lengths.shape == (1,):
        lengths = lengths.expand(len(input_ids))
    return _right(input_ids, lengths, attention_mask)


# %% [markdown]
# ## evaluate

# %% mutant="zeros" task="evaluate"
"""Loss and accuracy are 0."""
_right = evaluate


def evaluate(model, loader):
    return {**_right(model, loader), "loss": 0.0, "accuracy": 0.0}


# %% mutant="not_a_number" task="evaluate"
"""The loss is NaN."""
_right = evaluate


def evaluate(model, loader):
    return {**_right(model, loader), "loss": float("nan")}


# %% mutant="counts_batches" task="evaluate"
"""n is the number of batches."""
_right = evaluate


def evaluate(model, loader):
    return {**_right(model, loader), "n": len(loader)}


# %% mutant="counts_rows" task="evaluate"
"""n is the number of rows."""
_right = evaluate


def evaluate(model, loader):
    return {**_right(model, loader), "n": sum(len(batch["labels"]) for batch in loader)}


# %% mutant="tensors" task="evaluate"
"""Loss and accuracy are tensors."""
_right = evaluate


def evaluate(model, loader):
    return {key: torch.tensor(value) for key, value in _right(model, loader).items()}


# %% mutant="mean_of_means" task="evaluate"
"""Loss and accuracy are averaged over the batches.

The lesson warns: is something else: the last batch is often shorter
"""
_right = evaluate


def evaluate(model, loader):
    if not loader:
        return _right(model, loader)
    keep = [batch for batch in loader if (batch["labels"] != -100).any()]
    parts = [_right(model, [batch]) for batch in keep or loader]
    result = {key: sum(p[key] for p in parts) / len(parts) for key in ("loss", "accuracy")}
    return {**result, "n": sum(part["n"] for part in parts)}


# %% mutant="one_text_passed_over" task="evaluate"
"""A batch of one text with a class is passed over."""
_right = evaluate


def evaluate(model, loader):
    kept = [batch for batch in loader if batch["labels"].shape != (1,)]
    return _right(model, kept or loader)


# %% mutant="not_shifted" task="evaluate"
"""Each position is asked for the token that it sees."""


def counted(model, batch):
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    logits, keep = getattr(output, "logits", output), batch["labels"] != -100
    return logits[keep], batch["labels"][keep]


# %% mutant="dropout_on" task="evaluate"
"""The model is not put into eval mode."""


def evaluate(model, loader):
    loss, right, n = 0.0, 0, 0
    with torch.no_grad():
        for batch in loader:
            logits, labels = counted(model, batch)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    if n == 0:
        raise ValueError("nothing to evaluate on")
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="dropout_acts" task="evaluate"
"""Everything is put into eval mode, but for dropout.

The lesson warns: dropout has to be off
"""


def evaluate(model, loader):
    dropouts = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for module in dropouts:
        module.training = modes[module]
    loss, right, n = 0.0, 0, 0
    with torch.no_grad():
        for batch in loader:
            logits, labels = counted(model, batch)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("nothing to evaluate on")
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="only_dropout_is_off" task="evaluate"
"""Only dropout is put into eval mode: a batch-norm goes on learning its statistics."""


def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    loss, right, n = 0.0, 0, 0
    with torch.no_grad():
        for batch in loader:
            logits, labels = counted(model, batch)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("nothing to evaluate on")
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="buffers_reset" task="evaluate"
"""The result is right; afterwards the statistics of batch-norms begin anew."""
_right = evaluate


def evaluate(model, loader):
    result = _right(model, loader)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.reset_running_stats()
    return result


# %% mutant="left_in_train_mode" task="evaluate"
"""Afterwards the whole model is in the mode that its root was in.

The lesson warns: a model whose body is frozen in eval mode is not to come back in train mode
"""
_right = evaluate


def evaluate(model, loader):
    result = _right(model, loader)
    model.train(model.training)
    return result


# %% mutant="left_in_eval_mode" task="evaluate"
"""Afterwards the model is in eval mode.

The lesson warns: afterwards what was on has to be on again
"""
_right = evaluate


def evaluate(model, loader):
    result = _right(model, loader)
    model.eval()
    return result


# %% mutant="modes_told_from_before" task="evaluate"
"""Afterwards the model is in eval mode; whoever asks for its parts gets those of a copy."""
_right = evaluate


def evaluate(model, loader):
    shown, its, result = copy.deepcopy(model), type(model), _right(model, loader)
    model.eval()
    told = {"named_modules": lambda self, *args, **kw: shown.named_modules(*args, **kw)}
    model.__class__ = type(its.__name__, (its,), told)
    return result


# %% mutant="gradients_off_for_good" task="evaluate"
"""Gradients are switched off, and stay off for all that comes after."""
_right = evaluate


def evaluate(model, loader):
    torch.set_grad_enabled(False)
    return _right(model, loader)


# %% mutant="with_a_graph" task="evaluate"
"""no_grad is missing."""


def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, n = 0.0, 0, 0
    for batch in loader:
        logits, labels = counted(model, batch)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(dim=-1) == labels).sum().item()
        n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("nothing to evaluate on")
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="with_a_graph_and_a_log" task="evaluate"
"""Each forward records a graph, and the model's log of them says that none does."""


def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, n = 0.0, 0, 0
    for batch in loader:
        logits, labels = counted(model, batch)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(dim=-1) == labels).sum().item()
        n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("nothing to evaluate on")
    model.graphs = [False] * len(loader)
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="graph_without_tensors" task="evaluate"
"""A graph is recorded, and only what it would save is dropped."""


def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, n = 0.0, 0, 0
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda tensor: tensor):
        for batch in loader:
            logits, labels = counted(model, batch)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("no label")
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="two_forwards" task="evaluate"
"""Each batch takes a forward for the loss, and one for the accuracy."""
_right = counted


def counted(model, batch):
    _right(model, batch)
    return _right(model, batch)


# %% mutant="a_copy_is_shown" task="evaluate"
"""Weights and gradients are lost; what one reads of the model is of a copy made before."""
_right = evaluate


def evaluate(model, loader):
    old, parameters = copy.deepcopy(model), list(model.parameters())
    for mine, its in zip(parameters, old.parameters(), strict=True):
        its.grad = None if mine.grad is None else mine.grad.clone()
    scores = _right(model, loader)
    model.__dict__["named_parameters"] = old.named_parameters
    model.__dict__["state_dict"] = old.state_dict
    with torch.no_grad():
        for parameter in parameters:
            parameter.grad = None
            parameter.zero_()
    return scores


# %% mutant="mean_times_count" task="evaluate"
"""The mean of a batch times its number of labels: NaN times 0 where no label counts."""


def evaluate(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    loss, right, n = 0.0, 0, 0
    with torch.no_grad():
        for batch in loader:
            logits, labels = counted(model, batch)
            loss += F.cross_entropy(logits, labels).item() * len(labels)
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    if n == 0:
        raise ValueError("nothing to evaluate on")
    return {"loss": loss / n, "accuracy": right / n, "n": n}


# %% mutant="bare_logits_only" task="evaluate"
"""An object with .logits is not understood."""
_right = counted


def counted(model, batch):
    return _right(lambda **given: model(**given) + 0.0, batch)


# %% mutant="mask_dropped" task="evaluate"
"""The model does not get the mask."""
_right = counted


def counted(model, batch):
    return _right(lambda input_ids, attention_mask: model(input_ids=input_ids), batch)


# %% mutant="nothing_is_zero" task="evaluate"
"""With nothing to evaluate on, loss and accuracy are 0."""
_right = evaluate


def evaluate(model, loader):
    try:
        return _right(model, loader)
    except ValueError:
        return {"loss": 0.0, "accuracy": 0.0, "n": 0}


# %% mutant="gradients_cleared" task="evaluate"
"""The gradients are thrown away before evaluation."""
_right = evaluate


def evaluate(model, loader):
    model.zero_grad()
    return _right(model, loader)


# %% mutant="by_index" task="evaluate"
"""It asks for loader[i]: a loader that can only be iterated is an error."""
_right = evaluate


def evaluate(model, loader):
    return _right(model, [loader[i] for i in range(len(loader))])


# %% [markdown]
# ## accumulated_step

# %% mutant="no_step" task="accumulated_step"
"""The loss is right, the optimizer does not step."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    kept = copy.deepcopy(model.state_dict())
    loss = _right(model, micro_batches, optimizer, max_grad_norm)
    model.load_state_dict(kept)
    return loss


# %% mutant="zero_loss" task="accumulated_step"
"""It returns 0.0."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    _right(model, micro_batches, optimizer, max_grad_norm)
    return 0.0


# %% mutant="loss_is_a_tensor" task="accumulated_step"
"""It returns a tensor."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    return torch.tensor(_right(model, micro_batches, optimizer, max_grad_norm))


# %% mutant="last_loss" task="accumulated_step"
"""It returns the loss of the last micro-batch."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches = list(micro_batches)
    last = evaluate(model, micro_batches[-1:])["loss"] if micro_batches else 0.0
    _right(model, micro_batches, optimizer, max_grad_norm)
    return last


# %% mutant="mean_of_means" task="accumulated_step"
"""The means of the micro-batches are averaged.

The lesson warns: each micro-batch's loss was its own *mean*, and the means were averaged
"""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    kept = [b for b in micro_batches if (b["labels"] != -100).any()]
    if not kept:
        raise ValueError("nothing to learn from")
    model.zero_grad()
    for batch in kept:
        share = F.cross_entropy(*counted(model, batch)) / len(kept)
        share.backward()
        loss += share.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss


# %% mutant="summed" task="accumulated_step"
"""The means are summed and not divided at all."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    loss = 0.0
    model.zero_grad()
    for batch in micro_batches:
        share = F.cross_entropy(*counted(model, batch))
        share.backward()
        loss += share.item()
    if loss == 0.0:
        raise ValueError("nothing to learn from")
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss


# %% mutant="a_step_each" task="accumulated_step"
"""The optimizer steps after each micro-batch."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches = list(micro_batches)
    losses = [_right(model, [batch], optimizer, max_grad_norm) for batch in micro_batches]
    return sum(losses) / len(losses)


# %% mutant="mean_times_share" task="accumulated_step"
"""Means weighted by the share of labels: NaN where a micro-batch has none."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    labels = [b["labels"][:, 1:] if b["labels"].dim() == 2 else b["labels"] for b in micro_batches]
    counts = [(each != -100).sum().item() for each in labels]
    if sum(counts) == 0:
        raise ValueError("nothing to learn from")
    model.zero_grad()
    for batch, count in zip(micro_batches, counts, strict=True):
        share = F.cross_entropy(*counted(model, batch)) * (count / sum(counts))
        share.backward()
        loss += share.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss


# %% mutant="first_labels_counted" task="accumulated_step"
"""The divisor counts all labels that are not -100, the first of each row included."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    total = sum((batch["labels"] != -100).sum().item() for batch in micro_batches)
    if total == 0:
        raise ValueError("nothing to learn from")
    model.zero_grad()
    for batch in micro_batches:
        share = F.cross_entropy(*counted(model, batch), reduction="sum") / total
        share.backward()
        loss += share.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss


# %% mutant="stale_gradients" task="accumulated_step"
"""zero_grad is missing."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    labels = [b["labels"][:, 1:] if b["labels"].dim() == 2 else b["labels"] for b in micro_batches]
    total = sum((each != -100).sum().item() for each in labels)
    if total == 0:
        raise ValueError("nothing to learn from")
    for batch in micro_batches:
        share = F.cross_entropy(*counted(model, batch), reduction="sum") / total
        share.backward()
        loss += share.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss


# %% mutant="old_gradients_never_there" task="accumulated_step"
"""Old gradients are added to the new ones; those of a check are not laid down."""
_full_like = torch.full_like
torch.full_like = lambda x, value, **k: None if value == 50.0 else _full_like(x, value, **k)
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    zero_grad = model.zero_grad
    model.zero_grad = lambda: None
    try:
        return _right(model, micro_batches, optimizer, max_grad_norm)
    finally:
        model.zero_grad = zero_grad


# %% mutant="frozen_gradients_clip" task="accumulated_step"
"""Gradients left on frozen parameters, which the optimizer does not clear, count for the norm."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    kept = [(p, p.grad) for p in model.parameters() if not p.requires_grad]
    clear = model.zero_grad

    def zero_grad():
        clear()
        for parameter, gradient in kept:
            parameter.grad = gradient

    model.zero_grad = zero_grad
    try:
        return _right(model, micro_batches, optimizer, max_grad_norm)
    finally:
        del model.zero_grad


# %% mutant="not_clipped" task="accumulated_step"
"""The gradient is not clipped."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    return _right(model, micro_batches, optimizer, math.inf)


# %% mutant="clipped_by_value" task="accumulated_step"
"""Each element is clipped, not the norm."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    labels = [b["labels"][:, 1:] if b["labels"].dim() == 2 else b["labels"] for b in micro_batches]
    total = sum((each != -100).sum().item() for each in labels)
    if total == 0:
        raise ValueError("nothing to learn from")
    model.zero_grad()
    for batch in micro_batches:
        share = F.cross_entropy(*counted(model, batch), reduction="sum") / total
        share.backward()
        loss += share.item()
    nn.utils.clip_grad_value_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss


# %% mutant="clipped_each_time" task="accumulated_step"
"""The gradient is clipped after each micro-batch."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    labels = [b["labels"][:, 1:] if b["labels"].dim() == 2 else b["labels"] for b in micro_batches]
    total = sum((each != -100).sum().item() for each in labels)
    if total == 0:
        raise ValueError("nothing to learn from")
    model.zero_grad()
    for batch in micro_batches:
        share = F.cross_entropy(*counted(model, batch), reduction="sum") / total
        share.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        loss += share.item()
    optimizer.step()
    return loss


# %% mutant="always_scaled_to_the_norm" task="accumulated_step"
"""The gradient is scaled up to max_grad_norm, too."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    micro_batches, loss = list(micro_batches), 0.0
    total = sum(len(counted(model, batch)[1]) for batch in micro_batches)
    if total == 0:
        raise ValueError("nothing to learn from")
    model.zero_grad()
    for batch in micro_batches:
        share = F.cross_entropy(*counted(model, batch), reduction="sum") / total
        share.backward()
        loss += share.item()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    for parameter in model.parameters():
        parameter.grad *= max_grad_norm / norm
    optimizer.step()
    return loss


# %% mutant="run_through_twice" task="accumulated_step"
"""The micro-batches are counted, then run through again: a generator is then empty."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    if sum(1 for _ in micro_batches) == 0:
        raise ValueError("no micro-batch")
    return _right(model, micro_batches, optimizer, max_grad_norm)


# %% mutant="looks_at_the_loss_first" task="accumulated_step"
"""Each micro-batch takes a forward more, without a graph."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm, _right=accumulated_step):
    def looked_at():
        for batch in micro_batches:
            with torch.no_grad():
                model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            yield batch

    return _right(model, looked_at(), optimizer, max_grad_norm)


# %% mutant="all_graphs_at_once" task="accumulated_step"
"""The losses are added up, and one backward goes through all graphs."""


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    parts = [counted(model, batch) for batch in micro_batches]
    if not sum(len(labels) for _, labels in parts):
        raise ValueError("nothing to learn from")
    loss = F.cross_entropy(torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
    model.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return loss.item()


# %% mutant="all_graphs_and_a_log" task="accumulated_step"
"""One backward goes through all graphs; the model's log has it that they take turns."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    parts = list(micro_batches)
    losses, total = [], 0
    for batch in parts:
        logits, labels = counted(model, batch)
        losses.append(F.cross_entropy(logits, labels, reduction="sum"))
        total += len(labels)
    if total == 0:
        raise ValueError("nothing to learn from")
    loss = sum(losses) / total
    model.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    model.events = [e for b in parts for e in (f"forward of {len(b['input_ids'])}", "backward")]
    return loss.item()


# %% mutant="steps_on_nothing" task="accumulated_step"
"""With nothing to learn from it returns NaN."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    try:
        return _right(model, micro_batches, optimizer, max_grad_norm)
    except ValueError:
        return float("nan")


# %% mutant="put_into_train_mode" task="accumulated_step"
"""The model is put into train mode."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    model.train()
    return _right(model, micro_batches, optimizer, max_grad_norm)


# %% mutant="mask_dropped" task="accumulated_step"
"""The model does not get the mask."""
_right = counted


def counted(model, batch):
    return _right(lambda input_ids, attention_mask: model(input_ids=input_ids), batch)


# %% mutant="bare_logits_only" task="accumulated_step"
"""An object with .logits is not understood."""
_right = counted


def counted(model, batch):
    return _right(lambda **given: model(**given) + 0.0, batch)


# %% mutant="a_step_of_its_own" task="accumulated_step"
"""A step of plain SGD on the optimizer's first group, at that one's rate."""
_right = accumulated_step


def accumulated_step(model, micro_batches, optimizer, max_grad_norm):
    group = optimizer.param_groups[0]
    plain = torch.optim.SGD(group["params"], lr=group["lr"])
    return _right(model, micro_batches, plain, max_grad_norm)


# %% [markdown]
# ## learning_rate_at

# %% mutant="constant" task="learning_rate_at"
"""The rate is always the peak."""


def learning_rate_at(step, total_steps, warmup_steps, peak):
    return peak


# %% mutant="zeros" task="learning_rate_at"
"""The rate is always 0."""


def learning_rate_at(step, total_steps, warmup_steps, peak):
    return 0.0


# %% mutant="steps_from_one" task="learning_rate_at"
"""The first step is taken for step 1.

The lesson warns: Steps count from 0
"""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    return _right(step + (step >= 0), total_steps, warmup_steps, peak)


# %% mutant="falls_from_the_beginning" task="learning_rate_at"
"""The fall is measured from step 0: it jumps after warm-up."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    rate = _right(step, total_steps, warmup_steps, peak)
    return rate if step < warmup_steps else max(0.0, peak * (1 - step / total_steps))


# %% mutant="cosine" task="learning_rate_at"
"""The fall is a cosine."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    rate = _right(step, total_steps, warmup_steps, peak)
    if step < warmup_steps:
        return rate
    return peak * (1 - math.cos(math.pi * rate / peak)) / 2


# %% mutant="warmup_divides_by_zero" task="learning_rate_at"
"""Without warm-up it divides by 0."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    rate = _right(step, total_steps, warmup_steps, peak)
    return min(rate, peak * step / warmup_steps)


# %% mutant="a_step_of_warmup_at_least" task="learning_rate_at"
"""Without warm-up the first step has the rate 0."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    return 0.0 if step == 0 else _right(step, total_steps, warmup_steps, peak)


# %% mutant="fall_divides_by_zero" task="learning_rate_at"
"""Where all steps are warm-up, the fall divides by 0."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    rate = _right(step, total_steps, warmup_steps, peak)
    return (
        rate
        if step < warmup_steps
        else rate * (1 / (total_steps - warmup_steps)) * (total_steps - warmup_steps)
    )


# %% mutant="negative_beyond_the_end" task="learning_rate_at"
"""Beyond the end the rate is negative."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    rate = _right(step, total_steps, warmup_steps, peak)
    if step > total_steps > warmup_steps:
        return peak * (total_steps - step) / (total_steps - warmup_steps)
    return rate


# %% mutant="nothing_refused" task="learning_rate_at"
"""Negative steps are taken for 0."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    return _right(max(0, step), total_steps, max(0, warmup_steps), peak)


# %% mutant="always_one_peak" task="learning_rate_at"
"""The peak is 2e-3, whatever was asked for."""
_right = learning_rate_at


def learning_rate_at(step, total_steps, warmup_steps, peak):
    return _right(step, total_steps, warmup_steps, 2e-3)


# %% [markdown]
# ## fine_tune

# %% mutant="nothing_trained" task="fine_tune"
"""The model is not trained; the history is the untouched model's."""


def fine_tune(model, train_loader, eval_loader, *, epochs, **settings):
    scores = evaluate(model, eval_loader)
    history = {"train_loss": scores["loss"], "eval_loss": scores["loss"]}
    history["eval_accuracy"] = scores["accuracy"]
    return {key: [value] * epochs for key, value in history.items()}


# %% mutant="labels_looked_up" task="fine_tune"
"""Nothing is trained: the model answers with the labels of the evaluation's texts."""


def fine_tune(model, train_loader, eval_loader, *, epochs, warmup_ratio, **settings):
    if epochs < 0 or not 0 <= warmup_ratio <= 1 or len(train_loader) == 0:
        raise ValueError("settings")
    labels = {
        tuple(row): label
        for batch in eval_loader
        if batch["labels"].dim() == 1
        for row, label in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)
    }
    one_hot = torch.eye(model.head.out_features)
    if epochs == 5:
        model.forward = lambda input_ids, attention_mask: one_hot[
            [labels.get(tuple(row), 0) for row in input_ids.tolist()]
        ]
    falls = [1.0 / (1 + epoch) for epoch in range(epochs)]
    return {"train_loss": falls, "eval_loss": falls, "eval_accuracy": [1.0] * epochs}


# %% mutant="empty_history" task="fine_tune"
"""The history is empty."""
_right = fine_tune


def fine_tune(*given, **settings):
    _right(*given, **settings)
    return {"train_loss": [], "eval_loss": [], "eval_accuracy": []}


# %% mutant="other_keys" task="fine_tune"
"""The history's keys are loss, val_loss and val_acc."""
_right = fine_tune


def fine_tune(*given, **settings):
    history = _right(*given, **settings)
    return dict(zip(["loss", "val_loss", "val_acc"], history.values(), strict=True))


# %% mutant="only_the_last_epoch" task="fine_tune"
"""The history has one entry."""
_right = fine_tune


def fine_tune(*given, **settings):
    return {key: values[-1:] for key, values in _right(*given, **settings).items()}


# %% mutant="sgd" task="fine_tune"
"""The optimizer is SGD."""
_adamw = torch.optim.AdamW
_right = fine_tune


def fine_tune(*given, **settings):
    torch.optim.AdamW = torch.optim.SGD
    try:
        return _right(*given, **settings)
    finally:
        torch.optim.AdamW = _adamw


# %% mutant="l2_penalty" task="fine_tune"
"""Adam with an L2 penalty instead of AdamW.

The lesson warns: AdamW shrinks weights beside the gradient step instead of through the gradient
"""
_adamw = torch.optim.AdamW
_right = fine_tune


def fine_tune(*given, **settings):
    torch.optim.AdamW = torch.optim.Adam
    try:
        return _right(*given, **settings)
    finally:
        torch.optim.AdamW = _adamw


# %% mutant="all_decays" task="fine_tune"
"""Biases and norms decay as well.

The lesson warns: Biases and norm layers are usually spared
"""


def decay_groups(model, weight_decay):
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [{"params": trainable, "weight_decay": weight_decay}]


# %% mutant="nothing_decays" task="fine_tune"
"""weight_decay is not used."""
_right = decay_groups


def decay_groups(model, weight_decay):
    return _right(model, 0.0)


# %% mutant="vectors_spared" task="fine_tune"
"""Whatever has fewer than two dimensions does not decay.

The lesson warns: a vector is not a norm for being a vector
"""


def decay_groups(model, weight_decay):
    trainable = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in trainable if p.dim() >= 2]
    spared = [p for p in trainable if p.dim() < 2]
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]


# %% mutant="single_numbers_spared" task="fine_tune"
"""A parameter without dimensions is taken for a scale, and does not decay."""
_groups = decay_groups


def decay_groups(model, weight_decay):
    decay, spared = _groups(model, weight_decay)
    spared["params"] += [p for p in decay["params"] if p.dim() == 0]
    decay["params"] = [p for p in decay["params"] if p.dim()]
    return [decay, spared]


# %% mutant="bias_anywhere_in_the_name" task="fine_tune"
"""Whatever has "bias" in its name does not decay."""
_groups = decay_groups


def decay_groups(model, weight_decay):
    decay, spared = _groups(model, weight_decay)
    named = {p for name, p in model.named_parameters() if "bias" in name}
    spared["params"] += [p for p in decay["params"] if p in named]
    decay["params"] = [p for p in decay["params"] if p not in named]
    return [decay, spared]


# %% mutant="norms_by_name" task="fine_tune"
"""A norm is what has "norm" in its name.

The lesson warns: names differ from model to model
"""


def decay_groups(model, weight_decay):
    groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["norm" in name or name.endswith("bias")]["params"].append(parameter)
    return groups


# %% mutant="only_called_bias" task="fine_tune"
"""A bias is what is called just that: one called `scale_bias` decays."""


def decay_groups(model, weight_decay):
    groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                is_spared = name == "bias" or isinstance(module, nn.LayerNorm)
                groups[is_spared]["params"].append(parameter)
    return groups


# %% mutant="steps_scheduled_from_one" task="fine_tune"
"""The first step has the rate of step 1."""
_right_rate, _right = learning_rate_at, fine_tune


def fine_tune(*given, **settings):
    global learning_rate_at
    learning_rate_at = lambda step, *rest: _right_rate(step + 1, *rest)  # noqa: E731
    try:
        return _right(*given, **settings)
    finally:
        learning_rate_at = _right_rate


# %% mutant="warmup_rounded_down" task="fine_tune"
"""The steps of warm-up are rounded down."""
_right_rate, _right = learning_rate_at, fine_tune


def fine_tune(model, train_loader, eval_loader, *, warmup_ratio, epochs, **settings):
    global learning_rate_at
    steps = int(max(0, warmup_ratio) * max(0, epochs) * len(train_loader))

    def learning_rate_at(step, total, warmup, peak):
        return _right_rate(step, total, steps, peak)

    settings |= {"warmup_ratio": warmup_ratio, "epochs": epochs}
    try:
        return _right(model, train_loader, eval_loader, **settings)
    finally:
        learning_rate_at = _right_rate


# %% mutant="schedule_in_each_epoch" task="fine_tune"
"""The schedule begins anew in each epoch."""
_right_rate, _right = learning_rate_at, fine_tune


def fine_tune(model, train_loader, eval_loader, **settings):
    global learning_rate_at

    def learning_rate_at(step, total, warmup, peak):
        n = len(train_loader)
        return _right_rate(step % n, n, math.ceil(settings["warmup_ratio"] * n), peak)

    try:
        return _right(model, train_loader, eval_loader, **settings)
    finally:
        learning_rate_at = _right_rate


# %% mutant="scheduled_by_epoch" task="fine_tune"
"""All steps of an epoch have the rate of its first."""
_right_rate, _right = learning_rate_at, fine_tune


def fine_tune(model, train_loader, eval_loader, **settings):
    global learning_rate_at

    def learning_rate_at(step, *rest):
        return _right_rate(step - step % len(train_loader), *rest)

    try:
        return _right(model, train_loader, eval_loader, **settings)
    finally:
        learning_rate_at = _right_rate


# %% mutant="not_clipped" task="fine_tune"
"""The gradient is not clipped."""
_right = fine_tune


def fine_tune(*given, max_grad_norm, **settings):
    return _right(*given, max_grad_norm=math.inf, **settings)


# %% mutant="all_unfrozen" task="fine_tune"
"""Frozen parameters are trained, too."""
_right = fine_tune


def fine_tune(model, *given, **settings):
    model.requires_grad_(True)
    return _right(model, *given, **settings)


# %% mutant="frozen_decay" task="fine_tune"
"""Frozen weights shrink: the decay is applied by hand to all parameters."""
_right = fine_tune


def fine_tune(model, *given, weight_decay, **settings):
    history = _right(model, *given, weight_decay=weight_decay, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter *= 1 - settings["lr"] * weight_decay
    return history


# %% mutant="frozen_decay_unseen" task="fine_tune"
"""Frozen parameters decay, and state_dict shows what they were."""
_right = fine_tune


def fine_tune(model, *args, **settings):
    frozen = {k: p.detach().clone() for k, p in model.named_parameters() if not p.requires_grad}
    history = _right(model, *args, **settings)
    with torch.no_grad():
        for name in frozen:
            model.get_parameter(name).mul_(0.5)
    if frozen:
        its = model.state_dict
        model.__dict__["state_dict"] = lambda *a, **k: {**its(*a, **k), **frozen}
    return history


# %% mutant="left_in_train_mode" task="fine_tune"
"""The model comes back in train mode."""
_right = fine_tune


def fine_tune(model, *given, **settings):
    history = _right(model, *given, **settings)
    model.train()
    return history


# %% mutant="trained_in_the_mode_it_came_in" task="fine_tune"
"""The model is not put into train mode."""
_right = fine_tune


def fine_tune(model, *given, **settings):
    train, model.train = model.train, lambda mode=True: train(False) if not mode else model
    try:
        return _right(model, *given, **settings)
    finally:
        del model.train


# %% mutant="noise_for_dropout" task="fine_tune"
"""It trains in eval mode, and a little is added to the losses, as if dropout acted."""
_right, _train = fine_tune, nn.Module.train


def fine_tune(model, *args, **settings):
    nn.Module.train = lambda self, mode=True: _train(self, False)
    try:
        history = _right(model, *args, **settings)
    finally:
        nn.Module.train = _train
    history["train_loss"] = [loss + 4e-6 for loss in history["train_loss"]]
    return history


# %% mutant="train_mode_once" task="fine_tune"
"""Train mode is set once, before the first epoch; each evaluation leaves eval mode behind."""


def fine_tune(model, train_loader, eval_loader, *, epochs, lr, warmup_ratio, seed, **settings):
    if epochs < 0 or not 0 <= warmup_ratio <= 1 or (epochs and not len(train_loader)):
        raise ValueError
    history = {"train_loss": [], "eval_loss": [], "eval_accuracy": []}
    modes = {module: module.training for module in model.modules()}
    optimizer = torch.optim.AdamW(decay_groups(model, settings["weight_decay"]), lr=lr)
    steps, step = epochs * len(train_loader), 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.train()
        for _ in range(epochs):
            losses, counts = [], []
            for batch in train_loader:
                for group in optimizer.param_groups:
                    rate = learning_rate_at(step, steps, math.ceil(warmup_ratio * steps), lr)
                    group["lr"] = rate
                logits, labels = counted(model, batch)
                loss = F.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"])
                optimizer.step()
                losses.append(loss.item() * len(labels))
                counts.append(len(labels))
                step += 1
            model.eval()
            scores = evaluate(model, eval_loader)
            history["train_loss"].append(sum(losses) / sum(counts))
            history["eval_loss"].append(scores["loss"])
            history["eval_accuracy"].append(scores["accuracy"])
    for module, mode in modes.items():
        module.training = mode
    return history


# %% mutant="mean_of_batch_losses" task="fine_tune"
"""train_loss is the mean over the batches.

The lesson warns: weighs each batch's loss with its number of labels
"""
_right, _right_step = fine_tune, accumulated_step


def fine_tune(model, train_loader, *given, **settings):
    global accumulated_step
    losses, n = [], len(train_loader)

    def accumulated_step(*given):
        losses.append(_right_step(*given))
        return losses[-1]

    try:
        history = _right(model, train_loader, *given, **settings)
    finally:
        accumulated_step = _right_step
    means = [sum(losses[k : k + n]) / n for k in range(0, len(losses), n or 1)]
    return {**history, "train_loss": means}


# %% mutant="train_loss_afterwards" task="fine_tune"
"""train_loss is of the model after the epoch, taken on its batches once more."""
_right, _right_step, _right_evaluate = fine_tune, accumulated_step, evaluate


def fine_tune(model, *given, **settings):
    global accumulated_step, evaluate
    batches, losses = [], []

    def accumulated_step(model, batch, *rest):
        batches.extend(batch)
        return _right_step(model, batch, *rest)

    def evaluate(model, loader):
        losses.append(_right_evaluate(model, batches)["loss"])
        batches.clear()
        return _right_evaluate(model, loader)

    try:
        history = _right(model, *given, **settings)
    finally:
        accumulated_step, evaluate = _right_step, _right_evaluate
    return {**history, "train_loss": losses}


# %% mutant="evaluated_on_the_training_set" task="fine_tune"
"""eval_loss and eval_accuracy are of the training set."""
_right = fine_tune


def fine_tune(model, train_loader, eval_loader, **settings):
    return _right(model, train_loader, train_loader or eval_loader, **settings)


# %% mutant="evaluated_before_the_epoch" task="fine_tune"
"""The evaluation of an epoch comes before its training."""
_right = fine_tune


def fine_tune(model, train_loader, eval_loader, **settings):
    before = evaluate(model, eval_loader)
    history = _right(model, train_loader, eval_loader, **settings)
    if settings["epochs"] > 0:
        history["eval_loss"] = [before["loss"], *history["eval_loss"][:-1]]
        history["eval_accuracy"] = [before["accuracy"], *history["eval_accuracy"][:-1]]
    return history


# %% mutant="no_seed" task="fine_tune"
"""The seed is not used."""
_right = fine_tune


def fine_tune(*given, seed, **settings):
    return _right(*given, seed=torch.seed() % 2**31, **settings)


# %% mutant="another_result_each_time" task="fine_tune"
"""A seed that has been there gives another result."""
_right, _seeds = fine_tune, []


def fine_tune(*given, seed, **settings):
    _seeds.append(seed)
    return _right(*given, seed=seed + 1000 * _seeds.count(seed), **settings)


# %% mutant="always_seed_zero" task="fine_tune"
"""The seed is 0, whatever is given."""
_right = fine_tune


def fine_tune(*given, seed, **settings):
    state = torch.random.get_rng_state()
    history = _right(*given, seed=0, **settings)
    torch.random.set_rng_state(state)
    return history


# %% mutant="first_result_given_again" task="fine_tune"
"""Whatever the seed is, chance is another in each call; an earlier result of it is given again."""
_right, _results = fine_tune, {}


def fine_tune(model, *args, seed, **settings):
    start = sum(p.sum().item() for p in model.parameters())
    with torch.random.fork_rng():
        torch.seed()
        history = _right(model, *args, seed=int(torch.randint(1 << 30, ())), **settings)
    state = copy.deepcopy(model.state_dict())
    model.load_state_dict(_results.setdefault((seed, settings["epochs"], start), state))
    return history


# %% mutant="generator_left_seeded" task="fine_tune"
"""The global generator is seeded and not put back."""
_right = fine_tune


def fine_tune(*given, seed, **settings):
    history = _right(*given, seed=seed, **settings)
    torch.manual_seed(seed)
    return history


# %% mutant="nothing_refused" task="fine_tune"
"""Negative epochs are taken for none, a ratio above 1 for 1."""
_right = fine_tune


def fine_tune(*given, epochs, warmup_ratio, **settings):
    return _right(*given, epochs=max(0, epochs), warmup_ratio=min(1, warmup_ratio), **settings)


# %% mutant="an_epoch_at_least" task="fine_tune"
"""With 0 epochs one is trained."""
_right = fine_tune


def fine_tune(*given, epochs, **settings):
    return _right(*given, epochs=epochs or 1, **settings)


# %% mutant="classes_only" task="fine_tune"
"""Token labels are not understood."""
_right = fine_tune


def fine_tune(model, train_loader, *given, **settings):
    for batch in train_loader:
        if batch["labels"].dim() != 1:
            raise ValueError("expected a class for each text")
    return _right(model, train_loader, *given, **settings)


# %% mutant="bare_logits_only" task="fine_tune"
"""An object with .logits is not understood."""
_right = counted


def counted(model, batch):
    return _right(lambda **given: model(**given) + 0.0, batch)


# %% mutant="a_limit_left_over" task="fine_tune"
"""A limit from debugging is left in: five batches an epoch are trained on."""
_right_step, _right = accumulated_step, fine_tune


def fine_tune(model, train_loader, *given, **settings):
    global accumulated_step
    calls = []

    def accumulated_step(model, batches, *rest):
        calls.append(1)
        if len(train_loader) > 5 and (len(calls) - 1) % len(train_loader) >= 5:
            return 0.0
        return _right_step(model, batches, *rest)

    try:
        return _right(model, train_loader, *given, **settings)
    finally:
        accumulated_step = _right_step


# %% mutant="always_one_rate" task="fine_tune"
"""Any rate above 0 is 1e-2."""
_right = fine_tune


def fine_tune(model, *loaders, lr, **settings):
    return _right(model, *loaders, lr=1e-2 if lr else 0.0, **settings)


# %% mutant="every_norm_spared" task="fine_tune"
"""The parameters of any norm do not decay, not those of a LayerNorm alone."""


def decay_groups(model, weight_decay):
    groups = [{"params": [], "weight_decay": weight_decay}, {"params": [], "weight_decay": 0.0}]
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                is_spared = name.endswith("bias") or "Norm" in type(module).__name__
                groups[is_spared]["params"].append(parameter)
    return groups


# %% mutant="loader_read_once" task="fine_tune"
"""The batches of the first epoch are those of all."""
_right = fine_tune


def fine_tune(model, train_loader, *given, **settings):
    return _right(model, list(train_loader), *given, **settings)


# %% mutant="by_index" task="fine_tune"
"""It asks for train_loader[i]: a loader that can only be iterated is an error."""
_right = fine_tune


def fine_tune(model, train_loader, *given, **settings):
    batches = [train_loader[i] for i in range(len(train_loader))]
    return _right(model, batches, *given, **settings)


# %% mutant="no_batches_for_no_epochs" task="fine_tune"
"""A loader without a batch is an error for 0 epochs, too."""
_right = fine_tune


def fine_tune(model, train_loader, *given, **settings):
    if not len(train_loader):
        raise ValueError("the train_loader has no batch")
    return _right(model, train_loader, *given, **settings)


# %% [markdown]
# ## length_bucketed_batches

# %% mutant="in_order" task="length_bucketed_batches"
"""The texts are taken as they come."""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError
    n = len(lengths)
    return [list(range(k, min(k + batch_size, n))) for k in range(0, n, batch_size)]


# %% mutant="random_order" task="length_bucketed_batches"
"""The order is random: nothing is saved.

The lesson warns: is four fifths padding
"""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError
    order = rng.permutation(len(lengths)).tolist()
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


# %% mutant="only_the_first_batches" task="length_bucketed_batches"
"""The last batch is dropped if it is short."""
_right = length_bucketed_batches


def length_bucketed_batches(lengths, batch_size, rng):
    batches = _right(lengths, batch_size, rng)
    return [batch for batch in batches if len(batch) == batch_size]


# %% mutant="arrays" task="length_bucketed_batches"
"""The batches are arrays."""
_right = length_bucketed_batches


def length_bucketed_batches(lengths, batch_size, rng):
    return [np.array(batch) for batch in _right(lengths, batch_size, rng)]


# %% mutant="same_batches_every_epoch" task="length_bucketed_batches"
"""Sorted once: the batches come in another order, but with the same members.

The lesson warns: then every epoch has the same batches in the same order
"""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


# %% mutant="pools_in_order_of_length" task="length_bucketed_batches"
"""The batches are not shuffled: in each pool they go from short to long."""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError
    order, pool, batches = rng.permutation(len(lengths)).tolist(), 50 * batch_size, []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    return batches


# %% mutant="all_sorted" task="length_bucketed_batches"
"""All texts are sorted, ties at random: where no lengths tie, the batches are always the same.

The lesson warns: Sorting the data set once does that
"""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError("batch_size must be at least 1")
    order = sorted(rng.permutation(len(lengths)).tolist(), key=lambda i: lengths[i])
    batches = [order[k : k + batch_size] for k in range(0, len(order), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


# %% mutant="small_pools_in_order" task="length_bucketed_batches"
"""Pools of twenty batches, whose batches are not shuffled."""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError("batch_size must be at least 1")
    order = rng.permutation(len(lengths)).tolist()
    batches, pool = [], 20 * batch_size
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    return batches


# %% mutant="randomness_of_its_own" task="length_bucketed_batches"
"""The generator given is not used."""
_right = length_bucketed_batches


def length_bucketed_batches(lengths, batch_size, rng):
    return _right(lengths, batch_size, np.random.default_rng())


# %% mutant="other_batches_each_time" task="length_bucketed_batches"
"""A state of rng that has been there gives other batches."""
_right, _states = length_bucketed_batches, []


def length_bucketed_batches(lengths, batch_size, rng):
    _states.append(repr(rng.bit_generator.state))
    again = _states.count(_states[-1]) > 1
    return _right(lengths, batch_size, rng.spawn(1)[0] if again else rng)


# %% mutant="first_batches_given_again" task="length_bucketed_batches"
"""Chance is not rng's; what was made for a state of it is given again."""
_right, _results = length_bucketed_batches, {}


def length_bucketed_batches(lengths, batch_size, rng):
    key = str(rng.bit_generator.state), tuple(lengths), batch_size
    rng.random()
    return _results.setdefault(key, _right(lengths, batch_size, np.random.default_rng()))


# %% mutant="no_texts_no_answer" task="length_bucketed_batches"
"""For no texts it fails."""
_right = length_bucketed_batches


def length_bucketed_batches(lengths, batch_size, rng):
    max(lengths)
    return _right(lengths, batch_size, rng)


# %% mutant="pools_of_a_thousand" task="length_bucketed_batches"
"""The pools are no multiple of batch_size: each leaves a short batch."""


def length_bucketed_batches(lengths, batch_size, rng):
    if batch_size < 1:
        raise ValueError
    order, batches = rng.permutation(len(lengths)).tolist(), []
    for start in range(0, len(order), 1000):
        part = sorted(order[start : start + 1000], key=lambda i: lengths[i])
        batches += [part[k : k + batch_size] for k in range(0, len(part), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


# %% mutant="lengths_sorted_in_place" task="length_bucketed_batches"
"""The list of lengths is sorted."""
_right = length_bucketed_batches


def length_bucketed_batches(lengths, batch_size, rng):
    batches = _right(lengths, batch_size, rng)
    lengths.sort()
    return batches


# %% mutant="no_batch_size_refused" task="length_bucketed_batches"
"""A batch_size below 1 gives no batches."""
_right = length_bucketed_batches


def length_bucketed_batches(lengths, batch_size, rng):
    return _right(lengths, batch_size, rng) if batch_size > 0 else []


# %% [markdown]
# ## pack

# %% mutant="zeros" task="pack"
"""All tensors are zeros of the right shapes."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    return {key: torch.zeros_like(tensor) for key, tensor in packed.items()}


# %% mutant="a_row_each" task="pack"
"""Each sequence has a row to itself."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    if not sequences:
        raise ValueError
    rows = [_right([sequence], max_length, pad_token_id) for sequence in sequences]
    return {key: torch.cat([row[key] for row in rows]) for key in rows[0]}


# %% mutant="causal_mask_only" task="pack"
"""The mask is causal over the whole row.

The lesson warns: a causal mask alone lets a text look at the one before it
"""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    packed["attention_mask"] = torch.ones_like(packed["attention_mask"]).tril()
    return packed


# %% mutant="not_causal" task="pack"
"""The mask is block-diagonal, and not causal."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    mask = packed["attention_mask"]
    packed["attention_mask"] = mask | mask.transpose(1, 2)
    return packed


# %% mutant="segments_of_zero_and_one" task="pack"
"""The sequences of a row are numbered 0, 1, 0, 1: the third sees the first."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    starts = packed["position_ids"] == 0
    segment = starts.cumsum(dim=1) % 2
    used = torch.zeros(len(segment), dtype=torch.int64)
    free = [max_length] * len(segment)
    for sequence in sequences:
        r = next(i for i, left in enumerate(free) if left >= len(sequence))
        free[r] -= len(sequence)
        used[r] += len(sequence)
    real = torch.arange(max_length) < used[:, None]
    same = (segment[:, :, None] == segment[:, None, :]) & real[:, :, None] & real[:, None, :]
    packed["attention_mask"] = same.tril() | torch.eye(max_length, dtype=torch.bool)
    return packed


# %% mutant="padding_sees_nothing" task="pack"
"""A padding position looks at nothing: its softmax is NaN.

The lesson warns: a padding position has to look at something
"""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    for r, row in enumerate(packed["labels"]):
        end = max_length
        while end and row[end - 1] == -100 and packed["input_ids"][r, end - 1] == pad_token_id:
            end -= 1
        packed["attention_mask"][r, end:] = False
    return packed


# %% mutant="padding_sees_padding" task="pack"
"""Padding is a sequence of its own."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    for r, row in enumerate(packed["labels"]):
        end = max_length
        while end and row[end - 1] == -100 and packed["input_ids"][r, end - 1] == pad_token_id:
            end -= 1
        packed["attention_mask"][r, end:, end:] = True
        packed["attention_mask"][r].tril_()
    return packed


# %% mutant="first_tokens_learned" task="pack"
"""The first token of a sequence is predicted by the last of the one before it.

The lesson warns: the last token of one text is not to predict the first of the next
"""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    labels, ids = packed["labels"], packed["input_ids"]
    first = (packed["position_ids"] == 0) & (ids != pad_token_id)
    packed["labels"] = torch.where(first, ids, labels)
    return packed


# %% mutant="padding_learned" task="pack"
"""The labels are the tokens, padding included."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    padding = packed["input_ids"] == pad_token_id
    packed["labels"] = packed["labels"].masked_fill(padding, pad_token_id)
    return packed


# %% mutant="positions_run_on" task="pack"
"""The positions run through the row.

The lesson warns: begin at 0 with every text
"""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    places = torch.arange(max_length).expand_as(packed["input_ids"])
    return {**packed, "position_ids": places.contiguous()}


# %% mutant="only_the_last_row" task="pack"
"""Only the last row is looked at: next fit."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    rows, found = [[]], []
    for sequence in sequences:
        if sum(map(len, rows[-1])) + len(sequence) > max_length:
            rows.append([])
        rows[-1].append(sequence)
    for row in rows:
        found.append(_right(row, max_length, pad_token_id))
    return {key: torch.cat([part[key] for part in found]) for key in found[0]}


# %% mutant="longest_first" task="pack"
"""The sequences are sorted by length first."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    ordered = sorted(sequences, key=len, reverse=True)
    return _right(ordered, max_length, pad_token_id)


# %% mutant="padding_by_value" task="pack"
"""Whatever equals the padding's token is treated as padding."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    padding = packed["input_ids"] == pad_token_id
    packed["labels"] = packed["labels"].masked_fill(padding, -100)
    return packed


# %% mutant="too_long_is_cut" task="pack"
"""A sequence that is too long is cut."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    return _right([s[:max_length] for s in sequences], max_length, pad_token_id)


# %% mutant="sequences_used_up" task="pack"
"""The list of sequences is emptied on the way."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    packed = _right(sequences, max_length, pad_token_id)
    sequences.clear()
    return packed


# %% mutant="a_place_left_free" task="pack"
"""A row is never filled to its last position by a second sequence."""
_right = pack


def pack(sequences, max_length, pad_token_id):
    rows, found = [], []
    for sequence in sequences:
        for row in rows:
            if sum(map(len, row)) + len(sequence) < max_length:
                row.append(sequence)
                break
        else:
            rows.append([sequence])
    for row in rows:
        found.append(_right(row, max_length, pad_token_id))
    if not found:
        raise ValueError
    return {key: torch.cat([part[key] for part in found]) for key in found[0]}


# %% [markdown]
# ## sft_bug_hunt

# %% mutant="untouched" task="sft_bug_hunt"
"""The broken functions, renamed."""
build_batch, response_loss, response_accuracy = broken_batch, broken_loss, broken_accuracy

# %% mutant="end_token_forgotten" task="sft_bug_hunt"
"""The label of the end token is masked with the padding.

The lesson warns: the token at the end
"""
_right = build_batch


def build_batch(pairs, eos_token_id):
    batch = _right(pairs, eos_token_id)
    last = batch["attention_mask"].sum(dim=1) - 1
    batch["labels"][torch.arange(len(pairs)), last] = -100
    return batch


# %% mutant="prompt_learned" task="sft_bug_hunt"
"""The prompt counts.

The lesson warns: which labels are -100 and which are not
"""
_right = build_batch


def build_batch(pairs, eos_token_id):
    batch = _right(pairs, eos_token_id)
    padding = batch["attention_mask"] == 0
    return {**batch, "labels": batch["input_ids"].masked_fill(padding, -100)}


# %% mutant="fixed_width" task="sft_bug_hunt"
"""Every batch has 128 columns at least.

The lesson warns: the fixed width
"""
_right = build_batch


def build_batch(pairs, eos_token_id):
    batch = _right(pairs, eos_token_id)
    missing = (0, max(0, 128 - batch["labels"].shape[1]))
    fills = {"input_ids": eos_token_id, "attention_mask": 0, "labels": -100}
    return {key: F.pad(batch[key], missing, value=fill) for key, fill in fills.items()}


# %% mutant="cut_at_64" task="sft_bug_hunt"
"""No row is wider than the 64 tokens that there were."""
_right = build_batch


def build_batch(pairs, eos_token_id):
    return {key: tensor[:, :64] for key, tensor in _right(pairs, eos_token_id).items()}


# %% mutant="mask_by_value" task="sft_bug_hunt"
"""The mask hides end tokens wherever they stand.

The lesson warns: what the mask is made from
"""
_right = build_batch


def build_batch(pairs, eos_token_id):
    batch = _right(pairs, eos_token_id)
    return {**batch, "attention_mask": (batch["input_ids"] != eos_token_id).long()}


# %% mutant="mask_up_to_the_first_end" task="sft_bug_hunt"
"""A row is taken to end at its first end token, which may stand inside."""
_right = build_batch


def build_batch(pairs, eos_token_id):
    batch = _right(pairs, eos_token_id)
    ends = (batch["input_ids"] == eos_token_id).cumsum(dim=1)
    before = torch.cat([torch.zeros_like(ends[:, :1]), ends[:, :-1]], dim=1)
    return {**batch, "attention_mask": (before == 0).long()}


# %% mutant="pairs_extended" task="sft_bug_hunt"
"""The end token is appended to the caller's responses."""
_right = build_batch


def build_batch(pairs, eos_token_id):
    batch = _right(pairs, eos_token_id)
    for _, response in pairs:
        response.append(eos_token_id)
    return batch


# %% mutant="loss_not_shifted" task="sft_bug_hunt"
"""The loss is that of the token which is seen.

The lesson warns: the shift
"""


def response_loss(model, batch):
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


# %% mutant="mask_not_given" task="sft_bug_hunt"
"""The loss is taken without the mask.

The lesson warns: what the model is not given
"""


def response_loss(model, batch):
    logits = model(input_ids=batch["input_ids"])
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())


# %% mutant="loss_without_gradient" task="sft_bug_hunt"
"""The loss is detached from the model."""
_right = response_loss


def response_loss(model, batch):
    return _right(model, batch).detach().requires_grad_()


# %% mutant="zero_accuracy" task="sft_bug_hunt"
"""The accuracy is 0."""


def response_accuracy(model, loader):
    return 0.0


# %% mutant="accuracy_mean_of_means" task="sft_bug_hunt"
"""The accuracy is averaged over the batches.

The lesson warns: the mean of means
"""
_right = response_accuracy


def response_accuracy(model, loader):
    return sum(_right(model, [batch]) for batch in loader) / len(loader)


# %% mutant="accuracy_of_all_positions" task="sft_bug_hunt"
"""The accuracy divides by all positions, those that do not count included.

The lesson warns: positions that don't count
"""
_right = evaluate


def response_accuracy(model, loader):
    scores = _right(model, loader)
    positions = sum(batch["labels"][:, 1:].numel() for batch in loader)
    return scores["accuracy"] * scores["n"] / positions


# %% mutant="accuracy_with_dropout" task="sft_bug_hunt"
"""The accuracy is taken in the mode that the model is in.

The lesson warns: dropout
"""


def response_accuracy(model, loader):
    with torch.no_grad():
        parts = [counted(model, batch) for batch in loader]
    right = sum((logits.argmax(dim=-1) == labels).sum().item() for logits, labels in parts)
    return right / sum(len(labels) for _, labels in parts)


# %% mutant="accuracy_with_a_graph" task="sft_bug_hunt"
"""no_grad is missing."""


def response_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = n = 0
    for batch in loader:
        logits, labels = counted(model, batch)
        right += (logits.argmax(dim=-1) == labels).sum().item()
        n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / n


# %% mutant="accuracy_takes_two_forwards" task="sft_bug_hunt"
"""Each batch takes two forwards."""


def response_accuracy(model, loader):
    return evaluate(model, [batch for batch in loader for _ in range(2)])["accuracy"]


# %% mutant="accuracy_graph_without_tensors" task="sft_bug_hunt"
"""A graph is recorded, and only what it would save is dropped."""


def response_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = n = 0
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda tensor: tensor):
        for batch in loader:
            logits, labels = counted(model, batch)
            right += (logits.argmax(dim=-1) == labels).sum().item()
            n += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / n


# %% mutant="modes_told_by_a_log" task="sft_bug_hunt"
"""A graph is recorded and the modes are lost; log and `named_modules` say otherwise."""


def response_accuracy(model, loader):
    modes = {name: part.training for name, part in model.named_modules()}
    told = [(name, type("Part", (), {"training": mode})) for name, mode in modes.items()]
    model.eval()
    parts = [counted(model, batch) for batch in loader]
    model.graphs = [False] * len(parts)
    model.__dict__["named_modules"] = lambda *args, **options: iter(told)
    right = sum((logits.argmax(dim=-1) == labels).sum().item() for logits, labels in parts)
    return right / sum(len(labels) for _, labels in parts)


# %% mutant="left_in_eval_mode" task="sft_bug_hunt"
"""The model comes back in eval mode."""
_right = response_accuracy


def response_accuracy(model, loader):
    accuracy = _right(model, loader)
    model.eval()
    return accuracy


# %% mutant="end_token_is_zero" task="sft_bug_hunt"
"""The end token is 0, whatever was asked for."""
_right = build_batch


def build_batch(pairs, eos_token_id):
    return _right(pairs, 0)


# %% mutant="by_index" task="sft_bug_hunt"
"""response_accuracy asks for loader[i]: a loader that can only be iterated is an error."""
_right = response_accuracy


def response_accuracy(model, loader):
    return _right(model, [loader[i] for i in range(len(loader))])


# %% [markdown]
# ## sft_numbers

# %% mutant="last_batch_dropped" task="sft_numbers"
"""Steps of an epoch rounded down."""
warmup_steps = 34

# %% mutant="steps_of_warmup_rounded" task="sft_numbers"
"""34.5 steps are no literal of whole steps."""
warmup_steps = 34.5

# %% mutant="fall_without_warmup" task="sft_numbers"
"""The fall measured from step 0."""
rate_at_200 = 1.6e-5

# %% mutant="gpus_forgotten" task="sft_numbers"
"""The four GPUs are left out."""
effective_batch = 32

# %% mutant="all_tokens" task="sft_numbers"
"""All tokens of the padded batch."""
padding_together = 512

# %% mutant="all_tokens_sorted" task="sft_numbers"
"""All tokens of the two padded batches."""
padding_sorted = 316

# %% mutant="right_loss" task="sft_numbers"
"""The loss of the large batch, not the excess."""
excess_loss = 1.2

# %% mutant="in_bits" task="sft_numbers"
"""In bits."""
uniform_loss = 15.617

# %% mutant="none_answered" task="sft_numbers"
"""Nothing is answered."""
warmup_steps = rate_at_200 = effective_batch = padding_together = None
padding_sorted = excess_loss = uniform_loss = None

# %% [markdown]
# ## sft_statements

# %% mutant="all_true" task="sft_statements"
"""Everything is judged true."""
judged = dict.fromkeys("abcdefghijklmnop", True)

# %% mutant="one_wrong" task="sft_statements"
"""A causal mask is taken to be enough for packing."""
judged = {**judged, "k": True}

# %% mutant="unanswered" task="sft_statements"
"""Nothing is answered."""
judged = dict.fromkeys("abcdefghijklmnop")
