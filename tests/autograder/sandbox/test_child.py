"""Where a submission's code runs: its cells, the answers to calls, and what travels of errors."""

import pytest

from autograder.sandbox.errors import StudentError
from tests.conftest import running

ODDITIES = {
    "%cd": "%cd /",
    "%cd and back": "%cd /usr\n%cd -\nopen('mine.txt', 'w').close()",
    "%logstart": "%logstart -q\nopen('ipython_log.py').close()",
    "line magic": "%timeit -n1 -r1 pass",
    "unknown magic": "%no_such_magic",
    "%matplotlib inline": "%matplotlib inline",
    "%config": "%config InlineBackend.figure_format = 'retina'",
    "%load_ext autoreload": "%load_ext autoreload\n%autoreload 2",
    "cell magic": "%%time\nx = 1",
    "%%capture": "%%capture out\nprint('x')",
    "%%bash": "%%bash\necho hello",
    "!cmd": "!echo hello; false",
    "!pip": "!pip install something-or-other",
    "files = !ls": "files = !ls",
    "name?": "print?",
    "input()": "age = int(input('How old? ') or 7)",
    "getpass": "import getpass\ngetpass.getpass = lambda *a: ''",
    "an error in a scratch cell": "1 / 0",
    "syntax error": "def (:",
    "a cell that is no Python": "This is what I think of it.",
    "sys.exit": "import sys\nsys.exit(3)",
    "exit()": "exit()",
    "quit": "quit",
    "raise KeyboardInterrupt": "raise KeyboardInterrupt",
    "warnings": "import warnings\nwarnings.warn('careful')",
    "stderr": "import sys\nprint('x' * 100_000, file=sys.stderr)",
    "stdout closed": "import sys\nsys.stdout.close()",
    "stdout replaced": "import sys\nsys.stdout = sys.stderr = None",
    "await": "import asyncio\nawait asyncio.sleep(0)",
    "a loop, a thread and a program": (
        "import asyncio\nfirst = await asyncio.to_thread(len, 'ab')\n"
        "its = await asyncio.create_subprocess_exec('true')\nassert await its.wait() == 0"
    ),
    "display": "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))",
    "plot": "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
    "tqdm": "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass",
    "a seed": "import torch\ntorch.manual_seed(0)",
    "threads": "import torch\ntorch.set_num_threads(4)",
    "gradients off": "import torch\ntorch.set_grad_enabled(False)",
    "the checks' import": "from autograder import check, show_reference\ncheck('lora_forward')",
    "the course's data": "from course import data",
    "an empty cell": "",
    "a null byte": "x = '\0'",
    "a lone surrogate": "x = '\ud800'",
}


@pytest.mark.parametrize("cell", ODDITIES.values(), ids=ODDITIES.keys())
def test_honest_oddities_cost_nothing(sandbox, cell):
    right = "import torch\ndef double(x):\n    return 2 * x"
    with running(sandbox, cell.encode("utf-8", "replace").decode(), right) as (student, session):
        assert student.double(21) == 42, session.problems


def test_the_course_s_data_is_there_offline(submit):
    cell = """
    from course import data, models
    def names():
        return [name for name in dir(data) if not name.startswith("_")]
    """
    with submit(cell) as student:
        assert student.names()


def test_cells_see_each_other_and_magics_work(submit):
    with submit("%cd /tmp\nfirst = 1", "second = first + 1\nwhere = %pwd") as student:
        assert (student.second, student.where) == (2, "/tmp")


def test_a_class_of_the_notebook_can_be_pickled_and_copied_there(submit):
    cell = """
    import copy, pickle
    class Adapter:
        rank = 4
    def round_trip():
        return pickle.loads(pickle.dumps(copy.deepcopy(Adapter()))).rank
    """
    with submit(cell) as student:
        assert student.round_trip() == 4


def test_a_loader_with_workers_works(submit):
    cell = """
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    def total():
        data = TensorDataset(torch.arange(10.0))
        return sum(float(x.sum()) for (x,) in DataLoader(data, batch_size=4, num_workers=2))
    """
    with submit(cell) as student:
        assert student.total() == 45.0


def test_a_training_step_works(submit):
    cell = """
    import torch
    def step(x, y):
        layer = torch.nn.Linear(3, 1)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        before = torch.nn.functional.mse_loss(layer(x), y)
        for _ in range(50):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(layer(x), y)
            loss.backward()
            optimizer.step()
        return bool(loss < before)
    """
    import torch

    with submit(cell) as student:
        assert student.step(torch.randn(8, 3), torch.randn(8, 1)) is True


# ------------------------------------------------------------------------------------------- errors


def test_an_error_names_exception_text_and_cell(submit):
    with (
        submit(
            "x = 1", "def f():\n    y = 2\n    raise ValueError('rank must be positive')"
        ) as student,
        pytest.raises(StudentError) as caught,
    ):
        student.f()
    error = caught.value
    assert (error.type_name, error.text, error.where) == (
        "ValueError",
        "rank must be positive",
        "f, cell 2, line 3",
    )
    assert "Exception" in error.bases
    for part in ("ValueError", "rank must be positive", "cell 2", "line 3"):
        assert part in str(error)


