"""What a lesson claims, and by which source: statements, numbers, facts, flashcards.

All is read from the lesson's own text. What is claimed ends in `` — source.``: items split by
``;``, each a key of ``solutions/sources.toml`` and a place in it.
"""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import nbformat
from nbformat import NotebookNode

from autograder.catalogue.lessons import LessonError, lesson_named
from autograder.catalogue.nbgrader_cells import solution_notebook
from autograder.catalogue.sources import SOURCES, source_of

CARDS, FACTS, SHORT_ANSWER = "Follow-up questions", "Facts to carry", "A short answer"
STATEMENTS, NUMBERS = "_statements", "_numbers"
KINDS = (STATEMENTS, NUMBERS)
"""How the names of a lesson's question tasks end."""


@dataclass(frozen=True)
class Flashcard:
    """A question that an interviewer asks next, with its answer (markdown) and source."""

    lesson: str
    question: str
    answer: str
    source: str


@dataclass(frozen=True)
class Statement:
    """A statement to judge: whether it is true, why, and by which source."""

    letter: str
    text: str
    true: bool
    reason: str
    source: str


@dataclass(frozen=True)
class Claim:
    """Something that a lesson says, where it says it, and the source that it gives."""

    lesson: str
    what: str
    """as in ``fact 3`` or ``statement b``"""
    source: str
    """empty where there is none"""


@dataclass(frozen=True)
class Source:
    """An entry of ``solutions/sources.toml``."""

    key: str
    title: str
    authors: str = ""
    url: str = ""


@cache
def bibliography() -> dict[str, Source]:
    """Return the sources by their keys; empty in the class edition."""
    path = SOURCES / "sources.toml"
    if not path.is_file():
        return {}
    entries = tomllib.loads(path.read_text(encoding="utf-8"))
    return {key: _source(key, **entry) for key, entry in entries.items()}


def _source(key: str, title: str, authors: str = "", url: str = "") -> Source:
    if not url and re.fullmatch(r"\d{4}\.\d{4,5}", key):
        url = f"https://arxiv.org/abs/{key}"
    return Source(key, title, authors, url)


def cited(source: str) -> list[tuple[str, str]]:
    """Return the (key, place) pairs of a source's text; an unknown source has an empty key."""
    found = []
    for item in filter(None, (part.strip() for part in source.split(";"))):
        keys = [key for key in bibliography() if re.match(re.escape(key) + r"(?!\w)", item)]
        key = max(keys, key=len, default="")
        found.append((key, item[len(key) :].lstrip(" ,:")))
    return found


# ------------------------------------------------------------------------------------ what is said


def flashcards(lesson: str) -> tuple[Flashcard, ...]:
    """Return the flashcards of a lesson, from its released notebook.

    Raises:
        LessonError: there is no such lesson.
    """
    notebook = nbformat.read(lesson_named(lesson).notebook, as_version=4)
    return tuple(
        Flashcard(lesson, question, *_said(answer))
        for text in _under(notebook, CARDS)
        for question, answer in _details(text)
    )


def statements(lesson: str) -> tuple[Statement, ...]:
    """Return the statements of a lesson with truth, reason and source, from its one source.

    Raises:
        LessonError: there is no such lesson, or this edition has no solutions.
    """
    notebook = solution_notebook(source_of(lesson))
    said = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    bullets = re.findall(r"^- \*\*(\w)\.\*\* (.+?)(?=\n- |\n\n|\Z)", said, re.M | re.S)
    texts = {letter: " ".join(text.split()) for letter, text in bullets}
    cell = _task(notebook, STATEMENTS)
    found = re.findall(r'"(\w)": (True|False),', _solution(cell))
    comments = _comments(cell, re.compile(r'\s*"(\w)":'))
    return tuple(
        Statement(letter, texts.get(letter, ""), truth == "True", *_said(comments.get(letter, "")))
        for letter, truth in found
    )


