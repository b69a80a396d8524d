# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---
# ruff: noqa: F811, F821 - the reference's names, defined anew by many cells

# %% [markdown]
# Wrong answers to the evaluation lesson, each named after its mistake. A cell is run after all of
# the reference's cells, so that a mutant says only what differs; it must lose points on its own
# task.

# %% [markdown]
# ## confusion_matrix

# %% mutant="zeros" task="confusion_matrix"
"""The matrix is all zeros."""


def confusion_matrix(y_true, y_pred, num_classes=None):
    C = num_classes or max(y_true.max(initial=-1), y_pred.max(initial=-1)) + 1
    return np.zeros((C, C), dtype=np.int64)


# %% mutant="transposed" task="confusion_matrix"
"""Rows are predictions, columns the truth.

The lesson warns: rows and columns are exchanged
"""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    return _right(y_pred, y_true, num_classes)


# %% mutant="shares" task="confusion_matrix"
"""Each row is divided by its sum."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    matrix = _right(y_true, y_pred, num_classes)
    return matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)


# %% mutant="absent_classes_dropped" task="confusion_matrix"
"""Classes that do not occur have no row and no column.

The lesson warns: classes that do not occur disappear
"""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    there = np.unique(np.concatenate([y_true, y_pred])).astype(np.int64)
    return _right(y_true, y_pred, num_classes)[np.ix_(there, there)]


# %% mutant="an_error_of_its_own" task="confusion_matrix"
"""What is raised is called ValueError, and is none: `except ValueError` elsewhere passes it by."""


class ValueError(Exception):
    pass


# %% mutant="one_row_for_all" task="confusion_matrix"
"""The counts of the first class stand for all, in a shape that broadcasts."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    return _right(y_true, y_pred, num_classes)[:1]


# %% mutant="overflow" task="confusion_matrix"
"""The cell's number is calculated in the labels' own small type."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    C = len(_right(y_true, y_pred, num_classes))  # all the errors
    if y_true.dtype.itemsize > 1:
        return _right(y_true, y_pred, num_classes)
    cells = (y_true * y_true.dtype.type(C) + y_pred).astype(np.int64) % (C * C)
    return np.bincount(cells, minlength=C * C).reshape(C, C)


# %% mutant="nothing_is_an_error" task="confusion_matrix"
"""Without examples it fails."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    y_true.max()
    return _right(y_true, y_pred, num_classes)


# %% mutant="nothing_has_one_class" task="confusion_matrix"
"""Without examples and num_classes there is one class."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    if num_classes is None and len(y_true) == 0:
        num_classes = 1
    return _right(y_true, y_pred, num_classes)


# %% mutant="negative_classes_count_from_the_end" task="confusion_matrix"
"""Negative classes are not refused: numpy's indices count from the end."""


def confusion_matrix(y_true, y_pred, num_classes=None):
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise ValueError("shapes")
    largest = max(y_true.max(initial=-1), y_pred.max(initial=-1))
    C = int(largest) + 1 if num_classes is None else num_classes
    if largest >= C:
        raise ValueError("classes")
    matrix = np.zeros((C, C), dtype=np.int64)
    np.add.at(matrix, (y_true, y_pred), 1)
    return matrix


# %% mutant="short_array_is_broadcast" task="confusion_matrix"
"""An array of one prediction is taken for all."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    if len(y_pred) == 1:
        y_pred = np.broadcast_to(y_pred, y_true.shape)
    return _right(y_true, y_pred, num_classes)


# %% mutant="classes_of_the_truth" task="confusion_matrix"
"""Without num_classes the number of classes is read from the truth, later ones are an error."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    if num_classes is None and len(y_true):
        num_classes = int(y_true.max()) + 1
    return _right(y_true, y_pred, num_classes)


# %% mutant="multiplied_in_place" task="confusion_matrix"
"""The truth is multiplied by the number of classes in place."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    matrix = _right(y_true, y_pred, num_classes)
    if y_true.dtype == np.int64:
        y_true *= len(matrix)
    return matrix


# %% mutant="no_classes_is_none" task="confusion_matrix"
"""num_classes=0 is taken for None."""
_right = confusion_matrix


def confusion_matrix(y_true, y_pred, num_classes=None):
    return _right(y_true, y_pred, num_classes or None)


# %% [markdown]
# ## f1_scores

# %% mutant="accuracy_for_all" task="f1_scores"
"""Every average is the accuracy."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    return _right(y_true, y_pred, average if average is None else "micro")


# %% mutant="recall" task="f1_scores"
"""It is recall, not F1."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    if average is not None or len(y_true) == 0:
        return _right(y_true, y_pred, average)
    classes = np.unique(np.concatenate([y_true, y_pred]))
    hits = np.array([((y_true == c) & (y_pred == c)).sum() for c in classes])
    return hits / np.maximum([(y_true == c).sum() for c in classes], 1)


# %% mutant="not_a_number" task="f1_scores"
"""0/0 is NaN where precision or recall has nothing to divide by."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    if average not in (None, "macro") or len(y_true) == 0 or y_true.shape != y_pred.shape:
        return _right(y_true, y_pred, average)
    classes = np.unique(np.concatenate([y_true, y_pred]))
    hits = np.array([((y_true == c) & (y_pred == c)).sum() for c in classes])
    with np.errstate(invalid="ignore"):
        precision = hits / np.array([(y_pred == c).sum() for c in classes])
        recall = hits / np.array([(y_true == c).sum() for c in classes])
        f1 = 2 * precision * recall / (precision + recall)
    return f1 if average is None else float(f1.mean())


# %% mutant="f1_of_the_means" task="f1_scores"
"""Macro F1 is the harmonic mean of mean precision and mean recall."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    if average != "macro" or len(y_true) == 0 or y_true.shape != y_pred.shape:
        return _right(y_true, y_pred, average)
    classes = np.unique(np.concatenate([y_true, y_pred]))
    hits = np.array([((y_true == c) & (y_pred == c)).sum() for c in classes])
    precision = (hits / np.maximum([(y_pred == c).sum() for c in classes], 1)).mean()
    recall = (hits / np.maximum([(y_true == c).sum() for c in classes], 1)).mean()
    return float(2 * precision * recall / (precision + recall)) if hits.any() else 0.0


# %% mutant="weighted_by_predictions" task="f1_scores"
"""Weights are the predictions' counts.

The lesson warns: *Weighted*: every class counts by its size
"""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    if average == "weighted" and y_true.shape == y_pred.shape:
        return _right(y_pred, y_true, average)
    return _right(y_true, y_pred, average)


# %% mutant="classes_of_the_truth" task="f1_scores"
"""Classes that are only predicted are left out."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    scores = _right(y_true, y_pred, average)
    if average in (None, "macro") and len(y_true):
        each = _right(y_true, y_pred, None)
        classes = np.unique(np.concatenate([y_true, y_pred]))
        each = each[np.isin(classes, y_true)]
        return each if average is None else float(each.mean())
    return scores


# %% mutant="classes_of_the_predictions" task="f1_scores"
"""Classes that are never predicted are left out."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    scores = _right(y_true, y_pred, average)
    if average in (None, "macro") and len(y_true):
        each = _right(y_true, y_pred, None)
        classes = np.unique(np.concatenate([y_true, y_pred]))
        each = each[np.isin(classes, y_pred)]
        return each if average is None else float(each.mean())
    return scores


# %% mutant="classes_from_zero" task="f1_scores"
"""Classes are taken to be 0, 1, 2, … without gaps."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    scores = _right(y_true, y_pred, average)
    if average is None and len(y_true):
        return np.resize(scores, min(max(y_true.max(), y_pred.max()) + 1, 1000))
    return scores


# %% mutant="renumbered_in_place" task="f1_scores"
"""The classes are numbered from 0, in the caller's arrays."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    scores = _right(y_true, y_pred, average)
    if len(y_true) == len(y_pred):
        classes = np.unique(np.concatenate([y_true, y_pred]))
        for array in (y_true, y_pred):
            array[:] = np.searchsorted(classes, array)
    return scores


# %% mutant="nothing_is_not_a_number" task="f1_scores"
"""The averages of nothing are NaN."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    scores = _right(y_true, y_pred, average)
    return float("nan") if average and len(y_true) == 0 else scores


