"""How a run grades, kept for `--resume`."""

import pytest

from autograder.grading.run_settings import read_run, write_run
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError
from autograder.sandbox.warm_process import Limits


def test_what_a_run_keeps_of_itself_is_read_back(tmp_path):
    options = Options(seed=7, timeout=9.0, limits=Limits(memory=1 << 30), lesson="lora")
    write_run(tmp_path, options)
    assert read_run(tmp_path) == options
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(NotebookError, match="no run to resume"):
        read_run(tmp_path)
