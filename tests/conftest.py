"""What the tests share: a warm sandbox, submissions as lists of cells."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nbformat
import psutil
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder import scores
from autograder.catalogue import lessons, reference
from autograder.checking.handle import InProcess, Student
from autograder.grading.pool import Pool
from autograder.grading.score_submission import Options
from autograder.notebook import Cell
from autograder.sandbox import launch, warm_process
from autograder.sandbox.launch import Sandbox
from autograder.sandbox.process import Process
from autograder.sandbox.session import Session
from autograder.sandbox.warm_process import Limits
from autograder.scores import Score, TaskScore
from tests import changed, parallel
from tests.browser import browser, page  # noqa: F401 - fixtures, for every test
from tests.postgresql import postgresql  # noqa: F401

torch.set_num_threads(1)  # a process that has run threads must not fork

ROOT = Path(__file__).resolve().parent.parent
LIMITS = Limits(memory=256 << 20, scratch=16 << 20)


def pytest_configure(config: pytest.Config) -> None:
    """Print the closing tables once, of all workers; look at what changed, where asked."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # some tests send it to a command
    config.pluginmanager.register(parallel.Tables(config))
    if config.option.changed:
        config.pluginmanager.register(changed.Selection())


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> parallel.Scheduling:
    """Share the tests out by our scopes, in our order."""
    config.option.loadscopereorder = False
    return parallel.Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items[:] = parallel.ordered(items)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the tests have other random inputs: nothing may pass or fail by its luck."""
    parser.addoption("--seed", type=int, default=1, help="of every random input (default: 1)")
    parser.addoption("--changed", action="store_true", help="only the fast tests of what changed")


@pytest.fixture(scope="session", autouse=True)
def no_rewriting() -> None:
    """Import checks as the grader does: pytest's rewriting of asserts would show their source."""
    sys.meta_path[:] = [each for each in sys.meta_path if "Rewriting" not in type(each).__name__]


@pytest.fixture(scope="session", autouse=True)
def nobody_practises(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[None]:
    """Record what the tests check in a folder of their own, and draw its inputs from the seed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGRADER_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("AUTOGRADER_SEED", str(seed))
        yield


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of every random input."""
    return pytestconfig.option.seed


@pytest.fixture(autouse=True)
def drawn_anew(seed: int) -> None:
    """Let each test draw the same, whichever run before it."""
    random.seed(seed)
    torch.manual_seed(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    """Print with a failure how its inputs are had again."""
    report = yield
    if report.failed:
        again = f"pytest --seed {item.config.option.seed} '{item.nodeid}'"
        report.sections.append(("The same inputs", again))
    return report


# -------------------------------------------------------------------------------------- the sandbox


class Borrowed:
    """The session's warm sandbox, for code that closes what it was given."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.isolation = sandbox.isolation

    @property
    def alive(self) -> bool:
        return self._sandbox.alive

    def fork(self, limits: Limits) -> Process:
        return self._sandbox.fork(limits)

    def close(self) -> None:
        """Leave it to the session."""

    def __enter__(self) -> Borrowed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Borrowed]:
    """The sandbox that `grade` would use here, warm."""
    with launch.start((ROOT,)) as warm:
        yield Borrowed(warm)


@pytest.fixture(scope="session")
def unboxed() -> Iterator[Borrowed]:
    """The process without isolation that `check` uses for one's own notebook, warm."""
    with warm_process.Zygote("none") as warm:
        yield Borrowed(warm)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch, sandbox: Borrowed, unboxed: Borrowed) -> None:
    """Let the commands use the session's warm processes instead of new ones."""
    chosen = {"": sandbox, "none": unboxed}
    monkeypatch.setattr(launch, "start", lambda hide=(), isolation="", warm=(): chosen[isolation])
    monkeypatch.setattr(warm_process, "Zygote", lambda *_, **__: unboxed)


def cells(*sources: str) -> list[Cell]:
    """Code cells, numbered from 1."""
    return [Cell(number, textwrap.dedent(text)) for number, text in enumerate(sources, start=1)]


@contextlib.contextmanager
def running(
    sandbox: Sandbox,
    *sources: str,
    limits: Limits = LIMITS,
    seconds: float = 60.0,
    call_seconds: float = 10.0,
) -> Iterator[tuple[Student, Session]]:
    """Run cells in a sandbox; yields the handle that checks hold, and the session behind it."""
    with Session(sandbox, cells(*sources), limits, seconds) as session:
        session.prepare()
        yield Student(session, call_seconds), session


@pytest.fixture
def submit(sandbox: Borrowed) -> Callable[..., contextlib.AbstractContextManager[Student]]:
    """`with submit(cell, …) as student`: a submission of these cells in the sandbox."""

    @contextlib.contextmanager
    def submitted(*sources: str, **options: object) -> Iterator[Student]:
        with running(sandbox, *sources, **options) as (student, session):
            assert not session.problems, session.problems
            yield student

    return submitted


@pytest.fixture(params=["in process", "sandboxed"])
def either(request: pytest.FixtureRequest) -> Callable[[str], Student]:
    """`either(cell)`: a submission of this cell, by each of the two transports."""
    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)

    def made(source: str) -> Student:
        if request.param == "in process":
            namespace: dict[str, object] = {"__name__": "__main__"}
            exec(compile(textwrap.dedent(source), "<cell 1>", "exec"), namespace)
            return Student(InProcess(namespace))
        submit = request.getfixturevalue("submit")
        return stack.enter_context(submit(source))

    return made


def pooled(
    paths: Sequence[Path], start: Callable[[], Sandbox], options: Options, workers: int
) -> Iterator[Score]:
    """Grade as `run` does, without its folder of results."""
    with Pool(start, options, workers) as pool:
        yield from pool.grade(paths)


def decided(task: TaskScore) -> list[scores.CheckResult]:
    """The checks of a task that this machine can decide: without a GPU not all."""
    return [check for check in task.checks if check.outcome != "not_counted"]


def countable(score: Score) -> float:
    """What a lesson is worth on this machine."""
    left_out = sum(c.max_points for t in score.tasks for c in t.checks if c not in decided(t))
    return lessons.lesson_named(score.lesson).worth.graded - left_out


def descendants() -> set[int]:
    """The processes below this one, whatever namespace they are in."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


def busy(pid: int) -> set[int]:
    """The processes below that one which are using a CPU just now."""
    found = set()
    for each in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {each.pid} if each.cpu_percent(0.1) > 20 else set()
    return found


def settles(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether something comes to hold within some seconds."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


# ---------------------------------------------------------------------------------------- notebooks


def write_notebook(path: Path, sources: Sequence[str | tuple[str, str]]) -> Path:
    """Write a notebook of code cells; a pair (``markdown``, text) is a text cell."""
    made = [
        new_code_cell(textwrap.dedent(source))
        if isinstance(source, str)
        else new_markdown_cell(source[1])
        for source in sources
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=made), path)
    return path


def lora() -> lessons.Lesson:
    return lessons.lesson_named("lora")


def reference_cells(lesson: str = "lora", **replaced: str) -> list[str]:
    """A reference's code cells without checks; `replaced`: another source for a task."""
    return [replaced.get(task, text) for task, text in reference.reference_cells(lesson)]
