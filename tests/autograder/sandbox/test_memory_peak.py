"""How far memory rises during a call: told by the kernel, for either transport."""

import pytest

from autograder.sandbox.errors import StudentError

# `take` asks the kernel itself: what a process has let go of is taken again without a rise.
CELL = """
import mmap

def take(megabytes):
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, megabytes << 20, flags=private) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        return len(held)

taken = None

def take_beforehand(megabytes):
    global taken
    taken = bytearray(b"x" * (megabytes << 20))

def use(megabytes):
    taken[: megabytes << 20] = b"x" * (megabytes << 20)

def collect():
    import gc
    gc.collect()

def let_go_and_take(megabytes):
    global taken
    taken = None
    return len(b"x" * (megabytes << 20))

def count_anew(megabytes):
    held = b"x" * (megabytes << 20)
    for what in "51":
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write(what)
        except OSError:
            pass
    return len(held)

def library():
    import glob, os, torch
    path = max(glob.glob(os.path.dirname(torch.__file__) + "/lib/*"), key=os.path.getsize)
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 64 << 20, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)

def read_through(held):
    return sum(held[page] for page in range(0, len(held), mmap.PAGESIZE)) > 0

def read_beforehand():
    global mapped
    mapped = library()
    return read_through(mapped)

def another_reads():
    import os
    if os.fork() == 0:
        os._exit(read_through(library()) - 1)
    return os.wait()[1] == 0

def leave():
    import os
    os._exit(0)
"""


def test_a_rise_is_seen_though_it_is_over(either):
    student = either(CELL)
    student.take(1)
    length, rise, _ = student.measured(lambda: student.take(100))
    assert length == 100 << 20
    assert 95 << 20 < rise < 120 << 20
    _, rise, _ = student.measured(lambda: student.take(1))
    assert rise < 20 << 20


def test_memory_that_was_taken_beforehand_is_touched(either):
    student = either(CELL)
    student.take_beforehand(60)
    _, _, little = student.measured(lambda: student.use(1))
    _, _, much = student.measured(lambda: student.use(50))
    assert much - little > 25 << 20


def test_what_others_touch_of_a_file_is_not_counted(submit):
    with submit(CELL) as student:
        assert student.read_beforehand()
        came, _, touched = student.measured(student.another_reads)
    assert came is True
    assert touched < 32 << 20


def test_memory_that_is_let_go_of_makes_no_room(submit):
    with submit(CELL) as student:
        student.take_beforehand(40)
        _, rise, _ = student.measured(lambda: student.let_go_and_take(30))
    assert rise > 25 << 20


def test_the_kernel_counts_on_whatever_is_written_to_it(submit):
    with submit(CELL) as student:
        _, rise, _ = student.measured(lambda: student.count_anew(50))
    assert rise > 25 << 20


def test_a_collection_touches_little(either):
    student = either(CELL)
    _, _, without = student.measured(lambda: student.take(1))
    _, _, touched = student.measured(student.collect)
    assert touched - without < 20 << 20


def test_what_ends_during_a_measurement_is_reported(submit):
    with submit(CELL) as student, pytest.raises(StudentError, match="ended itself"):
        student.measured(student.leave)
