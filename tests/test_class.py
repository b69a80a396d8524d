"""A class, from release to marked feedback: once by nbgrader's own commands, with sqlite; once by
`autograder grade --gradebook`, with PostgreSQL. The scores are equal.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from nbgrader.api import Gradebook

from autograder.authoring import build
from autograder.catalogue import lessons
from tests.browser import watch
from tests.conftest import ROOT, settles

ASSIGNMENT, NOTEBOOK = "04_lora", "lora"
EXAMPLES = ROOT / "examples" / "submissions"
OF_THEM = ("full-marks", "half-done", "published-mistakes", "untouched")
LATE = "bare"
TEXT, FULL = "explain_lora", 7.5
"""the free text, and what the person who grades it gives it"""
SEED = 5
"""the same inputs for both, since luck with them may be worth a wrong answer a point"""
COURSE_ID = "fine_tuning_interviews"
ATTACKS = (
    "<script>window.got = 1</script>",
    "<img src=x onerror='window.got = 1'>",
    "<svg onload='window.got = 1'></svg>",
    "<details open ontoggle='window.got = 1'><summary>open</summary></details>",
    "[link](javascript:window.got=1)",
    "<a href='javascript:window.got = 1'>link</a>",
    "![picture](http://127.0.0.1:1/y.png)",
    "<b class='full-credit' id='explain_lora'>full</b>",
    "<iframe srcdoc='<script>parent.window.got = 1</script>'></iframe>",
    "<style>@import 'http://127.0.0.1:1/x.css'</style>",
    "<img src='http://127.0.0.1:1/x.png'>",
    "$<script>window.got = 1</script>$",
    "`</code><script>window.got = 1</script>`",
)


def example(name: str) -> NotebookNode:
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def tampered() -> NotebookNode:
    """Full marks for the writing of it: metadata, outputs, and a `check` that returns anything."""
    notebook = example("untouched")
    wishes = ["-1", "nan", "np.float64(8.0)", "'full marks'", "1000000.0", "inf", ""]
    checks = [cell for cell in notebook.cells if cell.source.startswith("check(")]
    for number, cell in enumerate(checks):
        wish = wishes[number % len(wishes)]
        cell.source = f"check = lambda task: {wish or None}\n{cell.source}"
        cell.metadata["nbgrader"] |= {"points": 1000, "locked": False, "solution": number % 2 == 0}
        data = {"text/plain": wish} if wish else {}
        cell.outputs = [new_output("execute_result", data)] if wish else []
    notebook.cells.append(new_code_cell("1000.0", metadata={"nbgrader": {"grade_id": "bonus"}}))
    return notebook


def hostile() -> NotebookNode:
    """A half-done notebook with markup wherever a page may show it."""
    notebook = example("half-done")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [new_output("display_data", {"text/html": attack}) for attack in ATTACKS]
        if cell.metadata.get("nbgrader", {}).get("grade_id") == TEXT:
            cell.source += "\n\n" + "\n\n".join(ATTACKS)
    notebook.cells.insert(1, new_markdown_cell("\n\n".join(ATTACKS)))
    notebook.cells.insert(2, nbformat.v4.new_raw_cell("\n".join(ATTACKS)))
    notebook.cells[2].metadata["format"] = "text/html"
    notebook.cells.append(new_code_cell(f"raise ValueError({ATTACKS[0]!r})"))
    notebook.metadata["title"] = f"</title>{ATTACKS[0]}"
    notebook.metadata["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": {"a": f"</script>{ATTACKS[0]}"}}
    }
    return notebook


def bare() -> NotebookNode:
    """A half-done notebook, without a word of metadata, and with a locked cell deleted."""
    notebook = example("half-done")
    notebook.metadata = NotebookNode()
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
    notebook.cells = [cell for cell in notebook.cells if 'check("lora_linear")' not in cell.source]
    return notebook


BEHIND = (
    "def find_places(model): return {}",
    "sum = 0\nlist = [1]",
    "torch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float64)",
    "import time\nfor rate in (1, 2):\n    time.sleep(0.1)",
    "%reset -f",
)
"""Cells behind every check, as people leave them; each would change what an answer needs."""


def untidy() -> NotebookNode:
    """Full marks in the state in which each check ran; what is left of it is out of order."""
    notebook = example("full-marks")
    cells = notebook.cells
    [answer] = [cell for cell in cells if cell.source.startswith("def lora_forward(")]
    answer.source += "\n\n\nits = lora_forward\n\n\ndef lora_forward(*args, **kwargs):\n"
    answer.source += "    return kept(its(*args, **kwargs))"
    shown = new_code_cell("def kept(a):\n    return a\n\n\nkept(3)")
    shown.metadata["tags"] = ["demonstration"]
    cells.insert(cells.index(answer), shown)
    cells += map(new_code_cell, BEHIND)
    return notebook


def elsewhere(notebook: NotebookNode) -> NotebookNode:
    """As it was in another place: lines at the head of its imports that do not work here."""
    imports = next(cell for cell in notebook.cells if cell.source.startswith("import copy"))
    lines = "%load_ext no_such_extension", "from google.colab import drive", "drive.mount('/x')"
    imports.source = "\n".join((*lines, imports.source))
    return notebook


def submissions() -> dict[str, NotebookNode]:
    """Student → what was handed in."""
    made = {"tampered": tampered(), "hostile": hostile(), LATE: bare()}
    made["untidy"] = elsewhere(untidy())
    return {name: example(name) for name in OF_THEM} | made


class Class:
    """A course in a folder of its own, and nbgrader's commands run in it."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/class/gradebook.db"
        (folder / "class").mkdir(parents=True)
        shutil.copy(ROOT / "nbgrader_config.py", folder)
        with (folder / "nbgrader_config.py").open("a", encoding="utf-8") as file:
            file.write(f"c.Exchange.root = {str(folder / 'exchange')!r}\n")
            file.write(f"c.CourseDirectory.db_url = {self.url!r}\n")
            file.write("c.LateSubmissionPlugin.penalty_method = 'zero'\n")
        (folder / "exchange").mkdir()
        (folder / "exchange").chmod(0o777)
        programs = Path(sys.executable).parent  # nbgrader runs alembic by its name
        self.environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "AUTOGRADER_DATA": str(folder / "data"),
        }  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
            timeout=400,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr[-3000:]
        return ended.stdout + ended.stderr

    def nbgrader(self, *words: str) -> str:
        return self.run("nbgrader", *words)

    @contextlib.contextmanager
    def book(self) -> Iterator[Gradebook]:
        with Gradebook(self.url, COURSE_ID) as book:
            yield book

    def scores(self) -> dict[str, dict[str, float]]:
        """Student → task → what was given automatically."""
        with self.book() as book:
            return {
                student: {
                    grade.name: grade.auto_score
                    for grade in book.find_submission_notebook(NOTEBOOK, ASSIGNMENT, student).grades
                    if grade.name != TEXT
                }
                for student in submissions()
            }

    def total(self, student: str) -> float:
        with self.book() as book:
            return book.find_submission(ASSIGNMENT, student).score


