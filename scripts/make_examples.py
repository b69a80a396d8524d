"""Compose examples/submissions from the lesson's own notebooks and examples/cells.py.

An example is the release, as a learner gets it, with answers written in: its own cells where
examples/cells.py has some, else the solution's for the first so many tasks. What is written is the
same in every run.

    python scripts/make_examples.py          write the notebooks
    python scripts/make_examples.py --check  only say which differ from those that are there
"""

import argparse
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # run from a clone: no installation needed

from autograder.authoring import build  # noqa: E402
from autograder.catalogue import nbgrader_cells, sources  # noqa: E402

CELLS = ROOT / "examples" / "cells.py"
OUT = ROOT / "examples" / "submissions"
ALL = 100
SOLVED = {
    "full-marks": ALL,
    "written-differently": ALL,
    "half-done": 6,
    "untouched": 0,
    "published-mistakes": 0,
    "syntax-error": ALL,
    "endless-loop": ALL,
    "always-equal": 0,
}
"""Example: how many tasks, from the first, have the solution's answer unless it has its own."""
LESSON = "lora"


def own_cells() -> dict[str, dict[str, str]]:
    """Return the cells of examples/cells.py: example -> grade id -> source."""
    found: dict[str, dict[str, str]] = {name: {} for name in SOLVED}
    for cell in jupytext.read(CELLS, fmt="py:percent").cells:
        if "example" in cell.metadata:
            task, text = cell.metadata.get("task"), cell.metadata.get("free_text")
            found[cell.metadata["example"]][f"task-{task}" if task else text] = cell.source
    return found


def without_marks(source: str) -> str:
    """Return a solution cell as a learner would have written it."""
    return re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", source, flags=re.M).rstrip("\n")


def compose(name: str) -> NotebookNode:
    """Return the notebook of an example.

    Raises:
        ValueError: it has a cell for a task that the lesson has not.
    """
    solved = nbgrader_cells.solution_notebook(sources.source_of(LESSON))
    notebook, own = build.release(solved), own_cells()[name]
    answers = 0
    for cell, solution in zip(notebook.cells, solved.cells, strict=True):
        mark = cell.metadata.get("nbgrader", {})
        if mark.get("solution"):
            answers += 1
            if mark["grade_id"] in own:
                cell.source = own.pop(mark["grade_id"])
            elif answers <= SOLVED[name]:
                cell.source = without_marks(solution.source)
    if own:
        raise ValueError(f"{name}: the lesson has no {', '.join(own)}")
    nbformat.validate(notebook)
    return notebook


def texts() -> dict[Path, str]:
    """Return what every example's file is to hold."""
    return {OUT / f"{name}.ipynb": nbformat.writes(compose(name)) + "\n" for name in SOLVED}


def differing() -> list[Path]:
    """Return the notebooks that are missing, differ, or belong to no example."""
    wanted = texts()
    there = {path: path.read_text(encoding="utf-8") for path in OUT.glob("*.ipynb")}
    return sorted(path for path in wanted | there if wanted.get(path) != there.get(path))


def main() -> None:
    """Parse the command line; write or compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="exit 1 where a notebook differs")
    options = parser.parse_args()
    stale = differing()
    if options.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what scripts/make_examples.py makes")
        sys.exit(bool(stale))
    OUT.mkdir(exist_ok=True)
    wanted = texts()
    for path in stale:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
    print(f"{OUT.relative_to(ROOT)}: {len(wanted)} notebooks, {len(stale)} changed")


if __name__ == "__main__":
    main()
