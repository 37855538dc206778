"""The labels that an encoder knows: its own classifier of ImageNet, or cosines with the names of these classes."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from helpers import clips

from embedder import registry
from embedder.encoder import HasBank
from embedder.encoders import lite
from embedder.encoders.lite import network
from embedder.encoders.lite.configs import CONFIGS
from embedder.engines import imagenet
from embedder.engines.graph_encoder import assemble

CLASSES = [[("a cat", 0.75), ("a small pet", 0.25)], [("a car", 1.0)]]


@pytest.fixture
def two_classes(monkeypatch):
    monkeypatch.setattr(imagenet, "class_texts", lambda: CLASSES)


def expected(encoder):
    """Return the mean unit vectors of the classes' texts, at unit norm, computed here."""
    rows = []
    for some in CLASSES:
        each = encoder.embed_texts([text for text, _ in some]).astype(np.float64)
        each /= np.linalg.norm(each, axis=1, keepdims=True)
        mean = np.array([weight for _, weight in some]) @ each
        rows.append(mean / np.linalg.norm(mean))
    return np.stack(rows)


def test_the_classifier_of_lite0_is_timms_own_on_its_vectors():
    config = CONFIGS["lite0"]
    whole = timm.create_model(config.model, pretrained=False).eval()
    whole.load_state_dict(network.state(config))
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    weights, bias = network.classifier(config)
    with torch.no_grad():
        [vectors] = network.build(config, tokens=False)(pixels)
        np.testing.assert_allclose(vectors.numpy() @ weights.T + bias, whole(pixels).numpy(), atol=1e-4)


def test_lite0_knows_the_classes_of_its_classifier(two_classes, tmp_path):
    encoder = registry.load("lite0", backend="torch-fp32", cache_dir=tmp_path)
    assert isinstance(encoder, HasBank)
    bank = encoder.bank()
    assert (bank.weights.shape, bank.bias.shape, bank.unit) == ((1000, 1280), (1000,), False)
    np.testing.assert_allclose(bank.texts, expected(encoder), atol=1e-5)


def test_clip_scores_by_cosines_and_keeps_them(two_classes, tmp_path, monkeypatch):
    clips.register(tmp_path)
    path = clips.save(clips.make("tiny"), tmp_path / "tiny.safetensors")
    encoder = registry.load(f"openclip/tiny@{path}", backend="torch-fp32", cache_dir=tmp_path / "cache")
    bank = encoder.bank()
    np.testing.assert_allclose(bank.texts, expected(encoder), atol=1e-5)
    np.testing.assert_allclose(bank.weights, 100 * bank.texts, rtol=1e-6)
    assert (bank.unit, bank.bias.tolist()) == (True, [0, 0])
    monkeypatch.setattr(imagenet, "class_texts", lambda: pytest.fail("the texts are embedded again"))
    np.testing.assert_array_equal(encoder.bank().texts, bank.texts)


def test_an_encoder_without_texts_knows_no_labels(tmp_path):
    assert assemble("blind", replace(lite.blueprint("lite0"), text=None), "torch-fp32", tmp_path).bank() is None


def test_texts_of_a_class_weigh_one_and_do_not_repeat():
    found = imagenet.described("tench, Tinca tinca", "tench, Tinca tinca: freshwater fish; dace-like")
    assert sum(weight for _, weight in found) == pytest.approx(1)
    assert [text for text, _ in found] == [
        "tench",
        "a photo of a tench.",
        "tench: freshwater fish; dace-like",
        "freshwater fish; dace-like",
        "Tinca tinca",
    ]
