"""The one door to pylance: rows that many processes write as fragments, and one process commits.

A fragment is a data file beside a table, which no reader sees until a commit names it. What is never committed is
removed by `Store.optimize` once it is a week old.

How a commit stays exact beside other writers, decided by what Lance's conflict rules are:

- `Append` would not do. It goes through whatever was committed since its version was read, so it would add an id
  that another process's `merge_insert` stored a moment ago.
- `Merge` names all fragments, old and new, and conflicts with every change of rows since its version was read. So
  what was looked up at that version (which ids are there) holds when it succeeds: it compares and sets.
- `merge_insert` (`store.lance.table`) conflicts with `Merge` in turn, and runs again with the rows in view.

The library is imported on first use: it does not like processes that fork afterwards, as Ray does when it starts.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.lance.handles import persist
from store.lance.table import Table


def write(table: Table, rows: pa.Table) -> list[str]:
    """Write rows of a table that exists as fragments that nobody sees yet. Returns them, as JSON for `Appender`."""
    from lance.fragment import write_fragments

    written = write_fragments(rows, table.uri, schema=table.schema, mode="append")
    return [json.dumps(fragment.to_json()) for fragment in written]


def shares(table: Table, version: int, count: int, batch_rows: int) -> list[tuple[int, int]]:
    """`table` at `version` in at most `count` parts, about equal: (first row, rows) of each, in stored order.

    They begin where batches of a scan of the whole table begin, so that their batches are those of that scan.
    """
    import lance

    lengths = [each.count_rows() for each in lance.dataset(table.uri, version=version).get_fragments()]
    batches = [min(batch_rows, rows - at) for rows in lengths for at in range(0, rows, batch_rows)]
    ends = np.cumsum([0, *batches])
    cuts = np.unique(ends[np.searchsorted(ends, np.linspace(0, ends[-1], count + 1))]).tolist()
    return [(first, end - first) for first, end in pairwise(cuts)]


class Appender:
    """Commits fragments of one table, each id once whatever other processes write meanwhile.

    Args:
        ids: the rows that may be appended: known here, so that of the ids that others store only these are kept.
    """

    def __init__(self, table: Table, ids: Iterable[str]) -> None:
        import lance

        self._table = table
        self._absent = set(ids)
        self._dataset: Any = lance.dataset(table.uri)
        self._fragments: list[Any] = []
        self._catch_up(self._dataset.get_fragments())

    def append(self, ids: Sequence[str], fragments: Sequence[str]) -> int:
        """One commit of the rows `ids` that `write` made, less those that are there; returns how many it added."""
        return persist(lambda: self._append(ids, fragments))

    def _append(self, ids: Sequence[str], fragments: Sequence[str]) -> int:
        before = self._dataset.version
        self._dataset.checkout_latest()
        if self._dataset.version != before:
            self._catch_up(self._dataset.get_fragments())
        new = [id_ for id_ in ids if id_ in self._absent]
        if not new:
            return 0
        if len(new) < len(ids):
            fragments = write(self._table, self._read(fragments, new))
        self._commit(fragments)
        self._absent.difference_update(new)
        return len(new)

    def _catch_up(self, present: list[Any]) -> None:
        """Strike out the ids in those of the `present` fragments that were not there before."""
        known = {each.fragment_id for each in self._fragments}
        fresh = [each for each in present if each.fragment_id not in known]
        if fresh:
            for batch in self._dataset.scanner(columns=["id"], fragments=fresh).to_batches():
                self._absent.difference_update(batch["id"].to_pylist())
        self._fragments = present

    def _commit(self, fragments: Sequence[str]) -> None:
        """Raises CommitConflictError, an OSError, when rows were changed since the version at hand."""
        from lance import LanceDataset, LanceOperation
        from lance.fragment import FragmentMetadata

        every = [each.metadata for each in self._fragments]
        every += [FragmentMetadata.from_json(each) for each in fragments]
        merge = LanceOperation.Merge(every, self._dataset.lance_schema)
        self._dataset = LanceDataset.commit(self._dataset, merge, read_version=self._dataset.version)
        self._fragments = self._dataset.get_fragments()  # those that were there, and ours

    def _read(self, fragments: Sequence[str], ids: Sequence[str]) -> pa.Table:
        """Those rows of fragments that are not committed yet."""
        from lance.file import LanceFileReader

        files = [file["path"] for each in fragments for file in json.loads(each)["files"]]
        parts = [LanceFileReader(f"{self._table.uri}/data/{path}").read_all().to_table() for path in files]
        rows = pa.concat_tables(parts)
        return rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.string()))).cast(self._table.schema)
