"""The class edition as a file: whole, the same each time, and nothing in it that is not to be."""

import json
import re
import zipfile

import jupytext
import nbformat
import pytest

from autograder.authoring import build, release
from autograder.catalogue import lessons, questions, sources
from autograder.catalogue.lessons import LessonError, catalogue
from autograder.checking.check_files import CHECKS
from tests.conftest import ROOT

SHORTEST, LONG = 8, 30
"""Characters of a line that says something, and of one that is looked for anywhere in a text."""


@pytest.fixture(scope="module")
def held():
    """The class edition of all lessons: path → content."""
    return release.files(catalogue())


@pytest.fixture(scope="module")
def lora_only():
    return release.files([lessons.lesson_named("lora")])


def texts(held):
    """Each file's text, and of a notebook each string in it, by the file's name."""
    for name, content in held.items():
        yield name, name
        if name.endswith(".ipynb"):
            yield from ((name, text) for text in strings(json.loads(content)))
        elif not name.endswith((".npz", ".safetensors")):
            yield name, content.decode()


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if value and all(isinstance(part, str) for part in value):
            yield "".join(value)  # a cell's lines
        for part in value:
            yield from strings(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from strings(part)


def lines(text):
    told = (line.strip() for line in text.splitlines())
    return {line for line in told if len(line) >= SHORTEST and re.search(r"\w{3}", line)}


def solved(source):
    """The solution regions of a lesson's source, code and text."""
    for cell in jupytext.read(source, fmt="py:percent").cells:
        yield from re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", cell.source, re.S)


def known():
    """Every line of the released course, of the visible checks and of the package's open code."""
    code = [path for path in ROOT.glob("autograder/**/*.py") if "hidden" not in path.parts]
    found = {line for path in code for line in lines(path.read_text())}
    for lesson in catalogue():
        for cell in nbformat.read(lesson.notebook, as_version=4).cells:
            found |= lines(cell.source)
    return found


def hidden_and_solved():
    """Every line of hidden checks and solutions."""
    found = {line for path in CHECKS.glob("hidden/*.py") for line in lines(path.read_text())}
    for source in sources.sources():
        found |= {line for region in solved(source) for line in lines(region)}
    return found


@pytest.fixture(scope="module")
def open_lines():
    return known()


@pytest.fixture(scope="module")
def secret(open_lines):
    """The lines of hidden checks and solutions that stand nowhere else."""
    return hidden_and_solved() - open_lines


def leaks(held, secret, open_lines=frozenset()):
    """Where a secret line stands, or a long one in another line."""
    found, long = set(), [line for line in secret if len(line) >= LONG]
    for name, text in texts(held):
        told = lines(text) - open_lines
        found |= {(name, line) for line in told & secret}
        rest = "\n".join(told)
        found |= {(name, line) for line in long if line in rest}
    return found


def test_no_line_of_hidden_checks_or_solutions_is_in_it(held, secret, open_lines):
    assert leaks(held, secret, open_lines) == set()


def test_what_is_looked_for_is_what_is_secret(secret):
    assert len(secret) > 5_000
    for beginning in ("trainable_768 = 12_288", "# W₀ stays whole and frozen", '"a": False,'):
        assert [line for line in secret if line.startswith(beginning)], beginning
    for lesson in catalogue():
        checks = lines((CHECKS / "hidden" / f"test_{lesson.name}.py").read_text())
        assert len(checks & secret) > 300, lesson.name


def test_no_statement_is_told_true_or_false_in_it(held):
    said = "\n".join(" ".join(text.split()) for _, text in texts(held))
    for lesson in catalogue():
        statements = questions.statements(lesson.name)
        assert f'"{"".join(each.letter for each in statements if each.true)}"' not in said
        assert [each.letter for each in statements if each.reason in said] == [], lesson.name


@pytest.mark.parametrize("kind", ["a line", "a cell", "a name", "metadata"])
def test_a_leak_would_be_found(secret, kind):
    line = max(secret, key=len)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"x = 1\n{line}")])
    if kind == "metadata":
        notebook = nbformat.v4.new_notebook(metadata={"note": [line]})
    planted = {
        "a line": {"a.py": f"x = 1\n    {line}\n".encode()},
        "a name": {f"a/{line}": b""},
    }.get(kind, {"a.ipynb": nbformat.writes(notebook).encode()})
    assert {found for _, found in leaks(planted, secret)} == {line}


def test_no_hidden_check_source_or_bank_is_in_it_by_name(held):
    folders = {name.split("/")[0] for name in held}
    assert folders.isdisjoint({"solutions", "tests", "examples", "benchmarks", "build", ".git"})
    assert not [name for name in held if "hidden" in name or "__pycache__" in name]
    checks = {name.removeprefix("autograder/checks/") for name in held if "/checks/" in name}
    visible = {f"visible/test_{lesson.name}.py" for lesson in catalogue()}
    shared = {name for name in checks if name.startswith("shared/")}
    assert checks == visible | shared | {"pytest.ini"}


def test_each_helper_in_it_is_there_for_something_that_is_in_it(held):
    code = {name: text.decode() for name, text in held.items() if name.endswith(".py")}
    helpers = [
        name for name in code if "/shared/" in name or name == "autograder/checking/probes.py"
    ]
    for name in helpers:
        for defined in re.findall(r"^(?:def|class) (\w+)", code[name], re.M):
            uses = sum(len(re.findall(rf"\b{defined}\b", text)) for text in code.values())
            assert uses > 1, f"{name}: {defined}"
    assert b"def expect_drawn_next" not in held["autograder/checks/shared/common.py"]
    assert b"def draw_global" not in held["autograder/checking/probes.py"]


