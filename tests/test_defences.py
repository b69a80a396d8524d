"""Each defence matters: with it an attack gains nothing, and the same attack succeeds without it.

The table in SECURITY.md names these tests. A defence of the grader's side is switched off by a
patch; one inside the sandbox by a sandbox made of changed files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pyseccomp
import pytest

from autograder import notebook
from autograder.checking import disclosure, requests
from autograder.grading.score_submission import Options
from autograder.notebook import NotebookError, opening, reading
from autograder.reporting import feedback
from autograder.sandbox import outer_wall, reply, session, warm_process, wire
from autograder.sandbox.errors import StudentError
from autograder.sandbox.memory_limit import MemoryWatch
from autograder.sandbox.warm_process import Limits
from autograder.sandbox.zygote import BASE
from autograder.scores import CALL, Score
from tests.conftest import ROOT, cells, pooled, running, write_notebook

SMALL = Limits(memory=200 << 20, scratch=400 << 20)
BIG = 500 << 20


def got_through(sandbox, cell: str, *args: object, limits: Limits = SMALL) -> bool:
    """Whether the cell's function `attack` comes back with True."""
    with running(sandbox, cell, limits=limits, call_seconds=15) as (student, session):
        assert not session.problems, session.problems
        try:
            return student.attack(*args) is True
        except StudentError:
            return False


def took(action: Callable[[], object]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


# --------------------------------------------------------------------- the filter of system calls


class Unfiltered:
    """The warm sandbox, its filter without the rules for some system calls."""

    def __init__(self, sandbox, *calls: str) -> None:
        self._sandbox = sandbox._sandbox
        self.isolation = sandbox.isolation
        with pytest.MonkeyPatch.context() as patch:
            add = pyseccomp.SyscallFilter.add_rule
            patch.setattr(
                pyseccomp.SyscallFilter,
                "add_rule",
                lambda self, action, name, *args: name in calls or add(self, action, name, *args),
            )
            self._filter = outer_wall.seccomp_program()

    def fork(self, limits: Limits):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._sandbox, "_filter", self._filter)
            return self._sandbox.fork(limits)


HELD_UNSEEN = {
    "memfd_create": """
import os, time
def attack(size):
    for _ in range(size >> 24):
        os.write(os.memfd_create("hidden"), bytes(1 << 24))
    time.sleep(0.5)
    return True
""",
    "mmap": """
import ctypes, mmap, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
def attack(size):
    for _ in range(size >> 24):
        at = libc.mmap(None, 1 << 24, 3, 0x21, -1, 0)
        if at == 2**64 - 1:
            return False
        ctypes.memset(at, 1, 1 << 24)
        libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(1 << 24), 4)
    time.sleep(0.5)
    return True
""",
    "epoll_create1": """
import os, select
held = []
def attack(size):
    for _ in range(size // 160):
        watch, file = select.epoll(), os.eventfd(0)
        watch.register(file, select.EPOLLIN)
        held.append((watch, os.dup(file)))
        if len(held) == 60:
            return True
""",
    "shmget": """
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
def attack(size):
    for key in range(size >> 24):
        segment = libc.shmget(0, ctypes.c_size_t(1 << 24), 0o1600)
        at = libc.shmat(segment, None, 0) if segment >= 0 else 2**64 - 1
        if at in (None, 2**64 - 1):
            return False
        ctypes.memset(at, 1, 1 << 24)
        libc.shmdt(ctypes.c_void_p(at))
    time.sleep(0.5)
    return True
""",
}


@pytest.mark.parametrize("call", HELD_UNSEEN)
def test_the_filter_refuses_memory_that_nobody_counts(sandbox, call):
    calls = (call, "shmat", "shmdt") if call == "shmget" else (call,)
    assert not got_through(sandbox, HELD_UNSEEN[call], BIG)
    assert got_through(Unfiltered(sandbox, *calls), HELD_UNSEEN[call], BIG)


