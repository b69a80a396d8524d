"""nbgrader's pages: what a stranger's markdown and code may do there, and how long they take."""

import re
import time
from html import unescape

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from nbconvert.filters import markdown2html, strip_files_prefix
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from autograder.catalogue import lessons
from autograder.lms import nbgrader, pages
from autograder.lms.pages import safe_code, safe_html

SOME, MB = 200_000, 1_000_000


@pytest.mark.parametrize(
    "markdown",
    [
        "[x](javascript:go())", "<a href='javascript:go()'>x</a>", "<script>go()</script>",
        "<img src=x onerror='go()'>", "![x](http://far.example/x.png)", "[x](data:text/html,go)",
        "<b id='explain_lora'>x</b>", "<b class='full-credit'>x</b>", "<b onclick='go()'>x</b>",
        "<form action='/'><input></form>", "<style>b {}</style>", "$<script>go()</script>$",
    ],
)  # fmt: skip
def test_markup_of_a_stranger_s_does_nothing(markdown):
    html = safe_html(markdown)
    for harm in ("<script", "<img", "<style", "<form", "<input", 'href="', "id=", "full-credit'>"):
        assert harm not in html
    assert "class=" not in html and "onclick=" not in html.replace("&lt;b onclick=", "")


def test_honest_markdown_reads_as_it_should():
    html = safe_html(
        "`r < d`, r << d: [x](https://a.example)\n\n> so\n\n```python\nif a < b: c\n```"
    )
    assert "<code>r &lt; d</code>" in html and "r &lt;&lt; d" in html
    assert '<a href="https://a.example">x</a>' in html and "<blockquote>" in html
    assert '<span class="k">if</span>' in html
    table = safe_html("| a | b |\n|---|---|\n| 1 | 2 |")
    assert "<td>1</td>" in table and "$x^2$" in safe_html("$x^2$")


def test_the_lessons_own_text_is_shown_whole():
    for lesson in lessons.catalogue():
        for cell in nbformat.read(lesson.notebook, as_version=4).cells:
            if cell.cell_type == "markdown":
                assert "&lt;/" not in safe_html(cell.source), cell.source[:80]


# -------------------------------------------------------------------------------- how long it takes

LONG = {
    "blanks": "a" + " " * SOME + "b",
    "math": "\\\\(" * (SOME // 3),
    "brackets": "[" * SOME,
    "headings": "# a\n" * (SOME // 4),
    "tags": "<b><p>" * (SOME // 6),
    "spaced lines": " \n" * (SOME // 2),
    "another language": "```rst\n" + "`a <" * 2_000 + "\n```",
}


def page(cells):
    """Return cells as `nbgrader generate_feedback` shows them, and the seconds that it takes."""
    config = Config()
    nbgrader.configure(config)
    exporter = HTMLExporter(config=GenerateFeedback(CourseDirectory(), config=config).config)
    given = {"nbgrader": {"notebook": "", "score": 0, "max_score": 0, "late_penalty": 0}}
    begun = time.perf_counter()
    made, _ = exporter.from_notebook_node(new_notebook(cells=cells), given)
    return made, time.perf_counter() - begun


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
@pytest.mark.parametrize("cell", [new_markdown_cell, new_code_cell])
def test_text_made_to_take_hours_is_soon_there(cell, text):
    made, took = page([cell(text)])
    assert took < 5  # half a second, where nothing else runs
    assert text[-500:].strip("`\n") in unescape(re.sub("<[^>]+>", "", made))


@pytest.mark.parametrize("show", [safe_html, safe_code])
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_megabyte_of_it_takes_no_second(show, text):
    begun = time.perf_counter()
    shown = strip_files_prefix(show(text * (MB // len(text))))
    assert time.perf_counter() - begun < 2
    assert "<pre>" in shown


def test_many_cells_take_no_longer_than_one_notebook():
    cells = [new_markdown_cell("**a** " + "word " * 1_800) for _ in range(200)]
    made, took = page(cells)
    assert took < 5
    laid_out = pages.MAX_NOTEBOOK // len(cells[0].source)
    assert made.count("<strong>a</strong>") == laid_out
    assert made.count("**a**") == 200 - laid_out, "the others as they are written"


def test_what_a_parser_chokes_on_is_shown_as_it_is_written():
    assert "![x](attachment:x)" not in safe_html("![x](attachment:x)")
    assert safe_html("<" * 5_000) and safe_html("> " * 4_000) and safe_html("- " * 4_000)


@pytest.mark.parametrize("show", [safe_html, safe_code])
def test_what_is_shown_as_it_is_written_is_no_markup(show):
    made = show("<script>go()</script>" + " " * 200 + "[x](javascript:go())")
    assert "<script" not in made and "<a" not in made and "&lt;script&gt;" in made


def test_the_lessons_own_text_and_ordinary_answers_look_as_before():
    sanitizer = SanitizeHTML(tags=pages.SAFE_TAGS.split(), attributes=pages._is_harmless)
    cells = nbformat.read(lessons.lesson_named("lora").notebook, as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    texts += ["```python\nif a[0] < b: c\n```", "- a\n- b [x](https://a.example)", "$a[0]$ ~~b~~"]
    for text in texts:
        before = sanitizer.sanitize_html_tags(markdown2html(text))
        assert BeautifulSoup(safe_html(text), "html.parser") == BeautifulSoup(before, "html.parser")


def test_code_is_coloured_unless_it_is_too_much():
    assert '<span class="k">if</span>' in safe_code("if a < b: c")
    assert "<span" not in safe_code("if a < b: c\n" * 2_000)
