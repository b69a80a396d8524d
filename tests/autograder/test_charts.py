"""The picture of a class is drawn, whatever the class is."""

import matplotlib.pyplot as plt
import pytest

from autograder import charts
from autograder.grade import TaskScore
from tests.autograder.test_results import score


def of(*points):
    return score(tasks=tuple(TaskScore(f"t{i}", "T", p, 4.0, ()) for i, p in enumerate(points)))


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [of()],
        [of(1.0, 2.0)],
        [of(1.0, 2.0), of(4.0)] * 200,
        [score(tasks=(TaskScore("t", "T", 0.0, 0.0, ()),))],
        [score(tasks=(TaskScore("$x_{", "T", 1.0, 2.0, ()),))],
    ],
    ids=["nobody", "no tasks", "one", "many", "nothing counted", "a name like a formula"],
)
def test_a_class_is_drawn(tmp_path, scores):
    path = tmp_path / "class.png"
    charts.draw_class(path, scores)
    image = plt.imread(path)
    assert image.shape[0] > 100 and image.shape[1] > 500


def test_the_same_class_is_the_same_picture(tmp_path):
    for name in ("one.png", "two.png"):
        charts.draw_class(tmp_path / name, [of(1.0, 2.0), of(3.0, 4.0)])
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
