"""Folders that appear whole or not at all, and locks between processes. Standard library only.

A folder is filled under a temporary name beside its place, put on the disk, then renamed. So a process that is killed,
or a power cut, leaves no half-written folder, and a reader never sees one.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_PREFIX = ".new-"
"""Start of the name of every temporary folder. `remove_leftovers` removes those of killed processes."""

IN_USE = ".in-use"
"""Lock file in a temporary folder; the process that fills or removes the folder holds it."""


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """Yield a new hidden folder in `parent`, which is removed when the block ends.

    Leftovers of killed processes in `parent` are removed first. Missing parents are made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    folder, held = _new(parent)
    try:
        with held:
            yield folder
    finally:
        with suppress(OSError):
            _remove(folder)


def _new(parent: Path) -> tuple[Path, IO[str]]:
    """Return a new hidden folder and its open lock file, which shows that the folder is in use."""
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
        try:
            held = (folder / IN_USE).open("x")
        except FileNotFoundError:  # another process removed the folder as a leftover: it had no lock file yet
            continue
        _wait_for(held)
        if folder.exists():
            return folder, held
        held.close()


@contextmanager
def writing(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill. It becomes `target` when the block ends; it is removed if the block raises.

    Args:
        target: the place of the folder. Missing parents are made.
        replace: put the new folder in the place of an older one. Two processes that replace one folder must take turns
            (see `lock`).

    Raises FileExistsError if `target` exists and `replace` is false.
    """
    with scratch(target.parent) as temporary:
        fresh = temporary / "fresh"
        fresh.mkdir()
        yield fresh
        _sync(fresh)
        if target.exists():
            if not replace:
                raise FileExistsError(f"{target} exists")
            _replace(target, fresh, temporary)
        else:
            fresh.rename(target)
        _sync_names(target.parent)


def _replace(target: Path, fresh: Path, temporary: Path) -> None:
    """Put the folder `fresh` in the place of `target`, whose old content is then in `temporary`.

    Linux exchanges them in one step on most file systems. Elsewhere, for a moment, there is no `target`: a process that
    is killed then loses the old folder.
    """
    if not _exchanged(fresh, target):
        target.rename(temporary / "old")
        fresh.rename(target)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two paths in one step. Return False where the operating system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    exchange = getattr(ctypes.CDLL(None), "renameat2", None)  # glibc 2.28
    return exchange is not None and exchange(-1, os.fsencode(one.absolute()), -1, os.fsencode(other.absolute()), 2) == 0


def write_whole(target: Path, files: Mapping[str, bytes], *, replace: bool = False) -> None:
    """Write a folder that holds `files` (content by name). Arguments and errors as for `writing`."""
    with writing(target, replace=replace) as folder:
        for name, data in files.items():
            (folder / name).write_bytes(data)


def write_file(path: Path, data: bytes) -> None:
    """Write one file whole, in the place of an older one."""
    with scratch(path.parent) as temporary:
        fresh = temporary / "fresh"
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    _sync_names(path.parent)


def remove_leftovers(root: Path) -> None:
    """Remove the half-written folders and files that killed processes left in `root`.

    The operating system frees the lock of a process that ends, so a folder whose lock is free has no owner. A folder
    without a lock file is new, or its owner was killed at once; it is removed if it is empty.
    """
    for leftover in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or another process was faster
            if not leftover.is_dir():  # earlier versions wrote single files, each in one step
                leftover.unlink()
                continue
            try:
                file = (leftover / IN_USE).open("r+")
            except FileNotFoundError:
                leftover.rmdir()
                continue
            with file:
                if _free(file):
                    _remove(leftover)


def _remove(folder: Path) -> None:
    """Remove a temporary folder: its lock file after everything else, so a folder without one is always empty."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != IN_USE:
            path.unlink()
    (folder / IN_USE).unlink()
    folder.rmdir()


def discard(folder: Path) -> None:
    """Remove a folder of which no reader may find a part. The caller holds its lock file `IN_USE`.

    It is renamed first, which needs no room on the disk. If the process is killed then, or a file cannot be removed,
    the rest of the folder is a leftover, which `remove_leftovers` removes.
    """
    remove_leftovers(folder.parent)
    leftover = folder.rename(folder.with_name(f"{_PREFIX}{folder.name}"))
    with suppress(OSError):
        _remove(leftover)


def digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, and wait for it first. Missing parents are made.

    Processes and threads take turns. The operating system frees the lock when its holder ends, however that happens.
    The file stays: to remove it would let two processes hold two files of one name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        _wait_for(file)
        yield


def try_lock(path: Path) -> IO[str] | None:
    """Return the open lock file `path`, which holds the lock until it is closed; None if someone else holds the lock.

    The folder of `path` must exist. The operating system frees the lock when the process ends, as with `lock`.
    """
    file = path.open("a")
    if _free(file):
        return file
    file.close()
    return None


def _wait_for(file: IO[str]) -> None:
    if sys.platform == "win32":
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                return
            except OSError:  # msvcrt gives up after ten seconds
                continue
    else:
        fcntl.flock(file, fcntl.LOCK_EX)


def _free(file: IO[str]) -> bool:
    """Take the lock of `file` if no other process or thread holds it. Return True if it was taken."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sync(folder: Path) -> None:
    """Put every file below `folder`, and the names of all, on the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        else:
            _sync_names(path)
    _sync_names(folder)


def _sync_names(folder: Path) -> None:
    """Make the names in `folder` last through a power cut. Windows opens no folder, and needs no such call."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
