"""The commands: exit codes, JSON, and a sentence for whatever is wrong."""

import csv
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from autograder.authoring import build as construction
from autograder.catalogue import sources
from autograder.cli import main
from tests.conftest import ROOT, lora, reference_cells, write_notebook

KEYS = [
    "schema", "submission", "name", "student", "lesson", "status", "points", "max_points",
    "manual_points", "pending", "isolation", "seconds", "problems", "tasks",
]  # fmt: skip


def invoke(*args, code):
    ended = CliRunner().invoke(main, [str(arg) for arg in args])
    assert ended.exit_code == code, (ended.output, ended.exception)
    assert "Traceback" not in ended.output
    if not isinstance(ended.exception, (SystemExit, type(None))):
        raise ended.exception
    return ended


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    """Two that are quickly graded: wrong answers to two tasks, and the rest missing."""
    folder = tmp_path_factory.mktemp("class")
    cells = [
        "import torch.nn.functional as F",
        "def lora_forward(x, weight, *rest, bias=None): return F.linear(x, weight, bias)",
        "def rank_for_budget(*args): return 1",
    ]
    write_notebook(folder / "anna" / "lora.ipynb", cells)
    write_notebook(folder / "bert" / "lora.ipynb", cells[:2])
    return folder


# -------------------------------------------------------------------------------------------- grade


def test_grade_leaves_all_it_promises(warm, notebooks, tmp_path):
    out = tmp_path / "results"
    ended = invoke("grade", notebooks, "--out", out, "--seed", 3, "--workers", 2, code=0)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [KEYS, KEYS]
    assert [Path(line["submission"]).parent.name for line in lines] == ["anna", "bert"]
    assert [line["status"] for line in lines] == ["graded", "graded"]
    for line in lines:  # without a GPU a check is not counted
        checks = [check for task in line["tasks"] for check in task["checks"]]
        left_out = sum(c["max_points"] for c in checks if c["outcome"] == "not_counted")
        assert line["max_points"] == lora().worth.graded - left_out
    assert all(line["isolation"] == "nested" for line in lines)
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["points"]) for row in rows] == [line["points"] for line in lines]
    assert {task.name for task in lora().tasks if not task.manual} <= rows[0].keys()
    assert sorted(path.name for path in (out / "feedback").iterdir()) == [
        "anna.html",
        "bert.html",
    ]
    assert plt.imread(out / "class.png").ndim == 3
    assert "bert" in ended.output and "--seed 3" in ended.output


BAD = {
    "text.ipynb": b"This is what I think.",
    "empty.ipynb": b"",
    "cut.ipynb": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_ty',
    "null.ipynb": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": null}',
    "deep.ipynb": b"[" * 50_000,
    "huge.ipynb": b'{"nbformat": ' + b"9" * 10_000 + b"}",
    "other.ipynb": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}',
}


def test_grade_goes_on_past_what_cannot_be_read(warm, tmp_path):
    folder, out = tmp_path / "class", tmp_path / "results"
    good = write_notebook(folder / "good.ipynb", ["def lora_forward(*args): return None"])
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    (folder / "link.ipynb").symlink_to(good)
    os.mkfifo(folder / "pipe.ipynb")
    ended = invoke("grade", folder, "--out", out, code=1)
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    by_name = {Path(line["submission"]).name: line for line in lines}
    assert by_name.pop("good.ipynb")["status"] == "graded"
    assert by_name.keys() == {*BAD, "link.ipynb", "pipe.ipynb"}
    for name, line in by_name.items():
        assert (line["status"], line["points"], line["tasks"]) == ("unreadable", 0, [])
        assert name in line["problems"][0]
        assert name.removesuffix(".ipynb") in ended.output


def test_grade_survives_a_file_name_that_is_no_utf_8(warm, tmp_path):
    folder, out = tmp_path / "class", tmp_path / "results"
    path = write_notebook(folder / "x.ipynb", ["def lora_forward(*args): return None"])
    path.rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.ipynb"))
    invoke("grade", folder, "--out", out, code=0)
    assert (out / "class.png").exists()


