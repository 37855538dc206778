"""Figures on how good a head is on the rows of one split: the protocol, and the figures of a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.outcomes import Outcomes, bootstrap_interval, confusion_matrix, log_loss, ratio
from classifiers.evaluation.tables import cell, safe_table, table
from classifiers.evaluation.trust import (
    ECE_BINS,
    Reliability,
    Selective,
    reliability,
    risk_coverage,
    risk_coverage_area,
)

MOST_CLASSES = 40
"""Maximum number of classes in the Markdown, weakest first; the JSON has all classes."""
MOST_CONFUSIONS = 10
"""Maximum number of confusions in the Markdown, commonest first."""

NLL = "NLL is the mean of −log of the probability that the head gave the right answer: 0 is perfect, lower is better."
BALANCED = (
    "Balanced accuracy is the mean over the classes of the share of their rows that are right: each class counts the "
    "same, however rare it is."
)
ECE = (
    "ECE, the expected calibration error, is the mean difference between the head's probabilities and how often it is "
    "right: 0 is perfect."
)
AURC = (
    "AURC is the error rate of the head if it answers only its most confident rows, averaged over all numbers of such "
    "rows: 0 is perfect, lower is better."
)
OUTLIER_PERCENTILE = (
    "The outlier percentile of an answer is the percentage of validation rows that look more like the training rows "
    "than this row does."
)
PREDICTION_SET = (
    "The prediction set of an answer is a list of classes that contains the true class with a probability that you "
    "choose."
)


class Figures(Protocol):
    """The figures of a head on the rows of one split, whether a row has one class or any number of labels."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def terms(self) -> Sequence[str]:
        """One plain sentence for each technical term of the figures and of the head's answers."""

    def summary(self) -> dict[str, float]:
        """Return the figures that are one number each, by name."""

    def overview(self) -> dict[str, str]:
        """Return the summary as text for readers: {column title: cell}, one row of a table."""

    def weakest(self) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Return the titles and rows of a table of the classes or labels with the worst figures."""

    def markdown(self, split: str) -> list[str]:
        """Return the Markdown sections below the overview, with `split` in their titles."""

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON-able values."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of a head that gives each row one class, on the rows of one split.

    Attributes:
        classes: names of the classes, (K,).
        accuracy_interval: 95 % bootstrap interval of the accuracy.
        balanced_accuracy: mean recall of the classes that occur.
        macro_f1: mean F1 of the classes that occur or are predicted.
        nll: mean negative log probability of the true class, in nats.
        nll_uncalibrated: the NLL before any temperature.
        ece: expected calibration error in 0…1 over `trust.ECE_BINS` bins.
        aurc: area under the risk-coverage curve: the error among the k most confident rows, averaged over k = 1…n.
        precision, recall, f1: (K,) floats; 0 where undefined.
        support: rows per true class, (K,) ints.
        confusion: rows by true class (row) and predicted class (column), (K, K) ints.
    """

    classes: tuple[str, ...]
    rows: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    nll: float
    nll_uncalibrated: float
    ece: float
    aurc: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    confusion: NDArray[np.int64]
    reliability: Reliability
    selective: Selective

    @property
    def terms(self) -> Sequence[str]:
        return (BALANCED, NLL, ECE, AURC, OUTLIER_PERCENTILE, PREDICTION_SET)

    def summary(self) -> dict[str, float]:
        low, high = self.accuracy_interval
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "nll": self.nll,
            "nll_plain": self.nll_uncalibrated,
            "ece": self.ece,
            "aurc": self.aurc,
        }

    def overview(self) -> dict[str, str]:
        return {
            "rows": f"{self.rows:,}",
            "accuracy": f"{self.accuracy:.4f}",
            "95 % interval": "–".join(f"{end:.4f}" for end in self.accuracy_interval),
            "balanced accuracy": f"{self.balanced_accuracy:.4f}",
            "macro-F1": f"{self.macro_f1:.4f}",
            "NLL before → after temperature": f"{self.nll_uncalibrated:.4f} → {self.nll:.4f}",
            "ECE": f"{self.ece:.4f}",
            "AURC": f"{self.aurc:.4f}",
        }

    def weakest(self) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Return titles and rows of the classes that occur, lowest F1 first."""
        seen = np.flatnonzero(self.support)
        weakest = seen[np.argsort(self.f1[seen], kind="stable")][:MOST_CLASSES]
        rows: list[Sequence[str]] = [
            (self.classes[k], *(f"{x[k]:.3f}" for x in (self.precision, self.recall, self.f1)), f"{n:,}")
            for k, n in zip(weakest.tolist(), self.support[weakest].tolist(), strict=True)
        ]
        return ("class", "precision", "recall", "F1", "rows"), rows

    def markdown(self, split: str) -> list[str]:
        sections = {
            "Can its probabilities be trusted?": self._reliability_table(),
            "If it answers only when it is sure": self._selective_table(),
            "Weakest classes": safe_table(*self.weakest()),
            "Commonest confusions": self._confusions_table(),
        }
        return [line for title, lines in sections.items() for line in ("", f"## {title} ({split})", "", *lines)]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures. The confusion matrix is a list of [true class, predicted class, rows] without zeros."""
        columns = (self.precision, self.recall, self.f1, self.support)
        per_class = zip(self.classes, *(column.tolist() for column in columns), strict=True)
        return {
            **self.summary(),
            "per_class": [
                {"class": name, "precision": precision, "recall": recall, "f1": f1, "support": support}
                for name, precision, recall, f1, support in per_class
            ],
            "confusion": self.confusions(),
            "reliability": records(self.reliability),
            "risk_coverage": records(self.selective),
        }

    def confusions(self) -> list[list[Any]]:
        """Return [true class, predicted class, rows] for every pair that occurs."""
        true, predicted = np.nonzero(self.confusion)
        counts = self.confusion[true, predicted].tolist()
        pairs = zip(true.tolist(), predicted.tolist(), counts, strict=True)
        return [[self.classes[t], self.classes[p], n] for t, p, n in pairs]

    def errors(self) -> list[list[Any]]:
        """Return [true class, predicted class, rows] for every pair of different classes, commonest first."""
        return sorted((each for each in self.confusions() if each[0] != each[1]), key=lambda each: -each[2])

    def _reliability_table(self) -> list[str]:
        rows = [
            (f"{low:.2f}–{low + 1 / ECE_BINS:.2f}", f"{confidence:.3f}", f"{accuracy:.3f}", f"{rows:,}")
            for low, rows, confidence, accuracy in (each.values() for each in records(self.reliability))
        ]
        return table(("probability", "mean probability", "accuracy", "rows"), rows)

    def _selective_table(self) -> list[str]:
        rows = [
            (f"{least:.4f}", f"{answered:.1%}", f"{accuracy:.4f}")
            for least, answered, accuracy in (each.values() for each in records(self.selective))
        ]
        return table(("min_probability", "answered", "accuracy of these"), rows)

    def _confusions_table(self) -> list[str]:
        rows = [(cell(true), cell(predicted), f"{n:,}") for true, predicted, n in self.errors()[:MOST_CONFUSIONS]]
        return table(("true", "predicted", "rows"), rows) if rows else ["None."]


