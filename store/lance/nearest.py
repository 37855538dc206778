"""The vector index of a table: which kind it is, when it is made and refreshed, and how it is asked.

The index holds the vectors in partitions, and in each of them one byte a number (LanceDB's IVF_SQ). A search reads the
partitions nearest to the query, and computes the cosines of the best rows again from the stored vectors. Rows that are
newer than the index are compared one by one, and removed rows are left out, so the index decides only which of the
older rows are looked at.

Measured with `benchmarks/search.py` on 1,000,000 × 512 vectors of a mixture with the covariance of real photos,
on 2 cores that were shared: recall@10 0.985, median 7.3 ms, 601 MB; the exact search took 3.4 s. IVF_RQ, with one bit a
number, takes 85 MB, but its recall is 0.960 with as many partitions even if 20 times the hits are refined, and it takes
only widths that 8 divides.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from store.lance.faults import contended
from store.rows import Column, among, strings

INDEX_FROM = 100_000
"""Number of rows from which vectors are indexed. Comparing the query with each of fewer rows takes up to 0.1 s."""

PARTITION_ROWS = 2048
"""Rows in a partition when the index is made. Each later row goes to the nearest partition."""

GROWTH = 4
"""The index is made anew for a table of this many times the rows, because its partitions have become as much larger."""

NEWER_ROWS = 10_000
"""Number of rows newer than the index from which it is refreshed. Comparing them takes about 10 ms."""

PROBES = 20
"""Partitions that a search reads: recall@10 0.985 of 488 partitions, see above. One more is read for every
`HITS_A_PROBE` hits that are asked for."""

HITS_A_PROBE = 20

REFINED_ROWS = 40
"""Rows beside the hits asked for, whose cosines are computed again from the stored vectors. Measured with `PROBES`."""

FEW_IDS = 1000
"""A search among up to this many ids looks at each of them. LanceDB takes 0.1 ms to read an id of a filter."""

OVERFETCHED = 2
"""A search among more ids fetches this many times the rows that it needs if the ids are spread evenly."""

MOST_FETCHED = 20_000
"""Most rows that a search among some ids fetches by the index. If it needs more, it looks at every row."""


def vector_indices(handle: Any, column: str) -> dict[int, Any]:
    """Return LanceDB's descriptions of the indices on `column`, by the number of partitions in their name."""
    found = (index for index in handle.list_indices() if index.columns == [column])
    return {int(index.name.rpartition("_")[2]): index for index in found}


def refresh(handle: Any, column: str) -> None:
    """Make the vector index of a large table, make it anew for a table that has grown, or add newer rows to it.

    The table is whole at every moment: an index appears in one commit, and the one before it is removed afterwards. If
    another process changes the table in a way that a new index does not allow, such as a compaction, nothing is done;
    the next call does it.
    """
    rows = handle.count_rows()
    if rows < INDEX_FROM:
        return
    found = vector_indices(handle, column)
    wanted, current = rows // PARTITION_ROWS, max(found, default=0)
    try:
        if current * GROWTH <= wanted:
            _make(handle, column, wanted)
        elif found[current].num_unindexed_rows >= NEWER_ROWS:
            handle.optimize()
        *older, _ = sorted(vector_indices(handle, column).items())
        for _, index in older:
            handle.drop_index(index.name)
    except (RuntimeError, OSError, ValueError) as error:
        if not contended(error):
            raise


def _make(handle: Any, column: str, partitions: int) -> None:
    from lancedb.index import IvfSq

    config = IvfSq(distance_type="cosine", num_partitions=partitions)
    handle.create_index(column, config=config, name=f"{column}_{partitions}")


def nearest(
    handle: Any, vector: Any, column: str, k: int, metric: str, where: str | None = None, *, exact: bool = False
) -> pa.Table:
    """Return (id, _distance) of the k nearest rows, the nearest first.

    The vector index is used for cosines of all rows. With `exact`, for other metrics, and for the rows that satisfy the
    SQL filter `where`, every row is looked at: a partition that is not read may hold the only row that satisfies it.
    """
    query = handle.search(vector, vector_column_name=column).distance_type(metric).select(["id", "_distance"]).limit(k)
    if where is not None:
        query = query.where(where, prefilter=True)
    if exact or metric != "cosine" or where is not None:
        query = query.bypass_vector_index()
    else:
        query = query.nprobes(PROBES + k // HITS_A_PROBE).refine_factor(1 + REFINED_ROWS // k)
    found: pa.Table = query.to_arrow()
    return found


def nearest_among(handle: Any, vector: Any, column: str, k: int, metric: str, ids: Column) -> pa.Table:
    """Return (id, _distance) of the k rows nearest among `ids`, a column of text, the nearest first.

    Up to `FEW_IDS` ids are looked at one by one. Otherwise more than k of all rows are fetched, until k of them are
    among `ids`: these are the k nearest, because every nearer row was fetched too. If ids are so rare near the query
    that more than `MOST_FETCHED` rows would be needed, every row is looked at.
    """
    if len(ids) <= FEW_IDS:
        return nearest(handle, vector, column, k, metric, among("id", strings(ids)))
    rows = handle.count_rows()
    fetched = OVERFETCHED * k * rows // len(ids)
    while True:
        every = fetched > MOST_FETCHED
        found = nearest(handle, vector, column, rows if every else fetched, metric, exact=every)
        inside = ids.filter(pc.is_in(ids, value_set=found["id"].combine_chunks()))
        found = found.filter(pc.is_in(found["id"], value_set=inside.combine_chunks()))
        if found.num_rows >= k or every:
            return found.slice(0, k)
        fetched *= 4
