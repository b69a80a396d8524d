"""What a score is, and that no page or table makes more of it."""

import json
from dataclasses import replace

import pytest

from autograder.cli import console
from autograder.grading import journal
from autograder.reporting import charts, feedback, report, summary
from autograder.scores import rounded_down
from tests.classes import leave, score


@pytest.mark.parametrize(
    "percent, digits, told",
    [
        (100 * 106.5 / 107, 0, "99"), (100.0, 0, "100"), (99.9999, 0, "99"), (0.0, 0, "0"),
        (100 * 0.29, 0, "29"), (100 * (1 / 3), 0, "33"), (99.96, 1, "99.9"), (99.999, 2, "99.99"),
    ],
)  # fmt: skip
def test_a_share_is_rounded_down(percent, digits, told):
    assert rounded_down(percent, digits) == told


def test_what_is_not_all_points_is_nowhere_100_per_cent(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    made = score("almost.ipynb", [[0.99]])
    made = replace(made, tasks=(replace(made.tasks[0], points=106.99, max_points=107.0),))
    assert made.percent > 99.99
    console.show_class([made], tmp_path, seed=1)
    console.show_arrival(made, is_newer=False, left=0)
    with console.progress(1, 0) as advance:
        advance(made)
    said = capsys.readouterr()
    journal.write_csv(tmp_path / "scores.csv", [made])
    feedback.write_page(tmp_path / "page.html", made)
    [lesson] = summary.summarise([made])
    leave(tmp_path / "run", [made])
    told = report.write(tmp_path / "run", "html", None, print).read_text()
    whole = json.loads(report.write(tmp_path / "run", "json", None, print).read_text())
    assert whole["lessons"][0]["percent"]["highest"] == 99.99
    picture = charts.distribution("d", lesson)
    pages = (tmp_path / "page.html").read_text()
    for text in (said.out, said.err, (tmp_path / "scores.csv").read_text(), pages, told, picture):
        assert "99" in text
        plain = text.replace("\xa0", " ").replace("&nbsp;", " ")
        assert "100 %" not in plain.replace("from 90 to 100 %", "").replace(">100 %<", "")
        assert " 100 │" not in plain and ",100.0" not in plain
