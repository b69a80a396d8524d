"""What a task and a lesson are worth: the same figures wherever they are told."""

import json
import re
from dataclasses import replace

import nbformat
import pytest
from click.testing import CliRunner

from autograder.catalogue import lessons, questions
from autograder.catalogue.lessons import COURSE
from autograder.catalogue.points import Points, added
from autograder.checking import check_files, gpu_race, plugin
from autograder.cli import author, console
from autograder.learner import attempts
from autograder.lms import gradescope
from autograder.reporting import exports, feedback
from autograder.scores import Score, TaskScore


@pytest.mark.parametrize(
    "worth, words",
    [
        (Points(3, 5, on_gpu=1), "8 points: 3 visible + 5 hidden (1 only on a GPU)"),
        (Points(2.5, 4.5), "7 points: 2.5 visible + 4.5 hidden"),
        (Points(0, 7), "7 points"),
        (Points(by_hand=10), "10 points by hand"),
        (Points(32.5, 75.5, 10, 1),
         "118 points: 32.5 visible + 75.5 hidden (1 only on a GPU) + 10 by hand"),
    ],
)  # fmt: skip
def test_points_have_words(worth, words):
    assert str(worth) == words


def test_points_add_up():
    assert added([Points(1, 2, on_gpu=1), Points(by_hand=3), Points(0.5, 1)]) == Points(
        1.5, 3, 3, 1
    )


@pytest.fixture(scope="module", params=lessons.catalogue(), ids=lambda lesson: lesson.name)
def lesson(request):
    return request.param


@pytest.fixture(scope="module")
def checks(lesson):
    return plugin.census(check_files.files(lesson.name, hidden=True))


def summed(checks, **wanted):
    its = [c for c in checks if all(getattr(c, key) == value for key, value in wanted.items())]
    return round(sum(check.max_points for check in its), 4)


def test_the_catalogue_has_what_the_checks_say(lesson, checks):
    for task in lesson.tasks:
        if task.manual:
            assert task.worth == Points(by_hand=task.points)
            continue
        its = [check for check in checks if check.task == task.name]
        visible, hidden = summed(its, hidden=False), summed(its, hidden=True)
        assert task.worth == Points(visible, hidden, 0.0, summed(its, message=gpu_race.ON_GPU))


def test_each_heading_and_the_table_of_contents_tell_it(lesson):
    notebook = nbformat.read(lesson.notebook, as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    told = re.findall(r"^difficulty .* minutes · (.+)$", "\n".join(texts), re.M)
    assert told == [str(task.worth) for task in lesson.tasks]
    contents = (COURSE / "README.md").read_text(encoding="utf-8")
    part = contents.partition(f". {lesson.title}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^- .+? · (.+)$", part, re.M) == told
    [row] = [line for line in contents.splitlines() if f"[{lesson.title}]" in line]
    worth = lesson.worth
    figures = [cell.strip().partition(" ")[0] for cell in row.split("|")[4:8]]
    assert list(map(float, figures)) == [worth.total, worth.visible, worth.hidden, worth.by_hand]
    assert (worth.gpu in row) and ("GPU" in row) == bool(worth.on_gpu)


def test_lessons_lists_it(lesson):
    made = json.loads(CliRunner().invoke(author.lessons, ["--json"]).output)
    [entry] = [entry for entry in made if entry["lesson"] == lesson.name]
    assert entry["worth"] == str(lesson.worth)
    kinds = ("visible_", "hidden_", "by_hand_", "gpu_only_")
    listed = [Points(*(task[f"{kind}points"] for kind in kinds)) for task in entry["tasks"]]
    assert listed == [task.worth for task in lesson.tasks]
    assert [task["points"] for task in entry["tasks"]] == [task.points for task in lesson.tasks]


def test_verdict_and_progress_tell_it(lesson, checks):
    [standing] = attempts.standings(pytest.fail, lesson.name)
    maxima = {task.task: task.maximum for task in standing.tasks}
    for task in (task for task in lesson.tasks if not task.manual):
        its = [replace(c, outcome="passed", points=c.max_points) for c in checks]
        its = [check for check in its if check.task == task.name]
        said = feedback.summary([check for check in its if not check.hidden], task.worth)
        if task.name.endswith(questions.KINDS):
            assert said == f"0 of {task.points:g} points, {task.points:g} decided at grading"
            assert maxima[task.name] == task.points
        else:
            all_visible = f"{task.worth.visible:g} of {task.worth.visible:g} visible points"
            assert said == f"{all_visible}, {task.worth.at_grading} decided at grading"
            assert maxima[task.name] == task.worth.visible


def test_grade_and_its_pages_tell_it(lesson, checks, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    full = [
        replace(c, outcome="not_counted")
        if c.message
        else replace(c, outcome="passed", points=c.max_points)
        for c in checks
    ]
    tasks = []
    for task in (task for task in lesson.tasks if not task.manual):
        its = tuple(check for check in full if check.task == task.name)
        here = summed(its, outcome="passed")
        tasks.append(TaskScore(task.name, task.title, here, here, its))
    worth = lesson.worth
    score = Score(
        f"{lesson.name}.ipynb", lesson.name, "graded", "none", tasks=tuple(tasks),
        manual_points=worth.by_hand, pending=({"task": "explain", "text": "So."},),
    )  # fmt: skip
    without = worth.graded - worth.on_gpu
    console.show_class([score], tmp_path, seed=1)
    said = capsys.readouterr().out
    assert f"{without:g} / {without:g}" in said and f"{lesson.name}: {worth}." in said
    assert f"Counted above: {without:g}" in said
    assert ("without a GPU" in said) == bool(worth.on_gpu)
    feedback.write_page(tmp_path / "page.html", score)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    notes = str(exports.gradescope(score)["output"])
    for text in (page, notes):
        assert f"{worth.by_hand:g} more by hand" in text
        assert (f"{worth.on_gpu:g} more would count only on a GPU" in text) == bool(worth.on_gpu)
    assert f"{without:g} of {without:g} points" in page
    if worth.on_gpu and lesson.name == "lora":
        told = gradescope.build(tmp_path / "autograder.zip", lesson.name)
        assert f"{worth.by_hand:g} more by hand" in told