def test_the_filter_refuses_new_namespaces(sandbox):
    """Without it and the sealed sysctl, a submission is root of a namespace of its own."""
    cell = """
    import ctypes
    libc = ctypes.CDLL(None)
    def attack():
        return libc.unshare(0x10000000) == 0
    """
    assert not got_through(sandbox, cell)
    unsealed = changed("zygote.py", "inner_wall.seal_proc()", "pass")
    with unsealed as other:
        assert not got_through(other, cell), "the filter alone refuses it"
        assert got_through(Unfiltered(Lent(other), "unshare"), cell)


def test_the_filter_refuses_sockets_but_the_machine_s_own(sandbox):
    cell = """
    import socket
    def attack():
        socket.socket(socket.AF_INET)
        return True
    """
    assert not got_through(sandbox, cell)
    assert got_through(Unfiltered(sandbox, "socket"), cell)


WORKS_FOR_WHO_IS_STOPPED = {
    "timer_create": """
import ctypes, signal, struct
libc = ctypes.CDLL(None)
def attack():
    event = ctypes.create_string_buffer(struct.pack("=Qii", 0, signal.SIGCONT, 0), 64)
    return libc.timer_create(1, event, ctypes.byref(ctypes.c_void_p())) == 0
""",
    "timerfd_create": """
import ctypes
def attack():
    return ctypes.CDLL(None).timerfd_create(1, 0) >= 0
""",
    "fcntl": """
import ctypes, platform, signal, socket
libc = ctypes.CDLL(None)
number = 72 if platform.machine() == "x86_64" else 25
def attack():
    one, _ = socket.socketpair()
    commands = [ctypes.c_ulong(10 + high) for high in (0, 1 << 32)]
    return 0 in [libc.syscall(number, one.fileno(), each, int(signal.SIGCONT)) for each in commands]
""",
    "prctl": """
import ctypes, signal
def attack():
    return ctypes.CDLL(None).prctl(1, signal.SIGCONT, 0, 0, 0) == 0
""",
    "clone": """
import ctypes, os, platform, signal
def attack():
    number = 56 if platform.machine() == "x86_64" else 220
    pid = ctypes.CDLL(None).syscall(number, int(signal.SIGCONT), 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid > 0
""",
}


LEAVES_OR_SEEMS_KILLED = {
    "clone": """
import ctypes, os, platform, signal
def attack():
    number = 56 if platform.machine() == "x86_64" else 220
    if os.fork() == 0:
        flags = 0x8000 | int(signal.SIGCHLD)  # CLONE_PARENT
        pid = ctypes.CDLL(None).syscall(number, flags, 0, 0, 0, 0)
        os._exit(7 if pid > 0 else 0)
    return 7 in (os.waitstatus_to_exitcode(os.wait()[1]), os.waitstatus_to_exitcode(waited()))
def waited():
    try:
        return os.wait()[1]
    except ChildProcessError:
        return 0
""",
    "prlimit64": """
import resource
def attack():
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))
    return True
""",
}


@pytest.mark.parametrize("call", LEAVES_OR_SEEMS_KILLED)
def test_the_filter_refuses_to_leave_the_tree_and_to_be_killed_by_the_kernel(sandbox, call):
    assert not got_through(sandbox, LEAVES_OR_SEEMS_KILLED[call])
    assert got_through(Unfiltered(sandbox, call), LEAVES_OR_SEEMS_KILLED[call])


@pytest.mark.parametrize("call", WORKS_FOR_WHO_IS_STOPPED)
def test_the_filter_refuses_what_continues_the_stopped_or_works_for_them(sandbox, call):
    assert not got_through(sandbox, WORKS_FOR_WHO_IS_STOPPED[call])
    assert got_through(Unfiltered(sandbox, call), WORKS_FOR_WHO_IS_STOPPED[call])


