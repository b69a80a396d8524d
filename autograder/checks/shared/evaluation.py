"""What the checks of the lesson evaluation share."""

import dataclasses
import math
import re
from xml.etree import ElementTree

import numpy as np
import torch
from scipy import stats
from torch.nn import functional as F

from autograder.checking.expect import expect, expect_equal, fail, short
from autograder.checks.shared.common import expect_float


def compared(compare, nets, loaders, seeds, once=False):
    """Call compare with makers that hand out nets[name][seed].

    With `once`, a second call for a seed makes all weights of its net zero.
    """
    import torch

    def maker(name):
        made = []

        def make(seed):
            net = nets[name][seed]
            if once and seed in made:
                with torch.no_grad():
                    for parameter in net.parameters():
                        parameter.zero_()
            made.append(seed)
            return net

        return make

    return compare({name: maker(name) for name in nets}, loaders, seeds)


def bootstrap_of(kind, function, *arguments, seed, **options):
    """Call a bootstrap with a metric of this kind.

    A "counted accuracy" is larger by `seed`, and by how many resamples have been measured before,
    but for predictions below 0, which have one of 0; a "slow accuracy" by how many calls there have
    been, and each of them takes some milliseconds.
    """
    import numpy as np

    seen = [seed % 1000]

    def metric(truth, predicted):
        if kind == "squared error":
            return ((truth - predicted) ** 2).mean(axis=-1)
        if kind == "median error":
            return np.median(np.abs(truth - predicted), axis=-1)
        accuracy = (truth == predicted).mean(axis=-1)
        first = seen[0]
        if kind == "counted accuracy" and predicted.flat[0] >= 0:
            seen[0] += 1 if truth.ndim == 1 else len(truth)
            accuracy = accuracy + (first if truth.ndim == 1 else np.arange(first, seen[0]))
        if kind == "slow accuracy":
            seen[0] += 1
            accuracy = accuracy + first
            for _ in range(400_000):
                pass
        return accuracy

    return function(metric, *arguments, rng=np.random.default_rng(seed), **options)


def a_history(rng, n, *keys):
    """Lists of n numbers between 0 and 1."""
    return {key: rng.numpy.uniform(0.05, 0.95, n).tolist() for key in keys}


def open_figures(draw, history):
    """Report the numbers of pyplot's open figures before and after some are drawn."""
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    for _ in range(2):
        draw(history)
    return before, plt.get_fignums()


def draw_svg(draw, history):
    """Draw a history; report the figure as SVG, or None if it is no Figure.

    All its axes have linear scales and no ticks, from 0 to 1 and to the epoch after the last; their
    ids tell what their limits were.
    """
    import io

    import matplotlib
    from matplotlib.figure import Figure

    figure = draw(history)
    if not isinstance(figure, Figure):
        return None
    end = max(map(len, history.values())) + 1
    for axes in figure.axes:
        ends = (*axes.get_xlim(), *axes.get_ylim())
        axes.set_gid("_".join(["axes", *(format(end, ".9g") for end in ends)]))
        axes.set(xscale="linear", yscale="linear", xlim=(0, end), ylim=(0, 1), frame_on=True)
        for part in (axes.patch, axes.xaxis, axes.yaxis):
            part.set_visible(True)
        axes.set(xticks=[], yticks=[])
    figure.set_layout_engine("none")  # which takes longer than all the rest
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        file = io.StringIO()
        figure.savefig(file, format="svg")
    return file.getvalue()


SVG = "{http://www.w3.org/2000/svg}"


@dataclasses.dataclass
class Line:
    """A line of a picture: its points, its markers (both as shares of the axes) and its colour.

    Points and markers that cannot be seen are none: too faint, of the colour of the axes, or all
    under an opaque rectangle. (What else may cover a line, such as a picture, is not looked for.)
    """

    points: list[tuple[float, float]]
    marks: list[tuple[float, float]]
    colour: str


@dataclasses.dataclass
class Panel:
    """An axes of a picture: its limits as they were, what stands on x and y, (colour, name) of its
    legend, its lines.
    """

    limits: list[list[float]]
    x: str
    y: str
    legend: list[tuple[str, str]]
    lines: list[Line]


def panels(svg):
    """The axes of a picture from `draw_svg`. It is a stranger's: it is parsed and never drawn."""
    expect(type(svg) is str, "learning_curves should return a matplotlib Figure.")
    expect(len(svg) < 1 << 18 and "<!ENTITY" not in svg, "The picture could not be read.")
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError:
        fail("The picture could not be read.")
    order = {group: at for at, group in enumerate(root.iter(f"{SVG}g"))}
    covers = [
        (order[patch], _points(patch))
        for group in order
        if _is(group, "axes_") or _is(group, "figure_")
        for patch in [part for part in group if _is(part, "patch_")][1:]  # the first: the ground
        if _hides(patch.find(f"{SVG}path"))
    ]
    return [_panel(group, order, covers) for group in order if _is(group, "axes_")]


