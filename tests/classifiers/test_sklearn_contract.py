"""Every estimator of a plain matrix passes scikit-learn's own estimator checks.

Three of them skip themselves, and no other may: `check_array_api_input` (arrays other than NumPy's, which we do not
claim; it needs SCIPY_ARRAY_API set before SciPy is imported), `check_classifier_data_not_an_array` and
`check_sample_weights_pandas_series` (data frames; they need pandas, which is no dependency).
"""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from classifiers.fit.fusion import FusionClassifier
from classifiers.fit.gaussian import GaussianClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.mixture import MixtureClassifier

MAY_SKIP = {
    "check_array_api_input",
    "check_classifier_data_not_an_array",
    "check_sample_weights_pandas_series",
}
ESTIMATORS = [
    GaussianClassifier(),
    GaussianClassifier(shrinkage=0.3, priors="uniform", norm="unit"),
    GaussianClassifier(covariance="diag", shrinkage="ledoit-wolf"),
    GaussianClassifier(covariance="spherical", project="pca", dims=0.9),
    GaussianClassifier(covariance="full", pooling=0.2),
    GaussianClassifier(covariance="tied-diag", project="ranpac", dims=30),
    FusionClassifier(),
    MixtureClassifier(steps=20),
    MixtureClassifier(model="sdgm-d", components=2, steps=50, learning_rate=0.05),
    LinearClassifier(),
    LinearClassifier(project="pca", whiten=True),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_contract(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:
        assert check.func.__name__ in MAY_SKIP
        pytest.skip(str(skipped))
