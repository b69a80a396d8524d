"""The scores of a class in other systems' formats: a spreadsheet, Gradescope, Canvas.

Gradescope: https://gradescope-autograders.readthedocs.io/en/latest/specs/ (Output format). Canvas:
the file that its gradebook exports and imports, as read by GradebookImporter in
https://github.com/instructure/canvas-lms/blob/master/lib/gradebook_importer.rb
"""

from __future__ import annotations

import collections
import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from autograder.files import write_whole
from autograder.reporting import feedback, measurements, submission_names, summary
from autograder.scores import CheckResult, Learner, Score
from autograder.text import clean, harmless, one_line

CHECKS_HEAD = (
    "submission", "student", "number", "lesson", "status", "task", "check", "hidden", "requirement",
    "outcome", "points", "max_points", "message", "seconds", "measured", "reference", "ratio",
    "required",
)  # fmt: skip
CANVAS_HEAD = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
POINTS_POSSIBLE = "    Points Possible"
NOT_GRADED = (
    "This submission could not be graded, through no fault that was found in it: the 0 is not its "
    "score. Please tell your instructor, who finds the reason in the autograder's output."
)
"""What a learner reads on Gradescope where grading itself failed."""


# ------------------------------------------------------------------------------------- spreadsheets


def checks_csv(scores: Sequence[Score]) -> str:
    """Return a row for each submission and check; what could not be read has one row, and why."""
    rows: list[Sequence[object]] = [CHECKS_HEAD]
    for score in scores:
        start = (
            one_line(score.submission), score.student.name, score.student.number, score.lesson,
            score.status,
        )  # fmt: skip
        checks = [check for task in score.tasks for check in task.checks]
        rows += [(*start, *_check_row(check)) for check in checks]
        if not checks:
            blank = [""] * len(CHECKS_HEAD)
            blank[: len(start)] = start
            blank[CHECKS_HEAD.index("message")] = " ".join(score.problems)
            rows.append(blank)
    return _csv(rows)


def _check_row(check: CheckResult) -> tuple[object, ...]:
    figure = check.figure
    measured = (figure.student, figure.reference, figure.ratio, figure.bound) if figure else ()
    return (
        check.task, check.name, "yes" if check.hidden else "no", check.requirement, check.outcome,
        check.points, check.max_points, check.message, check.seconds,
        *("" if value is None else value for value in measured or ("",) * 4),
    )  # fmt: skip


def _csv(rows: Iterable[Sequence[object]], plain: Sequence[str] = ()) -> str:
    """Return rows as CSV: but for those in `plain`, no text is a formula or has control signs."""

    def fit(cell: object) -> object:
        return harmless(clean(cell)) if isinstance(cell, str) and cell not in plain else cell

    written = io.StringIO(newline="")
    csv.writer(written).writerows(map(fit, row) for row in rows)
    return written.getvalue()


# ------------------------------------------------------------------------------------------- Canvas


def canvas_csv(scores: Sequence[Score], warn: Callable[[str], None]) -> str:
    """Return what Canvas's gradebook imports: a row a student, a column a lesson.

    Canvas finds a student by ID (its own number for the user), else by SIS Login ID, else by name.
    A notebook that came out of Canvas's "Download Submissions" bears the first in its file name. Of
    any other we know what its folder or file says, and give it as login and as name: call them by
    the students' logins. What could not be read has no score, which Canvas leaves as it is;
    nor has one of two submissions in a lesson that are one student's, of which `warn` tells. The
    points are those of the checks; a person's for free text are not in them.
    """
    graded = summary.summarise(scores)
    read = [score for score in scores if score.status != "unreadable"]
    counts = collections.Counter((_in_canvas(score.student), score.lesson) for score in read)
    students = {_in_canvas(score.student): score.student for score in reversed(scores)}
    for (whose, lesson), count in counts.items():
        if count > 1:
            name = one_line(str(students[whose]))
            warn(
                f"{name} has {count} submissions in {lesson}, and Canvas takes "
                "one score: none of them is in the table. Leave one, or put each student's into a "
                "folder of their own, and grade again."
            )
    given: dict[Learner | str, dict[str, float]] = {}
    for score in scores:
        points = given.setdefault(_in_canvas(score.student), {})
        if counts[_in_canvas(score.student), score.lesson] == 1:
            points[score.lesson] = score.points
    possible = [max(score.max_points for score in lesson.scores) for lesson in graded]
    rows: list[Sequence[object]] = [(*CANVAS_HEAD, *(lesson.title for lesson in graded))]
    rows.append((POINTS_POSSIBLE, "", "", "", "", *possible))
    for whose, points in given.items():
        who = students[whose]
        number = who.number if who.platform == "canvas" else ""
        name = one_line(who.name if number else str(who)).replace(
            "Points Possible", "Points-Possible"
        )  # would be taken for that row
        login = "" if number else name
        earned = [points.get(lesson.lesson, "") for lesson in graded]
        rows.append((name, number, "", login, "", *earned))
    return _csv(rows, plain=(POINTS_POSSIBLE,))


