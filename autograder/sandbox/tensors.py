"""Tensors and modules on their way into the sandbox: their bytes, and what differs from a new one.

torch's own pickling writes a zip archive for each tensor, and a dozen empty dicts for each module.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import nn

from autograder.sandbox.wire import DTYPES

_KINDS = (torch.Tensor, nn.Parameter)
_EMPTY = {name: type(of) for name, of in vars(nn.Module()).items() if isinstance(of, (dict, set))}
"""attribute of every module → the type of what a new one has there, with nothing in it"""

_TAKEN_APART_BY = "__reduce_ex__", "__reduce__", "__getstate__"


def has_bytes(tensor: torch.Tensor) -> bool:
    """Whether a tensor's values are told by bytes, dtype, shape and requires_grad."""
    return (
        type(tensor) in _KINDS
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
        and tensor.untyped_storage().nbytes() == tensor.nbytes
        and not tensor.__dict__
    )


def as_bytes(tensor: torch.Tensor) -> tuple[bytes, str, tuple[int, ...], bool, bool]:
    """Take a tensor that has bytes apart, into what `from_bytes` takes."""
    flat = tensor.detach().contiguous()
    data = ctypes.string_at(flat.data_ptr(), flat.nbytes)
    dtype = str(tensor.dtype).removeprefix("torch.")
    return data, dtype, tuple(tensor.shape), tensor.requires_grad, type(tensor) is nn.Parameter


def from_bytes(
    data: bytes, dtype: str, shape: tuple[int, ...], requires_grad: bool, is_parameter: bool
) -> torch.Tensor:
    """Put a tensor together again; called where a request is unpickled."""
    kind = getattr(torch, dtype)
    flat = torch.frombuffer(bytearray(data), dtype=kind) if data else torch.empty(0, dtype=kind)
    tensor = flat.reshape(shape)
    if is_parameter:
        return nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_(requires_grad)


def is_plain(module: nn.Module) -> bool:
    """Whether a module is its class and its attributes, as modules are by default."""
    kind = type(module)
    return all(getattr(kind, name) is getattr(nn.Module, name) for name in _TAKEN_APART_BY)


def as_attributes(module: nn.Module) -> dict[str, Any]:
    """Return what of a plain module is to be set in an `empty` one of its class."""
    attributes: dict[str, Any] = module.__getstate__()  # type: ignore[no-untyped-call]
    return {
        name: value
        for name, value in attributes.items()
        if type(value) is not _EMPTY.get(name) or value or getattr(value, "__dict__", None)
    }


def empty(kind: type[nn.Module]) -> nn.Module:
    """Make a module with nothing in it; called where a request is unpickled."""
    made = kind.__new__(kind)
    vars(made).update({name: of() for name, of in _EMPTY.items()})
    return made
