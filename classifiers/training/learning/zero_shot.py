"""Training of zero-shot heads with `blend`: texts of class names, and a Gaussian head of training rows blended in."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.evaluation.choice import choose
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier, check_classes
from classifiers.heads.base import Head
from classifiers.heads.zeroshot import Blend
from classifiers.prompts import class_vectors
from classifiers.training.learning.by_text import learn_text
from classifiers.training.learning.streamed import learn_streamed, without_statistics
from classifiers.training.learning.tuning import AUTO, is_auto, tuning_rows
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.scored import Learned, Scored

STRENGTHS: tuple[Blend, ...] = (0.0, *(float(f"{10**power:.2g}") for power in np.linspace(-4, 2, 13)), "gaussian")
"""Values of α that are tried, from the text alone to the Gaussian alone: 1e-4 … 1e2 as in arXiv 2402.04087, two a
decade."""

LEAST_A_CLASS = 8
"""Least mean number of training rows per class with which folds can judge a Gaussian part. With fewer, the class of a
held-out row has the fewest rows left, which in many dimensions is enough to make it lose: with 2 rows per class, folds
measured an accuracy of 0.15, and other rows 0.56 (clothing10, lite0)."""

UNCHOSEN = 0.1
"""The value of α if there are no rows to choose on. It had the best accuracy on held-out training rows of clothing10
and flowers5, with 2 and 4 training rows per class (lite0)."""


def named_classes(estimator: ZeroShotClassifier, rows: Rows) -> tuple[str, ...]:
    """Return the classes that the head will know.

    They are the classes named by the estimator, otherwise all classes of the task, or for a blend those with training
    rows.

    Raises BadParameter, UnknownTask, NotTrainable.
    """
    settled: ZeroShotClassifier = clone(estimator)
    if estimator.blend == AUTO:
        settled.set_params(blend=UNCHOSEN)
    if is_auto(estimator.bank_weight):
        settled.set_params(bank_weight=0.0)
    settled.check()
    if settled.blend != 0:
        return rows.classes()
    known = rows.all_classes()
    found = known if estimator.classes is None else check_classes(estimator.classes)
    if len(found) < 2:
        raise NotTrainable(
            f"task {rows.task!r} has rows of {len(found)} class(es) {list(found)}; a head needs at least 2: name "
            "them by classes=[…]"
        )
    return found


def learn_zero_shot(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn the directions of the classes' texts, with or without a Gaussian head blended in."""
    estimator.set_params(blocks=rows.edges())
    if estimator.blend == 0:
        return learn_text(estimator, rows, classes)
    if is_auto(estimator.bank_weight):
        estimator.set_params(bank_weight=0.0)
    return learn_blend(estimator, rows, classes)