def test_the_filter_takes_no_lock_and_hides_no_touched_page(sandbox):
    """Nothing is refused: the call does nothing."""
    locks = """
import fcntl, os
def attack():
    with open("/tmp/a", "w+b") as one, open("/tmp/a", "r+b") as other:
        fcntl.lockf(one, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        pid = os.fork()
        if pid == 0:
            try:
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
            except OSError:
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
"""
    assert not got_through(sandbox, locks)
    assert got_through(Unfiltered(sandbox, "fcntl"), locks)
    pages = """
import ctypes, mmap, re
def attack():
    held = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held[:] = b"x" * len(held)
    place = ctypes.addressof(ctypes.c_char.from_buffer(held))
    ctypes.CDLL(None).madvise(ctypes.c_void_p(place), ctypes.c_size_t(len(held)), 20)
    with open("/proc/self/smaps") as file:
        maps = re.split(r"(?m)^(?=[0-9a-f]+-)", file.read())
    own = [m for m in maps if "-" in m[:40] and int(m.split("-")[0], 16) <= place
           < int(m.split("-")[1].split()[0], 16)]
    return int(re.search(r"Referenced: +([0-9]+)", own[0])[1]) < 4096
"""
    assert not got_through(sandbox, pages)
    assert got_through(Unfiltered(sandbox, "madvise"), pages)


SEES_WHAT_IS_CACHED = {
    "preadv2": """
import os
def attack():
    with open(os.__file__, "rb") as file:
        file.read()
        return os.preadv(file.fileno(), [bytearray(1)], 0, os.RWF_NOWAIT) == 1
""",
    outer_wall.CACHESTAT: """
import ctypes
def attack():
    asked, told = (ctypes.c_uint64 * 2)(0, 4096), (ctypes.c_uint64 * 5)()
    with open("/tmp/own", "w+b") as file:  # newer kernels refuse others' files themselves
        return ctypes.CDLL(None).syscall(451, file.fileno(), asked, told, 0) == 0
""",
}


@pytest.mark.parametrize("call", SEES_WHAT_IS_CACHED)
def test_the_filter_refuses_what_tells_which_pages_are_cached(sandbox, call):
    assert not got_through(sandbox, SEES_WHAT_IS_CACHED[call])
    assert got_through(Unfiltered(sandbox, call), SEES_WHAT_IS_CACHED[call])


def test_pages_are_read_from_a_place_as_ever(sandbox):
    cell = """
import os
def attack():
    with open(os.__file__, "rb") as file:
        return os.preadv(file.fileno(), [bytearray(4)], 0) == 4
"""
    assert got_through(sandbox, cell)


# ---------------------------------------------------------------------------- the watch on memory


def blind(patch: pytest.MonkeyPatch, name: str) -> None:
    patch.setattr(MemoryWatch, name, lambda self, *args: 0)


SPREAD = {
    "_in_files": """
import time
def attack(size):
    with open("/tmp/file", "wb") as file:
        for _ in range(min(size >> 20, 390)):
            file.write(bytes(1 << 20))
    time.sleep(0.5)
    return True
""",
    "_in_sockets": """
import socket, time
held = []
def attack(size):
    while len(held) < size // 400_000 and len(held) < 120:
        pair = socket.socketpair()
        held.append(pair)
        for end in pair:
            end.setblocking(False)
            try:
                while True:
                    end.send(bytes(1 << 14))
            except OSError:
                pass
    time.sleep(0.5)
    return True
""",
    "_share": """
import os, time
def attack(size):
    for _ in range(5):
        if os.fork() == 0:
            held = b"x" * (size // 5)
            time.sleep(5)
            os._exit(0)
    time.sleep(2)
    return True
""",
}


@pytest.mark.parametrize("name", SPREAD)
def test_the_watch_counts_what_is_not_in_the_process(sandbox, monkeypatch, name):
    limits = Limits(memory=80 << 20, scratch=400 << 20) if name == "_in_sockets" else SMALL
    assert not got_through(sandbox, SPREAD[name], BIG, limits=limits)
    blind(monkeypatch, name)
    assert got_through(sandbox, SPREAD[name], BIG, limits=limits)


