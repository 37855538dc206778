"""Zero-shot heads with `blend=auto` from few training rows: class means beside the texts, instead of a Gaussian."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NoCovariance
from classifiers.fit.linear_parts import Directions
from classifiers.fit.zeroshot import ZeroShotClassifier, reference_rows
from classifiers.heads.base import Head
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.synthesis import Synthesis
from classifiers.heads.transform import unit_blocks
from classifiers.heads.zeroshot import Blend
from classifiers.prompts import class_vectors
from classifiers.training.learning.blends import Ends, described, settle_blend
from classifiers.training.learning.by_text import UNCHOSEN, bank_of, unchosen_weight
from classifiers.training.learning.tuning import AUTO, is_auto
from classifiers.training.learning.zero_shot import LEAST_A_CLASS, learn_zero_shot
from classifiers.training.rows.present import require_present
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored
from classifiers.training.rows.task_rows import FOLDS, LEAST_CROSSED

WEIGHTS: tuple[Blend, ...] = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, "gaussian")
"""Values of α that are tried for class means, from the texts alone to the class means alone."""

LEAST_TO_CHOOSE = 50
"""Least number of rows to choose α and the label bank's weight on. Folds of fewer rows choose too small an α."""

EQUAL = 1.0
"""α without a label bank, where too few rows can be held out to choose it."""

NOTE = "Few training rows: class means take the place of the Gaussian part."
BY_TEXTS = "Too few rows can be held out: the calibration is that of the texts alone, on the training rows."


@dataclass(frozen=True, slots=True)
class FewRows:
    """Training rows in memory.

    Attributes:
        U: vectors of unit norm in each block, float64 (n, d).
        codes: classes, (n,) in 0…K-1; every class has a row.
        edges: column edges (0, …, d) of the encoders' blocks.
    """

    U: NDArray[np.float64]
    codes: NDArray[np.int64]
    edges: tuple[int, ...]

    def taken(self, rows: NDArray[np.bool_]) -> Self:
        return replace(self, U=self.U[rows], codes=self.codes[rows])

    def folds(self) -> Iterator[tuple[Self, Self]]:
        """Yield the rows to learn from and the held-out rows of each fold.

        A fold holds out as many rows of one class as of another, up to rounding: all classes are learned with about
        equally many rows, because a class with fewer loses to the others. A class with one row is never held out.
        """
        order = np.argsort(self.codes, kind="stable")
        counts = np.bincount(self.codes)
        number = np.empty(len(order), np.int64)
        number[order] = np.concatenate([np.arange(count) for count in counts])
        number = np.where(counts[self.codes] > 1, number % min(FOLDS, int(counts.max())), -1)
        # A class with fewer rows than folds is held out in its first folds only, and never as a whole.
        for fold in range(number.max() + 1):
            yield self.taken(number != fold), self.taken(number == fold)


