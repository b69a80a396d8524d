"""What the commands print: tables, progress, warnings. Texts of submissions are never markup."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Table
from rich.text import Text

from autograder.catalogue import lessons
from autograder.catalogue.points import added
from autograder.learner import attempts, display_bundles
from autograder.reporting import feedback, measurements
from autograder.sandbox import slow_imports
from autograder.scores import CALL, CheckResult, Score, rounded_down
from autograder.text import one_line, sentence

if TYPE_CHECKING:
    from autograder.cli.doctor import Finding
    from autograder.learner.attempts import LessonStanding

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)
_STYLE = {"passed": "green", "failed": "red", "error": "red", "not_counted": "dim"}
MAX_NAME = 40
"""Characters of a submission's name in the class's table."""
MAX_NOTICED = 90


def plain(text: str) -> str:
    """Return a text that moves no cursor, makes no line like ours and is no markup."""
    return escape(sentence(text))


def _named(name: object) -> str:
    """Return a file's name, or a path, likewise: in one line."""
    return escape(one_line(str(name)))


def warn(text: str) -> None:
    """Print a warning to stderr; the terminal breaks its lines, so that a path stays whole."""
    _err.print(f"[bold yellow]{plain(text)}[/]", soft_wrap=True)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """Show what is going on, on a terminal: `text`, slow imports, what the value is called with."""
    with _err.status(text) as status, slow_imports.told(status.update):
        yield status.update


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
            name = _named(score.name)
            bar.update(task, advance=1, description=f"{name} {rounded_down(score.percent)} %")
            bar.refresh()

        yield advance


def filled(problems: Iterable[str], entries: Mapping[Path, object | None]) -> bool:
    """Show how a gradebook fills, and what could not go into it; return whether all did."""
    well = True
    total = sum(entry is not None for entry in entries.values())
    for problem in track(problems, "gradebook", total, console=_err):
        if problem:
            well = False
            warn(problem)
    for path, entry in entries.items():
        if entry is None:
            well = False
            why = "not in the gradebook: it cannot be told whose it is, and which lesson."
            warn(f"{one_line(str(path))}: {why}")
    return well


def show_left_out(left_out: Mapping[Path, str]) -> None:
    """Print which files of the folders were not graded, and why."""
    for path, why in left_out.items():
        _err.print(f"[yellow]{_named(path)}: left out:[/] {plain(why)}", soft_wrap=True)


def show_score(score: Score) -> None:
    """Print one submission's verdict: each requirement, what was seen, the points."""
    for problem in score.problems:
        _out.print(f"[yellow]{plain(problem)}[/]", soft_wrap=True)
    for task in score.tasks:
        table = Table(title=plain(task.title), title_justify="left", expand=True)
        table.add_column("", no_wrap=True)
        table.add_column("Requirement", ratio=1)
        table.add_column("Points", justify="right", no_wrap=True)
        calls, rest = feedback.one_cause(task.checks)
        for check in rest:
            message, _, call = check.message.partition(CALL)
            lines = [message] * bool(message)
            calls += [f"{check.requirement}{CALL}{call}"] * bool(call)
            if check.figure is not None:
                lines += measurements.in_text(check.figure)
            seen = "".join(f"\n[dim]{plain(line)}[/]" for line in lines)
            mark = Text(feedback.MARKS[check.outcome], style=_STYLE[check.outcome])
            points = f"{check.points:g} / {check.max_points:g}"
            table.add_row(mark, plain(check.requirement) + seen, points)
        _out.print(table)
        for call in calls:  # outside the table: a line must be copied whole
            _out.print(f"[dim]{plain(call)}[/]", soft_wrap=True)
    if score.tasks:
        _out.print(f"[bold]{_visible(score)}[/].")


def _visible(score: Score) -> str:
    """Say how many visible points a lesson, or the tasks that were chosen of it, has earned."""
    lesson = lessons.lesson_named(score.lesson)
    checked = {task.task for task in score.tasks}
    of_all = all(task.manual or task.name in checked for task in lesson.tasks)
    worth = added(task.worth for task in lesson.tasks if of_all or task.name in checked)
    return feedback.summary([check for task in score.tasks for check in task.checks], worth)


def show_rechecking() -> None:
    """Say, on a terminal, that a check has begun; its verdict takes the place of this."""
    if _out.is_terminal:
        _out.print("[dim]checking …[/]")


