"""Training from rows that say little: one row of each class, and validation rows of unknown classes only."""

import numpy as np
import pytest
from helpers.toys import WithTexts, fold_of, ids_of, make_toy, spec_of, text_side

from classifiers.errors import NotTrainable
from classifiers.evaluation.calibration import mean_nll
from classifiers.fit.linear import LinearClassifier
from classifiers.published.registry import Registry
from classifiers.training.kinds import CLASS_KINDS
from classifiers.training.pipeline import train
from store import Label, Store

PARAMS = {"mixture": {"components": 1}, "zeroshot": {"blend": "auto"}}


@pytest.fixture
def few(tmp_path) -> Store:
    """Task `one`: 30 classes with one row each. Task `strange`: three classes, and validation rows of a fourth."""
    store = Store.open(tmp_path / "db")
    ids, X = ids_of(30), np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    for name in ("a", "b"):
        store.ensure_features(name, spec_of(12, name), np.eye(2, 12, dtype=np.float32)).put(ids, X)
    store.labels.put("one", [Label(id_, [f"class {k:02}"], "train") for k, id_ in enumerate(ids)])
    learned = [Label(id_, [f"class {k % 3}"], "train") for k, id_ in enumerate(ids[:24])]
    store.labels.put("strange", [*learned, *(Label(id_, ["unknown"], "val") for id_ in ids[24:])])
    return store


def trained(store: Store, folder, task: str, kind: str):
    encoders = ["a", "b"] if kind == "fusion" else ["a"]
    registry = Registry(folder / "heads")
    params = PARAMS.get(kind)
    return train(store, registry, task=task, encoders=encoders, name="a", kind=kind, params=params, texts=text_side)


@pytest.mark.parametrize("kind", sorted(set(CLASS_KINDS) - {"mixture"}))  # which would take many seconds
def test_one_row_of_each_class(few, tmp_path, kind):
    """A kind learns, or says that it cannot. No library warns: warnings are errors in tests."""
    if kind in ("gaussian", "fusion"):
        with pytest.raises(NotTrainable, match="no class has two different rows"):
            trained(few, tmp_path, "one", kind)
    else:
        done = trained(few, tmp_path, "one", kind)
        assert 0 < done.report.temperature < np.inf
        said = "Few training rows: class means" if kind == "zeroshot" else "No validation rows"
        assert any(said in note for note in done.report.notes)


@pytest.mark.parametrize(
    ("kind", "params", "again"),
    [
        ("linear", {"C": 1.0}, LinearClassifier(C=1.0)),
        ("zeroshot", {"blend": "lp++"}, WithTexts(blend="lp++")),  # no held-out row is right: the largest temperature
        ("zeroshot", {"blend": 0.5, "shrinkage": 0.3}, WithTexts(blend=0.5, shrinkage=0.3)),
    ],
)
def test_rows_held_out_in_turn_limit_the_confidence_of_six_rows(few, tmp_path, kind, params, again):
    toy = make_toy(n=60, n_classes=2, spread=0.1)  # the classes overlap, but six rows in 12 columns never do
    ids, codes = ids_of(60), toy.codes
    few.ensure_features("c", spec_of(12, "c"), np.eye(2, 12, dtype=np.float32)).put(ids, toy.X)
    learned = np.sort(np.concatenate([np.flatnonzero(codes == code)[:3] for code in (0, 1)]))
    few.labels.put("six", [Label(ids[row], [f"class {codes[row]}"], "train") for row in learned])
    asked = {"task": "six", "encoders": ["c"], "name": "a", "kind": kind, "params": params}
    done = train(few, Registry(tmp_path / "heads"), **asked, texts=text_side)
    folds = fold_of(few, [ids[row] for row in learned], 3, task="six", encoder="c")
    X, truth, scores = toy.X[learned], codes[learned], np.empty((6, 2), np.float32)
    names = np.array([f"class {code}" for code in truth])
    for fold in range(3):
        held = folds == fold
        assert sorted(truth[held]) == [0, 1]
        scores[held] = again.fit(X[~held], names[~held]).head_.scores(X[held])
    repeated = np.concatenate([np.repeat(scores, 12, axis=0), np.repeat(scores, 2, axis=0)])  # 6 to 1: an average row
    codes_of = np.concatenate([np.repeat(truth, 12), np.tile([0, 1], 6)])
    tried = np.geomspace(0.1, 1e6, 4000)
    expected = tried[np.argmin([mean_nll(repeated, codes_of, temperature) for temperature in tried])]
    assert done.report.temperature == pytest.approx(expected, rel=1e-2)
    assert done.report.temperature > 1.2
    assert any("only 6 training rows that could be held out" in note for note in done.report.notes)


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_validation_rows_of_unknown_classes_only(few, tmp_path, kind):
    done = trained(few, tmp_path, "strange", kind)
    assert 0 < done.report.temperature < np.inf
    assert any(note.startswith("val: 6 of 6 labelled rows are left out") for note in done.report.notes)
