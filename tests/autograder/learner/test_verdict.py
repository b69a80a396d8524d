"""What a learner meets in a notebook: run in a real kernel, as Jupyter does."""

import gc
import json
import sys

import nbclient
import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook

import autograder
from autograder.authoring import build
from autograder.catalogue import lessons, reference
from autograder.checking.handle import InProcess, Student
from autograder.learner import attempts, verdict
from autograder.learner.output import Output
from autograder.sandbox import stub
from tests.conftest import lora, reference_cells


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Where the learner of the notebook below is recorded."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def executed(data):
    """A notebook with a right answer, a wrong one, and looks at the reference and the progress."""
    cells = [
        f"%env AUTOGRADER_DATA={data}",
        "from autograder import check, progress, show_reference",
        "check('lora_linear')",
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
        "progress()",
        "from autograder import progress; progress() or 'a function still'",
        "check('lora_foward')",
        "show_reference('lora_foward')",
        "judged = dict.fromkeys('abcdefghijklmnop')",
        "check('lora_statements')",
        "show_reference('lora_statements')",
        "judged = dict.fromkeys('abcdefghijklmnop', True) | {'a': False}",
        "judging = check('lora_statements'); judging",
        "largest_rank = 28",
        "numbers = check('lora_numbers'); numbers",
        "show_reference('lora_numbers')",
    ]
    made = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    client = Watched(made, timeout=120, kernel_name="python3", allow_errors=True)
    client.said = []
    client.execute()
    return {cell.source: cell.outputs for cell in made.cells} | {"said": client.said}


class Watched(nbclient.NotebookClient):
    """Keeps what each output showed first, and what took its place."""

    def process_message(self, message, cell, cell_index):
        if message["msg_type"] in ("display_data", "update_display_data"):
            self.said.append((message["msg_type"], message["content"]["data"]["text/plain"]))
        return super().process_message(message, cell, cell_index)


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


def test_what_is_going_on_is_said_until_the_verdict_takes_its_place(executed):
    first = [text for kind, text in executed["said"] if kind == "display_data"]
    then = [text for kind, text in executed["said"] if kind == "update_display_data"]
    assert "checking lora_forward …" in [*first, *then]
    assert any(text.endswith("measured beside the reference …") for text in then)
    assert any(text.startswith("lora_forward: ") and "✓" in text for text in then)
    assert "checking lora_forward …" not in texts(
        executed["second = check('lora_forward'); second"]
    )


def test_a_right_answer_is_told_what_is_still_decided_at_grading(executed):
    said = texts(executed["second = check('lora_forward'); second"])
    assert "✓" in said and "✗" not in said and "decided at grading" in said


def test_the_reference_is_shown_after_an_attempt(executed):
    outputs = executed["show_reference('lora_forward')"]
    assert "def lora_forward" in str(outputs)


def test_a_question_is_judged_only_as_a_whole(executed):
    said = texts(executed["check('lora_statements')"])
    assert "16 still open" in said and "right" not in said
    assert "Try it first" in texts(executed["show_reference('lora_statements')"])


def test_answered_statements_are_judged_with_their_reasons(executed):
    outputs = executed["judging = check('lora_statements'); judging"]
    assert "9 right, 7 wrong" in texts(outputs) and outputs[-1].data["text/plain"] == "1.0"
    page = texts(outputs, "text/html")
    assert page.count("✓ ") >= 9 and "2106.09685 §4.1" in page
    assert "✗ d is false: Then both gradients are zero" in texts(outputs)


def test_answered_numbers_are_judged_and_their_sums_shown_on_request(executed):
    outputs = executed["numbers = check('lora_numbers'); numbers"]
    assert "largest_rank = 28 is not right" in texts(outputs)
    assert outputs[-1].data["text/plain"] == "5.0"
    assert "12,288 / 589,824" in str(executed["show_reference('lora_numbers')"])


def test_checks_draw_from_no_stream_of_the_notebook(executed):
    source = (
        "assert drawn == (torch.rand(1).item(), random.random()), 'check() drew from the stream'"
    )
    assert executed[source] == []


def test_an_unknown_task_is_one_line_that_names_the_nearest(executed):
    said, points = executed["check('lora_foward')"]
    assert said.text == "There is no task 'lora_foward'; did you mean lora_forward?\n"
    assert points.data["text/plain"] == "0.0"
    [said] = executed["show_reference('lora_foward')"]
    assert said.text.count("\n") == 1 and "lora_forward" in said.text


