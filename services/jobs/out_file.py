"""The file that a job makes: what may lie at its place already."""

from pathlib import Path

from services.jobs.errors import OutputExists


def require_free(path: Path, *, overwrite: bool) -> None:
    """Raise OutputExists for a folder, and for a file unless `overwrite`."""
    if path.is_dir():
        raise OutputExists(f"{path} is a folder; name a file in it")
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists")
