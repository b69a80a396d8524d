"""What the commands print: texts of submissions are never markup, nor commands to a terminal."""

import re

import pytest

from autograder.catalogue.points import Points
from autograder.cli import console
from autograder.cli.doctor import Finding
from autograder.reporting.submission_names import named
from tests.autograder.grading.test_journal import score
from tests.autograder.reporting.test_feedback import hostile_score, standing

ODD = "[red]x[/red] [link=http://x]y[/link] [/] \x1b[2J\x1b]0;title\x07\r\x08\u202e\ud800 \x9b5n"


def expect_harmless(text):
    for char in "\x1b\r\x08\u202e\ud800\x07\x9b":
        assert char not in text
    text.encode("utf-8")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_plain_drops_what_moves_a_cursor_and_keeps_the_rest():
    expect_harmless(console.plain(ODD))
    assert console.plain("α × ✓ – 例\n\tb") == "α × ✓ – 例\n    \tb"


def test_a_score_is_printed_as_it_is(capsys):
    console.show_score(hostile_score())
    console.show_score(score(problems=(ODD,)))
    printed = capsys.readouterr().out
    expect_harmless(printed)
    assert "[red]x[/red]" in printed
    assert "<script>" in printed
    assert "2.5 of 4 points" in printed


def test_a_class_is_printed_with_what_went_wrong(capsys, tmp_path):
    broken = score(ODD, status="unreadable", problems=(ODD,), tasks=(), isolation="nested")
    console.show_class(named([score("good.ipynb"), broken]), tmp_path, seed=7)
    said = capsys.readouterr()
    expect_harmless(said.out)
    expect_harmless(said.err)
    assert "good" in said.out and "graded" in said.out and "62" in said.out
    assert "nested" in said.out and "--seed 7" in said.out
    assert "unreadable" in said.err and "[red]x[/red]" in said.err


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_long_name_takes_no_figure_s_room(capsys, monkeypatch, tmp_path, width):
    monkeypatch.setenv("COLUMNS", str(width))
    long = score("class/" + "n" * 200 + ".ipynb", problems=("It is " + "w" * 100,))
    console.show_class(named([score("class/good.ipynb"), long]), tmp_path, seed=7)
    printed = capsys.readouterr().out
    assert printed.count("2.5 / 4") == 2 and printed.count("62") == 2
    assert printed.count("graded") == 2 and printed.count("n" * 9)


FORGED = "a\nalice: 90 of 90\r\x1b[2J.ipynb"


def test_no_name_makes_a_line_of_its_own(capsys, tmp_path):
    problems = (f"{FORGED} is no notebook.",)
    [lost] = named([score(f"class/{FORGED}", status="unreadable", problems=problems, tasks=())])
    console.show_class([lost], tmp_path, seed=7)
    console.show_score(lost)
    console.show_recheck(lost, None, 1.0)
    console.show_arrival(lost, False, 0)
    console.show_watching(tmp_path / FORGED, 1)
    console.warn(f"{FORGED} is gone")
    console.filled([f"{FORGED}: refused"], {tmp_path / FORGED: None})
    said = "".join(capsys.readouterr())
    expect_harmless(said)
    assert "alice: 90 of 90" in said and not re.search("^alice", said, re.MULTILINE)


def test_a_catalogue_is_printed(capsys):
    tasks = [
        {
            "task": "t",
            "points": 3.0,
            "visible_points": 1.0,
            "hidden_points": 2.0,
            "gpu_only_points": 0.5,
            "by_hand_points": 0.0,
            "graded_by": "checks",
            "visible_checks": 1,
            "hidden_checks": 2,
        },
        {
            "task": "e",
            "points": 9.0,
            "visible_points": 0.0,
            "hidden_points": 0.0,
            "gpu_only_points": 0.0,
            "by_hand_points": 9.0,
            "graded_by": "person",
            "visible_checks": 0,
            "hidden_checks": 0,
        },
    ]
    worth = Points(visible=1.0, hidden=2.0, by_hand=9.0)
    entry = {"lesson": "lora", "title": "LoRA", "worth": str(worth), "tasks": tasks}
    console.show_catalogue([entry])
    printed = capsys.readouterr().out
    assert "12 points: 1 visible + 2 hidden + 9 by hand" in printed
    rows = [line.replace("│", " ").split() for line in printed.splitlines() if line[:1] == "│"]
    assert rows == [["t", "3", "1", "2", "0.5", "1", "+", "2"], ["e", "9", "9"]]


def test_findings_are_printed_with_the_way_to_mend_them(capsys):
    console.show_findings(
        [
            Finding("python", "3.11", good=True),
            Finding("sandbox", ODD, good=False, mend="apt-get install bubblewrap"),
        ]
    )
    printed = capsys.readouterr().out
    expect_harmless(printed)
    assert "apt-get install bubblewrap" in printed and "✓" in printed and "✗" in printed


def test_a_learner_s_progress_is_printed_as_it_is(capsys):
    console.show_progress([standing(ODD)])
    console.show_tasks(standing(ODD))
    printed = capsys.readouterr().out
    expect_harmless(printed)
    assert "1 / 2" in printed and "2.5 / 5" in printed and "3 (+ 4 new)" in printed
    assert "at grading" in printed and printed.count("hidden checks decide") == 2


def test_progress_survives_odd_names(capsys):
    with console.progress(2, done=0) as advance:
        advance(score(ODD))
        advance(score("b.ipynb"))
    expect_harmless(capsys.readouterr().out)


def test_a_warning_is_printed_to_stderr(capsys):
    console.warn(ODD)
    said = capsys.readouterr()
    assert said.out == ""
    expect_harmless(said.err)
