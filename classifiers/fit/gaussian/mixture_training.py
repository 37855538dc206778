"""Maximum posterior training of mixture heads: cross-entropy with a penalty on the distance from the start."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import fmin_l_bfgs_b

from classifiers.errors import NotTrainable

CHUNK_CELLS = 2**22
"""Most scores that are computed at a time: 32 MB."""
CONSTANT = 10.0
"""Size of a step of a constant compared with a weight's. So a constant's penalty is a hundredth."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The cross-entropy of class scores log Σ_g exp(start_kg + A_kg · φ + c_kg), and a penalty on A and c.

        mean cross-entropy + (‖A‖² + 0.01 ‖c‖²) / (2 C n)

    It is convex for one component a class. In the variables x = (A, 0.1 c) / √min(C, 1) the penalty has a weight of at
    most 1 / n whatever C, and C = 0 keeps the start.

    Attributes:
        rows: features φ (n, P).
        start: scores of the start, (n, K·G), class by class; -inf for unused components.
        codes: true classes (n,).
        n_classes: K.
        C: inverse strength of the penalty, ≥ 0.
    """

    rows: NDArray[np.float64]
    start: NDArray[np.float64]
    codes: NDArray[np.intp]
    n_classes: int
    C: float

    @property
    def scale(self) -> float:
        """√min(C, 1): the size of a unit step of a weight."""
        return float(np.sqrt(min(self.C, 1.0)))

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of components and of features."""
        return self.start.shape[1], self.rows.shape[1]

    def learned(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return A (K·G, P) and c (K·G,) of variables x."""
        count, width = self.shape
        return self.scale * x[: count * width].reshape(count, width), CONSTANT * self.scale * x[count * width :]

    def variables(self, A: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the variables of A and c, for C > 0."""
        return np.concatenate([A.ravel(), c / CONSTANT]) / self.scale

    def __call__(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the value at x, and its gradient."""
        n, (A, c) = len(self.rows), self.learned(x)
        value, weights, constants = 0.0, np.zeros_like(A), np.zeros_like(c)
        step = max(1, CHUNK_CELLS // len(c))
        for some in (slice(first, first + step) for first in range(0, n, step)):
            scores = self.rows[some] @ A.T
            scores += c
            scores += self.start[some]
            losses, residuals = cross_entropy(scores, self.codes[some], self.n_classes)
            value += float(losses.sum())
            weights += residuals.T @ self.rows[some]
            constants += residuals.sum(axis=0)
        gradient = self.scale / n * np.concatenate([weights.ravel(), CONSTANT * constants])
        penalty = min(1.0, 1.0 / self.C if self.C else 1.0) / n
        return value / n + 0.5 * penalty * float(x @ x), gradient + penalty * x


def cross_entropy(
    scores: NDArray[np.float64], codes: NDArray[np.intp], n_classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return -log of the posterior of the true classes (n,), and its derivative by the component scores (n, K·G).

    Every class needs a component with a finite score. `scores` is overwritten.
    """
    rows = np.arange(len(scores))
    own = scores.reshape(len(scores), n_classes, -1)[rows, codes]
    own_top, top = own.max(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
    own, shares = np.exp(own - own_top), np.exp(np.subtract(scores, top, out=scores), out=scores)
    own_total, total = own.sum(axis=1, keepdims=True), shares.sum(axis=1, keepdims=True)
    losses = np.log(total) + top - np.log(own_total) - own_top
    shares /= total
    shares.reshape(len(scores), n_classes, -1)[rows, codes] -= own / own_total
    return losses[:, 0], shares


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of `trained`: weights A (K·G, P), constants c (K·G,), and the number of iterations."""

    A: NDArray[np.float64]
    c: NDArray[np.float64]
    steps: int


def trained(problem: Problem, max_iter: int, tol: float, first: Trained | None = None) -> Trained:
    """Minimise by L-BFGS. The value at the result is at most the value at the start, A = 0 and c = 0.

    Args:
        max_iter: maximum number of iterations.
        tol: the search stops when the largest component of the gradient is below this.
        first: where the search begins; None for the start.

    Raises NotTrainable when the loss of the start is not finite.
    """
    count, width = problem.shape
    none = np.zeros(count * (width + 1))
    least, _ = problem(none)
    if not np.isfinite(least):
        raise NotTrainable(f"training failed: the loss of the start is {least}; scale the rows, or leave outliers out")
    x, steps = none, 0
    if problem.C:
        begin = none if first is None else problem.variables(first.A, first.c)
        factor = 1e-4 * tol / np.finfo(np.float64).eps
        found, value, facts = fmin_l_bfgs_b(problem, begin, maxiter=max_iter, pgtol=tol, factr=factor)
        x, steps = (found, int(facts["nit"])) if value <= least else (none, 0)
    return Trained(*problem.learned(x), steps)
