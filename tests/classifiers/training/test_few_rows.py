"""Training from rows that say little: one row of each class, and validation rows of unknown classes only."""

import numpy as np
import pytest
from helpers.toys import ids_of, spec_of, text_side

from classifiers.errors import NotTrainable
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


@pytest.mark.parametrize("kind", sorted(CLASS_KINDS))
def test_validation_rows_of_unknown_classes_only(few, tmp_path, kind):
    done = trained(few, tmp_path, "strange", kind)
    assert 0 < done.report.temperature < np.inf
    assert any(note.startswith("val: 6 of 6 labelled rows are left out") for note in done.report.notes)
