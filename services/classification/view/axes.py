"""The coordinates of all stored assets on two axes, from their stored vectors."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import unit_rows
from classifiers.review.axes import Axes, discriminant_axes, has_umap, principal_axes, umap_points
from services.classification.view.columns import AssetColumns, LabelColumns
from services.web.columns import SPLIT_NAMES
from services.web.errors import NotOffered
from store import Features, Snapshot

AxesKind = Literal["pca", "lda", "umap"]

SAMPLE_ROWS, SAMPLE_BYTES = 50_000, 20 * 2**20
"""Largest number of vectors that axes are made from, and about their largest size. They are spread over the table."""

SAMPLE_BLOCKS = 32
"""Runs of neighbouring rows of which a sample consists: reading single rows takes longer."""

HELD_BYTES = 64 * 2**20
"""Size of the vectors of a table up to which they are all kept while the axes are made."""

UMAP_ROWS = 50_000
"""Largest number of vectors for UMAP, which takes minutes for more."""

UMAP_COLUMNS = 50
"""Principal components that UMAP works on."""

TRAIN, OOD = SPLIT_NAMES.index("train"), SPLIT_NAMES.index("ood")

Batch = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows of `AssetColumns` and their vectors (m, d)."""


@dataclass(frozen=True, slots=True)
class Points:
    """Coordinates of n assets, float32 (n,); NaN for an asset without a vector.

    Attributes:
        explained: see `classifiers.review.axes.Axes`; 0 for UMAP.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    explained: tuple[float, ...]

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.y.nbytes


class Placing:
    """The vectors of one encoder at a snapshot, and the assets that they belong to."""

    def __init__(self, features: Features, snapshot: Snapshot, assets: AssetColumns) -> None:
        self.features, self.assets = features, assets
        self._version = snapshot.of(features.table)
        self._held: list[Batch] = []

    @property
    def rows(self) -> int:
        """Number of stored vectors."""
        return self.features.table.count(version=self._version)

    @property
    def dim(self) -> int:
        return self.features.shape[0]

    def batches(self) -> Iterable[Batch]:
        """Return all vectors of stored assets. Those of a small table stay in memory, so they are read once."""
        if 4 * self.dim * self.rows > HELD_BYTES:
            return self._read()
        self._held = self._held or list(self._read())
        return self._held

    def sample(self) -> NDArray[np.float32]:
        """Return vectors spread over the table, all of a small one, (m, d)."""
        most, rows = min(SAMPLE_ROWS, max(2, SAMPLE_BYTES // (4 * self.dim))), self.rows
        none = np.empty((0, self.dim), np.float32)
        if 4 * self.dim * rows <= HELD_BYTES:
            step = max(1, -(-rows // most))
            return np.concatenate([none, *(X[::step] for _, X in self.batches())])
        size = max(1, most // SAMPLE_BLOCKS)
        starts = np.linspace(0, rows - size, SAMPLE_BLOCKS).astype(int).tolist()
        return np.concatenate([none, *(X for start in starts for _, X in self._read((start, size)))])

    def _read(self, share: tuple[int, int] | None = None) -> Iterator[Batch]:
        for ids, X in self.features.scan(version=self._version, share=share):
            where = self.assets.positions.of(ids)
            known = where >= 0
            yield (where, X) if known.all() else (where[known], X[known])


def place(placing: Placing, kind: AxesKind, labels: LabelColumns | None) -> Points:
    """Return the coordinates of all assets.

    Args:
        labels: labels of the task whose classes LDA separates; None for other axes.

    Raises NotOffered for LDA without training rows. `require_axes` checks the rest.
    """
    return _PLACED[kind](placing, labels)


def require_axes(kind: AxesKind, task: str | None, vectors: int) -> None:
    """Raise NotOffered for LDA without a task, for UMAP that is not installed, and for UMAP of too many vectors."""
    if kind == "lda" and task is None:
        raise NotOffered("axes=lda separates the classes of a task: name one with task=, or use axes=pca")
    if kind == "umap" and not has_umap():
        raise NotOffered(
            "axes=umap needs the package umap-learn, which the classification service does not have; its operator can "
            "install it (pip install umap-learn) and start the service again. axes=pca needs nothing"
        )
    if kind == "umap" and vectors > UMAP_ROWS:
        raise NotOffered(
            f"axes=umap takes at most {UMAP_ROWS:,} vectors, and {vectors:,} are stored: more take too long; use "
            "axes=pca, or axes=lda with a task"
        )


def _pca(placing: Placing, _: LabelColumns | None) -> Points:
    return _points(placing, principal_axes(placing.sample()))


def _lda(placing: Placing, labels: LabelColumns | None) -> Points:
    chosen = np.zeros(0, np.int64) if labels is None else _learnt(labels)
    if labels is None or not len(chosen):
        raise NotOffered("axes=lda needs labelled rows, and the task has none outside the split ood; use axes=pca")
    wanted = np.zeros(len(placing.assets), np.bool_)
    wanted[chosen] = True
    statistics = GaussianStatistics.empty(len(labels.names), placing.dim)
    for where, X in placing.batches():
        some = wanted[where]
        rows, codes = labels.of(where[some])
        statistics.update(unit_rows(X[some])[rows], codes)
    if not statistics.rows:
        raise NotOffered(
            f"axes=lda needs labelled rows with vectors of encoder {placing.features.name!r}, and the task has none; "
            "embed its assets with that encoder, or use axes=pca"
        )
    return _points(placing, discriminant_axes(statistics))


def _learnt(labels: LabelColumns) -> NDArray[np.int64]:
    """Return the rows that LDA learns from: training rows, or all but those in `ood` if there are none."""
    labelled = labels.label >= 0
    rows = np.flatnonzero(labelled & (labels.split == TRAIN))
    rows = rows if len(rows) else np.flatnonzero(labelled & (labels.split != OOD))
    return rows[:: max(1, -(-len(rows) // SAMPLE_ROWS))]


def _points(placing: Placing, axes: Axes) -> Points:
    points = np.full((2, len(placing.assets)), np.nan, np.float32)
    for where, X in placing.batches():
        points[:, where] = axes(X).T
    return Points(points[0], points[1], axes.explained)


def _umap(placing: Placing, _: LabelColumns | None) -> Points:
    axes = principal_axes(placing.sample(), UMAP_COLUMNS)
    found = [(where, axes(X)) for where, X in placing.batches()]
    where = np.concatenate([np.empty(0, np.int64), *(each for each, _ in found)])
    reduced = np.concatenate([np.empty((0, UMAP_COLUMNS), np.float32), *(each for _, each in found)])
    points = np.full((2, len(placing.assets)), np.nan, np.float32)
    points[:, where] = umap_points(reduced).T
    return Points(points[0], points[1], (0.0, 0.0))


_PLACED: dict[AxesKind, Callable[[Placing, LabelColumns | None], Points]] = {"pca": _pca, "lda": _lda, "umap": _umap}