def _in_canvas(student: Learner) -> Learner | str:
    """Return what tells students apart there: the number, whatever name a file has with it."""
    return student.number if student.platform == "canvas" else student


# --------------------------------------------------------------------------------------- Gradescope


def gradescope(score: Score) -> dict[str, object]:
    """Return a score as Gradescope's results.json.

    A test is called by its requirement. Those of hidden checks are `after_published`: learners see
    them, as on our feedback page, once the instructor publishes the grades, and until then neither
    them nor their total. All is `text`: Gradescope would render the top-level output as HTML.
    """
    tests = [
        _gradescope_test(f"{place}.{number}", task.title, check)
        for place, task in enumerate(score.tasks, start=1)
        for number, check in enumerate(task.checks, start=1)
        if check.outcome != "not_counted"
    ]
    return {
        "score": score.points,
        "execution_time": round(score.seconds),
        "output": "\n\n".join(_gradescope_notes(score)),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {"lesson": score.lesson, "status": score.status},
    }


def _gradescope_test(number: str, title: str, check: CheckResult) -> dict[str, object]:
    said = [check.message] * bool(check.message)
    if check.figure is not None:
        said += measurements.in_text(check.figure)
    return {
        "number": number,
        "name": clean(f"{title}: {check.requirement}"),
        "name_format": "text",
        "score": check.points,
        "max_score": check.max_points,
        "status": "passed" if check.outcome == "passed" else "failed",
        "output": clean("\n".join(said)),
        "output_format": "text",
        "visibility": "after_published" if check.hidden else "visible",
        "tags": [check.task],
    }


def _gradescope_notes(score: Score) -> list[str]:
    notes = []
    if score.status == "unreadable":
        notes.append("The notebook could not be read. Mend that, and submit it again.")
    elif score.status != "graded":
        notes.append(f"Grading could not be finished ({score.status}): what was not reached is 0.")
    notes += [clean(problem) for problem in score.problems]
    if more := feedback.left_out(c for task in score.tasks for c in task.checks):
        notes.append(f"{more:g} more would count only on a GPU: full marks here are those without.")
    broken = sum(c.outcome == "error" for task in score.tasks for c in task.checks)
    if broken:
        notes.append(f"{broken} of the checks broke and gave nothing: please tell your instructor.")
    if score.pending:
        notes.append(f"A person gives up to {score.manual_points:g} more by hand, for free text.")
    return notes


def gradescope_refusal(reason: str) -> dict[str, object]:
    """Return the results.json of what the learner can mend and submit again."""
    return {**not_graded(), "output": clean(reason), "extra_data": {"status": "unreadable"}}


def not_graded() -> dict[str, object]:
    """Return the results.json of what could not be graded; Gradescope cannot do without a score."""
    return {
        "score": 0.0,
        "output": NOT_GRADED,
        "output_format": "text",
        "stdout_visibility": "hidden",
        "tests": [],
        "extra_data": {"status": "not graded"},
    }


def write_gradescope(folder: Path, scores: Sequence[Score]) -> None:
    """Write results.json of each submission into a folder named as its feedback page.

    Raises:
        OSError: it cannot be written.
    """
    for old in folder.glob("*/results.json"):
        old.unlink()
    for score in scores:
        name = submission_names.file_name(score.name)
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_results(folder / name / "results.json", gradescope(score))


def write_results(path: Path, content: dict[str, object]) -> None:
    """Write a results.json in one step: there is never half of one, nor an older one beside it."""
    write_whole(path, json.dumps(content, indent=2, allow_nan=False).encode("ascii") + b"\n")
