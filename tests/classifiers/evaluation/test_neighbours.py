"""Nearest neighbours vote as scikit-learn's do with the same weights."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from classifiers.evaluation import neighbours


def test_neighbours_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    X, codes, T = rng.normal(size=(120, 6)), rng.integers(4, size=120), rng.normal(size=(50, 6))
    judge = KNeighborsClassifier(
        neighbours.NEIGHBOURS, metric="cosine", weights=lambda apart: np.exp((1 - apart) / neighbours.TEMPERATURE)
    )
    assert (neighbours.nearest_class(X, codes, T, 4) == judge.fit(X, codes).predict(T)).all()