def test_it_holds_what_a_participant_needs(held):
    assert held.keys() >= {
        "README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock",
        "environment.yml", "scripts/setup", "docs/learner.md", "course/README.md",
        "course/SOURCES.md", "course/data/mnist.npz", "course/data/interview_questions.jsonl",
        "course/weights/resnet_digits_0_4.safetensors",
    }  # fmt: skip
    assert {str(lesson.notebook.relative_to(ROOT)) for lesson in catalogue()} <= held.keys()


def test_the_short_answers_are_there_only_when_asked_for(held):
    afterwards = release.files(catalogue(), with_answers=True)
    for lesson in catalogue():
        name = str(lesson.notebook.relative_to(ROOT))
        assert afterwards[name] == lesson.notebook.read_bytes()
        for content, is_open in ((held[name], False), (afterwards[name], True)):
            cells = nbformat.reads(content.decode(), 4).cells
            [answer] = [cell for cell in cells if cell.source.startswith(release.ANSWER)]
            assert ("<details>" in answer.source) is is_open
            assert (release.LATER in answer.source) is not is_open
            assert any("| points | for |" in cell.source for cell in cells), "the rubric stays"


def test_every_link_in_it_leads_somewhere(held, lora_only):
    for files in (held, lora_only):
        folders = {str(parent) for name in files for parent in list(_path(name).parents)}
        count = 0
        for name, text in texts(files):
            if name.endswith((".md", ".ipynb")) and not name.startswith("autograder/"):
                for target in re.findall(r"\]\((?!http|#)([^)#\s]+)[^)]*\)", text):
                    count += 1
                    led = str((ROOT / name).parent.joinpath(target).resolve().relative_to(ROOT))
                    assert led in files or led in folders, f"{name}: {target}"
        assert count > 5


def _path(name):
    return (ROOT / name).relative_to(ROOT)


def test_some_lessons_only(lora_only):
    assert [name for name in lora_only if name.endswith(".ipynb")] == ["course/04_lora/lora.ipynb"]
    assert [name for name in lora_only if "/visible/" in name] == [
        "autograder/checks/visible/test_lora.py"
    ]
    assert "autograder/checks/shared/sft.py" not in lora_only
    for page in ("README.md", "course/README.md"):
        assert b"lora.ipynb" in lora_only[page] and b"sft" not in lora_only[page]
    told = "".join(strings(json.loads(lora_only["course/04_lora/lora.ipynb"])))
    assert "lesson 3" in told and "03_distillation" not in told


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A file that replaced another one, in a folder where nothing else is."""
    out = tmp_path_factory.mktemp("out") / "bundle.zip"
    out.write_text("mine")
    with pytest.raises(OSError, match="--force"):
        release.write(out, ["lora"])
    assert out.read_text() == "mine"
    release.write(out, ["lora"], force=True)
    return out


def test_the_file_is_the_same_each_time_sorted_and_in_one_folder(bundle, lora_only):
    inside = {f"{release.TOP}/{name}": content for name, content in lora_only.items()}
    executable = [f"{release.TOP}/{name}" for name in release.EXECUTABLE]
    assert bundle.read_bytes() == release.packed(inside, executable)
    with zipfile.ZipFile(bundle) as file:
        assert file.testzip() is None
        entries = {entry.filename: entry for entry in file.infolist()}
    assert list(entries) == sorted(entries)
    assert all(name.startswith(f"{release.TOP}/") for name in entries)
    assert {entry.date_time for entry in entries.values()} == {release.MOMENT}
    modes = {name: entry.external_attr >> 16 for name, entry in entries.items()}
    runs = f"{release.TOP}/scripts/setup"
    assert modes.pop(runs) == 0o755 and set(modes.values()) == {0o644}


def test_where_it_cannot_be_written_it_says_so(bundle):
    with pytest.raises(OSError, match="is a folder"):
        release.write(bundle.parent, force=True)
    with pytest.raises(OSError, match="no such folder"):
        release.write(bundle.parent / "none" / "bundle.zip")
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_course_that_differs_from_its_sources_is_not_released(monkeypatch, tmp_path):
    build.build(tmp_path / "course")
    notebook = tmp_path / "course" / "04_lora" / "lora.ipynb"
    notebook.write_text(notebook.read_text().replace("lora_forward", "backward"))
    monkeypatch.setattr(build, "COURSE", tmp_path / "course")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    out = tmp_path / "bundle.zip"
    out.write_text("older")
    with pytest.raises(LessonError, match=r"course/04_lora/lora\.ipynb.*autograder build"):
        release.write(out, force=True)
    assert out.read_text() == "older"


def test_without_solutions_there_is_nothing_to_release(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "SOURCES", tmp_path)
    with pytest.raises(LessonError, match="no solutions here"):
        release.write(tmp_path / "bundle.zip")
    with pytest.raises(LessonError, match="nope"):
        release.write(tmp_path / "bundle.zip", ["nope"])
    assert list(tmp_path.iterdir()) == []


def test_what_programs_leave_in_the_folders_stays_out(held, tmp_path):
    for name in ("data/a.npz", "data/.hidden", ".ipynb_checkpoints/b.ipynb", "__pycache__/c.pyc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(release.plain_files(tmp_path)) == [tmp_path / "data" / "a.npz"]
    assert not [name for name in held if re.search(r"(^|/)\.|\.pyc$|~$", name)]
