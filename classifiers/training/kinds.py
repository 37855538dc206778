"""The kinds of head that can be trained, as data: estimator, default parameters, and how it gets its rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone

from classifiers.errors import NotTrainable, UnknownKind, UnknownParameter
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.base import HeadClassifier
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.mixture import MixtureClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.heads.base import Head
from classifiers.prompts import PROMPTS
from classifiers.training.label_kinds import LABEL_KINDS, LabelKind, Targets
from classifiers.training.rows import Rows, Scored, ids_digest, scored
from classifiers.training.streamed import AUTO, Learned, learn_streamed, require_present, without_statistics
from classifiers.training.zero_shot import learn_zero_shot, named_classes

COMPONENTS = (1, 2, 4)
"""Of a mixture, tried in this order; the first is kept where there is nothing to choose on."""


def trained_classes(_: HeadClassifier, rows: Rows) -> tuple[str, ...]:
    """The labels of the training rows."""
    return rows.classes()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of head for rows with exactly one label.

    Attributes:
        defaults: parameters that differ from the estimator's own.
        learn: (estimator, rows, classes) → what it learns from the training rows. May settle parameters of the
            estimator, which `without` then goes by.
        without: (estimator, head that it learned, rows with a fold held out) → the head without that fold.
        classes: (estimator, rows) → the classes to learn, sorted.
        texts: whether it asks `Rows.embed_texts`, so that only such kinds bring an encoder along.
    """

    estimator: type[HeadClassifier]
    defaults: Mapping[str, Any]
    learn: Callable[[Any, Rows, tuple[str, ...]], Learned]
    without: Callable[[Any, Any, Rows], Head]
    classes: Callable[[Any, Rows], tuple[str, ...]] = trained_classes
    texts: bool = False
    targets: ClassVar[Targets] = "one"


def learn_in_memory(estimator: HeadClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """For estimators that need all training rows at once: n × d × 4 bytes, and what the solver adds."""
    matrix = rows.matrix("train", classes)
    present, counts = np.unique(matrix.codes, return_counts=True)
    require_present(rows, classes, present)
    estimator.set_params(blocks=rows.edges())
    estimator.fit(matrix.X, np.array(classes)[matrix.codes])
    return Learned(estimator.head_, tuple(counts.tolist()), ids_digest(matrix.ids))


def learn_mixture(estimator: MixtureClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """As `learn_in_memory`, with the number of components that does best on validation rows or folds."""
    if estimator.components != AUTO:
        return learn_in_memory(estimator, rows, classes)
    found: list[tuple[float, int, Learned]] = []
    for components in COMPONENTS:
        learned = learn_in_memory(estimator.set_params(components=components), rows, classes)
        parts = validate("mixture", estimator, rows, learned.head)
        if not parts:
            return learned
        scores, codes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "codes"))
        nll = mean_nll(scores, codes, fit_temperature(scores, codes))
        found.append((nll, components, replace(learned, validated=parts)))
    _, components, learned = min(found, key=lambda each: each[:2])
    estimator.set_params(components=components)
    return learned


def learn_fusion(estimator: FusionClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """As `learn_in_memory`; calibrated on the scores that the rule was fitted on, where there are no validation rows.

    No member has seen those rows, and of the few numbers that the rule has learned from them hundreds of rows do not
    feel one of their own. Fusing anew fold by fold would take five times as long.
    """
    learned = learn_in_memory(estimator, rows, classes)
    if rows.labelled("val").num_rows or not rows.validations() or not estimator.measured_.any():
        return learned
    measured, codes = estimator.measured_, estimator.out_of_fold_.codes
    return replace(learned, validated=[Scored(estimator.fused_[measured], codes[measured])])


def relearned(estimator: HeadClassifier, head: Head, fold: Rows) -> Head:
    """For heads from which no row can be taken away. Raises NotTrainable."""
    return learn_in_memory(clone(estimator), fold, head.classes).head


def unlearned(_: ZeroShotClassifier, head: Head, __: Rows) -> Head:
    """For heads that learned from no row. A blended one brings its validated rows with what it learned."""
    return head


def validate(kind: str, estimator: HeadClassifier, rows: Rows, head: Head) -> list[Scored]:
    """The validation rows of a head that `estimator` learned from `rows`, under heads that did not learn from them.

    Where the task has validation rows that is `head` itself. Otherwise the training rows are held out fold by fold,
    and heads learned with the same settings from the others score them. Empty when there are too few rows for that.
    """
    parts: list[Scored] = []
    for view in rows.validations():
        try:
            tested = head if view is rows else ONE_LABEL_KINDS[kind].without(estimator, head, view)
        except NotTrainable:
            return []
        parts += [part.aligned(tested.classes, head.classes) for part in scored(view, tested, "val")]
    return parts


ONE_LABEL_KINDS: dict[str, Kind] = {
    "gaussian": Kind(GaussianClassifier, {"shrinkage": AUTO}, learn_streamed, without_statistics),
    "fusion": Kind(FusionClassifier, {}, learn_fusion, relearned),
    "mixture": Kind(MixtureClassifier, {"components": AUTO}, learn_mixture, relearned),
    "linear": Kind(LinearClassifier, {}, learn_in_memory, relearned),
    "zeroshot": Kind(
        ZeroShotClassifier,
        {"shrinkage": AUTO, "prompts": list(PROMPTS)},
        learn_zero_shot,
        unlearned,
        named_classes,
        texts=True,
    ),
}

KINDS: dict[str, Kind | LabelKind] = {**ONE_LABEL_KINDS, **LABEL_KINDS}
"""Every kind that can be trained; `targets` tells the tasks it is for."""


def make_estimator(kind: str, params: Mapping[str, Any]) -> Any:
    """An unfitted estimator of a kind. Raises UnknownKind, UnknownParameter with the names that exist."""
    if kind not in KINDS:
        raise UnknownKind(kind, KINDS)
    chosen = KINDS[kind]
    known = sorted(chosen.estimator().get_params())
    for name in params:
        if name not in known:
            raise UnknownParameter(name, known)
    return chosen.estimator(**{**chosen.defaults, **params})
