"""A stranger's text, made fit for where it is shown."""

from __future__ import annotations


def clean(text: str, longest: int | None = None) -> str:
    """Return text of a submission's as any terminal, page or file takes it, cut to `longest`."""
    cut = text[:longest].encode("utf-8", "replace").decode("utf-8")
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in cut)


def harmless(text: str) -> str:
    """Return a text as no spreadsheet takes it for a formula: with an apostrophe where it might."""
    starts = text[:1].isspace() or text.lstrip()[:1] in ("=", "+", "-", "@")
    return f"'{text}" if starts else text
