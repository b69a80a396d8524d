"""The checks of the evaluation lesson that decide at grading: each looks at one property.

Every expected value is worked out here or by scikit-learn and SciPy, from this side's own copy of
the inputs. Arrays of numpy come back from a submission as tensors.
"""

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from autograder.checking.expect import (
    award_judgements,
    expect,
    expect_close,
    expect_equal,
    expect_number,
    expect_raises,
    expect_tensor,
    short,
)
from autograder.checking.probes import call_and_return_arguments, hold
from autograder.checks.shared.common import (
    Deep,
    MindsAGraph,
    Tells,
    expect_float,
    expect_unchanged,
    output,
)
from autograder.checks.shared.evaluation import (
    a_history,
    bootstrap_of,
    compared,
    curves,
    draw_svg,
    examples_of,
    expect_counted,
    expect_good_temperature,
    expect_leaks,
    expect_pair,
    expect_test,
    f1_of,
    labelled,
    open_figures,
    panels,
    predictions,
    rows_with,
    words,
)

# ----------------------------------------------------------------- probes: they do, and they report


def fit_without_gradients(fit, logits, labels):
    """Fit a temperature where gradients are off."""
    import torch

    with torch.no_grad():
        return fit(logits, labels)


def fit_on_a_leaf(fit, logits, labels):
    """Fit a temperature on logits that require a gradient; report the result and that gradient."""
    logits = logits.clone().requires_grad_()
    T = fit(logits, labels)
    return (float(T), bool(getattr(T, "requires_grad", False))), logits.grad


def draw_heavy(draw, history, times):
    """Draw a figure some times, lay 16 MB upon each, and let go of it."""
    import gc

    import numpy as np

    for _ in range(times):
        figure = draw(history)
        figure.load = np.ones(16 << 20, dtype=np.uint8)
        del figure
        gc.collect()


def choose_among(choice, nets, validation, test):
    """Call mended_choice with candidates named by their numbers."""
    return choice(dict(enumerate(nets)), [validation], [test])


# -------------------------------------------------------------------------------- expected values


def quantiles_with_noise(values, levels, n_resamples):
    """Quantiles of these values, and six standard errors of one estimated from n_resamples."""
    found, errors = np.quantile(values, levels), []
    for level in levels:
        step = 0.2 * min(level, 1 - level)
        slope = np.diff(np.quantile(values, [level - step, level + step]))[0] / (2 * step)
        errors.append(6 * slope * np.sqrt(level * (1 - level) / n_resamples))
    return found, errors


def expect_quantiles(value, values, level, n_resamples, message, grain=0.0):
    """Expect (low, high) to be the quantiles of this distribution, to the noise of drawing."""
    expect_pair(value)
    levels = [(1 - level) / 2, (1 + level) / 2]
    for end, expected, error in zip(
        value, *quantiles_with_noise(values, levels, n_resamples), strict=True
    ):
        expect(abs(end - expected) <= error + grain, f"{message} (got {short(end)})")


def expect_row(rows, mean, std, n, message, within=1e-6):
    """Expect the one row of a comparison of one model on one loader."""
    expect(type(rows) is list and len(rows) == 1 and type(rows[0]) is dict, "One row, please.")
    expect_float(rows[0].get("mean"), mean, message, within)
    expect_float(rows[0].get("std"), std, message)
    expect_equal(rows[0].get("n"), n, "n should be the number of seeds.")


def share_right(net, x, labels):
    """The accuracy of a net of this side, in eval mode."""
    with torch.no_grad():
        return (net.eval()(x).argmax(dim=1) == labels).double().mean().item()


def with_moods(rng, mode):
    """A net with two parts that tell their modes by what they add: one in `mode`, one not."""
    parts = rng.linear(4, 5), Tells(0.0, 1.0), nn.Tanh(), Tells(0.0, 2.0), rng.linear(5, 3)
    net = nn.Sequential(*parts).train(mode)
    net[3].train(not mode)
    return net


def minds_a_graph(rng):
    """A net that answers otherwise where a graph is recorded, and data that it has all right."""
    net = nn.Sequential(rng.linear(4, 5), MindsAGraph(), rng.linear(5, 3))
    x = rng.normal(300, 4)
    with torch.no_grad():  # for some of x it is a close call
        net[-1].bias -= output(net.eval(), x).mean(dim=0)
    return net, x, output(net, x).argmax(dim=1)


def deep(rng):
    """A net of many layers, whose graph takes 80 MB, and a batch for it with its accuracy."""
    net = nn.Sequential(nn.PReLU(), Deep(), rng.linear(64, 3))
    x, labels = rng.normal(800, 64), rng.integers(0, 3, (800,))
    return net, (x, labels), share_right(net, x, labels)


# ------------------------------------------------------------------------------- confusion_matrix


@pytest.mark.task("confusion_matrix", points=1)
def test_small_integer_types(student, rng):
    """Labels in a small integer type are counted as others are."""
    for dtype in (np.uint8, np.int8):
        classes = int(rng.integers(30, 60))
        y_true, y_pred = (rng.integers(0, classes, (300,)).numpy() for _ in range(2))
        y_true[0], y_pred[0] = classes - 1, classes - 2
        expected = metrics.confusion_matrix(y_true, y_pred, labels=range(classes))
        came = student.confusion_matrix(y_true.astype(dtype), y_pred.astype(dtype), classes)
        message = f"With many classes in {dtype.__name__} it is wrong."
        expect_close(came, torch.from_numpy(expected), message, atol=0)


@pytest.mark.task("confusion_matrix", points=1)
def test_matrix_of_nothing(student, rng):
    """Without examples the counts are zero, with as many classes as were asked for."""
    nothing, classes = np.zeros(0, dtype=np.int64), int(rng.integers(3, 30))
    truth, predicted = (rng.integers(0, classes, (1,)).numpy() for _ in range(2))
    expected = torch.zeros(classes, classes, dtype=torch.int64)
    expected[truth, predicted] = 1
    came = student.confusion_matrix(truth, predicted, classes)
    expect_close(came, expected, "One example is not counted.", atol=0)
    came = student.confusion_matrix(nothing, nothing, classes)
    expect_tensor(came, (classes, classes), "The matrix of no examples", torch.int64)
    expect(not came.any(), "The matrix of no examples is not all zero.")
    came = student.confusion_matrix(nothing, nothing)
    expect_tensor(came, (0, 0), "The matrix of no examples and no classes", torch.int64)


@pytest.mark.task("confusion_matrix", points=1)
def test_matrix_refuses(student, rng):
    """Other shapes, negative classes and classes beyond num_classes are ValueErrors."""
    count = int(rng.integers(3, 7))
    y = rng.numpy.permutation(np.repeat(np.arange(count), 2))  # each class twice

    def y_with(odd):
        return np.where(np.arange(len(y)) == rng.integers(0, len(y)).item(), odd, y)

    for first, second, classes, what in (
        (y, y[:1], None, "Arrays of different length"),
        (y.reshape(2, count), y.reshape(2, count), None, "Arrays of two dimensions"),
        (y, y_with(-1), None, "A negative class"),
        (y_with(-2), y, count, "A negative class"),
        (y, y_with(count), count, "A class that is not below num_classes"),
        (y, y, 0, "A class that is not below num_classes"),
    ):
        expect_raises(
            ValueError,
            lambda a=first, b=second, c=classes: student.confusion_matrix(a, b, c),
            f"{what} should be a ValueError.",
        )
    expected = 2 * torch.eye(count, dtype=torch.int64)
    expect_close(student.confusion_matrix(y, y, count), expected, "A good call fails.", atol=0)


