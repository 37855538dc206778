"""The labelled rows of one task at one snapshot: their splits, classes and groups, and the folds that are held out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.errors import NotTrainable, SeveralLabels
from classifiers.training.rows.folds import By, dealt, groups_of, has_groups
from store import Snapshot, Store
from store.rows import Column, chosen
from store.tables.label_queries import distinct_labels

FOLDS = 5
LEAST_CROSSED, MOST_CROSSED, ENOUGH = 20, 20_000, 10_000
"""Numbers of training rows. With fewer than the first, no rows are held out. With more than the second, only one fold
is held out: about the third number of rows, which is enough to validate on."""

LEAST_VALIDATION = 50
"""Number of validation rows below which folds of the training rows are used instead, if these are more.

Measured on three tasks (`benchmarks/calibration_rows.py`): with a temperature from 9 validation rows, the NLL of other
rows is 0.03 to 0.11 above that with folds of 325 to 789 training rows; with 50 rows it is at most 0.023 above it. And 9
rows allow no prediction set with a coverage above 0.9. Folds cost five more fits.
"""


@dataclass(frozen=True)
class TaskRows:
    """The labelled rows of one task, at one snapshot.

    Attributes:
        encoders: names or fingerprints of stored encoders.
        fold: (i, n) if fold i of n of the training rows is held out as the split `val`; None for the task's own splits.
        table: the property `labels`, if it has been read already; with `fold`, it has a column `fold` too.
    """

    store: Store
    task: str
    encoders: tuple[str, ...]
    snapshot: Snapshot
    fold: tuple[int, int] | None = None
    table: pa.Table | None = field(default=None, repr=False, compare=False)

    @cached_property
    def labels(self) -> pa.Table:
        """The task's labels without the split `ood`. Raises UnknownTask with the tasks that exist."""
        return self._split_from(pc.not_equal) if self.table is None else self.table

    @cached_property
    def outside(self) -> pa.Table:
        """The task's labels in the split `ood`. Raises UnknownTask with the tasks that exist."""
        return self._split_from(pc.equal)

    def _split_from(self, relation: Callable[..., Column]) -> pa.Table:
        return chosen(self._stored, relation(self._stored["split"], pa.scalar("ood")))

    @cached_property
    def _stored(self) -> pa.Table:
        """The task's labels in all splits."""
        labels = self.store.labels
        return labels.get(self.task, version=self.snapshot.of(labels.table), columns=["id", "labels", "split", "group"])

    def narrowed(self, ids: Sequence[str]) -> Self:
        """Return the rows of these ids alone, in all splits."""
        own = self.labels["id"]
        return replace(self, table=chosen(self.labels, pc.is_in(own, value_set=pa.array(ids, own.type))))

    def labelled(self, split: str) -> pa.Table:
        """Return the rows of `labels` in a split. A held-out fold is the split `val`, and missing from `train`."""
        if split not in self._by_split:
            self._by_split[split] = chosen(self.labels, self._in_split(split))
        return self._by_split[split]

    @cached_property
    def _by_split(self) -> dict[str, pa.Table]:
        """The rows of `labels` in each split that was asked for."""
        return {}

    def _in_split(self, split: str) -> Column:
        if self.fold is None or split not in ("train", "val"):
            return pc.equal(self.labels["split"], pa.scalar(split))
        held = pc.equal if split == "val" else pc.not_equal
        return held(self.labels["fold"], pa.scalar(self.fold[0]))  # null for other splits

    @cached_property
    def groups(self) -> Sequence[str]:
        """Groups of the training rows, sorted."""
        return groups_of(self.labelled("train")) if has_groups(self.labels) else ()

    @property
    def grouped(self) -> bool:
        """True if the training rows have several groups, so that whole groups are held out."""
        return len(self.groups) > 1

    def require_one_label(self) -> None:
        """Raise NotTrainable for rows with several labels or none."""
        sizes = self._sizes()
        if len(wrong := np.flatnonzero(sizes != 1)):
            first = int(wrong[0])
            raise SeveralLabels(
                self.task,
                self.labels["id"][first].as_py(),
                self.labels["labels"][first].as_py(),
                len(wrong),
                len(sizes),
            )

    @property
    def one_each(self) -> bool:
        """True if every row has exactly one label."""
        return bool((self._sizes() == 1).all())

    def _sizes(self) -> NDArray[Any]:
        return np.asarray(pc.list_value_length(self.labels["labels"]).to_numpy())

    def all_classes(self) -> tuple[str, ...]:
        """Return the classes of all splits except `ood`, sorted. Raises UnknownTask, NotTrainable."""
        self.require_one_label()
        return distinct_labels(self.labels)

    def classes(self) -> tuple[str, ...]:
        """Return the classes of the training rows, sorted.

        Raises:
            UnknownTask: of the store, with the tasks that exist.
            NotTrainable: rows with several labels or none, no training rows, or a single class.
        """
        self.require_one_label()
        names, count = self._training()
        if len(names) < 2:
            raise NotTrainable(
                f"task {self.task!r} has {count} training rows of {len(names)} class(es) {list(names)}; a head needs "
                "rows of at least 2 classes in the split 'train'"
            )
        return names

    def label_names(self) -> tuple[str, ...]:
        """Return the labels of the training rows, sorted. Raises UnknownTask; NotTrainable for fewer than two."""
        names, count = self._training()
        if len(names) < 2:
            raise NotTrainable(
                f"task {self.task!r} has {count} training rows with {len(names)} label(s) {list(names)}; a head needs "
                "at least 2 labels in the split 'train'"
            )
        return names

    def _training(self) -> tuple[tuple[str, ...], int]:
        return distinct_labels(training := self.labelled("train")), training.num_rows

    @cached_property
    def has_validation(self) -> bool:
        """True if choices are made on the split `val`; False if on folds of the training rows, or on nothing.

        The split is not used if no row has a label that can be learned, or if it has fewer than `LEAST_VALIDATION` rows
        and the training rows are at least as many.
        """
        validation = self.labelled("val")
        if self.fold is not None or not validation.num_rows:
            return validation.num_rows > 0
        known = self.known_validation
        return known >= LEAST_VALIDATION or (known > 0 and self.labelled("train").num_rows < LEAST_VALIDATION)

    @cached_property
    def known_validation(self) -> int:
        """Number of rows of the split `val` that have a label of the training rows."""
        return count_known(self.labelled("val")["labels"], distinct_labels(self.labelled("train")))

    def validations(self) -> list[Self]:
        """Return views of the rows whose split `val` can be used for a choice.

        If the task has enough validation rows, the only view is these rows. Otherwise there is one view for each fold,
        with that fold of the training rows held out; none if there are too few rows.
        """
        return [self] if self.has_validation else self._crossed

    @cached_property
    def _crossed(self) -> list[Self]:
        return self.crossed("groups" if self.grouped else "rows")

    def crossed(self, by: By) -> list[Self]:
        """Return one view for each fold of the training rows, held out as the split `val`; none for too few rows.

        Of many training rows only one fold is held out, see `MOST_CROSSED`.
        """
        training = self.labelled("train").num_rows
        if training < LEAST_CROSSED:
            return []
        if training > MOST_CROSSED:
            return self.folds(training // ENOUGH, by)[:1]
        return self.folds(FOLDS, by)

    def folds(self, count: int, by: By = "rows") -> list[Self]:
        """Return one view for each of `count` folds of the training rows; for fewer groups, one for each group."""
        if by == "groups":
            count = min(count, len(self.groups))
        training = pc.equal(self.labels["split"], pa.scalar("train")).to_numpy()
        numbers = np.full(len(training), -1)
        numbers[training] = dealt(self.labelled("train"), count, by)
        table = self.labels.append_column("fold", pa.array(numbers, pa.int64(), mask=~training))
        return [replace(self, fold=(i, count), table=table) for i in range(count)]

    def held_out(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return a mask that is true for those of these training rows that the fold holds out, (n,)."""
        own = self.labelled("val")["id"].combine_chunks()
        return np.asarray(pc.is_in(pa.array(ids, pa.string()), value_set=own).to_numpy(zero_copy_only=False))


def count_known(labels: Column, known: Sequence[str]) -> int:
    """Return the number of rows that have one of the known labels, or no label at all.

    Args:
        labels: labels of each row, list<string> (n).
    """
    lists = labels.combine_chunks()
    none = int(np.count_nonzero(np.asarray(pc.list_value_length(lists)) == 0))
    found: Column = pc.is_in(lists.flatten(), value_set=pa.array(known, pa.string()))
    owners: Column = pc.list_parent_indices(lists)
    return none + len(pc.unique(owners.filter(found)))
