"""Broken and odd files: each function makes one in a folder and returns its path.

`reported` ones are no notebooks, and a sentence says so; `honest` ones hold the reference and cost
nothing; `worthless` ones hold no answer and earn nothing, whatever they claim.
"""

from __future__ import annotations

import copy
import gzip
import json
import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.conftest import ROOT, lora, reference_cells

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)></pre></title>{{ 7919 * 7907 }}"
Maker = Callable[[Path], Path]
MAKERS: dict[str, dict[str, Maker]] = {"reported": {}, "honest": {}, "worthless": {}}


def reported(make: Maker) -> Maker:
    """Register a file that must be reported as unreadable."""
    return MAKERS["reported"].setdefault(make.__name__, make)


def honest(make: Maker) -> Maker:
    """Register a file that must get full marks."""
    return MAKERS["honest"].setdefault(make.__name__, make)


def worthless(make: Maker) -> Maker:
    """Register a file that must be graded and earn nothing."""
    return MAKERS["worthless"].setdefault(make.__name__, make)


@cache
def _reference() -> str:
    cells = [new_markdown_cell("# LoRA"), *map(new_code_cell, reference_cells())]
    return nbformat.writes(new_notebook(cells=cells))


def reference(*more: str) -> dict[str, Any]:
    """Return the reference as JSON, with more code cells after it."""
    made = json.loads(_reference())
    for cell in made["cells"]:
        cell["source"] = "".join(cell["source"])
    made["cells"] += [code(source) for source in more]
    return made


def stubs() -> dict[str, Any]:
    """Return the release as JSON, nothing written, its metadata as released."""
    return json.loads(lora().notebook.read_text(encoding="utf-8"))


def code(source: str, **changes: Any) -> dict[str, Any]:
    """Return a code cell as JSON."""
    return {"cell_type": "code", "id": f"more-{abs(hash(source)) % 10**8}", "metadata": {},
            "outputs": [], "execution_count": None, "source": source, **changes}  # fmt: skip


