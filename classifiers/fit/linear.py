"""Multinomial logistic regression as a scikit-learn estimator that yields a linear head."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from classifiers.fit.base import FoldedClassifier, require_classes
from classifiers.heads.linear import LinearHead


class LinearClassifier(FoldedClassifier):
    """Softmax regression with an L2 penalty on standardised columns, by L-BFGS.

    The standardisation is folded into the weights, so what is served takes raw vectors.

    Args:
        C: inverse strength of the penalty, > 0, as in scikit-learn's LogisticRegression.
        max_iter: most L-BFGS iterations.
        tol: the largest gradient component at which to stop.

    Attributes:
        classes_: labels, sorted, (K,).
        coef_, intercept_: folded, float64 (K, d) and (K,); two classes have two rows too.
        n_iter_: iterations that were run.
        head_: the same as a NumPy head for serving, in float32.
    """

    def __init__(self, C: float = 0.01, max_iter: int = 1000, tol: float = 1e-4) -> None:
        self.C = C
        self.max_iter = max_iter
        self.tol = tol

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learns from X (n, d), y (n,) labels. Raises NotTrainable for fewer than two classes."""
        vectors, labels = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(labels)
        classes = np.unique(labels)
        require_classes(classes)
        scaler = StandardScaler().fit(vectors)
        solver = LogisticRegression(C=self.C, max_iter=self.max_iter, tol=self.tol)
        solver.fit(scaler.transform(vectors), labels)
        coef, intercept = solver.coef_.astype(np.float64), solver.intercept_.astype(np.float64)
        if len(classes) == 2:  # scikit-learn keeps the one logit s₁ - s₀; half of it each is the same softmax
            coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        self.classes_ = classes
        self.n_iter_ = int(solver.n_iter_[0])
        self.coef_ = coef / scaler.scale_
        self.intercept_ = intercept - self.coef_ @ scaler.mean_
        self.head_ = LinearHead(
            [str(label) for label in classes],
            self.coef_.astype(np.float32),
            self.intercept_.astype(np.float32),
        )
        return self
