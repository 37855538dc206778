"""Both estimators pass scikit-learn's own estimator checks; none is skipped."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from classifiers.fit.gaussian import GaussianClassifier
from classifiers.fit.linear import LinearClassifier


@parametrize_with_checks(
    [GaussianClassifier(), GaussianClassifier(shrinkage=0.3, priors="uniform"), LinearClassifier()]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)
