"""What checks that need a GPU run on both sides: their data are made on the device, from a seed.

A GPU is asked for work that fills it (matrices of 8,192 and more in half precision). Where the CPU
stands in its place, to try the path, the same is small, in single precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autograder.checking.expect import expect, expect_close


class Cast(nn.Module):
    """Gives a tensor another dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        """Keep the dtype."""
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        """Return x in that dtype."""
        return x.to(self.dtype)


def heavy(device: str) -> nn.Module:
    """A body of eight square layers, (B, D) to (B, D) in single precision, and half inside."""
    import torch
    from torch import nn

    on_gpu = device == "cuda"
    size, dtype = (8192, torch.float16) if on_gpu else (512, torch.float32)
    layers = []
    for _ in range(8):
        linear = nn.Linear(size, size, bias=False, device=device, dtype=dtype)
        nn.init.kaiming_normal_(linear.weight)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(Cast(dtype), *layers, Cast(torch.float32))


def heavy_inputs(device: str, batches: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of inputs (B, D) for a body that is heavy, with labels of five classes."""
    import torch

    rows, size = (4096, 8192) if device == "cuda" else (128, 512)
    return [
        (torch.randn(rows, size, device=device), torch.randint(5, (rows,), device=device))
        for _ in range(batches)
    ]


def forwards(function: Callable[..., Tensor], device: str, seed: int) -> Callable[[int], Tensor]:
    """Return a function of a seed: 32 × `lora_forward` of four rows, (32, 4, D)."""
    import torch

    on_gpu = device == "cuda"
    size, dtype = (16_384, torch.bfloat16) if on_gpu else (1024, torch.float32)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

    def many(seed: int) -> Tensor:
        generator.manual_seed(seed)
        outputs = []
        for _ in range(32):
            x, lora_A, lora_B = normal(4, size), normal(16, size), normal(size, 16)
            outputs.append(function(x, weight, lora_A, lora_B, 16.0))
        return torch.stack(outputs)

    generator = torch.Generator(device).manual_seed(seed)
    weight = normal(size, size)
    return many


def probes(
    function: Callable[..., list[float]], device: str, seed: int
) -> Callable[[int], list[float]]:
    """Return a function of a seed: `linear_probe` over ten epochs of two batches."""
    import torch
    from torch import nn

    def probe(seed: int) -> list[float]:
        torch.manual_seed(seed)
        batches = heavy_inputs(device, 2)
        head = nn.Linear(batches[0][0].shape[1], 5, device=device)
        return function(body, head, batches, 10, 1e-3)

    torch.manual_seed(seed)
    body = heavy(device)
    return probe


def distillations(
    function: Callable[..., list[float]], device: str, seed: int
) -> Callable[[int], list[float]]:
    """Return a function of a seed: `distill` over ten epochs of one batch."""
    import torch
    from torch import nn

    def distill(seed: int) -> list[float]:
        torch.manual_seed(seed)
        batches = heavy_inputs(device, 1)
        size = batches[0][0].shape[1]
        layers = nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 5)
        student = nn.Sequential(*layers).to(device)
        settings = {"lr": 1e-3, "temperature": 2.0, "alpha": 0.5, "seed": 1}
        return function(student, teacher, batches, 10, **settings)

    torch.manual_seed(seed)
    body = heavy(device)
    size = next(body.parameters()).shape[0]
    teacher = nn.Sequential(body, nn.Linear(size, 5, device=device))
    return distill


class Texts(nn.Module):
    """A classifier (B, T) to logits (B, 3): embeddings, residual blocks, the mean over a text."""

    def __init__(self, width: int, depth: int) -> None:
        """Make the layers."""
        super().__init__()
        self.embed = nn.Embedding(1000, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
                nn.Linear(4 * width, width),
            )
            for _ in range(depth)
        )  # fmt: skip
        self.head = nn.Linear(width, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the logits."""
        x, mask = self.embed(input_ids), attention_mask[..., None].float()
        for block in self.blocks:
            x = x + block(x)
        return self.head((x * mask).sum(dim=1) / mask.sum(dim=1))


def fine_tunings(
    function: Callable[..., dict[str, list[float]]], device: str, seed: int
) -> Callable[[int], list[float]]:
    """Return a function of a seed: `fine_tune` over an epoch of four batches; losses."""
    import torch

    width, depth, length = (512, 8, 64) if device == "cuda" else (16, 4, 8)

    def batch() -> dict[str, Tensor]:
        ends = torch.randint(length // 4, length + 1, (64, 1), device=device)
        return {
            "input_ids": torch.randint(1000, (64, length), device=device),
            "attention_mask": (torch.arange(length, device=device) < ends).long(),
            "labels": torch.randint(3, (64,), device=device),
        }

    def tune(seed: int) -> list[float]:
        torch.manual_seed(seed)
        model = Texts(width, depth).to(device)
        history = function(
            model, [batch() for _ in range(4)], [batch()], epochs=1, lr=1e-4, warmup_ratio=0.25,
            weight_decay=0.01, max_grad_norm=1.0, seed=1,
        )  # fmt: skip
        return [history["train_loss"][0], history["eval_loss"][0]]

    return tune


def blocks_and_input(device: str) -> tuple[list[nn.Module], Tensor]:
    """Twelve blocks of a transformer in train mode, without dropout, and their input (B, T, d)."""
    import torch
    from torch import nn

    width, rows = (256, 64) if device == "cuda" else (64, 128)
    options = {"dropout": 0.0, "batch_first": True, "norm_first": True, "device": device}
    blocks = [nn.TransformerEncoderLayer(width, 4, 4 * width, **options) for _ in range(12)]
    return blocks, torch.randn(rows, width, width, device=device).requires_grad_()


def held_by_a_forward(
    function: Callable[[list[nn.Module], Tensor], Tensor], device: str, seed: int
) -> list[Callable[[], Any]]:
    """Return a forward, which keeps its graph, and the backward, with what shows that it was one.

    That is the output and x's gradient at each text's first position, and a gradient of a weight of
    the first block.
    """
    import torch

    torch.manual_seed(seed)
    blocks, x = blocks_and_input(device)
    outputs: list[Tensor] = []

    def forward() -> None:
        outputs.append(function(blocks, x))

    def backward() -> list[Any]:
        outputs[0].square().mean().backward()
        gradients = [x.grad[:, 0], blocks[0].linear1.weight.grad]
        return [outputs[0][:, 0].detach(), *gradients]

    return [forward, backward]


def in_turn(blocks: list[nn.Module], x: Tensor) -> Tensor:
    """Put x through the blocks."""
    for block in blocks:
        x = block(x)
    return x


def expect_same_backward(came: object, expected: list[Tensor]) -> None:
    """Expect what a backward reports to be what that of the blocks in turn does."""
    expect(type(came) is list and len(came) == 3, "The gradients could not be read.")
    assert isinstance(came, list)
    parts = "output", "gradient of x", "gradient of a weight"
    for value, right, what in zip(came, expected, parts, strict=True):
        expect_close(value, right, f"The {what} is not that of the blocks in turn.", rtol=0.01)
