# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Evaluation: is the fine-tuned model better?
#
# **The interview question.** *You have fine-tuned a model. How do you find out whether it is any
# good, and whether it is better than the one you had?*
#
# You will write the measures from the confusion matrix to calibration, put intervals and tests
# around them, look for leaks between training and test data, and settle a contest between two
# recipes for the same network. At the end you answer the question in your own words.

# %% [markdown]
# ## Contents
#
# <!-- contents -->

# %% [markdown]
# ## How this lesson works
#
# Each task is a cell for your code and a locked one, `check("…")`, that tells you at once which
# requirements hold. The docstring is the contract: a check asks for what it says, and for nothing
# else. More checks run when the notebook is graded. Numbers and statements are judged once all of
# them are answered (in a class, or where one is left at None, at grading): answer first, then
# check.
#
# Long demonstrations take a few minutes on two cores; started by `COURSE_SCALE=small make lab` they
# take seconds.
#
# Help comes in layers: a nudge, then a hint, both folded away below the task, and after an honest
# attempt the reference: `show_reference("mcnemar")`.
#
# Notation: n examples, C classes. `y_true` and `y_pred` are numpy arrays (n,) of integer classes.
# `logits` and `probabilities` are torch tensors (n, C). `rng` is a `numpy.random.Generator`, and
# the only source of chance: equal state, equal result.
#
# Every function leaves its arguments as they were. You may use numpy, torch and matplotlib, and
# scikit-learn or SciPy where you know what they do in edge cases: there the docstring counts.

# %% [markdown]
# ## Before you read on
#
# Write down three or four sentences, as you would say them now. (Scratch paper: not graded. At the
# end you will write the graded answer, and see how far you have come.)
#
# *My first answer:* …

# %% [markdown]
# ## An answer that is often given
#
# In many collections of interview questions the answer reads about like this:
#
# > Choose metrics that suit the task, such as accuracy, precision, recall and F1. Compare the model
# > before and after fine-tuning on the same test set. Plot loss curves and a confusion matrix.
#
# Nothing in it is false. What is missing? Imagine that a colleague shows you 0.951 against 0.943
# and a confusion matrix. Note what you would ask before you open the next part.
#
# <details><summary>What is missing</summary>
#
# 1. *How sure are you?* A test set is a sample. 0.951 on 1,000 examples stands, with 95 %
#    confidence, for anything between about 0.938 and 0.964, and the two models must be compared
#    *pairwise*.
# 2. *Would it happen again?* With another seed the same recipe can give a quite different model
#    (arXiv 2002.06305, abstract).
# 3. *Better than what?* The majority class, a linear probe or a prompt may do as well.
# 4. *Was the test set clean?* Chosen on it, tuned on it, or with training examples in it, it
#    measures something else.
# 5. *Better at what?* One average hides classes, slices, calibration, and what was forgotten.
#
# </details>

# %%
import math
import re
import statistics
import unicodedata
from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from autograder import check, show_reference

# %% [markdown]
# ## Task 1: the confusion matrix
#
# Before any metric, look at what is taken for what. Nearly every metric of predicted classes is a
# function of this table. Two things go wrong in home-made ones: rows and columns are exchanged, and
# classes that do not occur disappear, so that two tables cannot be laid side by side.
#
# difficulty ●○○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# Each pair (truth, prediction) is one of C² cells. Which numpy function counts small integers?
#
# </details>
# <details><summary>Hint</summary>
#
# `np.bincount(y_true * C + y_pred, minlength=C * C)`, then a reshape. With C = 20 and labels in
# `uint8` the product overflows, silently: widen them first.
#
# </details>


# %% task="confusion_matrix"
def confusion_matrix(y_true, y_pred, num_classes=None):
    """Count how often each class is taken for each class.

    Arguments
        y_true, y_pred  numpy arrays (n,) of classes ≥ 0, of any integer dtype, also a small one
                        (int8, uint8); n may be 0
        num_classes     int C, or None: one more than the largest class in either array (0 if n = 0)
    Returns
        numpy array (C, C), int64: element [i, j] is the number of examples of class i (truth: rows)
        that were predicted as class j (columns). Classes that do not occur have rows and columns of
        zeros

    Raises ValueError: the arrays are not both of shape (n,) with the same n; a class is negative or
    not below num_classes.
    """
    ### BEGIN SOLUTION
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise ValueError(f"shapes {y_true.shape} and {y_pred.shape} are not twice the same (n,)")
    both = np.concatenate([y_true, y_pred]).astype(np.int64)  # (2n,): wide enough for the product
    largest = both.max(initial=-1)
    C = largest + 1 if num_classes is None else num_classes
    if both.min(initial=0) < 0 or largest >= C:
        raise ValueError(f"classes must lie in [0, {C})")
    cells = both[: len(y_true)] * C + both[len(y_true) :]  # (n,): the cell of each example
    return np.bincount(cells, minlength=C * C).reshape(C, C)
    ### END SOLUTION


# %% check="confusion_matrix" points=6
check("confusion_matrix")

# %% [markdown]
# ## Task 2: F1, averaged in three ways
#
# With 95 healthy patients in 100, "healthy" is right 95 times in 100 and finds nobody. F1 of a
# class is 2TP / (2TP + FP + FN): the harmonic mean of precision and recall.
#
# One number for all classes is an average, and which one is a decision. *Macro*: every class counts
# the same. *Weighted*: every class counts by its size. *Micro*: add up the counts first; every
# example counts the same.
#
# difficulty ●●○○○ · importance ●●●●● · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Write FP and FN of a class as sums over a row and a column of a confusion matrix. What are the
# sums of FP and of FN over all classes?
#
# </details>
# <details><summary>Hint</summary>
#
# `np.unique(…, return_inverse=True)` of both arrays together gives the classes in order and small
# numbers for them. TP is the diagonal; 2TP + FP + FN is row sum plus column sum, and never 0 for a
# class that occurs. Micro F1 is then the accuracy: compute it so, or see it come out.
#
# </details>


# %% task="f1_scores"
def f1_scores(y_true, y_pred, average):
    """F1 of each class, or one of three averages of them.

    Arguments
        y_true, y_pred  numpy arrays (n,) of integers, of one dtype: any values, negative ones and
                        gaps included
        average         None, "macro", "micro" or "weighted"
    Returns, over the classes that occur in y_true or in y_pred (or both)
        None        numpy array (k,), float64: F1 = 2TP / (2TP + FP + FN) of each of the k classes,
                    in ascending order of the class
        "macro"     float: the mean of these
        "weighted"  float: their mean, weighted by how often each class occurs in y_true
        "micro"     float: F1 of the sums of TP, FP and FN over the classes

    A class that is never predicted, or never true, has F1 0: where precision or recall is 0/0 it
    counts as 0. With n = 0 the result is an array of shape (0,), or 0.0.

    Raises ValueError: the arrays are not both of shape (n,) with the same n; another `average`.
    """
    ### BEGIN SOLUTION
    if average not in (None, "macro", "micro", "weighted"):
        raise ValueError(f"average is None, macro, micro or weighted, not {average!r}")
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.ndim != 1 or y_true.shape != y_pred.shape:
        raise ValueError(f"shapes {y_true.shape} and {y_pred.shape} are not twice the same (n,)")
    n = len(y_true)
    classes, numbers = np.unique(np.concatenate([y_true, y_pred]), return_inverse=True)
    matrix = confusion_matrix(numbers[:n], numbers[n:], len(classes))  # (k, k)
    hits, support = matrix.diagonal(), matrix.sum(axis=1)  # (k,), (k,)
    if average == "micro":  # every miss is one FP and one FN: the accuracy
        return float(hits.sum() / n) if n else 0.0
    f1 = 2 * hits / (support + matrix.sum(axis=0))  # (k,): 2TP / ((TP + FN) + (TP + FP))
    if average is None:
        return f1
    if n == 0:
        return 0.0
    return float(f1.mean() if average == "macro" else f1 @ support / n)
    ### END SOLUTION


# %% check="f1_scores" points=7
check("f1_scores")

