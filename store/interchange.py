"""Export and import of a store as Parquet, one complete file for each table."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

from embedder import folders
from store.errors import NoExport
from store.incoming import Incoming, batch_rows
from store.items import Item
from store.lance.faults import named
from store.lance.table import Table
from store.sources import read_files, read_folder, read_parquet, read_sources
from store.store import Store
from store.tables import features as feature_tables
from store.tables.identity import PREFIX

__all__ = ["Item", "export_parquet", "import_parquet", "read_files", "read_folder", "read_parquet", "read_sources"]

_LOCK = ".lock"
_REPLACING = ".replacing"
"""File that is there while an export replaces the files of an older one, and stays if it is interrupted."""


def export_parquet(store: Store, folder: str | Path) -> dict[str, int]:
    """Write every table to ``<folder>/<table>.parquet``, and return {table: number of rows}.

    All files show one snapshot. Rows are streamed. The files get their names together, once all are complete: of
    several exports into one folder at once, the last one replaces the files of the others. Parquet files of other
    tables stay in the folder. If the process is killed between two files, `import_parquet` refuses the folder until the
    next export into it. Raises DiskFull or Unavailable if the folder cannot be written.
    """
    target = Path(folder).expanduser()
    with named(str(target)), folders.scratch(target) as fresh:
        snapshot = store.snapshot()
        pinned = [(table, version) for table in _tables(store) if (version := snapshot.of(table))]
        rows = {table.name: _write(table, version, fresh / f"{table.name}.parquet") for table, version in pinned}
        with folders.lock(target / _LOCK):
            (target / _REPLACING).touch()
            for name in rows:
                os.replace(fresh / f"{name}.parquet", target / f"{name}.parquet")
            for left in filter(_known, (path.stem for path in target.glob("*.partial"))):  # of a killed older version
                (target / f"{left}.partial").unlink()
            (target / _REPLACING).unlink()
    return rows


def _tables(store: Store) -> list[Table]:
    stored = [features.table for kind in PREFIX for features in feature_tables.stored(store.database, kind)]
    return [store.assets.table, store.labels.table, store.labels.history.table, store.quarantine.table, *stored]


def _write(table: Table, version: int, path: Path) -> int:
    rows: int = 0
    schema = table.stored(version)
    with pq.ParquetWriter(path, schema) as writer:
        for batch in table.scan(schema.names, version=version, batch_rows=batch_rows(schema)):
            writer.write_batch(batch.cast(schema))
            rows += batch.num_rows
    return rows


def import_parquet(
    store: Store, folder: str | Path, *, trust_references: bool = False, roots: Sequence[str | Path] = ()
) -> dict[str, int]:
    """Read what `export_parquet` wrote, and return {table: number of rows that were new or changed}.

    Stored assets and features stay as they are; labels and quarantine rows are replaced by newer ones. Everything is
    checked before anything is written. An import that was interrupted can be run again.

    Args:
        trust_references: also take assets whose bytes are not in the export but in the file at their uri.
        roots: folders in which these files must lie, now and whenever they are read; () for `folder`.

    Raises NoExport for a folder that is not an export, or to which an export was interrupted; BadSource for files that
    are damaged, and for assets by reference that may not be taken; FrozenSplit for a row with another split than the
    stored one; FeaturesMismatch for features that do not match the stored ones of their encoder.
    """
    source = Path(folder).expanduser()
    if not source.is_dir():
        raise NoExport(f"{source} is not a folder; give a folder that an export wrote")
    _require_finished(source)
    paths = {path.stem: path for path in sorted(source.glob("*.parquet"))}
    if not paths:
        raise NoExport(f"{source} has no Parquet files; give a folder that an export wrote")
    if unknown := [name for name in paths if not _known(name)]:
        raise NoExport(
            f"{source} has Parquet files that are not tables of a store: {', '.join(unknown)}; move them elsewhere"
        )
    allowed = [Path(root).expanduser() for root in roots or [source]] if trust_references else []
    incoming = [Incoming.of(store, path, allowed) for path in paths.values()]
    for each in incoming:
        each.check()
    return {each.name: each.write() for each in incoming}


def _require_finished(source: Path) -> None:
    """Raise NoExport if an export into the folder was killed while it replaced files: they are of two exports."""
    if (source / _REPLACING).exists():
        with suppress(OSError), folders.lock(source / _LOCK):  # an export that is alive ends first
            pass
    if (source / _REPLACING).exists():
        raise NoExport(
            f"{source} holds files of two exports, because the last one was interrupted; export into it again"
        )


def _known(name: str) -> bool:
    return name in ("assets", "labels", "label_history", "quarantine") or name.startswith(tuple(PREFIX.values()))
