# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: E402, F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Right answers to the evaluation lesson, written otherwise than the reference. A cell is run after
# all of the reference's cells, and graded on every task: each must earn all points.

# %% alternate="libraries"
"""scikit-learn and SciPy do the work; what they refuse at the edges is seen to beforehand."""

from scipy import optimize, stats
from sklearn import metrics


def confusion_matrix(y_true, y_pred, num_classes=None):
    if y_true.ndim != 1 or y_pred.ndim != 1 or len(y_true) != len(y_pred):
        raise ValueError("two vectors of one length")
    every = np.concatenate([y_true, y_pred]).astype(int)
    C = num_classes if num_classes is not None else max(every, default=-1) + 1
    if len(every) == 0:
        return np.zeros((C, C), dtype=int)
    if every.min() < 0 or every.max() >= C:
        raise ValueError("a class out of range")
    return metrics.confusion_matrix(y_true, y_pred, labels=np.arange(C))


def f1_scores(y_true, y_pred, average):
    if average not in [None, "macro", "micro", "weighted"]:
        raise ValueError(average)
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise ValueError("two vectors of one length")
    if len(y_true) == 0:
        return np.zeros(0) if average is None else 0.0
    found = metrics.f1_score(y_true, y_pred, average=average, zero_division=0.0)
    return found if average is None else float(found)


