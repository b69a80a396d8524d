"""Memory, counted from outside: what ends a submission, and what costs an honest one nothing."""

import pytest

from autograder.sandbox.errors import StudentError
from autograder.sandbox.session import Death
from autograder.sandbox.warm_process import Limits
from tests.conftest import running

HOGS = """
import mmap, os, time
import torch

STEP = 16 << 20

def ordinary(most):
    held = [torch.ones(STEP // 4) for _ in range(most // STEP)]
    return len(held)

def shared():
    return len(mmap.mmap(-1, STEP))

def by_children(most):
    for _ in range(most // (160 << 20)):
        if os.fork() == 0:
            if os.fork() == 0:  # an orphan: nobody's child but init's
                held = [bytearray(b"x" * STEP) for _ in range(10)]
                time.sleep(60)
            os._exit(0)
    time.sleep(5)
    return "survived"

def amid_threads(most):
    import threading
    def churn():
        while True:
            one = threading.Thread(target=int)
            one.start()
            one.join()
    for _ in range(4):
        threading.Thread(target=churn, daemon=True).start()
    return by_children(most)

def by_files(most):
    held = []
    for folder in ("/tmp", "/dev/shm"):
        for number in range(10):
            file = open(f"{folder}/{number}", "wb")
            file.write(bytes(STEP))
            os.unlink(file.name)
            held.append(file)
    time.sleep(2)
    return "survived"
"""


def test_ordinary_memory_is_bounded(submit):
    with submit(HOGS) as student, pytest.raises(StudentError):
        student.ordinary(1 << 30)


def test_memory_shared_without_a_file_is_refused(submit):
    with submit(HOGS) as student, pytest.raises(StudentError, match="PermissionError"):
        student.shared()


@pytest.mark.parametrize("way", ["by_children", "amid_threads", "by_files"])
def test_memory_that_no_rlimit_counts_is_bounded(sandbox, way):
    limits = Limits(memory=256 << 20, scratch=192 << 20)
    with running(sandbox, HOGS, limits=limits) as (student, session):
        with pytest.raises(Death) as caught:
            getattr(student, way)(768 << 20)
        assert caught.value.kind == "memory"
        assert "256 MB" in str(caught.value)
        session.prepare()
        assert student.ordinary(16 << 20) == 1


def held(session):
    """How many bytes the watch counts for a submission."""
    return session._watch._held() - session._watch._baseline


HONEST = """
import asyncio, os, time

def idle(count):
    for _ in range(count):
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
    time.sleep(0.3)

def load():
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    data = TensorDataset(torch.randn(100, 10))
    return sum(len(x) for x, in DataLoader(data, batch_size=10, num_workers=2))

def wait():
    async def nothing():
        return 1
    return asyncio.run(nothing())

def hide(size):
    import ctypes
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
        held = b"x" * size
        time.sleep(20)
    time.sleep(1)
"""


def test_forks_that_change_nothing_cost_little(sandbox):
    with running(sandbox, HONEST) as (student, session):
        student.idle(1)
        assert held(session) < 20 << 20
        student.idle(7)
        assert held(session) < 64 << 20


def test_a_fork_that_hides_is_counted(sandbox):
    with running(sandbox, HONEST) as (student, session):
        student.hide(100 << 20)
        assert held(session) > 90 << 20


def test_workers_of_a_loader_and_an_event_loop_fit_in(sandbox):
    with running(sandbox, HONEST, call_seconds=60) as (student, session):
        assert student.load() == 100
        assert student.wait() == 1
        assert session.alive


def test_a_kill_between_two_calls_is_noticed_before_the_next(sandbox):
    later = """
    import threading, time
    def write():
        time.sleep(0.3)
        with open("/tmp/large", "wb") as file:
            for _ in range(380):
                file.write(bytes(1 << 20))
    def begin():
        threading.Thread(target=write).start()
    """
    limits = Limits(memory=256 << 20, scratch=400 << 20)
    with running(sandbox, later, limits=limits) as (student, session):
        student.begin()
        assert session.alive
        session._watch.join(10)
        assert not session.alive
        session.prepare()
        assert session.alive
        assert session.problems == [
            "Between two checks: Your code took more than 256 MB of memory."
        ]
