"""Training heads for rows with any number of labels, from a real store."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers.toys import (
    LABEL_VARIANTS,
    fill,
    fill_labels,
    fold_of,
    ids_of,
    make_label_toy,
    spec_of,
    text_side,
    toy_bank,
)
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score

from classifiers.errors import BadParameter, NoTokens, NotTrainable
from classifiers.evaluation.label_figures import evaluate_labels
from classifiers.evaluation.reports.labels import binary_nll
from classifiers.evaluation.thresholds import tune_thresholds
from classifiers.fit.multilabel.platt import fit_platt
from classifiers.prompts import class_vectors
from classifiers.published.registry import Registry
from classifiers.training.kinds import KINDS
from classifiers.training.pipeline import evaluate_head, train
from classifiers.training.rows.token_rows import mapped
from embedder.spec import EncoderSpec
from store import Label, Store
from store.errors import BadSplit
from store.lance import handles


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


@pytest.fixture(scope="module")
def several():
    return make_label_toy()


@pytest.fixture(scope="module")
def stored(tmp_path_factory, several):
    """Return a store of rows with 0 to 4 labels, split by hash. Tests must not write to it."""
    store = Store.open(tmp_path_factory.mktemp("labels") / "db")
    fill_labels(store, several)
    return store


def trained(store, registry, **changes):
    return train(
        store, registry, **{"task": "toy", "encoders": ["toy"], "name": "many", "kind": "labelwise", **changes}
    )


def test_a_head_is_learnt_calibrated_and_published(stored, registry):
    done = trained(stored, registry)
    published = registry.load("many")
    head, manifest = published.head, published.manifest
    matrix = stored.matrix("toy", ["toy"])
    training, validation, test = (matrix.select(split) for split in ("train", "val", "test"))
    assert (validation.indicator.sum(axis=1) == 0).any()  # rows without a label count
    assert manifest.kind == "labelwise"
    assert done.report.rows == {"train": len(training.ids), "val": len(validation.ids), "test": len(test.ids)}
    assert manifest.counts == tuple(training.indicator.sum(axis=0).tolist())
    listed = "".join(f"{id_}\n" for id_ in sorted(training.ids))
    assert manifest.training_ids == hashlib.sha256(listed.encode()).hexdigest()
    estimator = KINDS["labelwise"].estimator(C=manifest.settings["C"], blocks=(0, 12))
    uncalibrated = estimator.fit(training.X, training.indicator, matrix.classes).head_
    scores = uncalibrated.scores(validation.X)
    platt = fit_platt(scores, validation.indicator)
    assert head.temperature == pytest.approx(platt.temperature, rel=1e-5)
    np.testing.assert_allclose(head.scores(test.X), uncalibrated.scores(test.X) + platt.shift, atol=1e-4)
    tuned = tune_thresholds(scores, validation.indicator, least=10)
    np.testing.assert_allclose(head.thresholds.labels, tuned.labels + platt.shift, atol=1e-5)
    found = evaluate_labels(head.scores(test.X), test.indicator, head.classes, head.thresholds.labels)
    metrics = manifest.metrics["test"]
    assert {name: metrics[name] for name in found.summary()} == pytest.approx(found.summary())
    assert metrics["map"] == pytest.approx(
        average_precision_score(test.indicator, head.predict_proba(test.X)), rel=1e-4
    )
    assert metrics["micro_f1"] == pytest.approx(f1_score(test.indicator, head.given(test.X), average="micro"))
    assert metrics["map"] > 0.85
    proba = head.predict_proba(test.X).astype(np.float64)
    cross_entropy = -np.where(test.indicator, np.log(proba), np.log1p(-proba)).mean()
    assert metrics["nll"] == pytest.approx(cross_entropy, rel=1e-4)
    assert metrics["ece"] < 0.05
    assert manifest.conformal == {}
    assert manifest.outlier == ()


def test_the_report_lists_each_label(stored, registry):
    done = trained(stored, registry)
    page, content = (done.path / "report.md").read_text(), json.loads((done.path / "report.json").read_text())
    assert page.startswith("# labelwise head for toy")
    assert "| split | rows | labels per row | mAP |" in page
    assert "## Weakest labels (test)" in page
    assert "F1 figures are too good" in page
    assert "No outlier percentiles: they need one vector per row" in page
    test = content["evaluations"]["test"]
    matrix = stored.matrix("toy", ["toy"]).select("test")
    assert [each["label"] for each in test["per_label"]] == list(matrix.classes)
    assert [each["support"] for each in test["per_label"]] == matrix.indicator.sum(axis=0).tolist()
    assert test["labels_a_row"] == pytest.approx(matrix.indicator.sum() / len(matrix.ids))
    assert sum(each["labels"] for each in test["reliability"]) == matrix.indicator.size
    head = registry.load("many").head
    limits = 1 / (1 + np.exp(-head.thresholds.labels / head.temperature))
    assert [each["threshold"] for each in test["per_label"]] == pytest.approx(limits.tolist(), rel=1e-4)


def test_answers_give_the_labels_over_their_thresholds(stored, registry):
    trained(stored, registry)
    published, X = registry.load("many"), stored.matrix("toy", ["toy"]).X[:40]
    given, proba = published.head.given(X), published.head.predict_proba(X)
    answers = published.answer(X, top_k=2, min_probability=0.5)
    for answer, own, p in zip(answers, given, proba, strict=True):
        expected = sorted(np.flatnonzero(own), key=lambda k: -p[k])
        assert answer.labels == tuple((published.head.classes[k], pytest.approx(p[k])) for k in expected)
        assert (answer.label, answer.probability) == answer.top_k[0]
        assert answer.prediction_set is None
        assert ("low_probability" in answer.abstained) == (p.max() < 0.5)
    assert not all(answer.labels for answer in answers)


def test_without_validation_rows_held_out_folds_calibrate(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several, splits=["train"] * 500 + ["test"] * 100)
    done = trained(store, registry)
    rows = store.matrix("toy", ["toy"]).select("train")
    folds, scores = fold_of(store, rows.ids), np.empty(rows.indicator.shape)
    for fold in range(5):
        held = folds == fold
        estimator = KINDS["labelwise"].estimator(C=registry.load("many").manifest.settings["C"], blocks=(0, 12))
        part = estimator.fit(rows.X[~held], rows.indicator[~held])
        scores[held] = part.head_.scores(rows.X[held])
    assert registry.load("many").head.temperature == pytest.approx(
        fit_platt(scores, rows.indicator).temperature, rel=1e-3
    )
    assert list(done.report.evaluations) == ["held-out", "test"]
    assert done.report.evaluations["held-out"].rows == 500
    assert "training rows that were held out" in " ".join(done.report.notes)


def test_evaluation_later_is_that_of_the_report(stored, registry):
    done = trained(stored, registry)
    for split in ("val", "test"):
        again = evaluate_head(stored, registry.load("many"), split=split)
        assert again.summary() == pytest.approx(done.report.evaluations[split].summary(), rel=1e-4)
    with pytest.raises(BadSplit, match="choose train, val or test"):
        evaluate_head(stored, registry.load("many"), split="ood")


@pytest.mark.parametrize("kind", ["gaussian", "labelwise"])
def test_a_split_without_rows_of_the_head_is_named(tmp_path, registry, toy, kind):
    store = Store.open(tmp_path / "db")
    fill(store, toy, splits=["train"] * 500 + ["test"] * 100)
    trained(store, registry, kind=kind)
    with pytest.raises(NotTrainable, match="no row in split 'val' with a vector and a label of 'many'"):
        evaluate_head(store, registry.load("many"), split="val")


def test_tasks_with_one_label_a_row_can_be_asked_too_and_have_outlier_percentiles(filled, registry, toy):
    done = trained(filled, registry)
    published = registry.load("many")
    assert published.head.classes == toy.classes
    assert done.report.evaluations["test"].summary()["f1_at_3"] <= 0.5  # one label of three can be right
    assert published.answer(toy.X[:1])[0].outlier_percentile is not None
    assert "No outlier percentiles" not in " ".join(done.report.notes)


def test_training_again_is_no_new_version(stored, registry):
    assert trained(stored, registry).version == trained(stored, registry).version


def test_encoders_set_side_by_side(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several)
    other = make_label_toy(seed=1)
    store.ensure_features("more", spec_of(12, "more"), np.eye(2, 12, dtype=np.float32)).put(ids_of(600), other.X)
    trained(store, registry, encoders=["toy", "more"], params={"norm": "unit"})
    assert [each.columns for each in registry.load("many").manifest.encoders] == [(0, 12), (12, 24)]
    assert registry.load("many").head.dim == 24


def test_labels_and_rows_that_cannot_be_learned_are_in_the_notes(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several)
    store.labels.put("toy", [Label("f" * 64, ["lost"], "train"), Label("e" * 64, ["a"], "test")])
    done = trained(store, registry)
    assert "lost" not in registry.load("many").head.classes
    notes = " ".join(done.report.notes)
    assert "train: 1 of" in notes
    assert "test: 1 of" in notes
    assert "1 of 5 labels have no training vector and are unknown to the head: lost." in notes
    store.labels.put("one", [Label(id_, ["only"], "train") for id_ in ids_of(600)])
    with pytest.raises(NotTrainable, match=r"600 training rows with 1 label\(s\) \['only'\]"):
        trained(store, registry, task="one")
    store.labels.put("none", [Label("f" * 64, ["a", "b"], "train")])
    with pytest.raises(NotTrainable, match="of the 2 labels of task 'none', 0 have training rows"):
        trained(store, registry, task="none")


@pytest.mark.parametrize("kind", [kind for kind, each in KINDS.items() if each.targets == "one"])
def test_kinds_for_one_label_a_row_refuse_several(stored, registry, kind):
    with pytest.raises(NotTrainable, match="rows with several labels or none"):
        trained(stored, registry, kind=kind)


def test_platt_is_a_logistic_regression_of_all_scores():
    rng = np.random.default_rng(0)
    scores = rng.normal(-2, 3, size=(400, 6))
    truth = rng.random(scores.shape) < 1 / (1 + np.exp(-(0.4 * scores + 0.7)))
    found = fit_platt(scores, truth)
    positive, cells = truth.sum(), truth.size
    up, low = (positive + 1) / (positive + 2), 1 / (cells - positive + 2)
    column = np.concatenate([scores.ravel(), scores.ravel()])[:, None]
    weight = np.where(truth.ravel(), up, low)
    solved = LogisticRegression(C=np.inf, tol=1e-8).fit(
        column, np.repeat([1, 0], cells), sample_weight=np.concatenate([weight, 1 - weight])
    )
    assert 1 / found.temperature == pytest.approx(solved.coef_[0, 0], rel=1e-3)
    assert found.shift / found.temperature == pytest.approx(solved.intercept_[0], rel=1e-3)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    honest = (scores + found.shift) / found.temperature
    assert binary_nll(honest, truth) < binary_nll(scores, truth)


def test_platt_leaves_alone_what_it_cannot_improve():
    scores = np.array([[1.0, -1.0]])
    for truth in ([[True, True]], [[False, False]], [[False, True]]):  # only one class of truth, or worse than chance
        assert fit_platt(scores, np.array(truth)) == (1.0, 0.0)
    certain = fit_platt(np.array([[20.0, -20.0]] * 3), np.array([[True, False]] * 3))
    assert certain == (1.0, 0.0)  # already surer than six labels can justify
    modest = fit_platt(np.array([[0.1, -0.1]] * 3), np.array([[True, False]] * 3))
    assert 1 / (1 + np.exp(-0.1 / modest.temperature)) == pytest.approx(0.8, abs=1e-3)  # (3 + 1) / (3 + 2)


def test_labels_with_few_rows_share_a_threshold(several):
    scores = np.random.default_rng(0).normal(size=several.Y.shape) + several.Y
    counts = np.count_nonzero(several.Y, axis=0)
    own, some = tune_thresholds(scores, several.Y), tune_thresholds(scores, several.Y, least=int(np.median(counts)))
    few = counts < int(np.median(counts))
    assert few.any()
    np.testing.assert_array_equal(some.labels, np.where(few, own.common, own.labels))


@pytest.mark.parametrize("variant", LABEL_VARIANTS)
def test_a_shift_changes_probabilities_and_no_decision(variant, toy, learned):
    head = learned(variant).head_
    moved = head.shifted(1.5)
    np.testing.assert_allclose(moved.scores(toy.X), head.scores(toy.X) + 1.5, atol=1e-3)
    assert np.mean(moved.given(toy.X) == head.given(toy.X)) > 0.999


def test_bilinear_learns_with_the_texts_of_its_labels(stored, registry):
    asked = []

    def texts(fingerprint, some):
        asked.append((fingerprint, list(some)))
        return text_side(fingerprint, some)

    params = {"rank": 4, "epochs": 3, "prompts": ["a {}.", "{}"]}
    done = trained(stored, registry, kind="bilinear", params=params, texts=texts)
    published = registry.load("many")
    fingerprint = spec_of(12, "toy").fingerprint
    assert asked == [(fingerprint, [text for name in "abcd" for text in (f"a {name}.", name)])]
    expected = class_vectors(lambda some: text_side(fingerprint, some), "abcd", params["prompts"], (0, 12))
    np.testing.assert_allclose(published.head.text, expected, atol=1e-6)
    assert published.manifest.parameters["prompts"] == params["prompts"]
    assert list(done.report.evaluations) == ["val", "test"]
    with pytest.raises(NotTrainable, match="texts of one encoder, got 2: toy, toy"):
        trained(stored, registry, kind="bilinear", encoders=["toy", "toy"], texts=texts)
    with pytest.raises(NotTrainable, match="needs vectors of texts"):
        trained(stored, registry, kind="bilinear")
    with pytest.raises(BadParameter, match="prompts must be the name of a set, or a list"):
        trained(stored, registry, kind="bilinear", params={"prompts": ["no place"]}, texts=texts)


def test_bilinear_without_training_is_the_calibrated_cosine(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several, splits=["train"] * 500 + ["test"] * 100)
    done = trained(store, registry, kind="bilinear", params={"epochs": 0}, texts=text_side)
    head = registry.load("many").head
    cosines = several.X / np.linalg.norm(several.X, axis=1, keepdims=True) @ head.text.T
    scores = head.scores(several.X)
    slope, offset = np.polyfit(cosines.ravel(), scores.ravel(), 1)
    np.testing.assert_allclose(slope * cosines + offset, scores, atol=1e-3)
    assert done.report.evaluations["held-out"].rows == 500  # it has learned from none of them


def test_rows_that_said_when_to_stop_calibrate_where_there_are_no_validation_rows(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several, splits=["train"] * 600)
    done = trained(store, registry, kind="bilinear", params={"rank": 2, "epochs": 2}, texts=text_side)
    assert done.report.evaluations["held-out"].rows == 60


SMALL = {"width": 16, "heads": 2, "hidden": 16, "epochs": 3}


def with_tokens(tmp_path, several, splits=None) -> Store:
    """Return a store of the toy's rows as two tokens of six numbers; the last row has none."""
    store = Store.open(tmp_path / "db")
    ids = fill_labels(store, several, splits=splits)
    spec = EncoderSpec(**{**asdict(store.features("toy").spec), "tokens": (2, 6)})
    store.ensure_tokens("toy", spec, np.eye(2, 12, dtype=np.float32)).put(ids[:-1], several.X[:-1].reshape(-1, 2, 6))
    return store


