"""The two regimes in which backbones score the classes: by the texts of the class names, and by linear probes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.base import HeadClassifier
from classifiers.fit.held_out import Learner, stratified_folds
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.prompts import class_vectors, default_prompts
from classifiers.reproduce.backbones.data import Data
from classifiers.training.rows.rows import Rows

STRENGTHS = (0.001, 0.01, 0.1)
"""Values of C that a linear probe tries."""

CHOOSING = 5
"""One learning row in this many is held out to choose C."""


@dataclass(frozen=True, slots=True)
class Regime:
    """One of the two ways in which backbones score the classes.

    Attributes:
        name: "zero-shot" or "linear probes".
        about: a sentence on the two representations.
        about: a sentence on the two representations.
        plain: the other representation of the vectors, by name, and a learner for each backbone, (B,).
        fused: the representation whose scores are fused, by name, and a learner for each backbone, (B,).
        refit: returns an unfitted estimator like a fitted learner; None if the learners read no labels.
    """

    name: str
    about: str
    data: Data
    plain: tuple[str, tuple[Learner, ...]]
    fused: tuple[str, tuple[Learner, ...]]
    refit: Callable[[Any], HeadClassifier] | None = None


class LinearProbe(LinearClassifier):
    """A linear probe that chooses C among `STRENGTHS` by NLL on a fifth of its rows, then learns from all of them.

    Attributes:
        chosen_: the value of C.
    """

    chosen_: float

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from X (n, d), y (n,) integer labels. Raises NotTrainable."""
        vectors, codes = np.asarray(X), np.asarray(y)
        held = stratified_folds(codes, CHOOSING, np.random.default_rng(self.seed)) == 0
        held &= np.isin(codes, codes[~held])
        self.chosen_ = self.C
        if held.any() and len(np.unique(codes[~held])) > 1:
            nll = [
                calibrated_nll(each.scores(vectors[held]), np.searchsorted(each.classes_, codes[held]))
                for each in self.path(vectors[~held], codes[~held], STRENGTHS)
            ]
            self.chosen_ = STRENGTHS[int(np.argmin(nll))]
        return next(self.path(vectors, codes, [self.chosen_], sample_weight))

    def again(self) -> LinearClassifier:
        """Return an unfitted probe with the value of C that was chosen."""
        return LinearClassifier(C=self.chosen_, norm=self.norm)


def calibrated_nll(scores: NDArray[Any], codes: NDArray[np.integer[Any]]) -> float:
    """Return the mean NLL of scores (n, K) at their best temperature, in nats."""
    return mean_nll(scores, codes, fit_temperature(scores, codes))


def linear_probes(data: Data) -> Regime:
    """Return the regime of linear probes, which are fused on L2-normalised vectors."""

    def learners(norm: Literal["none", "unit"]) -> tuple[Learner, ...]:
        return tuple(Learner(LinearProbe(norm=norm)) for _ in data.names)

    return Regime(
        "linear probes",
        "Each probe standardises its columns, and chooses its penalty on a fifth of the rows that it learns from.",
        data,
        plain=("raw", learners("none")),
        fused=("L2-normalised", learners("unit")),
        refit=LinearProbe.again,
    )


def zero_shot(data: Data, rows: Rows) -> Regime:
    """Return the regime of zero-shot scores: cosines with the texts of the class names, times 100.

    They are fused as the kind `zeroshot` makes them without its label bank: the mean direction of the learning rows,
    whose labels it does not need, is subtracted.
    """
    texts = [text_vectors(rows, name, data.classes) for name in data.names]

    def learners(centre: bool) -> tuple[Learner, ...]:
        return tuple(Learner(ZeroShotClassifier(centre=centre), each) for each in texts)

    return Regime(
        "zero-shot",
        "The length of a vector does not change which cosine is largest, so raw and L2-normalised vectors answer "
        "alike. Centred: the mean direction of the rows is subtracted first, which needs no labels.",
        data,
        plain=("cosine", learners(False)),
        fused=("centred cosine", learners(True)),
    )


def text_vectors(rows: Rows, encoder: str, classes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return the text vector of each class with one encoder, by the number of the class."""
    own = Rows(rows.store, rows.task, (encoder,), rows.snapshot, texts=rows.texts)
    prompts = default_prompts([own.features[0].name])
    vectors = class_vectors(own.embed_texts, classes, prompts, own.text_edges())
    return {str(code): vector for code, vector in enumerate(vectors)}
