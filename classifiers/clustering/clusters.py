"""Clusterings: centres on the unit sphere, the nearest centres of vectors, and saving and loading.

`classifiers.clustering.kmeans` finds centres. Much work is done on a CUDA card, if there is one; without, this module
needs only NumPy.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadClustering, NotTrainable, UnknownClustering
from classifiers.fit.device import on_device
from classifiers.heads.base import check_vectors
from classifiers.heads.transform import unit_rows
from classifiers.names import NAME, check_name
from embedder import folders
from embedder.manifests import Format

_FORMAT = Format("clustering.json", "clustering.safetensors")
CELLS = 1 << 24
"""Most cosines in memory at a time: 64 MiB."""


@dataclass(frozen=True, eq=False)
class Clustering:
    """Centres in the space of unit(unit(x) − mean), for vectors x of one encoder.

    Attributes:
        encoder, fingerprint: name and fingerprint of the encoder.
        mean: mean of the unit-norm vectors that the centres were learned from, float32 (d,).
        centres: float32 (k, d), each of length one.
        record: how the centres were found, in values that JSON can hold.
    """

    encoder: str
    fingerprint: str
    mean: NDArray[np.float32]
    centres: NDArray[np.float32]
    record: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def labels(self) -> list[str]:
        """Names of the clusters, (k,): c0000, c0001, …"""
        width = max(4, len(str(len(self) - 1)))
        return [f"c{number:0{width}}" for number in range(len(self))]

    @property
    def digest(self) -> str:
        """sha256 over the record and the arrays."""
        total = hashlib.sha256(json.dumps(dict(self.record), sort_keys=True).encode())
        for array in (self.mean, self.centres):
            total.update(np.ascontiguousarray(array, "<f4").tobytes())
        return total.hexdigest()

    def assign(self, X: ArrayLike, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the numbers of the `count` nearest centres of raw vectors X (n, d), nearest first, and the cosines.

        Both arrays are (n, count). Raises BadVectors; NotTrainable if there are fewer centres.
        """
        if not 1 <= count <= len(self):
            raise NotTrainable(
                f"{count} nearest clusters requested, but there are {len(self)}; ask for 1 to {len(self)}"
            )
        return nearest(centred(check_vectors(X, len(self.mean)), self.mean), self.centres, count)

    def save(self, root: Path, name: str, files: Mapping[str, bytes] | None = None) -> Path:
        """Write the folder ``<root>/<name>``, in place of an older one, and return it. Raises BadName.

        Args:
            files: more files, content by name, e.g. a report.
        """
        target = root / check_name(name, "clustering")
        values = {"encoder": self.encoder, "fingerprint": self.fingerprint, "record": dict(self.record)}
        ours = _FORMAT.files(values, {"mean": self.mean, "centres": self.centres})
        folders.write_whole(target, {**(files or {}), **ours}, replace=True)
        return target

    @classmethod
    def load(cls, root: Path, name: str) -> Self:
        """Return a saved clustering. Raises UnknownClustering with the names that exist, BadName, BadClustering."""
        folder = root / check_name(name, "clustering")
        if not folder.is_dir():
            raise UnknownClustering(name, names(root))
        try:
            manifest, arrays = _FORMAT.read(folder)
            mean, centres = arrays["mean"], arrays["centres"]
            return cls(manifest["encoder"], manifest["fingerprint"], mean, centres, manifest["record"])
        except (ValueError, KeyError) as error:
            raise BadClustering(f"the clustering in {str(folder)!r} cannot be used: {error}; cluster again") from error


def names(root: Path) -> list[str]:
    """Return the names of the clusterings in `root`, sorted."""
    return sorted(path.parent.name for path in root.glob(f"*/{_FORMAT.manifest}") if NAME.fullmatch(path.parent.name))


def centred(X: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit(unit(x) − mean) of the rows of X (n, d): directions from the middle of the data.

    Vectors of networks are in a narrow cone, where all cosines are high. Without centring, all negatives would violate
    the MLCD loss, which compares with cosine 0.
    """
    Z = np.empty(X.shape, np.float32)
    rows = max(1, CELLS // max(1, X.shape[1]))
    for start in range(0, len(X), rows):
        part = slice(start, start + rows)
        Z[part] = unit_rows(unit_rows(X[part]) - mean)
    return Z


def nearest(
    Z: NDArray[np.float32], centres: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the numbers of the `count` nearest centres of each row, nearest first, and the inner products.

    Both arrays are (n, count). Centres that tie are in their own order.

    Args:
        Z: rows (n, d) of length one.
        centres: (k, d), of length one.
        count: number of centres per row.
    """
    operations = 2.0 * Z.size * len(centres)
    return on_device(lambda device: _NEAREST[device](Z, centres, count), operations)


def _nearest_by_torch(
    Z: NDArray[np.float32], centres: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what `nearest` does, computed on a CUDA card."""
    import torch

    from classifiers.clustering.kmeans_torch import Points

    return Points(Z, torch.device("cuda")).nearest(centres, count)


def _nearest_by_numpy(
    Z: NDArray[np.float32], centres: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return what `nearest` does, computed on the CPU."""
    codes = np.empty((len(Z), count), np.int64)
    cosines = np.empty((len(Z), count), np.float32)
    rows = max(1, CELLS // len(centres))
    for start in range(0, len(Z), rows):
        part = slice(start, start + rows)
        products = Z[part] @ centres.T
        if count == 1:
            some = products.argmax(axis=1)[:, None]
        else:
            some = np.sort(np.argpartition(-products, count - 1, axis=1)[:, :count], axis=1)
        values = np.take_along_axis(products, some, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        codes[part] = np.take_along_axis(some, order, axis=1)
        cosines[part] = np.take_along_axis(values, order, axis=1)
    return codes, cosines


_NEAREST = {"cpu": _nearest_by_numpy, "cuda": _nearest_by_torch}
