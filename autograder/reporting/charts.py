"""The pictures of a class: one as a file, for `grade`, and those of the report, inside its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autograder.reporting import svg
from autograder.reporting.summary import BINS, LessonSummary, TimedCheck
from autograder.scores import Score, rounded_down

WIDTH = 5.0
"""Inches of a picture in a page: a phone shows it whole, its text still legible."""
FEW = 40
"""Up to so many submissions, each has its interval drawn."""


def draw_class(path: Path, scores: Sequence[Score]) -> None:
    """Draw, per task, each submission's share of the points as a dot and the mean as a bar."""
    shares: dict[str, list[float]] = {}
    for score in scores:
        for task in score.tasks:
            share = task.points / task.max_points if task.max_points else 0.0
            shares.setdefault(task.task, []).append(100 * share)
    figure = Figure(figsize=(8, 1.6 + 0.42 * max(len(shares), 1)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(shares))
    axes.barh(
        places, [float(np.mean(each)) for each in shares.values()], color="#9ecae1", label="mean"
    )
    spread = np.random.default_rng(0)
    for place, each in zip(places, shares.values(), strict=True):
        offsets = spread.uniform(-0.25, 0.25, len(each))
        axes.scatter(each, place + offsets, s=14, color="#08519c", alpha=0.7, zorder=3)
    axes.scatter([], [], s=14, color="#08519c", label="one submission")
    axes.set_yticks(places, list(shares))
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.set_xlabel("share of the task's points, in %")
    axes.set_title(f"{len(scores)} submissions, per task")
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=130)


def distribution(name: str, lesson: LessonSummary) -> Markup:
    """Draw how many submissions lie in each tenth of the points; `name` is unique on the page."""
    low, middle, high = lesson.quartiles
    step = 100 // BINS
    ranges = ", ".join(
        f"{count} from {step * number} to {step * (number + 1)} %"
        for number, count in enumerate(lesson.bins)
        if count
    )
    alt = (
        f"Histogram of the scores of {len(lesson.scores)} submissions: {ranges}. "
        f"Median {rounded_down(middle)} %, half of them between "
        f"{rounded_down(low)} and {rounded_down(high)} %."
    )

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = np.arange(BINS) * step + step / 2
        bars = axes.bar(places, lesson.bins, width=0.9 * step, color=svg.GOOD)
        axes.bar_label(bars, [str(count) if count else "" for count in lesson.bins], color=svg.INK)
        axes.axvline(middle, color=svg.INK, linestyle="--", linewidth=1)
        side = ("right", -4) if middle > 50 else ("left", 4)
        axes.annotate(
            f"median {rounded_down(middle)} %", (middle, 1), (side[1], 0), color=svg.INK,
            ha=side[0], xycoords=("data", "axes fraction"), textcoords="offset points", va="bottom",
        )  # fmt: skip
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1.15 * max(lesson.bins))
        axes.set_xticks(range(0, 101, 20), [f"{tick} %" for tick in range(0, 101, 20)])
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("points earned")
        axes.set_ylabel("submissions")

    return svg.picture(name, alt, (WIDTH, 2.5), draw)


def outcomes(name: str, lesson: LessonSummary) -> Markup:
    """Draw, per task, how many submissions earned all points, some, and none."""
    kinds = ("all points", "some", "none")
    rows = [(task.task, (task.full, task.part, len(task.nothing))) for task in lesson.tasks]
    alt = "Bars, per task, of how many submissions earned all points, some, and none: " + "; ".join(
        f"{task} {full}, {part}, {none}" for task, (full, part, none) in rows
    )

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        left = np.zeros(len(rows))
        for kind, colour, number in zip(
            kinds, (svg.GOOD, svg.PART, svg.BAD), range(3), strict=True
        ):
            counts = np.array([row[1][number] for row in rows], dtype=float)
            bars = axes.barh(range(len(rows)), counts, left=left, color=colour, label=kind)
            wide = 0.05 * len(lesson.scores)
            texts = [f"{count:.0f}" if count > wide else "" for count in counts]
            axes.bar_label(bars, texts, label_type="center", color=svg.ON)
            left += counts
        axes.set_yticks(range(len(rows)), [task for task, _ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, len(lesson.scores))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("submissions")
        figure.legend(loc="outside upper right", ncols=3, handlelength=1, labelcolor=svg.INK)

    return svg.picture(name, alt, (WIDTH, 1.0 + 0.28 * len(rows)), draw)


def margins(name: str, check: TimedCheck) -> Markup:
    """Draw what was measured of each submission, as times what is required."""
    values = np.array([timing.margin for timing in check.timings])
    fine = sum(timing.passed for timing in check.timings)
    alt = (
        f"Dots, one for each of {len(values)} submissions, {fine} of which passed, on a scale of "
        f"times what is required: the lowest {values[0]:.2g}, the median {np.median(values):.2g}, "
        f"the highest {values[-1]:.2g}; at 1 is the limit."
    )

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        places = np.arange(len(values))
        passed = np.array([timing.passed for timing in check.timings])
        few = len(values) <= FEW
        for wanted, marker, colour, label in (
            (True, "o", svg.GOOD, "passed"), (False, "X", svg.BAD, "failed"),
        ):  # fmt: skip
            chosen = passed == wanted
            if few:
                for place in places[chosen]:
                    timing = check.timings[place]
                    axes.plot(
                        [max(timing.low, 1e-3), timing.high], [place, place], color=colour, lw=1
                    )
            axes.plot(
                np.maximum(values[chosen], 1e-3), places[chosen], marker, color=colour,
                markersize=6 if few else 3, label=f"{label} ({chosen.sum()})",
            )  # fmt: skip
        axes.axvline(1, color=svg.INK, linestyle="--", linewidth=1)
        _scale(axes, values)
        axes.set_yticks([])
        axes.set_ylabel("submissions")
        axes.set_ylim(-0.8, len(values) - 0.2)
        what = "speed" if check.kind == "speed" else "thrift"
        axes.set_xlabel(f"{what}, as times what is required (dashed)")
        figure.legend(loc="outside upper right", ncols=2, handlelength=1, labelcolor=svg.INK)

    height = 1.1 + (0.14 * len(values) if len(values) <= FEW else 2.4)
    return svg.picture(name, alt, (WIDTH, max(1.7, height)), draw)


TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def _scale(axes: Axes, values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    """Give the axis a logarithmic scale that holds 1 and all values, with few, plain ticks."""
    low, high = min(0.5, 0.8 * max(values.min(), 1e-3)), max(2.0, 1.25 * values.max())
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    every = max(1, round(len(ticks) / 7))
    chosen = [tick for tick in ticks if (ticks.index(tick) - ticks.index(1)) % every == 0]
    axes.set_xticks(chosen, [f"{tick:g} ×" for tick in chosen])
    axes.set_xticks([], minor=True)
