"""The outcome of each row under a classifier, in a few numbers, and the functions that figures are computed with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.conformal import aps_of_true

BOOTSTRAP_DRAWS = 2000
SMALLEST = float(np.finfo(np.float32).tiny)
"""Lower limit of a probability in the NLL. A true class of probability 0 costs 87 nats instead of infinitely many."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The few numbers of each row that the figures need, so that rows can be scored in a stream.

    Attributes:
        codes: column of the true class, (n,).
        predicted: column of the most probable class, (n,).
        confidence: probability of the predicted class, (n,).
        likelihood: probability of the true class, (n,).
        uncalibrated: probability of the true class before any temperature, (n,).
        before: total probability of all classes that rank before the true class, (n,).
    """

    codes: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    likelihood: NDArray[np.float32]
    uncalibrated: NDArray[np.float32]
    before: NDArray[np.float64]

    @classmethod
    def of(cls, proba: NDArray[Any], codes: NDArray[np.integer[Any]], uncalibrated: NDArray[Any] | None = None) -> Self:
        """Return the outcomes of probabilities (n, K) for true codes (n,) in 0…K-1.

        Args:
            uncalibrated: probabilities (n, K) before any temperature; None if there was none.
        """
        rows = np.arange(len(proba))
        predicted = proba.argmax(axis=1).astype(np.int64)
        likelihood = proba[rows, codes]
        return cls(
            codes.astype(np.int64),
            predicted,
            proba[rows, predicted],
            likelihood,
            likelihood if uncalibrated is None else uncalibrated[rows, codes],
            aps_of_true(proba, codes),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the rows of all parts, in order; at least one part."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def __len__(self) -> int:
        return len(self.codes)


def confusion_matrix(codes: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Return the number of rows by true class (row) and predicted class (column), (K, K)."""
    cells = np.bincount(codes * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole, and 0 where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0))


def log_loss(likelihood: NDArray[Any]) -> float:
    """Return the mean negative log of probabilities (n,), in nats: 0, not -0, if all are 1 or above it by rounding."""
    return float(-np.log(np.clip(likelihood.astype(np.float64), SMALLEST, 1.0)).mean()) + 0.0


def bootstrap_interval(accuracy: float, rows: int, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of the accuracy over resampled rows.

    The number of right rows among n rows drawn with replacement is binomial, so no row has to be drawn.
    """
    draws = np.random.default_rng(seed).binomial(rows, accuracy, size=BOOTSTRAP_DRAWS) / rows
    low, high = np.quantile(draws, (0.025, 0.975)).tolist()
    return low, high
