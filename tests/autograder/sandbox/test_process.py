"""How a submission's process ends: by itself, or by somebody's hand."""

import os
import signal

import pytest

from autograder.sandbox.bubblewrap import SandboxError
from autograder.sandbox.process import in_words
from autograder.sandbox.session import Death, Session
from autograder.student import Student
from tests.conftest import LIMITS, cells, running


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
