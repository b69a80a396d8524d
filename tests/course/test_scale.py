import os
import subprocess
import sys
from pathlib import Path

import pytest

import course

ROOT = Path(__file__).parents[2]


def scale(value: str | None) -> subprocess.CompletedProcess[str]:
    """Say course.SCALE in a new process, where COURSE_SCALE is `value` or not set at all."""
    environment = {k: v for k, v in os.environ.items() if k != "COURSE_SCALE"}
    environment["PYTHONPATH"] = str(ROOT)
    if value is not None:
        environment["COURSE_SCALE"] = value
    return subprocess.run(
        [sys.executable, "-c", "import course; print(course.SCALE)"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("value", [None, "small", "default", "full"])
def test_scale_is_the_environments_or_default(value):
    assert scale(value).stdout == f"{value or 'default'}\n"


@pytest.mark.parametrize("value", ["", "Small", "large"])
def test_another_scale_is_refused_and_the_three_are_named(value):
    ended = scale(value)
    assert ended.returncode != 0
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ValueError: COURSE_SCALE")
    assert all(f'"{name}"' in last for name in ("small", "default", "full"))
    assert repr(value) in last


def test_each_scale_is_explained():
    assert all(f"    {name} " in course.__doc__ for name in course.SCALES)
