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


def solved_below(L: NDArray[Any], B: NDArray[Any]) -> NDArray[Any]:
    """Return L⁻¹ B (d, k) for a lower triangular L (d, d) without a 0 on its diagonal."""
    if len(L) <= WHOLE:
        return np.asarray(np.linalg.solve(L, B))
    half = len(L) // 2
    first = solved_below(L[:half, :half], B[:half])
    return np.concatenate([first, solved_below(L[half:, half:], B[half:] - L[half:, :half] @ first)])


def solved_above(L: NDArray[Any], B: NDArray[Any]) -> NDArray[Any]:
    """Return L⁻ᵀ B (d, k) for a lower triangular L (d, d) without a 0 on its diagonal."""
    if len(L) <= WHOLE:
        return np.asarray(np.linalg.solve(L.T, B))
    half = len(L) // 2
    last = solved_above(L[half:, half:], B[half:])
    return np.concatenate([solved_above(L[:half, :half], B[:half] - L[half:, :half].T @ last), last])


def whitening_of(L: NDArray[Any]) -> NDArray[Any]:
    """Return the upper triangular A = L⁻ᵀ, with which rows x A have the identity as covariance, for C = L Lᵀ.

    For the deviations (d,) of a diagonal C, it is 1 / L.
    """
    return inverse_of_triangle(L).T if L.ndim == 2 else 1.0 / L


def inverse_of_covariance(C: NDArray[Any]) -> NDArray[Any]:
    """Return the symmetric C⁻¹ (d, d). Raises LinAlgError unless C is positive definite."""
    A = inverse_of_triangle(np.linalg.cholesky(C))
    return np.asarray(A.T @ A)