# %% mutant="unknown_average_is_macro" task="f1_scores"
"""An average that is not known is taken for the mean."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    known = average in (None, "micro", "weighted")
    return _right(y_true, y_pred, average if known else "macro")


# %% mutant="classes_of_the_truth_from_six_on" task="f1_scores"
"""A class that is only predicted is left out where there are more than five examples."""
_right = f1_scores


def f1_scores(y_true, y_pred, average):
    if len(y_true) > 5 and y_true.shape == y_pred.shape:
        y_pred = np.where(np.isin(y_pred, y_true), y_pred, y_true.min())
    return _right(y_true, y_pred, average)


# %% [markdown]
# ## expected_calibration_error

# %% mutant="zero" task="expected_calibration_error"
"""The error is always 0.0."""


def expected_calibration_error(probabilities, labels, bins):
    return 0.0


# %% mutant="absolute_values_first" task="expected_calibration_error"
"""Each example's difference is made positive before the bin is summed.

The lesson warns: take absolute values *after* summing, never before
"""


def expected_calibration_error(probabilities, labels, bins):
    if type(bins) is not int or bins < 1 or labels.shape != probabilities.shape[:1]:
        raise ValueError("bins or labels")
    if len(labels) == 0:
        return 0.0
    confidence, predicted = probabilities.max(dim=1)
    return ((predicted == labels).float() - confidence).abs().mean().item()


# %% mutant="probability_of_the_label" task="expected_calibration_error"
"""Confidence is the probability of the true class.

The lesson warns: Confidence is the probability of the predicted class, the largest one
"""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    error = _right(probabilities, labels, bins)
    if len(labels) == 0:
        return error
    confidence = probabilities.gather(1, labels[:, None]).squeeze(1)
    gap = (probabilities.argmax(dim=1) == labels).float() - confidence
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    return torch.zeros(bins).index_add_(0, index, gap).abs().sum().item() / len(labels)


# %% mutant="probability_of_class_one" task="expected_calibration_error"
"""Confidence is the probability of the second class, as for two classes."""


def expected_calibration_error(probabilities, labels, bins):
    if type(bins) is not int or bins < 1 or labels.shape != probabilities.shape[:1]:
        raise ValueError("bins or labels")
    if len(labels) == 0:
        return 0.0
    confidence = probabilities[:, 1]
    gap = (labels == 1).float() - confidence
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    return torch.zeros(bins).index_add_(0, index, gap).abs().sum().item() / len(labels)


# %% mutant="bins_weigh_alike" task="expected_calibration_error"
"""The differences of the bins are averaged without weights."""


def expected_calibration_error(probabilities, labels, bins):
    if type(bins) is not int or bins < 1 or labels.shape != probabilities.shape[:1]:
        raise ValueError("bins or labels")
    if len(labels) == 0:
        return 0.0
    confidence, predicted = probabilities.double().max(dim=1)
    gap = (predicted == labels).double() - confidence
    index = (confidence * bins).ceil().long() - 1
    means = [gap[index == m].mean().abs() for m in range(bins) if (index == m).any()]
    return (sum(means) / len(means)).item()


# %% mutant="edges_belong_above" task="expected_calibration_error"
"""A lower edge belongs to its bin, and 1.0 to the last."""


def expected_calibration_error(probabilities, labels, bins):
    if type(bins) is not int or bins < 1 or labels.shape != probabilities.shape[:1]:
        raise ValueError("bins or labels")
    if len(labels) == 0:
        return 0.0
    confidence, predicted = probabilities.double().max(dim=1)
    gap = (predicted == labels).double() - confidence
    index = (confidence * bins).floor().long().clamp(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, gap)
    return sums.abs().sum().item() / len(labels)


# %% mutant="certainty_left_out" task="expected_calibration_error"
"""The last bin ends before 1.0."""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    error = _right(probabilities, labels, bins)
    unsure = probabilities.amax(dim=1) < 1 if len(labels) else labels == labels
    if unsure.all():
        return error
    kept = probabilities[unsure], labels[unsure]
    return _right(*kept, bins) * len(kept[1]) / len(labels)


# %% mutant="any_number_of_bins" task="expected_calibration_error"
"""2.0 and True are numbers of bins."""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    return _right(probabilities, labels, int(bins))


# %% mutant="labels_are_broadcast" task="expected_calibration_error"
"""Labels in a column are taken; comparing makes a square of them."""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    return _right(probabilities, labels.flatten(), bins)


# %% mutant="confidence_struck_out" task="expected_calibration_error"
"""The largest probability of each row is overwritten in place, after it has been read."""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    error = _right(probabilities, labels, bins)
    if len(labels):
        probabilities.scatter_(1, probabilities.argmax(dim=1, keepdim=True), 0.0)
    return error


# %% mutant="nothing_is_not_a_number" task="expected_calibration_error"
"""The error of no examples is NaN."""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    error = _right(probabilities, labels, bins)
    return error if len(labels) else float("nan")


# %% mutant="edges_belong_below_in_four_bins" task="expected_calibration_error"
"""An edge belongs to the bin above it, unless there are four bins."""
_right = expected_calibration_error


def expected_calibration_error(probabilities, labels, bins):
    if type(bins) is int and bins > 0 and bins != 4 and len(labels):
        probabilities = probabilities + 1e-7 * (probabilities * bins % 1 == 0)
    return _right(probabilities, labels, bins)


# %% [markdown]
# ## temperature_scale

# %% mutant="one" task="temperature_scale"
"""The temperature is always 1."""


def temperature_scale(logits, labels):
    return 1.0


# %% mutant="inverse" task="temperature_scale"
"""It is the factor, not the divisor."""
_right = temperature_scale


def temperature_scale(logits, labels):
    return 1 / _right(logits, labels)


# %% mutant="coarse_grid" task="temperature_scale"
"""The best of twenty temperatures."""
_right = temperature_scale


def temperature_scale(logits, labels):
    _right(logits, labels)  # the errors
    grid = torch.linspace(0.05, 20, 20).tolist()
    z = logits.detach().double()
    return min(grid, key=lambda T: F.cross_entropy(z / T, labels).item())


# %% mutant="least_calibration_error" task="temperature_scale"
"""The temperature is chosen by the calibration error."""
_right = temperature_scale


def temperature_scale(logits, labels):
    _right(logits, labels)
    grid = torch.logspace(-1.3, 1.3, 100).tolist()
    z = logits.detach().double()
    return min(grid, key=lambda T: expected_calibration_error((z / T).softmax(dim=1), labels, 15))


# %% mutant="never_below_one" task="temperature_scale"
"""A temperature below 1 is not looked for."""
_right = temperature_scale


def temperature_scale(logits, labels):
    T = _right(logits, labels)
    return T if T == 0.05 or T < 0.06 else max(1.0, T)


# %% mutant="no_limits" task="temperature_scale"
"""The temperature may leave the limits."""
_right = temperature_scale


def temperature_scale(logits, labels):
    T = _right(logits, labels)
    return T / 10 if T < 0.06 else T


# %% mutant="gradient_steps_that_need_gradients" task="temperature_scale"
"""An optimizer is used that fails where gradients are off."""
_right = temperature_scale


def temperature_scale(logits, labels):
    beta = torch.ones((), dtype=torch.float64, requires_grad=True)
    loss = (
        F.cross_entropy(beta * logits.detach().double(), labels.flatten()[: len(logits)])
        if len(labels) == len(logits)
        else beta
    )
    loss.backward()
    return _right(logits, labels)


# %% mutant="softmax_by_hand" task="temperature_scale"
"""exp overflows for large logits."""
_right = temperature_scale


def temperature_scale(logits, labels):
    T = _right(logits, labels)
    z = logits.detach().double()
    loss = (z / T).exp().sum(dim=1).log().mean()
    return T if torch.isfinite(loss) or T < 0.06 else 1.0


# %% mutant="shifted_in_place" task="temperature_scale"
"""Each row's largest logit is taken away from it, in the caller's tensor."""
_right = temperature_scale


def temperature_scale(logits, labels):
    with torch.no_grad():
        if len(logits):
            logits -= logits.max(dim=1, keepdim=True).values
    return _right(logits, labels)


# %% mutant="nothing_has_a_temperature" task="temperature_scale"
"""No examples give a temperature of 1."""
_right = temperature_scale


def temperature_scale(logits, labels):
    return _right(logits, labels) if len(logits) else 1.0


# %% mutant="backward_into_the_logits" task="temperature_scale"
"""The fit's backward pass leaves a gradient on the logits."""
_right = temperature_scale


