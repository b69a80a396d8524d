"""A file is there whole or as it was before."""

import os

import pytest

from autograder.files import write_whole


def test_it_is_written_and_replaced(tmp_path):
    path = tmp_path / "file"
    for data in (b"first", b"second, longer", b""):
        write_whole(path, data)
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


def test_what_fails_midway_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", b"")


def test_what_lies_beside_is_not_followed_or_waited_for(tmp_path):
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"another's")
    beside = tmp_path / "file.new"
    for plant in (lambda: beside.symlink_to(other), lambda: os.mkfifo(beside), beside.touch):
        plant()
        write_whole(path, b"data")
        assert path.read_bytes() == b"data" and not beside.exists()
    assert other.read_bytes() == b"another's"
