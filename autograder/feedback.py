"""What a learner sees: the verdict in a notebook, and the feedback page of a graded submission.

Every text that comes from a submission is escaped by jinja2; a page loads and runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from autograder.grade import Score
from autograder.plugin import CheckResult

MARKS = {
    "passed": "✓ passed",
    "failed": "✗ failed",
    "error": "✗ error",
    "not_counted": "– not counted",
}

MAX_NAME = 80
"""Bytes of a submission's name, and of its folder's, in the name of its page."""

_pages = Environment(
    loader=PackageLoader("autograder"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.globals["marks"] = MARKS


def verdict(task: str, results: Sequence[CheckResult], total: float) -> dict[str, str]:
    """Return a task's verdict as a display bundle: ``text/html`` and ``text/plain``.

    `total` is what the task is worth; what the visible checks do not decide is decided at grading.
    """
    said = summary(results, total)
    page = _pages.get_template("verdict.html")
    lines = [f"{task}: {said}"]
    for result in results:
        earned = f"{result.points:g}/{result.max_points:g}"
        lines.append(f"  {MARKS[result.outcome]:8} {result.requirement} [{earned}]")
        lines += [f"           {line}" for line in result.message.splitlines()]
    return {
        "text/html": page.render(task=task, results=results, summary=said),
        "text/plain": "\n".join(lines),
    }


def summary(results: Sequence[CheckResult], total: float) -> str:
    """Say how many points are earned, and how many are decided only at grading."""
    earned = sum(result.points for result in results)
    hidden = total - sum(result.max_points for result in results)
    later = f", {hidden:g} decided at grading" if hidden > 0 else ""
    return f"{earned:g} of {total:g} points{later}"


def write_page(path: Path, name: str, score: Score) -> None:
    """Write the feedback page of a submission called `name`."""
    page = _pages.get_template("feedback.html")
    text = page.render(name=name, score=score)
    path.write_text(text.encode("utf-8", "replace").decode("utf-8"), encoding="utf-8")


def page_names(paths: Sequence[Path]) -> list[str]:
    """Return a file name, without suffix, for each submission: short, safe and unique."""
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = _safe(path.stem)
        for name in (stem, f"{_safe(path.parent.name)}-{stem}"):
            if name.casefold() not in taken:
                break
        number = 2
        base = name
        while name.casefold() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def _safe(text: str) -> str:
    """Return a text as part of a file name, on any system."""
    kept = re.sub(r"[^\w.-]+", "_", text).strip("._").encode()[:MAX_NAME]
    return kept.decode(errors="ignore") or "submission"
