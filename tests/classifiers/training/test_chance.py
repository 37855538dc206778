"""Each kind of head at its defaults is better than chance, and a head that is not gets a warning."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from helpers.toys import embed_texts, fill, fill_labels, make_label_toy, make_toy

from classifiers.published.registry import Registry
from classifiers.training.kinds import KINDS
from classifiers.training.pipeline import train
from embedder.spec import EncoderSpec
from store import Store

SPLITS = ["train"] * 400 + ["val"] * 100 + ["test"] * 100


def label_text(_, texts):
    """Return text vectors in the direction that the label toy gives a label: "a photo of a b." → the direction of b."""
    directions = label_directions()
    words = ["".join(c for c in text if c.isalnum() or c == " ").split()[-1] for text in texts]
    return np.array([directions["abcd".index(word)] for word in words], np.float32)


def label_directions(seed=0):
    toy = make_label_toy(seed=seed)
    return np.stack([toy.X[own].mean(axis=0) - toy.X[~own].mean(axis=0) for own in toy.Y.T])


def stored(tmp_path, kind: str, *, shuffled: bool, splits=SPLITS) -> Store:
    """Return a store with a toy task for a kind of head, with tokens; if `shuffled`, the labels are random."""
    store, order = Store.open(tmp_path / "db"), np.arange(600)
    if shuffled:
        order = np.random.default_rng(0).permutation(order)
    if KINDS[kind].targets == "one":
        toy = make_toy()
        fill(store, replace(toy, labels=toy.labels[order]), splits=splits)
        return store
    several = make_label_toy()
    ids = fill_labels(store, replace(several, Y=several.Y[order]), splits=splits)
    spec = EncoderSpec(**{**asdict(store.features("toy").spec), "tokens": (2, 6)})
    tokens = several.X.reshape(-1, 2, 6)
    store.ensure_tokens("toy", spec, np.eye(2, 12, dtype=np.float32)).put(ids, tokens)
    return store


def trained(tmp_path, kind: str, *, shuffled: bool, splits=SPLITS, **params):
    texts = label_text if KINDS[kind].targets == "any" else lambda _, some: embed_texts(some)
    return train(
        stored(tmp_path, kind, shuffled=shuffled, splits=splits),
        Registry(tmp_path / "heads"),
        task="toy",
        encoders=["toy"],
        kind=kind,
        name="toy",
        params=params,
        texts=texts,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_beats_chance_at_its_defaults(tmp_path, kind):
    done = trained(tmp_path, kind, shuffled=False)
    assert done.warnings == ()
    assert "Warning" not in (done.path / "report.md").read_text()


@pytest.mark.parametrize("model", ["sdgm-d", "sdgm-f"])
def test_other_mixtures_beat_chance_at_their_defaults(tmp_path, model):
    assert trained(tmp_path, "mixture", shuffled=False, model=model).warnings == ()


@pytest.mark.parametrize("splits", [SPLITS, ["train"] * 600], ids=["val", "folds"])
@pytest.mark.parametrize("kind", ["gaussian", "linear", "labelwise"])
def test_a_head_of_shuffled_labels_carries_a_warning_no_one_can_miss(tmp_path, kind, splits):
    done = trained(tmp_path, kind, shuffled=True, splits=splits)
    [warning] = done.warnings
    assert warning.startswith("This head is n")  # no better, or not shown to be better
    assert done.report.notes[0] == warning
    assert json.loads((done.path / "report.json").read_text())["notes"][0] == warning
    assert (done.path / "report.md").read_text().splitlines()[2] == f"> **Warning.** {warning}"