@pytest.mark.parametrize("queries", ["text", "groups"])
def test_a_decoder_learns_from_stored_tokens(tmp_path, registry, several, queries):
    store = with_tokens(tmp_path, several, ["train"] * 400 + ["val"] * 100 + ["test"] * 100)
    done = trained(store, registry, kind="decoder", params={**SMALL, "queries": queries}, texts=text_side)
    published = registry.load("many")
    assert published.manifest.encoders[0].columns == (0, 12)
    assert done.report.rows == {"train": 400, "val": 100, "test": 99}
    uncalibrated = KINDS["decoder"].estimator(**SMALL, queries=queries)
    ids = sorted(ids_of(600)[:400])
    rows = [ids_of(600).index(id_) for id_ in ids]
    text = {"text": published.head.text} if queries == "text" else {}
    tokens = several.X[rows].astype(np.float16).reshape(-1, 2, 6)
    expected = uncalibrated.fit(tokens, several.Y[rows], "abcd", **text).head_.scores(several.X)
    difference = published.head.scores(several.X) - expected
    np.testing.assert_allclose(difference, difference.mean(), atol=1e-3)  # the calibration's shift
    again = evaluate_head(store, published)
    assert again.summary() == pytest.approx(done.report.evaluations["test"].summary(), rel=1e-4)


