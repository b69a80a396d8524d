"""Whose time is used up, and whose is not."""

import time

import pytest

from autograder.sandbox.deadlines import Deadlines


def test_a_task_goes_on_with_the_time_that_it_has_left():
    deadlines = Deadlines(60)
    deadlines.begin_task("one", 0.2)
    time.sleep(0.15)
    deadlines.begin_task("two", 0.2)
    time.sleep(0.1)
    assert not deadlines.task_is_over
    deadlines.begin_task("one", 0.2)
    assert not deadlines.task_is_over
    time.sleep(0.1)
    assert deadlines.task_is_over == "The task's 0 s are used up."


def test_what_is_of_no_task_takes_none_of_its_time():
    deadlines = Deadlines(60)
    deadlines.begin_task("one", 0.2)
    with deadlines.of_no_task():
        time.sleep(0.3)
        assert deadlines.until(10) > time.monotonic() + 9
    assert not deadlines.task_is_over


def test_time_is_put_off_so_far_and_no_further():
    deadlines = Deadlines(10)
    assert deadlines.put_off(20) == 20 and deadlines.left == pytest.approx(30, abs=1)
    assert deadlines.put_off(20) == pytest.approx(10) and deadlines.put_off(20) == 0
