"""`zeroshot blend=auto` with few training rows: texts and class means, judged on folds that treat all classes alike."""

import numpy as np
import pytest
from helpers.toys import Banked, Toy, fill, fold_of, ids_of, knowing, make_toy, text_of, text_side, unit

from classifiers.errors import NoCovariance
from classifiers.evaluation.calibration import fit_temperature, least_temperature
from classifiers.fit.zeroshot import ZeroShotClassifier
from classifiers.published.registry import Registry
from classifiers.training.learning.by_text import UNCHOSEN
from classifiers.training.learning.few_shot import EQUAL, WEIGHTS, FewRows
from classifiers.training.pipeline import train
from store import Label, Store


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "heads")


def shots(toy: Toy, count: int, skipped: int = 0) -> list[int]:
    """Return the numbers of `count` rows of each class, the first ones after `skipped`."""
    return sorted(np.concatenate([np.flatnonzero(toy.codes == k)[skipped:][:count] for k in range(5)]).tolist())


def stored(store: Store, toy: Toy, count: int, *, val: int = 0) -> list[int]:
    """Fill a task `few` with `count` training rows of each class, and `val` validation rows of each."""
    fill(store, toy)
    ids, training = ids_of(600), shots(toy, count)
    rows = [Label(ids[row], [toy.labels[row]], "train") for row in training]
    rows += [Label(ids[row], [toy.labels[row]], "val") for row in shots(toy, val, count)]
    store.labels.put("few", rows)
    return training


def trained(store: Store, registry: Registry, texts=text_side, **params):
    asked = {"task": "few", "encoders": ["toy"], "name": "cats", "kind": "zeroshot"}
    done = train(store, registry, **asked, params={"blend": "auto", **params}, texts=texts)
    return done, registry.load("cats")


