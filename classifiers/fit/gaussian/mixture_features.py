"""The functions of a vector that the components of a mixture head weigh: linear, with its square, or all products."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular

from classifiers.errors import NotTrainable
from classifiers.heads.gaussian.quadratic import Quadratic

MOST_LANDMARKS = 4096
"""Most rows whose kernel values describe a row of SDGM-F: 230 MB of features for 7,000 rows."""
MOST_FEATURES = 2**28
"""Most values of the features of all rows: 2 GiB."""
JITTER = 1e-10
"""Share of the kernel's trace that is added to its diagonal; equal rows make the kernel singular without it."""


class Features(Protocol):
    """Features of the training rows, and the scores of z that weights on them are."""

    @property
    def rows(self) -> NDArray[np.float64]:
        """Features of the training rows, (n, P)."""
        ...

    def quadratic(self, b: NDArray[np.float64], W: NDArray[np.float64], weights: NDArray[np.float64]) -> Quadratic:
        """Return b_c + W_c · z + weights_c · φ(z) as functions of z.

        Args:
            b: (C,).
            W: weights of the start, (C, m).
            weights: (C, P).
        """
        ...


class Linear:
    """φ(z) = z: Gaussians with one variance for all components, as in linear discriminant analysis."""

    def __init__(self, Z: NDArray[np.float64]) -> None:
        self.rows = Z

    def quadratic(self, b: NDArray[np.float64], W: NDArray[np.float64], weights: NDArray[np.float64]) -> Quadratic:
        return Quadratic(b, W + weights)


class Spherical:
    """φ(z) = [z, -½ ‖z‖²], centred: Gaussians with one variance for each component, in natural parameters.

    The weight of -½ ‖z‖² is the precision of a component minus the common one. A number that is added to the precisions
    of all components changes no posterior, so the weights need no constraint.
    """

    def __init__(self, Z: NDArray[np.float64]) -> None:
        half = -0.5 * np.einsum("nm,nm->n", Z, Z)
        self.mean = float(half.mean())
        self.rows = np.column_stack([Z, half - self.mean])

    def quadratic(self, b: NDArray[np.float64], W: NDArray[np.float64], weights: NDArray[np.float64]) -> Quadratic:
        linear, precisions = weights[:, :-1], weights[:, -1:]
        return Quadratic(b - self.mean * precisions[:, 0], W + linear, -0.5 * precisions)


class Diagonal:
    """φ(z) = [z, z²], with standardised squares: SDGM-D (Hayashi and Uchida, ICLR 2021)."""

    def __init__(self, Z: NDArray[np.float64]) -> None:
        squares = Z**2
        self.mean, deviation = squares.mean(axis=0), squares.std(axis=0)
        self.scale = np.where(deviation > 1e-9, deviation, 1.0)  # the mean variance of a column of Z is 1
        self.rows = np.concatenate([Z, (squares - self.mean) / self.scale], axis=1)

    def quadratic(self, b: NDArray[np.float64], W: NDArray[np.float64], weights: NDArray[np.float64]) -> Quadratic:
        dim = len(self.mean)
        Q = weights[:, dim:] / self.scale
        return Quadratic(b - Q @ self.mean, W + weights[:, :dim], Q)


class Products:
    """φ(z) = [z, z_i z_j / √m] for all i, j: SDGM-F (Hayashi and Uchida, ICLR 2021), for more rows than features.

    The product of two rows' features is the kernel z · z′ + (z · z′)² / m.
    """

    def __init__(self, Z: NDArray[np.float64]) -> None:
        dim = Z.shape[1]
        self.pairs = np.triu_indices(dim)
        self.factors = np.where(self.pairs[0] == self.pairs[1], 1.0, np.sqrt(2.0)) / np.sqrt(dim)
        rows = np.concatenate([Z, Z[:, self.pairs[0]] * Z[:, self.pairs[1]] * self.factors], axis=1)
        self.mean = rows.mean(axis=0)
        self.rows = rows - self.mean

    def quadratic(self, b: NDArray[np.float64], W: NDArray[np.float64], weights: NDArray[np.float64]) -> Quadratic:
        (count, dim), (first, second) = W.shape, self.pairs
        halves = np.zeros((count, dim, dim))
        halves[:, first, second] = 0.5 * self.factors * weights[:, dim:]
        return of_matrices(b - weights @ self.mean, W + weights[:, :dim], halves + halves.transpose(0, 2, 1))


class Landmarks:
    """The features of `Products` in coordinates of their own, one for each landmark row, for fewer rows than features.

    With the training rows as landmarks the fit is that of `Products`. With fewer landmarks, weights are limited to the
    span of the landmarks' features (Nyström).
    """

    def __init__(self, Z: NDArray[np.float64], seed: int) -> None:
        self.landmarks = Z
        if len(Z) > MOST_LANDMARKS:
            self.landmarks = Z[np.random.default_rng(seed).permutation(len(Z))[:MOST_LANDMARKS]]
        own = kernel(self.landmarks, self.landmarks)
        own.flat[:: len(own) + 1] += JITTER * np.trace(own)
        self.lower = cholesky(own, lower=True, overwrite_a=True)
        rows = solve_triangular(self.lower, kernel(self.landmarks, Z), lower=True, overwrite_b=True).T
        self.mean = rows.mean(axis=0)
        self.rows = rows - self.mean

    def quadratic(self, b: NDArray[np.float64], W: NDArray[np.float64], weights: NDArray[np.float64]) -> Quadratic:
        alpha = solve_triangular(self.lower, weights.T, lower=True, trans="T").T
        R, dim = self.landmarks, self.landmarks.shape[1]
        S = np.stack([(R.T * each) @ R / dim for each in alpha])
        return of_matrices(b - weights @ self.mean, W + alpha @ R, S)


def all_products(Z: NDArray[np.float64], seed: int) -> Features:
    """Return the features of SDGM-F in the form with fewer columns. Raises NotTrainable if they do not fit."""
    n, dim = Z.shape
    count, landmarks = dim * (dim + 3) // 2, min(n, MOST_LANDMARKS)
    if n * min(count, landmarks) > MOST_FEATURES:
        raise NotTrainable(
            f"sdgm-f of {n:,} rows in {dim} dimensions takes {n * min(count, landmarks) * 8e-9:.1f} GB; "
            "use project='pca' with fewer dims, fewer rows, or model='sdgm-d'"
        )
    return Products(Z) if count <= landmarks else Landmarks(Z, seed)


def kernel(A: NDArray[np.float64], B: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return z · z′ + (z · z′)² / m for rows A (a, m) and B (b, m): (a, b)."""
    g = A @ B.T
    return np.asarray(g + g * g / A.shape[1])


def of_matrices(b: NDArray[np.float64], W: NDArray[np.float64], S: NDArray[np.float64]) -> Quadratic:
    """Return b_c + W_c · z + zᵀ S_c z for symmetric S (C, m, m).

    S is written as ½ FᵀF with F upper triangular, plus its least eigenvalue (and a little less) on the diagonal.
    """
    least, F = np.empty((len(S), 1)), np.empty_like(S)
    for c, matrix in enumerate(S):
        edge = 1e-9 * np.abs(matrix).sum(axis=0).max() + np.finfo(np.float64).tiny
        least[c] = eigh(matrix, eigvals_only=True, subset_by_index=[0, 0])[0] - edge
        F[c] = cholesky(2.0 * (matrix - least[c] * np.eye(len(matrix))), lower=False)
    return Quadratic(b, W, least, F, np.zeros(F.shape[:2]))