def test_grade_refuses_what_it_cannot_begin(warm, notebooks, tmp_path):
    """Each time exit 2 and a sentence, and nothing is run."""
    (tmp_path / "nothing").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    said = invoke("grade", tmp_path / "nothing", "--out", tmp_path / "a", code=2).output
    assert "no notebook" in said
    assert "no such file" in invoke("grade", tmp_path / "x", "--out", tmp_path / "a", code=2).output
    assert "--force" in invoke("grade", notebooks, "--out", tmp_path / "there", code=2).output
    for out in (tmp_path / "file" / "below", Path("/proc/results"), Path("/proc/1/x/y")):
        said = invoke("grade", notebooks, "--out", out, code=2).output
        assert str(out) in said and "--out" in said
    said = invoke("grade", notebooks, "--out", tmp_path / "a", "--lesson", "nope", code=2).output
    assert "nope" in said and "lora" in said
    invoke("grade", notebooks, "--out", tmp_path / "a", "--checks", tmp_path / "x", code=2)
    empty = invoke(
        "grade", notebooks, "--out", tmp_path / "a", "--lesson", "lora", "--checks",
        tmp_path / "nothing", code=2,
    )  # fmt: skip
    assert "holds no test_lora.py" in " ".join(empty.output.split())
    for seconds in ("nan", "inf", "1e300", "0", "x"):
        for option in ("--timeout", "--task-timeout"):
            said = invoke("grade", notebooks, "--out", tmp_path / "a", option, seconds, code=2)
            assert option in said.output
    invoke("grade", notebooks, "--out", tmp_path / "a", "--workers", 0, code=2)
    invoke("grade", notebooks, code=2)
    invoke("grade", "--out", tmp_path / "a", code=2)
    assert not (tmp_path / "a").exists()
    assert list((tmp_path / "there").iterdir()) == []


def test_grade_writes_into_what_exists_when_forced(warm, notebooks, tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    for _ in range(2):
        invoke("grade", notebooks / "anna", "--out", tmp_path, "--force", code=0)
    assert (tmp_path / "keep.txt").read_text() == "mine"
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_a_result_forced_over_an_older_one_keeps_no_page_of_it(warm, notebooks, tmp_path):
    invoke("grade", notebooks, "--out", tmp_path, "--force", code=0)
    invoke("grade", notebooks / "bert", "--out", tmp_path, "--force", code=0)
    assert [path.name for path in (tmp_path / "feedback").iterdir()] == ["bert.html"]


def test_grade_with_broken_checks_ends_in_words(warm, notebooks, tmp_path):
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "test_lora.py").write_text("import no_such_module")
    args = ("--out", tmp_path / "out", "--checks", tmp_path / "checks")
    assert "no_such_module" in invoke("grade", notebooks, *args, code=2).output


def test_grade_without_a_sandbox_says_loudly_what_that_means(
    unboxed, monkeypatch, notebooks, tmp_path
):
    from autograder.sandbox import launch

    monkeypatch.setattr(launch, "Zygote", lambda *_, **__: unboxed)
    args = ("grade", notebooks / "bert", "--out", tmp_path / "out", "--no-sandbox")
    ended = invoke(*args, code=0)
    assert "--no-sandbox" in ended.output and "your rights" in ended.output
    [line] = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["isolation"] == "none"


