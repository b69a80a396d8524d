"""What the checks of the lesson evaluation share."""

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from autograder.checking.expect import expect, expect_equal
from autograder.checks.shared.common import expect_float


def compared(compare, nets, loaders, seeds):
    """Call compare with makers that hand out nets[name][seed]; report the makers' calls, too."""
    calls = []

    def maker(name):
        def make(seed):
            calls.append((name, seed))
            return nets[name][seed]

        return make

    return compare({name: maker(name) for name in nets}, loaders, seeds), calls


def predictions(right_a, right_b, both, neither):
    """Truth and two predictions: so many examples right by A only, B only, both, neither."""
    counts = (right_a, right_b, both, neither)
    truth = np.zeros(sum(counts), dtype=np.int64)
    pred_a = np.repeat([0, 1, 0, 1], counts)
    pred_b = np.repeat([1, 0, 0, 1], counts)
    return truth, pred_a, pred_b


def labelled(rng, n, classes, factor):
    """Logits that are `factor` times too large, and labels drawn from what they should say."""
    honest = rng.normal(n, classes).double() * 1.5  # (n, classes)
    shares = honest.softmax(dim=1).cumsum(dim=1)
    drawn = torch.from_numpy(rng.numpy.random((n, 1)))
    labels = (drawn > shares).sum(dim=1).clamp(max=classes - 1)
    return factor * honest, labels


def least_loss(logits, labels):
    """The least mean cross-entropy over a fine grid of temperatures in [0.05, 20]."""
    grid = torch.logspace(np.log10(0.05), np.log10(20), 2001, dtype=torch.float64)
    return min(F.cross_entropy(logits.double() / T, labels).item() for T in grid)


def expect_good_temperature(T, logits, labels, message):
    """Expect a temperature inside the limits whose loss is close to the least."""
    expect(type(T) in (int, float), "The temperature should be a float.")
    expect(0.05 - 1e-9 <= T <= 20 + 1e-9, f"T = {T:.4g} is outside [0.05, 20].")
    loss = F.cross_entropy(logits.double() / T, labels).item()
    excess = loss - least_loss(logits, labels)
    expect(excess <= 1e-5, f"{message} (T = {T:.4g}, loss {excess:.2g} above the least)")


def expect_pair(value):
    """Expect (low, high), two numbers."""
    expect(type(value) in (tuple, list) and len(value) == 2, "It should be a pair (low, high).")
    expect(all(type(end) in (int, float) for end in value), "The ends should be floats.")


def expect_test(came, b, c):
    """Expect the result of mcnemar for these counts, to a ten-thousandth."""
    keys = {"b", "c", "statistic", "p_chi2", "p_exact"}
    expect(type(came) is dict and set(came) == keys, f"The keys should be {sorted(keys)}.")
    expect_equal(came["b"], b, "b is not the number of examples that only A has right.")
    expect_equal(came["c"], c, "c is not the number of examples that only B has right.")
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c) if b + c else 0.0
    expect_float(came["statistic"], statistic, f"For b = {b}, c = {c} the statistic is not right.")
    for key, p in (
        ("p_chi2", float(stats.chi2.sf(statistic, 1))),
        ("p_exact", min(1.0, 2 * float(stats.binom.cdf(min(b, c), b + c, 0.5)))),
    ):
        expect_float(came[key], p, f"For b = {b}, c = {c} {key} is not right.", 1e-4 * p)


def expect_leaks(came, exact, near, message):
    """Expect the result of find_leaks."""
    expect(type(came) is dict and set(came) == {"exact", "near"}, 'Keys are "exact" and "near".')
    for kind, width in (("exact", 2), ("near", 3)):
        rows = came[kind]
        good = type(rows) is list and all(type(r) is tuple and len(r) == width for r in rows)
        expect(good, f'"{kind}" should be a list of tuples of {width}.')
    expect_equal(came["exact"], exact, f"{message} The exact leaks are not right.")
    pairs = [row[:2] for row in came["near"]]
    expect_equal(pairs, [row[:2] for row in near], f"{message} The near leaks are not right.")
    for row, expected in zip(came["near"], near, strict=True):
        expect_float(row[2], expected[2], f"{message} A share is not right.")
