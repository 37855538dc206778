"""How a zero-shot head is made from a store: class names, their texts, and how strongly rows are blended in."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier, check_classes
from classifiers.heads.transform import unit_blocks
from classifiers.heads.zeroshot import Blend
from classifiers.prompts import class_vectors
from classifiers.training.rows import Rows, Scored, ids_digest
from classifiers.training.streamed import AUTO, TUNING_CELLS, TUNING_ROWS, Learned, learn_streamed, without_statistics

STRENGTHS: tuple[Blend, ...] = (0.0, *(float(f"{10**power:.2g}") for power in np.linspace(-4, 2, 13)), "gaussian")
"""α tried, from the text alone to the Gaussian alone: 1e-4 … 1e2 as in arXiv 2402.04087, twice a decade."""

LEAST_A_CLASS = 8
"""Training rows a class, on average, from which on folds may judge a Gaussian part. With fewer, the class of a row held
out is the one that has the fewest left, and in many dimensions that alone makes it lose: with 2 rows a class folds saw
accuracies of 0.15 where other rows saw 0.56 (clothing10, lite0)."""

UNCHOSEN = 0.1
"""α where there is nothing to choose on; what did best with 2 and 4 rows a class of clothing10 and flowers5 (lite0), by
accuracy on training rows that were not learned from."""


def named_classes(estimator: ZeroShotClassifier, rows: Rows) -> tuple[str, ...]:
    """The classes to tell apart: those that were named; all of the task; or for a blend those of its training rows.

    Raises BadParameter, UnknownTask, NotTrainable.
    """
    settled: ZeroShotClassifier = clone(estimator)
    if estimator.blend == AUTO:
        settled.set_params(blend=UNCHOSEN)
    settled.check()
    if settled.blend != 0:
        return rows.classes()
    told = rows.names()
    found = told if estimator.classes is None else check_classes(estimator.classes)
    if len(found) < 2:
        raise NotTrainable(
            f"task {rows.task!r} has rows of {len(found)} class(es) {list(found)}; a head tells at least 2 apart: name "
            "them by classes=[…]"
        )
    return found


def learn_zero_shot(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """The directions of the classes' texts, with or without a Gaussian head blended in."""
    estimator.set_params(blocks=rows.edges())
    return (learn_text if estimator.blend == 0 else learn_blend)(estimator, rows, classes)


