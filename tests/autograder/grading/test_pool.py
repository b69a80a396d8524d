"""The pool: many submissions at a time, each ending for itself."""

import contextlib
import os
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autograder.checking import plugin
from autograder.grading import pool
from autograder.grading.pool import Pool, pool_for
from autograder.grading.preparation import needs
from autograder.grading.score_submission import Options
from autograder.sandbox import launch, zygote
from autograder.sandbox.session import Session
from tests.conftest import (
    LIMITS,
    ROOT,
    descendants,
    pooled,
    reference_cells,
    settles,
    write_notebook,
)

TASKS = ("lora_forward", "rank_for_budget")
QUICK = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False)
TAKES = """
import pytest

@pytest.mark.task("lora_forward", points=1)
def test_takes_much(student):
    "It takes 400 MB."
    student.lora_forward
    bytearray(400 << 20)

@pytest.mark.task("lora_forward", points=1)
def test_takes_little(student):
    "It takes 1 MB."
    student.lora_forward
    bytearray(1 << 20)
"""


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch):
    monkeypatch.setattr(plugin, "CALL_SECONDS", 1.5)


@pytest.fixture
def notebooks(tmp_path):
    """A small class: right, half right, hostile, unreadable."""
    half = reference_cells(lora_forward="def lora_forward(*args, **kwargs): return args[0]")
    ends = reference_cells(
        lora_forward="def lora_forward(*args, **kwargs):\n    import os; os._exit(0)"
    )
    paths = [
        write_notebook(tmp_path / name / "lora.ipynb", cells)
        for name, cells in {"a": reference_cells(), "b": half, "c": ends, "d": ["x = 1"]}.items()
    ]
    (tmp_path / "e.ipynb").write_text("no notebook")
    return [*paths, tmp_path / "e.ipynb"]


def comparable(scores):
    return {
        score.submission: (
            score.status,
            score.points,
            score.max_points,
            score.problems,
            tuple((c.name, c.outcome, c.points, c.message) for t in score.tasks for c in t.checks),
        )
        for score in scores
    }


def test_one_worker_and_two_find_the_same(sandbox, notebooks):
    one, two = (
        comparable(pooled(notebooks, lambda: sandbox, QUICK, workers)) for workers in (1, 2)
    )
    assert one == two
    assert len(one) == len(notebooks)
    assert {status for status, *_ in one.values()} == {"graded", "unreadable"}


def test_another_seed_finds_the_same_scores(sandbox, notebooks):
    scores = [
        {s.submission: s.points for s in pooled(notebooks, lambda: sandbox, options, 2)}
        for options in (QUICK, Options(seed=99, limits=LIMITS, tasks=TASKS, hidden=False))
    ]
    assert scores[0] == scores[1]


def test_a_score_is_there_before_its_processes_have_ended(
    sandbox, notebooks, tmp_path, monkeypatch
):
    shown, end = tmp_path / "shown", Session.__exit__

    def once_shown(session, *error):
        assert settles(shown.exists, 60)
        end(session, *error)

    monkeypatch.setattr(Session, "__exit__", once_shown)
    options = replace(QUICK, timeout=10.0)
    for score in pooled(notebooks[:2], lambda: sandbox, options, 1):
        assert score.status == "graded"
        shown.touch()


def test_what_training_imports_is_imported_once_for_all(sandbox, monkeypatch):
    monkeypatch.setattr(zygote, "TRAINING", "tabnanny")  # torch's is here already
    monkeypatch.delitem(sys.modules, "tabnanny", raising=False)
    with Pool(lambda: sandbox, Options(lesson="evaluation", hidden=False), 1):
        assert "tabnanny" not in sys.modules, "its visible checks train nothing"
    with Pool(lambda: sandbox, Options(lesson="fine_tuning", hidden=False), 1):
        assert "tabnanny" in sys.modules


def test_a_pool_for_a_few_notebooks_reads_and_warms_what_they_need(tmp_path, sandbox, monkeypatch):
    warmed = []
    monkeypatch.setattr(
        launch, "start", lambda hide, isolation, warm: warmed.append(warm) or sandbox
    )
    monkeypatch.setattr(plugin, "census", lambda paths: read.extend(paths))
    read: list[Path] = []
    path = write_notebook(tmp_path / "a.ipynb", reference_cells("evaluation"))
    with pool_for([path], QUICK, 1, (tmp_path,)):
        assert {path.stem for path in read} == {"test_evaluation"}
        assert warmed == [needs([path], QUICK).modules] and "peft" not in warmed[0]


def killing(folder, body):
    """Checks of an instructor's own that run in the grading process, and end it."""
    text = """
    import os, signal
    import pytest
    from pathlib import Path

    @pytest.mark.task("lora_forward", points=1)
    def test_of_our_own(student):
        "It is of our own."
        marker = Path(MARKER)
        if getattr(student, "doomed") == "yes":
            BODY
    """
    text = textwrap.dedent(text).replace("MARKER", repr(str(folder / "marker")))
    folder.mkdir()
    (folder / "test_lora.py").write_text(text.replace("BODY", body))
    return folder


def class_of_two(tmp_path):
    cells = reference_cells()
    return [
        write_notebook(tmp_path / f"{name}.ipynb", [f"doomed = {doomed!r}", *cells])
        for name, doomed in (("doomed", "yes"), ("fine", "no"))
    ]


