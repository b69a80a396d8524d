"""Which of a notebook's cells are run, and how far, told from their text before anything runs."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from autograder.catalogue import lessons
from autograder.catalogue.dependencies import MAX_CODE, Dependencies
from autograder.catalogue.lessons import DEMONSTRATION, Lesson, Task
from autograder.notebook import Cell, Submission

_BUILTINS = frozenset(dir(builtins))
MOST = 8
"""Runs of cells' numbers that a sentence holds."""


@dataclass(frozen=True)
class Earlier:
    """A notebook as it stood at a task's check, where cells behind that may change its answer.

    Attributes:
        cells: what is run: up to the check, and behind it what other answers needed at theirs.
        names: name → the cells that may change what stands behind it, one behind the check or more.
        unseen: cells behind the check that may change names without their text showing which.
    """

    cells: list[Cell]
    names: dict[str, list[int]]
    unseen: list[int]


class Plan:
    """A submission's cells in the light of what its lesson asks for."""

    def __init__(self, submission: Submission, lesson: Lesson) -> None:
        """Look the submission over."""
        self._code, self._tasks = submission.code, lesson.tasks
        self.is_read = sum(len(cell.source) for cell in self._code) <= MAX_CODE
        """whether the code is short enough to be read for what its cells need of each other"""
        self._asked = {name for task in lesson.tasks for name in task.names}
        self._shown = {cell.number for cell in self._code if is_shown(cell, lesson)}

    @cached_property
    def cells(self) -> list[Cell]:
        """What is run: of a demonstration the imports and definitions that only it has."""
        if not self.is_read:
            return [cell for cell in self._code if cell.number not in self._shown]
        read = Dependencies(self._code)
        needed = read.needed(self._asked)
        changing = read.changing(needed).items()
        lent = needed - {n for n, cells in changing if set(cells) - self._shown} - _BUILTINS
        made = []
        for cell in self._code:
            if cell.number in self._shown:
                cell = replace(cell, source=read.definitions(cell.number, lent))
            if cell.source or cell.number not in self._shown:
                made.append(cell)
        return made

    @cached_property
    def spare(self) -> dict[int, Cell]:
        """Cells that no answer needs, by number, and what is run of them when time is short."""
        if not self.is_read:
            return {}
        return {
            cell.number: replace(cell, source=self._run.definitions(cell.number))
            for cell in self.cells
            if cell.number not in self._needed
            and not self._run.is_opaque(cell.number)
            and self._run.definitions(cell.number) != cell.source
            and not lessons.called(cell.source)
        }

    def earlier(self, task: Task) -> Iterator[Earlier]:
        """Yield the notebook as it stood at the task's check, and behind its last answer.

        Of an answer that is values alone only the last counts: with two a guess would gain.
        """
        if self.is_read and (answers := self._answers(task)):
            checks = self._checks(task)
            behind = min((n for n in checks if n > answers[-1]), default=answers[-1])
            places = (max([*checks, 0]), behind) if task.is_code else (behind,)
            for last in dict.fromkeys(places):
                if last >= answers[0] and (found := self._at(last, task)):
                    yield found

    def _at(self, last: int, task: Task) -> Earlier | None:
        """Return the notebook as it stood behind a cell, or None if it was as at the end."""
        late = {cell.number for cell in self.cells if cell.number > last}
        changing = self._changing(task.names)
        names = {name: cells for name, cells in changing.items() if late & set(cells)}
        unseen = sorted(filter(self._run.is_opaque, late))
        disturbing = late & _numbers(names) | set(unseen)
        if not disturbing:
            return None
        kept = self._needed_by_its_check - disturbing
        cells = [c for c in self.cells if c.number not in late or c.number in kept]
        return Earlier([self.spare.get(cell.number, cell) for cell in cells], names, unseen)

    def _answers(self, task: Task) -> list[int]:
        if task.is_code:
            return [cell.number for cell in self._code if set(cell.names) & set(task.names)]
        return sorted(_numbers(self._run.changing(frozenset(task.names))))

    def _checks(self, task: Task) -> list[int]:
        return [cell.number for cell in self._code if task.name in lessons.called(cell.source)]

    def _changing(self, names: Iterable[str]) -> dict[str, list[int]]:
        return self._run.changing(self._run.needed(names))

    @cached_property
    def _run(self) -> Dependencies:
        return Dependencies(self.cells)

    @cached_property
    def _needed(self) -> set[int]:
        """Cells that some answer needs."""
        return _numbers(self._changing(self._asked))

    @cached_property
    def _needed_by_its_check(self) -> set[int]:
        """Cells that some answer needs, and that stand before the check of its task."""
        found = set[int]()
        for task in self._tasks:
            last = max([*(self._checks(task) or self._answers(task)), 0])
            found |= {n for n in _numbers(self._changing(task.names)) if n <= last}
        return found


def _numbers(names: Mapping[str, Iterable[int]]) -> set[int]:
    return {number for cells in names.values() for number in cells}


def is_shown(cell: Cell, lesson: Lesson) -> bool:
    """Whether a cell is a demonstration: tagged so, and no answer, whatever its tags say."""
    asked = {name for task in lesson.tasks for name in task.names}
    tagged = DEMONSTRATION in cell.tags and not asked & set(cell.names)
    return tagged or lesson.is_demonstration(cell.source)


def in_words(numbers: Sequence[int]) -> str:
    """Return cells' numbers as a sentence has them: ``cell 4``, ``cells 4 to 7 and 9``.

    Of more than `MOST` runs of numbers it says how many cells they are.
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    if len(runs) > MOST:
        return f"{len(numbers)} cells"
    parts = [
        part
        for run in runs
        for part in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))
    ]
    listed = " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])
    return f"{'cell' if len(numbers) == 1 else 'cells'} {listed}"
