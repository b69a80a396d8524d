"""Any file at all is a submission or one error that names it; any cell has its names, quickly."""

import copy
import json

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from autograder.notebook.names import defined_names
from autograder.notebook.opening import NotebookError
from autograder.notebook.reading import Submission, read
from tests.fuzz import TEXT, mutated, within

SECONDS = 5.0
"""More than any file or cell may take; the machine may be busy."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def read_or_refuse(path, data):
    """The submission that these bytes are, or None where the file is refused in words."""
    path.write_bytes(data)
    try:
        with within(SECONDS):
            submission = read(path)
    except NotebookError as error:
        said = str(error)
        assert str(path) in said and "\n" not in said
        said.encode()
        return None
    assert type(submission) is Submission
    assert [cell.number for cell in submission.cells] == [*range(1, len(submission.cells) + 1)]
    for cell in submission.cells:
        for text in (cell.source, cell.grade_id, *cell.tags):
            assert type(text) is str
        cell.source.encode()
    assert type(submission.lesson) is str
    return submission


def as_json(value):
    return json.dumps(value).encode()


# ------------------------------------------------------------------------------------ what is drawn

# fmt: off
KEYS = st.sampled_from([
    "cells", "worksheets", "metadata", "nbformat", "nbformat_minor", "source", "input", "cell_type",
    "language", "level", "id", "outputs", "output_type", "data", "attachments", "tags", "nbgrader",
    "grade_id", "autograder", "lesson", "free_text", "name", "kernelspec", "orig_nbformat",
])
PERCENT_LINES = st.sampled_from([
    "# %%", "# %% [markdown]", "# %% [raw]", "# %% a title", "# %%%", "#%%", "%%", "# +", "# -",
    "# ---", "---", "# jupyter:", "#   kernelspec:", "#     name: &a [*a]", "# a: !!x y",
    "#   jupytext:", "#     cell_markers: '\"\"\"'", "#     formats: ipynb,py:percent",
    "#     text_representation:", "#       format_name: light", "#       extension: .md",
    "#       format_version: '9'", "# autograder: {lesson: lora}", "# cells: 3",
    '"""', "'''", 'r"""', "#", "# # Title", "# %matplotlib inline", "# !ls", "%%bash", "x = 1",
    "if x:", "    # %%", "# region", "# endregion", "# # %%", "# -*- coding: utf-16 -*-",
])
MARKS = st.sampled_from([
    "%", "%%", "!", "!!", "?", "??", "(", ")", "[", "]", "{", "}", "'", '"', "'''", "\\", ",", ";",
    "/", "\n", "\n    ", "\t", "\r", "\f", "\0", " ", "=", ":", ">>> ", "In [1]: ", "...: ", "#",
    "x", "x = %", "x = !", "def f", "class A", "lambda", "await ", "f'{", "%time ", "%%time\n",
    "\ud800", "α", "１", "0777", "1_", "@",
])
DEFINITIONS = st.sampled_from([
    "{} = 1", "def {}(): pass", "class {}: pass", "{}: int = 1", "{} = !ls", "{} = %pwd",
])
# fmt: on
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 6)
    | st.integers()
    | st.just(10**300)
    | st.floats()
    | TEXT
    | KEYS
    | st.sampled_from(["code", "markdown", "raw", "heading", "stream", "display_data", "error"])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | TEXT, inner, max_size=5),
    max_leaves=20,
)


def parts(**often):
    """An object with some of these keys, each with the value it should have or with any."""
    return st.fixed_dictionaries({}, optional={key: each | JSON for key, each in often.items()})


