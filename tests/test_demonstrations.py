"""The solution notebooks run, and what they state comes out within its spread, at small scale."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell

from autograder.catalogue import nbgrader_cells, sources
from tests.conftest import ROOT

REPORT = """
import json
print(json.dumps({"stated": STATED, "measured": measured, "tolerance": TOLERANCE}))
"""
SECONDS = 600


@pytest.fixture(scope="module", params=sources.sources(), ids=lambda path: path.stem[3:])
def executed(request):
    """A lesson's solution notebook, executed offline at the small scale, and what it reported."""
    notebook = nbgrader_cells.solution_notebook(request.param)
    notebook.cells.append(new_code_cell(REPORT))
    # one thread: on a busy machine two wait for each other, several times as long;
    # no progress bars: the end of one may come with the next cell's output
    offline = {"COURSE_SCALE": "small", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    offline["TQDM_DISABLE"] = "1"
    client = nbclient.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3")
    client.execute(
        cwd=str(Path(request.param).parent), env=os.environ | offline | {"PYTHONPATH": str(ROOT)}
    )
    [report] = [out.text for out in notebook.cells[-1].outputs if out.get("name") == "stdout"]
    return notebook, json.loads(report)


def test_every_cell_runs_and_every_check_passes(executed):
    notebook, _ = executed
    said = nbformat.writes(notebook)
    checks = [cell for cell in notebook.cells if cell.source.startswith('check("')]
    assert checks
    for cell in checks:
        shown = "".join(out.data["text/plain"] for out in cell.outputs if "data" in out)
        assert "✓" in shown and "✗" not in shown, shown
    assert '"image/png"' in said, "a demonstration draws"


def test_nothing_is_written_to_stderr(executed):
    notebook, _ = executed
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [out.text for out in outputs if out.get("name") == "stderr"] == []


def test_what_is_stated_comes_out_within_its_spread(executed):
    _, report = executed
    assert report["measured"]
    for name, value in report["measured"].items():
        mean, std = report["stated"][name]
        assert abs(value - mean) <= max(4 * std, report["tolerance"]), name
