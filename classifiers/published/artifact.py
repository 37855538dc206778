"""A head as a folder: manifest.json, head.safetensors and report files. No pickle; digests are checked first."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from classifiers.errors import BadArtifact, NoReport, listing
from classifiers.heads import HEADS
from classifiers.heads.base import Head, Meta
from classifiers.heads.outlier import OutlierDetector
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import PROTOCOL, ArrayShape, Manifest, TrainingRecord
from classifiers.published.probe import check_answers, check_arrays
from embedder import files, folders

T = TypeVar("T")

MANIFEST = "manifest.json"
ARRAYS = "head.safetensors"
REPORT = "report.json"
OUTLIER = "outlier.safetensors"
"""File of the outlier detector, for heads that have one."""

MOST_MANIFEST, MOST_HEADER, MOST_REPORT = 16 * 2**20, 2**20, 256 * 2**20
"""Largest manifest, header of a safetensors file, and report file that are read, bytes."""

MOST_ARRAYS = 4 * 2**30
"""Largest size of the arrays in a file, bytes."""

MAKES_NO_HEAD = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""Errors of a head that is made of settings of wrong types, or of arrays with wrong values."""


def pack(head: Head, record: TrainingRecord, extra: Mapping[str, bytes]) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest, and the content of every file of the folder by name.

    Args:
        extra: content of report files by name, and that of `outlier_file`. The files are part of the head's digest, so
            they must hold no times or durations.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in head.arrays().items()}
    files = {ARRAYS: save_arrays(arrays), **extra}
    manifest = Manifest(
        **record.model_dump(),
        **head.meta(),
        kind=head.kind,
        arrays={name: ArrayShape(shape=a.shape, dtype=str(a.dtype)) for name, a in arrays.items()},
        files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    )
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False)
    return manifest, {**files, MANIFEST: text.encode()}


def outlier_file(detector: OutlierDetector | None) -> dict[str, bytes]:
    """Return the detector as a file of the head's folder, content by name; empty for None."""
    return {} if detector is None else {OUTLIER: save_arrays(detector.arrays())}


def save(folder: Path, head: Head, record: TrainingRecord, extra: Mapping[str, bytes] | None = None) -> Path:
    """Write a head to `folder / version` and return that path, for heads outside a registry.

    Raises FileExistsError if that version exists.
    """
    manifest, files = pack(head, record, extra or {})
    path = folder / manifest.version()
    folders.write_whole(path, files)
    return path


def load(folder: Path) -> PublishedHead:
    """Return the head in a version folder, whose parent folder has the head's name.

    Raises:
        BadArtifact: a file is missing, is no regular file, is larger than the manifest allows, was changed, is of an
            unknown protocol, or makes no head; or the head gives no probabilities for ordinary vectors.
    """
    manifest = read_manifest(folder)
    if ARRAYS not in manifest.files:
        raise BadArtifact(folder, f"the manifest lists no {ARRAYS}")
    for name in sorted(manifest.files.keys() - {ARRAYS, OUTLIER}):
        _require_digest(folder, name, manifest, _attempt(folder, name, lambda path: files.digest(path, MOST_REPORT)))
    arrays = _arrays(folder, ARRAYS, manifest, sum(shape.nbytes for shape in manifest.arrays.values()))
    if {name: (a.shape, str(a.dtype)) for name, a in arrays.items()} != {
        name: (each.shape, each.dtype) for name, each in manifest.arrays.items()
    }:
        raise BadArtifact(
            folder, f"{ARRAYS} holds {listing(sorted(arrays), 20)} with other shapes than the manifest lists"
        )
    head = _head(folder, manifest, arrays)
    detector = _detector(folder, manifest)
    published = PublishedHead(folder.parent.name, folder.name, head, manifest, detector)
    try:
        check_answers(published)
    except MAKES_NO_HEAD as error:
        raise BadArtifact(folder, str(error)) from error
    return published


def _head(folder: Path, manifest: Manifest, arrays: Mapping[str, NDArray[Any]]) -> Head:
    """Return the head of these arrays. Raises BadArtifact."""
    meta: Meta = {
        "classes": list(manifest.classes),
        "temperature": manifest.temperature,
        "settings": dict(manifest.settings),
    }
    try:
        check_arrays(arrays)
        head = HEADS[manifest.kind].from_arrays(arrays, meta)
    except MAKES_NO_HEAD as error:
        raise BadArtifact(folder, f"arrays and manifest do not make a {manifest.kind} head: {error}") from error
    if head.dim != manifest.dim:
        raise BadArtifact(folder, f"the head reads {head.dim} columns, its encoders have {manifest.dim}")
    return head