def test_the_watch_counts_page_tables(sandbox, monkeypatch):
    cell = """
    import ctypes, time
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    def attack(tables):
        at = libc.mmap(None, tables << 21, 1, 0x4022, -1, 0)
        libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(tables << 21), 15)
        for number in range(tables):
            ctypes.string_at(at + (number << 21), 1)
        time.sleep(0.5)
        return True
    """
    limits = Limits(memory=80 << 20)
    assert not got_through(sandbox, cell, 40_000, limits=limits)
    monkeypatch.setattr("autograder.sandbox.memory_limit._KEPT", ("RssAnon", "VmSwap"))
    assert got_through(sandbox, cell, 40_000, limits=limits)


# ------------------------------------------------------------------------ what closes a child off


class Lent:
    """A zygote, in the clothes of the session's."""

    def __init__(self, sandbox) -> None:
        self._sandbox, self.isolation = sandbox, sandbox.isolation


@contextlib.contextmanager
def changed(name: str, *replaced: str) -> Iterator[warm_process.Zygote]:
    """A sandbox in one of whose files each text, of a pair, is replaced by the other."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        for file in (*outer_wall.INSIDE, "stub.py"):
            shutil.copy(outer_wall.HERE / file, folder)
        text = (folder / name).read_text()
        for old, new in zip(replaced[::2], replaced[1::2], strict=True):
            assert old in text, old
            text = text.replace(old, new)
        (folder / name).write_text(text)
        patch.setattr(outer_wall, "HERE", folder)
        with warm_process.Zygote("nested", (ROOT,), warm=BASE) as zygote:
            yield zygote


LEAVES = """
def attack(text):
    with open("/dev/shm/left", "a+") as file:
        file.seek(0)
        found = text in file.read()
        file.write(text)
    return found
"""


def test_a_child_s_own_mounts_keep_the_next_from_what_it_left(sandbox):
    def found_by_the_next(zygote) -> bool:
        return [got_through(zygote, LEAVES, "an answer") for _ in range(2)][1]

    assert not found_by_the_next(sandbox)
    with changed(
        "inner_wall.py", "for path in (SCRATCH, SHARED_MEMORY):", "for path in ():"
    ) as open_:
        assert found_by_the_next(open_)


def test_a_pid_namespace_hides_the_others(sandbox):
    cell = """
    import os
    def attack():
        return len([name for name in os.listdir("/proc") if name.isdigit()]) > 1
    """
    assert not got_through(sandbox, cell)
    shared = changed(
        "inner_wall.py", "CLONE_NEWUSER | CLONE_NEWPID |", "CLONE_NEWUSER |",
        '    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)\n', "",
    )  # fmt: skip
    with shared as other:
        assert got_through(other, cell)


def test_the_process_limit_stops_a_fork_bomb(sandbox):
    cell = """
    import os, time
    def attack():
        for made in range(70):
            try:
                if os.fork() == 0:
                    time.sleep(20)
                    os._exit(0)
            except OSError:
                return False
        return True
    """
    limits = Limits(memory=2 << 30)
    assert not got_through(sandbox, cell, limits=limits)
    assert got_through(sandbox, cell, limits=Limits(memory=2 << 30, processes=4096))


# -------------------------------------------------------------------------- what comes out of it


FORGER = """
import os, socket, struct, sys
import msgpack

def attack(number):
    at = sys._getframe()
    nonce = 0
    for fd in range(3, 256):
        try:
            if os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                break
        except OSError:
            pass
    plain = msgpack.packb({"value": True})
    os.write(fd, struct.pack("!QII", number, len(plain), 0) + plain)
    return False
"""


def test_the_nonce_refuses_an_answer_made_before_its_question(sandbox, monkeypatch):
    assert not got_through(sandbox, FORGER, 7)
    monkeypatch.setattr(session.secrets, "randbits", lambda bits: 7)
    assert got_through(sandbox, FORGER, 7)


def colliding_tuples(count: int) -> list[tuple[int, int]]:
    """Pairs of one hash: CPython's has no secret for tuples, and can be solved for the second."""
    first, second, start = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x27D4EB2F165667C5
    mask = 2**64 - 1
    inverse, pairs, a = pow(second, -1, 2**64), [], 0
    while len(pairs) < count:
        a += 1
        mixed = (start + a * second) & mask
        mixed = ((mixed << 31 | mixed >> 33) & mask) * first & mask
        b = (-mixed * inverse) & mask
        b -= (b >> 63) << 64
        if abs(b) < 2**61 - 1:
            pairs.append((a, b))
    assert len({hash(pair) for pair in pairs[:100]}) == 1
    return pairs


