"""Training from a real store: what is published, what is reported, and what is refused."""

import hashlib
import json

import numpy as np
import pytest
from helpers.toys import Toy, fill, fold_of, ids_of, make, make_toy, spec_of, text_side
from sklearn.base import clone

from classifiers.errors import BadName, BadParameter, NotTrainable, UnknownKind, UnknownParameter
from classifiers.evaluation.calibration import fit_temperature, score_quantiles
from classifiers.evaluation.conformal import aps_scores
from classifiers.evaluation.figures import evaluate, summarise
from classifiers.evaluation.outcomes import Outcomes
from classifiers.evaluation.reports.groups import NO_GROUPS
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.shrinkage import choose_shrinkage
from classifiers.fit.outlier import left_out_scores
from classifiers.heads.base import probabilities
from classifiers.heads.gaussian.discriminant import GaussianModel
from classifiers.heads.gaussian.statistics import GaussianStatistics
from classifiers.heads.outlier import PrecisionPair
from classifiers.heads.transform import unit_blocks
from classifiers.published.registry import Registry
from classifiers.training.kinds import CLASS_KINDS
from classifiers.training.pipeline import evaluate_head, train
from classifiers.training.rows import rows as rows_module
from classifiers.training.rows import task_rows
from store import Label
from store.errors import BadSplit, UnknownFeatures, UnknownTask


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


LEARNING = {"zeroshot": {"blend": 0.3}}
"""Parameters by kind. Without them, the kind learns from no label."""


def trained(store, registry, **changes):
    asked = {"task": "toy", "encoders": ["toy"], "name": "cats", "params": LEARNING.get(changes.get("kind", ""))}
    return train(store, registry, **{**asked, "texts": text_side, **changes})


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_a_head_is_learnt_calibrated_and_published(filled, registry, toy, kind):
    given = {"params": {"C": 0.1}} if kind == "linear" else {}  # a choice is calibrated on scores of several heads
    done = trained(filled, registry, kind=kind, **given)
    published = registry.load("cats")
    manifest = published.manifest
    matrix = filled.matrix("toy", ["toy"])
    training, validation, test = (matrix.select(split) for split in ("train", "val", "test"))
    assert done.version == published.version == done.path.name
    assert manifest.classes == toy.classes
    assert sum(manifest.counts) == len(training.ids) == done.report.rows["train"]
    assert manifest.encoders[0].fingerprint == spec_of(12, "toy").fingerprint
    listed = "".join(f"{id_}\n" for id_ in sorted(training.ids))
    assert manifest.training_ids == hashlib.sha256(listed.encode()).hexdigest()
    proba = published.head.predict_proba(test.X)
    uncalibrated = published.head.with_temperature(1.0).predict_proba(test.X)
    expected = summarise(Outcomes.of(proba, test.codes, uncalibrated), manifest.classes).summary()
    assert manifest.metrics["test"] == pytest.approx(expected)
    assert manifest.metrics["test"]["accuracy"] > 0.9
    best = fit_temperature(published.head.scores(validation.X), validation.codes)
    assert published.head.temperature == done.report.temperature == pytest.approx(best, rel=1e-5)
    proba = published.head.predict_proba(validation.X)
    true = np.arange(len(proba)), validation.codes
    assert manifest.conformal.rows == len(validation.ids)
    np.testing.assert_allclose(manifest.conformal.lac, np.sort(1 - proba[true]), atol=1e-5)
    np.testing.assert_allclose(manifest.conformal.aps, np.sort(aps_scores(proba)[true]), atol=1e-5)
    scores = published.detector.score(validation.X)
    np.testing.assert_allclose(manifest.outlier, score_quantiles(scores), rtol=1e-4, atol=1e-4)
    assert {"numpy", "scikit-learn", "lancedb"} <= set(manifest.packages)
    assert manifest.snapshot["versions"]
    assert json.loads((done.path / "report.json").read_text())["evaluations"]["test"]["rows"] == len(test.ids)
    assert (done.path / "report.md").read_text().startswith(f"# {kind} head for toy")


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_temperature_does_not_worsen_validation(filled, registry, kind):
    done = trained(filled, registry, kind=kind)
    validation = filled.matrix("toy", ["toy"]).select("val")
    head = registry.load("cats").head.with_temperature(1.0)
    uncalibrated = evaluate(head.predict_proba(validation.X), validation.codes, head.classes)
    assert done.report.evaluations["val"].nll <= uncalibrated.nll + 1e-6


