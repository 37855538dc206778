"""Packed bodies of POST /v1/embed: files in, vectors out, at the cost of a copy. The clients of this project send them.

A packed body has three parts: the length of its header in bytes (4 bytes, unsigned, little-endian), the header (JSON),
and the contents, one after the other. In a request these are files, in an answer float32 vectors, little-endian.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Annotated, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from embedder.spec import Modality
from services.web.errors import BadRequest
from services.web.quoting import file_name
from services.web.schemas import Body, Name, Problem
from services.web.wire import Upload, Vectored, VectoredBatch

LONGEST_HEADER = 2**20
"""Largest number of bytes of a header. It is parsed on the event loop, which takes milliseconds at this length."""

_LENGTH = struct.Struct("<I")
_FLOAT = np.dtype("<f4")

M = TypeVar("M", bound=BaseModel)


class PackedFile(Body):
    """One file of a request: its name, the length of its content in bytes, and its modality if the client names it."""

    name: str | None = None
    size: Annotated[int, Field(ge=0)]
    modality: Modality | None = None


class PackedFiles(Body):
    """The header of a request: the files, and the parameters of POST /v1/embed."""

    encoder: Name
    tokens: bool = False
    files: Annotated[list[PackedFile], Field(min_length=1)]


class _Item(BaseModel):
    id: str | None
    name: str | None
    error: Problem | None = None


class _Items(BaseModel):
    encoder: str
    fingerprint: str
    width: int
    items: list[_Item]


def pack_files(
    files: Sequence[tuple[str, bytes]], *, encoder: str, tokens: bool = False, modality: Modality | None = None
) -> bytes:
    """Return the body of a request for the vectors, or all tokens, of files, each with its name and its content."""
    entries = [PackedFile(name=_encodable(name), size=len(data), modality=modality) for name, data in files]
    header = PackedFiles.model_construct(encoder=encoder, tokens=tokens, files=entries)
    return _packed(header, [data for _, data in files])


def unpack_files(body: bytes) -> tuple[PackedFiles, list[Upload]]:
    """Return the header and the files of a request. Raises BadRequest for a body that is not whole, or none of these.

    Names are shortened as those of a form are.
    """
    try:
        header, start = _header(PackedFiles, body)
        bounds = _bounds(start, [file.size for file in header.files], len(body))
    except ValueError as error:
        raise BadRequest(f"the packed body cannot be read: {_why(error)}") from error
    return header, [
        Upload(file_name(file.name), body[begin:end], modality=file.modality)
        for file, (begin, end) in zip(header.files, bounds, strict=True)
    ]


def pack_batch(batch: VectoredBatch, width: int) -> bytes:
    """Return the body of an answer: each item with its vector of `width` numbers, or its problem."""
    items = [_Item.model_construct(id=each.id, name=each.name, error=each.error) for each in batch.items]
    header = _Items.model_construct(encoder=batch.encoder, fingerprint=batch.fingerprint, width=width, items=items)
    vectors = [each.vector for each in batch.items if each.vector is not None]
    return _packed(header, [vector.astype(_FLOAT, copy=False).tobytes() for vector in vectors])


def unpack_batch(body: bytes) -> VectoredBatch:
    """Return the batch that `pack_batch` wrote. Raises ValueError for other bytes."""
    header, start = _header(_Items, body)
    failed = [each.error is not None for each in header.items]
    size = header.width * _FLOAT.itemsize
    bounds = _bounds(start, [0 if missing else size for missing in failed], len(body))
    items = [
        Vectored(each.id, each.name, None if each.error else np.frombuffer(body[begin:end], _FLOAT), each.error)
        for each, (begin, end) in zip(header.items, bounds, strict=True)
    ]
    return VectoredBatch(header.encoder, header.fingerprint, items)


def _packed(header: BaseModel, contents: Sequence[bytes]) -> bytes:
    head = header.model_dump_json(exclude_defaults=True).encode()
    return b"".join((_LENGTH.pack(len(head)), head, *contents))


def _header(kind: type[M], body: bytes) -> tuple[M, int]:
    """Return the header, and where the contents begin. Raises ValueError."""
    if len(body) < _LENGTH.size:
        raise ValueError(f"it has {len(body)} bytes, and the length of its header alone takes {_LENGTH.size}")
    [length] = _LENGTH.unpack_from(body)
    start = _LENGTH.size + length
    if length > LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes; at most {LONGEST_HEADER} are allowed")
    if start > len(body):
        raise ValueError("its header is not whole")
    return kind.model_validate_json(body[_LENGTH.size : start]), start


def _bounds(start: int, sizes: Sequence[int], stop: int) -> Iterator[tuple[int, int]]:
    """Return where each content begins and ends. Raises ValueError unless they fill the body."""
    found = list(accumulate(sizes, initial=start))
    if found[-1] != stop:
        raise ValueError(f"its contents have {stop - start} bytes, and its header says {found[-1] - start}")
    return pairwise(found)


def _encodable(name: str) -> str:
    """Return a name that UTF-8 can hold: Python keeps other bytes of a file's name as half surrogate pairs."""
    return name.encode(errors="replace").decode()


def _why(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    [first, *_] = error.errors(include_url=False, include_input=False)
    return f"its header: {'.'.join(map(str, first['loc'])) or 'JSON'}: {first['msg'].lower()}"
