"""Every covariance of the Gaussian head, compared with scikit-learn and SciPy; few rows, weights, priors."""

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import multivariate_normal
from sklearn.covariance import OAS, LedoitWolf
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid

from classifiers.errors import NotTrainable
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.gaussian import covariance as module
from classifiers.heads.gaussian.covariance import MOMENTS, oas_shrinkage
from classifiers.heads.gaussian.head import GaussianHead
from classifiers.heads.gaussian.quadratic import Quadratic
from classifiers.heads.gaussian.statistics import GaussianStatistics

ALL = sorted(MOMENTS)


def scattered(seed: int, rows: int, dim: int, n_classes: int = 3):
    """Return classes with different covariances: X float64 (rows · K, d) and codes, class by class."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(n_classes), rows)
    mixing = rng.normal(size=(n_classes, dim, dim)) / np.sqrt(dim) + np.eye(dim)
    X = np.einsum("ni,nij->nj", rng.normal(size=(len(codes), dim)), mixing[codes])
    return X + rng.normal(size=(n_classes, dim))[codes] * 2 + 3, codes


def joint(X, codes, covariances):
    """Return log π_k + log N(x; m_k, C_k), computed by SciPy, (n, K)."""
    shares = np.bincount(codes) / len(codes)
    means = [X[codes == k].mean(axis=0) for k in range(len(shares))]
    each = zip(shares, means, covariances, strict=True)
    return np.stack([np.log(share) + multivariate_normal(m, C).logpdf(X) for share, m, C in each], axis=1)


@pytest.mark.parametrize("estimate", [LedoitWolf(), OAS()])
@pytest.mark.parametrize(("rows", "dim"), [(60, 8), (9, 24), (5, 40)])
def test_full_covariances_are_scikit_learns_also_with_fewer_rows_than_dimensions(estimate, rows, dim):
    X, codes = scattered(0, rows, dim)
    name = {"LedoitWolf": "ledoit-wolf", "OAS": "oas"}[type(estimate).__name__]
    ours = GaussianClassifier(covariance="full", shrinkage=name).fit(X, codes)
    theirs = joint(X, codes, [estimate.fit(X[codes == k]).covariance_ for k in range(3)])
    np.testing.assert_allclose(ours.decision_function(X), theirs, rtol=1e-7, atol=1e-7)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours.head_.scores(X), theirs, atol=2e-6 * scale)
    np.testing.assert_allclose(ours.head_.log_density(X), np.logaddexp.reduce(theirs, axis=1), atol=2e-6 * scale)


def test_full_is_quadratic_discriminant_analysis_but_for_its_n_minus_one():
    X, codes = scattered(1, 500, 4)
    ours = GaussianClassifier(covariance="full", shrinkage=0.0).fit(X, codes)
    theirs = QuadraticDiscriminantAnalysis().fit(X, codes)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=5e-3)


def test_diagonal_is_naive_bayes():
    X, codes = scattered(2, 40, 6)
    ours = GaussianClassifier(covariance="diag", shrinkage=0.0).fit(X, codes)
    theirs = GaussianNB(var_smoothing=0.0).fit(X, codes)
    np.testing.assert_allclose(log_softmax(ours.decision_function(X), axis=1), theirs.predict_log_proba(X), atol=1e-8)


def test_tied_spherical_is_the_nearest_mean_and_spherical_weighs_it_by_variance():
    X, codes = scattered(3, 50, 6)
    tied = GaussianClassifier(covariance="tied-spherical", priors="uniform").fit(X, codes)
    np.testing.assert_array_equal(tied.predict(X), NearestCentroid().fit(X, codes).predict(X))
    own = GaussianClassifier(covariance="spherical").fit(X, codes)
    variances = [X[codes == k].var(axis=0).mean() for k in range(3)]
    expected = joint(X, codes, [variance * np.eye(6) for variance in variances])
    np.testing.assert_allclose(own.decision_function(X), expected, rtol=1e-9)


@pytest.mark.parametrize("covariance", ["tied-diag", "tied-spherical"])
def test_tied_densities_are_scipys(covariance):
    X, codes = scattered(4, 50, 6)
    rest = X - np.stack([X[codes == k].mean(axis=0) for k in range(3)])[codes]
    variances = (rest**2).mean(axis=0)
    variances = variances if covariance == "tied-diag" else np.full(6, variances.mean())
    ours = GaussianClassifier(covariance=covariance, shrinkage=0.0).fit(X, codes)
    expected = joint(X, codes, [np.diag(variances)] * 3)
    np.testing.assert_allclose(ours.predict_proba(X), np.exp(log_softmax(expected, axis=1)), atol=1e-9)
    density = np.logaddexp.reduce(expected, axis=1)
    np.testing.assert_allclose(ours.head_.log_density(X), density, rtol=1e-4, atol=1e-4)


def test_pooling_leads_from_the_classes_own_covariances_to_the_tied_one():
    X, codes = scattered(5, 40, 6)
    own = [np.cov(X[codes == k].T, bias=True) for k in range(3)]
    half = GaussianClassifier(covariance="full", shrinkage=0.0, pooling=0.5).fit(X, codes)
    expected = joint(X, codes, [0.5 * C + 0.5 * np.mean(own, axis=0) for C in own])
    np.testing.assert_allclose(half.decision_function(X), expected, rtol=1e-9)
    whole = GaussianClassifier(covariance="full", shrinkage=0.0, pooling=1.0).fit(X, codes)
    tied = GaussianClassifier(shrinkage=0.0).fit(X, codes)
    np.testing.assert_allclose(whole.predict_proba(X), tied.predict_proba(X), atol=1e-9)


@pytest.mark.parametrize("covariance", ALL)
@pytest.mark.parametrize("shrinkage", ["oas", "ledoit-wolf", 0.4])
def test_a_row_of_weight_two_is_two_rows_and_one_of_weight_zero_is_none(covariance, shrinkage):
    X, codes = scattered(6, 12, 5)
    weights = np.random.default_rng(6).integers(0, 4, len(X))
    weighted = GaussianClassifier(covariance=covariance, shrinkage=shrinkage).fit(X, codes, sample_weight=weights)
    repeated = GaussianClassifier(covariance=covariance, shrinkage=shrinkage)
    repeated.fit(np.repeat(X, weights, axis=0), np.repeat(codes, weights))
    np.testing.assert_allclose(weighted.decision_function(X), repeated.decision_function(X), rtol=1e-7, atol=1e-7)


def test_fractional_weights_that_hide_the_number_of_rows_are_no_trouble():
    X, codes = scattered(7, 30, 20)
    light = GaussianClassifier(covariance="full", shrinkage=0.3).fit(X, codes, sample_weight=np.full(90, 0.1))
    plain = GaussianClassifier(covariance="full", shrinkage=0.3).fit(X, codes)
    np.testing.assert_allclose(light.decision_function(X), plain.decision_function(X), rtol=1e-7)


@pytest.mark.parametrize("covariance", ALL)
def test_a_head_from_merged_halves_is_the_head_of_all_rows(covariance):
    X, codes = scattered(8, 20, 6)
    moment = MOMENTS[covariance]
    halves = [GaussianStatistics.of(X[i::2], codes[i::2], 3, moment) for i in (0, 1)]
    whole = GaussianStatistics.of(X, codes, 3, moment)
    merged = halves[0].merge(halves[1])
    np.testing.assert_allclose(merged.second, whole.second, rtol=1e-9)
    ours = GaussianClassifier(covariance=covariance, shrinkage=0.2)
    from_merged = ours.fit_statistics(merged, np.arange(3)).decision_function(X)
    np.testing.assert_allclose(from_merged, ours.fit(X, codes).decision_function(X), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
def test_a_class_of_one_row_borrows_the_pooled_covariance(covariance):
    X, codes = scattered(9, 20, 6)
    keep = np.concatenate([np.flatnonzero(codes < 2), np.flatnonzero(codes == 2)[:1]])
    fitted = GaussianClassifier(covariance=covariance).fit(X[keep], codes[keep])
    assert np.isfinite(fitted.decision_function(X)).all()
    assert fitted.predict(X[keep[-1:]]) == [2]
    assert np.mean(fitted.predict(X) == codes) > 0.8


@pytest.mark.parametrize("covariance", ALL)
def test_a_class_without_rows_is_never_predicted(covariance):
    X, codes = scattered(10, 20, 6)
    fitted = GaussianClassifier(covariance=covariance, priors=[0.2, 0.3, 0.5])
    fitted.partial_fit(X[codes > 0], codes[codes > 0], classes=[0, 1, 2])
    proba = fitted.head_.predict_proba(X)
    assert not proba[:, 0].any()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-5)


def test_priors_may_be_given_by_class_or_by_label():
    X, codes = scattered(11, 20, 4)
    labels = np.array(["a", "b", "c"])[codes]
    listed = GaussianClassifier(priors=[0.7, 0.2, 0.1]).fit(X, labels)
    named = GaussianClassifier(priors={"c": 1, "a": 7, "b": 2}).fit(X, labels)
    np.testing.assert_allclose(named.predict_proba(X), listed.predict_proba(X), atol=1e-12)
    free = GaussianClassifier(priors="uniform").fit(X, labels)
    shift = listed.decision_function(X) - free.decision_function(X)
    np.testing.assert_allclose(shift - shift[:, :1], np.broadcast_to(np.log([1, 2 / 7, 1 / 7]), shift.shape), atol=1e-9)


def test_correlations_are_fecams():
    """The reference is arXiv 2309.14062, eqs. 6 to 8: shrink, divide by the deviations, then Mahalanobis distance."""
    X, codes = scattered(12, 30, 8)
    scores = []
    for k in range(3):
        rows = X[codes == k]
        C = np.cov(rows.T, bias=True)
        C = 0.5 * C + 0.5 * np.trace(C) / 8 * np.eye(8)  # a1 = 1, except for a scale that correlations do not have
        R = C / np.sqrt(np.outer(np.diag(C), np.diag(C)))
        gap = X - rows.mean(axis=0)
        scores.append(-np.einsum("ni,ij,nj->n", gap, np.linalg.inv(R), gap))
    ours = GaussianClassifier(covariance="full", shrinkage=0.5, correlation=True, priors="uniform").fit(X, codes)
    np.testing.assert_array_equal(ours.predict(X), np.argmax(scores, axis=0))
    np.testing.assert_array_equal(ours.head_.predict(X), np.argmax(scores, axis=0).astype(str))
    found = ours.decision_function(X)
    ratio = (found - found[:, :1])[:, 1:] / (np.stack(scores, axis=1) - scores[0][:, None])[:, 1:]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


@pytest.mark.parametrize("rows", [6, 30])
def test_tied_correlation_is_full_correlation_of_pooled_covariances(rows):
    X, codes = scattered(13, rows, 10)
    settings = {"shrinkage": 0.4, "correlation": True}
    tied = GaussianClassifier(covariance="tied", **settings).fit(X, codes)
    full = GaussianClassifier(covariance="full", pooling=1.0, **settings).fit(X, codes)
    np.testing.assert_allclose(tied.predict_proba(X), full.predict_proba(X), atol=1e-9)


def test_few_rows_are_scored_by_their_few_directions_alone():
    X, codes = scattered(14, 7, 64)
    narrow = GaussianClassifier(covariance="full", shrinkage=0.2).fit(X, codes).head_
    assert narrow.quadratic.form == (1, 7)
    X, codes = scattered(14, 40, 64)
    assert GaussianClassifier(covariance="full").fit(X, codes).head_.quadratic.form == (0, 64)


@pytest.mark.parametrize("dim", [1, 5, 64, 150])
def test_a_triangular_whitening_scores_as_the_whole_one(dim):
    rng = np.random.default_rng(dim)
    F, o, Z = rng.normal(size=(3, dim, dim)), rng.normal(size=(3, dim)), rng.normal(size=(7, dim))
    whole = Quadratic(rng.normal(size=3), F=F, o=o)
    triangular = whole.triangular()
    np.testing.assert_array_equal(np.tril(triangular.F, -1), 0)
    by_hand = whole.b - 0.5 * ((np.einsum("crd,nd->ncr", F, Z) - o) ** 2).sum(axis=2)
    np.testing.assert_allclose(whole(Z), by_hand, rtol=1e-9)
    np.testing.assert_allclose(triangular(Z), by_hand, rtol=1e-9)


def test_whole_covariances_are_kept_as_triangles():
    X, codes = scattered(16, 90, 70)
    F = GaussianClassifier(covariance="full").fit(X, codes).head_.quadratic.F
    assert F.shape == (3, 70, 70)
    np.testing.assert_array_equal(np.tril(F, -1), 0)


def test_a_whitening_is_computed_only_for_a_density():
    """Folds, temperatures and fusion make many heads that only score; a whitening takes longer than all else."""
    X, codes = scattered(17, 40, 70)
    fitted = GaussianClassifier(shrinkage=0.3).fit(X, codes)
    head = fitted.head_.with_temperature(2.0).renamed(["a", "b", "c"])
    assert head.classes == ("a", "b", "c")
    head.predict_proba(X)
    assert not {"whitening"} & (vars(head).keys() | vars(fitted.head_).keys())
    head.log_density(X)
    within = np.mean([np.cov(X[codes == k].T, bias=True) for k in range(3)], axis=0)
    within = 0.7 * within + 0.3 * np.trace(within) / 70 * np.eye(70)
    np.testing.assert_allclose(head.whitening.T @ within @ head.whitening, np.eye(70), atol=1e-5)
    np.testing.assert_array_equal(head.arrays()["whitening"], fitted.head_.arrays()["whitening"])


def test_what_cannot_be_is_refused():
    X, codes = scattered(15, 5, 12)
    with pytest.raises(NotTrainable, match="class number 0, 5 rows in 12 dimensions, is singular with shrinkage 0"):
        GaussianClassifier(covariance="full", shrinkage=0.0).fit(X, codes)
    for params, message in [
        ({"covariance": "oval"}, "tied, diag"),
        ({"pooling": 2}, "pooling"),
        ({"covariance": "diag", "correlation": True}, "'tied' or 'full'"),
        ({"priors": [0.5, 0.5]}, "3 numbers above 0"),
        ({"priors": {"0": 1.0}}, r"classes \['1', '2'\] have no prior"),
        ({"priors": [1.0, 0.0, 1.0]}, "above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            GaussianClassifier(**params).fit(X, codes)
    with pytest.raises(ValueError, match="zero for every row"):
        GaussianClassifier().fit(X, codes, sample_weight=np.zeros(len(X)))


def test_oas_of_a_diagonal_approaches_the_best_shrinkage():
    rng = np.random.default_rng(16)
    true = np.exp(rng.normal(size=200))
    found, best = [], []
    for _ in range(30):
        v = (rng.normal(size=(20, 200)) ** 2 * true).mean(axis=0)
        found.append(oas_shrinkage(v, 20))
        losses = [np.sum(((1 - s) * v + s * v.mean() - true) ** 2) for s in np.linspace(0, 1, 101)]
        best.append(np.argmin(losses) / 100)
    assert np.mean(found) == pytest.approx(np.mean(best), abs=0.06)


def test_covariances_too_many_for_memory_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 100)
    X, codes = scattered(17, 5, 12)
    with pytest.raises(NotTrainable, match="project='pca'"):
        GaussianClassifier(covariance="full").fit(X, codes)
    GaussianClassifier(covariance="full", project="pca", dims=5).fit(X, codes)


def test_a_head_keeps_what_it_needs_to_go_on_learning():
    X, codes = scattered(18, 20, 6)
    head = GaussianClassifier(covariance="full", project="pca", dims=3).fit(X, codes).head_
    again = GaussianHead.from_arrays(head.arrays(), head.meta())
    assert again.statistics.moment == "full"
    assert again.statistics.dim == 3
    assert again.dim == 6
    more = GaussianStatistics.of(again.transform(X), codes, 3, "full")
    np.testing.assert_allclose(again.statistics.second, more.second, rtol=1e-5, atol=1e-4)
