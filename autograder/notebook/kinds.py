"""What a file really is that is no notebook, and what its owner can do: sentences for a person."""

from __future__ import annotations

import json
import re
from typing import Any

ITSELF = "Hand in the notebook itself (.ipynb)."
AGAIN = "Open it in Jupyter and save it again."

_STARTS = {
    b"%PDF": f"a PDF. {ITSELF}",
    b"\x89PNG": f"a picture. {ITSELF}",
    b"\xff\xd8\xff": f"a picture. {ITSELF}",
    b"\x1f\x8b": f"packed by gzip. Unpack it. {ITSELF}",
    b"Rar!": f"a RAR archive. Unpack it. {ITSELF}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive. Unpack it. {ITSELF}",
    b"\xd0\xcf\x11\xe0": f"a document of Word, or of another Office program. {ITSELF}",
    b"version https://git-lfs": (
        "a Git LFS pointer: the notebook itself was not downloaded. Run `git lfs pull`, and hand "
        "in the file that is there then."
    ),
}
OFFICE = _STARTS[b"\xd0\xcf\x11\xe0"]
_PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head)\b",
    re.DOTALL | re.IGNORECASE,
)
_EXPORT = re.compile(rb"nbconvert|\bjp-(?:Notebook|Cell|RenderedHTML)|jupyter", re.IGNORECASE)
_MARKS = re.compile(r"^[ \t]*(?:<{7}|>{7})(?: |$)", re.MULTILINE)
_OTHER_KERNELS = {"ir": "R", "xr": "R", "julia": "Julia", "octave": "Octave", "matlab": "MATLAB"}


def of_bytes(data: bytes) -> str:
    """Say what a file is by how it begins, or nothing where that is no sign."""
    if not data.strip():
        return "the file is empty. Save the notebook again."
    for start, what in _STARTS.items():
        if data.startswith(start):
            return what
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4]:
        return "UTF-16 text, or none at all; a notebook is UTF-8. Save it again in Jupyter."
    head = data.removeprefix(b"\xef\xbb\xbf")
    if _PAGE.match(head[:4_000]):
        if _EXPORT.search(head[:1_000_000]):
            return f"an HTML export of a notebook. {ITSELF}"
        return (
            "a web page saved as a notebook. On that page use the Raw or Download button, and hand "
            "in what it gives."
        )
    return ""


def of_broken(text: str, error: json.JSONDecodeError) -> str:
    """Say why a text is no JSON, after `error` of its parser."""
    if found := _MARKS.search(text):
        line = text.count("\n", 0, found.start()) + 1
        return (
            f"merge conflict marks in line {line} ({found[0].strip()}). Keep one side of each "
            "conflict, delete the marks, and save it again."
        )
    whole = text.rstrip()
    is_short = not whole.endswith("}") or error.pos >= len(whole)
    if whole.startswith("{") and is_short and not error.msg.startswith("Extra data"):
        return "it ends half way: it was not saved, or not uploaded, whole. Upload it again."
    return f"not a notebook ({error}). {AGAIN}"


def of_json(value: object) -> str:
    """Say what JSON is that is no notebook, or nothing where it has cells."""
    if not isinstance(value, dict):
        return f"JSON, but not a notebook. {ITSELF}"
    if "cells" in value or "worksheets" in value:
        return ""
    url = value.get("url")
    if "doc_id" in value or (isinstance(url, str) and "google.com" in url):
        return (
            "a Drive pointer, which only says where the notebook is. In Colab: File, Download, "
            "Download .ipynb."
        )
    return f"JSON, but not a notebook: it has no cells. {ITSELF}"


def other_language(metadata: dict[str, Any]) -> str:
    """Return the language that a notebook's kernel has, if it is not Python; empty if unknown."""
    kernel, language = (
        each if isinstance(each, dict) else {}
        for each in (metadata.get("kernelspec"), metadata.get("language_info"))
    )
    told = [kernel.get("language"), language.get("name"), _OTHER_KERNELS.get(_family(kernel))]
    names = [name for name in told if isinstance(name, str) and re.fullmatch(r"[\w+#. -]+", name)]
    is_python = any("python" in name.lower() for name in names)
    return "" if is_python or not names else names[0][:40]


def of_language(language: str) -> str:
    """Say what a notebook in another language is."""
    article = "an" if language == "R" or language[0] in "AEIOU" else "a"
    return (
        f"{article} {language} notebook, by its kernel. The answers are in Python: choose the "
        "kernel Python 3, and answer there."
    )


def _family(kernel: dict[str, Any]) -> str:
    name = kernel.get("name")
    return name.partition("-")[0] if isinstance(name, str) else ""
