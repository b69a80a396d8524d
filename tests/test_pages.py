"""The pages in a real browser: nothing runs or loads, nothing overflows, anybody can read them."""

import json

import pytest

from autograder.catalogue.points import Points
from autograder.learner import display_bundles
from autograder.learner.attempts import LessonStanding
from autograder.learner.cards import Counts
from autograder.reporting import feedback, report
from tests.autograder.reporting.test_feedback import standing
from tests.browser import DESKTOP, HERE, PHONE, accessibility, markup, overflow, watch
from tests.classes import HOSTILE, hostile, leave, score, unreadable, varied

WIDTHS = pytest.mark.parametrize("width", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
LESSONS = [*varied(5), score("class/student-001/sft.ipynb", [[1.0, 0.5]], "sft", pending=())]
CLASSES = {
    "varied": varied(12),
    "hostile": hostile(),
    "of several lessons": LESSONS,
    "of one": varied(1)[:1],
    "unreadable": [unreadable("a.ipynb")],
    "large": varied(150),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Class → its report and its feedback pages."""
    made = {}
    for kind, scores in CLASSES.items():
        folder = leave(tmp_path_factory.mktemp("class"), scores)
        report.write(folder, "html", None, print)
        made[kind] = (folder / "report.html", sorted(folder.glob("feedback/*.html")))
    return made


def both(pages, kind):
    """The report of a class, and the feedback page of its first submission or two."""
    made, feedbacks = pages[kind]
    return [made, *feedbacks[:2]]


@WIDTHS
@pytest.mark.parametrize("kind", CLASSES)
def test_no_page_is_wider_than_its_screen(page, pages, kind, width):
    page.set_viewport_size(width)
    for path in both(pages, kind):
        page.goto(path.as_uri())
        assert overflow(page) == [], path
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert overflow(page) == [], path


@SCHEMES
@WIDTHS
@pytest.mark.parametrize("kind", ["varied", "hostile", "of several lessons"])
def test_axe_finds_nothing(page, pages, kind, width, scheme):
    page.set_viewport_size(width)
    page.emulate_media(color_scheme=scheme)
    for path in both(pages, kind):
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert accessibility(page) == [], path


def test_the_validator_finds_nothing(pages):
    paths = [path for kind in CLASSES for path in both(pages, kind)]
    assert markup(*paths) == []


def test_the_validator_would_find_what_is_wrong(tmp_path):
    path = tmp_path / "wrong.html"
    path.write_text("<!DOCTYPE html>\n<html lang='en'><head><title>x</title></head><p><div></p>")
    assert markup(path)


def test_the_validator_s_lock_names_no_host():
    text = (HERE / "package-lock.json").read_text(encoding="utf-8")
    lock = json.loads(text)
    assert "resolved" not in text and "://" not in text
    for name, package in lock["packages"].items():
        assert not name or package["integrity"].startswith("sha512-")


# ------------------------------------------------------------------------------------ hostile texts


def did(page, path):
    """What a page did, every link of it clicked that leads nowhere else, its folds unfolded."""
    seen = watch(page)
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    for place in ("a[href^='javascript:']", "svg", "h1", "th"):
        for found in page.locator(place).all()[:3]:
            found.hover()
            found.click()
    page.wait_for_timeout(200)
    return seen


def test_hostile_markup_runs_and_loads_nothing(page, pages):
    made, feedbacks = pages["hostile"]
    attacked = [path for path in (made, *feedbacks) if "window.hit" in path.read_text("utf-8")]
    assert len(attacked) == 3
    for path in attacked:
        seen = did(page, path)
        assert page.evaluate("window.hit") is None, path
        assert seen.dialogs == seen.console == seen.errors == seen.popups == [], (path, seen)
        assert seen.requests == [path.as_uri()], path
        assert page.locator("script, img, iframe, link, object, form, base").count() == 0
        assert "<script>window.hit=1" in page.inner_text("body")


def test_hostile_markup_in_a_notebook_s_verdict_and_progress_runs_nothing(page, tmp_path):
    """As Jupyter would put it into a page of its own, which has no policy against scripts."""
    checks = hostile()[0].tasks[0].checks
    one = standing(HOSTILE)
    odd = LessonStanding(HOSTILE, HOSTILE, one.tasks, Counts(total=1, due=1, new=0))
    parts = (
        feedback.verdict(HOSTILE, checks, Points(4.0, 5.0)),
        display_bundles.standing([one, odd]),
    )
    path = tmp_path / "output.html"
    body = "\n".join(part["text/html"] for part in parts)
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>x</title></head>'
        f"<body><h1>Output</h1>{body}</body></html>",
        encoding="utf-8",
    )
    seen = did(page, path)
    assert page.evaluate("window.hit") is None
    assert seen.dialogs == seen.console == seen.errors == seen.popups == []
    assert seen.requests == [path.as_uri()]


def test_the_hostile_markup_would_run_unescaped(page, tmp_path):
    """The attack is one: were it not escaped, it would show."""
    path = tmp_path / "open.html"
    path.write_text(f"<!doctype html><title>x</title><h1>{HOSTILE}", "utf-8", "replace")
    seen = watch(page)
    page.goto(path.as_uri())
    page.wait_for_timeout(200)
    assert page.evaluate("window.hit") == 1
    assert seen.dialogs and len(seen.requests) > 1


# --------------------------------------------------------------------------------------- appearance


@pytest.mark.parametrize(
    "media, scheme", [("screen", "light"), ("screen", "dark"), ("print", "dark")]
)
def test_text_and_pictures_have_the_colours_of_their_medium(page, pages, media, scheme):
    """Light, dark, and light again on paper, whatever the screen is set to."""
    page.emulate_media(media=media, color_scheme=scheme)
    page.goto(pages["varied"][0].as_uri())
    dark = media == "screen" and scheme == "dark"
    paper, ink, drawn = page.evaluate(
        """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.body).color,
                  getComputedStyle(document.querySelector("svg text")).fill]"""
    )
    assert drawn == ink != paper
    assert (lightness(paper) < 0.5 < lightness(ink)) == dark


def lightness(colour):
    """A CSS colour's, in [0, 1]."""
    parts = colour.removeprefix("rgb(").rstrip(")").split(",")
    return sum(map(float, parts)) / 3 / 255


def test_what_is_folded_is_printed(page, pages):
    """The checks of each task are folded away on the screen, and all there on paper."""
    page.goto(pages["varied"][0].as_uri())
    place = page.locator("details td").first
    assert not place.is_visible()
    page.emulate_media(media="print")
    assert place.bounding_box()["height"] > 0
    assert page.pdf(format="A4").startswith(b"%PDF")