@pytest.mark.task("confusion_matrix", points=0.5)
def test_number_of_classes(student, rng):
    """Without num_classes the largest class of either array decides."""
    matrix = np.zeros((int(rng.integers(4, 9)),) * 2, dtype=np.int64)
    matrix[:2, :2], matrix[int(rng.integers(0, 2)), -1] = 1, 1  # the largest is in one array only
    low, high = examples_of(rng, matrix)
    for given, counts in (((low, high), matrix), ((high, low), matrix.T.copy())):
        came = student.confusion_matrix(*given)
        message = "Where the largest class is in one array only it is not right."
        expect_close(came, torch.from_numpy(counts), message, atol=0)


@pytest.mark.task("confusion_matrix", points=0.5)
def test_matrix_leaves_its_arguments(student, rng):
    """The arguments are left unchanged."""
    y_true, y_pred = (rng.integers(0, 3, (20,)).numpy() for _ in range(2))
    came, after = student.run(
        call_and_return_arguments, student.confusion_matrix, y_true, y_pred, 3
    )
    expected = torch.from_numpy(metrics.confusion_matrix(y_true, y_pred, labels=range(3)))
    expect_close(came, expected, "The counts are not right.", atol=0)
    expect_unchanged(after[:2], [y_true, y_pred], "An argument")


# -------------------------------------------------------------------------------------- f1_scores


@pytest.mark.task("f1_scores", points=1)
def test_classes_never_true(student, rng):
    """A class that occurs in the predictions only has F1 0 and counts in the mean."""
    matrix = rng.numpy.integers(1, 5, (int(rng.integers(3, 6)),) * 2)
    matrix[int(rng.integers(0, len(matrix)))] = 0
    expected, (y_true, y_pred) = f1_of(matrix), examples_of(rng, matrix)
    came = student.f1_scores(y_true, y_pred, None)
    expect_close(came, expected, "The scores with a class that is never true are not right.")
    came = student.f1_scores(y_true, y_pred, "macro")
    expect_float(came, expected.mean().item(), "The mean with such a class is not right.")


@pytest.mark.task("f1_scores", points=1)
def test_classes_never_predicted(student, rng):
    """A class that is never predicted has F1 0 and counts in the mean."""
    matrix = rng.numpy.integers(1, 5, (int(rng.integers(3, 6)),) * 2)
    matrix[:, int(rng.integers(0, len(matrix)))] = 0
    expected, (y_true, y_pred) = f1_of(matrix), examples_of(rng, matrix)
    came = student.f1_scores(y_true, y_pred, None)
    expect_close(came, expected, "The scores with a class that is never predicted are not right.")
    came = student.f1_scores(y_true, y_pred, "macro")
    expect_float(came, expected.mean().item(), "The mean with such a class is not right.")


@pytest.mark.task("f1_scores", points=1)
def test_any_integers_as_classes(student, rng):
    """Classes may be any integers, negative or large; the arrays are left unchanged."""
    classes = np.array([-7, -1, 0, 12, 10**9])
    y_true, y_pred = (classes[rng.integers(0, 5, (80,)).numpy()] for _ in range(2))
    y_true[:5] = y_pred[:5] = classes
    expected = torch.from_numpy(metrics.f1_score(y_true, y_pred, average=None))
    given = student.f1_scores, y_true, y_pred, None
    came, after = student.run(call_and_return_arguments, *given)
    expect_close(came, expected, "For classes from −7 to a thousand million it is not right.")
    expect_unchanged(after[:2], [y_true, y_pred], "An array")


@pytest.mark.task("f1_scores", points=0.5)
def test_f1_of_nothing(student, rng):
    """Without examples there are no scores, and each average is 0.0."""
    nothing, one = np.zeros(0, dtype=np.int64), rng.integers(-9, 10, (1,)).numpy()
    expect_float(student.f1_scores(one, one, "macro"), 1.0, "One example:")
    expect_tensor(student.f1_scores(nothing, nothing, None), (0,), "The scores", torch.float64)
    for average in ("macro", "micro", "weighted"):
        came = student.f1_scores(nothing, nothing, average)
        expect_float(came, 0.0, f"The {average} average of nothing should be 0.0.", 0.0)


@pytest.mark.task("f1_scores", points=0.5)
def test_f1_refuses(student, rng):
    """Another average and arrays of other shapes are ValueErrors."""
    y = rng.integers(0, 4, (12,)).numpy()
    for first, second, average, what in (
        (y, y, "mean", "An average called mean"),
        (y, y[:1], "macro", "Arrays of different length"),
        (y.reshape(3, 4), y.reshape(3, 4), None, "Arrays of two dimensions"),
    ):
        expect_raises(
            ValueError,
            lambda a=first, b=second, c=average: student.f1_scores(a, b, c),
            f"{what} should be a ValueError.",
        )
    expect_float(student.f1_scores(y, y, "micro"), 1.0, "A good call fails.")


# --------------------------------------------------------------------- expected_calibration_error


@pytest.mark.task("expected_calibration_error", points=1.5)
def test_bins_weigh_by_their_size(student, rng):
    """A bin's difference counts by the share of the examples in it."""
    for classes, dtype in ((3, torch.float32), (5, torch.float64)):
        bins = int(rng.integers(6, 13))
        logits, labels = labelled(rng, 400, classes, 2.0)
        probabilities = logits.softmax(dim=1)
        confidence, chosen = probabilities.max(dim=1)
        near_an_edge = ((confidence * bins) - (confidence * bins).round()).abs() < 1e-3
        kept = ~near_an_edge
        confidence, right = confidence[kept], (chosen == labels)[kept].double()
        index = (confidence * bins).floor().long()
        expected = sum(
            abs((right[index == m] - confidence[index == m]).sum().item()) for m in range(bins)
        ) / len(right)
        came = student.expected_calibration_error(probabilities[kept].to(dtype), labels[kept], bins)
        expect_float(came, expected, "With bins of unequal size it is not right.", 1e-5)


@pytest.mark.task("expected_calibration_error", points=1)
def test_edges_belong_below(student, rng):
    """A confidence on an edge belongs to the bin below it."""
    edge, bins = rng.choice((0.5, 0.75)), 4 * int(rng.integers(2, 6))
    other = edge + 0.5 / bins  # in the middle of the bin above
    for top, below in ((edge, True), (edge + 0.25 / bins, False)):
        probabilities, (wrong, right) = rows_with(rng, [top, other], 3)
        labels = torch.stack([(wrong + 1) % 3, right])
        came = student.expected_calibration_error(probabilities, labels, bins)
        where = "on the edge of a bin and above it" if below else "in one bin"
        message = f"With two confidences, {where}, it is not right."
        expect_float(came, (top + (1 - other if below else other - 1)) / 2, message)


