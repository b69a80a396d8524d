"""The bank: of no lesson is a wrong answer accepted, or a right one rejected.

Each mutant and alternate is a notebook: the reference's code, then its own. All of them are graded
in the real sandbox, with one warm process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import jupytext
import pytest

from autograder import scores
from autograder.catalogue import lessons, reference, sources
from autograder.checking import check_files, plugin
from autograder.grading import score_submission
from autograder.grading.score_submission import Options
from autograder.scores import Score
from tests.conftest import ROOT, countable, decided, reference_cells, write_notebook
from tests.parallel import KILLS

BANK = ROOT / "tests" / "submissions"
LESSONS = [source.stem[3:] for source in sources.sources()]
QUESTIONS = ("_numbers", "_statements")


@cache
def bank(lesson: str, kind: str) -> tuple[tuple[str, str, str], ...]:
    """The (name, task, source) of each cell of a lesson's mutants.py or alternates.py."""
    found = jupytext.read(BANK / lesson / f"{kind}s.py", fmt="py:percent").cells
    return tuple(
        (cell.metadata[kind], cell.metadata.get("task", ""), cell.source)
        for cell in found
        if kind in cell.metadata
    )


def reference_cell(lesson: str) -> str:
    """A lesson's reference as one cell, which runs sooner than many.

    What differs from it stands behind it in the same cell: in one of its own, whatever only
    redefines a helper would be judged once more as things stood before.
    """
    return "\n\n".join(reference_cells(lesson))


def warning(source: str) -> str:
    """The lesson's words that warn of a mutant's mistake, as its docstring quotes them, or ""."""
    _, _, words = (ast.get_docstring(ast.parse(source)) or "").partition("The lesson warns:")
    return " ".join(words.split())


MUTANTS = [(lesson, *entry) for lesson in LESSONS for entry in bank(lesson, "mutant")]
ALTERNATES = [(lesson, *entry) for lesson in LESSONS for entry in bank(lesson, "alternate")]
each_lesson = pytest.mark.parametrize("lesson", LESSONS)


@pytest.fixture(scope="session")
def graded(sandbox, seed):
    """`graded(lesson, paths)`: the scores by the notebooks' names, under the seed asked for."""

    def of(lesson, paths, **options) -> dict[str, Score]:
        options = Options(seed=seed, lesson=lesson, **options)
        return {path.stem: score_submission.grade(path, sandbox, options) for path in paths}

    return of


@pytest.fixture(scope="session")
def mutants(graded, tmp_path_factory):
    """`mutants(lesson)`: every mutant's score on its own task."""

    @cache
    def of(lesson: str) -> dict[tuple[str, str], Score]:
        folder, before = tmp_path_factory.mktemp("mutants"), reference_cell(lesson)
        scores, kills = {}, KILLS.setdefault(lesson, {})
        for task in dict.fromkeys(task for _, task, _ in bank(lesson, "mutant")):
            paths = [
                write_notebook(folder / task / f"{name}.ipynb", [f"{before}\n\n\n{source}"])
                for name, its, source in bank(lesson, "mutant")
                if its == task
            ]
            for name, score in graded(lesson, paths, tasks=(task,)).items():
                scores[task, name] = score
                checks = decided(score.tasks[0]) if score.tasks else []
                row = {check.name: check.outcome != "passed" for check in checks}
                kills.setdefault(task, {})[name] = row
        return scores

    return of


@pytest.fixture(scope="session")
def alternates(graded, tmp_path_factory):
    """`alternates(lesson)`: every alternate's score on the tasks that it can matter for."""

    @cache
    def of(lesson: str) -> dict[str, Score]:
        folder, before = tmp_path_factory.mktemp("alternates"), reference_cell(lesson)
        scores = {}
        for name, _, source in bank(lesson, "alternate"):
            path = write_notebook(folder / f"{name}.ipynb", [f"{before}\n\n\n{source}"])
            scores |= graded(lesson, [path], tasks=touched(lesson, source))
        return scores

    return of