@pytest.fixture(scope="module")
def class_(tmp_path_factory: pytest.TempPathFactory) -> Class:
    """A class whose submissions are collected, by nbgrader's commands alone."""
    made = Class(tmp_path_factory.mktemp("sqlite"))
    build.build_solutions(made.folder / "build" / "source")
    made.nbgrader("generate_assignment", ASSIGNMENT)
    released = made.folder / "build/release" / ASSIGNMENT / f"{NOTEBOOK}.ipynb"
    assert released.read_text() == lessons.lesson_named(NOTEBOOK).notebook.read_text()
    made.nbgrader("db", "assignment", "add", ASSIGNMENT, "--duedate=2026-01-31 12:00:00 UTC")
    made.nbgrader("release_assignment", ASSIGNMENT)
    assert ASSIGNMENT in made.nbgrader("list")
    inbound = made.folder / "exchange" / COURSE_ID / "inbound"
    for student, notebook in submissions().items():
        day = "02-15" if student == LATE else "01-15"
        stamp = f"2026-{day} 12:00:00.000000 UTC"
        folder = inbound / f"{student}+{ASSIGNMENT}+{stamp}+{secrets.token_hex(4)}"
        folder.mkdir()
        nbformat.write(notebook, folder / f"{NOTEBOOK}.ipynb")
        (folder / "timestamp.txt").write_text(stamp)
    made.nbgrader("collect", ASSIGNMENT)
    assert len(list((made.folder / "class/submitted").iterdir())) == len(submissions()) == 8
    return made


