"""The message for a task whose assets have no vectors: missing vectors, or assets that the encoder cannot embed."""

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest
from helpers.toys import fill, make_toy, spec_of, text_side

from classifiers.compare.candidates import parse_lines, with_controls
from classifiers.compare.run import run, start
from classifiers.errors import PLURALS, TAKEN_BY, NoVectors
from classifiers.published.registry import Registry
from classifiers.training.kinds import CLASS_KINDS
from classifiers.training.pipeline import train
from classifiers.training.rows.present import encoders_of_training_rows
from embedder import spec
from embedder.errors import MODALITY_NAMES
from embedder.registry import names
from store import Asset, Label, asset_id
from store.errors import UnknownTask

IMAGES = spec.ImagePreprocessing(
    size=8, resize=8, interpolation="bicubic", crop="centre", mean=(0.5,) * 3, std=(0.5,) * 3
)


@pytest.fixture
def sounds(store):
    """Store forty labelled sounds, and an encoder for images that is named like a real one."""
    contents = [f"sound {i}".encode() for i in range(40)]
    assets = [Asset(asset_id(data), f"mem/{i}", "audio", "audio/wav", content=data) for i, data in enumerate(contents)]
    store.assets.add(assets)
    store.ensure_features("lite0", replace(spec_of(12), image=IMAGES), np.eye(2, 12, dtype=np.float32))
    store.labels.put("calls", [Label(each.id, ["cat" if i % 2 else "dog"], "train") for i, each in enumerate(assets)])
    return store


@pytest.mark.parametrize("kind", [*CLASS_KINDS, "labelwise"])
def test_sounds_without_vectors_are_named_with_an_encoder_that_takes_them(sounds, tmp_path, kind):
    params = {"blend": 0.3} if kind == "zeroshot" else {}
    with pytest.raises(NoVectors, match=r"^the assets of task 'calls' are sounds; lite0 takes images$") as found:
        train(
            sounds,
            Registry(tmp_path),
            task="calls",
            encoders=["lite0"],
            name="x",
            kind=kind,
            params=params,
            texts=text_side,
        )
    assert (found.value.refused, found.value.others) == ({"lite0": ("audio",)}, ("melstat",))
    assert "backfill" not in str(found.value)


def test_a_comparison_says_it_too(sounds, tmp_path):
    candidates = with_controls(parse_lines(["gaussian", "gaussian project=pca", "linear norm=unit"], ["lite0"]))
    comparison = start(sounds, tmp_path / "it", task="calls", encoders=["lite0"], candidates=candidates)
    run(comparison)
    assert set(comparison.failed) == {each.label for each in candidates}
    assert all("are sounds; lite0 takes images" in reason for reason in comparison.failed.values())


def test_images_that_are_not_embedded_yet_are_no_fault_of_the_encoder(store, tmp_path):
    assets = [Asset(asset_id(data), "mem", "image", "image/png", content=data) for data in (b"a", b"b", b"c", b"d")]
    store.assets.add(assets)
    store.ensure_features("lite0", replace(spec_of(12), image=IMAGES), np.eye(2, 12, dtype=np.float32))
    store.labels.put("few", [Label(each.id, [str(i % 2)], "train") for i, each in enumerate(assets)])
    with pytest.raises(NoVectors, match=r"embed its assets with that encoder first$"):
        train(store, Registry(tmp_path), task="few", encoders=["lite0"], name="x")


def test_the_encoders_of_a_task_have_vectors_of_its_training_rows(store):
    """The tasks share no asset; `unused` has a vector of a test row of `toy`, which does not count."""
    toy = make_toy(n=60)
    ids = fill(store, toy, encoder="photos")
    hidden = next(
        i for i in ids if i in set(store.labels.get("toy").filter(pc.field("split") == "test")["id"].to_pylist())
    )
    other = ["f" * 63 + str(i) for i in range(6)]
    probe = np.eye(2, 12, dtype=np.float32)
    store.ensure_features("sounds", spec_of(12, weights="s"), probe).put(other, toy.X[:6])
    store.ensure_features("unused", spec_of(12, weights="u"), probe).put([hidden], toy.X[:1])
    store.labels.put("calls", [Label(id_, [str(i % 2)], "train") for i, id_ in enumerate(other)])
    assert encoders_of_training_rows(store, "toy") == (("photos",), ("sounds", "unused"))
    assert encoders_of_training_rows(store, "calls") == (("sounds",), ("photos", "unused"))
    with pytest.raises(UnknownTask):
        encoders_of_training_rows(store, "nosuch")


def test_encoders_that_share_a_name_are_named_by_their_fingerprints(store, tmp_path):
    toy = make_toy(n=120)
    ids = fill(store, toy, encoder="photos")
    probe = np.eye(2, 12, dtype=np.float32)
    newer = spec_of(12, weights="newer")
    store.ensure_features("photos", newer, probe).put(ids, toy.X[:, ::-1])
    store.ensure_features("photos", spec_of(12, weights="unused"), probe)
    store.ensure_features("sounds", spec_of(12, weights="s"), probe).put(ids, toy.X)
    used, others = encoders_of_training_rows(store, "toy")
    prints = {spec_of(12, weights=weights).fingerprint[:12] for weights in ("photos", "newer")}
    assert set(used) == {"sounds", *prints}
    assert others == (spec_of(12, weights="unused").fingerprint[:12],)
    comparison = start(store, tmp_path / "it", task="toy", encoders=used, candidates=parse_lines(["gaussian"], used))
    run(comparison)
    assert not comparison.failed
    assert {(each,) for each in used} < {trial.candidate.encoders for trial in comparison.trials.values()}


def test_a_task_of_which_no_encoder_has_vectors_is_refused(sounds):
    with pytest.raises(NoVectors, match="are sounds; lite0 takes images"):
        encoders_of_training_rows(sounds, "calls")


def test_the_encoders_that_are_recommended_exist():
    assert set(TAKEN_BY) == set(spec.MODALITIES) == set(MODALITY_NAMES)
    assert set(TAKEN_BY.values()) <= set(names())
    assert {modality: plural for modality, (_, plural) in MODALITY_NAMES.items()} == PLURALS
