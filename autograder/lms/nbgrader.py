"""Steps of nbgrader's own pipeline, with which `nbgrader autograde` grades in our sandbox.

`Restore` lays a submission's cells out as the lesson has them, whatever their metadata say;
`GradeInSandbox` puts into each grade cell what the autograder gave; `Remark` comments. The rest is
nbgrader's as ever: manual grades stay, late penalties are its own. Assignments of the same course
that are no lesson of ours go nbgrader's way.
"""

from __future__ import annotations

import atexit
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader import preprocessors as theirs
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.utils import is_grade
from traitlets import Integer, Unicode
from traitlets.config import Config

from autograder import notebook
from autograder.catalogue import lessons
from autograder.catalogue.lessons import ROOT, Lesson
from autograder.lms import pages
from autograder.notebook import NotebookError, Submission

# Every command of nbgrader's reads its configuration, and so imports this: what needs torch, which
# takes seconds to import, is imported where something is graded.
if TYPE_CHECKING:
    from autograder.grading.score_submission import Options
    from autograder.sandbox.launch import Sandbox
    from autograder.scores import Score, TaskScore

Resources = dict[str, Any]
"""What nbconvert hands from step to step; nbgrader's own part is under ``nbgrader``."""


def configure(config: Config) -> None:
    """Make nbgrader's course grade in our sandbox, and its pages run nothing of a stranger's.

    For ``nbgrader_config.py``: ``configure(get_config())``.
    """
    config.Autograde.sanitize_preprocessors = [
        Restore, theirs.ClearOutput, theirs.DeduplicateIds, theirs.OverwriteKernelspec,
        theirs.OverwriteCells, theirs.CheckCellMetadata,
    ]  # fmt: skip
    config.Autograde.autograde_preprocessors = [
        GradeInSandbox, theirs.IgnorePattern, ClearMetadataPreprocessor, theirs.LimitOutput,
        theirs.SaveAutoGrades, Remark, theirs.AssignLatePenalties, theirs.CheckCellMetadata,
    ]  # fmt: skip
    # of feedback and formgrader
    config.HTMLExporter.preprocessors = [pages.SanitizeOutputs]
    config.HTMLExporter.filters = {
        "markdown2html": pages.safe_html, "highlight_code": pages.safe_code,
    }  # fmt: skip


def _lesson(resources: Resources) -> Lesson | None:
    """Return the lesson that a notebook of the gradebook is, or None for another assignment."""
    name = resources["nbgrader"]["notebook"]
    return next((lesson for lesson in lessons.catalogue() if lesson.name == name), None)


