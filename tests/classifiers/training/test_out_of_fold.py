"""Probabilities out of fold are those of a head that was learned without the fold, up to one temperature a fold."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import fill, fill_labels, fold_of, ids_of, make_label_toy, make_toy

from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.fit.gaussian.mixture import Setting
from classifiers.fit.multilabel.labelwise import LabelwiseClassifier
from classifiers.published.registry import Registry
from classifiers.training.out_of_fold import out_of_fold
from classifiers.training.pipeline import train
from classifiers.training.rows.rows import Rows

N = 300
IDS = ids_of(N)


def judged(store, tmp_path, kind, **params):
    """The published head, and the probabilities of its training rows by id."""
    registry = Registry(tmp_path / "heads")
    train(store, registry, task="toy", encoders=["toy"], kind=kind, name="h", params=params)
    head = registry.load("h")
    rows = Rows(store, "toy", ("toy",), store.snapshot())
    return head, {
        id_: p for ids, proba in out_of_fold(head, rows) for id_, p in zip(ids, proba.astype(float), strict=True)
    }


def same_up_to_a_line(scores: np.ndarray, logits: np.ndarray, *, through_zero: bool) -> None:
    """Check that logits = a · scores + b with one a > 0 and b for all."""
    columns = np.stack([scores.ravel(), np.zeros(scores.size) if through_zero else np.ones(scores.size)], axis=1)
    found, *_ = np.linalg.lstsq(columns, logits.ravel(), rcond=None)
    assert found[0] > 0
    np.testing.assert_allclose(columns @ found, logits.ravel(), atol=2e-2)


def test_a_gaussian_head_without_the_fold(store, tmp_path):
    toy = make_toy(n=N, spread=0.5)
    fill(store, toy, splits=["train"] * N)
    head, found = judged(store, tmp_path, "gaussian")
    assert set(found) == set(IDS)
    folds = fold_of(store, IDS)
    for fold in range(5):
        held = folds == fold
        alone = GaussianClassifier(shrinkage=head.head.settings()["shrinkage"]).fit(toy.X[~held], toy.labels[~held])
        scores = alone.scores(toy.X[held])
        logits = np.log(np.clip([found[IDS[row]] for row in np.flatnonzero(held)], 1e-30, None))
        clear = logits.min(axis=1) > np.log(1e-25)
        same_up_to_a_line((scores - scores[:, :1])[clear], (logits - logits[:, :1])[clear], through_zero=True)


def test_labels_without_the_fold(store, tmp_path):
    toy = make_label_toy(n=N)
    fill_labels(store, toy, splits=["train"] * N)
    _, found = judged(store, tmp_path, "labelwise", C=1.0)
    folds = fold_of(store, IDS)
    for fold in range(5):
        held = folds == fold
        alone = LabelwiseClassifier(C=1.0, max_iter=200).fit(toy.X[~held], toy.Y[~held], list(toy.classes))
        proba = np.clip([found[IDS[row]] for row in np.flatnonzero(held)], 1e-6, 1 - 1e-6)
        clear = (proba > 1e-4).all(axis=1) & (proba < 1 - 1e-4).all(axis=1)
        same_up_to_a_line(
            alone.head_.scores(toy.X[held])[clear], np.log(proba / (1 - proba))[clear], through_zero=False
        )


def test_a_class_of_one_row_is_judged_without_it(store, tmp_path):
    toy = make_toy(n=N)
    labels = toy.labels.copy().astype(object)
    labels[7] = "rare"
    fill(store, type(toy)(toy.X, toy.codes, labels.astype(str), toy.classes), splits=["train"] * N)
    head, found = judged(store, tmp_path, "gaussian")
    assert found[IDS[7]][head.head.classes.index("rare")] == 0
    assert found[IDS[7]].sum() == pytest.approx(1, abs=1e-4)


def test_a_head_whose_kind_has_other_parameters_now_is_judged(store, tmp_path):
    """Mixtures of earlier versions name `steps` and `learning_rate`, and their settings have no `C`."""
    fill(store, make_toy(n=N), splits=["train"] * N)
    head, found = judged(store, tmp_path, "mixture", shrinkage=0.5, power=0.0625, C=0.01)
    parameters = {"model": "dgmmc-s", "components": "auto", "steps": 200, "learning_rate": 0.01, "norm": "none"}
    settings = {name: value for name, value in head.head.settings().items() if name not in Setting._fields}
    earlier = replace(head, manifest=head.manifest.model_copy(update={"parameters": parameters}))
    earlier.head._settings = settings
    again = {
        id_: p
        for ids, proba in out_of_fold(earlier, Rows(store, "toy", ("toy",), store.snapshot()))
        for id_, p in zip(ids, proba.astype(float), strict=True)
    }
    np.testing.assert_allclose([again[id_] for id_ in IDS], [found[id_] for id_ in IDS], atol=1e-5)
