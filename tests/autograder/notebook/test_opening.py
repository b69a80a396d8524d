"""Finding notebooks, and opening them: clear errors, whatever lies there."""

import os
from pathlib import Path

import pytest

from autograder.notebook.opening import NotebookError, find
from autograder.notebook.reading import read
from tests.conftest import write_notebook


def test_a_link_is_refused(tmp_path):
    write_notebook(tmp_path / "theirs.ipynb", ["x = 1"])
    link = tmp_path / "mine.ipynb"
    link.symlink_to(tmp_path / "theirs.ipynb")
    with pytest.raises(NotebookError, match="symbolic link"):
        read(link)


def test_a_fifo_does_not_hang(tmp_path):
    path = tmp_path / "mine.ipynb"
    os.mkfifo(path)
    with pytest.raises(NotebookError, match="not a file"):
        read(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(path):
    with pytest.raises(NotebookError, match="not a file"):
        read(Path(path))


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(NotebookError):
        read(tmp_path)
    with pytest.raises(NotebookError):
        read(tmp_path / "none.ipynb")


def test_folders_are_searched_in_a_stable_order(tmp_path):
    for name in ("b/lora.ipynb", "a/lora.ipynb", "a/.ipynb_checkpoints/lora.ipynb", ".git/x.ipynb"):
        write_notebook(tmp_path / name, ["x = 1"])
    (tmp_path / "a/notes.txt").write_text("no notebook")
    found = find((tmp_path,))
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a/lora.ipynb", "b/lora.ipynb"]
    assert find((tmp_path, tmp_path / "a", tmp_path / "a/lora.ipynb")) == found


def test_a_folder_called_as_a_notebook_is_told_of(tmp_path):
    write_notebook(tmp_path / "anna.ipynb" / "lora.ipynb", ["x = 1"])
    folder, inside = find((tmp_path,))
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
    assert len(find((tmp_path,))) == 3
