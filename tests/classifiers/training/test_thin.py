"""Training where rows are few, grouped or of rare classes: what the figures of the report are worth."""

import json

import numpy as np
import pyarrow.compute as pc
import pytest
from helpers.toys import Toy, fill, fill_labels, make_label_toy, make_toy, text_side

from classifiers.compare.candidates import Candidate
from classifiers.compare.run import run, start
from classifiers.evaluation.reports.groups import NO_GROUPS
from classifiers.evaluation.reports.report import Calibration
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from store import Label


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


def trained(store, registry, kind="gaussian", **params):
    return train(store, registry, task="toy", encoders=["toy"], kind=kind, name="cats", params=params)


def test_a_head_of_six_rows_is_not_absurdly_sure(store, registry):
    """Without a temperature, its mistakes on other rows cost hundreds of nats."""
    toy = make_toy(n=300, dim=64, n_classes=2, spread=0.5)
    picked = [np.flatnonzero(toy.codes == k)[:3] for k in range(2)]
    splits = np.full(300, "test", object)
    splits[np.concatenate(picked)] = "train"
    fill(store, toy, splits=splits.tolist())
    test = trained(store, registry).report.evaluations["test"]
    assert test.nll < 0.8
    assert test.nll_uncalibrated > 3


def grouped(store, *, splits, per_group=60, dim=24):
    """Store rows of 6 groups, each of which moves its rows of every class in its own direction."""
    rng, n = np.random.default_rng(3), 6 * per_group
    groups, codes = np.repeat(np.arange(6), per_group), np.tile(np.arange(3), n // 3)
    centres = 0.5 * rng.normal(size=(3, dim)) + 2 * rng.normal(size=(6, 3, dim))
    X = (centres[groups, codes] + rng.normal(size=(n, dim)) * 0.3).astype(np.float32)
    toy = Toy(X, codes, np.array([f"class {k}" for k in codes]), ("class 0", "class 1", "class 2"))
    ids = fill(store, toy, splits=[splits[group] for group in groups])
    labels = zip(ids, toy.labels, groups, strict=True)
    store.labels.put("toy", [Label(id_, [name], group=f"speaker {group}") for id_, name, group in labels])


@pytest.mark.parametrize("kind", ["gaussian", "linear"])
def test_folds_of_groups_say_what_folds_of_rows_hide(store, registry, kind):
    """Each group has its own look, so a head recognises rows of known groups, and not those of new ones."""
    grouped(store, splits=["train"] * 5 + ["test"])
    done = trained(store, registry, kind=kind)
    folds, unseen = done.report.groups.folds, done.report.evaluations["test"].accuracy
    assert folds["rows"] > 0.95
    assert folds["groups"] < 0.8
    assert abs(folds["groups"] - unseen) < abs(folds["rows"] - unseen)
    assert done.report.evaluations["cross-validation"].accuracy == pytest.approx(folds["groups"], abs=0.1)
    assert done.report.calibration == Calibration("cross-validation", 300, 300, "groups")
    assert f"folds by groups, none of which is in two folds: {folds['groups']:.4f}" in " ".join(done.report.notes)
    assert [(one.group, one.rows, one.trained) for one in done.report.groups.splits["test"]] == [
        ("speaker 5", 60, False)
    ]
    saved = json.loads((done.path / "report.json").read_text())
    assert saved["groups"]["folds"] == folds
    assert saved["calibration"] == {"on": "cross-validation", "rows": 300, "of": 300, "folds": "groups"}
    assert "| speaker 5 |" in (done.path / "report.md").read_text()
    assert NO_GROUPS not in done.report.notes


def test_groups_in_both_splits_are_named(store, registry):
    grouped(store, splits=["train"] * 5 + ["test"])
    ids = store.labels.get("toy").filter(pc.field("group") == "speaker 0")["id"].to_pylist()
    store.labels.put("toy", [Label(id_, ["class 0"], "test") for id_ in ids[:10]], move_splits=True)
    found = trained(store, registry).report
    assert "test: 10 rows are of 1 of 2 groups that the head learned from too" in " ".join(found.notes)
    assert {one.group: one.trained for one in found.groups.splits["test"]} == {"speaker 0": True, "speaker 5": False}


def test_few_validation_rows_are_measured_but_folds_calibrate(store, registry, toy):
    fill(store, toy, splits=["train"] * 560 + ["val"] * 9 + ["test"] * 31)
    done = trained(store, registry)
    assert {split: found.rows for split, found in done.report.evaluations.items()} == {
        "cross-validation": 560,
        "val": 9,
        "test": 31,
    }
    assert done.report.calibration == Calibration("cross-validation", 560, 560, "rows")
    assert (
        "Too few validation rows (9, not 50): temperature and prediction sets come from 560 of 560 training rows"
        in (" ".join(done.report.notes))
    )
    assert registry.load("cats").manifest.conformal.rows == 560


def test_few_rows_to_calibrate_on_are_in_the_notes(store, registry, toy):
    fill(store, toy, splits=["train"] * 40 + ["val"] * 9 + ["test"] * 551)
    done = trained(store, registry)
    assert done.report.calibration == Calibration("val", 9, 9, None)
    assert "Only 9 rows to calibrate on" in " ".join(done.report.notes)
    assert "no prediction set has a coverage above 0.90" in " ".join(done.report.notes)


def test_uniform_priors_are_proposed_where_rare_classes_are_missed_and_help(store, registry):
    rng, n = np.random.default_rng(0), 2000
    codes = (rng.random(n) < 0.05).astype(int)
    X = (rng.normal(size=(n, 8)) + codes[:, None] * 0.6).astype(np.float32)
    fill(store, Toy(X, codes, np.array(["good", "bad"])[codes], ("bad", "good")))
    plain, uniform = (trained(store, registry, norm="none", **more).report for more in ({}, {"priors": "uniform"}))
    before, after = plain.evaluations["test"], uniform.evaluations["test"]
    assert after.balanced_accuracy > before.balanced_accuracy + 0.1
    assert before.accuracy > 0.9
    (note,) = (note for note in plain.notes if "balanced accuracy" in note)
    assert "'good'" in note
    assert note.endswith("try priors=uniform.")
    assert "balanced accuracy" not in " ".join(uniform.notes)
    assert plain.summaries()["test"]["balanced_accuracy"] == before.balanced_accuracy


def test_groups_of_rows_with_any_number_of_labels(store, registry):
    toy = make_label_toy(n=240)
    ids = fill_labels(store, toy, splits=["train"] * 180 + ["test"] * 60)
    rows = store.labels.get("toy").to_pylist()
    store.labels.put("toy", [Label(row["id"], row["labels"], group="abc"[ids.index(row["id"]) % 3]) for row in rows])
    done = trained(store, registry, kind="labelwise")
    assert done.report.groups.fold_figure == "mAP"
    assert set(done.report.groups.folds) == {"rows", "groups"}
    assert done.report.calibration == Calibration("held-out", 180, 180, "groups")
    assert "calibration and thresholds come from 180 of 180 training rows that were held out, group by group" in (
        " ".join(done.report.notes)
    )
    found = done.report.groups.splits["test"]
    labelled = [row for row in rows if row["split"] == "test" and row["labels"]]
    assert sum(one.rows for one in found) == len(labelled)
    assert {(one.group, one.trained) for one in found} == {("a", True), ("b", True), ("c", True)}


def test_a_kind_that_holds_out_few_rows_uses_a_small_split_val(store, registry):
    toy = make_label_toy(n=120)
    fill_labels(store, toy, splits=["train"] * 100 + ["val"] * 20)
    done = train(
        store,
        registry,
        task="toy",
        encoders=["toy"],
        kind="bilinear",
        name="cats",
        params={"epochs": 1},
        texts=text_side,
    )
    assert done.report.calibration == Calibration("val", 20, 20, None)
    rows = store.labels.get("toy").to_pylist()
    more = [Label(row["id"], row["labels"], "train", group=f"{i % 3}") for i, row in enumerate(rows)]
    store.labels.put("toy", more, move_splits=True)
    asked = {"task": "toy", "encoders": ["toy"], "kind": "bilinear", "name": "cats", "params": {"epochs": 1}}
    held = train(store, registry, texts=text_side, **asked).report
    assert held.calibration.folds == "rows"
    assert "group by group" not in " ".join(held.notes)


def test_a_comparison_holds_out_whole_groups_and_says_so(store, tmp_path):
    grouped(store, splits=["train"] * 5 + ["test"])
    comparison = start(
        store,
        tmp_path / "c",
        task="toy",
        encoders=["toy"],
        candidates=[Candidate("gaussian", ("toy",), {})],
    )
    run(comparison)
    (trial,) = comparison.trials.values()
    alone = trained(store, Registry(tmp_path / "heads")).report
    assert trial.evaluation.accuracy == alone.evaluations["cross-validation"].accuracy < 0.8
    assert any(note.endswith("held out, group by group.") for note in comparison.notes)
