"""What nbgrader's pages show of a stranger's cells: it runs and loads nothing, and is soon there.

The parsers of markdown, HTML and code that nbconvert calls take minutes, or for ever, over a text
made for that: what is long or oddly spaced is shown as it is written, in which nothing is parsed.
"""

from __future__ import annotations

import html
import re
from typing import Any

from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat import NotebookNode

MAX_CELL, MAX_NOTEBOOK = 10_000, 150_000
"""Characters, of a cell and of all of them, that are laid out and coloured: a lesson has 66,000."""
SAFE_TAGS = (
    "a b blockquote br code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span "
    "strong sub summary sup table tbody td th thead tr u ul"
)
_COLOURS = re.compile(r"highlight( hl-\w+)?|[a-z][a-z0-9]{0,2}")
"""The classes of highlighted code. Any other could be one that formgrader's scripts act on."""
_GAP = re.compile(r"\s{100}")
"""Over such a run, patterns of the markdown parser and of Python's colours try all its parts."""
_COLOURED = ("python", "python3", "py")
"""Patterns of some other languages, of which there are 500, never end on a text made for them."""


class _AsWritten(str):
    """A cell's text that comes after `MAX_NOTEBOOK`."""


class SanitizeOutputs(SanitizeHTML):
    """Sanitizes all but markdown, which `safe_html` does once it is HTML: in markdown's own text a
    link to ``javascript:`` is no tag, and a `<` in code would be escaped twice.
    """

    def preprocess(self, nb: NotebookNode, resources: Any) -> Any:
        """Return the notebook, its cells marked once they are more than a page lays out."""
        left = MAX_NOTEBOOK
        for cell in nb.cells:
            left -= len(cell.source)
            if left < 0:
                cell.source = _AsWritten(cell.source)
        return super().preprocess(nb, resources)  # type: ignore[no-untyped-call]

    def preprocess_cell(self, cell: NotebookNode, resources: Any, index: int) -> Any:
        """Return the cell, sanitized unless it is markdown."""
        if cell.cell_type == "markdown":
            return cell, resources
        return super().preprocess_cell(cell, resources, index)  # type: ignore[no-untyped-call]


def safe_html(markdown: str) -> str:
    """Return markdown as HTML that runs and loads nothing: other markup is shown as text."""
    if not _is_light(markdown):
        return _as_written(markdown)
    try:
        made = MarkdownWithMath(renderer=_Renderer(escape=False)).render(markdown)
        sanitizer = SanitizeHTML(tags=SAFE_TAGS.split(), attributes=_is_harmless)
        return _without_brackets(str(sanitizer.sanitize_html_tags(made)))
    except Exception:  # noqa: BLE001 - parsers of hostile text raise anything; it can still be read
        return _as_written(markdown)


def safe_code(source: str, **_: object) -> str:
    """Return code as HTML, coloured as Python: a magic's other language is not."""
    if not _is_light(source):
        return f'<div class="highlight">{_as_written(source)}</div>'
    return str(Highlight2HTML("python3")(source))


def _is_light(text: str) -> bool:
    return not isinstance(text, _AsWritten) and len(text) <= MAX_CELL and _GAP.search(text) is None


def _as_written(text: str) -> str:
    return f"<pre>{_without_brackets(html.escape(text))}</pre>"


def _without_brackets(text: str) -> str:
    # from each bracket, nbconvert's next filter looks through the line for a link into files/
    return text.replace("[", "&#91;")


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if name == "class":
        return _COLOURS.fullmatch(value) is not None
    return (tag, name) == ("a", "href")  # of http, https or mailto: the sanitizer sees to it


class _Renderer(IPythonRenderer):
    """nbconvert's own, which colours Python only and does not look for attachments."""

    def block_code(self, code: str, info: str | None = None) -> str:
        is_coloured = (info or "").split(maxsplit=1)[:1] in ([name] for name in _COLOURED)
        return str(super().block_code(code, info if is_coloured else None))

    def _embed_image_or_attachment(self, src: str) -> str:
        return src  # bare cells have none, and pictures are shown as text
