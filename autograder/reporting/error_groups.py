"""What went wrong in a class: messages that say the same of several submissions are one."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autograder.scores import CALL, Score
from autograder.text import clean

MAX_EXAMPLE, MAX_FORM = 300, 400
"""Characters of a group's example, and of the form by which messages are grouped."""


@dataclass(frozen=True)
class ErrorGroup:
    """Messages that say the same of several submissions: numbers and quoted names left out."""

    form: str
    example: str
    times: int
    tasks: tuple[str, ...]
    submissions: tuple[str, ...]


_QUOTED = re.compile(r"(?<!\w)(['\"`])[^'\"`\n]{0,300}\1(?!\w)|“[^”\n]{0,300}”")
_NAME = re.compile(r"\b[\w.]*_[\w.]*\w")
_NUMBER = re.compile(r"0x[0-9a-f]+|(?<![a-z0-9.])[-−+]?\d[\d,.]*(?:e[-+]?\d+)?", re.IGNORECASE)
_REPEATED = re.compile(r"(#|“…”)(?:[ ,×x]*\1)+")
RAISED = "Your code raised"
_CELL = re.compile(r"^Cell \d+: ")


def normalised(message: str) -> str:
    """Return the form of a message: what came, without what differs from one to the next."""
    text = _QUOTED.sub("“…”", _what_came(_CELL.sub("", message[: 2 * MAX_FORM])))
    text = _NUMBER.sub("#", _NAME.sub("“…”", text))
    return " ".join(_REPEATED.sub(r"\1", text).split())[:MAX_FORM]


def _what_came(message: str) -> str:
    """Return what a message says in brackets at its end, before which a check says what it wants.

    Where the code raised something, the brackets at the end are the place; that is no part of it.
    """
    before, inside = _bracketed(message)
    if RAISED in inside:
        before, inside = _bracketed(inside)[0] or inside, ""
    return before if not inside or RAISED in before else inside


def _bracketed(message: str) -> tuple[str, str]:
    """Return what is before the brackets at a message's end, and what is in them."""
    depth = 0
    for place in range(len(message) - 1, 0, -1) if message.endswith(")") else ():
        depth += (message[place] == ")") - (message[place] == "(")
        if depth == 0:
            return message[:place].strip(), message[place + 1 : -1]
    return message, ""


def grouped(scores: Sequence[Score]) -> list[ErrorGroup]:
    """Group what was said of failed checks and noticed on the way; the commonest first."""
    examples: dict[str, str] = {}
    times: collections.Counter[str] = collections.Counter()
    tasks: dict[str, dict[str, None]] = collections.defaultdict(dict)
    submissions: dict[str, dict[str, None]] = collections.defaultdict(dict)
    for score in scores:
        for task, message in _messages(score):
            form = normalised(message)
            examples.setdefault(form, shortened(message))
            times[form] += 1
            submissions[form][score.submission] = None
            if task:
                tasks[form][task] = None
    groups = [
        ErrorGroup(form, example, times[form], tuple(tasks[form]), tuple(submissions[form]))
        for form, example in examples.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.submissions), -group.times, group.form))


def _messages(score: Score) -> Iterator[tuple[str, str]]:
    """Yield what was said of a submission, and of which task; a share of points is no error."""
    for problem in score.problems:
        yield "", problem
    for task in score.tasks:
        for check in task.checks:
            missed = check.outcome in ("failed", "error") and not check.points
            if missed and check.message and check.figure is None:
                yield task.task, check.message.partition(CALL)[0]


def shortened(text: str, most: int = MAX_EXAMPLE) -> str:
    """Return a text of a submission's without control characters, cut to some length."""
    cut = clean(text, most + 1)
    return cut if len(cut) <= most else f"{cut[:most]}…"
