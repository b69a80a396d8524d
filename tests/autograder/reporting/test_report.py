"""The report of a class: one page, and its figures for programs."""

import csv
import json
import re
import time

import pytest

from autograder.notebook import NotebookError
from autograder.reporting import report
from tests.autograder.reporting.test_feedback import Seen
from tests.classes import HOSTILE, hostile, leave, score, unreadable, varied


def written(folder, form="html", out=None):
    said = []
    return report.write(folder, form, out, said.append).read_text(encoding="utf-8"), said


def sections(text):
    return [re.sub("<[^>]+>", "", each) for each in re.findall(r"<h[123].*?</h[123]>", text)]


def test_the_page_says_all_that_an_instructor_asks(tmp_path):
    text, said = written(leave(tmp_path, varied()))
    assert said == []
    assert [each for each in sections(text) if "LoRA" not in each] == [
        "Class report", "Could not be read: 1", "Not graded to the end", "Waits for a person",
        "Where they are stuck", "Most missed requirements", "Commonest errors", "Speed and memory",
        "Every submission", "Every check",
    ]  # fmt: skip
    seen = Seen(text).text.replace("\xa0", " ")
    for part in (
        "For instructors", "names requirements of hidden checks", "13 submissions", "student-007",
        "The submission's 120 s are over.", "NameError", "Requirement 2 holds.", "hidden",
        "nested", "It passes in speed.",
    ):  # fmt: skip
        assert part in seen, part
    assert text.count("<svg ") == 4 == text.count('role="img" aria-label=')
    assert "default-src 'none'" in text


def test_a_submission_is_a_link_to_its_feedback_where_that_is(tmp_path):
    text, _ = written(leave(tmp_path, varied(3)))
    links = set(re.findall(r'href="(feedback/[^"]+)"', text))
    assert len(links) == 4 and all((tmp_path / link).is_file() for link in links)
    assert not re.search(r'(href|src)="(?!feedback/|#)', text)


def test_an_unfinished_run_says_so_and_links_what_is_there(tmp_path):
    leave(tmp_path, varied(3), finished=False)
    path = tmp_path / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    text, said = written(tmp_path)
    assert "3 submissions are graded so far" in said[0] and "--resume" in said[0]
    assert "cut off" in said[0] and said[0] in Seen(text).text
    assert text.count('href="feedback/student-00') >= 3


def test_a_hostile_class_is_text(tmp_path):
    text, _ = written(leave(tmp_path, hostile()))
    seen = Seen(text)
    assert not seen.tags & {"script", "img", "iframe", "link", "base", "object", "form", "use:x"}
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert "<script>window.hit=1" in seen.text
    assert "{{ 7919 * 7907 }}" in seen.text and "62615533" not in seen.text
    assert not set(text) & {chr(n) for n in range(32) if n not in (9, 10)}
    assert len(text) < 300_000, "long texts are cut"


def test_each_lesson_has_a_section(tmp_path):
    scores = [score("a/lora.ipynb", [[1.0]]), score("a/sft.ipynb", [[0.5]], "sft")]
    text, _ = written(leave(tmp_path, scores))
    assert re.findall(r'<h2 id="(lesson-\d)"', text) == ["lesson-1", "lesson-2"]
    assert 'href="#lesson-2"' in text and "in 2 lessons" in text
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_class_that_nobody_could_read_is_a_page(tmp_path):
    text, _ = written(leave(tmp_path, [unreadable("a.ipynb"), unreadable("b.ipynb")]))
    assert "Could not be read: 2" in sections(text) and "<svg" not in text


def test_five_hundred_submissions_stay_a_page_that_opens(tmp_path):
    leave(tmp_path, varied(500))
    start = time.monotonic()
    text, _ = written(tmp_path)
    assert time.monotonic() - start < 20
    assert len(text) < 1_000_000
    assert Seen(text).text.count("student-499") >= 1


def test_the_json_is_its_schema(tmp_path):
    made = json.loads(written(leave(tmp_path, varied()), "json")[0])
    assert list(made) == ["schema", "finished", "submissions", "unreadable", "lessons"]
    assert (made["schema"], made["finished"], made["submissions"]) == (1, True, 13)
    [lesson] = made["lessons"]
    assert list(lesson) == [
        "lesson", "title", "submissions", "percent", "full_marks", "tenths", "tasks", "errors",
        "timed", "waiting", "stopped",
    ]  # fmt: skip
    assert sum(lesson["tenths"]) == lesson["submissions"] == 12
    assert {each["status"] for each in lesson["stopped"]} == {"timeout"}
    assert lesson["tasks"][0]["checks"][0]["requirement"] == "Requirement 1 holds."


def test_each_format_has_its_place(tmp_path):
    leave(tmp_path, varied(3))
    for form, place in report.PLACES.items():
        assert report.write(tmp_path, form, None, print) == tmp_path / place
        assert (tmp_path / place).exists()
    out = tmp_path / "elsewhere.csv"
    text, _ = written(tmp_path, "csv", out)
    assert len(list(csv.reader(text.splitlines()))) > 50
    assert not list(tmp_path.glob("*.new"))


def test_the_same_results_are_the_same_report(tmp_path):
    leave(tmp_path, varied(5))
    assert written(tmp_path) == written(tmp_path)


def test_what_cannot_be_reported_is_said(tmp_path):
    with pytest.raises(NotebookError, match=r"no results\.jsonl"):
        written(tmp_path)
    leave(tmp_path, [])
    with pytest.raises(NotebookError, match="nothing is graded yet"):
        written(tmp_path)
    leave(tmp_path, varied(2))
    with pytest.raises(NotebookError, match="is a folder"):
        written(tmp_path, "json", tmp_path)
    with pytest.raises(OSError):
        written(tmp_path, "json", tmp_path / "not" / "there.json")


def test_a_report_of_any_name_is_written(tmp_path):
    text, _ = written(leave(tmp_path, [score(HOSTILE, [[0.0]], text="\ud800")]), "csv")
    assert "window.hit" in text
