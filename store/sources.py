"""Where assets come from: a folder of class folders, Parquet files with the bytes of files, plain files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embedder.spec import MODALITIES, Modality
from store.errors import BadSource

SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "ood": "ood",
}
"""Names of folders, and of splits in a Parquet file, and the split each means."""

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Item:
    """Something to ingest.

    Attributes:
        data: None: the bytes are in the file `uri`.
        modality: what it is to be read as; None for what its first bytes say.
        labels: [] says that none of the task's labels is true of it; None, that nothing is known.
    """

    uri: str
    data: bytes | None = None
    labels: list[str] | None = None
    split: str | None = None
    modality: Modality | None = None

    def read(self) -> bytes:
        """The raw bytes. Raises OSError when the file cannot be read."""
        return self.data if self.data is not None else Path(self.uri).read_bytes()


def read_sources(sources: Sequence[str | Path]) -> Iterator[Item]:
    """Folders, Parquet files and other files, in the order given. Raises BadSource, for all of them, before reading."""
    paths = [Path(source).expanduser().absolute() for source in sources]
    for path in paths:
        if not path.exists():
            raise BadSource(f"{path} does not exist; give a folder of class folders, a Parquet file or images")
    return (item for path in paths for item in _read(path))


def _read(path: Path) -> Iterator[Item]:
    if path.is_dir():
        return read_folder(path)
    return read_parquet(path) if path.suffix == ".parquet" else read_files([path])


def read_files(paths: Sequence[str | Path]) -> Iterator[Item]:
    """Plain files, without labels."""
    for path in paths:
        yield Item(uri=str(Path(path).expanduser().absolute()))


def read_folder(folder: str | Path) -> Iterator[Item]:
    """Files below `folder`, sorted; the label is the name of the first folder on the way to a file.

    When all folders at the top are named like splits (train, val, valid, validation, test, ood), they give the
    split and the folders inside them the label. Files at the top have no label; Parquet files there are read as
    such. Names that begin with a dot are left out; every other file is an item, whatever it holds.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise BadSource(f"{root} is not a folder")
    tops = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    by_split = bool(tops) and all(path.name.lower() in SPLIT_FOLDERS for path in tops)
    for path in sorted(root.rglob("*")):
        folders = path.relative_to(root).parts[:-1]
        lost = path.is_symlink() and not path.exists()  # a link to nothing: an item that can't be read
        if not (path.is_file() or lost) or any(part.startswith(".") for part in (*folders, path.name)):
            continue
        if path.suffix == ".parquet":
            yield from read_parquet(path)
            continue
        split = SPLIT_FOLDERS[folders[0].lower()] if by_split and folders else None
        yield Item(uri=str(path), labels=list(folders[int(by_split) :][:1]) or None, split=split)


def read_parquet(path: str | Path) -> Iterator[Item]:
    """Rows of a Parquet file, streamed.

    Columns: one named like a modality, `image`, `audio`, … (bytes, or Hugging Face's struct of bytes and path);
    optional `label` (text or number, with the names of a Hugging Face ClassLabel) or `labels` (list, empty for none of
    them, null where nothing is known), `split`, `id`. The uri is ``<file>#<id or row>``.
    A row without bytes is an item of zero bytes, so that it is reported and not lost. Raises BadSource.
    """
    path = Path(path).expanduser().absolute()
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadSource(f"{path} is no Parquet file: {error}") from error
    names = file.schema_arrow.names
    found = [modality for modality in MODALITIES if modality in names]
    if len(found) != 1:
        raise BadSource(
            f"{path} needs one column of {', '.join(MODALITIES)}, with the bytes of one file a row; its columns: "
            f"{', '.join(names)}"
        )
    class_names = _class_names(file.schema_arrow)
    columns = [name for name in ("id", found[0], "label", "labels", "split") if name in names]
    row = 0
    for batch in file.iter_batches(_BATCH, columns=columns):
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
        raise BadSource(f"{uri}: no split {split!r}; the splits are {', '.join(SPLIT_FOLDERS)}")
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
    """The names of Hugging Face's ClassLabel `label`, or none."""
    try:
        record = json.loads((schema.metadata or {})[b"huggingface"])
        return [str(name) for name in record["info"]["features"]["label"]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