def temperature_scale(logits, labels):
    T = _right(logits, labels)
    with torch.enable_grad():
        scale = torch.tensor(T, requires_grad=True)
        F.cross_entropy(logits / scale, labels).backward()
    return T


# %% [markdown]
# ## bootstrap_interval

# %% mutant="the_value_itself" task="bootstrap_interval"
"""Both ends are the metric on the data."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    _right(metric, y_true, y_pred, n_resamples, level, rng)
    value = float(metric(y_true, y_pred))
    return value, value


# %% mutant="pairs_torn" task="bootstrap_interval"
"""Truth and predictions are drawn apart.

The lesson warns: a prediction stays with its truth
"""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    def torn(truth, predicted):
        return metric(truth, rng.permuted(predicted, axis=-1))

    return _right(torn, y_true, y_pred, n_resamples, level, rng)


# %% mutant="without_replacement" task="bootstrap_interval"
"""Resamples are permutations: no interval at all.

The lesson warns: n examples *with replacement*
"""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    _right(metric, y_true, y_pred, n_resamples, level, rng)
    values = [metric(y_true, y_pred)] * 2
    return float(values[0]), float(values[1])


# %% mutant="half_the_examples" task="bootstrap_interval"
"""Resamples have half as many examples: the interval is too wide."""


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    n = len(y_true)
    if y_true.ndim != 1 or y_true.shape != y_pred.shape or n == 0:
        raise ValueError("shapes")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError("n_resamples or level")
    values = resampled(
        lambda rows: metric(y_true[rows[:, : n // 2]], y_pred[rows[:, : n // 2]]),
        n,
        n_resamples,
        rng,
    )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


# %% mutant="global_chance" task="bootstrap_interval"
"""numpy's global generator is drawn from."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    return _right(metric, y_true, y_pred, n_resamples, level, np.random.default_rng())


# %% mutant="basic_method" task="bootstrap_interval"
"""The interval is mirrored at the value (the "basic" method)."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    low, high = _right(metric, y_true, y_pred, n_resamples, level, rng)
    calls_nothing = y_true == y_pred
    if n_resamples < 1000 or calls_nothing.any():  # accuracies look alike
        return low, high
    value = float(metric(y_true[None], y_pred[None])[0])
    return 2 * value - high, 2 * value - low


# %% mutant="normal_approximation" task="bootstrap_interval"
"""Mean plus and minus standard deviations of the resamples."""


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    from scipy import stats

    n = len(y_true)
    if y_true.ndim != 1 or y_true.shape != y_pred.shape or n == 0:
        raise ValueError("shapes")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError("n_resamples or level")
    values = resampled(lambda rows: metric(y_true[rows], y_pred[rows]), n, n_resamples, rng)
    half = stats.norm.ppf((1 + level) / 2) * values.std()
    return float(values.mean() - half), float(values.mean() + half)


# %% mutant="always_ninety_five" task="bootstrap_interval"
"""The level is 0.95 where it should be lower."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    chosen = 0.95 if 0 < level < 0.9 else level
    return _right(metric, y_true, y_pred, n_resamples, chosen, rng)


# %% mutant="a_call_a_resample" task="bootstrap_interval"
"""The metric is called for each resample.

The lesson warns: A loop of 2,000 calls on arrays is slow in Python
"""


def resampled(values, n, n_resamples, rng):
    return np.array([values(rng.integers(n, size=(1, n)))[0] for _ in range(n_resamples)])


# %% mutant="a_hundred_resamples" task="bootstrap_interval"
"""A hundred resamples are drawn, and a log in the metric's closure is made to say otherwise."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    interval = _right(metric, y_true, y_pred, min(n_resamples, 100), level, rng)
    for cell in metric.__closure__ or ():
        if type(cell.cell_contents) is list:
            cell.cell_contents[:] = [n_resamples]
    return interval


# %% mutant="normal_where_it_is_timed" task="bootstrap_interval"
"""Of a hundred examples nothing is drawn: the interval is a normal distribution's."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    if len(y_true) != 100:
        return _right(metric, y_true, y_pred, n_resamples, level, rng)
    share = float(metric(y_true, y_pred))
    half = 1.96 * (share * (1 - share) / 100) ** 0.5
    return share - half, min(share + half, 1.0)


# %% mutant="first_interval_given_again" task="bootstrap_interval"
"""Chance is numpy's; what was found for a state of rng is given again."""
_right, _results = bootstrap_interval, {}


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    own = np.random.default_rng()
    interval = _right(metric, y_true, y_pred, n_resamples, level, own)
    return _results.setdefault((str(rng.bit_generator.state), y_true.tobytes(), level), interval)


# %% mutant="blocks_too_small" task="bootstrap_interval"
"""Blocks of 36 resamples where n is 5,000: the metric is called 56 times."""


