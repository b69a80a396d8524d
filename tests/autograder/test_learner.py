"""What a learner meets in a notebook: run in a real kernel, as Jupyter does."""

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder import learner, lessons
from autograder.student import InProcess, Student
from tests.conftest import lora, reference_cells


@pytest.fixture(scope="module")
def executed():
    """A notebook with a right answer, a wrong one, and a look at the reference."""
    cells = [
        "from autograder import check, show_reference",
        "show_reference('lora_forward')",
        "import torch; import random; torch.manual_seed(0); random.seed(0)",
        "def lora_forward(*args, **kwargs): raise ValueError('not yet')",
        "first = check('lora_forward'); first",
        "show_reference('lora_forward')",
        *[cell for cell in reference_cells() if "from autograder" not in cell],
        "import torch.nn.functional as F",
        "drawn = torch.rand(1).item(), random.random()",
        "second = check('lora_forward'); second",
        "torch.manual_seed(0); random.seed(0)",
        "assert drawn == (torch.rand(1).item(), random.random()), 'check() drew from the stream'",
        "check('no_such_task')",
    ]
    made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(made, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute()
    return {cell.source: cell.outputs for cell in made.cells}


def texts(outputs, kind="text/plain"):
    found = [output.get("text", "") for output in outputs if output.output_type == "stream"]
    return "".join([*found, *(output.get("data", {}).get(kind, "") for output in outputs)])


def test_a_wrong_answer_is_told_with_its_cell(executed):
    outputs = executed["first = check('lora_forward'); first"]
    assert "ValueError: not yet" in texts(outputs) and "In [" in texts(outputs)
    assert "✗" in texts(outputs, "text/html") and "<table" in texts(outputs, "text/html")


def test_the_points_come_last_as_a_float_and_nothing_on_stderr(executed):
    for name, expected in (("first", 0.0), ("second", None)):
        outputs = executed[f"{name} = check('lora_forward'); {name}"]
        assert not [output for output in outputs if output.get("name") == "stderr"]
        assert outputs[-1].output_type == "execute_result"
        points = float(outputs[-1].data["text/plain"])
        assert points == expected or (expected is None and 0 < points <= 8)


def test_a_right_answer_is_told_what_is_still_decided_at_grading(executed):
    said = texts(executed["second = check('lora_forward'); second"])
    assert "✓" in said and "✗" not in said and "decided at grading" in said


def test_the_reference_is_shown_after_an_attempt(executed):
    outputs = executed["show_reference('lora_forward')"]
    assert "def lora_forward" in str(outputs)


def test_checks_draw_from_no_stream_of_the_notebook(executed):
    source = (
        "assert drawn == (torch.rand(1).item(), random.random()), 'check() drew from the stream'"
    )
    assert executed[source] == []


def test_an_unknown_task_names_the_known(executed):
    [output] = executed["check('no_such_task')"]
    assert output.ename == "LessonError" and "lora_forward" in output.evalue


def test_the_reference_waits_for_an_attempt(capsys, monkeypatch):
    monkeypatch.setattr(learner, "_attempted", set())
    learner.show_reference("lora_linear")
    printed = capsys.readouterr().out
    assert "Try it first" in printed and "class LoRALinear" not in printed


def test_nbgrader_s_own_execution_is_refused_in_words(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(RuntimeError, match="autograder grade"):
        learner.check("lora_forward")


def test_only_visible_checks_run():
    results = learner.run_visible(lora(), "lora_forward", Student(InProcess({})))
    assert results and not any(result.hidden for result in results)
    assert {result.outcome for result in results} == {"failed"}


def test_the_released_notebook_has_what_check_needs():
    made = nbformat.read(lora().notebook, as_version=4)
    calls = [cell.source for cell in made.cells if cell.source.startswith('check("')]
    assert calls == [f'check("{task.name}")' for task in lora().tasks if not task.manual]
    assert "BEGIN SOLUTION" not in str(made)
    assert lessons.outdated() == []
