"""Checks of text vectors, for every head that knows its classes or labels by texts."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadVectors
from classifiers.heads.base import check_vectors
from classifiers.heads.transform import unit_rows


def check_text(vectors: ArrayLike, count: int, width: int | None = None) -> NDArray[np.float32]:
    """Return text vectors as float32 (count, width), scaled to unit norm.

    Args:
        vectors: (count, width), of any norm.
        count: number of labels.
        width: None for any width.

    Raises:
        BadVectors: another shape, values that are not finite, or a vector of zeros.
    """
    given = np.asarray(vectors)
    if given.ndim != 2 or len(given) != count:
        raise BadVectors(f"expected {count} text vectors, one per label, as ({count}, width); got shape {given.shape}")
    rows = check_vectors(given, given.shape[1] if width is None else width)
    require_nonzero(rows)
    return unit_rows(rows)


def require_nonzero(rows: NDArray[np.float32]) -> None:
    """Raise BadVectors if a row of text vectors (n, d) is zero."""
    nonzero = rows.any(axis=1)
    if not nonzero.all():
        raise BadVectors(f"text vector {int(np.argmin(nonzero))} is zero: it has no direction, so it names no label")