def test_a_judge_killed_from_outside_is_tried_again(sandbox, tmp_path):
    once = "if not marker.exists():\n            marker.touch(); os.kill(os.getpid(), 9)"
    checks = killing(tmp_path / "checks", once)
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, checks=checks)
    scores = {
        Path(s.submission).stem: s
        for s in pooled(class_of_two(tmp_path), lambda: sandbox, options, 2)
    }
    assert {name: score.status for name, score in scores.items()} == {
        "doomed": "graded",
        "fine": "graded",
    }
    assert {score.percent for score in scores.values()} == {100.0}


def test_a_judge_that_is_killed_each_time_is_reported_and_costs_nobody_else(sandbox, tmp_path):
    checks = killing(tmp_path / "checks", "os.kill(os.getpid(), 9)")
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, checks=checks)
    before = descendants()
    scores = {
        Path(s.submission).stem: s
        for s in pooled(class_of_two(tmp_path), lambda: sandbox, options, 2)
    }
    assert (scores["fine"].status, scores["fine"].percent) == ("graded", 100.0)
    doomed = scores["doomed"]
    assert (doomed.status, doomed.points) == ("crashed", 0)
    assert "Tried 3 times" in doomed.problems[0] and "doomed.ipynb" in doomed.problems[0]
    assert settles(lambda: descendants() <= before), "a judge's child outlived it"


def test_a_submission_killed_from_outside_is_tried_again(sandbox, tmp_path):
    once = "if not marker.exists():\n            marker.touch(); os.kill(student._transport.pid, 9)"
    checks = killing(tmp_path / "checks", once)
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, checks=checks)
    scores = list(pooled(class_of_two(tmp_path), lambda: sandbox, options, 2))
    assert {(score.status, score.percent) for score in scores} == {("graded", 100.0)}
    assert (tmp_path / "checks" / "marker").exists()


def test_a_warm_process_killed_at_work_costs_nobody_a_try_too_many(tmp_path):
    """Its sandbox is killed, and the next try begins before all in it have died."""
    body = "if not marker.exists():\n            marker.touch()\n"
    body += "            os.kill(student._transport._sandbox._process.pid, 9)"
    checks = killing(tmp_path / "checks", body)
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, checks=checks)
    scores = list(
        pooled(class_of_two(tmp_path), lambda: launch.start((ROOT,), warm=zygote.BASE), options, 2)
    )
    assert {(score.status, score.percent) for score in scores} == {("graded", 100.0)}


def test_a_judge_that_hangs_is_ended_and_not_tried_again(sandbox, tmp_path, monkeypatch):
    checks = killing(tmp_path / "checks", "import time; time.sleep(60)")
    options = Options(1, timeout=20, limits=LIMITS, tasks=TASKS[:1], hidden=False, checks=checks)
    most = pool.PATIENCE * options.timeout + pool.SPARE_SECONDS
    monkeypatch.setattr(pool, "GRACE", 4.0 - most)
    start = time.monotonic()
    scores = {
        Path(s.submission).stem: s
        for s in pooled(class_of_two(tmp_path), lambda: sandbox, options, 2)
    }
    assert time.monotonic() - start < 15
    assert scores["fine"].percent == 100.0
    assert scores["doomed"].status == "timeout"
    assert (
        "doomed.ipynb: could not be graded (it did not end in time)" in scores["doomed"].problems[0]
    )


def test_checks_that_are_broken_are_reported_not_scored(sandbox, tmp_path):
    folder = tmp_path / "checks"
    folder.mkdir()
    (folder / "test_lora.py").write_text("import no_such_module")
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, checks=folder)
    with pytest.raises(plugin.BrokenChecks, match="no_such_module"):
        list(pooled(class_of_two(tmp_path)[:1], lambda: sandbox, options, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_DATA")
def test_a_check_that_makes_too_much_of_what_came_fails_alone(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "GROWTH", 256 << 20)
    (tmp_path / "test_lora.py").write_text(TAKES)
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, checks=tmp_path)
    [score] = pooled(class_of_two(tmp_path)[:1], lambda: sandbox, options, 1)
    checks = {check.name: check for task in score.tasks for check in task.checks}
    assert checks["test_takes_much"].message.endswith("(MemoryError).")
    assert checks["test_takes_little"].outcome == "passed"


def test_a_warm_process_that_is_killed_is_replaced(tmp_path):
    started = []

    def start():
        before = descendants()
        warm = launch.start((ROOT,), warm=zygote.BASE)
        started.append((warm, descendants() - before))
        return warm

    cells = reference_cells()
    paths = [write_notebook(tmp_path / f"{n}.ipynb", cells) for n in range(3)]
    before = descendants()
    scores = []
    for score in pooled(paths, start, QUICK, 1):
        scores.append(score)
        if len(scores) == 1:
            for pid in started[0][1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
    assert [score.status for score in scores] == ["graded"] * 3
    assert {score.percent for score in scores} == {100.0}
    assert len(started) == 2
    assert settles(lambda: descendants() <= before)


def test_a_run_that_is_left_early_leaves_no_process(sandbox, notebooks):
    before = descendants()
    scores = pooled(notebooks, lambda: sandbox, QUICK, 2)
    next(scores)
    scores.close()
    assert settles(lambda: descendants() <= before)


def test_an_error_between_fork_and_first_word_hangs_nobody(sandbox, notebooks):
    before = descendants()
    broken = replace(QUICK, timeout="x")  # as no check of the settings should let through
    start = time.monotonic()
    with pytest.raises(TypeError), Pool(lambda: sandbox, broken, 1) as begun:
        begun.begin(notebooks[0])
    assert time.monotonic() - start < 10
    assert settles(lambda: descendants() <= before)
