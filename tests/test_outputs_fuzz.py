"""Whatever texts a submission puts into names, messages and answers: every page, table, journal,
terminal and export that shows them stays what it is."""

import contextlib
import csv
import functools
import io
import json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from autograder.catalogue import lessons
from autograder.catalogue.points import Points
from autograder.cli import console
from autograder.cli.exits import Commands, told
from autograder.grading import journal
from autograder.notebook import NotebookError, Submission
from autograder.reporting import exports, feedback, report, submission_names
from autograder.scores import Score
from tests.classes import HOSTILE, check, score, timed, varied
from tests.fuzz import TEXT

FORGED = "alice.ipynb: 90 / 90 (100 %)"
"""What a text may try to have at the start of a line."""

# ------------------------------------------------------------------------------------ what is drawn

# fmt: off
PIECES = st.sampled_from([
    HOSTILE, FORGED, "<script>alert(1)</script>", "</pre></td></table></title></style>", "<!--",
    "]]>", "<img src=x onerror=alert(1)>", "\" onload=\"alert(1)", "'><svg/onload=alert(1)>",
    "&#27;&lt;b&gt;", "{{ 7919 * 7907 }}{% raw %}", "javascript:alert(1)", "\x1b[2J",
    "\x1b]0;title\x07", "\x9b5n", "\0", "\x1b]8;;http://x\x1b\\", "\b\b\b", "\r", "\n", "\r\n",
    "\n\n", "\t", "\v", "\x85", "\u2028", "\u202e", "\u2066", "\u200f", "\u061c", "\ufeff",
    "\ud800", "\udcff", "\uffff", "\ufdd0", "\u0301", "\u200b", "\u00ad", "\N{NO-BREAK SPACE}",
    "[/]", "[red]", "[/red]", "[link=http://x]", "\\[", ":x:", "=1+1", "=cmd|'/C calc'!A0",
    "@SUM(A1)", "+1", "-1+cmd|' /C calc'!A0", "\uff1d1", "\uff0b1", "\uff201", ";", ",", "|", '"',
    "'", ";=1", ",=1", "\n=1", "\t=1", ';"=1', "; \u200b=1", ",-1]", "(1, -2)", " ", "../..",
    "con", "Points Possible", "a_1_2_x", "w" * 3_000, "漢" * 200, "anna", "lora",
])
# fmt: on
TEXTS = (
    st.lists(st.one_of(PIECES, TEXT), min_size=1, max_size=5)
    .map("".join)
    # two halves that meet are one sign, in any file
    .map(lambda text: json.loads(json.dumps(text)) or "a")
)
PARTS = TEXTS.map(lambda text: text.replace("/", "∕")[:250] or "a")
PATHS = st.lists(PARTS, min_size=1, max_size=3).map(
    lambda parts: "/".join(("class", *parts)) + ".ipynb"
)


def made(path: str, status: str, problem: str, message: str, answer: str) -> Score:
    """A score with these texts wherever a submission can put one."""
    problem = f"Cell 1: {problem}"
    if status == "unreadable":
        return Score(path, "", status, "nested", 0.1, (problem, _nobody_s(path)))
    return score(
        path,
        [[0.0, 1.0, 0.5, None], [timed(0.5), replace(check(9, 0.0, message), outcome="error")]],
        text=message, status=status, problems=(problem, _nobody_s(path)),
        pending=({"task": "explain_lora", "text": answer},),
    )  # fmt: skip


def _nobody_s(path: str) -> str:
    """What is said of a notebook of no lesson, or of a lesson that there is not."""
    try:
        lessons.lesson_of(Submission(Path(path), [], lesson=path))
    except lessons.LessonError as error:
        return str(error)
    return ""


STATUSES = st.sampled_from(["graded", "graded", "timeout", "crashed", "unreadable"])
SCORES = st.builds(made, PATHS, STATUSES, TEXTS, TEXTS, TEXTS)
CLASSES = st.lists(SCORES, min_size=1, max_size=4, unique_by=lambda each: each.submission)


