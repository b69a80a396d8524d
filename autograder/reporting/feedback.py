"""How feedback is worded: the verdict in a notebook, and a submission's page.

Every text that comes from a submission is escaped by jinja2; a page loads and runs nothing.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autograder.catalogue.points import Points
from autograder.reporting import measurements, submission_names
from autograder.scores import CALL, CheckResult, Score, rounded_down
from autograder.text import clean

MARKS = {
    "passed": "✓ passed",
    "failed": "✗ failed",
    "error": "✗ error",
    "not_counted": "– not counted",
}


def _fit(value: object) -> object:
    """Return what a template prints as a page can hold it; markup of our own is left alone."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return clean(value.replace("\r\n", "\n").replace("\r", "\n"))


_pages = Environment(
    loader=PackageLoader("autograder"),
    autoescape=True,
    finalize=_fit,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.globals["marks"] = MARKS

_pages.globals["bars_of"] = measurements.bars
_pages.globals["in_words"] = measurements.sentence
_pages.globals["rounded_down"] = rounded_down


def verdict(task: str, results: Sequence[CheckResult], worth: Points) -> dict[str, str]:
    """Return a task's verdict as a display bundle: ``text/html`` and ``text/plain``.

    `worth` is the task's: what the visible checks do not decide is decided at grading.
    """
    said = summary(results, worth)
    page = _pages.get_template("verdict.html")
    lines = [f"{task}: {said}"]
    causes, rest = one_cause(results)
    lines += [f"  {line}" for cause in causes for line in cause.splitlines()]
    for result in rest:
        earned = f"{result.points:g}/{result.max_points:g}"
        lines.append(f"  {MARKS[result.outcome]:8} {result.requirement} [{earned}]")
        seen = result.message.splitlines()
        if result.figure is not None:
            seen += measurements.in_text(result.figure)
        lines += [f"           {line}" for line in seen]
    return {
        "text/html": page.render(task=task, results=results, summary=said),
        "text/plain": clean("\n".join(lines)),
    }


def summary(results: Sequence[CheckResult], worth: Points) -> str:
    """Say how many points are earned, and how many are decided only at grading."""
    earned = round(sum(result.points for result in results), 4)
    decided = sum(result.max_points for result in results if result.outcome != "not_counted")
    if any(result.hidden for result in results):  # all is decided
        more = f" ({left_out(results):g} more only on a GPU)" if left_out(results) else ""
        return f"{earned:g} of {decided:g} points{more}"
    if not worth.visible:  # numbers and statements
        return f"{earned:g} of {worth.hidden:g} points, {worth.hidden:g} decided at grading"
    here = f"{worth.visible - decided:g} of these and " if decided < worth.visible else ""
    by_hand = f", {worth.by_hand:g} by hand" if worth.by_hand else ""
    told = f"{earned:g} of {worth.visible:g} visible points"
    return f"{told}, {here}{worth.at_grading} decided at grading{by_hand}"


def one_cause(results: Sequence[CheckResult]) -> tuple[list[str], list[CheckResult]]:
    """Return what fails several checks, a sentence each with the first call, and the results
    without it.
    """
    failed = [each for each in results if each.outcome in ("failed", "error") and each.message]
    counts = collections.Counter(_cause(each) for each in failed)
    first = {_cause(each): each.message for each in reversed(failed)}
    often = [cause for cause, count in counts.items() if count > 1]
    said = [f"{counts[each]} requirements fail for one reason: {first[each]}" for each in often]
    return said, [
        replace(each, message="") if each in failed and _cause(each) in often else each
        for each in results
    ]


def _cause(result: CheckResult) -> str:
    return result.message.partition(CALL)[0]


def left_out(results: Iterable[CheckResult]) -> float:
    """Return the points that are not counted here: those of checks that need a GPU."""
    return sum(result.max_points for result in results if result.outcome == "not_counted")


_pages.globals["one_cause"] = one_cause


def write_page(path: Path, score: Score) -> None:
    """Write the feedback page of a submission, which has a name."""
    uncounted = left_out(check for task in score.tasks for check in task.checks)
    text = render("feedback.html", name=score.name, score=score, uncounted=uncounted)
    path.write_text(text, encoding="utf-8")


def page_of(score: Score) -> str:
    """Return where in a folder of results the page of a submission is."""
    return f"feedback/{submission_names.file_name(score.name)}.html"


def render(template: str, **values: object) -> str:
    """Return a page, or a part of one: every text in `values` is escaped, and fit for a file."""
    return _pages.get_template(template).render(values)
