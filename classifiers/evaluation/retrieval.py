"""Retrieval across two modalities: the rank of the first relevant item for each query, and recall at k."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CELLS = 1 << 24
"""Most cosines in memory at a time: 64 MiB in float32."""


def ranks(queries: NDArray[Any], items: NDArray[Any], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each query how many irrelevant items are before its best relevant item, (n,).

    Items are sorted by their product with the query. An irrelevant item that ties with the best relevant one counts as
    before it, so vectors that are all equal find nothing.

    Args:
        queries: (n, d).
        items: (m, d).
        relevant: (n, m), with at least one True in each row.

    Raises ValueError for a query without a relevant item.
    """
    if not relevant.any(axis=1).all():
        raise ValueError("a query has no relevant item, so it has no rank; leave it out")
    found = np.empty(len(queries), np.int64)
    rows = max(1, CELLS // max(1, len(items)))
    for start in range(0, len(queries), rows):
        part = slice(start, start + rows)
        products, good = queries[part] @ items.T, relevant[part]
        best = np.where(good, products, -np.inf).max(axis=1, keepdims=True)
        found[part] = ((products >= best) & ~good).sum(axis=1)
    return found


def recall_at(found: NDArray[np.int64], k: int) -> float:
    """Return recall at k as in image-text retrieval: the share of queries with a relevant item among the first k.

    Args:
        found: see `ranks`, n ≥ 1.
    """
    return float((found < k).mean())
