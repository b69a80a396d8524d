"""A measured figure in words and as bars: the learner's beside the reference's, and the limit."""

from __future__ import annotations

from dataclasses import dataclass

from autograder.scores import Figure

ROOM = 40
"""Characters of the longest bar in plain text."""


@dataclass(frozen=True)
class Bars:
    """The shares of the room that the bars and the limit take, in [0, 1]."""

    student: float
    reference: float
    limit: float


def bars(figure: Figure) -> Bars:
    """Return a figure as bars."""
    limit = figure.reference / figure.bound if figure.kind == "speed" else figure.bound
    most = max(figure.student, figure.reference, limit) or 1.0
    return Bars(figure.student / most, figure.reference / most, limit / most)


def in_text(figure: Figure) -> list[str]:
    """Return a figure as lines of plain text."""
    drawn, show = bars(figure), seconds if figure.kind == "speed" else megabytes
    return [
        f"yours      {'█' * max(1, round(ROOM * drawn.student))} {show(figure.student)}",
        f"reference  {'█' * max(1, round(ROOM * drawn.reference))} {show(figure.reference)}",
        f"limit      {' ' * max(0, round(ROOM * drawn.limit) - 1)}|",
        sentence(figure),
    ]


def sentence(figure: Figure) -> str:
    """Say in words what was measured."""
    if figure.kind == "memory":
        return (
            f"Memory: yours rises by {megabytes(figure.student)}, the reference's by "
            f"{megabytes(figure.reference)}; allowed are {megabytes(figure.bound)}."
        )
    doubt = "" if figure.decided else " That is not clear either way: the doubt goes your way."
    return (
        f"Yours takes {seconds(figure.student)}, the reference {seconds(figure.reference)}. "
        f"Pair by pair, yours is {figure.ratio:.2f} times as fast ({figure.low:.2f} to "
        f"{figure.high:.2f} in {figure.pairs} pairs); required is {figure.bound:g}.{doubt}"
    )


def seconds(value: float) -> str:
    """Return a time with three digits."""
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def megabytes(count: float) -> str:
    """Return a number of bytes with three digits."""
    return f"{count / (1 << 20):.3g} MB"
