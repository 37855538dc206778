"""One row of a file of labels, and how the values of its cells are read."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

from services.jobs.annotations.errors import BadAnnotations, UnknownSplit
from store.items import SPLIT_FOLDERS
from store.label_values import ReadLabels, read_labels, text_of
from store.rows import encodable

MAX_LABEL = 256
"""Longest label, in characters. A longer one is a text from another column, and would be cut in every table."""

MAX_LABELS = 1_000
"""Largest number of labels of one row."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a file of labels says about one file.

    Attributes:
        place: where it is said, e.g. "line 17".
        key: path, name or asset id of the file, as it is written; "" if the row names none.
        labels: [] if none of the labels applies; None if the labels are unknown.
        split: None if the row has none.
        label_faults: what is wrong with its labels, see `store.label_values.ReadLabels`.
        group: what the file has in common with others, e.g. its speaker; None if the row names none.
    """

    place: str
    key: str
    labels: list[str] | None
    split: str | None = None
    label_faults: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


def key_of(value: object) -> str:
    """Return the text of a cell that names a file; "" for an empty one."""
    text = text_of(value)
    if isinstance(value, Mapping):  # Hugging Face's struct of bytes and path
        text = text_of(value.get("path"))
    return encodable(text)


def normal(key: str) -> str:
    """Return a path in one spelling: "/" as separator, no "./", composed characters (macOS decomposes them)."""
    if key.startswith("file://"):
        key = unquote(key.removeprefix("file://"))
    key = key if key.isascii() else unicodedata.normalize("NFC", key)
    if "\\" not in key and "./" not in key and "//" not in key:
        return key
    key = str(PurePosixPath(key.replace("\\", "/")))
    return key.removeprefix("//") if key.startswith("//") else key


def labels_of(value: object, place: str, names: Sequence[str] = ()) -> ReadLabels:
    """Return the labels in a cell: one, several as ``a|b|c``, or a list. In an empty cell they are unknown.

    Args:
        names: the names that whole numbers stand for, as in a ClassLabel of Hugging Face; () if numbers are labels.

    Raises BadAnnotations for a label longer than MAX_LABEL, and for more than MAX_LABELS.
    """
    read = read_labels([None] if (values := _listed(value)) is None else values, names)
    found = read.labels or []
    if len(found) > MAX_LABELS:
        raise BadAnnotations(f"{place}: {len(found):,} labels; at most {MAX_LABELS:,} are possible")
    for label in found:
        if len(label) > MAX_LABEL:
            raise BadAnnotations(
                f"{place}: a label of {len(label):,} characters ({label[:40]}…); at most {MAX_LABEL} are possible. "
                "Is this the column of the labels?"
            )
    return read


def split_of(value: object, place: str) -> str | None:
    """Return the split in a cell, or None for an empty one. Raises UnknownSplit."""
    text = text_of(value)
    if text and text.lower() not in SPLIT_FOLDERS:
        raise UnknownSplit(f"{place}: there is no split {text[:40]!r}; the splits are {', '.join(SPLIT_FOLDERS)}")
    return SPLIT_FOLDERS[text.lower()] if text else None


def _listed(value: object) -> list[object] | None:
    if isinstance(value, Mapping):  # Label Studio: {"choices": [...]}
        value = value.get("choices")
    if isinstance(value, list | tuple):
        return list(value)
    text = text_of(value)
    if text.startswith("[") and text.endswith("]"):
        try:
            return list(json.loads(text))
        except ValueError:
            pass
    if not text:
        return None
    return list(text.split("|")) if isinstance(value, str) else [value]
