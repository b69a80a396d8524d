"""Writes what the benchmarks measured into the README's table: the last step of `make bench`.

``python benchmarks/table.py FOLDER`` reads verdicts.json, references.json, throughput.json and
watch.json in it, as far as they are there.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- made by `make bench` -->", "<!-- end -->"

Rows = list[dict[str, Any]]


def verdicts(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield what the README says of verdicts."""
    for ratio, what in ((0.5, "False passes at half the speed"), (1.0, "False failures at equal")):
        row = next(r for r in rows if r["busy"] and r["ratio"] == ratio)
        counts = f"{row['false_verdicts']} of {row['verdicts']:,}"
        yield (
            f"{what}, threshold 0.8, every CPU busy besides",
            (f"{counts} (at 95 % confidence at most {row['upper_bound']:.2%})"),
        )
    for is_busy, machine in ((False, "idle"), (True, "busy")):
        clear = [r for r in rows if r["busy"] == is_busy and r["ratio"] in (0.5, 1.0, 1.25)]
        medians = ", ".join(f"{r['median_seconds']:.2f} s at {r['ratio']}" for r in clear)
        yield f"Median time to a verdict, {machine}", medians
    yield "Longest time to a verdict", f"{max(r['longest_seconds'] for r in rows):.1f} s"
    near = [r for r in rows if r["ratio"] in (0.7, 0.9)]
    passed = ", ".join(
        f"{r['passed']} of {r['verdicts']} at {r['ratio']} {'busy' if r['busy'] else 'idle'}"
        for r in near
    )
    yield "Passes near the threshold", passed


def references(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield what the README says of the references."""
    slower = [row for row in rows if row["ratio"] > 1.05]
    sure = [row for row in slower if row["low"] > 1.05]
    names = "; ".join(
        f"{row['name']} {row['ratio']:.2f}" + f" ({row['why']})" * bool(row["why"])
        for row in slower
    )
    yield (
        "References at most 1.05 × the library beside them",
        (
            f"{len(rows) - len(slower)} of {len(rows)} rows"
            + (f"; above: {names} ({len(sure)} of them surely)" if slower else "")
        ),
    )


def throughput(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield what the README says of grading many."""
    ten, whole = "10 tasks", dict[str, dict[str, float]]()
    for row in rows:
        whole.setdefault(row["lesson"], {})[row["system"]] = row["seconds_each"]
    other = whole.pop(ten)["nbgrader"]
    ours: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        if row["system"] == "ours" and row["lesson"] == ten:
            ours.setdefault((row["workers"], row["submissions"]), []).append(row["seconds_each"])
    cost = {key: statistics.mean(measured) for key, measured in ours.items()}
    small, large = min(size for _, size in cost), max(size for _, size in cost)
    both = max(size for workers, size in cost if workers == 1)
    one, two = cost[1, both], cost[2, both]
    yield "A submission of ten tasks by `nbgrader autograde`", f"{other:.1f} s"
    times = f"{other / one:.0f} and {other / two:.0f} times the throughput"
    yield (
        "The same checks by `autograder grade`, one and two workers",
        (f"{one:.2f} s and {two:.2f} s: {times}"),
    )
    yield "Two workers over one, on two cores", f"{one / two:.2f} ×"
    growth = cost[2, large] / cost[2, small]
    yield f"Cost at {large} submissions over that at {small}", f"{growth:.2f} ×"
    if whole:
        each = "; ".join(
            f"{lesson} {cost['ours']:.1f} s ({cost['nbgrader']:.0f})"
            for lesson, cost in whole.items()
        )
        yield "Whole lessons, two workers (beside it `nbgrader autograde`)", each


def watch(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield what the README says of watching."""
    warm = sorted((row["median_seconds"], row["lesson"]) for row in rows)
    cold = sorted(row["cold_median_seconds"] for row in rows)
    longest = max(row["longest_seconds"] for row in rows)
    yield (
        "From saving a notebook to the verdict under `check --watch`, at the median",
        f"{warm[0][0]:.2f} s ({warm[0][1]}) to {warm[-1][0]:.2f} s ({warm[-1][1]}), at most "
        f"{longest:.2f} s; a cold `check` {cold[0]:.0f} to {cold[-1]:.0f} s",
    )


def table(folder: Path) -> str:
    """Return the table of what was measured."""
    lines = ["| measured | |", "|---|---|"]
    for name, tell in (
        ("verdicts", verdicts), ("references", references), ("throughput", throughput),
        ("watch", watch),
    ):  # fmt: skip
        path = folder / f"{name}.json"
        if path.exists():  # one benchmark may be measured by itself
            rows = json.loads(path.read_text(encoding="utf-8"))
            lines += [f"| {what} | {figure} |" for what, figure in tell(rows)]
    return "\n".join(lines)


def main() -> None:
    made = f"{BEGIN}\n{table(Path(sys.argv[1]))}\n{END}"
    text = README.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    assert pattern.search(text), f"{README} has no place for the table"
    README.write_text(pattern.sub(lambda _: made, text), encoding="utf-8")
    sys.stdout.write(made + "\n")


if __name__ == "__main__":
    main()