def claims(lesson: str) -> list[Claim]:
    """Return what a lesson claims, in its order, with the source given: what a build checks.

    Raises:
        LessonError: there is no such lesson, or this edition has no solutions.
    """
    notebook = solution_notebook(source_of(lesson))
    return [
        *(Claim(lesson, f"statement {s.letter}", s.source) for s in statements(lesson)),
        *_numbers(lesson, notebook),
        *_short_answer(lesson, notebook),
        *_facts(lesson, notebook),
        *(
            Claim(lesson, f"follow-up “{question}”", _said(answer)[1])
            for text in _under(notebook, CARDS)
            for question, answer in _details(text)
        ),
    ]


def complaints(lesson: str) -> list[str]:
    """Return a sentence for each claim of a lesson that has no source, or an unknown one."""
    found = []
    for claim in claims(lesson):
        items = cited(claim.source)
        if not items:
            found.append(f"{lesson}: {claim.what} gives no source (“… — source.”)")
        found += [
            f"{lesson}: {claim.what}: {place!r} begins with no key of solutions/sources.toml"
            for key, place in items
            if not key
        ]
    return found


# ------------------------------------------------------------------------------- how it is read


def _said(text: str) -> tuple[str, str]:
    """Part a text into what it says and its source: what follows the last dash."""
    parts = re.fullmatch(r"(.+)\s—\s(.+?)\.?", text.strip(), re.S)
    return (parts[1].strip(), " ".join(parts[2].split())) if parts else (text.strip(), "")


def _under(notebook: NotebookNode, heading: str) -> Iterator[str]:
    """Yield the text cells whose heading begins so."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.match(rf"#+ {heading}", cell.source):
            yield cell.source


def _details(text: str) -> list[tuple[str, str]]:
    pairs = re.findall(r"<details><summary>(.+?)</summary>\s*(.+?)\s*</details>", text, re.S)
    return [(" ".join(question.split()), answer) for question, answer in pairs]


def _task(notebook: NotebookNode, ending: str) -> NotebookNode:
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name.startswith("task-") and name.endswith(ending):
            found: NotebookNode = cell
            return found
    raise LessonError(f"{notebook.metadata.autograder.lesson}: no task …{ending}")


def _solution(cell: NotebookNode) -> str:
    return str(cell.source).partition("### BEGIN SOLUTION")[2].partition("### END SOLUTION")[0]


def _comments(cell: NotebookNode, entry: re.Pattern[str]) -> dict[str, str]:
    """Return the comment lines above each entry of a solution, or the one behind it."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in _solution(cell).splitlines():
        if line.strip().startswith("#"):
            above.append(line.strip().lstrip("# "))
        elif match := entry.match(line):
            found[match[1]] = " ".join([*above, _behind(line)]).strip()
            above = []
    return found


def _behind(line: str) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(line.strip()).readline)
    return next((t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT), "")


def _numbers(lesson: str, notebook: NotebookNode) -> Iterator[Claim]:
    comments = _comments(_task(notebook, NUMBERS), re.compile(r"(\w+) = "))
    for name, comment in comments.items():
        yield Claim(lesson, f"number `{name}`", _said(comment)[1])


def _facts(lesson: str, notebook: NotebookNode) -> Iterator[Claim]:
    for text in _under(notebook, FACTS):
        for number, fact in re.findall(r"^(\d+)\. (.+?)(?=^\d+\. |\Z)", text, re.M | re.S):
            yield Claim(lesson, f"fact {number}", _said(fact)[1])


def _short_answer(lesson: str, notebook: NotebookNode) -> Iterator[Claim]:
    """Yield a claim for each paragraph: its sources are the keys in its brackets."""
    for text in _under(notebook, SHORT_ANSWER):
        for _, answer in _details(text):
            for number, paragraph in enumerate(answer.split("\n\n"), start=1):
                brackets = ";".join(re.findall(r"\(([^()]+)\)", " ".join(paragraph.split())))
                parts = [part.strip().removeprefix("arXiv ") for part in brackets.split(";")]
                known = [part for part in parts if any(part.startswith(k) for k in bibliography())]
                yield Claim(lesson, f"short answer, paragraph {number}", "; ".join(known))
