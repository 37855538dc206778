"""Groups of near-duplicates: the connected components of their pairs."""

import numpy as np
from numpy.typing import NDArray


def components(a: NDArray[np.int64], b: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the number of each row's group, (n,): rows that a chain of pairs joins have the same number.

    The number is that of the group's first row. All pairs pull the numbers of their rows down to the lower one until
    nothing changes, and chains are shortened in each round (Shiloach and Vishkin 1982), so the rounds are few.

    Args:
        a, b: numbers of the rows of each pair, (m,).
    """
    root = np.arange(n)
    while True:
        low = np.minimum(root[a], root[b])
        before = root.copy()
        for side in (a, b):
            np.minimum.at(root, before[side], low)
        while not np.array_equal(shorter := root[root], root):
            root = shorter
        if np.array_equal(root, before):
            return root


def numbered(root: NDArray[np.int64], a: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the group of each pair, numbered from 1 in the order of the pairs, (m,), and the size of each group, (g,).

    Args:
        root: result of `components`, (n,).
        a: one row of each pair, (m,).
    """
    roots, first, inverse = np.unique(root[a], return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(1, len(order) + 1)
    sizes = np.bincount(root, minlength=len(root))
    return place[inverse], sizes[roots[order]]
