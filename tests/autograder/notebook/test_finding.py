"""Finding what was handed in: no file of a folder is lost without a word."""

import io
import json
import os
import zipfile

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder.notebook.finding import find, within
from autograder.notebook.opening import NotebookError
from autograder.notebook.reading import read
from tests.conftest import write_notebook

ANSWER = nbformat.writes(new_notebook(cells=[new_code_cell("x = 1")])).encode()
PERCENT = b"# %%\nx = 1\n"


def packed(files, **how):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, **how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def put(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


NOTEBOOKS = {
    "anna/a.ipynb": ANSWER,
    "bela/A.IPYNB": ANSWER,
    "cem/a.ipynb.txt": ANSWER,
    "dora/a.ipynb.json": ANSWER,
    "emil/a.json": json.dumps(json.loads(ANSWER) | {"metadata": {"x": "y" * 100_000}}).encode(),
    "finn/a.txt": b"\xef\xbb\xbf  " + ANSWER,
    "gita/a": ANSWER,
    "hugo/a.py": PERCENT,
    "ines/a.PY": b"# In[1]:\nx = 1\n",
    "jonas/a.zip": packed({"a.ipynb": ANSWER, "data.csv": b"1", "__MACOSX/._a.ipynb": b"x"}),
}
OTHERS = {
    "report.pdf": (b"%PDF-1.7", "a PDF"),
    "report.docx": (packed({"[Content_Types].xml": b"x", "word/a.xml": b"x"}), "Word"),
    "page.html": (b"<!DOCTYPE html>\n<html>", "a web page"),
    "export.html": (b"<html><head><meta name=generator content=nbconvert>", "an HTML export"),
    "data.json": (b'{"a": [1, 2]}', "no notebook"),
    "notes.txt": (b"I think", "no notebook"),
    "empty.txt": (b"", "empty"),
    "helper.py": (b"def f(): pass\n", "Python without cells"),
    "data.zip": (packed({"a.csv": b"1"}), "without a notebook"),
    "broken.zip": (b"PK\x03\x04" + b"x" * 100, "damaged"),
    "wide.txt": ("x".encode("utf-16"), "UTF-16"),
    "all.7z": (b"7z\xbc\xaf\x27\x1c", "7z"),
}
PASSED_OVER = (
    ".DS_Store", "__MACOSX/a.ipynb", ".ipynb_checkpoints/a.ipynb", "anna/__pycache__/a.pyc",
    "Thumbs.db", "anna/._a.ipynb", "anna/timestamp.txt", "submission_metadata.yml",
    "HW_abc1_attempt_2026-11-30-12-00-00.txt",
)  # fmt: skip


def test_what_is_a_notebook_by_its_content_is_read(tmp_path):
    found = within(put(tmp_path, NOTEBOOKS))
    assert [str(path.relative_to(tmp_path)) for path in found.notebooks] == list(NOTEBOOKS)
    assert found.left_out == {}
    for path in found.notebooks:
        assert [cell.source for cell in read(path).code] == ["x = 1"], path


def test_whatever_else_there_is_is_named_with_the_reason(tmp_path):
    put(tmp_path, {name: content for name, (content, _) in OTHERS.items()})
    put(tmp_path, {"anna/a.ipynb": ANSWER} | dict.fromkeys(PASSED_OVER, b"{}"))
    found = within(tmp_path)
    assert found.notebooks == [tmp_path / "anna/a.ipynb"]
    assert {path.name for path in found.left_out} == OTHERS.keys()
    for path, why in found.left_out.items():
        assert OTHERS[path.name][1] in why, (path, why)
        assert why.endswith(".") and "\n" not in why and str(tmp_path) not in why


def test_links_pipes_and_closed_folders_are_named_too(tmp_path):
    write_notebook(tmp_path / "anna" / "a.ipynb", ["x = 1"])
    (tmp_path / "elsewhere").symlink_to(tmp_path / "anna")
    (tmp_path / "data").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    found = within(tmp_path)
    assert [path.name for path in found.notebooks] == ["a.ipynb"]
    whys = {path.name: why for path, why in found.left_out.items()}
    assert whys.keys() == {"elsewhere", "data", "pipe"}
    assert "symbolic link" in whys["elsewhere"] and "symbolic link" in whys["data"]
    assert "not a file" in whys["pipe"]


def test_a_folder_in_which_nothing_can_be_graded_says_why(tmp_path):
    put(tmp_path, {"anna/report.pdf": b"%PDF"})
    with pytest.raises(NotebookError, match=r"no notebook in this folder\. .*report\.pdf: a PDF"):
        find((tmp_path,))


def test_a_file_that_is_named_itself_is_looked_at_whatever_it_is(tmp_path):
    put(tmp_path, {"helper.py": b"def f(): pass\n", "a.pdf": b"%PDF"})
    assert len(find((tmp_path / "helper.py", tmp_path / "a.pdf")).notebooks) == 2
    with pytest.raises(NotebookError, match="a PDF"):
        read(tmp_path / "a.pdf")


def test_folders_are_searched_in_a_stable_order(tmp_path):
    for name in ("b/lora.ipynb", "a/lora.ipynb", "a/.ipynb_checkpoints/lora.ipynb", ".git/x.ipynb"):
        write_notebook(tmp_path / name, ["x = 1"])
    (tmp_path / "a/notes.txt").write_text("no notebook")
    found = find((tmp_path,)).notebooks
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a/lora.ipynb", "b/lora.ipynb"]
    assert find((tmp_path, tmp_path / "a", tmp_path / "a/lora.ipynb")).notebooks == found


def test_a_folder_called_as_a_notebook_is_told_of(tmp_path):
    write_notebook(tmp_path / "anna.ipynb" / "lora.ipynb", ["x = 1"])
    folder, inside = find((tmp_path,)).notebooks
    assert read(inside).code
    with pytest.raises(NotebookError, match="not a file"):
        read(folder)


def test_a_folder_without_notebooks_is_a_sentence(tmp_path):
    with pytest.raises(NotebookError, match="no notebook"):
        find((tmp_path,))
    with pytest.raises(NotebookError, match="no such file"):
        find((tmp_path / "none",))


def test_links_and_pipes_in_a_folder_are_found_and_refused_one_by_one(tmp_path):
    real = write_notebook(tmp_path / "real.ipynb", ["x = 1"])
    (tmp_path / "link.ipynb").symlink_to(real)
    os.mkfifo(tmp_path / "pipe.ipynb")
    assert len(find((tmp_path,)).notebooks) == 3
