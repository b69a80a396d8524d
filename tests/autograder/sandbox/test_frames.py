"""Frames on a socket: whole, bounded in length and in time."""

import socket
import threading
import time

import pytest

from autograder.sandbox import frames, wire


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


LIMITS = (1 << 10, 1 << 10)


def test_a_frame_comes_through(pair):
    ours, theirs = pair
    frames.send(theirs, 7, b"plain", b"blob")
    assert frames.receive(ours, LIMITS) == (7, b"plain", b"blob")


def test_a_frame_larger_than_a_sockets_buffer_comes_through_whole(pair):
    ours, theirs = pair
    parts = bytes(range(256)) * (1 << 13), b"blob" * (1 << 19)
    thread = threading.Thread(target=frames.send, args=(theirs, 7, *parts))
    thread.start()
    came = frames.receive(ours, (1 << 22, 1 << 22), time.monotonic() + 30)
    thread.join()
    assert came == (7, *parts)


@pytest.mark.parametrize("lengths", [(1 << 11, 0), (0, 1 << 11), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_a_length_over_the_limit_is_refused_before_reading(pair, lengths):
    ours, theirs = pair
    theirs.sendall(frames.HEADER.pack(1, *lengths))
    with pytest.raises(wire.WireError):
        frames.receive(ours, LIMITS, time.monotonic() + 5)


def test_a_closed_channel_is_an_end_of_file(pair):
    ours, theirs = pair
    theirs.sendall(frames.HEADER.pack(1, 100, 0) + b"half")
    theirs.close()
    with pytest.raises(EOFError):
        frames.receive(ours, LIMITS, time.monotonic() + 5)


def test_the_deadline_holds_for_the_whole_frame(pair):
    """A byte now and then does not put it off."""
    ours, theirs = pair
    stop = threading.Event()

    def drip():
        theirs.sendall(frames.HEADER.pack(1, 1000, 0))
        while not stop.wait(0.05):
            theirs.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    start = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            frames.receive(ours, LIMITS, start + 0.4)
    finally:
        stop.set()
        thread.join()
    assert time.monotonic() - start < 2
