"""From a notebook to its score: fairness, and what a death costs."""

from dataclasses import replace

import nbformat
import pytest

from autograder.catalogue import nbgrader_cells, sources
from autograder.checking import check_files, plugin
from autograder.grading.score_submission import Options, grade
from autograder.sandbox import session, slow_imports, warm_process, zygote
from autograder.scores import CALL
from tests.conftest import (
    LIMITS,
    lora,
    reference_cells,
    running,
    write_notebook,
)

TASKS = ("lora_forward", "rank_for_budget")
OPTIONS = Options(seed=1, limits=LIMITS, tasks=TASKS)
QUICK = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False)


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch):
    monkeypatch.setattr(plugin, "CALL_SECONDS", 1.5)
    monkeypatch.setattr(session, "CELL_SECONDS", 3.0)


@pytest.fixture
def graded(sandbox, tmp_path):
    """Grade a notebook of these cells."""

    def made(cells, options=QUICK):
        return grade(write_notebook(tmp_path / "lora.ipynb", cells), sandbox, options)

    return made


def by_task(score):
    return {task.task: task.points / task.max_points for task in score.tasks}


def test_right_answers_get_full_marks(graded):
    score = graded(reference_cells(), OPTIONS)
    assert (score.status, score.percent, score.isolation) == ("graded", 100.0, "nested")
    assert score.lesson == "lora"
    assert [task.task for task in score.tasks] == list(TASKS)
    assert score.problems == ()


# ------------------------------------------------------------------------------- what a death costs

RUINED = {
    "an endless loop": "while True:\n        pass",
    "an ended process": "import os\n    os._exit(0)",
    "a segfault": "import ctypes\n    ctypes.string_at(0)",
    "all memory": "x = []\n    while True:\n        x.append(bytearray(1 << 24))",
    "an exit": "raise SystemExit",
    "an interrupt": "raise KeyboardInterrupt",
    "no recursion's end": "return lora_forward(*args, **kwargs)",
    "an object that equals all": (
        "class Equal:\n        __eq__ = lambda self, other: True\n"
        "        __getattr__ = lambda self, name: self\n"
        "        __call__ = lambda self, *a, **k: self\n    return Equal()"
    ),
    "a lying tensor": (
        "class Liar(torch.Tensor):\n        __eq__ = lambda self, other: True\n"
        "    return (args[0] @ args[1].T).as_subclass(Liar)"
    ),
    "NaN": "return args[0] @ args[1].T * float('nan')",
    "the right shape by broadcasting": "return (args[0] @ args[1].T)[..., :1, :1]",
    "a wrong dtype": "return (args[0] @ args[1].T).double()",
    "a list": "return (args[0] @ args[1].T).tolist()",
    "nothing": "return None",
}


@pytest.mark.parametrize("body", RUINED.values(), ids=RUINED.keys())
def test_a_ruined_task_costs_itself_alone(graded, body):
    ruined = f"def lora_forward(*args, **kwargs):\n    {body}"
    score = graded(reference_cells(lora_forward=ruined))
    assert score.status == "graded"
    assert by_task(score) == {"lora_forward": 0.0, "rank_for_budget": 1.0}
    assert all(check.message for check in score.tasks[0].checks)


def test_a_ruined_last_task_does_not_reach_back(graded):
    ruined = "def rank_for_budget(*args):\n    import os\n    os._exit(1)"
    score = graded(reference_cells(rank_for_budget=ruined))
    assert by_task(score) == {"lora_forward": 1.0, "rank_for_budget": 0.0}


def test_no_more_than_two_deaths_are_waited_for_in_a_task(graded):
    loop = "def lora_forward(*args, **kwargs):\n    while True: pass"
    score = graded(reference_cells(lora_forward=loop), OPTIONS)
    decided = [check for check in score.tasks[0].checks if check.outcome != "not_counted"]
    ran = [check for check in decided if "Not run" not in check.message]
    assert len(score.tasks[0].checks) > 3
    assert len(ran) == 2
    assert score.seconds < 30


