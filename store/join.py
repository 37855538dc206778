"""Joining by asset id, vectorised: which row has this id?"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from store.rows import Column, strings

_WIDTH = 64
"""Bytes of an asset id: sha256 in hex."""

# Odd 64-bit constants of a multiply-and-add hash over an id's eight words. Ids of equal hash are then compared in
# full, so any constants are right.
_FACTORS = np.random.default_rng(0).integers(0, 2**63, _WIDTH // 8, np.uint64) * np.uint64(2) + np.uint64(1)


class Positions:
    """The position of each id of a column without repetitions.

    Arrow builds its hash table anew at every call, which is too slow a batch at a time, and a dictionary costs a
    microsecond a row. Asset ids are sorted by a hash of their bytes instead (5 times as fast); a column with other
    ids falls back to a dictionary.
    """

    def __init__(self, ids: Column) -> None:
        words = _words(ids)
        hashes = np.empty(0, np.uint64) if words is None else _hash(words)
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]
        if (self._sorted[1:] == self._sorted[:-1]).any():
            words = None  # two ids with one hash: rarer than a broken disk, but a lookup would lose one of them
        self._words = words
        self._rows = {id_: row for row, id_ in enumerate(strings(ids))} if words is None else {}

    def of(self, ids: Column) -> NDArray[np.int64]:
        """(n,) the position of each of `ids`, -1 where there is none."""
        words = _words(ids)
        if self._words is None:
            return np.fromiter((self._rows.get(id_, -1) for id_ in strings(ids)), np.int64, len(ids))
        if words is None:
            return self._one_by_one(ids)
        if not len(self._words) or not len(words):
            return np.full(len(words), -1, np.int64)
        hashes = _hash(words)
        slots = np.minimum(np.searchsorted(self._sorted, hashes), len(self._sorted) - 1)
        found = self._order[slots]
        same = (self._words[found] == words).all(axis=1)
        return np.where(same, found, -1)

    def _one_by_one(self, ids: Column) -> NDArray[np.int64]:
        """Ids of several lengths: those that are asset ids are looked up, the others are not here."""
        found = np.full(len(ids), -1, np.int64)
        full = np.array([len(id_.encode()) == _WIDTH for id_ in strings(ids)], np.bool_)
        if full.any():
            found[full] = self.of(ids.filter(pa.array(full)))
        return found


def _words(ids: Column) -> NDArray[np.uint64] | None:
    """(n, 8): the bytes of each id as eight words; None unless every id has 64 bytes."""
    array: Column = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if not len(array):
        return np.empty((0, _WIDTH // 8), np.uint64)
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    if not (np.diff(offsets) == _WIDTH).all():
        return None
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].view(np.uint64).reshape(-1, _WIDTH // 8)


def _hash(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = (words * _FACTORS).sum(axis=1, dtype=np.uint64)
    return hashes
