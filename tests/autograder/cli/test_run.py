"""A run of `grade`: the folder of results, what is hidden from the sandbox, what ends it early."""

import errno
import json
import multiprocessing
import random
import re
import shutil
import zipfile

import pytest
from click.testing import CliRunner

from autograder.cli import main, run
from autograder.grading import journal
from autograder.grading.pool import Unfinished
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.reporting import feedback
from autograder.sandbox import launch
from tests.conftest import LIMITS, ROOT, write_notebook


def test_a_folder_that_exists_is_refused_unless_forced(tmp_path):
    with pytest.raises(NotebookError, match="--force"):
        run.refuse_folder(tmp_path, force=False)
    run.refuse_folder(tmp_path, force=True)
    run.refuse_folder(tmp_path / "a" / "b", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["mine", "mine/results"])
def test_a_file_in_the_way_is_refused_even_when_forced(tmp_path, out):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(NotebookError, match="is a file"):
        run.refuse_folder(tmp_path / out, force=True)
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.fixture
def hidden(monkeypatch, sandbox):
    """The folders that a run asks its sandbox to hide."""
    asked = []
    monkeypatch.setattr(launch, "start", lambda hide=(), *_: asked.append(hide) or sandbox)
    return asked


def test_the_sandbox_hides_project_submissions_and_results(hidden, tmp_path):
    path = write_notebook(tmp_path / "class" / "lora.ipynb", ["def lora_forward(*a): return None"])
    out = tmp_path / "out"
    checks = tmp_path / "checks"
    checks.mkdir()
    options = Options(1, limits=LIMITS, tasks=("lora_forward",), hidden=False, checks=checks)
    [score] = run.grade_into(out, [path], options, 1)
    assert score.status == "graded"
    assert {ROOT, out, path.parent, checks} <= set(hidden[0])


def test_scores_come_in_the_order_asked_for_whoever_ends_first(hidden, tmp_path):
    slow = "import time\ndef lora_forward(*a): time.sleep(0.5)"
    paths = [
        write_notebook(tmp_path / f"{name}.ipynb", [cell])
        for name, cell in (("b", slow), ("a", "def lora_forward(*a): return None"))
    ]
    options = Options(seed=1, limits=LIMITS, tasks=("lora_forward",), hidden=False)
    scores = run.grade_into(tmp_path / "out", paths, options, 2)
    assert [score.submission for score in scores] == list(map(str, paths))
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["submission"] for line in lines] == list(map(str, paths))


# ------------------------------------------------------------------------- what ends a run early

QUICK = Options(seed=5, limits=LIMITS, tasks=("lora_linear",), hidden=False)
RIGHT = """
import torch
from torch import nn

class LoRALinear(nn.Module):
    def __init__(self, base, rank, lora_alpha, dropout=0.0):
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), lora_alpha / rank
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x):
        return self.base(x) + self.scale * x @ self.lora_A.T @ self.lora_B.T
"""


@pytest.fixture
def ten(tmp_path):
    """Ten notebooks, by turns right, wrong and unreadable."""
    sources = [RIGHT, "class LoRALinear: pass"]
    paths = [tmp_path / "class" / f"{number}.ipynb" for number in range(10)]
    for number, path in enumerate(paths):
        write_notebook(path, [sources[number % 2]])
    paths[7].write_text("no notebook")
    return paths


def timeless(out):
    """What a run left, without its times."""
    files = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    in_journal = rb'"seconds": [0-9.e-]+|"figure": (null|\{[^}]*\})'
    on_page = rb'<div class="ag-bars".*?<span class="ag-seen">[^<]*</span>'
    times = re.compile(in_journal + rb"|" + on_page, re.DOTALL)
    return {name: times.sub(b"", data) for name, data in files.items()}


@pytest.mark.usefixtures("hidden")
def test_a_run_killed_at_any_moment_goes_on_where_it_was(ten, tmp_path):
    """Twenty kills: the results are byte for byte those of a run left in peace, times aside."""
    chance = random.Random(1)
    whole, out = tmp_path / "whole", tmp_path / "killed"
    run.grade_into(whole, ten, QUICK, workers=2)
    fork = multiprocessing.get_context("fork")
    kills = 0
    while kills < 20:
        resume = (out / "run.json").exists()
        runner = fork.Process(target=run.grade_into, args=(out, ten, QUICK, 2, "", resume))
        runner.start()
        runner.join(chance.uniform(0.05, 0.6))
        kills += runner.is_alive()
        runner.kill()
        runner.join()
        if (out / "class.png").exists():  # it was done before the kill: once more
            assert timeless(out) == timeless(whole)
            shutil.rmtree(out)
    run.grade_into(out, ten, QUICK, 2, resume=(out / "run.json").exists())
    assert timeless(out) == timeless(whole)


@pytest.mark.usefixtures("hidden")
def test_a_line_cut_short_is_graded_again_and_no_other(ten, tmp_path):
    out = tmp_path / "out"
    run.grade_into(out, ten, QUICK)
    whole, journal = timeless(out), out / "results.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:40])
    run.grade_into(out, ten, QUICK, resume=True)
    assert timeless(out) == whole
    assert journal.read_bytes().splitlines(keepends=True)[:3] == lines[:3]


