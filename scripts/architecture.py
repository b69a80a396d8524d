"""Makes docs/architecture.md: the rooms of `autograder/` and their imports, read from the code.

``python scripts/architecture.py`` writes the page; with ``--check`` it only says whether it is as
it should be. A room is a package of `autograder/`, or a module that lies beside them.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "autograder"
PAGE = ROOT / "docs" / "architecture.md"
FACES = ("autograder", "autograder.preprocessors")
"""What others import by a name that stays: each hands on to the room that does the work."""
CHECKS = '"""The checks of each lesson, visible and hidden, and what they share."""'
"""Said here, since the folder is no package: a class has only some of what is in it."""
HEAD = """# The house

Made by `python scripts/architecture.py` from the imports; a test holds it to them. A room imports
only rooms on lower floors. Nothing in `sandbox/` knows of checks or scores; only `lms/` knows
nbgrader, but for `authoring/build.py`, which has it take the solutions out; and a submission's code
runs in `sandbox/child.py` and nowhere else.

"""
WAY = """
## The way that a submission takes

`cli/grader.py` → `cli/run.py`, which opens the journal and the pool → `grading/pool.py` forks a
judge → `notebook/` reads the file as if it bit → `grading/plan.py` tells which cells are run →
`grading/score_submission.py` has `sandbox/session.py` run them in a child of the warm process
(`warm_process.py` asks `zygote.py` for it; `outer_wall.py` and `inner_wall.py` are around it) →
`checking/plugin.py` runs the checks, which speak to it through `checking/handle.py`; bytes cross in
`sandbox/wire.py`, framed by `frames.py` → `scores.py` is what comes of it → `grading/journal.py`
keeps it → `reporting/` tells it.
"""


def module(path: Path) -> str:
    """Return a file's name as a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str:
    """Return the room in which a module lies: ``autograder.sandbox.wire`` is in ``sandbox``."""
    return name.split(".")[1]


@cache
def imports() -> dict[str, frozenset[str]]:
    """Return of each of our modules, faces aside, which of our modules it imports, wherever."""
    names = {module(path): path for path in PACKAGE.rglob("*.py")}
    found = {}
    for name, path in names.items():
        if name in FACES:
            continue
        wanted = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                wanted |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found[name] = frozenset(wanted & names.keys() - {name, "autograder"})
    return found


def rooms() -> dict[str, set[str]]:
    """Return of each room which other rooms it imports."""
    found: dict[str, set[str]] = {}
    for name, wanted in imports().items():
        found.setdefault(room(name), set()).update(map(room, wanted))
    return {name: wanted - {name} for name, wanted in found.items()}


def floors() -> dict[str, int]:
    """Return on which floor each room lies, from 0: above all that it imports.

    Raises:
        RecursionError: two rooms import each other.
    """
    wanted = rooms()

    def floor(name: str) -> int:
        return 1 + max(map(floor, wanted[name]), default=-1)

    return {name: floor(name) for name in wanted}


def drawing() -> str:
    """Return the rooms as a Mermaid flowchart, without what follows from the other arrows."""
    wanted = rooms()

    def below(name: str) -> set[str]:
        return wanted[name].union(*map(below, wanted[name]))

    arrows = [
        f"  {name} --> {other}"
        for name, others in sorted(wanted.items())
        for other in sorted(others)
        if not any(other in below(another) for another in others - {other})
    ]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def page() -> str:
    """Return docs/architecture.md."""
    wanted, on = rooms(), floors()
    lines = ["| floor | room | what is in it | imports |", "|--:|---|---|---|"]
    for name in sorted(on, key=lambda name: (-on[name], name)):
        folder = PACKAGE / name
        first = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
        text = first.read_text(encoding="utf-8") if first.exists() else CHECKS
        said = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")
        shown = f"{name}/" if folder.is_dir() else f"{name}.py"
        below = ", ".join(sorted(wanted[name])) or "–"
        lines.append(f"| {on[name]} | `{shown}` | {' '.join(said[0].split())} | {below} |")
    rest = "What an arrow's end imports too is not drawn again."
    return f"{HEAD}{drawing()}\n\n{rest}\n\n" + "\n".join(lines) + "\n" + WAY


def main() -> int:
    """Write the page, or look at it."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE}: not what the imports say. Run python scripts/architecture.py.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
