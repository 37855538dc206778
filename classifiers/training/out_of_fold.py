"""Probabilities of a head's training rows from heads that did not learn from them, with the same settings."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import BadParameter, NotTrainable
from classifiers.published.head import PublishedHead
from classifiers.training.kinds import KINDS, remade_estimator
from classifiers.training.learning.tuning import AUTO
from classifiers.training.rows.rows import Rows
from classifiers.training.rows.task_rows import FOLDS


def out_of_fold(
    published: PublishedHead, rows: Rows, on_fold: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Yield the training rows as (ids, probabilities (n, K)), each judged by a head of the other folds.

    A fold without which no head can be learned is left out, for example that of the only rows of a class.

    Args:
        published: the head whose kind, parameters and classes are used.
        rows: the rows that it learned from.
        on_fold: called with the number of folds that are done.

    Raises UnknownFeatures, SnapshotGone, and what the kind of head raises for rows that it cannot read.
    """
    kind, classes = KINDS[published.head.kind], published.head.classes
    for number, fold in enumerate(rows.folds(FOLDS), 1):
        try:
            head = kind.learn_again(settled_estimator(published), fold, classes)
        except (NotTrainable, BadParameter):
            continue
        yield from kind.probabilities(fold, head, "val", classes)
        on_fold(number)


def settled_estimator(published: PublishedHead) -> Any:
    """Return an unfitted estimator with a head's parameters; those that training chose have the values it chose."""
    kind, settings = published.head.kind, published.head.settings()
    estimator, defaults = remade_estimator(kind, published.manifest.parameters), KINDS[kind].estimator().get_params()
    chosen = [name for name, value in estimator.get_params().items() if value == AUTO]
    return estimator.set_params(**{name: settings.get(name, defaults[name]) for name in chosen})
