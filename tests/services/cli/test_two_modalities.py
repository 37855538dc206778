"""A store of photos and sounds: commands take the encoder that has vectors of the task's assets, or name it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.toys import make_toy, spec_of

from embedder import spec
from store import Asset, Label, Store, asset_id

IMAGES = spec.ImagePreprocessing(
    size=8, resize=8, interpolation="bicubic", crop="centre", mean=(0.5,) * 3, std=(0.5,) * 3
)


@pytest.fixture
def both(tmp_path):
    """Tasks `photos` with vectors of lite0, `sounds` with vectors of melstat, and `silent`: sounds without vectors."""
    store, toy, probe = Store.open(tmp_path / "headwater.db"), make_toy(n=90), np.eye(2, 12, dtype=np.float32)
    encoders = {"photos": ("image", "lite0"), "sounds": ("audio", "melstat"), "silent": ("audio", None)}
    for task, (modality, encoder) in encoders.items():
        contents = [f"{task} {i}".encode() for i in range(len(toy.X))]
        assets = [Asset(asset_id(data), "mem", modality, "x/y", content=data) for data in contents]
        store.assets.add(assets)
        store.labels.put(task, [Label(a.id, [str(label)]) for a, label in zip(assets, toy.labels, strict=True)])
        if encoder:
            own = replace(spec_of(12, weights=encoder), image=IMAGES if modality == "image" else None)
            store.ensure_features(encoder, own, probe).put([each.id for each in assets], toy.X)
    return store


def test_compare_takes_the_encoders_of_the_task_and_says_what_it_leaves_out(headwater, both, tmp_path):
    for task, used, other in (("photos", "lite0", "melstat"), ("sounds", "melstat", "lite0")):
        code, out, err = headwater("compare", "--task", task, "--candidate", "gaussian", "--folder", task, "--json")
        assert code == 0, err
        assert err.splitlines() == [f"left out: {other}: no vectors of the training rows of task '{task}'"]
        record = json.loads(out)
        assert record["encoders"] == [used]
        assert {each["state"] for each in record["candidates"]} == {"done"}


def test_compare_fails_only_without_any_vector(headwater, both, tmp_path):
    code, _, err = headwater("compare", "--task", "silent")
    assert code == 1
    assert "error: the assets of task 'silent' are sounds; lite0 takes images" in err
    assert not (tmp_path / "compare").exists()


def test_training_on_sounds_with_an_encoder_of_images_names_one_of_sounds(headwater, both):
    code, _, err = headwater("train", "--task", "silent", "--name", "x", "--encoder", "lite0")
    assert (code, err.splitlines()) == (
        1,
        [
            "error: the assets of task 'silent' are sounds; lite0 takes images",
            "hint: --encoder melstat, after `headwater backfill --encoder melstat`",
        ],
    )
