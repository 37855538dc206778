"""Near-duplicates: pairs of vectors whose cosine reaches a threshold, and a threshold proposed from the vectors.

All functions are pure and take directions Z (n, d): vectors scaled to length one, float16 or float32.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import TooManyPairs

BLOCK = 2048
"""Rows on each side of a block of cosines, which takes 16 MiB."""

SCREENED = 64
"""Numbers that the screening keeps of each vector, and one more for the length of the rest."""

BASIS_ROWS = 512
"""Maximum number of rows from which the screening learns its basis."""

CROWDED = 0.005
"""Share of a block above which all of its cosines are computed: that is faster than taking pairs one by one."""

ROUNDING = 1e-3
"""The screening passes pairs that are this much below the threshold, because float16 rounds."""

MOST_PAIRS = 1_000_000
"""Maximum number of pairs. A threshold with more is too low to show near-duplicates."""

SAMPLE = 1000
"""Number of rows whose nearest neighbours propose a threshold."""

RANK = 10
"""Number of the neighbour of a row, counted from the nearest, whose distance counts as ordinary."""

SHARE = 0.25
"""Share of the ordinary distance within which two vectors are near-duplicates.

Cleanlab's share of 0.13 missed many photos that were compressed, made smaller, cropped, mirrored or brightened; a
quarter finds most of them, and few pairs among photos that are not copies."""

LEAST, MOST = 0.8, 0.9999
"""Limits of the proposed threshold."""


class Pairs(NamedTuple):
    """Pairs of rows, `a` < `b`: numbers of the rows (m,), and their cosines (m,)."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    cosine: NDArray[np.float32]


def near_pairs(
    Z: NDArray[Any],
    threshold: float,
    *,
    most: int = MOST_PAIRS,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Pairs:
    """Return all pairs of rows of Z (n, d) whose cosine is at least `threshold`, the highest first.

    No pair is missed. Vectors are screened in a few dimensions first: with an orthonormal basis P and a unit vector
    x, the vector (Px, |x - PᵀPx|) has length one too, and by the Cauchy-Schwarz inequality the cosine of two of these
    is never below that of the vectors (the lower-bounding lemma of Faloutsos et al., SIGMOD 1994). Only pairs that
    pass are computed in all dimensions.

    Time: about n² · `SCREENED` multiplications, half of that for symmetry. Memory: n · `SCREENED` · 4 bytes, and a few
    blocks of cosines.

    Args:
        most: maximum number of pairs.
        on_rows: called with the number of rows that are done.

    Raises TooManyPairs.
    """
    Q = screen(Z)
    found: list[Pairs] = []
    count = 0
    for start in range(0, len(Z), BLOCK):
        for pairs in _row_of_blocks(Z, Q, start, threshold):
            found.append(pairs)
            count += len(pairs.a)
            if count > most:
                raise TooManyPairs(threshold, most, min(start + BLOCK, len(Z)), len(Z))
        on_rows(min(start + BLOCK, len(Z)))
    return _sorted(found)


def screen(Z: NDArray[Any]) -> NDArray[np.float32]:
    """Return the rows of Z (n, d) in few dimensions, float32 (n, k): their cosines are never below those of Z.

    The basis is that of the largest principal components, without centring, of rows spread over Z.
    """
    n, d = Z.shape
    if d <= SCREENED + 1 or n < 2:
        return Z.astype(np.float32)
    some = Z[np.unique(np.linspace(0, n - 1, min(n, BASIS_ROWS)).astype(np.int64))].astype(np.float64)
    values, vectors = np.linalg.eigh(some @ some.T)
    keep = np.flatnonzero(values > 1e-9 * values[-1])[-SCREENED:]
    basis, _ = np.linalg.qr(some.T @ vectors[:, keep])
    P = basis.astype(np.float32)
    Q = np.empty((n, P.shape[1] + 1), np.float32)
    for start in range(0, n, BLOCK):
        part = Z[start : start + BLOCK].astype(np.float32)
        inside = part @ P
        squares = np.einsum("ij,ij->i", part, part) - np.einsum("ij,ij->i", inside, inside)
        Q[start : start + BLOCK, :-1] = inside
        Q[start : start + BLOCK, -1] = np.sqrt(np.maximum(squares, 0))
    return Q


def _row_of_blocks(Z: NDArray[Any], Q: NDArray[np.float32], start: int, threshold: float) -> Iterator[Pairs]:
    """Yield the pairs of the rows from `start` on with these rows and all later ones, block by block."""
    mine = Q[start : start + BLOCK]
    for other in range(start, len(Z), BLOCK):
        passed = mine @ Q[other : other + BLOCK].T >= threshold - ROUNDING
        if other == start:
            passed = np.triu(passed, 1)
        if count := int(np.count_nonzero(passed)):
            chosen = _of_all if count > CROWDED * passed.size else _of_each
            i, j, cosines = chosen(Z[start : start + BLOCK], Z[other : other + BLOCK], passed, threshold)
            yield Pairs(i + start, j + other, np.minimum(cosines, 1))


Near = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
"""The rows in two blocks of pairs that reach the threshold, and their cosines, (m,) each."""


def _of_all(first: NDArray[Any], second: NDArray[Any], passed: NDArray[np.bool_], threshold: float) -> Near:
    """Compute the cosines of all pairs of two blocks, in one product."""
    cosines = first.astype(np.float32) @ second.astype(np.float32).T
    i, j = np.nonzero((cosines >= threshold) & passed)
    return i, j, cosines[i, j]


def _of_each(first: NDArray[Any], second: NDArray[Any], passed: NDArray[np.bool_], threshold: float) -> Near:
    """Compute the cosines of the pairs that `passed` only."""
    i, j = np.nonzero(passed)
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(i), BLOCK):
        a, b = first[i[start : start + BLOCK]], second[j[start : start + BLOCK]]
        parts.append(np.einsum("ij,ij->i", a.astype(np.float32), b.astype(np.float32)))
    cosines = np.concatenate(parts)
    near = cosines >= threshold
    return i[near], j[near], cosines[near]