def test_streaming_gives_the_head_of_all_rows_at_once(filled, registry, monkeypatch):
    monkeypatch.setattr(rows_module, "BATCH_ROWS", 50)
    trained(filled, registry, params={"shrinkage": 0.1})
    training = filled.matrix("toy", ["toy"]).select("train")
    whole = GaussianClassifier(shrinkage=0.1).fit(training.X, np.array(training.classes)[training.codes])
    head = registry.load("cats").head.with_temperature(1.0)
    np.testing.assert_allclose(head.predict_proba(training.X), whole.head_.predict_proba(training.X), atol=1e-4)


def test_shrinkage_is_chosen_on_validation_rows_and_recorded(filled, registry):
    trained(filled, registry)
    matrix = filled.matrix("toy", ["toy"])
    training, val = matrix.select("train"), matrix.select("val")
    statistics = GaussianClassifier().fit(training.X, training.codes).statistics_
    manifest = registry.load("cats").manifest
    assert manifest.parameters["shrinkage"] == "auto"
    chosen = choose_shrinkage(statistics, GaussianModel(), val.X, val.codes).shrinkage
    assert manifest.settings["shrinkage"] == pytest.approx(chosen, rel=1e-6)
    trained(filled, registry, params={"shrinkage": "oas"})
    assert registry.load("cats").manifest.settings["shrinkage"] == "oas"


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_training_again_is_no_new_version_and_another_snapshot_neither(store, registry, toy, kind):
    ids = fill(store, toy)
    first = trained(store, registry, kind=kind)
    store.labels.put("another task", [Label(ids[0], ["x"])])
    assert trained(store, registry, kind=kind).version == first.version
    assert trained(store, registry, kind=kind, name="dogs").version[-12:] == first.version[-12:]


def test_encoders_set_side_by_side(store, registry, toy):
    fill(store, toy)
    more = make_toy(seed=1)
    probe = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("more", spec_of(12, "more"), probe).put(ids_of(600), more.X)
    done = trained(store, registry, encoders=["toy", "more"])
    manifest = registry.load("cats").manifest
    assert [(each.name, each.columns) for each in manifest.encoders] == [("toy", (0, 12)), ("more", (12, 24))]
    assert registry.load("cats").head.dim == 24
    assert registry.load("cats").detector.edges == (0, 12, 24)
    assert evaluate_head(store, registry.load("cats")).accuracy == done.report.evaluations["test"].accuracy


def test_evaluation_later_is_that_of_the_report(filled, registry):
    done = trained(filled, registry)
    published = registry.load("cats")
    again = evaluate_head(filled, published)
    assert again.summary() == done.report.evaluations["test"].summary()
    assert evaluate_head(filled, published, split="val").summary() == done.report.evaluations["val"].summary()
    with pytest.raises(UnknownTask, match="toy"):
        evaluate_head(filled, published, task="dogs")


@pytest.mark.parametrize("split", ["ood", "banana", ""])
def test_only_splits_with_classes_can_be_evaluated(store, registry, toy, split):
    fill(store, toy)
    store.labels.put("toy", [Label("f" * 64, ["class 0"], "ood")])  # there is a row, even of a known class
    store.features("toy").put(["f" * 64], toy.X[:1])
    trained(store, registry)
    with pytest.raises(BadSplit, match=f"on the split '{split}'; choose train, val or test"):
        evaluate_head(store, registry.load("cats"), split=split)


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_without_validation_rows_held_out_folds_calibrate(store, registry, toy, kind):
    splits = ["train"] * 500 + ["test"] * 100
    fill(store, toy, splits=splits)
    done = trained(store, registry, kind=kind)
    published = registry.load("cats")
    rows = store.matrix("toy", ["toy"]).select("train")
    chosen = ("shrinkage", "power", "C")
    settled = {name: done.report.settings[name] for name in chosen if name in done.report.settings}
    estimator = make(kind, **LEARNING.get(kind, {}), **settled)
    folds, y = fold_of(store, rows.ids), np.array(rows.classes)[rows.codes]
    scores = np.empty((len(y), len(rows.classes)))
    for fold in range(5):
        held = folds == fold
        scores[held] = clone(estimator).fit(rows.X[~held], y[~held]).head_.scores(rows.X[held])
    assert published.head.temperature == pytest.approx(fit_temperature(scores, rows.codes), rel=1e-3)
    true = probabilities(scores, temperature=published.head.temperature)[np.arange(len(y)), rows.codes]
    np.testing.assert_allclose(published.manifest.conformal.lac, np.sort(1 - true), rtol=1e-3, atol=1e-5)
    assert list(done.report.evaluations) == ["cross-validation", "test"]
    assert done.report.evaluations["cross-validation"].rows == 500 == done.report.rows["train"]
    assert done.report.rows["val"] == 0
    statistics = GaussianStatistics.of(unit_blocks(rows.X, (0, 12)).astype(np.float64), rows.codes, 5)
    left_out = left_out_scores(statistics, PrecisionPair.of(statistics), unit_blocks(rows.X, (0, 12)), rows.codes)
    np.testing.assert_allclose(published.manifest.outlier, score_quantiles(left_out), rtol=1e-4, atol=1e-4)
    said = [note.split(":")[0] for note in done.report.notes if note[:5] != "Blend"]
    assert said == ["No validation rows", "No groups are known"]
    whole = clone(estimator).fit(rows.X, y)  # what is published has learned from every row
    np.testing.assert_allclose(published.head.scores(rows.X), whole.head_.scores(rows.X), rtol=1e-4, atol=1e-3)