def test_a_decoder_reads_a_few_rows_of_tokens_at_a_time(tmp_path, registry, several, monkeypatch):
    store, read, found = with_tokens(tmp_path, several), [], handles.rows_of

    def noted(*arguments):
        rows = found(*arguments)
        read.append(rows.num_rows)
        return rows

    monkeypatch.setattr(handles, "rows_of", noted)
    monkeypatch.setattr("classifiers.training.rows.token_rows.ROWS_AT_ONCE", 50)
    monkeypatch.setattr("classifiers.training.pipeline.find_leakage", lambda *_: None)  # it reads vectors
    done = trained(store, registry, kind="decoder", params=SMALL, texts=text_side)
    assert sum(read) >= sum(done.report.rows.values()) > 500
    assert max(read) == 50


def test_a_decoder_without_tokens_says_how_to_get_them(stored, registry):
    with pytest.raises(NoTokens, match="store the tokens of that encoder first"):
        trained(stored, registry, kind="decoder", texts=text_side)


def test_tokens_that_do_not_fit_the_disk_are_an_error_before_they_are_read():
    with pytest.raises(NotTrainable, match=r"tokens of 1,000,000,000,000 rows take 125440000.0 GB on disk"):
        mapped((10**12, 49, 1280))


def test_a_decoder_without_test_rows_has_a_note_in_place_of_figures(tmp_path, registry, several):
    store = with_tokens(tmp_path, several, ["train"] * 600)
    done = trained(store, registry, kind="decoder", params=SMALL, texts=text_side)
    assert list(done.report.evaluations) == ["held-out"]
    assert "No test rows: there are no figures on unseen rows." in done.report.notes