def test_few_odd_keys_keep_forged_hashes_from_stalling_the_grader(monkeypatch):
    pairs = [msgpack.ExtType(2, msgpack.packb(pair)) for pair in colliding_tuples(10_000)]
    forged = msgpack.packb({"value": msgpack.ExtType(3, msgpack.packb(pairs))})

    def decode() -> None:
        with contextlib.suppress(wire.WireError):
            wire.decode(forged, b"")

    assert took(decode) < 0.5
    monkeypatch.setattr(wire, "MAX_ODD_KEYS", 1 << 30)
    assert took(decode) > 0.5


def test_few_items_keep_a_reply_small(monkeypatch):
    many = msgpack.packb({"value": [[]] * 900_000})
    with pytest.raises(wire.WireError, match="items"):
        wire.decode(many, b"")
    monkeypatch.setattr(wire, "MAX_ITEMS", 1 << 30)
    assert len(wire.decode(many, b"")["value"]) == 900_000


def graded(sandbox, folder: Path, cell: str) -> Score:
    path = write_notebook(folder / "lora.ipynb", [cell])
    options = Options(1, limits=SMALL, lesson="lora", tasks=("lora_forward",))
    [score] = pooled([path], lambda: sandbox, options, 1)
    return score


def test_a_short_text_keeps_hidden_inputs_off_the_page(sandbox, tmp_path, monkeypatch):
    cell = "def lora_forward(x, *args, **kwargs): raise ValueError(' ' * 200 + 'INPUTS' + str(x))"

    def shown() -> list[bool]:
        [task] = graded(sandbox, tmp_path, cell).tasks
        return ["INPUTS" in check.message for check in task.checks if check.hidden]

    assert not any(shown())
    monkeypatch.setattr(disclosure, "A_CHECK", 2_000)
    assert any(shown())


NAMES = """
import types

def lora_forward(*args, **kwargs):
    def inner(): raise ValueError
    code = inner.__code__.replace(co_qualname="INPUTS", co_firstlineno=7919)
    types.FunctionType(code, globals())()
"""


def test_a_function_s_own_name_keeps_hidden_inputs_off_the_page(sandbox, tmp_path, monkeypatch):
    def shown() -> list[bool]:
        [task] = graded(sandbox, tmp_path, NAMES).tasks
        said = [check.message.partition(CALL)[0] for check in task.checks]
        return ["INPUTS" in text or "7919" in text for text in said]

    assert not any(shown())
    monkeypatch.setattr(reply, "_place_in", lambda cells, where: where)
    assert any(shown())


WALK = """
import gc, inspect, sys, traceback
def look(model):
    frame = sys._getframe(1)
    code = frame.f_code
    probe = [each for each in gc.get_referrers(code) if inspect.isfunction(each)]
    told = [code.co_filename, code.co_name, code.co_qualname, str(code.co_consts)]
    told += [str(frame.f_globals.get(name)) for name in ("__name__", "__file__", "__package__")]
    told += [f"{each.__doc__} {each.__module__} {each.__qualname__}" for each in probe]
    return [*told, str(type(model).__doc__), str(frame.f_lineno)]

def stacks():
    inspect.stack()
    try:
        return [1 / 0]
    except ZeroDivisionError:
        return [len(traceback.format_exc()) > 20]
"""


class Watched:
    "What its class is after."


def a_probe_of_a_hidden_check(look):
    "What the check is after."
    return look(Watched())


def test_a_probe_s_frame_tells_neither_its_file_nor_its_name(sandbox, monkeypatch):
    def seen() -> str:
        with running(sandbox, WALK) as (student, _):
            return str(student.run(a_probe_of_a_hidden_check, student.look))

    secrets = ("test_defences", "hidden_check", "the check is after", "its class is after")
    assert [secret for secret in secrets if secret in seen()] == []
    monkeypatch.setattr(requests, "bare_code", lambda code: code)
    monkeypatch.setattr(requests, "bare_reduced", lambda obj, reduced: reduced)
    monkeypatch.setattr(requests, "GLOBALS", {})
    monkeypatch.setattr(requests, "_probe", requests._probe.__wrapped__)
    assert [secret for secret in secrets if secret not in seen()] == []


