"""The linear estimator against scikit-learn's pipeline, and its optimality."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from classifiers.errors import NotTrainable
from classifiers.fit.linear import LinearClassifier


@pytest.mark.parametrize("n_classes", [2, 5])
def test_folding_is_exact(toy, n_classes):
    keep = toy.codes < n_classes
    X, labels = toy.X[keep].astype(np.float64), toy.labels[keep]
    ours = LinearClassifier(C=0.1, tol=1e-8).fit(X, labels)
    solver = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000)
    theirs = make_pipeline(StandardScaler(), solver).fit(X, labels)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-9)
    assert ours.coef_.shape == (n_classes, X.shape[1])


def test_a_constant_column_does_no_harm(toy):
    X = np.column_stack([toy.X, np.full(len(toy.X), 7.0)])
    with_column = LinearClassifier(tol=1e-8).fit(X, toy.labels).predict_proba(X)
    without = LinearClassifier(tol=1e-8).fit(toy.X.astype(np.float64), toy.labels).predict_proba(toy.X)
    np.testing.assert_allclose(with_column, without, atol=1e-6)


def test_without_standardised_columns_all_are_divided_by_one_number(toy):
    X = toy.X.astype(np.float64) * np.linspace(0.1, 3.0, toy.X.shape[1])
    ours = LinearClassifier(C=0.1, standardise=False, tol=1e-8).fit(X, toy.labels)
    Z = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0).mean())
    theirs = LogisticRegression(C=0.1, tol=1e-8, max_iter=1000).fit(Z, toy.labels)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(Z), atol=1e-5)


def test_one_class_is_refused(toy):
    with pytest.raises(NotTrainable, match="at least 2 classes"):
        LinearClassifier().fit(toy.X, np.zeros(len(toy.X)))
