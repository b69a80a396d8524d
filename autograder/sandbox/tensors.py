"""Tensors on their way into the sandbox: their bytes, instead of torch's own pickling, which writes
a zip archive for each.
"""

from __future__ import annotations

import torch

from autograder.sandbox.wire import DTYPES


def has_bytes(tensor: torch.Tensor) -> bool:
    """Whether a tensor's values are told by bytes, dtype, shape and requires_grad."""
    return (
        type(tensor) is torch.Tensor
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.dtype in DTYPES
        and tensor.is_leaf
    )


def is_simple(tensor: torch.Tensor) -> bool:
    """Whether a tensor is its bytes, dtype, shape and requires_grad, and nothing besides."""
    return (
        has_bytes(tensor)
        and tensor.is_contiguous()
        and tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize
        and not tensor.__dict__
    )


def as_bytes(tensor: torch.Tensor) -> tuple[bytes, torch.dtype, tuple[int, ...], bool]:
    """Take a tensor that has bytes apart, into what `from_bytes` takes."""
    data = tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes()
    return data, tensor.dtype, tuple(tensor.shape), tensor.requires_grad


def from_bytes(
    data: bytes, dtype: torch.dtype, shape: tuple[int, ...], requires_grad: bool
) -> torch.Tensor:
    """Put a tensor together again; called where a request is unpickled."""
    flat = torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(shape).requires_grad_(requires_grad)
