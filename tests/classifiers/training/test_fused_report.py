"""The report of a fused head from a real store, and its calibration without validation rows."""

import json

import numpy as np
import pytest
from helpers.toys import fill, ids_of, make_toy, spec_of, text_side
from sklearn.model_selection import cross_val_predict

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import fit_temperature
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train


def two_encoders(store, *, splits=None, n=600):
    """Store one toy's columns as those of two encoders, neither of which separates the classes by itself."""
    hard = make_toy(n=n, spread=0.7)
    fill(store, hard, splits=splits)
    for name, columns in (("left", slice(0, 5)), ("right", slice(5, 12))):
        block = hard.X[:, columns]
        probe = np.eye(2, block.shape[1], dtype=np.float32)
        store.ensure_features(name, spec_of(block.shape[1], name), probe).put(ids_of(n), block)
    return hard


def fused(store, folder, **params):
    done = train(
        store, Registry(folder), task="toy", encoders=["left", "right"], kind="fusion", name="both", params=params
    )
    return done, json.loads((done.path / "report.json").read_text())["fusion"]


@pytest.mark.parametrize("norm", ["none", "unit"])
def test_each_encoder_stands_alone_with_both_norms(store, tmp_path, norm):
    two_encoders(store)
    _, found = fused(store, tmp_path, member_params={"norm": norm, "shrinkage": 0.1})
    other = "as stored" if norm == "unit" else "unit norm"
    assert set(found) == {"val", "test"}
    for split, report in found.items():
        assert set(report["singles"]) == {f"left, {other}", f"right, {other}"}
        for name, norms in (("left", norm), (f"left, {other}", "unit" if norm == "none" else "none")):
            rows = {part: store.matrix("toy", ["left"], splits=[part]) for part in ("train", split)}
            learned = GaussianClassifier(norm=norms, shrinkage=0.5 if norms is None else 0.1)
            learned.fit(rows["train"].X, rows["train"].codes)
            accuracy = learned.score(rows[split].X, rows[split].codes)
            assert {**report["members"], **report["singles"]}[name]["accuracy"] == pytest.approx(accuracy, abs=1e-9)
        assert report["oracle"] >= max(each["accuracy"] for each in report["members"].values())
        assert report["rules"]["stack"]["accuracy"] > max(each["accuracy"] for each in report["members"].values())


def test_the_page_shows_the_oracle_and_the_cost_of_a_cascade(store, tmp_path):
    two_encoders(store)
    done, found = fused(store, tmp_path, rule="cascade", costs=[1, 3])
    page = (done.path / "report.md").read_text()
    assert "| oracle | " in page
    assert "## What the cascade costs (test)" in page
    points = found["test"]["cascade"]
    assert (points[0]["cost"], points[-1]["cost"]) == (1.0, 4.0)
    assert done.report.fusion["test"].cascade[-1].accuracy == points[-1]["accuracy"]
    assert "'classes'" not in page  # the members' own settings are the manifest's


def test_without_validation_rows_the_rules_own_scores_calibrate(store, tmp_path):
    hard = two_encoders(store, splits=["train"] * 500 + ["test"] * 100)
    done, found = fused(store, tmp_path, rule="log-average", calibrate=False, member_params={"shrinkage": 0.1})
    assert list(found) == ["test"]
    assert done.report.evaluations["cross-validation"].rows == 500
    X, y = hard.X[:500], hard.codes[:500]
    proba = [
        cross_val_predict(GaussianClassifier(shrinkage=0.1), block, y, method="predict_proba", cv=5)
        for block in (X[:, :5], X[:, 5:])
    ]
    near = fit_temperature(np.mean(np.log(proba), axis=0).astype(np.float32), y)
    assert done.report.temperature == pytest.approx(near, rel=0.15)  # other folds, so not the same number


def test_zero_shot_members_are_judged_as_zero_shot_heads_are(store, tmp_path):
    toy = make_toy(n=600, spread=0.7)
    fill(store, toy)
    noisy = toy.X + np.random.default_rng(1).normal(size=toy.X.shape).astype(np.float32)
    store.ensure_features("noisy", spec_of(12, "noisy"), noisy[:2]).put(ids_of(600), noisy)
    asked = {"task": "toy", "name": "n", "texts": text_side}
    params = {"member": "zeroshot", "rule": "nlc"}
    both = train(store, Registry(tmp_path), kind="fusion", encoders=["toy", "noisy"], params=params, **asked)
    found = json.loads((both.path / "report.json").read_text())["fusion"]["test"]["members"]
    for encoder in ("toy", "noisy"):
        alone = train(store, Registry(tmp_path), kind="zeroshot", encoders=[encoder], params={"blend": 0}, **asked)
        report = json.loads((alone.path / "report.json").read_text())
        assert found[encoder]["accuracy"] == pytest.approx(report["evaluations"]["test"]["accuracy"], abs=1e-9)
    with pytest.raises(NotTrainable, match="texts"):
        train(store, Registry(tmp_path), kind="fusion", encoders=["toy", "noisy"], params=params, task="toy", name="n")


def test_other_kinds_report_no_fusion(filled, tmp_path):
    done = train(filled, Registry(tmp_path), task="toy", encoders=["toy"], name="plain")
    assert done.report.fusion == {}
    assert "What fusing gains" not in (done.path / "report.md").read_text()
