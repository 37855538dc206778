"""The one door to LanceDB: databases and tables in terms of Arrow, with keys that stay unique.

What was learnt about LanceDB 0.40 and decides how this file is written:

- `merge_insert` is exact between processes only when the key's columns carry the primary-key mark (see
  `store.schema`) *and* the scalar index is not used for the join. Either one missing, two processes that
  insert the same new key at once both succeed.
- Two `create_table` at once can both succeed, the later one emptying the table; so a lock is held (`store.lance.lock`).
- `merge_insert` does not look for duplicates within the rows given; so they are removed first.
- Connecting makes a local folder, and importing the library takes two seconds; so both wait for first use.
- A scan, and with it a compaction, reads many fragments ahead. From a disk of this machine one is as fast, and takes
  less memory (`benchmarks.memory`).
- Data format 2.0 scans vectors about 1.6 times as fast as the default one, which compresses what is not
  compressible: embeddings, and images that are compressed already.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from store.errors import SnapshotGone, StoreError
from store.lance.handles import batches_of, compact, locate, persist, query, require_schema
from store.lance.lock import exclusive
from store.rows import local_path, unique

FEW = 1000
"""Up to so many ids are looked up by an IN filter; above, one pass over the id column is cheaper."""

INDEX_FROM = 50_000
"""From so many rows on `optimize` makes an index of the ids: below, a scan takes a few milliseconds."""

ABSENT = 0
"""The version of a table that does not exist: it reads as empty. Real versions begin at 1."""


class Merged(NamedTuple):
    """What a merge did: how many rows it added or replaced, and the version it made (None: no write at all)."""

    rows: int
    version: int | None


class Database:
    """A folder or URI of tables. Nothing is touched before the first read or write."""

    def __init__(self, uri: str | Path) -> None:
        path = local_path(str(uri))
        self.uri = str(uri) if path is None else str(path)
        self._path = path
        self._lock = threading.Lock()
        self._connection: Any = None
        if path is not None and path.exists() and not path.is_dir():
            raise StoreError(f"{path} is a file; a store is a folder (or a URI such as s3://bucket/prefix)")

    def exists(self) -> bool:
        """False for a local folder that is not there yet."""
        return self._path is None or self._path.is_dir()

    def names(self) -> list[str]:
        if not self.exists():
            return []
        found: list[str] = []
        token = None
        while True:
            page = self._connect().list_tables(page_token=token)
            found += page.tables
            token = page.page_token
            if not token:
                return sorted(found)

    def open(self, name: str, version: int | None = None) -> Any:
        """LanceDB's handle of a table, or None when there is no such table. Raises SnapshotGone."""
        if not self.exists():
            return None
        try:
            return self._connect().open_table(name, version=version)
        except ValueError as error:
            if "was not found" in str(error):
                return None
            if version is not None and "no longer exists" in str(error):
                raise SnapshotGone(
                    f"version {version} of table {name!r} has been cleaned up; take a new snapshot"
                ) from error
            raise

    def schema(self, name: str) -> pa.Schema | None:
        handle = self.open(name)
        return None if handle is None else handle.schema

    def create(self, name: str, schema: pa.Schema) -> Any:
        """The table's handle, made when missing; of several processes that make it at once one does."""
        with exclusive(self._path):
            # Not exist_ok: it refuses a table that another process made with other metadata, such as its own probe.
            handle = self.open(name)
            return self._connect().create_table(name, schema=schema) if handle is None else handle

    def _connect(self) -> Any:
        with self._lock:
            if self._connection is None:
                if self._path is not None:
                    os.environ.setdefault("LANCE_DEFAULT_FRAGMENT_READAHEAD", "1")
                import lancedb

                self._connection = lancedb.connect(
                    self.uri,
                    read_consistency_interval=timedelta(0),
                    storage_options={"new_table_data_storage_version": "2.0"},
                )
            return self._connection


