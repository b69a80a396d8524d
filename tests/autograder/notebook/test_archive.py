"""A zip is read as if it bit: one notebook, as a stream, and nothing is unpacked."""

import struct
import time
import zipfile

import pytest

from autograder.notebook import archive, opening
from autograder.notebook.opening import NotebookError
from autograder.notebook.reading import read
from tests.autograder.notebook.test_finding import ANSWER, packed


def refused(tmp_path, data):
    path = tmp_path / "mine.zip"
    path.write_bytes(data)
    with pytest.raises(NotebookError) as caught:
        read(path)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said and len(said) < 500 + len(str(path))
    assert list(tmp_path.iterdir()) == [path]
    return said


@pytest.mark.parametrize("name", ["../../a.ipynb", "/tmp/a.ipynb", "x/A.IPYNB", "C:\\a.ipynb.txt"])
def test_the_name_in_it_leads_nowhere(tmp_path, name):
    path = tmp_path / "mine.zip"
    path.write_bytes(packed({name: ANSWER}))
    assert [cell.source for cell in read(path).code] == ["x = 1"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_meant_must_be_plain(tmp_path):
    two = refused(tmp_path, packed({"a.ipynb": ANSWER, "b\n.ipynb": ANSWER}))
    assert "2 notebooks in it ('a.ipynb', 'b\\n.ipynb')" in two
    assert "and 47 more" in refused(tmp_path, packed({f"{n}.ipynb": b"" for n in range(50)}))
    assert "without a notebook" in refused(tmp_path, packed({"a.csv": b"1"}))


def test_a_password_a_rare_method_and_damage_are_said(tmp_path):
    whole = packed({"a.ipynb": ANSWER})
    locked = bytearray(whole)
    locked[6] |= 1
    locked[whole.index(b"PK\x01\x02") + 8] |= 1
    assert "password" in refused(tmp_path, bytes(locked))
    path = tmp_path / "rare.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("a.ipynb", ANSWER)
    data = path.read_bytes()
    path.unlink()
    assert "unusual" in refused(tmp_path, data)
    assert "damaged" in refused(tmp_path, whole[:-30])
    assert "damaged" in refused(tmp_path, whole[:60] + b"\0" * 20 + whole[80:])


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MAX_BYTES", 20 << 20)
    began = time.monotonic()
    assert "larger than 20 MB" in refused(tmp_path, packed({"a.ipynb": b" " * (30 << 20)}))
    assert time.monotonic() - began < 5


def test_a_list_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DIRECTORY", 10_000)
    assert "damaged" in refused(tmp_path, packed({f"{n}.txt": b"" for n in range(1_000)}))
    whole = bytearray(packed({"a.ipynb": ANSWER}))
    struct.pack_into("<I", whole, len(whole) - 10, 0x7FFFFFFF)  # the list's length
    assert "damaged" in refused(tmp_path, bytes(whole))