@pytest.fixture(scope="module")
def autograded(class_: Class) -> Class:
    class_.nbgrader("autograde", ASSIGNMENT, f"--GradeInSandbox.seed={SEED}")
    return class_


@pytest.fixture(scope="module")
def graded(
    class_: Class, postgresql: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Class, dict[str, dict[str, float]]]:
    """The same submissions graded by us, into PostgreSQL; with the points of `results.jsonl`, of
    what each task is worth where nothing of it is left uncounted.
    """
    worth = {task.name: task.points for task in lessons.lesson_named(NOTEBOOK).tasks}
    ours = Class(tmp_path_factory.mktemp("postgresql"), postgresql)
    shutil.copytree(class_.folder / "class/submitted", ours.folder / "class/submitted")
    unreadable = ours.folder / "class/submitted/unreadable" / ASSIGNMENT / f"{NOTEBOOK}.ipynb"
    unreadable.parent.mkdir(parents=True)
    unreadable.write_text("{")
    said = ours.run(
        "autograder.cli", "grade", "class/submitted", "--out", "results",
        "--seed", str(SEED), "--gradebook",
        code=1,  # one could not be graded
    )  # fmt: skip
    assert "Traceback" not in said
    lines = (ours.folder / "results/results.jsonl").read_text().splitlines()
    return ours, {
        Path(entry["submission"]).parts[-3]: {
            task["task"]: worth[task["task"]] * task["points"] / task["max_points"]
            for task in entry["tasks"]
        }
        for entry in map(json.loads, lines)
        if entry["status"] != "unreadable"
    }


# --------------------------------------------------------------------------------------- the scores


def test_all_scores_are_equal(autograded, graded):
    ours, journal = graded
    assert autograded.scores() == ours.scores() == journal


def test_the_scores_are_what_they_should_be(autograded):
    totals = {student: sum(tasks.values()) for student, tasks in autograded.scores().items()}
    assert totals["full-marks"] == totals["untidy"] == lessons.lesson_named(NOTEBOOK).worth.graded
    assert totals["half-done"] == totals["bare"] == totals["hostile"] > 50
    assert totals["untouched"] == totals["tampered"] == 0
    assert 0 < totals["published-mistakes"] < totals["half-done"] < 107


def test_a_notebook_that_is_out_of_order_says_so_and_is_all_right_in_its_own_kernel(
    graded, class_, tmp_path
):
    ours, _ = graded
    lines = (ours.folder / "results/results.jsonl").read_text().splitlines()
    [said] = [e["problems"] for e in map(json.loads, lines) if "/untidy/" in e["submission"]]
    assert said[0].startswith("Cell 6: Your code raised ModuleNotFoundError")
    assert any("find_places is defined in cells" in text for text in said[1:])
    path = tmp_path / "lora.ipynb"
    nbformat.write(untidy(), path)
    line = [sys.executable, "-m", "nbconvert", "--execute", "--to", "notebook", "--inplace", path]
    small = {**class_.environment, "COURSE_SCALE": "small"}
    subprocess.run(line, env=small, check=True, capture_output=True)
    cells = nbformat.read(path, as_version=4).cells
    verdicts = [str(cell.outputs) for cell in cells if cell.source.startswith("check(")]
    assert len(verdicts) == 12 and not [text for text in verdicts if "✗" in text]


def test_nbgrader_validates_a_release_by_our_verdicts(class_):
    said = class_.nbgrader("validate", f"build/release/{ASSIGNMENT}/{NOTEBOOK}.ipynb")
    failed, *rest = said.split("The following cell failed:")
    assert "VALIDATION FAILED" in failed
    for task in lessons.lesson_named(NOTEBOOK).tasks:
        assert task.manual or any(f'check("{task.name}")' in cell for cell in rest)