def both(X, codes, of, names=tuple(f"class {k}" for k in range(5)), texts=None) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of rows `of` by the texts and by the means of the classes, computed here, (n, K) each."""
    U = unit(X.astype(np.float64))
    centre = U.mean(axis=0)
    means = unit(np.stack([U[codes == k].mean(axis=0) for k in range(len(names))]) - centre)
    held = unit(of.astype(np.float64)) - centre
    return 100 * held @ (text_of(names) if texts is None else texts).T, 100 * held @ means.T


def named_text(names) -> np.ndarray:
    """Return the vectors of bare names that `Banked` gives, at unit norm, (n, 12)."""
    return unit(Banked(None)("", list(names)).astype(np.float64))


def with_bank(X, names, weight: float) -> np.ndarray:
    """Return the texts with what the bank of a toy adds, computed here, (K, 12)."""
    bank, text, U = knowing([f"class {k}" for k in range(5)]), named_text(names), unit(X.astype(np.float64))
    near = np.exp(text @ bank.text.T / 0.07)
    added = (near / near.sum(axis=1, keepdims=True)) @ (bank.weights - bank.weights.mean(axis=0))
    return text + weight * (U @ text.T).std(axis=0).mean() / (U @ added.T).std(axis=0)[:, None] * added


@pytest.mark.parametrize("count", [1, 3])
def test_the_scores_are_those_of_texts_and_class_means_in_equal_parts(store, registry, toy, count):
    """With 5 and 15 training rows, too few can be held out to choose α, and to calibrate."""
    training = stored(store, toy, count)
    done, published = trained(store, registry)
    text, means = both(toy.X[training], toy.codes[training], toy.X)
    np.testing.assert_allclose(published.head.with_temperature(1).scores(toy.X), text + EQUAL * means, atol=1e-3)
    assert published.manifest.settings["blend"] == EQUAL
    assert list(published.manifest.counts) == [count] * 5
    assert done.report.notes[0].startswith("Few training rows: class means take the place")


@pytest.mark.parametrize(("params", "weight"), [({}, UNCHOSEN), ({"bank_weight": 2.0}, 2.0)])
def test_a_label_bank_adds_to_the_texts_of_few_rows(store, registry, toy, params, weight):
    """15 rows cannot choose its weight, and α is the root of the number of rows a class."""
    training = stored(store, toy, 3)
    _, published = trained(store, registry, Banked(knowing(toy.classes)), prompts=["{}"], **params)
    texts = with_bank(toy.X[training], toy.classes, weight)
    text, means = both(toy.X[training], toy.codes[training], toy.X, texts=texts)
    found = published.head.with_temperature(1).scores(toy.X)
    np.testing.assert_allclose(found, text + np.sqrt(3) * means, rtol=1e-4, atol=1e-2)
    assert published.manifest.settings["bank_weight"] == weight
    assert set(published.head.arrays()) == {"text", "centre", "W", "b"}  # the bank itself is not kept


def test_lp_plus_plus_is_calibrated_on_folds_that_it_did_not_learn_from(store, registry, toy):
    training = stored(store, toy, 6)
    _, published = trained(store, registry, blend="lp++")
    X, labels, codes = toy.X[training], toy.labels[training], toy.codes[training]

    def scores(rows, of):
        made = ZeroShotClassifier(blend="lp++").fit(X[rows], labels[rows], text=text_of(toy.classes))
        return made.head_.scores(of)

    np.testing.assert_allclose(published.head.scores(toy.X), scores(slice(None), toy.X), rtol=1e-3, atol=1e-2)
    folds, held = fold_of(store, [ids_of(600)[row] for row in training], task="few"), np.empty((30, 5), np.float32)
    for fold in range(5):
        held[folds == fold] = scores(folds != fold, X[folds == fold])
    expected = max(fit_temperature(held, codes), least_temperature(held))
    assert published.head.temperature == pytest.approx(expected, rel=1e-2)


def test_without_held_out_rows_the_texts_give_the_temperature(store, registry):
    toy = make_toy()
    fill(store, toy)
    ids = ids_of(600)
    names = [f"{toy.labels[row]} {row}" for row in range(30)]  # 30 classes with one row each
    store.labels.put("few", [Label(ids[row], [name], "train") for row, name in enumerate(names)])
    _, published = trained(store, registry)
    U, texts = unit(toy.X[:30].astype(np.float64)), text_of(sorted(names))
    alone = 100 * (U - U.mean(axis=0)) @ texts.T
    codes = np.searchsorted(sorted(names), names)
    expected = (1 + EQUAL) * fit_temperature(alone.astype(np.float32), codes)
    assert published.head.temperature == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("weights", [(0.0,), (0.0, UNCHOSEN)])
def test_the_blend_comes_from_folds_that_hold_out_a_row_of_every_class(store, registry, toy, weights):
    """So does the weight of a label bank. Six rows of ten classes each are five folds, each with 4 or 5 of a class."""
    fill(store, toy)
    names = [f"class {k} {half}" for k in range(5) for half in "ab"]
    rows = np.array([np.flatnonzero(toy.codes == k)[half::2][:6] for k in range(5) for half in range(2)]).ravel()
    ids = np.array(ids_of(600))[rows]
    order = np.argsort(ids)  # as the store reads them
    X, codes = toy.X[rows][order], np.repeat(np.arange(10), 6)[order]
    store.labels.put("few", [Label(id_, [names[code]], "train") for id_, code in zip(ids[order], codes, strict=True)])
    side = Banked(knowing(toy.classes) if len(weights) > 1 else None)
    done, published = trained(store, registry, side, prompts=["{}"])
    number = np.array([np.sum(codes[:row] == codes[row]) for row in range(60)]) % 5
    texts = {weight: with_bank(X, names, weight) for weight in weights}
    truth = np.concatenate([codes[number == f] for f in range(5)])
    scores = {
        weight: [both(X[number != f], codes[number != f], X[number == f], names, each) for f in range(5)]
        for weight, each in texts.items()
    }
    ends = {weight: [np.concatenate(each) for each in zip(*found, strict=True)] for weight, found in scores.items()}

    def nll(scores) -> float:
        scores = (scores / np.std(scores)).astype(np.float32)
        logits = scores.astype(np.float64) / fit_temperature(scores, truth)
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(truth)), truth]))

    judged = {
        (weight, blend): nll(text if blend == 0 else means if blend == "gaussian" else text + blend * means)
        for weight, (text, means) in ends.items()
        for blend in WEIGHTS
    }
    settings = published.manifest.settings
    weight = settings.get("bank_weight", 0.0)
    assert judged[weight, settings["blend"]] == pytest.approx(min(judged.values()), rel=1e-3)
    told = done.report.settings["blend_validated"]
    assert told["0"]["accuracy"] == pytest.approx(np.mean(ends[weight][0].argmax(axis=1) == truth))
    assert told["gaussian"]["nll"] == pytest.approx(judged[0.0, "gaussian"], rel=1e-3)


def test_validation_rows_choose_where_there_is_no_covariance(store, registry, toy):
    stored(store, toy, 1, val=20)
    done, published = trained(store, registry)
    assert published.manifest.settings["blend"] in WEIGHTS
    assert done.report.evaluations["val"].rows == 100
    with pytest.raises(NoCovariance):
        trained(store, registry, blend=0.5)


def test_with_validation_rows_two_rows_a_class_have_a_gaussian_part(store, registry, toy):
    stored(store, toy, 2, val=20)
    _, published = trained(store, registry)
    assert "part" not in published.manifest.settings


def test_folds_hold_out_each_row_once_and_never_a_whole_class():
    codes = np.array([0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3])
    rows = FewRows(np.arange(13.0)[:, None], codes, (0, 1))
    held = []
    for learned, out in rows.folds():
        assert set(learned.codes) == {0, 1, 2, 3}
        assert len(learned.codes) + len(out.codes) == 13
        held += out.U[:, 0].tolist()
    assert sorted(held) == list(range(1, 13))  # the row of class 0 is the only one of its class
