"""Real disks for tests of faults: a small one and a read-only one.

Mounting needs root; elsewhere the test is skipped.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[None]:
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str = "20m") -> Iterator[Path]:
    """Yield `folder` as a disk of its own."""
    folder.mkdir()
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """Yield `folder`, in which nothing can be written meanwhile."""
    with _mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield folder


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Fill the disk that holds the folder `disk`, and free it again."""
    fill = disk / "fill"
    try:
        with fill.open("wb", buffering=0) as file:
            while file.write(bytes(512)):
                pass
    except OSError:
        pass
    try:
        yield
    finally:
        fill.unlink()