def learn_text(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """No label is looked at, only the mean of the training rows' vectors, where there are any."""
    text = class_vectors(rows.embed_texts, classes, estimator.prompts, rows.edges())
    ids, centre = mean_direction(rows) if estimator.centre else ([], np.zeros(rows.dim))
    estimator.settle(np.array(classes), text, centre)
    note = "The head learned from no label: it knows its classes by their names."
    if estimator.centre:
        note += f" Vectors are centred on the mean of {len(ids)} training rows, whatever their labels."
    return Learned(estimator.head_, (0,) * len(classes), ids_digest(ids), notes=(note,))


def mean_direction(rows: Rows) -> tuple[list[str], NDArray[np.float64]]:
    """Ids of the training rows, whatever their labels, and the mean of their vectors at unit norm, (d,); else zeros."""
    ids: list[str] = []
    total = np.zeros(rows.dim)
    for some, X, _ in rows.batches("train", ()):
        ids += some
        total += unit_blocks(X, rows.edges()).sum(axis=0, dtype=np.float64)
    return ids, total / max(1, len(ids))


def learn_blend(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """The Gaussian part in one pass over the training rows, then α on validation rows or folds."""
    gaussian = estimator.gaussian(rows.edges())
    learned = learn_streamed(gaussian, rows, classes)
    known, fitted = learned.head.classes, gaussian.head_
    text = class_vectors(rows.embed_texts, known, estimator.prompts, rows.edges())
    parts = ends(estimator, text, gaussian, rows)
    judged = rows.labelled("val").num_rows or sum(learned.counts) >= LEAST_A_CLASS * len(known)
    told = settle_blend(estimator, parts if judged else [])
    found = {"shrinkage": fitted.settings()["shrinkage_used"], "blend_validated": told}
    estimator.settle(np.array(known), text, fitted.statistics.centre(), gaussian, found)
    validated = [Scored(blended(a.scores, b.scores, estimator.blend), a.codes) for a, b in parts]
    return Learned(estimator.head_, learned.counts, learned.training_ids, validated, (described(estimator, told),))


def ends(
    estimator: ZeroShotClassifier, text: NDArray[np.float64], gaussian: GaussianClassifier, rows: Rows
) -> list[tuple[Scored, Scored]]:
    """Validation rows under the text alone, and under a Gaussian head that did not learn from them.

    Batch by batch, with a column for every class; see `kinds.validate`. Empty when there are too few rows.
    """
    parts: list[tuple[Scored, Scored]] = []
    known, words = gaussian.head_.classes, clone(estimator).set_params(blend=0.0)
    for view in rows.validations():
        try:
            tested = gaussian.head_ if view is rows else without_statistics(gaussian, gaussian.head_, view)
        except NotTrainable:
            return []
        own = tested.classes
        words.settle(np.array(own), text[np.isin(known, own)], tested.statistics.centre())
        for _, X, codes in view.batches("val", own):
            seen = codes >= 0
            if seen.any():
                a, b = (Scored(h.scores(X[seen]), codes[seen]).aligned(own, known) for h in (words.head_, tested))
                parts.append((a, b))
    return parts


def settle_blend(estimator: ZeroShotClassifier, parts: Sequence[tuple[Scored, Scored]]) -> dict[str, dict[str, float]]:
    """Chooses the estimator's blend where that is asked; NLL and accuracy of it and of both ends, by name.

    By the NLL at its best temperature on the first validation rows (see `TUNING_ROWS`). Empty without any.
    """
    auto = estimator.blend == AUTO
    found = measured(parts, STRENGTHS if auto else (0.0, estimator.blend, "gaussian")) if parts else {}
    if auto:
        estimator.set_params(blend=min(found, key=lambda blend: found[blend]["nll"], default=UNCHOSEN))
    return {named(blend): found[blend] for blend in (0.0, estimator.blend, "gaussian") if blend in found}


def measured(parts: Sequence[tuple[Scored, Scored]], strengths: Sequence[Blend]) -> dict[Blend, dict[str, float]]:
    """NLL at its own best temperature, and accuracy, of every α.

    Scores of a Gaussian of few rows in many dimensions come in the thousands, which would want a temperature out of
    `fit_temperature`'s reach, so all are brought to one scale first.
    """
    most = min(TUNING_ROWS, TUNING_CELLS // parts[0][0].scores.shape[1])
    codes = np.concatenate([a.codes for a, _ in parts])[:most]
    text, gaussian = (np.concatenate([pair[end].scores for pair in parts])[:most] for end in (0, 1))
    found: dict[Blend, dict[str, float]] = {}
    for blend in strengths:
        scores = blended(text, gaussian, blend)
        scores = scores / (np.std(scores[np.isfinite(scores)]) or 1.0)
        right = float(np.mean(scores.argmax(axis=1) == codes))
        found[blend] = {"nll": mean_nll(scores, codes, fit_temperature(scores, codes)), "accuracy": right}
    return found


def blended(text: NDArray[Any], gaussian: NDArray[Any], blend: Blend) -> NDArray[Any]:
    """Scores of the text and of the Gaussian part, each (n, K), with α = `blend`, as a blended head gives them."""
    if blend == "gaussian":
        return gaussian
    return text if blend == 0 else text + text.dtype.type(blend) * gaussian


def named(blend: Blend) -> str:
    return blend if isinstance(blend, str) else f"{blend:g}"


def described(estimator: ZeroShotClassifier, told: Mapping[str, Mapping[str, float]]) -> str:
    """A sentence on the blend: what it is, and what it and both ends do on validation rows or folds."""
    if not told:
        return f"Blend {named(estimator.blend)}: no validation rows, or too few training rows, to judge it on."
    each = "; ".join(f"{name}: NLL {row['nll']:.4f}, accuracy {row['accuracy']:.4f}" for name, row in told.items())
    return (
        f"Blend {named(estimator.blend)}, judged on validation rows or folds (0 is the text alone, gaussian the "
        f"Gaussian part alone; NLL at the best temperature): {each}."
    )
