"""The table of assets: images, sounds and other files, whose bytes are stored inline or by reference."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embedder.spec import MODALITIES
from store import files, references
from store.errors import AmbiguousId, ContentChanged, UnknownId
from store.lance.database import Database
from store.lance.table import Table
from store.rows import Column, local_path, quoted, strings
from store.schema import ASSETS, NO_FILE, Added, Asset, now

CHUNK_ROWS, CHUNK_BYTES = 16384, 64 << 20
"""Largest number of rows in one write, and about the largest size of its content."""

READ_ROWS, READ_BYTES = 256, 64 << 20
"""Largest number of contents in one read, and about its largest size."""

_COLUMNS = ["id", "uri", "content", "modality"]
_DESCRIPTION = [name for name in ASSETS.names if name not in ("content", "added_at")]
_PREFIX = re.compile("[0-9a-f]{6,64}")
_WITHOUT_FILE = f"modality = {quoted(NO_FILE)}"


class Assets:
    """The table `assets`. A stored asset never changes, because its id is the digest of its bytes.

    Only an asset of the modality NO_FILE, which stands for an imported vector, gives way to its file when that comes.

    Attributes:
        max_file_bytes: largest file that is read where an asset refers to it.
    """

    def __init__(self, database: Database, max_file_bytes: int = files.MAX_BYTES) -> None:
        self.table = Table(database, "assets", ASSETS)
        self.max_file_bytes = max_file_bytes

    def add(self, records: Iterable[Asset]) -> Added:
        """Store the assets that are not stored yet.

        `records` is read in chunks, so it may be a generator of any length. A process that is killed leaves complete
        chunks; adding the same records again adds the rest.
        """
        new = total = 0
        for chunk in _chunks(records):
            rows = pa.Table.from_pylist(_rows(chunk, now()), schema=ASSETS)
            added = self.table.insert(rows)
            if added < len(chunk) and self._give_way(chunk):
                added += self.table.insert(rows)
            new += added
            total += len(chunk)
        return Added(new=new, known=total - new)

    def _give_way(self, chunk: Sequence[Asset]) -> bool:
        """Remove the assets without a file that have the ids of `chunk`. Return True if there were some."""
        if not self.table.count(_WITHOUT_FILE):
            return False
        given = pa.array([asset.id for asset in chunk if asset.modality != NO_FILE], pa.string())
        stored = self.table.read(["id"], where=_WITHOUT_FILE)["id"]
        ids = strings(stored.filter(pc.is_in(stored, value_set=given)))
        if ids:
            self.table.delete(f"{_WITHOUT_FILE} AND id IN ({', '.join(map(quoted, ids))})")
        return bool(ids)

    def without_file(self) -> int:
        """Return the number of assets that stand for an imported vector."""
        return self.table.count(_WITHOUT_FILE)

    def count(self) -> int:
        """Return the number of assets."""
        return self.table.count()

    def exists(self, ids: Sequence[str]) -> set[str]:
        """Return those of `ids` that are stored."""
        found = self.table.fetch(ids, ["id"])
        return set(chain.from_iterable(strings(table["id"]) for table in found))

    def find(self, text: str) -> str:
        """Return the id of the asset that `text` names: an id, its first 6 or more digits, or a path or a file name.

        Raises UnknownId, and AmbiguousId if several assets match.
        """
        rows = self.table.read(["id", "uri"])
        path = str(local_path(text) or text) if "/" in text or os.path.exists(text) else text
        named: Column = pc.is_in(rows["uri"], value_set=pa.array([text, path]))
        if not (pc.any(named).as_py()):
            named = pc.ends_with(rows["uri"], pattern=f"/{text}")
        if _PREFIX.fullmatch(text):
            named = pc.or_(named, pc.starts_with(rows["id"], pattern=text))
        found = strings(rows["id"].filter(named))
        if len(found) > 1:
            raise AmbiguousId(text, found)
        if not found:
            raise UnknownId([text])
        return found[0]

    def page(self, modality: str | None = None, *, start: int = 0, rows: int = 100) -> list[Asset]:
        """Return assets of one modality, or of all, in stored order, without their content."""
        where = None if modality is None else f"modality = {quoted(modality)}"
        found = self.table.scan(_DESCRIPTION, where=where, share=(start, rows))
        return [Asset(**row) for batch in found for row in batch.to_pylist()]

    def get(self, ids: Sequence[str]) -> list[Asset]:
        """Return the assets in the order of `ids`, without their content. Raises UnknownId."""
        found = self.described(ids)
        if missing := set(ids) - found.keys():
            raise UnknownId(sorted(missing))
        return [found[id_] for id_ in ids]

    def described(self, ids: Sequence[str]) -> dict[str, Asset]:
        """Return {id: asset}, without content, of those of `ids` that are stored."""
        tables = self.table.fetch(ids, _DESCRIPTION)
        return {row["id"]: Asset(**row) for table in tables for row in table.to_pylist()}

    def ids(self, modality: str | None = None, *, version: int | None = None) -> Column:
        """Return the ids of all assets, or of one modality, in stored order."""
        if modality is None:
            return self.table.read(["id"], version=version)["id"]
        rows = self.table.read(["id", "modality"], version=version)
        # Filtering the whole column with Arrow is twice as fast as a filter inside LanceDB's scan.
        return rows["id"].filter(pc.equal(rows["modality"], pa.scalar(modality)))

    def modalities(self) -> dict[str, int]:
        """Return {modality: number of assets} of the modalities that occur."""
        counts = {modality: self.table.count(f"modality = {quoted(modality)}") for modality in MODALITIES}
        return {modality: count for modality, count in counts.items() if count}

    def contents(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes | Exception]]:
        """Yield (id, bytes) in the order of `ids`, or (id, error) for an id that cannot be read.

        The error is UnknownId, or ContentChanged for bytes that cannot be read or do not have the digest `id`. Only a
        few contents are in memory at a time.
        """
        tables = self.table.fetch(ids, _COLUMNS, batch_rows=READ_ROWS, batch_bytes=READ_BYTES)
        rows = chain.from_iterable(zip(*(table[name] for name in _COLUMNS), strict=True) for table in tables)
        row = next(rows, None)
        for id_ in ids:
            if row is None or row[0].as_py() != id_:
                yield id_, UnknownId([id_])
                continue
            content = row[2].as_py()
            if row[3].as_py() == NO_FILE:
                yield id_, ContentChanged(f"asset {id_} has no file, because only its vector was imported; ingest it")
            elif content is None:
                yield id_, references.read(id_, row[1].as_py(), self.max_file_bytes)
            else:
                yield id_, references.verified(id_, content, f"the content of asset {id_} in {self.table.uri}")
            row = next(rows, None)


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
