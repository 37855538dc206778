"""Which asset a row of an import stands for: a stored file, or a name without a file."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from store import Store, asset_id
from store.errors import BadSource
from store.rows import strings
from store.schema import NO_FILE
from store.tables.assets import Assets

ID = re.compile("[0-9a-f]{64}")


class Names:
    """Ids of assets by what a file of vectors calls them.

    An id (64 hexadecimal digits) is taken as it is. A path or a name that exactly one stored file has means that file.
    Any other text stands for a file that is not stored: its id is the sha256 of the text.

    Args:
        folder: folder of the imported file: relative paths may start there.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self._assets: Assets = store.assets
        self._folder = folder.absolute()
        self._by_uri: dict[str, str] | None = None
        self._by_name: dict[str, list[str]] = {}

    def ids(self, texts: Sequence[str]) -> Iterator[tuple[str, bool]]:
        """Yield the id of each text, and True if it is the path or the name of a stored file.

        Raises BadSource for a name that several stored files have.
        """
        for text in texts:
            if ID.fullmatch(text):
                yield text, False
                continue
            uri = self._uri(text) if self._uris else None
            yield (_id_of(text), False) if uri is None else (self._uris[uri], True)

    def _uri(self, text: str) -> str | None:
        """Return the uri of the stored file that `text` means; None if there is none."""
        uris = self._uris
        for path in (text, os.path.abspath(text), os.path.normpath(self._folder / text)):
            if path in uris:
                return path
        if os.path.isabs(text):
            return None
        short = os.path.normpath(text)
        found = [uri for uri in self._by_name.get(os.path.basename(short), ()) if _ends_with(uri, short)]
        if len(found) > 1:
            raise BadSource(
                f"{text!r:.200} is the name of {len(found)} stored files, e.g. {found[0]} and {found[1]}; give their "
                "paths or their ids"
            )
        return next(iter(found), None)

    @property
    def _uris(self) -> dict[str, str]:
        """The id of every stored file by its uri, read when the first name comes."""
        if self._by_uri is None:
            self._by_uri = {}
            for batch in self._assets.table.scan(["id", "uri"], where=f"modality != '{NO_FILE}'"):
                for id_, uri in zip(strings(batch["id"]), strings(batch["uri"]), strict=True):
                    self._by_uri[uri] = id_
                    self._by_name.setdefault(os.path.basename(uri), []).append(uri)
        return self._by_uri


def _id_of(text: str) -> str:
    """Return the sha256 of `encodable(text)` in UTF-8."""
    return asset_id(text.encode(errors="backslashreplace"))


def _ends_with(uri: str, short: str) -> bool:
    return uri == short or uri.endswith("/" + short)
