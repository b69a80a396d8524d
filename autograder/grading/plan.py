"""Which of a notebook's cells are run, and how far, told from their text before anything runs."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from autograder.catalogue import lessons
from autograder.catalogue.dependencies import Dependencies
from autograder.catalogue.lessons import DEMONSTRATION, Lesson, Task
from autograder.notebook import Cell, Submission

_BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Disturbance:
    """What cells behind a task's check may have changed of what its answer needs.

    Attributes:
        last: the number of the last cell that ran before the check.
        names: name → the cells that may change what stands behind it, one behind the check or more.
    """

    last: int
    names: dict[str, list[int]]


class Plan:
    """A submission's cells in the light of what its lesson asks for."""

    def __init__(self, submission: Submission, lesson: Lesson) -> None:
        """Look the submission over."""
        self._code, self._lesson = submission.code, lesson
        self._shown = {cell.number for cell in self._code if is_shown(cell, lesson)}
        self._read = Dependencies(self._code)

    @cached_property
    def cells(self) -> list[Cell]:
        """What is run: of a demonstration the imports and definitions that only it has."""
        own = self._changing(cell.number for cell in self._code if cell.number not in self._shown)
        lent = self._needed - own - _BUILTINS
        made = []
        for cell in self._code:
            if cell.number in self._shown:
                cell = replace(cell, source=self._read.definitions(cell.number, lent))
            if cell.source or cell.number not in self._shown:
                made.append(cell)
        return made

    @cached_property
    def spare(self) -> dict[int, Cell]:
        """Cells that no answer needs, by number, and what is run of them when time is short."""
        needed = {n for cells in self._read.changing(self._needed).values() for n in cells}
        return {
            cell.number: replace(cell, source=self._read.definitions(cell.number))
            for cell in self.cells
            if cell.number not in needed
            and not self._read.is_opaque(cell.number)
            and self._read.definitions(cell.number) != cell.source
            and not lessons.called(cell.source)
        }

    def disturbance(self, task: Task) -> Disturbance | None:
        """Return what has come between a task's check and the notebook's end, if anything has."""
        answers = [cell.number for cell in self._code if set(cell.names) & set(task.names)]
        if not answers:
            return None
        checks = [cell.number for cell in self._code if task.name in lessons.called(cell.source)]
        last = min((number for number in checks if number > answers[-1]), default=answers[-1])
        behind = {cell.number for cell in self.cells if cell.number > last}
        names = {
            name: cells
            for name, cells in self._read.changing(self._read.needed(task.names)).items()
            if behind & set(cells)
        }
        if names or any(self._read.is_opaque(number) for number in behind):
            return Disturbance(last, names)
        return None

    @cached_property
    def _needed(self) -> frozenset[str]:
        return self._read.needed(name for task in self._lesson.tasks for name in task.names)

    def _changing(self, numbers: Iterable[int]) -> frozenset[str]:
        wanted = set(numbers)
        found = self._read.changing(self._needed).items()
        return frozenset(name for name, cells in found if wanted & set(cells))


def is_shown(cell: Cell, lesson: Lesson) -> bool:
    """Whether a cell is a demonstration: tagged so, and no answer, whatever its tags say."""
    asked = {name for task in lesson.tasks for name in task.names}
    tagged = DEMONSTRATION in cell.tags and not asked & set(cell.names)
    return tagged or lesson.is_demonstration(cell.source)


def in_words(numbers: Sequence[int]) -> str:
    """Return cells' numbers as a sentence has them: ``cell 4``, ``cells 4 to 7 and 9``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [
        part
        for run in runs
        for part in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))
    ]
    listed = " and ".join([*([", ".join(parts[:-1])] if parts[1:] else []), parts[-1]])
    return f"{'cell' if len(numbers) == 1 else 'cells'} {listed}"