def test_what_could_not_be_graded_has_nothing_and_is_flagged(graded):
    ours, _ = graded
    with ours.book() as book:
        grades = book.find_submission_notebook(NOTEBOOK, ASSIGNMENT, "unreadable").grades
        assert [grade.score for grade in grades] == [0.0] * len(grades)
        assert all(grade.needs_manual_grade for grade in grades)


def test_what_is_not_met_is_said(autograded):
    with autograded.book() as book:
        where = (NOTEBOOK, ASSIGNMENT, "published-mistakes")
        said = book.find_comment("task-lora_linear", *where).comment
        assert said.startswith("Not met: ") and said.endswith(".")
        done = book.find_comment("task-lora_linear", NOTEBOOK, ASSIGNMENT, "full-marks")
        assert done.comment is None
        untouched = book.find_comment("task-lora_linear", NOTEBOOK, ASSIGNMENT, "untouched").comment
        assert untouched == "No response."


def test_a_late_submission_pays_the_course_s_penalty(autograded, graded):
    for course in (autograded, graded[0]):
        with course.book() as book:
            late = book.find_submission_notebook(NOTEBOOK, ASSIGNMENT, LATE)
            in_time = book.find_submission_notebook(NOTEBOOK, ASSIGNMENT, "full-marks")
            if course is autograded:  # the other class has no due date
                assert late.late_submission_penalty == late.score > 50
            assert in_time.late_submission_penalty in (None, 0)


def test_without_the_configuration_a_bare_check_gives_nothing(class_, tmp_path):
    notebook = example("full-marks")
    path = tmp_path / "lora.ipynb"
    cells = [cell for cell in notebook.cells if 'check("' in cell.source or "import" in cell.source]
    notebook.cells = [cell for cell in cells if cell.cell_type == "code"][:2]
    nbformat.write(notebook, path)
    environment = {**class_.environment, "NBGRADER_EXECUTION": "autograde"}
    line = [sys.executable, "-m", "nbconvert", "--execute", "--allow-errors", "--to", "notebook"]
    subprocess.run([*line, "--inplace", path], env=environment, check=True, capture_output=True)
    said = path.read_text(encoding="utf-8")
    assert "RuntimeError" in said and "nbgrader_config.py" in said


# ------------------------------------------------------------------------------------- by a person


