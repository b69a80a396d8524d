"""The message format between grader and submission: plain data and tensors, no pickle coming out.

A request is a cloudpickled tuple (trusted → untrusted). A reply is untrusted and is therefore two
bounded parts: msgpack for the plain data, and one safetensors blob for all its tensors, which the
msgpack refers to by number. What does not parse is a `WireError`, whatever the parser raised.

A frame is ``!QII`` (nonce, bytes of the plain part, bytes of the tensor part), then the two parts.
The nonce of a reply repeats the request's.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

HEADER = struct.Struct("!QII")
MAX_PLAIN = 4 << 20  # bytes; a list costs some 60 times its msgpack in memory
MAX_TENSORS = 256 << 20  # bytes
MAX_REQUEST = 512 << 20  # bytes
MAX_DEPTH = 32
MAX_TENSOR_COUNT = 4096
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


class Key(int):
    """The number of an object that stays in the submission's process."""


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

    def pack(item: object, depth: int) -> object:
        if depth > MAX_DEPTH:
            raise WireError(f"a result nested more than {MAX_DEPTH} levels deep")
        if item is None or type(item) in (bool, float, str, bytes):
            return item
        if type(item) is int:
            if not -(1 << 63) <= item < 1 << 64:
                raise WireError("an integer of more than 64 bits")
            return item
        if isinstance(item, np.generic):
            return pack(item.item(), depth + 1)
        if isinstance(item, np.ndarray):
            return pack(torch.from_numpy(np.ascontiguousarray(item)), depth + 1)
        if isinstance(item, torch.Tensor):
            if len(tensors) >= MAX_TENSOR_COUNT:
                raise WireError(f"more than {MAX_TENSOR_COUNT} tensors in one result")
            name = str(len(tensors))
            tensors[name] = plain_tensor(item)
            return msgpack.ExtType(_TENSOR, name.encode())
        if isinstance(item, list):
            return [pack(part, depth + 1) for part in item]
        if isinstance(item, tuple):
            return extension(_TUPLE, [pack(part, depth + 1) for part in item])
        if isinstance(item, (set, frozenset)):
            return extension(_SET, [pack(part, depth + 1) for part in item])
        if isinstance(item, dict):
            return {pack(k, depth + 1): pack(v, depth + 1) for k, v in item.items()}
        return msgpack.ExtType(_HANDLE, struct.pack("!Q", keep(item)))

    def extension(code: int, items: list[object]) -> msgpack.ExtType:
        return msgpack.ExtType(code, _packb(items))

    plain = _packb(pack(value, 0))
    blob = save_tensors(tensors) if tensors else b""
    if len(plain) > MAX_PLAIN or len(blob) > MAX_TENSORS:
        raise WireError("a result larger than a reply may be")
    return plain, blob


def _packb(value: object) -> bytes:
    return bytes(msgpack.packb(value, strict_types=True, unicode_errors="surrogatepass"))


def plain_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return a detached, contiguous copy on the CPU, of no subclass.

    Raises:
        WireError: sparse, quantized, complex, without data, or of another dtype than `DTYPES`.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise WireError("a tensor that is not plain: sparse, quantized or without data")
    if tensor.dtype not in DTYPES:
        raise WireError(f"a tensor of dtype {tensor.dtype}")
    with torch.no_grad():
        return tensor.detach().as_subclass(torch.Tensor).cpu().contiguous().clone()


# ---------------------------------------------------------------------------------------- decoding


def decode(plain: bytes, blob: bytes) -> Any:
    """Decode a reply: plain data, tensors, and `Key`s for what stayed behind.

    Raises:
        WireError: anything that `encode` would not have written.
    """
    try:
        tensors = load_tensors(blob) if blob else {}
        value = _unpack(plain, tensors, 0)
        _inspect(value, 0)
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - hostile bytes: every parser error means the same
        raise WireError(f"a reply that does not parse ({type(error).__name__})") from None
    if any(tensor.dtype not in DTYPES for tensor in tensors.values()):
        raise WireError("a tensor of a dtype that is not allowed")
    return value


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


def _unpack(data: bytes, tensors: dict[str, torch.Tensor], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"a reply nested more than {MAX_DEPTH} levels deep")

    def extension(code: int, body: bytes) -> object:
        if code == _TENSOR:
            return tensors[body.decode("ascii")]
        if code == _HANDLE:
            return Key(struct.unpack("!Q", body)[0])
        if code in (_TUPLE, _SET):
            items = _unpack(body, tensors, depth + 1)
            if type(items) is list:
                return tuple(items) if code == _TUPLE else set(items)
        raise WireError("an unknown kind of value")

    def pairs(items: list[tuple[object, object]]) -> dict[object, object]:
        made = dict(items)
        if len(made) != len(items):
            raise WireError("a dict with colliding keys")
        return made

    return msgpack.unpackb(
        data,
        raw=False,
        strict_map_key=False,
        ext_hook=extension,
        object_pairs_hook=pairs,
        unicode_errors="surrogatepass",
    )


# ---------------------------------------------------------------------------------------- framing


def send(sock: socket.socket, nonce: int, plain: bytes, blob: bytes = b"") -> None:
    """Write one frame; the socket's timeout, if any, bounds each write."""
    sock.sendall(HEADER.pack(nonce, len(plain), len(blob)))
    sock.sendall(plain)
    if blob:
        sock.sendall(blob)


def receive(
    sock: socket.socket, limits: tuple[int, int], deadline: float = math.inf
) -> tuple[int, bytes, bytes]:
    """Read one frame as (nonce, plain part, tensor part).

    Args:
        sock: a stream socket.
        limits: the largest plain and tensor part accepted, in bytes.
        deadline: a `time.monotonic()` by which the whole frame must be there.

    Raises:
        TimeoutError: the deadline passed.
        EOFError: the other side closed.
        WireError: a part longer than its limit.
    """
    nonce, plain, blob = HEADER.unpack(_exactly(sock, HEADER.size, deadline))
    if plain > limits[0] or blob > limits[1]:
        raise WireError("a reply larger than a reply may be")
    return nonce, _exactly(sock, plain, deadline), _exactly(sock, blob, deadline)


def _exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    """Read `count` bytes, growing as they come: a length is a claim, not an allocation."""
    data = bytearray()
    while len(data) < count:
        if deadline < math.inf:
            sock.settimeout(max(deadline - time.monotonic(), 1e-3))
        chunk = sock.recv(min(count - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(data)
