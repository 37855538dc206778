"""Which assets a head, an adapter or a clustering learned from: a file of their ids in its folder, searched in place.

The file is a NumPy array, uint8 (n, 32): the sha256 of each asset, sorted. A row takes 32 bytes, a million rows 32 MB.
"""

from binascii import hexlify, unhexlify
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FILE = "training-ids.npy"

MOST_IDS = 8_000_000
"""Most ids that are recorded: 256 MB, the largest file of a head that is read."""

_WIDTH = 32
_HEADER = 128
"""Bytes before the ids: NumPy's header, which has this length for such an array."""

Hashes = NDArray[np.uint8]
"""The sha256 of some assets, sorted, (n, 32)."""

Seen = Literal["yes", "no", "not recorded"]


def ids_file(ids: Sequence[str], hashes: Hashes | None = None) -> dict[str, bytes]:
    """Return the file of these ids, content by name; empty if there are too many, or one is no sha256 in hex.

    Args:
        hashes: result of `sorted_hashes` for these ids, if the caller has it.
    """
    hashes = sorted_hashes(ids) if hashes is None else hashes
    if hashes is None or len(ids) > MOST_IDS:
        return {}
    fresh = np.ones(len(hashes), np.bool_)
    fresh[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    distinct = hashes[fresh]
    return {FILE: _header(len(distinct)) + distinct.tobytes()}


def sorted_hashes(ids: Sequence[str]) -> Hashes | None:
    """Return the sha256 of each asset, sorted, (n, 32); None if an id is no sha256 in lower-case hex.

    Two ids that share their first 8 bytes are so rare that a sort by these bytes alone is nearly always the whole sort.
    """
    if not {2 * _WIDTH}.issuperset(map(len, ids)):
        return None
    try:
        joined = "".join(ids).encode()
        packed = unhexlify(joined)
    except ValueError:
        return None
    if hexlify(packed) != joined:  # upper case
        return None
    raw = np.frombuffer(packed, np.uint8).reshape(-1, _WIDTH)
    words = raw.view(">u8")
    first = words[:, 0].astype(np.uint64)  # in the byte order of this machine, which sorts faster
    order = np.argsort(first)
    if (np.diff(first[order]) == 0).any():
        order = np.lexsort(words.T[::-1])
    return raw[order]


def saw(folder: Path, ids: Iterable[str]) -> dict[str, Seen]:
    """Return for each of `ids` whether what is in `folder` learned from it: about 20 short reads an id.

    "not recorded" stands for all ids if the folder has no file of ids, as those of earlier versions, or a damaged one.
    """
    try:
        stored = np.load(folder / FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return dict.fromkeys(ids, "not recorded")
    if stored.ndim != 2 or stored.shape[1] != _WIDTH or stored.dtype != np.uint8:
        return dict.fromkeys(ids, "not recorded")
    return {id_: "yes" if _has(stored, id_) else "no" for id_ in ids}


def _has(stored: np.memmap, id_: str) -> bool:
    try:
        wanted = bytes.fromhex(id_)
    except ValueError:
        return False
    place = bisect_left(range(len(stored)), wanted, key=lambda row: stored[row].tobytes())
    return place < len(stored) and stored[place].tobytes() == wanted


def _header(rows: int) -> bytes:
    """Return the header of format 1.0, padded with spaces to `_HEADER` bytes."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({rows}, {_WIDTH}), }}"
    return b"\x93NUMPY\x01\x00" + (_HEADER - 10).to_bytes(2, "little") + f"{text:<{_HEADER - 11}}\n".encode()
