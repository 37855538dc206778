"""How good a head is, from arrays alone: probabilities and true codes in, figures out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.conformal import aps_of_true
from classifiers.evaluation.trust import Reliability, Selective, reliability, risk_coverage, risk_coverage_area

BOOTSTRAP_DRAWS = 2000
SMALLEST = float(np.finfo(np.float32).tiny)
"""Probabilities are taken to be at least this in the NLL, so one impossible class costs 87 nats, not all."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the figures need of every row: O(n) numbers, so that rows can be scored in a stream.

    Attributes:
        codes: column of the true class, (n,).
        predicted: column of the most probable class, (n,).
        confidence: probability of the predicted class, (n,).
        likelihood: probability of the true class, (n,).
        plain: the same before any temperature, (n,).
        before: probability of all classes that rank before the true one, (n,).
    """

    codes: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    likelihood: NDArray[np.float32]
    plain: NDArray[np.float32]
    before: NDArray[np.float64]

    @classmethod
    def of(cls, proba: NDArray[Any], codes: NDArray[np.integer[Any]], plain: NDArray[Any] | None = None) -> Self:
        """The outcomes of probabilities (n, K) and codes (n,) in 0…K-1; `plain` (n, K) before any temperature."""
        rows = np.arange(len(proba))
        predicted = proba.argmax(axis=1).astype(np.int64)
        likelihood = proba[rows, codes]
        return cls(
            codes.astype(np.int64),
            predicted,
            proba[rows, predicted],
            likelihood,
            likelihood if plain is None else plain[rows, codes],
            aps_of_true(proba, codes),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """All parts' rows, in order; at least one part."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one head on the rows of one split.

    Attributes:
        classes: labels, (K,).
        accuracy_interval: 95 % bootstrap interval of the accuracy.
        macro_f1: mean F1 of the classes that occur or are predicted.
        nll: mean negative log probability of the true class, in nats.
        nll_plain: the same before any temperature.
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
    macro_f1: float
    nll: float
    nll_plain: float
    ece: float
    aurc: float
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    confusion: NDArray[np.int64]
    reliability: Reliability
    selective: Selective

    def summary(self) -> dict[str, float]:
        """The figures that are one number each."""
        low, high = self.accuracy_interval
        return {
            "rows": self.rows,
            "accuracy": self.accuracy,
            "accuracy_low": low,
            "accuracy_high": high,
            "macro_f1": self.macro_f1,
            "nll": self.nll,
            "nll_plain": self.nll_plain,
            "ece": self.ece,
            "aurc": self.aurc,
        }


def evaluate(
    proba: NDArray[Any], codes: NDArray[np.integer[Any]], classes: Sequence[str], *, seed: int = 0
) -> Evaluation:
    """The figures of probabilities (n, K) for true codes (n,). Raises ValueError for no rows."""
    return summarise(Outcomes.of(proba, codes), classes, seed=seed)


def summarise(outcomes: Outcomes, classes: Sequence[str], *, seed: int = 0) -> Evaluation:
    """The figures of outcomes. Raises ValueError for no rows."""
    if len(outcomes) == 0:
        raise ValueError("no rows to evaluate")
    confusion = confusion_matrix(outcomes.codes, outcomes.predicted, len(classes))
    right = np.diag(confusion).astype(np.float64)
    correct = outcomes.predicted == outcomes.codes
    bins = reliability(outcomes.confidence, correct)
    support, claimed = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = ratio(2 * right, support + claimed)
    accuracy = float(right.sum() / len(outcomes))
    return Evaluation(
        classes=tuple(classes),
        rows=len(outcomes),
        accuracy=accuracy,
        accuracy_interval=bootstrap_interval(accuracy, len(outcomes), seed),
        macro_f1=float(f1[(support + claimed) > 0].mean()),
        nll=log_loss(outcomes.likelihood),
        nll_plain=log_loss(outcomes.plain),
        ece=bins.error(),
        aurc=risk_coverage_area(outcomes.confidence, correct),
        precision=ratio(right, claimed),
        recall=ratio(right, support),
        f1=f1,
        support=support,
        confusion=confusion,
        reliability=bins,
        selective=risk_coverage(outcomes.confidence, correct),
    )


def confusion_matrix(codes: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Rows by true class (row) and predicted class (column), (K, K)."""
    cells = np.bincount(codes * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """part / whole, and 0 where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0))


def log_loss(likelihood: NDArray[Any]) -> float:
    """Mean negative log of probabilities (n,), in nats."""
    return float(-np.log(np.maximum(likelihood.astype(np.float64), SMALLEST)).mean())


def bootstrap_interval(accuracy: float, rows: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the accuracy over resampled rows.

    Drawing n rows with replacement and counting the right ones is a binomial draw, so no row is touched.
    """
    draws = np.random.default_rng(seed).binomial(rows, accuracy, size=BOOTSTRAP_DRAWS) / rows
    low, high = np.quantile(draws, (0.025, 0.975)).tolist()
    return low, high
