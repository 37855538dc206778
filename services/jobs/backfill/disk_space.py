"""Disk space that a job will need, and the check that the disk has it."""

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from store import Features, Store
from store.errors import NoRoom
from store.rows import local_path

COPIES = 2
"""`Store.optimize` rewrites a table and keeps the old files for a week."""


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the rows that a job will add to one table.

    Attributes:
        rows: number of rows.
        row_bytes: bytes of one row.
    """

    rows: int
    row_bytes: int

    @classmethod
    def of(cls, features: Features, rows: int) -> "Size":
        return cls(rows, math.prod(features.shape) * np.dtype(features.dtype).itemsize)

    @property
    def total(self) -> int:
        return self.rows * self.row_bytes

    def __str__(self) -> str:
        return f"{self.rows:,} × {readable(self.row_bytes)} = {readable(self.total)}"


def readable(size: float) -> str:
    """Format a number of bytes with a decimal unit, e.g. "125 kB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def require_room(store: Store, sizes: Iterable[Size]) -> None:
    """Check that the disk of a local store has room for rows of these sizes. Remote stores are not checked.

    Raises:
        NoRoom: the disk has less than `COPIES` times their bytes.
    """
    listed, path = list(sizes), local_path(store.uri)
    need = COPIES * sum(size.total for size in listed)
    if path is None or not path.exists() or need <= (free := shutil.disk_usage(path).free):
        return
    raise NoRoom(
        f"the disk of {path} is too full: {' and '.join(map(str, listed))} need {readable(need)} while the store is "
        f"compacted, which doubles them, and {readable(free)} are free; make room, or put the store on another disk"
    )
