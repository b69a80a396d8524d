"""A stranger's text, made fit for where it is shown."""

from __future__ import annotations

import unicodedata

_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, *range(0xFFF9, 0xFFFC)}
"""Signs that turn the direction of what is around them, or mark what is to be left out."""


def clean(text: str, longest: int | None = None) -> str:
    """Return text of a submission's as any terminal, page or file takes it, cut to `longest`.

    Without control characters, those that turn the direction of writing, and half characters.
    """
    cut = text[:longest].encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign in "\n\t" or _is_shown(sign) else "\ufffd" for sign in cut)


def one_line(name: str) -> str:
    """Return a file's name, or another text that is one line, as any of them takes it."""
    whole = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(sign if _is_shown(sign) else "\ufffd" for sign in whole)


def sentence(text: str) -> str:
    """Return what is said on a terminal: as `clean`, with further lines set in.

    A name with a line break in it then makes no line that looks like one of ours.
    """
    return clean(text).replace("\n", "\n    ")


def _is_shown(sign: str) -> bool:
    number = ord(sign)
    is_none = number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF  # of no character, for good
    control = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")
    return not (is_none or control or number in _TURNING)


def harmless(text: str) -> str:
    """Return a text as no spreadsheet takes it for a formula: with an apostrophe where it might."""
    seen = (sign for sign in text if not sign.isspace() and unicodedata.category(sign) != "Cf")
    starts = text[:1].isspace() or next(seen, "") in ("=", "+", "-", "@")
    return f"'{text}" if starts else text
