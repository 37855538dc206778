"""One process at a time, for the one step that LanceDB does not make safe by itself."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_FILE = ".creating.lock"


@contextmanager
def exclusive(folder: Path | None) -> Iterator[None]:
    """Hold the folder's lock; the operating system gives it back when the process dies.

    Without effect on object storage (`folder` None) and on Windows, where nothing like it can be relied on: there,
    let one process make the tables (one ingest, one short backfill) before several write.
    """
    if folder is None or sys.platform == "win32":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
