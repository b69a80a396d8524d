"""Train the small ResNet that lessons start from on the digits 0 to 4 of course/data/mnist.npz.

About ten seconds on one CPU core. The same seed gives the same weights on the same machine and
torch, and elsewhere slightly different ones: the sums are taken in another order.

    python scripts/make_resnet.py
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import save
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run from a clone: no installation needed

from course.data import mnist
from course.models import WEIGHTS, SmallResNet

DIGITS = range(5)


def train(data: TensorDataset, epochs: int, lr: float, batch_size: int, seed: int) -> SmallResNet:
    """Train from random weights with AdamW and one cycle of the learning rate (`lr` its peak)."""
    torch.manual_seed(seed)  # the initial weights; the order of the images has its own stream
    model = SmallResNet(num_classes=len(DIGITS)).train()
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(data, batch_size, shuffle=True, generator=order)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    with tqdm(total=steps, unit="step") as progress:
        for _ in range(epochs):
            for images, classes in loader:  # (B, 1, 28, 28), (B,)
                loss = F.cross_entropy(model(images), classes)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()
                progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    return model.eval()


@torch.no_grad()
def accuracy(model: SmallResNet, data: TensorDataset) -> float:
    """Return the share of `data` that the model, in the mode it is in, classifies rightly."""
    images, classes = data.tensors
    return (model(images).argmax(dim=1) == classes).float().mean().item()


def main() -> None:
    """Parse the command line, train, report held-out accuracy, write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="default: the course's weights")
    parser.add_argument("--epochs", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--lr", type=float, default=3e-3, help="its peak; default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    model = train(
        mnist("train", DIGITS), options.epochs, options.lr, options.batch_size, options.seed
    )
    held_out = mnist("test", DIGITS)
    print(f"held-out accuracy on digits 0-4: {accuracy(model, held_out):.1%} of {len(held_out):,}")
    options.out.write_bytes(
        save(model.state_dict())
    )  # save_file would make it unreadable to others
    parameters = sum(p.numel() for p in model.parameters())
    size = options.out.stat().st_size
    print(f"{options.out}: {parameters:,} parameters, {size:,} bytes")


if __name__ == "__main__":
    main()