def test_shrinkage_is_the_median_of_the_folds_choices(store, registry, toy):
    fill(store, toy, splits=["train"] * len(toy.X))
    trained(store, registry)
    rows = store.matrix("toy", ["toy"])
    chosen = []
    for fold in range(5):
        held = fold_of(store, rows.ids) == fold
        statistics = GaussianClassifier().fit(rows.X[~held], rows.codes[~held]).statistics_
        chosen.append(choose_shrinkage(statistics, GaussianModel(), rows.X[held], rows.codes[held]).shrinkage)
    assert registry.load("cats").manifest.settings["shrinkage"] == pytest.approx(np.median(chosen), rel=1e-6)


def test_folds_part_the_training_rows_and_labels_are_read_once(store, toy, monkeypatch):
    fill(store, toy, splits=["train"] * 500 + ["test"] * (len(toy.X) - 500))
    get, reads = store.labels.get, []
    monkeypatch.setattr(store.labels, "get", lambda *a, **k: reads.append(a) or get(*a, **k))
    rows = rows_module.Rows(store, "toy", ("toy",), store.snapshot())
    classes, held = rows.classes(), []
    whole = {id_ for ids, _, _ in rows.batches("train", classes) for id_ in ids}
    for view in rows.validations():
        left, out = ({id_ for ids, _, _ in view.batches(s, classes) for id_ in ids} for s in ("train", "val"))
        assert left | out == whole
        assert not left & out
        assert set(view.matrix("val", classes).ids) == out
        held.append(out)
    assert len(held) == 5
    assert sum(map(len, held)) == len(whole) == 500
    assert len(reads) == 1


def test_many_training_rows_need_one_small_fold_only(store, registry, toy, monkeypatch):
    monkeypatch.setattr(task_rows, "MOST_CROSSED", 599)
    monkeypatch.setattr(task_rows, "ENOUGH", 50)
    ids = fill(store, toy, splits=["train"] * len(toy.X))
    done = trained(store, registry)
    assert done.report.evaluations["cross-validation"].rows == np.count_nonzero(fold_of(store, ids, 12) == 0)
    assert done.report.rows["train"] == 600


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_a_class_of_one_row_is_served_though_no_fold_can_test_it(store, registry, toy, kind):
    fill(store, make_toy(n=60), splits=["train"] * 60)
    store.features("toy").put(["f" * 64], toy.X[:1] + 9)
    store.labels.put("toy", [Label("f" * 64, ["rare"], "train")])
    done = trained(store, registry, kind=kind)
    assert registry.load("cats").head.classes[-1] == "rare"
    assert done.report.evaluations["cross-validation"].rows == 60
    assert dict(registry.load("cats").answer(toy.X[:1] + 9)[0].top_k)["rare"] > 0