@pytest.mark.task("expected_calibration_error", points=0.5)
def test_certainty_is_in_the_last_bin(student, rng):
    """A confidence of 1 belongs to the last bin."""
    bins, share = int(rng.integers(4, 10)), float(rng.numpy.uniform(0.2, 0.8))
    sure, less = 1 - share / bins, 1 - (1 + share) / bins  # in the last bin, and the one below it
    probabilities, labels = rows_with(rng, [1.0, sure, less, less], 2)
    labels[0] ^= 1
    came = student.expected_calibration_error(probabilities, labels, bins)
    expected = (sure + 2 * (1 - less)) / 4
    expect_float(came, expected, "With a confidence of 1 the error is not right.", 1e-6)


@pytest.mark.task("expected_calibration_error", points=1)
def test_ece_refuses(student, rng):
    """A number of bins that is no int of at least 1, and labels of another shape, are errors."""
    sure = rng.numpy.uniform(0.6, 0.95, 2)
    probabilities, labels = rows_with(rng, sure, 2)
    for given, bins, what in (
        (labels, 0, "bins=0"),
        (labels, 2.0, "2.0 bins"),
        (labels, True, "bins=True"),
        (labels[:1], 3, "One label for two rows"),
        (labels[:, None], 3, "Labels in two dimensions"),
    ):
        expect_raises(
            ValueError,
            lambda a=given, b=bins: student.expected_calibration_error(probabilities, a, b),
            f"{what} should be a ValueError.",
        )
    came = student.expected_calibration_error(probabilities, labels, 1)
    expect_float(came, 1 - sure.mean(), "A good call, with one bin, fails.")


@pytest.mark.task("expected_calibration_error", points=0.5)
def test_ece_leaves_its_arguments(student, rng):
    """The arguments are left unchanged."""
    sure = rng.numpy.uniform(0.52, 0.6, 3)  # all in (0.5, 0.75]
    probabilities, places = rows_with(rng, sure, 3)
    labels = (places + torch.tensor([0, 0, 1])) % 3
    function = student.expected_calibration_error
    came, after = student.run(call_and_return_arguments, function, probabilities, labels, 4)
    expect_float(came, 2 / 3 - sure.mean(), "The error is not right.", 1e-5)
    expect_unchanged(after[:2], [probabilities, labels], "An argument")


# ------------------------------------------------------------------------------ temperature_scale


@pytest.mark.task("temperature_scale", points=1)
def test_too_modest_a_model(student, rng):
    """For a model that is not sure enough, the temperature is below 1."""
    for scale in (0.5, 0.2):
        logits, labels = labelled(rng, 500, 4, scale)
        T = student.temperature_scale(logits.float(), labels)
        expect_good_temperature(T, logits.float(), labels, "The loss is not the least.")


@pytest.mark.task("temperature_scale", points=1)
def test_temperature_at_its_limits(student, rng):
    """Where every example is right, or every one wrong, T is the best in [0.05, 20]."""
    logits = rng.normal(60, 3)
    right, wrong = logits.argmax(dim=1), logits.argmin(dim=1)
    logits = logits + F.one_hot(right, 3)  # no close calls
    for labels, what in ((right, "right"), (wrong, "wrong")):
        T = student.temperature_scale(logits, labels)
        expect_good_temperature(T, logits, labels, f"Where every example is {what} it is not.")


@pytest.mark.task("temperature_scale", points=1)
def test_fit_where_gradients_are_off(student, rng):
    """The temperature is the same inside torch.no_grad()."""
    logits, labels = labelled(rng, 300, 3, 2.0)
    T = student.run(fit_without_gradients, student.temperature_scale, logits, labels)
    expect_good_temperature(T, logits, labels, "Without gradients the loss is not the least.")


@pytest.mark.task("temperature_scale", points=1)
def test_large_logits(student, rng):
    """A common part of thousands in the logits changes nothing; they are left as they were."""
    logits, labels = labelled(rng, 300, 4, 2.0)
    for offset in (8000.0, -8000.0):
        given = logits + offset, labels
        T, after = student.run(call_and_return_arguments, student.temperature_scale, *given)
        expect_good_temperature(T, logits, labels, f"With {short(offset)} added to all logits:")
        expect_unchanged(after, list(given), "An argument")


@pytest.mark.task("temperature_scale", points=1)
def test_temperature_refuses(student, rng):
    """No examples, and labels of another shape, are ValueErrors."""
    logits, labels = labelled(rng, 50, 3, 2.0)
    nothing = torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)
    for given, what in (
        (nothing, "No examples"),
        ((logits, labels[:20]), "20 labels for 50 rows"),
        ((logits, labels[:, None]), "Labels in two dimensions"),
    ):
        message = f"{what} should be a ValueError."
        expect_raises(ValueError, lambda g=given: student.temperature_scale(*g), message)
    T = student.temperature_scale(logits, labels)
    expect_good_temperature(T, logits, labels, "A good call fails.")


@pytest.mark.task("temperature_scale", points=0.5)
def test_logits_get_no_gradient(student, rng):
    """Logits that require a gradient get none from the fit."""
    logits, labels = labelled(rng, 200, 3, 2.0)
    came, gradient = student.run(fit_on_a_leaf, student.temperature_scale, logits, labels)
    expect(type(came) is tuple and len(came) == 2, "The temperature could not be read.")
    expect_good_temperature(came[0], logits, labels, "The loss is not the least.")
    expect_equal(came[1], False, "The temperature itself requires a gradient.")
    expect(gradient is None, "The logits have a gradient after the fit.")


# ----------------------------------------------------------------------------- bootstrap_interval


def skewed(rng):
    """Truth of zeros and predictions whose squared errors are very unequal."""
    sizes = (np.arange(1, 41) / 40) ** 3 * (0.95 + 0.1 * rng.numpy.random(40))
    return np.zeros(40), sizes


@pytest.mark.task("bootstrap_interval", points=1, seconds=10)
def test_percentiles_of_a_skewed_metric(student, rng):
    """The interval has the percentiles of the resamples, also where these are skewed."""
    truth, predicted = skewed(rng)
    rows = rng.numpy.integers(40, size=(40_000, 40))
    values = (predicted[rows] ** 2).mean(axis=1)
    options = {"n_resamples": 8000, "level": 0.98, "seed": rng.seed()}
    given = [student.bootstrap_interval, truth, predicted]
    came = student.run(bootstrap_of, "squared error", *given, **options)
    message = "For a mean squared error of skewed errors the interval is not right."
    expect_quantiles(came, values, 0.98, 8000, message)


@pytest.mark.task("bootstrap_interval", points=0.5, seconds=10)
def test_level_of_an_interval(student, rng):
    """The level decides how wide the interval is."""
    truth, pred_a, _ = predictions(rng, 250, 150, 0, 0)
    values = rng.numpy.binomial(400, 0.625, size=100_000) / 400
    for level in (0.5, 0.8):
        options = {"n_resamples": 5000, "level": level, "seed": rng.seed()}
        given = [student.bootstrap_interval, truth, pred_a]
        came = student.run(bootstrap_of, "accuracy", *given, **options)
        message = f"At a level of {level} the interval of an accuracy is not right."
        expect_quantiles(came, values, level, 5000, message, grain=0.0026)