@pytest.mark.usefixtures("hidden")
def test_a_full_disk_ends_the_run_in_words_and_keeps_what_there_was(ten, tmp_path, monkeypatch):
    out, flush, left = tmp_path / "out", journal._flush, iter(range(5))

    def filling(file):
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_flush", filling)
        with pytest.raises(Unfinished, match=r"No space left[\s\S]*--resume"):
            run.grade_into(out, ten, QUICK, workers=1)
    assert len((out / "results.jsonl").read_bytes().splitlines()) >= 2
    scores = run.grade_into(out, ten, QUICK, resume=True)
    assert [score.submission for score in scores] == list(map(str, ten))


@pytest.mark.usefixtures("hidden")
def test_resume_refuses_another_class(ten, tmp_path):
    out = tmp_path / "out"
    run.grade_into(out, ten[:2], QUICK)
    with pytest.raises(NotebookError, match=r"1\.ipynb, which is not among PATHS"):
        run.grade_into(out, ten[:1], QUICK, resume=True)
    more = run.grade_into(out, ten[:3], QUICK, resume=True)
    assert len(more) == 3


@pytest.mark.usefixtures("hidden")
def test_a_late_submission_takes_nobody_s_page(ten, tmp_path):
    """It is named like those who are graded already."""
    out, cells = tmp_path / "out", ten[0].read_text()
    places = [tmp_path / each for each in ("a/c-lora.ipynb", "b/lora.ipynb", "c/lora.ipynb")]
    for place in places:
        place.parent.mkdir()
        place.write_text(cells)
    run.grade_into(out, places[1:], QUICK)
    before = {page: page.read_text() for page in (out / "feedback").iterdir()}
    scores = run.grade_into(out, places, QUICK, resume=True)
    assert len(before) == 2 and {page: page.read_text() for page in before} == before
    pages = {out / feedback.page_of(score) for score in scores}
    assert len(pages) == 3 and set((out / "feedback").iterdir()) == pages


def test_two_runs_do_not_write_in_one_place(tmp_path):
    with journal.Journal(tmp_path), pytest.raises(NotebookError, match="another run"):
        journal.Journal(tmp_path)


# ----------------------------------------------------------------------- whose it is, and what else

COUNT = """
def count_parameters(model):
    parameters = {id(p): p for p in model.parameters()}.values()
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)
"""


@pytest.mark.usefixtures("warm")
def test_a_folder_loses_no_file_and_calls_each_student_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    folder, out = tmp_path / "download", tmp_path / "out"
    for who in ("Anna A_101", "Bela B_102", "Cem C_103"):
        write_notebook(folder / f"{who}_assignsubmission_file_" / "homework.ipynb", [COUNT])
    third = folder / "Cem C_103_assignsubmission_file_" / "homework.ipynb"
    with zipfile.ZipFile(third.with_suffix(".zip"), "w") as archive:
        archive.write(third, "homework.ipynb")
    third.unlink()
    first = folder / "Anna A_101_assignsubmission_file_" / "homework.ipynb"
    first.rename(first.with_name("HOMEWORK.IPYNB"))
    (first.parent / ".DS_Store").write_bytes(b"x")
    (folder / "Dora D_104_assignsubmission_file_").mkdir()
    (folder / "Dora D_104_assignsubmission_file_" / "report.pdf").write_bytes(b"%PDF-1.7")

    said = CliRunner().invoke(
        main, ["grade", str(folder), "--out", str(out), "--seed", "3", "--lesson", "fine_tuning"]
    )
    assert said.exit_code == 1, said.output
    assert "Dora D_104_assignsubmission_file_/report.pdf: left out: a PDF" in said.output
    assert ".DS_Store" not in said.output
    names = ["Anna A 101", "Bela B 102", "Cem C 103"]
    for name in names:
        page = (out / "feedback" / f"{name}.html").read_text(encoding="utf-8")
        assert f"<title>Feedback: {name}</title>" in page
        assert re.search(rf"│ {name} +│ graded +│ 5 / ", said.output), said.output
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == names
    assert {line["tasks"][0]["points"] for line in lines} == {5.0}
    report = CliRunner().invoke(main, ["report", str(out), "--format", "canvas"])
    assert report.exit_code == 0 and not report.stderr
    assert [row.split(",")[0] for row in (out / "canvas.csv").read_text().splitlines()[2:]] == names


def test_what_is_stopped_and_not_reached_is_noticed(hidden, tmp_path):
    path = write_notebook(
        tmp_path / "class" / "eve.ipynb", ["def lora_forward(*a):\n    while 1: pass"]
    )
    options = Options(1, limits=LIMITS, tasks=("lora_forward",), hidden=False, task_timeout=1.0)
    [score] = run.grade_into(tmp_path / "out", [path], options, 1)
    assert "not reached" in score.problems[0]
