"""The pages: every text of a submission is text, whatever it holds."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from autograder import feedback
from autograder.plugin import CheckResult
from tests.autograder.test_results import score

MARKUP = (
    '<script>alert(1)</script><img src=x onerror="alert(1)"></pre></title><!--'
    "<iframe>{{ 7 * 7 }}{% raw %}&amp;\ud800\0\x1b[2J\"'><svg/onload=alert(1)>"
)
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "strong", "ul",
    "li", "section", "meter", "table", "thead", "tbody", "tr", "th", "td", "br", "span", "pre",
    "div",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "class", "min", "max", "value", "scope",
    "aria-label",
}  # fmt: skip


class Seen(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def hostile_checks():
    return (CheckResult("t", MARKUP, MARKUP, "failed", 0.5, 2.0, MARKUP, 0.1, True),)


def hostile_score(**changes):
    from autograder.grade import TaskScore

    return score(
        MARKUP,
        problems=(MARKUP,),
        pending=({"task": "explain", "text": MARKUP},),
        tasks=(TaskScore("t", MARKUP, 0.5, 2.0, hostile_checks()),),
        **changes,
    )


@pytest.mark.parametrize("status", ["graded", "crashed", "timeout", "memory", "unreadable"])
def test_a_page_runs_and_loads_nothing(tmp_path, status):
    path = tmp_path / "page.html"
    feedback.write_page(path, MARKUP, hostile_score(status=status))
    text = path.read_text(encoding="utf-8")
    seen = Seen(text)
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert seen.attributes <= ATTRIBUTES, seen.attributes - ATTRIBUTES
    assert "default-src 'none'" in text
    assert seen.text.count("<script>alert(1)</script>") >= 5
    assert "{{ 7 * 7 }}" in seen.text and "49" not in seen.text


def test_a_page_says_what_was_earned_and_what_waits(tmp_path):
    path = tmp_path / "page.html"
    feedback.write_page(path, "lora", score())
    text = Seen(path.read_text(encoding="utf-8")).text
    for part in ("2.5 of 4 points", "62 %", "It is.", "✓ passed", "✗ failed", "For a person"):
        assert part in text
    assert "Status:" not in text


def test_a_page_never_shows_the_name_of_a_check(tmp_path):
    path = tmp_path / "page.html"
    feedback.write_page(path, "lora", score())
    assert "test_one" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("status", ["crashed", "timeout", "memory"])
def test_a_page_of_what_could_not_be_finished_says_so(tmp_path, status):
    path = tmp_path / "page.html"
    feedback.write_page(path, "lora", score(status=status, isolation="none"))
    text = Seen(path.read_text(encoding="utf-8")).text
    assert f"Status: {status}." in text
    assert "without a sandbox" in text


def test_a_page_of_nothing_is_a_page(tmp_path):
    path = tmp_path / "page.html"
    unreadable = score(lesson="", status="unreadable", tasks=(), pending=(), manual_points=0.0)
    feedback.write_page(path, "lora", unreadable)
    assert "0 of 0 points" in path.read_text(encoding="utf-8")


def test_the_verdict_is_escaped_and_has_a_plain_form():
    made = feedback.verdict("lora", hostile_checks(), 6.0)
    assert Seen(made["text/html"]).tags <= TAGS
    assert "0.5 of 6 points, 4 decided at grading" in made["text/plain"]


def test_the_verdict_says_nothing_of_later_where_nothing_is_hidden():
    assert feedback.summary(hostile_checks(), 2.0) == "0.5 of 2 points"


@pytest.mark.parametrize(
    "paths, names",
    [
        (["a/lora.ipynb"], ["lora"]),
        (["a/lora.ipynb", "b/lora.ipynb"], ["lora", "b-lora"]),
        (["a/lora.ipynb", "x/a/lora.ipynb", "y/a/lora.ipynb"], ["lora", "a-lora", "a-lora-2"]),
        (["a/Lora.ipynb", "b/lora.ipynb"], ["Lora", "b-lora"]),
        (["../../etc/passwd"], ["passwd"]),
        (["a/..ipynb"], ["submission"]),
        (["a/<b>&.ipynb"], ["b"]),
        (["a/" + "x" * 300 + ".ipynb"], ["x" * 80]),
    ],
    ids=str,
)
def test_names_of_pages(paths, names):
    assert feedback.page_names([Path(path) for path in paths]) == names


def test_names_of_pages_are_safe_and_unique_whatever_the_files_are_called():
    odd = ["/", "..", "a\nb", "con", "\ud800", "é", "é.ipynb", "a b", "a_b", "", "-rf", "-rf"]
    names = feedback.page_names([Path(path) for path in odd])
    assert len({name.casefold() for name in names}) == len(odd)
    for name in names:
        assert name and name.encode("utf-8") and not set(name) & set('/\\\n\0<>:"|?*')
