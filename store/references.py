"""References: assets whose bytes stay in a file outside the store, at the asset's uri.

A uri that the user gave may be any path. A uri from an import comes from a stranger: it is stored as
``<root>/./<path>``, the notation of rsync, and whatever is there when it is read must lie below the root. Such a uri is
a valid path for every other program.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from store import files
from store.errors import BadSource, ContentChanged
from store.rows import local_path
from store.schema import asset_id

_MARK = "/./"
"""Separates the root of an imported uri from the path below it."""


def rooted(uri: str, roots: Iterable[Path]) -> str:
    """Return the uri of an imported asset as ``<root>/./<path>``, with all links on the way resolved.

    Args:
        uri: a path or a URL ``file:///…``. A relative path starts at the first root.
        roots: folders in which the file may lie.

    Raises BadSource for a remote URI, a path outside all roots, and anything that exists and is no regular file.
    """
    allowed = [Path(os.path.realpath(root)) for root in roots]
    try:
        path = local_path(uri) if "://" in uri else Path(uri)
    except ValueError:  # no URL, e.g. http://[
        path = None
    if path is None or "\0" in uri:
        raise BadSource(f"the uri {uri[:200]!r} is not a path: an imported asset may only refer to a local file")
    real = Path(os.path.realpath(allowed[0] / path))
    root = next((each for each in allowed if real != each and real.is_relative_to(each)), None)
    if root is None:
        raise BadSource(f"the uri {uri[:200]!r} leads out of {' and '.join(map(str, allowed))}")
    try:
        wrong = real.exists() and not real.is_file()
    except OSError as error:
        raise BadSource(f"the uri {uri[:200]!r} cannot be used: {error.strerror}") from error
    if wrong:
        raise BadSource(f"the uri {uri[:200]!r} is not a regular file")
    return f"{root.as_posix()}{_MARK}{real.relative_to(root).as_posix()}"


def read(id_: str, uri: str, most: int = files.MAX_BYTES) -> bytes | Exception:
    """Return the bytes at `uri`, or ContentChanged if they cannot be read or are not those of asset `id_`.

    Args:
        most: largest number of bytes to read.
    """
    try:
        data = _read(uri, most)
    except (OSError, ValueError, pa.ArrowException) as error:
        return ContentChanged(f"asset {id_} cannot be read from {uri}: {error}; restore the file, or ingest it inline")
    return verified(id_, data, uri)


def verified(id_: str, data: bytes, place: str) -> bytes | Exception:
    """Return `data` if they are the bytes of asset `id_`, otherwise ContentChanged."""
    if (found := asset_id(data)) != id_:
        return ContentChanged(
            f"{place} has changed: it is asset {found} now, not {id_}; restore the file, or ingest it again"
        )
    return data


def _read(uri: str, most: int) -> bytes:
    root, mark, inner = uri.partition(_MARK)
    path = local_path(uri)
    if path is None:
        return _read_remote(uri, most)
    with files.open_beneath(root, inner) if mark and "://" not in uri else files.open_regular(path) as file:
        return files.read(file, uri, most)


def _read_remote(uri: str, most: int) -> bytes:
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(uri)
    with system.open_input_file(path) as file:
        files.require_size(file.size(), uri, most)
        return bytes(file.read(most))
