"""The formats of other systems: what they ask for, and nothing that they would run or reveal."""

import csv
import io
import json
from dataclasses import replace

import pytest

from autograder.reporting import exports
from autograder.reporting.submission_names import named
from tests.classes import HOSTILE, check, hostile, score, timed, unreadable, varied


def table(text):
    return list(csv.reader(io.StringIO(text, newline="")))


# ------------------------------------------------------------------------------------- spreadsheets


def test_the_spreadsheet_has_a_row_a_check():
    text = exports.checks_csv([score("a", [[1.0, 0.5], [timed(0.4)]]), unreadable("b", "empty")])
    head, *rows = table(text)
    assert head == list(exports.CHECKS_HEAD)
    one, half, slow, lost = (dict(zip(head, row, strict=True)) for row in rows)
    assert (one["task"], one["check"], one["outcome"]) == ("lora_forward", "test_1", "passed")
    assert (one["hidden"], half["hidden"]) == ("no", "yes")
    assert (half["points"], half["max_points"]) == ("1.0", "2.0")
    assert (slow["ratio"], slow["required"], one["ratio"]) == ("0.4", "0.8", "")
    assert (lost["submission"], lost["status"]) == ("b", "unreadable")
    assert "empty" in lost["message"] and lost["task"] == ""


def test_no_cell_of_a_hostile_class_is_a_formula_or_holds_a_control_character():
    for text in (exports.checks_csv(hostile()), exports.canvas_csv(named(hostile()), str)):
        for row in table(text):
            for cell in row:
                assert not set(cell) & set("\0\x1b\ud800\u202e")
                assert cell == exports.POINTS_POSSIBLE or cell.strip()[:1] not in tuple("=+-@")
        text.encode()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " ="])
def test_a_formula_in_any_text_is_quoted(start):
    bomb = f"{start}cmd|' /C calc'!A0"
    made = score(bomb, [[replace(check(1, 0.0), requirement=bomb)]], text=bomb)
    for row in table(exports.checks_csv([made]))[1:]:
        assert all(cell[:1] in "'\ufffd" for cell in row if "calc" in cell)


# ------------------------------------------------------------------------------------------- Canvas


