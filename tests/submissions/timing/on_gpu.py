# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# What is slow, or looks fast, on a GPU only.

# %%
# ruff: noqa: F811, F821 - behind the reference's cells

# %% naive="one_text_at_a_time" task="fine_tune"
"""Each text is a micro-batch of its own: the GPU waits for the next kernel most of the time."""


def one_by_one(batch):
    rows = range(len(batch["labels"]))
    return [{name: tensor[i : i + 1] for name, tensor in batch.items()} for i in rows]


def fine_tune(
    model, train_loader, eval_loader, *, epochs, lr, warmup_ratio, weight_decay, max_grad_norm, seed
):
    optimizer = torch.optim.AdamW(decay_groups(model, weight_decay), lr=lr)
    total_steps, step = epochs * len(train_loader), 0
    warmup_steps = math.ceil(warmup_ratio * total_steps)
    history = {"train_loss": [], "eval_loss": [], "eval_accuracy": []}
    for _ in range(epochs):
        model.train()
        total, n = 0.0, 0
        for batch in train_loader:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, total_steps, warmup_steps, lr)
            texts = one_by_one(batch)
            total += accumulated_step(model, texts, optimizer, max_grad_norm) * len(texts)
            n, step = n + len(texts), step + 1
        scores = evaluate(model, eval_loader)
        history["train_loss"].append(total / n)
        history["eval_loss"].append(scores["loss"])
        history["eval_accuracy"].append(scores["accuracy"])
    return history


# %% cheat="left_on_another_stream"
"""The work is left on another stream, which nobody waits for."""


def cheat(function):
    import torch

    if not torch.cuda.is_available():
        return function
    other = torch.cuda.Stream()

    def fast(*args, **kwargs):
        with torch.cuda.stream(other):
            return function(*args, **kwargs)

    return fast


# %% cheat="synchronize_does_nothing"
"""Waiting and the device's own clock do nothing."""


def cheat(function):
    import torch

    torch.cuda.synchronize = lambda *args: None
    torch.cuda.Event.elapsed_time = lambda *args: 0.0
    return function


# %% cheat="memory_not_reported"
"""torch's own figures of memory are zero, and its cache is emptied after each call."""


def cheat(function):
    import torch

    torch.cuda.memory_allocated = torch.cuda.max_memory_allocated = lambda *args: 0
    torch.cuda.mem_get_info = lambda *args: (1 << 36, 1 << 36)

    def fast(*args, **kwargs):
        result = function(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return result

    return fast
