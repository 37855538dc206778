"""Reads files that strangers may have named or put there: regular files only, up to a size, and not outside a folder.

A FIFO or a device can block for ever or never end, and opening a device can already act on it. So a file is examined
before it is opened, and again when it is open, because another process may have put another one there meanwhile.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from store.errors import BadFile

MAX_BYTES = 1 << 30
"""Default of the largest file that is read, in bytes: a file is in memory as a whole."""

_OPEN = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_STEP = 1 << 20
_TYPES: dict[str, Callable[[int], bool]] = {
    "a FIFO": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
    "a folder": stat.S_ISDIR,
    "a link": stat.S_ISLNK,
}


def open_regular(path: str | Path) -> IO[bytes]:
    """Open a regular file; links to one are followed. Raises BadFile for anything else, and other OSErrors."""
    _require_regular(os.stat(path), path)  # the descriptor below is examined the same way
    return _opened(os.open(path, _OPEN), path)


def open_beneath(root: str | Path, relative: str) -> IO[bytes]:
    """Open the regular file `relative` in or below the folder `root`.

    Raises BadFile for anything else, and for a path that leaves `root` by ``..`` or passes a link: each part is opened
    by itself, so that no link can be put into the path meanwhile.
    """
    path = f"{root}/{relative}"
    parts = PurePosixPath(relative).parts
    if not parts or ".." in parts or PurePosixPath(relative).is_absolute():
        raise BadFile("outside_root", f"{path} leads out of {root}")
    if os.open not in os.supports_dir_fd:  # Windows
        return _opened(os.open(_unlinked(root, relative), _OPEN), path)
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            _require_no_link(part, folder, path)
            inner = os.open(part, _FOLDER | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
        found = _require_no_link(parts[-1], folder, path)
        _require_regular(found, path)
        return _opened(os.open(parts[-1], _OPEN | _NO_LINK, dir_fd=folder), path)
    finally:
        os.close(folder)


def read(file: IO[bytes], name: str, most: int = MAX_BYTES) -> bytes:
    """Return the bytes of an open file. Raises BadFile if there are more than `most`, also if it grows meanwhile."""
    size = os.fstat(file.fileno()).st_size
    require_size(size, name, most)
    parts = [file.read(size)]
    while part := file.read(_STEP):
        parts.append(part)
        size += len(part)
        require_size(size, name, most)
    return b"".join(parts)


def require_size(size: int, name: str, most: int) -> None:
    """Raise BadFile if `size` is more than `most` bytes."""
    if size > most:
        raise BadFile("too_large", f"{name} has {size:,} bytes, more than the limit of {most:,}")


def _opened(descriptor: int, path: str | Path) -> IO[bytes]:
    try:
        _require_regular(os.fstat(descriptor), path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(found: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for name, matches in _TYPES.items() if matches(found.st_mode)), "none")
        raise BadFile("not_a_file", f"{path} is not a regular file but {kind}")


def _require_no_link(part: str, folder: int, path: str) -> os.stat_result:
    found = os.stat(part, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        raise BadFile("outside_root", f"{path} passes the link {part!r}, which may lead anywhere")
    return found


def _unlinked(root: str | Path, relative: str) -> Path:
    path = Path(root, relative)
    if Path(os.path.realpath(path)) != Path(os.path.realpath(root), relative):
        raise BadFile("outside_root", f"{path} passes a link, which may lead anywhere")
    return path
