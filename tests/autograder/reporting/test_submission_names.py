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
    ],
)
def test_a_submission_is_its_file_s_or_its_folder_s(submission, whose):
    assert submission_names.student(submission) == whose
