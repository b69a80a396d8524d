"""The checks of the evaluation lesson that a learner may read: examples, not all that is asked.

Every expected value is worked out here or by scikit-learn and SciPy, from this side's own copy of
the inputs. Arrays of numpy come back from a submission as tensors.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics
from torch import nn
from torch.nn import functional as F

from autograder.checking.expect import (
    expect,
    expect_close,
    expect_equal,
    expect_judgements,
    expect_numbers,
    expect_tensor,
)
from autograder.checks.shared.common import expect_float
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
    labelled,
    panels,
    predictions,
    rows_with,
    words,
)

# -------------------------------------------------------------------------------- expected values


def expect_interval(value, low, high, within, message):
    """Expect two numbers, lower one first, each to its own tolerance."""
    expect(type(value) in (tuple, list) and len(value) == 2, "It should be a pair (low, high).")
    for end, expected, tolerance in zip(value, (low, high), within, strict=True):
        expect_float(end, expected, message, tolerance)


def expect_rows(rows, expected):
    """Expect the rows of compare."""
    expect(
        type(rows) is list and len(rows) == len(expected), "There should be a row for each pair."
    )
    for row, (model, loader, mean, std, n) in zip(rows, expected, strict=True):
        keys = {"model", "loader", "mean", "std", "n"}
        expect(
            type(row) is dict and set(row) == keys, f"A row should have the keys {sorted(keys)}."
        )
        name = [row["model"], row["loader"]]
        expect_equal(name, [model, loader], "The rows are not in the order of the dicts.")
        expect_float(row["mean"], mean, f"The mean of {model} on {loader} is not right.")
        expect_float(row["std"], std, f"The std of {model} on {loader} is not right.")
        expect_equal(row["n"], n, "n should be the number of seeds.")


def net_with(right, labels, classes=3):
    """A linear net that has, of one-hot inputs of these rows, the first `right` right."""
    net = nn.Linear(len(labels), classes, bias=False)
    wrong = torch.arange(len(labels)) >= right
    says = (labels + wrong) % classes
    with torch.no_grad():
        net.weight.copy_(F.one_hot(says, classes).T.float() + 0.01)
    return net


# ------------------------------------------------------------------------------- confusion_matrix


@pytest.mark.task("confusion_matrix", points=1)
def test_rows_are_the_truth(student, rng):
    """Element [i, j] counts the examples of class i that were predicted as class j."""
    matrix = rng.numpy.integers(0, 4, (3, 3))
    matrix[0, 1], matrix[2, 2] = matrix[1, 0] + 1, 3  # rows are not columns; each class occurs
    came = student.confusion_matrix(*examples_of(rng, matrix))
    expect_close(came, torch.from_numpy(matrix), "The counts are not as stated.", atol=0)


@pytest.mark.task("confusion_matrix", points=1)
def test_absent_classes_stay(student, rng):
    """With num_classes given, classes that do not occur have rows and columns of zeros."""
    classes = int(rng.integers(6, 10))
    a, b = rng.numpy.permutation(classes - 1)[:2]  # the last one does not occur
    matrix = np.zeros((classes, classes), dtype=np.int64)
    matrix[a, b], matrix[b, b] = 1, 2
    came = student.confusion_matrix(*examples_of(rng, matrix), num_classes=classes)
    message = f"With num_classes={classes} the counts are not as stated."
    expect_close(came, torch.from_numpy(matrix), message, atol=0)


# -------------------------------------------------------------------------------------- f1_scores


@pytest.mark.task("f1_scores", points=1)
def test_f1_of_each_class(student, rng):
    """With average=None the result is the F1 of each class, in ascending order."""
    y_true, y_pred = (rng.integers(0, 4, (60,)).numpy() for _ in range(2))
    y_true[:4] = y_pred[:4] = range(4)
    expected = torch.from_numpy(metrics.f1_score(y_true, y_pred, average=None))
    came = student.f1_scores(y_true, y_pred, None)
    expect_close(came, expected, "The scores of the classes are not right.")


@pytest.mark.task("f1_scores", points=1)
def test_macro_and_micro(student, rng):
    """Macro F1 is the mean over classes, micro F1 that of the pooled counts."""
    matrix = np.array([[26, 4, 0], [4, 6, 0], [3, 0, 2]]) + rng.numpy.integers(0, 3, (3, 3))
    y_true, y_pred = examples_of(rng, matrix)
    for average in ("macro", "micro"):
        expected = float(metrics.f1_score(y_true, y_pred, average=average))
        came = student.f1_scores(y_true, y_pred, average)
        expect_float(came, expected, f"The {average} average is not right.")


@pytest.mark.task("f1_scores", points=1)
def test_weighted_by_the_truth(student, rng):
    """Weighted F1 weighs each class by how often it is true."""
    matrix = np.array([[20, 10, 0], [0, 8, 2], [2, 0, 3]]) + rng.numpy.integers(0, 2, (3, 3))
    y_true, y_pred = examples_of(rng, matrix)
    expected = float(metrics.f1_score(y_true, y_pred, average="weighted"))
    came = student.f1_scores(y_true, y_pred, "weighted")
    expect_float(came, expected, "The weighted average is not right.")


# --------------------------------------------------------------------- expected_calibration_error


@pytest.mark.task("expected_calibration_error", points=1)
def test_ece_of_two_bins(student, rng):
    """In each bin accuracy is compared with mean confidence."""
    sure = rng.numpy.uniform(0.8, 0.95, 4)  # all in (0.75, 1]
    unsure = rng.numpy.uniform(0.55, 0.7, 4)  # all in (0.5, 0.75]
    probabilities, places = rows_with(rng, [*sure, *unsure], 2)
    labels = places ^ torch.tensor([0, 1, 0, 1, 0, 0, 0, 1])  # 2 of 4, 3 of 4 right
    expected = 0.5 * (sure.mean() - 0.5) + 0.5 * (0.75 - unsure.mean())
    came = student.expected_calibration_error(probabilities, labels, 4)
    expect_float(came, expected, "With two bins of four the error is not right.", 1e-5)


@pytest.mark.task("expected_calibration_error", points=1)
def test_confidence_is_that_of_the_predicted_class(student, rng):
    """Confidence is the largest probability of a row, wherever it stands."""
    sure = rng.numpy.uniform(0.7, 0.78, 3)  # all in (0.6, 0.8]
    probabilities, places = rows_with(rng, sure, 3)
    labels = (places + torch.tensor([0, 0, 1])) % 3
    came = student.expected_calibration_error(probabilities, labels, 5)
    expected = sure.mean() - 2 / 3
    expect_float(came, expected, "With one bin of three the error is not right.", 1e-5)


@pytest.mark.task("expected_calibration_error", points=0.5)
def test_ece_of_nothing(student, rng):
    """Without examples the error is 0.0, and with some it is not."""
    error = student.expected_calibration_error
    sure = float(rng.numpy.uniform(0.6, 0.9))
    came = error(*rows_with(rng, [sure], 2), 10)
    expect_float(came, 1 - sure, "For one example the error is not right.", 1e-5)
    came = error(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), 10)
    expect_float(came, 0.0, "For no examples the error should be 0.0.", 0.0)


# ------------------------------------------------------------------------------ temperature_scale


@pytest.mark.task("temperature_scale", points=1.5)
def test_too_sure_a_model(student, rng):
    """For a model that is too sure, the temperature has the least loss."""
    for factor in (2.0, 4.0):
        logits, labels = labelled(rng, 400, 4, factor)
        T = student.temperature_scale(logits.float(), labels)
        expect_good_temperature(T, logits.float(), labels, "The loss is not the least.")


@pytest.mark.task("temperature_scale", points=1)
def test_multiplied_logits(student, rng):
    """Logits three times as large have a temperature three times as large."""
    logits, labels = labelled(rng, 400, 3, 1.5)
    first, second = (student.temperature_scale(s * logits, labels) for s in (1, 3))
    expect_good_temperature(first, logits, labels, "The loss is not the least.")
    expect_float(second / first, 3.0, "Three times the logits, three times T: it is not.", 0.1)


# ----------------------------------------------------------------------------- bootstrap_interval


@pytest.mark.task("bootstrap_interval", points=1, seconds=10)
def test_interval_of_an_accuracy(student, rng):
    """The interval of an accuracy is that of the binomial distribution, to the noise of drawing."""
    y_true = rng.integers(0, 2, (400,)).numpy()
    wrong = rng.numpy.permutation(400) < 80
    y_pred = np.where(wrong, 1 - y_true, y_true)
    function, options = student.bootstrap_interval, {"n_resamples": 4000, "level": 0.95}
    given = [y_true, y_pred]
    came = student.run(bootstrap_of, "accuracy", function, *given, seed=rng.seed(), **options)
    low, high = stats.binom.ppf([0.025, 0.975], 400, 0.8) / 400
    message = "Of 400 examples 80 % are right: the 95 % interval is not right."
    expect_interval(came, low, high, (0.006, 0.006), message)


@pytest.mark.task("bootstrap_interval", points=1, seconds=10)
def test_chance_is_the_generators(student, rng):
    """Equal states of rng give equal intervals, others give others."""
    y_true, y_pred = (rng.normal(301).numpy().round() for _ in range(2))
    function, options = student.bootstrap_interval, {"n_resamples": 300, "level": 0.9}
    first, other = rng.seed(), rng.seed()
    # several of each: an accuracy is a multiple of 1/301, so one in ten are equal by chance
    came, others = (
        [
            student.run(bootstrap_of, "accuracy", function, y_true, y_pred, seed=seed, **options)
            for seed in seeds
        ]
        for seeds in ([first] * 5, range(other, other + 5))
    )
    student.restart()  # so that it cannot remember them
    given = "accuracy", student.bootstrap_interval, y_true, y_pred
    came.append(student.run(bootstrap_of, *given, seed=first, **options))
    values = (y_true == y_pred).mean()
    for pair in (*came, *others):
        expect_interval(pair, values - 0.04, values + 0.04, (0.03, 0.03), "It is not right.")
    came, others = ({tuple(pair) for pair in pairs} for pairs in (came, others))
    expect(len(came) == 1, "With rng in the same state the interval is another.")
    expect(len(came | others) > 1, "Whatever rng is, the interval is the same.")


@pytest.mark.task("bootstrap_interval", points=1.5, seconds=10)
@pytest.mark.speed(at_least=0.5)
def test_speed_of_a_bootstrap(race, rng):
    """With n = 100 and 2,000 resamples it is at least half as fast as the reference."""
    kinds = itertools.cycle(("counted accuracy", "accuracy"))

    def prepare(side):
        interval, given = side.bootstrap_interval, {"n_resamples": 2000, "level": 0.95}
        return lambda kind, y_true, y_pred, seed: side.run(
            bootstrap_of, kind, interval, y_true, y_pred, seed=seed, **given
        )

    def inputs():
        y_true = rng.integers(0, 10, (100,)).numpy()
        right = rng.numpy.permutation(100) < int(rng.integers(95, 99))
        return next(kinds), y_true, np.where(right, y_true, (y_true + 1) % 10), rng.seed()

    def verify(came, expected, kind, y_true, y_pred, seed):
        if kind == "counted accuracy":
            expect_counted(came, y_true, y_pred, seed, 2000, 0.95, within=0.2)
            return
        right = int((y_true == y_pred).sum())
        expect_pair(came)
        for value, level in zip(came, (0.025, 0.975), strict=True):
            # so near 1 a normal distribution is none, and is no quantile of 2,000 such shares
            part = (100 * value - level * 1999 * np.array([0, 1])) % 1
            is_quantile = bool((np.minimum(part, 1 - part) < 1e-4).any())
            near = abs(100 * value - stats.binom.ppf(level, 100, right / 100)) < 1.01
            expect(is_quantile and bool(near), "A timed interval is not right.")

    race.time(prepare, inputs, verify)


# ------------------------------------------------------------------------------- paired_bootstrap


@pytest.mark.task("paired_bootstrap", points=2.5, seconds=10)
def test_interval_of_a_difference(student, rng):
    """The difference and its interval are right: on common resamples common failures cancel."""
    truth, pred_a, pred_b = predictions(rng, 70, 20, 300, 110)
    function, options = student.paired_bootstrap, {"n_resamples": 4000, "level": 0.95}
    given = [truth, pred_a, pred_b]
    came = student.run(bootstrap_of, "accuracy", function, *given, seed=rng.seed(), **options)
    keys = {"difference", "low", "high", "wins"}
    expect(type(came) is dict and set(came) == keys, f"The keys should be {sorted(keys)}.")
    expect_float(came["difference"], 0.1, "The difference on the data is not right.")
    half = 1.96 * np.sqrt((90 / 500 - 0.1**2) / 500)
    interval = (came["low"], came["high"])
    message = "Of 500 examples A alone has 70 right, B alone 20: the interval is not right."
    expect_interval(interval, 0.1 - half, 0.1 + half, (0.009, 0.009), message)


@pytest.mark.task("paired_bootstrap", points=1, seconds=10)
def test_wins_of_the_better(student, rng):
    """wins is the share of the resamples in which A is ahead."""
    truth, pred_a, pred_b = predictions(rng, 50, 5, 100, 10)
    function, options = student.paired_bootstrap, {"n_resamples": 500, "level": 0.9}
    for pair, expected in (((pred_a, pred_b), 1.0), ((pred_b, pred_a), 0.0)):
        seed = rng.seed()
        came = student.run(bootstrap_of, "accuracy", function, truth, *pair, seed=seed, **options)
        expect(type(came) is dict and "wins" in came, "There is no entry `wins`.")
        expect_float(came["wins"], expected, "One model is far ahead: wins is not right.", 0.01)


# ---------------------------------------------------------------------------------------- mcnemar


@pytest.mark.task("mcnemar", points=1.5)
def test_mcnemar_of_a_small_table(student, rng):
    """Counts, statistic and both p are right for small tables."""
    few, some, many = (int(rng.integers(*ends)) for ends in ((2, 5), (6, 9), (14, 20)))
    for b, c in ((many, some), (few, some + 1), (0, some)):
        expect_test(student.mcnemar(*predictions(rng, b, c, 40, 10)), b, c)


@pytest.mark.task("mcnemar", points=1)
def test_models_that_never_differ(student, rng):
    """Where b + c = 0 the statistic is 0.0 and both p are 1.0."""
    b = int(rng.integers(5, 9))
    expect_test(student.mcnemar(*predictions(rng, b, 1, 3, 2)), b, 1)
    expect_test(student.mcnemar(*predictions(rng, 0, 0, 12, 3)), 0, 0)
    expect_test(student.mcnemar(*(np.zeros(0, dtype=np.int64),) * 3), 0, 0)


# -------------------------------------------------------------------------------- learning_curves

KEYS = "train_loss", "eval_loss", "eval_accuracy", "lr"


@pytest.mark.task("learning_curves", points=1.5)
def test_a_line_for_each_list(student, rng):
    """For every list there is one line, labelled with its key, over the epochs from 1."""
    history = a_history(rng, 4, *KEYS)
    drawn = panels(student.run(draw_svg, student.learning_curves, history))
    for panel, keys in zip(drawn, curves(drawn, history), strict=True):
        for key, line in keys.items():
            labelled = (line.colour, key) in panel.legend
            expect(labelled, f"The line with the values of {key} is not labelled so in a legend.")


@pytest.mark.task("learning_curves", points=1)
def test_axes_are_labelled(student, rng):
    """Every axes has labels on x and y, a legend that names its lines, and lines of one kind."""
    history = a_history(rng, 4, *KEYS)
    drawn = panels(student.run(draw_svg, student.learning_curves, history))
    for panel, keys in zip(drawn, curves(drawn, history), strict=True):
        where = f"The axes of {', '.join(keys)}"
        expect(bool(panel.x or not keys), f"{where} has no label on x.")
        expect(bool(panel.y or not keys), f"{where} has no label on y.")
        named = sorted(name for _, name in panel.legend)
        expect_equal(named, sorted(keys), f"{where} has another legend.")
        kinds = {key.rpartition("_")[2] for key in keys}
        expect(len(kinds) <= 1, f"{where} holds {' and '.join(sorted(kinds))} on one scale.")


@pytest.mark.task("learning_curves", points=0.5)
def test_one_epoch_is_seen(student, rng):
    """The point of a single epoch has a marker."""
    history = a_history(rng, 1, "train_loss", "eval_accuracy")
    drawn = panels(student.run(draw_svg, student.learning_curves, history))
    for keys in curves(drawn, history):
        for key, line in keys.items():
            marked = any(np.allclose(mark, line.points[0], atol=1e-4) for mark in line.marks)
            expect(marked, f"The line {key} has no marker.")


# ---------------------------------------------------------------------------------------- compare


@pytest.mark.task("compare", points=1.5)
def test_rows_of_a_comparison(student, rng):
    """There is a row for each model and loader, in order, with the mean over the seeds; for each
    of these a model is made once.
    """
    labels = {"first": rng.integers(0, 3, (10,)), "second": rng.integers(0, 3, (10,))}
    loaders = {name: [(torch.eye(10), its)] for name, its in labels.items()}
    nets = {
        "zeta": {3: net_with(10, labels["first"]), 8: net_with(10, labels["first"])},
        "alpha": {3: net_with(6, labels["second"]), 8: net_with(6, labels["second"])},
    }
    expected = []
    for model, its in nets.items():
        for loader, [(x, y)] in loaders.items():
            share = (its[3](x).argmax(dim=1) == y).double().mean().item()
            expected.append((model, loader, share, 0.0, 2))
    rows = student.run(compared, student.compare, nets, loaders, [3, 8], once=True)
    expect_rows(rows, expected)


@pytest.mark.task("compare", points=1)
def test_spread_over_seeds(student, rng):
    """std has n − 1 in the denominator, and is 0.0 for one seed."""
    labels = rng.integers(0, 3, (10,))
    right = rng.numpy.permutation(10)[:4]
    nets = {"net": {seed: net_with(count, labels) for seed, count in enumerate(right)}}
    loaders = {"data": [(torch.eye(10), labels)]}
    for seeds in ([0, 1, 2, 3], [3, 1], [2]):
        rows = student.run(compared, student.compare, nets, loaders, seeds)
        shares = right[seeds] / 10
        std = float(shares.std(ddof=1)) if len(seeds) > 1 else 0.0
        expect_rows(rows, [("net", "data", float(shares.mean()), std, len(seeds))])


@pytest.mark.task("compare", points=1)
def test_batches_of_unequal_size(student, rng):
    """Accuracy is that of the data set, not the mean over batches."""
    net, x = rng.linear(4, 3), rng.normal(17, 4)
    labels = net(x).argmax(dim=1)
    labels[16:] = (labels[16:] + 1) % 3
    batches = [(x[:8], labels[:8]), (x[8:16], labels[8:16]), (x[16:], labels[16:])]
    rows = student.run(compared, student.compare, {"net": {5: net}}, {"data": batches}, [5])
    expect_rows(rows, [("net", "data", 16 / 17, 0.0, 1)])


# ------------------------------------------------------------------------------------- find_leaks


def training_texts(rng):
    """Three texts, and a word at random that is in each of them."""
    a, b, c = words(rng, 3)
    texts = [
        f"The quick brown {a} jumps over the lazy dog near the river.",
        f"What does {b} freeze, and why?",
        f"Gradient {c} divides the loss by all tokens of the large batch.",
    ]
    return texts, (a, b, c)


@pytest.mark.task("find_leaks", points=1)
def test_exact_leaks(student, rng):
    """Texts that are equal but for case, punctuation and spaces are exact leaks."""
    train, (_, b, _) = training_texts(rng)
    test = ["Why is the sky blue today?", f"what does  {b.upper()} freeze -- and why"]
    came = student.find_leaks(train, [*test, train[2].upper()])
    expect_leaks(came, [(1, 1), (2, 2)], [], "Two of three texts are in the training data.")


@pytest.mark.task("find_leaks", points=1.5)
def test_near_leaks(student, rng):
    """Texts that have enough n-grams in common with a training text are near leaks."""
    train, (a, _, c) = training_texts(rng)
    test = [
        f"A quick brown {a} jumps over the lazy dog near the river.",  # 7 of 8 runs of five
        f"Gradient {c} divides the loss by two.",  # 2 of 3
        f"The quick brown {a} jumps into a hole and is not seen again.",  # 1 of 9
    ]
    came = student.find_leaks(train, test)
    expect_leaks(came, [], [(0, 0, 7 / 8), (1, 2, 2 / 3)], "With n = 5 and threshold 0.5:")


# ----------------------------------------------------------------------------- evaluation_bug_hunt


@pytest.mark.task("evaluation_bug_hunt", points=0.5)
def test_mended_accuracy(student, rng):
    """mended_accuracy is the share of right predictions of the whole data set, in eval mode."""
    net, x = nn.Sequential(nn.Dropout(0.5), rng.linear(5, 3)), rng.normal(60, 5)
    net[1].bias.data += torch.tensor([1.5, 0.0, -1.5])  # most are of one class
    logits = net[1](x)
    labels = logits.argmax(dim=1)
    labels[37:] = logits[37:].argmin(dim=1)
    loader = list(zip(x.split([25, 25, 10]), labels.split([25, 25, 10]), strict=True))
    came = student.mended_accuracy(net, loader)
    expect_float(came, 37 / 60, "Of 60 examples 37 are right.")


@pytest.mark.task("evaluation_bug_hunt", points=0.5)
def test_mended_split(student, rng):
    """mended_split puts each row into one part, and scales by the training rows."""
    x = rng.normal(40, 3) * torch.tensor([1.0, 5.0, 0.2]) + torch.tensor([4.0, 0.0, -2.0])
    came = student.mended_split(x, torch.arange(40), 12, np.random.default_rng(rng.seed()))
    good = type(came) in (tuple, list) and len(came) == 2
    good = good and all(type(part) in (tuple, list) and len(part) == 2 for part in came)
    expect(good, "It should return ((x, labels), (x, labels)).")
    (x_train, train), (_, test) = came
    train, test = (
        expect_tensor(y, (n,), "Labels", torch.int64) for y, n in ((train, 28), (test, 12))
    )
    rows = sorted([*train.tolist(), *test.tolist()])
    expect_equal(rows, list(range(40)), "Not each of 40 rows is in one part.")
    scaled = (x[train] - x[train].mean(dim=0)) / x[train].std(dim=0)
    expect_close(
        x_train, scaled, "Of the training part each column has mean 0, deviation 1: not so."
    )


@pytest.mark.task("evaluation_bug_hunt", points=0.5)
def test_mended_choice_of_three(student, rng):
    """mended_choice gives the best on validation, and its accuracy on the test data."""
    x, labels = torch.eye(10), rng.integers(0, 3, (10,))
    nets = {f"net {right}": net_with(right, labels) for right in (5, 9, 7)}
    test = (torch.eye(10)[:4], (labels[:4] + torch.tensor([0, 0, 0, 1])) % 3)
    other = (torch.eye(10)[5:7], (labels[5:7] + 1) % 3)  # here the worst on validation is best
    loaders = [(x, labels)], [test, other]
    came = student.mended_choice(nets, *loaders)
    expect(type(came) in (tuple, list) and len(came) == 2, "It should be a pair (name, share).")
    expect_equal(came[0], "net 9", "On validation the three have 5, 9 and 7 of 10 right.")
    expect_float(came[1], 3 / 6, "Of the test data this one has 3 of 6 right.")


@pytest.mark.task("evaluation_bug_hunt", points=0.5)
def test_mended_report(student, rng):
    """mended_report gives mean and standard deviation, the latter with n − 1."""
    for count in (2, 5):
        accuracies = rng.numpy.permutation(100)[:count] / 100
        came = student.mended_report(accuracies.tolist())
        expect(type(came) in (tuple, list) and len(came) == 2, "It should be a pair (mean, std).")
        expect_float(came[0], accuracies.mean(), f"The mean of {count} runs is not right.")
        message = f"The standard deviation of {count} runs is not right."
        expect_float(came[1], accuracies.std(ddof=1), message)


# ------------------------------------------------------------------------- numbers and statements


NUMBERS = (
    "majority_macro_f1",
    "standard_error_points",
    "examples_needed",
    "mcnemar_statistic",
    "two_bin_ece",
    "false_alarm",
)


@pytest.mark.task("evaluation_numbers", points=0)
def test_answers_are_numbers(student):
    """Each answer given is a number; those still None are open."""
    expect_numbers(student, NUMBERS)


@pytest.mark.task("evaluation_statements", points=0)
def test_judgements_are_true_or_false(student):
    """`judged` has an entry for each of a to p: True, False or None."""
    expect_judgements(student.judged)
