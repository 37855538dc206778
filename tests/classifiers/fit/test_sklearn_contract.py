"""Every estimator that fits a matrix passes scikit-learn's own estimator checks.

Three checks skip themselves, and no other may: `check_array_api_input` (arrays other than NumPy's, which we do not
promise to support; it needs SCIPY_ARRAY_API set before SciPy is imported), `check_classifier_data_not_an_array` and
`check_sample_weights_pandas_series` (data frames; they need pandas, which is not a dependency).

Labelwise regression expects 0 or 1 for each of several labels. Checks with one column of other values must fail
(`ONE_COLUMN`); checks with several labels, or none, pass. `BilinearClassifier` and `DecoderClassifier` are not tested
here, because `fit(X, y)` has no argument for their text vectors and tokens.
"""

from unittest import SkipTest

import pytest
from helpers.toys import WithTexts
from sklearn.utils.estimator_checks import parametrize_with_checks

from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.mixture import MixtureClassifier
from classifiers.fit.linear import LinearClassifier
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier

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
    MixtureClassifier(),
    MixtureClassifier(model="sdgm-d", metric="col", components=2, C=1.0),
    MixtureClassifier(model="sdgm-f", C=1.0),
    LinearClassifier(),
    LinearClassifier(project="pca", whiten=True),
    WithTexts(blend=100.0),
    WithTexts(),
    LabelwiseClassifier(),
    LabelwiseClassifier(norm="unit", project="ranpac", dims=30),
]


ONE_COLUMN = dict.fromkeys(
    (
        "check_classifier_data_not_an_array",
        "check_classifier_not_supporting_multiclass",
        "check_classifiers_classes",
        "check_classifiers_one_label",
        "check_classifiers_regression_target",
        "check_classifiers_train",
        "check_decision_proba_consistency",
        "check_estimators_dtypes",
        "check_fit2d_1feature",
    ),
    "has a single column of classes, but this estimator expects 0 or 1 for each of several labels",
)


TEXT_ALONE = {"check_classifiers_train": "requires accuracy of a fit that learns from no label"}


def must_fail(estimator):
    """Return the checks that must fail. Zero-shot estimators get a toy encoder's texts, unrelated to the classes."""
    if isinstance(estimator, WithTexts) and estimator.blend == 0:
        return TEXT_ALONE
    return ONE_COLUMN if isinstance(estimator, LabelwiseClassifier) else {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=must_fail)
def test_scikit_learn_contract(estimator, check):
    try:
        check(estimator)
    except SkipTest as skipped:
        assert check.func.__name__ in MAY_SKIP
        pytest.skip(str(skipped))
