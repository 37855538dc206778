"""Sufficient statistics against NumPy, scikit-learn's covariances and their own algebra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import OAS

from classifiers.errors import BadVectors
from classifiers.heads.gaussian import moments as module
from classifiers.heads.gaussian.covariance import oas_shrinkage
from classifiers.heads.gaussian.statistics import GaussianStatistics


def gathered(X, codes, n_classes):
    statistics = GaussianStatistics.empty(n_classes, X.shape[1])
    statistics.update(X, codes)
    return statistics


def pooled(X, codes):
    """Return the within-class scatter / N, computed class by class in float64."""
    X = X.astype(np.float64)
    rest = np.concatenate([X[codes == k] - X[codes == k].mean(axis=0) for k in np.unique(codes)])
    return rest.T @ rest / len(X)


def close(a, b, tolerance):
    for name in ("counts", "sums", "second"):
        x, y = getattr(a, name), getattr(b, name)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(1.0, np.abs(y).max()), err_msg=name)


def test_moments_are_those_of_numpy(toy):
    found = gathered(toy.X.astype(np.float64), toy.codes, 5)
    X = toy.X.astype(np.float64)
    np.testing.assert_array_equal(found.counts, np.bincount(toy.codes))
    np.testing.assert_allclose(found.sums, [X[toy.codes == k].sum(axis=0) for k in range(5)], rtol=1e-12)
    np.testing.assert_allclose(found.second, X.T @ X, rtol=1e-12)
    np.testing.assert_allclose(found.covariance(), pooled(X, toy.codes), rtol=1e-9, atol=1e-12)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 80),
    dim=st.integers(1, 9),
    n_classes=st.integers(1, 6),
    cut=st.floats(0, 1),
    offset=st.sampled_from([0.0, 5.0, 300.0]),
)
def test_halves_merge_to_the_whole_and_leave_again(seed, n, dim, n_classes, cut, offset):
    rng = np.random.default_rng(seed)
    X, codes = rng.normal(size=(n, dim)) + offset, rng.integers(0, n_classes, n)
    middle = int(cut * n)
    whole = gathered(X, codes, n_classes)
    left, right = gathered(X[:middle], codes[:middle], n_classes), gathered(X[middle:], codes[middle:], n_classes)
    close(left.merge(right), whole, 1e-9)
    close(whole.subtract(right), left, 1e-9)
    close(right.merge(left), left.merge(right), 0)


def test_any_chunking_gives_the_same(toy, monkeypatch):
    whole = gathered(toy.X, toy.codes, 5)
    monkeypatch.setattr(module, "CHUNK_ROWS", 64)
    monkeypatch.setattr(module, "PIECE_ROWS", 24)
    close(gathered(toy.X, toy.codes, 5), whole, 1e-6)
    parts = GaussianStatistics.empty(5, toy.X.shape[1])
    for start in range(0, len(toy.X), 37):
        parts.update(toy.X[start : start + 37], toy.codes[start : start + 37])
    close(parts, whole, 1e-6)


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
def test_float32_keeps_the_covariance_beside_a_large_mean(offset):
    rng = np.random.default_rng(3)
    X = (rng.normal(size=(5000, 8)) + offset).astype(np.float32)
    codes = rng.integers(0, 3, len(X))
    found = gathered(X, codes, 3).covariance()
    np.testing.assert_allclose(found, pooled(X, codes), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.uint8])
def test_other_number_types_are_taken(dtype):
    rng = np.random.default_rng(4)
    X, codes = (rng.random((60, 4)) * 50).astype(dtype), rng.integers(0, 2, 60)
    np.testing.assert_allclose(gathered(X, codes, 2).covariance(), pooled(X, codes), rtol=1e-4, atol=1e-3)


def test_update_leaves_its_input_alone(toy):
    X, codes = toy.X.copy(), toy.codes.copy()
    X.flags.writeable = codes.flags.writeable = False
    gathered(X, codes, 5)
    np.testing.assert_array_equal(X, toy.X)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_is_refused_and_nothing_is_added(toy, bad):
    X = toy.X.copy()
    X[17, 3] = bad
    statistics = GaussianStatistics.empty(5, X.shape[1])
    with pytest.raises(BadVectors, match="NaN"):
        statistics.update(X, toy.codes)
    assert statistics.rows == 0
    assert not statistics.second.any()


def test_shapes_and_codes_that_do_not_fit_are_refused(toy):
    statistics = GaussianStatistics.empty(5, 12)
    for X, codes in [
        (toy.X[:, :5], toy.codes),
        (toy.X[0], toy.codes),
        (toy.X, toy.codes[:-1]),
        (toy.X, toy.codes + 1),
        (toy.X, toy.codes - 1),
    ]:
        with pytest.raises(BadVectors):
            statistics.update(X, codes)
    with pytest.raises(ValueError, match="statistics of"):
        statistics.merge(GaussianStatistics.empty(4, 12))


def test_taking_away_what_was_never_there_is_refused(toy):
    few = gathered(toy.X[:10], toy.codes[:10], 5)
    with pytest.raises(ValueError, match="fewer rows"):
        few.subtract(gathered(toy.X, toy.codes, 5))


def test_taking_everything_away_leaves_nothing(toy):
    whole = gathered(toy.X, toy.codes, 5)
    nothing = whole.subtract(whole)
    assert nothing.rows == 0
    assert not nothing.sums.any()
    assert not nothing.second.any()


def test_only_classes_without_rows_can_be_left_out(toy):
    whole = gathered(toy.X, toy.codes + 1, 7)
    kept = whole.select(np.arange(1, 6))
    close(kept, gathered(toy.X, toy.codes, 5), 0)
    with pytest.raises(ValueError, match="without rows"):
        whole.select(np.arange(3))


@pytest.mark.parametrize(("rows", "dim"), [(200, 7), (20, 30), (6, 50), (40, 1)])
def test_oas_is_that_of_scikit_learn(rows, dim):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(rows, dim)) @ rng.normal(size=(dim, dim))
    covariance = gathered(X, np.zeros(rows, dtype=int), 1).covariance()
    reference = OAS().fit(X)
    shrinkage = oas_shrinkage(covariance, rows)
    assert dim == 1 or shrinkage == pytest.approx(reference.shrinkage_, rel=1e-9)
    target = np.trace(covariance) / dim * np.eye(dim)
    shrunk = (1 - shrinkage) * covariance + shrinkage * target
    np.testing.assert_allclose(shrunk, reference.covariance_, rtol=1e-8, atol=1e-10)


def test_equal_rows_have_no_covariance():
    X = np.repeat(np.random.default_rng(6).normal(size=(3, 4)) * 100, 5, axis=0)
    assert not gathered(X, np.repeat(np.arange(3), 5), 3).covariance().any()
