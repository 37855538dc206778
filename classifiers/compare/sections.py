"""The sections of a comparison's page on its winner: mistakes with their photos, confusions, classes, class balance."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.comparison import Comparison
from classifiers.compare.family import ANY_LABELS
from classifiers.compare.label_outcomes import LabelMeasured
from classifiers.compare.mistakes import Mistake, Shown
from classifiers.evaluation.figures import AURC, Evaluation
from classifiers.evaluation.html import bar, table
from classifiers.evaluation.label_figures import LabelEvaluation
from classifiers.evaluation.learning_curve import LearningCurve
from classifiers.evaluation.percentages import points
from classifiers.training.growth import DRAWS

MOST_CLASSES = 40
"""Largest number of classes in a table, the weakest or the rarest first."""

MOST_CONFUSIONS = 20

SPLITS = ("train", "val", "test")


def winner_sections(comparison: Comparison, shown: Mapping[str, Shown]) -> list[str]:
    """Return the sections on the winner, on its test rows or, without them, on the validation rows."""
    best = comparison.winner()
    if best is None:
        return []
    found, split = comparison.test.get(best.candidate.label), "test"
    if found is None:
        found, split = best.evaluation, comparison.validated_on
    own = labels(found, split) if comparison.family is ANY_LABELS else one_class(found, split)
    return [
        *mistakes(comparison.mistakes, shown, split),
        *own,
        *more_labels(comparison.growth, split, comparison.family.growth),
        *balance(comparison),
    ]


def one_class(found: Evaluation, split: str) -> list[str]:
    """Return the sections on a head that gives each row one class."""
    return [*confusions(found, split), *classes(found, split), *abstention(found, split)]


def labels(measured: LabelMeasured, split: str) -> list[str]:
    """Return the section with the figures of each label, the lowest average precision first."""
    found = measured.figures
    seen = np.flatnonzero(found.support)
    weakest = seen[np.argsort(found.average_precision[seen], kind="stable")].tolist()
    rows = _bars(found, weakest, (found.average_precision, found.recall, found.precision, found.f1))
    return [
        "<h2>How good it is at each label</h2>",
        f"<p>On {escape(split)}, the weakest label first{_of(len(weakest))}. <em>Average precision</em>: how far the "
        "rows with the label are ranked before the others. <em>Recall</em>: the share of the rows with the label that "
        "get it. <em>Precision</em>: how often it is right to give the label. <em>F1</em>: the harmonic mean of "
        "these two.</p>",
        table(("label", "average precision", "recall", "precision", "F1", "=rows"), rows),
    ]


def mistakes(found: Sequence[Mistake], shown: Mapping[str, Shown], split: str) -> list[str]:
    """Return the section with the worst mistakes; none if no row is wrong, or the rows are not known."""
    if not found:
        return []
    items = "".join(f"<li>{_photo(each, shown.get(each.id))}</li>" for each in found)
    return [
        "<h2>Worst mistakes</h2>",
        f"<p>Rows of {escape(split)} that the winner gets wrong, those first of whose answer it is surest. Some may "
        "have a wrong label.</p>",
        f'<ul class="photos">{items}</ul>',
    ]


def _photo(found: Mistake, shown: Shown | None) -> str:
    name = escape(shown.name if shown and shown.name else found.id[:12])
    picture = ""
    if shown and shown.jpeg:
        data = base64.b64encode(shown.jpeg).decode()
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="{name}">'
    return (
        f"{picture}<strong>{escape(found.label)}</strong> ≠ {escape(found.answer)} {found.probability:.0%}"
        f'<span class="faint">{name}</span>'
    )


def confusions(found: Evaluation, split: str) -> list[str]:
    """Return the section with the pairs of classes that the winner mixes up."""
    wrong = found.errors()
    if not wrong:
        return []
    most = wrong[0][2]
    rows = [[true, answer, bar(count / most, f"{count:,}")] for true, answer, count in wrong[:MOST_CONFUSIONS]]
    more = f" The first {MOST_CONFUSIONS} of {len(wrong):,} pairs." if len(wrong) > MOST_CONFUSIONS else ""
    return [
        "<h2>What it mixes up</h2>",
        f"<p>Rows of {escape(split)} by their label and the wrong answer, commonest first.{more}</p>",
        table(("label", "answer", "rows"), rows),
    ]


def classes(found: Evaluation, split: str) -> list[str]:
    """Return the section with the figures of each class, the weakest first."""
    seen = np.flatnonzero(found.support)
    weakest = seen[np.argsort(found.f1[seen], kind="stable")].tolist()
    rows = _bars(found, weakest, (found.recall, found.precision, found.f1))
    return [
        "<h2>How good it is at each class</h2>",
        f"<p>On {escape(split)}, the weakest class first{_of(len(weakest))}. <em>Recall</em>: the share of the rows of "
        "the class that it finds. <em>Precision</em>: how often it is right when it says this class. <em>F1</em>: "
        "their harmonic mean.</p>",
        table(("class", "recall", "precision", "F1", "=rows"), rows),
    ]


def abstention(found: Evaluation, split: str) -> list[str]:
    """Return the section on a head that answers only where it is sure."""
    points = zip(*(each.tolist() for each in (found.selective.answered, found.selective.accuracy)), strict=True)
    least = found.selective.min_probability.tolist()
    rows = [
        [bar(answered, f"{answered:.0%}"), bar(accuracy, f"{accuracy:.1%}"), f"{limit:.3f}"]
        for (answered, accuracy), limit in zip(points, least, strict=True)
    ]
    return [
        "<h2>If it answers only when it is sure</h2>",
        f"<p>On {escape(split)} (risk-coverage). {escape(AURC)} AURC here: {found.aurc:.4f}.</p>",
        table(("answers", "right of these", "=if at least this sure"), rows[::-2][::-1]),
    ]


def more_labels(curve: LearningCurve | None, split: str, figure: str = "accuracy") -> list[str]:
    """Return the section on what more labels would bring; none if no curve was measured."""
    if curve is None:
        return []
    rows = [
        [f"{each.rows:,}", bar(each.value, f"{each.value:.1%}"), f"{each.low:.1%} to {each.high:.1%}"]
        for each in curve.points
    ]
    before, now = curve.points[-2:]
    gained = "right answers" if figure == "accuracy" else f"points of {figure}"
    said = (
        f"From {before.rows:,} to {now.rows:,} training rows: {points(curve.last)} {gained} in 100; if the "
        "interval contains 0, it may be chance. "
    )
    if curve.next:
        said += (
            f"With {2 * now.rows:,}, probably about {points(curve.next)} more, if the curve goes on like this: label "
            "more rows if that is worth the work."
        )
    else:
        said += "The curve is too uneven or too flat to say what more labels would bring."
    return [
        "<h2>What more labels would bring</h2>",
        f"<p>{figure[0].upper() + figure[1:]} on {escape(split)} of heads like the winner that learned from a part of "
        f"the training rows, each figure the mean of {DRAWS} random parts. {escape(said)}</p>",
        table(("=training rows", figure, "=95 % interval"), rows),
    ]


def balance(comparison: Comparison) -> list[str]:
    """Return the section with the number of labelled rows of each class, by split, the rarest first."""
    counts = {split: _counted(comparison.rows.labelled(split)["labels"].to_pylist()) for split in SPLITS}
    sums = {name: sum(each[name] for each in counts.values()) for name in comparison.classes}
    rarest = sorted(comparison.classes, key=lambda name: sums[name])
    noun = "label" if comparison.family is ANY_LABELS else "class"
    most = max(sums.values(), default=0) or 1
    rows = [
        [name, bar(sums[name] / most, f"{sums[name]:,}"), *(f"{each[name]:,}" for each in counts.values())]
        for name in rarest[:MOST_CLASSES]
    ]
    return [
        f"<h2>{noun.title()} balance</h2>",
        f"<p>Labelled rows of each {noun}, the rarest first{_of(len(rarest))}.</p>",
        table((noun, "rows", *(f"={split}" for split in SPLITS)), rows),
    ]


def _counted(lists: Sequence[Any]) -> Counter[str]:
    return Counter(label for labels in lists for label in labels)


def _bars(
    found: Evaluation | LabelEvaluation, order: Sequence[int], figures: Sequence[NDArray[Any]]
) -> list[list[str]]:
    """Return the rows of a table: the first classes or labels in an order, a bar for each figure, number of rows."""
    return [
        [found.classes[k], *(bar(float(each[k]), f"{each[k]:.2f}") for each in figures), f"{found.support[k]:,}"]
        for k in order[:MOST_CLASSES]
    ]


def _of(count: int) -> str:
    return f" (the first {MOST_CLASSES} of {count:,})" if count > MOST_CLASSES else ""
