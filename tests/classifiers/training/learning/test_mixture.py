"""The start, the penalty and the components of a mixture head, chosen on validation rows or folds."""

from itertools import product

import numpy as np
import pytest
from helpers.toys import fill, fold_of, make_toy

from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.gaussian.mixture import MixtureClassifier, Setting
from classifiers.published.registry import Registry
from classifiers.training.learning.mixture import GRID, starts
from classifiers.training.pipeline import train


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


def trained(store, registry, **params):
    train(store, registry, task="toy", encoders=["toy"], name="cats", kind="mixture", params=params)
    return registry.load("cats")


def held_rows(store, splits):
    """Return (X, codes, V, codes of V) of each view that a choice is made on."""
    matrix = store.matrix("toy", ["toy"])
    rows, val = matrix.select("train"), matrix.select("val")
    if "val" in splits:
        return [(rows.X, rows.codes, val.X, val.codes)]
    masks = [fold_of(store, rows.ids) == fold for fold in range(5)]
    return [(rows.X[~m], rows.codes[~m], rows.X[m], rows.codes[m]) for m in masks]


def nll_of(held, **params):
    """Return the NLL at the best temperature of mixtures that learn from the rest of the rows."""
    scores = np.concatenate([MixtureClassifier(**params).fit(X, y).scores(V) for X, y, V, _ in held])
    codes = np.concatenate([each[3] for each in held])
    return mean_nll(scores, codes, fit_temperature(scores, codes))


@pytest.mark.parametrize("model", ["dgmmc-s", pytest.param("sdgm-d", marks=pytest.mark.slow)])
@pytest.mark.parametrize("splits", [["val"] * 60 + ["train"] * 140, ["train"] * 200], ids=["val", "folds"])
def test_no_start_is_better_on_rows_not_learned_from(store, registry, splits, model):
    fill(store, make_toy(n=200, dim=10, n_classes=5, spread=0.5), splits=splits)
    published = trained(store, registry, model=model)
    held = held_rows(store, splits)
    chosen = {name: published.manifest.settings[name] for name in ("components", *Setting._fields)}
    assert chosen["components"] == 1
    assert all(chosen[name] in GRID[name] for name in GRID)
    found = nll_of(held, model=model, **chosen)
    closed = [
        nll_of(held, model=model, shrinkage=shrinkage, power=power, C=0)
        for shrinkage, power in product(GRID["shrinkage"], (1.0, 1 / 16))
    ]
    assert found < min(closed) + 1e-3
    whole = MixtureClassifier(model=model, **chosen)
    rows = store.matrix("toy", ["toy"]).select("train")
    whole.fit(rows.X, rows.codes)
    np.testing.assert_allclose(published.head.scores(rows.X), whole.scores(rows.X), atol=2e-3)


def test_parameters_that_are_given_stay(store, registry):
    fill(store, make_toy(n=120))
    given = {"components": 2, "shrinkage": 0.3, "power": 0.5, "C": 0.2}
    settings = trained(store, registry, **given).manifest.settings
    assert {name: settings[name] for name in given} == given
    settings = trained(store, registry, power=0.5, metric="col").manifest.settings
    assert (settings["power"], settings["shrinkage"], settings["metric"]) == (0.5, 0.5, "col")
    assert settings["C"] in GRID["C"]


def test_components_are_chosen_where_one_is_not_enough(store, registry):
    toy = make_toy(n=240, dim=6, n_classes=4, spread=4.0)
    joined = np.array(["left", "right"])[toy.codes % 2]
    fill(store, type(toy)(toy.X, toy.codes % 2, joined, ("left", "right")))
    assert trained(store, registry, components="auto").manifest.settings["components"] > 1


def test_too_few_rows_to_choose_on(store, registry):
    fill(store, make_toy(n=15), splits=["train"] * 15)
    settings, defaults = trained(store, registry).manifest.settings, MixtureClassifier().get_params()
    assert {name: settings[name] for name in GRID} == {name: defaults[name] for name in GRID}


def test_training_begins_at_the_best_start_and_without_gaussians_under_larger_shrinkages():
    losses = {(0.1, 0.5): 3.0, (0.1, 0.25): 4.0, (0.1, 0.0): 9.0, (0.5, 0.5): 2.0, (0.5, 0.25): 2.5, (0.5, 0.0): 9.0}
    losses |= {(0.75, 0.5): 2.2, (0.75, 0.25): 2.1, (0.75, 0.0): 9.0}
    assert starts(losses, 1) == [(0.5, 0.0), (0.5, 0.5), (0.75, 0.0)]
    assert starts(losses, 2) == [(0.1, 0.5), (0.5, 0.5), (0.75, 0.25)]
    assert starts({(0.5, 0.0): 0.0}, 1) == [(0.5, 0.0)]
    assert starts({(0.5, 0.0): 0.0}, 2) == []
