"""The kinds of head that can be trained, as data: estimator, default parameters, and how it gets its rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from classifiers.calibration import fit_temperature, mean_nll
from classifiers.errors import NotTrainable, UnknownKind, UnknownParameter
from classifiers.fit.base import HeadClassifier
from classifiers.fit.fusion import FusionClassifier
from classifiers.fit.gaussian import GaussianClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.mixture import MixtureClassifier
from classifiers.fit.parallel import Batch, gather
from classifiers.fit.shrinkage import choose_shrinkage
from classifiers.heads.base import Head
from classifiers.heads.gaussian import GaussianHead
from classifiers.heads.moments import Moment
from classifiers.heads.statistics import GaussianStatistics
from classifiers.heads.transform import Transform
from classifiers.rows import Rows, Scored, ids_digest, scored

AUTO = "auto"
"""Shrinkage or components chosen on validation rows or folds. Estimators have neither, and know no "auto"."""

COMPONENTS = (1, 2, 4)
"""Of a mixture, tried in this order; the first is kept where there is nothing to choose on."""

TUNING_ROWS, TUNING_CELLS = 10_000, 2_000_000
"""Most validation rows that a choice is made on, and most of their scores (rows × classes): a choice among a dozen
costs seconds. The rows are held in memory (10,000 × 1280 float32 = 51 MB)."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A fitted head, and what training found on the way.

    Attributes:
        counts: rows of each of its classes that it saw.
        training_ids: digest of their ids.
        validated: what `validate` gives, where something was chosen by it already.
    """

    head: Head
    counts: tuple[int, ...]
    training_ids: str
    validated: Sequence[Scored] | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of head.

    Attributes:
        defaults: parameters that differ from the estimator's own.
        learn: (estimator, rows, classes) → what it learns from the training rows. May settle parameters of the
            estimator, which `without` then goes by.
        without: (estimator, head that it learned, rows with a fold held out) → the head without that fold.
    """

    estimator: type[HeadClassifier]
    defaults: Mapping[str, Any]
    learn: Callable[[Any, Rows, tuple[str, ...]], Learned]
    without: Callable[[Any, Any, Rows], Head]