class WithBank:
    """A text side that knows five labels of its own."""

    def __call__(self, fingerprint, texts):
        return text_side(fingerprint, texts)

    def bank(self, fingerprint):
        return toy_bank(12, labels=5)


def in_text_space(tmp_path, several, splits) -> Store:
    """Return a store whose tokens are as wide as its vectors: two a row, which have the row as their mean."""
    store = Store.open(tmp_path / "db")
    ids = fill_labels(store, several, splits=splits, tokens=(2, 12))
    shift = np.random.default_rng(0).normal(size=several.X.shape).astype(np.float32)
    tokens = np.stack([several.X + shift, several.X - shift], axis=1)
    spec = store.features("toy").spec
    store.ensure_tokens("toy", spec, np.eye(2, 12, dtype=np.float32)).put(ids, tokens)
    return store


def test_a_label_bank_reads_tokens_that_are_in_the_space_of_texts(tmp_path, registry, several):
    store = in_text_space(tmp_path, several, ["train"] * 400 + ["val"] * 100 + ["test"] * 100)
    done = trained(store, registry, kind="bank", texts=WithBank())
    published = registry.load("many")
    assert (published.head.tokens, published.manifest.encoders[0].columns) == ((2, 12), (0, 24))
    assert evaluate_head(store, published).summary() == pytest.approx(
        done.report.evaluations["test"].summary(), rel=1e-4
    )
    with pytest.raises(NotTrainable, match="tokens of one encoder, got 2"):
        trained(store, registry, kind="bank", encoders=["toy", "toy"], texts=WithBank())


