"""Sources of assets: folders of class folders, Parquet and tar files that hold the bytes of files, and single files."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from embedder.spec import MODALITIES, Modality
from store import files
from store.errors import BadSource, StoreError
from store.items import SPLIT_FOLDERS, Item
from store.label_values import ReadLabels, group_of, read_labels
from store.walk import walk
from store.webdataset import read_tar

CONTAINERS = (".parquet", ".tar")
"""Endings of files that hold several items."""

_BATCH = 256


class Columns(NamedTuple):
    """Columns of Parquet files.

    Attributes:
        group: column with the group of each row; None to read none.
        label: column with the label or the list of labels of each row; None for `labels` or `label`.
    """

    group: str | None = None
    label: str | None = None


DEFAULT = Columns()


class Sources:
    """The items of folders, Parquet and tar files, and other files, in the given order. It may be iterated over again.

    Attributes:
        paths: the sources, absolute.
        junk: number of files that the last iteration skipped by their name, by that name.
        captions: True if the labels are captions: sentences about one file, not names of classes.
    """

    captions: ClassVar[bool] = False

    def __init__(self, paths: Sequence[Path], left_out: Collection[Path] = (), columns: Columns = DEFAULT) -> None:
        self.paths, self.junk, self._columns = list(paths), Counter[str](), columns
        self._left_out = set(map(str, left_out))

    def __iter__(self) -> Iterator[Item]:
        self.junk.clear()
        for path in self.paths:
            yield from (item for item in self._read(path) if item.uri not in self._left_out)

    def _read(self, path: Path) -> Iterator[Item]:
        if path.is_dir():
            return read_folder(path, self.junk, self._columns)
        return contents(Item(str(path)), self._columns)


def read_sources(
    sources: Sequence[str | Path],
    left_out: Collection[Path] = (),
    group: str | None = None,
    label: str | None = None,
) -> Sources:
    """Return the items of folders, Parquet files, tar files and other files, but for the files `left_out`.

    Args:
        group, label: columns of the Parquet files, see `Columns`.

    Raises BadSource before anything is read if one of the sources does not exist.
    """
    paths = [Path(source).expanduser().absolute() for source in sources]
    for path in paths:
        if not path.exists():
            raise BadSource(
                f"{path} does not exist; give a folder of class folders, a Parquet file, or images, sounds or videos"
            )
    return Sources(paths, left_out, Columns(group, label))


def contents(item: Item, columns: Columns = DEFAULT) -> Iterator[Item]:
    """Yield the items inside a Parquet or tar file, or else the item itself.

    Raises BadSource for anything but a Parquet file if `columns` names a column of labels.
    """
    path = Path(item.uri)
    if path.suffix == ".parquet" and path.is_file():
        return read_parquet(path, columns)
    if columns.label is not None:
        raise BadSource(f"{path} is no Parquet file, so it has no column {columns.label!r}; leave the column out")
    return read_tar(path) if path.suffix in CONTAINERS and path.is_file() else iter([item])


def read_files(paths: Sequence[str | Path]) -> Iterator[Item]:
    """Yield single files as items without labels."""
    for path in paths:
        yield Item(uri=str(Path(path).expanduser().absolute()))


def read_folder(folder: str | Path, junk: Counter[str] | None = None, columns: Columns = DEFAULT) -> Iterator[Item]:
    """Yield the files in and below `folder`, sorted by path (see `listed`), and what Parquet and tar files hold."""
    for item in listed(folder, junk):
        yield from contents(item, columns)


def listed(folder: str | Path, junk: Counter[str] | None = None) -> Iterator[Item]:
    """Yield the files in and below `folder`, sorted by path. No file is opened.

    The label of a file is the name of the top folder that contains it. If all top folders have the name of a split
    (train, val, valid, validation, test, ood), they give the split, and the folders inside them the label. Files
    directly in `folder` have no label. Names that start with a dot are skipped, and so is what operating systems and
    people leave beside photos (see `store.walk`), which is counted in `junk`. Everything else is an item, so that a
    FIFO, a device, a broken link or a folder that may not be read is reported and not lost.

    A link to a file counts as that file, wherever it leads. A link to a folder is not entered: it is an item that
    cannot be read. Raises BadSource if `folder` is not a folder.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise BadSource(f"{root} is not a folder; give a folder of class folders")
    tops = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    by_split = bool(tops) and all(name.lower() in SPLIT_FOLDERS for name in tops)
    for path, folders, fault in walk(str(root), Counter() if junk is None else junk):
        split = SPLIT_FOLDERS[folders[0].lower()] if by_split and folders else None
        labels, faults = read_labels(folders[int(by_split) :][:1])
        yield Item(path, labels=labels or None, split=split, fault=fault, label_faults=faults)


