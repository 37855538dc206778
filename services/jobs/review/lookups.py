"""The paths, labels and splits of assets, looked up by id at one snapshot."""

import pyarrow as pa
import pyarrow.compute as pc

from services.jobs.predict.stored import Lookup
from store import Snapshot, Store
from store.rows import Column

SPLITS = ("train", "val", "test")
"""Splits whose rows have the classes of the task."""


def labels_at(store: Store, task: str, snapshot: Snapshot) -> pa.Table:
    """Return the rows of a task: id, labels, split. Raises UnknownTask."""
    table = store.labels.get(task, version=snapshot.of(store.labels.table))
    return table.select(["id", "labels", "split"]).combine_chunks()


def labelled(rows: pa.Table) -> pa.Table:
    """Return the rows of `labels_at` that are not out-of-distribution."""
    return rows.filter(pc.is_in(rows["split"], value_set=pa.array(SPLITS)))


def paths_of(store: Store, ids: Column, snapshot: Snapshot) -> Column:
    """Return the path of each asset, (n,); null for an id without an asset."""
    assets = store.assets.table
    rows = assets.read(["id", "uri"], version=snapshot.of(assets)).combine_chunks()
    return column_of(rows, "uri", ids)


def column_of(rows: pa.Table, name: str, ids: Column) -> Column:
    """Return a column of `rows` for each of `ids`, (n,); null for an id without a row."""
    if not rows.num_rows:
        return pa.nulls(len(ids), rows.schema.field(name).type)
    return Lookup(rows["id"].combine_chunks(), rows[name].combine_chunks()).of(ids)
