"""The rows of the experiment: training and test rows with the vectors of every backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from classifiers.compare.few_shot import held_out
from classifiers.errors import NotTrainable
from classifiers.training.rows.rows import Rows

LEAST_ROWS = 20
"""Least number of training rows: with fewer, a tenth of them is a row or two."""


@dataclass(frozen=True, slots=True)
class Data:
    """Rows with one block of columns for each backbone.

    Attributes:
        names: names of the backbones, (B,), cheapest first.
        costs: cost of an image with each backbone, (B,).
        classes: names of the classes, (K,).
        split: the split of the test rows.
        blocks, codes: training rows, float32 (n, d_b) for each backbone, and their classes (n,).
        tested, truth: test rows, float32 (m, d_b) for each backbone, and their classes (m,).
    """

    names: tuple[str, ...]
    costs: tuple[float, ...]
    classes: tuple[str, ...]
    split: str
    blocks: tuple[NDArray[np.float32], ...]
    codes: NDArray[np.int64]
    tested: tuple[NDArray[np.float32], ...]
    truth: NDArray[np.int64]

    @classmethod
    def read(cls, rows: Rows, costs: Sequence[float]) -> Self:
        """Read the training rows, and the rows of `test` or else `val`, into memory.

        Rows without a vector of every backbone are left out, and so are test rows of unknown classes.

        Raises UnknownTask, UnknownFeatures; NotTrainable for too few training rows, or no test rows.
        """
        classes = rows.classes()
        matrix = rows.matrix("train", classes)
        if len(matrix.ids) < LEAST_ROWS:
            raise NotTrainable(
                f"task {rows.task!r} has {len(matrix.ids)} training rows with vectors of {', '.join(rows.encoders)}; "
                f"this experiment needs at least {LEAST_ROWS}"
            )
        split, parts = held_out(rows, classes)
        tested = np.concatenate([part.X for part in parts])
        order = np.argsort(costs, kind="stable").tolist()
        columns = [slice(*block.columns) for block in rows.blocks()]
        return cls(
            names=tuple(rows.encoders[b] for b in order),
            costs=tuple(float(costs[b]) for b in order),
            classes=classes,
            split=split,
            blocks=tuple(matrix.X[:, columns[b]] for b in order),
            codes=matrix.codes,
            tested=tuple(tested[:, columns[b]] for b in order),
            truth=np.concatenate([part.Y.argmax(axis=1) for part in parts]),
        )

    def only(self, names: Sequence[str]) -> Self:
        """Return the same rows with some of the backbones."""
        chosen = [b for b, name in enumerate(self.names) if name in names]

        def some(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[b] for b in chosen)

        return type(self)(
            names=some(self.names),
            costs=some(self.costs),
            classes=self.classes,
            split=self.split,
            blocks=some(self.blocks),
            codes=self.codes,
            tested=some(self.tested),
            truth=self.truth,
        )
