"""What a file really is, and what to do: the sentence that its owner reads."""

import json
import re

import pytest

from autograder.notebook.opening import NotebookError
from autograder.notebook.reading import read
from tests.autograder.notebook.test_finding import ANSWER, packed

NOTEBOOK = json.loads(ANSWER)
LINES = json.dumps(NOTEBOOK, indent=1)
PICTURE = [{"output_type": "display_data", "data": {"text/plain": ["a"] * 20}, "metadata": {}}]
CELL = NOTEBOOK["cells"][0] | {"outputs": PICTURE}
CONFLICT = json.dumps(NOTEBOOK | {"cells": [CELL]}, indent=1).replace(
    ' "nbformat":', '<<<<<<< HEAD\n "x": 1,\n=======\n>>>>>>> mine\n "nbformat":'
)
R = {"kernelspec": {"name": "ir", "display_name": "R"}}
KINDS = {
    "a web page": (
        "\n\n<!DOCTYPE html>\n<html>",
        "a web page saved as a notebook.*Raw or Download",
    ),
    "an export": ("<html><body class=jp-Notebook>", r"an HTML export.*\.ipynb"),
    "a pdf": ("%PDF-1.4", "a PDF"),
    "a docx": (packed({"[Content_Types].xml": b""}), "a document of Word"),
    "an empty file": (" \n", "empty"),
    "utf-16": (LINES.encode("utf-16"), "UTF-16.*UTF-8"),
    "git lfs": ("version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
    "a drive pointer": ('{"url": "https://x.invalid/open?id=1", "doc_id": "1"}', "a Drive pointer"),
    "a conflict": (
        CONFLICT,
        f"merge conflict marks in line {CONFLICT[: CONFLICT.index('<<<')].count(chr(10)) + 1} ",
    ),
    "half a file": (LINES[: len(LINES) // 2], "ends half way.*Upload it again"),
    "half an object": (LINES[: LINES.index("}") + 1], "ends half way"),
    "a comma": (LINES.replace('"nbformat"', ',"nbformat"'), r"not a notebook \(.*line \d+"),
    "more behind it": (LINES + "x", r"not a notebook \(Extra data"),
    "other json": ('{"a": 1}', "JSON, but not a notebook: it has no cells"),
    "a list": ("[1]", "JSON, but not a notebook"),
    "an R notebook": (
        json.dumps(NOTEBOOK | {"metadata": R}),
        "an R notebook, by its kernel.*Python",
    ),
    "a Julia notebook": (
        json.dumps(NOTEBOOK | {"metadata": {"language_info": {"name": "julia"}}}),
        "a julia notebook",
    ),
}


@pytest.mark.parametrize("content, says", KINDS.values(), ids=KINDS.keys())
def test_it_is_called_what_it_is(tmp_path, content, says):
    path = tmp_path / "mine.ipynb"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(NotebookError) as caught:
        read(path)
    said = str(caught.value)
    assert re.search(says, said), said
    assert "\n" not in said and said.endswith(".")


@pytest.mark.parametrize(
    "metadata, source",
    [(R, "def f(): pass"), ({"kernelspec": {"name": "ir", "language": "python"}}, "x = 1"),
     ({"kernelspec": {"name": "python3"}, "language_info": {"name": "ipython"}}, "x = 1"),
     ({"kernelspec": {"language": "a\nb"}}, "x = 1"),
     ({"kernelspec": [], "language_info": 3}, "x = 1")],
)  # fmt: skip
def test_python_is_read_whatever_its_metadata_say(tmp_path, metadata, source):
    path = tmp_path / "mine.ipynb"
    cell = NOTEBOOK["cells"][0] | {"source": source}
    path.write_text(json.dumps(NOTEBOOK | {"metadata": metadata, "cells": [cell]}))
    assert read(path).code[0].source == source
