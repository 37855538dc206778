"""Assets: the raw items, their bytes inline or by reference."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embedder.spec import MODALITIES
from store.errors import ContentChanged, UnknownId
from store.lance.table import Database, Table
from store.rows import Column, local_path, quoted, strings
from store.schema import ASSETS, Added, Asset, asset_id, now

CHUNK_ROWS = 16384
CHUNK_BYTES = 64 << 20
"""A write holds at most so many rows and about so many bytes of content."""

READ_ROWS, READ_BYTES = 256, 64 << 20
"""Contents are read so many at a time, or about so many bytes where they are large."""

_COLUMNS = ["id", "uri", "content"]


class Assets:
    """The table `assets`. An asset once stored is never changed: its id is the digest of its bytes."""

    def __init__(self, database: Database) -> None:
        self.table = Table(database, "assets", ASSETS)

    def add(self, records: Iterable[Asset]) -> Added:
        """Store those that are not there yet. Consumed in chunks, so a generator of any length may be given.

        A process killed in the middle leaves whole chunks: adding the same records again completes them.
        """
        new = total = 0
        for chunk in _chunks(records):
            new += self.table.insert(pa.Table.from_pylist(_rows(chunk, now()), schema=ASSETS))
            total += len(chunk)
        return Added(new=new, known=total - new)

    def count(self) -> int:
        return self.table.count()

    def exists(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are stored."""
        found = self.table.fetch(ids, ["id"])
        return set(chain.from_iterable(strings(table["id"]) for table in found))

    def get(self, ids: Sequence[str]) -> list[Asset]:
        """The assets in the order asked, without their content. Raises UnknownId."""
        columns = [name for name in ASSETS.names if name not in ("content", "added_at")]
        rows = [row for table in self.table.fetch(ids, columns) for row in table.to_pylist()]
        if missing := set(ids) - {row["id"] for row in rows}:
            raise UnknownId(sorted(missing))
        return [Asset(**row) for row in rows]

    def ids(self, modality: str | None = None, *, version: int | None = None) -> Column:
        """All asset ids (of one modality), in stored order."""
        if modality is None:
            return self.table.read(["id"], version=version)["id"]
        rows = self.table.read(["id", "modality"], version=version)
        # Arrow's filter over the whole column is twice as fast as a filter inside the scan.
        return rows["id"].filter(pc.equal(rows["modality"], pa.scalar(modality)))

    def modalities(self) -> dict[str, int]:
        """How many assets are of which modality."""
        counts = {modality: self.table.count(f"modality = {quoted(modality)}") for modality in MODALITIES}
        return {modality: count for modality, count in counts.items() if count}

    def contents(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes | Exception]]:
        """(id, bytes) in the order asked, or (id, error) for an item alone: UnknownId, ContentChanged.

        Streams: a few items are in memory at a time, however many are asked.
        """
        tables = self.table.fetch(ids, _COLUMNS, batch_rows=READ_ROWS, batch_bytes=READ_BYTES)
        rows = chain.from_iterable(zip(*(table[name] for name in _COLUMNS), strict=True) for table in tables)
        row = next(rows, None)
        for id_ in ids:
            if row is None or row[0].as_py() != id_:
                yield id_, UnknownId([id_])
                continue
            content = row[2].as_py()
            yield id_, content if content is not None else read_reference(id_, row[1].as_py())
            row = next(rows, None)


def read_reference(id_: str, uri: str) -> bytes | Exception:
    """The bytes at `uri`, or ContentChanged when they are gone or are not those of asset `id_`."""
    path = local_path(uri)
    try:
        data = path.read_bytes() if path is not None else _read_remote(uri)
    except (OSError, pa.ArrowException) as error:
        return ContentChanged(f"asset {id_} cannot be read from {uri}: {error}; restore it there or ingest it inline")
    if asset_id(data) != id_:
        return ContentChanged(f"{uri} is no longer asset {id_} (it is {asset_id(data)} now); ingest it again")
    return data


def _read_remote(uri: str) -> bytes:
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(uri)
    with system.open_input_stream(path) as stream:
        return bytes(stream.read())


def _chunks(records: Iterable[Asset]) -> Iterator[list[Asset]]:
    chunk: list[Asset] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.content or b"")
        if len(chunk) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _rows(assets: Sequence[Asset], at: datetime) -> list[dict[str, Any]]:
    names = [name for name in ASSETS.names if name != "added_at"]
    return [{name: getattr(asset, name) for name in names} | {"added_at": at} for asset in assets]
