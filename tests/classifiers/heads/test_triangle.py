"""Inverses of triangles and covariances against NumPy's general one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.linalg import LinAlgError

from classifiers.heads.gaussian.triangle import inverse_of_covariance, inverse_of_triangle


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


def test_what_is_no_covariance_is_refused():
    with pytest.raises(LinAlgError):
        inverse_of_covariance(np.array([[1.0, 2.0], [2.0, 1.0]]))
