"""The cache: a folder of things that are slow to make, such as converted models and reference vectors.

An entry is made under a lock and appears whole (see `embedder.folders`), so that processes share the work. Its digests
are stored with it: a damaged entry is made again.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from embedder import folders

_DIGESTS = "digests.json"


def default_folder() -> Path:
    """Return the platform's cache folder, whose files may be deleted at any time."""
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "headwater"
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "headwater" / "cache"
    return home / ".cache" / "headwater"


class Cache:
    """Entries by key. Safe for many processes; a key is a plain file name."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str, make: Callable[[Path], None]) -> Path:
        """Return the folder of `key`. An absent or damaged one is first filled by ``make(empty folder)``."""
        target = self.root / key
        if _intact(target):
            return target
        with folders.lock(self.root / f"{key}.lock"):
            if not _intact(target):
                # Only a damaged entry is replaced, and only under the lock: nobody reads from it.
                with folders.writing(target, replace=True) as fresh:
                    make(fresh)
                    (fresh / _DIGESTS).write_text(json.dumps(_digests(fresh)))
        return target


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: folders.digest(path) for path in sorted(folder.iterdir()) if path.name != _DIGESTS}


def _intact(folder: Path) -> bool:
    try:
        recorded = json.loads((folder / _DIGESTS).read_text())
        return bool(recorded == _digests(folder))
    except (OSError, ValueError):
        return False
