"""The course's folder: whose a notebook is, what is copied into it, what is refused; and that what
one student hands in costs the others nothing. A whole class is in tests/test_class.py."""

import json
import os
import shutil
from pathlib import Path

import pytest
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI

from autograder.authoring import build
from autograder.grading.results_format import record
from autograder.lms.gradebook import Course, Entry, GradebookError
from autograder.scores import Score, TaskScore
from tests.conftest import ROOT, lora, write_notebook

ANSWER = ['check("lora_linear")', "class LoRALinear:\n    pass"]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A course whose gradebook knows 04_lora."""
    folder = tmp_path_factory.mktemp("known")
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    build.build_solutions(folder / "build" / "source", only="04_lora")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        course = Course()
    api = NbGraderAPI(course._directory, config=course._config)
    assert api.generate_assignment("04_lora")["success"]
    return folder


@pytest.fixture
def course(known, tmp_path, monkeypatch):
    folder = shutil.copytree(known, tmp_path / "course")
    monkeypatch.chdir(folder)
    return Course()


def entered(course, *paths, force=False):
    return list(course.enter(list(paths), None, force).values())


def test_a_notebook_is_its_file_s_or_its_folder_s(course, tmp_path):
    flat = write_notebook(tmp_path / "in" / "alice.ipynb", ANSWER)
    folder = write_notebook(tmp_path / "in" / "bob" / "lora.ipynb", ANSWER)
    entries = entered(course, flat, folder)
    assert [(entry.student, entry.assignment) for entry in entries] == [
        ("alice", "04_lora"), ("bob", "04_lora")
    ]  # fmt: skip
    for entry in entries:
        assert entry.path == course.submitted / entry.student / "04_lora" / "lora.ipynb"
        assert "class LoRALinear" in entry.path.read_text(encoding="utf-8")


def test_what_is_in_the_course_stays_as_it_is(course):
    path = write_notebook(course.submitted / "carol" / "week_4" / "lora.ipynb", ANSWER)
    before = path.read_bytes()
    assert entered(course, path) == [Entry(path, "carol", "week_4")]
    assert path.read_bytes() == before


def test_percent_form_becomes_a_notebook(course, tmp_path):
    path = tmp_path / "dora.py"
    path.write_text("# %%\nclass LoRALinear:\n    pass\n", encoding="utf-8")
    [entry] = entered(course, path)
    assert entry.path.suffix == ".ipynb" and "LoRALinear" in entry.path.read_text(encoding="utf-8")


def test_what_cannot_be_told_is_left_out(course, tmp_path):
    broken = tmp_path / "eve.ipynb"
    broken.write_text("{")
    foreign = write_notebook(tmp_path / "else.ipynb", ["x = 1"])
    assert entered(course, broken, foreign) == [None, None]


def test_a_student_is_called_as_the_platform_s_folder_says(course, tmp_path):
    folders = ("Anna A_101_assignsubmission_file_", "Anna A_102_assignsubmission_file_")
    paths = [write_notebook(tmp_path / "in" / each / "homework.ipynb", ANSWER) for each in folders]
    assert [entry.student for entry in entered(course, *paths)] == ["Anna A 101", "Anna A 102"]


def test_one_student_has_one_notebook(course, tmp_path):
    places = ("in/alice/a", "in/alice/bob", "in/bob/lora", "in/carol/alice")
    paths = [write_notebook(tmp_path / f"{place}.ipynb", ANSWER) for place in places]
    entries = entered(course, *paths)
    assert entries[:2] == [None, None] and not (course.submitted / "alice").exists()
    assert [entry.student for entry in entries[2:]] == ["bob", "carol"]


def test_of_names_that_differ_in_odd_signs_only_each_has_a_place(course, tmp_path):
    names = ("~anna", "anna", "an na", "an_na")
    paths = [write_notebook(tmp_path / f"{name}.ipynb", ANSWER) for name in names]
    students = [entry.student for entry in entered(course, *paths)]
    assert students[1:] == ["anna", "an na", "an_na"]
    assert students[0].startswith("anna-")
    alone = [entered(course, path, force=True)[0].student for path in paths]
    assert alone == students, "whoever else is there"


def test_another_notebook_is_replaced_only_by_force(course, tmp_path):
    path = write_notebook(tmp_path / "alice.ipynb", ANSWER)
    [entry] = entered(course, path)
    entered(course, path)  # the same again
    write_notebook(path, [*ANSWER, "more = 1"])
    with pytest.raises(GradebookError, match="--force"):
        entered(course, path)
    entered(course, path, force=True)
    assert "more = 1" in entry.path.read_text(encoding="utf-8")


def test_a_name_stays_within_the_course(course, tmp_path):
    path = write_notebook(tmp_path / "..%2F..\\x *[a].ipynb", ANSWER)
    [entry] = entered(course, path)
    assert entry.path.parent.parent.parent == course.submitted


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://x/y", "postgresql+psycopg://u@127.0.0.1:1/x?connect_timeout=2"]
)
def test_a_gradebook_that_cannot_be_opened_is_said(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GradebookError, match="the gradebook cannot be used") as said:
        Course(url)
    assert "postgresql+psycopg://" in str(said.value)


# ------------------------------------------------------------------ what lies in the course already


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("of somebody else")
    return path


def replaced(course, tmp_path, plant):
    """Enter bob's notebook, by force, where `plant` has put something into its place."""
    target = course.submitted / "bob" / "04_lora" / "lora.ipynb"
    target.parent.mkdir(parents=True)
    plant(target)
    path = write_notebook(tmp_path / "bob.ipynb", ANSWER)
    with pytest.raises(GradebookError, match="--force"):
        entered(course, path)
    entered(course, path, force=True)
    assert not target.is_symlink() and "LoRALinear" in target.read_text(encoding="utf-8")
    assert list(target.parent.iterdir()) == [target]


