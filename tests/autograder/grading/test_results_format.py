"""A score as a line of the results: the schema, and back."""

import json
from dataclasses import replace

from autograder.grading.results_format import brief, record, revived
from autograder.sandbox.errors import NOT_RUN, TOO_LONG
from autograder.scores import Learner
from tests import classes


def test_the_record_is_the_schema_and_nothing_else():
    made = record(classes.score("a/lora.ipynb", [[1, 0.25]]))
    assert list(made) == [
        "schema", "submission", "name", "student", "lesson", "status", "points", "max_points",
        "manual_points", "pending", "isolation", "seconds", "problems", "tasks",
    ]  # fmt: skip
    assert made["schema"] == 1
    assert (made["points"], made["max_points"]) == (2.5, 4.0)
    [task] = made["tasks"]
    assert list(task) == ["task", "points", "max_points", "checks"]
    for check in task["checks"]:
        assert list(check) == [
            "name", "requirement", "outcome", "points", "max_points", "message", "seconds",
            "hidden", "figure",
        ]  # fmt: skip
    assert json.loads(json.dumps(made)) == made


def test_what_was_stopped_or_left_out_is_noticed_before_all_else():
    slow = replace(classes.check(1, 0.0), message=f"{TOO_LONG} 30 s.")
    missed = replace(classes.check(2, 0.0), message=f"{NOT_RUN}. The task's 60 s are used up.")
    made = classes.score("a", [[slow, missed, missed]])
    task = made.tasks[0].task
    assert brief(made).problems == (f"stopped: {task}; 2 checks not reached",)
    problems = ("Cell 3: Your code raised A.", "Left out but for imports: cell 4. It is long.")
    said = brief(replace(made, problems=problems)).problems
    assert said[0] == (
        f"stopped: {task}; 2 checks not reached; Left out but for imports: cell 4. It is long; "
        "1 more on the page"
    )
    assert said[1] == problems[1]
    assert brief(classes.score("a", [[1]])).problems == ()
    assert brief(classes.unreadable("c/a.ipynb", "a PDF")).problems[0] == "a PDF"


def test_a_line_is_read_back_whole():
    score = classes.score(classes.HOSTILE, [[1, 0.25, None], [classes.timed(0.5)]])
    assert revived(json.dumps(record(score)).encode()) == score
    called = replace(score, name="Anna A 101", student=Learner("Anna A", "101", "moodle"))
    assert revived(json.dumps(record(called)).encode()) == called


def test_a_line_of_before_there_were_names_is_read():
    score = classes.score("a/lora.ipynb", [[1]])
    line = {key: value for key, value in record(score).items() if key not in ("name", "student")}
    assert revived(json.dumps(line).encode()) == score