def temperature_scale(logits, labels):
    if len(labels) == 0 or labels.shape != (len(logits),):
        raise ValueError("labels do not fit")
    z = logits.detach().double()

    def loss(log_T):
        return F.cross_entropy(z / math.exp(log_T), labels).item()

    limits = (math.log(0.05), math.log(20))
    found = optimize.minimize_scalar(loss, bounds=limits, method="bounded", options={"xatol": 1e-7})
    return math.exp(min((found.x, *limits), key=loss))


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    if y_true.ndim != 1 or y_true.shape != y_pred.shape or not len(y_true):
        raise ValueError("two vectors of one length")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError("n_resamples or level")
    if len(y_true) == 1:  # which SciPy refuses
        only = float(metric(y_true, y_pred))
        return only, only
    found = stats.bootstrap(
        (y_true, y_pred),
        lambda truth, predicted, axis: metric(truth, predicted),
        paired=True,
        vectorized=True,
        n_resamples=n_resamples,
        batch=max(1, 250_000 // len(y_true)),
        confidence_level=level,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)


def mcnemar(y_true, pred_a, pred_b):
    if y_true.ndim != 1 or len({a.shape for a in (y_true, pred_a, pred_b)}) > 1:
        raise ValueError("three vectors of one length")
    b = int(np.sum((pred_a == y_true) & (pred_b != y_true)))
    c = int(np.sum((pred_b == y_true) & (pred_a != y_true)))
    found = {"b": b, "c": c, "statistic": 0.0, "p_chi2": 1.0, "p_exact": 1.0}
    if b + c:
        found["statistic"] = max(0, abs(b - c) - 1) ** 2 / (b + c)
        found["p_chi2"] = float(stats.chi2.sf(found["statistic"], df=1))
        found["p_exact"] = float(stats.binomtest(b, b + c).pvalue)
    return found


# %% alternate="plain_loops"
"""Everything is counted in loops and dicts."""
from collections import Counter


def confusion_matrix(y_true, y_pred, num_classes=None):
    if np.ndim(y_true) != 1 or np.ndim(y_pred) != 1 or len(y_true) != len(y_pred):
        raise ValueError("two vectors of one length")
    pairs = [(int(t), int(p)) for t, p in zip(y_true, y_pred, strict=True)]
    C = num_classes
    if C is None:
        C = max((max(pair) for pair in pairs), default=-1) + 1
    matrix = [[0] * C for _ in range(C)]
    for t, p in pairs:
        if not (0 <= t < C and 0 <= p < C):
            raise ValueError("a class out of range")
        matrix[t][p] += 1
    return np.array(matrix, dtype=np.int64).reshape(C, C)


def f1_scores(y_true, y_pred, average):
    if average not in (None, "macro", "micro", "weighted"):
        raise ValueError(average)
    if y_true.ndim != 1 or y_pred.ndim != 1 or len(y_true) != len(y_pred):
        raise ValueError("two vectors of one length")
    true, said = Counter(y_true.tolist()), Counter(y_pred.tolist())
    hits = Counter(t for t, p in zip(y_true.tolist(), y_pred.tolist(), strict=True) if t == p)
    f1 = {}
    for c in sorted({*true, *said}):
        precision = hits[c] / said[c] if said[c] else 0.0
        recall = hits[c] / true[c] if true[c] else 0.0
        total = precision + recall
        f1[c] = 2 * precision * recall / total if total else 0.0
    if average is None:
        return np.array(list(f1.values()), dtype=float)
    if not f1:
        return 0.0
    if average == "micro":
        return hits.total() / len(y_true)
    if average == "macro":
        return sum(f1.values()) / len(f1)
    return sum(f1[c] * true[c] for c in f1) / len(y_true)


def expected_calibration_error(probabilities, labels, bins):
    if isinstance(bins, bool) or not isinstance(bins, int) or bins <= 0:
        raise ValueError("bins")
    if labels.dim() != 1 or len(labels) != len(probabilities):
        raise ValueError("labels")
    groups = {}
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        number = next((m for m in range(1, bins + 1) if confidence <= m / bins), bins)
        groups.setdefault(number, []).append((confidence, row.index(confidence) == label))
    error = 0.0
    for group in groups.values():
        mean = sum(confidence for confidence, _ in group) / len(group)
        accuracy = sum(right for _, right in group) / len(group)
        error += len(group) / len(labels) * abs(accuracy - mean)
    return error


def mcnemar(y_true, pred_a, pred_b):
    shapes = [np.shape(array) for array in (y_true, pred_a, pred_b)]
    if len(shapes[0]) != 1 or shapes.count(shapes[0]) < 3:
        raise ValueError("three vectors of one length")
    b = c = 0
    for t, a, other in zip(y_true, pred_a, pred_b, strict=True):
        b += bool(a == t != other)
        c += bool(other == t != a)
    n = b + c
    if not n:
        return {"b": 0, "c": 0, "statistic": 0.0, "p_chi2": 1.0, "p_exact": 1.0}
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
        for k in range(min(b, c) + 1)
    ]
    p = 2 * math.fsum(map(math.exp, logs))
    s = max(0.0, abs(b - c) - 1.0) ** 2 / n
    return {
        "b": b,
        "c": c,
        "statistic": s,
        "p_chi2": math.erfc((s / 2) ** 0.5),
        "p_exact": min(p, 1.0),
    }


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    if str in (type(train_texts), type(test_texts)) or n < 1:
        raise ValueError("lists of texts, and n of at least 1")
    if threshold <= 0 or threshold > 1:
        raise ValueError("threshold")

    def normal(text):
        text = unicodedata.normalize("NFKC", text).lower()
        return "".join(sign if sign.isalnum() else " " for sign in text).split()

    def grams(words):
        if 0 < len(words) < n:
            return {" ".join(words)}
        return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}

    train = [(normal(text), grams(normal(text))) for text in train_texts]
    exact, near = [], []
    for i, text in enumerate(test_texts):
        words = normal(text)
        if not words:
            continue
        equal = [j for j, (others, _) in enumerate(train) if others == words]
        if equal:
            exact.append((i, min(equal)))
            continue
        mine = grams(words)
        shares = [len(mine & its) / len(mine) for _, its in train]
        if shares and max(shares) >= threshold:
            near.append((i, shares.index(max(shares)), max(shares)))
    return {"exact": exact, "near": near}


# %% alternate="torch_all_through"
"""Tensors instead of arrays; the temperature by LBFGS with gradients switched on."""


def confusion_matrix(y_true, y_pred, num_classes=None):
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise ValueError("two vectors of one length")
    t, p = (torch.tensor(array.astype(np.int64)) for array in (y_true, y_pred))
    C = num_classes
    if C is None:
        C = int(torch.cat([t, p, torch.tensor([-1])]).max()) + 1
    both = torch.cat([t, p])
    if (both < 0).any() or (both >= C).any():
        raise ValueError("a class out of range")
    matrix = torch.zeros(C, C, dtype=torch.int64)
    matrix.index_put_((t, p), torch.ones_like(t), accumulate=True)
    return matrix.numpy()


