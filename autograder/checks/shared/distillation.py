"""What the checks of the lesson distillation share."""

from collections import OrderedDict

from torch import nn

NO_LABELS = (
    "Every label here is -100, so the cross-entropy, a mean over none, is NaN (0 / 0), and NaN "
    "times 1 - alpha is NaN for any alpha: where there is no label, leave that term out."
)
"""Which term of the loss is NaN where no label counts, and why."""
SETTINGS = {"lr": 0.01, "temperature": 2.0, "alpha": 0.5, "seed": 3}
"""What `distill` is given where a visible check is about something else."""


def soft_settings(rng):
    """Return a temperature and an alpha that no visible check has."""
    return rng.choice((1.5, 2.5, 3.5)), rng.choice((0.2, 0.3, 0.4, 0.8))


def drawn_settings(rng):
    """Return what `distill` is given beside models, loader and epochs: other than `SETTINGS`."""
    temperature, alpha = soft_settings(rng)
    lr = rng.choice((0.005, 0.008, 0.02))
    return {"lr": lr, "temperature": temperature, "alpha": alpha, "seed": rng.seed()}


def body_of(model):
    """Leave out the head of a model that is held; what its features are is then seen."""
    return model[:-1]


def softened(logits, temperature):
    """exp(z / T) over its sum, in double precision."""
    powers = (logits.double() / temperature).exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def divergence(left, right, temperature):
    """KL(left ‖ right) at a temperature, one number a row, from logits."""
    p, q = (softened(logits, temperature) for logits in (left, right))
    return (p * (p.log() - q.log())).sum(dim=-1)


def classifier(rng, width=6):
    """A small classifier of rows of 5 into 3 classes, in double precision."""
    parts = OrderedDict(body=rng.linear(5, width), act=nn.Tanh(), head=rng.linear(width, 3))
    return nn.Sequential(parts).double()


def small_resnet(rng, **settings):
    """Something with a stem `conv1` for three channels and a head `fc`."""
    settings = {"padding": 1, "bias": False, **settings}
    parts = OrderedDict(conv1=rng.conv2d(3, 4, 3, **settings), act=nn.ReLU())
    parts |= OrderedDict(pool=nn.AdaptiveAvgPool2d(2), flat=nn.Flatten(), fc=rng.linear(16, 7))
    return nn.Sequential(parts)


def net_and_images(rng, count=32):
    """A small student, and a loader of one batch of images: for a teacher with a large body."""
    layers = nn.Flatten(), rng.linear(256, 32), nn.ReLU(), rng.linear(32, 5)
    return nn.Sequential(*layers), [(rng.normal(count, 1, 16, 16), rng.integers(0, 5, (count,)))]