OUTPUT = parts(
    output_type=st.sampled_from(["stream", "display_data", "execute_result", "pyout", "pyerr"]),
    data=st.dictionaries(st.just("text/plain") | TEXT, JSON, max_size=2),
    text=TEXT,
    metadata=st.just({}),
)
CELL = parts(
    cell_type=st.sampled_from(["code", "markdown", "raw", "heading", "html"]),
    metadata=parts(tags=st.lists(TEXT, max_size=2), nbgrader=parts(grade_id=TEXT), free_text=TEXT),
    source=TEXT | st.lists(TEXT, max_size=3),
    input=TEXT,
    outputs=st.lists(OUTPUT, max_size=2),
    id=st.just("a"),
    level=st.just(1),
)
CELLS = st.lists(CELL | JSON, max_size=4)
HARDLY_A_NOTEBOOK = st.fixed_dictionaries(
    {"nbformat": st.sampled_from([4, 3, 2, 1, 5]) | JSON},
    optional={
        "nbformat_minor": st.integers(0, 6) | JSON,
        "metadata": parts(autograder=parts(lesson=TEXT), kernelspec=parts(name=TEXT)),
        "cells": CELLS | JSON,
        "worksheets": st.lists(parts(cells=CELLS, metadata=JSON), max_size=2) | JSON,
    },
)
LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85"))
SOURCE = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    ["x = 1", "%matplotlib inline\nx = 1", "!ls", "# %% a cell?", "\n\n\n", "a\r\nb\rc", "\u2028"]
)
MADE = st.lists(
    st.tuples(st.sampled_from([new_code_cell, new_markdown_cell, new_raw_cell]), SOURCE)
)


def notebook_of(made):
    cells = [new(source) for new, source in made]
    return json.loads(nbformat.writes(new_notebook(cells=cells)))


def old_notebook_of(made):
    """The same in format 3."""
    cells = [
        {"cell_type": "code", "language": "python", "input": source, "collapsed": False}
        if new is new_code_cell
        else {"cell_type": "markdown", "source": source}
        for new, source in made
    ]
    sheets = [{"cells": [{"metadata": {}, "outputs": [], **cell} for cell in cells]}]
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": sheets}