def expected_calibration_error(probabilities, labels, bins):
    if not isinstance(bins, int) or bins is True or bins < 1:
        raise ValueError("bins")
    if labels.dim() != 1 or labels.shape[0] != probabilities.shape[0]:
        raise ValueError("labels")
    if labels.numel() == 0:
        return 0.0
    confidence, predicted = probabilities.double().topk(1, dim=1)
    confidence, right = confidence[:, 0], (predicted[:, 0] == labels).double()
    edges = torch.arange(1, bins, dtype=torch.float64) / bins
    index = torch.bucketize(confidence, edges)  # right=False: an edge belongs below
    error = 0.0
    for m in index.unique():
        inside = index == m
        gap = right[inside].mean() - confidence[inside].mean()
        error += inside.double().mean().item() * gap.abs().item()
    return error


def temperature_scale(logits, labels):
    if not len(labels) or labels.shape != logits.shape[:1]:
        raise ValueError("labels do not fit")
    with torch.enable_grad():
        z = logits.detach().double()
        z = z - z.max(dim=1, keepdim=True).values
        beta = torch.ones((), dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [beta], lr=0.5, max_iter=300, tolerance_grad=1e-10, line_search_fn="strong_wolfe"
        )

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(z * beta, labels)  # convex in beta: the limits can wait
            loss.backward()
            return loss

        optimizer.step(closure)
    candidates = [float(beta.detach().clamp(1 / 20, 20)), 1 / 20, 20.0]
    best = min(candidates, key=lambda b: F.cross_entropy(z * b, labels).item())
    return min(max(1 / best, 0.05), 20.0)


# %% alternate="fine_grid"
"""The temperature by two grids; the curves by pyplot, closed again, one axes below the other."""


def temperature_scale(logits, labels):
    if len(logits) == 0 or labels.dim() != 1 or len(labels) != len(logits):
        raise ValueError("labels do not fit")
    z = logits.detach().to(torch.float64)

    def best(grid):
        losses = [F.cross_entropy(z / T, labels).item() for T in grid]
        return int(np.argmin(losses))

    grid = np.geomspace(0.05, 20, 200)
    i = best(grid)
    fine = np.geomspace(grid[max(i - 1, 0)], grid[min(i + 1, 199)], 200)
    return float(np.clip(fine[best(fine)], 0.05, 20))


def learning_curves(history):
    import matplotlib.pyplot as plt

    counts = [len(values) for values in history.values()]
    if not counts or min(counts) != max(counts):
        raise ValueError("one length for all")
    groups = {}
    for key in history:
        groups.setdefault("rate" if key == "lr" else key.split("_")[-1], []).append(key)
    figure, rows = plt.subplots(len(groups), squeeze=False, sharex=True)
    for (name, keys), axes in zip(groups.items(), rows[:, 0], strict=True):
        for key in keys:
            x = np.arange(counts[0]) + 1
            axes.plot(x, np.array(history[key]), "s--", label=key, linewidth=1)
        axes.set_xlabel("epochs")
        axes.set_ylabel(f"mean {name}")
        axes.grid(True)
        axes.legend(loc="best", frameon=False)
    plt.close(figure)
    return figure


# %% alternate="an_axes_for_each_list"
"""Every list has an axes of its own; the rate lies on a twin of the first."""


def learning_curves(history):
    if not history or len({len(history[key]) for key in history}) > 1:
        raise ValueError("one length for all")
    figure = Figure(figsize=(4 * len(history), 3))
    keys = [key for key in history if key != "lr"]
    cells = [figure.add_subplot(1, max(len(keys), 1), k + 1) for k in range(len(keys))]
    pairs = list(zip(cells, keys, strict=True))
    if "lr" in history:
        pairs.append((cells[0].twinx() if cells else figure.add_subplot(), "lr"))
    for axes, key in pairs:
        values = [float(value) for value in history[key]]
        (line,) = axes.plot(list(range(1, len(values) + 1)), values, marker="x")
        line.set_label(key)
        axes.set_xlabel("epoch")
        axes.set_ylabel(key)
        axes.legend([line], [key])
        axes.axhline(0, color="grey", linewidth=0.5)
    return figure


# %% alternate="small_integers"
"""Row numbers in 32 bits, blocks of fixed size, values written into one array."""


