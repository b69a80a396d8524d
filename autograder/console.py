"""What the commands print: tables, progress, warnings. Texts of submissions are never markup."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from autograder import feedback
from autograder.grade import Score
from autograder.student import clean

if TYPE_CHECKING:
    from autograder.doctor import Finding

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)
_STYLE = {"passed": "green", "failed": "red", "error": "red", "not_counted": "dim"}


def plain(text: str) -> str:
    """Return a text without the control characters that could move a terminal's cursor."""
    return escape(clean(text))


def warn(text: str) -> None:
    """Print a warning to stderr."""
    _err.print(f"[bold yellow]{plain(text)}[/]")


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show that something is going on, on a terminal."""
    with _err.status(text):
        yield


@contextlib.contextmanager
def progress(total: int, done: int) -> Iterator[Callable[[Score], None]]:
    """Show a bar with the time left, `done` being there already; call the value with each score."""
    columns = (
        TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )  # fmt: skip
    # Without its own thread: the pool forks, and a fork must not meet a thread that holds a lock.
    with Progress(*columns, console=_err, auto_refresh=False) as bar:
        task = bar.add_task("", total=total, completed=done)
        bar.refresh()

        def advance(score: Score) -> None:
            name = plain(Path(score.submission).name)
            bar.update(task, advance=1, description=f"{name} {score.percent:.0f} %")
            bar.refresh()

        yield advance


def show_score(score: Score) -> None:
    """Print one submission's verdict: each requirement, what was seen, the points."""
    for problem in score.problems:
        _out.print(f"[yellow]{plain(problem)}[/]")
    for task in score.tasks:
        table = Table(title=plain(task.title), title_justify="left", expand=True)
        table.add_column("", no_wrap=True)
        table.add_column("Requirement", ratio=1)
        table.add_column("Points", justify="right", no_wrap=True)
        for check in task.checks:
            seen = f"\n[dim]{plain(check.message)}[/]" if check.message else ""
            mark = Text(feedback.MARKS[check.outcome], style=_STYLE[check.outcome])
            points = f"{check.points:g} / {check.max_points:g}"
            table.add_row(mark, plain(check.requirement) + seen, points)
        _out.print(table)
    if score.tasks:
        _out.print(
            f"[bold]{score.points:g} of {score.max_points:g} points of the visible checks[/]; "
            "the hidden ones decide the rest at grading."
        )


def show_class(scores: Sequence[Score], out: Path, seed: int) -> None:
    """Print the class table: a row a submission, and where the results are."""
    table = Table(title="Class", title_justify="left")
    for name, justify in (
        ("Submission", "left"), ("Status", "left"), ("Points", "right"), ("%", "right"),
        ("Seconds", "right"), ("Noticed", "left"),
    ):  # fmt: skip
        whole = name != "Noticed"
        table.add_column(name, justify=justify, no_wrap=whole)  # type: ignore[arg-type]
    for name, score in zip(
        feedback.page_names([Path(score.submission) for score in scores]), scores, strict=True
    ):
        style = "" if score.status == "graded" else "red"
        noticed = plain(textwrap.shorten("".join(score.problems[:1]), 60, placeholder="…"))
        points = f"{score.points:g} / {score.max_points:g}"
        row = (plain(name), score.status, points, f"{score.percent:.0f}", f"{score.seconds:.1f}")
        table.add_row(*row, noticed, style=style)
    _out.print(table)
    for score in scores:
        if score.status != "graded":
            reason = plain(score.problems[-1] if score.problems else score.status)
            _err.print(f"[red]{plain(score.submission)}: {score.status}[/] {reason}")
    isolation = ", ".join(sorted({score.isolation for score in scores}))
    _out.print(f"Results: {plain(str(out))} (isolation: {isolation}; repeat with --seed {seed})")


def show_catalogue(entries: Sequence[dict[str, Any]]) -> None:
    """Print the lessons with their tasks."""
    for entry in entries:
        total = sum(task["points"] for task in entry["tasks"])
        title = f"{entry['lesson']}: {entry['title']} ({total:g} points)"
        table = Table(title=title, title_justify="left")
        for name in ("Task", "Points", "Visible checks", "Hidden checks"):
            table.add_column(name, justify="left" if name == "Task" else "right")
        for task in entry["tasks"]:
            by_person = task["graded_by"] == "person"
            hidden = "graded by a person" if by_person else str(task["hidden_checks"])
            visible = "" if by_person else str(task["visible_checks"])
            table.add_row(task["task"], f"{task['points']:g}", visible, hidden)
        _out.print(table)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what `doctor` found."""
    table = Table(show_header=False)
    for finding in findings:
        mark = "[green]✓[/]" if finding.good else "[red]✗[/]" if finding.needed else "[yellow]–[/]"
        table.add_row(mark, finding.name, plain(finding.found))
    _out.print(table)
    for finding in findings:  # outside the table: a command must be copied whole
        if finding.mend:
            _out.print(f"[bold]{finding.name}:[/] {plain(finding.mend)}", soft_wrap=True)
