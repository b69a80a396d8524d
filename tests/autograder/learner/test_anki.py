"""The Anki deck: opened as Anki does, a zip with an SQLite collection in it."""

import contextlib
import json
import os
import sqlite3
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest

from autograder.catalogue import lessons
from autograder.catalogue.questions import Flashcard
from autograder.learner import anki, cards

MARKUP = "<script>alert(1)</script> & `a < b` [x](javascript:alert(1)) <img src=x onerror=y>"


def packed(*made, changed=1000):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # genanki: of tags that Anki would not know
        return anki.packed({cards.key(card): card for card in made}, changed)


@contextlib.contextmanager
def opened(data, folder):
    (folder / "deck.apkg").write_bytes(data)
    with zipfile.ZipFile(folder / "deck.apkg") as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("media")) == {}
        archive.extract("collection.anki2", folder)
    with contextlib.closing(sqlite3.connect(folder / "collection.anki2")) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        yield database


def notes(data, folder):
    """guid → (mod, tags, fields)"""
    with opened(data, folder) as database:
        rows = database.execute("select guid, mod, tags, flds from notes").fetchall()
    return {guid: (mod, tags.split(), flds.split("\x1f")) for guid, mod, tags, flds in rows}


def test_every_card_of_the_course_is_a_note_with_its_lesson_s_tag(tmp_path):
    deck = cards.deck()
    anki.write(tmp_path / "course.apkg", deck)
    found = notes((tmp_path / "course.apkg").read_bytes(), tmp_path)
    assert found.keys() == deck.keys()
    assert all(found[name][1] == [card.lesson] for name, card in deck.items())
    with opened((tmp_path / "course.apkg").read_bytes(), tmp_path) as database:
        [(decks, models)] = database.execute("select decks, models from col").fetchall()
        assert database.execute("select distinct did from cards").fetchall() == [(anki.DECK_ID,)]
    assert str(anki.DECK_ID) in json.loads(decks)
    assert json.loads(models)[str(anki.MODEL_ID)]["name"] == anki.NAME


def test_texts_are_html_and_what_they_hold_of_tags_is_shown(tmp_path):
    card = Flashcard("lora", f"*Why* `B = 0`? {MARKUP}", f"- one\n- **two** {MARKUP}", MARKUP)
    [(_, _, fields)] = notes(packed(card), tmp_path).values()
    question, answer, source, lesson = fields
    assert "<em>Why</em>" in question and "<code>B = 0</code>" in question
    assert "<li>" in answer and "<strong>two</strong>" in answer
    for text in (question, answer, source):
        assert "<script" not in text and "<img" not in text and 'href="javascript' not in text
        assert "&lt;script&gt;" in text and "<code>a &lt; b</code>" in text
    assert lesson == "lora"


def test_the_same_texts_are_the_same_bytes(tmp_path):
    card = Flashcard("lora", "Why?", "Because.", "counting")
    assert packed(card) == packed(card)
    for name in ("one.apkg", "two.apkg"):
        anki.write(tmp_path / name, cards.deck("lora"))
    assert (tmp_path / "one.apkg").read_bytes() == (tmp_path / "two.apkg").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_edited_answer_is_the_same_note_at_a_later_time(tmp_path):
    before = notes(packed(Flashcard("lora", "Why?", "Because.", ""), changed=1000), tmp_path)
    after = notes(packed(Flashcard("lora", "Why?", "So.", ""), changed=2000), tmp_path)
    [(guid, (earlier, _, _))], [(same, (later, _, fields))] = before.items(), after.items()
    assert guid == same and later > earlier and "So." in fields[1]


def test_the_time_is_the_lesson_s_own(tmp_path, monkeypatch):
    copy = tmp_path / "01_mine" / "mine.ipynb"
    copy.parent.mkdir()
    copy.write_bytes(lessons.lesson_named("lora").notebook.read_bytes())
    os.utime(copy, (5000, 5000))
    monkeypatch.setattr(lessons, "COURSE", tmp_path)
    lessons.catalogue.cache_clear()
    try:
        anki.write(tmp_path / "mine.apkg", cards.deck("mine"))
    finally:
        lessons.catalogue.cache_clear()
    found = notes((tmp_path / "mine.apkg").read_bytes(), tmp_path)
    assert found and {mod for mod, _, _ in found.values()} == {5000}


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    packed(Flashcard("lora", "Why?", "Because.", ""))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        anki.write(Path(tmp_path / "file" / "deck.apkg"), cards.deck("lora"))
