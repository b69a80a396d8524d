"""A matplotlib picture as SVG inside a page: in the page's own colours, light, dark and printed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, ON = "#000000", "#000003"
GOOD, PART, BAD = "#000004", "#000005", "#000006"
COLOURS = {
    INK: "currentColor",
    ON: "var(--on)",
    GOOD: "var(--good)",
    PART: "var(--part)",
    BAD: "var(--bad)",
}
"""What a picture is drawn in, and what the page draws it in: its text's colour, that of text on a
bar, and three that tell good, middling and bad apart."""
_RULES: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "",
    "text.parse_math": False,
    "font.size": 10,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"


def picture(
    name: str, alt: str, size: tuple[float, float], draw: Callable[[Figure], None]
) -> Markup:
    """Return a picture as an inline SVG element.

    Args:
        name: unique on the page; letters, digits and hyphens.
        alt: what the picture shows, in figures.
        size: width and height in inches; text is 10 points.
        draw: draws it, in the colours of this module.
    """
    with matplotlib.rc_context(_RULES):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        written = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(written, format="svg", metadata=nothing)
    root = ElementTree.fromstring(written.getvalue())
    _fit(root, name)
    for size_given in ("width", "height"):
        del root.attrib[size_given]
    root.set("role", "img")
    root.set("aria-label", alt)
    text = ElementTree.tostring(root, encoding="unicode")
    return Markup(text)


def _fit(root: ElementTree.Element, name: str) -> None:
    """Take from a picture what the page has or must not have twice: styles, fonts, ids, colours."""
    for definitions in root.findall(f"{_NAMESPACE}defs"):
        for style in definitions.findall(f"{_NAMESPACE}style"):
            definitions.remove(style)  # rules for every element of the page
    for element in root.iter():
        element.tag = element.tag.removeprefix(_NAMESPACE)
        kept = element.tag in ("path", "clipPath") and "id" in element.attrib
        if kept:
            element.set("id", f"{name}-{element.get('id')}")
        else:
            element.attrib.pop("id", None)
        if _LINK in element.attrib:
            element.set("href", f"#{name}-{element.attrib.pop(_LINK)[1:]}")
        if "clip-path" in element.attrib:
            element.set("clip-path", element.attrib["clip-path"].replace("#", f"#{name}-"))
        if "style" in element.attrib:
            element.set("style", _restyled(element.attrib["style"]))


def _restyled(style: str) -> str:
    style = re.sub(r"; *font-family:[^;]*|font-family:[^;]*; *", "", style)
    return re.sub(r"#[0-9a-f]{6}", lambda found: COLOURS.get(found[0], found[0]), style)
