"""The tables' columns in Arrow, and their rows, ids and splits in Python. This module does not use LanceDB."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from store.errors import BadSplit

FORMAT = 1
"""Number of the table layout. It goes up when a column changes its meaning, so that older readers refuse the table."""

SPLITS = ("train", "val", "test", "ood")
"""Names of the splits. `ood` (out-of-distribution) holds rows of none of the classes.

Heads are never trained on `ood` rows, and `split_of` never draws it.
"""

NO_FILE = "vector"
"""In the column `modality`: the asset stands for an imported vector, and its file is not stored. Nothing embeds it."""

Dtype = Literal["float32", "float16"]
TIME = pa.timestamp("us", tz="UTC")

# Two processes may insert the same new key at the same moment. LanceDB keeps one of the rows only if the key's columns
# carry this mark; otherwise it keeps both. The mark must be there at creation, because several processes may write at
# once from the start.
_KEY = "lance-schema:unenforced-primary-key"


def _key(name: str, position: int, kind: pa.DataType | None = None) -> Any:
    marks: dict[bytes | str, bytes | str] = {_KEY: "true", f"{_KEY}:position": str(position)}
    return pa.field(name, kind or pa.string(), nullable=False, metadata=marks)


def _need(name: str, kind: pa.DataType) -> Any:
    return pa.field(name, kind, nullable=False)


ASSETS = pa.schema(
    [
        _key("id", 1),
        _need("uri", pa.string()),
        _need("modality", pa.string()),
        _need("media_type", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("seconds", pa.float64()),
        pa.field("content", pa.large_binary()),
        _need("added_at", TIME),
    ]
)
LABELS = pa.schema(
    [
        _key("id", 1),
        _key("task", 2),
        _need("labels", pa.list_(_need("item", pa.string()))),
        _need("split", pa.string()),
        _need("source", pa.string()),
        _need("at", TIME),
        pa.field("group", pa.string()),
    ]
)
LABEL_HISTORY = pa.schema(
    [
        _key("id", 1),
        _key("task", 2),
        _key("until", 3, TIME),
        *(LABELS.field(name) for name in ("labels", "split", "source", "at")),
        _need("by", pa.string()),
        _need("undone", pa.bool_()),
        LABELS.field("group"),
    ]
)
LATER = ("group",)
"""Columns of LABELS and LABEL_HISTORY that a stored table lacks until a row has a value there. They read as null.

So a store that was written before these columns existed works as it is, and older versions can open a store without
such values.
"""
FRACTIONS = (0.7, 0.1, 0.2)
"""Default shares of train, val and test."""
QUARANTINE = pa.schema(
    [
        _key("key", 1),
        _key("stage", 2),
        _need("reason", pa.string()),
        _need("message", pa.string()),
        _need("tries", pa.int32()),
        _need("at", TIME),
    ]
)


def features_schema(column: str, size: int, dtype: Dtype, metadata: dict[bytes | str, bytes | str]) -> pa.Schema:
    """Return the schema (id, `column`: fixed_size_list<dtype, size>) with `metadata`."""
    value = pa.float32() if dtype == "float32" else pa.float16()
    return pa.schema([_key("id", 1), _need(column, pa.list_(value, size))], metadata=metadata)


def now() -> datetime:
    return datetime.now(UTC)


def asset_id(data: bytes) -> str:
    """Return an asset's id: the sha256 of its raw bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def split_of(id_: str, fractions: tuple[float, float, float] = FRACTIONS, seed: int = 0) -> str:
    """Return `train`, `val` or `test`, drawn from a hash of the id: the same on every machine and for every task.

    Args:
        fractions: shares of train, val and test.

    Raises BadSplit if a fraction is negative or they do not sum to 1.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise BadSplit(f"fractions of train, val and test must be at least 0 and sum to 1, not {fractions}")
    digest = hashlib.sha256(f"{seed}:{id_}".encode()).digest()
    draw = int.from_bytes(digest[:8]) / 2**64
    if draw < fractions[0]:
        return "train"
    return "val" if draw < fractions[0] + fractions[1] else "test"


def check_split(split: str) -> str:
    """Return `split` if it is one of SPLITS. Raises BadSplit."""
    if split not in SPLITS:
        raise BadSplit(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
    return split


@dataclass(frozen=True, slots=True)
class Asset:
    """One stored file: an image, sound, video or file of another modality.

    Attributes:
        content: the bytes; None if they stay at `uri` and are read there (an asset stored by reference).
        width, height: in pixels; None where the modality has none.
        seconds: duration; None where the modality has none.
    """

    id: str
    uri: str
    modality: str
    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """Number of given assets that were new, and number already known: stored before, or given twice."""

    new: int
    known: int


@dataclass(frozen=True, slots=True)
class Label:
    """The labels of one asset in a task: exactly one class, or any number of labels.

    Attributes:
        split: None for the stored split; if none is stored, for the split of the group, or by hash of the id without a
            group.
        source: free text that says where the labels come from.
        group: what the asset has in common with others, so that it is no independent example beside them: a speaker,
            patient, site, camera. None for the stored group, "" for no group.
    """

    id: str
    labels: Sequence[str]
    split: str | None = None
    source: str = ""
    group: str | None = None


@dataclass(frozen=True, slots=True)
class LabelRow:
    """The labels that an asset had in a task from one change to the next.

    Attributes:
        source: free text that says where the labels come from.
        at: time of the change that set them.
        until: time of the change that replaced or removed them; None for the current labels.
        by: source of that change.
        undone: True if that change took an earlier one back.
        group: the group of the asset (see `Label`); None for no group.
    """

    id: str
    task: str
    labels: Sequence[str]
    split: str
    source: str
    at: datetime
    until: datetime | None = None
    by: str = ""
    undone: bool = False
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An item that could not be processed.

    Attributes:
        key: the asset id, or the uri of a file that has no id yet.
        stage: the stage of the job that failed, e.g. `ingest`.
        reason: a short fixed word; `message` is the sentence for the user.
    """

    key: str
    stage: str
    reason: str
    message: str = field(default="")


def stage_of(fingerprint: str) -> str:
    """Return the quarantine stage of a backfill with this encoder. Vectors and tokens share it."""
    return f"embed:{fingerprint[:12]}"