@pytest.mark.parametrize("cell", ["while True: pass", "import os; os._exit(0)"])
def test_a_cell_that_hangs_is_left_out(graded, cell):
    score = graded([cell, *reference_cells()])
    assert by_task(score) == {"lora_forward": 1.0, "rank_for_budget": 1.0}
    assert any(p.startswith("Cell 1: ") and "left out" in p for p in score.problems)


def test_the_submission_s_deadline_ends_it_with_a_status(graded):
    cells = reference_cells(lora_forward="def lora_forward(*a, **k):\n    while True: pass")
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, timeout=1.0)
    score = graded(cells, options)
    assert score.status == "timeout"
    assert score.points == 0
    assert score.max_points == graded(reference_cells()).max_points
    assert not [c for task in score.tasks for c in task.checks if c.outcome == "error"]


def test_a_task_s_deadline_ends_that_task_alone(graded):
    slow = "import time\ndef lora_forward(*a, **k): time.sleep(0.8)"
    options = Options(seed=1, limits=LIMITS, tasks=TASKS, hidden=False, task_timeout=1.0)
    score = graded(reference_cells(lora_forward=slow), options)
    assert score.status == "graded"
    assert by_task(score) == {"lora_forward": 0.0, "rank_for_budget": 1.0}
    messages = [check.message for check in score.tasks[0].checks]
    assert messages[1:] and all("The task's 1 s are used up." in text for text in messages[1:])


def test_a_deadline_that_passes_in_the_last_check_is_a_timeout_too(graded):
    cells = reference_cells(rank_for_budget="def rank_for_budget(*a):\n    while True: pass")
    options = Options(seed=1, limits=LIMITS, tasks=("rank_for_budget",), hidden=False, timeout=2.0)
    score = graded(cells, options)
    assert score.status == "timeout", [check.message for check in score.tasks[0].checks]
    assert {check.outcome for check in score.tasks[0].checks} == {"failed"}


# ----------------------------------------------------------------------------------------- fairness

SCRATCH = """
%matplotlib inline
%cd /tmp
!echo hello
answer = input("Ready? ")
import warnings, sys
warnings.warn("careful")
print("x" * 10_000, file=sys.stderr)
1 / 0
"""


BETWEEN = {
    "a helper's name used again": ["def scaled(a): return None"],
    "a name of Python's own": ["sum = 0; list = [1]; len = 3"],
    "everything forgotten": ["%reset -f"],
    "gradients off": ["import torch\ntorch.set_grad_enabled(False)"],
    "another dtype": ["import torch\ntorch.set_default_dtype(torch.float64)"],
}


@pytest.mark.parametrize("way", BETWEEN)
def test_an_answer_counts_as_things_stood_at_its_check(graded, way):
    answer = """
def scaled(lora_B):
    return sum(lora_B) * 0

def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    rank = len(lora_A)
    low = F.linear(F.linear(x, lora_A) * (lora_alpha / rank), lora_B)
    return F.linear(x, weight, bias) + low + (scaled([0]) if list((1,)) else None)
"""
    head = "import torch\nfrom torch.nn import functional as F"
    score = graded([head, answer, 'check("lora_forward")', *BETWEEN[way]])
    assert by_task(score)["lora_forward"] == 1.0, score.problems
    said = [text for text in score.problems if text.startswith("As things stood at the check")]
    assert len(said) == (way not in ("gradients off", "another dtype"))
    if way == "a helper's name used again":
        assert "scaled is defined in cells 2 and 4; the last one was used." in said[0]


def test_a_wrong_answer_is_no_better_at_its_check(graded):
    wrong = "def lora_forward(x, weight, *others, bias=None): return helper(x)"
    cells = ["def helper(x): return x", wrong, 'check("lora_forward")', "helper = None"]
    score = graded(cells)
    assert by_task(score)["lora_forward"] < 1.0
    assert not [text for text in score.problems if "s things stood" in text]


def test_values_have_no_second_guess(graded):
    """Half of the statements right, and behind the check the other half."""
    asked = replace(OPTIONS, tasks=("lora_statements",))
    half = "judged = {letter: letter in 'abcdefgh' for letter in 'abcdefghijklmnop'}"
    other = "judged.update({letter: not value for letter, value in judged.items()})"
    check, hidden = 'check("lora_statements")', "exec(" + repr(other) + ")"
    points = [
        graded(cells, asked).points
        for cells in ([half, check], [half, check, other], [half, check, hidden], [half, other])
    ]
    assert points[0] == points[2] and points[1] == points[3]
    assert sorted(points) == [0, 0, 2, 2], "what one guess earns the other does not"