def show_recheck(score: Score, before: Score | None, seconds: float) -> None:
    """Print a verdict of `check --watch`: what has changed since `before` first, then what is open.

    On a terminal it takes the place of the one before; elsewhere it follows it.
    """
    changed = _changed(score, before)
    lines = [_headline(score, seconds)]
    lines += [f"[yellow]{plain(problem)}[/]" for problem in score.problems]
    if changed:
        lines += ["", "[bold]Since the last check[/]"]
        lines += [line for check in changed for line in _check_lines(check, check.task)]
    elif before is not None and score.tasks:
        lines += ["No check has passed or failed anew."]
    lines += _open(score, {(check.task, check.name) for check in changed})
    if _out.is_terminal:
        _out.clear()
    for line in [*lines, ""]:
        _out.print(line, soft_wrap=True)


def _headline(score: Score, seconds: float) -> str:
    head = f"[bold]{_named(Path(score.submission).name)}[/] at {datetime.now():%H:%M:%S}"
    if score.status == "unreadable":
        return f"{head}: [red]cannot be checked[/]. Its next save is looked at."
    return f"{head}: [bold]{_visible(score)}[/] ({seconds:.1f} s)"


def _changed(score: Score, before: Score | None) -> list[CheckResult]:
    """Return the checks that came out otherwise than before."""
    if before is None:
        return []
    were = {
        (check.task, check.name): (check.outcome, check.points)
        for task in before.tasks
        for check in task.checks
    }
    checks = [check for task in score.tasks for check in task.checks]
    same = [were.get((check.task, check.name)) == (check.outcome, check.points) for check in checks]
    return [check for check, is_same in zip(checks, same, strict=True) if not is_same]


def _open(score: Score, said: set[tuple[str, str]]) -> list[str]:
    """Return what has yet to pass and is not `said`; tasks not begun and done by name only."""
    lines: list[str] = []
    not_begun, done = [], []
    for task in score.tasks:
        if task.points == task.max_points:
            done += [task.task] * bool(task.max_points)
        elif not any(map(attempts.is_attempt, task.checks)):
            not_begun.append(task.task)
        else:
            left = [check for check in task.checks if check.points < check.max_points]
            left = [check for check in left if (check.task, check.name) not in said]
            lines += ["", f"[bold]{plain(task.title)}[/] ({task.task})"] if left else []
            causes, left = feedback.one_cause(left)
            lines += [plain(cause) for cause in causes]
            lines += [line for check in left for line in _check_lines(check)]
    names = {"Not begun": not_begun, "Done": done}
    ends = [f"[dim]{what}: {', '.join(tasks)}[/]" for what, tasks in names.items() if tasks]
    return lines + [""] * bool(ends) + ends


def _check_lines(check: CheckResult, task: str = "") -> Iterator[str]:
    mark = f"[{_STYLE[check.outcome]}]{feedback.MARKS[check.outcome]}[/]"
    points = escape(f"[{check.points:g}/{check.max_points:g}]")
    yield f"{mark} {plain(f'{task}: ' * bool(task) + check.requirement)} {points}"
    for line in check.message.splitlines() if check.outcome != "passed" else ():
        yield f"  [dim]{plain(line)}[/]"


def show_class(scores: Sequence[Score], out: Path, seed: int) -> None:
    """Print the class table: a row a submission, and where the results are."""
    table = Table(title="Class", title_justify="left")
    for name, justify in (
        ("Submission", "left"), ("Status", "left"), ("Points", "right"), ("%", "right"),
        ("Seconds", "right"), ("Noticed", "left"),
    ):  # fmt: skip
        # where there is little room these two are broken, and no figure is left out for them
        whole = name not in ("Submission", "Noticed")
        table.add_column(name, justify=justify, no_wrap=whole, overflow="fold")  # type: ignore[arg-type]
    for score in scores:
        style = "" if score.status == "graded" else "red"
        noticed = plain(textwrap.shorten("".join(score.problems[:1]), MAX_NOTICED, placeholder="…"))
        points = f"{score.points:g} / {score.max_points:g}"
        row = (
            _named(_shortened(score.name)),
            score.status,
            points,
            rounded_down(score.percent),
            f"{score.seconds:.1f}",
        )
        table.add_row(*row, noticed, style=style)
    _out.print(table)
    for score in scores:
        if score.status != "graded":
            reason = plain(score.problems[-1] if score.problems else score.status)
            name = _named(score.name)
            _err.print(f"[red]{name}: {score.status}[/] {reason}", soft_wrap=True)
    for name in sorted({score.lesson for score in scores if score.lesson}):
        worth = lessons.lesson_named(name).worth
        counted = max(score.max_points for score in scores if score.lesson == name)
        no_gpu = ", without a GPU" if counted == worth.graded - worth.on_gpu != worth.graded else ""
        _out.print(f"{plain(name)}: {worth}. Counted above: {counted:g}{no_gpu}.", soft_wrap=True)
    isolation = ", ".join(sorted({score.isolation for score in scores}))
    text = f"Results: {_named(out)} (isolation: {isolation}; repeat with --seed {seed})"
    _out.print(text, soft_wrap=True)


