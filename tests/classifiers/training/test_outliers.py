"""The report on out-of-distribution rows, and why a head has no outlier percentiles."""

import numpy as np
import pytest
from helpers.toys import fill, text_side
from sklearn.metrics import roc_auc_score

from classifiers.published.registry import Registry
from classifiers.training.kinds import CLASS_KINDS
from classifiers.training.pipeline import train
from classifiers.training.rows import units
from store import Label, Store


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "db")


def trained(store, registry, kind="gaussian"):
    params = {"blend": 0.3} if kind == "zeroshot" else {}
    return train(store, registry, task="toy", encoders=["toy"], name="cats", kind=kind, params=params, texts=text_side)


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_the_report_says_how_well_out_of_distribution_rows_stand_out(store, registry, toy, kind):
    fill(store, toy)
    assert trained(store, registry, kind=kind).report.ood is None
    ood = -toy.X[:60]
    ids = [f"{i:064x}" for i in range(60)]
    store.features("toy").put(ids, ood)
    store.labels.put("toy", [Label(id_, ["strange", "things"], "ood") for id_ in ids])
    done = trained(store, registry, kind=kind)
    published, test = registry.load("cats"), store.matrix("toy", ["toy"]).select("test")
    known, far = published.answer(test.X), published.answer(ood)
    found = done.report.ood
    assert (found.rows, found.against, found.against_rows) == (60, "test", len(test.ids))
    truth = np.repeat([0, 1], [len(known), 60])
    doubts = [1 - answer.probability for answer in (*known, *far)]
    assert found.auroc["max_probability"] == pytest.approx(roc_auc_score(truth, doubts), abs=1e-6)
    scores = published.detector.score(np.vstack([test.X, ood]))
    assert found.auroc["outlier"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert found.auroc["outlier"] > 0.9
    for limit, (theirs, ours) in found.flagged.items():
        assert theirs == np.mean([answer.outlier_percentile > limit for answer in far])
        assert ours == np.mean([answer.outlier_percentile > limit for answer in known])


def test_out_of_distribution_rows_are_compared_with_validation_rows_without_test_rows(store, registry, toy):
    fill(store, toy, splits=["train", "val", "val"] * 200)
    store.features("toy").put(["f" * 64], toy.X[:1] + 9)
    store.labels.put("toy", [Label("f" * 64, ["x"], "ood")])
    found = trained(store, registry).report.ood
    assert (found.rows, found.against, found.against_rows) == (1, "val", 400)


def test_without_out_of_distribution_rows_or_known_rows_there_are_no_figures(store, registry, toy):
    fill(store, toy, splits=["train"] * 600)
    store.labels.put("toy", [Label("f" * 64, ["x"], "ood")])  # has no vector
    assert trained(store, registry).report.ood is None
    store.features("toy").put(["f" * 64], toy.X[:1] + 9)
    assert trained(store, registry).report.ood is None  # all other rows were learned from


def test_vectors_too_wide_for_a_detector_leave_the_rest_as_it_is(store, registry, toy, monkeypatch):
    monkeypatch.setattr(units, "MOST_COLUMNS", 11)
    fill(store, toy)
    store.labels.put("toy", [Label("f" * 64, ["x"], "ood")])
    store.features("toy").put(["f" * 64], toy.X[:1] + 9)
    done = trained(store, registry)
    assert "No outlier percentiles: vectors of 12 columns are wider than 11." in done.report.notes
    assert set(done.report.ood.auroc) == {"max_probability"}
    assert done.report.ood.flagged == {}
    (answer,) = registry.load("cats").answer(toy.X[:1])
    assert answer.outlier_percentile is None
    assert answer.prediction_set is not None


def test_one_row_a_class_gives_no_outlier_percentiles_and_a_note(store, registry, toy):
    fill(store, toy, splits=["train"] * 5 + ["val"] * 595)
    done = trained(store, registry, kind="linear")
    assert "No outlier percentiles: an outlier score needs two classes with rows" in " ".join(done.report.notes)
    assert registry.load("cats").detector is None
