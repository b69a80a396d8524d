"""Changes in a folder are told at once, whatever is written there, by a process of its own."""

import os
import time
from multiprocessing.connection import wait

import psutil
import pytest

from autograder.cli.filewatch import Changes
from tests.conftest import descendants, settles


@pytest.fixture
def changes(tmp_path):
    said = []
    with Changes((tmp_path,), recursive=True, say=said.append) as made:
        beyond = tmp_path / "started"
        assert settles(lambda: beyond.write_text("x") and made.collect())
        time.sleep(0.3)
        made.collect()
        yield made
    assert not said


def is_told(changes, seconds=2.0):
    return bool(wait(changes.told, seconds)) and changes.collect()


def test_a_write_a_rename_a_new_folder_and_an_end_are_told(changes, tmp_path):
    path, beside = tmp_path / "lora.ipynb", tmp_path / "beside"
    for act in (
        lambda: path.write_text("one"),
        lambda: beside.write_text("two") and beside.replace(path),
        lambda: (tmp_path / "anna").mkdir(),
        lambda: (tmp_path / "anna" / "lora.ipynb").write_text("three"),
        path.unlink,
    ):
        act()
        assert is_told(changes)
        time.sleep(0.1)
        changes.collect()
    assert not is_told(changes, 0.3)


def test_a_name_that_is_no_utf_8_does_not_end_it(changes, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.ipynb")
    for text in ("one", "two"):
        with open(path, "w") as file:  # noqa: PTH123
            file.write(text)
        assert is_told(changes)
        time.sleep(1)
        changes.collect()
    (tmp_path / "fine.ipynb").write_text("three")
    assert is_told(changes)


def test_this_process_gets_no_thread_and_keeps_no_child(tmp_path):
    before, threads = descendants(), psutil.Process().num_threads()
    with Changes((tmp_path,), recursive=False, say=print):
        assert len(descendants() - before) == 1
        assert psutil.Process().num_threads() == threads
    assert descendants() == before
