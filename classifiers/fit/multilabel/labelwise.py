"""The estimator of labelwise (one-vs-rest) heads: a logistic regression for each label, all solved together."""

from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from classifiers.fit.base import check_solver
from classifiers.fit.multilabel.base import LabelsEstimator, check_labels, class_names, log_odds
from classifiers.fit.row_space import row_space
from classifiers.fit.transform import Projection, TransformPlan
from classifiers.heads.multilabel.labelwise import LabelwiseHead

Matrix = NDArray[np.float64]
Flat = np.ndarray[tuple[int], np.dtype[np.float64]]


class LabelwiseClassifier(LabelsEstimator):
    """One-vs-rest logistic regression with an L2 penalty on standardised columns.

    The solutions equal those of scikit-learn's LogisticRegression for each label. Here all labels share each pass over
    the rows, as one matrix product. The standardisation is folded into the weights, and so is an affine transform. A
    label that no row or every row has gets no weights, only its log odds.

    Args:
        C: inverse strength of the penalty, > 0, as in scikit-learn. "auto" is allowed only in training from a store,
            which has rows to choose on.
        max_iter: maximum number of L-BFGS iterations.
        tol: training stops when the largest component of the gradient (of the mean loss, along the axes of
            `solutions`) is below this.
        norm, project, dims, whiten, blocks, seed: the transform of the vectors, see `TransformPlan`.

    Attributes:
        classes_: names of the labels, in the order of the columns of Y, (L,); 0…L-1 if fit was given no names.
        transform_: the part of the transform that is not folded into the weights.
        coef_, intercept_: folded weights, float64 (L, d) and (L,).
        n_iter_: number of iterations.
        head_: the NumPy head for serving, in float32.
    """

    def __init__(
        self,
        C: float = 0.01,
        max_iter: int = 1000,
        tol: float = 1e-5,
        norm: Literal["none", "unit"] = "none",
        project: Projection = "none",
        dims: float | None = None,
        whiten: bool = False,
        blocks: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.max_iter = max_iter
        self.tol = tol
        self.norm = norm
        self.project = project
        self.dims = dims
        self.whiten = whiten
        self.blocks = blocks
        self.seed = seed

    def fit(self, X: ArrayLike, Y: ArrayLike, classes: Sequence[str] | None = None) -> Self:
        """Learn from vectors and labels.

        Args:
            X: vectors (n, d).
            Y: 1 if a row has a label, else 0, (n, L).
            classes: names of the labels (L,); None for "0", "1", …

        Raises:
            NotTrainable: labels that do not fit the rows.
            BadParameter: see the class.
        """
        return next(self.path(X, Y, [self.C], classes))

    def path(
        self, X: ArrayLike, Y: ArrayLike, values: Sequence[float], classes: Sequence[str] | None = None
    ) -> Iterator[Self]:
        """Learn with each of several values of C; each fit starts at the solution before, and all share the axes.

        Yields the estimator itself after each fit; the next fit changes it.
        """
        for C in values:
            check_solver(C, self.max_iter, self.tol)
        vectors = validate_data(self, X, dtype=[np.float64, np.float32])
        there, names = check_labels(Y, len(vectors), classes)
        transform = TransformPlan.of(self).learn(vectors)
        Z = transform(vectors).astype(np.float64, copy=False)
        scaler = StandardScaler().fit(Z)
        positives = np.count_nonzero(there, axis=0)
        varied = (positives > 0) & (positives < len(there))
        self.classes_, self.transform_ = class_names(names, classes), transform.rowwise
        start = log_odds(positives, len(there))
        Z = scaler.transform(Z)
        for solved in solutions(Z, there[:, varied], start[varied], values, self.max_iter, self.tol):
            coef, intercept = np.zeros((len(names), Z.shape[1])), start.copy()
            coef[varied], intercept[varied], self.n_iter_ = solved
            coef = coef / scaler.scale_
            self.coef_, self.intercept_ = transform.folded(coef, intercept - coef @ scaler.mean_)
            W, b = self.coef_.astype(np.float32, order="C"), self.intercept_.astype(np.float32)
            self.head_ = LabelwiseHead(names, W, b, self.transform_)
            yield self

    def _scores(self, X: ArrayLike) -> Matrix:
        vectors = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        return np.asarray(self.transform_(vectors) @ self.coef_.T + self.intercept_)


def solutions(
    Z: Matrix, there: NDArray[np.bool_], start: Matrix, values: Sequence[float], max_iter: int, tol: float
) -> Iterator[tuple[Matrix, Matrix, int]]:
    """Yield weights (L, d), intercepts (L,) and the number of iterations for each C. Intercepts have no penalty.

    L-BFGS works on the weights along the principal axes of Z, each divided by the square root of its curvature at the
    start. There the Hessian is near the identity, and tens of iterations suffice where the columns of Z need a
    thousand.

    Args:
        Z: standardised rows (n, d).
        there: the labels of each row, (n, L).
        start: first intercepts (L,).
        values: values of C; each solution is the start of the next.
    """
    (n, L), d = there.shape, Z.shape[1]
    if not L:
        yield from ((np.zeros((0, d)), np.zeros(0), 0) for _ in values)
        return
    spread, axes = principal_axes(Z)
    A, signs = Z @ axes, np.where(there, 1.0, -1.0)
    W, b = np.zeros((L, len(spread))), start
    for C in values:
        penalty = 1.0 / (C * n)
        scale = 1.0 / np.sqrt(np.outer(expit(start) * expit(-start), spread) + penalty)
        found = minimize(
            objective,
            np.concatenate([(W / scale).ravel(), b]),
            args=(A, signs, scale, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter, "gtol": tol, "ftol": 64 * np.finfo(np.float64).eps},
        )
        W, b = found.x[: W.size].reshape(W.shape) * scale, found.x[W.size :]
        yield W @ axes.T, b, int(found.nit)


def objective(flat: Flat, A: Matrix, signs: Matrix, scale: Matrix, penalty: float) -> tuple[float, Flat]:
    """Return the mean loss plus ‖W‖² penalty / 2, and its gradient.

    Args:
        flat: weights divided by `scale` (L, r), then intercepts (L,).
        A: rows along the principal axes, (n, r).
        signs: 1 where a row has a label, -1 elsewhere, (n, L).
    """
    n, cells = len(A), scale.size
    W, b = flat[:cells].reshape(scale.shape) * scale, flat[cells:]
    margins = signs * (A @ W.T + b)
    value = np.logaddexp(0.0, -margins).sum() / n + np.sum(W * W) * penalty / 2
    slopes = -signs * expit(-margins) / n
    return float(value), np.concatenate([((slopes.T @ A + W * penalty) * scale).ravel(), slopes.sum(axis=0)])


def principal_axes(Z: Matrix) -> tuple[Matrix, Matrix]:
    """Return the mean squares (r,) along the principal axes of centred rows Z (n, d) of rank r, and the axes (d, r).

    Weights orthogonal to these axes stay 0, because they would change the penalty and no score.
    """
    basis = row_space(Z) if len(Z) < Z.shape[1] else None
    inner = Z if basis is None else Z @ basis
    spread, axes = np.linalg.eigh(inner.T @ inner / len(Z))
    kept = spread > len(spread) * np.finfo(np.float64).eps * max(spread[-1], 0.0)
    return spread[kept], axes[:, kept] if basis is None else basis @ axes[:, kept]
