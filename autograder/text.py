"""A stranger's text, made fit for where it is shown."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""Invisible, and part of how some scripts and emoji are written."""


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


def _is_shown(sign: str) -> bool:
    return sign.isprintable() or sign in _JOINERS or unicodedata.category(sign) == "Zs"


def harmless(text: str) -> str:
    """Return a text as no spreadsheet takes it for a formula: with an apostrophe where it might."""
    starts = text[:1].isspace() or text.lstrip()[:1] in ("=", "+", "-", "@")
    return f"'{text}" if starts else text
