"""The space that a few rows span, in which everything that does not depend on the axes can be computed exactly.

n rows span at most n of their d dimensions. Gram matrices, principal components, shrunk covariances and L2 penalties
are the same in coordinates along any orthonormal basis of that space, where matrices are (n, n) instead of (d, d).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from classifiers.fit.remembered import remembered


@remembered
def row_space(Z: NDArray[Any]) -> NDArray[np.float64]:
    """Return an orthonormal basis (d, n) of a space that contains the rows of Z (n, d), n ≤ d."""
    basis, _ = qr(Z.T.astype(np.float64), mode="economic", overwrite_a=True, check_finite=False)
    return np.asarray(basis)
