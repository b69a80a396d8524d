"""nbgrader's steps: how a submission is laid out, what its markdown may do, whose way it goes."""

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from autograder import notebook
from autograder.catalogue import lessons
from autograder.lms import nbgrader
from autograder.lms.nbgrader import GradeInSandbox, Restore
from autograder.notebook import NotebookError
from autograder.scores import CheckResult, TaskScore
from tests.conftest import ROOT, write_notebook

LORA = lessons.lesson_named("lora")


def restored(tmp_path, cells):
    nbformat.write(new_notebook(cells=cells), tmp_path / "lora.ipynb")
    resources = {
        "nbgrader": {"notebook": "lora"},
        "metadata": {"path": str(tmp_path), "name": "lora"},
    }
    made, _ = Restore().preprocess(new_notebook(), resources)
    return made.cells


def mark(cell):
    return cell.metadata.get("nbgrader", {})


def grade_ids(cells):
    return [mark(cell)["grade_id"] for cell in cells if mark(cell).get("grade")]


def test_every_grade_cell_is_there_once(tmp_path):
    everything = sorted(task.name for task in LORA.tasks)
    twice = [new_code_cell('check("lora_linear")'), new_code_cell('check("lora_linear")')]
    for cells in ([], twice, nbformat.read(LORA.notebook, as_version=4).cells):
        assert sorted(grade_ids(restored(tmp_path, cells))) == everything


def test_metadata_is_the_lesson_s(tmp_path):
    claimed = {"grade": True, "grade_id": "bonus", "points": 1000, "solution": False}
    odd = new_code_cell("1000.0", metadata={"nbgrader": claimed, "tags": ["skip-execution"]})
    asked = new_code_cell('check("lora_linear")', metadata={"nbgrader": {**claimed}})
    answer = new_code_cell("class LoRALinear:\n    pass")
    cells = restored(tmp_path, [odd, answer, asked])
    assert mark(cells[0]) == {} and "tags" not in cells[0].metadata
    assert mark(cells[1])["grade_id"] == "task-lora_linear"
    points = next(task.points for task in LORA.tasks if task.name == "lora_linear")
    assert (mark(cells[2])["grade_id"], mark(cells[2])["points"]) == ("lora_linear", points)
    assert mark(cells[2])["locked"] is True


def test_outputs_attachments_and_raw_cells_are_not_kept(tmp_path):
    cell = new_code_cell("x = 1")
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": "<script>"})]
    picture = new_markdown_cell("![x](attachment:x)", attachments={"x": {"text/html": "<script>"}})
    cells = restored(tmp_path, [cell, picture, new_raw_cell("<script>")])
    assert cells[0].outputs == [] and "attachments" not in cells[1]
    assert cells[2].cell_type == "markdown"


def test_the_rubric_stands_before_the_answer(tmp_path):
    released = nbformat.read(LORA.notebook, as_version=4).cells
    at = next(n for n, cell in enumerate(released) if mark(cell).get("grade_id") == "explain_lora")
    rubric, answer = released[at - 1], released[at]
    mine = new_markdown_cell(answer.source + "\n\nFrozen base, low-rank update.")
    forged = new_markdown_cell(rubric.source.replace("| 2 |", "| 9 |"))
    for cells in ([mine], [rubric, mine], [forged, mine], [mine, rubric]):
        made = restored(tmp_path, cells)
        here = next(
            n for n, cell in enumerate(made) if mark(cell).get("grade_id") == "explain_lora"
        )
        assert made[here].source == mine.source
        assert made[here - 1].source == rubric.source


def test_what_cannot_be_read_is_flagged(tmp_path, monkeypatch):
    (tmp_path / "lora.ipynb").write_text("{")
    flagged = []
    monkeypatch.setattr(nbgrader, "flag", flagged.append)
    resources = {
        "nbgrader": {"notebook": "lora"},
        "metadata": {"path": str(tmp_path), "name": "lora"},
    }
    with pytest.raises(notebook.NotebookError, match="it ends half way"):
        Restore().preprocess(new_notebook(), resources)
    assert flagged == [resources["nbgrader"]]