WITH_ALL = notebook_of([(new_markdown_cell, "# Title"), (new_code_cell, "x = 1\ny = 2")])
WITH_ALL["metadata"] = {"autograder": {"lesson": "lora"}, "kernelspec": {"name": "python3"}}
WITH_ALL["cells"][1]["metadata"] = {"tags": ["a"], "nbgrader": {"grade_id": "b", "points": 1}}
WITH_ALL["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]
VALID = [WITH_ALL, old_notebook_of([(new_code_cell, "x = 1"), (new_markdown_cell, "text")])]


def places(value):
    """Every (container, key) below a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in [*inside]:
        yield value, key
        if isinstance(part, (dict, list)):
            yield from places(part)


@st.composite
def spoiled(draw):
    """A valid notebook with one thing in it replaced, removed or added."""
    notebook = copy.deepcopy(draw(st.sampled_from(VALID)))
    holder, key = draw(st.sampled_from([*places(notebook)]))
    match draw(st.sampled_from(("replace", "remove", "add"))):
        case "replace":
            holder[key] = draw(JSON)
        case "remove":
            del holder[key]
        case "add" if isinstance(holder, dict):
            holder[draw(KEYS | TEXT)] = draw(JSON)
        case "add":
            holder.insert(key, draw(JSON))
    return notebook


PERCENT = st.lists(
    LINE
    | PERCENT_LINES
    | JSON.map(lambda value: f"# %% {json.dumps(value)}")
    | st.tuples(KEYS, JSON).map(lambda pair: f"# %% {pair[0]}={json.dumps(pair[1])}")
    | st.tuples(KEYS, JSON).map(lambda pair: f"# {pair[0]}: {json.dumps(pair[1])}")
)


# ---------------------------------------------------------------------------------------- any file


@given(data=st.binary())
def test_any_bytes(folder, data):
    read_or_refuse(folder / "mine.ipynb", data)
    read_or_refuse(folder / "mine.py", data)


@given(value=JSON | HARDLY_A_NOTEBOOK)
def test_any_json(folder, value):
    read_or_refuse(folder / "mine.ipynb", as_json(value))


@given(value=HARDLY_A_NOTEBOOK)
def test_what_looks_like_a_notebook(folder, value):
    read_or_refuse(folder / "mine.ipynb", as_json(value))


@given(notebook=spoiled())
def test_a_notebook_with_one_thing_wrong(folder, notebook):
    read_or_refuse(folder / "mine.ipynb", as_json(notebook))


@given(data=st.sampled_from(VALID).map(as_json).flatmap(mutated))
def test_a_notebook_damaged_on_its_way(folder, data):
    read_or_refuse(folder / "mine.ipynb", data)


@given(lines=PERCENT, end=st.sampled_from(["\n", "\r\n"]))
def test_any_percent_text(folder, lines, end):
    read_or_refuse(folder / "mine.py", end.join(lines).encode())


@given(lines=PERCENT)
def test_any_header_of_a_percent_file(folder, lines):
    text = "\n".join(["# ---", "# jupyter:", *lines, "# ---", "", "# %%", "x = 1", ""])
    read_or_refuse(folder / "mine.py", text.encode())


def test_a_header_that_doubles_itself_is_quick(folder):
    """References in YAML: nine times nine, and so on."""
    lines = ["#   a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        lines.append(f"#   a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    text = "\n".join(["# ---", "# jupyter:", *lines, "# ---", "", "# %%", "x = 1", ""])
    read_or_refuse(folder / "mine.py", text.encode())


# ------------------------------------------------------------------------------ what is sound stays


@pytest.mark.parametrize("written", [notebook_of, old_notebook_of])
@given(made=MADE)
def test_cells_come_out_as_they_were(folder, written, made):
    submission = read_or_refuse(folder / "mine.ipynb", as_json(written(made)))
    assert [cell.source for cell in submission.code] == [
        source for new, source in made if new is new_code_cell
    ]


STATEMENTS = st.lists(
    st.sampled_from(["x = 1", "def f(x):\n    return x", "# a remark", "y = '# no cell'", "f(2)"]),
    min_size=1,
    max_size=4,
).map("\n".join)


@given(sources=st.lists(STATEMENTS, min_size=1, max_size=4))
def test_cells_of_a_percent_file_come_out_as_they_were(folder, sources):
    text = "\n\n".join(f"# %%\n{source}" for source in sources) + "\n"
    submission = read_or_refuse(folder / "mine.py", text.encode())
    assert [cell.source for cell in submission.code] == sources


# ------------------------------------------------------------------------------- names in any cell


def names_of(source):
    with within(SECONDS):
        names = defined_names(source)
    assert all(type(name) is str for name in names) and len(set(names)) == len(names)
    return names


@given(source=st.text(st.characters(exclude_categories=())) | st.lists(MARKS).map("".join))
def test_any_cell_has_its_names(source):
    names_of(source)


@given(sources=st.lists(st.tuples(st.sampled_from("abc"), DEFINITIONS)))
def test_names_are_found_among_magics(sources):
    lines = [f"%time\n{text.format(name)}\n!ls\nx?" for name, text in sources]
    assert names_of("\n".join(lines)) == list(dict.fromkeys(name for name, _ in sources))


@pytest.mark.parametrize(
    "source",
    [
        "%a\n" * 600,
        "!a\n" * 600,
        "a?\n" * 600,
        "%a\n" * 400 + "x = 1\n" * 50_000,
        "\n" * 1_000_000,
        "'" * 1_000_000,
        "In [1]: x\n" * 100_000,
        "x\n" * 500_000,
        "x = 1;" * 50_000,
        "(" * 100_000,
        "x" + ".a" * 100_000,
        "x = " + "1 if 1 else " * 50_000 + "1",
    ],
    ids=lambda source: repr(source[:12]),
)
def test_a_cell_made_to_be_slow_is_quick(source):
    names_of(source)
