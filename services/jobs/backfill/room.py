"""How much a job is going to write, told before it starts, and whether the disk has room for it."""

import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from store import Features, Store
from store.errors import NoRoom
from store.rows import local_path

COPIES = 2
"""`Store.optimize` writes a table anew, and keeps what was there before for a week."""


@dataclass(frozen=True, slots=True)
class Size:
    """Rows to come of one table, and the bytes of one."""

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
    """Bytes with a decimal unit, e.g. 125 kB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def require_room(store: Store, sizes: Iterable[Size]) -> None:
    """Raises NoRoom when a local disk is too full for all of it; of stores elsewhere nothing is known."""
    wanted, path = list(sizes), local_path(store.uri)
    need = COPIES * sum(size.total for size in wanted)
    if path is None or not path.exists() or need <= (free := shutil.disk_usage(path).free):
        return
    raise NoRoom(
        f"{' and '.join(map(str, wanted))}, twice that while it is compacted: {readable(need)}, and the disk of {path} "
        f"has {readable(free)}; make room, put the store elsewhere, or embed fewer assets or without tokens"
    )
