"""Fragments: rows that many processes write and one process commits. The only module that imports pylance.

A fragment is a data file of a table. Readers do not see it until a commit names it. `Store.optimize` removes fragments
that were never committed once they are a week old.

Lance's conflict rules decide how a commit stays exact while other processes write:

- `Append` is not enough. It succeeds whatever was committed since its version was read, so it would add an id that
  the `merge_insert` of another process has just stored.
- `Merge` names all fragments, old and new, and conflicts with every change of rows since its version was read. If it
  succeeds, the ids seen at that version are still the stored ones, so it works as a compare-and-set.
- `merge_insert` (`store.lance.table`) conflicts with `Merge` in turn, and is repeated with the new rows in view.

pylance is imported on first use, because a process that has imported it must not fork, and Ray forks when it starts.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.lance import faults
from store.lance.handles import persist
from store.lance.table import Table
from store.rows import local_path


def write(table: Table, rows: pa.Table | pa.RecordBatchReader) -> list[str]:
    """Write rows of an existing table as uncommitted fragments. Returns the fragments as JSON, for `Appender`.

    A reader's rows are streamed into as few fragments as possible.
    """
    from lance.fragment import write_fragments

    with faults.named(table.uri):
        written = write_fragments(rows, table.uri, schema=table.schema, mode="append")
    return [json.dumps(fragment.to_json()) for fragment in written]


def discard(table: Table, fragments: Sequence[str]) -> None:
    """Remove the files of uncommitted fragments of a local table. `Store.optimize` removes those of a remote one."""
    folder = local_path(table.uri)
    if folder is None:
        return
    for each in fragments:
        for file in json.loads(each)["files"]:
            (folder / "data" / file["path"]).unlink(missing_ok=True)


def rewrite_without_removed(table: Table) -> None:
    """Write the data files that hold removed rows anew, without them, and the indices likewise.

    Compaction leaves a file as it is while less than a tenth of its rows are removed.
    """
    import lance

    def rewrite() -> None:
        compact = lance.dataset(table.uri).optimize.compact_files
        compact(materialize_deletions=True, materialize_deletions_threshold=0.0)

    if table.version() is not None:
        with faults.named(table.uri):
            persist(rewrite)


def shares(table: Table, version: int, count: int, batch_rows: int) -> list[tuple[int, int]]:
    """Split `table` at `version` into at most `count` parts of about equal size.

    Returns (first row, number of rows) of each part, in stored order. Parts start where the batches of a scan of the
    whole table start, so scanning the parts gives the same batches as scanning the table.
    """
    import lance

    with faults.named(table.uri):
        lengths = [each.count_rows() for each in lance.dataset(table.uri, version=version).get_fragments()]
    batches = [min(batch_rows, rows - at) for rows in lengths for at in range(0, rows, batch_rows)]
    ends = np.cumsum([0, *batches])
    cuts = np.unique(ends[np.searchsorted(ends, np.linspace(0, ends[-1], count + 1))]).tolist()
    return [(first, end - first) for first, end in pairwise(cuts)]


class Appender:
    """Commits fragments of one table. Each id is stored once, whatever other processes write meanwhile.

    Args:
        ids: ids of the rows that may be appended. No other ids are remembered when other processes store them, which
            bounds the memory.
    """

    def __init__(self, table: Table, ids: Iterable[str]) -> None:
        import lance

        self._table = table
        self._absent = set(ids)
        self._fragments: list[Any] = []
        with faults.named(table.uri):
            self._dataset: Any = lance.dataset(table.uri)
            self._catch_up(self._dataset.get_fragments())

    def append(self, ids: Sequence[str], fragments: Sequence[str]) -> int:
        """Commit the rows `ids` that `write` wrote as `fragments`, without those already stored.

        Returns the number of rows added.
        """
        with faults.named(self._table.uri):
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
            kept = (self._read([each], new) for each in fragments)  # one at a time, because they may be large
            fragments = [each for rows in kept if rows.num_rows for each in write(self._table, rows)]
        self._commit(fragments)
        self._absent.difference_update(new)
        return len(new)

    def _catch_up(self, present: list[Any]) -> None:
        """Remove the ids in new fragments among `present` from the absent ids."""
        known = {each.fragment_id for each in self._fragments}
        fresh = [each for each in present if each.fragment_id not in known]
        if fresh:
            for batch in self._dataset.scanner(columns=["id"], fragments=fresh).to_batches():
                self._absent.difference_update(batch["id"].to_pylist())
        self._fragments = present

    def _commit(self, fragments: Sequence[str]) -> None:
        """Commit `fragments`. Raises CommitConflictError, an OSError, if rows changed since the dataset was read."""
        from lance import LanceDataset, LanceOperation
        from lance.fragment import FragmentMetadata

        every = [each.metadata for each in self._fragments]
        every += [FragmentMetadata.from_json(each) for each in fragments]
        merge = LanceOperation.Merge(every, self._dataset.lance_schema)
        self._dataset = LanceDataset.commit(self._dataset, merge, read_version=self._dataset.version)
        self._fragments = self._dataset.get_fragments()  # the old fragments and the new ones

    def _read(self, fragments: Sequence[str], ids: Sequence[str]) -> pa.Table:
        """Return the rows of `ids` in uncommitted fragments."""
        from lance.file import LanceFileReader

        files = [file["path"] for each in fragments for file in json.loads(each)["files"]]
        parts = [LanceFileReader(f"{self._table.uri}/data/{path}").read_all().to_table() for path in files]
        rows = pa.concat_tables(parts)
        return rows.filter(pc.is_in(rows["id"], value_set=pa.array(ids, pa.string()))).cast(self._table.schema)
