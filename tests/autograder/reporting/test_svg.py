"""A picture inside a page: its own ids, the page's colours, and its words outside in alt."""

import re
from xml.etree import ElementTree

from autograder.reporting import svg


def draw(figure):
    axes = figure.add_subplot()
    axes.bar([1, 2], [3, 4], color=svg.GOOD)
    axes.scatter([1, 2], [1, 2], color=svg.BAD)
    axes.set_xlabel("a & <b> $x_{")


def drawn(name="one", alt="Two bars."):
    return str(svg.picture(name, alt, (5, 2.5), draw))


def test_a_picture_is_one_element_of_the_page():
    text = drawn(alt='3 < 4 & "x"')
    root = ElementTree.fromstring(text)
    assert root.tag == "svg" and text.startswith("<svg")
    assert root.attrib["role"] == "img" and root.attrib["aria-label"] == '3 < 4 & "x"'
    assert "width" not in root.attrib and "viewBox" in root.attrib
    assert not [each for each in root.iter() if each.tag in ("style", "metadata", "script")]
    assert "a & <b> $x_{" in [each.text for each in root.iter("text")]


def test_its_ids_are_its_own_and_all_that_it_refers_to_is_there():
    one, other = drawn("one"), drawn("two")
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    for text, own in zip((one, other), ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) - {("", "")}
        referred = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)}
        assert referred <= own


def test_its_colours_and_letters_are_the_page_s():
    text = drawn()
    assert "currentColor" in text and "var(--good)" in text and "var(--bad)" in text
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(url\(|href=")#[^)"]+', "", text))
    assert "font-family" not in text


def test_the_same_picture_is_the_same_text():
    assert drawn() == drawn()
