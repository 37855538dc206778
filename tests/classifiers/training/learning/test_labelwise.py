"""The penalty of a labelwise head, chosen on validation rows or folds."""

import numpy as np
import pytest
from helpers.toys import fill_labels, make_label_toy
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from classifiers.errors import BadParameter
from classifiers.evaluation.reports.labels import binary_nll
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.published.registry import Registry
from classifiers.training.kinds import MOST_STEPS
from classifiers.training.learning.tuning import PENALTIES, UNCHOSEN
from classifiers.training.out_of_fold import settled_estimator
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows


def trained(store, registry, **params):
    train(store, registry, task="toy", encoders=["toy"], name="many", kind="labelwise", params=params)
    return registry.load("many")


def calibrated_nll(scores, truth):
    platt = fit_platt(scores, truth)
    return binary_nll((scores + platt.shift) / platt.temperature, truth)


@pytest.mark.parametrize("splits", [None, ["train"] * 500 + ["test"] * 100], ids=["val", "folds"])
def test_the_penalty_has_the_least_nll_on_rows_not_learned_from(store, tmp_path, splits):
    fill_labels(store, make_label_toy(), **({} if splits is None else {"splits": splits}))
    published = trained(store, Registry(tmp_path / "heads"))
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    names, found = rows.label_names(), {}
    for C in PENALTIES:
        scores, truth = [], []
        for view in rows.validations():
            train_rows, held = (view.labelled_rows(split, names) for split in ("train", "val"))
            fresh = LabelwiseClassifier(C=C, max_iter=MOST_STEPS).fit(train_rows.X, train_rows.Y)
            scores.append(fresh.head_.scores(held.X))
            truth.append(held.Y)
        found[C] = calibrated_nll(np.concatenate(scores), np.concatenate(truth))
    chosen = published.manifest.settings["C"]
    assert published.manifest.parameters["C"] == "auto"
    assert found[chosen] <= min(found.values()) + 1e-4
    assert max(found.values()) > min(found.values()) + 0.01  # the choice matters
    assert chosen == settled_estimator(published).C
    assert published.head.with_temperature(2.0).settings()["C"] == chosen


def test_a_penalty_that_is_given_stays(store, tmp_path):
    fill_labels(store, make_label_toy())
    published = trained(store, Registry(tmp_path / "heads"), C=0.3)
    assert published.manifest.parameters["C"] == 0.3
    assert "C" not in published.manifest.settings


def test_too_few_rows_to_choose_on(store, tmp_path):
    toy = make_label_toy()
    fill_labels(store, toy, splits=["train"] * 15 + ["test"] * (len(toy.X) - 15))
    assert trained(store, Registry(tmp_path / "heads")).manifest.settings["C"] == UNCHOSEN


def test_auto_is_for_training_from_a_store_only():
    toy = make_label_toy()
    with pytest.raises(BadParameter, match="C must be a number above 0"):
        LabelwiseClassifier(C="auto").fit(toy.X, toy.Y)


@pytest.mark.parametrize("rows", [500, 40], ids=["more rows than columns", "fewer"])
def test_a_path_ends_where_scikit_learn_ends(rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 60)).astype(np.float32)
    Y = X[:, :3] + rng.normal(size=(rows, 3)) > 0.3
    *_, last = LabelwiseClassifier(tol=1e-7).path(X, Y, [0.01, 0.1, 1.0])
    Z = StandardScaler().fit_transform(X.astype(np.float64))
    for label in range(3):
        theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(Z, Y[:, label])
        np.testing.assert_allclose(last.decision_function(X)[:, label], theirs.decision_function(Z), atol=2e-3)
