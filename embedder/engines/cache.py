"""A folder of things that are slow to make: converted models and reference vectors.

An entry is made under a lock beside it and appears in one rename, so that a killed process leaves nothing half
written and two processes do the work once. Digests are stored with it: a damaged entry is made again.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

_DIGESTS = "digests.json"


def default_folder() -> Path:
    """The platform's place for files that may be deleted at any time."""
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
        """The folder of `key`, filled by ``make(empty folder)`` when it is absent or damaged."""
        target = self.root / key
        if _intact(target):
            return target
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(self.root / f"{key}.lock"):
            if not _intact(target):
                self._make(target, make)
        return target

    def _make(self, target: Path, make: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".making-") as temporary:
            fresh = Path(temporary) / "fresh"
            fresh.mkdir()
            make(fresh)
            (fresh / _DIGESTS).write_text(json.dumps(_digests(fresh)))
            if target.exists():
                # Only a damaged entry comes here, and only under the lock: nobody reads from it.
                target.rename(Path(temporary) / "damaged")
            fresh.rename(target)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.name != _DIGESTS}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _intact(folder: Path) -> bool:
    try:
        recorded = json.loads((folder / _DIGESTS).read_text())
        return bool(recorded == _digests(folder))
    except (OSError, ValueError):
        return False
