"""What submissions are called: short, telling, each otherwise, and as their students are."""

import pytest

from autograder.reporting import submission_names
from autograder.reporting.submission_names import file_name, names, students
from autograder.scores import Learner
from tests.classes import HOSTILE, score


def lora(_):
    return "lora"


def called(*submissions, lesson_of=lora):
    return [name for name, _ in names(submissions, lesson_of).values()]


def whose(*submissions, lesson_of=lora):
    return list(students(submissions, lesson_of).values())


# -------------------------------------------------------------------------------- what it is called


@pytest.mark.parametrize(
    "submissions, expected",
    [
        (["class/anna.ipynb", "class/bert.ipynb"], ["anna", "bert"]),
        (["class/anna/lora.ipynb", "class/bert/lora.ipynb"], ["anna", "bert"]),
        (["c/anna/lora/lora.ipynb", "c/bert/lora/lora.ipynb"], ["anna", "bert"]),
        (["c/a/x.ipynb", "c/a/y.ipynb", "c/b/x.ipynb", "c/d/x.ipynb"], ["a x", "a y", "b", "d"]),
        (["c/a/1/x.ipynb", "c/a/2/x.ipynb", "c/b/x.ipynb", "c/d/x.ipynb"],
         ["a 1 x", "a 2 x", "b", "d"]),
        (["c/a.ipynb", "c/A.ipynb"], ["a", "A 2"]),
        (["c/a.ipynb", "c/a.ipynb.txt", "c/b.IPYNB"], ["a", "a 2", "b"]),
        (["c/only.ipynb"], ["only"]),
        (["s/anna/04_lora/lora.ipynb", "s/bert/04_lora/lora.ipynb"], ["anna", "bert"]),
        (["/", ""], ["submission", "submission 2"]),
        ([], []),
    ],
    ids=str,
)  # fmt: skip
def test_a_submission_is_called_as_its_student_and_no_other_is(submissions, expected):
    assert called(*submissions) == expected


def test_a_student_s_notebooks_of_several_lessons_are_told_apart():
    paths = [f"s/{who}/{each}.ipynb" for who in "ab" for each in ("04_lora/hw", "02_sft/hw")]
    assert called(*paths, lesson_of=lambda path: path.split("/")[2][3:]) == [
        "a 04_lora hw", "a 02_sft hw", "b 04_lora hw", "b 02_sft hw",
    ]  # fmt: skip


def test_names_are_short_clean_and_unique():
    odd = [HOSTILE, HOSTILE + " ", *("c/" + "x" * 5000 + end for end in "12"), "\ud800", "\ud801"]
    found = called(*odd)
    assert len({file_name(name).casefold() for name in found}) == len(odd)
    for name in found:
        assert len(name) <= submission_names.MAX_LABEL + 4
        assert not set(name) & set("\0\x1b\ud800\u202e\n")


def test_a_name_stays_whoever_comes_later():
    paths = [f"in/{each}.ipynb" for each in ("anna/a", "bert/a", "carl/a", "anna/b")]
    before = names(paths[:3], lora)
    after = names(paths, lora, before)
    assert [name for name, _ in after.values()] == ["anna", "bert", "carl", "anna b"]
    assert [str(who) for _, who in after.values()] == ["anna", "bert", "carl", "anna"]


def test_below_a_folder_that_is_named_the_first_to_come_is_called_by_its_own():
    for path, name in (("anna/homework", "anna"), ("anna", "anna"), ("lora", "lora")):
        found = names([f"in/box/{path}.ipynb"], lora, below=2)
        assert [each for each, _ in found.values()] == [name]


def test_scores_of_before_there_were_names_get_theirs():
    made = submission_names.named([score("c/a.ipynb", [[1.0]]), score("c/b.ipynb", [[1.0]])])
    assert [each.name for each in made] == ["a", "b"] == [each.student.name for each in made]


@pytest.mark.parametrize(
    "text, name",
    [
        ("Anna A 101", "Anna A 101"),
        ("Émile-2", "Émile-2"),
        ("an_na.v1", "an_na.v1"),
        ("passwd", "passwd"),
        ("_", "submission-d2e2ad"),
        ("<b>&", "b-b5400d"),
        (" alice", "alice-e50d4c"),
        ("x" * 300, "x" * 80 + "-" + file_name("x" * 300)[-6:]),
    ],
)
def test_file_names(text, name):
    assert file_name(text) == name


def test_file_names_are_safe_and_one_s_own_whatever_the_texts_are():
    odd = ["/", "..", "a\nb", "con", "\ud800", "é", "e\u0301", "a b", "a_b", "a  b", "", "-rf"]
    odd += ["NUL", "nul.tar.gz", "aux.", "com1", "LPT9.x", "a b ", "x" * 79 + " y"]
    found = [file_name(text) for text in odd]
    assert len({name.casefold() for name in found}) == len(odd)
    for name in found:
        assert name and name.encode("utf-8") and not set(name) & set('/\\\n\0<>:"|?*')
        device = name.partition(".")[0].casefold()
        assert device not in ("con", "nul", "aux", "com1", "lpt9") and name[-1] not in ". "


# -------------------------------------------------------------------------------------- whose it is


