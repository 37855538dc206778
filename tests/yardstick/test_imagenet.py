"""The ImageNet benchmark on three real photos whose class is known."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn

from benchmarks.imagenet import classify, index_of, names
from embedder import registry
from embedder.encoders.lite import network
from embedder.encoders.lite.configs import CONFIGS
from embedder.media import decode
from store.interchange import read_sources
from store.sources import Item

PHOTOS = {
    Path(sklearn.__file__).parent / "datasets/images/china.jpg": (698, "n03877845", "palace"),
    Path(sklearn.__file__).parent / "datasets/images/flower.jpg": (985, "n11939491", "daisy"),
    Path(matplotlib.__file__).parent / "mpl-data/sample_data/grace_hopper.jpg": (652, "n03763968", "military uniform"),
}


@pytest.fixture(scope="module")
def lite0(cache_dir):
    return registry.load("lite0", backend="openvino-fp32", cache_dir=cache_dir)


def table(path, images, labels):
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), "label": labels}), path)
    return path


@pytest.mark.parametrize("form", [0, 1, 2], ids=["index", "wnid", "name"])
def test_every_form_of_a_label(lite0, tmp_path, form):
    labels = [forms[form] for forms in PHOTOS.values()]
    path = table(tmp_path / "photos.parquet", [photo.read_bytes() for photo in PHOTOS], labels)
    found = classify(lite0, read_sources([path]))
    assert found.ranks.tolist() == [0, 0, 0]
    assert found.top(1) == "top-1 1.0000 (0.4385 to 1.0000)"  # Wilson: n / (n + 1.96²)


def test_ranks_are_those_of_the_whole_classifier(lite0, tmp_path):
    """One photo with every class as its label, in shuffled order: the ranks are a permutation in the scores' order."""
    photo = next(iter(PHOTOS)).read_bytes()
    classes = np.random.default_rng(0).permutation(1000)[:70]
    path = table(tmp_path / "one.parquet", [photo] * len(classes), classes)
    found = classify(lite0, read_sources([path]))
    state = network.state(CONFIGS["lite0"])
    vector = lite0.embed(lite0.prepare(decode(photo))[None]).vectors[0]
    scores = state["classifier.weight"].numpy() @ vector + state["classifier.bias"].numpy()
    wanted = np.argsort(np.argsort(-scores))[classes]
    np.testing.assert_allclose(found.ranks, wanted, atol=1)  # neighbours may tie within rounding


def test_what_cannot_be_read_is_told_and_left_out(lite0, tmp_path):
    [photo, *_] = PHOTOS
    path = table(tmp_path / "broken.parquet", [photo.read_bytes(), b"nothing"], [698, 698])
    found = classify(lite0, read_sources([path]))
    assert found.ranks.tolist() == [0]
    assert len(found.unread) == 1
    assert found.unread[0].startswith(f"{path}#1: ")


@pytest.mark.parametrize("label", ["1000", "-1", "n00000000", "nonesuch", "crane"])
def test_labels_that_are_no_class_or_several_are_errors(label):
    with pytest.raises(ValueError, match=rf"x#0: label '{label}' (is no class|stands for the classes \[134, 517\])"):
        index_of(Item(uri="x#0", labels=[label]), names())
    assert index_of(Item(uri="x#0", labels=["tabby"]), names()) == 281


def test_the_command(tmp_path, cache_dir):
    path = table(tmp_path / "photos.parquet", [photo.read_bytes() for photo in PHOTOS], [698, 1, 652])
    command = [sys.executable, "-m", "benchmarks.imagenet", str(path), "--backend", "openvino-fp32", "--resize", "224"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HEADWATER_CACHE": str(cache_dir)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lite0 on openvino-fp32, short side 224: top-1 0.6667 (0.2077 to 0.9385), top-5 ")
