"""The pages: every text of a submission is text, whatever it holds."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from autograder.catalogue.points import Points
from autograder.learner import display_bundles
from autograder.learner.attempts import LessonStanding, Practised, TaskStanding
from autograder.learner.cards import Counts
from autograder.reporting import feedback, measurements
from autograder.scores import CheckResult, Figure
from tests import classes
from tests.autograder.grading.test_journal import score

MARKUP = (
    '<script>alert(1)</script><img src=x onerror="alert(1)"></pre></title><!--'
    "<iframe>{{ 7919 * 7907 }}{% raw %}&amp;\ud800\0\x1b[2J\"'><svg/onload=alert(1)>"
)
TAGS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "strong", "ul",
    "li", "section", "meter", "table", "thead", "tbody", "tr", "th", "td", "br", "span", "pre",
    "div", "i", "b", "a",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "class", "min", "max", "value", "scope",
    "aria-label", "role", "style", "id",
}  # fmt: skip


class Seen(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        own = {("href", value) for _, value in attrs if re.fullmatch(r"#task-\d+", value or "")}
        self.attributes |= {name for name, value in attrs if (name, value) not in own}

    def handle_data(self, data):
        self.text += data


def hostile_checks():
    return (CheckResult("t", MARKUP, MARKUP, "failed", 0.5, 2.0, MARKUP, 0.1, True),)


def hostile_score(**changes):
    from autograder.scores import TaskScore

    return score(
        MARKUP,
        problems=(MARKUP,),
        pending=({"task": "explain", "text": MARKUP},),
        tasks=(TaskScore("t", MARKUP, 0.5, 2.0, hostile_checks()),),
        **changes,
    )


def standing(text):
    """A lesson with a task done, one begun, and one that only grading decides."""
    when = datetime(2026, 3, 1, 12, tzinfo=UTC)
    tasks = (
        TaskStanding(text, text, 2.0, Practised(1.0, 2.0, 2.0, 3, when)),
        TaskStanding("b", "B", 3.0, Practised(0.5, 0.5, 3.0, 1, when)),
        TaskStanding("c", "C", 0.0, None),
    )
    return LessonStanding(text, text, tasks, Counts(total=9, due=3, new=4))


def test_a_progress_runs_and_loads_nothing():
    made = display_bundles.standing([standing(MARKUP), standing("lora")])
    seen = Seen(made["text/html"])
    assert seen.tags <= TAGS and seen.attributes <= ATTRIBUTES
    assert "<script>alert(1)</script>" in seen.text
    for text in (made["text/html"], made["text/plain"]):
        assert "hidden checks decide" in text and "2026-03-01" in text
    assert "lora: 1 of 2 tasks done, 2.5 of 5 visible points" in made["text/plain"]


@pytest.mark.parametrize("status", ["graded", "crashed", "timeout", "memory", "unreadable"])
def test_a_page_runs_and_loads_nothing(tmp_path, status):
    path = tmp_path / "page.html"
    feedback.write_page(path, replace(hostile_score(status=status), name=MARKUP))
    text = path.read_text(encoding="utf-8")
    seen = Seen(text)
    assert seen.tags <= TAGS, seen.tags - TAGS
    assert seen.attributes <= ATTRIBUTES, seen.attributes - ATTRIBUTES
    assert "default-src 'none'" in text
    assert seen.text.count("<script>alert(1)</script>") >= 5
    assert "{{ 7919 * 7907 }}" in seen.text and "62615533" not in seen.text


def test_a_page_leads_to_its_tasks_and_nowhere_else(tmp_path):
    path = tmp_path / "page.html"
    feedback.write_page(path, classes.score("a", [[1.0], [0.0]], text=MARKUP))
    text = path.read_text(encoding="utf-8")
    assert re.findall(r'href="([^"]*)"', text) == ["#task-1", "#task-2"]
    assert re.findall(r'id="([^"]*)"', text) == ["task-1", "task-2"]


def test_a_page_says_what_was_earned_and_what_waits(tmp_path):
    path = tmp_path / "page.html"
    feedback.write_page(path, score())
    text = Seen(path.read_text(encoding="utf-8")).text
    for part in ("2.5 of 4 points", "62 %", "It is.", "✓ passed", "✗ failed", "For a person"):
        assert part in text
    assert "Status:" not in text


def test_a_page_never_shows_the_name_of_a_check(tmp_path):
    path = tmp_path / "page.html"
    feedback.write_page(path, score())
    assert "test_one" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("status", ["crashed", "timeout", "memory"])
def test_a_page_of_what_could_not_be_finished_says_so(tmp_path, status):
    path = tmp_path / "page.html"
    feedback.write_page(path, score(status=status, isolation="none"))
    text = Seen(path.read_text(encoding="utf-8")).text
    assert f"Status: {status}." in text
    assert "without a sandbox" in text


def test_a_page_of_nothing_is_a_page(tmp_path):
    path = tmp_path / "page.html"
    unreadable = score(lesson="", status="unreadable", tasks=(), pending=(), manual_points=0.0)
    feedback.write_page(path, unreadable)
    assert "0 of 0 points" in path.read_text(encoding="utf-8")


def test_the_verdict_is_escaped_and_has_a_plain_form():
    made = feedback.verdict("lora", hostile_checks(), Points(2.0, 4.0))
    assert Seen(made["text/html"]).tags <= TAGS
    assert "0.5 of 2 points" in made["text/plain"]


def result(points, of, hidden, outcome="failed"):
    return CheckResult("t", "test", "It is.", outcome, points, of, "", 0.1, hidden)


@pytest.mark.parametrize(
    "results, worth, said",
    [
        ([result(2, 3, False)], Points(3, 5, on_gpu=1),
         "2 of 3 visible points, 5 hidden (1 only on a GPU) decided at grading"),
        ([result(2, 2, False), result(0, 1, False, "not_counted")], Points(3, 5),
         "2 of 3 visible points, 1 of these and 5 hidden decided at grading"),
        ([result(0, 0, False)], Points(0, 7), "0 of 7 points, 7 decided at grading"),
        ([result(0, 0, False), result(6, 7, True)], Points(0, 7), "6 of 7 points"),
        ([result(3, 3, False), result(4, 4, True), result(0, 1, True, "not_counted")],
         Points(3, 5, on_gpu=1), "7 of 7 points (1 more only on a GPU)"),
        ([result(2, 3, False)], Points(3, 5, 10),
         "2 of 3 visible points, 5 hidden decided at grading, 10 by hand"),
    ],
    ids=["visible", "no reference", "open", "judged", "graded", "lesson"],
)  # fmt: skip
def test_the_verdict_says_what_is_decided_and_what_later(results, worth, said):
    assert feedback.summary(results, worth) == said


FIGURE = Figure("speed", 0.004, 0.003, 0.8, 0.75, 0.7, 0.8, 9)


def test_what_was_measured_is_shown_as_bars_and_in_words():
    checks = [
        CheckResult("t", "n", "It is fast.", "failed", 0.0, 1.0, "Slower.", 0.1, True, FIGURE)
    ]
    bundle = feedback.verdict("t", checks, Points(1.0))
    seen = Seen(bundle["text/html"])
    assert measurements.sentence(FIGURE) in seen.text
    assert "(100% - 6em) * 1.0" in bundle["text/html"], "the longer bar takes the room"
    assert "(100% - 6em) * 0.75" in bundle["text/html"]
    for line in measurements.in_text(FIGURE):
        assert line in bundle["text/plain"]


def test_a_page_shows_no_bars_where_nothing_was_measured():
    assert (
        '<div class="ag-bars"'
        not in feedback.verdict("t", hostile_checks(), Points(2.0))["text/html"]
    )
