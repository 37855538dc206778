"""Zero-shot heads from a real store: the rows that they learn from, the choice of a blend, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import (
    Banked,
    WithTexts,
    fill,
    fold_of,
    ids_of,
    knowing,
    make_toy,
    spec_of,
    text_of,
    text_side,
    unit,
)

from classifiers.errors import BadParameter, NotTrainable
from classifiers.evaluation.calibration import fit_temperature, mean_nll
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.prompts import PROMPTS
from classifiers.published.manifest import ids_digest
from classifiers.published.registry import Registry
from classifiers.training.learning.by_text import UNCHOSEN, WEIGHTS
from classifiers.training.learning.zero_shot import STRENGTHS
from classifiers.training.pipeline import train
from store import Label


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


def trained(store, registry, *, encoders=("toy",), texts=text_side, task="toy", **params):
    return train(
        store, registry, task=task, encoders=encoders, name="cats", kind="zeroshot", params=params, texts=texts
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"blend": -1.0}, "number ≥ 0"),
        ({"blend": True}, "number ≥ 0"),
        ({"blend": "some"}, "number ≥ 0, 'gaussian', 'lp\\+\\+', or for training from a store 'auto'"),
        ({"scale": 0}, "above 0"),
        ({"centre": "no"}, "true or false"),
        ({"prompts": "a {}"}, "no set of prompts 'a {}'; the sets are name, photo"),
        ({"prompts": []}, "list of templates"),
        ({"prompts": ["a photo"]}, "one {} or {label} for the class"),
        ({"classes": "hat"}, "at least two different names"),
        ({"classes": ["hat"]}, "at least two different names"),
        ({"classes": ["hat", "hat"]}, "at least two different names"),
        ({"classes": ["hat", "shoe"], "blend": 1.0}, "classes are for blend=0"),
        ({"bank_weight": -1.0}, "bank_weight must be a number ≥ 0"),
        ({"bank_weight": 1.0, "centre": False}, "a label bank is for centre=true and one encoder"),
    ],
)
def test_parameters_that_are_not_allowed(toy, filled, registry, params, message):
    with pytest.raises(BadParameter, match=message):
        WithTexts(**params).fit(toy.X, toy.labels)
    with pytest.raises(BadParameter, match=message):
        trained(filled, registry, **params)


def test_no_label_is_learned_from(filled, registry, toy):
    done = trained(filled, registry)
    published = registry.load("cats")
    matrix = filled.matrix("toy", ["toy"])
    training, val, test = (matrix.select(split) for split in ("train", "val", "test"))
    text, mean = text_of(toy.classes), unit(training.X.astype(np.float64)).mean(axis=0)
    scores = 100 * (unit(val.X.astype(np.float64)) - mean) @ text.T
    np.testing.assert_allclose(published.head.scores(val.X), scores, rtol=1e-3, atol=1e-3)
    assert published.head.temperature == pytest.approx(fit_temperature(scores, val.codes), rel=1e-3)
    assert published.manifest.counts == (0,) * 5
    assert published.manifest.training_ids == ids_digest(training.ids)  # they are centred on
    assert published.manifest.parameters["prompts"] == list(PROMPTS)
    right = ((unit(test.X.astype(np.float64)) - mean) @ text.T).argmax(axis=1) == test.codes
    assert done.report.evaluations["test"].accuracy == pytest.approx(right.mean())
    assert done.report.rows["train"] == 0
    assert [note.split(":")[0] for note in done.report.notes] == [
        "The head learned from no label",
        "Calibrated on 72 of 72 validation rows.",
        "No outlier percentiles",
    ]
    assert published.detector is None


def test_training_labels_change_nothing(store, registry, toy):
    ids = fill(store, toy)
    first = trained(store, registry)
    rows = store.labels.get("toy").to_pylist()
    training = [row["id"] for row in rows if row["split"] == "train"]
    shuffled = np.random.default_rng(0).permutation(toy.labels)
    store.labels.put("toy", [Label(id_, [str(shuffled[ids.index(id_)])]) for id_ in training])
    assert trained(store, registry).version == first.version


def test_a_task_of_test_rows_alone(store, registry, toy):
    fill(store, toy, splits=["test"] * 600)
    done = trained(store, registry)
    assert list(done.report.evaluations) == ["test"]
    assert done.report.evaluations["test"].rows == 600
    head = registry.load("cats").head
    assert head.classes == toy.classes
    assert head.temperature == 1.0
    np.testing.assert_array_equal(head.centre, 0)
    with pytest.raises(NotTrainable, match="0 training rows"):
        trained(store, registry, blend="auto")


def test_named_classes_instead_of_those_of_the_task(filled, registry, toy):
    done = trained(filled, registry, classes=["class 3", "class 1", "Red_car"])
    head = registry.load("cats").head
    assert head.classes == ("Red_car", "class 1", "class 3")
    np.testing.assert_allclose(head.text, text_of(["red car", "class 1", "class 3"]), atol=1e-6)
    test = filled.matrix("toy", ["toy"]).select("test")
    assert done.report.evaluations["test"].rows == np.isin(test.codes, [1, 3]).sum()


def test_without_validation_rows_the_training_rows_calibrate(store, registry, toy):
    fill(store, toy, splits=["train"] * 500 + ["test"] * 100)
    done = trained(store, registry)
    rows = store.matrix("toy", ["toy"]).select("train")
    head = registry.load("cats").head
    assert head.temperature == pytest.approx(fit_temperature(head.scores(rows.X), rows.codes), rel=1e-4)
    assert done.report.evaluations["cross-validation"].rows == 500
    assert any("whose labels the head did not learn from" in note for note in done.report.notes)


def test_the_label_bank_counts_where_labelled_rows_advise_it(filled, registry, toy):
    def accuracy(bank, **params):
        done = trained(filled, registry, texts=Banked(bank), prompts=["{}"], **params)
        return done.report.evaluations["test"].accuracy, registry.load("cats")

    alone, without = accuracy(knowing(toy.classes), bank_weight=0.0)
    better, chosen = accuracy(knowing(toy.classes))
    assert chosen.manifest.settings["bank_weight"] in WEIGHTS[1:]
    assert better > alone + 0.1
    random = np.random.default_rng(3).normal(size=(5, 12)).astype(np.float32)
    same, refused = accuracy(replace(knowing(toy.classes), weights=random))
    if "bank_weight" not in refused.manifest.settings:
        np.testing.assert_array_equal(refused.head.scores(toy.X), without.head.scores(toy.X))
    assert same >= alone - 0.05


def test_few_labelled_rows_leave_the_label_bank_at_its_fixed_weight(store, registry, toy):
    fill(store, toy, splits=["train"] * 30 + ["test"] * 570)
    trained(store, registry, texts=Banked(knowing(toy.classes)), prompts=["{}"])
    assert registry.load("cats").manifest.settings["bank_weight"] == UNCHOSEN
    trained(store, registry, texts=Banked(replace(knowing(toy.classes), unit=True)), prompts=["{}"])
    assert "bank_weight" not in registry.load("cats").manifest.settings
    with pytest.raises(NotTrainable, match="needs one encoder with a label bank, such as lite0"):
        trained(store, registry, bank_weight=1.0)


def by_hand(X, codes, test_X, names, blend, shrinkage):
    """Return the scores of another implementation."""
    mean = unit(X.astype(np.float64)).mean(axis=0)
    text = 100 * (unit(test_X.astype(np.float64)) - mean) @ text_of(names).T
    gaussian = GaussianClassifier(shrinkage=shrinkage, norm="unit").fit(X, codes).scores(test_X)
    return gaussian if blend == "gaussian" else text + blend * gaussian


@pytest.mark.parametrize("splits", [["train"] * 30 + ["val"] * 570, ["train"] * 45])
def test_the_blend_has_the_least_nll_on_rows_not_learned_from(store, registry, splits):
    toy = make_toy(n=len(splits), spread=0.9)  # few rows to learn from, and texts: both parts say something
    fill(store, toy, splits=splits)
    done = trained(store, registry, blend="auto", shrinkage=0.3)
    matrix = store.matrix("toy", ["toy"])
    training, val = matrix.select("train"), matrix.select("val")
    folds = fold_of(store, training.ids)
    held = [(training.X, training.codes, val.X, val.codes)]
    if "val" not in splits:
        masks = [folds == fold for fold in range(5)]
        held = [(training.X[~m], training.codes[~m], training.X[m], training.codes[m]) for m in masks]
    codes = np.concatenate([each[3] for each in held])
    nll, accuracy = {}, {}
    for blend in STRENGTHS:
        scores = np.concatenate([by_hand(X, y, V, toy.classes, blend, 0.3) for X, y, V, _ in held])
        nll[blend] = mean_nll(scores, codes, fit_temperature(scores, codes))
        accuracy[blend] = np.mean(scores.argmax(axis=1) == codes)
    best = min(nll, key=nll.get)
    settings = registry.load("cats").manifest.settings
    assert settings["blend"] == best
    assert best not in (0.0, "gaussian")
    assert list(settings["blend_validated"]) == ["0", f"{best:g}", "gaussian"]
    for name, blend in (("0", 0.0), (f"{best:g}", best), ("gaussian", "gaussian")):
        found = settings["blend_validated"][name]
        assert found == pytest.approx({"nll": nll[blend], "accuracy": accuracy[blend]}, rel=1e-3)
    assert done.report.notes[0].startswith(f"Blend {best:g}, judged on validation rows or folds")
    assert f"NLL {settings['blend_validated']['gaussian']['nll']:.4f}, accuracy" in done.report.notes[0]


def test_test_labels_choose_nothing(store, registry):
    toy = make_toy(spread=0.5)
    ids = fill(store, toy)
    trained(store, registry, blend="auto")
    before = registry.load("cats")
    rows = {row["id"]: row["split"] for row in store.labels.get("toy").to_pylist()}
    test = [i for i, id_ in enumerate(ids) if rows[id_] == "test"]
    permuted = np.random.default_rng(1).permutation(toy.labels[test])
    store.labels.put("toy", [Label(ids[i], [str(label)]) for i, label in zip(test, permuted, strict=True)])
    trained(store, registry, blend="auto")
    after = registry.load("cats")
    assert after.manifest.metrics["test"] != before.manifest.metrics["test"]
    assert after.manifest.settings == before.manifest.settings
    assert after.manifest.temperature == before.manifest.temperature
    for name, array in before.head.arrays().items():
        np.testing.assert_array_equal(after.head.arrays()[name], array)


def test_several_encoders_are_asked_one_by_one(store, registry, toy):
    fill(store, toy)
    probe = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("more", spec_of(12, "more"), probe).put(ids_of(600), toy.X[:, ::-1] * 9)
    asked = []

    def texts(fingerprint, some):
        asked.append(fingerprint)
        found = text_side(fingerprint, some)
        return found if fingerprint == spec_of(12, "toy").fingerprint else found[:, ::-1] / 7

    trained(store, registry, encoders=("toy", "more"), texts=texts)
    head = registry.load("cats").head
    assert set(asked) == {spec_of(12, name).fingerprint for name in ("toy", "more")}
    assert head.edges == (0, 12, 24)
    trained(store, registry)
    alone = registry.load("cats").head
    twice = np.hstack([toy.X, toy.X[:, ::-1] * 9])
    np.testing.assert_allclose(head.scores(twice), alone.scores(toy.X), rtol=1e-3, atol=1e-3)


def test_an_encoder_without_a_text_side_is_refused_before_anything_is_read(store, registry, toy):
    probe = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("blind", spec_of(12, "blind", text=None), probe).put(ids_of(600), toy.X)
    store.labels.put("toy", [Label(i, [x]) for i, x in zip(ids_of(600), toy.labels, strict=True)])
    with pytest.raises(NotTrainable, match=r"encoder blind takes no text.* lite0 or openclip/…"):
        trained(store, registry, encoders=("blind",))
    fill(store, toy)
    with pytest.raises(NotTrainable, match=r"train\(\.\.\., texts=\.\.\.\)"):
        trained(store, registry, texts=None)
    assert registry.names() == []


def test_kinds_without_texts_ask_for_none(filled, registry):
    def texts(*_):
        raise AssertionError("no text is needed")

    train(filled, registry, task="toy", encoders=["toy"], name="cats", texts=texts)


def test_the_report_is_json(filled, registry):
    done = trained(filled, registry, blend="auto")
    report = json.loads((done.path / "report.json").read_text())
    assert report["settings"]["blend_validated"]["0"]["nll"] > 0
    assert report["parameters"]["blend"] == "auto"
