"""Time that others take of a busy machine is not a submission's."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autograder.checking.handle import Student
from autograder.sandbox import clock
from autograder.sandbox.clock import Clock
from autograder.sandbox.errors import StudentError
from autograder.sandbox.freezer import idlest_cpu
from tests.conftest import running, settles

CELL = """
import threading, time

def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return seconds

def sleep(seconds):
    time.sleep(seconds)
    return seconds

def crowd(seconds):
    def spin():
        while True:
            pass
    for _ in range(20):
        threading.Thread(target=spin, daemon=True).start()
    return burn(20 * seconds)
"""


RUNS_ANOTHER = """
import os, sys, threading, time

def spin():
    until = time.thread_time() + 0.3
    while time.thread_time() < until:
        pass
    print("spun", flush=True)
    sys.stdin.readline()
    os.execv("/bin/sleep", ["sleep", "60"])

threading.Thread(target=spin).start()
"""


@contextlib.contextmanager
def wanted(cpu):
    """Three programs that want this CPU, too."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    for hog in hogs:
        os.sched_setaffinity(hog.pid, {cpu})
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.fixture
def crowded(sandbox):
    """`with crowded(seconds)`: a submission whose one CPU three other programs want, too."""

    @contextlib.contextmanager
    def made(seconds):
        cpu = idlest_cpu()
        with wanted(cpu), running(sandbox, CELL) as (_, session):
            session._child.freezer.pin(cpu)
            yield Student(session, seconds)

    return made


def test_a_call_has_its_time_however_busy_the_machine_is(crowded):
    with crowded(0.8) as student:
        began = time.monotonic()
        assert student.burn(0.6) == 0.6
        assert time.monotonic() - began > 0.8, "others took about half of it, or more"


@pytest.mark.parametrize("way", ["burn", "sleep", "crowd"])
def test_what_takes_its_own_time_is_ended_on_a_busy_machine_too(crowded, way):
    with crowded(0.4) as student, pytest.raises(StudentError, match="ran for more than"):
        getattr(student, way)(5.0)


def test_what_children_used_that_have_ended_counts():
    code = "import subprocess as s, sys; s.run([sys.executable, '-c', 'for _ in range(9**8): 0'])"
    process = subprocess.Popen([sys.executable, "-c", f"{code}\nimport time; time.sleep(60)"])
    before, _ = clock._used_and_waited(process.pid)
    assert settles(lambda: clock._of_ended(process.pid) > 0.2, 60)
    assert clock._used_and_waited(process.pid)[0] > before + 0.2
    process.kill()
    process.wait()


def test_a_thread_that_runs_another_program_takes_its_waiting_along():
    cpu, pipe = idlest_cpu(), subprocess.PIPE
    with wanted(cpu):
        command = ["taskset", "-c", str(cpu), sys.executable, "-c", RUNS_ANOTHER]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        process.stdout.readline()
    its = Clock(process.pid)
    assert max(seconds for seconds in its._waited[process.pid].values()) > 0.3
    process.stdin.close()
    name = Path(f"/proc/{process.pid}/comm")
    assert settles(lambda: name.read_text().strip() == "sleep")
    time.sleep(0.3)
    assert its.lost() < 0.1
    process.kill()
    process.wait()


def test_sleep_is_no_loss():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(0.3)
    its = Clock(process.pid)
    time.sleep(0.3)
    assert its.lost() < 0.1
    process.kill()
    process.wait()


def test_of_what_has_ended_nothing_is_lost():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert Clock(process.pid).lost() < 0.1