def learn_streamed(estimator: GaussianClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """One pass over the training rows, a few batches of them in memory at a time."""
    ids: list[str] = []

    def batches() -> Iterator[Batch]:
        ids.clear()  # a covariance or transform may take a second pass
        for some, X, codes in rows.batches("train", classes):
            ids.extend(some)
            yield Batch(X, codes)

    tuned = estimator.shrinkage == AUTO
    estimator.set_params(shrinkage="oas" if tuned else estimator.shrinkage, blocks=rows.edges())
    gathered, transform = estimator.gather(batches, len(classes), rows.dim)
    present = np.flatnonzero(gathered.present)
    names = require_present(rows, classes, present)
    statistics = gathered.select(present)
    if tuned:
        estimator.set_params(shrinkage=tuned_shrinkage(statistics, estimator, transform, rows, names))
    shrinkage = estimator.settled(batches, gathered, transform)
    shrinkage = shrinkage[present] if isinstance(shrinkage, np.ndarray) and len(shrinkage) > 1 else shrinkage
    estimator.fit_statistics(statistics, names, transform, shrinkage)
    counts = statistics.counts.astype(int).tolist()
    return Learned(estimator.head_, tuple(counts), ids_digest(ids))


def tuned_shrinkage(
    statistics: GaussianStatistics,
    estimator: GaussianClassifier,
    transform: Transform,
    rows: Rows,
    classes: tuple[str, ...],
) -> float | Literal["oas"]:
    """The shrinkage that does best on validation rows, or on the first of them (see `TUNING_ROWS`).

    For folds, the median of what does best on each by the statistics of the others, which are all `statistics`
    less its own. "oas" where there is nothing to choose on.
    """
    model, chosen = estimator.model(classes), []
    for view in rows.validations():
        learned, X, codes = statistics, *tuning_rows(view, classes)
        if view is not rows:
            learned = statistics.subtract(held_out(view, classes, transform, statistics.moment))
        known = (codes >= 0) & learned.present[codes]
        if known.any() and learned.covariance().any():
            chosen.append(choose_shrinkage(learned, model, transform(X[known]), codes[known]))
    return float(np.median(chosen)) if chosen else "oas"


def held_out(fold: Rows, classes: tuple[str, ...], transform: Transform, moment: Moment) -> GaussianStatistics:
    """The statistics of a fold's own rows."""
    batches = (Batch(X, codes) for _, X, codes in fold.batches("val", classes))
    return gather(batches, len(classes), transform, moment)


def without_statistics(estimator: GaussianClassifier, head: GaussianHead, fold: Rows) -> Head:
    """A head less the rows of a fold, from its statistics alone; transform and shrinkage stay. Raises NotTrainable."""
    rest = head.statistics.subtract(held_out(fold, head.classes, head.transform, head.statistics.moment))
    present = np.flatnonzero(rest.present)
    used = np.asarray(head.settings()["shrinkage_used"])
    fresh: GaussianClassifier = clone(estimator)
    names = [head.classes[k] for k in present]
    return fresh.fit_statistics(rest.select(present), names, head.transform, used[present] if used.ndim else used).head_


def tuning_rows(rows: Rows, classes: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first validation rows: X (n, d), codes (n,)."""
    most = min(TUNING_ROWS, TUNING_CELLS // len(classes))
    parts = [(np.empty((0, rows.dim), np.float32), np.empty(0, np.int64))]
    for _, X, codes in rows.batches("val", classes):
        parts.append((X, codes))
        if sum(len(codes) for _, codes in parts) >= most:
            break
    X, codes = (np.concatenate(column)[:most] for column in zip(*parts, strict=True))
    return X, codes


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


def validate(kind: str, estimator: HeadClassifier, rows: Rows, head: Head) -> list[Scored]:
    """The validation rows of a head that `estimator` learned from `rows`, under heads that did not learn from them.

    Where the task has validation rows that is `head` itself. Otherwise the training rows are held out fold by fold,
    and heads learned with the same settings from the others score them. Empty when there are too few rows for that.
    """
    parts: list[Scored] = []
    for view in rows.validations():
        try:
            tested = head if view is rows else KINDS[kind].without(estimator, head, view)
        except NotTrainable:
            return []
        parts += [part.aligned(tested.classes, head.classes) for part in scored(view, tested, "val")]
    return parts


def require_present(rows: Rows, classes: tuple[str, ...], present: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    """The classes that have vectors. Raises NotTrainable for fewer than two."""
    if len(present) < 2:
        raise NotTrainable(
            f"of the {len(classes)} classes of task {rows.task!r}, {len(present)} have training rows with "
            f"vectors of {', '.join(rows.encoders)}; run a backfill with that encoder first"
        )
    return tuple(classes[k] for k in present.tolist())


KINDS: dict[str, Kind] = {
    "gaussian": Kind(GaussianClassifier, {"shrinkage": AUTO}, learn_streamed, without_statistics),
    "fusion": Kind(FusionClassifier, {}, learn_fusion, relearned),
    "mixture": Kind(MixtureClassifier, {"components": AUTO}, learn_mixture, relearned),
    "linear": Kind(LinearClassifier, {}, learn_in_memory, relearned),
}


def make_estimator(kind: str, params: Mapping[str, Any]) -> HeadClassifier:
    """An unfitted estimator of a kind. Raises UnknownKind, UnknownParameter with the names that exist."""
    if kind not in KINDS:
        raise UnknownKind(kind, KINDS)
    chosen = KINDS[kind]
    known = sorted(chosen.estimator().get_params())
    for name in params:
        if name not in known:
            raise UnknownParameter(name, known)
    return chosen.estimator(**{**chosen.defaults, **params})