@pytest.mark.parametrize(
    "submission, name, number",
    [
        ("class/anna.ipynb", "anna", ""),
        ("class/anna/lora.ipynb", "anna", ""),
        ("submitted/anna/lora/lora.ipynb", "anna", ""),
        ("submitted/anna/04_lora/lora.ipynb", "anna", ""),
        ("lora.ipynb", "lora", ""),
        ("down/smithbob_340934_208490284_lora.ipynb", "smithbob", "340934"),
        ("down/smithbob_LATE_340934_208490284_lora-1.ipynb", "smithbob", "340934"),
        ("down/smith_bob_340934_208490284_lora.zip", "smith_bob", "340934"),
        ("down/LATE_anon_aB3x_208490284_lora.ipynb.txt", "anon_aB3x", ""),
        ("down/bob_1.ipynb", "bob_1", ""),
        ("../lora.ipynb", "lora", ""),
        ("submitted/eve/04_lora/bob_4711_1_lora.ipynb", "eve", ""),
        ("dl/Anna A_101_assignsubmission_file_/homework.ipynb", "Anna A", "101"),
        ("dl/Anna A_101_assignsubmission_file_/src/homework.ipynb", "Anna A", "101"),
        ("dl/Anna A_101_assignsubmission_file_homework.ipynb", "Anna A", "101"),
        ("dl/Home_work_abc12_attempt_2026-11-30-12-00-00_lora.ipynb", "abc12", ""),
        (
            "dl/Home_work_eve_attempt_2026-11-30-12-00-00_x_bob_attempt_2025-11-30-12-00-00_lora.ipynb",
            "eve",
            "",
        ),
        ("in/anna+04_lora+2026-11-30 12:00:00.5 UTC+a1/lora.ipynb", "anna", ""),
    ],
)
def test_a_submission_is_its_file_s_or_its_folder_s(submission, name, number):
    [found] = whose(submission)
    assert (found.name, found.number) == (name, number)


@pytest.mark.parametrize(
    "submissions, expected",
    [
        (["c/anna.ipynb", "c/bert.ipynb"], "anna,bert"),
        (["c/anna/any.ipynb", "c/bert/bob_4711_1_lora.ipynb"], "anna,bert"),
        (["c/anna/any.ipynb", "c/eve/bob_47_1_a.ipynb", "c/eve/bob_47_2_b.ipynb", "c/z/a.ipynb"],
         "anna,eve,eve,z"),
        (["c/anna/any.ipynb", "c/eve/anna/lora.ipynb"], "anna,eve"),
        (["s/anna/04_lora/a.ipynb", "s/eve/anna/b.ipynb", "s/eve/04_lora/c.ipynb", "s/z/a.ipynb"],
         "anna,eve,eve,z"),
        (["Anna_12_assignsubmission_file_/x.ipynb", "Eve_13_assignsubmission_file_/a_1_2_x.ipynb"],
         "Anna 12,Eve 13"),
        (["A A_1_assignsubmission_file_/x.ipynb", "A A_2_assignsubmission_file_/x.ipynb",
          "A A_2_assignsubmission_file_/y.ipynb"], "A A 1,A A 2,A A 2"),
        (["c/anna/x.ipynb", "c/eve/Bela_2_assignsubmission_file_/x.ipynb", "c/z/x.ipynb"],
         "anna,eve,z"),
        (["c/lora/anna.ipynb", "c/lora/bert.ipynb"], "anna,bert"),
        (["mon/anna/lora.ipynb", "mon/bert/lora.ipynb", "tue/carl/a.ipynb"], "anna,bert,carl"),
        (["one/a_1_10_x.ipynb", "one/b_2_11_x.ipynb", "two/a_1_12_y.ipynb"], "a 1,b 2,a 1"),
        (["c/anna.ipynb", "c/bert/lora.ipynb"], "anna,bert"),
        (["c/bob_11_900_lora.ipynb", "c/eve_77_901_x_bob_attempt_2024-01-02-03-04-05_lora.ipynb"],
         "bob 11,eve 77"),
    ],
    ids=str,
)  # fmt: skip
def test_a_folder_is_one_student_s_whatever_the_files_in_it_are_called(submissions, expected):
    assert ",".join(map(str, whose(*submissions))) == expected


def test_a_student_s_notebooks_of_several_lessons_are_no_class():
    lesson_of = {f"c/{who}/my_{each}.ipynb": each for who in ("a", "b") for each in ("lora", "sft")}
    found = whose(*lesson_of, lesson_of=lesson_of.__getitem__)
    assert [who.name for who in found] == ["a", "a", "b", "b"]


def test_no_lesson_is_asked_where_each_has_a_file_or_a_folder_of_their_own():
    for paths in (["c/a.ipynb", "c/b.ipynb"], ["c/a/x.ipynb", "c/b/x.ipynb"]):
        assert [who.name for who in whose(*paths, lesson_of=pytest.fail)] == ["a", "b"]


def test_a_path_as_deep_as_may_be_is_somebody_s():
    deep = "c/" + "a/" * 2000
    found = whose(f"{deep}x.ipynb", f"{deep}y.ipynb", lesson_of=lambda _: "")
    assert [who.name for who in found] == ["x", "y"]


METADATA = """---
submission_11:
  :submitters:
  - :name: Anna A
    :sid: '101'
    :email: anna@x.invalid
  - :name: Bela B
    :sid: '102'
  :results:
    :output: |
      submission_12:
        :name: Eve
submission_12:
  :submitters:
  - :name: "Cem \\"C\\""
    :sid:
  :score: 3
"""


def test_gradescope_s_list_says_whose_a_folder_is(tmp_path):
    folder = tmp_path / "assignment_1_export"
    folder.mkdir()
    (folder / "submission_metadata.yml").write_text(METADATA)
    paths = [str(folder / f"submission_{number}" / "lora.ipynb") for number in (11, 12, 13)]
    assert whose(*paths) == [
        Learner("Anna A", "101", "gradescope"), Learner('Cem "C"', "", "gradescope"),
        Learner("submission_13"),
    ]  # fmt: skip
