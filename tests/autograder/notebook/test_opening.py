"""Opening what was found and nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from autograder.notebook.finding import find, within
from autograder.notebook.opening import NotebookError, digest
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


# ------------------------------------------------------------------------ what happens in between


@pytest.fixture
def inbox(tmp_path):
    """A folder with the notebooks of two students, and beside it one that is nobody's to see."""
    for name in ("class/a/lora.ipynb", "class/m/deep/lora.ipynb", "secret/deep/lora.ipynb"):
        write_notebook(tmp_path / name, [f"x = {name!r}"])
    return tmp_path / "class"


def swap(folder, target):
    """Replace a folder by a link, as its owner can at any time."""
    shutil.rmtree(folder)
    folder.symlink_to(target)


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_a_folder_that_has_become_a_link_is_refused(inbox, monkeypatch, relative):
    monkeypatch.chdir(inbox.parent)
    top = Path("class") if relative else inbox
    theirs, mine = find((top,)).notebooks
    seen = digest(mine)
    swap(inbox / "m", "../secret")
    with pytest.raises(NotebookError, match=r"m/deep/lora\.ipynb: its folder was moved"):
        read(mine)
    assert digest(mine) != seen
    with pytest.raises(NotebookError):  # the same file, as the gradebook calls it
        read(inbox / "m" / "deep" / "lora.ipynb")
    assert read(theirs).code
    assert within(top).notebooks == [theirs]


@pytest.mark.parametrize("named", ["m", "m/deep", "m/deep/lora.ipynb"])
def test_what_is_named_itself_is_held_to_its_place_too(inbox, named):
    [mine] = find((inbox / named,)).notebooks
    assert read(mine).code
    swap(inbox / "m", "../secret")
    with pytest.raises(NotebookError, match="replaced by a link"):
        read(mine)


def test_a_link_to_another_student_s_folder_is_refused(inbox):
    write_notebook(inbox / "b" / "lora.ipynb", ["x = 2"])
    _, mine, _ = find((inbox,)).notebooks
    swap(inbox / "b", inbox / "a")
    with pytest.raises(NotebookError):
        read(mine)


def test_a_folder_that_is_named_may_be_reached_by_links(inbox, monkeypatch):
    link = inbox.parent / "current"
    link.symlink_to(inbox)
    monkeypatch.chdir(link)
    for named in (link, link / "m", link / "a" / "lora.ipynb", Path(), Path("a/../m")):
        assert all(read(path).code for path in find((named,)).notebooks)


def test_a_notebook_saved_anew_in_its_place_is_read(inbox):
    _, mine = find((inbox,)).notebooks
    new = write_notebook(mine.with_name("new.ipynb"), ["x = 2"])
    new.replace(mine)
    assert read(mine).code[0].source == "x = 2"


def test_a_folder_that_came_back_is_read_where_it_was(inbox):
    _, mine = find((inbox,)).notebooks
    (inbox / "m").rename(inbox / "n")
    with pytest.raises(NotebookError, match="cannot be opened"):
        read(mine)
    (inbox / "n").rename(inbox / "m")
    assert read(mine).code
