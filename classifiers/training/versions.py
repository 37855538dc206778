"""Compares two versions of a head on the same held-out rows: which answers changed, and which became right or wrong."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.evaluation.paired import Difference, paired_difference
from classifiers.published.head import PublishedHead
from store import Features, Snapshot, Store
from store.rows import strings

SPLITS = ("test", "val")
"""Splits on which versions are compared: the first that has a row with the vectors that both read."""

BATCH_ROWS = 4096
"""Number of rows whose vectors are in memory at once."""

Answer = frozenset[str]
"""The labels that a head gives a row, or the true ones: one class, or any number of labels."""


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Two versions of a head on the same rows. The figure of a row is its F1: for one class a row, 1 right or 0 wrong.

    Attributes:
        split: the split of the rows.
        rows: number of rows.
        right_before, right_now: number of rows whose labels are all right, and no other is given.
        difference: mean F1 of the rows now minus before, with its 95 % interval.
        changed: number of rows whose answer changed.
        better, worse: ids of the rows whose F1 rose and fell, those that changed most first.
    """

    split: str
    rows: int
    right_before: int
    right_now: int
    difference: Difference
    changed: int
    better: tuple[str, ...]
    worse: tuple[str, ...]


def compare_versions(
    store: Store, task: str, before: PublishedHead, now: PublishedHead, snapshot: Snapshot, *, seed: int = 0
) -> VersionComparison | None:
    """Compare two heads on the test rows of a task or, without any, on its validation rows; None without both.

    Labels are compared by name, so the heads may know different classes: a head is wrong on a row of a class that it
    does not know. Rows without a vector of an encoder that one of the heads reads are left out.

    Args:
        seed: seed of the bootstrap interval.

    Raises UnknownTask, UnknownFeatures.
    """
    rows = store.labels.get(task, version=snapshot.of(store.labels.table))
    for split in SPLITS:
        truths = _truths(rows.filter(pc.equal(rows["split"], pa.scalar(split))))
        found = list(_answers(store, (before, now), list(truths), snapshot))
        if found:
            return _compared(split, [(id_, truths[id_], old, new) for id_, old, new in found], seed)
    return None


def _truths(rows: pa.Table) -> dict[str, Answer]:
    """Return the labels of rows of a task, by id."""
    labels: list[Any] = rows["labels"].to_pylist()
    return {id_: frozenset(some) for id_, some in zip(strings(rows["id"]), labels, strict=True)}


def _answers(
    store: Store, heads: Sequence[PublishedHead], ids: Sequence[str], snapshot: Snapshot
) -> Iterator[tuple[str, Answer, Answer]]:
    """Yield (id, answer of each head) for the rows that have a vector of every encoder of both."""
    inputs = dict.fromkeys(each for head in heads for each in head.inputs)
    tables = {each: (store.tokens if each.tokens else store.features)(each.fingerprint) for each in inputs}
    for start in range(0, len(ids), BATCH_ROWS):
        some = ids[start : start + BATCH_ROWS]
        read = {each: _read(table, some, snapshot) for each, table in tables.items()}
        common = [id_ for id_ in some if all(id_ in rows for rows, _ in read.values())]
        if not common:
            continue
        columns = {each: X[[rows[id_] for id_ in common]] for each, (rows, X) in read.items()}
        answers = (_given(head, np.concatenate([columns[each] for each in head.inputs], axis=1)) for head in heads)
        yield from zip(common, *answers, strict=True)


def _read(table: Features, ids: Sequence[str], snapshot: Snapshot) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Return the place of each id that has a row, and the rows (n, d); tokens side by side."""
    found, X = table.get(ids, version=snapshot.of(table.table))
    return {id_: row for row, id_ in enumerate(found)}, X.reshape(len(found), -1)


def _given(published: PublishedHead, X: NDArray[Any]) -> Iterable[Answer]:
    """Return the labels that a head gives the rows of X (n, d); none for a row whose vector is too large for it."""
    scored, classes = published.scored(X), published.head.classes
    given = published.head.labels_of(scored.scores)
    if given is None:
        answers = [frozenset([classes[code]]) for code in scored.proba.argmax(axis=1).tolist()]
    else:
        answers = [frozenset(classes[code] for code in np.flatnonzero(row).tolist()) for row in given]
    return [each if good else frozenset() for each, good in zip(answers, scored.finite.tolist(), strict=True)]


def _compared(split: str, rows: Sequence[tuple[str, Answer, Answer, Answer]], seed: int) -> VersionComparison:
    """Return the comparison of rows (id, truth, answer before, answer now); at least one."""
    f1 = np.array([[_f1(before, truth), _f1(now, truth)] for _, truth, before, now in rows])
    gains = f1[:, 1] - f1[:, 0]
    order = np.argsort(-np.abs(gains), kind="stable")
    return VersionComparison(
        split=split,
        rows=len(rows),
        right_before=int(np.count_nonzero(f1[:, 0] == 1)),
        right_now=int(np.count_nonzero(f1[:, 1] == 1)),
        difference=paired_difference(gains, seed=seed),
        changed=sum(before != now for _, _, before, now in rows),
        better=tuple(rows[row][0] for row in order if gains[row] > 0),
        worse=tuple(rows[row][0] for row in order if gains[row] < 0),
    )


def _f1(answer: Answer, truth: Answer) -> float:
    """Return 2 |A ∩ T| / (|A| + |T|); 1 if both are empty."""
    size = len(answer) + len(truth)
    return 2 * len(answer & truth) / size if size else 1.0