def test_canvas_gets_a_row_a_student_and_a_column_a_lesson():
    scores = [
        score("c/anna/lora.ipynb", [[1.0, 0.5]]),
        score("c/anna/sft.ipynb", [[1.0]], "sft"),
        score("c/bert/lora.ipynb", [[0.0, 0.0]]),
        score("c/smithbob_340934_208490284_lora.ipynb", [[1.0, 1.0]]),
        unreadable("c/emma/lora.ipynb"),
    ]
    head, possible, *rows = table(exports.canvas_csv(named(scores), pytest.fail))
    assert head[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert len(head) == 7 and len(set(head)) == 7
    assert possible == ["    Points Possible", "", "", "", "", "2.0", "4.0"]
    assert rows == [
        ["anna", "", "", "anna", "", "2.0", "3.0"],
        ["bert", "", "", "bert", "", "", "0.0"],
        ["smithbob", "340934", "", "", "", "", "4.0"],
        ["emma", "", "", "emma", "", "", ""],
    ]


def test_canvas_takes_one_score_of_a_student_and_the_others_all_the_same():
    scores = [
        score(f"c/{each}.ipynb", [[1.0]]) for each in ("anna/lora", "anna/more", "bert/lora")
    ] + [score("c/anna/sft.ipynb", [[1.0]], "sft"), score("c/carl/bert.ipynb", [[0.5]])]
    told = []
    rows = table(exports.canvas_csv(named(scores), told.append))[2:]
    assert [(row[0], *row[5:]) for row in rows] == [
        ("anna", "2.0", ""), ("bert", "", "2.0"), ("carl", "", "1.0")
    ]  # fmt: skip
    [sentence] = told
    assert "anna has 2 submissions in lora" in sentence and "none of them" in sentence


def test_a_number_of_canvas_s_is_one_student_whatever_name_stands_with_it():
    names = ("bob_5_9", "zed_5_9", "amy_7_9")
    scores = [score(f"c/{each}_lora.ipynb", [[1.0]]) for each in names]
    told = []
    rows = table(exports.canvas_csv(named(scores), told.append))[2:]
    assert [(row[0], row[1], row[5]) for row in rows] == [("bob", "5", ""), ("amy", "7", "2.0")]
    [sentence] = told
    assert "bob 5 has 2 submissions in lora" in sentence


def test_no_name_is_taken_for_the_row_of_points():
    text = exports.canvas_csv(named([score("    Points Possible.ipynb", [[1.0]])]), pytest.fail)
    assert [row[0].strip(" '") for row in table(text)[1:]] == ["Points Possible", "Points-Possible"]
    assert text.count("Points Possible") == 1


# --------------------------------------------------------------------------------------- Gradescope

TOP = {
    "score", "execution_time", "output", "output_format", "test_output_format", "test_name_format",
    "stdout_visibility", "tests", "extra_data",
}  # fmt: skip
TEST = {
    "number", "name", "name_format", "score", "max_score", "status", "output", "output_format",
    "visibility", "tags",
}  # fmt: skip


def test_gradescope_gets_the_documented_fields():
    made = exports.gradescope(score("a", [[1.0, 0.5, None], [timed(0.4)]]))
    assert made.keys() == TOP
    assert all(test.keys() == TEST for test in made["tests"])
    assert made["score"] == 3.0 == sum(test["score"] for test in made["tests"])
    assert [test["number"] for test in made["tests"]] == ["1.1", "1.2", "2.1"]
    assert [test["status"] for test in made["tests"]] == ["passed", "failed", "failed"]
    assert "0.40 times as fast" in made["tests"][2]["output"]
    assert "2 more would count only on a GPU" in made["output"]
    assert "10 more by hand" in made["output"]
    json.dumps(made, allow_nan=False)


def test_gradescope_shows_a_hidden_check_only_once_the_grades_are_out():
    made = exports.gradescope(score("a", [[1.0, 0.0, 1.0]]))
    shown = [test["visibility"] for test in made["tests"]]
    assert shown == ["visible", "after_published", "after_published"]
    hidden = [test for test in made["tests"] if test["visibility"] != "visible"]
    for text in [made["output"], *(json.dumps(t) for t in made["tests"] if t not in hidden)]:
        assert "Requirement 2" not in text and "Requirement 3" not in text
    assert "test_" not in json.dumps(made["tests"])
    assert made["stdout_visibility"] == "hidden"


def test_gradescope_renders_nothing_of_a_hostile_submission():
    for each in hostile():
        made = exports.gradescope(each)
        assert made["output_format"] == made["test_output_format"] == "text"
        assert all(test["output_format"] == test["name_format"] == "text" for test in made["tests"])
        for text in [made["output"], *(test["output"] for test in made["tests"])]:
            assert not set(text) & set("\0\x1b\ud800\u202e")


@pytest.mark.parametrize("status", ["timeout", "crashed", "memory"])
def test_gradescope_says_what_was_not_finished(status):
    made = exports.gradescope(score("a", [[0.0]], status=status, problems=("It was over.",)))
    assert f"could not be finished ({status})" in made["output"]
    assert "It was over." in made["output"]


def test_gradescope_says_what_could_not_be_read_and_whose_fault_a_broken_check_is():
    made = exports.gradescope(unreadable("a.ipynb", "empty"))
    assert made["score"] == 0 and made["tests"] == [] and "submit it again" in made["output"]
    broken = exports.gradescope(score("a", [[replace(check(1, 0.0), outcome="error")]]))
    assert "1 of the checks broke" in broken["output"]


def test_gradescope_gets_a_file_a_submission_and_none_of_an_older_run(tmp_path):
    exports.write_gradescope(tmp_path, named(varied(3)))
    before = {path.parent.name for path in tmp_path.glob("*/results.json")}
    assert len(before) == 4
    exports.write_gradescope(tmp_path, named([score(HOSTILE, [[1.0]], text=HOSTILE)]))
    [path] = tmp_path.glob("*/results.json")
    assert json.loads(path.read_bytes())["score"] == 2.0
    assert [each.name for each in path.parent.iterdir()] == ["results.json"]
