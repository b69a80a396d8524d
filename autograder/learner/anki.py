"""The flashcards as an Anki deck: importing it again updates the notes and keeps their history."""

from __future__ import annotations

import contextlib
import io
import itertools
import sqlite3
import zipfile
from collections.abc import Mapping
from pathlib import Path

import genanki
from markdown_it import MarkdownIt

from autograder.catalogue.lessons import lesson_named
from autograder.catalogue.questions import Flashcard
from autograder.files import write_whole

DECK_ID, MODEL_ID = 1_732_050_807, 1_414_213_562
"""Ours for ever: by these Anki knows the deck and the kind of note again."""
NAME = "Fine-Tuning Interviews"

# commonmark without its raw HTML: what a text holds of tags is shown, not obeyed
_markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])

_FRONT = "<div class='lesson'>{{Lesson}}</div>\n{{Question}}"
_BACK = "{{FrontSide}}\n<hr id='answer'>\n{{Answer}}\n<div class='source'>{{Source}}</div>"
_CSS = """
.card { font: 18px/1.5 system-ui, sans-serif; max-width: 40em; margin: 0 auto; text-align: left; }
.lesson, .source { font-size: .75em; opacity: .7; }
pre { white-space: pre-wrap; } code { font-size: .9em; }
"""


def write(path: Path, cards: Mapping[str, Flashcard]) -> None:
    """Write a deck of `cards`, given by their ids, to `path`.

    Raises:
        OSError: it cannot be written.
    """
    lessons = {card.lesson for card in cards.values()}
    # Anki takes an edited note for an update only if its time is later. The lessons' own files tell
    # that, so that the same files give the same bytes.
    changed = max((lesson_named(name).notebook.stat().st_mtime for name in lessons), default=0)
    write_whole(path, packed(cards, int(changed)))


def packed(cards: Mapping[str, Flashcard], changed: int) -> bytes:
    """Return the bytes of a deck whose texts were last changed at this time, in seconds."""
    deck = genanki.Deck(DECK_ID, NAME)
    model = _model()
    for name, card in cards.items():
        deck.add_note(_note(model, name, card))
    # not Package.write_to_file: it leaves its database in /tmp, and the hour in the archive
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        ids = itertools.count(changed * 1000)
        genanki.Package(deck).write_to_db(database.cursor(), changed, ids)
        database.commit()
        collection = database.serialize()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("collection.anki2", collection), ("media", b"{}")):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _model() -> genanki.Model:
    names = ("Question", "Answer", "Source", "Lesson")
    return genanki.Model(
        MODEL_ID,
        NAME,
        fields=[{"name": name} for name in names],
        templates=[{"name": "Question", "qfmt": _FRONT, "afmt": _BACK}],
        css=_CSS,
    )


def _note(model: genanki.Model, name: str, card: Flashcard) -> genanki.Note:
    texts = [_markdown.render(text).strip() for text in (card.question, card.answer, card.source)]
    fields = [*texts, _markdown.renderInline(card.lesson)]
    return genanki.Note(model, fields, tags=[card.lesson], guid=name)
