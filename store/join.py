"""Joins by asset id: a vectorised lookup from ids to row numbers."""

from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from store.rows import Column, strings

_WIDTH = 64
"""Length of an asset id in bytes: a sha256 in hex."""

_WORDS = _WIDTH // 8
"""Length of an asset id in words of 64 bits."""

# Odd 64-bit factors of a multiply-and-add hash over the eight words of an id. A lookup compares the full ids
# afterwards, so the result is correct whatever the factors are.
_FACTORS = np.random.default_rng(0).integers(0, 2**63, _WORDS, np.uint64) * np.uint64(2) + np.uint64(1)


class Positions:
    """The position of each id in a column of distinct ids.

    Arrow rebuilds its hash table in every call, which is too slow for many small batches, and a dictionary costs a
    microsecond a row. So asset ids are sorted by a hash of their bytes, which is 5 times as fast as a dictionary. A
    column that contains other ids uses a dictionary. Ids that follow those of the last call in the column need neither:
    vectors and labels that were written together are stored in one order.
    """

    def __init__(self, ids: Column) -> None:
        self._ids = ids
        self._words = _words(ids)
        self._next = 0

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The position by id."""
        return {id_: row for row, id_ in enumerate(strings(self._ids))}

    @cached_property
    def _by_hash(self) -> tuple[NDArray[np.uint64], NDArray[np.intp]] | None:
        """The sorted hashes and their positions; None if two ids share a hash, which a lookup would confuse."""
        hashes = _hash(np.empty((0, _WORDS), np.uint64) if self._words is None else self._words)
        order = np.argsort(hashes, kind="stable")
        ranked = hashes[order]
        return None if (ranked[1:] == ranked[:-1]).any() else (ranked, order)

    def of(self, ids: Column) -> NDArray[np.int64]:
        """Return the position of each of `ids`, shape (n,); -1 for an id that the column lacks."""
        own, words = self._words, _words(ids)
        if own is None:
            return self._looked_up(ids)
        if words is None:
            return self._one_by_one(ids)
        start, stop = self._next, self._next + len(words)
        if np.array_equal(own[start:stop], words):
            self._next = stop
            return np.arange(start, stop)
        if self._by_hash is None:
            return self._looked_up(ids)
        found = _hashed(own, words, *self._by_hash)
        self._next = int(found[-1]) + 1
        return found

    def _looked_up(self, ids: Column) -> NDArray[np.int64]:
        return np.fromiter((self._rows.get(id_, -1) for id_ in strings(ids)), np.int64, len(ids))

    def _one_by_one(self, ids: Column) -> NDArray[np.int64]:
        """Do `of` for ids of several lengths. Only ids as long as an asset id can be in the column."""
        found = np.full(len(ids), -1, np.int64)
        full = np.array([len(id_.encode()) == _WIDTH for id_ in strings(ids)], np.bool_)
        if full.any():
            found[full] = self.of(ids.filter(pa.array(full)))
        return found


def _hashed(
    own: NDArray[np.uint64], words: NDArray[np.uint64], ranked: NDArray[np.uint64], order: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Do `Positions.of` for asset ids as words (n, 8): look their hashes up among the sorted hashes of `own`."""
    if not len(own):
        return np.full(len(words), -1, np.int64)
    found = order[np.minimum(np.searchsorted(ranked, _hash(words)), len(own) - 1)]
    return np.where((own[found] == words).all(axis=1), found, -1)


def _words(ids: Column) -> NDArray[np.uint64] | None:
    """Return the bytes of each id as eight words, shape (n, 8); None unless every id has 64 bytes."""
    array: Column = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    if not len(array):
        return np.empty((0, _WORDS), np.uint64)
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    if not (np.diff(offsets) == _WIDTH).all():
        return None
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].view(np.uint64).reshape(-1, _WORDS)


def _hash(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = (words * _FACTORS).sum(axis=1, dtype=np.uint64)
    return hashes
