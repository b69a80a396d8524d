"""The pictures of a class are drawn, whatever the class is, and say in words what they show."""

import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from autograder.reporting import charts, summary
from autograder.scores import TaskScore
from tests import classes
from tests.autograder.grading.test_journal import score


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


# ------------------------------------------------------------------------------- inside the report


def lora(*scores):
    [found] = summary.summarise(scores)
    return found


def alt(picture):
    return ElementTree.fromstring(picture).attrib["aria-label"]


def texts(picture):
    return [each.text for each in ElementTree.fromstring(picture).iter("text")]


def test_the_distribution_says_its_figures():
    found = lora(*(classes.score(str(n), [[1.0] * n + [0.0] * (4 - n)]) for n in (0, 2, 3, 4)))
    picture = charts.distribution("d", found)
    assert alt(picture) == (
        "Histogram of the scores of 4 submissions: 1 from 0 to 10 %, 1 from 50 to 60 %, "
        "1 from 70 to 80 %, 1 from 90 to 100 %. Median 62 %, half of them between 37 and 81 %."
    )
    assert "median 62 %" in texts(picture)


def test_the_outcomes_say_their_figures():
    found = lora(classes.score("a", [[1.0], [0.5]]), classes.score("b", [[0.0], [0.5]]))
    picture = charts.outcomes("o", found)
    assert alt(picture).endswith("lora_forward 1, 0, 1; lora_linear 0, 2, 0")
    assert {"lora_forward", "lora_linear", "all points", "some", "none"} <= set(texts(picture))


@pytest.mark.parametrize("count", [1, 12, 500])
@pytest.mark.parametrize("kind", ["speed", "memory"])
def test_the_measured_say_their_figures(count, kind):
    ratios = [0.001, *(0.3 + 3 * n / count for n in range(1, count))][:count]
    found = lora(*(classes.score(str(n), [[classes.timed(r, kind)]]) for n, r in enumerate(ratios)))
    picture = charts.margins("m", found.timed[0])
    passed = sum(timing.passed for timing in found.timed[0].timings)
    assert f"each of {count} submissions, {passed} of which passed" in alt(picture)
    assert f"failed ({count - passed})" in texts(picture)
    assert len(picture) < 120_000


def test_pictures_stay_within_their_frame():
    """Each tick's place lies in the picture: nothing is drawn outside, whatever was measured."""
    for ratio in (1e-9, 0.8, 1e6):
        found = lora(classes.score("a", [[classes.timed(ratio)]]))
        root = ElementTree.fromstring(charts.margins("m", found.timed[0]))
        width = float(root.attrib["viewBox"].split()[2])
        for use in root.iter("use"):
            assert -1 <= float(use.attrib["x"]) <= width + 1


@pytest.mark.parametrize("count", [1, 12, 500])
def test_a_whole_class_is_drawn(count):
    found = lora(*classes.varied(count)[:-1])
    for picture in (charts.distribution("d", found), charts.outcomes("o", found)):
        assert re.match("<svg ", picture) and str(count) in alt(picture)
