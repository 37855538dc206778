"""The columns of all stored assets, each part from one table: ids and modalities, labels, and who has a vector."""

import binascii
import hashlib
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from services.classification.vectors import ID
from services.web.columns import SPLIT_NAMES
from store import Features, Snapshot, Store
from store.join import Positions
from store.rows import Column, strings

ID_BYTES = 32
"""Bytes of an id: a SHA-256."""

DIGEST_BYTES = 16
"""Bytes of the digest of all ids."""

POSITION_BYTES = 80
"""Bytes of each id in a `Positions`."""


@dataclass(frozen=True, slots=True)
class AssetColumns:
    """The stored assets at one version, in stored order.

    Attributes:
        ids: uint8 (n, 32); zeros for an id that is no SHA-256.
        modality: codes of `modalities`, uint8 (n,).
        digest: differs for other ids or another order.
        positions: row of each id.
    """

    ids: NDArray[np.uint8]
    modality: NDArray[np.uint8]
    modalities: tuple[str, ...]
    digest: str
    positions: Positions

    @classmethod
    def none(cls) -> Self:
        """Return the columns of a store without assets."""
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES).hexdigest()
        ids: Column = pa.array([], pa.string())
        return cls(np.zeros((0, ID_BYTES), np.uint8), np.zeros(0, np.uint8), (), digest, Positions(ids))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.modality.nbytes + POSITION_BYTES * len(self)


@dataclass(frozen=True, slots=True)
class LabelColumns:
    """The labels of the stored assets in one task.

    Attributes:
        names: the labels of the task, sorted.
        label: code of the first label of each row, int32 (n,); -1 without one.
        split: code in `SPLIT_NAMES`, uint8 (n,).
        ends, flat: where the labels of each row end in `flat`, uint32 (n,), and the codes, int32.
        many: True if a row has several labels.
    """

    names: tuple[str, ...]
    label: NDArray[np.int32]
    split: NDArray[np.uint8]
    ends: NDArray[np.uint32]
    flat: NDArray[np.int32]
    many: bool

    @classmethod
    def none(cls, rows: int) -> Self:
        """Return the columns of assets without labels."""
        none = np.zeros(0, np.int32)
        zeros = np.zeros(rows, np.uint32)
        return cls((), np.full(rows, -1, np.int32), zeros.astype(np.uint8), zeros, none, False)

    def of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return a pair for each label of some rows: the row's position in `rows`, and the label's code, (m,) each."""
        ends = self.ends[rows].astype(np.int64)
        starts = np.where(rows > 0, self.ends[rows - 1], 0).astype(np.int64)
        counts = ends - starts
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(len(rows)), counts), self.flat[np.repeat(starts, counts) + inside]

    @property
    def nbytes(self) -> int:
        arrays = (self.label, self.split, self.ends, self.flat)
        return sum(each.nbytes for each in arrays) + sum(map(len, self.names))


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """1 for each asset that has a vector of an encoder, uint8 (n,)."""

    has: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        return self.has.nbytes


def read_assets(store: Store, snapshot: Snapshot) -> AssetColumns:
    """Return the stored assets at a snapshot."""
    rows = store.assets.table.read(["id", "modality"], version=snapshot.of(store.assets.table))
    ids: Column = rows["id"].combine_chunks()
    modality: Any = rows["modality"].combine_chunks().dictionary_encode()
    raw = raw_ids(ids)
    codes = modality.indices.to_numpy(zero_copy_only=False).astype(np.uint8)
    digest = hashlib.blake2b(raw.reshape(-1).data, digest_size=DIGEST_BYTES).hexdigest()
    return AssetColumns(raw, codes, tuple(strings(modality.dictionary)), digest, Positions(ids))


def raw_ids(ids: Column) -> NDArray[np.uint8]:
    """Return the 32 bytes of each id, (n, 32); zeros for an id that is no SHA-256 in hexadecimal digits."""
    if len(ids) and pc.all(pc.equal(pc.binary_length(ids), pa.scalar(2 * ID_BYTES, pa.int32()))).as_py():
        _, offsets, data = ids.buffers()
        first = int(np.frombuffer(offsets, np.int32)[ids.offset])
        text = memoryview(data)[first : first + 2 * ID_BYTES * len(ids)]
        try:
            return np.frombuffer(binascii.unhexlify(text), np.uint8).reshape(-1, ID_BYTES)
        except binascii.Error:
            pass
    found = np.zeros((len(ids), ID_BYTES), np.uint8)
    for row, id_ in enumerate(strings(ids)):
        if ID.fullmatch(id_):
            found[row] = np.frombuffer(bytes.fromhex(id_), np.uint8)
    return found


def read_labels(store: Store, snapshot: Snapshot, task: str, assets: AssetColumns) -> LabelColumns:
    """Return the labels of a task. Raises UnknownTask."""
    rows = store.labels.get(task, version=snapshot.of(store.labels.table))
    where = assets.positions.of(rows["id"].combine_chunks())
    known = where >= 0
    rows, where = rows.filter(pa.array(known)), where[known]
    labels: Column = rows["labels"].combine_chunks()
    flattened: Column = labels.flatten()
    names = tuple(sorted(strings(pc.unique(flattened))))
    codes: Column = pc.index_in(flattened, value_set=pa.array(names, pa.string()))
    lengths = pc.list_value_length(labels).to_numpy(zero_copy_only=False).astype(np.int64)
    ends, flat = in_rows(len(assets), where, lengths, codes.to_numpy(zero_copy_only=False))
    label = np.full(len(assets), -1, np.int32)
    some = np.diff(ends, prepend=np.uint32(0)) > 0
    label[some] = flat[(ends - np.diff(ends, prepend=np.uint32(0)))[some]]
    split = np.zeros(len(assets), np.uint8)
    found: Column = pc.index_in(rows["split"].combine_chunks(), value_set=pa.array(SPLIT_NAMES, pa.string()))
    split[where] = pc.fill_null(found, 0).to_numpy(zero_copy_only=False).astype(np.uint8)
    return LabelColumns(names, label, split, ends, flat, bool((lengths > 1).any()))


def read_vectors(features: Features, snapshot: Snapshot, assets: AssetColumns) -> VectorColumn:
    """Return which assets have a vector of an encoder."""
    has = np.zeros(len(assets), np.uint8)
    where = assets.positions.of(features.ids(version=snapshot.of(features.table)).combine_chunks())
    has[where[where >= 0]] = 1
    return VectorColumn(has)


def in_rows(
    rows: int, where: NDArray[np.integer[Any]], lengths: NDArray[np.int64], flat: NDArray[np.int32]
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Return lists in the order of their rows: the end of the list of each row (rows,), and the values of all lists.

    Args:
        where: row of each list, distinct, (m,); rows without a list have an empty one.
        lengths: of each list, (m,).
        flat: the values of all lists, one list after the other, (Σ lengths,).
    """
    counts = np.zeros(rows, np.int64)
    counts[where] = lengths
    ends = np.cumsum(counts)
    shift = (ends - counts)[where] - (np.cumsum(lengths) - lengths)
    found = np.empty_like(flat)
    found[np.arange(len(flat)) + np.repeat(shift, lengths)] = flat
    return ends.astype(np.uint32), found