class Restore(theirs.NbGraderPreprocessor):  # type: ignore[misc]  # nbgrader has no types
    """Rebuilds a submission from its cells' texts: of its metadata nothing is left.

    Grade cells are found by their ``check("task")``, free text as `lessons.free_text` finds it;
    what was deleted is put back. The rubric stands before its answer as the lesson has it.
    """

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Return the notebook as the lesson has it, with the submission's texts.

        Raises:
            NotebookError: it cannot be read; the submission has 0 and waits for a person.
        """
        lesson = _lesson(resources)
        if lesson is None:
            return nb, resources
        where = resources["metadata"]
        try:
            submission = notebook.read(Path(where["path"]) / f"{where['name']}.ipynb")
        except NotebookError:
            flag(resources["nbgrader"])
            raise
        return _restored(submission, lesson), resources


def _restored(submission: Submission, lesson: Lesson) -> NotebookNode:
    released: NotebookNode = nbformat.read(lesson.notebook, as_version=4)
    at = {_grade_id(cell): number for number, cell in enumerate(released.cells)}
    rubrics = {task.name: released.cells[at[task.name] - 1] for task in lesson.tasks if task.manual}
    unchanged = {lessons.squeeze(cell.source) for cell in rubrics.values()}
    places = _places(submission, lesson)
    made: list[NotebookNode] = []
    for cell in submission.cells:
        if not cell.is_code and lessons.squeeze(cell.source) in unchanged:
            continue  # it comes right before the answer
        new = notebook.bare(cell)
        if name := places.get(cell.number):
            new.metadata = released.cells[at[name]].metadata
            made += [rubrics[name]] if name in rubrics else []
        made.append(new)
    there = set(places.values())
    for task in lesson.tasks:
        if task.name not in there:
            made += [rubrics[task.name]] if task.manual else []
            made.append(released.cells[at[task.name]])
    released.cells = [
        NotebookNode({**cell, "id": f"cell-{number:04d}"}) for number, cell in enumerate(made)
    ]
    return released


def _grade_id(cell: NotebookNode) -> str:
    return str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))


def _places(submission: Submission, lesson: Lesson) -> dict[int, str]:
    """Return cell number -> the grade id that it answers to; each id is at one cell."""
    found: dict[str, int] = {}
    for task in lesson.tasks:
        for cell in submission.code:
            if set(cell.names) & set(task.names):
                found[f"task-{task.name}"] = cell.number
            elif task.name in lessons.called(cell.source) and not task.manual:
                found[task.name] = cell.number
    for name, answer in lessons.free_text(submission, lesson).items():
        if answer is not None:
            found[name] = answer.number
    return {number: name for name, number in found.items()}


class GradeInSandbox(theirs.Execute):  # type: ignore[misc]
    """Stands where nbgrader would run the notebook: nothing of it is run in a kernel."""

    results = Unicode(
        "",
        help="A folder that `autograder grade` left: its scores are taken, nothing is graded anew.",
    ).tag(config=True)

    seed = Integer(
        None,
        allow_none=True,
        help="Seed of the checks' inputs, the same for all submissions [random for each command].",
    ).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Resources, km: Any = None) -> Any:
        """Write 0.0 into every grade cell, then what the submission earned.

        Raises:
            SandboxError: no sandbox works here; the submission has 0 and waits for a person.
            BrokenChecks: the checks cannot be collected; likewise.
            NotebookError: `results` does not have the submission as this lesson's, or a link leads
                to it; likewise.
        """
        lesson = _lesson(resources)
        if lesson is None:
            return super().preprocess(nb, resources, km)
        cells = {_grade_id(c): c for c in nb.cells if is_grade(c) and c.cell_type == "code"}
        for cell in cells.values():
            cell.outputs = _outputs("Not graded.", 0.0)
        try:
            score = self._score(lesson, resources["nbgrader"])
        except Exception:
            flag(resources["nbgrader"])
            raise
        for task in score.tasks:
            cells[task.task].outputs = _outputs(_in_text(task, lesson), _of_all(task))
        resources["score"] = score
        return nb, resources

    def _score(self, lesson: Lesson, of: dict[str, str]) -> Score:
        from autograder.grading.score_submission import Options, grade

        coursedir = self.parent.parent.coursedir
        path = submitted(coursedir, of)
        if self.results:
            score = result(Path(self.results), path)
            if score.tasks and score.lesson != lesson.name:
                raise NotebookError(f"{path}: graded as {score.lesson}, which is another lesson.")
            return score
        seed = _random_seed() if self.seed is None else self.seed
        options = Options(seed, lesson=lesson.name)
        sandbox = _sandbox(Path(coursedir.root).resolve(), (lesson.notebook, path), options)
        return grade(path, sandbox, options)


class Remark(theirs.NbGraderPreprocessor):  # type: ignore[misc]
    """Comments on each answer, and asks a person to look where grading did not come to its end."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Save a comment on each task that lacks points: the requirements that are not met."""
        score: Score | None = resources.get("score")
        if score is None:
            return nb, resources
        of = resources["nbgrader"]
        where = (of["notebook"], of["assignment"], of["student"])
        answers = {_grade_id(cell) for cell in nb.cells}
        with Gradebook(of["db_url"]) as book:
            for task in score.tasks:
                if f"task-{task.task}" in answers and task.points < task.max_points:
                    comment = book.find_comment(f"task-{task.task}", *where)
                    comment.auto_comment = comment.auto_comment or _unmet(task)
            book.db.commit()
        if score.status != "graded":
            flag(of)
        return nb, resources