# %% [markdown]
# ## Task 3: calibration
#
# A model that says "90 % sure" should be right in 90 of 100 such cases. The networks of 2017 were
# poorly calibrated, mostly too sure (arXiv 1706.04599, abstract and figure 1); of image classifiers
# up to 2021 the newest are among the best calibrated (arXiv 2106.07998, abstract). So measure.
#
# The expected calibration error sorts predictions into bins by confidence and compares, in each,
# the accuracy with the mean confidence:
#
# ECE = Σₘ (nₘ / n) · |accuracy in bin m − mean confidence in bin m|
#
# Confidence is the probability of the predicted class, the largest one.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# Multiply nₘ / n by the difference of the two means: what is left is a sum over the bin's examples
# of (right − confidence), divided by n.
#
# </details>
# <details><summary>Hint</summary>
#
# The bin of a confidence c is ⌈c · bins⌉ − 1: that puts an upper edge into its bin, and a 1.0 into
# the last. `torch.zeros(bins, dtype=torch.float64).index_add_(0, bin, right - confidence)` sums;
# take absolute values *after* summing, never before. Calculate in double.
#
# </details>


# %% task="expected_calibration_error"
def expected_calibration_error(probabilities, labels, bins):
    """Expected calibration error of the predicted classes, with bins of equal width.

    Arguments
        probabilities   tensor (n, C), float32 or float64, each row summing to 1; n may be 0
        labels          tensor (n,), int64
        bins            int M ≥ 1: bin m = 1 … M holds the confidences in ((m − 1)/M, m/M]
    Returns
        float: Σ nₘ/n · |accuracy − mean confidence| over the bins that are not empty; 0.0 if n = 0

    The predicted class is that of the largest probability, which is the confidence. An edge belongs
    to the bin below it: with M = 4, a confidence of 0.75 is in bin 3, and 1.0 is in bin 4.

    Raises ValueError: bins is not an int (2.0 and True are none) or is < 1; labels is not (n,).
    """
    ### BEGIN SOLUTION
    if type(bins) is not int or bins < 1:
        raise ValueError(f"bins must be an int of at least 1, not {bins!r}")
    if labels.shape != probabilities.shape[:1]:
        raise ValueError(f"labels should be ({len(probabilities)},), not {tuple(labels.shape)}")
    if len(labels) == 0:
        return 0.0
    confidence, predicted = probabilities.detach().double().max(dim=1)  # (n,), (n,)
    gap = (predicted == labels).double() - confidence  # (n,)
    index = (confidence * bins).ceil().long() - 1  # (n,): an upper edge belongs to its bin
    index = index.clamp(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, gap)  # (bins,)
    return sums.abs().sum().item() / len(labels)  # nₘ/n · |mean gap| = |sum of gaps| / n
    ### END SOLUTION


# %% check="expected_calibration_error" points=7
check("expected_calibration_error")

# %% [markdown]
# ## Task 4: temperature scaling
#
# The simplest cure: divide all logits by one number T > 0, fitted on *validation* data by the
# cross-entropy. No class changes its rank, so no prediction and no accuracy changes. On most data
# sets of arXiv 1706.04599 it was surprisingly effective (abstract).
#
# On the data that it was fitted to the best T has at most the *cross-entropy* of T = 1, though its
# ECE may be larger. On other data both may be.
#
# difficulty ●●●○○ · importance ●●●●○ · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# In β = 1/T the loss is log Σ exp(βz) − βz_y, averaged: the first part is convex in β, the second
# linear. What does that say of its minima, and of its derivative?
#
# </details>
# <details><summary>Hint</summary>
#
# The derivative by β is the mean of Σ pz − z_y, with p = softmax(βz): increasing, so halve an
# interval of β sixty times. An optimizer of torch does it as well, but needs gradients
# (`torch.enable_grad()`), a good step, and a T kept positive and inside the limits.
#
# </details>


# %% task="temperature_scale"
def temperature_scale(logits, labels):
    """The temperature at which the logits, divided by it, have the least mean cross-entropy.

    Arguments
        logits  tensor (n, C), float32 or float64, |logits| ≤ 1e4
        labels  tensor (n,), int64
    Returns
        float T in [0.05, 20]: the mean cross-entropy of logits / T (calculated in float64) is at
        most 1e-5 above the least that any T in [0.05, 20] gives

    Where the data would have T below 0.05 (as where every example is right) or above 20 (as where
    logits are huge, or worse than equal ones), the limit will do. Works inside `torch.no_grad()`,
    too, where evaluation code lives; gives no gradient to `logits`, which may require one.

    Raises ValueError: n = 0; labels is not (n,).
    """
    ### BEGIN SOLUTION
    if labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(f"labels {tuple(labels.shape)} for logits {tuple(logits.shape)}")
    z = logits.detach().double()  # (n, C)
    z_true = z.gather(1, labels[:, None]).squeeze(1)  # (n,)

    def slope(beta):
        """Derivative of the mean cross-entropy by beta = 1/T: it increases, the loss is convex."""
        mean_logit = ((beta * z).softmax(dim=1) * z).sum(dim=1)  # (n,)
        return (mean_logit - z_true).mean().item()

    low, high = 1 / 20, 1 / 0.05
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return min(max(1 / high, 0.05), 20.0)
    ### END SOLUTION


# %% check="temperature_scale" points=8
check("temperature_scale")

# %% [markdown]
# ## Task 5: an interval by bootstrap
#
# A test set is one draw from the world. How much would the metric move with another draw? The
# bootstrap draws from the test set itself: n examples *with replacement*, metric, many times; the
# middle 95 % of the values are the interval (percentile method). It needs no formula for the
# metric, so it serves for F1 as for accuracy (not for extremes, such as a maximum).
#
# A loop of 2,000 calls on arrays is slow in Python. All resamples in one array are fast, until
# n = 100,000. The way between is a block at a time.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Draw *row numbers*, of shape (R, n), and index both arrays with the same ones: a prediction stays
# with its truth. How many rows fit into a few megabytes?
#
# </details>
# <details><summary>Hint</summary>
#
# R = max(1, 500_000 // n) resamples at a time; the last block may be smaller. `np.concatenate` the
# values, then `np.quantile` at (1 − level)/2 and (1 + level)/2. Task 6 can use the same helper:
# give it a function from rows to values.
#
# </details>


