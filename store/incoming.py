"""One Parquet file of an import: which of its rows may be taken, and how the store takes them.

An export may come from a stranger, so nothing in it is believed: not its types, not its values, and above all not the
uri of an asset, which is a path that the store would read later.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedder.spec import MODALITIES
from store import references
from store.errors import BadSource, UntrustedReferences
from store.lance.table import Table
from store.rows import Column, matrix_view, strings, with_columns
from store.schema import NO_FILE, asset_id
from store.sources import open_parquet
from store.store import Store
from store.tables import features as feature_tables
from store.tables.identity import PREFIX, Identity

_CHUNK_BYTES = 64 << 20
_CHUNK_ROWS = 65536
_ID = re.compile("[0-9a-f]{64}")


class Incoming(ABC):
    """One file of an import. A subclass has the rules of one sort of table.

    Args:
        roots: folders in which the files of assets by reference may lie; none if such assets are not taken.
    """

    prefixes: ClassVar[tuple[str, ...]]
    """Starts of the names of the tables."""

    def __init__(self, store: Store, path: Path, roots: Sequence[Path]) -> None:
        self.store, self.path, self.roots = store, path, roots

    @staticmethod
    def of(store: Store, path: Path, roots: Sequence[Path]) -> "Incoming":
        """Return the file with the rules of its table. The name of the file says which table."""
        kind = next(
            each
            for each in (_Assets, _LabelHistory, _Labels, _Quarantine, _Features)
            if path.stem.startswith(each.prefixes)
        )
        return kind(store, path, roots)

    @property
    def name(self) -> str:
        return self.path.stem

    def check(self) -> None:
        """Raise BadSource, FrozenSplit or FeaturesMismatch if the file may not be taken. Nothing is written."""
        for _ in self._rows():
            pass

    def write(self) -> int:
        """Write the rows, and return the number of those that were new or changed."""
        return sum(map(self._put, self._rows()))

    @property
    @abstractmethod
    def _table(self) -> Table:
        """The table that takes the rows. It may not exist yet."""

    def _allowed(self, rows: pa.Table) -> pa.Table:
        """Return `rows` as they may be stored. Raises BadSource if they may not."""
        return rows

    def _put(self, rows: pa.Table) -> int:
        """Write one chunk by the rules of the table, and return the number of rows that were new or changed."""
        return self._table.insert(rows)

    def _rows(self) -> Iterator[pa.Table]:
        with open_parquet(self.path) as file:
            schema = file.schema_arrow
            wanted = self._table.schema
            may_lack = set(self._table.later) - set(schema.names)
            if schema.names != [name for name in wanted.names if name not in may_lack]:
                raise self._bad(f"has the columns {', '.join(schema.names)}, not {', '.join(wanted.names)}")
            for chunk in _chunks(file.iter_batches(batch_rows(schema)), schema):
                chunk.validate(full=True)
                chunk = with_columns(chunk, wanted, wanted.names)
                self._require_values(chunk, wanted)
                yield self._allowed(chunk.cast(wanted))

    def _require_values(self, rows: pa.Table, schema: pa.Schema) -> None:
        for field in schema:
            column = rows[field.name]
            if not field.nullable and (column.null_count or _flat(column).null_count):
                raise self._bad(f"has rows without {field.name}")

    def _bad(self, problem: str) -> BadSource:
        return BadSource(f"{self.path} {problem}")


class _Assets(Incoming):
    prefixes = ("assets",)

    @property
    def _table(self) -> Table:
        return self.store.assets.table

    def _allowed(self, rows: pa.Table) -> pa.Table:
        if strange := set(strings(rows["modality"])) - {*MODALITIES, NO_FILE}:
            raise self._bad(f"has assets of the modality {min(strange)!r:.100}; there are {', '.join(MODALITIES)}")
        uris = [
            # Nothing reads the uri of an asset without a file.
            uri if modality == NO_FILE and not content.is_valid else self._uri(id_, uri, content)
            for id_, uri, content, modality in zip(
                strings(rows["id"]), strings(rows["uri"]), rows["content"], strings(rows["modality"]), strict=True
            )
        ]
        return rows.set_column(rows.schema.get_field_index("uri"), rows.schema.field("uri"), pa.array(uris))

    def _uri(self, id_: str, uri: str, content: pa.LargeBinaryScalar) -> str:
        """Return the uri under which an asset may be stored."""
        if content.is_valid:
            if asset_id(content.as_py()) != id_:
                raise self._bad(f"is damaged: the content of asset {id_[:64]} does not have that digest")
            return uri
        if not _ID.fullmatch(id_):
            raise self._bad(f"has the asset {id_[:100]!r} by reference, whose id is no digest")
        if not self.roots:
            raise UntrustedReferences(
                f"{self.path} has assets by reference, without their bytes, e.g. {uri[:200]!r}: whoever made the "
                "export chose which files of this machine would be read. Export a store that holds the bytes"
            )
        try:
            return references.rooted(uri, self.roots)
        except BadSource as error:
            raise self._bad(f"has asset {id_} by reference: {error}") from error


class _Labels(Incoming):
    prefixes = ("labels",)

    @property
    def _table(self) -> Table:
        return self.store.labels.table

    def _allowed(self, rows: pa.Table) -> pa.Table:
        self.store.labels.require_all(rows)
        return rows

    def _put(self, rows: pa.Table) -> int:
        return self.store.labels.merge(rows)


class _LabelHistory(Incoming):
    prefixes = ("label_history",)

    @property
    def _table(self) -> Table:
        return self.store.labels.history.table


class _Quarantine(Incoming):
    prefixes = ("quarantine",)

    @property
    def _table(self) -> Table:
        return self.store.quarantine.table

    def _put(self, rows: pa.Table) -> int:
        return self._table.upsert(rows, where="target.at < source.at").rows


class _Features(Incoming):
    prefixes = tuple(PREFIX.values())

    def check(self) -> None:
        stored = feature_tables.find(self.store.database, self.name)
        if stored is not None:
            stored.identity.require(self._identity, any_dtype=False)
        super().check()

    def write(self) -> int:
        feature_tables.ensure(self.store.database, self._identity, any_dtype=False)
        return super().write()

    @cached_property
    def _identity(self) -> Identity:
        with open_parquet(self.path) as file:
            identity = Identity.of(self.name, file.schema_arrow)
        if identity.table != self.name:
            raise self._bad(f"holds the features of table {identity.table}: it was renamed; rename it back")
        return identity

    @cached_property
    def _table(self) -> Table:
        return feature_tables.Features(self.store.database, self._identity).table

    def _allowed(self, rows: pa.Table) -> pa.Table:
        if not np.isfinite(matrix_view(rows.column(1))).all():
            raise self._bad("has features that are not finite numbers")
        return rows


def batch_rows(schema: pa.Schema) -> int:
    """Return the number of rows in a batch: about 16 MB of features, and few assets, whose content may be large."""
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            row_bytes: int = field.type.list_size * field.type.value_type.bit_width // 8
            return max(1, min(16384, (16 << 20) // max(row_bytes, 1)))
    return 256 if "content" in schema.names else 16384


def _flat(column: Column) -> Column:
    """Return the elements of a column of lists, or the column itself."""
    return pc.list_flatten(column) if pa.types.is_list(column.type) else column


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