def large_data(rng):
    """5,000 examples, 70 % right: the data of the speed and the memory check."""
    y_true = rng.integers(0, 10, (5000,)).numpy()
    y_pred = np.where(rng.numpy.random(5000) < 0.7, y_true, (y_true + 1) % 10)
    return y_true, y_pred


@pytest.mark.task("bootstrap_interval", points=0.5)
def test_calls_of_the_metric(student, rng):
    """With n = 5,000 and 2,000 resamples the metric is called at most 50 times.

    Here each call takes some milliseconds: 2,000 of them do not end in time.
    """
    (y_true, y_pred), seed = large_data(rng), rng.seed()
    options = {"n_resamples": 2000, "level": 0.999, "seed": seed}
    given = [student.bootstrap_interval, y_true, y_pred]
    came = student.run(bootstrap_of, "slow accuracy", *given, **options)
    expect_pair(came)
    share = (y_true == y_pred).mean() + seed % 1000  # of the first call, and one more of each other
    low, calls = came[0] - share, 1 + came[1] - share
    expect(abs(low - round(low)) < 0.05 and -0.05 < low < 1.05, "The lower end is not right.")
    expect(calls < 51.05, f"The metric has been called {short(round(calls))} times.")


@pytest.mark.task("bootstrap_interval", points=1, seconds=30)
@pytest.mark.memory(at_most=48 << 20)
def test_memory_of_a_bootstrap(race, rng):
    """With n = 5,000 and 2,000 resamples memory rises by less than 48 MB."""
    (y_true, y_pred), seed = large_data(rng), rng.seed()

    def prepare(side):
        def call(n_resamples=2000):
            options = {"n_resamples": n_resamples, "level": 0.95, "seed": seed}
            return side.run(bootstrap_of, "counted accuracy", interval, y_true, y_pred, **options)

        interval = side.bootstrap_interval
        call(20)  # what a first call brings into memory is not the task's
        return call

    race.weigh(prepare, lambda came: expect_counted(came, y_true, y_pred, seed, 2000, 0.95))


@pytest.mark.task("bootstrap_interval", points=0.5, seconds=10)
def test_number_of_resamples(student, rng):
    """As many resamples are drawn as were asked for."""
    y_true, y_pred = large_data(rng)
    given = [student.bootstrap_interval, y_true, y_pred]
    for wanted in (1, 357, int(rng.integers(100, 500))):
        seed = rng.seed()
        options = {"n_resamples": wanted, "level": 0.9, "seed": seed}
        came = student.run(bootstrap_of, "counted accuracy", *given, **options)
        expect_counted(came, y_true, y_pred, seed, wanted, 0.9)
        expect(wanted > 1 or came[0] == came[1], "One resample has equal quantiles.")


@pytest.mark.task("bootstrap_interval", points=0.5)
def test_bootstrap_refuses(student, rng):
    """No examples, other shapes, no resamples, and a level outside (0, 1) are ValueErrors."""
    truth, pred, _ = predictions(rng, 20, 10, 0, 0)
    nothing = np.zeros(0, dtype=np.int64)
    for y_true, y_pred, n_resamples, level, what in (
        (nothing, nothing, 10, 0.9, "No examples"),
        (truth, pred[:1], 10, 0.9, "Arrays of different length"),
        (truth.reshape(5, 6), pred.reshape(5, 6), 10, 0.9, "Arrays of two dimensions"),
        (truth, pred, 0, 0.9, "n_resamples=0"),
        (truth, pred, 10, 1.0, "A level of 1"),
        (truth, pred, 10, 0.0, "A level of 0"),
        (truth, pred, 10, 95, "A level of 95"),
    ):
        given = [student.bootstrap_interval, y_true, y_pred]
        options = {"n_resamples": n_resamples, "level": level, "seed": 1}
        expect_raises(
            ValueError,
            lambda g=given, o=options: student.run(bootstrap_of, "accuracy", *g, **o),
            f"{what} should be a ValueError.",
        )
    for y in (truth, truth[:1]):
        given, options = [student.bootstrap_interval, y, y], {"n_resamples": 9, "level": 0.9}
        came = student.run(bootstrap_of, "accuracy", *given, seed=1, **options)
        expect_equal(list(came), [1.0, 1.0], f"A good call, {len(y)} of {len(y)} right, fails.")


@pytest.mark.task("bootstrap_interval", points=0.5)
def test_bootstrap_leaves_its_arguments(student, rng):
    """The arrays are left unchanged."""
    truth, predicted = skewed(rng)
    options = {"n_resamples": 500, "level": 0.9, "seed": rng.seed()}
    given = [bootstrap_of, "squared error", student.bootstrap_interval, truth, predicted]
    came, after = student.run(call_and_return_arguments, *given, **options)
    expect_pair(came)
    mean = (predicted**2).mean()
    expect(0.3 * mean < came[0] < mean < came[1] < 2 * mean, "The interval is not right.")
    expect_unchanged(after[2:4], [truth, predicted], "An array")


# ------------------------------------------------------------------------------- paired_bootstrap


@pytest.mark.task("paired_bootstrap", points=1, seconds=10)
def test_difference_of_any_metric(student, rng):
    """The difference is that of the metric given, on as many resamples as were asked for; the
    arrays are left unchanged.
    """
    truth = rng.normal(60).numpy().astype(np.float64)
    pred_a = truth + rng.numpy.uniform(0.5, 1.5, 60)
    pred_b = truth + rng.numpy.uniform(0.0, 1.0, 60) ** 2
    rows = rng.numpy.integers(60, size=(20_000, 60))
    size_a, size_b = np.abs(truth - pred_a), np.abs(truth - pred_b)
    values = np.median(size_a[rows], axis=1) - np.median(size_b[rows], axis=1)
    options = {"n_resamples": 2000, "level": 0.8, "seed": rng.seed()}
    given = [bootstrap_of, "median error", student.paired_bootstrap, truth, pred_a, pred_b]
    came, after = student.run(call_and_return_arguments, *given, **options)
    expect_unchanged(after[2:5], [truth, pred_a, pred_b], "An array")
    expect(type(came) is dict and {"low", "high", "difference"} <= came.keys(), "Keys are missing.")
    expected = float(np.median(size_a) - np.median(size_b))
    expect_float(came["difference"], expected, "The difference of two medians is not right.")
    message = "The interval of a difference of medians is not right."
    expect_quantiles((came["low"], came["high"]), values, 0.8, 2000, message, grain=0.02)
    y_true, y_pred = (array[:1000] for array in large_data(rng))
    given = [student.paired_bootstrap, y_true, y_pred, np.full_like(y_true, -1)]  # never right
    for wanted in rng.numpy.integers([100, 600], [500, 900]).tolist():
        seed = rng.seed()
        options = {"n_resamples": wanted, "level": 0.9, "seed": seed}
        came = student.run(bootstrap_of, "counted accuracy", *given, **options)
        expect(type(came) is dict and {"low", "high"} <= came.keys(), "Keys are missing.")
        expect_counted((came["low"], came["high"]), y_true, y_pred, seed, wanted, 0.9, 0.1)