# %% task="bootstrap_interval"
def resampled(values, n, n_resamples, rng):
    """Helper, not graded: values(rows) for n_resamples rows of n indices, a block at a time."""
    ### BEGIN SOLUTION
    block = max(1, 500_000 // n)  # 4 MB of indices
    parts = []
    for start in range(0, n_resamples, block):
        rows = rng.integers(n, size=(min(block, n_resamples - start), n))  # (R, n)
        parts.append(values(rows))  # (R,)
    return np.concatenate(parts)  # (n_resamples,)
    ### END SOLUTION


def bootstrap_interval(metric, y_true, y_pred, n_resamples, level, rng):
    """Bootstrap interval of a metric by the percentile method.

    Arguments
        metric          function of two arrays of one shape, (n,) or (R, n), truth first: it reduces
                        the last axis, so that (R, n) gives (R,)
        y_true, y_pred  numpy arrays (n,), n ≥ 1, of any numeric dtype
        n_resamples     int ≥ 1: how many resamples of n examples are drawn, with replacement; a
                        prediction stays with its truth
        level           float in (0, 1): the share of the resamples' values inside, as in 0.95
        rng             numpy.random.Generator, the only source of chance
    Returns
        (low, high), two floats: the quantiles (1 − level)/2 and (1 + level)/2 of the resamples'
        values, as np.quantile interpolates them

    `metric` is called on the resamples only; one more call, on the data as they are, is allowed.

    Speed and memory. With n = 5,000 and n_resamples = 2,000, `metric` is called at most 50 times (a
    call a resample makes 2,000), and memory rises by less than 48 MB (all resamples at once: 80 MB
    for the indices alone, and as much for each array taken by them). Timed on one CPU with n = 100
    and 2,000 resamples, and accuracy as the metric: at least half as fast as the reference.

    Raises ValueError: the arrays are not both of shape (n,) with the same n ≥ 1; n_resamples < 1;
    level outside (0, 1).
    """
    ### BEGIN SOLUTION
    if y_true.ndim != 1 or y_true.shape != y_pred.shape or y_true.size == 0:
        raise ValueError(f"shapes {y_true.shape} and {y_pred.shape} are not twice the same (n,)")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples is {n_resamples}, level is {level}")
    values = resampled(
        lambda rows: metric(y_true[rows], y_pred[rows]), len(y_true), n_resamples, rng
    )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
    ### END SOLUTION


# %% check="bootstrap_interval" points=8
check("bootstrap_interval")

# %% [markdown]
# ## Task 6: the difference of two models
#
# Two models, one test set. Their intervals overlap: does that mean that nothing is known? No. They
# mostly fail on the same hard examples, so their metrics rise and fall together from resample to
# resample. What matters is the interval of the *difference*, on the same resample for both.
#
# Philipp Koehn (2004) compared translation systems so: their metric, BLEU, is no average over
# sentences.
#
# difficulty ●●○○○ · importance ●●●●● · about 10 minutes
#
# <details><summary>Nudge</summary>
#
# One set of row numbers, three arrays.
#
# </details>
# <details><summary>Hint</summary>
#
# Compute differences block by block inside the function that you hand to `resampled`. `wins` counts
# differences that are strictly above zero: with many ties it is not one minus the other's wins.
#
# </details>


# %% task="paired_bootstrap"
def paired_bootstrap(metric, y_true, pred_a, pred_b, n_resamples, level, rng):
    """Bootstrap of metric(y_true, pred_a) − metric(y_true, pred_b) on common resamples.

    Arguments
        metric, n_resamples, level, rng     as for bootstrap_interval
        y_true, pred_a, pred_b              numpy arrays (n,), n ≥ 1
    Returns
        dict {"difference", "low", "high", "wins"} of floats: the difference on the data as they
        are; the quantiles (1 − level)/2 and (1 + level)/2 of the resamples' differences; the share
        of the resamples whose difference is greater than 0

    Both models are measured on the same resamples: each example's truth and its two predictions
    stay together.

    Raises ValueError: the arrays are not all of shape (n,) with the same n ≥ 1; n_resamples < 1;
    level outside (0, 1).
    """
    ### BEGIN SOLUTION
    n = y_true.size
    if y_true.ndim != 1 or not y_true.shape == pred_a.shape == pred_b.shape or n == 0:
        raise ValueError("the three arrays must have the same shape (n,), n ≥ 1")
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples is {n_resamples}, level is {level}")

    def difference(rows):
        truth = y_true[rows]  # (R, n), or (n,)
        return metric(truth, pred_a[rows]) - metric(truth, pred_b[rows])

    values = resampled(difference, n, n_resamples, rng)  # (n_resamples,)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    observed = difference(np.arange(n))
    found = {"difference": observed, "low": low, "high": high, "wins": (values > 0).mean()}
    return {name: float(value) for name, value in found.items()}
    ### END SOLUTION


# %% check="paired_bootstrap" points=7
check("paired_bootstrap")

# %% [markdown]
# ## Task 7: McNemar's test
#
# Dietterich (1998) compared five tests. Where each algorithm can be trained only once, McNemar's
# was the only one left with an acceptable rate of false alarms.
#
# Examples on which both are right, or both wrong, say nothing about which is better. Left are b
# examples that only A has right, and c that only B has. If the two were equally good, each of these
# b + c would fall to either side like a fair coin.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# The exact p: how likely is it that a fair coin, thrown b + c times, falls at least as unevenly?
#
# </details>
# <details><summary>Hint</summary>
#
# Two-sided: 2 · P(X ≤ min(b, c)), capped at 1, since for b = c both tails hold the middle. With
# 2,000 throws 0.5**2000 is 0.0 and the binomial coefficient is larger than any float: add the
# coefficients as Python integers and divide once (slow), add in logarithms (`lgamma` and
# `logsumexp`), or ask SciPy. For one degree of freedom P(χ² > s) = erfc(√(s/2)).
#
# </details>


# %% task="mcnemar"
def mcnemar(y_true, pred_a, pred_b):
    """McNemar's test of whether two classifiers have the same accuracy.

    Arguments: three numpy arrays (n,) of integer classes; n may be 0.
    Returns
        dict of
        "b"          int: examples that A has right and B has wrong
        "c"          int: examples that B has right and A has wrong
        "statistic"  float: max(0, |b − c| − 1)² / (b + c), with the correction for continuity
        "p_chi2"     float: probability that a χ² variable with one degree of freedom exceeds it
        "p_exact"    float: min(1, 2 · P(X ≤ min(b, c))), X binomial with b + c throws, p = 1/2

    If b + c = 0, the statistic is 0.0 and both p are 1.0. Right also for b + c in the thousands:
    each p to a ten-thousandth of itself, or to 1e-12.

    Raises ValueError: the arrays are not all of shape (n,) with the same n.
    """
    ### BEGIN SOLUTION
    y_true, pred_a, pred_b = np.asarray(y_true), np.asarray(pred_a), np.asarray(pred_b)
    if y_true.ndim != 1 or not y_true.shape == pred_a.shape == pred_b.shape:
        raise ValueError("the three arrays must have the same shape (n,)")
    a_right, b_right = pred_a == y_true, pred_b == y_true  # (n,), (n,)
    b = int((a_right & ~b_right).sum())
    c = int((b_right & ~a_right).sum())
    if b + c == 0:
        return {"b": 0, "c": 0, "statistic": 0.0, "p_chi2": 1.0, "p_exact": 1.0}
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
    # In logarithms: 0.5**throws is 0.0 from 1,075 throws on, a coefficient inf from 1,030 on.
    throws, heads = b + c, torch.arange(min(b, c) + 1, dtype=torch.float64)  # (min(b, c) + 1,)
    log_ways = math.lgamma(throws + 1) - (heads + 1).lgamma() - (throws - heads + 1).lgamma()
    tail = (log_ways - throws * math.log(2)).logsumexp(dim=0).exp().item()  # P(X ≤ min(b, c))
    return {
        "b": b,
        "c": c,
        "statistic": statistic,
        "p_chi2": math.erfc(math.sqrt(statistic / 2)),
        "p_exact": min(1.0, 2 * tail),
    }
    ### END SOLUTION


# %% check="mcnemar" points=7
check("mcnemar")

# %% [markdown]
# **Overlapping intervals, and yet a clear difference.** Two models on 1,000 examples: both fail on
# the same 60 hard ones; A fails on 5 more, B on 25 more. The two intervals overlap; that of the
# difference is narrower, and lies above zero.

# %% tags=["demonstration"]


def accuracy_of(truth, predicted):
    """The share of right predictions along the last axis."""
    return (truth == predicted).mean(axis=-1)


truth = np.zeros(1000, dtype=int)
only_a, only_b = truth.copy(), truth.copy()
only_a[:65], only_b[:60], only_b[65:90] = 1, 1, 1  # where each is wrong
for name, predicted in (("A", only_a), ("B", only_b)):
    low, high = bootstrap_interval(
        accuracy_of, truth, predicted, 2000, 0.95, np.random.default_rng(0)
    )
    print(f"{name}: {accuracy_of(truth, predicted):.3f}, 95 % interval {low:.3f} to {high:.3f}")
paired = paired_bootstrap(accuracy_of, truth, only_a, only_b, 2000, 0.95, np.random.default_rng(0))
print(f"A − B: {paired['difference']:.3f}, from {paired['low']:.3f} to {paired['high']:.3f}")
print("McNemar:", mcnemar(truth, only_a, only_b))

# %% [markdown]
# ## Task 8: learning curves
#
# A picture is evidence, too, if one can read it: what is on each axis, which line is which, and
# that the first epoch is 1. One point must be seen as well as forty.
#
# `history` is what `fine_tune` of lesson 2 returns: a dict of lists of equal length, one entry an
# epoch.
#
# difficulty ●●○○○ · importance ●●●○○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# A loss of 2.3, an accuracy of 0.9 and a rate of 3e-5 on one scale show one of the three.
#
# </details>
# <details><summary>Hint</summary>
#
# `matplotlib.figure.Figure()` has `subplots`, as pyplot has, without a window and without a list of
# open figures that somebody must close. `axes.plot(range(1, n + 1), values, "o-", label=key)`.
#
# </details>


# %% task="learning_curves"
def learning_curves(history):
    """Draw the lists of a training history over the epochs.

    Arguments
        history  dict of lists of floats, all of one length n ≥ 0 (an entry an epoch). Keys: names
                 ending in "_loss", names ending in "_accuracy", and "lr"; at least one
    Returns
        matplotlib.figure.Figure, in any layout, which can be drawn without a display, and which
        pyplot does not keep open: plt.get_fignums() is what it was

    - For every list exactly one line, labelled with its key: x = 1 … n, y = the list's values, all
      of it within the limits of its axes.
    - Losses, accuracies and the rate have different scales: an axes holds lines of one kind only.
    - Every axes with lines has a label on x and on y, and a legend of its own that names each of
      its lines by its key. There is no axes without lines.
    - With n = 1 the point is seen: the lines have markers.

    Raises ValueError: no key; lists of different lengths.
    """
    ### BEGIN SOLUTION
    lengths = {len(values) for values in history.values()}
    if len(lengths) != 1:
        raise ValueError(f"one length for all lists, please, and at least one list: {lengths}")
    epochs = range(1, lengths.pop() + 1)
    kinds = defaultdict(list)
    for key in history:
        kinds["learning rate" if key == "lr" else key.rpartition("_")[2]].append(key)
    figure = Figure(figsize=(5 * len(kinds), 3.5), layout="constrained")
    row = figure.subplots(1, len(kinds), squeeze=False)[0]
    for axes, (kind, keys) in zip(row, kinds.items(), strict=True):
        for key in keys:
            axes.plot(epochs, history[key], marker="o", markersize=3, label=key)
        axes.set(xlabel="epoch", ylabel=kind, title=f"{kind} by epoch")
        axes.legend()
    return figure
    ### END SOLUTION


# %% check="learning_curves" points=6
check("learning_curves")

# %% [markdown]
# ## Task 9: a table over seeds
#
# A single run per recipe compares two draws from a lottery: for two systems that find names in
# text, the seed alone decided between state of the art and mediocre (arXiv 1707.09861, abstract).
# So: several seeds, mean and standard deviation, for every data set that matters: the new task, the
# old one, and the slices that must not fail.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# `make(seed)` may train for an hour. How often do you call it? And how do you average accuracies of
# batches of 32, 32 and 7?
#
# </details>
# <details><summary>Hint</summary>
#
# Loop over models, then seeds, then loaders, and collect accuracies by loader. Keep
# `{module: module.training for module in model.modules()}` before `model.eval()`, and put it back,
# module by module. `statistics.stdev` and `np.std(…, ddof=1)` want two values.
#
# </details>


# %% task="compare"
def compare(models, loaders, seeds):
    """Accuracy of several models on several data sets, over several seeds.

    Arguments
        models   dict: name → make, a function; make(seed) returns a classifier, an nn.Module that
                 maps inputs to logits (B, C)
        loaders  dict: name → what can be iterated any number of times, such as a DataLoader, giving
                 (inputs, labels), labels (B,) int64; batches may differ in size
        seeds    list of ints, at least one
    Returns
        list of dicts {"model": name, "loader": name, "mean": float, "std": float, "n": int}, a row
        for each pair: all loaders of the first model, then of the second, …, in the dicts' order.
        mean and std are those of the accuracy over the seeds, std with n − 1 in the denominator
        (0.0 for one seed); n is the number of seeds

    An accuracy is right predictions over examples, of the whole data set. The models predict in
    eval mode and without gradients; once compared, every submodule of what `make` returned is in
    the training mode in which it was. `make` is called exactly once for each model and seed.

    Raises ValueError: no seeds; a loader without an example.
    """
    ### BEGIN SOLUTION
    if not seeds:
        raise ValueError("at least one seed")
    rows = []
    for name, make in models.items():
        found = {loader: [] for loader in loaders}
        for seed in seeds:
            model = make(seed)  # may train for an hour: once
            modes = {module: module.training for module in model.modules()}
            model.eval()
            for loader, batches in loaders.items():
                right = seen = 0
                for inputs, labels in batches:
                    with torch.no_grad():
                        predicted = model(inputs).argmax(dim=-1)  # (B,)
                    right += (predicted == labels).sum().item()
                    seen += len(labels)
                if seen == 0:
                    raise ValueError(f"the loader {loader!r} has no example")
                found[loader].append(right / seen)  # over examples: batches differ in size
            for module, mode in modes.items():
                module.training = mode
        for loader, values in found.items():
            std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            row = {"model": name, "loader": loader, "mean": float(np.mean(values)), "std": std}
            rows.append(row | {"n": len(values)})
    return rows
    ### END SOLUTION


# %% check="compare" points=7
check("compare")

# %% [markdown]
# ## Task 10: leaks
#
# The best result is worth nothing if the test questions were in the training data. Exact copies are
# easy to find, edited ones less so. Overlap of n-grams is the common method; GPT-3's authors used
# runs of 8 to 13 words, and shorter ones only for synthetic tasks (arXiv 2005.14165, appendix C). A
# paraphrase or a translation slips through it (arXiv 2311.04850, abstract).
#
# The share is taken of the *test* text's n-grams: a question of n words or more inside a long
# training page is a leak, though the two are not alike.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Normalise first, or "What is LoRA?" and "what is lora" are strangers. Sets do the rest.
#
# </details>
# <details><summary>Hint</summary>
#
# `re.sub(r"[\W_]+", " ", text)` after `unicodedata.normalize("NFKC", text).lower()`. Compare every
# test text with every training text, or, much faster, keep a dict from n-gram to the training texts
# that have it.
#
# </details>


# %% task="find_leaks"
def normal_words(text):
    """Helper, not graded: the words of a text's normal form."""
    ### BEGIN SOLUTION
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", text).lower()).split()
    ### END SOLUTION


def word_ngrams(words, n):
    """Helper, not graded: the set of runs of n words."""
    ### BEGIN SOLUTION
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}
    ### END SOLUTION


