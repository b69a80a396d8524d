"""The message format between grader and submission: plain data and tensors, no pickle coming out.

A request is a cloudpickled tuple (trusted → untrusted). A reply is untrusted and is therefore two
bounded parts: msgpack for the plain data, and one safetensors blob for all its tensors, which the
msgpack refers to by number. What does not parse is a `WireError`, whatever the parser raised.
"""

from __future__ import annotations

import itertools
import math
import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
import torch
from safetensors import TensorSpec, serialize
from safetensors.torch import load as load_tensors

MAX_PLAIN = 1 << 20  # bytes; an empty list costs some 60 times its msgpack in memory
MAX_TENSORS = 256 << 20  # bytes
MAX_TENSOR_HEADER = 1 << 20  # bytes
MAX_REQUEST = 512 << 20  # bytes
MAX_DEPTH = 32
MAX_ITEMS = 200_000
MAX_TENSOR_COUNT = 4096
MAX_DIMENSIONS = 16
MAX_EMPTY_ROWS = 1 << 16
MAX_ODD_KEYS = 250
"""Keys of a dict, or members of a set, that are not text: other types' hashes can be forged."""
DTYPES = frozenset(
    {
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    }
)
_TENSOR, _TUPLE, _SET, _HANDLE = 1, 2, 3, 4
_KIND = re.compile(r"(nn\.)?[A-Za-z_][A-Za-z_0-9]{0,39}")


@dataclass(frozen=True)
class Key:
    """The number of an object that stays in the submission's process: equal to no plain number."""

    number: int
    kind: str = field(default="", compare=False)
    """what its class is called there, where that is a plain name: the submission's word"""


PLAIN_TYPES = (bool, int, float, str, bytes, torch.Tensor, Key)


class WireError(Exception):
    """A message that breaks the format, or a value that the format does not carry."""


# ---------------------------------------------------------------------------------------- encoding


def encode(value: object, keep: Callable[[object], int]) -> tuple[bytes, bytes]:
    """Encode a reply as (plain part, tensor part).

    `keep` stores an object of any other type in the submission's process and returns its number.

    Raises:
        WireError: too deep, too large, or a tensor of a kind that cannot be compared.
    """
    tensors: dict[str, torch.Tensor] = {}
    items = itertools.count(1)

    def pack(item: object, depth: int) -> object:
        if depth > MAX_DEPTH:
            raise WireError(f"a result nested more than {MAX_DEPTH} levels deep")
        if next(items) > MAX_ITEMS:
            raise WireError(f"a result of more than {MAX_ITEMS:,} items")
        if item is None or type(item) in (bool, float, str, bytes):
            return item
        if type(item) is int:
            if not -(1 << 63) <= item < 1 << 64:
                raise WireError("an integer of more than 64 bits")
            return item
        if isinstance(item, (np.generic, np.ndarray)):
            return pack(from_numpy(item), depth + 1)
        if isinstance(item, torch.Tensor):
            if len(tensors) >= MAX_TENSOR_COUNT:
                raise WireError(f"more than {MAX_TENSOR_COUNT} tensors in one result")
            name = str(len(tensors))
            tensors[name] = plain_tensor(item)
            return msgpack.ExtType(_TENSOR, name.encode())
        # by the base's own methods: a subclass may iterate over something else than it holds
        if isinstance(item, list):
            return [pack(part, depth + 1) for part in list.__iter__(item)]
        if isinstance(item, tuple):
            return extension(_TUPLE, [pack(part, depth + 1) for part in tuple.__iter__(item)])
        if isinstance(item, (set, frozenset)):
            _check_keys(item)
            return extension(_SET, [pack(part, depth + 1) for part in item])
        if isinstance(item, dict):
            _check_keys(item)
            return {pack(k, depth + 1): pack(v, depth + 1) for k, v in dict.items(item)}
        return msgpack.ExtType(_HANDLE, struct.pack("!Q", keep(item)) + kind_of(item).encode())

    def extension(code: int, items: list[object]) -> msgpack.ExtType:
        return msgpack.ExtType(code, _packb(items))

    plain = _packb(pack(value, 0))
    blob = serialize({name: _spec(each) for name, each in tensors.items()}) if tensors else b""
    if len(plain) > MAX_PLAIN or len(blob) > MAX_TENSORS:
        raise WireError("a result larger than a reply may be")
    return plain, blob