def learn_named(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn a zero-shot head as `learn_zero_shot` does; with `AUTO` and few training rows, see `learn_few`.

    Few are rows from which no covariance can be estimated, and, without validation rows, fewer than `LEAST_A_CLASS` per
    class, with which folds cannot judge a Gaussian part.
    """
    auto = is_auto(estimator.blend)
    if auto and not rows.has_validation and rows.labelled("train").num_rows < LEAST_A_CLASS * len(classes):
        return learn_few(estimator, rows, classes)
    weight = estimator.bank_weight
    try:
        return learn_zero_shot(estimator, rows, classes)
    except NoCovariance:
        if not auto:
            raise
    return learn_few(estimator.set_params(bank_weight=weight), rows, classes)


def learn_few(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn class means beside the texts.

    α, and whether a label bank adds to the texts, are chosen on `LEAST_TO_CHOOSE` or more validation or held-out rows.
    With fewer than `LEAST_CROSSED`, the temperature is that of the texts alone on the training rows, of which they
    learned nothing, times 1 + α, because the scores of both parts have one scale.
    """
    estimator.set_params(blend=AUTO, blocks=rows.edges())
    ids, few, known = gathered(rows, classes)
    text = class_vectors(rows.embed_texts, known, estimator.prompts, few.edges)
    bank = bank_of(estimator, rows, len(few.codes))
    unchosen = unchosen_mix(estimator, bank, few)
    added = additions(estimator, bank, few)
    directions = {weight: estimator.directions(text, each) for weight, each in added.items()}
    judged = list(validation_rows(rows, known, few)) or list(few.folds())
    parts = [ends(estimator, directions, learned, held) for learned, held in judged]
    held = sum(len(each.truth) for each in parts)
    measures, left_out = settle_blend(estimator, parts if held >= LEAST_TO_CHOOSE else [], WEIGHTS, unchosen)
    weight, blend = estimator.bank_weight, estimator.blend
    if held >= LEAST_CROSSED:
        validated = [each.blended((weight, blend)) for each in parts]
    else:
        alone = ends(estimator, directions, few, few).texts[weight]
        validated = [Scored(alone * np.float32(1 + unchosen[1]), few.codes)]
    if left_out is not None:
        validated = [Scored(left_out, Scored.concatenate(validated).truth)]
    found = {"part": "class means", "blend_validated": measures}
    means = None if blend == 0 else class_means(few, estimator.scale)
    estimator.settle(np.array(known), text, few.U.mean(axis=0), means, found, added[weight])
    notes = (NOTE, described(estimator, measures), *(() if held >= LEAST_CROSSED else (BY_TEXTS,)))
    counts = tuple(np.bincount(few.codes).tolist())
    return Learned(estimator.head_, counts, len(ids), ids, classes, validated, notes=notes)


def gathered(rows: Rows, classes: tuple[str, ...]) -> tuple[list[str], FewRows, tuple[str, ...]]:
    """Return the ids and the training rows in memory, and the classes that have some. Raises NoVectors."""
    batches = [(ids, X, codes) for ids, X, codes in rows.batches("train", classes) if ids]
    codes = np.concatenate([codes for _, _, codes in batches]) if batches else np.zeros(0, np.int64)
    present, codes = np.unique(codes, return_inverse=True)
    known = require_present(rows, classes, present)
    edges = tuple(rows.edges())
    U = np.concatenate([unit_blocks(X.astype(np.float64), edges) for _, X, _ in batches])
    return [id_ for ids, _, _ in batches for id_ in ids], FewRows(U, codes, edges), known


def validation_rows(rows: Rows, known: tuple[str, ...], few: FewRows) -> Iterator[tuple[FewRows, FewRows]]:
    """Yield the training rows and a batch of the validation rows, batch by batch; nothing without validation rows."""
    if rows.has_validation:
        for X, codes in rows.known("val", known):
            yield few, FewRows(unit_blocks(X.astype(np.float64), few.edges), codes, few.edges)


def additions(estimator: ZeroShotClassifier, bank: LabelBank | None, few: FewRows) -> dict[float, Synthesis | None]:
    """Return what a label bank adds to the texts, by its weight: for one that is given, or for all that are tried."""
    reference = reference_rows(few.U)
    if not is_auto(estimator.bank_weight):
        return {estimator.bank_weight: estimator.synthesis(bank, reference)}
    return {0.0: None} | ({} if bank is None else {UNCHOSEN: Synthesis.of(bank, reference, UNCHOSEN)})


def unchosen_mix(estimator: ZeroShotClassifier, bank: LabelBank | None, few: FewRows) -> tuple[float, float]:
    """Return the weight of a label bank, and α, where too few rows can be held out to choose them.

    α is `EQUAL` without a bank, otherwise √k for k rows a class: the noise of a mean falls by √k, and texts with a bank
    have scores about as large as those of class means.
    """
    weight = unchosen_weight(bank) if is_auto(estimator.bank_weight) else estimator.bank_weight
    return weight, float(np.sqrt(len(few.codes) / (few.codes.max() + 1))) if weight else EQUAL


def class_means(few: FewRows, scale: float) -> Directions:
    """Return the linear part of cosines with the directions of the class means, learned from rows of every class.

    score_k = scale · w_k·(u - m), where w_k is the direction from the mean m of all rows to the mean of the class, as
    the text part has it of the text.
    """
    means = np.stack([few.U[few.codes == k].mean(axis=0) for k in range(few.codes.max() + 1)])
    centre = few.U.mean(axis=0)
    return Directions(scale * unit_blocks(means - centre, few.edges) / (len(few.edges) - 1), centre)


def ends(
    estimator: ZeroShotClassifier, directions: Mapping[float, NDArray[np.float64]], learned: FewRows, held: FewRows
) -> Ends:
    """Return the rows `held`, scored by the texts alone and by the class means of the rows `learned`.

    Args:
        directions: those of the texts, (K, d), by the weight of a label bank.
    """
    centre = learned.U.mean(axis=0) if estimator.centre else 0.0
    texts = {weight: estimator.scale * (held.U - centre) @ each.T for weight, each in directions.items()}
    means = class_means(learned, estimator.scale)
    by_means = held.U @ means.coef_.T + means.intercept_
    single = {weight: each.astype(np.float32) for weight, each in texts.items()}
    return Ends(single, by_means.astype(np.float32), held.codes)
