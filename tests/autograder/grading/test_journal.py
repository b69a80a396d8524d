"""What a run leaves: its journal, line by line, and a table that no spreadsheet runs."""

import csv
import functools
import json

import pytest

from autograder.catalogue import lessons
from autograder.grading import journal
from autograder.notebook import NotebookError
from autograder.scores import CheckResult, Figure, Score, TaskScore

HOSTILE = '=HYPERLINK("http://x")<script>\ud800\x1b[2J\n,;\'"'


def score(submission="a/lora.ipynb", **changes):
    checks = (
        CheckResult("t", "test_one", "It is.", "passed", 2.0, 2.0, "", 0.01, False),
        CheckResult("t", "test_two", "It is too.", "failed", 0.5, 2.0, HOSTILE, 0.02, True),
    )
    fields = {
        "lesson": "lora",
        "status": "graded",
        "isolation": "nested",
        "seconds": 1.23456,
        "problems": (HOSTILE,),
        "tasks": (TaskScore("t", "Task", 2.5, 4.0, checks),),
        "manual_points": 10.0,
        "pending": ({"task": "explain", "text": HOSTILE},),
        **changes,
    }
    return Score(submission, **fields)


def test_the_journal_has_a_line_at_once_and_the_order_in_the_end(tmp_path):
    with journal.Journal(tmp_path) as kept:
        kept.add(score("b"))
        assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1
        kept.add(score("a"))
        kept.sort(["a", "b"])
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["submission"] for line in lines] == ["a", "b"]


def test_a_newer_score_takes_the_place_of_the_older_one(tmp_path):
    """Whenever the file is read, and whenever the run is killed, each submission has one line."""
    with journal.Journal(tmp_path) as kept:
        for name in ("a", "b", "c"):
            kept.add(score(name))
        kept.add(score("b", status="timeout"))
        lines = (tmp_path / "results.jsonl").read_text().splitlines()
        made = {(entry := json.loads(line))["submission"]: entry["status"] for line in lines}
        assert list(made.items()) == [("a", "graded"), ("b", "timeout"), ("c", "graded")]
        assert {each.submission: each.status for each in kept.scores.values()} == made
        with pytest.raises(NotebookError, match="another run"):
            journal.Journal(tmp_path)
        kept.sort(["c", "b", "a"])
        kept.add(score("d"))
    with journal.Journal(tmp_path, resume=True) as kept:
        assert list(kept.scores) == ["c", "b", "a", "d"]
        assert kept.scores["b"].status == "timeout"


def test_hostile_texts_are_one_line_of_ascii(tmp_path):
    with journal.Journal(tmp_path) as kept:
        kept.add(score(HOSTILE))
    data = (tmp_path / "results.jsonl").read_bytes()
    assert data.isascii() and data.count(b"\n") == 1
    entry = json.loads(data)
    assert entry["submission"] == HOSTILE
    assert entry["pending"][0]["text"] == HOSTILE


