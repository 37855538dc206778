"""A published head: a head with a name and a version, which answers for batches of vectors."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import (
    NoOutlierScore,
    NoTexts,
    UnknownCoverage,
    UnknownSets,
    VectorsOverflow,
    WrongFingerprint,
)
from classifiers.evaluation.calibration import outlier_percentile
from classifiers.evaluation.conformal import NONCONFORMITY, SETS, Sets, prediction_sets, threshold
from classifiers.heads.base import Head, best, check_vectors, probabilities
from classifiers.heads.outlier import OutlierDetector
from classifiers.published.answer import Answer, reasons
from classifiers.published.inputs import Input
from classifiers.published.manifest import Conformal, EncoderBlock, Manifest, side_by_side


class Scored(NamedTuple):
    """What a head computes for n rows.

    Attributes:
        scores, proba: before and after temperature and link, (n, K).
        percentiles: outlier percentiles (n,); None for a head without outlier scores.
        finite: False for rows whose vectors are too large for the head, (n,): a score of NaN or +infinity, no
            probabilities, or no percentile.
    """

    scores: NDArray[np.float32]
    proba: NDArray[np.float32]
    percentiles: NDArray[np.float64] | None
    finite: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """One loaded version of a named head. It never changes, so threads may share it.

    Attributes:
        detector: gives the outlier percentiles; None if the head has none.
        missing: names of the encoders that this head was trained on and now answers without, see `from_some`.
        accuracy_lost: accuracy lost without the missing encoders, measured in training; negative if the accuracy was
            higher without them, None if it was not measured.
        asked: names of the encoders of a cascade's first steps if it answers from these alone, see `stopped_before`.
    """

    name: str
    version: str
    head: Head
    manifest: Manifest
    detector: OutlierDetector | None = None
    missing: tuple[str, ...] = ()
    accuracy_lost: float | None = None
    asked: tuple[str, ...] = ()

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the encoders that the head reads, in the order of their columns."""
        return tuple(encoder.fingerprint for encoder in self.manifest.encoders)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs that the head reads, in the order of their columns."""
        return tuple(Input(fingerprint, self.head.reads_tokens) for fingerprint in self.fingerprints)

    @property
    def steps(self) -> tuple[Input, ...]:
        """The inputs in the order in which a cascade uses them; empty for all other heads.

        Empty too for a cascade whose members share the columns of one encoder: all steps need the same input.
        """
        inputs = self.inputs
        return tuple(inputs[number] for number in self.head.steps) if len(self.head.steps) == len(inputs) else ()

    def can_answer(self, inputs: Collection[Input]) -> bool:
        """True if all inputs of the head are among these; for a fused head, if any of them is."""
        enough = any if self.head.partial else all
        return enough(each in inputs for each in self.inputs)

    def require(self, inputs: Collection[Input]) -> None:
        """Raise WrongFingerprint unless the head `can_answer` from these inputs."""
        if not self.can_answer(inputs):
            pairs = zip(self.manifest.encoders, self.inputs, strict=True)
            expected = tuple(f"{encoder.name} ({each})" for encoder, each in pairs)
            raise WrongFingerprint(self.name, expected, tuple(str(each) for each in sorted(inputs)))

    def from_some(self, inputs: Collection[Input]) -> Self:
        """Return the head that answers from those of its inputs that are among these; itself if it needs or has all.

        Prediction sets and outlier percentiles are left out, because they were calibrated on all encoders.
        """
        there = [number for number, each in enumerate(self.inputs) if each in inputs]
        if len(there) == len(self.inputs) or not self.head.partial:
            return self
        return replace(
            self,
            head=self.head.only(there),
            manifest=self._manifest_of(there).model_copy(update={"conformal": {}}),
            detector=None,
            missing=tuple(each.name for number, each in enumerate(self.manifest.encoders) if number not in there),
            accuracy_lost=self.head.loss_without(there),
        )

    def stopped_before(self, inputs: Collection[Input]) -> Self:
        """Return the cascade for its first steps up to the first that is not among these inputs.

        It returns the same answer as the full cascade for rows that stop at these steps, but no outlier percentile,
        which needs the vectors of all encoders. A head that is no cascade is returned unchanged.
        """
        count = next((n for n, step in enumerate(self.steps) if step not in inputs), len(self.steps))
        if count == len(self.steps):
            return self
        order = self.head.steps[:count]
        return replace(
            self,
            head=self.head.first_steps(count),
            manifest=self._manifest_of(sorted(order)),
            detector=None,
            asked=tuple(self.manifest.encoders[number].name for number in order),
        )

    def unsure(self, X: ArrayLike) -> NDArray[np.bool_]:
        """True for the rows of X (n, d) on which a cascade is uncertain at every step, (n,).

        Raises BadVectors; ValueError for heads that are no cascade.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # `answer` refuses rows that overflow
            return self.head.unsure(X)

    def _manifest_of(self, numbers: Sequence[int]) -> Manifest:
        """Return the manifest of the head for the columns of these encoders alone, without outlier percentiles."""
        kept = side_by_side([self.manifest.encoders[number] for number in numbers])
        return self.manifest.model_copy(update={"encoders": kept, "outlier": ()})

    def require_texts(self) -> tuple[tuple[EncoderBlock, ...], tuple[str, ...]]:
        """Return the encoders whose texts name the labels, and the prompts. Raises NoTexts if the head has no texts."""
        prompts = self.manifest.parameters.get("prompts")
        if not self.head.knows_texts or not isinstance(prompts, list):
            raise NoTexts(self.name, self.manifest.kind, self.head.classes)
        return self.manifest.encoders, tuple(str(prompt) for prompt in prompts)

    def with_labels(self, labels: Sequence[str], text: ArrayLike) -> Self:
        """Return the head for other labels, see `Head.with_labels`, without the prediction sets of its own labels.

        Raises NoTexts, BadVectors.
        """
        self.require_texts()
        manifest = self.manifest.model_copy(update={"conformal": {}})
        return replace(self, head=self.head.with_labels(labels, text), manifest=manifest)

    def require_answerable(
        self, *, coverage: float = 0.9, sets: Sets = "lac", max_outlier: float | None = None
    ) -> None:
        """Raise the errors that `answer` would raise for these options, before anything is embedded."""
        if sets not in SETS:
            raise UnknownSets(sets, SETS)
        if not 0 < coverage < 1:
            raise UnknownCoverage(f"{coverage:g}", ["any between 0 and 1"])
        if isinstance(stored := self.manifest.conformal, dict) and stored:
            if sets != "lac":
                raise UnknownSets(sets, ["lac (of a head saved by an earlier version; train it again for others)"])
            if f"{coverage:g}" not in stored:
                raise UnknownCoverage(f"{coverage:g}", stored)
        if max_outlier is not None and not (self.manifest.outlier or self.missing or self.asked):
            raise NoOutlierScore(self.name)

    def answer(
        self,
        X: ArrayLike,
        *,
        top_k: int = 5,
        coverage: float = 0.9,
        sets: Sets = "lac",
        min_probability: float | None = None,
        max_outlier: float | None = None,
    ) -> list[Answer]:
        """Return one answer for each row of X (n, d), n ≥ 0.

        Args:
            top_k: number of classes in the ranking, at least 1.
            coverage: probability, between 0 and 1, that a prediction set contains the true class. Above n / (n + 1),
                for n validation rows, every set contains all classes.
            sets: nonconformity score of the prediction sets, see `classifiers.evaluation.conformal`.
            min_probability: abstain if the probability is below this.
            max_outlier: abstain if the outlier percentile, 0…100, is above this.

        Raises:
            BadVectors: wrong width, or values that are not finite.
            VectorsOverflow: finite values that are too large for the head.
            UnknownCoverage, UnknownSets: prediction sets that the head was not calibrated for.
            NoOutlierScore: `max_outlier` for a head without outlier percentiles.
            ValueError: `top_k` below 1.
        """
        self.require_answerable(coverage=coverage, sets=sets, max_outlier=max_outlier)
        scores, proba, percentiles, finite = self.scored(X)
        if not finite.all():
            raise VectorsOverflow(np.flatnonzero(~finite).tolist())
        names = np.array(self.head.classes, dtype=object)
        columns = best(proba, top_k)
        labels, values = names[columns].tolist(), np.take_along_axis(proba, columns, axis=1).tolist()
        inside = self.inside(proba, coverage, sets)
        members = [None] * len(proba) if inside is None else prediction_sets(proba, inside, names)
        outliers = [None] * len(proba) if percentiles is None else percentiles.tolist()
        given = self._given(scores, proba, names)
        return [
            Answer(
                label=label[0],
                probability=value[0],
                top_k=tuple(zip(label, value, strict=True)),
                labels=several,
                prediction_set=member,
                coverage=None if member is None else coverage,
                outlier_percentile=percentile,
                abstained=reasons(value[0], percentile, min_probability, max_outlier),
            )
            for label, value, several, member, percentile in zip(labels, values, given, members, outliers, strict=True)
        ]

    def scored(self, X: ArrayLike) -> Scored:
        """Return scores, probabilities and outlier percentiles of the rows of X (n, d), n ≥ 0. Raises BadVectors."""
        vectors = check_vectors(X, self.head.dim)
        with np.errstate(over="ignore", invalid="ignore"):  # `finite` says which rows overflow
            scores = self.head.score(vectors)
            proba = probabilities(scores, self.head.link, self.head.temperature)
            percentiles = self._percentiles(vectors)
        finite = (scores < np.inf).all(axis=1) & np.isfinite(proba).all(axis=1)
        if percentiles is not None:
            finite &= np.isfinite(percentiles)
        return Scored(scores, proba, percentiles, finite)

    def _given(
        self, scores: NDArray[np.float32], proba: NDArray[np.float32], names: NDArray[Any]
    ) -> Sequence[tuple[tuple[str, float], ...] | None]:
        """Return each row's labels with their probabilities, best first; None if a row has exactly one class."""
        given = self.head.labels_of(scores)
        if given is None:
            return [None] * len(scores)
        order = np.argsort(-proba, axis=1, kind="stable")
        return [
            tuple(zip(names[some].tolist(), row[some].tolist(), strict=True))
            for row, some in ((p, ranked[r[ranked]]) for p, r, ranked in zip(proba, given, order, strict=True))
        ]

    def inside(self, proba: NDArray[np.float32], coverage: float, sets: Sets) -> NDArray[np.bool_] | None:
        """True for the classes in each row's prediction set, (n, K); None if the head had no validation rows."""
        stored = self.manifest.conformal
        if isinstance(stored, Conformal):
            most = threshold(getattr(stored, sets), stored.rows, coverage)
            return np.asarray(NONCONFORMITY[sets](proba) <= most)
        return np.asarray(proba >= stored[f"{coverage:g}"]) if stored else None

    def _percentiles(self, vectors: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Return the outlier percentiles (n,); None for a head without outlier scores."""
        quantiles = self.manifest.outlier
        if not quantiles:
            return None
        if self.detector:
            return outlier_percentile(self.detector.score(vectors), quantiles)
        density = self.head.log_density(vectors)  # protocols 1 and 2: a larger density is more ordinary
        if density is None:
            return None
        return outlier_percentile(-density, [-quantile for quantile in reversed(quantiles)])
