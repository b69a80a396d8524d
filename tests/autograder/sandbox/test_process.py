"""How a submission's process ends: by itself, or by somebody's hand."""

import os
import signal

import psutil
import pytest

from autograder.checking.handle import Student
from autograder.sandbox.errors import SandboxError
from autograder.sandbox.process import in_words
from autograder.sandbox.session import Death, Session
from tests.conftest import LIMITS, busy, cells, running, settles


@pytest.mark.parametrize(
    "code, words",
    [
        (0, "its process ended itself (exit code 0)"),
        (-signal.SIGSEGV, "its process was ended by SIGSEGV"),
        (-40, "its process was ended by signal 40"),
        (None, "its process closed the channel"),
    ],
)
def test_an_end_in_words(code, words):
    assert in_words(code) == words


def test_a_process_runs_until_it_ends(sandbox):
    with running(sandbox, "import os\ndef leave(): os._exit(3)") as (student, session):
        assert session._child.runs
        with pytest.raises(Death, match="exit code 3"):
            student.leave()


def test_beside_one_that_was_killed_no_process_is_begun(sandbox):
    with running(sandbox, "x = 1") as (_, session):
        child = session._child
        first = child.next_number()
        assert first > 0 and child.next_number() == first + 1
        os.kill(session.pid, signal.SIGKILL)
        assert settles(lambda: not child.runs)
        assert child.next_number() == -1
        assert child.ended() == -signal.SIGKILL


def test_a_kill_from_outside_is_nobody_s_fault_at_first(sandbox):
    with running(sandbox, "x = 1") as (student, session):
        os.kill(session.pid, signal.SIGKILL)
        with pytest.raises(SandboxError, match="killed from outside"):
            student.x  # noqa: B018
        assert session.refused is not None


def test_a_kill_from_outside_counts_on_a_second_try(sandbox):
    with Session(sandbox, cells("x = 1"), LIMITS, 60, again=True) as session:
        session.prepare()
        os.kill(session.pid, signal.SIGKILL)
        with pytest.raises(Death, match="ended by SIGKILL"):
            Student(session).x  # noqa: B018
        session.prepare()
        assert Student(session).x == 1


@pytest.mark.parametrize("isolation", ["nested", "none"])
def test_an_endless_loop_ends_with_the_process_that_grades_it(sandbox, unboxed, isolation):
    """However that ends: it is killed, and can do nothing any more."""
    told, tells = os.pipe()
    grader = os.fork()
    if grader == 0:
        warm = {"nested": sandbox, "none": unboxed}[isolation]
        try:
            with Session(warm, cells("x = 1", "while True: pass"), LIMITS, 60) as session:
                os.write(tells, b"begun")
                session.prepare()
        finally:
            os._exit(0)
    os.close(tells)
    assert os.read(told, 5) == b"begun"
    os.close(told)
    loops: set[int] = set()
    assert settles(lambda: loops.update(busy(os.getpid()) - {grader}) or loops, 10)
    os.kill(grader, signal.SIGKILL)
    os.waitpid(grader, 0)
    assert settles(lambda: not any(map(psutil.pid_exists, loops)))
