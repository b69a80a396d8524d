"""A stranger's text, made fit for where it is shown."""

from __future__ import annotations

import itertools
import re
import unicodedata

_MARKS = {0x061C, 0x200E, 0x200F}
_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, *range(0xFFF9, 0xFFFC), *_MARKS}
"""Signs that turn the direction of what is around them, or mark what is to be left out."""
_UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x200B, 0x3164, 0xFFA0}
_UNSEEN |= {*range(0x2060, 0x2065), *range(0xE0000, 0xE1000)}
"""Signs of which nothing is seen, but for those that join or part letters in some scripts."""
_NAMELESS = {0x00AD, 0x2065, 0x2800, *range(0x180B, 0x1810), *range(0xFFF0, 0xFFF9)}
_NAMELESS |= {*range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)}
"""Signs that are not seen at the end of a line, or in most fonts: two names would look alike."""
_JOINING = {0x200C, 0x200D, *range(0xFE00, 0xFE10)}
_CASELESS = ("Lo", "Lm", "Mn", "Mc", "So", "Sk", "Cf")
"""Categories of what is joined, parted or varied: letters of scripts without case, and pictures."""


def clean(text: str, longest: int | None = None) -> str:
    """Return text of a submission's as any terminal, page or file takes it, cut to `longest`.

    Without control characters, those that turn the direction of writing, and half characters.
    """
    cut = text[:longest].encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign in "\n\t" or _is_shown(sign) else "\ufffd" for sign in cut)


def one_line(name: str) -> str:
    """Return a file's name, or another text that is one line, as any of them takes it.

    Two that differ look different: nothing in it is unseen, but where a script has a use for it.
    """
    whole = name.encode("utf-8", "backslashreplace").decode("utf-8")
    before = ["", *whole]
    return "".join(
        sign if _is_shown(sign) and _is_named(sign, last) else "\ufffd"
        for last, sign in zip(before, whole, strict=False)
    )


def _is_named(sign: str, last: str) -> bool:
    """Whether a sign that is shown may stand in a name, behind `last`."""
    if ord(sign) in _JOINING:
        return bool(last) and unicodedata.category(last) in _CASELESS
    return ord(sign) not in _NAMELESS


def sentence(text: str) -> str:
    """Return what is said on a terminal: as `clean`, with further lines set in.

    A name with a line break in it then makes no line that looks like one of ours.
    """
    return clean(text).replace("\n", "\n    ")


def _is_shown(sign: str) -> bool:
    number = ord(sign)
    is_none = number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF  # of no character, for good
    control = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")
    return not (is_none or control or number in _TURNING or number in _UNSEEN)


_NUMBER = r"[-+] *\d[\d.]*(?:e[-+]?\d+)? *(?:[)\]},]|$)"
_CELL = re.compile(rf'(?:^|[;|\t\n\r]|,(?! *{_NUMBER}))(?=[ "]*[-=+@])')
"""Where a formula would start a cell, whichever sign a spreadsheet splits at; [1, -2] has none."""


def harmless(text: str) -> str:
    """Return a text of which no spreadsheet takes a part for a formula: with an apostrophe before.

    Spreadsheets split at commas or, in much of the world, semicolons, and some pass over signs that
    are not seen, or read wide ones as the narrow.
    """
    seen = "".join(map(_as_read, text))
    starts = [found.end() for found in _CELL.finditer(seen)]
    if text[:1].isspace() and starts[:1] != [0]:
        starts.insert(0, 0)
    parts = [text[start:end] for start, end in itertools.pairwise([0, *starts, len(text)])]
    return "'".join(parts)


def _as_read(sign: str) -> str:
    """Return what a spreadsheet that is not strict may read a sign as."""
    if sign in "\t\n\r":
        return sign
    if sign.isspace() or unicodedata.category(sign) in ("Cf", "Mn", "Me"):
        return " "
    plain = unicodedata.normalize("NFKC", sign)
    return plain if len(plain) == 1 else sign
