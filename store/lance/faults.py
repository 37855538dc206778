"""Names the faults of the disk under a store. The only module that reads the texts of LanceDB's errors.

LanceDB and pylance report a full disk, a removed folder or a damaged file as RuntimeError, OSError, ValueError or a
panic of Rust, depending on the call. Only the text says which fault it is; it mostly holds the number of the operating
system's error.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from store.errors import StoreError, Unavailable, disk_fault

_NUMBER = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+)")
_CONTENTION = re.compile("conflict|concurrent|contention", re.IGNORECASE)
_DAMAGE = re.compile(r"Not found: |invalid magic|LanceError\(IO\)|Panic")
_SOURCE = re.compile(r",? *\S+\.rs:\d+:\d+")
"""Position in Rust's source code, which ends most texts."""


@contextmanager
def named(place: str) -> Iterator[None]:
    """Raise a fault of the disk as DiskFull or Unavailable, and leave every other error as it is.

    Args:
        place: URI of the table or store, for the message.
    """
    try:
        yield
    except BaseException as error:  # a panic in pylance is no Exception
        if (fault := _fault(error, place)) is not None:
            raise fault from error
        raise


def contended(error: Exception) -> bool:
    """Return True if a write failed because another process wrote first, so that it can be repeated."""
    return _CONTENTION.search(str(error)) is not None


def _fault(error: BaseException, place: str) -> StoreError | None:
    if isinstance(error, StoreError):
        return None
    text = f"{type(error).__name__}: {error}"
    number = getattr(error, "errno", None)
    if number is None and (found := _NUMBER.search(text)):
        number = int(found[1] or found[2])
    if number is not None:
        return disk_fault(number, place)
    if isinstance(error, Exception) and contended(error):
        return Unavailable(f"other processes kept writing to {place}; try again")
    if _DAMAGE.search(text):
        return Unavailable(
            f"{place} cannot be used: {_SOURCE.sub('', text).strip()}; files are missing or damaged: restore a backup"
        )
    return None
