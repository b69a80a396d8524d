"""What a run leaves: the schema, line by line, and a table that no spreadsheet runs."""

import csv
import json

import pytest

from autograder import results
from autograder.grade import Score, TaskScore
from autograder.plugin import CheckResult

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


def test_the_record_is_the_schema_and_nothing_else():
    made = results.record(score())
    assert list(made) == [
        "schema", "submission", "lesson", "status", "points", "max_points", "manual_points",
        "pending", "isolation", "seconds", "problems", "tasks",
    ]  # fmt: skip
    assert made["schema"] == 1
    assert (made["points"], made["max_points"]) == (2.5, 4.0)
    [task] = made["tasks"]
    assert list(task) == ["task", "points", "max_points", "checks"]
    for check in task["checks"]:
        assert list(check) == [
            "name", "requirement", "outcome", "points", "max_points", "message", "seconds",
        ]  # fmt: skip
    assert json.loads(json.dumps(made)) == made


def test_the_journal_has_a_line_at_once_and_the_order_in_the_end(tmp_path):
    with results.Journal(tmp_path) as journal:
        journal.add(score("b"))
        assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1
        journal.add(score("a"))
        journal.sort(["a", "b"])
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["submission"] for line in lines] == ["a", "b"]


def test_hostile_texts_are_one_line_of_ascii(tmp_path):
    with results.Journal(tmp_path) as journal:
        journal.add(score(HOSTILE))
    data = (tmp_path / "results.jsonl").read_bytes()
    assert data.isascii() and data.count(b"\n") == 1
    entry = json.loads(data)
    assert entry["submission"] == HOSTILE
    assert entry["pending"][0]["text"] == HOSTILE


def test_nan_never_reaches_the_journal(tmp_path):
    with results.Journal(tmp_path) as journal, pytest.raises(ValueError):
        journal.add(score(seconds=float("nan")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n="])
def test_no_name_is_a_formula_in_the_table(tmp_path, start):
    results.write_csv(tmp_path / "scores.csv", [score(f"{start}cmd|' /C calc'!A0")])
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["submission"].strip()[:1] not in "=+-@"


def test_the_table_has_a_row_a_submission_and_a_column_a_task(tmp_path):
    unreadable = score("b", lesson="", status="unreadable", tasks=(), problems=("Not a notebook.",))
    results.write_csv(tmp_path / "scores.csv", [score("a"), unreadable])
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "submission", "lesson", "status", "points", "max_points", "percent", "t",
    ]  # fmt: skip
    assert [row["t"] for row in rows] == ["2.5", ""]
    assert [row["percent"] for row in rows] == ["62.5", "0.0"]
    assert [row["status"] for row in rows] == ["graded", "unreadable"]


def test_a_file_name_that_is_no_utf_8_is_written_all_the_same(tmp_path):
    """As Python reads such a name from the disk: one odd file never ends the run."""
    name = b"caf\xe9.ipynb".decode("utf-8", "surrogateescape")
    results.write_csv(tmp_path / "scores.csv", [score(name)])
    assert "ipynb" in (tmp_path / "scores.csv").read_text(encoding="utf-8", errors="replace")


def test_an_empty_class_is_a_header(tmp_path):
    results.write_csv(tmp_path / "scores.csv", [])
    assert (tmp_path / "scores.csv").read_text().startswith("submission,lesson,status")
