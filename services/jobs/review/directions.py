"""The stored vectors of an encoder, scaled to length one, in memory or in a temporary file."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifiers.errors import NoDiskSpace
from classifiers.heads.transform import unit_rows
from store import Features
from store.join import Positions
from store.rows import Column

IN_MEMORY = 1 << 30
"""Bytes up to which directions are held in memory. Larger ones are in a file that is deleted with the array."""


@dataclass(frozen=True, slots=True)
class Directions:
    """Vectors scaled to length one.

    Attributes:
        ids: asset ids, in stored order, (n,).
        Z: float16 (n, d).
        zeros: number of vectors without a direction, which are left out.
    """

    ids: Column
    Z: NDArray[np.float16]
    zeros: int


def read(
    features: Features, version: int, wanted: Column | None, on_rows: Callable[[int], None] = lambda _: None
) -> Directions:
    """Read the vectors of an encoder at one version of its table.

    Args:
        wanted: ids of the only assets to read; None for all.
        on_rows: called with the number of rows that were read.

    Raises NoDiskSpace if the vectors are too many for the memory, and the disk has no room for them either.
    """
    rows = features.table.count(version=version)
    Z = empty((min(rows, len(wanted)) if wanted is not None else rows, *features.shape))
    chosen = None if wanted is None else Positions(wanted)
    ids: list[Column] = []
    kept = seen = zeros = 0
    for some, X in features.scan(version=version):
        seen += len(some)
        keep = X.any(axis=1)
        inside = np.ones(len(some), np.bool_) if chosen is None else chosen.of(some) >= 0
        zeros += int(np.count_nonzero(inside & ~keep))
        keep &= inside
        count = int(np.count_nonzero(keep))
        Z[kept : kept + count] = unit_rows(X[keep])
        ids.append(some.filter(pa.array(keep)))
        kept += count
        on_rows(seen)
    column: Column = pa.chunked_array(ids, pa.string()).combine_chunks()
    return Directions(column, Z[:kept], zeros)


def empty(shape: tuple[int, ...]) -> NDArray[np.float16]:
    """Return an array of float16, in memory or, above `IN_MEMORY`, in a temporary file. Raises NoDiskSpace."""
    size, folder = 2 * int(np.prod(shape)), tempfile.gettempdir()
    if size <= IN_MEMORY:
        return np.empty(shape, np.float16)
    if size > (free := shutil.disk_usage(folder).free):
        raise NoDiskSpace(
            f"{shape[0]:,} vectors take {size / 1e9:.1f} GB on disk, and {folder} has {free / 1e9:.1f} GB free; use a "
            "folder for temporary files with more room"
        )
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float16, "w+", shape=shape)
