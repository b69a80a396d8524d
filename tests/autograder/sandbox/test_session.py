"""A submission's life: what a death costs, deadlines, and replies that are forged."""

import pickle
import time

import pytest
import torch

from autograder.checking.handle import Student
from autograder.sandbox import session as module
from autograder.sandbox.deadlines import PATIENCE
from autograder.sandbox.errors import StudentError
from autograder.sandbox.session import Death, Exhausted, Session
from tests.conftest import LIMITS, cells, running

ENDS = """
import ctypes, os, signal, sys, threading, time

def loop():
    while True:
        pass

def stubborn():
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass

def leave():
    os._exit(0)

def leave_with_full_marks():
    os._exit(100)

def segfault():
    ctypes.string_at(0)

def overflow():
    sys.setrecursionlimit(10**9)
    threading.stack_size(1 << 16)
    deep = lambda: deep()
    deep()

def abort():
    os.abort()

def hang_up():
    os.closerange(3, 256)

def stop():
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)

def fine():
    return "fine"
"""


@pytest.mark.parametrize(
    "name, kind",
    [
        ("loop", "timeout"),
        ("stubborn", "timeout"),
        ("stop", "timeout"),
        ("leave", "crashed"),
        ("leave_with_full_marks", "crashed"),
        ("segfault", "crashed"),
        ("overflow", "crashed or memory"),
        ("abort", "crashed"),
        ("hang_up", "crashed"),
    ],
)
def test_a_death_costs_the_call_and_no_more(sandbox, name, kind):
    with running(sandbox, ENDS, call_seconds=0.7) as (student, session):
        with pytest.raises(Death) as caught:
            getattr(student, name)()
        assert caught.value.kind in kind
        assert str(caught.value)
        assert not session.alive
        session.prepare()
        assert session.alive
        assert student.fine() == "fine"


def test_a_timeout_ends_close_to_its_deadline(sandbox):
    with running(sandbox, ENDS, call_seconds=0.5) as (student, _):
        start = time.monotonic()
        with pytest.raises(Death, match="more than"):
            student.loop()
        assert time.monotonic() - start < 2.5


def test_a_signal_to_itself_does_not_end_its_namespace(submit):
    with submit("import os\ndef kill(): os.kill(os.getpid(), 9)\ndef fine(): return 1") as student:
        student.kill()
        assert student.fine() == 1


def test_calls_to_a_dead_process_fail_until_it_is_prepared(sandbox):
    with running(sandbox, ENDS) as (student, session):
        with pytest.raises(Death):
            student.leave()
        with pytest.raises(StudentError, match="has ended"):
            student.fine()
        session.prepare()
        assert student.fine() == "fine"


def test_objects_of_a_dead_process_are_gone_not_someone_else_s(sandbox):
    cell = ENDS + "\nclass Layer:\n    value = 7\ndef layer(): return Layer()\n"
    with running(sandbox, cell) as (student, session):
        layer = student.layer()
        assert layer.value == 7
        with pytest.raises(Death):
            student.leave()
        session.prepare()
        with pytest.raises(StudentError):
            assert layer.value == 7


def test_state_does_not_survive_a_death(sandbox):
    cell = "import os\ncount = 0\ndef up():\n    global count\n    count += 1\n    return count\n"
    cell += "def leave(): os._exit(0)"
    with running(sandbox, cell) as (student, session):
        assert [student.up(), student.up()] == [1, 2]
        with pytest.raises(Death):
            student.leave()
        session.prepare()
        assert student.up() == 1


# -------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize(
    "cell", ["while True: pass", "import os; os._exit(0)", "import ctypes; ctypes.string_at(0)"]
)
def test_a_cell_that_ends_the_process_is_left_out(sandbox, monkeypatch, cell):
    monkeypatch.setattr(module, "CELL_SECONDS", 1.0)
    with running(sandbox, "before = 1", cell, "after = 2") as (student, session):
        assert (student.before, student.after) == (1, 2)
        [problem] = session.problems
        assert problem.startswith("Cell 2: ")
        assert "left out" in problem


def test_a_failing_cell_is_told_once_however_often_it_runs(sandbox):
    with running(sandbox, "1 / 0", ENDS) as (student, session):
        for _ in range(2):
            with pytest.raises(Death):
                student.leave()
            session.prepare()
        assert [p for p in session.problems if p.startswith("Cell 1:")] == session.problems
        assert len(session.problems) == 1
        assert "ZeroDivisionError" in session.problems[0]