ENDS_BEHIND_ITS_CHECKS = """
import os
from autograder.sandbox import child

do, asked = child.Executor._do, []

def ending(self, operation, target, args, kwargs):
    asked.extend([target] * (operation == "name"))
    if operation == "settle" and len(asked) > 1 and "late" not in self._namespace:
        os._exit(0)
    return do(self, operation, target, args, kwargs)

child.Executor._do = ending
"""


def test_values_have_no_second_guess_for_a_life_that_ends_in_time(graded):
    """Its process ends so often in the second judging that its last end is behind the checks."""
    asked = replace(OPTIONS, tasks=("lora_statements",))
    ends = [f"import os\nend_{each} = os._exit(1)" for each in range(session.DEATHS - 1)]
    needed = ", ".join(f"end_{each}" for each in range(len(ends)))
    wrong = (
        f"judged = (lambda: ({needed})) and {{each: each in TRUE for each in 'abcdefghijklmnop'}}"
    )
    other = "for each in judged: judged[each] = not judged[each]\nlate = 1"
    points = []
    for true in ("abcdefgh", "ijklmnop"):
        cells = [*ends, wrong.replace("TRUE", repr(true)), 'check("lora_statements")']
        flips = "exec(" + repr(other) + ")"
        points.append(graded([ENDS_BEHIND_ITS_CHECKS, *cells, flips], asked).points)
    assert sorted(points) == [0, 2], "what one guess earns the other does not"


def test_cells_can_have_only_so_much_said_of_them(graded):
    score = graded([*reference_cells(), *["1 / 0"] * 100], QUICK)
    assert len(score.problems) == 41 and score.problems[-1] == "And 60 more of the kind."


def test_a_call_that_leaves_a_setting_changed_fails_and_says_so(graded):
    answer = """
import torch
from torch.nn import functional as F

def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None):
    torch.set_default_dtype(torch.float64)
    low = F.linear(F.linear(x, lora_A) * (lora_alpha / len(lora_A)), lora_B)
    return F.linear(x, weight, bias) + low
"""
    checks = graded([answer]).tasks[0].checks
    said = "A call leaves torch's default dtype changed for all code after it."
    assert {check.message for check in checks if check.outcome == "failed"} == {said}


HELPS = {
    "a drive": "from google.colab import drive\ndrive.mount('/content/drive')",
    "an extension": "%load_ext tensorboard",
    "another backend": "%matplotlib widget",
    "a library that is not here": "import no_such_library as nsl",
}


@pytest.mark.parametrize("way", HELPS)
def test_one_line_that_does_not_work_here_costs_its_cell_nothing(graded, way):
    [imports, *others] = reference_cells()
    score = graded([f"{HELPS[way]}\n{imports}", *others])
    assert score.percent == 100.0
    assert [text.startswith("Cell 1: Your code raised") for text in score.problems] == [True]


def test_what_only_a_demonstration_defines_is_there(sandbox, tmp_path):
    shown = nbformat.v4.new_code_cell("import numpy as handy\n1 / 0")
    shown.metadata["tags"] = ["demonstration"]
    answer = "def rank_for_budget(*args): return int(handy.int64(3))"
    path = write_notebook(tmp_path / "lora.ipynb", [answer])
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, shown)
    nbformat.write(notebook, path)
    score = grade(path, sandbox, replace(QUICK, tasks=("rank_for_budget",)))
    messages = " ".join(check.message for check in score.tasks[0].checks)
    assert "NameError" not in messages and not [p for p in score.problems if "Cell 1" in p]


def test_experiments_of_one_s_own_cost_no_answer_its_time(graded, monkeypatch):
    monkeypatch.setattr(session, "SPARE_SECONDS", 1.0)
    sweep = ["import time\ntime.sleep(0.7)"] * 5
    options = replace(QUICK, timeout=30.0)
    score = graded([*sweep, *reference_cells()], options)
    assert (score.percent, score.status) == (100.0, "graded")
    assert "Left out but for imports and definitions: cells 1 to 5." in " ".join(score.problems)