# --------------------------------------------------------------------------------------- other ways


def test_a_folder_that_is_a_link_is_nobody_s_submission(tmp_path):
    course = CourseDirectory(root=str(tmp_path))
    write_notebook(tmp_path / "submitted" / "alice" / "04_lora" / "lora.ipynb", ["x = 1"])
    (tmp_path / "submitted" / "mallory").mkdir()
    (tmp_path / "submitted" / "mallory" / "04_lora").symlink_to("../alice/04_lora")
    of = {"assignment": "04_lora", "notebook": "lora"}
    found = nbgrader.submitted(course, {**of, "student": "alice"})
    assert found == tmp_path / "submitted" / "alice" / "04_lora" / "lora.ipynb"
    with pytest.raises(NotebookError, match="symbolic link"):
        nbgrader.submitted(course, {**of, "student": "mallory"})


def test_what_is_not_counted_here_lowers_no_share():
    def check(points, of, outcome="passed"):
        return CheckResult("a", "test_a", "It is.", outcome, points, of, "", 0.0, hidden=True)

    gpu = check(0.0, 1.0, "not_counted")
    assert nbgrader._of_all(TaskScore("a", "A", 4.0, 4.0, (check(4.0, 4.0), gpu))) == 5.0
    assert nbgrader._of_all(TaskScore("a", "A", 2.0, 4.0, (check(2.0, 4.0), gpu))) == 2.5
    assert nbgrader._of_all(TaskScore("a", "A", 3.0, 4.0, (check(3.0, 4.0),))) == 3.0
    assert nbgrader._of_all(TaskScore("a", "A", 0.0, 0.0, (gpu,))) == 0.0


def test_another_assignment_goes_nbgrader_s_way(tmp_path):
    mark = {"grade": True, "solution": False, "grade_id": "a", "points": 1, "schema_version": 3}
    given = new_notebook(cells=[new_code_cell("40 + 2", metadata={"nbgrader": mark})])
    resources = {"nbgrader": {"notebook": "week_1"}, "metadata": {"path": str(tmp_path)}}
    assert Restore().preprocess(given, resources)[0] is given
    made, _ = GradeInSandbox().preprocess(given, resources)
    assert made.cells[0].outputs[0].data["text/plain"] == "42"


def test_only_lessons_of_ours_are_ours():
    found = nbgrader._lesson({"nbgrader": {"notebook": "lora"}})
    assert found is not None and found.name == LORA.name
    assert nbgrader._lesson({"nbgrader": {"notebook": "04_lora"}}) is None


def test_the_configuration_names_classes_that_nbgrader_takes():
    from nbgrader.converters import Autograde
    from nbgrader.coursedir import CourseDirectory

    config = Config()
    nbgrader.configure(config)
    converter = Autograde(coursedir=CourseDirectory(), config=config)
    assert converter.sanitize_preprocessors[0] is Restore
    assert converter.autograde_preprocessors[0] is GradeInSandbox


def test_a_score_is_a_plain_float():
    text, result = nbgrader._outputs("said", 7)
    assert (text.output_type, text.text) == ("stream", "said\n")
    assert result.data == NotebookNode({"text/plain": "7.0"})


def test_the_configuration_of_the_repository_is_ours():
    text = (ROOT / "nbgrader_config.py").read_text(encoding="utf-8")
    given = Config()
    exec(
        compile(text, "nbgrader_config.py", "exec"),
        {"get_config": lambda: given, "__file__": str(ROOT / "nbgrader_config.py")},
    )
    assert given.Autograde.autograde_preprocessors[0] is GradeInSandbox
    assert given.CourseDirectory.db_url.endswith("/class/gradebook.db")
