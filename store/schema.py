"""The tables' columns, the rows as Python sees them, and what identifies them. Plain Arrow: no LanceDB here."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from store.errors import BadSplit

FORMAT = 1
"""Number of the table layout. Raised when a column changes its meaning; older readers then refuse."""

SPLITS = ("train", "val", "test", "ood")
"""`ood` holds rows of none of the classes: never trained on, never given by hash."""

Dtype = Literal["float32", "float16"]
TIME = pa.timestamp("us", tz="UTC")

# LanceDB tells two processes that insert one new key at the same moment apart only by this mark on the key's
# columns; without it both rows stay. It has to be there at creation: a first writer may be overtaken.
_KEY = "lance-schema:unenforced-primary-key"


def _key(name: str, position: int) -> Any:
    return pa.field(name, pa.string(), nullable=False, metadata={_KEY: "true", f"{_KEY}:position": str(position)})


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
    ]
)
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
    """(id, `column`: fixed_size_list<dtype, size>), with `metadata` on the schema."""
    value = pa.float32() if dtype == "float32" else pa.float16()
    return pa.schema([_key("id", 1), _need(column, pa.list_(value, size))], metadata=metadata)


def now() -> datetime:
    return datetime.now(UTC)


def asset_id(data: bytes) -> str:
    """The identity of an asset: sha256 of its raw bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def split_of(id_: str, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2), seed: int = 0) -> str:
    """`train`, `val` or `test`, drawn from a hash of the id: the same on every machine and for every task.

    Raises BadSplit when the fractions are negative or do not sum to one.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise BadSplit(f"fractions of train, val and test must be at least 0 and sum to 1, not {fractions}")
    digest = hashlib.sha256(f"{seed}:{id_}".encode()).digest()
    draw = int.from_bytes(digest[:8]) / 2**64
    if draw < fractions[0]:
        return "train"
    return "val" if draw < fractions[0] + fractions[1] else "test"


def check_split(split: str) -> str:
    if split not in SPLITS:
        raise BadSplit(f"no split {split!r}; the splits are {', '.join(SPLITS)}")
    return split


@dataclass(frozen=True, slots=True)
class Asset:
    """One raw item. `content` None: the bytes stay at `uri` and are read there (a reference).

    `width` and `height` are pixels, `seconds` a duration; each None where it has no meaning.
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
    """How many of the assets given were new and how many were there already (or given twice)."""

    new: int
    known: int


@dataclass(frozen=True, slots=True)
class Label:
    """The labels of one asset in a task: one for exclusive classes, any number for multi-label tasks.

    `split` None: as stored before, else by hash of the id.
    """

    id: str
    labels: Sequence[str]
    split: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something that could not be processed. `key` is an asset id, or the uri where there is no id yet."""

    key: str
    stage: str
    reason: str
    message: str = field(default="")


def stage_of(fingerprint: str) -> str:
    """The quarantine's stage word of a backfill, vectors and tokens alike. That of an ingest is ``ingest``."""
    return f"embed:{fingerprint[:12]}"
