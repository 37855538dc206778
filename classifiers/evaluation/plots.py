"""The charts of a comparison as PNG. Only this module imports matplotlib; it changes no global state."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from classifiers.evaluation.figures import Evaluation
from classifiers.evaluation.trust import ECE_BINS, Reliability

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666", "#b2a000")
"""Colours of Okabe and Ito, which colour-blind readers can distinguish too."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

MOST_CLASSES = 15
"""Maximum number of classes in a confusion matrix; more cannot be read on a phone."""
DPI = 150
ENOUGH_ROWS = 10
"""Least number of rows of a bin that is drawn in full in a reliability diagram."""


@dataclass(frozen=True, slots=True)
class Point:
    """One head in `accuracy_by_parameters`; `group` decides its colour, `kind` its marker.

    `name` is written beside the best head of each group.
    """

    parameters: int
    accuracy: float
    group: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Line:
    """A curve of accuracy in 0…1 against the number of components; `marked` is the index of the point to mark."""

    components: Sequence[int]
    accuracy: Sequence[float]
    marked: int


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of `width` × `height` inches, and its axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    tidy(axes)
    return figure, axes


def tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def png(figure: Figure) -> bytes:
    """Return the figure as PNG; the same figure gives the same bytes."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def most_confused(evaluation: Evaluation, most: int = MOST_CLASSES) -> NDArray[np.intp]:
    """Return the columns, in order, of the `most` classes with the most errors as true or as predicted class."""
    wrong = evaluation.confusion - np.diag(np.diag(evaluation.confusion))
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    return np.sort(np.argsort(-errors, kind="stable")[:most])


def confusion(evaluation: Evaluation) -> Figure:
    """Draw the number of rows by true and predicted class; the colour is the share of the true class."""
    shown = most_confused(evaluation)
    names = [shortened(evaluation.classes[k]) for k in shown]
    counts = evaluation.confusion[np.ix_(shown, shown)]
    shares = counts / np.maximum(evaluation.support[shown], 1)[:, None]
    side = 2.6 + 0.32 * len(shown)
    figure, axes = canvas(side, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xticks(range(len(shown)), names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), names)
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[true, predicted] > 0.6 else "black"
            axes.text(predicted, true, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


class Measured(Protocol):
    """Figures with bins of reliability."""

    @property
    def reliability(self) -> Reliability: ...


def reliability(heads: Mapping[str, Measured]) -> Figure:
    """Draw accuracy against confidence in bins, one line for each head, and below it the rows of the first head.

    Bins with fewer than `ENOUGH_ROWS` rows show little: they are faint, and no line goes through them.
    """
    figure = Figure(figsize=(5.2, 5.6), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="perfectly calibrated")
    for number, (name, evaluation) in enumerate(heads.items()):
        bins, colour = evaluation.reliability, COLOURS[number % len(COLOURS)]
        many = bins.rows >= ENOUGH_ROWS
        line = {"color": colour, "linewidth": 1.4, "marker": "o", "markersize": 5, "clip_on": False}
        axes.plot(bins.confidence[many], bins.accuracy[many], label=name, **line)
        axes.scatter(
            bins.confidence[~many], bins.accuracy[~many], s=14, color=colour, alpha=0.35, linewidth=0, clip_on=False
        )
        if number == 0:
            below.bar(bins.low, bins.rows, width=1 / ECE_BINS, align="edge", color=colour)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    below.set(xlabel="confidence", ylabel="rows")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    for part in (axes, below):
        tidy(part)
    return figure


def accuracy_by_parameters(
    points: Sequence[Point], best: int, interval: tuple[float, float], figure_name: str = "accuracy"
) -> Figure:
    """Draw the accuracy (or another figure) of each head against its number of parameters, on a logarithmic axis.

    Args:
        points: best head first.
        best: index of the head to ring.
        interval: interval of the best head's accuracy, drawn as a band.
    """
    figure, axes = canvas(7.0, 4.6)
    groups = sorted({point.group for point in points}, key=lambda group: (group.count("\n"), group))
    kinds = sorted({point.kind for point in points})
    colours = {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(groups)}
    markers = {kind: MARKERS[i % len(MARKERS)] for i, kind in enumerate(kinds)}
    axes.axhspan(*interval, color="#999999", alpha=0.15, linewidth=0)
    named: set[str] = set()
    for point in points:
        colour, at = colours[point.group], (point.parameters, point.accuracy)
        axes.scatter(*at, color=colour, marker=markers[point.kind], s=32, alpha=0.7, linewidth=0, zorder=3)
        if point.group not in named:
            axes.annotate(
                point.name,
                at,
                (9, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=colour,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.8},
                zorder=4,
            )
        named.add(point.group)
    ringed = points[best]
    axes.scatter(ringed.parameters, ringed.accuracy, s=150, facecolor="none", edgecolor="black", linewidth=1.2)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.set(xlabel="parameters", ylabel=f"validation {figure_name}")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    legend = [axes.scatter([], [], color=colours[group], label=group) for group in groups]
    legend += [axes.scatter([], [], color="#444444", marker=markers[kind], label=kind) for kind in kinds]
    axes.legend(handles=legend, fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def shot_curves(curves: Mapping[str, Sequence[tuple[int, float, float, float]]]) -> Figure:
    """Draw the accuracy of each head against the number of training rows per class, with its interval as a band.

    Args:
        curves: for each head, (rows per class, accuracy, low, high) of its points.
    """
    figure, axes = canvas(6.0, 5.0)
    for i, (name, points) in enumerate(curves.items()):
        if points:
            shots, values, lows, highs = zip(*points, strict=True)
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            axes.plot(shots, values, label=name, color=colour, marker=marker, linewidth=1.4, markersize=4)
            axes.fill_between(shots, lows, highs, color=colour, alpha=0.12, linewidth=0)
    marks = sorted({point[0] for points in curves.values() for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(marks, [str(mark) for mark in marks])
    axes.set(xlabel="training rows of each class", ylabel="accuracy")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center")
    return figure


def accuracy_by_cost(
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]],
    alone: Mapping[str, tuple[float, float]],
    unit: str,
) -> Figure:
    """Draw accuracy against cost: one line for each way of combining encoders, with its interval, and single encoders.

    Args:
        lines: for each line, (cost, accuracy, low, high) of its points.
        alone: (cost, accuracy) of each encoder alone, drawn as a cross with its name.
        unit: unit of the costs.
    """
    figure, axes = canvas(6.4, 4.6)
    for i, (name, points) in enumerate(lines.items()):
        costs, values, lows, highs = zip(*points, strict=True)
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(costs, values, label=name, color=colour, marker=marker, linewidth=1.4, markersize=4)
        axes.fill_between(costs, lows, highs, color=colour, alpha=0.12, linewidth=0)
    for name, at in alone.items():
        axes.scatter(*at, color="#444444", marker="x", s=30, zorder=3)
        axes.annotate(shortened(name), at, (5, -9), textcoords="offset points", fontsize=7, color="#444444")
    axes.set(xlabel=f"cost, {unit}", ylabel="accuracy")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.grid(color="#dddddd", linewidth=0.6)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center")
    return figure


def pca(
    lines: Mapping[str, Line], figure_name: str = "accuracy", ringed: str = "ringed: 80 % of the variance"
) -> Figure:
    """Draw accuracy, or another figure, against the number of principal components, one line for each encoder or head.

    Args:
        ringed: what the marked points are.
    """
    figure, axes = canvas(6.4, 4.2)
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(line.components, line.accuracy, marker=".", color=colour, label=name, linewidth=1.2)
        axes.scatter(
            line.components[line.marked], line.accuracy[line.marked], s=80, facecolor="none", edgecolor=colour, zorder=3
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set(xlabel=f"principal components ({ringed})", ylabel=f"validation {figure_name}")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return figure


def by_epoch(lines: Mapping[str, Sequence[float]], figure_name: str) -> Figure:
    """Draw a figure by epoch of training, one line for each name; the first epoch is 1."""
    figure, axes = canvas(6.0, 4.2)
    for i, (name, values) in enumerate(lines.items()):
        axes.plot(range(1, len(values) + 1), values, label=name, color=COLOURS[i % len(COLOURS)], linewidth=1.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set(xlabel="epoch", ylabel=figure_name)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def shortened(text: str, most: int = 18) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
