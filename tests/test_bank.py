"""The bank: no wrong answer of the lora lesson is accepted, no right one rejected.

Each mutant and alternate is a notebook: the reference's code cells, then its own. All of them go
through the real pool and the real sandbox, with one warm process.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import jupytext
import pytest

from autograder import lessons, plugin
from autograder.grade import Options, Score
from tests.conftest import HIDDEN, KILLS, ROOT, lora, pooled, reference_cells, write_notebook

BANK = ROOT / "tests" / "submissions" / "lora"
WORKERS = os.cpu_count() or 1


def bank(kind: str) -> list[tuple[str, str, str]]:
    """The (name, task, source) of each cell of mutants.py or alternates.py."""
    found = jupytext.read(BANK / f"{kind}s.py", fmt="py:percent").cells
    return [
        (cell.metadata[kind], cell.metadata.get("task", ""), cell.source)
        for cell in found
        if kind in cell.metadata
    ]


MUTANTS, ALTERNATES = bank("mutant"), bank("alternate")


def graded(paths, sandbox, **options) -> dict[str, Score]:
    scores = pooled(paths, lambda: sandbox, Options(seed=1, lesson="lora", **options), WORKERS)
    return {Path(score.submission).stem: score for score in scores}


@pytest.fixture(scope="session")
def mutants(sandbox, tmp_path_factory) -> dict[str, Score]:
    """Every mutant's score on its own task."""
    folder, by_task = tmp_path_factory.mktemp("mutants"), defaultdict(list)
    before = reference_cells()
    for name, task, source in MUTANTS:
        by_task[task].append(
            write_notebook(folder / task / f"{task}:{name}.ipynb", [*before, source])
        )
    scores = {}
    for task, paths in by_task.items():
        for key, score in graded(paths, sandbox, tasks=(task,)).items():
            scores[key] = score
            checks = score.tasks[0].checks if score.tasks else ()
            KILLS.setdefault(task, {})[key.partition(":")[2]] = {
                check.name: check.outcome != "passed" for check in checks
            }
    return scores


@pytest.fixture(scope="session")
def alternates(sandbox, tmp_path_factory) -> dict[str, Score]:
    """Every alternate's score on all tasks."""
    folder, before = tmp_path_factory.mktemp("alternates"), reference_cells()
    paths = [
        write_notebook(folder / f"{name}.ipynb", [*before, source])
        for name, _, source in ALTERNATES
    ]
    return graded(paths, sandbox)


def lost(score: Score) -> list[str]:
    return [
        f"{check.task}:{check.name} ({check.message})"
        for task in score.tasks
        for check in task.checks
        if check.outcome != "passed"
    ]


def hidden_checks() -> list[plugin.CheckResult]:
    return [check for check in plugin.census(plugin.files("lora", hidden=True)) if check.hidden]


def test_the_bank_is_large_enough_and_its_names_are_unique():
    assert len(MUTANTS) >= 40
    assert len(ALTERNATES) >= 8
    assert len({(task, name) for name, task, _ in MUTANTS}) == len(MUTANTS)
    assert len({name for name, _, _ in ALTERNATES}) == len(ALTERNATES)


def test_every_task_has_mutants_named_after_their_mistake():
    tasks = {task.name for task in lora().tasks if not task.manual}
    assert {task for _, task, _ in MUTANTS} == tasks
    assert [name for name, _, source in MUTANTS if not source.lstrip().startswith('"""')] == []


@pytest.mark.parametrize("name, task", [(name, task) for name, task, _ in MUTANTS])
def test_a_mutant_loses_points_on_its_task(mutants, name, task):
    score = mutants[f"{task}:{name}"]
    assert score.status == "graded", score.problems
    assert score.points < score.max_points
    assert not [check.name for check in score.tasks[0].checks if check.outcome == "error"]


@pytest.mark.parametrize("name", [name for name, _, _ in ALTERNATES])
def test_an_alternate_gets_full_marks(alternates, name):
    score = alternates[name]
    assert score.status == "graded", score.problems
    assert lost(score) == []
    assert score.points == score.max_points == lora().max_points


def test_each_hidden_check_alone_kills_some_mutant(mutants):
    alone = set()
    for task, rows in KILLS.items():
        for row in rows.values():
            failed = [check for check, fails in row.items() if fails]
            if len(failed) == 1:
                alone.add((task, failed[0]))
    counted = {(check.task, check.name) for check in hidden_checks() if check.max_points}
    HIDDEN.update((check.task, check.name) for check in hidden_checks())
    assert counted - alone == set()


def test_the_points_of_visible_and_hidden_checks_sum_to_the_task_s():
    checks = plugin.census(plugin.files("lora", hidden=True))
    for task in lora().tasks:
        if not task.manual:
            assert (
                sum(check.max_points for check in checks if check.task == task.name) == task.points
            )


def test_each_coding_task_has_three_hidden_checks_at_least():
    questions = ("lora_numbers", "lora_statements")
    hidden = hidden_checks()
    for task in lora().tasks:
        if not task.manual and task.name not in questions:
            assert sum(check.task == task.name for check in hidden) >= 3, task.name


def test_every_check_has_a_requirement_in_words():
    for check in plugin.census(plugin.files("lora", hidden=True)):
        assert " " in check.requirement and check.requirement != check.name
        assert check.requirement.endswith("."), check.name


def test_the_reference_gets_full_marks(sandbox):
    source = next(path for path in lessons.sources() if path.stem.endswith("lora"))
    [score] = graded([source], sandbox).values()
    assert score.status == "graded"
    assert lost(score) == []
    assert score.percent == 100.0
    assert list(score.problems) == []


def test_the_untouched_release_gets_nothing(sandbox):
    [score] = graded([lora().notebook], sandbox).values()
    assert score.status == "graded"
    assert score.points == 0
    assert score.max_points == lora().max_points
    assert list(score.problems) == []
