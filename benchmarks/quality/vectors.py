"""Vectors of the data sets, which are embedded once, into a store in the work folder, and read from there."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder import registry
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Store
from store.interchange import read_sources

ENCODERS = ("lite0", "lite1", "lite2")
OF_SOUNDS = {"fsdd_share": ("melstat",)}
"""Tasks of sounds, and their encoders."""


def encoders_of(task: str) -> tuple[str, ...]:
    return OF_SOUNDS.get(task, ENCODERS)


@dataclass(frozen=True)
class Vectors:
    """The labelled vectors of one task, with one block for each encoder. Rows are sorted by id.

    Attributes:
        blocks: {encoder: float32 (n, d)}.
        codes: index into `classes`, (n,).
        splits: "train", "val" or "test" of each row, (n,).
    """

    task: str
    classes: tuple[str, ...]
    blocks: dict[str, NDArray[np.float32]]
    codes: NDArray[np.int64]
    splits: NDArray[np.str_]
    digest: str

    def part(self, encoder: str, split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return X (m, d) and codes (m,) of one encoder in one split."""
        chosen = self.splits == split
        return self.blocks[encoder][chosen], self.codes[chosen]

    def joined(self, encoders: Sequence[str] = ENCODERS) -> tuple[NDArray[np.float32], tuple[int, ...]]:
        """Return all rows of several encoders side by side (n, Σ d), and the edges of their columns."""
        edges = np.cumsum([0, *(self.blocks[encoder].shape[1] for encoder in encoders)]).tolist()
        return np.concatenate([self.blocks[encoder] for encoder in encoders], axis=1), tuple(edges)


def prepare(store: Store, data: Path, tasks: Sequence[str], encoders: Sequence[str] | None = None) -> None:
    """Ingest data sets that are not in the store yet, and embed assets without a vector.

    Args:
        encoders: names of encoders; None for those of the tasks.
    """
    known = store.labels.tasks()
    for task in tasks:
        if task not in known:
            ingest(store, read_sources([data / f"{task}.parquet"]), task=task)
    for name in encoders or sorted({name for task in tasks for name in encoders_of(task)}):
        backfill(store, registry.load(name, backend="auto", cache_dir=Settings().cache))


def load(store: Store, task: str) -> Vectors:
    """Read the rows of a task, without the split `ood`."""
    encoders = encoders_of(task)
    matrix = store.matrix(task, encoders, splits=("train", "val", "test"))
    digest = hashlib.sha256(matrix.X.tobytes())
    for part in ("\n".join(matrix.ids), "\n".join(matrix.splits), "\n".join(matrix.classes)):
        digest.update(part.encode())
    digest.update(matrix.codes.tobytes())
    blocks = {encoder: matrix.X[:, matrix.blocks[encoder]] for encoder in encoders}
    return Vectors(task, matrix.classes, blocks, matrix.codes, matrix.splits, digest.hexdigest())


def paired_interval(better: NDArray[Any], worse: NDArray[Any], *, draws: int = 2000) -> tuple[float, float, float]:
    """Return the difference of two means over the same rows, and its 95 % percentile interval over resampled rows.

    Args:
        better, worse: a figure of each row, e.g. 1 if it was right, (n,).
    """
    apart = np.asarray(better, np.float64) - np.asarray(worse, np.float64)
    values, counts = np.unique(apart, return_counts=True)  # resampled rows are a multinomial draw of their values
    drawn = np.random.default_rng(0).multinomial(len(apart), counts / len(apart), size=draws) @ values / len(apart)
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return float(apart.mean()), low, high