def find_leaks(train_texts, test_texts, n=5, threshold=0.5):
    """Find the test texts that stand in the training texts, exactly or nearly.

    Normal form of a text: Unicode's NFKC, then lower case, then each run of characters that are
    neither letters nor digits (white space, punctuation, the underscore) becomes one space, with
    none at either end. Its words are what the spaces part.

    n-grams of a text: the *set* of all runs of n neighbouring words. A text of fewer words has
    none: it can leak as an exact copy only.

    Exact leak: a training text has the same normal form, and it is not empty.
    Near leak: there is no exact one, and for some training text the share
    |n-grams of the test text that the training text has, too| / |n-grams of the test text|
    is at least `threshold`.

    Arguments
        train_texts, test_texts     lists of str; either may be empty
        n                           int ≥ 1
        threshold                   float in (0, 1]
    Returns
        {"exact": [(test index, train index), …], "near": [(test index, train index, share), …]}:
        two lists of tuples in ascending order of the test index, with one tuple at most for a test
        text. Exact: the first training text that is equal. Near: the training text with the largest
        share, the first of these if there are several; share is a float.

    Raises ValueError: n < 1; threshold outside (0, 1]; one of the lists is a string.
    """
    ### BEGIN SOLUTION
    if n < 1 or not 0 < threshold <= 1:
        raise ValueError(f"n is {n}, threshold is {threshold}")
    if isinstance(train_texts, str) or isinstance(test_texts, str):
        raise ValueError("lists of texts, not one text")
    first = {}  # normal form → index of the first training text that has it
    holders = defaultdict(list)  # n-gram → indices of the training texts that have it
    for index, text in enumerate(train_texts):
        words = normal_words(text)
        first.setdefault(tuple(words), index)
        for gram in word_ngrams(words, n):
            holders[gram].append(index)
    exact, near = [], []
    for index, text in enumerate(test_texts):
        words = normal_words(text)
        grams = word_ngrams(words, n)
        if words and tuple(words) in first:
            exact.append((index, first[tuple(words)]))
            continue
        common = defaultdict(int)  # training text → how many of these n-grams it has
        for gram in grams:
            for holder in holders.get(gram, ()):
                common[holder] += 1
        if common:
            best = min(common, key=lambda holder: (-common[holder], holder))
            share = common[best] / len(grams)
            if share >= threshold:
                near.append((index, best, share))
    return {"exact": exact, "near": near}
    ### END SOLUTION


# %% check="find_leaks" points=7
check("find_leaks")

# %% [markdown]
# ## The contest: two recipes for the digits 5 to 9
#
# `pretrained_resnet()` knows the digits 0 to 4. Two colleagues adapt it to 5–9 with 500 images, and
# train everything for five epochs. Recipe A trains the new head alone before that (20 cheap
# epochs), and leaves batch-norm's running statistics as they are (eval mode). Recipe B begins with
# a random head. Which is better?
#
# Three parts of data, each for itself: 500 images to train, 500 others for curves and temperature,
# 1,000 to test, by which nothing is chosen. Beside them: the old digits with the *old* head, a
# slice (the quarter of the test images with the least ink), and a test set with a leak: 300 of its
# images exchanged for training images.

# %% tags=["demonstration"]
import matplotlib.pyplot as plt
from IPython.display import display
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

from course import SCALE
from course.data import mnist
from course.models import pretrained_resnet

