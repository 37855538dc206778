"""What labelled rows add to the texts of a zero-shot head: a linear part, for example the probe LP++."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from classifiers.fit.row_space import row_space

Array = NDArray[np.float64]

STEPS, ROUNDS = 10, 30
"""Steps in the weights before each step in the α, and number of such rounds: 300 steps, as in the authors' code. The
loss of few rows has no minimum, because some direction separates them; the number of steps takes the place of a
penalty."""

START = 250.0
"""Factor of the first α, in eq. 15 of the paper."""

TINY = 1e-12
"""Least divisor, for rows that are all zero."""


class LinearPart(Protocol):
    """Scores u Wᵀ + b of vectors u at unit norm: `coef_` is W (K, d), `intercept_` is b (K,)."""

    @property
    def coef_(self) -> Array: ...
    @property
    def intercept_(self) -> Array: ...


@dataclass(frozen=True, slots=True)
class Directions:
    """The linear part of scores w_k·(u - m): `coef_` is w (K, d), `centre` is m (d,)."""

    coef_: Array
    centre: Array

    @property
    def intercept_(self) -> Array:
        return np.asarray(-self.coef_ @ self.centre)


@dataclass(frozen=True, slots=True)
class TextProbe:
    """LP++ (Huang et al., CVPR 2024, arXiv 2404.02285): scores x·(w_k + α_k t_k) with the texts t_k of the classes.

    The weights w_k and the factors α_k are learned from few rows. The loss is the mean cross-entropy. It is minimised
    by steps in all w and, after every tenth of them, one step in all α. The sizes of the steps follow from bounds of
    the curvature (majorise-minimise), so nothing has to be chosen.

    Attributes:
        weights: w, (K, d).
        alpha: α, (K,).
        text: t, (K, d).
    """

    weights: Array
    alpha: Array
    text: Array

    @classmethod
    def learn(cls, X: NDArray[Any], codes: NDArray[np.integer[Any]], text: NDArray[Any], rounds: int = ROUNDS) -> Self:
        """Learn from rows X (n, d) of classes `codes` (n,) in 0…K-1, and text vectors (K, d), both of unit norm.

        The step in w is 4 n / λ, with the largest eigenvalue λ of XᵀX (eq. 10). The step in α is
        n / (4 max_k Σ_i c_ik²), with the cosines c of rows and texts (eq. 11). The start is w_k = the sum of the rows
        of class k, and every α_k = 250 times the mean cosine of a row and its class's text (eq. 15). The equations are
        numbered as in the authors' code. The curvature of the cross-entropy in the scores is at most 1/2, so 4 n / λ is
        the largest step that can never raise the loss.

        Each step costs 4 n K min(n, d) operations, in the space that the rows span.
        """
        Y, cosines = np.eye(len(text))[codes], X @ text.T
        basis = row_space(X) if len(X) < X.shape[1] else None
        Z = np.asarray(X if basis is None else X @ basis, dtype=np.float64)
        weights = Y.T @ Z
        alpha = np.full(len(text), START * cosines[np.arange(len(X)), codes].mean())
        weight_step = 4 * len(X) / max(np.linalg.eigvalsh(Z.T @ Z)[-1], TINY)
        alpha_step = len(X) / max(4 * (cosines**2).sum(axis=0).max(), TINY)

        def slope() -> Array:
            """Return the slope of the loss in the scores, (n, K)."""
            return np.asarray((softmax(Z @ weights.T + alpha * cosines, axis=1) - Y) / len(X))

        for _ in range(rounds):
            for _ in range(STEPS):
                weights -= weight_step * (slope().T @ Z)
            alpha -= alpha_step * (slope() * cosines).sum(axis=0)
        return cls(weights if basis is None else weights @ basis.T, alpha, np.asarray(text, dtype=np.float64))

    def directions(self) -> Array:
        """Return w_k + α_k t_k, (K, d)."""
        return self.weights + self.alpha[:, None] * self.text