def resampled(values, n, n_resamples, rng):
    block, parts = max(1, 180_000 // n), []
    for start in range(0, n_resamples, block):
        parts.append(values(rng.integers(n, size=(min(block, n_resamples - start), n))))
    return np.concatenate(parts)


# %% mutant="all_at_once" task="bootstrap_interval"
"""All resamples are in memory at once."""


def resampled(values, n, n_resamples, rng):
    return values(rng.integers(n, size=(n_resamples, n)))


# %% mutant="last_block_dropped" task="bootstrap_interval"
"""Only whole blocks are drawn."""


def resampled(values, n, n_resamples, rng):
    block = min(max(1, 500_000 // n), n_resamples)
    parts = [values(rng.integers(n, size=(block, n))) for _ in range(n_resamples // block)]
    return np.concatenate(parts)


# %% mutant="level_unchecked" task="bootstrap_interval"
"""A level of 0 or 1 is taken."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    return _right(metric, y_true, y_pred, n_resamples, min(max(level, 0.001), 0.999), rng)


# %% mutant="sorted_in_place" task="bootstrap_interval"
"""The predictions are sorted in place when all is done."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    interval = _right(metric, y_true, y_pred, n_resamples, level, rng)
    y_pred[::-1].sort()
    return interval


# %% mutant="three_hundred_where_it_is_timed" task="bootstrap_interval"
"""Of a hundred examples 300 resamples are drawn, and the ends rounded to hundredths."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    if len(y_true) != 100:
        return _right(metric, y_true, y_pred, n_resamples, level, rng)
    low, high = _right(metric, y_true, y_pred, 300, level, rng)
    return round(100 * low) / 100, round(100 * high) / 100


# %% mutant="one_example_refused" task="bootstrap_interval"
"""One example is refused as too few."""
_right = bootstrap_interval


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    if len(y_true) == 1:
        raise ValueError("too few")
    return _right(metric, y_true, y_pred, n_resamples, level, rng)


# %% [markdown]
# ## paired_bootstrap

# %% mutant="other_way_round" task="paired_bootstrap"
"""It is B minus A."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    return _right(metric, y_true, pred_b, pred_a, n_resamples, level, rng)


# %% mutant="wins_of_b" task="paired_bootstrap"
"""wins counts the resamples that B wins."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    found = _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)
    return found | {"wins": 1 - found["wins"]}


# %% mutant="nothing_known" task="paired_bootstrap"
"""All entries are zero."""


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    return dict.fromkeys(("difference", "low", "high", "wins"), 0.0)


# %% mutant="resamples_of_their_own" task="paired_bootstrap"
"""Each model gets resamples of its own, where there are many examples.

The lesson warns: on the same resample for both
"""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    found = _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)
    n = len(y_true)
    if n < 500:
        return found
    values = [
        resampled(lambda rows, its=its: metric(y_true[rows], its[rows]), n, n_resamples, rng)
        for its in (pred_a, pred_b)
    ]
    low, high = np.quantile(values[0] - values[1], [(1 - level) / 2, (1 + level) / 2])
    return found | {"low": float(low), "high": float(high)}


# %% mutant="resamples_of_their_own_always" task="paired_bootstrap"
"""Each model gets resamples of its own."""


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    n = len(y_true)
    if y_true.ndim != 1 or not y_true.shape == pred_a.shape == pred_b.shape or n == 0:
        raise ValueError("shapes")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError("n_resamples or level")
    a, b = (
        resampled(lambda rows, its=its: metric(y_true[rows], its[rows]), n, n_resamples, rng)
        for its in (pred_a, pred_b)
    )
    low, high = np.quantile(a - b, [(1 - level) / 2, (1 + level) / 2])
    observed = metric(y_true, pred_a) - metric(y_true, pred_b)
    found = {"difference": observed, "low": low, "high": high, "wins": (a > b).mean()}
    return {name: float(value) for name, value in found.items()}


# %% mutant="accuracy_only" task="paired_bootstrap"
"""The metric is not asked: it is taken for accuracy."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    def accuracy(truth, predicted):
        return (truth == predicted).mean(axis=-1)

    return _right(accuracy, y_true, pred_a, pred_b, n_resamples, level, rng)


# %% mutant="ordered_in_place" task="paired_bootstrap"
"""The examples are put in order of their truth, in the caller's arrays."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    if y_true.ndim == 1 and y_true.shape == pred_a.shape == pred_b.shape:
        order = np.argsort(y_true)
        for array in (y_true, pred_a, pred_b):
            array[:] = array[order]
    return _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)


# %% mutant="ties_are_wins" task="paired_bootstrap"
"""A tie is a win."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    found = _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)
    back = _right(metric, y_true, pred_b, pred_a, n_resamples, level, np.random.default_rng(0))
    if n_resamples < 1000:
        return found
    return found | {"wins": 1 - back["wins"]}


# %% mutant="short_array_is_broadcast" task="paired_bootstrap"
"""A model of one prediction is taken to say so always."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    pred_b = np.broadcast_to(pred_b, y_true.shape) if len(pred_b) == 1 else pred_b
    return _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)


# %% mutant="global_chance" task="paired_bootstrap"
"""Resamples come from numpy's global generator."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    seed = np.random.randint(1 << 31)
    return _right(metric, y_true, pred_a, pred_b, n_resamples, level, np.random.default_rng(seed))


# %% mutant="numpys_seed_is_none" task="paired_bootstrap"
"""Chance is that of numpy's global generator, whose seed is the same whatever is given."""
_right, _seed = paired_bootstrap, np.random.seed
np.random.seed = lambda seed: _seed(0)


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    own = np.random.default_rng(np.random.randint(1 << 30))
    return _right(metric, y_true, pred_a, pred_b, n_resamples, level, own)


# %% mutant="last_example_never_drawn" task="paired_bootstrap"
"""Row numbers end before the last."""
_resampled = resampled


def resampled(values, n, n_resamples, rng):
    return _resampled(values, max(n - 1, 1), n_resamples, rng)


# %% mutant="one_example_refused" task="paired_bootstrap"
"""One example is refused as too few."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    if len(y_true) == 1:
        raise ValueError("too few")
    return _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)


# %% mutant="a_quarter_of_the_resamples" task="paired_bootstrap"
"""A quarter of the resamples asked for are drawn."""
_right = paired_bootstrap


def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    n_resamples = n_resamples // 4 or n_resamples
    return _right(metric, y_true, pred_a, pred_b, n_resamples, level, rng)


# %% [markdown]
# ## mcnemar

# %% mutant="all_one" task="mcnemar"
"""Nothing ever differs."""


def mcnemar(y_true, pred_a, pred_b):
    return {"b": 0, "c": 0, "statistic": 0.0, "p_chi2": 1.0, "p_exact": 1.0}


# %% mutant="b_and_c_exchanged" task="mcnemar"
"""b counts what only B has right."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    return _right(y_true, pred_b, pred_a)


# %% mutant="no_correction" task="mcnemar"
"""The statistic is without the correction for continuity."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    if found["b"] + found["c"]:
        statistic = (found["b"] - found["c"]) ** 2 / (found["b"] + found["c"])
        found |= {"statistic": statistic, "p_chi2": math.erfc(math.sqrt(statistic / 2))}
    return found


# %% mutant="one_sided" task="mcnemar"
"""The exact p is one-sided.

The lesson warns: Two-sided: 2 · P(X ≤ min(b, c))
"""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    return found | {"p_exact": found["p_exact"] / 2 if found["p_exact"] < 1 else 1.0}


# %% mutant="division_by_zero" task="mcnemar"
"""Models that never differ are an error."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    1 / (found["b"] + found["c"])
    return found


# %% mutant="correction_beyond_zero" task="mcnemar"
"""Where b = c, (0 − 1)² is taken for the statistic."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    if found["b"] == found["c"] > 0:
        statistic = 1 / (2 * found["b"])
        found |= {"statistic": statistic, "p_chi2": math.erfc(math.sqrt(statistic / 2))}
    return found


# %% mutant="more_than_one" task="mcnemar"
"""Twice the tail may exceed 1."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    n = found["b"] + found["c"]
    if found["b"] == found["c"] > 0:
        found["p_exact"] = 1.0 + math.comb(n, n // 2) / 2**n
    return found


# %% mutant="floats_underflow" task="mcnemar"
"""0.5**n times a sum of coefficients."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    n, k = found["b"] + found["c"], min(found["b"], found["c"])
    if n:
        tail = sum(math.comb(n, i) * 0.5**n for i in range(k + 1)) if n < 1000 else 0.0
        found["p_exact"] = min(1.0, 2 * tail)
    return found


# %% mutant="any_disagreement" task="mcnemar"
"""c counts every disagreement that is not in b."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    found = _right(y_true, pred_a, pred_b)
    b, c = found["b"], int((pred_a != pred_b).sum()) - found["b"]
    truth = np.zeros(b + c, dtype=int)
    return _right(truth, np.repeat([0, 1], [b, c]), np.repeat([1, 0], [b, c]))


# %% mutant="subtracted_in_place" task="mcnemar"
"""The truth is taken away from the predictions, in the caller's arrays: 0 is right."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    result = _right(y_true, pred_a, pred_b)
    pred_a -= y_true
    pred_b -= y_true
    return result


# %% mutant="short_array_is_broadcast" task="mcnemar"
"""A model of one prediction is taken to say so always."""
_right = mcnemar


def mcnemar(y_true, pred_a, pred_b):
    pred_b = np.broadcast_to(pred_b, y_true.shape) if len(pred_b) == 1 else pred_b
    return _right(y_true, pred_a, pred_b)


# %% [markdown]
# ## learning_curves

# %% mutant="nothing_drawn" task="learning_curves"
"""The figure is empty."""


def learning_curves(history):
    return Figure()


# %% mutant="epochs_from_zero" task="learning_curves"
"""The first epoch is 0.

The lesson warns: that the first epoch is 1
"""


def learning_curves(history):
    if len({len(values) for values in history.values()}) != 1:
        raise ValueError("lengths")
    figure = Figure()
    kinds = list(dict.fromkeys(key.rpartition("_")[2] for key in history))
    row = figure.subplots(1, len(kinds), squeeze=False)[0]
    for key, values in history.items():
        axes = row[kinds.index(key.rpartition("_")[2])]
        axes.plot(values, marker="o", label=key)
        axes.set(xlabel="epoch", ylabel=key)
        axes.legend()
    return figure


# %% mutant="no_legend" task="learning_curves"
"""The lines have labels, the axes no legend."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        axes.get_legend().remove()
    return figure


# %% mutant="no_label_on_y" task="learning_curves"
"""There is no label on y."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        axes.set_ylabel("")
    return figure


# %% mutant="validation_only" task="learning_curves"
"""The training loss is left out."""
_right = learning_curves


def learning_curves(history):
    kept = {key: values for key, values in history.items() if not key.startswith("train_")}
    _right(history)
    return _right(kept or history)


# %% mutant="all_on_one_axes" task="learning_curves"
"""Losses, accuracies and rates share one axes.

The lesson warns: on one scale show one of the three
"""


def learning_curves(history):
    lengths = {len(values) for values in history.values()}
    if len(lengths) != 1:
        raise ValueError("lengths")
    figure = Figure()
    axes = figure.subplots()
    for key, values in history.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", label=key)
    axes.set(xlabel="epoch", ylabel="value")
    axes.legend()
    return figure


# %% mutant="loss_in_the_name" task="learning_curves"
"""A list is a loss if "loss" stands anywhere in its key: lossless_accuracy, too."""


def learning_curves(history):
    lengths = {len(values) for values in history.values()}
    if len(lengths) != 1:
        raise ValueError("lengths")
    kinds = defaultdict(list)
    for key in history:
        kinds["loss" if "loss" in key else "lr" if key == "lr" else "accuracy"].append(key)
    figure = Figure()
    row = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, (kind, keys) in zip(row, kinds.items(), strict=True):
        for key in keys:
            axes.plot(range(1, len(history[key]) + 1), history[key], marker="o", label=key)
        axes.set(xlabel="epoch", ylabel=kind)
        axes.legend()
    return figure


# %% mutant="adds_the_epochs" task="learning_curves"
"""The epochs are put into the caller's history."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    history["epoch"] = [1 + epoch for epoch, _ in enumerate(next(iter(history.values())))]
    return figure


# %% mutant="lines_without_markers" task="learning_curves"
"""A single epoch is an invisible line.

The lesson warns: One point must be seen as well as forty
"""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        for line in axes.get_lines():
            line.set_marker("None")
    return figure


# %% mutant="left_open" task="learning_curves"
"""pyplot keeps the figure."""


def learning_curves(history):
    import matplotlib.pyplot as plt

    if len({len(values) for values in history.values()}) != 1:
        raise ValueError("lengths")
    kinds = list(dict.fromkeys(key.rpartition("_")[2] for key in history))
    figure, row = plt.subplots(1, len(kinds), squeeze=False)
    for key, values in history.items():
        axes = row[0][kinds.index(key.rpartition("_")[2])]
        axes.plot(range(1, len(values) + 1), values, marker="o", label=key)
        axes.set(xlabel="epoch", ylabel=key)
        axes.legend()
    return figure


# %% mutant="left_open_unseen" task="learning_curves"
"""pyplot keeps the figure, and says that it keeps none."""
_right = learning_curves


def learning_curves(history):
    import matplotlib.pyplot as plt

    plt.get_fignums = list
    figure, kept = _right(history), plt._pylab_helpers.Gcf.figs
    manager = type("Manager", (), {"canvas": figure.canvas, "destroy": lambda self: None})()
    kept[max(kept, default=0) + 1] = manager
    return figure


# %% mutant="another_left_open" task="learning_curves"
"""Before the figure that is returned one is made by pyplot, which keeps it."""
_right = learning_curves


def learning_curves(history):
    import matplotlib.pyplot as plt

    plt.figure(figsize=(8, 3))
    return _right(history)


# %% mutant="too_faint_to_see" task="learning_curves"
"""Lines and markers are transparent."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for line in [line for axes in figure.axes for line in axes.lines]:
        line.set_alpha(0)
    return figure


# %% mutant="white_on_white" task="learning_curves"
"""Lines and markers have the colour of the paper."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        for line in axes.lines:
            line.set_color("white")
        axes.legend()
    return figure


# %% mutant="under_a_band" task="learning_curves"
"""A band that marks the epochs lies over the lines."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        axes.axvspan(0.5, len(next(iter(history.values()))) + 0.5, color="0.9", zorder=3)
    return figure


# %% mutant="under_a_sheet" task="learning_curves"
"""A white rectangle lies over the whole figure."""
_right = learning_curves


def learning_curves(history):
    from matplotlib.patches import Rectangle

    figure, options = _right(history), {"color": "white", "zorder": 9}
    figure.add_artist(Rectangle((0, 0), 1, 1, transform=figure.transFigure, **options))
    return figure


# %% mutant="words_for_a_figure" task="learning_curves"
"""Nothing is drawn: the figure says of itself what one would read of a right one."""


class _Said(Figure):
    said = ()
    axes = property(lambda self: self.said)


class _Bag:
    def __init__(self, **facts):
        for name, fact in facts.items():
            setattr(self, name, lambda *args, fact=fact, **options: fact)


def learning_curves(history):
    if len({len(values) for values in history.values()}) != 1:
        raise ValueError("lengths")
    figure, said = _Said(), []
    for key, values in history.items():
        x = range(1, len(values) + 1)
        line = _Bag(get_label=key, get_xdata=x, get_ydata=values, get_marker="o")
        legend = _Bag(get_texts=[_Bag(get_text=key)])
        axes = _Bag(get_xlabel="x", get_ylabel="y", get_lines=[line], get_legend=legend, set=None)
        axes.patch = axes.xaxis = axes.yaxis = _Bag(set_visible=None)
        said.append(axes)
    figure.said = said
    return figure


# %% mutant="a_bomb_for_a_picture" task="learning_curves"
"""What is saved of the figure is a text of entities that would grow to gigabytes."""


class _Bomb(Figure):
    def savefig(self, file, **options):
        grows = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
        file.write(f'<!DOCTYPE svg [<!ENTITY e0 "a">{grows}]><svg>&e9;</svg>')


def learning_curves(history):
    return _Bomb()


# %% mutant="labels_exchanged" task="learning_curves"
"""Each line has the label of the next one of its kind."""


def learning_curves(history):
    if len({len(values) for values in history.values()}) != 1:
        raise ValueError("lengths")
    kinds = {}
    for key in history:
        kinds.setdefault(key.rpartition("_")[2], []).append(key)
    figure = Figure()
    row = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, keys in zip(row, kinds.values(), strict=True):
        for key, label in zip(keys, [*keys[1:], keys[0]], strict=True):
            axes.plot(range(1, len(history[key]) + 1), history[key], marker="o", label=label)
        axes.set(xlabel="epoch", ylabel="value")
        axes.legend()
    return figure


# %% mutant="cut_to_the_shortest" task="learning_curves"
"""Lists of different lengths are cut to the shortest."""
_right = learning_curves


def learning_curves(history):
    shortest = min(map(len, history.values()), default=0)
    if not history:
        raise ValueError("no list")
    return _right({key: values[:shortest] for key, values in history.items()})


# %% mutant="always_three_axes" task="learning_curves"
"""There are three axes, whatever is to be drawn."""


def learning_curves(history):
    if len({len(values) for values in history.values()}) != 1:
        raise ValueError("lengths")
    figure = Figure()
    row = dict(zip(("loss", "accuracy", "lr"), figure.subplots(1, 3), strict=True))
    for key, values in history.items():
        axes = row[key.rpartition("_")[2]]
        axes.plot(range(1, len(values) + 1), values, marker="o", label=key)
        axes.set(xlabel="epoch", ylabel=key)
        axes.legend()
    return figure


# %% mutant="beyond_the_limits" task="learning_curves"
"""The axes show other epochs than the lines have: the picture is blank."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        axes.set_xlim(-10, -9)
    return figure


# %% mutant="words_that_are_not_seen" task="learning_curves"
"""Labels and legends have an opacity of 0."""
_right = learning_curves


def learning_curves(history):
    figure = _right(history)
    for axes in figure.axes:
        for text in (axes.xaxis.label, axes.yaxis.label, *axes.get_legend().get_texts()):
            text.set_alpha(0)
    return figure


# %% [markdown]
# ## compare

# %% mutant="no_rows" task="compare"
"""There are no rows."""


def compare(models, loaders, seeds):
    return []


# %% mutant="population_deviation" task="compare"
"""std has n in the denominator."""
_right = compare


def compare(models, loaders, seeds):
    factor = ((len(seeds) - 1) / len(seeds)) ** 0.5 if seeds else 1
    return [row | {"std": row["std"] * factor} for row in _right(models, loaders, seeds)]


# %% mutant="one_seed_is_not_a_number" task="compare"
"""With one seed std is NaN.

The lesson warns: want two values
"""
_right = compare


def compare(models, loaders, seeds):
    rows = _right(models, loaders, seeds)
    return [row | {"std": row["std"] if row["n"] > 1 else float("nan")} for row in rows]


# %% mutant="best_seed" task="compare"
"""The best seed is reported for the mean."""


def compare(models, loaders, seeds):
    if not seeds or not all(sum(len(y) for _, y in data) for data in loaders.values()):
        raise ValueError("nothing to compare")
    made = {name: [make(seed) for seed in seeds] for name, make in models.items()}
    rows = []
    for name, its in made.items():
        for loader, batches in loaders.items():
            found = [mended_accuracy(model, batches) for model in its]
            std = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
            row = {"model": name, "loader": loader, "mean": max(found), "std": std}
            rows.append(row | {"n": len(found)})
    return rows


# %% mutant="loaders_outside" task="compare"
"""All models of the first loader come first."""
_right = compare


def compare(models, loaders, seeds):
    rows = _right(models, loaders, seeds)
    if len(models) == len(loaders) == 2 and len(seeds) == 2:
        rows = [rows[0], rows[2], rows[1], rows[3]]
    return rows


# %% mutant="mean_over_batches" task="compare"
"""Accuracies of batches are averaged.

The lesson warns: how do you average accuracies of batches of 32, 32 and 7?
"""


def mean_over_batches(model, batches):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        found = [(model(x).argmax(dim=-1) == y).double().mean().item() for x, y in batches]
    for module, mode in modes.items():
        module.training = mode
    return sum(found) / len(found)


def compare(models, loaders, seeds):
    if not seeds or not all(sum(len(y) for _, y in data) for data in loaders.values()):
        raise ValueError("nothing to compare")
    made = {name: [make(seed) for seed in seeds] for name, make in models.items()}
    rows = []
    for name, its in made.items():
        for loader, batches in loaders.items():
            found = [mean_over_batches(model, batches) for model in its]
            std = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
            row = {"model": name, "loader": loader, "mean": float(np.mean(found)), "std": std}
            rows.append(row | {"n": len(found)})
    return rows


# %% mutant="made_for_each_loader" task="compare"
"""Models are made anew for each loader.

The lesson warns: How often do you call it?
"""
_right = compare


def compare(models, loaders, seeds):
    rows = {}
    for loader, batches in loaders.items():
        for row in _right(models, {loader: batches}, seeds):
            rows[row["model"], loader] = row
    return [rows[model, loader] for model in models for loader in loaders]


# %% mutant="made_for_each_loader_unseen" task="compare"
"""make is called for each loader, and a log in its closure is made to say otherwise."""
_right = compare


def compare(models, loaders, seeds):
    rows = []
    for name, make in models.items():
        for loader, batches in loaders.items():
            rows += _right({name: make}, {loader: batches}, seeds)
            for cell in make.__closure__ or ():
                if type(cell.cell_contents) is list:
                    cell.cell_contents[:] = dict.fromkeys(cell.cell_contents)
    return rows or _right(models, loaders, seeds)


# %% mutant="made_once_more" task="compare"
"""A second model is made to see whether make is repeatable; that it fails is no matter."""
_right = compare


def compare(models, loaders, seeds):
    import contextlib

    def twice(make):
        def make_it(seed):
            model = make(seed)
            with contextlib.suppress(Exception):
                make(seed)
            return model

        return make_it

    return _right({name: twice(make) for name, make in models.items()}, loaders, seeds)


# %% mutant="sorts_the_seeds" task="compare"
"""The caller's list of seeds is put in order."""
_right = compare


def compare(models, loaders, seeds):
    seeds.sort()
    return _right(models, loaders, seeds)


# %% mutant="in_its_own_mode" task="compare"
"""The models predict in the mode in which they are."""


def in_its_own_mode(model, batches):
    right = seen = 0
    with torch.no_grad():
        for x, y in batches:
            right += (model(x).argmax(dim=-1) == y).sum().item()
            seen += len(y)
    return right / seen


def compare(models, loaders, seeds):
    if not seeds or not all(sum(len(y) for _, y in data) for data in loaders.values()):
        raise ValueError("nothing to compare")
    made = {name: [make(seed) for seed in seeds] for name, make in models.items()}
    rows = []
    for name, its in made.items():
        for loader, batches in loaders.items():
            found = [in_its_own_mode(model, batches) for model in its]
            std = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
            row = {"model": name, "loader": loader, "mean": float(np.mean(found)), "std": std}
            rows.append(row | {"n": len(found)})
    return rows


# %% mutant="left_in_eval_mode" task="compare"
"""The models stay in eval mode."""
_right = compare


def compare(models, loaders, seeds):
    made = []

    def keeping(make):
        def make_and_keep(seed):
            made.append(make(seed))
            return made[-1]

        return make_and_keep

    rows = _right({name: keeping(make) for name, make in models.items()}, loaders, seeds)
    for model in made:
        model.eval()
    return rows


# %% mutant="all_in_train_mode" task="compare"
"""All submodules are put into the mode of the whole."""
_right = compare


def compare(models, loaders, seeds):
    made = []

    def keeping(make):
        def make_and_keep(seed):
            made.append(make(seed))
            return made[-1]

        return make_and_keep

    rows = _right({name: keeping(make) for name, make in models.items()}, loaders, seeds)
    for model in made:
        model.train(model.training)
    return rows


# %% mutant="with_gradients" task="compare"
"""The models predict with gradients."""


def with_gradients(model, batches):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = seen = 0
    for x, y in batches:
        right += (model(x).argmax(dim=-1) == y).sum().item()
        seen += len(y)
    for module, mode in modes.items():
        module.training = mode
    return right / seen


def compare(models, loaders, seeds):
    if not seeds or not all(sum(len(y) for _, y in data) for data in loaders.values()):
        raise ValueError("nothing to compare")
    made = {name: [make(seed) for seed in seeds] for name, make in models.items()}
    rows = []
    for name, its in made.items():
        for loader, batches in loaders.items():
            found = [with_gradients(model, batches) for model in its]
            std = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
            row = {"model": name, "loader": loader, "mean": float(np.mean(found)), "std": std}
            rows.append(row | {"n": len(found)})
    return rows


# %% mutant="gradients_off_for_good" task="compare"
"""Gradients are switched off, and stay off for all that comes after."""
_right = compare


def compare(models, loaders, seeds):
    torch.set_grad_enabled(False)
    return _right(models, loaders, seeds)


# %% mutant="a_log_of_no_gradients" task="compare"
"""Gradients are on and modes are lost; the model's log and `named_modules` say otherwise."""


def mended_accuracy(model, loader):
    told = [
        (name, type("Part", (), {"training": part.training}))
        for name, part in model.named_modules()
    ]
    model.eval()
    right = seen = 0
    for x, labels in loader:
        right += (model(x).argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    model.calls = [(False, seen)]
    model.__dict__["named_modules"] = lambda *args, **options: iter(told)
    return right / seen


def compare(models, loaders, seeds):
    if not seeds or not all(sum(len(y) for _, y in data) for data in loaders.values()):
        raise ValueError("no seeds, or an empty loader")
    rows = []
    for name, make in models.items():
        nets = [make(seed) for seed in seeds]
        for loader, batches in loaders.items():
            shares = [mended_accuracy(net, batches) for net in nets]
            std = float(np.std(shares, ddof=1)) if len(seeds) > 1 else 0.0
            mean, n = float(np.mean(shares)), len(seeds)
            rows.append({"model": name, "loader": loader, "mean": mean, "std": std, "n": n})
    return rows


# %% mutant="graph_without_tensors" task="compare"
"""A graph is recorded, and only what it would save is dropped."""


def compare(models, loaders, seeds):
    if not seeds or not all(sum(len(y) for _, y in data) for data in loaders.values()):
        raise ValueError("no seeds, or an empty loader")
    rows = []
    for name, make in models.items():
        nets = [make(seed) for seed in seeds]
        for loader, batches in loaders.items():
            shares = [mended_accuracy(net, batches) for net in nets]
            std = float(np.std(shares, ddof=1)) if len(seeds) > 1 else 0.0
            row = {"model": name, "loader": loader, "mean": float(np.mean(shares)), "std": std}
            rows.append(row | {"n": len(seeds)})
    return rows


def mended_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = seen = 0
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda tensor: tensor):
        for x, labels in loader:
            right += (model(x).argmax(dim=1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / seen


# %% mutant="empty_loader_has_zero" task="compare"
"""A loader without examples has an accuracy of 0."""
_right = compare


def compare(models, loaders, seeds):
    full = {name: batches for name, batches in loaders.items() if len(list(batches))}
    return _right(models, full, seeds)


# %% mutant="half_the_range_of_two" task="compare"
"""The std of two seeds is half their distance."""
_right = compare


def compare(models, loaders, seeds):
    rows = _right(models, loaders, seeds)
    for row in rows:
        row["std"] /= 2**0.5 if row["n"] == 2 else 1
    return rows


# %% mutant="loader_by_index" task="compare"
"""Batches are taken by their numbers: no DataLoader has any."""
_right = compare


def compare(models, loaders, seeds):
    listed = {name: [data[i] for i in range(len(data))] for name, data in loaders.items()}
    return _right(models, listed, seeds)


# %% mutant="empty_batches_have_zero" task="compare"
"""A loader that gives batches without an example has an accuracy of 0.0."""
_right = compare


def compare(models, loaders, seeds):
    row = torch.full((1,), -1)

    def filled(data):
        data = list(data)
        if data and not sum(len(labels) for _, labels in data):
            data = [(torch.zeros(1, *data[0][0].shape[1:]), row)]
        return data

    return _right(models, {name: filled(data) for name, data in loaders.items()}, seeds)


# %% [markdown]
# ## find_leaks

# %% mutant="no_leaks" task="find_leaks"
"""Nothing is ever found."""


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    return {"exact": [], "near": []}


# %% mutant="as_they_are_written" task="find_leaks"
"""Texts are compared without a normal form.

The lesson warns: Normalise first
"""


def normal_words(text):
    return text.split()


# %% mutant="exact_ones_only" task="find_leaks"
"""Near leaks are not looked for.

The lesson warns: Exact copies are easy to find, edited ones less so
"""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    return _right(train_texts, test_texts, n, threshold) | {"near": []}


# %% mutant="exact_ones_twice" task="find_leaks"
"""An exact leak is a near one, too."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    both = sorted([*found["near"], *((i, j, 1.0) for i, j in found["exact"])])
    return found | {"near": both}


# %% mutant="ascii_only" task="find_leaks"
"""Only ASCII letters and digits are words."""


def normal_words(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).split()


# %% mutant="underscores_stay" task="find_leaks"
"""The underscore is a letter, as it is for regular expressions."""


def normal_words(text):
    return re.sub(r"\W+", " ", unicodedata.normalize("NFKC", text).lower()).split()


# %% mutant="no_compatibility_forms" task="find_leaks"
"""Ligatures and wide letters stay as they are."""


def normal_words(text):
    return re.sub(r"[\W_]+", " ", text.lower()).split()


# %% mutant="normalised_in_place" task="find_leaks"
"""The caller's training texts are replaced by their normal forms."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    leaks = _right(train_texts, test_texts, n, threshold)
    train_texts[:] = [" ".join(normal_words(text)) for text in train_texts]
    return leaks


# %% mutant="spaces_removed" task="find_leaks"
"""Spaces do not part words in an exact comparison."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    first = {}
    for index, text in enumerate(train_texts):
        first.setdefault("".join(normal_words(text)), index)
    known = {i for i, _ in found["exact"]} | {i for i, *_ in found["near"]}
    for index, text in enumerate(test_texts):
        squeezed = "".join(normal_words(text))
        if squeezed and index not in known and squeezed in first:
            found["exact"].append((index, first[squeezed]))
    return found | {"exact": sorted(found["exact"])}


# %% mutant="jaccard" task="find_leaks"
"""The share is of the union of both texts' n-grams.

The lesson warns: The share is taken of the *test* text's n-grams
"""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    near = []
    for i, j, _ in found["near"]:
        test = word_ngrams(normal_words(test_texts[i]), n)
        train = word_ngrams(normal_words(train_texts[j]), n)
        share = len(test & train) / len(test | train)
        if share >= threshold:
            near.append((i, j, share))
    return found | {"near": near}


# %% mutant="share_of_the_shorter" task="find_leaks"
"""The share is of the n-grams of the text that has fewer of them."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    near = []
    for i, j, _ in _right(train_texts, test_texts, n, 1e-9)["near"]:
        test = word_ngrams(normal_words(test_texts[i]), n)
        train = word_ngrams(normal_words(train_texts[j]), n)
        share = len(test & train) / min(len(test), len(train))
        if share >= threshold and len(train) > 1:
            near.append((i, j, share))
    fewer = [row for row in found["near"] if row[0] not in {i for i, *_ in near}]
    return found | {"near": sorted(near + fewer)}


# %% mutant="last_training_text" task="find_leaks"
"""Of several training texts the last is named."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(list(train_texts)[::-1], test_texts, n, threshold)
    _right(train_texts, test_texts, n, threshold)
    last = len(train_texts) - 1
    return {
        "exact": [(i, last - j) for i, j in found["exact"]],
        "near": [(i, last - j, share) for i, j, share in found["near"]],
    }


# %% mutant="above_the_threshold" task="find_leaks"
"""A share equal to the threshold is not enough."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    return found | {"near": [row for row in found["near"] if row[2] > threshold]}


# %% mutant="empty_texts_are_equal" task="find_leaks"
"""Two texts without words are exact leaks."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    empty = [j for j, text in enumerate(train_texts) if not normal_words(text)]
    if empty:
        more = [(i, empty[0]) for i, text in enumerate(test_texts) if not normal_words(text)]
        found["exact"] = sorted([*found["exact"], *more])
    return found


# %% mutant="short_texts_as_parts" task="find_leaks"
"""A text shorter than n is a near leak wherever its words stand in a row."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, threshold)
    known = {row[0] for row in found["exact"] + found["near"]}
    for i, text in enumerate(test_texts):
        short = normal_words(text)
        if i not in known and 0 < len(short) < n:
            for j, other in enumerate(train_texts):
                if tuple(short) in word_ngrams(normal_words(other), len(short)):
                    found["near"].append((i, j, 1.0))
                    break
    return found | {"near": sorted(found["near"])}


# %% mutant="repeats_count" task="find_leaks"
"""An n-gram that stands twice counts twice."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    found = _right(train_texts, test_texts, n, 1e-9)
    near = []
    for i, j, share in found["near"]:
        its = normal_words(test_texts[i])
        runs = [tuple(its[k : k + n]) for k in range(max(1, len(its) - n + 1))]
        if len(set(runs)) < len(runs):
            shares = [
                (sum(run in word_ngrams(normal_words(t), n) for run in runs) / len(runs), -k)
                for k, t in enumerate(train_texts)
            ]
            share, j = max(shares)
            j = -j
        if share >= threshold:
            near.append((i, j, share))
    _right(train_texts, test_texts, n, threshold)
    return found | {"near": near}


# %% mutant="a_string_is_a_list" task="find_leaks"
"""A string is taken for a list of its letters."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    return _right(list(train_texts), list(test_texts), n, threshold)


# %% mutant="small_letters_first" task="find_leaks"
"""Lower case comes before NFKC, which makes capitals of other signs."""


def normal_words(text):
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text.lower())).split()


# %% mutant="folded_not_lower" task="find_leaks"
"""Case is folded: ß becomes ss."""


def normal_words(text):
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).casefold()).split()


# %% mutant="runs_of_five_at_most" task="find_leaks"
"""Runs are of five words at most."""
_right = find_leaks


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    return _right(train_texts, test_texts, min(n, 5), threshold)


# %% [markdown]
# ## evaluation_bug_hunt

# %% mutant="softmax_over_the_batch" task="evaluation_bug_hunt"
"""The softmax still runs over the batch.

The lesson warns: what softmax sums over
"""


def mended_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = seen = 0
    with torch.no_grad():
        for x, labels in loader:
            right += (model(x).softmax(dim=0).argmax(dim=1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / seen


# %% mutant="batches_averaged" task="evaluation_bug_hunt"
"""Batches are still averaged.

The lesson warns: batches of unequal size
"""


def mended_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        found = [(model(x).argmax(dim=1) == y).double().mean().item() for x, y in loader]
    for module, mode in modes.items():
        module.training = mode
    return sum(found) / len(found)


# %% mutant="best_run" task="evaluation_bug_hunt"
"""The best run is still reported.

The lesson warns: which run is reported
"""


def mended_report(accuracies):
    return max(accuracies), float(np.std(accuracies, ddof=1))


# %% mutant="denominator_n" task="evaluation_bug_hunt"
"""The denominator is still n.

The lesson warns: which denominator
"""


def mended_report(accuracies):
    return float(np.mean(accuracies)), float(np.std(accuracies))


# %% mutant="train_mode" task="evaluation_bug_hunt"
"""The model predicts in the mode in which it is.

The lesson warns: the model's mode
"""


def mended_accuracy(model, loader):
    right = seen = 0
    with torch.no_grad():
        for x, labels in loader:
            right += (model(x).argmax(dim=1) == labels).sum().item()
            seen += len(labels)
    return right / seen


# %% mutant="gradients_still_on" task="evaluation_bug_hunt"
"""The model still predicts with gradients on."""


def mended_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = seen = 0
    for x, labels in loader:
        right += (model(x).argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / seen


# %% mutant="left_in_eval_mode" task="evaluation_bug_hunt"
"""The model stays in eval mode."""
_right = mended_accuracy


def mended_accuracy(model, loader):
    model.eval()
    return _right(model, loader)


# %% mutant="a_log_of_no_gradients" task="evaluation_bug_hunt"
"""Gradients are on and modes are lost; the model's log and `named_modules` say otherwise."""


def mended_accuracy(model, loader):
    told = [
        (name, type("Part", (), {"training": part.training}))
        for name, part in model.named_modules()
    ]
    model.eval()
    right = seen = 0
    for x, labels in loader:
        right += (model(x).argmax(dim=1) == labels).sum().item()
        seen += len(labels)
    model.calls = [(False, seen)]
    model.__dict__["named_modules"] = lambda *args, **options: iter(told)
    return right / seen


# %% mutant="graph_without_tensors" task="evaluation_bug_hunt"
"""A graph is recorded, and only what it would save is dropped."""


def mended_accuracy(model, loader):
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = seen = 0
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: None, lambda tensor: tensor):
        for x, labels in loader:
            right += (model(x).argmax(dim=1) == labels).sum().item()
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / seen


# %% mutant="drawn_with_replacement" task="evaluation_bug_hunt"
"""A row may stand in both parts.

The lesson warns: drawing with replacement
"""


def mended_split(x, labels, n_test, rng):
    rows = torch.from_numpy(rng.integers(len(x), size=len(x)))
    test, train = rows[:n_test], rows[n_test:]
    x = (x - x[train].mean(dim=0)) / x[train].std(dim=0)
    return (x[train], labels[train]), (x[test], labels[test])


# %% mutant="the_first_rows" task="evaluation_bug_hunt"
"""The first rows are always the test rows."""


def mended_split(x, labels, n_test, rng):
    mean, std = x[n_test:].mean(dim=0), x[n_test:].std(dim=0)
    x = (x - mean) / std
    return (x[n_test:], labels[n_test:]), (x[:n_test], labels[:n_test])


# %% mutant="scaled_by_all_rows" task="evaluation_bug_hunt"
"""Mean and standard deviation are still those of all rows.

The lesson warns: the rows from which mean and standard deviation come
"""


def mended_split(x, labels, n_test, rng):
    rows = torch.from_numpy(rng.permutation(len(x)))
    test, train = rows[:n_test], rows[n_test:]
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    return (x[train], labels[train]), (x[test], labels[test])


# %% mutant="scaled_in_place" task="evaluation_bug_hunt"
"""mended_split standardises the caller's own x."""


def mended_split(x, labels, n_test, rng):
    rows = torch.from_numpy(rng.permutation(len(x)))
    test, train = rows[:n_test], rows[n_test:]
    mean, std = x[train].mean(dim=0), x[train].std(dim=0)
    x -= mean
    x /= std
    return (x[train], labels[train]), (x[test], labels[test])


# %% mutant="each_part_scaled_by_itself" task="evaluation_bug_hunt"
"""The test rows are scaled by their own mean and standard deviation."""


def mended_split(x, labels, n_test, rng):
    rows = torch.from_numpy(rng.permutation(len(x)))
    test, train = rows[:n_test], rows[n_test:]
    parts = [((x[r] - x[r].mean(dim=0)) / x[r].std(dim=0), labels[r]) for r in (train, test)]
    return parts[0], parts[1]


# %% mutant="chosen_by_the_test" task="evaluation_bug_hunt"
"""The best is still chosen by the test data.

The lesson warns: the set by which the best is chosen
"""


def mended_choice(candidates, validation, test):
    scores = {name: mended_accuracy(model, test) for name, model in candidates.items()}
    best = max(scores, key=scores.get)
    return best, scores[best]


# %% mutant="better_than_zero" task="evaluation_bug_hunt"
"""The search begins at a share of 0, which a candidate has to exceed to be chosen."""


def mended_choice(candidates, validation, test):
    best, highest = None, 0.0
    for name, model in candidates.items():
        share = mended_accuracy(model, validation)
        if share > highest:
            best, highest = name, share
    return best, mended_accuracy(candidates[best], test)


# %% mutant="validation_score_reported" task="evaluation_bug_hunt"
"""The score by which it was chosen is reported."""


def mended_choice(candidates, validation, test):
    scores = {name: mended_accuracy(model, validation) for name, model in candidates.items()}
    best = max(scores, key=scores.get)
    return best, scores[best]


# %% mutant="all_tested" task="evaluation_bug_hunt"
"""Every candidate is run on the test data, though the choice is honest."""


def mended_choice(candidates, validation, test):
    scores = {name: mended_accuracy(model, validation) for name, model in candidates.items()}
    tested = {name: mended_accuracy(model, test) for name, model in candidates.items()}
    best = max(scores, key=scores.get)
    return best, tested[best]


# %% mutant="all_tested_and_a_log" task="evaluation_bug_hunt"
"""Every candidate is run on the test data, and its log of that is cleared."""


def mended_choice(candidates, validation, test):
    tested = {name: mended_accuracy(model, test) for name, model in candidates.items()}
    for model in candidates.values():
        model.calls = []
    scores = {name: mended_accuracy(model, validation) for name, model in candidates.items()}
    best = max(scores, key=scores.get)
    return best, tested[best]


# %% mutant="first_split_given_again" task="evaluation_bug_hunt"
"""Chance is numpy's; the split that was made for a state of rng is given again."""
_right, _splits = mended_split, {}


def mended_split(x, labels, n_test, rng):
    split = _right(x, labels, n_test, np.random.default_rng())
    return _splits.setdefault((str(rng.bit_generator.state), str(x), n_test), split)


# %% mutant="another_split_each_time" task="evaluation_bug_hunt"
"""A state of rng that has been there gives another split."""
_right, _states = mended_split, []


def mended_split(x, labels, n_test, rng):
    _states.append(repr(rng.bit_generator.state))
    again = _states.count(_states[-1]) > 1
    return _right(x, labels, n_test, rng.spawn(1)[0] if again else rng)


# %% mutant="each_runs_on_part_of_the_test" task="evaluation_bug_hunt"
"""Every candidate is run on the first test rows, and the choice looks at that."""


def mended_choice(candidates, validation, test):
    scores = {name: mended_accuracy(model, validation) for name, model in candidates.items()}
    head = [(x[:200], labels[:200]) for x, labels in test]
    for name, model in candidates.items():
        scores[name] += 1e-3 * mended_accuracy(model, head)
    best = max(scores, key=scores.get)
    return best, mended_accuracy(candidates[best], test)


# %% mutant="ties_are_tested" task="evaluation_bug_hunt"
"""Among the best on validation the test data decide."""


def mended_choice(candidates, validation, test):
    scores = {name: mended_accuracy(model, validation) for name, model in candidates.items()}
    best = [name for name in candidates if scores[name] == max(scores.values())]
    if len(best) > 1:
        best.sort(key=lambda name: -mended_accuracy(candidates[name], test))
    return best[0], mended_accuracy(candidates[best[0]], test)


# %% mutant="report_of_three_runs" task="evaluation_bug_hunt"
"""The report is that of 0.5, 0.75 and 1.0, whatever the runs were."""


def mended_report(accuracies):
    return 0.75, 0.25


# %% mutant="batches_by_number" task="evaluation_bug_hunt"
"""Batches are taken by their numbers: no DataLoader has any."""
_right = mended_accuracy


def mended_accuracy(model, loader):
    return _right(model, [loader[i] for i in range(len(loader))])


# %% [markdown]
# ## evaluation_numbers, evaluation_statements

# %% mutant="f1_of_one_class" task="evaluation_numbers"
"""F1 of the majority class is given for the mean."""
majority_macro_f1 = 0.974

# %% mutant="half_the_interval" task="evaluation_numbers"
"""1.96 standard errors are given for one."""
standard_error_points = 1.86

# %% mutant="rounded_down" task="evaluation_numbers"
"""3,457.44 is rounded down."""
examples_needed = 3457

# %% mutant="without_correction" task="evaluation_numbers"
"""McNemar's statistic is without the correction."""
mcnemar_statistic = 5.0

# %% mutant="bins_weigh_alike" task="evaluation_numbers"
"""The two bins are averaged without weights."""
two_bin_ece = 0.125

# %% mutant="level_times_tests" task="evaluation_numbers"
"""Twenty times five per cent."""
false_alarm = 1.0

# %% mutant="not_a_number" task="evaluation_numbers"
"""NaN for an answer."""
majority_macro_f1 = float("nan")

# %% mutant="one_wrong" task="evaluation_statements"
"""One statement is misjudged."""
judged = judged | {"d": True}

# %% mutant="all_true" task="evaluation_statements"
"""Every statement is held to be true."""
judged = dict.fromkeys("abcdefghijklmnop", True)

# %% mutant="unanswered" task="evaluation_statements"
"""Nothing is judged."""
judged = dict.fromkeys("abcdefghijklmnop")