def test_a_label_bank_without_tokens_says_how_to_get_them(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several, tokens=(2, 12))
    with pytest.raises(NoTokens, match="store the tokens of that encoder first"):
        trained(store, registry, kind="bank", texts=text_side)


@pytest.mark.parametrize("texts", [text_side, WithBank()])
def test_a_label_bank_reads_vectors_if_tokens_are_not_in_the_space_of_texts(stored, registry, texts):
    done = trained(stored, registry, kind="bank", texts=texts)
    head = registry.load("many").head
    assert (head.reads_tokens, head.tokens) == (False, (1, 12))
    assert (head.bank is None) == (texts is text_side)
    assert done.report.evaluations["test"].summary()["map"] > 0.5
    asked = registry.load("many").with_labels(["a", "new"], text_side("", ["a", "new"]))
    scores = registry.load("many").head.scores(make_label_toy().X)
    np.testing.assert_allclose(asked.head.scores(make_label_toy().X)[:, 0], scores[:, 0], atol=1e-3)
    assert asked.head.classes == ("a", "new")


def test_out_of_fold_rows_calibrate_a_label_bank(tmp_path, registry, several):
    store = Store.open(tmp_path / "db")
    fill_labels(store, several, splits=["train"] * 500 + ["test"] * 100)
    done = trained(store, registry, kind="bank", texts=text_side)
    held, test = (done.report.evaluations[split].summary() for split in ("held-out", "test"))
    assert done.report.evaluations["held-out"].rows == 500
    assert held["map"] == pytest.approx(test["map"], abs=0.1)
    assert done.report.settings["trained"] == list("abcd")