def test_the_command_itself_grades_from_any_folder(notebooks, tmp_path):
    """As a user runs it: another process, another folder, a sandbox of its own."""
    command = Path(sys.executable).with_name("autograder")
    ended = subprocess.run(
        [command, "grade", notebooks / "anna" / "lora.ipynb", "--out", "results"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Results: results" in ended.stdout
    assert (tmp_path / "results" / "scores.csv").exists()


# -------------------------------------------------------------------------------------------- check


def test_check_is_0_at_full_marks(warm, tmp_path):
    path = write_notebook(tmp_path / "lora.ipynb", reference_cells())
    ended = invoke("check", path, "--task", "lora_forward", code=0)
    assert "visible points" in ended.output and "hidden" in ended.output


def test_check_is_1_below(warm, notebooks):
    ended = invoke("check", notebooks / "anna" / "lora.ipynb", "--json", code=1)
    made = json.loads(ended.stdout)
    assert list(made) == KEYS
    assert 0 < sum(task["max_points"] for task in made["tasks"]) < lora().worth.graded


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_check_is_2_for_what_cannot_be_read(warm, tmp_path, data):
    (tmp_path / "mine.ipynb").write_bytes(data)
    assert "mine.ipynb" in invoke("check", tmp_path / "mine.ipynb", code=2).output


def test_check_is_2_for_wrong_usage(warm, tmp_path, notebooks):
    invoke("check", code=2)
    invoke("check", tmp_path / "none.ipynb", code=2)
    for wrong, said in (("nope", "`autograder lessons`"), ("lora_foward", "mean lora_forward")):
        came = invoke("check", notebooks / "anna" / "lora.ipynb", "--task", wrong, code=2).output
        assert wrong in came and said in came


def test_check_of_a_folder_names_the_folder(warm, notebooks):
    assert str(notebooks) in invoke("check", notebooks, code=2).output.replace("\n", "")


# ------------------------------------------------------------------------------- progress and cards


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Where this test's learner is recorded."""
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def standing():
    made = json.loads(invoke("progress", "--lesson", "lora", "--json", code=0).stdout)
    return made["lessons"][0]


def test_check_records_each_attempt_once(warm, data, tmp_path):
    """Also where the notebook itself calls check(), which must do nothing here."""
    path = write_notebook(
        tmp_path / "lora.ipynb",
        [
            "from autograder import check, progress",
            "import torch.nn.functional as F",
            "def lora_forward(x, weight, *rest, bias=None): return F.linear(x, weight, bias)",
            'assert check("lora_forward") == 0.0',
            "progress()",
        ],
    )
    for _ in range(2):
        invoke("check", path, "--json", code=1)
    made = standing()
    tasks = {task["task"]: task for task in made["tasks"] if task["attempts"]}
    assert tasks.keys() == {"lora_forward"}
    assert tasks["lora_forward"]["attempts"] == 2
    assert made["visible_points"] == tasks["lora_forward"]["visible_points_best"]
    assert not tasks["lora_forward"]["done"]


def test_the_untouched_lesson_is_no_attempt(warm, data):
    invoke("check", lora().notebook, code=1)
    assert not data.exists()


def test_grading_records_nothing(warm, data, notebooks, tmp_path):
    for isolation in ((), ("--no-sandbox",)):
        args = ("--out", tmp_path / "out", "--force", *isolation)
        invoke("grade", notebooks / "anna", *args, code=0)
    assert not data.exists()


def test_a_check_that_cannot_be_recorded_is_a_check_all_the_same(warm, data, notebooks):
    data.write_text("a file stands where the folder should be")
    ended = invoke("check", notebooks / "bert" / "lora.ipynb", "--json", code=1)
    assert json.loads(ended.stdout)["status"] == "graded"
    assert "not recorded" in ended.stderr and "AUTOGRADER_DATA" in ended.stderr


def test_progress_is_a_table_of_visible_points(warm, data, notebooks, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    said = invoke("progress", code=0).output
    assert "lora" in said and "Visible points" in said and "hidden" in said
    invoke("check", notebooks / "anna" / "lora.ipynb", code=1)
    said = invoke("progress", "--lesson", "04_lora", code=0).output
    assert "lora_forward" in said and "hidden" in said
    assert "lora" in invoke("progress", "--lesson", "nope", code=2).output


def test_progress_of_a_record_that_cannot_be_read_is_2(data):
    data.write_text("a file stands where the folder should be")
    said = invoke("progress", code=2).output
    assert str(data) in said and "AUTOGRADER_DATA" in said


def test_progress_forgets_when_told_twice(warm, data, notebooks):
    assert "Nothing" in invoke("progress", "--forget", code=0).output
    invoke("check", notebooks / "anna" / "lora.ipynb", code=1)
    assert "progress.json" in invoke("progress", "--forget", code=1).output  # nobody says yes
    assert standing()["last_practised"]
    invoke("progress", "--forget", "--yes", code=0)
    assert standing()["last_practised"] is None


def test_cards_lists_and_exports(data, tmp_path):
    assert "lora" in invoke("cards", "--list", code=0).output
    said = invoke("cards", "--export", tmp_path / "deck.apkg", "--lesson", "lora", code=0).output
    assert "deck.apkg" in said and (tmp_path / "deck.apkg").stat().st_size > 1000
    assert ".apkg" in invoke("cards", "--export", tmp_path / "deck.txt", code=2).output
    assert not (tmp_path / "deck.txt").exists()
    invoke("cards", "--export", tmp_path / "none" / "deck.apkg", code=2)
    assert "lora" in invoke("cards", "--lesson", "nope", code=2).output
    assert not data.exists()


def test_cards_without_a_terminal_says_the_way_out(data):
    said = invoke("cards", code=2).output
    assert "--list" in said and "--export" in said


class Terminal:
    """The command `autograder cards` in a terminal of its own."""

    def __init__(self, *args):
        self.master, inside = pty.openpty()
        command = [sys.executable, "-m", "autograder.cli", "cards", *args]
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True, cwd=ROOT
        )
        os.close(inside)

    def shows(self, text, press=""):
        """Return what is shown until `text` is; press keys until then.

        A key pressed before the command waits for it is lost; one pressed twice means nothing.
        """
        seen = b""
        for _ in range(60):
            os.write(self.master, press.encode())
            while select.select([self.master], [], [], 1)[0]:
                seen += os.read(self.master, 1 << 16)
                if text.encode() in seen:
                    return seen.decode()
        raise AssertionError(seen)

    def ended(self):
        code = self.process.wait(60)
        os.close(self.master)
        return code


def test_cards_in_a_terminal_keeps_each_rating_and_ends_at_ctrl_c(data):
    terminal = Terminal("--lesson", "lora")
    assert "Source" not in terminal.shows("Enter")
    terminal.shows("4 easy", press="\r")
    terminal.shows("Enter", press="4")
    kept = json.loads((data / "cards.json").read_text())  # before the command has ended
    assert len(kept["entries"]) == 1
    assert "1 answer rated" in terminal.shows("not begun", press="\x03")
    assert terminal.ended() == 130
    assert json.loads((data / "cards.json").read_text()) == kept


def test_cards_stops_at_q_with_0(data):
    terminal = Terminal("--new", "1")
    terminal.shows("Enter")
    terminal.shows("No card was rated", press="q")
    assert terminal.ended() == 0
    assert not data.exists()


# ----------------------------------------------------------------------------- report, gradescope


def test_report_says_how_the_graded_did(warm, notebooks, tmp_path):
    out = tmp_path / "results"
    invoke("grade", notebooks, "--out", out, code=0)
    ended = invoke("report", out, code=0)
    assert ended.output.strip().endswith("results/report.html")
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "anna" in text and "bert" in text and text.count("<svg ") >= 2
    invoke("report", out, "--format", "json", "--out", tmp_path / "figures.json", code=0)
    [lesson] = json.loads((tmp_path / "figures.json").read_text())["lessons"]
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert lesson["tasks"][0]["earned"] == pytest.approx(
        sum(line["tasks"][0]["points"] / line["tasks"][0]["max_points"] for line in lines) / 2
    )
    invoke("report", out, "--format", "canvas", code=0)
    with (out / "canvas.csv").open(newline="") as file:
        _, _, anna, bert = csv.reader(file)
    assert [anna[3], bert[3]] == ["anna", "bert"]
    assert [float(anna[-1]), float(bert[-1])] == [line["points"] for line in lines]


def test_report_refuses_what_is_no_run(tmp_path):
    said = invoke("report", tmp_path, code=2).output
    assert "no results.jsonl here" in said and "--out" in said
    (tmp_path / "results.jsonl").write_text('{"schema": 9}\n')
    assert "schema 9" in invoke("report", tmp_path, code=2).output
    (tmp_path / "results.jsonl").write_text("")
    assert "nothing is graded yet" in invoke("report", tmp_path, code=2).output
    assert "csv" in invoke("report", tmp_path, "--format", "pdf", code=2).output


def test_gradescope_makes_a_zip_and_replaces_none_unasked(tmp_path):
    path = tmp_path / "autograder.zip"
    assert str(path) in invoke("gradescope", "--lesson", "lora", "--out", path, code=0).output
    before = path.read_bytes()
    said = invoke("gradescope", "--lesson", "sft", "--out", path, code=2).output
    assert "--force" in said and path.read_bytes() == before
    invoke("gradescope", "--lesson", "sft", "--out", path, "--force", code=0)
    assert path.read_bytes() != before
    other = tmp_path / "other.zip"
    assert "lora" in invoke("gradescope", "--lesson", "nope", "--out", other, code=2).output
    invoke("gradescope", "--lesson", "lora", "--out", tmp_path / "other.tar", code=2)
    invoke("gradescope", "--lesson", "lora", "--out", tmp_path / "not" / "there.zip", code=2)
    assert [each.name for each in tmp_path.iterdir()] == ["autograder.zip"]


# --------------------------------------------------------------------------- lessons, build, doctor


def test_lessons_lists_the_catalogue():
    made = json.loads(invoke("lessons", "--json", code=0).stdout)
    [entry] = [entry for entry in made if entry["lesson"] == "lora"]
    for task in entry["tasks"]:
        assert list(task) == [
            "task", "title", "points", "visible_points", "hidden_points", "gpu_only_points",
            "by_hand_points", "graded_by", "visible_checks", "hidden_checks",
        ]  # fmt: skip
        assert task["graded_by"] == "person" or task["visible_checks"] >= 1
    assert "lora_forward" in invoke("lessons", code=0).output


def test_build_says_what_differs(monkeypatch, tmp_path):
    invoke("build", "--check", code=0)
    monkeypatch.setattr(construction, "COURSE", tmp_path)
    ended = invoke("build", "--check", code=1)
    assert "lora.ipynb" in ended.output and "autograder build" in ended.output
    assert list(tmp_path.iterdir()) == []


def test_build_without_sources_is_2(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    for option in ("--check", "--solutions"):
        assert "no solutions here" in invoke("build", option, code=2).output
    assert "clone of the repository" in " ".join(invoke("build", code=2).output.split())


def test_doctor_finds_a_sandbox(warm):
    made = json.loads(invoke("doctor", "--json", code=0).stdout)
    found = {finding["name"]: finding for finding in made}
    assert found["sandbox"]["good"] and "nested" in found["sandbox"]["found"]
    assert {"python", "system", "libraries", "processors", "disk", "GPU"} <= found.keys()


def test_doctor_without_a_sandbox_is_1_and_says_how_to_mend_it(monkeypatch, tmp_path):
    from autograder.sandbox import outer_wall

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(outer_wall.sysconfig, "get_path", lambda name: str(tmp_path))
    ended = invoke("doctor", code=1)
    assert "apt-get install bubblewrap" in " ".join(ended.output.split())


def test_help_and_version_are_quick_and_0():
    command = Path(sys.executable).with_name("autograder")
    for args in (["--help"], ["--version"], ["grade", "-h"]):
        ended = subprocess.run(
            [command, *args], capture_output=True, text=True, timeout=20, check=True
        )
        assert ended.stdout.strip()
    invoke("no-such-command", code=2)


def test_examples_are_graded_as_they_are_called(warm, tmp_path):
    """What `make grade` shows on the first day."""
    examples = ROOT / "examples" / "submissions"
    invoke("grade", examples, "--out", tmp_path / "out", "--seed", 1, code=0)
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    ]
    percent = {
        Path(line["submission"]).relative_to(examples).with_suffix("").parts[0]: 100
        * line["points"] / line["max_points"]
        for line in lines
    }  # fmt: skip
    assert percent.keys() >= {
        "full-marks", "written-differently", "half-done", "untouched", "published-mistakes",
        "syntax-error", "endless-loop", "always-equal",
    }  # fmt: skip
    lost = {
        f"{line['name']}: {check['name']}": check["message"]
        for line in lines
        if line["name"] in ("full-marks", "written-differently")
        for task in line["tasks"]
        for check in task["checks"]
        if check["points"] < check["max_points"] and check["outcome"] != "not_counted"
    }
    assert percent["full-marks"] == percent["written-differently"] == 100, lost
    assert percent["untouched"] == percent["always-equal"] == 0
    assert 40 < percent["half-done"] < 60
    assert percent["published-mistakes"] < 30
    for name in ("endless-loop", "syntax-error"):
        [line] = [line for line in lines if name in line["submission"]]
        lost = [task["task"] for task in line["tasks"] if task["points"] < task["max_points"]]
        assert len(lost) == 1, (name, lost)
