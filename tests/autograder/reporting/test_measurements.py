"""Figures in words and as bars."""

import pytest

from autograder.reporting import measurements
from autograder.scores import Figure

SPEED = Figure("speed", 0.004, 0.003, 0.8, 0.75, 0.7, 0.8, 9)
MEMORY = Figure("memory", 50 << 20, 20 << 20, 48 << 20)


def test_the_longest_takes_the_room():
    drawn = measurements.bars(SPEED)
    assert drawn.student == 1.0
    assert drawn.reference == pytest.approx(0.75)
    assert drawn.limit == pytest.approx(0.003 / 0.8 / 0.004)
    assert measurements.bars(MEMORY).limit == pytest.approx(48 / 50)


def test_words_say_what_was_measured():
    said = measurements.sentence(SPEED)
    assert "4 ms" in said and "3 ms" in said and "0.75 times as fast" in said
    assert "0.70 to 0.80 in 9 pairs" in said and "required is 0.8" in said
    assert "doubt" not in said
    assert "doubt" in measurements.sentence(Figure("speed", 1.0, 1.0, 0.8, 1.0, 0.5, 2.0, 3, False))
    assert "50 MB" in measurements.sentence(
        MEMORY
    ) and "allowed are 48 MB" in measurements.sentence(MEMORY)


def test_text_has_a_bar_for_each_and_the_limit():
    yours, reference, limit, said = measurements.in_text(SPEED)
    assert yours.count("█") == measurements.ROOM and reference.count("█") == 30
    assert limit.index("|") - limit.index("limit") == 11 + round(40 * 0.9375) - 1
    assert said == measurements.sentence(SPEED)
