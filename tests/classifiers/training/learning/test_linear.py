"""The penalty of a linear head, chosen on validation rows or folds."""

import numpy as np
import pytest
from helpers.toys import fill, fold_of, make_toy

from classifiers.compare.candidates import SOFTMAX, parse_lines, with_controls
from classifiers.compare.run import run, start
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.linear import LinearClassifier
from classifiers.heads.linear import LinearHead
from classifiers.published.registry import Registry
from classifiers.training.learning.tuning import PENALTIES, UNCHOSEN
from classifiers.training.pipeline import train


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


def trained(store, registry, **params):
    return train(store, registry, task="toy", encoders=["toy"], name="cats", kind="linear", params=params)


def test_the_default_is_better_than_a_strong_penalty(store, registry):
    fill(store, make_toy(n=300, dim=30, n_classes=10, spread=0.5))
    strong = trained(store, registry, C=0.01).report.evaluations["test"]
    chosen = trained(store, registry).report.evaluations["test"]
    assert chosen.accuracy > strong.accuracy + 0.1
    assert chosen.nll < strong.nll - 0.3


@pytest.mark.parametrize("splits", [["train"] * 240 + ["val"] * 60, ["train"] * 300], ids=["val", "folds"])
def test_the_penalty_has_the_least_nll_on_rows_not_learned_from(store, registry, splits):
    fill(store, make_toy(n=300, dim=30, n_classes=10, spread=0.5), splits=splits)
    trained(store, registry)
    matrix = store.matrix("toy", ["toy"])
    rows, val = matrix.select("train"), matrix.select("val")
    held = [(rows.X, rows.codes, val.X, val.codes)]
    if "val" not in splits:
        masks = [fold_of(store, rows.ids) == fold for fold in range(5)]
        held = [(rows.X[~m], rows.codes[~m], rows.X[m], rows.codes[m]) for m in masks]
    found = {}
    for C in PENALTIES:
        scores = np.concatenate([LinearClassifier(C=C).fit(X, y).scores(V) for X, y, V, _ in held])
        codes = np.concatenate([each[3] for each in held])
        found[C] = mean_nll(scores, codes, fit_temperature(scores, codes))
    published = registry.load("cats")
    assert published.manifest.parameters["C"] == "auto"
    assert found[published.manifest.settings["C"]] <= min(found.values()) + 1e-3
    whole = LinearClassifier(C=published.manifest.settings["C"]).fit(rows.X, rows.codes)
    np.testing.assert_allclose(published.head.scores(rows.X), whole.scores(rows.X), atol=1e-3)


def test_a_penalty_that_is_given_stays(store, registry):
    fill(store, make_toy())
    trained(store, registry, C=0.3)
    assert registry.load("cats").manifest.parameters["C"] == 0.3
    assert "C" not in registry.load("cats").manifest.settings


def test_too_few_rows_to_choose_on(store, registry):
    fill(store, make_toy(n=15), splits=["train"] * 15)
    trained(store, registry)
    assert registry.load("cats").manifest.settings["C"] == UNCHOSEN


def test_the_softmax_control_of_a_comparison_has_a_chosen_penalty_too(filled, tmp_path):
    candidates = with_controls(parse_lines(["gaussian"], ["toy"]))
    comparison = start(filled, tmp_path / "it", task="toy", encoders=["toy"], candidates=candidates)
    run(comparison)
    [control] = [trial for trial in comparison.trials.values() if trial.candidate.control == SOFTMAX]
    assert control.settings["C"] in PENALTIES


def test_a_path_ends_where_a_fit_from_zero_ends(toy):
    whole = LinearClassifier(C=1.0, tol=1e-8).fit(toy.X, toy.labels)
    *_, last = LinearClassifier(tol=1e-8).path(toy.X, toy.labels, [0.01, 0.1, 1.0])
    np.testing.assert_allclose(last.coef_, whole.coef_, atol=2e-3)


def test_what_was_chosen_outlives_saving_and_calibration(toy):
    head = LinearClassifier(norm="unit").fit(toy.X, toy.labels).head_
    chosen = LinearHead(head.classes, head.W, head.b, head.transform, chosen={"C": 0.1})
    again = LinearHead.from_arrays(chosen.arrays(), chosen.meta()).with_temperature(2.0)
    assert again.settings() == chosen.settings()
    assert again.settings()["C"] == 0.1
    np.testing.assert_array_equal(again.scores(toy.X), head.scores(toy.X))