def put(path: Path, content: bytes | str | dict[str, Any]) -> Path:
    """Write a file of bytes, text or JSON."""
    if isinstance(content, dict):
        content = json.dumps(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------------------- reported: no notebook


@reported
def empty_file(folder: Path) -> Path:
    """No byte at all; a sentence says so."""
    return put(folder / "empty.ipynb", b"")


@reported
def no_json(folder: Path) -> Path:
    """A text file with the wrong ending; a sentence says so."""
    return put(folder / "no_json.ipynb", "This is what I think of LoRA.")


@reported
def truncated(folder: Path) -> Path:
    """Half a notebook, as a broken upload leaves it; nothing of it is graded."""
    return put(folder / "truncated.ipynb", _reference()[: len(_reference()) // 2])


@reported
def conflict_markers(folder: Path) -> Path:
    """A notebook with git's marks of a conflict; it is no JSON any more."""
    text = _reference().replace('"cells": [', '<<<<<<< HEAD\n"cells": [\n=======\n', 1)
    return put(folder / "conflict.ipynb", text)


@reported
def utf_16(folder: Path) -> Path:
    """A notebook in UTF-16; the byte is named at which it stops being UTF-8."""
    return put(folder / "utf_16.ipynb", _reference().encode("utf-16"))


@reported
def latin_1(folder: Path) -> Path:
    """A notebook in Latin-1 with an accent; the byte is named."""
    text = json.dumps(reference("# caf\u00e9"), ensure_ascii=False)
    return put(folder / "latin_1.ipynb", text.encode("latin-1", "replace"))


@reported
def compressed(folder: Path) -> Path:
    """A gzip file of half a gigabyte of zeros, small itself; nobody unpacks it."""
    return put(folder / "compressed.ipynb", gzip.compress(bytes(16 << 20)) * 2)


@reported
def zeros(folder: Path) -> Path:
    """Zero bytes, as a crashed editor leaves them; a sentence says so."""
    return put(folder / "zeros.ipynb", bytes(4096))


@reported
def web_page(folder: Path) -> Path:
    """A page of the learning platform that was saved instead of the file."""
    return put(folder / "web_page.ipynb", f"<!doctype html><title>{MARKUP}</title>")


@reported
def list_at_the_top(folder: Path) -> Path:
    """JSON that is a list; a sentence says so."""
    return put(folder / "a_list.ipynb", json.dumps([reference()]))


@reported
def null_cells(folder: Path) -> Path:
    """A notebook whose cells are null; a sentence says so."""
    return put(folder / "null_cells.ipynb", {**reference(), "cells": None})


@reported
def cells_of_text(folder: Path) -> Path:
    """A notebook whose cells are one text; a sentence says so."""
    return put(folder / "cells_of_text.ipynb", {**reference(), "cells": "def lora_forward(): ..."})


@reported
def cells_by_name(folder: Path) -> Path:
    """A notebook whose cells are an object; a sentence says so."""
    return put(folder / "cells_by_name.ipynb", {**reference(), "cells": {"1": code("x = 1")}})


@reported
def unknown_version(folder: Path) -> Path:
    """A notebook of a version that nobody knows; a sentence says so."""
    return put(folder / "unknown_version.ipynb", {**reference(), "nbformat": 10**9})


@reported
def nested_100000_deep(folder: Path) -> Path:
    """Lists in lists, 100,000 deep; no parser overflows."""
    return put(folder / "nested.ipynb", b"[" * 100_000 + b"]" * 100_000)


@reported
def nested_within(folder: Path) -> Path:
    """Metadata 100,000 deep in a good notebook; no parser overflows."""
    deep = '{"deep": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + ", "
    return put(folder / "nested_within.ipynb", deep + _reference().lstrip()[1:])


@reported
def huge_integer(folder: Path) -> Path:
    """An integer of 5,000 digits, which Python refuses to read."""
    text = '{"x": 1' + "0" * 5000 + ", " + _reference().lstrip()[1:]
    return put(folder / "huge_integer.ipynb", text)


@reported
def too_large(folder: Path) -> Path:
    """A file of a gigabyte, of which only the first 40 MB are looked at."""
    path = put(folder / "too_large.ipynb", b"{")
    os.truncate(path, 1 << 30)
    return path


@reported
def too_many_cells(folder: Path) -> Path:
    """A notebook of 5,000 cells; the number allowed is named."""
    many = [code(f"x_{number} = {number}") for number in range(5000)]
    return put(folder / "too_many_cells.ipynb", {**reference(), "cells": many})


@reported
def another_course(folder: Path) -> Path:
    """A good notebook of something else; a sentence says that no lesson is known in it."""
    return put(folder / "other.ipynb", {**reference(), "cells": [code("print('Titanic')")]})


@reported
def link_to_a_classmate(folder: Path) -> Path:
    """A symbolic link to another submission; it is not followed."""
    target = put(folder / "elsewhere" / "theirs.ipynb", _reference())
    (folder / "link.ipynb").symlink_to(target)
    return folder / "link.ipynb"


@reported
def link_to_the_solution(folder: Path) -> Path:
    """A symbolic link to the released notebook's folder in the project; it is not followed."""
    (folder / "solution.ipynb").symlink_to(ROOT / "course" / "04_lora" / "lora.ipynb")
    return folder / "solution.ipynb"


@reported
def dangling_link(folder: Path) -> Path:
    """A symbolic link to nothing; a sentence says that it is a link."""
    (folder / "dangling.ipynb").symlink_to(folder / "nothing.ipynb")
    return folder / "dangling.ipynb"


@reported
def link_to_itself(folder: Path) -> Path:
    """A symbolic link to itself; nobody walks in a circle."""
    (folder / "circle.ipynb").symlink_to(folder / "circle.ipynb")
    return folder / "circle.ipynb"


@reported
def link_to_a_device(folder: Path) -> Path:
    """A symbolic link to /dev/zero, which never ends; it is not read."""
    (folder / "device.ipynb").symlink_to("/dev/zero")
    return folder / "device.ipynb"


@reported
def fifo(folder: Path) -> Path:
    """A named pipe in which nobody writes; opening it does not wait."""
    os.mkfifo(folder / "fifo.ipynb")
    return folder / "fifo.ipynb"


@reported
def unix_socket(folder: Path) -> Path:
    """A socket by the name of a notebook; a sentence says so."""
    here = os.open(folder, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as sock:  # its path may have 108 bytes only
        sock.bind(f"/proc/self/fd/{here}/socket.ipynb")
    os.close(here)
    return folder / "socket.ipynb"


@reported
def folder_by_that_name(folder: Path) -> Path:
    """A folder by the name of a notebook; a sentence says so."""
    (folder / "folder.ipynb").mkdir()
    return folder / "folder.ipynb"


@reported
def gone_again(folder: Path) -> Path:
    """A file that was there when the folder was searched, and is no longer."""
    return folder / "gone.ipynb"


@reported
def cells_that_are_no_cells(folder: Path) -> Path:
    """Numbers, texts and nulls among the cells; a sentence says that it is no notebook."""
    made = reference()
    made["cells"] += [None, 3, "x = 1", []]
    return put(folder / "no_cells.ipynb", made)


# --------------------------------------------------------------------- honest: the file is odd only


@honest
def byte_order_mark(folder: Path) -> Path:
    """A byte-order mark at the start, as Windows editors leave it."""
    return put(folder / "bom.ipynb", b"\xef\xbb\xbf" + _reference().encode())


@honest
def windows_line_ends(folder: Path) -> Path:
    """Windows line ends between and within the cells' lines."""
    text = _reference().replace("\\n", "\\r\\n").replace("\n", "\r\n")
    return put(folder / "windows.ipynb", text)


@honest
def old_format(folder: Path) -> Path:
    """The format of 2013, with worksheets."""
    cells = [
        {"cell_type": "code", "collapsed": False, "input": cell["source"], "language": "python",
         "metadata": {}, "outputs": [], "prompt_number": 1}
        for cell in reference()["cells"] if cell["cell_type"] == "code"
    ]  # fmt: skip
    made = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}}
    return put(folder / "old.ipynb", {**made, "worksheets": [{"cells": cells}]})


@honest
def unknown_kernel(folder: Path) -> Path:
    """A kernel that nobody has here, and another language."""
    metadata = {
        "kernelspec": {"name": "rust", "display_name": MARKUP},
        "language_info": {"name": "R"},
    }
    return put(folder / "kernel.ipynb", {**reference(), "metadata": metadata})


@honest
def no_ids(folder: Path) -> Path:
    """Cells without ids in a format that asks for them."""
    made = reference()
    for cell in made["cells"]:
        cell.pop("id")
    return put(folder / "no_ids.ipynb", made)


@honest
def one_id_for_all(folder: Path) -> Path:
    """All cells with the same id, as copies have."""
    made = reference()
    for cell in made["cells"]:
        cell["id"] = "same"
    return put(folder / "one_id.ipynb", made)


@honest
def deep_metadata(folder: Path) -> Path:
    """Metadata 800 deep in the notebook and in each cell, of which nothing is read."""
    deep = '{"a":' * 800 + "1" + "}" * 800
    text = _reference().replace('"metadata": {', f'"metadata": {{"deep": {deep}, ')
    return put(folder / "deep_metadata.ipynb", text.replace(", }", "}"))


@honest
def no_metadata(folder: Path) -> Path:
    """No metadata in the notebook, as some converters write it."""
    return put(folder / "no_metadata.ipynb", {**reference(), "metadata": {}})


@honest
def null_fields(folder: Path) -> Path:
    """Execution counts, outputs and metadata that are null or missing."""
    made = reference()
    for number, cell in enumerate(made["cells"]):
        if cell["cell_type"] == "code" and number % 2:
            cell.update(execution_count=None, outputs=[])
            cell.pop("execution_count")
    return put(folder / "null_fields.ipynb", made)


@honest
def source_in_lines(folder: Path) -> Path:
    """Sources as lists of lines, and one as a list of letters."""
    made = reference()
    for number, cell in enumerate(made["cells"]):
        lines = cell["source"].splitlines(keepends=True)
        cell["source"] = list(cell["source"]) if number == 1 else lines
    return put(folder / "lines.ipynb", made)


@honest
def minor_version_of_the_future(folder: Path) -> Path:
    """A minor version that does not exist yet, with a field nobody knows."""
    made = {**reference(), "nbformat_minor": 99, "signature": "unknown"}
    return put(folder / "future.ipynb", made)


@honest
def no_numbers(folder: Path) -> Path:
    """NaN, infinities and a float too large in the metadata."""
    made = reference()
    made["metadata"]["odd"] = [float("nan"), float("inf"), -float("inf"), 10**300]
    return put(folder / "nan.ipynb", json.dumps(made).replace("Infinity", "1e999", 1))


@honest
def doubled_keys(folder: Path) -> Path:
    """Two lists of cells; the last counts, for Jupyter as well."""
    return put(folder / "doubled.ipynb", '{"cells": [], ' + _reference().lstrip()[1:])


@honest
def lone_surrogates(folder: Path) -> Path:
    """Halves of characters in source, output and title, which UTF-8 does not have."""
    made = reference("half = '\ud800'")
    made["cells"].insert(
        0, {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "\udfff"}
    )
    return put(folder / "surrogates.ipynb", made)


@honest
def outputs_of_15_mb(folder: Path) -> Path:
    """Outputs of 15 MB, as figures are; they are nobody's business here."""
    made = reference()
    output = {"output_type": "stream", "name": "stdout", "text": "x" * (15 << 20)}
    made["cells"][1]["outputs"] = [output]
    return put(folder / "outputs.ipynb", made)


@honest
def a_hundred_thousand_outputs(folder: Path) -> Path:
    """A hundred thousand small outputs, as a loop with a progress bar leaves them."""
    made = reference()
    made["cells"][1]["outputs"] = [
        {"output_type": "stream", "name": "stderr", "text": ["x\r"]} for _ in range(100_000)
    ]
    return put(folder / "many_outputs.ipynb", made)


@honest
def broken_outputs(folder: Path) -> Path:
    """Outputs of no known kind; they are not looked at."""
    made = reference()
    made["cells"][1]["outputs"] = [{"output_type": "dream"}, {"output_type": "stream"}]
    return put(folder / "broken_outputs.ipynb", made)


@honest
def unknown_kind_of_cell(folder: Path) -> Path:
    """A cell of a kind that does not exist, besides the others."""
    made = reference()
    made["cells"].append({"cell_type": "poem", "id": "p", "source": "rose", "metadata": {}})
    return put(folder / "poem.ipynb", made)


@honest
def many_cells(folder: Path) -> Path:
    """Fifteen hundred small cells besides the answers."""
    more = [f"scratch_{number} = {number}" for number in range(1500)]
    return put(folder / "many_cells.ipynb", reference(*more))


@honest
def magics_and_moves(folder: Path) -> Path:
    """Magics, shell lines, %cd, help and input(), before the answers and after them."""
    made = reference("%cd /", "name = input('Your name? ')", "%%time\nx = 1", "print?")
    first = ["%matplotlib inline\n%cd /tmp\n%pwd", "!ls\nfiles = !ls", "%load_ext autoreload"]
    first += ["%%bash\necho hello", "%%writefile notes.txt\nhello", "name = input()", "%no_such"]
    made["cells"] = [code(source) for source in first] + made["cells"]
    return put(folder / "magics.ipynb", made)


@honest
def errors_in_scratch_cells(folder: Path) -> Path:
    """Errors, warnings, an exit and code that does not parse, in cells of no task."""
    more = ["1 / 0", "def (:", "import warnings; warnings.warn('x' * 10_000)", "import nothing"]
    more += ["raise SystemExit('done')", "exit()", "raise KeyboardInterrupt", "assert False"]
    return put(folder / "scratch.ipynb", reference(*more))


@honest
def percent_signs(folder: Path) -> Path:
    """A cell of 100,000 per-cent signs, for the reader of magics."""
    return put(folder / "percent.ipynb", reference("%" * 100_000))


@honest
def many_magics(folder: Path) -> Path:
    """A cell of 1,500 lines that are each a magic; each line is rewritten by itself."""
    return put(folder / "many_magics.ipynb", reference("%pwd\n" * 1500))


@honest
def magics_in_a_long_cell(folder: Path) -> Path:
    """Four hundred magics in a cell of 1,400 lines: each is rewritten by reading all lines anew."""
    cell = "%pwd\n" * 400 + "x = 1\n" * 1000
    return put(folder / "long_magics.ipynb", reference(cell))


@honest
def question_marks(folder: Path) -> Path:
    """A cell of 100,000 question marks, for the reader of help."""
    return put(folder / "question_marks.ipynb", reference("?" * 100_000))


@honest
def minus_signs(folder: Path) -> Path:
    """A cell of 100,000 minus signs, for the parser's stack."""
    return put(folder / "minus.ipynb", reference("x = " + "-" * 100_000 + "1"))


@honest
def open_brackets(folder: Path) -> Path:
    """A cell of 100,000 brackets that nobody closes."""
    return put(folder / "open_brackets.ipynb", reference("(" * 100_000))


@honest
def closed_brackets(folder: Path) -> Path:
    """A cell of 50,000 brackets in brackets, for the parser's stack."""
    return put(folder / "closed_brackets.ipynb", reference("(" * 50_000 + ")" * 50_000))


@honest
def indices(folder: Path) -> Path:
    """A cell of 30,000 indices in a chain, for the tree's walkers."""
    return put(folder / "indices.ipynb", reference("x" + "[0]" * 30_000))


@honest
def long_chains(folder: Path) -> Path:
    """Sums, attributes, decorators and else-ifs in chains of thousands, for the tree's walkers."""
    more = ["x = " + "1 + " * 30_000 + "1", "x = a" + ".b" * 30_000]
    more += ["if x: pass\n" + "elif x: pass\n" * 5_000, "@f\n" * 5_000 + "def g(): pass"]
    return put(folder / "chains.ipynb", reference(*more))


@honest
def exclamation_marks(folder: Path) -> Path:
    """A cell of 100,000 exclamation marks, for the reader of shell lines."""
    return put(folder / "exclamation_marks.ipynb", reference("!" * 100_000))


@honest
def back_slashes(folder: Path) -> Path:
    """A cell of 20,000 lines that are each continued."""
    return put(folder / "back_slashes.ipynb", reference("\\\n" * 20_000))


@honest
def quotes(folder: Path) -> Path:
    """Cells of quotes that nobody closes, and of zero bytes."""
    return put(folder / "quotes.ipynb", reference("'" * 99_999, "'''" + "x" * 100_000, "\0" * 1000))


@honest
def markup_in_text(folder: Path) -> Path:
    """Markup in headings, in the free answer and in metadata; a page shows it as text."""
    made = reference()
    for number, text in enumerate((MARKUP, f"# {MARKUP}", f"### Your answer\n\n{MARKUP}")):
        made["cells"].append({"cell_type": "markdown", "id": f"t{number}", "source": text,
                              "metadata": {"nbgrader": {"grade_id": "explain_lora"}}})  # fmt: skip
    made["metadata"]["title"] = MARKUP
    return put(folder / "markup_text.ipynb", made)


@honest
def markup_in_outputs(folder: Path) -> Path:
    """Scripts in outputs; no page holds an output."""
    made = reference()
    data = {"text/html": MARKUP, "application/javascript": "alert(1)"}
    made["cells"][1]["outputs"] = [{"output_type": "display_data", "metadata": {}, "data": data}]
    return put(folder / "markup_outputs.ipynb", made)


@honest
def markup_in_errors(folder: Path) -> Path:
    """Markup in texts and class names of exceptions; a page shows it as text."""
    more = [f"raise ValueError({MARKUP!r})", f"raise type({MARKUP!r}, (Exception,), {{}})('x')"]
    more += [f"raise KeyError({MARKUP!r})", f"exec(compile('1/0', '<cell {MARKUP}>', 'exec'))"]
    more += ["raise ValueError('\\x1b[2J\\x1b]0;title\\x07\\x00\\u202e')"]
    return put(folder / "markup_errors.ipynb", reference(*more))


@honest
def markup_in_the_name(folder: Path) -> Path:
    """Markup, ampersands and quotes in the file's name; pages and tables show it as text."""
    return put(folder / "<img src=x onerror=alert(1)>&\"'`.ipynb", _reference())


@honest
def lines_in_the_name(folder: Path) -> Path:
    """Line ends, tabs, commas and colours in the file's name; each table keeps its rows."""
    return put(folder / 'a\nb\r\tc,"d",\x1b[31m;e.ipynb', _reference())


@honest
def name_of_other_scripts(folder: Path) -> Path:
    """Emoji, accents and a turned writing direction in the file's name."""
    return put(folder / "\U0001f999 caf\u00e9 \u202eipynb.exe \u0661.ipynb", _reference())


@honest
def long_name(folder: Path) -> Path:
    """A name of 250 bytes, in a folder of 200; the page's name is shorter."""
    return put(folder / ("f" * 200) / ("\u00e9" * 121 + ".ipynb"), _reference())


@honest
def name_without_utf_8(folder: Path) -> Path:
    """A file's name that is no UTF-8; it is named as well as may be."""
    return put(folder / os.fsdecode(b"caf\xe9\xff.ipynb"), _reference())


@honest
def name_with_a_dash(folder: Path) -> Path:
    """A name that a program would take for an option."""
    return put(folder / "-rf --no-sandbox.ipynb", _reference())


@honest
def name_with_a_formula(folder: Path) -> Path:
    """A name that a spreadsheet would take for a formula; it is written with an apostrophe."""
    return put(folder / "=cmd|' calc'!A0.ipynb", _reference())


@honest
def name_of_a_device(folder: Path) -> Path:
    """A name that Windows keeps for itself, with dots at its ends."""
    return put(folder / "con.aux...ipynb", _reference())


@honest
def one_name_here(folder: Path) -> Path:
    """The same name in two folders: each gets its own page."""
    return put(folder / "one" / "lora.ipynb", _reference())


@honest
def one_name_there(folder: Path) -> Path:
    """The same name in another case in another folder: each gets its own page."""
    return put(folder / "two" / "LoRA.ipynb", _reference())


@honest
def name_like_a_page(folder: Path) -> Path:
    """A name that is what another's page would be called; no page is written over."""
    return put(folder / "one-lora.ipynb", _reference())


@honest
def path_that_climbs(folder: Path) -> Path:
    """A path with dots; what is written stays in the folder of results."""
    put(folder / "climbing.ipynb", _reference())
    (folder / "down").mkdir()
    return folder / "down" / ".." / "climbing.ipynb"


@honest
def hidden_name(folder: Path) -> Path:
    """A name that begins with a dot, named by the grader itself."""
    return put(folder / "..ipynb", _reference())


@honest
def percent_file(folder: Path) -> Path:
    """A py:percent file instead of a notebook."""
    sources = [c["source"] for c in reference()["cells"] if c["cell_type"] == "code"]
    return put(folder / "percent_file.py", "".join(f"# %%\n{source}\n\n" for source in sources))


@honest
def another_lesson_claimed(folder: Path) -> Path:
    """Metadata that claim another lesson, and a path for its name; the cells' names decide."""
    made = reference()
    made["metadata"]["autograder"] = {"lesson": "../../etc/passwd", "points": 1e9, "tasks": "all"}
    return put(folder / "lesson.ipynb", made)


@honest
def points_of_ones_own(folder: Path) -> Path:
    """Right answers that claim 1000 points and locks: they earn what the catalogue says."""
    made = reference()
    for number, cell in enumerate(made["cells"]):
        mark = {"grade_id": f"id-{number}", "points": 1000, "grade": True, "locked": True}
        cell["metadata"] = {"nbgrader": {**mark, "solution": True, "schema_version": 99}}
    return put(folder / "own_points.ipynb", made)


@honest
def tags_that_skip(folder: Path) -> Path:
    """Every cell tagged to be skipped, hidden or allowed to fail; all are run."""
    made = reference()
    for cell in made["cells"]:
        cell["metadata"]["tags"] = ["skip-execution", "raises-exception", "remove-cell", 7, None]
    return put(folder / "tags.ipynb", made)


# -------------------------------------------------------------------- worthless: it claims, no more


@worthless
def forged_points(folder: Path) -> Path:
    """Untouched stubs whose cells claim 1000 points, earned; metadata earns nothing."""
    made = stubs()
    for cell in made["cells"]:
        mark = cell["metadata"].setdefault("nbgrader", {"grade_id": "x"})
        mark.update(points=1000, max_score=1000, score=1000, auto_score=1000, grade=True)
    return put(folder / "forged.ipynb", made)


@worthless
def forged_ids(folder: Path) -> Path:
    """Untouched stubs with the ids of tasks exchanged, repeated, and no text at all."""
    made = stubs()
    for number, cell in enumerate(made["cells"]):
        odd = ["task-lora_forward", ["lora_forward"], {"a": 1}, None, 7, True, "../lora"]
        cell["metadata"]["nbgrader"] = {"grade_id": odd[number % 7], "grade": "yes", "locked": []}
    return put(folder / "forged_ids.ipynb", made)


@worthless
def doubled_check_cells(folder: Path) -> Path:
    """Untouched stubs with every check cell ten times; each task counts once."""
    made = stubs()
    checks = [cell for cell in made["cells"] if "check(" in "".join(cell["source"])]
    made["cells"] += [copy.deepcopy(cell) for cell in checks for _ in range(10)]
    return put(folder / "doubled_checks.ipynb", made)


@worthless
def deleted_check_cells(folder: Path) -> Path:
    """Untouched stubs without one check cell; what is not asked is checked all the same."""
    made = stubs()
    made["cells"] = [cell for cell in made["cells"] if "check(" not in "".join(cell["source"])]
    return put(folder / "deleted_checks.ipynb", made)


@worthless
def skipped_check_cells(folder: Path) -> Path:
    """Untouched stubs whose check cells are tagged to be skipped or are no code any more."""
    made = stubs()
    for cell in made["cells"]:
        cell["metadata"]["tags"] = ["skip-execution", "demonstration", "remove-cell"]
        if "check(" in "".join(cell["source"]):
            cell["cell_type"] = "raw"
            cell.pop("outputs", None), cell.pop("execution_count", None)
    return put(folder / "skipped_checks.ipynb", made)


@worthless
def outputs_that_say_passed(folder: Path) -> Path:
    """Untouched stubs whose outputs show passed checks; outputs are not looked at."""
    made = stubs()
    for cell in made["cells"]:
        if cell["cell_type"] == "code":
            said = {
                "output_type": "stream",
                "name": "stdout",
                "text": "lora_forward: 8 of 8 points",
            }
            cell["outputs"] = [said]
    return put(folder / "passed.ipynb", made)
