"""A head as it is served: what `answer` gives for a batch of vectors."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import NoOutlierScore, NoTexts, UnknownCoverage, UnknownSets, WrongFingerprint
from classifiers.evaluation.calibration import outlier_percentile
from classifiers.evaluation.conformal import NONCONFORMITY, SETS, Sets, prediction_sets, threshold
from classifiers.heads.base import Head, best, check_vectors, probabilities
from classifiers.heads.fusion.head import FusionHead
from classifiers.heads.multilabel.base import LabelsHead
from classifiers.heads.multilabel.decoder import DecoderHead
from classifiers.heads.outlier import OutlierDetector
from classifiers.heads.text import TextHead
from classifiers.heads.zeroshot import ZeroShotHead
from classifiers.published.answer import Answer, reasons
from classifiers.published.manifest import Conformal, EncoderBlock, Manifest, side_by_side

TOKENS = " tokens"


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """One version of a named head, loaded. Never changed, so any number of threads may ask it.

    Attributes:
        detector: what gives outlier percentiles, where the head has one.
        missing: names of the encoders that it was trained on and now does without, see `from_some`.
        accuracy_lost: by that, measured when it was trained; negative where it did better, None where not measured.
        asked: names of the encoders of a cascade's first stages, which it answers from, see `stopped_before`.
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
        """Fingerprints of the encoders whose vectors it takes, in the order of their columns."""
        return tuple(encoder.fingerprint for encoder in self.manifest.encoders)

    @property
    def reads_tokens(self) -> bool:
        """Whether it reads the tokens of pictures, flattened, in place of their vectors."""
        return isinstance(self.head, DecoderHead)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it answers from: the fingerprints, each with `TOKENS` behind it where their tokens are read."""
        return tuple(each + TOKENS if self.reads_tokens else each for each in self.fingerprints)

    def can_answer(self, inputs: Collection[str]) -> bool:
        """Whether its `inputs` are among these: all, or for a fused head any of them."""
        enough = any if isinstance(self.head, FusionHead) else all
        return enough(each in inputs for each in self.inputs)

    def from_some(self, fingerprints: Collection[str]) -> Self:
        """The head for vectors of those of its encoders alone that are among these, if it `can_answer` from them.

        What was calibrated on all of them is left out: prediction sets and outlier percentiles.
        """
        there = [i for i, fingerprint in enumerate(self.fingerprints) if fingerprint in fingerprints]
        encoders = self.manifest.encoders
        if len(there) == len(encoders) or not isinstance(self.head, FusionHead):
            return self
        return replace(
            self,
            head=self.head.only(there),
            manifest=self._manifest_of(there).model_copy(update={"conformal": {}}),
            detector=None,
            missing=tuple(encoder.name for i, encoder in enumerate(encoders) if i not in there),
            accuracy_lost=self.head.loss_without(there),
        )

    @property
    def stages(self) -> tuple[str, ...]:
        """Fingerprints of its encoders in the order in which a cascade asks them; empty for all other heads."""
        order = self.head.stages if isinstance(self.head, FusionHead) else ()
        return tuple(self.fingerprints[member] for member in order)

    def stopped_before(self, fingerprints: Collection[str]) -> Self:
        """The cascade for vectors of its leading stages that are among these, for rows that it is sure of by then.

        It says of them what the whole one says, but for outlier percentiles, which take the vectors of all encoders.
        """
        count = next((n for n, stage in enumerate(self.stages) if stage not in fingerprints), len(self.stages))
        if not isinstance(self.head, FusionHead) or count == len(self.stages):
            return self
        order = self.head.stages[:count]
        return replace(
            self,
            head=self.head.first_stages(count),
            manifest=self._manifest_of(sorted(order)),
            detector=None,
            asked=tuple(self.manifest.encoders[member].name for member in order),
        )

    def unsure(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Which rows of X (n, d) a cascade is not sure enough of, at any stage, (n,). Raises BadVectors."""
        if not isinstance(self.head, FusionHead):
            raise ValueError(f"head {self.name!r} is no cascade")
        return self.head.unsure(X)

    def _manifest_of(self, members: Sequence[int]) -> Manifest:
        """The manifest of the head for these encoders' columns alone, without outlier percentiles."""
        kept = side_by_side([self.manifest.encoders[member] for member in members])
        return self.manifest.model_copy(update={"encoders": kept, "outlier": ()})

    def require(self, inputs: Collection[str]) -> None:
        """Raises WrongFingerprint unless it can answer from these, see `can_answer`."""
        if not self.can_answer(inputs):
            names = [encoder.name for encoder in self.manifest.encoders]
            expected = tuple(f"{name} ({read})" for name, read in zip(names, self.inputs, strict=True))
            raise WrongFingerprint(self.name, expected, tuple(sorted(inputs)))

    def require_texts(self) -> tuple[tuple[EncoderBlock, ...], tuple[str, ...]]:
        """The encoders whose texts name its labels, and the prompts. Raises NoTexts for a head without such texts."""
        head, prompts = self.head, self.manifest.parameters.get("prompts")
        known = isinstance(head, TextHead) and head.text is not None
        if not (known or (isinstance(head, ZeroShotHead) and head.text_alone)) or not isinstance(prompts, list):
            raise NoTexts(self.name, self.manifest.kind, head.classes)
        return self.manifest.encoders, tuple(str(prompt) for prompt in prompts)

    def with_labels(self, labels: Sequence[str], text: ArrayLike) -> Self:
        """The head for other labels, see `TextHead.with_labels`, without the prediction sets of its own.

        Raises NoTexts, BadVectors.
        """
        self.require_texts()
        assert isinstance(self.head, TextHead | ZeroShotHead)  # noqa: S101  # for mypy: just checked
        manifest = self.manifest.model_copy(update={"conformal": {}})
        return replace(self, head=self.head.with_labels(labels, text), manifest=manifest)

    def require_answerable(
        self, *, coverage: float = 0.9, sets: Sets = "lac", max_outlier: float | None = None
    ) -> None:
        """Raises what `answer` would raise for these, before there are vectors."""
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
        """One answer per row of X (n, d), n ≥ 0.

        Args:
            coverage: of the prediction sets, between 0 and 1; above n / (n + 1) of n validation rows every class is
                in every set.
            sets: kind of prediction set, see `classifiers.evaluation.conformal`.
            min_probability, max_outlier: abstain below this probability, or above this outlier percentile.

        Raises:
            BadVectors: wrong width, or values that are not finite.
            UnknownCoverage, UnknownSets: what was not calibrated.
            NoOutlierScore: `max_outlier` for a head without outlier percentiles.
            ValueError: `top_k` below 1.
        """
        self.require_answerable(coverage=coverage, sets=sets, max_outlier=max_outlier)
        vectors = check_vectors(X, self.head.dim)
        scores = self.head.score(vectors)
        proba = probabilities(scores, self.head.link, self.head.temperature)
        names = np.array(self.head.classes, dtype=object)
        columns = best(proba, top_k)
        labels, values = names[columns].tolist(), np.take_along_axis(proba, columns, axis=1).tolist()
        inside = self._inside(proba, coverage, sets)
        members = [None] * len(proba) if inside is None else prediction_sets(proba, inside, names)
        percentiles = self._percentiles(vectors)
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
            for label, value, several, member, percentile in zip(
                labels, values, given, members, percentiles, strict=True
            )
        ]

    def _given(
        self, scores: NDArray[np.float32], proba: NDArray[np.float32], names: NDArray[Any]
    ) -> Sequence[tuple[tuple[str, float], ...] | None]:
        """The labels that reach their thresholds, with their probabilities, per row; None where a row has just one."""
        if not isinstance(self.head, LabelsHead):
            return [None] * len(scores)
        reached = scores >= self.head.thresholds.labels
        order = np.argsort(-proba, axis=1, kind="stable")
        return [
            tuple(zip(names[some].tolist(), row[some].tolist(), strict=True))
            for row, some in ((p, ranked[r[ranked]]) for p, r, ranked in zip(proba, reached, order, strict=True))
        ]

    def _inside(self, proba: NDArray[np.float32], coverage: float, sets: Sets) -> NDArray[np.bool_] | None:
        """Which classes are in the prediction set, (n, K); None without validation rows."""
        stored = self.manifest.conformal
        if isinstance(stored, Conformal):
            most = threshold(getattr(stored, sets), stored.rows, coverage)
            return np.asarray(NONCONFORMITY[sets](proba) <= most)
        return np.asarray(proba >= stored[f"{coverage:g}"]) if stored else None

    def _percentiles(self, vectors: NDArray[np.float32]) -> Sequence[float | None]:
        quantiles = self.manifest.outlier
        if not quantiles:
            return [None] * len(vectors)
        if self.detector:
            return _listed(outlier_percentile(self.detector.score(vectors), quantiles))
        density = self.head.log_density(vectors)  # before protocol 3: the larger, the more ordinary
        if density is None:
            return [None] * len(vectors)
        return _listed(outlier_percentile(-density, [-quantile for quantile in reversed(quantiles)]))


def _listed(percentiles: NDArray[Any]) -> list[float]:
    found: list[float] = percentiles.tolist()
    return found
