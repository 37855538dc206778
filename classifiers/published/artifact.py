"""A head as a folder: manifest.json, head.safetensors and report files. No pickle; digests are checked first."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from classifiers.errors import BadArtifact
from classifiers.heads import HEADS
from classifiers.heads.base import Head
from classifiers.heads.outlier import OutlierDetector
from classifiers.published.head import PublishedHead
from classifiers.published.manifest import PROTOCOL, ArrayShape, Manifest, TrainingRecord
from embedder import folders

MANIFEST = "manifest.json"
ARRAYS = "head.safetensors"
OUTLIER = "outlier.safetensors"
"""File of the outlier detector, for heads that have one."""


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
        BadArtifact: a file is missing, was changed, is of an unknown protocol, or makes no head.
    """
    manifest = read_manifest(folder)
    contents = {name: _checked(folder, name, digest) for name, digest in manifest.files.items()}
    if ARRAYS not in contents:
        raise BadArtifact(folder, f"the manifest lists no {ARRAYS}")
    arrays = _arrays(folder, ARRAYS, contents[ARRAYS])
    if {name: ArrayShape(shape=a.shape, dtype=str(a.dtype)) for name, a in arrays.items()} != manifest.arrays:
        raise BadArtifact(folder, f"{ARRAYS} holds {sorted(arrays)} with other shapes than the manifest lists")
    try:
        head = HEADS[manifest.kind].from_arrays(
            arrays,
            {
                "classes": list(manifest.classes),
                "temperature": manifest.temperature,
                "settings": manifest.settings,
            },
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadArtifact(folder, f"arrays and manifest do not make a {manifest.kind} head: {error}") from error
    if head.dim != manifest.dim:
        raise BadArtifact(folder, f"the head reads {head.dim} columns, its encoders have {manifest.dim}")
    detector = _detector(folder, contents.get(OUTLIER), head.dim)
    if manifest.protocol > 2 and manifest.outlier and not detector:
        raise BadArtifact(folder, f"the manifest lists outlier quantiles, but no {OUTLIER}")
    return PublishedHead(folder.parent.name, folder.name, head, manifest, detector)


def _detector(folder: Path, data: bytes | None, dim: int) -> OutlierDetector | None:
    """Return the detector of the outlier file's content; None without one. Raises BadArtifact."""
    if data is None:
        return None
    arrays = _arrays(folder, OUTLIER, data)
    try:
        detector = OutlierDetector.from_arrays(arrays)
    except ValueError as error:
        raise BadArtifact(folder, f"{OUTLIER} holds no outlier detector: {error}") from error
    if detector.dim != dim:
        raise BadArtifact(folder, f"{OUTLIER} is {detector.dim} wide, the head {dim}")
    return detector


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a version folder. Raises BadArtifact."""
    raw = _json(folder)
    if raw.get("protocol") not in range(1, PROTOCOL + 1):
        raise BadArtifact(
            folder,
            f"protocol {raw.get('protocol')!r}; this version of headwater reads up to {PROTOCOL}: upgrade it",
        )
    try:
        manifest = Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadArtifact(folder, f"manifest field {where!r}: {first['msg']}") from error
    if manifest.kind not in HEADS:
        raise BadArtifact(folder, f"kind {manifest.kind!r}; known kinds: {', '.join(HEADS)}")
    if not folder.name.endswith(f"-{manifest.digest()}"):
        raise BadArtifact(folder, f"its content has digest {manifest.digest()}, its name another: it was changed")
    return manifest


def _json(folder: Path) -> dict[str, Any]:
    try:
        raw = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise BadArtifact(folder, f"{MANIFEST} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BadArtifact(folder, f"{MANIFEST} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise BadArtifact(folder, f"{MANIFEST} holds a {type(raw).__name__}, expected an object")
    return raw


def _checked(folder: Path, name: str, digest: str) -> bytes:
    """Return the content of a file, after its digest was checked. Raises BadArtifact."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise BadArtifact(folder, f"{name} is missing or cannot be read: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise BadArtifact(folder, f"{name} has digest {found[:12]}…, the manifest says {digest[:12]}…")
    return data


def _arrays(folder: Path, name: str, data: bytes) -> dict[str, NDArray[Any]]:
    try:
        arrays: dict[str, NDArray[Any]] = load_arrays(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadArtifact(folder, f"{name} is not a safetensors file: {error}") from error
    return arrays