def learn_blend(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn the Gaussian part in one pass over the training rows, then choose α on validation rows or folds."""
    gaussian = estimator.gaussian(rows.edges())
    learned = learn_streamed(gaussian, rows, classes)
    known, fitted = learned.head.classes, gaussian.head_
    text = class_vectors(rows.embed_texts, known, estimator.prompts, rows.edges())
    parts = ends(estimator, text, gaussian, rows)
    if learned.validated:
        parts = [(Scored.concatenate([a for a, _ in parts]), Scored.concatenate(learned.validated))]
    judged = rows.has_validation or sum(learned.counts) >= LEAST_A_CLASS * len(known)
    measures, left_out = settle_blend(estimator, parts if judged else [])
    found = {"shrinkage": fitted.settings()["shrinkage_used"], "blend_validated": measures}
    blended_in = None if estimator.blend == 0 else gaussian
    estimator.settle(np.array(known), text, fitted.statistics.centre(), blended_in, found)
    validated = [Scored(blended(a.scores, b.scores, estimator.blend), a.truth) for a, b in parts]
    if left_out is not None and rows.has_validation:
        validated = [Scored(left_out, Scored.concatenate(validated).truth)]
    return replace(learned, head=estimator.head_, validated=validated, notes=(described(estimator, measures),))


def ends(
    estimator: ZeroShotClassifier, text: NDArray[np.float64], gaussian: GaussianClassifier, rows: Rows
) -> list[tuple[Scored, Scored]]:
    """Return the validation rows scored by the text alone, and by a Gaussian head that did not learn from them.

    The pairs are batches with a column for every class, see `learn.validated_rows`; none if there are too few rows.
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
        for X, codes in view.known("val", own):
            a, b = (Scored(each.scores(X), codes).aligned(own, known) for each in (words.head_, tested))
            parts.append((a, b))
    return parts


def settle_blend(
    estimator: ZeroShotClassifier,
    parts: Sequence[tuple[Scored, Scored]],
    tried: Sequence[Blend] = STRENGTHS,
    unchosen: float = UNCHOSEN,
) -> tuple[dict[str, dict[str, float]], NDArray[np.float32] | None]:
    """Choose the estimator's blend if it is `AUTO`: the one of `tried` with the least NLL on the first validation rows.

    Returns the NLL and accuracy of the blend and of both ends, by name, empty without validation rows; and scores of
    the validation rows that are independent of the choice, see `classifiers.evaluation.choice.Choice`.
    """
    auto = estimator.blend == AUTO
    if not parts:
        estimator.set_params(blend=unchosen if auto else estimator.blend)
        return {}, None
    strengths = tried if auto else (0.0, estimator.blend, "gaussian")
    found, left_out = measured(parts, strengths)
    if auto:
        estimator.set_params(blend=min(found, key=lambda blend: found[blend]["nll"]))
    measures = {named(blend): found[blend] for blend in (0.0, estimator.blend, "gaussian")}
    return measures, left_out if auto else None


def measured(
    parts: Sequence[tuple[Scored, Scored]], strengths: Sequence[Blend]
) -> tuple[dict[Blend, dict[str, float]], NDArray[np.float32] | None]:
    """Return the NLL (at its best temperature) and accuracy of every α, and scores that are independent of the choice.

    The first validation rows are used, see `tuning.TUNING_ROWS`. A Gaussian of few rows in many dimensions has scores
    in the thousands, which need a temperature out of `fit_temperature`'s reach, so all scores are brought to one scale
    first.
    """
    most = tuning_rows(parts[0][0].scores.shape[1])
    codes = np.concatenate([a.truth for a, _ in parts])[:most]
    text, gaussian = (np.concatenate([pair[end].scores for pair in parts])[:most] for end in (0, 1))
    scales: list[float] = []
    accuracies: list[float] = []

    def scaled(blend: Blend) -> NDArray[Any]:
        scores = blended(text, gaussian, blend)
        scales.append(float(np.std(scores[np.isfinite(scores)])) or 1.0)
        accuracies.append(float(np.mean(scores.argmax(axis=1) == codes)))
        return np.asarray(scores / scores.dtype.type(scales[-1]))

    choice = choose(map(scaled, strengths), codes)
    left_out = None if choice.left_out is None else choice.left_out * np.float32(scales[choice.best])
    each = zip(choice.nll, accuracies, strict=True)
    return dict(zip(strengths, [{"nll": nll, "accuracy": accuracy} for nll, accuracy in each], strict=True)), left_out


def blended(text: NDArray[Any], gaussian: NDArray[Any], blend: Blend) -> NDArray[Any]:
    """Return the scores of a blended head, (n, K), from those of the text and of the Gaussian part; α is `blend`."""
    if blend == "gaussian":
        return gaussian
    return text if blend == 0 else text + text.dtype.type(blend) * gaussian


def named(blend: Blend) -> str:
    return blend if isinstance(blend, str) else f"{blend:g}"


def described(estimator: ZeroShotClassifier, measures: Mapping[str, Mapping[str, float]]) -> str:
    """Return a sentence on the blend: its α, and how good it and both ends are on validation rows or folds."""
    if not measures:
        return f"Blend {named(estimator.blend)}: no validation rows, or too few training rows, to judge it on."
    each = "; ".join(f"{name}: NLL {row['nll']:.4f}, accuracy {row['accuracy']:.4f}" for name, row in measures.items())
    return (
        f"Blend {named(estimator.blend)}, judged on validation rows or folds (0 is the text alone, gaussian the "
        f"Gaussian part alone; NLL at the best temperature): {each}."
    )


def unlearned(_: ZeroShotClassifier, head: Head, __: Rows) -> Head:
    """Return the head itself, which learned from no row. Blended heads do not need this: they come with scored rows."""
    return head
