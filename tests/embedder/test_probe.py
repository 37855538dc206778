"""The probe accepts fine precisions and finds every fault that it exists for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from embedder import probe, registry
from embedder.encoder import Embedding
from embedder.encoders.lite import network
from embedder.encoders.lite.configs import CONFIGS
from embedder.errors import ProbeMismatch
from embedder.media.image import fit


@pytest.fixture(scope="module")
def encoder(cache_dir):
    return registry.load("lite0", backend="torch-fp32", cache_dir=cache_dir)


@pytest.fixture(scope="module")
def reference(encoder):
    return encoder.reference_probe()


class Faulty:
    """An encoder with one fault."""

    name, backend = "lite0", "faulty"

    def __init__(self, encoder, prepare=None, vectors=lambda v: v, texts=lambda v: v):
        self._encoder, self.spec = encoder, encoder.spec
        self.prepare = prepare or encoder.prepare
        self._vectors, self._texts = vectors, texts

    def embed(self, inputs, *, modality="image", tokens=False):
        return Embedding(self._vectors(self._encoder.embed(inputs, modality=modality).vectors))

    def embed_texts(self, texts):
        return self._texts(self._encoder.embed_texts(texts))


def test_pictures_are_fixed_and_odd():
    first = probe.images()
    second = [probe._picture.__wrapped__(*image.size, seed) for seed, image in enumerate(first, start=5)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(image.mode == "RGB" and image.width % 2 and image.height % 2 for image in first)
    assert len({image.size for image in first}) == len(first)


def test_the_reference_passes_itself(encoder, reference):
    assert reference.shape == (len(probe.images()) + len(probe.TEXTS), 1280)
    assert reference.dtype == np.float32
    assert probe.check(encoder, reference) > 0.99999


@pytest.mark.parametrize("backend", ["torch-fp16", "openvino-fp32", "auto"])
def test_other_engines_and_precisions_pass(cache_dir, reference, backend):
    encoder = registry.load("lite0", backend=backend, cache_dir=cache_dir)
    assert probe.check(encoder, reference) >= 0.999


@pytest.mark.parametrize(
    "change",
    [{"interpolation": "bilinear"}, {"interpolation": "nearest"}, {"resize": 256}, {"interpolation": "lanczos"}],
)
def test_wrong_resizing_is_caught(encoder, reference, change):
    wrong = replace(encoder.spec.image, **change)
    with pytest.raises(ProbeMismatch, match="image"):
        probe.check(Faulty(encoder, prepare=lambda image: fit(image, wrong)), reference)


def test_swapped_channels_are_caught(encoder, reference):
    with pytest.raises(ProbeMismatch, match=r"image \d"):
        probe.check(Faulty(encoder, prepare=lambda image: encoder.prepare(image)[:, :, ::-1]), reference)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ((0.48, 0.458, 0.408), (0.269, 0.261, 0.276))]
)
def test_wrong_normalising_is_caught(encoder, reference, mean, std):
    """The pixels are changed so that the right normalising gives what the wrong one would have given."""
    tower = network.build(CONFIGS["lite0"], tokens=False)
    pixels = torch.from_numpy(np.stack([encoder.prepare(image) for image in probe.images()])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        x = (pixels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        vectors = tower(x)[0].numpy()
    with pytest.raises(ProbeMismatch):
        probe.check(Faulty(encoder, vectors=lambda _: vectors), reference)


def test_wrong_weights_are_caught(encoder, reference):
    """A tenth of the weights of one of 49 convolutions is set to zero."""
    tower = network.build(CONFIGS["lite0"], tokens=False)
    weight = tower.get_submodule("network.blocks.3.1.conv_pw").weight
    with torch.inference_mode():
        weight[: len(weight) // 10] = 0
        pixels = np.stack([encoder.prepare(image) for image in probe.images()])
        vectors = tower(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)[0].numpy()
    with pytest.raises(ProbeMismatch):
        probe.check(Faulty(encoder, vectors=lambda _: vectors), reference)


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_values_that_are_not_vectors_are_caught(encoder, reference, bad):
    with pytest.raises(ProbeMismatch, match=r"-1\.0000"):
        probe.check(Faulty(encoder, vectors=lambda v: v * bad), reference)


def test_a_wrong_text_side_is_caught_and_named(encoder, reference):
    with pytest.raises(ProbeMismatch, match=r"faulty.*text 'a photo of a small brown dog"):
        probe.check(Faulty(encoder, texts=lambda v: v[[1, 0, 2]] if len(v) == 3 else v), reference)


def test_another_shape_is_another_table(encoder, reference):
    with pytest.raises(ProbeMismatch, match="shape"):
        probe.check(encoder, reference[:, :-1])