def flag(of: dict[str, str]) -> None:
    """Have a person look at a submission's tasks; what has no score yet has 0.

    Args:
        of: nbgrader's ``student``, ``assignment``, ``notebook`` and ``db_url``.
    """
    with Gradebook(of["db_url"]) as book:
        notebook = book.find_submission_notebook(of["notebook"], of["assignment"], of["student"])
        for score in notebook.grades:
            score.auto_score = score.auto_score or 0.0
            score.needs_manual_grade = True
        book.db.commit()


@functools.cache
def _random_seed() -> int:
    """Return one seed for all that this process grades: the same inputs for the whole class."""
    from autograder.checking import plugin

    return plugin.drawn_seed()


_warm: dict[Path, Sandbox] = {}


def _sandbox(course: Path, notebooks: tuple[Path, ...], options: Options) -> Sandbox:
    """Return the warm sandbox of this process, in which nothing of `course` is seen.

    What grading these notebooks needs is imported if it has yet to be warmed up: what others need
    besides is imported for each.
    """
    from autograder.grading.preparation import needs
    from autograder.sandbox import launch

    sandbox = _warm.get(course)
    if sandbox is None or not sandbox.alive:
        if sandbox is not None:
            sandbox.close()
        modules = needs(notebooks, options).modules
        _warm[course] = sandbox = launch.start((ROOT, course), warm=modules)
        atexit.register(sandbox.close)
    return sandbox


def submitted(coursedir: CourseDirectory, of: dict[str, str]) -> Path:
    """Return where a submission lies.

    Raises:
        NotebookError: on its way there is a link, to what may be another's.
    """
    step = coursedir.submitted_directory
    folder = coursedir.format_path(step, of["student"], of["assignment"])
    path = in_place(Path(folder, f"{of['notebook']}.ipynb"))
    if path.parent != Path(
        os.path.realpath(coursedir.root), os.path.relpath(folder, coursedir.root)
    ):
        raise NotebookError(f"{folder}: a symbolic link. Put the student's own folder there.")
    return path


def in_place(path: Path) -> Path:
    """Return where a file lies, and not where a link in its place leads: that is another's file."""
    return Path(os.path.realpath(path.parent), path.name)


def result(run: Path, submission: Path) -> Score:
    """Return what `autograder grade` left in the folder `run` of a submission.

    Raises:
        NotebookError: it left nothing of it, or more than one result.
    """
    found = _results(run).get(in_place(submission), [])
    if len(found) != 1:
        raise NotebookError(
            f"{submission}: {run} has {len(found)} results of it, not one. Grade it again."
        )
    return found[0]


@functools.lru_cache(maxsize=1)
def _results(run: Path) -> dict[Path, list[Score]]:
    from autograder.grading import journal

    found: dict[Path, list[Score]] = {}
    for score in journal.load(run).scores:
        found.setdefault(in_place(Path(score.submission)), []).append(score)
    return found


def _outputs(text: str, points: float) -> list[NotebookNode]:
    """Return what nbgrader reads a partial credit from, below a verdict in words."""
    result = new_output("execute_result", {"text/plain": repr(float(points))})
    return [new_output("stream", name="stdout", text=f"{text}\n"), result]


def _in_text(task: TaskScore, lesson: Lesson) -> str:
    from autograder.reporting import feedback

    worth = next(entry.worth for entry in lesson.tasks if entry.name == task.task)
    return feedback.verdict(task.task, task.checks, worth)["text/plain"]


def _of_all(task: TaskScore) -> float:
    """Return the points, as a share of all: nbgrader's maximum holds what is not counted here."""
    left_out = sum(check.max_points for check in task.checks if check.outcome == "not_counted")
    return task.points * (1 + left_out / task.max_points) if task.max_points else 0.0


def _unmet(task: TaskScore) -> str:
    lacking = [check for check in task.checks if check.outcome in ("failed", "error")]
    return "Not met: " + " ".join(check.requirement for check in lacking)
