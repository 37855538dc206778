"""The kinds of head that can be trained, as data: estimator, default parameters, and how it gets its rows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import NotTrainable, UnknownKind, UnknownParameter
from classifiers.fit.base import FoldedClassifier
from classifiers.fit.gaussian import GaussianClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.parallel import Batch, gather
from classifiers.fit.shrinkage import choose_shrinkage
from classifiers.heads.base import Head
from classifiers.heads.gaussian import Priors, Shrinkage
from classifiers.heads.statistics import GaussianStatistics
from classifiers.rows import Rows, ids_digest

AUTO = "auto"
"""Shrinkage that is chosen on validation rows. The estimator itself has none to choose on, and knows no "auto"."""

TUNING_ROWS = 10_000
"""Most validation rows that a choice is made on; they are held in memory (10,000 × 1280 float32 = 51 MB)."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A fitted head, how many rows of each of its classes it saw, and the digest of their ids."""

    head: Head
    counts: tuple[int, ...]
    training_ids: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of head: its estimator, parameters that differ from the estimator's own, how it is fed."""

    estimator: type[FoldedClassifier]
    defaults: Mapping[str, Any]
    learn: Callable[[Any, Rows, tuple[str, ...]], Learned]


def learn_streamed(estimator: GaussianClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """One pass over the training rows, a few batches of them in memory at a time."""
    ids: list[str] = []

    def batches() -> Iterator[Batch]:
        for some, X, codes in rows.batches("train", classes):
            ids.extend(some)
            yield X, codes

    gathered = gather(batches(), len(classes), rows.dim)
    present = np.flatnonzero(gathered.present)
    names = require_present(rows, classes, present)
    statistics = gathered.select(present)
    if estimator.shrinkage == AUTO:
        estimator.set_params(shrinkage=tuned_shrinkage(statistics, estimator.priors, rows, names))
    estimator.fit_statistics(statistics, names)
    counts = statistics.counts[present].astype(int).tolist()
    return Learned(estimator.head_, tuple(counts), ids_digest(ids))


def tuned_shrinkage(statistics: GaussianStatistics, priors: Priors, rows: Rows, classes: tuple[str, ...]) -> Shrinkage:
    """The shrinkage that does best on validation rows, the first `TUNING_ROWS` of them; "oas" without any."""
    parts: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
    count = 0
    for _, X, codes in rows.batches("val", classes):
        known = codes >= 0
        parts.append((X[known], codes[known]))
        count += int(known.sum())
        if count >= TUNING_ROWS:
            break
    if not count or not statistics.covariance().any():
        return "oas"
    X, codes = (np.concatenate(column)[:TUNING_ROWS] for column in zip(*parts, strict=True))
    return choose_shrinkage(statistics, priors, X, codes)


def learn_in_memory(estimator: FoldedClassifier, rows: Rows, classes: tuple[str, ...]) -> Learned:
    """For estimators that need all training rows at once: n × d × 4 bytes, and what the solver adds."""
    matrix = rows.matrix("train", classes)
    present, counts = np.unique(matrix.codes, return_counts=True)
    require_present(rows, classes, present)
    estimator.fit(matrix.X, np.array(classes)[matrix.codes])
    return Learned(estimator.head_, tuple(counts.tolist()), ids_digest(matrix.ids))


def require_present(rows: Rows, classes: tuple[str, ...], present: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    """The classes that have vectors. Raises NotTrainable for fewer than two."""
    if len(present) < 2:
        raise NotTrainable(
            f"of the {len(classes)} classes of task {rows.task!r}, {len(present)} have training rows with "
            f"vectors of {', '.join(rows.encoders)}; run a backfill with that encoder first"
        )
    return tuple(classes[k] for k in present.tolist())


KINDS: dict[str, Kind] = {
    "gaussian": Kind(GaussianClassifier, {"shrinkage": AUTO}, learn_streamed),
    "linear": Kind(LinearClassifier, {}, learn_in_memory),
}


def make_estimator(kind: str, params: Mapping[str, Any]) -> FoldedClassifier:
    """An unfitted estimator of a kind. Raises UnknownKind, UnknownParameter with the names that exist."""
    if kind not in KINDS:
        raise UnknownKind(kind, KINDS)
    chosen = KINDS[kind]
    known = sorted(chosen.estimator().get_params())
    for name in params:
        if name not in known:
            raise UnknownParameter(name, known)
    return chosen.estimator(**{**chosen.defaults, **params})
