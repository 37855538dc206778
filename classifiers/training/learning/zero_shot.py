"""Training of zero-shot heads with `blend`: texts of class names, and what training rows say blended in."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier, check_classes
from classifiers.heads.base import Head
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.heads.synthesis import Synthesis
from classifiers.heads.zeroshot import Blend
from classifiers.prompts import class_vectors
from classifiers.training.learning.blends import Ends, described, settle_blend
from classifiers.training.learning.by_text import Seen, bank_of, learn_text
from classifiers.training.learning.learn import learn_in_memory
from classifiers.training.learning.streamed import learn_streamed, without_statistics
from classifiers.training.learning.tuning import AUTO, is_auto
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
    """Learn the directions of the classes' texts, with or without what training rows say blended in.

    With a blend, a label bank counts only if `bank_weight` is given: a Gaussian head knows more than the bank adds.
    """
    estimator.set_params(blocks=rows.edges())
    if estimator.blend == 0:
        return learn_text(estimator, rows, classes)
    if is_auto(estimator.bank_weight):
        estimator.set_params(bank_weight=0.0)
    return learn_probe(estimator, rows, classes) if estimator.blend == "lp++" else learn_blend(estimator, rows, classes)


def learn_probe(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn LP++ from all training rows at once. Memory: n × d × 28 bytes."""
    return learn_in_memory(estimator, rows, classes, bank=given_bank(estimator, rows))


def learn_blend(estimator: ZeroShotClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned[Head]:
    """Learn the Gaussian part in one pass over the training rows, then choose α on validation rows or folds."""
    gaussian, weight = estimator.gaussian(rows.edges()), estimator.bank_weight
    learned = learn_streamed(gaussian, rows, classes)
    known, fitted = learned.head.classes, gaussian.head_
    text = class_vectors(rows.embed_texts, known, estimator.prompts, rows.edges())
    synthesis = estimator.synthesis(given_bank(estimator, rows), Seen.of(rows).reference) if weight else None
    parts = ends(estimator, text, synthesis, gaussian, rows)
    if learned.validated:
        whole = Ends.concatenate(parts)
        parts = [replace(whole, part=Scored.concatenate(learned.validated).scores)]
    judged = rows.has_validation or sum(learned.counts) >= LEAST_A_CLASS * len(known)
    measures, left_out = settle_blend(estimator, parts if judged else [], STRENGTHS, (weight, UNCHOSEN))
    found = {"shrinkage": fitted.settings()["shrinkage_used"], "blend_validated": measures}
    part = None if estimator.blend == 0 else gaussian
    estimator.settle(np.array(known), text, fitted.statistics.centre(), part, found, synthesis)
    validated = [each.blended((weight, estimator.blend)) for each in parts]
    if left_out is not None and rows.has_validation:
        validated = [Scored(left_out, Scored.concatenate(validated).truth)]
    return replace(learned, head=estimator.head_, validated=validated, notes=(described(estimator, measures),))


def given_bank(estimator: ZeroShotClassifier, rows: Rows) -> LabelBank | None:
    """Return the label bank that a given `bank_weight` asks for."""
    return bank_of(estimator, rows, rows.labelled("train").num_rows)


def ends(
    estimator: ZeroShotClassifier,
    text: NDArray[np.float64],
    synthesis: Synthesis | None,
    gaussian: GaussianClassifier,
    rows: Rows,
) -> list[Ends]:
    """Return the validation rows scored by the texts alone, and by a Gaussian head that did not learn from them.

    They are batches with a column for every class, see `learn.validated_rows`; none if there are too few rows.
    """
    parts: list[Ends] = []
    known, words = gaussian.head_.classes, clone(estimator).set_params(blend=0.0)
    for view in rows.validations():
        try:
            tested = gaussian.head_ if view is rows else without_statistics(gaussian, gaussian.head_, view)
        except NotTrainable:
            return []
        own = tested.classes
        words.settle(np.array(own), text[np.isin(known, own)], tested.statistics.centre(), synthesis=synthesis)
        for X, codes in view.known("val", own):
            a, b = (Scored(each.scores(X), codes).aligned(own, known) for each in (words.head_, tested))
            parts.append(Ends({estimator.bank_weight: a.scores}, b.scores, a.truth))
    return parts


def without_fold(estimator: ZeroShotClassifier, head: Head, fold: Rows) -> Head:
    """Return the head learned without a fold. A head of texts alone learned from no row. Raises NotTrainable."""
    return head if estimator.blend == 0 else learn_zero_shot(clone(estimator), fold, head.classes).head
