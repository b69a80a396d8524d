"""The name that an older class's configuration has."""

import pytest
from traitlets.config import Config

from autograder import preprocessors
from autograder.lms import nbgrader


def test_the_name_of_before_configures_and_says_the_new_one():
    before, now = Config(), Config()
    nbgrader.configure(now)
    with pytest.warns(UserWarning, match="from autograder.lms.nbgrader import configure"):
        preprocessors.configure(before)
    assert before == now