def _detector(folder: Path, manifest: Manifest) -> OutlierDetector | None:
    """Return the detector of the outlier file; None if the manifest lists no such file. Raises BadArtifact."""
    if OUTLIER not in manifest.files:
        if manifest.protocol > 2 and manifest.outlier:
            raise BadArtifact(folder, f"the manifest lists outlier quantiles, but no {OUTLIER}")
        return None
    most = OutlierDetector.nbytes(len(manifest.classes), manifest.dim)
    arrays = _arrays(folder, OUTLIER, manifest, most)
    try:
        check_arrays(arrays)
        detector = OutlierDetector.from_arrays(arrays)
    except ValueError as error:
        raise BadArtifact(folder, f"{OUTLIER} holds no outlier detector: {error}") from error
    if detector.dim != manifest.dim:
        raise BadArtifact(folder, f"{OUTLIER} is {detector.dim} wide, the head {manifest.dim}")
    return detector


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report on the training of the head in a version folder.

    Raises NoReport if the head was published without one; BadArtifact if it is missing or was changed.
    """
    manifest = read_manifest(folder)
    if REPORT not in manifest.files:
        raise NoReport(folder.parent.name, folder.name)
    data = _attempt(folder, REPORT, lambda path: files.read_bytes(path, MOST_REPORT))
    _require_digest(folder, REPORT, manifest, hashlib.sha256(data).hexdigest())
    return _attempt(folder, REPORT, lambda path: files.read_json(path, MOST_REPORT))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a version folder. Raises BadArtifact."""
    raw = _attempt(folder, MANIFEST, lambda path: files.read_json(path, MOST_MANIFEST))
    if raw.get("protocol") not in range(1, PROTOCOL + 1):
        raise BadArtifact(
            folder,
            f"protocol {raw.get('protocol')!r}; this version of headwater reads up to {PROTOCOL}: upgrade it",
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadArtifact(folder, f"manifest field {where[:100]!r}: {first['msg']}") from error
    if manifest.kind not in HEADS:
        raise BadArtifact(folder, f"kind {manifest.kind[:100]!r}; known kinds: {', '.join(HEADS)}")
    if not folder.name.endswith(f"-{manifest.digest()}"):
        raise BadArtifact(folder, f"its content has digest {manifest.digest()}, its name another: it was changed")
    return manifest


def _attempt(folder: Path, name: str, read: Callable[[Path], T]) -> T:
    """Return the result of `read` for a file of the folder. Raises BadArtifact."""
    try:
        return read(folder / name)
    except FileNotFoundError as error:
        raise BadArtifact(folder, f"{name} is missing") from error
    except OSError as error:
        raise BadArtifact(folder, f"{name} cannot be read: {error.strerror}") from error
    except files.Refused as error:
        raise BadArtifact(folder, f"{name} is refused: {error}") from error
    except MemoryError as error:
        raise BadArtifact(folder, f"{name} does not fit into the memory of this machine") from error


def _require_digest(folder: Path, name: str, manifest: Manifest, found: str) -> None:
    """Raise BadArtifact unless the manifest lists this digest of a file."""
    expected = manifest.files[name]
    if found != expected:
        raise BadArtifact(folder, f"{name} has digest {found[:12]}…, the manifest says {expected[:12]}…")


def _arrays(folder: Path, name: str, manifest: Manifest, size: int) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, after its digest was checked. Raises BadArtifact.

    Args:
        size: largest size of all arrays together, bytes. A larger file is not read.
    """
    most = min(size, MOST_ARRAYS) + MOST_HEADER
    data = _attempt(folder, name, lambda path: files.read_bytes(path, most))
    _require_digest(folder, name, manifest, hashlib.sha256(data).hexdigest())
    if int.from_bytes(data[:8], "little") > MOST_HEADER:
        raise BadArtifact(folder, f"{name} is not a safetensors file: its header is larger than {MOST_HEADER} bytes")
    try:
        arrays: dict[str, NDArray[Any]] = load_arrays(data)
    except (SafetensorError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise BadArtifact(folder, f"{name} is not a safetensors file: {error}") from error
    return arrays