def _shortened(name: str) -> str:
    """Return a name cut to `MAX_NAME` characters: its start and its end, which tell it apart."""
    end = MAX_NAME // 3
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - end - 1]}…{name[-end:]}"


def show_watching(folder: Path, graded: int) -> None:
    """Say that a folder is being watched, and how to end it."""
    before = f"{graded} graded before; " if graded else ""
    text = f"Watching {_named(folder)}: {before}Ctrl-C ends it, with the class's table."
    _out.print(text, soft_wrap=True)


def show_arrival(score: Score, is_newer: bool, left: int) -> None:
    """Print a line for a submission that has just been graded; `left` are still to be."""
    points = f"{score.points:g} / {score.max_points:g} ({rounded_down(score.percent)} %)"
    if score.status != "graded":
        problem = textwrap.shorten("".join(score.problems[-1:]), 100, placeholder="…")
        points = f"[red]{score.status}[/] {plain(problem)}"
    newer = ", its newer version" if is_newer else ""
    more = f" [dim]{left} more to grade[/]" if left else ""
    head = f"{datetime.now():%H:%M:%S} {_named(score.name)}{newer}"
    text = f"{head}: {points}, {score.seconds:.1f} s{more}"
    _out.print(text, soft_wrap=True)


def show_catalogue(entries: Sequence[dict[str, Any]]) -> None:
    """Print the lessons with their tasks."""
    for entry in entries:
        title = f"{entry['lesson']}: {entry['title']} ({entry['worth']})"
        columns = ("Task", "Points", "Visible", "Hidden", "GPU", "By hand", "Checks")
        table = _right_aligned(title, columns)
        for task in entry["tasks"]:
            kinds = ("", "visible_", "hidden_", "gpu_only_", "by_hand_")
            points = [task[f"{kind}points"] for kind in kinds]
            checks = f"{task['visible_checks']} + {task['hidden_checks']}"
            shown = [f"{each:g}" if each else "" for each in points]
            table.add_row(task["task"], *shown, checks if task["graded_by"] == "checks" else "")
        _out.print(table)


def show_progress(standings: Sequence[LessonStanding]) -> None:
    """Print where the learner stands: a row a lesson."""
    columns = ("Lesson", "Tasks done", "Visible points", "Last practised", "Cards due")
    table = _right_aligned("Progress", columns)
    for each in standings:
        tasks, points = f"{each.done} / {each.countable}", f"{each.points:g} / {each.maximum:g}"
        new = f" (+ {each.cards.new} new)" if each.cards.new else ""
        table.add_row(
            plain(each.lesson),
            tasks,
            points,
            display_bundles.day(each.when),
            f"{each.cards.due}{new}",
        )
    _out.print(table)
    _out.print(attempts.NOTE)


def show_tasks(standing: LessonStanding) -> None:
    """Print where the learner stands in one lesson: a row a task."""
    columns = ("Task", "", "Visible points", "Last", "Attempts", "Last practised")
    table = _right_aligned(plain(standing.title), columns)
    for task in standing.tasks:
        done, tried = task.practised, "[green]✓[/]" if task.done else ""
        points = f"{task.best:g} / {task.maximum:g}" if task.maximum else "at grading"
        last, tries = (f"{done.last:g}", str(done.attempts)) if done else ("", "")
        when = display_bundles.day(done.when if done else None)
        table.add_row(plain(task.task), tried, points, last, tries, when)
    _out.print(table)
    _out.print(attempts.NOTE)


def _right_aligned(title: str, columns: Sequence[str]) -> Table:
    """Return a table whose first column is text and whose others are figures."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name == columns[0] else "right")
    return table


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
