"""The build: the release, its links, and the two pages beside the lessons."""

import re

import nbformat
import pytest

from autograder.authoring import build
from autograder.catalogue import lessons, sources


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    return folder, build.build(folder)


def test_course_is_what_build_makes():
    assert build.outdated() == []


def test_a_changed_page_is_outdated(monkeypatch, made):
    folder, _ = made
    monkeypatch.setattr(build, "COURSE", folder)
    (folder / "SOURCES.md").write_text("another")
    assert build.outdated() == [folder / "SOURCES.md"]


def test_every_link_between_the_files_leads_somewhere(made):
    _, written = made
    links = 0
    for path in written:
        for target in re.findall(r"\]\((?!http|#)([^)]+)\)", path.read_text(encoding="utf-8")):
            links += 1
            assert (path.parent / target).resolve().is_file(), f"{path.name}: {target}"
    assert links >= len(lessons.catalogue())


@pytest.mark.parametrize("lesson", lessons.catalogue(), ids=lambda lesson: lesson.name)
def test_a_lesson_lists_its_parts(lesson):
    notebook = nbformat.read(lesson.notebook, as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    headings = [h for text in texts for h in re.findall(r"^## (.+)$", text, re.M)]
    [contents] = [text for text in texts if text.startswith("## Contents")]
    assert re.findall(r"^- \[(.+)\]\(#", contents, re.M) == [h for h in headings if h != "Contents"]
    assert "(../README.md)" in contents


@pytest.mark.parametrize("lesson", lessons.catalogue(), ids=lambda lesson: lesson.name)
def test_no_cell_is_longer_than_a_screen(lesson):
    notebook = nbformat.read(lesson.notebook, as_version=4)
    longest = {"markdown": 45, "code": 75}
    lines = [(cell, unfolded(cell.source).splitlines()) for cell in notebook.cells]
    assert {text[0]: len(text) for cell, text in lines if len(text) > longest[cell.cell_type]} == {}


def unfolded(text):
    """A cell's text without what is folded away."""
    return re.sub(r"</summary>.*?</details>", "", text, flags=re.S)


def test_a_release_holds_no_solution(made):
    folder, written = made
    assert {path.name for path in written} > {"README.md", "SOURCES.md"}
    for path in folder.glob("*/*.ipynb"):
        assert "BEGIN SOLUTION" not in path.read_text(encoding="utf-8")


def test_solution_notebooks_are_written_apart(tmp_path):
    written = build.build_solutions(tmp_path)
    assert len(written) == len(sources.sources())
    assert all("BEGIN SOLUTION" in path.read_text(encoding="utf-8") for path in written)