@pytest.mark.parametrize("call", ["breakpoint()", "__import__('pdb').set_trace()"])
def test_a_debugger_that_was_left_in_is_named(graded, call):
    answer = f"def lora_forward(x, *others, bias=None):\n    {call}\n    return x"
    message = graded([answer]).tasks[0].checks[0].message
    take_out = "Your code waits for a debugger: take out breakpoint() or set_trace()"
    assert message.partition(CALL)[0] == f"{take_out} (lora_forward, cell 1, line 2)"


def test_scratch_cells_cost_nothing(graded):
    odd = ["This is no Python.", SCRATCH, "raise SystemExit", *reference_cells(), SCRATCH]
    assert graded(odd, OPTIONS).percent == 100.0


def release_with_answers(path, *, metadata):
    """The solution notebook as a learner hands it in, free text included."""
    made = nbgrader_cells.solution_notebook(sources.source_of("lora"))
    for cell in made.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "explain_lora":
            cell.source = cell.source.partition("\n")[0] + "\n\nBecause *B* starts at zero."
        if not metadata:
            cell.metadata = {}
    if not metadata:
        made.metadata = {}
    nbformat.write(made, path)
    return path


@pytest.mark.parametrize("metadata", [True, False], ids=["with metadata", "stripped"])
def test_metadata_makes_no_difference(sandbox, tmp_path, metadata):
    path = release_with_answers(tmp_path / "mine.ipynb", metadata=metadata)
    score = grade(path, sandbox, OPTIONS)
    assert (score.status, score.percent, score.lesson) == ("graded", 100.0, "lora")
    [answer] = score.pending
    assert answer["task"] == "explain_lora"
    assert "Because *B* starts at zero." in answer["text"]
    assert score.manual_points == 10.0


def test_metadata_of_the_student_s_is_not_believed(sandbox, tmp_path):
    path = tmp_path / "mine.ipynb"
    made = nbformat.read(lora().notebook, as_version=4)
    for cell in made.cells:
        claims = {"grade": True, "points": 1e9, "locked": False, "solution": True}
        cell.metadata["nbgrader"] = {**claims, "grade_id": "lora_forward", "schema_version": 3}
        cell.metadata["tags"] = ["skip-execution"]
    nbformat.write(made, path)
    score = grade(path, sandbox, QUICK)
    assert score.points == 0
    assert score.max_points == sum(
        check.max_points
        for check in plugin.census(check_files.files("lora", hidden=False))
        if check.task in TASKS
    )


@pytest.mark.parametrize("kernel", ["rust", "python2", "my-own-environment"])
def test_an_unknown_kernel_costs_nothing(sandbox, tmp_path, kernel):
    path = write_notebook(tmp_path / "mine.ipynb", reference_cells())
    made = nbformat.read(path, as_version=4)
    made.metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
    nbformat.write(made, path)
    assert grade(path, sandbox, QUICK).percent == 100.0


def test_an_old_format_and_a_byte_order_mark_cost_nothing(sandbox, tmp_path):
    path = write_notebook(tmp_path / "mine.ipynb", reference_cells())
    old = nbformat.convert(nbformat.read(path, as_version=4), 3)
    path.write_bytes(b"\xef\xbb\xbf" + nbformat.writes(old, version=3).encode())
    assert grade(path, sandbox, QUICK).percent == 100.0


def test_a_missing_task_is_named_and_costs_itself(graded):
    score = graded(reference_cells(lora_forward="pass"))
    assert by_task(score) == {"lora_forward": 0.0, "rank_for_budget": 1.0}
    [problem] = [p for p in score.problems if "lora_forward" in p]
    assert problem.startswith("No cell defines lora_forward (lora_forward). Was the cell deleted")
    assert all("lora_forward" in check.message for check in score.tasks[0].checks)


def test_missing_tasks_are_one_sentence(graded):
    [problem] = graded(["def lora_forward(*args): return None"]).problems
    assert "lora_forward (" not in problem and "; rank_for_budget (rank_for_budget); " in problem
    assert "find_places or keep_running_statistics or inject_lora (inject_lora)" in problem


