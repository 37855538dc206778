"""The rows of a task whose class a head knows: all of them in batches, or the first of them."""

import numpy as np
import pytest
from helpers.toys import fill

from classifiers.published.registry import Registry
from classifiers.training.learning import tuning
from classifiers.training.pipeline import train
from classifiers.training.rows import rows as rows_module
from classifiers.training.rows.rows import Rows

HIDDEN = 40


@pytest.fixture
def half_known(store, toy):
    """Return rows whose first 100 validation rows, in stored order, have a class without training rows."""
    splits = np.array(["train"] * 600)
    unknown = np.flatnonzero(toy.codes == 4)
    splits[unknown] = "val"
    splits[np.flatnonzero(toy.codes != 4)[-150:]] = "val"
    order = np.concatenate([unknown, np.flatnonzero(toy.codes != 4)])
    turned = type(toy)(toy.X[order], toy.codes[order], toy.labels[order], toy.classes)
    fill(store, turned, splits=splits[order].tolist())
    return Rows(store, "toy", ("toy",), store.snapshot()), turned, splits[order]


@pytest.mark.parametrize("batch", [7, 100, 16384])
def test_known_rows_are_those_of_the_classes_in_stored_order(half_known, monkeypatch, batch):
    monkeypatch.setattr(rows_module, "BATCH_ROWS", batch)
    rows, toy, splits = half_known
    classes = rows.classes()
    wanted = (splits == "val") & (toy.codes < 4)
    parts = list(rows.known("val", classes))
    assert all(0 < len(codes) <= batch for _, codes in parts)
    np.testing.assert_array_equal(np.concatenate([X for X, _ in parts]), toy.X[wanted])
    assert [classes[k] for _, codes in parts for k in codes] == toy.labels[wanted].tolist()
    for most in (1, 8, 149, 150, 1000):
        X, codes = rows.first("val", classes, most)
        np.testing.assert_array_equal(X, toy.X[wanted][:most])
        np.testing.assert_array_equal(codes, toy.codes[wanted][:most])


def test_without_known_rows_the_first_ones_are_an_empty_matrix(half_known):
    rows, _, _ = half_known
    X, codes = rows.first("test", rows.classes(), 10)
    assert (X.shape, X.dtype, codes.shape, codes.dtype) == ((0, 12), np.float32, (0,), np.int64)
    assert list(rows.known("val", ("nobody",))) == []


@pytest.mark.parametrize(("kind", "chosen"), [("gaussian", "shrinkage"), ("linear", "C")])
def test_rows_of_unknown_classes_take_no_place_among_those_a_parameter_is_chosen_on(
    half_known, tmp_path, monkeypatch, kind, chosen
):
    """The first `HIDDEN` validation rows all have a class that no head knows."""
    rows, _, _ = half_known
    whole = train(rows.store, Registry(tmp_path), task="toy", encoders=["toy"], name="a", kind=kind)
    monkeypatch.setattr(tuning, "TUNING_ROWS", HIDDEN)
    found = train(rows.store, Registry(tmp_path), task="toy", encoders=["toy"], name="b", kind=kind)
    unchosen = {"shrinkage": "oas", "C": 1e-2}[chosen]
    assert whole.report.settings[chosen] != unchosen
    assert found.report.settings[chosen] != unchosen