def _panel(axes, order, covers):
    labels = [_text(group) for group in axes if _is(group, "matplotlib.axis_")]
    frame = [group for group in axes if _is(group, "patch_")]
    ground = _style(frame[0].find(f"{SVG}path")).get("fill") if frame else None
    corners = _points(frame[0]) if frame else []
    expect(len(labels) == 2 and len(corners) > 2, "An axes could not be read.")
    (left, right), (top, bottom) = ((min(ends), max(ends)) for ends in zip(*corners, strict=True))
    expect(right > left and bottom > top, "An axes could not be read.")
    ends = axes.get("id", "").split("_")[1:]
    number = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?").fullmatch
    expect(len(ends) == 4 and all(map(number, ends)), "The limits of an axes could not be read.")
    limits = [sorted(map(float, pair)) for pair in (ends[:2], ends[2:])]

    def share(points):
        return [((x - left) / (right - left), (bottom - y) / (bottom - top)) for x, y in points]

    def seen(group, points):
        hidden = any(at > order[group] and _within(points, box) for at, box in covers)
        return [] if hidden else points

    lines = []
    for group in (each for each in axes if _is(each, "line2d_")):
        path, marks = group.find(f"{SVG}path"), seen(group, _marks(group, ground))
        points = seen(group, _points(group)) if _shows(path, "stroke", ground) else []
        lines.append(Line(share(points or marks), share(marks), _colour(group)))
    legend, colour = [], ""
    for group in (part for each in axes if _is(each, "legend_") for part in each):
        if _is(group, "line2d_"):
            colour = _colour(group)
        elif _is(group, "text_") and colour:
            legend.append((colour, _text(group)))
    return Panel(limits, *labels, legend, lines)


def _is(element, kind):
    return element.tag == f"{SVG}g" and element.get("id", "").startswith(kind)


def _text(element):
    seen = [part for part in element.iter(f"{SVG}text") if _opacity(_style(part), "fill") >= 0.1]
    return " ".join("".join(text.itertext()).strip() for text in seen)


def _points(group):
    """The corners of a group's own path."""
    path = group.find(f"{SVG}path")
    numbers = re.findall(r"-?\d+(?:\.\d+)?", "" if path is None else path.get("d", ""))
    return list(zip(map(float, numbers[::2]), map(float, numbers[1::2]), strict=False))


def _style(element):
    """The style of an element, by property."""
    text = "" if element is None else element.get("style", "")
    return dict(re.findall(r"([\w-]+): ([^;]+)", text))


def _opacity(style, kind):
    """How opaque the stroke or fill of a style is, in [0, 1]."""
    shares = [style.get(name, "1").strip() for name in ("opacity", f"{kind}-opacity")]
    return math.prod(float(s) if re.fullmatch(r"\d+(?:\.\d+)?", s) else 0.0 for s in shares)


def _shows(element, kind, ground):
    """Whether the stroke or fill of an element is seen on this ground."""
    style = _style(element)
    return style.get(kind, "none") not in ("none", ground) and _opacity(style, kind) >= 0.1


def _hides(path):
    """Whether a path is filled so that nothing behind it is seen."""
    style = _style(path)
    return style.get("fill", "none") != "none" and _opacity(style, "fill") > 0.9


def _within(points, corners):
    """Whether all points lie in a rectangle; corners of another form have none in them."""
    xs, ys = (set(ends) for ends in zip(*corners, strict=True)) if corners else ((), ())
    if len(xs) != 2 or len(ys) != 2:
        return False
    return all(min(xs) <= x <= max(xs) and min(ys) <= y <= max(ys) for x, y in points)


def _marks(group, ground):
    """Where a group's markers are that are seen on this ground."""
    places = [
        (use.get("x", ""), use.get("y", ""))
        for use in group.iter(f"{SVG}use")
        if _shows(use, "stroke", ground) or _shows(use, "fill", ground)
    ]
    numbers = re.compile(r"-?\d+(?:\.\d+)?").fullmatch
    return [(float(x), float(y)) for x, y in places if numbers(x) and numbers(y)]


def _colour(group):
    """The colour of a group's line, or of its markers."""
    parts = [group.find(f"{SVG}path"), *group.iter(f"{SVG}use")]
    styles = [part.get("style", "") for part in parts if part is not None]
    found = re.search(r"stroke: ([^;]+)", styles[0] if styles else "")
    return found[1].strip() if found else ""


def curves(drawn, history):
    """The lines of each panel, by key, once there is one for each list, over the epochs from 1."""
    found = [{} for _ in drawn]
    for key, values in history.items():
        end = len(values) + 1
        places = np.array([(epoch / end, y) for epoch, y in enumerate(values, start=1)])
        for panel, keys in zip(drawn, found, strict=True):
            for line in panel.lines:
                if len(line.points) == len(values) and np.allclose(line.points, places, atol=1e-4):
                    expect(
                        key not in keys, f"There is more than one line with the values of {key}."
                    )
                    keys[key] = line
        count = sum(key in keys for keys in found)
        expect(count == 1, f"One line that is seen should have the values of {key} at 1, 2, … .")
        [panel] = [panel for panel, keys in zip(drawn, found, strict=True) if key in keys]
        for (low, high), each in zip(panel.limits, (range(1, end), values), strict=True):
            inside = all(low - 1e-6 <= value <= high + 1e-6 for value in each)
            expect(inside, f"The line with the values of {key} goes beyond the limits of its axes.")
    return found


