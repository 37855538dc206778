"""A LanceDB database, opened on first use: the names, schemas and handles of its tables.

Connecting creates a local folder, and importing LanceDB takes a second, so both wait for the first read or write.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedder import folders
from store.errors import SnapshotGone, StoreError, Unavailable
from store.lance import rest_client
from store.lance.faults import named
from store.rows import local_path

_CREATING = ".creating.lock"


class Database:
    """The tables under a folder or URI. Nothing is opened or created before the first read or write."""

    def __init__(self, uri: str | Path) -> None:
        path = local_path(str(uri))
        self.uri = str(uri) if path is None else str(path)
        self._path = path
        self._lock = threading.Lock()
        self._connection: Any = None
        self._held_tables = False
        with named(self.uri):
            is_file = path is not None and path.exists() and not path.is_dir()
        if is_file:
            raise StoreError(f"{path} is a file; a store is a folder, or a URI such as s3://bucket/prefix")

    def exists(self) -> bool:
        """True if the folder exists, or if the URI names no local folder."""
        with named(self.uri):
            return self._path is None or self._path.is_dir()

    def names(self) -> list[str]:
        """Return the names of all tables, sorted. Raises Unavailable if there were some, and now there are none."""
        found = sorted(self._names()) if self.exists() else []
        if self._held_tables and not found:
            raise Unavailable(
                f"the store {self.uri} is gone: its folder was removed, or its disk is not mounted; restore it, or "
                "ingest assets there again from another process"
            )
        self._held_tables = bool(found)
        return found

    def _names(self) -> Iterator[str]:
        token = None
        with named(self.uri):
            while True:
                page = self._connect().list_tables(page_token=token)
                yield from page.tables
                token = page.page_token
                if not token:
                    return

    def open(self, name: str, version: int | None = None) -> Any:
        """Return LanceDB's handle of a table, or None if there is no such table.

        Raises SnapshotGone if `version` has been removed, and Unavailable if the whole store has been removed.
        """
        handle = self._open(name, version) if self.exists() else None
        if handle is not None:
            self._held_tables = True
        elif self._held_tables:
            self.names()
        return handle

    def _open(self, name: str, version: int | None) -> Any:
        try:
            with named(self.uri):
                return self._connect().open_table(name, version=version)
        except ValueError as error:
            if "was not found" in str(error):
                self._require_no_rows(name)
                return None
            if version is not None and "no longer exists" in str(error):
                raise SnapshotGone(
                    f"version {version} of table {name!r} has been removed; take a new snapshot"
                ) from error
            raise

    def _has_version(self, name: str) -> bool:
        return self._path is not None and any(self._path.glob(f"{name}.lance/_versions/*"))

    def has_folder(self, name: str) -> bool:
        """Return False if the table's folder is missing: the store was removed. Always True for a remote store."""
        return self._path is None or os.path.isdir(f"{self._path}/{name}.lance")  # 1 µs, not 5

    def made(self, name: str) -> tuple[int, int]:
        """Return numbers that differ for a table that was removed and made again: versions then start anew.

        They may change at other times too, and are 0 for a remote store.
        """
        try:
            found = os.stat(f"{self._path}/{name}.lance") if self._path is not None else None
        except OSError:
            found = None
        return (found.st_ino, found.st_mtime_ns) if found else (0, 0)

    def _require_no_rows(self, name: str) -> None:
        """Raise Unavailable if a table that LanceDB does not find has rows: a new table there would hide them."""
        # In this order: another process that makes the table right now writes its version before its rows.
        if self._path is not None and any(self._path.glob(f"{name}.lance/data/*")) and not self._has_version(name):
            raise Unavailable(
                f"table {name!r} in {self.uri} has rows, but its folder _versions is damaged: restore a backup"
            )

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Let one process or thread at a time run blocks of this `name`. Object storage has no lock for it."""
        if self._held_tables:
            self.names()  # a store that was removed must not be made again
        lock = nullcontext() if self._path is None else folders.lock(self._path / f".{name}.lock")
        with named(self.uri), lock:
            yield

    def schema(self, name: str) -> pa.Schema | None:
        handle = self.open(name)
        return None if handle is None else handle.schema

    def create(self, name: str, schema: pa.Schema) -> Any:
        """Return the table's handle, created if there is none. Processes that do this at once create it once.

        Two calls of LanceDB's `create_table` at once can both succeed, and the second empties the table: hence the
        lock. Object storage has none: there, let one process create the tables (one ingest, one short backfill) before
        several processes write.
        """
        lock = nullcontext() if self._path is None else folders.lock(self._path / _CREATING)
        with named(self.uri), lock:
            # exist_ok=True would refuse a table that another process created with other metadata, e.g. its own probe.
            handle = self.open(name)
            return self._connect().create_table(name, schema=schema) if handle is None else handle

    def drop(self, name: str) -> None:
        """Remove a table with all its files."""
        with named(self.uri):
            self._connect().drop_table(name, ignore_missing=True)
            self._held_tables = any(self._names())  # a store without its last table is empty, not gone

    def _connect(self) -> Any:
        with self._lock:
            if self._connection is None:
                if self._path is not None:
                    # A scan, and so a compaction, reads ahead many fragments. From a local disk, one fragment ahead
                    # is as fast and takes less memory.
                    os.environ.setdefault("LANCE_DEFAULT_FRAGMENT_READAHEAD", "1")
                rest_client.put_off()
                import lancedb

                self._connection = lancedb.connect(
                    self.uri,
                    read_consistency_interval=timedelta(0),
                    # Format 2.0 scans vectors about 1.6 times as fast as the default format, which tries to compress
                    # what cannot be compressed further: embeddings, and images in compressed formats.
                    storage_options={"new_table_data_storage_version": "2.0"},
                )
            return self._connection
