"""What the lessons start from: a little data and small pretrained models, all offline.

SCALE says how large a lesson's demonstrations are. It is the environment variable COURSE_SCALE:

    small      seconds each, to see that everything runs: what the tests use
    default    a minute or two each on two CPU cores; also where the variable is not set
    full       all of MNIST, bert-base-uncased: a GPU, and a network for the first download
"""

import os

SCALES = ("small", "default", "full")
SCALE: str = os.environ.get("COURSE_SCALE", "default")
if SCALE not in SCALES:
    raise ValueError(f'COURSE_SCALE is "small", "default" or "full", not {SCALE!r}')