@pytest.mark.task("paired_bootstrap", points=1, seconds=10)
def test_ties_are_no_wins(student, rng):
    """A resample in which both are equal is no win."""
    arrays = predictions(rng, 1, 1, 30, 8)
    ahead = (arrays[1] == arrays[0]) - 1 * (arrays[2] == arrays[0])  # A alone is right in the last
    truth, pred_a, pred_b = (array[np.argsort(ahead, kind="stable")] for array in arrays)
    counts = rng.numpy.multinomial(40, [1 / 40, 1 / 40, 38 / 40], size=200_000)
    expected = float((counts[:, 0] > counts[:, 1]).mean())
    options = {"n_resamples": 4000, "level": 0.9}
    for pair, share in (((pred_a, pred_b), expected), ((pred_a, pred_a), 0.0)):
        given = [student.paired_bootstrap, truth, *pair]
        came = student.run(bootstrap_of, "accuracy", *given, seed=rng.seed(), **options)
        expect(type(came) is dict and "wins" in came, "There is no entry `wins`.")
        expect_float(came["wins"], share, "With many ties wins is not right.", 0.045)


@pytest.mark.task("paired_bootstrap", points=1)
def test_paired_bootstrap_refuses(student, rng):
    """No examples, other shapes, no resamples, and a level outside (0, 1) are ValueErrors."""
    truth, pred_a, pred_b = predictions(rng, 12, 8, 10, 0)
    nothing = np.zeros(0, dtype=np.int64)
    for arrays, n_resamples, level, what in (
        ((nothing,) * 3, 10, 0.9, "No examples"),
        ((truth, pred_a, pred_b[:1]), 10, 0.9, "A second model of one prediction"),
        ((truth, pred_a[:1], pred_b), 10, 0.9, "A first model of one prediction"),
        ((truth, pred_a, pred_b), 0, 0.9, "n_resamples=0"),
        ((truth, pred_a, pred_b), 10, 1.0, "A level of 1"),
        ((truth, pred_a, pred_b), 10, 0, "A level of 0"),
    ):
        options = {"n_resamples": n_resamples, "level": level, "seed": 1}
        expect_raises(
            ValueError,
            lambda a=arrays, o=options: student.run(
                bootstrap_of, "accuracy", student.paired_bootstrap, *a, **o
            ),
            f"{what} should be a ValueError.",
        )
    expected = {"difference": 1.0, "low": 1.0, "high": 1.0, "wins": 1.0}
    for y in (truth, truth[:1]):
        given = [student.paired_bootstrap, y, y, 1 - y]
        came = student.run(bootstrap_of, "accuracy", *given, n_resamples=9, level=0.9, seed=1)
        message = f"A good call, n = {len(y)}, A all right and B all wrong, fails."
        expect_equal(came, expected, message)


@pytest.mark.task("paired_bootstrap", points=0.5, seconds=10)
def test_chance_of_a_difference(student, rng):
    """Equal states of rng give equal results, whatever numpy's global generator does."""
    arrays, seed, came = predictions(rng, 60, 40, 150, 51), rng.seed(), []
    options = {"n_resamples": 200, "level": 0.9, "seed": seed}
    for call in range(3):
        if call == 2:
            student.restart()  # so that it cannot remember them
        came.append(
            student.run(bootstrap_of, "accuracy", student.paired_bootstrap, *arrays, **options)
        )
    expect(all(type(each) is dict for each in came), "It should return a dict.")
    expect_float(came[0].get("difference"), 20 / 301, "The difference is not right.")
    for each in came[1:]:
        expect_equal(each, came[0], "With rng in the same state the result is another.")


# ---------------------------------------------------------------------------------------- mcnemar


@pytest.mark.task("mcnemar", points=1)
def test_an_even_table(student, rng):
    """Where b = c, the statistic is 0 and both p are 1."""
    few, many = int(rng.integers(2, 7)), int(rng.integers(9, 14))
    for b, c in ((many, many), (1, 1), (few, many)):
        expect_test(student.mcnemar(*predictions(rng, b, c, 20, 5)), b, c)


@pytest.mark.task("mcnemar", points=1.5, seconds=30)
def test_large_tables(student, rng):
    """p is right for thousands of examples on which the models differ."""
    for b, c in ((1240, 1130), (2600, 2400), (900, 420)):
        b, c = (int(count - rng.integers(0, 60)) for count in (b, c))
        expect_test(student.mcnemar(*predictions(rng, b, c, 500, 100)), b, c)


@pytest.mark.task("mcnemar", points=1)
def test_two_ways_to_be_wrong(student, rng):
    """Examples that both have wrong do not count, and the arrays are left unchanged."""
    b, c = int(rng.integers(7, 12)), int(rng.integers(2, 6))
    kinds = np.repeat(np.arange(4), (b, c, 11, 6))
    truth = rng.integers(0, 5, kinds.shape).numpy()
    pred_a = (truth + np.array([0, 1, 1, 0])[kinds]) % 5
    pred_b = (truth + np.array([1, 0, 2, 0])[kinds]) % 5
    given = [truth, pred_a, pred_b]
    came, after = student.run(call_and_return_arguments, student.mcnemar, *given)
    expect_test(came, b, c)
    expect_unchanged(after, given, "An array")


@pytest.mark.task("mcnemar", points=1)
def test_mcnemar_refuses(student, rng):
    """Arrays that are not all of one shape (n,) are ValueErrors."""
    b = int(rng.integers(6, 11))
    truth, pred_a, pred_b = predictions(rng, b, 2, 14 - b, 0)
    for arrays, what in (
        ((truth, pred_a, pred_b[:1]), "A second model of one prediction"),
        ((truth[:1], pred_a, pred_b), "One label"),
        (tuple(a.reshape(4, 4) for a in (truth, pred_a, pred_b)), "Arrays of two dimensions"),
    ):
        message = f"{what} should be a ValueError."
        expect_raises(ValueError, lambda a=arrays: student.mcnemar(*a), message)
    expect_test(student.mcnemar(truth, pred_a, pred_b), b, 2)


# -------------------------------------------------------------------------------- learning_curves


def kind_of(key):
    """Loss, accuracy or rate."""
    return key if key == "lr" else key.rpartition("_")[2]


FULL_KEYS = "train_loss", "train_accuracy", "lr", "eval_loss", "lossless_accuracy"


@pytest.mark.task("learning_curves", points=1)
def test_kinds_are_kept_apart(student, rng):
    """Losses, accuracies and the rate do not share an axes; the history is left unchanged."""
    history = a_history(rng, 3, *FULL_KEYS)
    given = draw_svg, student.learning_curves, history
    picture, after = student.run(call_and_return_arguments, *given)
    expect_unchanged(after[1], history, "The history")
    for keys in curves(panels(picture), history):
        kinds = {kind_of(key) for key in keys}
        expect(len(kinds) <= 1, f"One axes holds {' and '.join(sorted(kinds))}.")


