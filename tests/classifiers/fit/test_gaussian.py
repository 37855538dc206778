"""The Gaussian head against scikit-learn's LDA and SciPy's densities."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.gaussian.covariance import shrunk_covariance
from classifiers.heads.gaussian.discriminant import GaussianModel, discriminant
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.statistics import GaussianStatistics


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.9, 1.0])
def test_same_probabilities_as_scikit_learns_lda(toy, shrinkage):
    X = toy.X.astype(np.float64)
    ours = GaussianClassifier(shrinkage=shrinkage).fit(X, toy.labels)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, toy.labels)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_uniform_priors_are_those_of_lda(toy):
    ours = GaussianClassifier(shrinkage=0.2, priors="uniform").fit(toy.X, toy.labels)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2)
    # LDA pools the covariance with its priors; with equal counts both pool alike.
    keep = np.concatenate([np.flatnonzero(toy.codes == k)[:100] for k in range(5)])
    X, labels = toy.X[keep].astype(np.float64), toy.labels[keep]
    ours.fit(X, labels)
    theirs.set_params(priors=np.full(5, 0.2)).fit(X, labels)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("shrinkage", ["oas", 0.3])
def test_log_density_is_that_of_scipy(toy, shrinkage):
    fitted = GaussianClassifier(shrinkage=shrinkage).fit(toy.X, toy.labels)
    covariance, _ = shrunk_covariance(fitted.statistics_, shrinkage)
    priors = np.bincount(toy.codes) / len(toy.codes)
    X = toy.X.astype(np.float64)
    joint = [
        np.log(priors[k]) + multivariate_normal(X[toy.codes == k].mean(axis=0), covariance).logpdf(X) for k in range(5)
    ]
    np.testing.assert_allclose(fitted.head_.log_density(toy.X), logsumexp(joint, axis=0), rtol=1e-5, atol=1e-3)


def test_batches_give_what_one_fit_gives(toy):
    whole = GaussianClassifier().fit(toy.X.astype(np.float64), toy.labels)
    parts = GaussianClassifier()
    for start in range(0, len(toy.X), 200):
        rows = slice(start, start + 200)
        parts.partial_fit(toy.X[rows].astype(np.float64), toy.labels[rows], classes=toy.classes)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=1e-9)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=1e-9)


def test_a_head_from_merged_statistics_is_the_head_of_all_rows(toy):
    X = toy.X.astype(np.float64)
    halves = [GaussianClassifier().partial_fit(X[i::2], toy.labels[i::2], classes=toy.classes) for i in (0, 1)]
    merged = halves[0].head_.statistics.merge(halves[1].head_.statistics)
    head = GaussianHead.from_statistics(toy.classes, merged)
    whole = GaussianClassifier().fit(X, toy.labels).head_
    np.testing.assert_allclose(head.scores(toy.X), whole.scores(toy.X), atol=1e-4)


def test_a_later_batch_does_not_change_a_head_already_made(toy):
    fitted = GaussianClassifier().partial_fit(toy.X[:300], toy.labels[:300], classes=toy.classes)
    head, before = fitted.head_, fitted.head_.scores(toy.X)
    rows = head.statistics.rows
    fitted.partial_fit(toy.X[300:], toy.labels[300:])
    np.testing.assert_array_equal(head.scores(toy.X), before)
    assert head.statistics.rows == rows


def test_a_class_without_rows_is_never_predicted(toy):
    some = toy.codes != 3
    fitted = GaussianClassifier().partial_fit(toy.X[some], toy.labels[some], classes=toy.classes)
    proba = fitted.head_.predict_proba(toy.X)
    assert not proba[:, 3].any()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert np.isfinite(fitted.head_.log_density(toy.X)).all()
    without = GaussianClassifier().fit(toy.X[some], toy.labels[some])
    np.testing.assert_allclose(np.delete(proba, 3, axis=1), without.head_.predict_proba(toy.X), atol=1e-4)


def test_fewer_rows_than_dimensions_are_learnt_with_shrinkage_only():
    rng = np.random.default_rng(7)
    codes = np.arange(40) % 4
    X = rng.normal(size=(40, 100)) + 3 * rng.normal(size=(4, 100))[codes]
    assert GaussianClassifier().fit(X[:20], codes[:20]).score(X[20:], codes[20:]) == 1.0
    with pytest.raises(NotTrainable, match=r"singular.*shrinkage='oas'"):
        GaussianClassifier(shrinkage=0.0).fit(X, codes)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.eye(3), ["a", "b", "c"], "no class has two different rows"),
        (np.ones((6, 3)), list("aabbcc"), "no class has two different rows"),
        (np.eye(3), ["a", "a", "a"], "at least 2 classes, got one class"),
    ],
)
def test_rows_that_cannot_give_a_covariance_are_refused(X, y, message):
    with pytest.raises(NotTrainable, match=message):
        GaussianClassifier().fit(X, y)


def test_no_rows_at_all_are_refused():
    with pytest.raises(NotTrainable, match="no rows"):
        discriminant(GaussianStatistics.empty(3, 4), GaussianModel())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"shrinkage": 1.5}, "number from 0 to 1"),
        ({"shrinkage": "auto"}, "'oas'"),
        ({"shrinkage": True}, "got True"),
        ({"priors": "flat"}, "'empirical', 'uniform' or"),
    ],
)
def test_parameters_out_of_range_are_refused(toy, params, message):
    with pytest.raises(ValueError, match=message):
        GaussianClassifier(**params).fit(toy.X, toy.labels)


def test_partial_fit_holds_on_to_its_classes(toy):
    with pytest.raises(ValueError, match="needs all classes"):
        GaussianClassifier().partial_fit(toy.X, toy.labels)
    fitted = GaussianClassifier().partial_fit(toy.X, toy.labels, classes=toy.classes)
    with pytest.raises(ValueError, match="classes changed"):
        fitted.partial_fit(toy.X, toy.labels, classes=["x", "y"])
    with pytest.raises(ValueError, match="not among classes"):
        fitted.partial_fit(toy.X[:1], ["never seen"])
