"""Links that lead out of the folders from which a job may read."""

import os
from collections.abc import Sequence
from pathlib import Path


def link_out(path: Path, within: Sequence[Path]) -> Path | None:
    """Return a link at or below `path` that leads out of all folders of `within`; None if there is none.

    Args:
        within: real paths.
    """
    below = (Path(folder, name) for folder, names, files in os.walk(path) for name in (*names, *files))
    for each in (path, *below):
        if each.is_symlink() and not is_within(each.resolve(), within):
            return each
    return None


def is_within(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
