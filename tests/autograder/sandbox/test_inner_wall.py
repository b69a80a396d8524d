"""What closes a child off: the numbers of a pid namespace."""

import os
import signal

from autograder.sandbox import inner_wall


def told_by_a_fork(function):
    """What a function, called in a fork, returns: a number from -1 to 99."""
    pid = os.fork()
    if pid == 0:
        os._exit(function() + 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) - 1


def in_its_own(first_ends):
    """The next number of a new pid namespace, beside its first process or after its end."""
    inner_wall.own_namespaces()
    first = os.fork()
    if first == 0:
        signal.pause()
    if first_ends:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
    try:
        return inner_wall.next_number()
    finally:
        if not first_ends:
            os.kill(first, signal.SIGKILL)


def test_the_first_process_of_a_namespace_has_the_first_number():
    assert told_by_a_fork(lambda: in_its_own(first_ends=False)) == 2


def test_no_process_is_begun_where_the_first_has_ended():
    assert told_by_a_fork(lambda: in_its_own(first_ends=True)) == -1
