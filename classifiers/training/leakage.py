"""The near-duplicates of held-out rows among the training rows, for one line in the report on a training run."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.reports.leakage import Leakage
from classifiers.heads.transform import unit_rows
from classifiers.review.near import RANK, proposed_threshold, sample_of
from classifiers.training.rows.rows import Rows
from store import Features
from store.errors import UnknownFeatures
from store.rows import strings

MOST_HELD, MOST_TRAINING = 256, 16_384
"""Maximum numbers of rows that are compared: every held-out row of the sample with every training row of the sample.
For vectors of 1,280 numbers that is 11 billion operations, a fraction of a second."""


def find_leakage(rows: Rows) -> Leakage | None:
    """Compare a sample of the held-out rows with a sample of the training rows.

    The threshold is proposed from the neighbours that held-out rows have among the training rows, so the command that
    lists all pairs may propose another one. None if the first encoder has no vectors of training or held-out rows.

    The last result is kept: whoever corrects labels trains again and again on the same rows with the same vectors.

    Memory: `MOST_TRAINING` · d · 4 bytes.
    """
    try:
        features = rows.store.features(rows.encoders[0])
    except UnknownFeatures:  # a head that reads tokens may have no vectors
        return None
    held_ids = sorted(id_ for split in ("val", "test") for id_ in strings(rows.labelled(split)["id"]))
    training_ids = sorted(strings(rows.labelled("train")["id"]))
    table = features.table.name
    vectors = (rows.store.uri, table, rows.snapshot.of(features.table), rows.store.database.made(table))
    key = (rows.task, vectors, held_ids, training_ids)
    return _last.get(key, lambda: _find(rows, features, held_ids, training_ids))


class _Last:
    """The last result, by what it was computed from."""

    def __init__(self) -> None:
        self._kept: tuple[object, Leakage | None] | None = None

    def get(self, key: object, find: Callable[[], Leakage | None]) -> Leakage | None:
        kept = self._kept
        if kept is None or kept[0] != key:
            kept = self._kept = (key, find())
        return kept[1]


_last = _Last()


def _find(rows: Rows, features: Features, held_ids: list[str], training_ids: list[str]) -> Leakage | None:
    held = _vectors(rows, features, held_ids, MOST_HELD)
    training = _vectors(rows, features, training_ids, MOST_TRAINING) if len(held) else held
    if not len(held) or not len(training):
        return None
    cosines = held @ training.T
    count = min(RANK, len(training))
    nearest = -np.sort(-np.partition(cosines, len(training) - count, axis=1)[:, -count:], axis=1)
    threshold = proposed_threshold(nearest)
    return Leakage(
        task=rows.task,
        encoder=features.name,
        found=int(np.count_nonzero(nearest[:, 0] >= threshold)),
        held=len(held),
        training=len(training),
        all_held=len(held_ids) if len(held_ids) > MOST_HELD else len(held),
        all_training=len(training_ids) if len(training_ids) > MOST_TRAINING else len(training),
        threshold=threshold,
    )


def _vectors(rows: Rows, features: Features, ids: list[str], most: int) -> NDArray[np.float32]:
    """Return the directions of at most `most` of the sorted assets `ids` that have a vector, a random draw, (n, d)."""
    chosen = [ids[row] for row in sample_of(len(ids), most=most).tolist()]
    _, X = features.get(chosen, version=rows.snapshot.of(features.table))
    return unit_rows(X[X.any(axis=1)])
