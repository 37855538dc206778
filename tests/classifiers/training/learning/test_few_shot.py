"""`zeroshot blend=auto` with few training rows: texts and class means, judged on folds that treat all classes alike."""

import numpy as np
import pytest
from helpers.toys import Toy, fill, ids_of, make_toy, text_of, text_side, unit

from classifiers.errors import NoCovariance
from classifiers.evaluation.calibration import fit_temperature
from classifiers.published.registry import Registry
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


def trained(store: Store, registry: Registry, **params):
    asked = {"task": "few", "encoders": ["toy"], "name": "cats", "kind": "zeroshot"}
    done = train(store, registry, **asked, params={"blend": "auto", **params}, texts=text_side)
    return done, registry.load("cats")


def both(X, codes, of, names=tuple(f"class {k}" for k in range(5))) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of rows `of` by the texts and by the means of the classes, computed here, (n, K) each."""
    U = unit(X.astype(np.float64))
    centre = U.mean(axis=0)
    means = unit(np.stack([U[codes == k].mean(axis=0) for k in range(len(names))]) - centre)
    held = unit(of.astype(np.float64)) - centre
    texts = text_of(names)
    return 100 * held @ texts.T, 100 * held @ means.T


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


def test_alpha_and_temperature_come_from_folds_that_hold_out_a_row_of_every_class(store, registry, toy):
    """Six rows of each of ten classes are five folds, each of which learns four or five rows of every class."""
    fill(store, toy)
    names = [f"class {k} {half}" for k in range(5) for half in "ab"]
    rows = np.array([np.flatnonzero(toy.codes == k)[half::2][:6] for k in range(5) for half in range(2)]).ravel()
    ids = np.array(ids_of(600))[rows]
    order = np.argsort(ids)  # as the store reads them
    X, codes = toy.X[rows][order], np.repeat(np.arange(10), 6)[order]
    store.labels.put("few", [Label(id_, [names[code]], "train") for id_, code in zip(ids[order], codes, strict=True)])
    done, published = trained(store, registry)
    number = np.array([np.sum(codes[:row] == codes[row]) for row in range(60)]) % 5
    parts = [(*both(X[number != f], codes[number != f], X[number == f], names), codes[number == f]) for f in range(5)]
    text, means, truth = (np.concatenate([part[i] for part in parts]) for i in range(3))

    def nll(scores) -> float:
        scores = (scores / np.std(scores)).astype(np.float32)
        logits = scores.astype(np.float64) / fit_temperature(scores, truth)
        return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(truth)), truth]))

    judged = {
        weight: nll(text if weight == 0 else means if weight == "gaussian" else text + weight * means)
        for weight in WEIGHTS
    }
    found = published.manifest.settings["blend"]
    assert judged[found] == pytest.approx(min(judged.values()), rel=1e-3)
    told = done.report.settings["blend_validated"]
    assert told["0"]["accuracy"] == pytest.approx(np.mean(text.argmax(axis=1) == truth))
    assert told["gaussian"]["nll"] == pytest.approx(judged["gaussian"], rel=1e-3)


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
