"""Small labelled vectors, one calibrated head of every kind, and a store that holds the vectors."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from helpers.toys import EDGES, LABEL_VARIANTS, VARIANTS, Toy, fill, fitted, make_toy, outlier_of

from classifiers.evaluation.calibration import fit_temperature
from classifiers.heads.fusion.combiner import ALL_RULES
from store import Store


@pytest.fixture(scope="session")
def toy() -> Toy:
    return make_toy()


@pytest.fixture(scope="session")
def learned(toy) -> Callable[[str], Any]:
    """Return a function that returns the estimator of a variant, fitted on the toy once for all tests that read it."""
    return cache(lambda variant: fitted(variant, toy))


@pytest.fixture(scope="session")
def calibrated(learned, toy) -> Callable[[str], Any]:
    """Return a function that returns the calibrated head of a variant."""

    @cache
    def head_of(variant: str) -> Any:
        head = learned(variant).head_
        return head.with_temperature(fit_temperature(head.scores(toy.X), toy.codes))

    return head_of


@pytest.fixture(scope="session", params=[*VARIANTS, *LABEL_VARIANTS])
def head(request, calibrated):
    """Return a calibrated head, for every variant of every kind."""
    return calibrated(request.param)


@pytest.fixture(scope="session")
def outliers(toy) -> tuple[tuple[float, ...], dict[str, bytes]]:
    """Return the outlier quantiles of the toy, and the file of its detector."""
    return outlier_of(toy)


@pytest.fixture(scope="session")
def hard() -> Toy:
    """Return a toy whose classes cannot be separated by one block of columns alone."""
    return make_toy(spread=0.7)


@pytest.fixture(scope="session")
def fused_by(hard) -> Callable[[str], Any]:
    """Return a function that returns the fused estimator of a rule, fitted once."""
    from classifiers.fit.fusion.estimator import FusionClassifier

    return cache(lambda rule: FusionClassifier(rule=rule, blocks=EDGES, costs=(3, 1, 2)).fit(hard.X, hard.labels))


@pytest.fixture(scope="session", params=sorted(ALL_RULES))
def fused(request, fused_by):
    """Return a fused estimator, for every rule."""
    return fused_by(request.param)


@pytest.fixture(scope="session")
def filled(tmp_path_factory, toy):
    """Return a real store with the toy's rows, split by hash. Tests must not write to it."""
    store = Store.open(tmp_path_factory.mktemp("filled") / "db")
    fill(store, toy)
    return store


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "db")