def test_a_task_defined_twice_is_named_and_the_last_counts(graded):
    cells = ["def lora_forward(*args): return None", *reference_cells()]
    score = graded(cells)
    assert score.percent == 100.0
    [problem] = [p for p in score.problems if p.startswith("lora_forward:")]
    assert "cells 1 and " in problem and "last" in problem


def test_a_syntax_error_names_its_cell_and_costs_its_task(graded):
    score = graded(reference_cells(lora_forward="def lora_forward(x\n    return x"))
    assert by_task(score) == {"lora_forward": 0.0, "rank_for_budget": 1.0}
    assert any("SyntaxError" in p and p.startswith("Cell ") for p in score.problems)


@pytest.mark.parametrize("name", ["notes.ipynb", "lora.ipynb"])
def test_what_answers_no_lesson_is_unreadable_or_scores_nothing(sandbox, tmp_path, name):
    path = write_notebook(tmp_path / name, ["x = 1"])
    score = grade(path, sandbox, QUICK)
    assert score.points == 0
    assert score.status == ("unreadable" if name == "notes.ipynb" else "graded")
    assert score.problems


def test_a_notebook_of_another_lesson_is_not_graded_as_this_one(sandbox, tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", reference_cells("fine_tuning"))
    score = grade(path, sandbox, Options(lesson="lora", limits=LIMITS))
    assert (score.status, score.tasks) == ("unreadable", ())
    assert "answers the lesson fine_tuning, and lora is what is graded" in score.problems[0]
    bare = write_notebook(tmp_path / "b.ipynb", ["x = 1"])
    assert grade(bare, sandbox, replace(QUICK, lesson="lora")).status == "graded"


def test_each_version_can_have_inputs_of_its_own_and_one_file_has_one_score(sandbox, tmp_path):
    """A wrong answer's distance from the right one tells the inputs apart."""
    answer = (
        "def lora_forward(x, weight, lora_A, lora_B, lora_alpha, bias=None): return x @ weight.T"
    )
    paths = [write_notebook(tmp_path / f"{n}" / "lora.ipynb", [answer, f"{n}"]) for n in (1, 2)]

    def seen(path, **options):
        score = grade(path, sandbox, replace(QUICK, tasks=("lora_forward",), **options))
        return [check.message for check in score.tasks[0].checks]

    assert seen(paths[0]) == seen(paths[1]), "equal answers, equal inputs"
    first, second = (seen(path, by_version=True) for path in paths)
    assert first != second and seen(paths[0], by_version=True) == first
    moved = write_notebook(tmp_path / "3" / "lora.ipynb", [("markdown", "A"), answer, "1"])
    assert seen(moved, by_version=True) != first, "its code can see the cells' numbers"


def test_replies_of_an_odd_shape_cost_the_cell_that_makes_them(sandbox, tmp_path):
    cell = (
        "import autograder.sandbox.wire as w\n_encode = w.encode\n"
        "w.encode = lambda message, keep: _encode(True, keep)"
    )
    score = grade(write_notebook(tmp_path / "a.ipynb", [*reference_cells(), cell]), sandbox, QUICK)
    assert (score.status, score.percent) == ("graded", 100.0)
    assert "neither a value nor an error. It is left out." in score.problems[0]


def test_an_unreadable_file_is_a_score_of_nothing_with_its_reason(sandbox, tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text("no notebook")
    score = grade(path, sandbox, QUICK)
    assert (score.status, score.points, score.tasks) == ("unreadable", 0, ())
    assert str(path) in score.problems[0]


# ------------------------------------------------------------------------------- the warm process

LOADED = """
import sys
def loaded(name):
    return name in sys.modules
"""


def test_a_process_that_is_told_imports_that_alone(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", reference_cells())
    said = []
    with slow_imports.told(said.append), warm_process.Zygote("none", warm=zygote.BASE) as few:
        assert said == ["importing torch …", "importing IPython …"]
        score = grade(path, few, QUICK)
        with running(few, LOADED) as (student, _):
            assert student.loaded("torch") and not student.loaded("peft")
    assert score.percent == 100.0