@pytest.mark.task("learning_curves", points=0.5, seconds=20)
@pytest.mark.memory(at_most=40 << 20)
def test_no_figure_stays_open(student, race, rng):
    """pyplot holds no more open figures than before: what lies on four of them is freed."""
    history = a_history(rng, 3, "train_loss", "lr")
    before, after = student.run(open_figures, student.learning_curves, history)
    expect_equal(after, before, "pyplot has other open figures than before.")

    def prepare(side):
        draw = side.learning_curves
        side.run(draw_heavy, draw, history, 1)
        return lambda: side.run(draw_heavy, draw, history, 4)

    race.weigh(prepare, lambda came: expect(came is None, "The figures could not be drawn."))


@pytest.mark.task("learning_curves", points=1)
def test_curves_refuse(student, rng):
    """An empty history and lists of different lengths are ValueErrors."""
    for history, what in (
        ({}, "A history without lists"),
        ({"train_loss": [1.0, 0.5], "eval_loss": [1.0]}, "Lists of different lengths"),
    ):
        message = f"{what} should be a ValueError."
        expect_raises(ValueError, lambda h=history: student.learning_curves(h), message)
    history = a_history(rng, 3, *FULL_KEYS)
    curves(panels(student.run(draw_svg, student.learning_curves, history)), history)
    drawn = panels(student.run(draw_svg, student.learning_curves, {"eval_loss": []}))
    expect(len(drawn) > 0, "Of an empty list there should be an axes, too.")


@pytest.mark.task("learning_curves", points=0.5)
def test_no_empty_axes(student, rng):
    """There is no axes without lines."""
    history = a_history(rng, 2, "eval_loss", "train_loss")
    drawn = panels(student.run(draw_svg, student.learning_curves, history))
    expect(all(curves(drawn, history)), "An axes holds none of the lists.")


# ---------------------------------------------------------------------------------------- compare


@pytest.mark.task("compare", points=1)
def test_each_model_is_made_once(student, rng):
    """make is called once for each model and seed; the arguments are left unchanged."""
    nets = {name: {seed: rng.linear(4, 3) for seed in (1, 2)} for name in ("a", "b")}
    x = rng.normal(12, 4)
    loaders = {name: [(x, rng.integers(0, 3, (12,)))] for name in ("one", "two", "three")}
    given = compared, student.compare, nets, loaders, [2, 1]
    rows, after = student.run(call_and_return_arguments, *given, once=True)
    expect_unchanged(after[2:4], [loaders, [2, 1]], "An argument")
    expect(type(rows) is list and len(rows) == 6, "There should be six rows.")
    for row, (name, loader) in zip(rows, [(n, d) for n in nets for d in loaders], strict=True):
        shares = [share_right(net, *loaders[loader][0]) for net in nets[name].values()]
        expect(type(row) is dict, "A row should be a dict.")
        message = "A mean is not right, where a second call of make spoils the first's model."
        expect_float(row.get("mean"), float(np.mean(shares)), message)


def unsteady(rng):
    """A net that answers otherwise in train mode, and data with its accuracy."""
    norm = nn.BatchNorm1d(6)
    with torch.no_grad():
        norm.running_mean.copy_(rng.normal(6))
        norm.running_var.copy_(rng.normal(6).square() + 0.3)
    net = nn.Sequential(norm, nn.Dropout(0.5), rng.linear(6, 4))
    x = rng.normal(200, 6)
    with torch.no_grad():
        logits = net.eval()(x)
    labels = logits.argmax(dim=1)
    labels[150:] = logits[150:].argmin(dim=1)  # so wrong that no noise makes them right
    return net, x, labels


def a_loader(x, labels):
    """A DataLoader of these, in batches of seven, in another order in each pass."""
    return DataLoader(TensorDataset(x, labels), batch_size=7, shuffle=True)


@pytest.mark.task("compare", points=1)
def test_models_predict_in_eval_mode(student, rng):
    """A model that make returns in train mode predicts in eval mode, also from a DataLoader."""
    net, x, labels = unsteady(rng)
    net.train()
    net[2].eval()
    given = [student.compare, {"net": {0: net}}, {"data": a_loader(x, labels)}, [0]]
    rows = student.run(compared, *given)
    expect_row(rows, 0.75, 0.0, 1, "A model with dropout and batch-norm has another accuracy.")


@pytest.mark.task("compare", points=0.5)
def test_modes_are_put_back(student, rng):
    """Every submodule is in the training mode in which it was."""
    x, labels, fresh = rng.normal(12, 4), rng.integers(0, 3, (12,)), rng.normal(6, 4)
    for mode in (True, False):
        net = with_moods(rng, mode)
        held = student.run(hold, net)
        given = [student.compare, {"net": {0: held}}, {"data": [(x, labels)]}, [0]]
        rows = student.run(compared, *given)
        expect(type(rows) is list and len(rows) == 1, "There should be one row.")
        expect_close(held(fresh), output(net, fresh), "A submodule is in another training mode.")


@pytest.mark.task("compare", points=0.5, seconds=20)
@pytest.mark.memory(at_most=40 << 20)
def test_no_gradients_are_kept(student, race, rng):
    """The models predict without gradients: a graph of many layers would take 80 MB."""
    net, *data = minds_a_graph(rng)
    rows = student.run(compared, student.compare, {"net": {0: net}}, {"data": [data]}, [0])
    expect_row(rows, 1.0, 0.0, 1, "A model that a graph changes has another accuracy.")
    net, batch, share = deep(rng)

    def prepare(side):
        held, whole = side.run(hold, net), side.run(hold, [batch])
        compare = side.compare

        def call(loader=whole):
            return side.run(compared, compare, {"net": {0: held}}, {"data": loader}, [0])

        call([(batch[0][:4], batch[1][:4])])  # what a first call brings is not the task's
        return call

    def verify(rows):
        expect_row(rows, share, 0.0, 1, "The accuracy is not right.", 1e-3)

    race.weigh(prepare, verify)


@pytest.mark.task("compare", points=0.5)
def test_compare_refuses(student, rng):
    """No seeds, and a loader without an example, are ValueErrors."""
    net, x = rng.linear(4, 3), rng.normal(12, 4)
    labels = net(x).argmax(dim=1)
    full = {"data": [(x, labels)]}
    for loaders, seeds, what in (
        (full, [], "No seeds"),
        ({"data": [(x, labels)], "nothing": []}, [0], "A loader without batches"),
        ({"nothing": [(x[:0], labels[:0])]}, [0], "A loader with an empty batch alone"),
    ):
        expect_raises(
            ValueError,
            lambda d=loaders, s=seeds: student.run(
                compared, student.compare, {"net": {0: net}}, d, s
            ),
            f"{what} should be a ValueError.",
        )
    rows = student.run(compared, student.compare, {"net": {0: net}}, full, [0])
    expect_row(rows, 1.0, 0.0, 1, "A good call fails.")


# ------------------------------------------------------------------------------------- find_leaks