@pytest.mark.parametrize("base, refused", [("Exception", False), ("ValueError", True)])
def test_a_class_with_a_builtin_s_name_is_not_the_builtin(submit, base, refused):
    cell = f"class ValueError({base}):\n    pass\ndef f():\n    raise ValueError('no')"
    with submit(cell) as student, pytest.raises(StudentError) as caught:
        student.f()
    assert caught.value.type_name == "__main__.ValueError"
    assert ("ValueError" in caught.value.bases) is refused


def test_only_the_student_s_own_frames_are_named(submit):
    cell = "import torch\ndef f():\n    return torch.nn.Linear(3, 2)(torch.ones(5))"
    with submit(cell) as student, pytest.raises(StudentError) as caught:
        student.f()
    assert caught.value.where == "f, cell 1, line 3"
    assert "/" not in caught.value.where


def test_a_missing_name_says_so(submit):
    with submit("x = 1") as student, pytest.raises(StudentError) as caught:
        student.lora_forward(1)
    assert caught.value.type_name == "Missing"
    assert "lora_forward" in str(caught.value)


HOSTILE_ERRORS = {
    "a raising __str__": "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
    "a huge __str__": "class E(Exception):\n    def __str__(self): return 'x' * 10**7\nraise E",
    "a __str__ of another type": "class E(Exception):\n    def __str__(self): return 5\nraise E",
    "a str subclass": (
        "class S(str):\n    def __getitem__(self, key): raise ValueError\n"
        "class E(Exception):\n    def __str__(self): return S('x')\nraise E"
    ),
    "a raising __repr__": "class E(Exception):\n    def __repr__(self): 1 / 0\nraise E(1)",
    "a name of a million letters": "raise type('E' * 10**6, (Exception,), {})",
    "a lone surrogate": "raise ValueError('\\ud800')",
    "a raising metaclass": (
        "class M(type):\n    def __getattribute__(self, name): raise KeyboardInterrupt\n"
        "raise M('E', (Exception,), {})()"
    ),
    "a deep chain": (
        "error = None\nfor n in range(5000):\n    new = ValueError(n)\n"
        "    new.__cause__ = error\n    error = new\nraise error"
    ),
    "an exception group": "raise ExceptionGroup('g', [ValueError(1)] * 1000)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "SystemExit": "raise SystemExit(0)",
    "GeneratorExit": "raise GeneratorExit",
    "StopIteration": "raise StopIteration",
    "a BaseException": "raise type('Odd', (BaseException,), {})",
    "no recursion's end": "def f(): return f()\nf()",
    "markup": "raise ValueError('[red]<script>alert(1)</script>\\x1b[2J')",
    "EOFError": "raise EOFError",
    "TimeoutError": "raise TimeoutError",
}


@pytest.mark.parametrize("body", HOSTILE_ERRORS.values(), ids=HOSTILE_ERRORS.keys())
def test_whatever_is_raised_is_text_here(sandbox, body):
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    cell = f"def call():\n{indented}\ndef other():\n    return 'still there'"
    with running(sandbox, cell) as (student, session):
        with pytest.raises(StudentError) as caught:
            student.call()
        assert type(caught.value.text) is str and len(caught.value.text) <= 2000
        assert len(caught.value.type_name) <= 100
        assert str(caught.value)
        session.prepare()
        assert student.other() == "still there"


@pytest.mark.parametrize("body", HOSTILE_ERRORS.values(), ids=HOSTILE_ERRORS.keys())
def test_whatever_a_cell_raises_costs_only_that_cell(sandbox, body):
    with running(sandbox, body, "after = 1") as (student, session):
        assert student.after == 1
        assert all(problem.startswith("Cell 1: ") for problem in session.problems)


def test_recursion_without_end_is_a_recursion_error(submit):
    with submit("def f(): return f()") as student, pytest.raises(StudentError) as caught:
        student.f()
    assert caught.value.type_name == "RecursionError"


def test_prints_are_dropped(submit, capfd):
    cell = """
    import os, sys, warnings
    print("from a cell")
    def loud(x):
        print("the input is", x)
        sys.stderr.write("the input is")
        os.write(1, b"raw")
        os.write(2, b"raw")
        os.system("echo from a shell")
        warnings.warn("careful")
        print("x" * (1 << 24))
        return x
    """
    with submit(cell) as student:
        assert student.loud(3) == 3
    assert capfd.readouterr() == ("", "")


def test_an_unfinished_cell_is_no_problem(submit):
    """An untouched task raises NotImplementedError at most: not worth a line."""
    with (
        submit(
            "def f():\n    raise NotImplementedError()", "raise NotImplementedError()"
        ) as student,
        pytest.raises(StudentError, match=r"^`f` is not written yet\.$"),
    ):
        student.f()
