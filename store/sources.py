"""Sources of assets: folders of class folders, Parquet files that hold the bytes of files, and single files."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embedder.spec import MODALITIES, Modality
from store import files
from store.errors import BadSource, StoreError
from store.rows import encodable

SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "ood": "ood",
}
"""Split of each accepted folder name. The same names are accepted in the `split` column of a Parquet file."""

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Item:
    """One file to ingest.

    Attributes:
        data: the bytes; None if they are in the file `uri`.
        labels: [] if the item has none of the task's labels; None if its labels are unknown.
        modality: None to recognise the modality by the first bytes.
    """

    uri: str
    data: bytes | None = None
    labels: list[str] | None = None
    split: str | None = None
    modality: Modality | None = None

    def read(self, most: int = files.MAX_BYTES) -> bytes:
        """Return the raw bytes.

        Args:
            most: largest file that is read, in bytes.

        Raises OSError if the file cannot be read, and its subclass BadFile if it is no regular file, or too large.
        """
        if self.data is not None:
            return self.data
        with files.open_regular(self.uri) as file:
            return files.read(file, self.uri, most)


def read_sources(sources: Sequence[str | Path]) -> Iterator[Item]:
    """Return an iterator over the items of folders, Parquet files and other files, in the given order.

    Raises BadSource before anything is read if one of the sources does not exist.
    """
    paths = [Path(source).expanduser().absolute() for source in sources]
    for path in paths:
        if not path.exists():
            raise BadSource(
                f"{path} does not exist; give a folder of class folders, a Parquet file, or images, sounds or videos"
            )
    return (item for path in paths for item in _read(path))


def _read(path: Path) -> Iterator[Item]:
    if path.is_dir():
        return read_folder(path)
    return read_parquet(path) if path.suffix == ".parquet" else read_files([path])


def read_files(paths: Sequence[str | Path]) -> Iterator[Item]:
    """Yield single files as items without labels."""
    for path in paths:
        yield Item(uri=str(Path(path).expanduser().absolute()))


def read_folder(folder: str | Path) -> Iterator[Item]:
    """Yield the files in and below `folder`, sorted by path.

    The label of a file is the name of the top folder that contains it. If all top folders have the name of a split
    (train, val, valid, validation, test, ood), they give the split, and the folders inside them the label. Files
    directly in `folder` have no label. The rows of Parquet files are read as items. Names that start with a dot are
    skipped; everything else is an item, so that a FIFO, a device or a broken link is reported and not lost.

    A link to a file counts as that file, wherever it leads. A link to a folder is not entered: it is an item that
    cannot be read. Raises BadSource if `folder` is not a folder.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise BadSource(f"{root} is not a folder; give a folder of class folders")
    tops = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    by_split = bool(tops) and all(path.name.lower() in SPLIT_FOLDERS for path in tops)
    for path in sorted(root.rglob("*")):
        folders = path.relative_to(root).parts[:-1]
        entered = path.is_dir() and not path.is_symlink()
        if entered or any(part.startswith(".") for part in (*folders, path.name)):
            continue
        if path.suffix == ".parquet" and path.is_file():
            yield from read_parquet(path)
            continue
        split = SPLIT_FOLDERS[folders[0].lower()] if by_split and folders else None
        labels = [encodable(name) for name in folders[int(by_split) :][:1]]
        yield Item(uri=str(path), labels=labels or None, split=split)


def read_parquet(path: str | Path) -> Iterator[Item]:
    """Yield the rows of a Parquet file as items with the uri ``<file>#<id or row number>``.

    One column must have the name of a modality (`image`, `audio`, …) and hold bytes, or Hugging Face's struct of bytes
    and path. Optional columns: `label` (text, or a number that a Hugging Face ClassLabel names) or `labels` (a list:
    empty if the row has none of the labels, null if they are unknown), `split` and `id`.
    A row without bytes becomes an item of zero bytes, so that it is reported and not lost.

    Raises BadSource if the file is not Parquet, its columns are others, or a row has another type or an unknown split.
    """
    path = Path(path).expanduser().absolute()
    with open_parquet(path) as file:
        yield from _rows(file, path)


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


def _rows(file: pq.ParquetFile, path: Path) -> Iterator[Item]:
    names = file.schema_arrow.names
    found = [modality for modality in MODALITIES if modality in names]
    if len(found) != 1:
        raise BadSource(
            f"{path} needs exactly one column named {', '.join(MODALITIES[:-1])} or {MODALITIES[-1]}, which holds the "
            f"bytes of one file in each row; its columns are {', '.join(names)}"
        )
    class_names = _class_names(file.schema_arrow)
    columns = [name for name in ("id", found[0], "label", "labels", "split") if name in names]
    row = 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        batch.validate(full=True)
        for record in batch.to_pylist():
            yield _item(record, found[0], f"{path}#{record.get('id') or row}", class_names)
            row += 1


def _item(record: dict[str, Any], modality: Modality, uri: str, class_names: Sequence[str]) -> Item:
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
        labels=_labels(record, class_names),
        split=None if split is None else SPLIT_FOLDERS[str(split).lower()],
        modality=modality,
    )


def _labels(record: dict[str, Any], class_names: Sequence[str]) -> list[str] | None:
    values = record.get("labels")
    if values is None:
        if record.get("label") is None:
            return None
        values = [record["label"]]
    return [class_names[value] if class_names and isinstance(value, int) else str(value) for value in values]


def _class_names(schema: pa.Schema) -> list[str]:
    """Return the names of Hugging Face's ClassLabel `label`, or none."""
    try:
        record = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in record["info"]["features"]["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
