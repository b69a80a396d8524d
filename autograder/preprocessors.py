"""The name that an older class's ``nbgrader_config.py`` has for `autograder.lms.nbgrader`."""

from __future__ import annotations

import warnings

from traitlets.config import Config

from autograder.lms import nbgrader


def configure(config: Config) -> None:
    """Do as `autograder.lms.nbgrader.configure`, and say that this is its name now."""
    now = "Write `from autograder.lms.nbgrader import configure` in nbgrader_config.py."
    warnings.warn(f"autograder.preprocessors is the name of before. {now}", stacklevel=2)
    nbgrader.configure(config)
