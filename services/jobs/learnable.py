"""What a task can be learned from: how many labels a row has, and which encoders have vectors of its training rows."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store import FeatureTable, Store
from store.join import Positions
from store.tables.label_queries import distinct_labels

LEAST_LABELS = 2
"""Number of classes or labels of the training rows without which no head can be trained."""


def targets(rows: pa.Table) -> Literal["one", "any"]:
    """Return the number of labels of the rows of a task: exactly one each, or any number.

    Args:
        rows: rows with the columns `labels` and `split`; out-of-distribution rows do not count.
    """
    sizes = pc.list_value_length(rows.filter(pc.not_equal(rows["split"], pa.scalar("ood")))["labels"])
    return "one" if (np.asarray(sizes) == 1).all() else "any"


def with_vectors(store: Store, rows: pa.Table) -> Sequence[FeatureTable]:
    """Return the encoders with vectors of training rows of at least two labels, the one with most such rows first.

    Args:
        rows: rows of a task with the columns `id`, `labels` and `split`.
    """
    training = rows.filter(pc.equal(rows["split"], pa.scalar("train"))).combine_chunks()
    place, found = Positions(training["id"].combine_chunks()), []
    for each in store.encoders():
        where = place.of(store.features(each.fingerprint).ids().combine_chunks())
        some = training.take(where[where >= 0])
        if len(distinct_labels(some)) >= LEAST_LABELS:
            found.append((-some.num_rows, each))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]
