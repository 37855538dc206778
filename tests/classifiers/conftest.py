"""Small labelled vectors, one calibrated head of every kind, and a store that holds the vectors."""

import pytest
from helpers.toys import EDGES, LABEL_VARIANTS, VARIANTS, Toy, fill, fitted, make_toy

from classifiers.evaluation.calibration import fit_temperature
from classifiers.heads.fusion.combiner import ALL_RULES
from store import Store


@pytest.fixture(scope="session")
def toy() -> Toy:
    return make_toy()


@pytest.fixture(scope="session", params=[*VARIANTS, *LABEL_VARIANTS])
def head(request, toy):
    """Return a calibrated head, for every variant of every kind."""
    uncalibrated = fitted(request.param, toy).head_
    return uncalibrated.with_temperature(fit_temperature(uncalibrated.scores(toy.X), toy.codes))


@pytest.fixture(scope="session")
def hard() -> Toy:
    """Return a toy whose classes cannot be separated by one block of columns alone."""
    return make_toy(spread=0.7)


@pytest.fixture(scope="session", params=sorted(ALL_RULES))
def fused(request, hard):
    """Return a fused estimator, for every rule."""
    from classifiers.fit.fusion.estimator import FusionClassifier

    return FusionClassifier(rule=request.param, blocks=EDGES, costs=(3, 1, 2)).fit(hard.X, hard.labels)


@pytest.fixture(scope="session")
def filled(tmp_path_factory, toy):
    """Return a real store with the toy's rows, split by hash. Tests must not write to it."""
    store = Store.open(tmp_path_factory.mktemp("filled") / "db")
    fill(store, toy)
    return store


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "db")
