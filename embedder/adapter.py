"""Adapters: a learned map from an encoder's vectors to a new space, in NumPy, and the folder that keeps it.

An adapter and its parent encoder make a derived encoder, ``<parent>+mlcd-<version>`` (see `embedder.adapted`). How
one is learned is no concern of this package.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from embedder.errors import WeightsError
from embedder.spec import EncoderSpec, Fingerprint

FORMAT = 1
"""Of the arrays and of what is computed from them; part of the digest. Raise it when either changes."""

LINEAR = ("mean", "weight")
HIDDEN = ("hidden_weight", "hidden_bias", "hidden_out")
_MANIFEST, _ARRAYS = "manifest.json", "adapter.safetensors"
_NAME = re.compile(r"(?P<parent>.+)\+mlcd-(?P<version>[0-9a-f]{12})", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Adapter:
    """g(x) = unit(A z [+ V relu(U z + c)]) with z = unit(unit(x) − mean).

    Its output has unit norm, because only directions are learned: lengths would be accidents.

    Attributes:
        arrays: float32: mean (d,), weight A (D, d), and, for one with a hidden layer, hidden_weight U (H, d),
            hidden_bias c (H,), hidden_out V (D, H).
    """

    arrays: Mapping[str, NDArray[np.float32]]

    def __post_init__(self) -> None:
        """Raises ValueError for names, shapes, types or values that make no adapter."""
        names = set(self.arrays)
        if names not in ({*LINEAR}, {*LINEAR, *HIDDEN}):
            raise ValueError(f"an adapter has the arrays {LINEAR}, and {HIDDEN} or none of them; got {sorted(names)}")
        if self.arrays["weight"].ndim != 2:
            raise ValueError(f"array 'weight' has shape {self.arrays['weight'].shape}, expected two dimensions")
        shapes = self._shapes()
        for name, array in self.arrays.items():
            if array.shape != shapes[name] or array.dtype != np.float32:
                raise ValueError(f"array {name!r} is {array.dtype} {array.shape}, expected float32 {shapes[name]}")
            if not np.isfinite(array).all():
                raise ValueError(f"array {name!r} holds NaN or infinity")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        D, d = self.arrays["weight"].shape
        H = self.arrays["hidden_bias"].size if "hidden_bias" in self.arrays else 0
        return {"mean": (d,), "weight": (D, d), "hidden_weight": (H, d), "hidden_bias": (H,), "hidden_out": (D, H)}

    @property
    def input_dim(self) -> int:
        return int(self.arrays["weight"].shape[1])

    @property
    def dim(self) -> int:
        return int(self.arrays["weight"].shape[0])

    @cached_property
    def digest(self) -> str:
        """sha256 over names, shapes and values, and over `FORMAT`."""
        total = hashlib.sha256(f"adapter {FORMAT}\n".encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name], "<f4")
            total.update(f"{name} {array.shape}\n".encode())
            total.update(array.tobytes())
        return total.hexdigest()

    def __call__(self, X: ArrayLike) -> NDArray[np.float32]:
        """Raw vectors of the parent (n, d) → (n, D) float32 of unit norm. Raises ValueError for another width."""
        vectors = np.asarray(X, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.input_dim:
            raise ValueError(f"this adapter takes vectors of shape (n, {self.input_dim}), not {vectors.shape}")
        a = self.arrays
        Z = _unit(_unit(vectors) - a["mean"])
        out = Z @ a["weight"].T
        if "hidden_weight" in a:
            out += np.maximum(Z @ a["hidden_weight"].T + a["hidden_bias"], 0) @ a["hidden_out"].T
        return _unit(out)


def _unit(X: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one; a row of zeros stays."""
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.where(norms > 0, norms, 1), np.float32)


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """An adapter with the encoder that it belongs to.

    Attributes:
        parent: name of the encoder whose vectors it takes; `fingerprint` says which that is.
        record: how it was learned, as JSON-able values, for people.
    """

    parent: str
    fingerprint: Fingerprint
    adapter: Adapter
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """12 hex digits over the arrays and the parent's fingerprint: the same content, the same version."""
        return hashlib.sha256(f"{self.fingerprint} {self.adapter.digest}".encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """Of the derived encoder."""
        return f"{self.parent}+mlcd-{self.version}"

    def spec(self, parent: EncoderSpec) -> EncoderSpec:
        """Of the derived encoder. It takes images only: texts do not lie where the mean of the images is theirs too.

        Raises WeightsError for another parent than the adapter was learned on.
        """
        if parent.fingerprint != self.fingerprint:
            raise WeightsError(
                f"the adapter mlcd-{self.version} belongs to fingerprint {self.fingerprint[:12]} ({self.parent}), not "
                f"to {parent.fingerprint[:12]}: restore that encoder's weights, or train an adapter on this one"
            )
        return replace(
            parent,
            output="adapted",
            dim=self.adapter.dim,
            tokens=None,
            text=None,
            parent=self.fingerprint,
            adapter=self.adapter.digest,
        )

    def save(self, root: Path, files: Mapping[str, bytes] | None = None) -> Path:
        """Writes ``<root>/mlcd-<version>`` whole or not at all; returns it. An intact one that is there stays.

        Args:
            files: more files by name, e.g. a report.
        """
        target = root / f"mlcd-{self.version}"
        if _read(target):
            return target
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as temporary:
            fresh = Path(temporary) / "fresh"
            fresh.mkdir()
            for name, data in {**(files or {}), **self._files()}.items():
                _write(fresh / name, data)
            if target.exists():  # damaged: a readable one was kept above
                shutil.rmtree(target)
            try:
                fresh.rename(target)
            except OSError:  # another process was first, with the same content
                if not _read(target):
                    raise
        return target

    def _files(self) -> dict[str, bytes]:
        arrays = save_arrays({name: np.ascontiguousarray(array) for name, array in self.adapter.arrays.items()})
        manifest = {
            "format": FORMAT,
            "parent": self.parent,
            "fingerprint": self.fingerprint,
            "sha256": hashlib.sha256(arrays).hexdigest(),
            "record": dict(self.record),
        }
        return {_ARRAYS: arrays, _MANIFEST: json.dumps(manifest, indent=2, ensure_ascii=False).encode()}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The inverse of `save`. Raises WeightsError for a folder that is missing, damaged or of another format."""
        try:
            manifest = json.loads((folder / _MANIFEST).read_bytes())
            data = (folder / _ARRAYS).read_bytes()
            if manifest["format"] != FORMAT:
                raise ValueError(f"format {manifest['format']!r}, this version reads {FORMAT}: upgrade headwater")
            if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
                raise ValueError(f"{_ARRAYS} is not the file that the manifest tells of")
            adapter = Adapter(load_arrays(data))
            found = cls(manifest["parent"], manifest["fingerprint"], adapter, manifest["record"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise WeightsError(f"the adapter in {folder} cannot be used: {error}") from error
        if folder.name != f"mlcd-{found.version}":
            raise WeightsError(f"the adapter in {folder} has the content of mlcd-{found.version}: it was renamed")
        return found


def split_name(name: str) -> tuple[str, str] | None:
    """A derived encoder's name → (parent's name, version); None for any other name."""
    match = _NAME.fullmatch(name)
    return (match["parent"], match["version"]) if match else None


def stored_names(root: Path | None) -> list[str]:
    """Names of the derived encoders whose adapters are in `root`, sorted; those that are damaged are left out."""
    if root is None or not root.is_dir():
        return []
    found = map(_read, root.glob("mlcd-*"))
    return sorted(stored.name for stored in found if stored)


def _read(folder: Path) -> StoredAdapter | None:
    """None unless `folder` holds an intact adapter."""
    try:
        return StoredAdapter.load(folder)
    except WeightsError:
        return None


def _write(path: Path, data: bytes) -> None:
    """On the disk when this returns: stored vectors will depend on it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