def resampled(values, n, n_resamples, rng):
    found = np.empty(n_resamples)
    for start in range(0, n_resamples, 64):
        stop = min(start + 64, n_resamples)
        found[start:stop] = values(rng.integers(0, n, (stop - start, n), dtype=np.int32))
    return found


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    if y_true.ndim != 1 or not len(y_true) or n_resamples <= 0 or level <= 0 or level >= 1:
        raise ValueError("arguments")
    if y_true.shape != y_pred.shape:
        raise ValueError("two vectors of one length")

    def values(rows):
        return metric(np.take(y_true, rows), np.take(y_pred, rows))

    found = resampled(values, len(y_true), n_resamples, rng)
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)]).tolist()
    return low, high


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    if y_true.ndim != 1 or not len(y_true) or n_resamples <= 0 or level <= 0 or level >= 1:
        raise ValueError("arguments")
    if y_true.shape != pred_a.shape or y_true.shape != pred_b.shape:
        raise ValueError("three vectors of one length")
    triple = np.stack([y_true, pred_a, pred_b])  # (3, n)
    values = []
    for _ in range(n_resamples):
        truth, a, b = triple[:, rng.choice(len(y_true), len(y_true))]
        values.append(float(metric(truth, a) - metric(truth, b)))
    tail = 50 * (1 - level)
    return {
        "wins": sum(value > 0 for value in values) / n_resamples,
        "low": float(np.percentile(values, tail)),
        "high": float(np.percentile(values, 100 - tail)),
        "difference": float(metric(y_true, pred_a) - metric(y_true, pred_b)),
    }


# %% alternate="copies_of_models"
"""Models are copied, so that no mode needs to be put back; the statistics module."""
import copy
import statistics


def compare(models, loaders, seeds):
    if len(seeds) == 0:
        raise ValueError("seeds")
    found = defaultdict(list)
    for name, make in models.items():
        for seed in seeds:
            model = copy.deepcopy(make(seed)).eval()
            for loader, batches in loaders.items():
                with torch.inference_mode():
                    right = [model(x).argmax(dim=1) == y for x, y in batches]
                if not right or not len(torch.cat(right)):
                    raise ValueError("an empty loader")
                found[name, loader].append(torch.cat(right).double().mean().item())
    return [
        {
            "n": len(values),
            "std": statistics.stdev(values) if len(values) > 1 else 0.0,
            "mean": statistics.fmean(values),
            "loader": loader,
            "model": name,
        }
        for (name, loader), values in found.items()
    ]


def mended_accuracy(model, loader):
    model = copy.deepcopy(model).eval()
    with torch.no_grad():
        hits = torch.cat([model(x).softmax(dim=-1).argmax(dim=-1) == y for x, y in loader])
    return hits.double().mean().item()


def mended_split(x, labels, n_test, rng):
    order = torch.tensor(np.argsort(rng.random(len(x))))
    train, test = order[n_test:].sort().values, order[:n_test].sort().values
    std, mean = torch.std_mean(x[train], dim=0)
    scale = lambda rows: (x[rows] - mean) / std  # noqa: E731
    return [[scale(train), labels[train]], [scale(test), labels[test]]]


def mended_choice(candidates, validation, test):
    ranked = sorted(candidates, key=lambda name: mended_accuracy(candidates[name], validation))
    return [ranked[-1], mended_accuracy(candidates[ranked[-1]], test)]


def mended_report(accuracies):
    return statistics.mean(accuracies), statistics.stdev(accuracies)


# %% alternate="answers_in_more_digits"
"""Numbers with more digits than asked for; judgements in another order."""
majority_macro_f1 = 950 * 2 / 1950 / 2
standard_error_points = 0.9486833
examples_needed = 3458
mcnemar_statistic = 81 / 20
two_bin_ece = 0.12 + 0.02
false_alarm = 1 - 0.95**20
judged = {letter: letter in "befhimnp" for letter in reversed("abcdefghijklmnop")}


# %% alternate="exact_fractions"
"""McNemar's p are one minus SciPy's distribution, and a sum of exact fractions: a slow one."""
from fractions import Fraction

from scipy import stats


def mcnemar(y_true, pred_a, pred_b):
    if y_true.ndim != 1 or len({a.shape for a in (y_true, pred_a, pred_b)}) > 1:
        raise ValueError("three vectors of one length")
    b = int(np.sum((pred_a == y_true) & (pred_b != y_true)))
    c = int(np.sum((pred_b == y_true) & (pred_a != y_true)))
    if not b + c:
        return {"b": 0, "c": 0, "statistic": 0.0, "p_chi2": 1.0, "p_exact": 1.0}
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
    tail = sum(Fraction(math.comb(b + c, k), 2 ** (b + c)) for k in range(min(b, c) + 1))
    return {
        "b": b,
        "c": c,
        "statistic": statistic,
        "p_chi2": float(1 - stats.chi2.cdf(statistic, df=1)),
        "p_exact": float(min(1, 2 * tail)),
    }
