"""The course's references beside the field's libraries: the same work, equal results, paired times.

``python benchmarks/references.py [--quick] [--json FILE] [--only WORDS]`` checks first that both
sides of every row give the same result, to rounding, and then times them in pairs: fresh inputs,
ours and the library's, the library's and ours, and so on, on one thread unless the row says so.

- ``ours``, ``library``: the median time of a call over the pairs;
- ``ratio``: the median over the pairs of ours / library, and an interval for it: order statistics
  that hold the true median with at least 95 %, whatever the noise is distributed like;
- ``≤ 1.05``: whether the ratio is; "unclear" where it is not, and its interval still allows it.

On one thread the time is the processor's; several are timed by the clock on the wall, and mean
little on a busy machine.

Left out: the calibration error and the texts' leaks, which none of the installed libraries has.
Ends with 1 if two results differ.
"""

from __future__ import annotations

import copy
import functools
import gc
import itertools
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from autograder.catalogue.reference import reference

BAR = 1.05
LEAST, MOST = 6, 41  # pairs of a row; six are the fewest whose extremes hold the median with 95 %
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
RANK, ALPHA = 8, 16

Side = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """One row: `sides` makes fresh inputs from a seed, and on them our call and the library's.

    A call that may be made again on its inputs is `repeatable`: short ones are then timed in runs.
    """

    name: str
    work: str
    library: str
    sides: Callable[[int], tuple[Side, Side]]
    repeatable: bool = True
    threads: int = 1
    steps: int = 1  # a call's time is divided by them
    why: str = ""  # measured: why ours is slower


# ---------------------------------------------------------------------------------------- the times


def same(ours: Any, theirs: Any) -> bool:
    """Whether two results agree to rounding: numbers, arrays, tensors, or sequences of them."""
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    ours, theirs = (torch.as_tensor(value).detach().double() for value in (ours, theirs))
    if ours.shape != theirs.shape:
        return False
    # By the size of the whole: single elements may be sums in which everything cancels.
    return bool((ours - theirs).abs().max() <= 1e-5 * theirs.abs().max())


