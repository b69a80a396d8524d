"""What is stopped does nothing, helpers included; whose time counts is told from outside."""

import os
import signal
import subprocess
import time

import psutil
import pytest

from autograder.sandbox import freezer
from autograder.sandbox.freezer import Freezer, idlest_cpu, tree
from tests.conftest import running

HELPERS = """
import os, time

def helper():
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        while True:
            with open("/tmp/count", "a") as file:
                file.write("x")
            time.sleep(0.005)
    return True

def count():
    return os.path.getsize("/tmp/count")

def affinity(wanted=None):
    if wanted is not None:
        os.sched_setaffinity(0, wanted)
    return sorted(os.sched_getaffinity(0))

def burn(seconds):
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
    return True

def sleep(seconds):
    time.sleep(seconds)
    return True

def chain(length):
    # each waits for the next in a way in which the kernel stops nobody
    import ctypes, platform
    number = 56 if platform.machine() == "x86_64" else 220
    vfork = ctypes.c_long(number), ctypes.c_ulong(0x4000 | 17), 0, 0, 0, 0
    if os.fork() == 0:
        for _ in range(length):
            if ctypes.CDLL(None).syscall(*vfork):
                os._exit(0)
        time.sleep(60)
    time.sleep(0.3)
    return True

def burn_in_a_fork(seconds):
    if os.fork() == 0:
        burn(seconds)
        os._exit(0)
    os.wait()
    return True

def thread():
    import queue, threading
    global asked, done
    asked, done = queue.Queue(), queue.Queue()
    work = lambda: [done.put(burn(asked.get())) for _ in range(100)]
    threading.Thread(target=work, daemon=True).start()
    return True

def burn_in_a_thread_that_waits(seconds):
    asked.put(seconds)
    return done.get()
"""


@pytest.fixture
def sides(sandbox):
    with running(sandbox, HELPERS) as (student, session):
        yield student, session


def test_helpers_stand_still_too(sides):
    student, session = sides
    student.helper()
    time.sleep(0.2)
    with session.held_still(idlest_cpu()):
        before = student.count()
        time.sleep(0.3)
        assert student.count() - before <= 4, "it counts only while a request is answered"
    time.sleep(0.3)
    assert student.count() > before + 4, "afterwards they go on"


def test_one_cpu_which_the_code_cannot_leave(sides):
    student, session = sides
    cpu = max(os.sched_getaffinity(0))
    with session.held_still(cpu):
        assert student.affinity() == [cpu]
        assert student.affinity(set(range(64))) == [cpu]


ALWAYS_FORKING = """
import os, time

def start():
    if os.fork() == 0:
        while True:
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
            time.sleep(0.0005)
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    return True
"""


def test_what_is_being_forked_is_bound_too(sandbox):
    cpu = max(os.sched_getaffinity(0))
    for _ in range(8):
        with running(sandbox, ALWAYS_FORKING) as (student, session):
            student.start()
            with session.held_still(cpu):
                processes = tree(session.pid)
                assert len(processes) > 1
                assert {frozenset(os.sched_getaffinity(pid)) for pid in processes} == {
                    frozenset({cpu})
                }


@pytest.fixture
def forks_beside():
    """Processes that begin and end elsewhere on the machine, all the time."""
    line = "while :; do (:); done"
    with subprocess.Popen(["sh", "-c", line], start_new_session=True) as forks:
        yield
        os.killpg(forks.pid, signal.SIGKILL)


def test_time_of_the_cpu_is_what_the_process_computes(sides, forks_beside):
    student, session = sides
    with session.held_still(idlest_cpu()):
        _, took = session.timed(lambda: student.burn(0.05))
        assert took.alone and 0.05 <= took.cpu < 0.15
        assert took.wall >= 0.05
        _, took = session.timed(lambda: student.sleep(0.1))
        assert took.wall >= 0.1
        assert took.cpu < 0.05


def test_a_thread_begun_during_the_call_may_be_what_helped(sides):
    student, session = sides
    with session.held_still(idlest_cpu()):
        _, took = session.timed(student.thread)
    assert not took.alone


def test_after_a_fork_during_the_call_it_may_have_had_help(sides):
    student, session = sides
    with session.held_still(idlest_cpu()):
        _, took = session.timed(lambda: student.burn_in_a_fork(0.05))
    assert took.wall >= 0.05 and not took.alone


def test_with_a_process_beside_it_may_have_had_help(sides):
    student, session = sides
    student.helper()
    with session.held_still(idlest_cpu()):
        _, took = session.timed(lambda: student.burn(0.01))
    assert took.cpu >= 0.01 and not took.alone


def test_the_time_of_all_threads_counts(sides):
    student, session = sides
    student.thread()
    with session.held_still(idlest_cpu()):
        _, took = session.timed(lambda: student.burn_in_a_thread_that_waits(0.05))
        assert took.alone and 0.05 <= took.cpu < 0.15


@pytest.mark.parametrize("wakes", [False, True])
def test_what_runs_while_it_is_held_still_is_told(wakes):
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    try:
        its = Freezer(pid, lambda: -1)
        its.freeze()
        if wakes:  # as a signal of the kernel's would
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.2)
        assert its.stirred() is wakes
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_call_tells_of_helpers_and_of_what_ran_before_it(sides):
    student, session = sides
    with session.held_still(idlest_cpu()):
        _, quiet = session.timed(lambda: student.burn(0.01))
        student.helper()
        _, helped = session.timed(lambda: student.burn(0.01))
        os.kill(session.pid, signal.SIGCONT)
        time.sleep(0.2)
        _, woken = session.timed(lambda: student.burn(0.01))
    assert (quiet.helpers, helped.helpers) == (False, True)
    assert not quiet.stirred and not helped.stirred
    assert woken.helpers and not woken.stirred, "it waited for its next call, and used nothing"


def test_a_process_that_has_ended_cannot_be_stopped():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(psutil.NoSuchProcess):
        Freezer(pid, lambda: -1).freeze()


def test_an_end_while_it_is_held_still_is_a_death(sandbox):
    with running(sandbox, "import os\ndef leave(): os._exit(3)") as (student, session):
        with pytest.raises(Exception, match="exit code 3"), session.held_still(idlest_cpu()):
            student.leave()
        assert not session.alive


def test_a_chain_that_cannot_be_stopped_is_waited_for_once(sandbox):
    with running(sandbox, HELPERS) as (student, session):
        assert student.chain(4)
        began = time.monotonic()
        session._child.freezer.freeze()
        assert freezer.STOP_SECONDS <= time.monotonic() - began < 2 * freezer.STOP_SECONDS
        session._child.freezer.thaw()