def bound(source: str) -> Iterator[str]:
    """The names that a cell gives a value: all, by imports and in blocks too.

    `notebook.defined_names` tells which task a cell is for, and leaves those out.
    """
    nodes: list[ast.AST] = [ast.parse(source)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        nodes += ast.iter_child_nodes(node)


def touched(lesson: str, source: str) -> tuple[str, ...]:
    """The tasks that a cell can matter for: their code has one of its names, or of another such's.

    The others are the reference's alone, which has full marks.
    """
    cells = [(task, text) for task, text in reference.reference_cells(lesson) if task]
    names, tasks = set(bound(source)), set[str]()
    while more := [
        (task, text)
        for task, text in cells
        if task not in tasks and names & set(re.findall(r"\w+", text))
    ]:
        for task, text in more:
            tasks.add(task)
            names |= set(bound(text))
    return tuple(task.name for task in graded_tasks(lesson) if task.name in tasks)


def lost(score: Score) -> list[str]:
    return [
        f"{check.task}:{check.name} ({check.message})"
        for task in score.tasks
        for check in decided(task)
        if check.outcome != "passed"
    ]


def checks_of(lesson: str, hidden: bool | None = None) -> list[scores.CheckResult]:
    """The checks of a lesson: all, or those that are hidden or not."""
    found = plugin.census(check_files.files(lesson, hidden=True))
    return [check for check in found if hidden is None or check.hidden is hidden]


def graded_tasks(lesson: str) -> list[lessons.Task]:
    return [task for task in lessons.lesson_named(lesson).tasks if not task.manual]


@each_lesson
def test_the_bank_is_large_enough_and_its_names_are_unique(lesson):
    wrong, right = bank(lesson, "mutant"), bank(lesson, "alternate")
    coding = len([t for t in graded_tasks(lesson) if not t.name.endswith(QUESTIONS)])
    assert len(wrong) >= min(40, 5 * coding)
    assert len(right) >= min(8, 2 * coding)
    assert len({(task, name) for name, task, _ in wrong}) == len(wrong)
    assert len({name for name, _, _ in right}) == len(right)


@each_lesson
def test_every_task_has_mutants_and_each_tells_its_mistake(lesson):
    wrong = bank(lesson, "mutant")
    assert {task for _, task, _ in wrong} == {task.name for task in graded_tasks(lesson)}
    told = (*wrong, *bank(lesson, "alternate"))
    assert [name for name, _, source in told if not source.lstrip().startswith('"""')] == []


@pytest.mark.parametrize(
    "lesson, name, task", [(lesson, name, task) for lesson, name, task, _ in MUTANTS]
)
def test_a_mutant_loses_points_on_its_task(mutants, lesson, name, task):
    score = mutants(lesson)[task, name]
    assert score.status == "graded", score.problems
    assert score.points < score.max_points
    assert not [check.name for check in score.tasks[0].checks if check.outcome == "error"]


@pytest.mark.parametrize(
    "lesson, name, task",
    [(lesson, name, task) for lesson, name, task, source in MUTANTS if warning(source)],
)
def test_what_the_lesson_warns_of_loses_a_visible_point(mutants, lesson, name, task):
    checks = decided(mutants(lesson)[task, name].tasks[0])
    visible = [check for check in checks if not check.hidden]
    assert sum(check.points for check in visible) < sum(check.max_points for check in visible)


@each_lesson
def test_the_words_that_warn_stand_in_the_lesson(lesson):
    text = " ".join(
        line.lstrip("# ") for line in sources.source_of(lesson).read_text().splitlines()
    )
    told = [warning(source) for _, _, source in bank(lesson, "mutant")]
    assert [words for words in told if words not in " ".join(text.split())] == []


@pytest.mark.parametrize("lesson, name", [(lesson, name) for lesson, name, _, _ in ALTERNATES])
def test_an_alternate_gets_full_marks(alternates, lesson, name):
    score = alternates(lesson)[name]
    assert score.status == "graded", score.problems
    assert lost(score) == []
    worth = {task.name: task.points for task in graded_tasks(lesson)}
    left_out = sum(c.max_points for t in score.tasks for c in t.checks if c not in decided(t))
    assert score.tasks, "it defines nothing that a task is about"
    assert score.points == score.max_points == sum(worth[t.task] for t in score.tasks) - left_out


@each_lesson
def test_each_hidden_check_alone_kills_some_mutant(mutants, lesson):
    mutants(lesson)
    alone = set()
    for task, rows in KILLS[lesson].items():
        for row in rows.values():
            failed = [check for check, fails in row.items() if fails]
            if len(failed) == 1:
                alone.add((task, failed[0]))
    counted = {(check.task, check.name) for check in checks_of(lesson, True) if check.max_points}
    tasks = KILLS[lesson].items()
    ran = {(task, check) for task, rows in tasks for row in rows.values() for check in row}
    assert (counted & ran) - alone == set()


@each_lesson
def test_the_points_of_visible_and_hidden_checks_sum_to_the_task_s(lesson):
    checks = checks_of(lesson)
    worth = {task.name: task.points for task in graded_tasks(lesson)}
    assert worth == {
        task: sum(check.max_points for check in checks if check.task == task) for task in worth
    }


@each_lesson
def test_each_coding_task_has_three_hidden_checks_at_least(lesson):
    hidden = [check.task for check in checks_of(lesson, True)]
    coding = [t.name for t in graded_tasks(lesson) if not t.name.endswith(QUESTIONS)]
    assert {task: hidden.count(task) for task in coding if hidden.count(task) < 3} == {}


@each_lesson
def test_every_task_has_a_visible_check(lesson):
    visible = {check.task for check in checks_of(lesson, False)}
    assert visible == {task.name for task in graded_tasks(lesson)}


@each_lesson
def test_every_check_has_a_requirement_in_words(lesson):
    for check in checks_of(lesson):
        assert " " in check.requirement and check.requirement != check.name
        assert check.requirement.endswith("."), check.name


@each_lesson
def test_the_reference_gets_full_marks(graded, lesson):
    [score] = graded(lesson, [sources.source_of(lesson)]).values()
    assert score.status == "graded"
    assert lost(score) == []
    assert score.percent == 100.0
    assert list(score.problems) == []


@each_lesson
def test_the_untouched_release_gets_nothing(graded, lesson):
    [score] = graded(lesson, [lessons.lesson_named(lesson).notebook]).values()
    assert score.status == "graded"
    assert score.points == 0
    assert score.max_points == countable(score)
    assert list(score.problems) == []
