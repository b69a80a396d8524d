"""Data for the lessons, all without a download: a balanced subset of MNIST, interview questions.

MNIST is by Yann LeCun, Corinna Cortes and Christopher J.C. Burges; course/data/README.md states
sources and licences.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

SUBSET = Path(__file__).parent / "data" / "mnist.npz"
QUESTIONS = Path(__file__).parent / "data" / "interview_questions.jsonl"
CACHE = Path.home() / ".cache" / "fine-tuning-interviews"  # where full=True looks for the files

# Of all pixels of the 60,000 training images, black as 0 and white as 1.
MEAN, STD = 0.1307, 0.3081


def mnist(
    split: str,
    digits: Iterable[int] = range(10),
    limit: int | None = None,
    *,
    full: bool = False,
    root: Path | str = CACHE,
    download: bool = False,
) -> TensorDataset:
    """Load images of handwritten digits, and the class of each.

    split     "train" (5,000 images; all: 60,000) or "test" (2,000; all: 10,000)
    digits    which ones: class k stands for digits[k], so digits=range(5, 10) gives classes 0 to 4
    limit     only the first so many. The subset repeats its digits in turn: each is as frequent as
              the others, to within one image
    full      all of MNIST through torchvision, from `root`; `download=True` fetches it if missing

    Returns a TensorDataset of images (N, 1, 28, 28), float32, (pixel/255 - 0.1307) / 0.3081, and
    classes (N,), int64, in [0, len(digits)). Always in the same order: shuffle in the loader.

    Raises ValueError for another split, for digits that are not distinct integers from 0 to 9, and
    for a limit that is not between 1 and the number of images there are; FileNotFoundError
    where full=True finds no files.
    """
    digits = list(digits)
    if split not in ("train", "test"):
        raise ValueError(f'split is "train" or "test", not {split!r}')
    if not digits or len(set(digits)) < len(digits) or not set(digits) <= set(range(10)):
        raise ValueError(f"digits are distinct integers from 0 to 9, not {digits}")

    pixels, labels = _all(split, Path(root), download) if full else _subset(split)
    is_digit = labels[:, None] == torch.tensor(digits)  # (N, len(digits)), one True a row at most
    rows = is_digit.any(dim=1).nonzero().squeeze(1)
    if limit is not None:
        if not 1 <= limit <= len(rows):
            raise ValueError(f"limit is between 1 and {len(rows)} here, not {limit}")
        rows = rows[:limit]

    images = (pixels[rows].unsqueeze(1).float() / 255 - MEAN) / STD  # (N, 1, 28, 28)
    classes = is_digit[rows].int().argmax(dim=1)  # (N,)
    return TensorDataset(images, classes)


def interview_questions(split: str) -> tuple[list[str], torch.Tensor, list[str]]:
    """Load short questions from machine-learning interviews, and the topic of each.

    split     "train" (360 questions), "validation" (120) or "test" (120)

    Returns texts, a list of N strings; labels (N,), int64, in [0, 8); and the names of the topics:
    label k stands for topics[k]. Always in the same order, which repeats the topics in turn, so the
    first n are balanced to within one question; shuffle in the loader.

    Raises ValueError for another split.
    """
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    topics = sorted({question["topic"] for question in questions})
    chosen = [question for question in questions if question["split"] == split]
    if not chosen:
        raise ValueError(f'split is "train", "validation" or "test", not {split!r}')
    labels = torch.tensor([topics.index(question["topic"]) for question in chosen])  # (N,)
    return [question["text"] for question in chosen], labels, topics


def _subset(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the file that comes with the course: pixels (N, 28, 28) and labels (N,), uint8."""
    with np.load(SUBSET, allow_pickle=False) as arrays:
        return (
            torch.from_numpy(arrays[f"{split}_images"]),
            torch.from_numpy(arrays[f"{split}_labels"]),
        )


def _all(split: str, root: Path, download: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the original files: pixels (N, 28, 28), uint8, and labels (N,), int64."""
    import torchvision  # takes a second, and only who asks for all of MNIST needs it

    try:
        whole = torchvision.datasets.MNIST(root, train=split == "train", download=download)
    except RuntimeError as error:
        if download:
            raise  # torchvision's own words on what failed
        raise FileNotFoundError(f"no MNIST files in {root}: download=True fetches them") from error
    return whole.data, whole.targets
