"""A run of `grade`: the folder of results, and what is hidden from the sandbox."""

import json

import pytest

from autograder import run
from autograder.grade import Options
from autograder.notebook import NotebookError
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
    monkeypatch.setattr(launch, "start", lambda hide=(): asked.append(hide) or sandbox)
    return asked


def test_the_sandbox_hides_project_submissions_and_results(hidden, tmp_path):
    path = write_notebook(tmp_path / "class" / "lora.ipynb", ["def lora_forward(*a): return None"])
    out = tmp_path / "out"
    options = Options(seed=1, limits=LIMITS, tasks=("lora_forward",), hidden=False)
    [score] = run.grade_into(out, [path], options, 1, no_sandbox=False)
    assert score.status == "graded"
    assert {ROOT, out, path.parent} <= set(hidden[0])


def test_scores_come_in_the_order_asked_for_whoever_ends_first(hidden, tmp_path):
    slow = "import time\ndef lora_forward(*a): time.sleep(0.5)"
    paths = [
        write_notebook(tmp_path / f"{name}.ipynb", [cell])
        for name, cell in (("b", slow), ("a", "def lora_forward(*a): return None"))
    ]
    options = Options(seed=1, limits=LIMITS, tasks=("lora_forward",), hidden=False)
    scores = run.grade_into(tmp_path / "out", paths, options, 2, no_sandbox=False)
    assert [score.submission for score in scores] == list(map(str, paths))
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["submission"] for line in lines] == list(map(str, paths))
