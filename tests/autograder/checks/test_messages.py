"""What hidden checks write into their messages."""

import ast

import pytest

from tests.conftest import ROOT

CHECKS = ROOT / "autograder" / "checks"
FILES = [*sorted(CHECKS.glob("hidden/*.py")), *sorted(CHECKS.glob("shared/*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_value_in_figures_goes_through_short(path):
    """What is formatted otherwise is not counted among what a submission tells."""
    tree = ast.parse(path.read_text())
    parts = [part for part in ast.walk(tree) if isinstance(part, ast.FormattedValue)]
    assert [ast.unparse(part.value) for part in parts if part.format_spec is not None] == []
