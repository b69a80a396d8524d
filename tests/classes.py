"""Classes of made-up scores, ordinary and hostile, and the folders that they would be in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autograder.catalogue import lessons
from autograder.grading import journal
from autograder.reporting import feedback, submission_names
from autograder.scores import CheckResult, Figure, Score, TaskScore

HOSTILE = (
    '<script>window.hit=1;alert(1)</script><img src=x onerror="window.hit=1;alert(1)">'
    "<svg/onload=window.hit=1></pre></style></title></textarea><!--"
    "<iframe src='javascript:alert(1)'></iframe>"
    '<a href="javascript:window.hit=1">x</a><link rel=stylesheet href=http://127.0.0.1:1/x>'
    "{{ 7919 * 7907 }}{% raw %}&lt;\ud800\0\x1b[2J\u202e$x_{\"'`=HYPERLINK(1)"
)
"""Markup that would show in a browser, and what else breaks pages, terminals and tables."""


def check(number: int, share: float | None, text: str = "", hidden: bool = True) -> CheckResult:
    """A check worth 2 points: `share` of them earned, or not counted."""
    outcome = "not_counted" if share is None else "passed" if share == 1 else "failed"
    earned = 2.0 * (share or 0.0)
    requirement = f"Requirement {number} holds."
    return CheckResult("", f"test_{number}", requirement, outcome, earned, 2.0, text, 0.01, hidden)


def timed(ratio: float, kind: str = "speed") -> CheckResult:
    """A check of speed (at least 0.8 times the reference's), or of memory."""
    if kind == "speed":
        figure = Figure("speed", 0.004 / ratio, 0.004, 0.8, ratio, 0.9 * ratio, 1.1 * ratio, 9)
    else:
        figure = Figure("memory", 1e6 / ratio, 1e6, 1e6)
    fine = ratio >= (0.8 if kind == "speed" else 1)
    return CheckResult(
        "", f"test_{kind}", f"It passes in {kind}.", "passed" if fine else "failed",
        2.0 * fine, 2.0, "", 0.3, False, figure,
    )  # fmt: skip


def score(
    submission: str,
    shares: Sequence[Sequence[float | CheckResult | None]],
    lesson: str = "lora",
    text: str = "",
    **changes: object,
) -> Score:
    """A score of the lesson's first tasks: for each, the shares that its checks earned."""
    named = [task for task in lessons.lesson_named(lesson).tasks if not task.manual]
    tasks = []
    for task, given in zip(named, shares, strict=False):
        said = text or "It is off by 0.25 of the largest value."
        checks = [
            each
            if isinstance(each, CheckResult)
            else check(number, each, "" if each == 1 else said, hidden=number > 1)
            for number, each in enumerate(given, start=1)
        ]
        checks = [replace(each, task=task.name) for each in checks]
        counted = [each for each in checks if each.outcome != "not_counted"]
        tasks.append(
            TaskScore(
                task.name, task.title,
                sum(each.points for each in counted), sum(each.max_points for each in counted),
                tuple(checks),
            )
        )  # fmt: skip
    fields = {
        "status": "graded",
        "isolation": "nested",
        "seconds": 1.5,
        "tasks": tuple(tasks),
        "manual_points": 10.0,
        "pending": ({"task": "explain_lora", "text": text or "Because of its rank."},),
        **changes,
    }
    return Score(submission, lesson=lesson, **fields)


def unreadable(submission: str, why: str = "not a notebook") -> Score:
    """A file that could not be read."""
    return Score(submission, "", "unreadable", "nested", 0.1, (f"{submission}: {why}.",))


def varied(count: int = 12) -> list[Score]:
    """A class in which everything happens to somebody."""
    made = []
    for number in range(count):
        name = f"class/student-{number:03d}/lora.ipynb"
        level = number / max(1, count - 1)
        shares = [
            [1.0 if level > 0.2 * task else 0.0, 0.5 if level > 0.5 else 0.0, 1.0, None]
            for task in range(5)
        ]
        speeds = [timed(0.4 + level), timed(0.7 + level, "memory")]
        changes: dict[str, object] = {}
        if number % 6 == 1:
            changes = {"status": "timeout", "problems": ("The submission's 120 s are over.",)}
        elif number % 6 == 2:
            problem = f"Cell {number}: Your code raised NameError: name 'x{number}' is not defined"
            changes = {"problems": (problem,)}
        made.append(score(name, [*shares, speeds], **changes))
    return [*made, unreadable("class/broken/lora.ipynb")]


def hostile() -> list[Score]:
    """A class whose every text is an attack on the page that shows it."""
    attack = score(
        f"class/{HOSTILE.replace('/', '∕')}/lora.ipynb", [[0.0, 1.0, 0.5], [timed(0.5)]],
        text=HOSTILE, status="timeout", problems=(HOSTILE, HOSTILE + "x" * 5000),
    )  # fmt: skip
    long = score("class/" + "n" * 4000 + ".ipynb", [[0.0]], text="long " * 2000)
    return [attack, long, unreadable(f"{HOSTILE}.ipynb", HOSTILE), *varied(4)]


def leave(folder: Path, scores: Sequence[Score], finished: bool = True) -> Path:
    """Write what grading these would have left in `folder`."""
    (folder / "feedback").mkdir(parents=True, exist_ok=True)
    scores = submission_names.named(scores)
    with journal.Journal(folder) as kept:
        for each in scores:
            kept.add(each)
    for each in scores:
        feedback.write_page(folder / feedback.page_of(each), each)
    if finished:
        journal.write_csv(folder / journal.SCORES, scores)
    return folder