class Table:
    """A table of `schema`, made by the first write; absent it reads as empty. Rows are unique by `key`."""

    def __init__(self, database: Database, name: str, schema: pa.Schema) -> None:
        self.name, self.schema = name, schema
        self.key = [field.name for field in schema if field.metadata]
        self._database = database
        self._latest: Any = None

    @property
    def uri(self) -> str:
        """Where the table itself lies."""
        return f"{self._database.uri}/{self.name}.lance"

    def create(self) -> None:
        """Make the table when it is missing. Raises WrongSchema when it is there and not ours."""
        if self._handle() is None:
            self._latest = self._checked(self._database.create(self.name, self.schema))

    def version(self) -> int | None:
        """The newest version, or None when there is no table yet."""
        handle = self._handle()
        return None if handle is None else int(handle.version)

    def count(self, where: str | None = None, version: int | None = None) -> int:
        handle = self._handle(version)
        return 0 if handle is None else int(handle.count_rows(where))

    def insert(self, rows: pa.Table) -> int:
        """Add the rows whose key is not there yet; of rows given twice the first. Returns how many."""
        return self._merge(unique(rows, self.key, keep_last=False), lambda merge: merge).rows

    def upsert(self, rows: pa.Table, where: str | None = None) -> Merged:
        """Add or replace rows; of rows given twice the last.

        `where` says in SQL, over `target.` (stored) and `source.` (given), which stored rows may be replaced.
        It is evaluated again when another process came first, which makes compare-and-set of it.
        """
        rows = unique(rows, self.key, keep_last=True)
        return self._merge(rows, lambda merge: merge.when_matched_update_all(where=where))

    def delete(self, where: str) -> None:
        handle = self._handle()
        if handle is not None:
            persist(lambda: handle.delete(where))

    def scan(
        self,
        columns: Sequence[str],
        *,
        where: str | None = None,
        version: int | None = None,
        batch_rows: int = 16384,
        share: tuple[int, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """All rows (at `version`), or a share of them: (first, count) in stored order. Streamed."""
        handle = self._handle(version)
        if handle is not None:
            found = query(handle, columns, where)
            if share is not None:
                found = found.offset(share[0]).limit(share[1])
            yield from found.to_batches(batch_rows)

    def read(self, columns: Sequence[str], *, where: str | None = None, version: int | None = None) -> pa.Table:
        handle = self._handle(version)
        if handle is None:
            return pa.schema([self.schema.field(name) for name in columns]).empty_table()
        table: pa.Table = query(handle, columns, where).to_arrow()
        return table

    def fetch(
        self,
        ids: Sequence[str],
        columns: Sequence[str],
        *,
        version: int | None = None,
        batch_rows: int = FEW,
        batch_bytes: int | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of `ids` that are there, in the order of `ids`: one table for every `batch_rows` ids asked.

        With `batch_bytes` for fewer ids where that many would be more bytes, as the tables before tell.
        """
        # Row ids hold within one version only: pin one, so that a compaction meanwhile does no harm.
        handle = self._handle((self.version() or ABSENT) if version is None else version)
        if handle is not None:
            located = None if len(ids) <= FEW else locate(handle, ids)
            yield from batches_of(handle, ids, columns, located, batch_rows, batch_bytes)

    def nearest(self, vector: Any, column: str, k: int, metric: str) -> pa.Table:
        """(id, _distance) of the k nearest rows, by brute force unless someone made a vector index."""
        nearest = self._handle().search(vector, vector_column_name=column).distance_type(metric)
        found: pa.Table = nearest.select(["id", "_distance"]).limit(k).to_arrow()
        return found

    def optimize(self, keep: timedelta | None) -> None:
        """Make the id index of a large table, and `compact` it."""
        handle = self._handle()
        if handle is None:
            return
        if handle.count_rows() >= INDEX_FROM and not handle.list_indices():
            from lancedb.index import BTree

            persist(lambda: handle.create_index(self.key[0], config=BTree()))
        compact(handle, keep)

    def _merge(self, rows: pa.Table, matched: Callable[[Any], Any]) -> Merged:
        if not rows.num_rows:
            return Merged(0, None)
        self.create()
        handle = self._handle()

        def run() -> Any:
            merge = handle.merge_insert(self.key).when_not_matched_insert_all().use_index(False)
            return matched(merge).execute(rows)

        result = persist(run)
        return Merged(int(result.num_inserted_rows + result.num_updated_rows), int(result.version))

    def _handle(self, version: int | None = None) -> Any:
        if version is not None:
            return self._checked(self._database.open(self.name, version)) if version != ABSENT else None
        if self._latest is None:
            self._latest = self._checked(self._database.open(self.name))
        return self._latest

    def _checked(self, handle: Any) -> Any:
        if handle is not None:
            require_schema(handle, self.schema, f"table {self.name!r} in {self._database.uri}")
        return handle
