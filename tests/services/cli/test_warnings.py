"""Warnings that nobody can miss: they are on standard error, also where a script reads JSON."""

import json

import numpy as np

from embedder.spec import EncoderSpec
from store import Label, Store


def test_a_head_no_better_than_chance_comes_with_a_warning(headwater, tmp_path):
    """Labels that have nothing to do with the vectors."""
    store, random = Store.open(tmp_path / "headwater.db"), np.random.default_rng(0)
    spec = EncoderSpec(architecture="toy", weights="w", activation="gelu", output="pooled", dim=16)
    ids = [f"{i:064x}" for i in range(600)]
    store.ensure_features("toy", spec, np.eye(1, 16, dtype=np.float32)).put(
        ids, random.standard_normal((600, 16)).astype(np.float32)
    )
    splits = ["train", "val", "test"]
    store.labels.put("t", [Label(id_, ["ab"[random.integers(2)]], splits[i % 3]) for i, id_ in enumerate(ids)])
    command = ["train", "--task", "t", "--name", "n", "--encoder", "toy"]
    code, _, err = headwater(*command)
    assert (code, err.startswith("warning: ")) == (0, True), err
    assert "no better than always answering" in err.splitlines()[0]
    code, out, err = headwater(*command, "--json")
    assert (code, err.startswith("warning: "), json.loads(out)["warnings"][0] in err) == (0, True, True), err


def test_a_misspelt_setting_is_named(headwater):
    code, _, err = headwater("doctor", HEADWATER_STOER="x.db")
    assert (code, err) == (0, "warning: HEADWATER_STOER is not a setting; did you mean HEADWATER_STORE?\n")
