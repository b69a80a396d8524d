"""A notebook's JSON without what nobody grades, as it is read: outputs, widget state, attachments.

Nothing is parsed yet: lists and objects behind these keys are passed over piece by piece, so that
pictures of any size cost no memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_KEPT = 40 << 20
"""Bytes of a file without its outputs."""
MAX_NESTED = 300_000
"""Lists and objects in outputs: each that holds others costs a step."""


class TooMuch(Exception):
    """There is more than may be kept, or passed over; the text says of what."""


_TEXT = rb'"(?:[^"\\]++|\\.)*+"'
_DROPPED = rb'"(?:outputs|attachments|widgets)"\s{0,8}'
_KEPT = re.compile(rb'(?:[^"]++|(?!' + _DROPPED + rb"(?::|\Z))" + _TEXT + rb")*+", re.DOTALL)
"""What goes on, up to a key whose value is dropped, or to a text that is not whole yet."""
_KEY = re.compile(_DROPPED + rb":\s{0,8}[\[{]")
_FLAT = rb'(?:[^"\[\]{}]++|' + _TEXT + rb")*+"
_PASSED = re.compile(
    rb'(?:[^"\[\]{}]++|' + _TEXT + rb"|\[" + _FLAT + rb"\]|\{" + _FLAT + rb"\})*+", re.DOTALL
)
"""What is passed over, up to the start or end of a list or object that holds others."""
_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_LONGEST = 64
"""Bytes of a key that is looked for, with the white space and the sign behind it, and more."""


class Lean:
    """Takes a file piece by piece, and keeps it without the values that are dropped.

    Attributes:
        kept: what is left so far; a line that was dropped is left as a line, so that errors name
            the lines of the file.
    """

    def __init__(self) -> None:
        """Begin at the start of a file."""
        self.kept = bytearray()
        self._waits = b""
        self._depth, self._nested = 0, 0
        self._in_text = False

    def take(self, piece: bytes, is_last: bool = False) -> None:
        """Take the next bytes of the file.

        Raises:
            TooMuch: more is left than `MAX_KEPT`, or more was passed over than `MAX_NESTED`.
        """
        data, at = self._waits + piece, 0
        while at < len(data):
            went = self._text(data, at) if self._in_text else self._step(data, at, is_last)
            if went == at:
                break
            at = went
        self._waits = data[at:]
        if is_last:
            self._put(self._waits)
            self._waits = b""

    def _text(self, data: bytes, at: int) -> int:
        """Go to the end of a text that an earlier piece began."""
        if data.find(b'"', at) < 0:  # as in a picture, at the speed of memory
            backslashes = len(data) - len(data.rstrip(b"\\"))
            end = len(data) - backslashes % 2
        else:
            found = _REST.match(data, at)
            assert found is not None
            end = found.end()
        if data[end : end + 1] == b'"':
            self._in_text, end = False, end + 1
        self._put(data[at:end])
        return end

    def _step(self, data: bytes, at: int, is_last: bool) -> int:
        """Go on to the next place where it is to be decided, and decide; return where that is."""
        found = (_PASSED if self._depth else _KEPT).match(data, at)
        assert found is not None
        end = found.end()
        self._put(data[at:end])
        sign = data[end : end + 1]
        if sign == b'"':
            return self._quote(data, end, is_last)
        if sign:
            self._depth += 1 if sign in b"[{" else -1
            self._nested += 1
            if self._nested > MAX_NESTED:
                raise TooMuch(f"more than {MAX_NESTED:,} lists and objects in its outputs")
            if not self._depth:
                self.kept += sign
            end += 1
        return end

    def _quote(self, data: bytes, at: int, is_last: bool) -> int:
        """Decide on a text whose end is not there yet, or on a key whose value may be dropped."""
        if not self._depth:
            if key := _KEY.match(data, at):
                self._put(key[0])
                self._depth = 1
                return key.end()
            if len(data) - at < _LONGEST and not is_last:
                return at
        self._in_text = True
        self._put(b'"')
        return at + 1

    def _put(self, data: bytes) -> None:
        self.kept += b"\n" * data.count(b"\n") if self._depth else data
        if len(self.kept) > MAX_KEPT:
            raise TooMuch(f"more than {MAX_KEPT >> 20} MB without its outputs")


def lean(pieces: Iterable[bytes]) -> bytes:
    """Return a file without the values that are dropped.

    Raises:
        TooMuch: as `Lean.take` does.
    """
    made = Lean()
    for piece in pieces:
        made.take(piece)
    made.take(b"", is_last=True)
    return bytes(made.kept)
