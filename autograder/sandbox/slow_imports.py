"""What takes seconds to import is told while it lasts, here and in a warm process."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from importlib.abc import MetaPathFinder

SLOW = frozenset(
    {"torch", "torchvision", "transformers", "peft", "sklearn", "scipy", "matplotlib", "jupytext"}
)
_say: ContextVar[Callable[[str], None] | None] = ContextVar("say", default=None)


def begins(name: str) -> None:
    """Tell whoever waits that the import of a module begins."""
    if (say := _say.get()) is not None:
        say(f"importing {name.partition('.')[0]} …")


@contextlib.contextmanager
def told(say: Callable[[str], None]) -> Iterator[None]:
    """Have `say` told of each slow import that begins in the block."""
    before, finder = _say.set(say), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _say.reset(before)


class _Finder(MetaPathFinder):
    """Finds nothing: it is asked for every module that is not there yet."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        if name in SLOW:
            begins(name)
