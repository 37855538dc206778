"""Walks through a folder in the order of its paths. Memory holds the names of one folder for each level."""

import os
from collections import Counter
from collections.abc import Iterator

_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "__macosx")
_PEOPLE = ("readme", "readme.md", "readme.txt", "readme.rst", "readme.html", "readme.pdf")
JUNK = frozenset(_SYSTEMS + _PEOPLE)
"""Names, in lower case, of files and folders that systems and people put beside photos: none of them is one."""

FORK = "._"
"""Start of the names under which macOS keeps the attributes of a file on other disks: junk too."""

Found = tuple[str, tuple[str, ...], OSError | None]
"""A path, the names of the folders between the root and it, and the error of a folder that cannot be read."""


def walk(root: str, junk: Counter[str]) -> Iterator[Found]:
    """Yield all that is in and below the folder `root`, but for the folders that are entered.

    Names that start with a dot are skipped. Junk is skipped and counted in `junk`. A link to a folder is not
    entered. Raises OSError if `root` itself cannot be read.
    """
    return _inside(_entries(root), (), junk)


def _inside(entries: list[os.DirEntry[str]], folders: tuple[str, ...], junk: Counter[str]) -> Iterator[Found]:
    for entry in entries:
        if entry.name.startswith(FORK) or entry.name.lower() in JUNK:
            junk[f"{FORK}*" if entry.name.startswith(FORK) else entry.name] += 1
        elif entry.name.startswith("."):
            continue
        elif entry.is_dir(follow_symlinks=False):
            try:
                inner = _entries(entry.path)
            except OSError as error:
                yield entry.path, folders, error
            else:
                yield from _inside(inner, (*folders, entry.name), junk)
        else:
            yield entry.path, folders, None


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)
