"""The small network that lessons start from: a ResNet for 28x28 grey images.

Residual blocks and stages: He et al., https://arxiv.org/abs/1512.03385; the modules' names are
those of torchvision.models.resnet18, so that what a lesson says of `layer1.0.conv1` and `fc`
holds for both.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent / "weights" / "resnet_digits_0_4.safetensors"


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
