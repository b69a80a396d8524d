"""Speed and memory thresholds: measured from outside, in pairs with the reference.

Both sides run in identical processes, held to one CPU, each stopped while the other is timed. The
clock is the grader's; it runs from the request to the last byte of the result, so that neither a
lazy object nor a patched clock gains anything, and every timed result is verified. Each pair has
inputs that neither side has seen.

The time of a call is that of the CPU, which other programs on the machine cannot lengthen, where
nothing else can have worked for the student (`freezer.Took`), or where even that is too long; else
that of the wall clock.

The verdict is a sequential test on signs: a pair in which the student was fast enough counts one
up, any other one down; a lead of `LEAD` passes, a deficit of `DEFICIT` fails. Noise hits both sides
of a pair alike. As long as it leaves at least three pairs in four on the right side, the wrong end
of n steps comes first with a probability of less than 3^-n (the gambler's ruin; Wald 1945). What
failed is measured anew in new processes, `TRIES` times in all, unless no pair was anywhere near:
then it takes `LEAD` such pairs in a row. So a false pass happens less than once in 1,000 verdicts,
and so does a false failure even on a machine so noisy that it leaves two pairs in three.
Without an end in time the doubt is the student's, if no process of its own was there to help, and
the pair in the middle was near what is asked. One that runs while it is held still, for the other
side's turn, cannot be timed, and fails.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from autograder.checking.expect import CheckFailed, fail
from autograder.checking.handle import Student, Transport
from autograder.sandbox.errors import SandboxError, StudentError
from autograder.sandbox.freezer import Took, idlest_cpu
from autograder.scores import Figure

LEAD, DEFICIT = 8, 5
HOPELESS = 1.3
"""A pair that took so many times what is allowed: no process is that unlucky."""
SECONDS = 1.2
"""The longest that one measurement takes, unless its first `DEFICIT` pairs do: too slow in each, it
fails on a slow machine too. A hopeless one, which is not repeated, takes twice as long."""
RESTLESS = (
    "Your code goes on while it is held still for the reference's turn: its speed cannot be "
    "measured. End what it starts before it returns."
)
WARM_UP = 2
TRIES = 3
CONFIDENCE = 0.95

Prepare = Callable[[Student], Callable[..., Any]]
"""Makes, on one side, what is to be called there; it is not timed."""
Arguments = Callable[[], tuple[Any, ...]]
Verify = Callable[..., None]
Result = tuple[Any, Any, tuple[Any, ...]]
"""The student's, the reference's, and the arguments of both."""


class Restless(Exception):
    """The student's process ran while it was held still."""


class Tally:
    """The pairs of one measurement, and the sequential verdict on them."""

    def __init__(self, at_least: float) -> None:
        """Ask for a ratio of the reference's time to the student's."""
        self._at_least = at_least
        self._pairs: list[tuple[float, float]] = []
        self._lead = 0
        self._helped = False

    def add(self, student: float, reference: float, helpers: bool = False) -> None:
        """Count one pair of times, in seconds; `helpers`: the student may have had help."""
        self._pairs.append((student, reference))
        self._helped |= helpers
        self._lead += 1 if reference >= self._at_least * student else -1

    @property
    def decided(self) -> bool:
        """Whether the walk has come to an end."""
        return self._lead >= LEAD or self._lead <= -(LEAD if self.hopeless else DEFICIT)

    @property
    def hopeless(self) -> bool:
        """Whether no pair was anywhere near what is asked."""
        return all(r * HOPELESS < self._at_least * s for s, r in self._pairs)

    @property
    def passed(self) -> bool:
        """Whether the student was fast enough, or alone and near it, and it is not decided."""
        return self._lead >= 0 or not (self.decided or self._is_far or self._helped)

    @property
    def _is_far(self) -> bool:
        """Whether the pair in the middle was nowhere near what is asked."""
        return self._middle * HOPELESS < self._at_least

    @property
    def _middle(self) -> float:
        return statistics.median(r / s for s, r in self._pairs)

    def figure(self) -> Figure:
        """Return what was measured."""
        student, reference = zip(*self._pairs, strict=True)
        ratios = [r / s for s, r in self._pairs]
        low, high = interval(ratios)
        times = statistics.median(student), statistics.median(reference)
        clear = self.decided or self._is_far
        return Figure("speed", *times, self._at_least, self._middle, low, high, len(ratios), clear)