def test_nan_never_reaches_the_journal(tmp_path):
    with journal.Journal(tmp_path) as kept, pytest.raises(ValueError):
        kept.add(score(seconds=float("nan")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n="])
def test_no_name_is_a_formula_in_the_table(tmp_path, start):
    journal.write_csv(tmp_path / "scores.csv", [score(f"{start}cmd|' /C calc'!A0")])
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["submission"].strip()[:1] not in "=+-@"


def test_the_table_has_a_row_a_submission_and_a_column_a_task(tmp_path):
    unreadable = score("b", lesson="", status="unreadable", tasks=(), problems=("Not a notebook.",))
    journal.write_csv(tmp_path / "scores.csv", [score("a"), unreadable])
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "submission", "student", "number", "lesson", "status", "points", "max_points", "percent",
        "t",
    ]  # fmt: skip
    assert [row["t"] for row in rows] == ["2.5", ""]
    assert [row["percent"] for row in rows] == ["62.5", "0.0"]
    assert [row["status"] for row in rows] == ["graded", "unreadable"]


def test_a_file_name_that_is_no_utf_8_is_written_all_the_same(tmp_path):
    """As Python reads such a name from the disk: one odd file never ends the run."""
    name = b"caf\xe9.ipynb".decode("utf-8", "surrogateescape")
    journal.write_csv(tmp_path / "scores.csv", [score(name)])
    assert "ipynb" in (tmp_path / "scores.csv").read_text(encoding="utf-8", errors="replace")


def test_an_empty_class_is_a_header(tmp_path):
    journal.write_csv(tmp_path / "scores.csv", [])
    assert (
        (tmp_path / "scores.csv").read_text().startswith("submission,student,number,lesson,status")
    )


# ---------------------------------------------------------------------------------------- reading


def leave(folder, *scores, finished=True):
    with journal.Journal(folder) as kept:
        for each in scores:
            kept.add(each)
    if finished:
        journal.write_csv(folder / "scores.csv", scores)
    return folder / "results.jsonl"


def test_what_was_written_is_read_whole(tmp_path):
    figure = Figure("speed", 0.004, 0.003, 0.8, 0.75, 0.7, 0.8, 9, False)
    checks = (
        CheckResult("lora_forward", "a", "A.", "failed", 0.0, 2.0, HOSTILE, 0.1, True, figure),
        CheckResult("lora_forward", "b", "B.", "passed", 1.0, 1.0, "", 0.1, False),
    )
    title = lessons.lesson_named("lora").tasks[0].title
    task = TaskScore("lora_forward", title, 1.0, 3.0, checks)
    written = (
        score(HOSTILE, tasks=(task,), seconds=1.5),
        score("b", lesson="", status="unreadable", tasks=(), pending=(), seconds=0.5),
    )
    leave(tmp_path, *written)
    assert journal.load(tmp_path) == journal.Results(written, finished=True)


def test_a_task_that_no_lesson_has_is_called_by_its_name(tmp_path):
    leave(tmp_path, score("a", lesson="older"))
    [read] = journal.load(tmp_path).scores
    assert [task.title for task in read.tasks] == ["t"]


def test_of_a_submission_that_is_there_twice_the_last_counts(tmp_path):
    leave(tmp_path, score("a"), score("b"), score("a", status="timeout"))
    read = journal.load(tmp_path).scores
    assert [(each.submission, each.status) for each in read] == [("a", "timeout"), ("b", "graded")]


def test_a_line_of_before_hidden_checks_were_marked_hides_them_all(tmp_path):
    path = leave(tmp_path, score("a"))
    path.write_text(path.read_text().replace('"hidden": false, ', ""))
    [read] = journal.load(tmp_path).scores
    assert all(check.hidden for task in read.tasks for check in task.checks)


def test_a_journal_that_a_killed_run_left_is_read_up_to_its_last_whole_line(tmp_path):
    path = leave(tmp_path, score("a"), score("b"), finished=False)
    assert not journal.load(tmp_path).finished
    data = path.read_bytes()
    for left in (len(data) - 1, len(data) - 2, data.index(b"\n") + 1, 40, 0):
        path.write_bytes(data[:left])
        found = journal.load(tmp_path)
        whole = data[:left].count(b"\n") + (left == len(data) - 1)
        assert len(found.scores) == whole and not found.finished
        assert found.cut == (left not in (0, data.index(b"\n") + 1, len(data) - 1))


BAD_LINES = {
    "another schema": ('"schema": 1', '"schema": 2'),
    "no schema": ('"schema": 1', '"was": 1'),
    "no text": ('"submission": "a"', '"submission": 7'),
    "nan": ('"points": 2.0', '"points": NaN'),
    "infinite": ('"points": 2.0', '"points": 1e999'),
    "no number": ('"points": 2.0', '"points": true'),
    "more than a number": ('"points": 2.0', '"points": 1' + "0" * 400),
    "no list": ('"tasks": [', '"tasks": 3, "x": ['),
    "no object": ('{"schema"', '[{"schema"'),
    "a figure of other fields": ('"figure": null', '"figure": {"x": 1}'),
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_line_that_is_no_result_is_named(tmp_path, kind):
    path = leave(tmp_path, score("b"), score("a"))
    text = path.read_text()
    first, second = text.splitlines(keepends=True)
    assert BAD_LINES[kind][0] in second
    path.write_text(first + second.replace(*BAD_LINES[kind], 1) + first)
    before = path.read_bytes()
    for way in (journal.load, functools.partial(journal.Journal, resume=True)):
        with pytest.raises(NotebookError, match=r"results\.jsonl, line 2: no result .*Grade again"):
            way(tmp_path)
    assert path.read_bytes() == before, "a run that goes on empties nothing"


@pytest.mark.parametrize("change", [{"bound": 0}, {"kind": "size"}, {"ratio": None}], ids=str)
def test_a_figure_that_cannot_be_drawn_is_no_result(tmp_path, change):
    figure = {**vars(Figure("speed", 0.1, 0.1, 0.8, 1.0, 1.0, 1.0, 9)), **change}
    check = CheckResult("t", "a", "A.", "passed", 1.0, 1.0, "", 0.1, False, Figure(**figure))
    leave(tmp_path, score("a", tasks=(TaskScore("t", "T", 1.0, 1.0, (check,)),)))
    with pytest.raises(NotebookError, match="no result"):
        journal.load(tmp_path)


def test_a_run_that_goes_on_writes_no_two_results_into_one_line(tmp_path):
    path = leave(tmp_path, score("a"), score("b"), finished=False)
    path.write_bytes(path.read_bytes()[:-1])
    with journal.Journal(tmp_path, resume=True) as kept:
        assert list(kept.scores) == ["a"]
        kept.add(score("b"))
    assert len(journal.load(tmp_path).scores) == 2


@pytest.mark.parametrize("line", [b"[" * 100_000, b"null", b"7", b"\xff", b"{}", b""])
def test_any_other_line_is_named_too(tmp_path, line):
    (tmp_path / "results.jsonl").write_bytes(line + b"\n")
    with pytest.raises(NotebookError, match="line 1: no result"):
        journal.load(tmp_path)


def test_a_folder_without_a_journal_is_said(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotebookError, match=r"no results\.jsonl here.*grade … --out"):
            journal.load(folder)
