"""The items of a request on their way through a service: uploads in, vectors or problems out, and their Arrow form."""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedder.spec import Modality
from services.web.errors import BadRequest
from services.web.quoting import shortened
from services.web.schemas import Problem

ARROW_STREAM = "application/vnd.apache.arrow.stream"

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+[;,]|[^,\s]*;base64,)", re.IGNORECASE)
"""Start of a data URI (RFC 2397) that names a media type or base64. Other texts may begin with "data:" too."""

LONGEST_URL = 4096
"""Number of characters in which a URL is looked for."""

_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S+\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Upload:
    """The bytes of one file of a request, or the reason why there are none.

    Attributes:
        modality: modality that the client named; None to detect it from the first bytes.
    """

    name: str | None
    data: bytes
    error: Problem | None = None
    modality: Modality | None = None

    @cached_property
    def id(self) -> str:
        """The asset id. Computed at the first access, which is on a decoding thread and not on the event loop."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Vectored:
    """One item after embedding: a (d,) float32 vector, or the problem."""

    id: str | None
    name: str | None
    vector: NDArray[np.float32] | None = None
    error: Problem | None = None


@dataclass(frozen=True, slots=True)
class VectoredBatch:
    """The items of one request after embedding, in the order of the request, and the encoder."""

    encoder: str
    fingerprint: str
    items: list[Vectored]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a stored asset, or the problem. `width` and `height` are pixels."""

    id: str
    media_type: str = ""
    data: bytes = b""
    width: int = 0
    height: int = 0
    error: Problem | None = None


def is_data_uri(text: str) -> bool:
    """Return True if `text` is a file as a data URI and not a text to embed."""
    return _DATA_URI.match(text) is not None


def require_no_url(texts: Iterable[str]) -> None:
    """Raise BadRequest if a text is a URL and nothing else: its vector would say nothing about what is there."""
    for i, text in enumerate(texts):
        if _URL.fullmatch(text, 0, LONGEST_URL):
            raise BadRequest(
                f"text {i} is the URL {shortened(text.strip())!r}: a service fetches nothing, and the vector of a URL "
                "says nothing about what is there; send the file itself, as a data URI (data:image/jpeg;base64,…)"
            )


def decode_base64(text: str, name: str | None = None, modality: Modality | None = None) -> Upload:
    """Return the file in `text`, which is base64 or a data URI with base64.

    Broken base64 gives an upload with a problem and not an exception, so that it fails alone.
    """
    start = text.find(",") + 1 or len(text) if text[:5].lower() == "data:" else 0
    try:
        return Upload(name, _decoded(text, start), modality=modality)
    except ValueError as error:  # binascii.Error for wrong padding and letters, ValueError for those beyond ASCII
        url = "a service fetches no URL; send the file itself as base64" if _URL.match(text, 0, LONGEST_URL) else ""
        return Upload(name, b"", Problem(code="bad_base64", message=f"not base64: {url or error}"), modality)


_BASE64_PIECE = 2**20
"""Characters of base64 that are decoded at a time: the decoder holds the interpreter. Four of them are three bytes."""


def _decoded(text: str, start: int) -> bytes:
    """Return the bytes that the base64 from `start` on stands for. Raises ValueError for other texts."""
    pieces = range(start, len(text), _BASE64_PIECE)
    if any(text[at - 1] == "=" for at in pieces[1:]):
        raise ValueError("padding before the end")
    return b"".join(base64.b64decode(text[at : at + _BASE64_PIECE], validate=True) for at in pieces)


def to_arrow(batch: VectoredBatch, dim: int) -> bytes:
    """Return `batch` as an Arrow IPC stream.

    Columns: id, name, vector (`dim` float32 numbers, null where embedding failed), code, message. The encoder's name
    and fingerprint are metadata of the schema.
    """
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("name", pa.string()),
            ("vector", pa.list_(pa.float32(), dim)),
            ("code", pa.string()),
            ("message", pa.string()),
        ],
        metadata={"encoder": batch.encoder, "fingerprint": batch.fingerprint},
    )
    missing = np.array([item.vector is None for item in batch.items], dtype=bool)
    rows = [np.zeros(dim, np.float32) if item.vector is None else item.vector for item in batch.items]
    values = pa.array(np.concatenate([np.empty(0, np.float32), *rows]))
    columns = [
        pa.array([item.id for item in batch.items], pa.string()),
        pa.array([item.name for item in batch.items], pa.string()),
        pa.FixedSizeListArray.from_arrays(values, dim, mask=pa.array(missing)),
        pa.array([item.error and item.error.code for item in batch.items], pa.string()),
        pa.array([item.error and item.error.message for item in batch.items], pa.string()),
    ]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return sink.getvalue().to_pybytes()
