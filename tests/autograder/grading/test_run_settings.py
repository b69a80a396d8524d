"""How a run grades, kept for `--resume`."""

import json

import pytest

from autograder.grading.run_settings import read_run, write_run
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.sandbox.warm_process import Limits


def test_what_a_run_keeps_of_itself_is_read_back(tmp_path):
    options = Options(
        seed=7, timeout=9.0, limits=Limits(memory=1 << 30), lesson="lora", by_version=True
    )
    write_run(tmp_path, options)
    assert read_run(tmp_path) == options


def test_where_there_is_no_run_it_is_said(tmp_path):
    with pytest.raises(NotebookError, match=r"no run to resume\. Leave --resume out"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "null", "\x00", "[" * 100_000, '{"schema": 2}', "{}"])
def test_what_are_no_settings_of_ours_is_refused_in_words(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(
        NotebookError, match=r"run\.json: no settings of this version.*another --out"
    ):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "name, value",
    [
        ("timeout", "x"), ("timeout", -1), ("timeout", float("nan")), ("timeout", 10**400),
        ("task_timeout", None), ("task_timeout", True), ("memory", -5), ("memory", 1.5),
        ("seed", "1"), ("seed", -1), ("lesson", 3), ("checks", ["x"]), ("by_version", 1),
    ],
    ids=lambda part: str(part)[:12],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_in_words(tmp_path, name, value):
    write_run(tmp_path, Options())
    entry = json.loads((tmp_path / "run.json").read_text()) | {name: value}
    (tmp_path / "run.json").write_text(json.dumps(entry))
    with pytest.raises(NotebookError, match=rf"run\.json: {name} cannot be"):
        read_run(tmp_path)


def test_a_run_goes_on_only_with_its_checks(tmp_path):
    checks = tmp_path / "own"
    checks.mkdir()
    write_run(tmp_path, Options(checks=checks))
    assert read_run(tmp_path).checks == checks
    checks.rmdir()
    with pytest.raises(NotebookError, match="own: the folder of this run's --checks is not there"):
        read_run(tmp_path)
