"""Inverses of triangles and covariances against NumPy's general one, and solutions against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.linalg import LinAlgError
from scipy.linalg import solve_triangular

from classifiers.heads.gaussian.triangle import (
    inverse_of_covariance,
    inverse_of_triangle,
    solved_above,
    solved_below,
)


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_triangle_and_its_inverse_make_the_identity(dim, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(2 * dim + 2, dim)) * rng.uniform(0.1, 10, dim)
    L = np.linalg.cholesky(X.T @ X)
    inverse = inverse_of_triangle(L)
    np.testing.assert_allclose(inverse @ L, np.eye(dim), atol=1e-9)
    np.testing.assert_array_equal(np.triu(inverse, 1), 0)
    np.testing.assert_allclose(inverse_of_covariance(X.T @ X), np.linalg.inv(X.T @ X), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 64, 65, 130, 200])
def test_solutions_are_those_of_a_triangular_solver(dim):
    rng = np.random.default_rng(dim)
    L, B = np.linalg.cholesky(np.cov(rng.normal(size=(dim, 3 * dim + 2))).reshape(dim, dim)), rng.normal(size=(dim, 3))
    np.testing.assert_allclose(solved_below(L, B), solve_triangular(L, B, lower=True), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(solved_above(L, B), solve_triangular(L, B, lower=True, trans="T"), rtol=1e-9, atol=1e-11)


def test_what_is_no_covariance_is_refused():
    with pytest.raises(LinAlgError):
        inverse_of_covariance(np.array([[1.0, 2.0], [2.0, 1.0]]))
