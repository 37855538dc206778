"""Runs of the experiment: which rows heads learn from, are chosen on, and are measured on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.errors import BadParameter, NotTrainable
from classifiers.fit.held_out import stratified_folds
from classifiers.training.rows.folds import dealt, groups_of, rarest
from classifiers.training.rows.rows import Rows
from store import Matrix

TENTH = 10
"""One in so many rows is held out to choose on: the paper splits its training rows 90/10 at random."""

Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Division:
    """The rows of one run, by their numbers: those that heads learn from, are chosen on, and are measured on."""

    name: str
    train: Numbers
    val: Numbers
    test: Numbers


@dataclass(frozen=True, slots=True)
class AllRows:
    """All rows of a task with one class each and vectors of every encoder.

    Attributes:
        matrix: ids, vectors and labels, (N,) rows.
        table: columns id, labels, split and group of the same rows.
        codes: number of each row's class, (N,).
    """

    matrix: Matrix
    table: pa.Table
    codes: NDArray[np.int64]

    @classmethod
    def read(cls, rows: Rows) -> Self:
        """Read rows of all splits but `ood`, N × d × 4 bytes. Raises UnknownTask, UnknownFeatures, NotTrainable."""
        classes = rows.all_classes()
        matrix = rows.store.matrix(
            rows.task, encoders=rows.encoders, rows=rows.labels, snapshot=rows.snapshot, classes=classes
        )
        wanted = pa.array(matrix.ids, rows.labels["id"].type)
        table = rows.labels.take(pc.index_in(wanted, value_set=rows.labels["id"].combine_chunks()))
        return cls(matrix, table, matrix.codes)

    def unlearned(self, division: Division) -> int:
        """Return the number of test rows whose class has no training row in a run."""
        return int(np.count_nonzero(~np.isin(self.codes[division.test], self.codes[division.train])))

    def in_splits(self, *splits: str) -> Numbers:
        """Return the numbers of the rows of these splits."""
        return np.flatnonzero(np.isin(self.matrix.splits, splits))

    def divided(self, rows: Numbers, seed: int) -> tuple[Numbers, Numbers]:
        """Divide rows into those to learn from and a tenth to choose on: whole groups, if there are several."""
        some = self.table.take(rows)
        if (count := min(TENTH, len(groups_of(some)))) > 1:
            held = dealt(some, count, "groups") == seed % count
        else:
            strata = rarest(some["labels"].combine_chunks())
            held = stratified_folds(strata, TENTH, np.random.default_rng(seed)) == 0
            held &= np.isin(strata, strata[~held])  # the only row of a class is learned from
        return rows[~held], rows[held]


def by_seeds(rows: AllRows, seeds: Sequence[int]) -> Iterator[Division]:
    """Yield a run for each seed: it draws the rows to choose on from `train` and `val`. All runs measure `test`.

    Raises NotTrainable without rows in `test` or in `train`.
    """
    known, test = rows.in_splits("train", "val"), rows.in_splits("test")
    if not len(test) or not len(known):
        raise NotTrainable(
            f"task {rows.matrix.task!r} has {len(known)} rows in splits 'train' and 'val' and {len(test)} in 'test' "
            "with vectors of every encoder; without rows of both, measure fold by fold"
        )
    for seed in seeds:
        yield Division(f"seed {seed}", *rows.divided(known, seed), test)


def by_folds(rows: AllRows, count: int, seed: int) -> Iterator[Division]:
    """Yield a run for each fold of all rows, which measures that fold; whole groups, if there are several.

    Args:
        count: number of folds; fewer if there are fewer groups, so official folds that are stored as groups are used.

    Raises BadParameter for fewer than two folds.
    """
    if count < 2 or count > len(rows.codes):
        raise BadParameter(f"folds must be from 2 to the number of rows, {len(rows.codes)}, got {count}")
    groups = len(groups_of(rows.table))
    folds = dealt(rows.table, min(count, groups), "groups") if groups > 1 else dealt(rows.table, count)
    for number in range(int(folds.max()) + 1):
        learn, held = rows.divided(np.flatnonzero(folds != number), seed)
        yield Division(f"fold {number + 1}", learn, held, np.flatnonzero(folds == number))