def test_a_link_in_a_notebook_s_place_is_replaced_and_not_followed(course, tmp_path, secret):
    replaced(course, tmp_path, lambda target: target.symlink_to(secret))
    assert secret.read_text() == "of somebody else"


def test_a_link_to_nothing_makes_no_file(course, tmp_path):
    replaced(course, tmp_path, lambda target: target.symlink_to(tmp_path / "made"))
    assert not (tmp_path / "made").exists()


def test_a_fifo_in_a_notebook_s_place_is_not_waited_for(course, tmp_path):
    replaced(course, tmp_path, os.mkfifo)


def test_what_is_no_text_in_a_notebook_s_place_is_replaced(course, tmp_path):
    replaced(course, tmp_path, lambda target: target.write_bytes(b"\xff"))


def test_a_linked_folder_is_refused(course, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    course.submitted.mkdir(parents=True)
    (course.submitted / "bob").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GradebookError, match="symbolic link"):
        entered(course, write_notebook(tmp_path / "bob.ipynb", ANSWER), force=True)
    assert not list((tmp_path / "elsewhere").iterdir())


# -------------------------------------------------------------------------------------- the filling

FULL = tuple(
    TaskScore(task.name, task.title, task.points, task.points, ()) for task in lora().tasks
    if not task.manual
)  # fmt: skip


def handed_in(course, *parts):
    return write_notebook(course.submitted.joinpath(*parts), ANSWER)


def filled(course, *scores):
    """Fill from a run that gave `scores`: path -> status; return what is said, by path."""
    entries = list(course.enter([Path(path) for path, _ in scores], None, False).values())
    lines = []
    for (path, status), entry in zip(scores, entries, strict=True):
        tasks = FULL if status == "graded" else ()
        score = Score(str(entry.path if entry else path), "lora", status, "none", tasks=tasks)
        lines.append(json.dumps(record(score)))
    run = course.submitted.parent / "run"
    run.mkdir()
    (run / "results.jsonl").write_text("\n".join(lines) + "\n")
    return dict(zip([str(path) for path, _ in scores], course.fill(run, entries), strict=True))


def points(course, student):
    """Return what the gradebook has of a student's answer, and whether a person is to look."""
    book = Gradebook(f"sqlite:///{course.submitted.parent}/gradebook.db", "fine_tuning_interviews")
    with book:
        grades = book.find_submission_notebook("lora", "04_lora", student).grades
        return sum(each.auto_score or 0 for each in grades), any(
            each.needs_manual_grade for each in grades if each.auto_score is not None
        )