def test_what_a_cell_says_another_time_is_not_told_once_checks_have_asked(sandbox):
    """Another cell stands for one that has learnt of an input, past its process's end."""
    with running(sandbox, "seen = 1", ENDS) as (student, session):
        assert student.seen == 1 and session.problems == []
        session._cells = cells("1", "raise ValueError('42')")
        with pytest.raises(Death):
            student.leave()
        session.prepare()
        assert session.problems == [f"Cell 2: {module.ANOTHER_TIME}"]


def test_too_many_cells_that_die_end_the_submission(sandbox, monkeypatch):
    monkeypatch.setattr(module, "DEATHS", 3)
    with (
        Session(sandbox, cells(*["import os; os._exit(0)"] * 5), LIMITS, 30) as session,
        pytest.raises(Exhausted) as caught,
    ):
        session.prepare()
    assert caught.value.kind == "crashed"


def test_too_many_deaths_in_calls_end_the_submission(sandbox, monkeypatch):
    monkeypatch.setattr(module, "DEATHS", 3)
    with running(sandbox, ENDS) as (student, session):
        for _ in range(2):
            with pytest.raises(Death):
                student.leave()
            session.prepare()
        with pytest.raises(Exhausted):
            student.leave()
        with pytest.raises(Exhausted):
            session.prepare()


def test_the_submission_s_own_deadline_ends_all(sandbox):
    with running(sandbox, ENDS, seconds=1.5, call_seconds=30) as (student, session):
        start = time.monotonic()
        with pytest.raises((Death, Exhausted)):
            student.loop()
        assert time.monotonic() - start < 1.5 * PATIENCE + 2  # where others use the machine
        with pytest.raises(Exhausted) as caught:
            session.prepare()
        assert caught.value.kind == "timeout"


def test_a_submission_that_died_of_its_deadline_says_so_in_whole_seconds(sandbox):
    with running(sandbox, ENDS, seconds=1.0, call_seconds=30) as (student, _):
        with pytest.raises((Death, Exhausted)) as caught:
            student.loop()
        assert "30 s" not in str(caught.value)


# ----------------------------------------------------------------------------------- forged replies

FORGER = """
import gc, os, socket, struct, sys, time
import msgpack

def channel():
    for number in range(3, 256):
        try:
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                return number
        except OSError:
            pass

def frame(nonce, plain, blob=b""):
    return struct.pack("!QII", nonce, len(plain), len(blob)) + plain + blob

def nonce():
    at = sys._getframe()
    while at is not None:
        if type(at.f_locals.get("nonce")) is int:
            return at.f_locals["nonce"]
        at = at.f_back
    return 0

def forge(data):
    os.write(channel(), data)
    return "honest"

def forge_stale():
    return forge(frame(12345, msgpack.packb({"value": "forged"})))

def forge_plain(plain, blob):
    return forge(frame(nonce(), plain, blob))

def forge_early(plain):
    os.write(channel(), frame(nonce(), plain))
    time.sleep(0.5)  # read together with the real one, it would be refused for that

def forge_and_block(plain):
    os.write(channel(), frame(nonce(), plain))
    time.sleep(60)

def huge():
    return forge(struct.pack("!QII", nonce(), 0xFFFFFFFF, 0xFFFFFFFF) + b"x" * 1000)

def flood():
    while True:
        os.write(channel(), b"x" * 65536)

def drip():
    os.write(channel(), struct.pack("!QII", nonce(), 1 << 20, 0))
    while True:
        os.write(channel(), b"x")
        time.sleep(0.1)

def fine():
    return "fine"
"""


