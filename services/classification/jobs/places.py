"""The folders and files that a job may read: those below the folders of the settings, and no others."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from services.jobs.links import is_within
from services.web.errors import FolderNotAllowed


def roots(folders: Sequence[str]) -> list[Path]:
    """Return the real paths of the folders of the settings that exist."""
    return [Path(each).expanduser().resolve() for each in folders if Path(each).expanduser().is_dir()]


def allowed(given: str, folders: Sequence[str], *, folder: bool) -> Path:
    """Return the real path of what a request names: a whole path, or one below one of the folders of the settings.

    Args:
        folder: True for a folder, False for a file.

    Raises FolderNotAllowed. The message is the same for what is not there and for what may not be read.
    """
    known = roots(folders)
    for path in _candidates(given, known):
        if is_within(path, known) and (path.is_dir() if folder else path.is_file()):
            return path
    raise FolderNotAllowed(given, folders)


def _candidates(given: str, known: Sequence[Path]) -> Iterator[Path]:
    for root in known:
        try:
            yield (root / given).resolve(strict=True)  # a whole path replaces the root
        except (OSError, ValueError, RuntimeError):  # it is not there, too long, or a circle of links
            continue
