"""A temporary database on disk, so that memory does not grow with the number of rows and files."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from store.errors import DiskFull

CACHE_KIB = 64 * 1024
"""Largest part of the database that is in memory. The rest is in a file that ends with the process."""


@contextmanager
def scratch(script: str) -> Iterator[sqlite3.Connection]:
    """Yield a new, empty database after `script`. It is removed at the end, also if the process is killed.

    Raises DiskFull if the disk of temporary files is full.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as database:
        database.executescript(
            f"PRAGMA cache_size = -{CACHE_KIB}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {script}; BEGIN"
        )
        try:
            yield database
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            raise DiskFull("the disk of temporary files is full; make room") from error
