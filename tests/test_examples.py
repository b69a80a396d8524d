"""The example submissions are made from their cells, and each is described."""

import subprocess
import sys

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples" / "submissions"


def test_the_examples_are_what_the_script_makes():
    script = ROOT / "scripts" / "make_examples.py"
    ended = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_example_is_described():
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    names = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
    assert len(names) == 8
    for name in names:
        assert f"submissions/{name}" in text