SEEDS = {"small": range(1), "default": range(4), "full": range(10)}[SCALE]
EPOCHS = 5
images, classes = mnist("train", digits=range(5, 10)).tensors
train = TensorDataset(images[:500], classes[:500])
validation = TensorDataset(images[500:1000], classes[500:1000])
test = mnist("test", digits=range(5, 10))
old = mnist("test", digits=range(5), limit=500)
ink = test.tensors[0].mean(dim=(1, 2, 3))  # (1000,)
faint = ink <= ink.quantile(0.25)
parts = {
    "new digits": test,
    "faintest quarter": TensorDataset(*(tensor[faint] for tensor in test.tensors)),
    "leaked test set": TensorDataset(
        *(torch.cat([a[:700], b[:300]]) for a, b in zip(test.tensors, train.tensors, strict=True))
    ),
}
parts = {name: DataLoader(data, batch_size=250) for name, data in parts.items()}


@torch.no_grad()
def logits_of(model, data):
    """Logits (n, 5) of all images, in eval mode; the mode is restored."""
    mode = model.training
    logits = torch.cat([model.eval()(batch) for batch in data.tensors[0].split(250)])
    model.train(mode)
    return logits


def loss_and_accuracy(model, data):
    logits, labels = logits_of(model, data), data.tensors[1]
    right = (logits.argmax(dim=1) == labels).double().mean().item()
    return F.cross_entropy(logits, labels).item(), right


# %% tags=["demonstration"]
def adapt(recipe, seed):
    """A model for the digits 5–9, its old head, and the history of its training."""
    torch.manual_seed(seed)
    model = pretrained_resnet()  # in eval mode: batch-norm uses its running statistics
    old_head, model.fc = model.fc, nn.Linear(model.fc.in_features, 5)
    if recipe == "A":
        head, model.fc = model.fc, nn.Identity()
        features = logits_of(model, train)  # (500, 64): what the head is given
        model.fc = head
        fit(head, TensorDataset(features, train.tensors[1]), lr=1e-2, epochs=20)
    history = defaultdict(list)
    for _ in range(EPOCHS):
        model.train(recipe == "B")
        history["train_loss"].append(fit(model, train, lr=5e-4, epochs=1))
        loss, accuracy = loss_and_accuracy(model, validation)
        history["eval_loss"].append(loss)
        history["eval_accuracy"].append(accuracy)
        head, model.fc = model.fc, old_head
        history["old_accuracy"].append(loss_and_accuracy(model, old)[1])
        model.fc = head
    return model, dict(history)


