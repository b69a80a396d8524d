"""Broken and odd files in one class: a record for each, and honest ones lose nothing."""

import csv
import json
from pathlib import Path

import pytest

from autograder.cli import run
from autograder.grading.score_submission import Options
from autograder.reporting import submission_names
from autograder.sandbox import launch, session
from tests.autograder.reporting.test_feedback import ATTRIBUTES, TAGS, Seen
from tests.conftest import LIMITS, reference_cells, write_notebook
from tests.parallel import ATTACKS
from tests.submissions.hostile.broken import MAKERS

TASKS = ("lora_forward", "rank_for_budget")
CELL_SECONDS = 3.0
SECONDS = 10 * CELL_SECONDS
"""What one file may take of the run. On a busy machine a cell's seconds are put off, four times at
most, and all around it takes as much longer."""
GROUP = {name: group for group, makers in MAKERS.items() for name in makers}


@pytest.fixture(scope="module")
def graded(sandbox, seed, tmp_path_factory):
    """The run over all files: its folder, its records by name, its paths by name."""
    top = tmp_path_factory.mktemp("broken")
    folder, out = top / "class", top / "out"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # so that a name comes first in the tables
        patch.setattr(launch, "start", lambda *_: sandbox)
        patch.setattr(session, "CELL_SECONDS", CELL_SECONDS)
        paths = {"first honest": write_notebook(folder / "aa.ipynb", reference_cells())}
        for makers in MAKERS.values():
            paths |= {name: make(folder) for name, make in makers.items()}
        paths["last honest"] = write_notebook(folder / "zz.ipynb", reference_cells())
        paths = {name: path.relative_to(folder) for name, path in paths.items()}
        options = Options(seed, limits=LIMITS, tasks=TASKS)
        run.grade_into(out, list(paths.values()), options)
        lines = (out / "results.jsonl").read_text(encoding="ascii").splitlines()
        records = dict(zip(paths, map(json.loads, lines), strict=True))
    for name in GROUP:
        late = records[name]["seconds"] > SECONDS
        stopped = not late and not why_not_stopped(GROUP[name], paths[name], records[name])
        ATTACKS.setdefault("broken files", {})[name] = stopped
    return out, paths, records


def why_not_stopped(group: str, path: Path, record: dict) -> str:
    """What is wrong with a record, or an empty string."""
    status, points, problems = record["status"], record["points"], record["problems"]
    if group == "reported":
        said = problems[0] if len(problems) == 1 else ""
        is_sentence = str(path) in said and said.endswith((".", "?")) and "\n" not in said
        fine = status == "unreadable" and points == 0 and is_sentence and len(said) < 500
    elif group == "honest":
        fine = status == "graded" and points == record["max_points"] > 0
    else:
        fine = status == "graded" and points == 0 < record["max_points"] < 1000
    return "" if fine else f"{status}, {points} of {record['max_points']}: {problems}"[:600]


@pytest.mark.parametrize("name", GROUP)
def test_a_file_gets_what_it_deserves(graded, name):
    _, paths, records = graded
    text = MAKERS[GROUP[name]][name].__doc__
    assert records[name]["submission"].encode(errors="replace")
    gained = why_not_stopped(GROUP[name], paths[name], records[name])
    assert not gained, f"{text}\n{gained}"
    assert records[name]["seconds"] < SECONDS, f"{text} It took long."


def test_honest_submissions_among_them_keep_their_scores(graded):
    _, _, records = graded
    for name in ("first honest", "last honest"):
        assert why_not_stopped("honest", Path(), records[name]) == ""
        assert records[name]["problems"] == []


def test_each_file_has_one_record_and_one_row(graded):
    out, paths, records = graded
    assert [r["submission"] for r in records.values()] == [str(path) for path in paths.values()]
    with (out / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(paths)
    for row, record in zip(rows, records.values(), strict=True):
        assert None not in row and None not in row.values()
        assert not row["submission"].startswith(("=", "+", "-", "@")), row["submission"]
        assert float(row["points"]) == record["points"]


def test_each_file_has_one_page_on_which_nothing_runs(graded):
    out, _, records = graded
    names = [submission_names.file_name(record["name"]) for record in records.values()]
    pages = sorted((out / "feedback").iterdir())
    assert [page.name for page in pages] == sorted(f"{name}.html" for name in names)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        seen = Seen(text)
        assert seen.tags <= TAGS, (page.name, seen.tags - TAGS)
        assert seen.attributes <= ATTRIBUTES, (page.name, seen.attributes - ATTRIBUTES)
        for raw in ("<script", "<img", "<iframe", "onerror=alert(1)></pre>", "\x1b", "\0"):
            assert raw not in text, (page.name, raw)
        assert "{{ 7919 * 7907 }}" in text or "62615533" not in text, page.name


def test_nothing_is_written_beside_the_results(graded):
    out, _, _ = graded
    assert {path.name for path in out.parent.iterdir()} == {"class", "out"}
    top = {path.name for path in out.iterdir()}
    assert top <= {"feedback", "results.jsonl", "scores.csv", "class.png", "run.json"}
    assert not (out.parent / "class" / "gone.ipynb").exists()


def test_there_are_many_and_each_says_what_it_is():
    assert len(GROUP) == sum(map(len, MAKERS.values())) >= 34
    for makers in MAKERS.values():
        for name, make in makers.items():
            assert make.__doc__ and len(make.__doc__) > 20 and "\n" not in make.__doc__, name
