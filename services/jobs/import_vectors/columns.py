"""Which columns of a file hold vectors, ids, labels and splits: as the user names them, or guessed from their names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from store.errors import BadSource

VECTORS = ("vector", "vectors", "embedding", "embeddings", "features", "feature", "image_embedding", "clip_embedding")
IDS = (
    *("id", "asset_id", "sha256", "image_path", "path", "filepath", "file_path", "filename", "filenames", "file_name"),
    *("name", "uri", "url", "key"),
)
LABELS = ("label", "labels", "class", "ground_truth")
SPLITS = ("split",)


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns. None: guess the column by its name, or do without.

    Attributes:
        vectors: one column of lists of numbers, or the start of the names of many columns of numbers: `embedding_` for
            `embedding_0`, `embedding_1`, …
    """

    vectors: str | None = None
    ids: str | None = None
    labels: str | None = None
    splits: str | None = None

    def of_rows(self, names: Sequence[str], file: object) -> "Columns":
        """Return the columns of ids, labels and splits among `names`. Raises BadSource for a name that is not there."""
        return replace(
            self,
            ids=_chosen(self.ids, IDS, names, file, "ids"),
            labels=_chosen(self.labels, LABELS, names, file, "labels"),
            splits=_chosen(self.splits, SPLITS, names, file, "splits"),
        )

    @property
    def texts(self) -> list[str]:
        """The columns of ids, labels and splits that there are."""
        return list(dict.fromkeys(name for name in (self.ids, self.labels, self.splits) if name is not None))


def _chosen(asked: str | None, usual: Iterable[str], names: Sequence[str], file: object, what: str) -> str | None:
    if asked is None:
        lower = {name.lower(): name for name in reversed(names)}
        return next((lower[name] for name in usual if name in lower), None)
    if asked not in names:
        raise BadSource(f"{file} has no column {asked!r} for the {what}; its columns are {listed(names)}")
    return asked


def vector_columns(columns: Columns, types: Mapping[str, pa.DataType], file: object) -> list[str]:
    """Return the column of vectors, or all columns that together hold one number of each vector.

    Raises BadSource if there is no such column, or if several may be meant.
    """
    if columns.vectors is not None:
        found = [columns.vectors] if columns.vectors in types else numbered(types, columns.vectors)
        if not found:
            raise BadSource(f"{file} has no column {columns.vectors!r} of vectors; its columns are {listed(types)}")
        return found
    lists = [name for name, kind in types.items() if is_vector(kind)]
    usual = [name for name in lists if name.lower() in VECTORS]
    if len(usual or lists) > 1:
        raise BadSource(f"{file} has several columns of vectors: {listed(usual or lists)}; name the one to import")
    if lists:
        return usual or lists
    groups = {name.rstrip("0123456789") for name in types if name[-1:].isdigit()}
    wide = [found for start in sorted(groups) if len(found := numbered(types, start)) > 1]
    if len(wide) != 1:
        raise BadSource(
            f"{file} has no column of vectors (lists of floats), and {'no' if not wide else 'several'} groups of "
            f"numbered columns such as embedding_0, embedding_1; its columns are {listed(types)}"
        )
    return wide[0]


def numbered(names: Iterable[str], start: str) -> list[str]:
    """Return the names ``<start><number>`` by number; empty unless the numbers are consecutive."""
    ends = {
        int(name[len(start) :]): name for name in names if name.startswith(start) and _is_number(name[len(start) :])
    }
    numbers = sorted(ends)
    whole = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return [ends[number] for number in numbers] if whole else []


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def is_vector(kind: Any) -> bool:
    """True for lists of floats."""
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


def listed(names: Iterable[str], most: int = 20) -> str:
    """Return the first names as text."""
    some = [name[:60] for name in names]
    return ", ".join(some[:most]) + (f", … ({len(some)} in all)" if len(some) > most else "")
