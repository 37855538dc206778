"""The near-duplicates of held-out rows among the training rows, for one line in the report on a training run."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.evaluation.reports.leakage import Leakage, Without
from classifiers.heads.base import Head
from classifiers.heads.transform import unit_rows
from classifiers.review.near import RANK, proposed_threshold, sample_of
from classifiers.training.rows.row_f1 import f1_by_id
from classifiers.training.rows.rows import Rows
from store import Features
from store.errors import UnknownFeatures
from store.rows import strings

SPLITS = ("val", "test")

MOST_HELD, MOST_TRAINING = 256, 16_384
"""Maximum numbers of rows that are compared: every held-out row of the sample with every training row of the sample.
With fewer training rows, more held-out rows are compared, so that the number of pairs is the same. For vectors of 1,280
numbers that is 11 billion operations, a fraction of a second."""


def find_leakage(rows: Rows, head: Head | None = None) -> Leakage | None:
    """Compare a sample of the held-out rows with a sample of the training rows.

    The threshold is proposed from the neighbours that held-out rows have among the training rows, so the command that
    lists all pairs may propose another one. None if the first encoder has no vectors of training or held-out rows.

    The pairs that were found last are kept: whoever corrects labels trains again and again on the same rows with the
    same vectors.

    Memory: `MOST_TRAINING` · d · 4 bytes.

    Args:
        head: calibrated; its figures with and without the rows that were found are added. None to leave them out.
    """
    try:
        features = rows.store.features(rows.encoders[0])
    except UnknownFeatures:  # a head that reads tokens may have no vectors
        return None
    held_ids = sorted(id_ for split in SPLITS for id_ in strings(rows.labelled(split)["id"]))
    if not held_ids:
        return None
    training_ids = sorted(strings(rows.labelled("train")["id"]))
    table = features.table.name
    vectors = (rows.store.uri, table, rows.snapshot.of(features.table), rows.store.database.made(table))
    key = (rows.task, vectors, held_ids, training_ids)
    found = _last.get(key, lambda: _find(rows, features, held_ids, training_ids))
    if found is None or head is None or not found.near:
        return found and found.leakage
    return replace(found.leakage, without=_figures_without(rows, head, found))


class _Found(NamedTuple):
    """The pairs in numbers, the ids of the held-out rows that were compared, and of those with a near-duplicate."""

    leakage: Leakage
    held: list[str]
    near: frozenset[str]


def _figures_without(rows: Rows, head: Head, found: _Found) -> dict[str, Without]:
    """Return the figures with and without the near-duplicates, by split that has some."""
    compared = rows.narrowed(found.held)
    figure = "accuracy" if rows.one_each else "F1"
    without = {}
    for split in SPLITS:
        values = f1_by_id(compared, head, split)
        clean = [value for id_, value in values.items() if id_ not in found.near]
        if clean and len(clean) < len(values):
            every = list(values.values())
            without[split] = Without(figure, len(clean), float(np.mean(clean)), len(every), float(np.mean(every)))
    return without


class _Last:
    """The last result, by what it was computed from."""

    def __init__(self) -> None:
        self._kept: tuple[object, _Found | None] | None = None

    def get(self, key: object, find: Callable[[], _Found | None]) -> _Found | None:
        kept = self._kept
        if kept is None or kept[0] != key:
            kept = self._kept = (key, find())
        return kept[1]


_last = _Last()


def _find(rows: Rows, features: Features, held_ids: list[str], training_ids: list[str]) -> _Found | None:
    most = max(MOST_HELD, MOST_HELD * MOST_TRAINING // max(1, min(len(training_ids), MOST_TRAINING)))
    compared, held = _vectors(rows, features, held_ids, most)
    _, training = _vectors(rows, features, training_ids, MOST_TRAINING) if len(held) else ([], held)
    if not len(held) or not len(training):
        return None
    cosines = held @ training.T
    count = min(RANK, len(training))
    nearest = -np.sort(-np.partition(cosines, len(training) - count, axis=1)[:, -count:], axis=1)
    threshold = proposed_threshold(nearest)
    near = np.flatnonzero(nearest[:, 0] >= threshold).tolist()
    leakage = Leakage(
        task=rows.task,
        encoder=features.name,
        found=len(near),
        held=len(held),
        training=len(training),
        all_held=len(held_ids) if len(held_ids) > most else len(held),
        all_training=len(training_ids) if len(training_ids) > MOST_TRAINING else len(training),
        threshold=threshold,
    )
    return _Found(leakage, compared, frozenset(compared[row] for row in near))


def _vectors(rows: Rows, features: Features, ids: list[str], most: int) -> tuple[list[str], NDArray[np.float32]]:
    """Return at most `most` of the sorted assets `ids` that have a vector, a random draw: ids and directions (n, d)."""
    chosen = [ids[row] for row in sample_of(len(ids), most=most).tolist()]
    found, X = features.get(chosen, version=rows.snapshot.of(features.table))
    there = np.flatnonzero(X.any(axis=1))
    return [found[row] for row in there.tolist()], unit_rows(X[there])