class Marker:
    """Leaves a file wherever it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def expect_no_harm(student, session, call):
    """A forged reply is worth nothing: the call fails, and the next process is honest again."""
    with pytest.raises(StudentError):
        call()
    session.prepare()
    assert student.fine() == "fine"


@pytest.mark.parametrize("data", [b"garbage" * 10, b"\0" * 16, b"\xff" * 64, b""], ids=repr)
def test_garbage_on_the_channel(sandbox, data):
    with running(sandbox, FORGER, call_seconds=1) as (student, session):
        if not data:
            assert student.forge(data) == "honest"
            return
        expect_no_harm(student, session, lambda: student.forge(data))


@pytest.mark.parametrize("name", ["forge_stale", "huge", "flood", "drip"])
def test_frames_that_break_the_format(sandbox, name):
    with running(sandbox, FORGER, call_seconds=1) as (student, session):
        start = time.monotonic()
        expect_no_harm(student, session, getattr(student, name))
        assert time.monotonic() - start < 6


def test_a_pickle_is_never_unpickled(sandbox, tmp_path):
    marker = tmp_path / "unpickled"
    payload = pickle.dumps(Marker(marker))
    with running(sandbox, FORGER, call_seconds=1) as (student, session):
        expect_no_harm(student, session, lambda: student.forge_plain(payload, b""))
        expect_no_harm(student, session, lambda: student.forge_plain(b"\xc0", payload))
    assert not marker.exists()


def test_a_reply_ahead_of_the_real_one_is_worth_no_more_than_a_value(sandbox):
    """Whoever finds the nonce can answer: a value, which is compared as any other is."""
    import msgpack

    forged = msgpack.packb({"value": "forged"})
    with running(sandbox, FORGER, call_seconds=1) as (student, session):
        assert student.forge_early(forged) == "forged"
        expect_no_harm(student, session, lambda: student.fine())


@pytest.mark.parametrize(
    "message",
    [
        1,
        [],
        {},
        {"value": 1, "error": 2},
        {"error": "text"},
        {"error": {"type": 1, "text": [], "where": None}},
        {"verdict": "passed"},
        {"value": 1, "points": 100},
    ],
    ids=repr,
)
def test_a_reply_that_is_no_reply_is_an_error_of_the_wire(sandbox, message):
    import msgpack

    from autograder.sandbox.wire import WireError

    with (
        running(sandbox, FORGER, call_seconds=2) as (student, _),
        pytest.raises((WireError, StudentError)),
    ):
        student.forge_and_block(msgpack.packb(message))


def test_a_forged_error_is_only_text(sandbox):
    import msgpack

    error = {
        "type": "Missing" * 1000,
        "text": "<script>" * 10**5,
        "where": "\x1b[2J",
        "bases": [[1]],
    }
    with running(sandbox, FORGER, call_seconds=2) as (student, _):
        with pytest.raises(StudentError) as caught:
            student.forge_and_block(msgpack.packb({"error": error}))
        assert len(str(caught.value)) < 5_000, "what a forger says is not bounded"


def test_a_forged_handle_is_not_another_s_object(sandbox):
    import msgpack

    reply = msgpack.packb({"value": msgpack.ExtType(4, (999).to_bytes(8, "big"))})
    with running(sandbox, FORGER, call_seconds=2) as (student, _):
        handle = student.forge_and_block(reply)
        with pytest.raises(StudentError):
            handle(1)


def test_a_tensor_larger_than_a_reply_may_be(sandbox, monkeypatch):
    from autograder.sandbox import wire

    cell = "import torch\ndef big(): return torch.zeros(1 << 18)\ndef fine(): return 1"
    with running(sandbox, cell) as (student, session):
        monkeypatch.setattr(wire, "MAX_TENSORS", 1 << 18)
        with pytest.raises(StudentError):
            student.big()
        session.prepare()
        assert student.fine() == 1


def test_a_request_with_large_tensors_arrives(submit):
    with submit("def total(x): return float(x.sum())") as student:
        assert student.total(torch.ones(1 << 22)) == float(1 << 22)


def test_no_death_is_left_unreaped(sandbox):
    from tests.conftest import descendants, settles

    before = descendants()
    with running(sandbox, ENDS, call_seconds=0.5) as (student, session):
        for _ in range(3):
            with pytest.raises(Death):
                student.leave()
            session.prepare()
    assert settles(lambda: descendants() <= before)


def test_an_unused_session_starts_nothing(sandbox):
    with Session(sandbox, cells("x = 1"), LIMITS, 5) as session, pytest.raises(StudentError):
        _ = Student(session).x


LOADER = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def total(kind):
    row = torch.arange(8, dtype=getattr(torch, kind))
    data = TensorDataset(row, torch.arange(8)[::2].repeat(2))
    batches = list(DataLoader(data, batch_size=3, num_workers=1))
    return sum(float(x.sum() + y.sum()) for x, y in batches)
"""
FILES_ON_THEIR_WAY = """
import os, socket
held = []

def flood():
    here = os.open("/dev/null", os.O_RDONLY)
    try:
        for _ in range(8):
            held.append(socket.socketpair())
            for _ in range(2):
                socket.send_fds(held[-1][0], [b"x"], [here] * 250)
    except OSError:
        return True
    return False
"""


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "int64"])
def test_a_data_loader_works_beside_one_who_sends_all_the_files_that_a_user_may(sandbox, kind):
    with running(sandbox, FILES_ON_THEIR_WAY) as (other, _), running(sandbox, LOADER) as (one, _):
        assert other.flood()
        assert one.total(kind) == 28 + 24


def test_no_cell_is_left_out_since_a_task_s_time_is_up(sandbox):
    with running(sandbox, "def one():\n    return 1", "def two():\n    return 2") as (
        student,
        session,
    ):
        session.begin_task("one", 0.0)
        session.restart()
        assert session.alive and session.problems == []
        with pytest.raises(StudentError, match="used up"):
            student.one()
        session.begin_task("two", 60.0)
        session.prepare()
        assert student.one() + student.two() == 3
