"""The agreement of clusters with the labels of a task. Nothing is learned from these labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from classifiers.clustering.assignment import Assignment
from store.errors import BadLabels
from store.matrix import codes_of
from store.rows import strings
from store.tables.label_queries import classes_of

if TYPE_CHECKING:
    from store import Store


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of clusters with the classes of a task.

    Attributes:
        rows, classes: numbers of compared rows and classes.
        purity: share of rows whose class is the commonest of their cluster. It rises with the number of clusters, so
            compare it only at one number of clusters.
        nmi: normalised mutual information: mutual information over the mean of both entropies, 0…1.
        majority: number of the commonest class of each cluster, (k,); -1 for a cluster without a labelled row.
        share: share of that class in the cluster, (k,).
    """

    rows: int
    classes: int
    purity: float
    nmi: float
    majority: NDArray[np.int64]
    share: NDArray[np.float64]


def agreement(codes: NDArray[np.int64], truth: NDArray[np.int64], clusters: int, classes: int) -> Agreement:
    """Compare cluster codes (n,) in 0…clusters-1 with class codes (n,) in 0…classes-1, n ≥ 1."""
    table = np.bincount(codes * classes + truth, minlength=clusters * classes).reshape(clusters, classes)
    sizes, most = table.sum(axis=1), table.max(axis=1)
    rows, columns = sizes / len(codes), table.sum(axis=0) / len(codes)
    i, j = np.nonzero(table)
    p = table[i, j] / len(codes)
    mutual = float((p * np.log(p / (rows[i] * columns[j]))).sum())
    entropy = (_entropy(rows) + _entropy(columns)) / 2
    return Agreement(
        rows=len(codes),
        classes=int(np.count_nonzero(columns)),
        purity=float(most.sum() / len(codes)),
        nmi=max(0.0, mutual) / entropy if entropy else 1.0,
        majority=np.where(sizes > 0, table.argmax(axis=1), -1),
        share=np.divide(most, sizes, out=np.zeros(clusters), where=sizes > 0),
    )


def _entropy(p: NDArray[np.float64]) -> float:
    """Return the entropy of a distribution, in nats."""
    filled = p[p > 0]
    return float(-(filled * np.log(filled)).sum())


@dataclass(frozen=True, slots=True)
class Comparison:
    """The agreement `found` with a task, and the names of the task's classes, (classes,)."""

    task: str
    classes: Sequence[str]
    found: Agreement


@dataclass(frozen=True, slots=True)
class Truth:
    """The classes that a task gives to assets.

    Attributes:
        codes: {asset id: number of its class}.
        classes: names of the classes, (classes,).
    """

    task: str
    codes: dict[str, int]
    classes: Sequence[str]

    @classmethod
    def read(cls, store: "Store", task: str) -> "Truth":
        """Read the classes of the assets in train and val. Raises UnknownTask, BadLabels.

        Rows in test are left out, because the number of clusters may be chosen by the agreement.
        """
        rows = store.labels.get(task)
        rows = rows.filter(pc.is_in(rows["split"], value_set=pa.array(["train", "val"])))
        classes = classes_of(rows)
        codes = codes_of(rows["id"].combine_chunks(), rows["labels"].combine_chunks(), classes, task).tolist()
        known = {id_: code for id_, code in zip(strings(rows["id"]), codes, strict=True) if code >= 0}
        return cls(task, known, classes)

    def compare(self, assigned: Assignment, clusters: int) -> Comparison:
        """Compare each asset's class with the nearest of the `clusters` centres.

        Raises BadLabels when no clustered asset has a class.
        """
        rows = [row for row, id_ in enumerate(assigned.ids) if id_ in self.codes]
        if not rows:
            raise BadLabels(
                f"none of the clustered vectors has a label of task {self.task!r} in train or val: there is nothing "
                "to compare with; name another task, or label some of these assets"
            )
        codes = np.array([self.codes[assigned.ids[row]] for row in rows])
        found = agreement(assigned.codes[rows, 0], codes, clusters, len(self.classes))
        return Comparison(self.task, self.classes, found)