def kind_of(item: object) -> str:
    """Return what an object's class is called: ``nn.Linear``; nothing if that is no plain name."""
    name, module = type(item).__name__, type(item).__module__
    if type(name) is not str or type(module) is not str:  # a submission's class may have any
        return ""
    name = f"nn.{name}" if module.startswith("torch.nn.") else name
    return name if _KIND.fullmatch(name) else ""


def with_article(kind: str) -> str:
    """Return a class's name with its article, or, where it has none, what can be said of it."""
    known = {"": "an object of another type", "type": "a class", "Tensor": "a tensor"}
    vowel = kind[:1] in "AEIOUaeiou" or kind.startswith("nn.")
    return known.get(kind) or f"{'an' if vowel else 'a'} {kind}"


def _spec(tensor: torch.Tensor) -> TensorSpec:
    """Say where a plain tensor lies: `safetensors.torch.save` takes ten times as long to."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(
        dtype=dtype, shape=tensor.shape, data_ptr=tensor.data_ptr(), data_len=tensor.nbytes
    )


def _packb(value: object) -> bytes:
    return bytes(msgpack.packb(value, strict_types=True, unicode_errors="surrogatepass"))


def from_numpy(item: np.generic | np.ndarray[Any, Any]) -> object:
    """Return a scalar as Python's own, an array as a tensor.

    Raises:
        WireError: of a dtype that neither has.
    """
    try:
        value = torch.from_numpy(np.array(item)) if isinstance(item, np.ndarray) else item.item()
    except (TypeError, ValueError):
        raise WireError(f"an array of dtype {item.dtype}") from None
    if isinstance(value, np.generic):
        raise WireError(f"a number of dtype {item.dtype}")
    return value


def plain_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a detached, contiguous copy on the CPU, of no subclass.

    Raises:
        WireError: sparse, quantized, complex, without data, or of another dtype than `DTYPES`.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise WireError("a tensor that is not plain: sparse, quantized or without data")
    if tensor.dtype not in DTYPES:
        raise WireError(f"a tensor of dtype {tensor.dtype}")
    if tensor.dim() > MAX_DIMENSIONS:
        raise WireError(f"a tensor of more than {MAX_DIMENSIONS} dimensions")
    if _is_hollow(tensor):
        raise WireError(f"a tensor of more than {MAX_EMPTY_ROWS:,} empty rows")
    with torch.no_grad():
        return tensor.detach().as_subclass(torch.Tensor).cpu().contiguous().clone()


# ---------------------------------------------------------------------------------------- decoding


def decode(plain: bytes, blob: bytes) -> Any:
    """Decode a reply: plain data, tensors, and `Key`s for what stayed behind.

    Raises:
        WireError: anything that `encode` would not have written.
    """
    try:
        value = _unpack(plain, _tensors(blob), _Items(MAX_ITEMS), 0)
        _inspect(value, 0)
        return value
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - hostile bytes: every parser error means the same
        raise WireError(f"a reply that does not parse ({type(error).__name__})") from None


def _tensors(blob: bytes) -> dict[str, torch.Tensor]:
    """Read the tensor part, of bounded count: what its header claims is bounded by its length."""
    if not blob:
        return {}
    if int.from_bytes(blob[:8], "little") > MAX_TENSOR_HEADER:
        raise WireError("a reply whose tensors' header is too long")
    tensors: dict[str, torch.Tensor] = load_tensors(blob)
    if len(tensors) > MAX_TENSOR_COUNT:
        raise WireError(f"more than {MAX_TENSOR_COUNT} tensors in one reply")
    for tensor in tensors.values():
        if tensor.dtype not in DTYPES:
            raise WireError("a tensor of a dtype that is not allowed")
        if tensor.dim() > MAX_DIMENSIONS:
            raise WireError(f"a tensor of more than {MAX_DIMENSIONS} dimensions")
        if _is_hollow(tensor):
            raise WireError(f"a tensor of more than {MAX_EMPTY_ROWS:,} empty rows")
        if tensor.dtype == torch.bool and (tensor.view(torch.uint8) > 1).any():
            raise WireError("a tensor of bools that are neither true nor false")
    return tensors


class _Items:
    """How many items a reply may still hold, over all its parts."""

    def __init__(self, left: int) -> None:
        self._left = left

    def take(self, count: int) -> None:
        self._left -= 1 + count
        if self._left < 0:
            raise WireError(f"a result of more than {MAX_ITEMS:,} items")


def _inspect(value: object, depth: int) -> None:
    """Refuse what msgpack reads but `encode` never writes: other types, or a deeper nesting."""
    if depth > MAX_DEPTH:
        raise WireError(f"a reply nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, (list, tuple, set)):
        for part in value:
            _inspect(part, depth + 1)
    elif isinstance(value, dict):
        for part in (*value, *value.values()):
            _inspect(part, depth + 1)
    elif value is not None and type(value) not in PLAIN_TYPES:
        raise WireError("an unknown kind of value")


def _check_keys(keys: Iterable[object]) -> None:
    """Refuse keys whose look-up could take a minute, or that are sets or tensors themselves."""
    odd = [key for key in keys if type(key) is not str]
    if len(odd) > MAX_ODD_KEYS:
        raise WireError(f"a dict or set with more than {MAX_ODD_KEYS:,} keys that are not text")
    if any(map(_has_parts, odd)):
        raise WireError("a dict or set whose keys are sets or tensors")


def _has_parts(key: object) -> bool:
    if isinstance(key, tuple):
        return any(map(_has_parts, key))
    return isinstance(key, (set, frozenset, torch.Tensor))


def _is_hollow(tensor: torch.Tensor) -> bool:
    """Whether a tensor has many rows with nothing in them: a list of them may cost gigabytes."""
    rows = itertools.takewhile(lambda size: size > 0, tensor.shape)
    return tensor.numel() == 0 and math.prod(rows) > MAX_EMPTY_ROWS


def _unpack(data: bytes, tensors: dict[str, torch.Tensor], items: _Items, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"a reply nested more than {MAX_DEPTH} levels deep")

    def extension(code: int, body: bytes) -> object:
        items.take(1)
        if code == _TENSOR:
            return tensors.pop(body.decode("ascii"))  # each is there once
        if code == _HANDLE:
            kind = body[8:].decode("ascii")
            return Key(struct.unpack("!Q", body[:8])[0], kind if _KIND.fullmatch(kind) else "")
        if code in (_TUPLE, _SET):
            parts = _unpack(body, tensors, items, depth + 1)
            if type(parts) is list and code == _TUPLE:
                return tuple(parts)
            if type(parts) is list:
                _check_keys(parts)
                return set(parts)
        raise WireError("an unknown kind of value")

    def parts_of(found: list[object]) -> list[object]:
        items.take(len(found))
        return found

    def pairs(found: list[tuple[object, object]]) -> dict[object, object]:
        items.take(2 * len(found))
        _check_keys(key for key, _ in found)
        made = dict(found)
        if len(made) != len(found):
            raise WireError("a dict with colliding keys")
        return made

    return msgpack.unpackb(
        data,
        raw=False,
        strict_map_key=False,
        ext_hook=extension,
        list_hook=parts_of,
        object_pairs_hook=pairs,
        unicode_errors="surrogatepass",
    )
