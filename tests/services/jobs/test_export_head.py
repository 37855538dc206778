"""The command that writes a head as ONNX: the file's answers are those of the head, or there is no file."""

import json

import numpy as np
import onnxruntime
import pytest
from helpers.commands import runner
from helpers.toys import fill, ids_of, make_toy, spec_of

from classifiers.export import model
from classifiers.export.scores import SCORES
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from store import Label, Store


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return the folder of a store with the vectors of two encoders, and of heads on one of them and on both."""
    folder = tmp_path_factory.mktemp("home")
    store, registry, toy = Store.open(folder / "db"), Registry(folder / "heads"), make_toy()
    ids = fill(store, toy, encoder="toy")
    probe = np.eye(2, 8, dtype=np.float32)
    store.ensure_features("small", spec_of(8, weights="small"), probe).put(ids, toy.X[:, :8])
    for name, kind, encoders in (("g", "gaussian", ["toy"]), ("two", "fusion", ["toy", "small"])):
        train(store, registry, task="toy", encoders=encoders, kind=kind, name=name)
    return folder


@pytest.fixture
def export(home):
    run = runner({"HEADWATER_STORE": str(home / "db"), "HEADWATER_HEADS": str(home / "heads")})
    return lambda *arguments, code=0: run("export-head", *arguments, code=code)


def answers(path, **inputs):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(["probabilities"], inputs)[0]


def test_the_file_answers_as_the_head_and_says_what_it_is(home, export, tmp_path):
    path = tmp_path / "new" / "g.onnx"
    told = json.loads(export("--head", "g", "--out", path, "--json")[0])
    head = Registry(home / "heads").load("g").head
    X = make_toy(300, seed=5).X
    np.testing.assert_allclose(answers(path, vectors=X), head.predict_proba(X), atol=1e-5)
    assert told["inputs"] == {"vectors": ["n", 12]}
    assert told["outputs"] == {"probabilities": ["n", 5]}
    assert told["checked_rows"] == 256
    assert told["largest_difference"] < 1e-5
    assert told["bytes"] == path.stat().st_size
    assert [each.name for each in path.parent.iterdir()] == ["g.onnx"]


def test_a_head_on_two_encoders_has_an_input_for_each(home, export, tmp_path):
    path = tmp_path / "two.onnx"
    shown, _ = export("--head", "two", "--out", path)
    assert "toy (n, 12), small (n, 8)" in shown
    head = Registry(home / "heads").load("two").head
    X = make_toy(300, seed=5).X
    wanted = head.predict_proba(np.concatenate([X, X[:, :8]], axis=1))
    np.testing.assert_allclose(answers(path, toy=X, small=X[:, :8]), wanted, atol=1e-5)


def test_what_cannot_be_written_leaves_no_file(home, export, tmp_path, monkeypatch):
    path = tmp_path / "g.onnx"
    assert "unknown head 'none'" in export("--head", "none", "--out", path, code=1)[1]
    empty = str(tmp_path / "empty")
    Store.open(empty).labels.table.create()
    assert "no vectors of encoder" in export("--head", "g", "--out", path, "--store", empty, code=1)[1]
    monkeypatch.setattr(model, "scores", lambda w, head, x: w.scaled(SCORES[head.kind](w, head, x), 1.01))
    assert "the ONNX model of g was not written: a probability differs" in export("--head", "g", "--out", path, code=1)[
        1
    ].replace("\n", " ")
    assert not path.exists()
    monkeypatch.undo()
    path.write_bytes(b"mine")
    assert "exists\nhint: --overwrite replaces it" in export("--head", "g", "--out", path, code=1)[1]
    assert path.read_bytes() == b"mine"
    export("--head", "g", "--out", path, "--overwrite")
    assert path.read_bytes() != b"mine"


@pytest.mark.slow
def test_lite0_and_a_head_in_one_file_take_pixels(tmp_path, cache_dir):
    """The pixels of real photos give the probabilities that the head gives for lite0's vectors of them."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    from embedder import registry

    encoder = registry.load("lite0", backend="torch-cpu-fp32", cache_dir=cache_dir)
    photos = [Image.fromarray(image) for image in load_sample_images().images]
    crops = [photo.crop((x, y, x + 300, y + 300)) for photo in photos for x in (0, 100, 200, 300) for y in (0, 60, 120)]
    pixels = np.stack([encoder.prepare(crop) for crop in crops])
    X = encoder.embed(pixels).vectors
    store, heads = Store.open(tmp_path / "db"), Registry(tmp_path / "heads")
    ids = ids_of(len(X))
    store.ensure_features("lite0", encoder.spec, encoder.reference_probe()).put(ids, X)
    store.labels.put(
        "t", [Label(id_, ["china" if i < len(X) // 2 else "flower"], "train") for i, id_ in enumerate(ids)]
    )
    train(store, heads, task="t", encoders=["lite0"], kind="gaussian", name="h")
    run = runner({"HEADWATER_STORE": store.uri, "HEADWATER_HEADS": str(tmp_path / "heads")})
    path = tmp_path / "photos.onnx"
    told = json.loads(run("export-head", "--head", "h", "--out", path, "--with-encoder", "--json")[0])
    assert told["inputs"] == {"pixels": ["n", 224, 224, 3]}
    np.testing.assert_allclose(answers(path, pixels=pixels), heads.load("h").head.predict_proba(X), atol=1e-3)
    about = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["china", "flower"]
    assert json.loads(about["encoder_spec"])["image"]["size"] == 224
