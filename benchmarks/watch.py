"""What a save costs under `autograder check --watch`, beside a cold `autograder check`.

``python benchmarks/watch.py [--lesson NAME]... [--saves 20] [--cold 2] [--json FILE]``

A lesson's solution notebook is saved again and again, each time with another line in one of its
cells, as an editor saves: a new file takes the old one's place. The clock runs from that to the
verdict on a terminal. Spread over the saves, the same notebook is checked by the command without
``--watch``, from its start to its end. Every verdict must be full marks of the visible checks.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import nbformat
from nbformat.v4 import new_code_cell
from rich.console import Console
from rich.table import Table

from autograder.catalogue import lessons, nbgrader_cells, sources

VERDICT = re.compile(rb"at \d\d:\d\d:\d\d.*?([\d.]+) of ([\d.]+) points of the visible checks")
SECONDS = 120


class Terminal:
    """A command in a terminal of its own, and what it shows there."""

    def __init__(self, folder: Path, *words: str | Path) -> None:
        """Start the command."""
        self._master, inside = pty.openpty()
        path = f"{lessons.ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        environment = {**os.environ, "PYTHONPATH": path, "AUTOGRADER_DATA": str(folder / "data")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "autograder.cli", *words],
            stdin=inside, stdout=inside, stderr=inside, start_new_session=True, env=environment,
        )  # fmt: skip
        os.close(inside)

    def verdict(self) -> None:
        """Wait until a verdict of full marks is shown."""
        seen, until = b"", time.monotonic() + SECONDS
        while not (found := VERDICT.search(seen)):
            left = max(0.0, until - time.monotonic())
            assert select.select([self._master], [], [], left)[0], seen.decode()
            seen += os.read(self._master, 1 << 16)
        assert found[1] == found[2], f"not full marks: {seen.decode()}"

    def close(self) -> None:
        """End the command."""
        self.process.terminate()
        self.process.wait()
        os.close(self._master)


def save(path: Path, lesson: str, number: int) -> None:
    """Save a lesson's solution notebook, with a cell that no save before had."""
    notebook = nbgrader_cells.solution_notebook(sources.source_of(lesson))
    notebook.cells.append(new_code_cell(f"number_of_the_save = {number}", id="save"))
    beside = path.with_name("beside")
    nbformat.write(notebook, beside)
    beside.replace(path)


def cold(path: Path) -> float:
    """Return the seconds that one check takes from a cold start."""
    environment = {**os.environ, "AUTOGRADER_DATA": str(path.parent / "data")}
    began = time.perf_counter()
    line = [sys.executable, "-m", "autograder.cli", "check", str(path)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - began
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return seconds


def measured(lesson: str, saves: int, colds: int, folder: Path) -> dict[str, Any]:
    """Return a lesson's row."""
    path = folder / f"{lesson}.ipynb"
    save(path, lesson, 0)
    began = time.perf_counter()
    terminal = Terminal(folder, "check", "--watch", path)
    warm, without = list[float](), list[float]()
    try:
        terminal.verdict()
        started = time.perf_counter() - began
        for number in range(1, saves + 1):
            if number % max(1, saves // colds) == 1 and len(without) < colds:
                without.append(cold(path))
            save(path, lesson, number)
            began = time.perf_counter()
            terminal.verdict()
            warm.append(time.perf_counter() - began)
            time.sleep(0.5)
    finally:
        terminal.close()
    return {
        "lesson": lesson,
        "saves": len(warm),
        "median_seconds": statistics.median(warm),
        "longest_seconds": max(warm),
        "first_seconds": started,
        "cold_checks": len(without),
        "cold_median_seconds": statistics.median(without),
    }


@click.command()
@click.option("--lesson", "only", multiple=True, help="This lesson; may be repeated [all].")
@click.option("--saves", default=20, show_default=True, help="Saves of each under --watch.")
@click.option("--cold", "colds", default=2, show_default=True, help="Checks without it.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the rows here.")
def main(only: tuple[str, ...], saves: int, colds: int, out: Path | None) -> None:
    """Measure how soon a save has its verdict."""
    table = Table(title="From a save to the verdict, seconds", title_justify="left")
    for name in ("lesson", "saves", "median", "longest", "first, with the start", "cold check"):
        table.add_column(name)
    rows = []
    for lesson in only or [lesson.name for lesson in lessons.catalogue()]:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(lesson, saves, colds, Path(folder)))
        figures = ("median", "longest", "first", "cold_median")
        seconds = (f"{rows[-1][f'{what}_seconds']:.2f}" for what in figures)
        table.add_row(lesson, str(saves), *seconds)
    Console().print(table)
    if out:
        out.write_text(json.dumps(rows, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
