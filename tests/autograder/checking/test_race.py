"""The verdict on speed: its error rates by computation, and races in the real sandbox."""

import contextlib
import functools

import pytest
from scipy import stats

from autograder.catalogue.lessons import LessonError
from autograder.checking import race
from autograder.checking.expect import CheckFailed, Inputs, expect_close
from autograder.checking.handle import InProcess, Student
from autograder.checking.race import DEFICIT, LEAD, TRIES, Race, Tally, comparable, interval
from autograder.sandbox.errors import SandboxError
from autograder.sandbox.freezer import Took
from tests.conftest import running

KERNEL = """
def repeated(x):
    for _ in range({}):
        y = x @ x.T
    return y
"""


def chances(p: float) -> tuple[float, float]:
    """The chances that the walk passes and that it fails, where a pair counts up with chance p."""
    at, passed, failed = {0: 1.0}, 0.0, 0.0
    for _ in range(2000):
        moved: dict[int, float] = {}
        for lead, share in at.items():
            for step, chance in ((1, p), (-1, 1 - p)):
                moved[lead + step] = moved.get(lead + step, 0.0) + share * chance
        passed += moved.pop(LEAD, 0.0)
        failed += moved.pop(-DEFICIT, 0.0)
        at = moved
    return passed, failed


def test_the_stated_error_rates_hold():
    passed, failed = chances(2 / 3)
    assert passed + failed == pytest.approx(1)
    assert failed**TRIES + (1 / 3) ** LEAD < 1 / 1000, "a deficit in each, or no pair anywhere near"
    passed, _ = chances(0.25)
    assert 1 - (1 - passed) ** TRIES < 1 / 1000, "a false pass: in one of the measurements"


def tally(at_least, *pairs):
    made = Tally(at_least)
    for student, reference in pairs:
        made.add(student, reference)
    return made


def test_a_lead_decides():
    assert not tally(0.8, *[(1.0, 1.0)] * (LEAD - 1)).decided
    fast = tally(0.8, *[(1.0, 1.0)] * LEAD)
    assert fast.decided and fast.passed
    slow = tally(0.8, *[(1.0, 0.7)] * DEFICIT)
    assert slow.decided and not slow.passed and not slow.hopeless


def test_far_too_slow_needs_more_pairs_but_no_second_measurement():
    assert not tally(0.8, *[(1.0, 0.5)] * (LEAD - 1)).decided
    slow = tally(0.8, *[(1.0, 0.5)] * LEAD)
    assert slow.decided and slow.hopeless and not slow.passed
    assert tally(0.8, (1.0, 0.65), *[(1.0, 0.5)] * (DEFICIT - 1)).decided


def test_a_ratio_at_the_bound_is_fast_enough():
    assert tally(0.5, *[(2.0, 1.0)] * LEAD).passed


def test_a_failed_verdict_is_no_doubt():
    assert not tally(0.8, (1.0, 0.7), (1.0, 0.9)).figure().decided
    assert tally(0.8, (1.0, 0.5), (1.0, 0.5)).figure().decided, "no pair was anywhere near"


def test_time_of_the_cpu_counts_where_it_is_known_to_be_all_or_too_much():
    reference = Took(wall=2.0, cpu=1.0, alone=False)
    alone, slow, fast = Took(9.0, 1.0, True), Took(9.0, 1.5), Took(9.0, 1.0)
    assert comparable(alone, reference, 0.8) == (1.0, 1.0)
    assert comparable(slow, reference, 0.8) == (1.5, 1.0), "helpers can only have made it more"
    assert comparable(fast, reference, 0.8) == (9.0, 2.0), "a helper may have done the rest"
    assert comparable(Took(3.0), Took(2.0), 0.8) == (3.0, 2.0), "no time of the CPU is known"


def test_a_doubt_is_the_students_where_the_pair_in_the_middle_was_near():
    assert tally(0.8, (1.0, 0.7), (1.0, 0.9)).passed
    assert tally(0.8, (1.0, 0.7), (1.0, 0.7)).passed
    assert tally(0.8, (1.0, 0.4), (1.0, 0.7), (1.0, 0.7)).passed
    far = tally(0.8, (1.0, 0.4), (1.0, 0.9), (1.0, 0.4))
    assert not (far.passed or far.decided or far.hopeless) and far.figure().decided