def records(columns: Reliability | Selective) -> list[dict[str, Any]]:
    """Return columns of equal length as one dictionary for each row, with the keys in the order of the fields."""
    names = [field.name for field in fields(columns)]
    values = (getattr(columns, name).tolist() for name in names)
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def evaluate(
    proba: NDArray[Any], codes: NDArray[np.integer[Any]], classes: Sequence[str], *, seed: int = 0
) -> Evaluation:
    """Return the figures of probabilities (n, K) for true codes (n,). Raises ValueError for no rows."""
    return summarise(Outcomes.of(proba, codes), classes, seed=seed)


def summarise(outcomes: Outcomes, classes: Sequence[str], *, seed: int = 0) -> Evaluation:
    """Return the figures of outcomes; `seed` is for the bootstrap interval. Raises ValueError for no rows."""
    if len(outcomes) == 0:
        raise ValueError("no rows to evaluate")
    confusion = confusion_matrix(outcomes.codes, outcomes.predicted, len(classes))
    right = np.diag(confusion).astype(np.float64)
    correct = outcomes.predicted == outcomes.codes
    bins = reliability(outcomes.confidence, correct)
    support, claimed = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = ratio(2 * right, support + claimed)
    accuracy, recall = float(right.sum() / len(outcomes)), ratio(right, support)
    return Evaluation(
        classes=tuple(classes),
        rows=len(outcomes),
        accuracy=accuracy,
        accuracy_interval=bootstrap_interval(accuracy, len(outcomes), seed),
        balanced_accuracy=float(recall[support > 0].mean()),
        macro_f1=float(f1[(support + claimed) > 0].mean()),
        nll=log_loss(outcomes.likelihood),
        nll_uncalibrated=log_loss(outcomes.uncalibrated),
        ece=bins.error(),
        aurc=risk_coverage_area(outcomes.confidence, correct),
        precision=ratio(right, claimed),
        recall=recall,
        f1=f1,
        support=support,
        confusion=confusion,
        reliability=bins,
        selective=risk_coverage(outcomes.confidence, correct),
    )
