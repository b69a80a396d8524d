"""How the property-based tests run, and what several of them draw from.

They try the same examples each time: a test that turns red was turned by a change, not by chance.
`HYPOTHESIS_PROFILE=long` tries many new ones, and prints how to repeat the one that failed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

from hypothesis import settings
from hypothesis import strategies as st

settings.register_profile("short", max_examples=150, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=5_000, deadline=None, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
"""Text, lone surrogates included."""


class _Slow(BaseException):
    """Passes the handlers of the code under test, which catch every `Exception`."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail where the block takes longer, without waiting for its end."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise _Slow

    was = signal.signal(signal.SIGALRM, ring)
    start = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again: a callback may swallow the first
    try:
        yield
    except _Slow:
        raise AssertionError(f"more than {seconds} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
    assert time.monotonic() - start <= seconds


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes with a few bits flipped, bytes put in or taken out, or the end cut off."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(made) - 1, 0)))
        match draw(st.sampled_from(("flip", "insert", "remove", "cut"))):
            case "flip" if made:
                made[at] ^= 1 << draw(st.integers(0, 7))
            case "insert":
                made[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "remove":
                del made[at : at + draw(st.integers(1, 8))]
            case "cut":
                del made[at:]
    return bytes(made)