def fit(model, data, lr, epochs):
    """Train with Adam in the model's present mode; the mean loss of the last epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        total = 0.0
        for inputs, labels in DataLoader(data, batch_size=32, shuffle=True):
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
    return total / len(data)


runs = {
    (recipe, seed): adapt(recipe, seed)
    for recipe, seed in tqdm([(r, s) for r in "AB" for s in SEEDS], desc="adapting")
}

# %% tags=["demonstration"]
models = {recipe: (lambda seed, r=recipe: runs[r, seed][0]) for recipe in "AB"}
table = compare(models, parts, list(SEEDS))
for recipe in "AB":
    values = [runs[recipe, seed][1]["old_accuracy"][-1] for seed in SEEDS]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    row = {"model": recipe, "loader": "old digits", "mean": statistics.mean(values)}
    table.append(row | {"std": spread, "n": len(values)})
measured = {f"{row['model']}, {row['loader']}": row["mean"] for row in table}

figure, axes = plt.subplots(figsize=(8, 3.5))
for shift, recipe in ((-0.1, "A"), (0.1, "B")):
    rows = [row for row in table if row["model"] == recipe]
    axes.errorbar(
        [position + shift for position in range(len(rows))],
        [row["mean"] for row in rows],
        yerr=[row["std"] for row in rows],
        fmt="o",
        capsize=4,
        label=f"recipe {recipe}",
    )
axes.set_xticks(range(len(rows)), [row["loader"] for row in rows])
axes.set(xlabel="measured on", ylabel="accuracy")
axes.set_title(f"mean ± standard deviation over {len(SEEDS)} seed(s)")
axes.legend(loc="lower center")
plt.show()

# %% [markdown]
# **The learning curves of one seed each.** Both losses look healthy. What recipe B loses is in
# neither of them: look at `old_accuracy`.

# %% tags=["demonstration"]
for recipe in "AB":
    figure = learning_curves(runs[recipe, 0][1])
    figure.suptitle(f"recipe {recipe}, seed 0: old digits are seen with the old head")
    display(figure)

# %% tags=["demonstration"]
truth = test.tensors[1].numpy()
predicted = {key: logits_of(model, test).argmax(dim=1).numpy() for key, (model, _) in runs.items()}
figure, row = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for axes, recipe in zip(row, "AB", strict=True):
    matrix = confusion_matrix(truth, predicted[recipe, 0], 5)
    axes.imshow(matrix, cmap="Blues", vmax=40)
    for i, j in np.ndindex(5, 5):
        axes.text(j, i, matrix[i, j], ha="center", va="center", color="w" if i == j else "k")
    axes.set_xticks(range(5), range(5, 10))
    axes.set_yticks(range(5), range(5, 10))
    f1 = f1_scores(truth, predicted[recipe, 0], "macro")
    axes.set(xlabel="predicted digit", ylabel="true digit")
    axes.set_title(f"recipe {recipe}, seed 0: macro F1 {f1:.3f}")
plt.show()

# %% tags=["demonstration"]
print("A − B on the 1,000 test images: 95 % interval of the difference, and two tests")
for seed in SEEDS:
    pair = predicted["A", seed], predicted["B", seed]
    rng = np.random.default_rng(seed)
    difference = paired_bootstrap(accuracy_of, truth, *pair, 2000, 0.95, rng)
    tested = mcnemar(truth, *pair)
    print(
        f"seed {seed}: {difference['difference']:+.3f} [{difference['low']:+.3f}, "
        f"{difference['high']:+.3f}], wins {difference['wins']:.3f}; "
        f"b = {tested['b']}, c = {tested['c']}, p = {tested['p_exact']:.1e}"
    )

# %% [markdown]
# **How sure are they, and how sure should they be?** Reliability diagrams: a point for each bin, on
# the diagonal if confidence is what it claims. The temperature is fitted on the validation images
# and judged on the test images.

# %% tags=["demonstration"]
BINS = 15
errors, seen = defaultdict(list), defaultdict(list)
for (recipe, _), (model, _) in runs.items():
    T = temperature_scale(logits_of(model, validation), validation.tensors[1])
    for name, scale in (("ECE", 1.0), ("ECE scaled", T)):
        probabilities = (logits_of(model, test) / scale).softmax(dim=1)  # (1000, 5)
        error = expected_calibration_error(probabilities, test.tensors[1], BINS)
        errors[f"{recipe}, {name}"].append(error)
        confidence, chosen = probabilities.max(dim=1)
        right = (chosen == test.tensors[1]).float()
        seen[recipe, name].append(torch.stack([confidence, right, torch.full_like(right, scale)]))
measured |= {name: statistics.mean(values) for name, values in errors.items()}

figure, row = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
for axes, recipe in zip(row, "AB", strict=True):
    for name in ("ECE", "ECE scaled"):
        confidence, right, scale = torch.cat(seen[recipe, name], dim=1)  # of all seeds
        index = (confidence * BINS).ceil().long() - 1
        full = [m for m in range(BINS) if (index == m).sum() >= 10]
        x = [confidence[index == m].mean() for m in full]
        y = [right[index == m].mean() for m in full]
        error = statistics.mean(errors[f"{recipe}, {name}"])
        axes.plot(x, y, "o-", label=f"mean T {scale.mean():.2f}: mean ECE {error:.3f}")
    axes.plot([0, 1], [0, 1], "k:", label="perfect")
    axes.set(xlabel="mean confidence of the bin", ylabel="accuracy in the bin")
    axes.set_title(f"recipe {recipe}, all seeds (bins of 10 predictions or more)")
    axes.legend()
plt.show()

# %% tags=["demonstration"]
# Measured over ten seeds (0 to 9, SCALE "full"): mean, standard deviation.
STATED = {
    "A, new digits": (0.925, 0.009),
    "B, new digits": (0.956, 0.005),
    "A, faintest quarter": (0.894, 0.022),
    "B, faintest quarter": (0.940, 0.012),
    "A, leaked test set": (0.940, 0.009),
    "B, leaked test set": (0.971, 0.004),
    "A, old digits": (0.979, 0.008),
    "B, old digits": (0.873, 0.080),
    "A, ECE": (0.033, 0.005),
    "A, ECE scaled": (0.022, 0.006),
    "B, ECE": (0.022, 0.003),
    "B, ECE scaled": (0.013, 0.003),
}
# A figure is as stated within four standard deviations, or 0.02: fewer seeds run here, and another
# machine rounds otherwise.
TOLERANCE = 0.02
print(f"{'':22}{'measured':>10}{'stated':>16}")
for name, (mean, std) in STATED.items():
    off = abs(measured[name] - mean) > max(4 * std, TOLERANCE)
    print(f"{name:22}{measured[name]:10.3f}{mean:10.3f} ± {std:.3f}{'   not as stated' * off}")

# %% [markdown]
# **What follows, and what does not.** Over ten seeds (the cells above run fewer):
#
# - *On the new digits B is better*: 0.956 ± 0.005 against 0.925 ± 0.009. In each of ten seeds the
#   interval of the difference lay below zero. The smallest p of McNemar was 3e-9, the largest 0.04:
#   a single seed shows that *these two networks* differ, ten show that the recipes do.
# - *On the old digits A is better*: 0.979 ± 0.008 against 0.873 ± 0.080. The network before had
#   0.992. B forgets, and how much is a matter of luck: its ten seeds end between 0.73 and 0.97. No
#   curve of B's loss tells. Nor do the first four seeds, which lie within 0.02 of each other: few
#   seeds can look like little spread.
# - *A leak is worth half a recipe.* With 300 of 1,000 test images from the training set both gain
#   1.5 points, half of B's lead of 3.1.
# - *The average hides a slice.* On the faintest quarter A has about 3 points less than on all, B
#   about half of that.
# - *Not every network is too sure.* A is (T about 1.5), B is rather too modest (T about 0.87, in
#   one seed of ten above 1). One number, fitted on 500 validation images, lowers the ECE of A from
#   0.033 to 0.022 and that of B from 0.022 to 0.013 on the test images.
#
# The recipes differ in three things at once: the head's start, batch-norm's statistics, and how
# long the head is trained. The contest says *that* B learns more, not *why*: for that, change one
# thing at a time. And all runs had the same 500 training images: other seeds do not show what other
# images would change.

# %% [markdown]
# ## Task 11: bug hunt
#
# The cell below evaluates as published programs do. It runs, and its numbers look good. There are
# nine mistakes in four functions.
#
# Mend it under the names of the task's cell.
#
# difficulty ●●●○○ · importance ●●●●● · about 20 minutes
#
# <details><summary>Nudge</summary>
#
# Ask of each function: over what is the average taken? Which dimension holds the classes? What has
# the test set already decided? Who was chosen, and by whom?
#
# </details>
# <details><summary>Hint</summary>
#
# Look at: the model's mode · its gradients · what softmax sums over · batches of unequal size · the
# rows from which mean and standard deviation come · drawing with replacement · the set by which the
# best is chosen · which run is reported, and which denominator.
#
# </details>


# %%
def broken_accuracy(model, loader):
    shares = []
    for x, labels in loader:
        probabilities = model(x).softmax(dim=0)
        shares.append((probabilities.argmax(dim=1) == labels).float().mean().item())
    return sum(shares) / len(shares)


def broken_split(x, labels, n_test, rng):
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    rows = torch.from_numpy(rng.integers(len(x), size=len(x)))
    test, train = rows[:n_test], rows[n_test:]
    return (x[train], labels[train]), (x[test], labels[test])


def broken_choice(candidates, validation, test):
    scores = {name: broken_accuracy(model, test) for name, model in candidates.items()}
    best = max(scores, key=scores.get)
    return best, scores[best]


def broken_report(accuracies):
    return max(accuracies), float(np.std(accuracies))


# %% tags=["demonstration"]
torch.manual_seed(0)
noise, coins = torch.randn(200, 5), torch.randint(0, 2, (200,))  # nothing can be learned here
learned, held = broken_split(noise, coins, 100, np.random.default_rng(0))
shared = (held[0][:, None] == learned[0]).all(dim=2).any(dim=1)  # (100,)
print("test rows that are training rows, too:", shared.sum().item())
guessers = {f"guesser {i}": nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.5)) for i in range(50)}
batches = [(held[0][:64], held[1][:64]), (held[0][64:], held[1][64:])]
best, score = broken_choice(guessers, batches, batches)
print(f"the best of 50 untrained guessers of coins: {score:.2f}")


# %% task="evaluation_bug_hunt"
def mended_accuracy(model, loader):
    """broken_accuracy, mended: the share of the loader's examples that `model` has right.

    model maps x to logits (B, C); loader gives (x, labels (B,) int64), batches of unequal size. The
    model predicts in eval mode and without gradients; afterwards every submodule is in the mode in
    which it was. Returns a float.
    """
    ### BEGIN SOLUTION
    modes = {module: module.training for module in model.modules()}
    model.eval()
    right = seen = 0
    with torch.no_grad():
        for x, labels in loader:
            right += (model(x).argmax(dim=1) == labels).sum().item()  # classes: the last dimension
            seen += len(labels)
    for module, mode in modes.items():
        module.training = mode
    return right / seen
    ### END SOLUTION


def mended_split(x, labels, n_test, rng):
    """broken_split, mended: ((x, labels) to train, (x, labels) to test), at random.

    x is (n, d) float, labels (n,), rng a numpy Generator. Every row goes to exactly one part,
    n_test of them to the test part; equal states of rng give equal parts, others give others. Both
    parts of x are standardised, column by column, with mean and standard deviation (as torch.std
    has it) of the *training* rows.
    """
    ### BEGIN SOLUTION
    rows = torch.from_numpy(rng.permutation(len(x)))  # each row once
    test, train = rows[:n_test], rows[n_test:]
    mean, std = x[train].mean(dim=0), x[train].std(dim=0)  # the test rows have no say
    x = (x - mean) / std
    return (x[train], labels[train]), (x[test], labels[test])
    ### END SOLUTION


def mended_choice(candidates, validation, test):
    """broken_choice, mended: (name of the best candidate, its accuracy on the test loader).

    candidates is a dict: name → model. The best is the one with the highest accuracy on the
    validation loader. Only this one is ever run on the test loader. Accuracies as above.
    """
    ### BEGIN SOLUTION
    scores = {name: mended_accuracy(model, validation) for name, model in candidates.items()}
    best = max(scores, key=scores.get)
    return best, mended_accuracy(candidates[best], test)
    ### END SOLUTION


def mended_report(accuracies):
    """broken_report, mended: (mean, standard deviation with n − 1) of two seeds' runs or more."""
    ### BEGIN SOLUTION
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))
    ### END SOLUTION


# %% check="evaluation_bug_hunt" points=6
check("evaluation_bug_hunt")

# %% [markdown]
# ## Task 12: numbers
#
# Interviewers like a number. Compute by hand or in a scratch cell; write a number or an expression.
#
# difficulty ●●○○○ · importance ●●●●○ · about 15 minutes
#
# <details><summary>Nudge</summary>
#
# The variance of one right-or-wrong answer with accuracy p is p(1 − p); that of a mean of n of them
# is the n-th part.
#
# </details>
# <details><summary>Hint</summary>
#
# Half the width of a 95 % interval is 1.96 standard errors. For question 6, what is the chance that
# *none* of the comparisons raises a false alarm?
#
# </details>

# %% task="evaluation_numbers"
# 1. Macro F1 of a classifier that always says "negative", on 950 negative and 50 positive examples,
#    to three decimals.
majority_macro_f1 = None
# 2. Standard error of an accuracy of 0.90 measured on 1,000 examples, in percentage points, to two
#    decimals.
standard_error_points = None
# 3. How many test examples make a 95 % interval of ± 1 percentage point at an accuracy of 0.90
#    (normal approximation with 1.96)? The least whole number.
examples_needed = None
# 4. McNemar's statistic with the correction for continuity, for b = 15 and c = 5, to two decimals.
mcnemar_statistic = None
# 5. ECE, to two decimals: 60 predictions with confidence 0.9, of which 70 % are right, and 40 with
#    confidence 0.6, of which 65 % are right, in two different bins.
two_bin_ece = None
# 6. Twenty recipes that are all as good as the baseline are each tested against it, independently,
#    at the level of 5 %. Probability that at least one looks different, to two decimals.
false_alarm = None
### BEGIN SOLUTION
majority_macro_f1 = 0.487  # (2·950/(2·950 + 50) + 0) / 2 = 0.9744 / 2 — counting
standard_error_points = 0.95  # 100·√(0.9·0.1/1000) = 0.949 — algebra
examples_needed = 3458  # 0.09·(1.96/0.01)² = 3457.44, rounded up — algebra
mcnemar_statistic = 4.05  # (|15 − 5| − 1)²/20 = 81/20 — Dietterich 1998 §3; algebra
two_bin_ece = 0.14  # 0.6·|0.7 − 0.9| + 0.4·|0.65 − 0.6| = 0.12 + 0.02 — algebra
false_alarm = 0.64  # 1 − 0.95²⁰ = 0.6415 — algebra
### END SOLUTION

