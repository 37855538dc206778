"""The job `duplicates`: near-duplicates among the stored vectors of an encoder."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.review import near
from classifiers.review.groups import components, numbered
from services.jobs.errors import NothingToReview
from services.jobs.progress import OnProgress, Step, ignore
from services.jobs.review.directions import Directions, read
from services.jobs.review.lookups import column_of, labels_at, paths_of
from store import Store
from store.rows import Column

KINDS = ("across splits", "different labels", "same")
"""The kinds of pairs, the most harmful first: a row of another split is leakage, another label is a contradiction."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The pairs that were found.

    Attributes:
        encoder, task: what was compared.
        table: one row for each pair, see `SCHEMA`: by kind, and the highest cosine first.
        rows: number of vectors that were compared.
        without_vector: assets of the task that have no vector, or a vector of zeros.
        threshold: the cosine from which two vectors count as near-duplicates.
        proposed: True if the threshold was proposed from the vectors.
        typical: median cosine of a vector with its nearest other one.
        groups, grouped, largest: number of groups, of the rows in them, and of the rows of the largest one.
        leaked: number of rows of val and test with a near-duplicate in train.
    """

    encoder: str
    task: str | None
    table: pa.Table
    rows: int
    without_vector: int
    threshold: float
    proposed: bool
    typical: float | None
    groups: int
    grouped: int
    largest: int
    leaked: int

    def summary(self) -> dict[str, Any]:
        """Return all but the table, and the number of pairs of each kind; JSON-serialisable."""
        kinds = {kind.replace(" ", "_"): self.table["kind"].to_pylist().count(kind) for kind in KINDS[:-1]}
        task: dict[str, Any] = {}
        if self.task is not None:
            task = {**kinds, "held_out_rows_with_one_in_train": self.leaked}
        return {
            "encoder": self.encoder,
            "task": self.task,
            "vectors": self.rows,
            "without_a_vector": self.without_vector,
            "threshold": self.threshold,
            "proposed": self.proposed,
            "median_cosine_to_the_nearest": self.typical,
            "pairs": self.table.num_rows,
            **task,
            "groups": self.groups,
            "assets_in_groups": self.grouped,
            "largest_group": self.largest,
        }


def find_duplicates(
    store: Store,
    encoder: str,
    task: str | None = None,
    threshold: float | None = None,
    on_progress: OnProgress[Step] = ignore,
) -> Duplicates:
    """Find all pairs of stored vectors whose cosine is at least `threshold`.

    Memory: two bytes for each number of the vectors, in a temporary file above `directions.IN_MEMORY`; what
    `near.near_pairs` needs; and the ids and labels of the rows. Time grows with the square of the rows.

    Args:
        task: only assets that this task labels, with their labels and splits; None for all stored vectors.
        threshold: cosine above 0 and at most 1; None to propose one, see `near.proposed_threshold`.

    Raises UnknownFeatures, UnknownTask, NothingToReview, TooManyPairs, NoDiskSpace.
    """
    snapshot = store.snapshot()
    features = store.features(encoder)
    labels = labels_at(store, task, snapshot) if task is not None else None
    wanted = None if labels is None else labels["id"].combine_chunks()
    found = read(features, snapshot.of(features.table), wanted, _counting(on_progress, features.rows, "vectors read"))
    if len(found.Z) < 2:
        raise NothingToReview(features.name, task, len(found.Z))
    cosines = near.neighbours(found.Z, near.sample_of(len(found.Z)), near.RANK)
    used = near.proposed_threshold(cosines) if threshold is None else threshold
    pairs = near.near_pairs(found.Z, used, on_rows=_counting(on_progress, len(found.Z), "vectors compared"))
    root = components(pairs.a, pairs.b, len(found.Z))
    paths = partial(paths_of, store, snapshot=snapshot)
    group, sizes = numbered(root, pairs.a)
    table, leaked = _tabulated(found, pairs, group, labels, paths)
    return Duplicates(
        encoder=features.name,
        task=task,
        table=table,
        rows=len(found.Z),
        without_vector=found.zeros if wanted is None else len(wanted) - len(found.Z),
        threshold=used,
        proposed=threshold is None,
        typical=round(float(np.median(cosines[:, 0])), 4),
        groups=len(sizes),
        grouped=int(sizes.sum()),
        largest=int(sizes.max(initial=0)),
        leaked=leaked,
    )


def _counting(on_progress: OnProgress[Step], total: int, note: str) -> Callable[[int], None]:
    return lambda done: on_progress(Step(done, total, note))


_TEXTS = pa.list_(pa.string())

_COLUMNS: dict[str, pa.DataType] = {
    "kind": pa.string(),
    "group": pa.int64(),
    "cosine": pa.float32(),
    "id_a": pa.string(),
    "path_a": pa.string(),
    "id_b": pa.string(),
    "path_b": pa.string(),
    "labels_a": _TEXTS,
    "split_a": pa.string(),
    "labels_b": _TEXTS,
    "split_b": pa.string(),
}

SCHEMA = pa.schema(_COLUMNS)
"""Columns of the pairs: the two assets are a and b. Labels and splits are null without a task."""


def _tabulated(
    found: Directions,
    pairs: near.Pairs,
    group: NDArray[np.int64],
    labels: pa.Table | None,
    paths: Callable[[Column], Column],
) -> tuple[pa.Table, int]:
    """Return the table of the pairs, and the number of held-out rows with a near-duplicate among the training rows."""
    columns: dict[str, Column] = {"group": pa.array(group), "cosine": pa.array(pairs.cosine)}
    both = found.ids.take(pa.array(np.concatenate([pairs.a, pairs.b])))
    looked_up = {"id": both, "path": paths(both)}
    for name in ("labels", "split"):
        kind = SCHEMA.field(f"{name}_a").type
        looked_up[name] = pa.nulls(len(both), kind) if labels is None else column_of(labels, name, both)
    for side, start in (("a", 0), ("b", len(group))):
        columns |= {f"{name}_{side}": column.slice(start, len(group)) for name, column in looked_up.items()}
    kinds = np.full(len(group), KINDS.index("same"))
    leaked: set[str] = set()
    if labels is not None:
        one, two = (_texts(columns[f"split_{side}"]) for side in "ab")
        kinds[_different(columns["labels_a"], columns["labels_b"])] = KINDS.index("different labels")
        kinds[one != two] = KINDS.index("across splits")
        for held, other, side in ((one, two, "a"), (two, one, "b")):
            leaks = np.isin(held, ("val", "test")) & (other == "train")
            leaked |= set(columns[f"id_{side}"].filter(pa.array(leaks)).to_pylist())
    columns["kind"] = pa.array([KINDS[kind] for kind in kinds.tolist()], pa.string())
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return table.take(np.lexsort((-pairs.cosine, kinds))), len(leaked)


def _different(a: Column, b: Column) -> NDArray[np.bool_]:
    """True for the rows whose two sets of labels differ, (n,)."""
    pairs = zip(a.to_pylist(), b.to_pylist(), strict=True)
    return np.fromiter((set(one) != set(two) for one, two in pairs), np.bool_, len(a))


def _texts(column: Column) -> NDArray[np.str_]:
    return np.array(pc.fill_null(column, "").to_pylist(), np.str_)