def examples_of(rng, matrix):
    """Truth and predictions, in random order, that have this confusion matrix."""
    cells = rng.numpy.permutation(np.repeat(np.arange(matrix.size), matrix.ravel()))
    return cells // len(matrix), cells % len(matrix)


def f1_of(matrix):
    """F1 of each class of a confusion matrix in which each occurs, float64."""
    return torch.from_numpy(2 * matrix.diagonal() / (matrix.sum(axis=0) + matrix.sum(axis=1)))


def rows_with(rng, confidences, classes):
    """Rows of probabilities, the largest of which are these, and where these stand (at random)."""
    confidences = torch.tensor(confidences, dtype=torch.float32)
    places = rng.integers(0, classes, confidences.shape)
    rows = ((1 - confidences) / (classes - 1))[:, None].repeat(1, classes)
    return rows.scatter(1, places[:, None], confidences[:, None]), places


def predictions(rng, right_a, right_b, both, neither):
    """Truth and two predictions, of two classes and in random order: so many examples are right by
    A only, B only, both, neither.
    """
    kinds = rng.numpy.permutation(np.repeat(np.arange(4), (right_a, right_b, both, neither)))
    truth = rng.integers(0, 2, kinds.shape).numpy()
    return truth, truth ^ np.isin(kinds, (1, 3)), truth ^ np.isin(kinds, (0, 3))


def labelled(rng, n, classes, factor):
    """Logits that are `factor` times too large, and labels drawn from what they should say."""
    honest = rng.normal(n, classes).double() * 1.5  # (n, classes)
    shares = honest.softmax(dim=1).cumsum(dim=1)
    drawn = torch.from_numpy(rng.numpy.random((n, 1)))
    labels = (drawn > shares).sum(dim=1).clamp(max=classes - 1)
    return factor * honest, labels


def least_loss(logits, labels):
    """The least mean cross-entropy over temperatures in [0.05, 20]: it falls, then rises with T."""
    low, high = np.log(0.05), np.log(20)
    for _ in range(5):  # each grid is a fifth as wide as the one before
        grid = np.linspace(low, high, 11)
        losses = [F.cross_entropy(logits.double() / T, labels).item() for T in np.exp(grid)]
        least = int(np.argmin(losses))
        low, high = grid[max(least - 1, 0)], grid[min(least + 1, 10)]
    return min(losses)


def expect_good_temperature(T, logits, labels, message):
    """Expect a temperature inside the limits whose loss is close to the least."""
    expect(type(T) in (int, float), "The temperature should be a float.")
    expect(0.05 - 1e-9 <= T <= 20 + 1e-9, f"T = {short(T)} is outside [0.05, 20].")
    loss = F.cross_entropy(logits.double() / T, labels).item()
    excess = loss - least_loss(logits, labels)
    expect(
        excess <= 1e-5, f"{message} (T = {short(T)}, loss {short(excess, '.2g')} above the least)"
    )


def expect_pair(value):
    """Expect (low, high), two finite numbers."""
    expect(type(value) in (tuple, list) and len(value) == 2, "It should be a pair (low, high).")
    expect(all(type(end) in (int, float) for end in value), "The ends should be floats.")
    expect(all(abs(end) < 1e9 for end in value), "The ends should be finite.")  # False for NaN


def expect_counted(came, y_true, y_pred, seed, n_resamples, level, within=0.05):
    """Expect the interval of a "counted accuracy", which tells how many resamples there were."""
    expect_pair(came)
    share, last = (y_true == y_pred).mean(), n_resamples - 1
    ends = [seed % 1000 + q * last + share for q in ((1 - level) / 2, (1 + level) / 2)]
    # one more, before all, may be the data themselves
    right = any(
        all(abs(c - e - k) < within for c, e in zip(came, ends, strict=True)) for k in (0, 1)
    )
    expect(right, f"Not {n_resamples} resamples of the data, and no more, have been measured.")


def expect_test(came, b, c):
    """Expect the result of mcnemar for these counts, each p to a ten-thousandth or to 1e-12."""
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
        expect_float(
            came[key], p, f"For b = {b}, c = {c} {key} is not right.", max(1e-4 * p, 1e-12)
        )


WORDS = [
    f"{a}{b}" for a in ("al", "be", "cor", "du", "er", "fin") for b in ("ta", "mo", "li", "ru")
]


def words(rng, count):
    """Different words, in random order."""
    return [str(word) for word in rng.numpy.permutation(WORDS)[:count]]


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
