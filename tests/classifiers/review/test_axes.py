"""Axes of a map, against singular value decompositions and scikit-learn's discriminant analysis."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.transform import unit_rows
from classifiers.review import axes as axes_module
from classifiers.review.axes import Axes, principal_axes, umap_points


def rows(n: int, d: int, seed: int = 0, deviations=(3.0, 1.5, 0.5)) -> np.ndarray:
    """Return rows with a few large directions beside a mean, float32 (n, d)."""
    rng = np.random.default_rng(seed)
    scales = np.r_[deviations, np.full(d, 0.2)][:d]
    turned = np.linalg.qr(rng.standard_normal((d, d)))[0]
    return ((rng.standard_normal((n, d)) * scales) @ turned + 4.0 * turned[-1]).astype(np.float32)


def unit(X: np.ndarray) -> np.ndarray:
    X = X.astype(np.float64)
    norms = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(norms > 0, norms, 1)


def discriminant_axes(X: np.ndarray, codes: np.ndarray, n_classes: int) -> Axes:
    return axes_module.discriminant_axes(GaussianStatistics.of(unit_rows(X), codes, n_classes))


def alike(a: np.ndarray, b: np.ndarray) -> float:
    """The smallest |cosine| of the columns of a and b, each centred."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return float(np.abs((a * b).sum(axis=0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)).min())


@pytest.mark.parametrize(("n", "d"), [(400, 60), (40, 300), (3000, 5), (12, 2)])
def test_principal_axes_are_those_of_the_singular_value_decomposition(n, d):
    X = rows(n, d)
    Z = unit(X) - unit(X).mean(axis=0)
    _, singular, V = np.linalg.svd(Z, full_matrices=False)
    axes = principal_axes(X)
    assert alike(axes(X), Z @ V[:2].T) > 0.999
    assert axes.explained == pytest.approx((singular**2 / (singular**2).sum())[:2], rel=1e-3)
    assert np.abs(axes(X).mean(axis=0)).max() < 1e-5


@given(st.integers(0, 6), st.integers(1, 5), st.sampled_from(["zeros", "same", "random", "huge"]))
def test_few_or_equal_rows_give_finite_coordinates(n, d, kind):
    X = {
        "zeros": np.zeros((n, d)),
        "same": np.ones((n, d)),
        "random": np.random.default_rng(n).standard_normal((n, d)),
        "huge": np.random.default_rng(n).standard_normal((n, d)) * 1e38,
    }[kind].astype(np.float32)
    axes = principal_axes(X)
    assert axes(X).shape == (n, 2)
    assert np.isfinite(axes(X)).all()
    assert 0 <= sum(axes.explained) <= 1.0001
    if n:
        codes = np.arange(n) % 3
        found = discriminant_axes(X, codes, 3)
        assert np.isfinite(found(X)).all()
        assert found.directions.shape == (d, 2)


def test_discriminant_axes_are_those_of_scikit_learn_with_the_same_shrinkage():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5, 800)
    X = (rows(800, 30, seed=2) + 1.2 * rng.standard_normal((5, 30))[codes]).astype(np.float32)
    Z = unit(X)
    means = np.stack([Z[codes == k].mean(axis=0) for k in range(5)])
    covariance, shrinkage = oas(Z - means[codes], assume_centered=True)
    axes = discriminant_axes(X, codes, 5)
    theirs = LinearDiscriminantAnalysis(solver="eigen", shrinkage=shrinkage).fit(Z, codes)
    assert alike(axes(X), theirs.transform(Z)[:, :2]) > 0.999
    assert axes.explained == pytest.approx(theirs.explained_variance_ratio_[:2], abs=0.02)
    inside = axes.directions.T.astype(np.float64) @ covariance @ axes.directions
    assert inside == pytest.approx(np.eye(2), abs=0.02)


def test_two_classes_have_one_discriminant_axis_and_the_other_is_what_is_left():
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 2, 500)
    X = (rows(500, 20, seed=4) + 2.0 * rng.standard_normal((2, 20))[codes]).astype(np.float32)
    axes = discriminant_axes(X, codes, 2)
    points = axes(X)
    gaps = np.abs(points[codes == 0].mean(axis=0) - points[codes == 1].mean(axis=0)) / points.std(axis=0)
    assert axes.explained == (pytest.approx(1.0), 0.0)
    first = axes.directions[:, :1].astype(np.float64)
    Z = unit(X) - unit(X).mean(axis=0)
    left = Z - Z @ first @ first.T / (first.T @ first)
    assert alike(points[:, 1:], left @ np.linalg.svd(left, full_matrices=False)[2][:1].T) > 0.99
    assert gaps[0] > 1.5


@pytest.mark.parametrize("codes", [np.zeros(50, int), np.arange(50) % 2 * 3])
def test_one_class_and_classes_without_rows_have_axes(codes):
    axes = discriminant_axes(rows(50, 8), codes, 5)
    assert np.isfinite(axes.directions).all()
    assert np.linalg.matrix_rank(axes.directions) == 2


def test_umap_gets_the_rows_and_few_rows_need_none(monkeypatch):
    """The package is not among the dependencies; a stand-in shows how it is called."""
    X = rows(30, 6)
    assert umap_points(X[:3]) == pytest.approx(X[:3, :2])

    class Umap:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, given):
            assert self.options == {"n_components": 2, "n_neighbors": 15, "random_state": 0, "n_jobs": 1}
            return given[:, 1:3].astype(np.float64)

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    assert umap_points(X) == pytest.approx(X[:, 1:3])