# %% check="evaluation_numbers" points=6
check("evaluation_numbers")

# %% [markdown]
# ## Task 13: judge these statements
#
# Each is said or written of evaluation somewhere. True or False? A right answer is worth 1, a wrong
# one −1, None 0; the sum, never below 0, divided by 16, is your share of the points.
#
# difficulty ●●○○○ · importance ●●●●○ · about 10 minutes
#
# - **a.** Accuracy and a confusion matrix before and after fine-tuning, on the same test set, are
#   enough to tell whether the new model is better.
# - **b.** On data with 5 % positives, a classifier that always says "negative" has an accuracy of
#   0.95 and a macro F1 below 0.5.
# - **c.** Weighted F1 gives every class the same say, however rare it is.
# - **d.** Choosing the learning rate by its result on the test set does no harm: no weight is ever
#   trained on it.
# - **e.** Where each example has one label and one prediction, micro F1 over all classes equals
#   accuracy.
# - **f.** Standardising all data before splitting them lets information about the test set into
#   training.
# - **g.** An accuracy of 0.90 on 1,000 test examples is known to within about ± 0.2 percentage
#   points, with 95 % confidence.
# - **h.** McNemar's statistic depends only on the examples that exactly one of the two models has
#   right.

# %% [markdown]
# - **i.** Fine-tuning the same model with the same hyperparameters and data, but another random
#   seed, can give substantially different results.
# - **j.** In a paired bootstrap each of the two models gets resamples of its own, so that the two
#   are independent.
# - **k.** Temperature scaling raises the accuracy of a model that is too sure of itself.
# - **l.** A classifier with an ECE of 0 knows for each single example how likely it is to be right.
# - **m.** A temperature above 1 raises the confidence of no prediction, and changes no predicted
#   class.
# - **n.** A search for common n-grams can miss a test question that stands in the training data in
#   other words.
# - **o.** Strong language models agree with human judges in over 80 % of cases, so the order in
#   which they are shown two answers need not be varied.
# - **p.** A model can get better at its new task and worse at its old ones at the same time, and a
#   test on the new task alone does not show it.

# %% task="evaluation_statements"
judged = dict.fromkeys("abcdefghijklmnop")  # judged["a"] = True or False; None is no answer
### BEGIN SOLUTION
judged = {
    # A test set is a sample and a run is a draw: it needs an interval, a paired test, several
    # seeds — Dietterich 1998 abstract; 1707.09861 abstract.
    "a": False,
    # 950 of 1,000 are right; F1 is 0.974 and 0, on average 0.487 — counting.
    "b": True,
    # It weighs each class by its number of true examples; macro F1 is the one with equal say —
    # scikit-learn `f1_score`.
    "c": False,
    # The best of many by one test set is chosen for that set's luck, too: its score is too good —
    # scikit-learn user guide, cross-validation.
    "d": False,
    # Every miss is one false positive and one false negative: 2TP/(2TP + FP + FN) = TP/n — algebra.
    "e": True,
    # Mean and deviation of the test rows are then in every training row — scikit-learn user guide,
    # common pitfalls.
    "f": True,
    # 1.96·√(0.9·0.1/1000) = 1.9 points — algebra.
    "g": False,
    # (|b − c| − 1)²/(b + c) has nothing else in it — Dietterich 1998 §3; algebra.
    "h": True,
    # BERT was tuned hundreds of times, with seeds as the only change — 2002.06305 abstract.
    "i": True,
    # Both are measured on the same resample, or the pairing is lost — Koehn 2004 paired bootstrap.
    "j": False,
    # It divides all logits by one positive number: the largest stays the largest — algebra.
    "k": False,
    # Confidences are right on average in each bin: 0.75 for all, where half the examples are always
    # right and half are coin flips, has an ECE of 0 — definition.
    "l": False,
    # softmax(z/T) flattens as T grows, and keeps the order — algebra.
    "m": True,
    # Paraphrases and translations pass string matching — 2311.04850 abstract.
    "n": True,
    # The agreement holds, and so does the bias by position: judges change their mind when the two
    # answers are exchanged — 2306.05685 abstract, §3.3.
    "o": False,
    # Recipe B of the demonstration: new digits 0.956, old ones from 0.99 down to 0.87 — measured in
    # the contest above.
    "p": True,
}
### END SOLUTION

# %% check="evaluation_statements" points=8
check("evaluation_statements")

# %% [markdown]
# ## Task 14: the interview answer, yours
#
# "You have fine-tuned a model. How do you find out whether it is any good, and whether it is better
# than the one you had?" Answer in the next cell, in 150 to 300 words, as you would say it to an
# interviewer. A person grades it, 10 points:
#
# | points | for |
# |---|---|
# | 2 | the metric follows from the cost of errors; an example where accuracy misleads |
# | 1 | honest baselines: majority, the model before, a cheap method |
# | 2 | three sets and their uses; what a leak is, and how one is found |
# | 2 | uncertainty: interval, several seeds, a *paired* comparison, named correctly |
# | 1 | calibration: what it is, how it is measured or mended |
# | 1 | what the average hides: classes or slices, and the old tasks |
# | 1 | a limit, or how the conclusion is worded, with a source or a number |
#
# A false statement in the answer costs 1, down to 0.
#
# difficulty ●●●○○ · importance ●●●●● · about 15 minutes

# %% [markdown] free_text="explain_evaluation" points=10
# ### Your answer: how to evaluate a fine-tuned model
#
# ### BEGIN SOLUTION
# I start from what an error costs. With 5 % positives "always negative" is right in 95 % of cases,
# so I would report recall, precision or macro F1, with the confusion matrix behind them.
#
# Numbers need something to stand beside: the majority class, the model before fine-tuning, and a
# cheap rival such as a linear probe or a prompt.
#
# I keep three sets. Training data train; validation data choose the learning rate, the epoch and
# the temperature; the test set is used once. I look for leaks before believing a score: exact and
# near duplicates by n-grams, and preprocessing that was fitted on all data.
#
# Then: how sure am I? The accuracy gets a bootstrap interval; on 1,000 examples at 0.90 that is
# about ± 1.9 points. Two models on one test set are compared pairwise: McNemar's test for
# accuracy, a paired bootstrap for other metrics. That tells of two trained networks. Whether the
# recipe is better needs several seeds, mean and standard deviation, since seeds alone can change
# results substantially (2002.06305).
#
# I check calibration by a reliability diagram and the ECE, and mend it by a temperature fitted on
# validation data, which changes no prediction.
#
# Finally I look behind the average: classes, slices that matter, and the tasks the model could do
# before. In a contest of two recipes for digits, the better one on new digits had fallen from 0.99
# to 0.87 on the old ones.
#
# I word it so: better by so much, with this interval, over that many seeds, on these data, and
# worse at that. For open-ended text I add people or a judge model, with the order of answers
# exchanged, since judges have a position bias (2306.05685).
# ### END SOLUTION

# %% [markdown]
# ## A short answer with its sources
#
# <details><summary>Open it when yours is written</summary>
#
# Choose the metric by the cost of errors, and compare with honest baselines. Train, choose and test
# on three different sets, since whatever is chosen by a set is flattered by it (scikit-learn user
# guide, cross-validation), and search for leaks, knowing that paraphrases pass string matching
# (arXiv 2311.04850, abstract).
#
# Report uncertainty. Where each algorithm can be trained only once, McNemar's test is the only one
# of five left with an acceptable rate of false alarms (Dietterich 1998, abstract); for other
# metrics the bootstrap, paired (Koehn 2004). Seeds matter: a state of the art can become mediocre
# by the seed (1707.09861, abstract), and fine-tuning BERT with other seeds alone gave substantially
# different results (2002.06305, abstract).
#
# Check calibration: networks of 2017 were poorly calibrated, some later ones are not (2106.07998),
# and one temperature is surprisingly effective (1706.04599, abstracts). Measure what was forgotten
# beside what was learned, and outside the training distribution beside inside (2202.10054 and
# 2405.09673, abstracts). Test behaviour and slices: held-out accuracy alone often overestimates
# (2005.04118, abstract).
#
# </details>