def _sorted(found: list[Pairs]) -> Pairs:
    """Return all pairs, the highest cosine first, ties by the numbers of the rows."""
    none = np.empty(0, np.int64)
    a, b = (np.concatenate([none, *(pairs[side] for pairs in found)]) for side in (0, 1))
    cosine = np.concatenate([np.empty(0, np.float32), *(pairs.cosine for pairs in found)])
    order = np.lexsort((b, a, -cosine))
    return Pairs(a[order], b[order], cosine[order])


def neighbours(Z: NDArray[Any], rows: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Return the cosines of some rows of Z (n, d) with their `count` nearest other rows, nearest first.

    Returns float32 (len(rows), min(count, n - 1)).
    """
    count = min(count, len(Z) - 1)
    asked = Z[rows].astype(np.float32)
    best = np.full((len(rows), count), -2, np.float32)
    for start in range(0, len(Z), BLOCK):
        cosines = asked @ Z[start : start + BLOCK].astype(np.float32).T
        own = np.flatnonzero((rows >= start) & (rows < start + BLOCK))
        cosines[own, rows[own] - start] = -2
        best = _largest(np.concatenate([best, cosines], axis=1), count)
    return np.minimum(-np.sort(-best, axis=1), 1)


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the `count` largest values of each row, in any order."""
    return np.partition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]


def sample_of(n: int, seed: int = 0, most: int = SAMPLE) -> NDArray[np.int64]:
    """Return the numbers of at most `most` of n rows, drawn at random, sorted."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def proposed_threshold(cosines: NDArray[np.float32]) -> float:
    """Return the cosine from which two vectors count as near-duplicates, from the neighbours of some rows.

    It is 1 - `SHARE` · the median distance 1 - cosine to the tenth neighbour, between `LEAST` and `MOST`. The rule
    follows Cleanlab's detector of near-duplicates (docs.cleanlab.ai, issue type near_duplicate), which takes 0.13 of
    the median distance to the nearest neighbour. The tenth one is used here, because in a store in which most files
    have a copy the distance to the nearest neighbour is that of a copy.

    Args:
        cosines: with the nearest other rows, nearest first, (n, k); see `neighbours`.
    """
    if not cosines.size:
        return LEAST
    ordinary = float(np.median(1 - cosines[:, min(RANK, cosines.shape[1]) - 1].astype(np.float64)))
    return round(min(max(1 - SHARE * ordinary, LEAST), MOST), 4)