def test_too_few_rows_to_hold_any_out_the_report_says_so(store, registry, toy):
    few = Toy(toy.X[:4], np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"]), ("a", "b"))
    fill(store, few, splits=["train"] * 4)
    done = trained(store, registry)
    scores = registry.load("cats").head.scores(few.X)
    assert 0.8 < probabilities(scores, temperature=done.report.temperature).max(axis=1).mean() <= 5 / 6 + 1e-4
    assert list(done.report.evaluations) == []
    assert [note.split(":")[0] for note in done.report.notes][1:3] == ["No outlier percentiles", "No test rows"]
    assert "too few training rows" in done.report.notes[0]
    (answer,) = registry.load("cats").answer(toy.X[:1])
    assert answer.prediction_set is None
    assert answer.outlier_percentile is None
    assert not (done.path / "outlier.safetensors").exists()


def test_rows_left_out_are_reported(store, registry, toy):
    splits = np.array(["train", "val", "test", "train"] * 150)
    splits[toy.codes == 4] = "test"  # no training row: not a class
    ids = fill(store, toy, splits=splits.tolist())
    store.labels.put("toy", [Label("f" * 64, ["class 5"], "train"), Label("e" * 64, ["class 0"], "train")])
    done = trained(store, registry)
    unknown, test_rows = int(np.sum(toy.codes == 4)), int(np.sum(splits == "test"))
    assert done.report.rows["test"] == test_rows - unknown
    assert registry.load("cats").head.classes == toy.classes[:4]
    notes = " ".join(done.report.notes)
    assert f"test: {unknown} of {test_rows} labelled rows are left out" in notes
    assert "train: 2 of" in notes
    assert "1 of 5 classes have no training vector and are unknown to the head: class 5." in notes
    assert len(ids) == 600


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "svm"}, UnknownKind, "unknown kind of head 'svm'; known: gaussian, fusion, mixture, linear"),
        (
            {"params": {"C": 1}},
            UnknownParameter,
            "unknown parameter 'C'; known: blocks, correlation, covariance, dims, norm, ",
        ),
        ({"params": {"shrinkage": 7}}, BadParameter, "number from 0 to 1"),
        ({"kind": "linear", "params": {"C": -1.0}}, BadParameter, "C must be a number above 0"),
        ({"params": {"project": "ica"}}, BadParameter, "none, centre, pca, ranpac"),
        ({"kind": "mixture", "params": {"model": "gmm"}}, BadParameter, "dgmmc-s"),
        ({"kind": "fusion", "params": {"rule": "best"}}, BadParameter, "vote-1"),
        ({"name": "../cats"}, BadName, "letters, digits"),
        ({"task": "dogs"}, UnknownTask, "toy"),
        ({"encoders": ["clip"]}, UnknownFeatures, "toy"),
        ({"encoders": []}, NotTrainable, "at least one encoder"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(filled, registry, changes, error, message):
    with pytest.raises(error, match=message):
        trained(filled, registry, **changes)
    assert registry.names() == []


def test_rows_with_several_labels_are_refused_with_their_number(store, registry, toy):
    ids = fill(store, toy)
    store.labels.put("toy", [Label(ids[0], ["class 0", "class 1"]), Label(ids[1], [])])
    with pytest.raises(NotTrainable, match="2 of 600 rows with several labels or none"):
        trained(store, registry)


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_labels_without_vectors_are_refused(store, registry, toy, kind):
    store.ensure_features("toy", spec_of(12, "toy"), np.eye(2, 12, dtype=np.float32))
    store.labels.put("toy", [Label(i, [x], "train") for i, x in zip(ids_of(600), toy.labels, strict=True)])
    with pytest.raises(NotTrainable, match="0 have training rows with vectors of toy; embed its assets"):
        trained(store, registry, kind=kind)


def test_one_class_or_no_training_rows_are_refused(store, registry, toy):
    ids = fill(store, toy, splits=["test"] * len(toy.X))
    with pytest.raises(NotTrainable, match=r"0 training rows of 0 class\(es\)"):
        trained(store, registry)
    store.labels.put("one", [Label(id_, ["only"], "train") for id_ in ids])
    with pytest.raises(NotTrainable, match=r"600 training rows of 1 class\(es\) \['only'\]"):
        trained(store, registry, task="one")


def test_ood_rows_may_carry_anything(store, registry, toy):
    fill(store, toy)
    store.labels.put("toy", [Label("f" * 64, ["strange", "things"], "ood")])
    assert trained(store, registry).report.notes == ("Calibrated on 72 of 72 validation rows.", NO_GROUPS)
