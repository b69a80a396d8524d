"""What grading costs per submission, beside `nbgrader autograde` of the same notebooks.

``python benchmarks/throughput.py [--sizes 20,100,500] [--nbgrader 10] [--lessons a,b] [--json F]``

Copies of the lora lesson's solution notebook, which import torch, torchvision and transformers, are
graded by nbgrader and by us with the same checks. nbgrader runs them in the submission's own
kernel, one notebook after the other; we run them in the sandbox, one and two at a time. Our warm-up
is not counted; it is paid once a run.

Listed apart: each whole lesson, with its checks of speed and memory and those that train, which
nbgrader's kernel decides as `check` does. Every submission must get full marks from us, and for
the ten tasks from nbgrader too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from nbgrader.api import Gradebook
from rich.console import Console
from rich.table import Table

from autograder.catalogue import lessons, nbgrader_cells, sources
from autograder.grading.pool import Pool
from autograder.grading.score_submission import Options
from autograder.sandbox import launch
from autograder.sandbox.launch import Sandbox

TEN = "10 tasks"
APART = ("lora_forward", "adapt_with_lora")
ALL = tuple(source.stem[3:] for source in sources.sources())
WHOLE = 2
"""Submissions of each whole lesson, for nbgrader."""
IN_KERNEL = """
from autograder.catalogue.lessons import task_lesson
from autograder.learner import verdict
results = verdict.run_checks(task_lesson({task!r}), {task!r}, verdict._notebook(), True)
float(sum(result.points for result in results))
"""


def tasks(which: str) -> tuple[str, ...]:
    """Return the tasks that both grade: ten of lora's, or all of a lesson's."""
    found = lessons.lesson_named("lora" if which == TEN else which).tasks
    apart = APART if which == TEN else ()
    return tuple(task.name for task in found if not task.manual and task.name not in apart)


def submission(lesson: str) -> NotebookNode:
    """Return the solution notebook, without its demonstrations, and with the imports."""
    notebook = nbgrader_cells.solution_notebook(sources.source_of(lesson))
    notebook.cells = [
        cell
        for cell in notebook.cells
        if lessons.DEMONSTRATION not in cell.metadata.get("tags", [])
    ]
    imports = new_code_cell("import torch, torchvision, transformers", id="imports")
    notebook.cells.insert(0, imports)
    return notebook


class Kept:
    """A sandbox that survives a batch: the warm-up is paid once, before the clock starts."""

    def __init__(self, sandbox: Sandbox) -> None:
        """Keep `sandbox`."""
        self.isolation, self.fork = sandbox.isolation, sandbox.fork
        self._sandbox = sandbox

    alive = property(lambda self: self._sandbox.alive)

    def close(self) -> None:
        """Stay."""


def ours(paths: Sequence[Path], sandbox: Sandbox, workers: int, which: str) -> float:
    """Return the seconds for each of `paths`."""
    options = Options(seed=1, tasks=tasks(which))
    with Pool(lambda: Kept(sandbox), options, workers) as pool:
        began = time.perf_counter()
        scores = list(pool.grade(paths))
        seconds = time.perf_counter() - began
    assert all(score.points == score.max_points for score in scores), "a reference lost points"
    return seconds / len(paths)


def nbgrader(which: str, count: int, folder: Path) -> float:
    """Return the seconds for each of `count` submissions by `nbgrader autograde`."""
    lesson = "lora" if which == TEN else which
    notebook = submission(lesson)
    marks = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    is_check = [mark.get("grade") and not mark.get("solution") for mark in marks]
    checks = [cell for cell, is_one in zip(notebook.cells, is_check, strict=True) if is_one]
    for cell in checks:
        name = cell.metadata["nbgrader"]["grade_id"]
        cell.source = IN_KERNEL.format(task=name) if name in tasks(which) else "0.0"
    # at the end: hidden checks of one task use the answers to others
    rest = [cell for cell, is_one in zip(notebook.cells, is_check, strict=True) if not is_one]
    notebook.cells = rest + checks
    for place in ("source", *(f"submitted/s{number:03d}" for number in range(count))):
        path = folder / place / lesson / f"{lesson}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    command(folder, "generate_assignment", lesson)
    began = time.perf_counter()
    command(folder, "autograde", lesson)
    seconds = (time.perf_counter() - began) / count
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        found = lessons.lesson_named(lesson).tasks
        worth = sum(task.points for task in found if task.name in tasks(which))
        scores = [each.score for each in book.assignment_submissions(lesson)]
        enough = worth if which == TEN else 0.8 * worth  # memory and speed are judged in a kernel
        assert len(scores) == count and min(scores) >= enough, f"nbgrader gave {scores} of {worth}"
    return seconds


def command(folder: Path, *words: str) -> None:
    line = [sys.executable, "-m", "nbgrader", *words, "--course-dir", str(folder)]
    path = f"{lessons.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    mine = {"PYTHONPATH": path, "AUTOGRADER_DATA": str(folder / "data")}
    # nbgrader calls alembic, which lies beside this Python
    mine["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    ended = subprocess.run(  # in the folder: where it is called, nbgrader reads a configuration
        line, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **mine}
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def copies(lesson: str, count: int, folder: Path) -> list[Path]:
    """Write `count` submissions of a lesson."""
    paths = [folder / "ours" / lesson / f"s{number:03d}.ipynb" for number in range(count)]
    paths[0].parent.mkdir(parents=True)
    text = nbformat.writes(submission(lesson))
    for path in paths:
        path.write_text(text, encoding="utf-8")
    return paths


def measured(
    sizes: Sequence[int], count: int, names: Sequence[str], folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield a row for each system, lesson, number of workers and size."""
    paths = copies("lora", max(sizes), folder)
    for which, its in ((TEN, count), *((name, WHOLE) for name in names)):
        row = {"system": "nbgrader", "lesson": which, "workers": 1, "submissions": its}
        yield {**row, "seconds_each": nbgrader(which, its, folder / "nbgrader" / which)}
    with launch.start((lessons.ROOT,)) as sandbox:
        ours(paths[:2], sandbox, 2, TEN)
        # the smallest again at the end: a machine's speed drifts. The largest by two workers only:
        # one takes twice as long, and shows nothing more
        for size in (*sizes, min(sizes)):
            for workers in (1, 2) if size < max(sizes) else (2,):
                row = {"system": "ours", "lesson": TEN, "workers": workers}
                cost = ours(paths[:size], sandbox, workers, TEN)
                yield {**row, "submissions": size, "seconds_each": cost}
        for name in names:
            its = paths[: min(sizes)] if name == "lora" else copies(name, min(sizes), folder)
            row = {"system": "ours", "lesson": name, "workers": 2, "submissions": len(its)}
            yield {**row, "seconds_each": ours(its, sandbox, 2, name)}


@click.command()
@click.option("--sizes", default="20,100,500", show_default=True, help="Submissions, for ours.")
@click.option("--nbgrader", "count", default=10, show_default=True, help="Submissions, for it.")
@click.option("--lessons", "names", default=",".join(ALL), help="Whole lessons [all].")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the rows here.")
def main(sizes: str, count: int, names: str, out: Path | None) -> None:
    """Measure what grading costs per submission."""
    table = Table(title="Grading, seconds for each submission", title_justify="left")
    for name in ("system", "lesson", "workers", "submissions", "seconds_each"):
        table.add_column(name.replace("_", " "))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        which = [int(size) for size in sizes.split(",")]
        for row in measured(which, count, [*filter(None, names.split(","))], Path(folder)):
            rows.append(row)
            click.echo(json.dumps(row), err=True)
            table.add_row(*map(str, list(row.values())[:-1]), f"{row['seconds_each']:.3f}")
    Console().print(table)
    if out:
        out.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