def test_code_under_a_probe_can_look_at_its_stack(sandbox):
    with running(sandbox, WALK) as (student, _):
        assert student.run(lambda stacks: stacks(), student.stacks) == [True]


def test_escaping_keeps_markup_from_the_page(sandbox, tmp_path, monkeypatch):
    score = graded(sandbox, tmp_path, "raise ValueError('<script>alert(1)</script>')")

    def page() -> str:
        feedback.write_page(tmp_path / "page.html", score)
        return (tmp_path / "page.html").read_text()

    assert "<script>" not in page() and "&lt;script&gt;" in page()
    raw = feedback._pages.overlay(autoescape=False)
    raw.globals = feedback._pages.globals
    monkeypatch.setattr(feedback, "_pages", raw)
    assert "<script>" in page()


# ------------------------------------------------------------------------------ how a file is read


def refused(path: Path) -> bool:
    try:
        notebook.read(path)
    except NotebookError:
        return True
    return False


def test_a_link_is_not_followed(tmp_path, monkeypatch):
    other = write_notebook(tmp_path / "other.ipynb", ["answer = 42"])
    link = tmp_path / "mine.ipynb"
    link.symlink_to(other)
    assert refused(link)
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    assert notebook.read(link).code[0].source == "answer = 42"


def test_a_folder_swapped_for_a_link_is_not_entered(tmp_path, monkeypatch):
    other = write_notebook(tmp_path / "other" / "mine.ipynb", ["answer = 42"])
    mine = write_notebook(tmp_path / "class" / "me" / "mine.ipynb", ["x = 1"])
    assert notebook.find((tmp_path / "class",)).notebooks == [mine]
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.symlink_to(other.parent)
    assert refused(mine)
    monkeypatch.setattr(opening, "_FOUND", {})
    assert notebook.read(mine).code[0].source == "answer = 42"


def test_a_crowd_of_values_is_not_parsed(tmp_path, monkeypatch):
    path = tmp_path / "mine.ipynb"
    path.write_text('{"nbformat": 4, "cells": [], "x": [' + "[]," * reading.MAX_VALUES + "1]}")
    assert refused(path)
    monkeypatch.setattr(reading, "MAX_VALUES", opening.MAX_BYTES)
    assert not refused(path)


def test_large_files_are_not_read_to_their_end(tmp_path, monkeypatch):
    path = tmp_path / "large.ipynb"
    outputs = "#" * opening.MAX_BYTES
    path.write_text('{"nbformat": 4, "cells": [{"outputs": ["' + outputs + '"]}]}')
    assert refused(path)
    monkeypatch.setattr(opening, "MAX_BYTES", 1 << 30)
    assert not refused(path)


# -------------------------------------------------------------------------------------- deadlines


def test_a_cell_s_deadline_ends_an_endless_one(sandbox, monkeypatch):
    endless = "import time\ntime.sleep(6)"

    def prepared() -> None:
        with running(sandbox, endless):
            pass

    monkeypatch.setattr(session, "CELL_SECONDS", 0.5)
    assert took(prepared) < 5
    monkeypatch.setattr(session, "CELL_SECONDS", 60.0)
    assert took(prepared) > 5.5


def test_the_number_of_deaths_is_bounded(sandbox, monkeypatch):
    ending = cells(*["import os; os._exit(0)"] * 6)

    def deaths() -> int:
        with session.Session(sandbox, ending, SMALL, 60) as running_one:
            with contextlib.suppress(session.Exhausted):
                running_one.prepare()
            return len(running_one.problems)

    monkeypatch.setattr(session, "DEATHS", 3)
    assert deaths() <= 3
    monkeypatch.setattr(session, "DEATHS", 100)
    assert deaths() == 6
