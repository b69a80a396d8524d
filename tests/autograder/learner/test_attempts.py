"""Where a learner stands: what is an attempt, what is kept of it, and what it adds up to."""

import json
from datetime import UTC, datetime

import pytest

from autograder.learner import attempts
from autograder.sandbox.errors import StudentError
from autograder.scores import CheckResult
from tests.conftest import lora

SECOND = {"timespec": "seconds"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(attempts, "_said", set())
    return tmp_path / "data"


def result(points, most=2.0, message="", outcome="failed"):
    return CheckResult("t", "test_it", "It is.", outcome, points, most, message, 0.0, False)


def record(*results, task="lora_forward"):
    attempts.record({task: results}, pytest.fail)


def kept(task="lora_forward"):
    return attempts.STORE.read(pytest.fail)[task]


def test_the_last_and_the_best_are_kept_with_the_attempts():
    before = datetime.now(UTC).replace(microsecond=0)
    for points in (1.0, 2.0, 0.5):
        record(result(points), result(1.0, 1.0))
    made = kept()
    assert (made.last, made.best, made.maximum, made.attempts) == (1.5, 3.0, 3.0, 3)
    assert before <= made.when <= datetime.now(UTC)


def test_the_file_says_when_in_utc(folder):
    record(result(1.0))
    file = json.loads((folder / "progress.json").read_text())
    when = file["entries"]["lora_forward"]["when"]
    assert when.endswith("+00:00") and when == kept().when.isoformat(**SECOND)
    assert file["schema"] == 1


@pytest.mark.parametrize(
    "message",
    [
        str(StudentError("Missing", "lora_forward")),
        str(StudentError("NotImplementedError", "")),
        "Not run. The notebook's time is over.",
    ],
)
def test_what_is_not_answered_is_no_attempt(folder, message):
    record(result(0.0, message=message), result(0.0, message=message))
    assert not folder.exists()
    record(result(0.0, message=message), result(0.0, message="The result is off by 3."))
    assert kept().attempts == 1


def test_a_name_that_the_answer_itself_lacks_is_an_attempt():
    record(result(0.0, message=str(StudentError("NameError", "name 'F' is not defined"))))
    assert kept().attempts == 1


def test_what_is_worth_nothing_before_grading_is_not_recorded(folder):
    record(result(0.0, 0.0, outcome="passed"))
    record(result(0.0, 2.0, "No GPU is here.", outcome="not_counted"))
    assert not folder.exists()


def test_other_checks_make_the_best_start_over():
    record(result(2.0))
    record(result(1.0, most=3.0))
    assert (kept().best, kept().maximum, kept().attempts) == (1.0, 3.0, 2)


@pytest.mark.parametrize("what", ["autograde", "validate"])
def test_under_nbgrader_nothing_is_recorded(folder, monkeypatch, what):
    monkeypatch.setenv("NBGRADER_EXECUTION", what)
    record(result(1.0))
    assert not folder.exists()


def test_what_cannot_be_written_is_said_once(folder):
    folder.write_text("a file stands where the folder should be")
    said = []
    for _ in range(3):
        attempts.record({"lora_forward": [result(1.0)]}, said.append)
    [sentence] = said
    assert "not recorded" in sentence and "AUTOGRADER_DATA" in sentence


@pytest.mark.parametrize(
    "changed",
    [{"last": "many"}, {"best": float("inf")}, {"when": "yesterday"}, {"attempts": None}],
    ids=lambda changed: next(iter(changed)),
)
def test_an_entry_that_says_nothing_is_damage(folder, changed):
    record(result(1.0))
    path = folder / "progress.json"
    file = json.loads(path.read_text())
    file["entries"]["lora_forward"].update(changed)
    path.write_text(json.dumps(file))
    said = []
    attempts.record({"lora_forward": [result(2.0)]}, said.append)
    assert len(said) == 1 and "damaged" in said[0]
    assert kept().attempts == 1 and list(folder.glob("progress.damaged-*"))


def test_a_learner_who_has_not_begun_stands_at_nothing(folder):
    [standing] = attempts.standings(pytest.fail, "lora")
    assert (standing.done, standing.points, standing.when) == (0, 0, None)
    assert 0 < standing.maximum < lora().worth.graded
    assert [task.task for task in standing.tasks] == [
        task.name for task in lora().tasks if not task.manual
    ]
    assert standing.countable == sum(task.maximum > 0 for task in standing.tasks) > 0
    assert not folder.exists()


def test_a_lesson_adds_up_its_tasks():
    [standing] = attempts.standings(pytest.fail, "lora")
    first, second, *_ = standing.tasks
    record(result(first.maximum, first.maximum), task=first.task)
    record(result(1.0, second.maximum), task=second.task)
    [after] = attempts.standings(pytest.fail, "lora")
    assert [task.done for task in after.tasks[:3]] == [True, False, False]
    assert (after.done, after.points) == (1, first.maximum + 1)
    assert (after.maximum, after.when) == (standing.maximum, kept(second.task).when)


def test_a_task_that_is_gone_is_passed_over():
    record(result(1.0), task="no_longer_there")
    assert all(standing.points == 0 for standing in attempts.standings(pytest.fail))


def test_the_json_names_visible_points_as_such():
    record(result(1.0))
    made = attempts.as_json(attempts.standings(pytest.fail, "lora"))
    [lesson] = json.loads(json.dumps(made))["lessons"]
    assert made["schema"] == 1
    assert list(lesson) == [
        "lesson", "title", "tasks_done", "tasks_with_visible_points", "visible_points",
        "visible_max_points", "last_practised", "flashcards_due", "flashcards_new", "tasks",
    ]  # fmt: skip
    assert lesson["tasks"][0] == {
        "task": "lora_forward",
        "title": lora().tasks[0].title,
        "done": False,
        "visible_points_last": 1.0,
        "visible_points_best": 1.0,
        "visible_max_points": 2.0,
        "attempts": 1,
        "last_practised": kept().when.isoformat(**SECOND),
    }