@pytest.mark.parametrize("n", range(1, 60))
def test_the_interval_covers_the_median(n):
    values = list(range(n))
    low, high = interval(values)
    cut = values.index(low)
    assert high == n - 1 - cut
    missed = 2 * stats.binom.cdf(cut, n, 0.5)
    assert missed <= 0.05 or cut == 0
    if n > 2 * (cut + 1) + 1:
        assert 2 * stats.binom.cdf(cut + 1, n, 0.5) > 0.05, "a narrower one would do too"


@pytest.fixture
def make_race(sandbox):
    """`make_race(student, reference, bound)`: sides that repeat a product so often, racing."""
    with contextlib.ExitStack() as stack:

        def made(student, reference, bound=0.8):
            side = functools.partial(lambda text: stack.enter_context(running(sandbox, text))[0])
            one, other = side(KERNEL.format(student)), side(KERNEL.format(reference))
            return Race(one, lambda: other, bound)

        yield made


def go(race, verify=lambda came, expected, x: expect_close(came, expected, "Not equal.")):
    rng = Inputs([1])
    race.time(lambda side: side.repeated, lambda: (rng.normal(64, 64),), verify)


def test_as_fast_passes(make_race):
    made = make_race(60, 60)
    go(made)
    figure = made.figure
    assert figure.kind == "speed" and figure.bound == 0.8 and figure.pairs >= LEAD
    assert 0.7 < figure.ratio < 1.4
    assert figure.low <= figure.ratio <= figure.high


@pytest.mark.parametrize("seconds", [race.SECONDS, 0.0])
@pytest.mark.parametrize(
    "times, hopeless, restarts", [(1000, 3.0, 2 * (TRIES - 1)), (2000, race.HOPELESS, 0)]
)
def test_slow_fails_after_every_measurement_unless_hopeless_however_slow_the_machine(
    make_race, monkeypatch, times, hopeless, restarts, seconds
):
    monkeypatch.setattr(race, "HOPELESS", hopeless)
    monkeypatch.setattr(race, "SECONDS", seconds)
    made, begun = make_race(times, 500), []
    for side in (made._student, made._start()):
        transport = side._transport
        transport.restart = lambda again=transport.restart: begun.append(again())
    with pytest.raises(CheckFailed, match=r"Slower than 0.8 × the reference"):
        go(made)
    assert len(begun) == restarts, "both sides begin anew"
    assert made.figure.ratio < 0.78


def test_every_timed_result_is_verified(make_race):
    seen = []

    def verify(came, expected, x):
        expect_close(came, x @ x.T, "Not right.")
        seen.append(x)

    made = make_race(30, 30)
    go(made, verify)
    assert len(seen) == made.figure.pairs + race.WARM_UP
    assert len({x.sum().item() for x in seen}) == len(seen), "inputs are fresh"

    def refuse(came, expected, x):
        raise CheckFailed("A timed result is wrong.")

    with pytest.raises(CheckFailed, match="timed result"):
        go(make_race(30, 30), refuse)


def test_what_the_reference_does_wrong_is_not_the_students(sandbox):
    with (
        running(sandbox, KERNEL.format(1)) as (student, _),
        running(sandbox, "def repeated(x): raise KeyError") as (broken, _),
        pytest.raises(SandboxError, match="the reference could not be run"),
    ):
        go(Race(student, lambda: broken, 0.8))


def test_without_a_reference_nothing_is_decided():
    def none():
        raise LessonError("no solutions")

    student = Student(InProcess({"repeated": lambda x: x}))
    with pytest.raises(LessonError):
        go(Race(student, none, 0.8))


def test_in_a_notebook_both_are_in_its_own_process():
    def namespace(times):
        names = {}
        exec(KERNEL.format(times), names)
        return Student(InProcess(names))

    made = Race(namespace(50), lambda: namespace(50), 0.5)
    go(made)
    assert made.figure.pairs >= LEAD or not made.figure.decided


HOLD = """
import torch
kept = []
def take(count):
    kept.append(torch.ones(count << 18))
    return True
"""


def test_memory_is_weighed(sandbox):
    with (
        running(sandbox, HOLD) as (student, _),
        running(sandbox, HOLD) as (reference, _),
    ):

        def prepare(side):
            side.take(1)
            return lambda: side.take(40 if side is student else 5)

        fine = Race(student, lambda: reference, 100 << 20)
        fine.weigh(prepare, lambda came: None)
        assert fine.figure.kind == "memory"
        assert 38 << 20 < fine.figure.student < 60 << 20
        assert fine.figure.reference < 20 << 20
        large = Race(student, lambda: reference, 0.5)
        with pytest.raises(CheckFailed, match="rises by more than 30 MB"):
            large.weigh(prepare, lambda came: None, whole=60 << 20)
