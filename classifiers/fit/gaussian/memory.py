"""Memory that is freed and soon needed again stays with the process, instead of going back to the system.

glibc gives blocks above 32 MB back to the system as soon as they are freed. A stream of batches then asks for the same
megabytes again for each batch, and the system fills each page with zeros at its first use.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

KEPT = 2**30
"""Largest block that stays with the process, and most free memory at the end of its heap, in bytes."""

USUAL = 2**25
"""Largest block that glibc keeps by itself, in bytes. Its limit grows up to this value as blocks are freed."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's parameters, see `man mallopt`."""

_lock = threading.Lock()
_users = 0


@contextmanager
def memory_kept() -> Iterator[None]:
    """Keep freed blocks of up to `KEPT` bytes while the context is open. C libraries other than glibc do as before."""
    _enter(1)
    try:
        yield
    finally:
        _enter(-1)


def _enter(more: int) -> None:
    """Count the contexts that are open in all threads: the first changes the parameters, the last changes them back."""
    global _users
    with _lock:
        before, _users = _users, _users + more
        if bool(before) != bool(_users):
            _set(KEPT if _users else USUAL)


def _set(size: int) -> None:
    change = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if change is not None:
        change(_MMAP_THRESHOLD, size)
        change(_TRIM_THRESHOLD, size)
