"""Training of zero-shot heads from texts alone: the mean of the training rows, and how much a label bank counts."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.choice import choose
from classifiers.fit.zeroshot import REFERENCE_ROWS, ZeroShotClassifier
from classifiers.heads.base import Head
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.transform import unit_blocks
from classifiers.prompts import class_vectors
from classifiers.training.learning.tuning import is_auto, tuning_rows
from classifiers.training.rows.rows import KnownRows, Rows
from classifiers.training.rows.scored import Learned, Scored

WEIGHTS = (0.0, 1.0, 2.0, 4.0)
"""Weights of the label bank that are tried; 0 is the head without it."""

UNCHOSEN = 1.0
"""Weight with fewer than `LEAST_TO_CHOOSE` labelled rows: the lowest one that is tried. With 20 rows it gains 2 to 7
points of accuracy on each of four tasks (`benchmarks/label_bank.py`, mean of lite0 to lite2)."""

LEAST_REFERENCE = 10
"""Least number of training rows with which a label bank is used, unless its weight is given. With 10 rows it gains 1 to
6 points of accuracy on each of four tasks, with 5 rows it loses 4 on cifar10_10k (`benchmarks/label_bank.py`)."""

LEAST_TO_CHOOSE = 50
"""Least number of labelled rows to choose a weight on."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The training rows, whatever their labels.

    Attributes:
        ids: of all rows.
        centre: mean of the vectors at unit norm, (d,); 0 without rows.
        reference: the vectors at unit norm of the `REFERENCE_ROWS` rows with the smallest ids, which are a random
            choice because ids are hashes, (r, d).
    """

    ids: Sequence[str]
    centre: NDArray[np.float64]
    reference: NDArray[np.float32]

    @classmethod
    def of(cls, rows: Rows) -> "Seen":
        """Read the rows once, batch by batch."""
        ids: list[str] = []
        total = np.zeros(rows.dim)
        kept: list[tuple[str, NDArray[np.float32]]] = []
        for some, X, _ in rows.batches("train", ()):
            U = unit_blocks(X, rows.edges())
            ids += some
            total += U.sum(axis=0, dtype=np.float64)
            kept = heapq.nsmallest(REFERENCE_ROWS, [*kept, *zip(some, U, strict=True)], key=lambda each: each[0])
        reference = np.stack([row for _, row in kept]) if kept else np.zeros((0, rows.dim), np.float32)
        return cls(ids, total / max(1, len(ids)), reference)


def learn_text(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn from the texts alone. No training label is learned from; of the training rows' vectors the mean is.

    How much a label bank counts may be chosen on labels: see `choose_weight`.
    """
    text = class_vectors(rows.embed_texts, classes, estimator.prompts, rows.edges())
    seen = Seen.of(rows) if estimator.centre else Seen([], np.zeros(rows.dim), np.zeros((0, rows.dim), np.float32))
    bank = bank_of(estimator, rows, len(seen.reference))
    note = "The head learned from no label: it knows its classes only by their names."
    if estimator.centre:
        note += f" Vectors are centred on the mean of {len(seen.ids)} training rows, whatever their labels."

    def settled(weight: float) -> Head:
        estimator.set_params(bank_weight=weight)
        synthesis = estimator.synthesis(bank, seen.reference)
        return estimator.settle(np.array(classes), text, seen.centre, synthesis=synthesis).head_

    validated: list[Scored] | None = None
    notes: tuple[str, ...] = (note,)
    if not is_auto(estimator.bank_weight):
        weight = estimator.bank_weight
    elif bank is None:
        weight = 0.0
    else:
        tried = {weight: settled(weight) for weight in WEIGHTS}
        weight, validated, said = choose_weight(tried, rows, unchosen=unchosen_weight(bank))
        notes = (note, said)
    return Learned(settled(weight), (0,) * len(classes), 0, seen.ids, classes, validated, notes=notes)


def bank_of(estimator: ZeroShotClassifier, rows: Rows, count: int) -> LabelBank | None:
    """Return the label bank of the one encoder; None if it has none, or if `bank_weight` does not ask for one.

    Args:
        count: number of training rows.
    """
    asked = count >= LEAST_REFERENCE if is_auto(estimator.bank_weight) else estimator.bank_weight > 0
    return rows.label_bank() if asked and estimator.centre and len(rows.encoders) == 1 else None


def unchosen_weight(bank: LabelBank | None) -> float:
    """Return the weight where labelled rows cannot choose it: 0 without a bank, or for one of zero-shot scores."""
    return 0.0 if bank is None or bank.unit else UNCHOSEN


def choose_weight(tried: dict[float, Head], rows: Rows, unchosen: float) -> tuple[float, list[Scored] | None, str]:
    """Return the weight with the least NLL, scores of the labelled rows that are independent of the choice, and a note.

    The labelled rows are those of `val`, or the training rows, of which the heads learned no label. None takes the
    place of the scores where the head itself can score the rows.

    Args:
        tried: heads by weight.
        unchosen: weight with fewer than `LEAST_TO_CHOOSE` labelled rows.
    """
    classes = next(iter(tried.values())).classes
    most = tuning_rows(len(classes))
    X, codes = labelled(rows, classes, most + 1)
    if len(codes) < LEAST_TO_CHOOSE:
        return unchosen, None, f"Label bank: weight {unchosen:g}, because there are too few labelled rows to choose it."
    whole, X, codes = len(codes) <= most, X[:most], codes[:most]
    choice = choose((head.scores(X) for head in tried.values()), codes)
    weight = list(tried)[choice.best]
    each = "; ".join(f"{name:g}: NLL {nll:.4f}" for name, nll in zip(tried, choice.nll, strict=True))
    said = f"Label bank: weight {weight:g}, chosen on {len(codes)} labelled rows (NLL at the best temperature): {each}."
    return weight, [Scored(choice.left_out, codes)] if whole and choice.left_out is not None else None, said


def labelled(rows: Rows, classes: Sequence[str], most: int) -> KnownRows:
    """Return in memory the first validation rows of the classes, or training rows if they validate, n ≤ `most`."""
    none = (np.empty((0, rows.dim), np.float32), np.empty(0, np.int64))
    parts = [none, *(view.first("val", classes, most) for view in rows.validations())]
    X, codes = (np.concatenate(each)[:most] for each in zip(*parts, strict=True))
    return X, codes
