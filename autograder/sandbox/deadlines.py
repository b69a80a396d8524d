"""By when a submission and its task must be done: put off by what others take of a busy machine."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

PATIENCE = 4
"""How many times as long as it should a submission may take, where others use the machine."""


class Deadlines:
    """Of one submission, and of the task that is judged, if one is."""

    def __init__(self, seconds: float) -> None:
        """Begin now, with `seconds` for all of it."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._last = self._end + (PATIENCE - 1) * seconds
        self._task, self._task_seconds = math.inf, math.inf
        self._spent: dict[str, float] = {}
        self._name = ""

    @property
    def left(self) -> float:
        """How many seconds of the submission's are left."""
        return max(self._end - time.monotonic(), 0.0)

    @property
    def are_over(self) -> bool:
        """Whether the submission's time is used up."""
        return time.monotonic() > self._end

    @property
    def task_is_over(self) -> str:
        """Why no more of this task is run, or an empty string."""
        if time.monotonic() < self._task:
            return ""
        return f"The task's {self._task_seconds:.0f} s are used up."

    def until(self, seconds: float) -> float:
        """Return the `time.monotonic()` by which a call of at most `seconds` must be done."""
        return min(time.monotonic() + seconds, self._end, self._task)

    def begin_task(self, name: str, seconds: float) -> None:
        """Give what follows, until this is called again, what is left of a task's `seconds`."""
        now = time.monotonic()
        if self._name:
            self._spent[self._name] = self._task_seconds - (self._task - now)
        self._name, self._task_seconds = name, seconds
        self._task = now + seconds - self._spent.get(name, 0.0)

    @contextlib.contextmanager
    def of_no_task(self) -> Iterator[None]:
        """Let what is done in between be of no task's time."""
        task, self._task, began = self._task, math.inf, time.monotonic()
        try:
            yield
        finally:
            self._task = task + time.monotonic() - began

    def lend(self, seconds: float) -> None:
        """Put the submission's end off, or back again."""
        self._end += seconds

    def put_off(self, lost: float) -> float:
        """Put all off by the seconds that others took, up to a limit; return how many."""
        lost = max(min(lost, self._last - self._end), 0.0)
        self._end += lost
        self._task += lost
        return lost
