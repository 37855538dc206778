"""A lock between processes, for creating tables, because LanceDB itself is not safe in this one step."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_FILE = ".creating.lock"


@contextmanager
def exclusive(folder: Path | None) -> Iterator[None]:
    """Hold the folder's lock. The operating system releases it if the process dies.

    The lock has no effect on object storage (`folder` None) and on Windows, which have no reliable counterpart. There,
    let one process create the tables (one ingest, one short backfill) before several processes write.
    """
    if folder is None or sys.platform == "win32":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