@pytest.fixture(scope="module")
def formgrader(autograded: Class) -> Iterator[str]:
    """Formgrader's address, with its token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    extensions = "{'nbgrader.server_extensions.formgrader': True}"
    line = [
        sys.executable, "-m", "jupyter", "server", "--no-browser", f"--port={port}",
        "--allow-root", "--IdentityProvider.token=token", "--ServerApp.port_retries=0",
        f"--ServerApp.jpserver_extensions={extensions}",
    ]  # fmt: skip
    with (autograded.folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            line, cwd=autograded.folder, env=autograded.environment, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}/formgrader"

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/?token=token") as got:
            return got.status == 200
        return False

    try:
        assert settles(answers, 60), (autograded.folder / "server.log").read_text()[-3000:]
        yield address
    finally:
        server.terminate()
        server.wait(30)


def open_submission(page, formgrader: str, course: Class, student: str) -> None:
    with course.book() as book:
        number = book.find_submission_notebook(NOTEBOOK, ASSIGNMENT, student).id
    page.goto(f"{formgrader.removesuffix('/formgrader')}/login?token=token")
    page.goto(f"{formgrader}/submissions/{number}/", wait_until="networkidle")


def test_a_person_grades_the_free_text_by_its_rubric(page, formgrader, autograded):
    before = autograded.total("full-marks")
    open_submission(page, formgrader, autograded, "full-marks")
    assert page.get_by_text("the base is frozen and whole").first.is_visible()  # of the rubric
    score = page.locator(f"#{TEXT}")
    score.click()
    score.press_sequentially(str(FULL))
    score.press("Tab")
    comment = page.locator(f"#{TEXT}-comment")
    comment.click()
    comment.press_sequentially("Well put.")
    comment.press("Tab")
    log = (autograded.folder / "server.log").read_text
    assert settles(lambda: autograded.total("full-marks") == before + FULL, 10), log()[-3000:]
    with autograded.book() as book:
        where = (TEXT, NOTEBOOK, ASSIGNMENT, "full-marks")
        assert settles(lambda: book.find_comment(*where).comment == "Well put.", 10)


def test_grading_again_keeps_what_a_person_gave(autograded):
    with autograded.book() as book:
        where = (NOTEBOOK, ASSIGNMENT, "half-done")
        book.find_grade(TEXT, *where).manual_score = 4.0
        book.find_grade(TEXT, *where).extra_credit = 1.0
        book.find_comment(TEXT, *where).manual_comment = "Say what does not shrink."
        book.db.commit()
    total = autograded.total("half-done")
    autograded.nbgrader("autograde", ASSIGNMENT, "--student=half-done", "--force")
    assert autograded.total("half-done") == total
    with autograded.book() as book:
        grade = book.find_grade(TEXT, *where)
        assert (grade.manual_score, grade.extra_credit) == (4.0, 1.0)
        assert book.find_comment(TEXT, *where).comment == "Say what does not shrink."


def test_formgrader_runs_nothing_of_a_stranger_s(page, formgrader, autograded):
    seen = watch(page)
    open_submission(page, formgrader, autograded, "hostile")
    page.wait_for_timeout(500)
    assert page.evaluate("window.got") is None
    assert seen.dialogs == seen.popups == []
    own = formgrader.removesuffix("/formgrader")
    strange = [url for url in seen.requests if not url.startswith(own)]
    assert [url for url in strange if "127.0.0.1" in url] == []
    hrefs = page.eval_on_selector_all("a[href]", "all => all.map(each => each.href)")
    assert [href for href in hrefs if href.startswith("javascript")] == []


# -------------------------------------------------------------------------------------- the way out


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def feedback(request) -> tuple[Class, Path]:
    if request.param == "sqlite":
        course = request.getfixturevalue("autograded")
    else:
        course, _ = request.getfixturevalue("graded")
        shutil.rmtree(course.folder / "class/submitted/unreadable")
        shutil.rmtree(course.folder / "class/autograded/unreadable", ignore_errors=True)
    course.nbgrader("generate_feedback", ASSIGNMENT)
    return course, course.folder / "class/feedback"


def test_feedback_shows_no_hidden_check(feedback):
    _, folder = feedback
    hidden = ast.parse((ROOT / "autograder/checks/hidden/test_lora.py").read_text("utf-8"))
    checks = [node for node in hidden.body if isinstance(node, ast.FunctionDef)]
    names = [check.name for check in checks if check.name.startswith("test_")]
    code = [ast.unparse(line) for check in checks for line in check.body[1:]]
    lines = [line for text in code for line in text.splitlines() if len(line) > 30]
    pages = list(folder.glob("*/*/*.html"))
    assert len(pages) == len(submissions()) and len(names) > 50 and len(lines) > 300
    for path in pages:
        text = path.read_text(encoding="utf-8")
        assert [name for name in names if name in text] == []
        assert [line for line in lines if line in text] == []


def test_feedback_says_what_was_found(feedback):
    _, folder = feedback
    text = (folder / "half-done" / ASSIGNMENT / f"{NOTEBOOK}.html").read_text(encoding="utf-8")
    assert "✗ failed" in text and "✓ passed" in text


def test_feedback_runs_nothing_of_a_stranger_s(page, feedback):
    _, folder = feedback
    seen = watch(page)
    page.goto((folder / "hostile" / ASSIGNMENT / f"{NOTEBOOK}.html").as_uri())
    page.wait_for_timeout(500)
    assert page.evaluate("window.got") is None
    assert seen.dialogs == seen.popups == []
    assert [url for url in seen.requests if "127.0.0.1" in url] == []
    hrefs = page.eval_on_selector_all("a[href]", "all => all.map(each => each.href)")
    assert [href for href in hrefs if href.startswith("javascript")] == []


def test_grades_go_out(feedback):
    course, _ = feedback
    course.nbgrader("export", "--to=grades.csv")
    with (course.folder / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    for student in submissions():
        penalty = float(rows[student]["late_submission_penalty"])
        assert float(rows[student]["score"]) == max(0.0, course.total(student) - penalty)
