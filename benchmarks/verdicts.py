"""How often a speed verdict is wrong: the same kernel, repeated more or less often, judged anew.

    python benchmarks/verdicts.py [--quick] [--json FILE]

A submission repeats a kernel so often that its true speed is 0.5 … 1.25 of the reference's; the
threshold is 0.8. Each case is judged many times by `race.Race` in the sandbox, as in grading, on
the machine as it is and with one busy process more for each CPU. Printed: false verdicts, with the
upper bound of their rate at 95 % (Clopper and Pearson), and how long a verdict takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import beta

from autograder.checking.expect import CheckFailed, Inputs, expect_close
from autograder.checking.handle import Student
from autograder.checking.race import Race
from autograder.notebook import Cell
from autograder.sandbox import launch
from autograder.sandbox.session import Session
from autograder.sandbox.warm_process import Limits

AT_LEAST, UNITS = 0.8, 500
RATIOS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.25)
MANY, FEW, QUICK = 1000, 100, 20
KERNEL = """
def repeated(x, times):
    for _ in range(times):
        y = x @ x.T
    return y
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} verdicts a case")
    parser.add_argument("--json", type=Path, help="write the rows here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with launch.start() as sandbox:
        for is_busy in (False, True):
            for ratio in RATIOS:
                many = is_busy and ratio in (0.5, 1.0)
                count = QUICK if options.quick else MANY if many else FEW
                with busy() if is_busy else contextlib.nullcontext():
                    rows.append({"busy": is_busy, **judged(sandbox, ratio, count)})
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Keep every CPU busy with a process that only computes."""
    hogs = [multiprocessing.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for hog in hogs:
        hog.start()
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.join()


def spin() -> None:
    while True:
        pass


def judged(sandbox: launch.Sandbox, ratio: float, count: int) -> dict[str, Any]:
    """Judge a submission of this true ratio `count` times."""
    times, rng = {"student": round(UNITS / ratio), "reference": UNITS}, Inputs([0])
    seconds, passed, pairs, doubts = [], 0, 0, 0
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(running(sandbox)) for name in times}
        for _ in track(range(count), f"true ratio {ratio}", console=Console(stderr=True)):
            race = Race(sides["student"], lambda: sides["reference"], AT_LEAST)

            def prepare(side: Student) -> Any:
                repeats = times["student" if side is sides["student"] else "reference"]
                return lambda x: side.repeated(x, repeats)

            began = time.monotonic()
            with contextlib.suppress(CheckFailed):
                race.time(prepare, lambda: (rng.normal(64, 64),), verify)
                passed += 1
            seconds.append(time.monotonic() - began)
            assert race.figure is not None
            pairs += race.figure.pairs
            doubts += not race.figure.decided
    right = passed if ratio >= AT_LEAST else count - passed
    wrong = count - right
    return {
        "ratio": ratio, "verdicts": count, "passed": passed, "undecided": doubts,
        "false_verdicts": wrong, "upper_bound": float(beta.ppf(0.95, wrong + 1, count - wrong)),
        "median_pairs": pairs / count, "median_seconds": statistics.median(seconds),
        "longest_seconds": max(seconds),
    }  # fmt: skip


def verify(came: object, expected: torch.Tensor, x: torch.Tensor) -> None:
    expect_close(came, expected, "The product is not right.")


@contextlib.contextmanager
def running(sandbox: launch.Sandbox) -> Iterator[Student]:
    """Run the kernel's cell in a sandbox."""
    with Session(sandbox, [Cell(1, KERNEL)], Limits(), 1e6) as session:
        session.prepare()
        yield Student(session)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"Verdicts at a threshold of {AT_LEAST}", title_justify="left")
    for name in ("Machine", "True ratio", "Verdicts", "Passed", "In doubt", "False", "Rate at most",
                 "Median s", "Longest s"):  # fmt: skip
        table.add_column(name, justify="left" if name == "Machine" else "right")
    for row in rows:
        table.add_row(
            "busy" if row["busy"] else "idle", f"{row['ratio']}", f"{row['verdicts']}",
            f"{row['passed']}", f"{row['undecided']}", f"{row['false_verdicts']}",
            f"{row['upper_bound']:.2%}", f"{row['median_seconds']:.2f}",
            f"{row['longest_seconds']:.2f}",
        )  # fmt: skip
    Console(file=sys.stdout).print(table)


if __name__ == "__main__":
    main()
