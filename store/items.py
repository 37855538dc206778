"""Item: one file to ingest, from wherever it comes; and the names of splits that its source may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedder.spec import Modality
from store import files

SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "ood": "ood",
}
"""Split of each accepted folder name. The same names are accepted in the `split` column of a Parquet file."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file to ingest.

    Attributes:
        data: the bytes; None if they are in the file `uri`.
        labels: [] if the item has none of the task's labels; None if its labels are unknown.
        label_faults: what is wrong with its labels, see `store.label_values.ReadLabels`.
        group: what it has in common with other items, e.g. its speaker; None if that is not known.
        modality: None to recognise the modality by the first bytes.
        fault: the error that `read` raises, for an item that was found to be unreadable before.
    """

    uri: str
    data: bytes | None = None
    labels: list[str] | None = None
    split: str | None = None
    modality: Modality | None = None
    fault: OSError | None = None
    label_faults: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None

    def read(self, most: int = files.MAX_BYTES) -> bytes:
        """Return the raw bytes.

        Args:
            most: largest file that is read, in bytes.

        Raises OSError if the file cannot be read, and its subclass BadFile if it is no regular file, or too large.
        """
        if self.fault is not None:
            raise self.fault
        if self.data is not None:
            files.require_size(len(self.data), self.uri, most)
            return self.data
        with files.open_regular(self.uri) as file:
            return files.read(file, self.uri, most)