@pytest.mark.task("find_leaks", points=1)
def test_normal_form(student, rng):
    """Compatibility forms, underscores, line breaks and letters beyond ASCII are normalised.

    The lists of texts are left unchanged.
    """
    a, b, c, d = words(rng, 4)
    train = [f"ﬁne {a} of ℌOT²", f"ｆｕｌｌ_{b}\n{c}", f"Übung {d} in Straßen", "a b"]
    test = [
        f"Fine-{a} of hot2",
        f"full {b} {c}",
        f"übung\t{d.upper()} IN straßen!",
        f"bung {d} in straßen",
        f"Übung {d} in Strassen",
        "ab",
    ]
    came, after = student.run(call_and_return_arguments, student.find_leaks, train, test)
    expect_leaks(came, [(0, 0), (1, 1), (2, 2)], [], "Six texts, three of them known:")
    expect_unchanged(after, [train, test], "A list of texts")


@pytest.mark.task("find_leaks", points=1)
def test_share_of_the_test_text(student, rng):
    """The share is that of the test text's n-grams: part of a long text leaks, not the reverse."""
    text = words(rng, 24)
    whole, part = " ".join(text), " ".join(text[8:16])
    came = student.find_leaks(["nothing of that kind here", whole], [part])
    expect_leaks(came, [], [(0, 1, 1.0)], "A part of a training text:")
    came = student.find_leaks(["nothing of that kind here", part], [whole])
    expect_leaks(came, [], [], "A text of which 4 in 20 runs are in the training data:")
    came = student.find_leaks(["nothing of that kind here", part], [whole], threshold=0.125)
    expect_leaks(came, [], [(0, 1, 4 / 20)], "The same with a threshold of 0.125:")


@pytest.mark.task("find_leaks", points=0.5)
def test_which_training_text(student, rng):
    """The training text with the largest share is named, the first of several."""
    every = words(rng, 24)
    text, other = every[:12], " ".join(every[12:])
    most = " ".join([*text[:11], "zzz"])  # all but one of the 13 - n runs
    less = " ".join([*text[:9], "zzz", "zzz"])
    train = [less, most, other.upper(), most, other]
    for n in (int(rng.integers(2, 5)), int(rng.integers(6, 9))):
        came = student.find_leaks(train, [" ".join(text), other], n=n)
        near = [(0, 1, (12 - n) / (13 - n))]
        expect_leaks(came, [(1, 2)], near, "Several training texts are near:")


@pytest.mark.task("find_leaks", points=0.5)
def test_threshold_is_reached(student, rng):
    """A share that is equal to the threshold is enough, a smaller one is not."""
    text = words(rng, 8)
    train = [" ".join([*text[:5], *["zzz", "yyy", "xxx", "www"]])]  # it has one of four runs
    above = float(rng.numpy.uniform(0.26, 0.49))
    for threshold, near in ((0.25, [(0, 0, 0.25)]), (above, [])):
        came = student.find_leaks(train, [" ".join(text)], threshold=threshold)
        expect_leaks(came, [], near, "A share of 1/4, and a threshold of it or above:")


@pytest.mark.task("find_leaks", points=0.5)
def test_short_and_empty_texts(student, rng):
    """A text shorter than n leaks as an exact copy only; one without words is no leak."""
    one, two, three, *rest = words(rng, 16)
    train = [f"{one} {two} {three}", "?!", "", " ".join(rest)]
    test = [f"{one} {two}", "...", "", f"{one.upper()}, {two}; {three}", " ".join(rest[:3])]
    came = student.find_leaks(train, test)
    expect_leaks(came, [(3, 0)], [], "Among short texts:")
    expect_leaks(student.find_leaks(train, []), [], [], "Without test texts:")
    expect_leaks(student.find_leaks([], test), [], [], "Without training texts:")


@pytest.mark.task("find_leaks", points=0.5)
def test_repeated_runs_count_once(student, rng):
    """An n-gram that stands several times in a text counts once."""
    one, two, *rest = words(rng, 12)
    test = " ".join([*[one, two] * 4, *rest[:4]])  # runs of two: 2 that repeat, 4 others
    more = ["zzz", "yyy", "xxx", "www"]
    train = [" ".join([one, two, one, *more]), " ".join([*more, *rest[:4]])]
    came = student.find_leaks(train, [test], n=2, threshold=0.4)
    expect_leaks(came, [], [(0, 1, 3 / 6)], "Of six different runs of two:")


@pytest.mark.task("find_leaks", points=0.5)
def test_leaks_refuse(student, rng):
    """n below 1, a threshold outside (0, 1], and a string in place of a list are ValueErrors."""
    text = " ".join(words(rng, 9))
    for train, test, options, what in (
        ([text], [text], {"n": 0}, "n = 0"),
        ([text], [text], {"threshold": 0.0}, "A threshold of 0"),
        ([text], [text], {"threshold": 1.5}, "A threshold of 1.5"),
        (text, [text], {}, "A string as training texts"),
        ([text], text, {}, "A string as test texts"),
    ):
        expect_raises(
            ValueError,
            lambda a=train, b=test, o=options: student.find_leaks(a, b, **o),
            f"{what} should be a ValueError.",
        )
    came = student.find_leaks([text], [text], n=1, threshold=1.0)
    expect_leaks(came, [(0, 0)], [], "A good call:")


# ----------------------------------------------------------------------------- evaluation_bug_hunt


@pytest.mark.task("evaluation_bug_hunt", points=1, seconds=20)
@pytest.mark.memory(at_most=40 << 20)
def test_mended_accuracy_in_eval_mode(student, race, rng):
    """mended_accuracy predicts in eval mode, without gradients, and puts each mode back."""
    net, x, labels = unsteady(rng)
    net.train()
    net[0].eval()
    came = student.mended_accuracy(net, a_loader(x, labels))
    expect_float(came, 0.75, "A model with dropout and batch-norm has another accuracy.")
    fresh = rng.normal(6, 4)
    for mode in (True, False):
        net = with_moods(rng, mode)
        held = student.run(hold, net)
        student.mended_accuracy(held, [(fresh, torch.zeros(6, dtype=torch.int64))])
        expect_close(held(fresh), output(net, fresh), "A submodule is in another training mode.")
    net, *data = minds_a_graph(rng)
    came = student.mended_accuracy(net, [data])
    expect_float(came, 1.0, "A model that a graph changes has another accuracy.")
    net, batch, share = deep(rng)

    def prepare(side):
        held, whole = side.run(hold, net), side.run(hold, [batch])
        side.mended_accuracy(held, [(batch[0][:4], batch[1][:4])])
        return lambda: side.mended_accuracy(held, whole)

    def verify(came):
        expect_float(came, share, "A model of many layers has another accuracy.", 1e-3)

    race.weigh(prepare, verify)


def parts(came, n, n_test):
    """Expect the result of mended_split; return x and labels of both parts."""
    good = type(came) in (tuple, list) and len(came) == 2
    good = good and all(type(part) in (tuple, list) and len(part) == 2 for part in came)
    expect(good, "It should return ((x, labels), (x, labels)).")
    for (x, labels), size in zip(came, (n - n_test, n_test), strict=True):
        expect_tensor(x, (size, 3), "A part of x")
        expect_tensor(labels, (size,), "The labels of a part", torch.int64)
    return came


