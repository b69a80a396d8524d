"""What is kept of a learner: whole, under a lock, in the folder that was chosen."""

import json
import subprocess
import sys
import time

import filelock
import pytest

from autograder.learner import record
from autograder.learner.record import Store, StoreError
from tests.conftest import ROOT

WRITER = """
import sys
from autograder.learner.record import Store
kept = Store("counts.json", dict, dict)
for number in range(int(sys.argv[2])):
    with kept.changing(print) as entries:
        entries[f"{sys.argv[1]}-{number}"] = {"number": number}
"""
DAMAGED = {
    "empty": b"",
    "text": b"none of this is JSON",
    "cut": b'{"schema": 1, "entries": {"a": {"num',
    "a list": b"[]",
    "no entries": b'{"schema": 1}',
    "entries of another kind": b'{"schema": 1, "entries": [1, 2]}',
    "an entry of another kind": b'{"schema": 1, "entries": {"a": 3}}',
    "a schema of another kind": b'{"schema": {}, "entries": {"a": 3}}',
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "huge": b'{"schema": ' + b"9" * 10_000 + b"}",
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGRADER_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def kept():
    return Store("counts.json", dict, dict)


def writer(*args):
    return subprocess.Popen([sys.executable, "-c", WRITER, *map(str, args)], cwd=ROOT)


def test_what_is_changed_is_kept(kept, folder):
    assert kept.read(print) == {} and not folder.exists()
    with kept.changing(print) as entries:
        entries["a"] = {"number": 1}
    with kept.changing(print) as entries:
        entries["b"] = {"number": 2}
    assert kept.read(print) == {"a": {"number": 1}, "b": {"number": 2}}
    assert json.loads(kept.path.read_text())["schema"] == 1


def test_an_exception_changes_nothing(kept):
    with kept.changing(print) as entries:
        entries["a"] = {"number": 1}
    with pytest.raises(KeyboardInterrupt), kept.changing(print) as entries:
        entries.clear()
        raise KeyboardInterrupt
    assert kept.read(print) == {"a": {"number": 1}}


def test_of_two_processes_that_write_at_once_both_are_heard(kept):
    processes = [writer(name, 40) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    assert kept.read(print).keys() == {f"{name}-{number}" for name in "ab" for number in range(40)}


def test_a_process_killed_while_it_writes_leaves_whole_entries(kept, folder):
    held = 0
    for turn in range(4):
        process = writer(turn, 1_000_000)
        until = time.monotonic() + 30
        while len(kept.read(pytest.fail)) <= held and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert len(kept.read(pytest.fail)) > held
        held = len(kept.read(pytest.fail))
    assert kept.files() == [kept.path]


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("way", ["read", "changing"])
def test_what_is_damaged_is_moved_aside_and_said(kept, folder, data, way):
    folder.mkdir()
    kept.path.write_bytes(data)
    said = []
    if way == "read":
        assert kept.read(said.append) == {}
    with kept.changing(said.append) as entries:
        entries["a"] = {}
    assert kept.read(said.append) == {"a": {}}
    [aside] = folder.glob("*.damaged-*")
    assert aside.read_bytes() == data
    [sentence] = said
    assert str(kept.path) in sentence and aside.name in sentence


def test_a_file_of_a_newer_version_is_left_alone(kept, folder):
    folder.mkdir()
    kept.path.write_text('{"schema": 2, "things": []}')
    with pytest.raises(StoreError, match="newer"):
        kept.read(pytest.fail)
    with pytest.raises(StoreError, match="newer"), kept.changing(pytest.fail):
        pytest.fail("there is nothing to change")
    assert kept.path.read_text() == '{"schema": 2, "things": []}'


def test_where_nothing_can_be_written_the_way_out_is_said(kept, folder):
    folder.write_text("a file stands where the folder should be")
    with pytest.raises(StoreError, match="AUTOGRADER_DATA") as told, kept.changing(print):
        pytest.fail("there is nowhere to keep it")
    assert str(folder) in str(told.value)
    with pytest.raises(StoreError, match="Not a directory"):
        kept.read(print)


def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(kept, folder, monkeypatch):
    monkeypatch.setattr(record, "WAIT", 0.1)
    folder.mkdir()
    other = filelock.FileLock(f"{kept.path}.lock", is_singleton=False)
    with other, pytest.raises(StoreError, match="another process"), kept.changing(print):
        pytest.fail("another holds it")


def test_all_of_it_can_be_deleted(kept, folder):
    kept.forget()
    assert not folder.exists()
    with kept.changing(print) as entries:
        entries["a"] = {}
    kept.path.write_text("damaged")
    kept.read(list)
    with kept.changing(print) as entries:
        entries["a"] = {}
    assert len(kept.files()) == 2
    kept.forget()
    assert kept.files() == [] and kept.read(print) == {}


def test_the_folder_is_the_user_s_own_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", None):
        monkeypatch.delenv("AUTOGRADER_DATA", raising=False)
        if unset is not None:
            monkeypatch.setenv("AUTOGRADER_DATA", unset)
        assert record.folder().name == "fine-tuning-interviews"
        assert tmp_path in record.folder().parents
    monkeypatch.setenv("AUTOGRADER_DATA", "~/mine")
    assert record.folder() == tmp_path / "mine"
