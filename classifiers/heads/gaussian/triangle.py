"""Inverses of triangular matrices and of covariances: NumPy has no triangular solver."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 64
"""Maximum width of a triangular matrix that is inverted by the general routine."""


def inverse_of_triangle(L: NDArray[Any]) -> NDArray[Any]:
    """Return L⁻¹ (d, d) of a lower triangular L without a 0 on its diagonal.

    The two halves are inverted recursively, so nearly all of the work is matrix products. At 1,280 columns this takes a
    fifth of the time of the general routine.
    """
    if len(L) <= WHOLE:
        return np.tril(np.linalg.inv(L))
    half = len(L) // 2
    first, last = inverse_of_triangle(L[:half, :half]), inverse_of_triangle(L[half:, half:])
    whole = np.zeros_like(L)
    whole[:half, :half], whole[half:, half:] = first, last
    whole[half:, :half] = -last @ (L[half:, :half] @ first)
    return whole


def inverse_of_covariance(C: NDArray[Any]) -> NDArray[Any]:
    """Return the symmetric C⁻¹ (d, d). Raises LinAlgError unless C is positive definite."""
    A = inverse_of_triangle(np.linalg.cholesky(C))
    return np.asarray(A.T @ A)
