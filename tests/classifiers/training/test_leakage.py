"""The report counts held-out rows that have a near-duplicate among the training rows."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_toy, unit

from classifiers.published.registry import Registry
from classifiers.training import leakage
from classifiers.training.leakage import find_leakage
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows
from store import Label

N, COPIES = 600, 17
SPLITS = ["train"] * 400 + ["val"] * 100 + ["test"] * 100


@pytest.fixture
def leaking(store):
    """A store whose first 17 test rows are training rows with a little noise, and scaled."""
    toy = make_toy(n=N, dim=24, spread=0.5)
    noise = np.random.default_rng(1).normal(size=(COPIES, 24)) * 0.02
    toy.X[500 : 500 + COPIES] = 3 * (toy.X[:COPIES] + noise)
    fill(store, toy, splits=SPLITS)
    return store, toy


def rows_of(store):
    return Rows(store, "toy", ("toy",), store.snapshot())


def test_copies_in_the_test_split_are_counted_and_nothing_else(leaking):
    store, toy = leaking
    found = find_leakage(rows_of(store))
    Z = unit(toy.X.astype(np.float64))
    nearest = (Z[400:] @ Z[:400].T).max(axis=1)
    assert found.found == int((nearest >= found.threshold).sum()) == COPIES
    assert (found.held, found.training, found.all_held, found.all_training) == (200, 400, 200, 400)


def test_a_large_task_is_looked_at_in_a_sample_that_says_so(leaking, monkeypatch):
    store, _ = leaking
    monkeypatch.setattr(leakage, "MOST_HELD", 50)
    monkeypatch.setattr(leakage, "MOST_TRAINING", 300)
    found = find_leakage(rows_of(store))
    assert (found.held, found.training, found.all_held, found.all_training) == (50, 300, 200, 400)
    assert found == find_leakage(rows_of(store))
    assert "of 50 (a sample of 200) held-out rows have a near-duplicate among 300 (a sample of 400)" in found.note()


def test_corrected_labels_read_no_vector_again_but_new_vectors_and_splits_do(leaking, monkeypatch):
    store, toy = leaking
    read: list[int] = []
    vectors = leakage._vectors
    monkeypatch.setattr(leakage, "_vectors", lambda *asked: read.append(1) or vectors(*asked))
    found = find_leakage(rows_of(store))
    ids = ids_of(N)
    store.labels.put("toy", [Label(ids[0], ["another"])])
    assert find_leakage(rows_of(store)) == found
    assert len(read) == 2
    store.features("toy").table.delete(f"id = '{ids[-1]}'")
    store.features("toy").put(ids[-1:], toy.X[:1])
    assert find_leakage(rows_of(store)).found == found.found + 1
    store.labels.remove("toy", ids[-1:])
    assert find_leakage(rows_of(store)).held == 199


def test_the_report_has_the_line(leaking, tmp_path):
    store, _ = leaking
    asked = {"task": "toy", "encoders": ["toy"], "name": "cats"}
    done = train(store, Registry(tmp_path / "heads"), **asked)
    line = (
        f"17 of 200 held-out rows have a near-duplicate among 400 training rows (cosine ≥ "
        f"{done.report.leakage.threshold:.4g}, toy); figures on them are too good. test: accuracy "
    )
    assert f"- {line}" in (done.path / "report.md").read_text()
    saved = json.loads((done.path / "report.json").read_text())["near_duplicates"]
    assert saved == asdict(done.report.leakage)
    assert train(store, Registry(tmp_path / "heads"), **asked).version == done.version


def test_the_accuracy_without_the_near_duplicates_is_that_of_the_other_rows(leaking, tmp_path):
    store, toy = leaking
    registry = Registry(tmp_path / "heads")
    done = train(store, registry, task="toy", encoders=["toy"], name="cats")
    right = registry.load("cats").head.predict(toy.X[500:]) == toy.labels[500:]
    assert list(done.report.leakage.without) == ["test"]
    found = done.report.leakage.without["test"]
    assert (found.rows, found.all_rows) == (100 - COPIES, 100)
    assert found.value == pytest.approx(right[COPIES:].mean())
    assert found.all_value == pytest.approx(right.mean()) == done.report.evaluations["test"].accuracy
    assert f"{found.value:.4f} without them (83 rows)" in done.report.leakage.note()


def test_with_few_training_rows_more_held_out_rows_are_compared(leaking, monkeypatch):
    store, _ = leaking
    monkeypatch.setattr(leakage, "MOST_HELD", 50)
    monkeypatch.setattr(leakage, "MOST_TRAINING", 1200)
    assert find_leakage(rows_of(store)).held == 150


@pytest.mark.parametrize("splits", [["train"] * N, ["val"] * N])
def test_without_rows_on_both_sides_there_is_no_line(store, splits):
    fill(store, make_toy(n=N), splits=splits)
    assert find_leakage(rows_of(store)) is None
