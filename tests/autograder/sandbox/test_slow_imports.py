"""What takes seconds to import is told while it lasts."""

import subprocess
import sys

from autograder.sandbox import slow_imports

SCRIPT = """
from autograder.sandbox import slow_imports
with slow_imports.told(print):
    import colorsys
    import scipy
    print("there")
    import scipy
import sys
print(any(type(finder).__module__ == slow_imports.__name__ for finder in sys.meta_path))
"""


def test_a_slow_import_is_told_before_it_is_done_and_once():
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert ended.stdout.split("\n") == ["importing scipy …", "there", "False", ""]


def test_what_a_warm_process_begins_is_told_to_who_waits():
    said = []
    slow_imports.begins("torch")
    with slow_imports.told(said.append):
        slow_imports.begins("transformers.models.bert.modeling_bert")
    slow_imports.begins("torch")
    assert said == ["importing transformers …"]
