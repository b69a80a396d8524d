"""The picture of a class: how it did per task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from autograder.grade import Score


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
