"""Names of submissions: short, telling, and whose they are."""

import pytest

from autograder.reporting import submission_names
from tests.classes import HOSTILE, score


def labels(*submissions):
    return list(submission_names.labels([score(each, [[1.0]]) for each in submissions]).values())


@pytest.mark.parametrize(
    "submissions, expected",
    [
        (["class/anna.ipynb", "class/bert.ipynb"], ["anna", "bert"]),
        (["class/anna/lora.ipynb", "class/bert/lora.ipynb"], ["anna", "bert"]),
        (["c/anna/lora/lora.ipynb", "c/bert/lora/lora.ipynb"], ["anna", "bert"]),
        (["c/anna/lora.ipynb", "c/anna/sft.ipynb"], ["lora", "sft"]),
        (["c/a/lora.ipynb", "c/a/sft.ipynb", "c/b/lora.ipynb"], ["a/lora", "a/sft", "b/lora"]),
        (["c/a.ipynb", "c/a.py"], ["a", "a (2)"]),
        (["c/only.ipynb"], ["only"]),
        (["lora.ipynb", "a/lora.ipynb"], ["lora", "a/lora"]),
        ([], []),
        (["..", "/", ""], ["..", "submission", "submission (2)"]),
    ],
    ids=str,
)
def test_a_label_is_what_tells_a_submission_from_the_others(submissions, expected):
    assert labels(*submissions) == expected


def test_labels_are_short_clean_and_unique():
    odd = [HOSTILE, HOSTILE + " ", *("c/" + "x" * 5000 + end for end in "12"), "\ud800", "\ud801"]
    found = labels(*odd)
    assert len(set(found)) == len(odd)
    for label in found:
        assert len(label) <= submission_names.MAX_LABEL + 4
        assert not set(label) & set("\0\x1b\ud800\u202e\n")


@pytest.mark.parametrize(
    "submission, whose",
    [
        ("class/anna.ipynb", ("anna", "")),
        ("class/anna/lora.ipynb", ("anna", "")),
        ("submitted/anna/lora/lora.ipynb", ("anna", "")),
        ("submitted/anna/04_lora/lora.ipynb", ("anna", "")),
        ("lora.ipynb", ("lora", "")),
        ("down/smithbob_340934_208490284_lora.ipynb", ("smithbob", "340934")),
        ("down/smithbob_LATE_340934_208490284_lora-1.ipynb", ("smithbob", "340934")),
        ("down/bob_1.ipynb", ("bob_1", "")),
        ("../lora.ipynb", ("lora", "")),
        ("submitted/eve/04_lora/bob_4711_1_lora.ipynb", ("eve", "")),
    ],
)
def test_a_submission_is_its_file_s_or_its_folder_s(submission, whose):
    assert submission_names.students({submission: "lora"}) == {submission: whose}


@pytest.mark.parametrize(
    "submissions, whose",
    [
        (["c/anna.ipynb", "c/bert.ipynb"], "anna bert"),
        (["c/anna/any.ipynb", "c/bert/bob_4711_1_lora.ipynb"], "anna bert"),
        (["c/anna/any.ipynb", "c/eve/bob_47_1_a.ipynb", "c/eve/bob_47_2_b.ipynb", "c/z/a.ipynb"],
         "anna eve eve z"),
        (["c/anna/any.ipynb", "c/eve/anna/lora.ipynb"], "anna eve"),
        (["s/anna/04_lora/a.ipynb", "s/eve/anna/b.ipynb", "s/eve/04_lora/c.ipynb", "s/z/a.ipynb"],
         "anna eve eve z"),
        (["Anna_12_assignsubmission_file_/x.ipynb", "Eve_13_assignsubmission_file_/a_1_2_x.ipynb"],
         "Anna_12_assignsubmission_file_ Eve_13_assignsubmission_file_"),
        (["c/lora/anna.ipynb", "c/lora/bert.ipynb"], "anna bert"),
        (["mon/anna/lora.ipynb", "mon/bert/lora.ipynb", "tue/carl/a.ipynb"], "anna bert carl"),
        (["one/a_1_10_x.ipynb", "one/b_2_11_x.ipynb", "two/a_1_12_y.ipynb"], "a:1 b:2 a:1"),
        (["c/anna.ipynb", "c/bert/lora.ipynb"], "anna bert"),
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_is_one_student_s_whatever_the_files_in_it_are_called(submissions, whose):
    found = submission_names.students(dict.fromkeys(submissions, "lora"))
    assert [":".join(filter(None, each)) for each in found.values()] == whose.split()


def test_a_student_s_notebooks_of_several_lessons_are_no_class():
    lesson_of = {f"c/{who}/my_{each}.ipynb": each for who in ("a", "b") for each in ("lora", "sft")}
    assert [who for who, _ in submission_names.students(lesson_of).values()] == ["a", "a", "b", "b"]


def test_a_path_as_deep_as_may_be_is_somebody_s():
    deep = "c/" + "a/" * 2000
    found = submission_names.students({f"{deep}x.ipynb": "lora", f"{deep}y.ipynb": ""})
    assert [who for who, _ in found.values()] == ["x", "y"]
