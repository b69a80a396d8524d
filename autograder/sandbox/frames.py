"""How a message goes over the socket between grader and submission.

A frame is ``!QII`` (nonce, bytes of the plain part, bytes of the tensor part), then the two parts.
The nonce of a reply repeats the request's.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from autograder.sandbox.wire import WireError

HEADER = struct.Struct("!QII")
AT_ONCE = 1 << 14
"""Bytes asked for at the least: most frames are smaller, and are read in one call."""


def send(sock: socket.socket, nonce: int, plain: bytes, blob: bytes = b"") -> None:
    """Write one frame, in one call if it can be; the socket's timeout, if any, bounds each."""
    parts = (HEADER.pack(nonce, len(plain), len(blob)), plain, blob)
    sent = sock.sendmsg(parts)
    for part in parts:
        if sent < len(part):
            sock.sendall(memoryview(part)[sent:])
        sent = max(sent - len(part), 0)


def receive(
    sock: socket.socket,
    limits: tuple[int, int],
    deadline: float = math.inf,
    more: Callable[[], float] = lambda: 0.0,
) -> tuple[int, bytes, bytes]:
    """Read one frame as (nonce, plain part, tensor part).

    Args:
        sock: a stream socket.
        limits: the largest plain and tensor part accepted, in bytes.
        deadline: a `time.monotonic()` by which the whole frame must be there.
        more: asked where it is not: how many seconds it may take from then on.

    Raises:
        TimeoutError: the deadline passed, and there were no more.
        EOFError: the other side closed.
        WireError: a part longer than its limit, or something behind the frame.
    """
    until, data = _Until(deadline, more), bytearray()
    _fill(sock, data, HEADER.size, until)
    nonce, plain, blob = HEADER.unpack_from(data)
    if plain > limits[0] or blob > limits[1]:
        raise WireError("a reply larger than a reply may be")
    _fill(sock, data, HEADER.size + plain + blob, until)
    if len(data) > HEADER.size + plain + blob:
        raise WireError("more than one reply")
    parts, end = memoryview(data), HEADER.size + plain
    return nonce, bytes(parts[HEADER.size : end]), bytes(parts[end:])


@dataclass
class _Until:
    """A deadline that may be put off."""

    deadline: float
    more: Callable[[], float]

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: there are none.
        """
        if (left := self.deadline - time.monotonic()) > 0:
            return left
        if (more := self.more()) <= 0:
            raise TimeoutError
        self.deadline = time.monotonic() + more
        return more


def _fill(sock: socket.socket, data: bytearray, count: int, until: _Until) -> None:
    """Read until there are `count` bytes at least: a length is a claim, not an allocation."""
    while len(data) < count:
        if until.deadline < math.inf:
            sock.settimeout(until.left())
        try:
            chunk = sock.recv(min(max(count - len(data), AT_ONCE), 1 << 20))
        except TimeoutError:
            continue  # whether there is more is asked above
        except ConnectionError:  # it closed with something of ours unread
            raise EOFError from None
        if not chunk:
            raise EOFError
        data += chunk