def read_parquet(path: str | Path, columns: Columns = DEFAULT) -> Iterator[Item]:
    """Yield the rows of a Parquet file as items with the uri ``<file>#<id or row number>``.

    One column must have the name of a modality (`image`, `audio`, …) and hold bytes, or Hugging Face's struct of bytes
    and path. Optional columns: `label` (text, or a number that a Hugging Face ClassLabel names) or `labels` (a list:
    empty if the row has none of the labels, null if they are unknown), or the one that `columns` names; `split`, `id`.
    A row without bytes becomes an item of zero bytes, so that it is reported and not lost. `read_labels` has the rules
    for labels.

    Raises BadSource if the file is not Parquet, its columns are others, or a row has another type or an unknown split.
    """
    path = Path(path).expanduser().absolute()
    with open_parquet(path) as file:
        yield from _rows(file, path, columns)


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file. Raises BadSource for any other file, and for one that is found damaged while it is read."""
    try:
        raw = files.open_regular(path)
    except OSError as error:
        raise BadSource(f"{path} cannot be read: {error}") from error
    with raw:
        try:
            file = pq.ParquetFile(raw)
        except (pa.ArrowException, OSError) as error:
            raise BadSource(f"{path} is not a Parquet file: {error}") from error
        try:
            yield file
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, StoreError):
                raise
            raise BadSource(f"{path} is damaged: {error}") from error


def _rows(file: pq.ParquetFile, path: Path, asked: Columns) -> Iterator[Item]:
    names = file.schema_arrow.names
    found = [modality for modality in MODALITIES if modality in names]
    if len(found) != 1:
        raise BadSource(
            f"{path} needs exactly one column named {', '.join(MODALITIES[:-1])} or {MODALITIES[-1]}, which holds the "
            f"bytes of one file in each row; its columns are {', '.join(names)}"
        )
    for column, what in ((asked.group, "groups"), (asked.label, "labels")):
        if column is not None and column not in names:
            raise BadSource(f"{path} has no column {column!r} for the {what}; its columns are {', '.join(names)}")
    names_of_classes = class_names(file.schema_arrow) if asked.label is None else []
    label = ("labels", "label") if asked.label is None else (asked.label,)
    columns = list(dict.fromkeys(name for name in ("id", found[0], *label, "split", asked.group) if name in names))
    row = 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        batch.validate(full=True)
        for record in batch.to_pylist():
            read = _labels(record, label, names_of_classes)
            item = _item(record, read, found[0], f"{path}#{record.get('id') or row}")
            yield replace(item, group=group_of(record[asked.group])) if asked.group else item
            row += 1


def _item(record: dict[str, Any], read: ReadLabels, modality: Modality, uri: str) -> Item:
    content = record[modality]
    data = content.get("bytes") if isinstance(content, dict) else content
    if data is not None and not isinstance(data, bytes):
        raise BadSource(f"{uri}: column {modality!r} holds {type(data).__name__}, not the bytes of a file")
    split = record.get("split")
    if split is not None and str(split).lower() not in SPLIT_FOLDERS:
        raise BadSource(f"{uri}: there is no split {split!r}; the splits are {', '.join(SPLIT_FOLDERS)}")
    return Item(
        uri=uri,
        data=data or b"",
        labels=read.labels,
        split=None if split is None else SPLIT_FOLDERS[str(split).lower()],
        modality=modality,
        label_faults=read.faults,
    )


def _labels(record: dict[str, Any], columns: Sequence[str], class_names: Sequence[str]) -> ReadLabels:
    """Read the first column that has a value: one label, or a list of labels."""
    found = next((value for name in columns if (value := record.get(name)) is not None), None)
    return read_labels(found if isinstance(found, list) else [found], class_names)


def class_names(schema: pa.Schema) -> list[str]:
    """Return the names of Hugging Face's ClassLabel `label`, or none."""
    try:
        record = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in record["info"]["features"]["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
