"""Counts, sums and second moments of labelled rows, in one pass over them."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Moment = Literal["shared", "diagonal", "full"]
"""Form of the second moment: "shared" is Σ x xᵀ over all rows (d, d), "diagonal" Σ x² per class (K, d), "full" Σ x xᵀ
per class (K, d, d)."""

CHUNK_ROWS = 8192
"""Rows per Gram product. It bounds the working copy (8192 × 1280 float32 = 42 MB), and the number of rows that are
summed in float32 before their sum is added in float64."""

PIECE_ROWS = 1024
"""Rows that are gathered, shifted and summed at a time, so that they stay in the cache (1024 × 512 float32 = 2 MB)."""


def second_shape(moment: Moment, n_classes: int, dim: int) -> tuple[int, ...]:
    """Return the shape of the second moment."""
    return {"shared": (dim, dim), "diagonal": (n_classes, dim), "full": (n_classes, dim, dim)}[moment]


def moments(
    X: NDArray[Any],
    codes: NDArray[np.integer[Any]],
    n_classes: int,
    moment: Moment = "shared",
    weights: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return counts (K,), sums (K, d) and the second moment of X (n ≥ 1, d) with codes (n,) and optional weights (n,).

    Products are computed of rows minus a provisional mean, because a mean that is large compared with the deviation
    would cost digits in a float32 product. Any point near the data will do: the mean of about 256 rows spread over X.
    Rows are taken class by class. The sums of a class are then sums of a few tall blocks, which takes a fifth to a
    twentieth of the time of a scatter, a sparse product or `np.add.reduceat` (measured).
    """
    dtype = np.float32 if X.dtype.kind == "f" and X.dtype.itemsize <= 4 else np.float64
    X = X.astype(dtype, copy=False)
    shift = X[:: max(1, len(X) // 256)].mean(axis=0, dtype=np.float64).astype(dtype)
    order = None if (codes[1:] >= codes[:-1]).all() else np.argsort(codes, kind="stable")
    if order is not None:
        codes, weights = codes[order], None if weights is None else weights[order]
    weighting = np.ones(len(X), dtype) if weights is None else weights.astype(dtype)
    counts = np.bincount(codes, weights=weights, minlength=n_classes)
    sums, second = np.zeros((n_classes, X.shape[1])), np.zeros(second_shape(moment, n_classes, X.shape[1]))
    room = np.empty((min(CHUNK_ROWS, len(X)), X.shape[1]), dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller finds overflows in the results
        for start in range(0, len(X), CHUNK_ROWS):
            end = min(start + CHUNK_ROWS, len(X))
            Z = room[: end - start]
            for low in range(start, end, PIECE_ROWS):
                piece = slice(low, min(low + PIECE_ROWS, end))
                Z_piece = Z[low - start : piece.stop - start]
                if order is None:
                    np.subtract(X[piece], shift, out=Z_piece)
                else:
                    np.take(X, order[piece], axis=0, out=Z_piece, mode="clip")  # "raise" would buffer `out`: a copy
                    np.subtract(Z_piece, shift, out=Z_piece)
                add_group_sums(sums, Z_piece, codes[piece], weighting[piece])
                if weights is not None:
                    np.multiply(Z_piece, np.sqrt(weighting[piece])[:, None], out=Z_piece)
            add_second(second, moment, Z, codes[start:end])
        add_shift(sums, second, moment, counts.astype(np.float64), shift.astype(np.float64))
    return counts.astype(np.float64), sums, second


def groups(codes: NDArray[np.integer[Any]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the start and the end of each run of equal codes in sorted `codes` (n,)."""
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return starts, np.append(starts[1:], len(codes))


def add_group_sums(
    sums: NDArray[np.float64], Z: NDArray[Any], codes: NDArray[np.integer[Any]], weights: NDArray[Any]
) -> None:
    """Add the weighted rows of Z (n, d) to the rows of `sums` (K, d) that sorted `codes` (n,) name, in place."""
    starts, ends = groups(codes)
    added = np.empty((len(starts), Z.shape[1]), Z.dtype)
    for total, start, end in zip(added, starts.tolist(), ends.tolist(), strict=True):
        np.dot(weights[start:end], Z[start:end], out=total)  # takes half the time of Z.sum(axis=0)
    sums[codes[starts]] += added


def add_second(second: NDArray[np.float64], moment: Moment, Z: NDArray[Any], codes: NDArray[np.integer[Any]]) -> None:
    """Add the second moment of the rows of Z (n, d) with sorted `codes` (n,), in place."""
    if moment == "shared":
        second += Z.T @ Z
    elif moment == "diagonal":
        add_group_sums(second, Z * Z, codes, np.ones(len(Z), Z.dtype))
    else:
        starts, ends = groups(codes)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            second[codes[start]] += Z[start:end].T @ Z[start:end]


def add_shift(
    sums: NDArray[np.float64],
    second: NDArray[np.float64],
    moment: Moment,
    counts: NDArray[np.float64],
    shift: NDArray[np.float64],
) -> None:
    """Turn the moments of rows minus `shift` (d,) into the moments of the rows, in place."""
    sums += np.outer(counts, shift)
    if moment == "diagonal":
        second += shift * (2.0 * sums - np.outer(counts, shift))
        return
    if moment == "shared":
        second, sums, counts = second[None], sums.sum(axis=0)[None], counts.sum()[None]
    for matrix, total, count in zip(second, sums, counts.tolist(), strict=True):
        if count > 0:
            cross = np.outer(shift, total - 0.5 * count * shift)
            matrix += cross + cross.T
