"""Multinomial logistic regression as a scikit-learn estimator of a linear head."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import validate_data

from classifiers.fit.base import HeadClassifier, check_solver, check_weights, encode, names
from classifiers.fit.transform import Dims, Projection, TransformPlan
from classifiers.heads.linear import LinearHead
from classifiers.heads.transform import Transform


class LinearClassifier(HeadClassifier):
    """Softmax regression with an L2 penalty, by L-BFGS, on standardised columns or on columns divided by one number.

    The standardisation is folded into the weights, and so is an affine transform.

    Args:
        C: inverse strength of the penalty, > 0, as in scikit-learn's LogisticRegression. "auto" is allowed only in
            training from a store, which has rows to choose on.
        standardise: give every column unit variance. If false, all columns are divided by one number, so that their
            mean variance is 1; principal components keep their weight then, and those of little variance add no noise.
        max_iter: maximum number of L-BFGS iterations.
        tol: training stops when the largest component of the gradient is below this.
        norm, project, dims, whiten, blocks, seed: the transform of the vectors, see `TransformPlan`.

    Attributes:
        classes_: labels, sorted, (K,).
        transform_: the part of the transform that is not folded into the weights.
        coef_, intercept_: folded weights, float64 (K, d) and (K,); two classes have two rows too.
        n_iter_: number of iterations.
        head_: the NumPy head for serving, in float32.
    """

    head_: LinearHead

    def __init__(
        self,
        C: float = 0.01,
        standardise: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-4,
        norm: Literal["none", "unit"] = "none",
        project: Projection = "none",
        dims: Dims | None = None,
        whiten: bool = False,
        blocks: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        self.C = C
        self.standardise = standardise
        self.max_iter = max_iter
        self.tol = tol
        self.norm = norm
        self.project = project
        self.dims = dims
        self.whiten = whiten
        self.blocks = blocks
        self.seed = seed

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Learn from X (n, d), y (n,) labels. Raises NotTrainable for fewer than two classes, BadParameter."""
        return next(self.path(X, y, [self.C], sample_weight))

    def path(
        self, X: ArrayLike, y: ArrayLike, values: Iterable[float], sample_weight: ArrayLike | None = None
    ) -> Iterator[Self]:
        """Learn with each of several values of C; each fit starts at the solution before.

        Yields the estimator itself after each fit; the next fit changes it.
        """
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        weights = check_weights(sample_weight, len(vectors))
        classes, _ = encode(labels)
        transform = TransformPlan.of(self).learn(vectors, weights)
        Z = transform(vectors)
        scaler = StandardScaler().fit(Z, sample_weight=weights)
        if not self.standardise:
            scaler.scale_ = np.full_like(scaler.scale_, np.sqrt(scaler.var_.mean()) or 1.0)
        solver, Z = LogisticRegression(max_iter=self.max_iter, tol=self.tol, warm_start=True), scaler.transform(Z)
        for C in values:
            check_solver(C, self.max_iter, self.tol)
            self._solve(solver.set_params(C=C), Z, labels, weights, classes, scaler, transform)
            yield self

    def _solve(
        self,
        solver: LogisticRegression,
        Z: NDArray[Any],
        labels: NDArray[Any],
        weights: NDArray[np.float64] | None,
        classes: NDArray[Any],
        scaler: StandardScaler,
        transform: Transform,
    ) -> None:
        """Learn from standardised rows Z (n, m), and fold scaler and transform into the weights."""
        with warnings.catch_warnings():  # scikit-learn takes many classes with one row each for numbers to predict
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            solver.fit(Z, labels, sample_weight=weights)
        coef, intercept = solver.coef_.astype(np.float64), solver.intercept_.astype(np.float64)
        if len(classes) == 2:  # scikit-learn keeps only s₁ - s₀; ∓half of it for each class gives the same softmax
            coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        coef = coef / scaler.scale_
        self.coef_, self.intercept_ = transform.folded(coef, intercept - coef @ scaler.mean_)
        self.classes_, self.n_iter_, self.transform_ = classes, int(solver.n_iter_[0]), transform.rowwise
        W, b = self.coef_.astype(np.float32, order="C"), self.intercept_.astype(np.float32)
        self.head_ = LinearHead(names(classes), W, b, self.transform_)

    def _scores(self, X: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(self.transform_(X) @ self.coef_.T + self.intercept_)