def fewer(times):
    """Try fewer examples: each is of many texts, or takes long."""
    return settings(max_examples=max(1, settings().max_examples // times))


# -------------------------------------------------------------------------------- what is looked at

BIDI = {chr(n) for n in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def expect_clean(text, allowed="\n\t"):
    """No control characters but those allowed, none that turn the direction, no half ones."""
    for sign in set(text):
        odd = unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or sign in BIDI
        assert sign in allowed or not odd, (ascii(sign), ascii(text)[:200])
    text.encode()


class Structure(HTMLParser):
    """A page's elements with their attributes, and all of its texts."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.elements.append((f"/{tag}", ()))

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        self.elements.append(("!--", ()))

    def handle_pi(self, data):
        self.elements.append(("?", ()))

    def unknown_decl(self, data):
        self.elements.append(("![", ()))


def strings(value):
    """Every text in what JSON holds, its keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from (key, *strings(each))
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


NUMBER = re.compile(r"""[-+] *\d[\d.]*(e[-+]?\d+)? *([)\]},"';]|$)""")


def expect_no_formula(cell, splits):
    """Nothing that a spreadsheet takes for one, which may skip unseen signs and read wide ones."""
    unseen = ("Cf", "Mn", "Me", "Zs")
    start = 0
    while start < len(cell) and (
        cell[start] in ' "\r\n\t' or unicodedata.category(cell[start]) in unseen
    ):
        start += 1
    first = unicodedata.normalize("NFKC", cell[start : start + 1])
    is_number = first in ("+", "-") and splits == "," and NUMBER.match(cell[start:])
    assert is_number or first not in ("=", "+", "-", "@"), (splits, ascii(cell)[:200])


def expect_table(text, width):
    """The rows are as wide as the head, and no cell is a formula, wherever it is split."""
    expect_clean(text, "\n\t\r")
    assert text.endswith("\r\n")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {width}
    assert not any("\r" in cell for row in rows for cell in row)
    for splits in ",;\t|":
        read = csv.reader(io.StringIO(text, newline=""), delimiter=splits)
        naive = [line.split(splits) for line in re.split("\r\n|\n", text)]
        for cell in (cell for row in [*read, *naive] for cell in row):
            expect_no_formula(cell, splits)


@contextlib.contextmanager
def terminal(width):
    """What the console prints, to either stream, on a terminal of so many columns."""
    printed = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        # made now: a console keeps the COLUMNS that there were when it was made
        patch.setattr(console, "_out", Console(highlight=False, width=width))
        patch.setattr(console, "_err", Console(stderr=True, highlight=False, width=width))
        yield printed


def expect_no_forged_line(text):
    assert not any(line.startswith(FORGED) for line in text.splitlines())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


# -------------------------------------------------------------------------------------------- pages


@fewer(4)
@given(SCORES, TEXTS)
def test_a_feedback_page_has_the_elements_of_any_other(each, name):
    page = feedback.render("feedback.html", name=name, score=each, uncounted=0.0)
    expect_clean(page)
    tame = made("a.ipynb", each.status, "x", "x", "x")
    tame = replace(tame, problems=tuple("x" for _ in each.problems))
    seen, other = (
        Structure(text)
        for text in (page, feedback.render("feedback.html", name="x", score=tame, uncounted=0.0))
    )
    assert seen.elements == other.elements
    for text in seen.texts:
        expect_clean(text)
    assert "62615533" not in page


@given(TEXTS)
def test_a_verdict_has_the_elements_of_any_other(text):
    bundles = [
        feedback.verdict("lora", (check(1, 0.0, said), check(2, 0.5, said)), Points(2.0, 2.0))
        for said in (text, "x")
    ]
    seen, other = (Structure(bundle["text/html"]) for bundle in bundles)
    assert seen.elements == other.elements
    expect_clean(bundles[0]["text/html"])
    expect_clean(bundles[0]["text/plain"])


@functools.cache
def _known():
    """What elements with which attributes a class report may have."""
    found = journal.Results(
        (*varied(), *(made(f"{n}", "timeout", "x", "x", "") for n in "ab")), True
    )
    elements = Structure(report.page(found, Path("nowhere"))).elements
    known = {(tag, name) for tag, attrs in elements for name, _ in (*attrs, ("", ""))}
    return known | {
        ("small", ""),
        ("/small", ""),
        ("wbr", ""),
        ("a", ""),
        ("a", "href"),
        ("/a", ""),
    }


@fewer(60)
@given(CLASSES)
def test_a_class_report_has_the_elements_of_its_template(folder, scores):
    with journal.Journal(folder) as kept:
        for each in scores:
            kept.add(each)
    (folder / "feedback").mkdir(exist_ok=True)
    for each in submission_names.named(scores):
        (folder / feedback.page_of(each)).touch()
    journal.write_csv(folder / journal.SCORES, scores)
    page = report.write(folder, "html", None, pytest.fail).read_text(encoding="utf-8")
    expect_clean(page)
    seen = Structure(page)
    assert {
        (tag, name) for tag, attrs in seen.elements for name, _ in (*attrs, ("", ""))
    } <= _known()
    for tag, attrs in seen.elements:
        for name, value in attrs:
            expect_clean(value or "")
            if "href" in name:
                assert re.fullmatch(r"#[\w-]+|feedback/[^/:]+\.html", value), (tag, value)
    for text in seen.texts:
        expect_clean(text)
    assert "62615533" not in page


@fewer(4)
@given(st.lists(PATHS, min_size=1, max_size=8))
def test_names_of_pages_and_labels_are_one_s_own(paths):
    found = submission_names.names(list(dict.fromkeys(paths)), lambda _: "lora")
    names = [submission_names.file_name(name) for name, _ in found.values()]
    assert len({name.casefold() for name in names}) == len(set(paths))
    for name, (label, _) in zip(names, found.values(), strict=True):
        expect_clean(label, allowed="")
        expect_clean(name, allowed="")
        assert re.fullmatch(r"[\w. -]+", name)
        assert len(f"{name}.html".encode()) <= 255


# ------------------------------------------------------------------------------------------- tables


@fewer(4)
@given(CLASSES)
def test_tables_have_their_columns_and_no_formula(folder, scores):
    journal.write_csv(folder / journal.SCORES, scores)
    tasks = {task.task for each in scores for task in each.tasks}
    expect_table((folder / journal.SCORES).read_bytes().decode(), 8 + len(tasks))
    expect_table(exports.checks_csv(scores), len(exports.CHECKS_HEAD))
    said = []
    graded = {each.lesson for each in scores if each.lesson}
    expect_table(
        exports.canvas_csv(submission_names.named(scores), said.append),
        len(exports.CANVAS_HEAD) + len(graded),
    )
    for text in said:
        expect_clean(text, allowed="")


# ------------------------------------------------------------------------------ journal and exports


@fewer(6)
@given(CLASSES)
def test_the_journal_is_read_back_as_it_was_written(folder, scores):
    with journal.Journal(folder) as kept:
        for each in scores:
            kept.add(each)
    data = (folder / journal.JOURNAL).read_bytes()
    assert data.isascii() and data.count(b"\n") == len(scores)
    expect_clean(data.decode(), allowed="\n")
    assert journal.load(folder).scores == tuple(scores)
    with journal.Journal(folder, resume=True) as kept:
        assert list(kept.scores) == [each.submission for each in scores]


@fewer(6)
@given(CLASSES)
def test_exports_are_clean_json(scores):
    found = journal.Results(tuple(scores), True)
    for value in (*map(exports.gradescope, scores), report.as_json(found)):
        for text in strings(json.loads(json.dumps(value, allow_nan=False))):
            expect_clean(text)


# --------------------------------------------------------------------------------------- a terminal


@pytest.mark.parametrize("width", [40, 120])
@fewer(30)
@given(scores=CLASSES)
def test_a_terminal_shows_lines_of_ours_alone(width, scores):
    with terminal(width) as printed:
        console.show_class(submission_names.named(scores), Path(scores[0].submission), seed=1)
        for each in submission_names.named(scores):
            console.show_score(each)
            console.show_recheck(each, replace(scores[0]), 1.0)
            console.show_arrival(each, True, 1)
            console.warn(f"{each.submission}: {each.problems[0]}")
            console.filled(each.problems, {Path(each.submission): None})
    said = printed.getvalue()
    expect_clean(said)
    expect_no_forged_line(said)
    tables = [line for line in said.split("\n") if line[:1] in tuple("┏┃┡│└")]
    assert tables and max(map(cell_len, tables)) <= width


@given(TEXTS)
def test_what_ends_a_command_is_a_line_of_ours(text):
    @click.group(cls=Commands)
    def group():
        """A command line like ours."""

    @group.command()
    @told
    def ends():
        raise NotebookError(f"x{text}")

    said = CliRunner().invoke(group, ["ends"]).output
    expect_clean(said)
    assert said.startswith("Error: x")
    expect_no_forged_line(said)
