"""What a run imports beforehand: what a few notebooks need, or all there is."""

import os
import time

import pytest

from autograder.catalogue import lessons
from autograder.grading.preparation import FEW, LARGE, needs
from autograder.grading.score_submission import Options
from autograder.sandbox import zygote
from tests.conftest import reference_cells, write_notebook

VISIBLE = Options(hidden=False)


@pytest.fixture
def notebook(tmp_path):
    """Write a lesson's reference, and further cells, to a notebook."""
    return lambda lesson, *cells: write_notebook(
        tmp_path / f"{lesson}.ipynb", [*reference_cells(lesson), *cells]
    )


def test_what_one_notebook_needs_is_imported_before_its_time_runs(notebook):
    plain = needs([notebook("lora")], VISIBLE).modules
    assert set(plain) >= set(zygote.BASE) and "peft" not in plain
    asks = notebook("lora", "def f():\n    from peft import LoraModel")
    assert "peft" in needs([asks], VISIBLE).modules
    checked = needs([notebook("evaluation")], VISIBLE).modules
    assert "sklearn.metrics" in checked and zygote.TRAINING not in checked
    assert zygote.TRAINING in needs([notebook("fine_tuning")], VISIBLE).modules


def test_of_a_few_notebooks_the_checks_of_their_lessons_are_read(notebook, tmp_path):
    few = [notebook("evaluation"), notebook("fine_tuning"), tmp_path / "none.ipynb"]
    found = needs(few, VISIBLE)
    assert found.lessons == ("evaluation", "fine_tuning")
    assert {"sklearn.metrics", zygote.TRAINING} <= set(found.modules)
    assert needs(few, Options(lesson="evaluation")).lessons == ("evaluation",)


def test_what_cannot_be_read_needs_nothing(tmp_path):
    found = needs([tmp_path / "none.ipynb"], VISIBLE)
    assert (found.lessons, found.modules) == ((), zygote.BASE)


def test_for_many_notebooks_or_none_that_is_known_all_is_imported(notebook):
    for paths in ((), [notebook("evaluation")] * (FEW + 1)):
        found = needs(paths, VISIBLE)
        assert found.lessons == tuple(lesson.name for lesson in lessons.catalogue())
        assert found.modules == zygote.WARM
        assert needs(paths, Options(lesson="sft")).lessons == ("sft",)


def test_large_notebooks_are_not_read_by_the_process_that_grades_all(notebook, monkeypatch):
    small, large = notebook("evaluation"), notebook("lora")
    assert needs([small], VISIBLE).lessons == ("evaluation",)
    os.truncate(large, LARGE)
    monkeypatch.setattr("autograder.grading.preparation.read", None)
    assert needs([small, large], VISIBLE).modules == zygote.WARM
    assert needs([small, large], Options(lesson="sft")).lessons == ("sft",)


def test_empty_lines_are_looked_through_in_a_moment():
    began = time.monotonic()
    assert zygote.named(["\n" * 500_000 + "import peft"]) == (*zygote.BASE, "peft")
    assert time.monotonic() - began < 2