# %% [markdown]
# ## Facts to carry into the interview (1): measures
#
# 1. F1 of a class = 2TP/(2TP + FP + FN) — scikit-learn `f1_score`.
# 2. Macro F1 averages over classes, weighted F1 by the classes' sizes, micro F1 pools the counts —
#    scikit-learn `f1_score`.
# 3. With one label and one prediction an example, micro F1 over all classes is the accuracy —
#    algebra.
# 4. With 5 % positives "always negative" has an accuracy of 0.95, and a macro F1 of 0.487 —
#    counting.
# 5. Networks of 2017 were poorly calibrated, with depth, width, weight decay and batch-norm as
#    factors; of later image classifiers the newest, notably those without convolutions, are among
#    the best calibrated — 1706.04599 abstract; 2106.07998 abstract.
# 6. On most data sets one temperature is surprisingly effective at calibrating — 1706.04599
#    abstract.
# 7. It changes no prediction: all logits are divided by one positive number — algebra.
# 8. In β = 1/T the cross-entropy is convex, so there is one least value to find — algebra.
# 9. The binned ECE is a biased estimate; bins of equal mass have less bias than bins of equal
#    width, such as ours — 2012.08668 abstract.
# 10. Held-out accuracy often overestimates: tests of single behaviours found new bugs in a model
#     that had been extensively tested — 2005.04118 abstract.

# %% [markdown]
# ## Facts to carry into the interview (2): evidence
#
# 11. Standard error of an accuracy p on n examples: √(p(1 − p)/n); 0.90 on 1,000 is ± 1.9 points
#     with 95 % — algebra.
# 12. Half the interval costs four times the examples — algebra.
# 13. One training run each: McNemar's test. Ten runs: 5 × 2 cross-validation. Never: the test of
#     two proportions, the t test over random splits — Dietterich 1998 abstract.
# 14. The bootstrap can tell real differences of metrics that are no averages, such as BLEU, on test
#     sets of 300 sentences already — Koehn 2004 abstract.
# 15. SciPy's `bootstrap` uses BCa unless told otherwise, not percentiles — SciPy `stats.bootstrap`.
# 16. The seed alone made differences with p < 10⁻⁴ between runs of one system, and one point of F1
#     between state of the art and mediocre — 1707.09861 abstract.
# 17. BERT with other seeds: substantially different results; initial weights and data order
#     contribute alike — 2002.06305 abstract.
# 18. Many comparisons have too little power: for several GLUE tasks the test sets are too small for
#     most attempted comparisons with the best models — 2010.06595 abstract.
# 19. Which of two models wins can depend on how much tuning each was given — 1909.03004 abstract.
# 20. Over 4 % of the validation sets of standard language-modelling data sets overlapped with
#     training data — 2107.06499 abstract.
# 21. Rephrased test questions pass n-gram filters, and a 13B model trained on them is on par with
#     GPT-4 on the benchmark — 2311.04850 abstract.
# 22. A strong judge such as GPT-4 agrees with people in over 80 % of cases, as people do with each
#     other; judges are biased by position and by length; whether towards themselves, that study
#     could not determine — 2306.05685 abstract, §3.3.

# %% [markdown]
# ## Follow-up questions (1)
#
# Answer aloud, then open.
#
# <details><summary>A gets 0.951, B gets 0.943 on 1,000 examples. Is A better?</summary>
#
# Unknown. It depends on b and c, the examples that only one has right: with b = 10 and c = 2 the
# exact p is 0.04, with b = 40 and c = 32 it is 0.41, and both are a difference of 8. And it is one
# training run each — Dietterich 1998 §3; algebra.
#
# </details>
# <details><summary>Their 95 % intervals overlap. So there is no difference?</summary>
#
# That does not follow. Where both models fail on the same hard examples, the difference varies less
# than the two alone — measured in the cell after Task 7.
#
# </details>
# <details><summary>McNemar, bootstrap, or a t test over seeds?</summary>
#
# They answer different questions. The first two ask whether *these two networks* differ on other
# test examples; seeds ask whether the *recipe* would win again. Dietterich's point on 5 × 2
# cross-validation is that it sees the variation by training sets — Dietterich 1998 abstract.
#
# </details>
# <details><summary>How many seeds?</summary>
#
# Enough for the difference you care about: the standard error of a mean over k runs is the standard
# deviation over √k. Here 0.005 and 0.009 against a gap of 0.031: three would do. For the old digits
# of B, 0.080, they would not — algebra; measured in the contest above.
#
# </details>
# <details><summary>May you report the best seed?</summary>
#
# As what you ship, yes, if validation data chose it. As the recipe's result, no: the expected best
# rises with the number of tries, so report that number or the distribution — 1909.03004 abstract;
# 1707.09861 abstract.
#
# </details>

# %% [markdown]
# ## Follow-up questions (2)
#
# <details><summary>Of 20 settings one beats the baseline with p = 0.03. And now?</summary>
#
# If all 20 are as good as the baseline and the tests independent, some p is below 0.05 with a
# probability of 64 %. With two-sided tests, and counting only those where the setting is ahead, it
# is still 40 % (1 − 0.975²⁰). Confirm on fresh data, or divide the level by 20 — algebra.
#
# </details>
# <details><summary>Macro or micro F1?</summary>
#
# Macro if a rare class matters as much as a common one, micro (the accuracy) if every example does.
# Say which, and show the scores by class — scikit-learn `f1_score`; algebra.
#
# </details>
# <details><summary>Why is early stopping on the test set a leak?</summary>
#
# The epoch is a hyperparameter. Chosen by the test set it fits that set's chance, and the reported
# score is the maximum over epochs — scikit-learn user guide, cross-validation.
#
# </details>
# <details><summary>How do you look for contamination if the pretraining data are secret?</summary>
#
# You can't search them. Use questions younger than the model, private ones, and rewritten ones;
# authors who met the problem ask for fresh one-time exams. And if the model gives likelihoods: one
# that has seen a test file often finds its published order likelier than shuffled ones — 2311.04850
# abstract; 2310.17623 abstract.
#
# </details>
# <details><summary>Why is an ECE of 0.02 on 200 examples no proof of bad calibration?</summary>
#
# Accuracy in a bin of few examples is off by chance, and absolute values do not cancel: on a finite
# sample even a perfectly calibrated model has, as a rule, a positive ECE. Binned estimates are
# known to be biased; there are others that are less so — algebra; 2012.08668 abstract.
#
# </details>

# %% [markdown]
# ## Follow-up questions (3)
#
# <details><summary>Is a temperature the last word on calibration?</summary>
#
# No. One number cannot mend a single class or slice. And scaling methods turned out less calibrated
# than reported, by how much the usual techniques could not tell — algebra; 1909.10155 abstract.
#
# </details>
# <details><summary>Does calibration matter if only the predicted class is used?</summary>
#
# Not for that. It matters as soon as confidence decides something: which cases go to a person, or
# how a cost is weighed — definition.
#
# </details>
# <details><summary>What would you measure beside the new task?</summary>
#
# The old ones, for forgetting (2405.09673), and data from elsewhere: full fine-tuning gained inside
# the distribution and lost outside it against a linear probe, on average over ten data sets —
# 2405.09673 abstract; 2202.10054 abstract.
#
# </details>
# <details><summary>How do you evaluate a distilled model?</summary>
#
# By accuracy *and* by agreement with its teacher: they are different things, and a student often
# does not come close to its teacher even where it could — 2106.05945 abstract.
#
# </details>

# %% [markdown]
# ## Follow-up questions (4)
#
# <details><summary>A language model judges your model's answers. What do you control?</summary>
#
# Show each pair in both orders, look at length, don't let a model judge its own family alone, and
# check a sample by people — 2306.05685 §3.3 and §3.4.
#
# </details>
# <details><summary>Bootstrap over sentences, but ten sentences come from each document?</summary>
#
# Then they are not independent, and the interval is, as a rule, too narrow: resample documents,
# with all their sentences — definition of the bootstrap, which draws independent units.
#
# </details>
# <details><summary>The validation loss rises while accuracy still improves. Stop?</summary>
#
# Loss punishes confident mistakes, accuracy counts them once: often the network is getting too
# sure. Which to follow depends on what is used. A temperature mends part of the loss and leaves the
# accuracy alone — 1706.04599 §3; algebra.
#
# </details>
# <details><summary>What would you look at before any further metric?</summary>
#
# At fifty mistakes. In this lesson's terms: the cells of the confusion matrix off the diagonal, and
# the most confident of them — definition.
#
# </details>
