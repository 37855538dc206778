"""Export and import of a store as Parquet, one complete file for each table."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import BadSource, NoExport
from store.lance.table import Table
from store.schema import asset_id
from store.sources import Item, read_files, read_folder, read_parquet, read_sources
from store.store import Store
from store.tables import features as feature_tables
from store.tables.identity import PREFIX, Identity

__all__ = ["Item", "export_parquet", "import_parquet", "read_files", "read_folder", "read_parquet", "read_sources"]

_CHUNK_BYTES = 64 << 20
_CHUNK_ROWS = 65536


def export_parquet(store: Store, folder: str | Path) -> dict[str, int]:
    """Write every table to ``<folder>/<table>.parquet``, and return {table: number of rows}.

    All files show one snapshot. Rows are streamed. A file gets its name only once it is complete.
    """
    target = Path(folder).expanduser()
    target.mkdir(parents=True, exist_ok=True)
    snapshot = store.snapshot()
    return {
        table.name: _write(table, version, target / f"{table.name}.parquet")
        for table in _tables(store)
        if (version := snapshot.of(table))
    }


def _tables(store: Store) -> list[Table]:
    stored = [features.table for kind in PREFIX for features in feature_tables.stored(store.database, kind)]
    return [store.assets.table, store.labels.table, store.quarantine.table, *stored]


def _write(table: Table, version: int, path: Path) -> int:
    rows: int = 0
    partial = path.with_suffix(".partial")
    with pq.ParquetWriter(partial, table.schema) as writer:
        for batch in table.scan(table.schema.names, version=version, batch_rows=_batch_rows(table.schema)):
            writer.write_batch(batch.cast(table.schema))
            rows += batch.num_rows
    os.replace(partial, path)
    return rows


def import_parquet(store: Store, folder: str | Path) -> dict[str, int]:
    """Read what `export_parquet` wrote, and return {table: number of rows that were new or changed}.

    Stored assets and features stay as they are; labels and quarantine rows are replaced by newer ones. An import that
    was interrupted can be run again.

    Raises NoExport for a folder that is not an export, FrozenSplit for a row with another split than the
    stored one, and FeaturesMismatch for features that do not match the stored ones of their encoder.
    """
    source = Path(folder).expanduser()
    if not source.is_dir():
        raise NoExport(f"{source} is not a folder; give a folder that an export wrote")
    files = {path.stem: path for path in sorted(source.glob("*.parquet"))}
    if not files:
        raise NoExport(f"{source} has no Parquet files; give a folder that an export wrote")
    if unknown := [name for name in files if not _known(name)]:
        raise NoExport(
            f"{source} has Parquet files that are not tables of a store: {', '.join(unknown)}; move them elsewhere"
        )
    return {name: _read(store, name, path) for name, path in files.items()}


def _known(name: str) -> bool:
    return name in ("assets", "labels", "quarantine") or name.startswith(tuple(PREFIX.values()))


def _read(store: Store, name: str, path: Path) -> int:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadSource(f"{path} is not a Parquet file: {error}") from error
    schema = file.schema_arrow
    table = _table(store, name, schema)
    if schema.names != table.schema.names:
        raise BadSource(f"{path} has the columns {', '.join(schema.names)}, not {', '.join(table.schema.names)}")
    chunks = _chunks(file.iter_batches(_batch_rows(schema)), schema)
    return sum(_take(store, table, chunk.cast(table.schema), path) for chunk in chunks)


def _take(store: Store, table: Table, rows: pa.Table, path: Path) -> int:
    """Write one chunk by the rules of its table, and return the number of rows that were new or changed."""
    if table.name == "labels":
        return store.labels.merge(rows)
    if table.name == "quarantine":
        return table.upsert(rows, where="target.at < source.at").rows
    if table.name == "assets":
        _check_digests(rows, path)
    return table.insert(rows)


def _table(store: Store, name: str, schema: pa.Schema) -> Table:
    if name.startswith(tuple(PREFIX.values())):
        identity = Identity.of(name, schema)
        return feature_tables.ensure(store.database, identity, any_dtype=False).table
    tables = (store.assets.table, store.labels.table, store.quarantine.table)
    return next(table for table in tables if table.name == name)


def _check_digests(rows: pa.Table, path: Path) -> None:
    for id_, content in zip(rows["id"].to_pylist(), rows["content"], strict=True):
        if content.is_valid and asset_id(content.as_py()) != id_:
            raise BadSource(f"{path} is damaged: the content of asset {id_} does not have that digest")


def _batch_rows(schema: pa.Schema) -> int:
    """Return the number of rows in a batch: about 16 MB of features, and few assets, whose content may be large."""
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            row_bytes: int = field.type.list_size * field.type.value_type.bit_width // 8
            return max(1, min(16384, (16 << 20) // row_bytes))
    return 256 if "content" in schema.names else 16384


def _chunks(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the batches joined into larger chunks, because every commit creates a fragment."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(b.nbytes for b in waiting) >= _CHUNK_BYTES or sum(b.num_rows for b in waiting) >= _CHUNK_ROWS:
            yield pa.Table.from_batches(waiting, schema)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, schema)
