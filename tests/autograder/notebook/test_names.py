"""The names that a cell defines, and those that its functions have, as Python gives them."""

import pytest

from autograder.notebook.names import defined_names, qualified_names


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


SOURCE = """
class Model:
    def forward(self, x):
        return [y for y in x]
"""


def test_functions_have_their_names_in_full():
    forward = "Model.forward"
    inside = f"{forward}.<locals>.<listcomp>"
    assert qualified_names(SOURCE, 50) == {"Model", forward, inside}
    assert qualified_names(SOURCE, 15) == {"Model", forward, inside[:15]}
    assert qualified_names("def (:", 50) == frozenset()


def test_one_long_name_is_not_kept_again_for_each_that_is_inside_it():
    inside = "".join(f"    def f{n}(): pass\n" for n in range(1_000))
    source = "def " + "\U00020000" * 40_000 + f"():\n{inside}"
    found = qualified_names(source, 50)
    assert found and max(map(len, found)) == 50
