"""Checks of the parameters of the Gaussian and mixture estimators."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from classifiers.errors import BadParameter
from classifiers.fit.base import check_solver, is_real
from classifiers.fit.gaussian.mixture_metric import METRICS
from classifiers.heads.gaussian.covariance import Covariance
from classifiers.heads.gaussian.discriminant import Priors
from classifiers.heads.gaussian.mixture import Model


def check_covariance(covariance: object, shrinkage: object, pooling: object, correlation: bool) -> None:
    """Raise BadParameter for values that `GaussianClassifier` does not allow; the message names the allowed ones."""
    kinds: Sequence[str] = get_args(Covariance)
    if covariance not in kinds:
        raise BadParameter(f"covariance must be one of {', '.join(kinds)}, got {covariance!r}")
    if not (shrinkage in ("oas", "ledoit-wolf") or share(shrinkage)):
        raise BadParameter(f"shrinkage must be 'oas', 'ledoit-wolf' or a number from 0 to 1, got {shrinkage!r}")
    if not share(pooling):
        raise BadParameter(f"pooling must be a number from 0 to 1, got {pooling!r}")
    if correlation and covariance not in ("tied", "full"):
        raise BadParameter(f"correlation needs covariance 'tied' or 'full', got {covariance!r}")


def check_mixture(estimator: Any) -> None:
    """Raise BadParameter for values that `MixtureClassifier` does not allow; the message names the allowed ones."""
    for name, allowed in (("model", get_args(Model)), ("metric", METRICS)):
        if getattr(estimator, name) not in allowed:
            raise BadParameter(f"{name} must be one of {', '.join(allowed)}, got {getattr(estimator, name)!r}")
    components, power, C = estimator.components, estimator.power, estimator.C
    if not is_real(components) or not components >= 1 or components % 1:
        raise BadParameter(f"components must be a whole number ≥ 1, got {components!r}")
    if not share(estimator.shrinkage):
        raise BadParameter(f"shrinkage must be a number from 0 to 1, got {estimator.shrinkage!r}")
    if not share(power):
        raise BadParameter(f"power must be a number from 0 to 1, got {power!r}")
    if components > 1 and not power:
        raise BadParameter("power must be above 0 for several components, which would otherwise stay equal")
    if not is_real(C) or not 0 <= C < np.inf:
        raise BadParameter(f"C must be a number ≥ 0, got {C!r}")
    check_solver(1.0, estimator.max_iter, estimator.tol)
    if estimator.model != "dgmmc-s" and (estimator.metric, estimator.project) == ("white", "ranpac"):
        raise BadParameter(f"model={estimator.model!r} with project='ranpac' needs metric='col'")


def share(value: object) -> bool:
    """True for a number from 0 to 1."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


def priors_of(given: object, classes: NDArray[Any]) -> Priors:
    """Return the priors in the form that a head stores. Raises BadParameter if they do not fit the classes."""
    if isinstance(given, str):
        if given not in ("empirical", "uniform"):
            raise BadParameter(f"priors must be 'empirical', 'uniform' or probabilities, got {given!r}")
        return "uniform" if given == "uniform" else "empirical"
    labels = [str(label) for label in classes]
    if isinstance(given, Mapping):
        by_label = {str(label): float(prior) for label, prior in given.items()}
        missing = [label for label in labels if label not in by_label]
        if missing:
            raise BadParameter(f"classes {missing[:10]} have no prior; give one for each of the {len(labels)} classes")
        values = [by_label[label] for label in labels]
    else:
        values = [float(prior) for prior in np.asarray(given, dtype=np.float64).ravel()]
    if len(values) != len(labels) or not all(np.isfinite(value) and value > 0 for value in values):
        raise BadParameter(f"priors must be {len(labels)} numbers above 0, one for each class, got {values[:20]}")
    return tuple(value / sum(values) for value in values)


def known_classes(given: ArrayLike | None, known: NDArray[Any] | None) -> NDArray[Any]:
    """Return the sorted classes of a `partial_fit` call.

    Raises ValueError if the first call names none, or a later call names others.
    """
    if known is None:
        if given is None:
            raise ValueError("the first call of partial_fit needs all classes: partial_fit(X, y, classes=...)")
        return np.unique(np.asarray(given))
    if given is not None and not np.array_equal(np.unique(np.asarray(given)), known):
        raise ValueError(f"classes changed between calls of partial_fit; they were {known.tolist()[:20]}")
    return known
