"""What a task or a lesson is worth, and the words for it: the same wherever it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Points:
    """Points, by what decides them."""

    visible: float = 0.0
    """by the visible checks: `check` tells them"""
    hidden: float = 0.0
    """by the hidden checks, and by the keys of numbers and statements"""
    by_hand: float = 0.0
    """by a person"""
    on_gpu: float = 0.0
    """those of the hidden ones that count only where there is a GPU"""

    @property
    def total(self) -> float:
        """All of them."""
        return round(self.visible + self.hidden + self.by_hand, 4)

    @property
    def graded(self) -> float:
        """What checks decide where there is a GPU."""
        return round(self.visible + self.hidden, 4)

    @property
    def at_grading(self) -> str:
        """Say what the hidden checks decide."""
        return f"{self.hidden:g} hidden" + self.gpu

    @property
    def gpu(self) -> str:
        """Say what counts only on a GPU, in brackets, or nothing."""
        return f" ({self.on_gpu:g} only on a GPU)" if self.on_gpu else ""

    def __str__(self) -> str:
        """Return all of it, as a heading or a table has it."""
        each = {
            f"{self.visible:g} visible": self.visible,
            self.at_grading: self.hidden,
            f"{self.by_hand:g} by hand": self.by_hand,
        }
        parts = [words for words, points in each.items() if points]
        if len(parts) > 1:
            return f"{self.total:g} points: {' + '.join(parts)}"
        return f"{self.total:g} points" + " by hand" * bool(self.by_hand)


def added(each: Iterable[Points]) -> Points:
    """Return the sum."""
    rows = [(one.visible, one.hidden, one.by_hand, one.on_gpu) for one in each]
    return Points(*(round(sum(column), 4) for column in zip(*rows, strict=True)))