ALL = sum(task.points for task in FULL)


def test_a_link_to_another_s_notebook_costs_the_other_nothing(course):
    alice = handed_in(course, "alice", "04_lora", "lora.ipynb")
    mallory = course.submitted / "mallory" / "04_lora" / "lora.ipynb"
    mallory.parent.mkdir(parents=True)
    mallory.symlink_to("../../alice/04_lora/lora.ipynb")
    zoe = handed_in(course, "Zoe Z 103", "04_lora", "lora.ipynb")
    said = filled(course, (alice, "graded"), (mallory, "unreadable"), (zoe, "graded"))
    assert said[str(alice)] == said[str(zoe)] == ""
    assert "symbolic link" in said[str(mallory)] and "waits for a person" in said[str(mallory)]
    assert points(course, "alice")[0] == points(course, "Zoe Z 103")[0] == ALL
    assert points(course, "mallory") == (0, True)


def test_what_cannot_be_filled_is_told_and_the_others_are_filled(course):
    alice = handed_in(course, "alice", "04_lora", "lora.ipynb")
    extra = alice.with_name("extra.ipynb")
    extra.write_text("{")
    foreign = handed_in(course, "mallory", "zzz", "lora.ipynb")
    several = handed_in(course, "mallory", "*", "lora.ipynb")
    zoe = handed_in(course, "zoe", "04_lora", "lora.ipynb")
    said = filled(
        course, (several, "graded"), (foreign, "graded"), (extra, "unreadable"),
        (alice, "graded"), (zoe, "graded"),
    )  # fmt: skip
    assert "No such notebook: 04_lora/extra" in said[str(extra)]
    assert "does not know zzz" in said[str(foreign)]
    assert "does not know *" in said[str(several)]
    assert said[str(alice)] == said[str(zoe)] == ""
    assert points(course, "alice")[0] == points(course, "zoe")[0] == ALL


def test_nothing_beside_a_notebook_is_waited_for_or_followed(course, secret):
    bob = handed_in(course, "bob", "04_lora", "lora.ipynb")
    os.mkfifo(bob.with_name("timestamp.txt"))
    eve = handed_in(course, "eve", "04_lora", "lora.ipynb")
    eve.with_name("data.csv").symlink_to(secret)
    zoe = handed_in(course, "zoe", "04_lora", "lora.ipynb")
    zoe.with_name("data.csv").write_text("1,2\n")
    said = filled(course, (bob, "graded"), (eve, "graded"), (zoe, "graded"))
    assert "timestamp.txt is a symbolic link, or no plain file" in said[str(bob)]
    assert "data.csv" in said[str(eve)] and said[str(zoe)] == ""
    assert points(course, "bob") == points(course, "eve") == (0, True)
    assert points(course, "zoe")[0] == ALL
    copied = course.submitted.parent / "autograded"
    assert [path.parent.parent.name for path in copied.rglob("data.csv")] == ["zoe"]


def test_of_two_results_of_one_notebook_none_counts(course):
    alice = handed_in(course, "alice", "04_lora", "lora.ipynb")
    zoe = handed_in(course, "zoe", "04_lora", "lora.ipynb")
    run = course.submitted.parent / "run"
    run.mkdir()
    names = (alice, alice.parent / ".." / "04_lora" / "lora.ipynb", zoe)
    scores = [Score(str(name), "lora", "graded", "none", tasks=FULL) for name in names]
    (run / "results.jsonl").write_text("".join(f"{json.dumps(record(each))}\n" for each in scores))
    entries = [Entry(path, path.parts[-3], "04_lora") for path in (alice, zoe)]
    twice, once = course.fill(run, entries)
    assert "2 results of it, not one" in twice and once == ""


def test_a_result_of_another_lesson_is_told_in_words(course):
    alice = handed_in(course, "alice", "04_lora", "lora.ipynb")
    run = course.submitted.parent / "run"
    run.mkdir()
    score = Score(str(alice), "sft", "graded", "none", tasks=FULL)
    (run / "results.jsonl").write_text(f"{json.dumps(record(score))}\n")
    [said] = course.fill(run, [Entry(alice, "alice", "04_lora")])
    assert "graded as sft, which is another lesson" in said
    assert points(course, "alice")[1]
