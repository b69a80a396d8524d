"""A score as a line of the results: the schema, and back."""

import json

from autograder.grading.results_format import record, revived
from tests import classes


def test_the_record_is_the_schema_and_nothing_else():
    made = record(classes.score("a/lora.ipynb", [[1, 0.25]]))
    assert list(made) == [
        "schema", "submission", "lesson", "status", "points", "max_points", "manual_points",
        "pending", "isolation", "seconds", "problems", "tasks",
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


def test_a_line_is_read_back_whole():
    score = classes.score(classes.HOSTILE, [[1, 0.25, None], [classes.timed(0.5)]])
    assert revived(json.dumps(record(score)).encode()) == score