def test_each_attempt_is_recorded(executed, data):
    kept = json.loads((data / "progress.json").read_text())["entries"]
    assert kept.keys() == {"lora_forward", "lora_statements", "lora_numbers"}
    assert kept["lora_statements"]["attempts"] == 1  # the open one was none
    entry = kept["lora_forward"]
    assert entry["attempts"] == 2
    assert entry["last"] == entry["best"] == entry["maximum"] > 0


def test_the_progress_is_shown_as_a_table_and_as_text(executed):
    outputs = executed["progress()"]
    assert "1 of " in texts(outputs) and "visible points" in texts(outputs)
    assert "<table" in texts(outputs, "text/html") and "hidden" in texts(outputs, "text/html")
    again = executed["from autograder import progress; progress() or 'a function still'"]
    assert "a function still" in texts(again)


@pytest.fixture
def no_folder(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("a file stands where the folder should be")
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(attempts, "_said", set())


def test_what_cannot_be_recorded_is_said_once_after_the_verdict(monkeypatch, capsys, no_folder):
    wrong = Student(InProcess({"lora_forward": lambda *args, **kwargs: None}))
    monkeypatch.setattr(verdict, "_notebook", lambda: wrong)
    assert [verdict.check("lora_forward", Output()) for _ in range(2)] == [0.0, 0.0]
    said = capsys.readouterr()
    assert said.out.count("✗") >= 2 and said.err == ""
    assert said.out.count("not recorded") == 1 and "AUTOGRADER_DATA" in said.out
    assert said.out.index("✗") < said.out.index("not recorded")


def test_a_question_is_recorded_once_all_of_it_is_answered(monkeypatch, tmp_path, capsys):
    """Its points are told at once, so that they count among the visible ones."""
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))
    names = next(task.names for task in lora().tasks if task.name == "lora_numbers")
    answers = dict.fromkeys(names, 1) | {names[0]: None}
    monkeypatch.setattr(verdict, "_notebook", lambda: Student(InProcess(answers)))
    verdict.check("lora_numbers", Output())
    assert not (tmp_path / "data").exists()
    answers[names[0]] = 12_288
    assert verdict.check("lora_numbers", Output()) > 0
    [standing] = attempts.standings(pytest.fail, "lora")
    before = attempts.STORE.read(pytest.fail)["lora_numbers"]
    [task] = [task for task in standing.tasks if task.task == "lora_numbers"]
    assert 0 < task.best < task.maximum and before.attempts == 1
    (tmp_path / "data" / "progress.json").unlink()
    [fresh] = attempts.standings(pytest.fail, "lora")
    assert fresh.maximum == standing.maximum
    capsys.readouterr()


def test_a_progress_that_cannot_be_read_is_told_in_words(capsys, no_folder):
    verdict.progress()
    assert "AUTOGRADER_DATA" in capsys.readouterr().out


def test_the_sandbox_has_every_name_that_a_notebook_calls():
    assert all(callable(getattr(stub, name)) for name in autograder.__all__)


def test_the_reference_waits_for_an_attempt(capsys, monkeypatch):
    monkeypatch.setattr(verdict, "_attempted", set())
    verdict.show_reference("lora_linear")
    printed = capsys.readouterr().out
    assert "Try it first" in printed and "class LoRALinear" not in printed


def test_nbgrader_s_own_execution_is_refused_in_words(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(RuntimeError, match="autograder grade"):
        verdict.check("lora_forward", Output())


def test_only_visible_checks_run():
    results = verdict.run_checks(lora(), "lora_forward", Student(InProcess({})))
    assert results and not any(result.hidden for result in results)
    assert {result.outcome for result in results} == {"failed"}


@pytest.mark.parametrize("lesson", lessons.catalogue(), ids=lambda lesson: lesson.name)
def test_a_kernel_that_checks_all_day_does_not_fill_up(lesson, monkeypatch):
    module, alive = reference.reference(lesson.name), []
    monkeypatch.setitem(sys.modules, module.__name__, module)  # its classes can be pickled
    for _ in range(2):
        for task in (task.name for task in lesson.tasks if not task.manual):
            student = Student(InProcess(vars(module)))
            results = verdict.run_checks(lesson, task, student, hidden=True)
            assert "passed" in {result.outcome for result in results}
        gc.collect()
        alive.append(sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects()))
    assert alive[1] <= alive[0]


def test_the_released_notebook_has_what_check_needs():
    made = nbformat.read(lora().notebook, as_version=4)
    calls = [cell.source for cell in made.cells if cell.source.startswith('check("')]
    assert calls == [f'check("{task.name}")' for task in lora().tasks if not task.manual]
    assert "BEGIN SOLUTION" not in str(made)
    assert build.outdated() == []