def comparable(student: Took, reference: Took, at_least: float) -> tuple[float, float]:
    """Return the times of a pair, in seconds, that are compared.

    Those of the CPU where they are known and are the whole: the reference's always is, having no
    helpers; the student's, too, where it was alone. Where it was not, it is the least that the
    answer took, and if even that is more than `at_least` allows, it is enough to tell.
    """
    if student.alone or reference.cpu < at_least * student.cpu:
        return student.cpu, reference.cpu
    return student.wall, reference.wall


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return bounds of the median, of at least this confidence if that many values can give it.

    They are order statistics: the count of values below the median is binomial, whatever the
    distribution (Conover, Practical Nonparametric Statistics, §3.2).
    """
    ordered, n = sorted(values), len(values)
    cut, tail = 0, 0.5**n
    while cut + 1 < n / 2 and 2 * (tail + math.comb(n, cut + 1) * 0.5**n) <= 1 - confidence:
        cut += 1
        tail += math.comb(n, cut) * 0.5**n
    return ordered[cut], ordered[n - 1 - cut]


class Timing(ABC):
    """Reaches a verdict from measurements, wherever they are made.

    Attributes:
        figure: what was measured last, or None.
    """

    def __init__(self, bound: float) -> None:
        """Ask for a ratio of the reference's time to the student's."""
        self._bound = bound
        self.figure: Figure | None = None

    def time(self, prepare: Prepare, inputs: Arguments, verify: Verify) -> None:
        """Fail unless the student is as fast as the bound says.

        Args:
            prepare: makes what is called, on each side.
            inputs: returns fresh arguments; what they are must not be known beforehand.
            verify: called with each of the student's results, the reference's and their inputs;
                raises `CheckFailed`.

        Raises:
            CheckFailed: clearly too slow, or a timed result is wrong.
            StudentError: a call raised.
            SandboxError: the reference did not run.
        """
        for number in range(TRIES):
            try:
                tally = self._measure(prepare, inputs, verify, again=number > 0)
            except Restless:
                if number + 1 == TRIES:
                    fail(RESTLESS)
                continue
            self.figure = tally.figure()
            if tally.passed:
                return
            if tally.hopeless:
                break
        fail(f"Slower than {self._bound:g} × the reference.")

    @abstractmethod
    def _measure(self, prepare: Prepare, inputs: Arguments, verify: Verify, again: bool) -> Tally:
        """Time pairs of calls, verified; `again`: in new processes.

        Raises:
            Restless: the student cannot be held still.
        """


class Race(Timing):
    """Measures one student beside the reference; what a check calls."""

    def __init__(self, student: Student, reference: Callable[[], Student], bound: float) -> None:
        """Get ready.

        Args:
            student: the submission.
            reference: starts the reference in a process like the student's, or returns the one
                that is there; raises `LessonError` where this edition has none.
            bound: as in `Figure`.
        """
        super().__init__(bound)
        self._student, self._start = student, reference

    def _measure(self, prepare: Prepare, inputs: Arguments, verify: Verify, again: bool) -> Tally:
        """Time pairs of calls, in the order ABBA, until the verdict is clear or the time is up."""
        if again:
            self._student._transport.restart()
        student, cpu = self._student._transport, idlest_cpu()
        call = prepare(self._student)
        tally, results = Tally(self._bound), list[Result]()
        call(*inputs())  # what fails needs no reference
        with student.held_still(cpu), contextlib.ExitStack() as stack:
            # begun while the student is held still: nothing of its can slow that down
            its_call, reference = self._reference(prepare, again)
            stack.enter_context(reference.held_still(cpu))
            until = time.monotonic() + SECONDS

            def pair(student_first: bool) -> tuple[Took, Took]:
                """Time both on the same fresh inputs."""
                given = inputs()
                for is_student in (student_first, not student_first):
                    if is_student:
                        came, took = student.timed(lambda: call(*given))
                        if took.stirred:
                            raise Restless
                    else:
                        with reference_runs():
                            expected, its = reference.timed(lambda: its_call(*given))
                results.append((came, expected, given))
                return took, its

            def verified(some: list[Result]) -> None:
                for came, expected, given in some:
                    verify(came, expected, *given)

            for _ in range(WARM_UP):
                pair(student_first=True)
            verified(results)  # what is wrong need not be timed
            while not tally.decided:
                took, its = pair(student_first=len(results) % 2 == 0)
                tally.add(*comparable(took, its, self._bound), took.helpers)
                late = time.monotonic() - until
                if len(results) >= WARM_UP + DEFICIT and late > (SECONDS if tally.hopeless else 0):
                    break
        verified(results[WARM_UP:])
        return tally

    def _reference(self, prepare: Prepare, again: bool) -> tuple[Callable[..., Any], Transport]:
        with reference_runs():
            side = self._start()
            if again:
                side._transport.restart()
            return prepare(side), side._transport

    def weigh(self, prepare: Prepare, verify: Callable[[Any], None], whole: float = 1.0) -> None:
        """Fail if a call needs more than the bound of memory that the student had not in use.

        That is by how much it rises. Memory that was taken beforehand does not rise: so it is at
        least the reference's rise and the bytes that the student touches more than it.

        Args:
            prepare: makes what is called, without arguments, on each side.
            verify: called with the student's result; raises `CheckFailed`.
            whole: the bytes of which the bound is a share.

        Raises:
            CheckFailed: too much, or a wrong result.
            StudentError: the call raised.
            SandboxError: the reference did not run.
        """
        value, rise, touched = self._student.measured(prepare(self._student))
        verify(value)
        reference = self._start()
        with reference_runs():
            _, its_rise, its_touched = reference.measured(prepare(reference))
        rise = max(rise, its_rise + touched - its_touched)
        most = self._bound * whole
        self.figure = Figure("memory", rise, its_rise, most)
        if rise > most:
            fail(f"Memory rises by more than {most / (1 << 20):.0f} MB.")


@contextlib.contextmanager
def reference_runs() -> Iterator[None]:
    """Let no failure of the reference's be the student's.

    Raises:
        SandboxError: it failed.
    """
    try:
        yield
    except (StudentError, CheckFailed) as error:
        raise SandboxError(f"the reference could not be run beside it: {error}") from None
