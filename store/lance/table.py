"""A LanceDB table read and written as Arrow, whose keys stay unique when several processes write at once.

Two properties of LanceDB 0.40 decide how rows are merged:

- `merge_insert` is exact between processes only if the key's columns carry the primary-key mark (see `store.schema`)
  *and* the join does not use the scalar index. If either is missing, two processes that insert the same new key at
  once both succeed.
- `merge_insert` does not look for duplicates within the given rows, so they are removed first.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pyarrow as pa

from store.errors import StoreError
from store.lance import faults
from store.lance.database import Database
from store.lance.handles import batches_of, compact, has_index, locate, persist, query, require_schema
from store.lance.nearest import nearest, nearest_among, refresh
from store.rows import Column, unique, with_columns

FEW = 1000
"""Up to this many ids are looked up with an IN filter; for more, one pass over the id column is cheaper."""

INDEX_FROM = 50_000
"""Number of rows from which `optimize` indexes the ids. A scan of fewer ids takes a few milliseconds."""

ABSENT = 0
"""Version number of a table that does not exist and reads as empty. LanceDB's versions start at 1."""


class Merged(NamedTuple):
    """Result of a merge: the number of rows added or replaced, and the new version (None if nothing was written)."""

    rows: int
    version: int | None


class Table:
    """A table of `schema`, created by the first write. A table that does not exist reads as empty.

    Attributes:
        key: names of the key columns; no two rows have the same key.
        later: nullable columns that are stored from the first row on that has a value there; null before.
    """

    def __init__(self, database: Database, name: str, schema: pa.Schema, later: Sequence[str] = ()) -> None:
        self.name, self.schema, self.later = name, schema, tuple(later)
        self.key = [field.name for field in schema if field.metadata]
        self._database = database
        self._latest: Any = None

    @property
    def uri(self) -> str:
        """URI of the table's own folder."""
        return f"{self._database.uri}/{self.name}.lance"

    def create(self) -> None:
        """Create the table if there is none. Raises WrongSchema if there is one with other columns."""
        if self._handle() is None:
            self._latest = self._checked(self._database.create(self.name, self._without(self.later)))

    def version(self) -> int | None:
        """Return the newest version, or None if there is no table yet."""
        with self._using() as handle:
            return None if handle is None else int(handle.version)

    def stored(self, version: int | None = None) -> pa.Schema:
        """Return the schema without the columns that a version does not store yet."""
        with self._using(version) as handle:
            return self._without(() if handle is None else {*self.later} - {*handle.schema.names})

    def count(self, where: str | None = None, version: int | None = None) -> int:
        """Return the number of rows that satisfy the SQL filter `where`."""
        with self._using(version) as handle:
            return 0 if handle is None else int(handle.count_rows(where))

    def insert(self, rows: pa.Table) -> int:
        """Add the rows whose key is new. If several rows have one key, the first is taken. Returns the number added."""
        return self._merge(unique(rows, self.key, keep_last=False), lambda merge: merge).rows

    def upsert(self, rows: pa.Table, where: str | None = None) -> Merged:
        """Add or replace rows. If several rows have one key, the last is taken.

        Args:
            where: SQL condition over `target.` (stored) and `source.` (given) columns; only stored rows that satisfy
                it are replaced. It is evaluated again after another process wrote first, so it works as a
                compare-and-set.
        """
        rows = unique(rows, self.key, keep_last=True)
        return self._merge(rows, lambda merge: merge.when_matched_update_all(where=where))

    def delete(self, where: str) -> int:
        """Remove the rows that satisfy the SQL filter `where`, and return their number."""
        with self._using() as handle:
            found = 0 if handle is None else int(handle.count_rows(where))
            if found:  # a delete makes a version even if it removes nothing
                persist(lambda: handle.delete(where))
            return found

    def update(self, where: str, values: dict[str, str]) -> int:
        """Set columns of the rows that satisfy the SQL filter `where`, in one commit, and return their number."""
        with self._using() as handle:
            found = 0 if handle is None else int(handle.count_rows(where))
            if found:
                persist(lambda: handle.update(where=where, values=values))
            return found

    def scan(
        self,
        columns: Sequence[str],
        *,
        where: str | None = None,
        version: int | None = None,
        batch_rows: int = 16384,
        share: tuple[int, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in stored order, at most `batch_rows` at a time.

        Args:
            version: version to read; None for the newest.
            share: (first row, number of rows) to read instead of all.
        """
        with self._using(version) as handle:
            if handle is not None:
                found = query(handle, self._present(handle, columns), where)
                if share is not None:
                    found = found.offset(share[0]).limit(share[1])
                yield from (with_columns(batch, self.schema, columns) for batch in found.to_batches(batch_rows))

    def read(self, columns: Sequence[str], *, where: str | None = None, version: int | None = None) -> pa.Table:
        """Return the rows that satisfy the SQL filter `where`, in stored order."""
        with self._using(version) as handle:
            if handle is None:
                return pa.schema([self.schema.field(name) for name in columns]).empty_table()
            table: pa.Table = query(handle, self._present(handle, columns), where).to_arrow()
            return with_columns(table, self.schema, columns)

    def fetch(
        self,
        ids: Sequence[str],
        columns: Sequence[str],
        *,
        version: int | None = None,
        batch_rows: int = FEW,
        batch_bytes: int | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the rows of `ids` in the order of `ids`, one table for every `batch_rows` ids.

        Ids without a row are left out. With `batch_bytes`, a table covers fewer ids where, judging by the rows read
        so far, it would exceed that size.
        """
        # LanceDB's row ids are valid within one version only. Pinning a version makes a compaction meanwhile harmless.
        with self._using((self.version() or ABSENT) if version is None else version) as handle:
            if handle is not None:
                located = None if len(ids) <= FEW else locate(handle, ids)
                yield from batches_of(handle, ids, columns, located, batch_rows, batch_bytes)

    def nearest(self, vector: Any, column: str, k: int, metric: str, ids: Column | None = None) -> pa.Table:
        """Return (id, _distance) of the k nearest rows, all or those of `ids`; see `store.lance.nearest`."""
        with self._using() as handle:
            if ids is None:
                return nearest(handle, vector, column, k, metric)
            return nearest_among(handle, vector, column, k, metric, ids)

    def optimize(self, keep: timedelta | None, vectors: str | None = None) -> None:
        """Index the ids of a large table, compact it (see `store.lance.handles.compact`), and index its vectors.

        Args:
            vectors: name of the column of vectors whose nearest rows are searched; None for none.
        """
        with self._using() as handle:
            if handle is None:
                return
            if handle.count_rows() >= INDEX_FROM and not has_index(handle, self.key[0]):
                from lancedb.index import BTree

                persist(lambda: handle.create_index(self.key[0], config=BTree()))
            compact(handle, keep)
            if vectors is not None:
                with self._database.turn(f"{self.name}.index"):  # a second process would make the same index
                    refresh(handle, vectors)

    def _merge(self, rows: pa.Table, matched: Callable[[Any], Any]) -> Merged:
        if not rows.num_rows:
            return Merged(0, None)
        self.create()
        with self._using() as handle:

            def run() -> Any:
                fitting = self._fitting(handle, rows)
                merge = handle.merge_insert(self.key).when_not_matched_insert_all().use_index(False)
                return matched(merge).execute(fitting)

            result = persist(run)
            return Merged(int(result.num_inserted_rows + result.num_updated_rows), int(result.version))

    def _without(self, names: Collection[str]) -> pa.Schema:
        """Return the schema without some columns."""
        schema = self.schema
        for name in names:
            schema = schema.remove(schema.get_field_index(name))
        return schema

    def _present(self, handle: Any, columns: Sequence[str]) -> list[str]:
        """Return those of `columns` that are stored."""
        stored = handle.schema.names if self.later else columns
        return [name for name in columns if name in stored or name not in self.later]

    def _fitting(self, handle: Any, rows: pa.Table) -> pa.Table:
        """Return rows with the stored columns. A column of `later` is added to the table if the rows have values."""
        for name in self.later:
            if name in handle.schema.names:
                continue
            if rows[name].null_count == rows.num_rows:
                rows = rows.drop_columns(name)
                continue
            with self._database.turn(f"{self.name}.columns"):
                if name not in handle.schema.names:  # another process may have added it
                    handle.add_columns(pa.schema([self.schema.field(name)]))
        return rows

    @contextmanager
    def _using(self, version: int | None = None) -> Iterator[Any]:
        """Yield the handle of a version, and name the faults of the disk. After a fault, the next use opens anew."""
        try:
            with faults.named(self.uri):
                yield self._handle(version)
        except StoreError:
            self._latest = None
            self._database.names()  # raises a plainer error if the whole store has been removed
            raise

    def _handle(self, version: int | None = None) -> Any:
        if version is not None:
            return self._checked(self._database.open(self.name, version)) if version != ABSENT else None
        if self._latest is None or not self._database.has_folder(self.name):
            self._latest = self._checked(self._database.open(self.name))
        return self._latest

    def _checked(self, handle: Any) -> Any:
        if handle is not None:
            require_schema(handle, self.schema, self.later, f"table {self.name!r} in {self._database.uri}")
        return handle
