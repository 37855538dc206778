"""The rows of a run along the leading principal components of its training rows, computed once for all heads."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from classifiers.compare.held import HeldRows
from classifiers.errors import BadParameter
from classifiers.fit.transform import TransformPlan
from classifiers.reproduce.gmm.divisions import AllRows, Division, Numbers
from classifiers.training.rows.rows import Rows
from store import Matrix

Norm = Literal["none", "unit"]


@dataclass(frozen=True, slots=True)
class Size:
    """A number of principal components: the fewest that explain a share of the variance, or a count.

    Two fields, so that the share 1.0 (all components that vary) is never read as the count 1.
    """

    share: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.share is None) == (self.count is None):
            raise BadParameter("give a share of the variance or a number of dimensions, not both")
        if self.share is not None and not 0 < self.share <= 1:
            raise BadParameter(f"a share of the variance must be above 0 and at most 1, got {self.share:g}")
        if self.count is not None and self.count < 1:
            raise BadParameter(f"a number of dimensions must be at least 1, got {self.count}")

    @property
    def label(self) -> str:
        return f"{self.share:.4g}" if self.share is not None else f"{self.count} dims"

    def of(self, explained: NDArray[np.float64]) -> int:
        """Return the number of components, given the shares that the first 1, 2, … explain, (m,).

        It is above m if more components are asked for than vary.
        """
        if self.count is not None:
            return self.count
        return min(len(explained), 1 + int(np.searchsorted(explained, (self.share or 0) * (1 - 1e-12))))


@dataclass(frozen=True)
class OnComponents(HeldRows):
    """Rows in memory whose columns are principal components."""

    def edges(self) -> tuple[int, ...]:
        return (0, self.held["train"].X.shape[1])


@dataclass(frozen=True, slots=True)
class Projection:
    """The rows of one run along all principal components of its training rows.

    Attributes:
        Z: float32 (N, m), for the m components along which the training rows vary.
        explained: share of the training rows' variance that the first 1, 2, … components explain, (m,).
    """

    rows: AllRows
    division: Division
    Z: NDArray[np.float32]
    explained: NDArray[np.float64]

    @classmethod
    def of(cls, rows: AllRows, division: Division, encoder: str, norm: Norm, *, whiten: bool = False) -> Self:
        """Learn the components from the training rows of an encoder. Raises NotTrainable if they do not vary.

        Args:
            whiten: give every component unit variance; the shares are those of before.
        """
        X = rows.matrix.X[:, rows.matrix.blocks[encoder]]
        transform = TransformPlan(norm=norm, project="pca", dims="all").learn(X[division.train])
        Z = transform(X)
        variances = Z[division.train].var(axis=0, dtype=np.float64)
        if whiten:
            Z = Z / np.sqrt(variances).astype(Z.dtype)
        return cls(rows, division, Z, np.cumsum(variances) / variances.sum())

    def view(self, source: Rows, encoder: str, dims: int) -> OnComponents:
        """Return the rows with the first `dims` components, and the run's splits, as training reads them."""
        each = {"train": self.division.train, "val": self.division.val, "test": self.division.test}
        held = {split: self._some(split, numbers, encoder, dims) for split, numbers in each.items()}
        parts = [_in_split(self.rows.table.take(numbers), split) for split, numbers in each.items()]
        return OnComponents(
            source.store,
            source.task,
            (encoder,),
            source.snapshot,
            table=pa.concat_tables(parts),
            held=held,
        )

    def _some(self, split: str, numbers: Numbers, encoder: str, dims: int) -> Matrix:
        whole = self.rows.matrix
        return replace(
            whole,
            ids=[whole.ids[row] for row in numbers],
            X=np.ascontiguousarray(self.Z[numbers, :dims]),
            labels=whole.labels.take(pa.array(numbers)),
            splits=np.full(len(numbers), split),
            blocks={encoder: slice(0, dims)},
        )


def _in_split(table: pa.Table, split: str) -> pa.Table:
    """Return the rows of a table of labels, all in one split."""
    column = pa.array([split] * table.num_rows, pa.string())
    return table.set_column(table.column_names.index("split"), "split", column)
