"""What is kept of a learner: JSON files in one folder of this machine, which never leave it.

The folder is the user's data folder, or AUTOGRADER_DATA where that is set.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import filelock
import platformdirs

from autograder.files import write_whole

SCHEMA = 1
VARIABLE = "AUTOGRADER_DATA"
WAIT = 10
"""Seconds for another process to end its writing."""

Say = Callable[[str], None]
"""Takes a sentence to the person in front: `print` in a notebook, a warning in a terminal."""
Entry = TypeVar("Entry")


class StoreError(Exception):
    """The record cannot be read or written; the text says the way out."""


class _Damaged(Exception):
    """A file that is not what `Store` writes."""


def folder() -> Path:
    """Return where everything is kept; nothing is made."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    return platformdirs.user_data_path("fine-tuning-interviews", appauthor=False)


class Store(Generic[Entry]):
    """One file of the folder: entries by key.

    It is replaced in one step and under a lock: of two notebooks that write at once, both are
    heard. A damaged file is moved aside, with a word to the person, and a new one begun.
    """

    def __init__(
        self, name: str, load: Callable[[Any], Entry], dump: Callable[[Entry], dict[str, Any]]
    ) -> None:
        """Describe the file; nothing is opened.

        Args:
            name: the file's name.
            load: makes an entry of parsed JSON; whatever it raises means that the file is damaged.
            dump: makes JSON of an entry.
        """
        self._name, self._load, self._dump = name, load, dump

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return folder() / self._name

    def read(self, say: Say) -> dict[str, Entry]:
        """Return all entries.

        Raises:
            StoreError: the file is there and cannot be read.
        """
        with _way_out():
            try:
                return self._parsed()  # without the lock: it is always whole, and may be read-only
            except _Damaged:
                with self._locked():
                    return self._recovered(say)

    @contextlib.contextmanager
    def changing(self, say: Say) -> Iterator[dict[str, Entry]]:
        """Give all entries to be changed, and keep them when the block ends without an exception.

        Raises:
            StoreError: the file cannot be read or written.
        """
        with _way_out(), self._locked():
            entries = self._recovered(say)
            yield entries
            kept = {key: self._dump(entry) for key, entry in entries.items()}
            whole = json.dumps({"schema": SCHEMA, "entries": kept}, indent=1, allow_nan=False)
            write_whole(self.path, whole.encode() + b"\n")

    def files(self) -> list[Path]:
        """Return what there is to delete: the file, and what was damaged and moved aside."""
        aside = sorted(self.path.parent.glob(f"{self.path.stem}.damaged-*"))
        return [path for path in (self.path, *aside) if path.is_file()]

    def forget(self) -> None:
        """Delete it all.

        Raises:
            StoreError: something cannot be deleted.
        """
        with _way_out():
            if files := self.files():
                with self._locked():
                    for path in files:
                        path.unlink(missing_ok=True)

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(f"{self.path}.lock", timeout=WAIT)

    def _recovered(self, say: Say) -> dict[str, Entry]:
        """Return all entries, with the lock held; what is damaged is moved out of the way."""
        try:
            return self._parsed()
        except _Damaged:
            now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
            aside = self.path.with_name(f"{self.path.stem}.damaged-{now}{self.path.suffix}")
            self.path.replace(aside)
            say(f"{self.path} was damaged. It is now {aside.name}, and a new one is begun.")
            return {}

    def _parsed(self) -> dict[str, Entry]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            whole = json.loads(data)
            if type(whole["schema"]) is int and whole["schema"] > SCHEMA:
                raise StoreError(f"{self.path} is of a newer version of this program: update it.")
            return {key: self._load(entry) for key, entry in whole["entries"].items()}
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - any bytes may be there, and any of them mean the same
            raise _Damaged from None


@contextlib.contextmanager
def _way_out() -> Iterator[None]:
    """Turn what the system refuses into a sentence that says what can be done."""
    try:
        yield
    except filelock.Timeout:
        raise StoreError(
            f"{folder()}: another process has been writing there for {WAIT} seconds. Try again."
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        reason = getattr(error, "strerror", None) or str(error)
        raise StoreError(
            f"{folder()}: {reason}. What you have practised is kept there; to keep it elsewhere, "
            f"set {VARIABLE} to a folder that you can write to."
        ) from None