def seconds(side: Side, calls: int) -> float:
    """Return the time of a call: on one thread of the processor's, which other programs spare."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(calls):
        side()
    return (clock() - start) / calls


def measure(case: Case, budget: float) -> dict[str, Any]:
    torch.set_num_threads(case.threads)
    warm = [min(seconds(side, 1) for _ in range(2 if case.repeatable else 1))
            for side in case.sides(0)]  # fmt: skip
    calls = max(1, math.ceil(0.004 / max(warm))) if case.repeatable else 1
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + budget
    while len(times) < LEAST or (time.perf_counter() < end and len(times) < MOST):
        sides = case.sides(len(times) + 1)
        gc.collect()  # what the pair before left behind is not to be paid for in this one
        order = (0, 1) if len(times) % 2 == 0 else (1, 0)
        taken = {which: seconds(sides[which], calls) / case.steps for which in order}
        times.append((taken[0], taken[1]))
    ratio, low, high = median_with_interval([ours / theirs for ours, theirs in times])
    ours_ms, library_ms = (1e3 * statistics.median(side) for side in zip(*times, strict=True))
    row = {"name": case.name, "work": case.work, "ours_ms": ours_ms, "library_ms": library_ms}
    return row | {"ratio": ratio, "low": low, "high": high, "library": case.library,
                  "why": case.why}  # fmt: skip


def median_with_interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median and two order statistics that enclose the true one with ≥ 95 %."""
    values, n = sorted(values), len(values)
    # Each value is below the true median like a coin's head: with k < X < n − k heads it is inside.
    k = max((k for k in range(n // 2) if scipy.stats.binom.cdf(k, n, 0.5) <= 0.025), default=0)
    return statistics.median(values), values[k], values[n - 1 - k]


# ----------------------------------------------------------------------------------- the references


def weights(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters())


def sft() -> Iterator[Case]:
    """A training run on equal batches: AdamW, linear schedule with warm-up, clipping."""
    steps, rate, warmup, decay, norm = 60, 1e-3, 6, 0.01, 1.0
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1000, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=512, max_position_embeddings=64, num_labels=4,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    start = BertForSequenceClassification(config)

    def sides(optimizer: str, seed: int) -> tuple[Side, Side]:
        torch.manual_seed(seed)
        batches = [
            {
                "input_ids": torch.randint(1000, (8, 32)),
                "attention_mask": (torch.arange(32) < torch.randint(8, 33, (8, 1))).long(),
                "labels": torch.randint(4, (8,)),
            }
            for _ in range(steps)
        ]
        loader: Any = DataLoader(batches, batch_size=None)
        mine, theirs = copy.deepcopy(start), copy.deepcopy(start)

        class SameBatches(Trainer):
            """A Trainer on our loader."""

            def get_train_dataloader(self) -> DataLoader[Any]:
                return loader

        arguments = TrainingArguments(
            tempfile.gettempdir(), num_train_epochs=1, learning_rate=rate, warmup_steps=warmup,
            weight_decay=decay, max_grad_norm=norm, optim=optimizer, lr_scheduler_type="linear",
            use_cpu=True, disable_tqdm=True, report_to="none", logging_strategy="no",
            save_strategy="no", eval_strategy="no", dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = SameBatches(theirs, arguments, train_dataset=loader.dataset)
        trainer.remove_callback(PrinterCallback)

        def ours() -> Tensor:
            reference("sft").fine_tune(
                mine, loader, batches[:1], epochs=1, lr=rate, warmup_ratio=warmup / steps,
                weight_decay=decay, max_grad_norm=norm, seed=0,
            )  # fmt: skip
            return weights(mine)

        def library() -> Tensor:
            trainer.train()
            return weights(theirs)

        return ours, library

    for optimizer in ("adamw_torch", "adamw_torch_fused"):
        yield Case(
            "fine_tune",
            f"a step of {steps}, BERT 2 × 128, batch 8 × 32, {optimizer}",
            "transformers Trainer",
            functools.partial(sides, optimizer),
            repeatable=False,
            steps=steps,
        )


def step(module: nn.Module, x: Tensor, upstream: Tensor) -> tuple[Tensor | None, ...]:
    """Forward and backward: the gradients of the input and of what trains."""
    trained = [x, *(p for p in module.parameters() if p.requires_grad)]
    return torch.autograd.grad(module(x), trained, upstream)


def twins(base: nn.Module, adapter: type[nn.Module]) -> tuple[nn.Module, nn.Module]:
    """Return our adapter and peft's, around copies of one base, with equal matrices."""
    mine = adapter(copy.deepcopy(base), RANK, ALPHA)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["0"])
    theirs = inject_adapter_in_model(config, nn.Sequential(copy.deepcopy(base)))[0]
    with torch.no_grad():
        mine.lora_B.normal_(std=0.1)  # zero would hide mistakes
        for part in ("lora_A", "lora_B"):
            getattr(theirs, part)["default"].weight.copy_(getattr(mine, part))
    return mine, theirs


def forward_sides(
    make: Callable[[], tuple[nn.Module, nn.Module]], shape: tuple[int, ...], backward: bool
) -> Callable[[int], tuple[Side, Side]]:
    """Sides that send a fresh input of this shape through two modules, and a gradient back."""
    modules = functools.cache(make)

    def sides(seed: int) -> tuple[Side, Side]:
        torch.manual_seed(seed)
        x = torch.randn(shape, requires_grad=backward)
        if not backward:
            return tuple(functools.partial(torch.no_grad()(module), x) for module in modules())
        upstream = torch.randn_like(modules()[0](x))
        return tuple(functools.partial(step, module, x, upstream) for module in modules())

    return sides


def merge_sides(
    make: Callable[[], tuple[nn.Module, nn.Module]],
) -> Callable[[int], tuple[Side, Side]]:
    """Sides that merge two modules, which have been unmerged before."""
    modules = functools.cache(make)

    def sides(seed: int) -> tuple[Side, Side]:
        lora = reference("lora")
        mine, theirs = modules()
        lora.unmerge_lora(mine)
        if theirs.merged:
            theirs.unmerge()

        def ours() -> Tensor:
            return lora.merge_lora(mine).base.weight

        def library() -> Tensor:
            theirs.merge()
            return theirs.get_base_layer().weight

        return ours, library

    return sides


class _Functional(nn.Module):
    """lora_forward as a module, with the tensors of a LoRALinear."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        return reference("lora").lora_forward(
            x, layer.base.weight, layer.lora_A, layer.lora_B, ALPHA, layer.base.bias
        )


def lora() -> Iterator[Case]:
    """The adapter of a linear layer."""

    def pair(width: int, functional: bool = False) -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(width)
        mine, theirs = twins(nn.Linear(width, width), reference("lora").LoRALinear)
        return _Functional(mine) if functional else mine, theirs

    counts = sorted({1, CORES})
    for threads, width, rows in itertools.product(counts, (768, 2048), (16, 512)):
        for functional, backward in itertools.product((False, True), repeat=2):
            if functional and threads > 1:
                continue  # the same products once more
            yield Case(
                "lora_forward" if functional else "LoRALinear",
                f"{'forward + backward' if backward else 'forward'}, {rows} × {width}",
                "peft lora.Linear",
                forward_sides(functools.partial(pair, width, functional), (rows, width), backward),
                threads=threads,
            )
    for threads, width in itertools.product(counts, (768, 2048)):
        yield Case(
            "merge_lora",
            f"merge, {width} × {width}",
            "peft lora.Linear",
            merge_sides(functools.partial(pair, width)),
            repeatable=False,
            threads=threads,
            why="it keeps a copy of the weight, which makes unmerging exact; without it 0.57",
        )


def lora_conv() -> Iterator[Case]:
    """The adapter of a convolution."""

    def pair(channels: int) -> tuple[nn.Module, nn.Module]:
        torch.manual_seed(channels)
        base = nn.Conv2d(channels, channels, 3, padding=1)
        return twins(base, reference("lora").LoRAConv2d)

    for channels, size in ((64, 28), (256, 7)):
        make = functools.partial(pair, channels)
        for backward in (False, True):
            yield Case(
                "LoRAConv2d",
                f"{'forward + backward' if backward else 'forward'}, "
                f"16 × {channels} × {size} × {size}, 3 × 3",
                "peft lora.Conv2d",
                forward_sides(make, (16, channels, size, size), backward),
            )
        yield Case(
            "merge_lora",
            f"merge, {channels} × {channels} × 3 × 3",
            "peft lora.Conv2d",
            merge_sides(make),
            repeatable=False,
        )


def network(width: int) -> nn.Sequential:
    """Return a small classifier of images, smooth: rounding does not flip a unit on or off."""
    stem = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
    body = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(
        *(stem, nn.BatchNorm2d(width), nn.GELU()),
        *(body, nn.BatchNorm2d(2 * width), nn.GELU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10)),
    )


def distillation() -> Iterator[Case]:
    """Steps of a student, beside the loop that one writes by hand: no library has a standard one.

    `distill` asks the teacher once and the loop in every epoch: other work with an equal result.
    """
    steps, epochs, T, alpha, rate, size = 10, 3, 4.0, 0.7, 1e-3, 64
    torch.manual_seed(0)
    teacher, start = network(32), network(16)

    def plain_step(student: nn.Module, x: Tensor, labels: Tensor, optimizer: Any) -> float:
        with torch.no_grad():
            wanted = F.softmax(teacher(x) / T, dim=1)  # (B, classes)
        logits = student(x)  # (B, classes)
        soft = F.kl_div(F.log_softmax(logits / T, dim=1), wanted, reduction="batchmean")
        loss = alpha * T * T * soft + (1 - alpha) * F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def data(seed: int) -> tuple[list[tuple[Tensor, Tensor]], nn.Module, nn.Module]:
        torch.manual_seed(seed)
        batches = [(torch.randn(size, 1, 28, 28), torch.randint(10, (size,))) for _ in range(steps)]
        return batches, copy.deepcopy(start).train(), copy.deepcopy(start).train()

    def step_sides(seed: int) -> tuple[Side, Side]:
        batches, mine, theirs = data(seed)

        def ours() -> Tensor:
            optimizer = torch.optim.SGD(mine.parameters(), lr=rate)
            for batch in batches:
                reference("distillation").distill_step(mine, teacher, batch, optimizer, T, alpha)
            return weights(mine)

        def library() -> Tensor:
            optimizer = torch.optim.SGD(theirs.parameters(), lr=rate)
            teacher.eval()
            for x, labels in batches:
                plain_step(theirs, x, labels, optimizer)
            return weights(theirs)

        return ours, library

    def epoch_sides(seed: int) -> tuple[Side, Side]:
        batches, mine, theirs = data(seed)

        def ours() -> Tensor:
            reference("distillation").distill(
                mine, teacher, batches, epochs, lr=rate, temperature=T, alpha=alpha, seed=seed
            )
            return weights(mine)

        def library() -> Tensor:
            optimizer = torch.optim.Adam(theirs.parameters(), lr=rate)
            teacher.eval()
            x, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
            torch.manual_seed(seed)  # the order in which `distill` goes through them
            for _ in range(epochs):
                for rows in torch.randperm(len(x)).split(size):
                    plain_step(theirs, x[rows], labels[rows], optimizer)
            return weights(theirs)

        return ours, library

    work = f"batch {size} × 1 × 28 × 28"
    yield Case("distill_step", f"a step, {work}", "plain loop", step_sides, False, steps=steps)
    yield Case("distill", f"an epoch of {epochs}, {work} (the loop asks the teacher each time)",
               "plain loop", epoch_sides, False, steps=epochs)  # fmt: skip


def evaluation() -> Iterator[Case]:
    """Metrics and tests over labels of ten classes."""
    n, small, resamples = 100_000, 5_000, 2_000

    def labels(seed: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        truth = rng.integers(10, size=n)
        answers = [
            np.where(rng.random(n) < share, truth, rng.integers(10, size=n))
            for share in (0.8, 0.804)
        ]
        return truth, answers[0], answers[1]

    def confusion_sides(seed: int) -> tuple[Side, Side]:
        truth, predicted, _ = labels(seed, n)
        return (
            lambda: reference("evaluation").confusion_matrix(truth, predicted),
            lambda: sklearn.metrics.confusion_matrix(truth, predicted),
        )

    def f1_sides(average: str | None, seed: int) -> tuple[Side, Side]:
        truth, predicted, _ = labels(seed, n)
        return (
            lambda: reference("evaluation").f1_scores(truth, predicted, average),
            lambda: sklearn.metrics.f1_score(truth, predicted, average=average),
        )

    def mcnemar_sides(seed: int) -> tuple[Side, Side]:
        truth, first, second = labels(seed, n)

        def ours() -> tuple[float, ...]:
            return tuple(reference("evaluation").mcnemar(truth, first, second).values())

        def library() -> tuple[float, ...]:
            first_right, second_right = first == truth, second == truth
            b = int((first_right & ~second_right).sum())
            c = int((second_right & ~first_right).sum())
            statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
            p_exact = scipy.stats.binomtest(min(b, c), b + c).pvalue
            return b, c, statistic, scipy.stats.chi2.sf(statistic, 1), p_exact

        return ours, library

    def accuracy(truth: np.ndarray, predicted: np.ndarray, axis: int = -1) -> np.ndarray:
        return (truth == predicted).mean(axis=axis)

    def bootstrap_sides(seed: int) -> tuple[Side, Side]:
        truth, predicted, _ = labels(seed, small)

        def ours() -> tuple[float, float]:
            rng = np.random.default_rng(seed)
            interval = reference("evaluation").bootstrap_interval
            return interval(accuracy, truth, predicted, resamples, 0.95, rng)

        def library() -> tuple[float, float]:
            result = scipy.stats.bootstrap(
                (truth, predicted), accuracy, paired=True, vectorized=True, method="percentile",
                n_resamples=resamples, batch=500_000 // small, confidence_level=0.95,
                rng=np.random.default_rng(seed),
            )  # fmt: skip
            return tuple(result.confidence_interval)

        return ours, library

    yield Case("confusion_matrix", f"{n:,} labels", "scikit-learn", confusion_sides)
    for average in ("macro", "micro", "weighted", None):
        sides = functools.partial(f1_sides, average)
        yield Case("f1_scores", f"{average}, {n:,} labels", "scikit-learn", sides)
    yield Case("mcnemar", f"{n:,} labels, both p", "scipy binomtest, chi2", mcnemar_sides)
    yield Case("bootstrap_interval", f"accuracy, {resamples:,} resamples of {small:,}",
               "scipy bootstrap", bootstrap_sides)  # fmt: skip


# ---------------------------------------------------------------------------------------- the table


def verdict(row: dict[str, Any]) -> str:
    """Return whether the bar is met; "unclear" where only noise says that it is not."""
    if row["ratio"] <= BAR:
        return "yes"
    return "no" if row["low"] > BAR else "unclear"


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(title="The references beside the libraries: time of a call, ratio of pairs")
    for column in ("name", "work", "library"):
        shown.add_column(column)
    for column in ("ours, ms", "library, ms", "ratio (95 %)", f"≤ {BAR}"):
        shown.add_column(column, justify="right", no_wrap=True)
    if reasons := any(row["why"] for row in rows):
        shown.add_column("why")
    for row in rows:
        cells = [row["name"], row["work"], row["library"]]
        cells += [f"{row[side]:.3f}" for side in ("ours_ms", "library_ms")]
        cells += [f"{row['ratio']:.2f} ({row['low']:.2f}–{row['high']:.2f})"]
        shown.add_row(*cells, verdict(row), *([row["why"]] if reasons else []))
    return shown


@click.command()
@click.option("--quick", is_flag=True, help="Fewer pairs: wider intervals.")
@click.option("--json", "target", type=click.Path(path_type=Path), help="Write the rows there.")
@click.option("--only", default="", help="Only rows whose name or work contains these words.")
def main(quick: bool, target: Path | None, only: str) -> None:
    """Time the references beside the libraries."""
    console = Console(width=None if Console().is_terminal else 150)
    groups = (sft(), lora(), lora_conv(), distillation(), evaluation())
    cases = [c for c in itertools.chain(*groups) if only in f"{c.name} {c.work}"]
    torch.set_num_threads(1)
    unequal = []
    for case in cases:
        ours, library = case.sides(0)
        if not same(ours(), library()):
            unequal.append(f"{case.name}, {case.work}: not what {case.library} gives")
    if unequal:
        raise click.ClickException("\n".join(unequal))
    rows = []
    gc.freeze()  # the libraries' own objects need no collecting between the pairs
    for case in cases:
        row = measure(case, 0.5 if quick else 1.5)
        if case.threads > 1:
            row["work"] += f", {case.threads} threads"
        rows.append(row)
    gc.unfreeze()
    console.print(table(rows))
    if target is not None:
        target.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
