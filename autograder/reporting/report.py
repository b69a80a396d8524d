"""The report of a class: from the folder that `grade` left to one page, or to another's format.

For the instructor: it names the requirements of hidden checks. Every text of a submission is
escaped, and the page loads and runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from autograder.files import write_whole
from autograder.grading import journal
from autograder.grading.journal import Results
from autograder.notebook import NotebookError
from autograder.reporting import charts, error_groups, exports, feedback, submission_names, summary
from autograder.reporting.summary import LessonSummary, TimedCheck
from autograder.scores import Score, TaskScore, rounded_down
from autograder.text import clean

SCHEMA = 1
"""Of the report's JSON."""
PLACES = {
    "html": "report.html",
    "json": "report.json",
    "csv": "checks.csv",
    "canvas": "canvas.csv",
    "gradescope": "gradescope",
}
"""Format -> what it is called in the folder of results, unless --out says otherwise."""
MOST_MISSED, MOST_ERRORS, MOST_STOPPED, MOST_NAMES, MOST_TASKS = 15, 15, 100, 12, 3
"""The rows of each table, and the names in a list of them; what is left out is counted."""


def write(folder: Path, form: str, out: Path | None, warn: Callable[[str], None]) -> Path:
    """Write the report of the run in `folder`, in the format `form`, a key of `PLACES`.

    Returns:
        Where it is: `out`, or its place in `folder`.

    Raises:
        NotebookError: there is no run, nothing is graded yet, or the format cannot hold it.
        OSError: it cannot be read or written.
    """
    found = journal.load(folder)
    found = replace(found, scores=tuple(submission_names.named(found.scores)))
    if not found.scores:
        raise NotebookError(f"{folder}: nothing is graded yet. Report once it is.")
    if not found.finished:
        warn(unfinished(found))
    place = folder / PLACES[form] if out is None else out
    if form == "gradescope":
        exports.write_gradescope(place, found.scores)
        return place
    if form == "html":
        text = page(found, folder)
    elif form == "json":
        text = json.dumps(as_json(found), indent=2) + "\n"
    elif form == "csv":
        text = exports.checks_csv(found.scores)
    else:
        text = exports.canvas_csv(found.scores, warn)
    if place.is_dir():
        raise NotebookError(f"{place} is a folder. Name a file with --out.")
    write_whole(place, text.encode("utf-8", "backslashreplace"))
    return place


def unfinished(found: Results) -> str:
    """Say that a run has not come to its end."""
    cut = " The last line of its journal is cut off." if found.cut else ""
    return (
        f"The run has not come to its end: {len(found.scores)} submissions are graded so far.{cut} "
        "The same `autograder grade` command with --resume goes on with it."
    )


def as_json(found: Results) -> dict[str, object]:
    """Return the statistics of a run, schema 1; its texts are fit for wherever they are shown."""
    made = {
        "schema": SCHEMA,
        "finished": found.finished,
        "submissions": len(found.scores),
        "unreadable": [
            {"submission": score.submission, "problems": list(score.problems)}
            for score in found.scores
            if score.status == "unreadable"
        ],
        "lessons": [_lesson_json(lesson) for lesson in summary.summarise(found.scores)],
    }
    return {key: _fit(value) for key, value in made.items()}


def _fit(value: object) -> object:
    match value:
        case str():
            return clean(value)
        case dict():
            return {key: _fit(each) for key, each in value.items()}
        case list() | tuple():
            return [_fit(each) for each in value]
    return value


def _lesson_json(lesson: LessonSummary) -> dict[str, object]:
    low, middle, high = lesson.quartiles
    return {
        "lesson": lesson.lesson,
        "title": lesson.title,
        "submissions": len(lesson.scores),
        "percent": {
            "mean": float(rounded_down(lesson.mean, 2)),
            "lowest": float(rounded_down(lesson.percents[0], 2)),
            "lower_quartile": float(rounded_down(low, 2)),
            "median": float(rounded_down(middle, 2)),
            "upper_quartile": float(rounded_down(high, 2)),
            "highest": float(rounded_down(lesson.percents[-1], 2)),
        },
        "full_marks": lesson.full,
        "tenths": lesson.bins,
        "tasks": [asdict(task) for task in lesson.tasks],
        "errors": [asdict(group) for group in lesson.errors],
        "timed": [asdict(check) for check in lesson.timed],
        "waiting": [asdict(waiting) for waiting in lesson.waiting],
        "stopped": [
            {"submission": score.submission, "status": score.status}
            for score in lesson.scores
            if score.status != "graded"
        ],
    }


@dataclass(frozen=True)
class _Section:
    """A lesson on the page: its figures and its pictures."""

    lesson: LessonSummary
    rows: list[tuple[Score, list[TaskScore | None]]]
    """each submission with its points in each of the lesson's tasks, the lowest first"""
    distribution: Markup
    outcomes: Markup
    margins: list[tuple[TimedCheck, Markup]]


def page(found: Results, folder: Path) -> str:
    """Return the report as a page; a submission is a link where its feedback page is there."""
    sections = [
        _section(f"lesson-{number}", lesson)
        for number, lesson in enumerate(summary.summarise(found.scores), start=1)
    ]
    return feedback.render(
        "report.html",
        found=found,
        sections=sections,
        unreadable=[score for score in found.scores if score.status == "unreadable"],
        isolation=", ".join(sorted({score.isolation for score in found.scores})),
        notice="" if found.finished else unfinished(found),
        labels={score.submission: score.name for score in found.scores},
        links=_links(found, folder),
        shortened=error_groups.shortened,
        most_missed=MOST_MISSED,
        most_errors=MOST_ERRORS,
        most_stopped=MOST_STOPPED,
        most_names=MOST_NAMES,
        most_tasks=MOST_TASKS,
    )


def _section(name: str, lesson: LessonSummary) -> _Section:
    rows = []
    for score in sorted(lesson.scores, key=lambda score: score.percent):
        earned = {task.task: task for task in score.tasks}
        rows.append((score, [earned.get(task.task) for task in lesson.tasks]))
    return _Section(
        lesson,
        rows,
        charts.distribution(f"{name}-distribution", lesson),
        charts.outcomes(f"{name}-outcomes", lesson),
        [
            (check, charts.margins(f"{name}-timed-{number}", check))
            for number, check in enumerate(lesson.timed, start=1)
        ],
    )


def _links(found: Results, folder: Path) -> dict[str, str]:
    """Return the submissions' feedback pages, where they are there."""
    pages = {score.submission: feedback.page_of(score) for score in found.scores}
    return {each: quote(page) for each, page in pages.items() if (folder / page).is_file()}