@pytest.mark.task("evaluation_bug_hunt", points=1)
def test_mended_split_is_a_partition(student, rng):
    """Every row goes to exactly one part of the split, at random by rng alone."""
    x, numbers = rng.normal(40, 3), torch.arange(40)
    seed, other, n_test = rng.seed(), rng.seed(), int(rng.integers(9, 20))
    found = []
    for use in (other, seed, seed, seed):
        if len(found) == 3:
            student.restart()  # so that it cannot remember them
        came = student.mended_split(x, numbers, n_test, np.random.default_rng(use))
        (_, train), (_, test) = parts(came, 40, n_test)
        expect_equal(sorted([*train.tolist(), *test.tolist()]), list(range(40)), "Not a partition.")
        found.append(sorted(test.tolist()))
    same = found[1] == found[2] == found[3]
    expect(same, "Equal states of rng give different parts.")
    expect(found[0] != found[1], "Different states of rng give equal parts.")


@pytest.mark.task("evaluation_bug_hunt", points=1)
def test_mended_split_is_scaled_by_its_training_rows(student, rng):
    """Both parts, not x itself, are standardised by mean and deviation of the training rows."""
    x = rng.normal(30, 3) * torch.tensor([1.0, 5.0, 0.2]) + torch.tensor([4.0, 0.0, -2.0])
    n_test = int(rng.integers(6, 13))
    given = x, torch.arange(30), n_test, np.random.default_rng(rng.seed())
    came, after = student.run(call_and_return_arguments, student.mended_split, *given)
    expect_unchanged(after[:2], list(given[:2]), "An argument")
    (x_train, train), (x_test, test) = parts(came, 30, n_test)
    for rows in (train, test):
        expect(bool(((rows >= 0) & (rows < 30)).all()), "The labels are not those given.")
    mean, std = x[train].mean(dim=0), x[train].std(dim=0)
    message = "A row is not scaled by the training rows' mean and standard deviation."
    expect_close(x_train, (x[train] - mean) / std, message)
    expect_close(x_test, (x[test] - mean) / std, message)


class MindsOthers(nn.Module):
    """A net that gives the negative of its logits once another, with the same `seen`, has had rows
    that begin with a large number.
    """

    def __init__(self, net, number, seen):
        """Keep all three."""
        super().__init__()
        self.net, self.number, self.seen = net, number, seen

    def forward(self, x):
        """Give logits."""
        if x[0, 0] > 50:
            self.seen.add(self.number)
        logits = self.net(x)
        return -logits if self.seen - {self.number} else logits


@pytest.mark.task("evaluation_bug_hunt", points=1, seconds=10)
@pytest.mark.speed(at_least=0.6)
def test_mended_choice(student, race, rng):
    """The best on validation is chosen, if it has no example right, too, and no other is run on
    the test data, which takes long, and not if it is as good as the best either.
    """
    nets = [
        nn.Sequential(
            rng.linear(32, 256), nn.Tanh(), rng.linear(256, 256), nn.Tanh(), rng.linear(256, 3)
        )
        for _ in range(5)
    ]
    x, net = rng.normal(20, 32), nets[0]
    validation, test = (x, output(net, x).argmin(dim=1)), (x, output(net, x).argmax(dim=1))
    came = student.run(choose_among, student.mended_choice, [net], validation, test)
    message = "The only candidate has none of the validation and all of the test data right."
    expect(type(came) in (tuple, list) and list(came) == [0, 1.0], message)
    x, y, seen = rng.normal(12, 4), rng.normal(20, 4), set()
    y[:, 0] = 100.0
    same, other = rng.linear(4, 3), nn.Linear(4, 3)
    other.load_state_dict({name: -tensor for name, tensor in same.state_dict().items()})
    few = [MindsOthers(net, number, seen) for number, net in enumerate((other, same, same))]
    validation = x, output(same, x).argmax(dim=1)  # all right by two of the three
    test = y, output(same, y).argmax(dim=1)
    came = student.run(choose_among, student.mended_choice, few, validation, test)
    message = "A candidate that another one's run on the test data changes has another accuracy."
    fine = type(came) in (tuple, list) and len(came) == 2 and came[0] in (1, 2) and came[1] == 1.0
    expect(fine, message)

    def prepare(side):
        choice, held = side.mended_choice, [side.run(hold, net) for net in nets]
        return lambda *given: side.run(choose_among, choice, held, *given)

    def inputs():
        x, y = rng.normal(20, 32), rng.normal(1500, 32)
        right = output(rng.choice(nets), x).argmax(dim=1)  # of one alone all are right
        return (x, right), (y, rng.integers(0, 3, (1500,)))

    def verify(came, expected, validation, test):
        expect(type(came) in (tuple, list) and len(came) == 2, "It should be a pair (name, share).")
        shares = [share_right(net, *validation) for net in nets]
        best = shares.index(max(shares))
        expect_equal(came[0], best, "It is not the best on the validation data.")
        share = share_right(nets[best], *test)
        expect_float(came[1], share, "It is not the best one's accuracy on the test data.", 1e-3)

    race.time(prepare, inputs, verify)


# --------------------------------------------------------------------------------------- questions


@pytest.mark.task("evaluation_numbers", points=1)
def test_f1_of_the_majority(student):
    """majority_macro_f1: to three decimals (0.0005 either way)."""
    expected = float(metrics.f1_score([0] * 950 + [1] * 50, [0] * 1000, average="macro"))
    expect_number(student, "majority_macro_f1", expected, within=0.0005)


@pytest.mark.task("evaluation_numbers", points=1)
def test_standard_error(student):
    """standard_error_points: in percentage points, to two decimals (0.005 either way)."""
    expected = 100 * np.sqrt(0.9 * 0.1 / 1000)
    expect_number(student, "standard_error_points", float(expected), within=0.005)


@pytest.mark.task("evaluation_numbers", points=1)
def test_examples_needed(student):
    """examples_needed: the least whole number."""
    expect_number(student, "examples_needed", int(np.ceil(0.09 * 196**2 - 1e-6)))


@pytest.mark.task("evaluation_numbers", points=1)
def test_statistic_of_mcnemar(student):
    """mcnemar_statistic: to two decimals (0.005 either way)."""
    expect_number(student, "mcnemar_statistic", (15 - 5 - 1) ** 2 / 20, within=0.005)


@pytest.mark.task("evaluation_numbers", points=1)
def test_error_of_two_bins(student):
    """two_bin_ece: to two decimals (0.005 either way)."""
    expect_number(student, "two_bin_ece", 0.6 * 0.2 + 0.4 * 0.05, within=0.005)


@pytest.mark.task("evaluation_numbers", points=1)
def test_false_alarm(student):
    """false_alarm: to two decimals (0.005 either way)."""
    expect_number(student, "false_alarm", 1 - 0.95**20, within=0.005)


@pytest.mark.task("evaluation_statements", points=8)
def test_statements(student):
    """Right judgements count 1, wrong ones −1; the sum, never below 0, is divided by 16."""
    award_judgements(student.judged, "befhimnp")
