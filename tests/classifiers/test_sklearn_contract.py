"""All estimators pass scikit-learn's own estimator checks.

Two of them skip themselves, and no other may: `check_array_api_input` (arrays other than NumPy's, which we do not
claim; it needs SCIPY_ARRAY_API set before SciPy is imported) and `check_classifier_data_not_an_array` (data frames;
needs pandas, which is no dependency).
"""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from classifiers.fit.fusion import FusionClassifier
from classifiers.fit.gaussian import GaussianClassifier
from classifiers.fit.linear import LinearClassifier

MAY_SKIP = {"check_array_api_input", "check_classifier_data_not_an_array"}


@parametrize_with_checks(
    [
        GaussianClassifier(),
        GaussianClassifier(shrinkage=0.3, priors="uniform"),
        LinearClassifier(),
        FusionClassifier(),
    ]
)
def test_scikit_learn_contract(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:
        assert check.func.__name__ in MAY_SKIP
        pytest.skip(str(skipped))
