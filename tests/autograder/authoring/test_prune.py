"""What stays of a module: what its users need, directly or not."""

import ast

from autograder.authoring.prune import prune

HELPERS = '''"""Helpers."""

from __future__ import annotations

import copy
from math import cos, sin

from lib import other
from lib.other import inner, outer


# ---- said of `used`


def used(x):
    """Needs another."""
    return sin(_beneath(x)) + other.held(x)


# ---- said of `unused`


@copy
def unused(x):
    """Nobody needs it."""
    return cos(inner(x))


def _beneath(x):
    return LIMIT * outer(x)


LIMIT = 3
"""said of the limit"""

SECRET = 4
"""said of the secret"""


class Kept(dict):
    """Taken by a user."""
'''
OTHER = """def inner(x):
    return x


def outer(x):
    return held(x)


def held(x):
    return x
"""
NOBODYS = "def lonely():\n    return 1\n"
MODULES = {"lib.helpers": HELPERS, "lib.other": OTHER, "lib.nobodys": NOBODYS}


def pruned(*users):
    return prune(MODULES, users)


def test_what_is_needed_stays_with_what_it_needs_and_what_is_said_of_it():
    text = pruned("from lib.helpers import used")["lib.helpers"]
    for there in ("def used", "def _beneath", "LIMIT = 3", "said of the limit", "said of `used`"):
        assert there in text
    for gone in ("unused", "SECRET", "said of the secret", "Kept", "copy", "cos", "inner"):
        assert gone not in text, gone
    assert '"""Helpers."""' in text and "from __future__ import annotations" in text
    ast.parse(text)


def test_it_follows_into_other_modules_by_name_and_by_attribute():
    other = pruned("from lib.helpers import used")["lib.other"]
    assert "def outer" in other and "def held" in other
    assert "def inner" not in other


def test_a_module_taken_whole_keeps_what_is_asked_of_it():
    text = pruned("from lib import helpers\n\nprint(helpers.Kept())")["lib.helpers"]
    assert "class Kept" in text and "def used" not in text


def test_a_module_that_nobody_needs_is_left_out():
    assert pruned("import lib.else_where").keys() == set()
    assert pruned("from lib.other import inner").keys() == {"lib.other"}


def test_a_module_of_which_everything_is_needed_is_unchanged():
    user = "from lib.other import held, inner, outer"
    assert pruned(user) == {"lib.other": OTHER}
