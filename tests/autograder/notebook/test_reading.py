"""Reading a notebook as if the file bit: clear errors, and fairness to honest oddities."""

import json
import re
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.notebook import opening, reading
from autograder.notebook.opening import NotebookError
from autograder.notebook.reading import read
from tests.conftest import write_notebook


def good(**changes):
    made = new_notebook(cells=[new_markdown_cell("# Title"), new_code_cell("x = 1")])
    return {**json.loads(nbformat.writes(made)), **changes}


def cell(**changes):
    return good(cells=[{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [],
                        "execution_count": None, "source": "x = 1", **changes}])  # fmt: skip


OLD = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": "old"},
    "worksheets": [
        {
            "cells": [
                {"cell_type": "heading", "level": 1, "metadata": {}, "source": "Title"},
                {
                    "cell_type": "code",
                    "collapsed": False,
                    "input": "x = 1",
                    "language": "python",
                    "metadata": {},
                    "outputs": [],
                    "prompt_number": 1,
                },
            ]
        }
    ],
}
UNREADABLE = {
    "empty": b"",
    "white space": b" \n\t",
    "no JSON": b"This is what I think.",
    "truncated": json.dumps(good()).encode()[:-40],
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"3",
    "an empty object": b"{}",
    "a version that is no number": json.dumps(good(nbformat="four")).encode(),
    "a huge version": json.dumps(good(nbformat=10**9)).encode(),
    "cells null": json.dumps(good(cells=None)).encode(),
    "cells a text": json.dumps(good(cells="x = 1")).encode(),
    "cells a number": json.dumps(good(cells=7)).encode(),
    "no UTF-8": json.dumps(good()).encode("utf-16"),
    "binary": bytes(range(256)) * 10,
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "nested 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
    "nested deep inside": b'{"nbformat": 4, "cells": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "an integer of 100,000 digits": b'{"nbformat": 4, "cells": [], "x": ' + b"9" * 100_000 + b"}",
    "HTML": b"<!doctype html><html></html>",
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_notebook_is_a_sentence_that_names_the_file(tmp_path, data):
    path = tmp_path / "mine.ipynb"
    path.write_bytes(data)
    with pytest.raises(NotebookError) as caught:
        read(path)
    said = str(caught.value)
    assert str(path) in said
    assert len(said) < 500 + len(str(path)) and "\n" not in said


READABLE = {
    "plain": json.dumps(good()).encode(),
    "a byte-order mark": b"\xef\xbb\xbf" + json.dumps(good()).encode(),
    "Windows line ends": json.dumps(good(), indent=1).replace("\n", "\r\n").encode(),
    "an old format": json.dumps(OLD).encode(),
    "an unknown kernel": json.dumps(
        good(metadata={"kernelspec": {"name": "rust", "display_name": "Rust"}})
    ).encode(),
    "the source of a text null": json.dumps(
        good(cells=[{"cell_type": "markdown", "metadata": {}, "source": None}, *good()["cells"]])
    ).encode(),
    "keys of no format": json.dumps(cell(x=[{}] * 100, id={}) | {"x": {"y": [[]]}}).encode(),
    "source in lines": json.dumps(cell(source=["x = ", "1"])).encode(),
    "a huge integer in metadata": json.dumps(cell(metadata={"n": 10**300})).encode(),
    "NaN in metadata": json.dumps(cell(metadata={"n": float("nan")})).encode(),
    "points of the student's own": json.dumps(
        cell(metadata={"nbgrader": {"points": 1e9, "grade_id": ["a"], "grade": True}})
    ).encode(),
    "tags that are no list": json.dumps(cell(metadata={"tags": "skip-execution"})).encode(),
    "an unknown kind of cell besides": json.dumps(
        good(cells=[*good()["cells"], {"cell_type": "poem", "source": "x = 2", "metadata": {}}])
    ).encode(),
    "no metadata": json.dumps(
        {key: value for key, value in good().items() if key != "metadata"}
    ).encode(),
    "a cell without metadata": json.dumps(
        good(cells=[{"cell_type": "code", "source": "x = 1", "outputs": []}])
    ).encode(),
    "one source null": json.dumps(
        good(cells=[{"cell_type": "markdown", "source": None}, *good()["cells"]])
    ).encode(),
    "a minor version of the future": json.dumps(good(nbformat_minor=99)).encode(),
}


@pytest.mark.parametrize("data", READABLE.values(), ids=READABLE.keys())
def test_honest_oddities_are_read(tmp_path, data):
    path = tmp_path / "mine.ipynb"
    path.write_bytes(data)
    assert [cell.source for cell in read(path).code] == ["x = 1"]


BROKEN = {
    "no version": {"cells": []},
    "metadata a list": good(metadata=[]),
    "cell metadata null": cell(metadata=None),
    "cells that are no cells": good(cells=[*good()["cells"], None, 3, "x", []]),
    "a source null": cell(source=None),
    "a source a number": cell(source=7),
    "a source an object": cell(source={"a": 1}),
    "lines that are no text": cell(source=[1, None, "x"]),
    "outputs a number": cell(outputs=7),
    "no kind of cell": cell(cell_type=None),
}


@pytest.mark.parametrize("made", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_hardly_a_notebook_is_read_or_refused_in_words(tmp_path, made):
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps(made))
    try:
        assert all(type(cell.source) is str for cell in read(path).cells)
    except NotebookError as error:
        assert str(path) in str(error)


def test_lone_surrogates_do_not_come_in(tmp_path):
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps(cell(source="x = '\ud800'")))
    [only] = read(path).code
    only.source.encode("utf-8")


def test_too_large_and_too_many(tmp_path, monkeypatch):
    path = write_notebook(tmp_path / "mine.ipynb", ["x = 1"] * 30)
    monkeypatch.setattr(reading, "MAX_CELLS", 29)
    with pytest.raises(NotebookError, match="30 cells"):
        read(path)
    monkeypatch.setattr(reading, "MAX_CELLS", 30)
    assert len(read(path).cells) == 30
    monkeypatch.setattr(reading, "MAX_TEXT", 500)
    with pytest.raises(NotebookError, match="without its outputs"):
        read(path)
    monkeypatch.setattr(opening, "MAX_BYTES", 100)
    with pytest.raises(NotebookError, match="Clear its outputs"):
        read(path)


def test_cells_are_numbered_as_a_reader_counts_them(tmp_path):
    path = write_notebook(tmp_path / "a.ipynb", ["x = 1", ("markdown", "# text"), "y = 2"])
    assert [(c.number, c.is_code) for c in read(path).cells] == [(1, True), (2, False), (3, True)]


def test_percent_files_are_read(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "# %% [markdown]\n# # Title\n\n# %%\nx = 1\n\n# %% tags=['demonstration']\ny = 2\n"
    )
    submission = read(path)
    assert [c.source for c in submission.code] == ["x = 1", "y = 2"]


@pytest.mark.parametrize(
    "text", ["# %%\n" * 40_000, "# %% " + "a=1 " * 500_000, "# x\n" * 600_000, "%%\n" * 40_000]
)
def test_a_percent_file_that_takes_long_to_parse_is_refused_at_once(tmp_path, text):
    path = write_percent(tmp_path, text)
    began = time.monotonic()
    with pytest.raises(NotebookError, match=r"at most 2000|Hand in the notebook itself"):
        read(path)
    assert time.monotonic() - began < 2


HEADER = "# ---\n# jupyter:\n#   jupytext:\n#     formats: py:percent\n# ---\n"
ALIASES = "\n".join(
    ["# ---", "# jupyter:", "#   a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"#   a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 5)]
    + ["# ---", ""]
)


def write_percent(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_bytes(text.encode())
    return path


def percent(tmp_path, text):
    return read(write_percent(tmp_path, text))


@pytest.mark.parametrize("start", ["", HEADER, HEADER + "\n", HEADER.replace("\n", "\r\n")])
def test_a_header_is_no_cell(tmp_path, start):
    submission = percent(tmp_path, start + "# %%\nx = 1\n")
    assert [(c.number, c.source) for c in submission.cells] == [(1, "x = 1")]


def test_lines_between_rules_are_no_header(tmp_path):
    text = "# ---\nx = 1\n# ---\ny = 2\n"
    [only] = percent(tmp_path, text).code
    assert "x = 1" in only.source and "y = 2" in only.source
    text = "# %% [markdown]\n# one\n# ---\n# two\n# ---\n# three\n"
    [only] = percent(tmp_path, text).cells
    assert only.source == "one\n---\ntwo\n---\nthree"


@pytest.mark.parametrize(
    "start",
    [
        ALIASES,
        HEADER + ALIASES,
        "# ---\n# ---\n" * 3 + ALIASES,
        ALIASES.replace("\n", "\r"),
        "#!python\n# coding: utf-8\n" + HEADER + ALIASES,
        "#\n" + HEADER + "#\n" + ALIASES,
        HEADER + ALIASES.removesuffix("# ---\n") + "# %%\n# ---\n",
    ],
    ids=["one", "two", "many", "old line ends", "after a coding", "after marks", "into a cell"],
)
def test_no_header_s_yaml_is_read(tmp_path, monkeypatch, start):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("yaml.safe_load", refuse)
    assert percent(tmp_path, start + "# %%\nx = 1\n").code[-1].source == "x = 1"


def test_of_a_notebook_nothing_else_reaches_the_format(tmp_path, monkeypatch):
    seen = []
    real = nbformat.reads
    monkeypatch.setattr(
        nbformat, "reads", lambda text, **how: seen.append(text) or real(text, **how)
    )
    odd = {"x": [{}], "outputs": [{"y": 1}], "attachments": {}, "source": ["a = ", {}, "1"]}
    for made in (cell(**odd), {**OLD, "x": [{}]}):
        path = tmp_path / "mine.ipynb"
        path.write_text(json.dumps(made | {"x": [{}] * 10}))
        assert read(path).code
    new, old = map(json.loads, seen)
    assert new.keys() == {"nbformat", "nbformat_minor", "metadata", "cells"}
    [only] = new["cells"]
    assert only == {"cell_type": "code", "metadata": {}, "outputs": [], "source": "a = 1"}
    assert old["worksheets"][0].keys() == {"metadata", "cells"}


def test_a_heading_has_no_more_marks_than_there_are_levels(tmp_path):
    path = tmp_path / "mine.ipynb"
    heading = OLD["worksheets"][0]["cells"][0]
    cells = [heading | {"level": level} for level in (2, 10**9, -1, "6", None, {})]
    path.write_text(json.dumps({**OLD, "worksheets": [{"cells": cells}]}))
    assert [c.source for c in read(path).cells] == ["## Title"] + ["# Title"] * 5


def test_cells_are_counted_over_all_sheets_before_anything_is_made_of_them(tmp_path):
    path, heading = tmp_path / "mine.ipynb", OLD["worksheets"][0]["cells"][0]
    path.write_text(json.dumps({**OLD, "worksheets": [{"cells": [heading] * 1500}] * 50}))
    began = time.process_time()
    with pytest.raises(NotebookError, match="75000 cells; at most 2000"):
        read(path)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("text", ["# %%\n" + "\n" * 499_000, "# %%\n" + "%x\n" * 160_000])
def test_a_percent_file_is_read_in_a_moment(tmp_path, text):
    path = tmp_path / "mine.py"
    path.write_text(text)
    began = time.process_time()
    read(path)
    assert time.process_time() - began < 4
    path.write_text(text + "#" * 100_000)
    with pytest.raises(NotebookError, match="more than 500,000 characters"):
        read(path)


def test_tags_without_end_are_quick(tmp_path):
    path = tmp_path / "mine.ipynb"
    tags = ["demonstration", *(f"{n}" for n in range(100_000))]
    path.write_text(json.dumps(cell(metadata={"tags": tags})))
    [only] = read(path).code
    assert "demonstration" in only.tags and len(only.tags) <= reading.MAX_TAGS


def peak(path):
    """The memory in MB of a process that reads a file and nothing else, and what it says."""
    program = (
        "import sys; from pathlib import Path; from autograder.notebook import reading\n"
        "try: print(len(reading.read(Path(sys.argv[1])).cells), 'cells')\n"
        "except reading.NotebookError as error: print(error)\n"
        "print(Path('/proc/self/status').read_text())"
    )
    command = [sys.executable, "-c", program, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(re.search(r"VmHWM:\s*(\d+) kB", said)[1]) >> 10, said.splitlines()[0]


START = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, '
CROWDS = {
    "at the top": lambda: '"cells": [], "x": [' + ",".join(["{}"] * 6_600_000) + "]",
    "in a source": lambda: '"cells": [{"source": [' + ",".join(["[]"] * 6_600_000) + "]}]",
    "in an object": lambda: '"cells": [], "x": {"a":1' + ',"abcdefg":1' * 1_700_000 + "}",
}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS.keys())
def test_a_crowd_of_small_things_is_refused_before_it_takes_memory(tmp_path, crowd):
    path = tmp_path / "mine.ipynb"
    path.write_text(START + crowd() + "}")
    assert 16 << 20 < path.stat().st_size < opening.MAX_BYTES
    memory, said = peak(path)
    assert memory < 300 and "Clear its outputs" in said


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux's /proc")
def test_what_is_not_graded_is_not_counted(tmp_path):
    path = tmp_path / "mine.ipynb"
    picture = {"output_type": "display_data", "data": {"image/png": "A" * 2_400_000}}
    made = cell(outputs=[picture] * 30, attachments={"a.png": {"image/png": "A" * 10_000_000}})
    made["metadata"] = {"widgets": {"state": {"a": ["b" * 10_000_000]}}}
    path.write_text(json.dumps(made, indent=1))
    assert path.stat().st_size > 90_000_000
    memory, said = peak(path)
    assert memory < 200 and said == "1 cells"
