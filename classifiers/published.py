"""A head as it is served: what `answer` gives for a batch of vectors."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.calibration import coverage_key, outlier_percentile
from classifiers.errors import UnknownCoverage, WrongFingerprint
from classifiers.heads.base import Head, best, check_vectors, probabilities
from classifiers.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Answer:
    """What a head says of one vector.

    Attributes:
        label: the most probable class.
        probability: its calibrated probability.
        top_k: (label, probability), most probable first.
        prediction_set: classes that together hold the true one with probability ≥ `coverage`, most probable
            first, never empty; None for a head without validation rows.
        coverage: as asked; None without a prediction set.
        outlier_percentile: percent of the validation rows that are more typical than this one (0…100); None
            for heads without a density of their own or without validation rows.
    """

    label: str
    probability: float
    top_k: tuple[tuple[str, float], ...]
    prediction_set: tuple[str, ...] | None
    coverage: float | None
    outlier_percentile: float | None


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """One version of a named head, loaded. Never changed, so any number of threads may ask it."""

    name: str
    version: str
    head: Head
    manifest: Manifest

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the encoders whose vectors it takes, in the order of their columns."""
        return tuple(encoder.fingerprint for encoder in self.manifest.encoders)

    def require(self, fingerprints: Collection[str]) -> None:
        """Raises WrongFingerprint unless the encoders of the vectors it takes are all among these."""
        if not set(self.fingerprints).issubset(fingerprints):
            expected = tuple(f"{encoder.name} ({encoder.fingerprint})" for encoder in self.manifest.encoders)
            raise WrongFingerprint(self.name, expected, tuple(sorted(fingerprints)))

    def answer(self, X: ArrayLike, *, top_k: int = 5, coverage: float = 0.9) -> list[Answer]:
        """One answer per row of X (n, d), n ≥ 0.

        Raises:
            BadVectors: wrong width, or values that are not finite.
            UnknownCoverage: a coverage that was not calibrated.
            ValueError: `top_k` below 1.
        """
        threshold = self.threshold(coverage)
        vectors = check_vectors(X, self.head.dim)
        proba = probabilities(self.head.score(vectors), self.head.link, self.head.temperature)
        names = np.array(self.head.classes, dtype=object)
        columns = best(proba, top_k)
        labels, values = names[columns].tolist(), np.take_along_axis(proba, columns, axis=1).tolist()
        sets = [None] * len(proba) if threshold is None else prediction_sets(proba, threshold, names)
        percentiles = self._percentiles(vectors)
        return [
            Answer(
                label=label[0],
                probability=value[0],
                top_k=tuple(zip(label, value, strict=True)),
                prediction_set=members,
                coverage=None if members is None else coverage,
                outlier_percentile=percentile,
            )
            for label, value, members, percentile in zip(labels, values, sets, percentiles, strict=True)
        ]

    def threshold(self, coverage: float) -> float | None:
        """The least probability in a prediction set of this coverage; None without validation rows.

        Raises UnknownCoverage with those that were calibrated.
        """
        stored = self.manifest.conformal
        if stored and coverage_key(coverage) not in stored:
            raise UnknownCoverage(coverage_key(coverage), stored)
        return stored.get(coverage_key(coverage))

    def _percentiles(self, vectors: NDArray[np.float32]) -> Sequence[float | None]:
        density = self.head.log_density(vectors) if self.manifest.outlier else None
        if density is None:
            return [None] * len(vectors)
        percentiles: list[float | None] = outlier_percentile(density, self.manifest.outlier).tolist()
        return percentiles


def prediction_sets(proba: NDArray[np.float32], threshold: float, names: NDArray[Any]) -> list[tuple[str, ...] | None]:
    """Names of the classes with probability ≥ `threshold`, per row, most probable first.

    The most probable class is always in: a larger set only raises the coverage.
    """
    rows, columns = np.nonzero((proba >= threshold) | (proba == proba.max(axis=1, keepdims=True, initial=0)))
    order = np.lexsort((columns, -proba[rows, columns], rows))
    ends = np.cumsum(np.bincount(rows, minlength=len(proba)))
    members = names[columns[order]].tolist()
    return [tuple(members[start:end]) for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=False)]
