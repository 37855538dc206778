"""lite0, lite1, lite2: timm's own numbers on every engine, with no network and no torch on a warm cache."""

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from embedder import probe, registry
from embedder.encoders.lite import network as images
from embedder.encoders.lite.configs import CONFIGS
from embedder.errors import WeightsError
from embedder.weights.checkpoint import digest, read_state


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def model(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def encoder(model, cache_dir):
    name = next(name for name, each in CONFIGS.items() if each is model)
    return registry.load(name, backend="openvino-fp32", cache_dir=cache_dir)


@pytest.fixture(scope="module")
def pixels(encoder):
    return np.stack([encoder.prepare(image) for image in probe.images()])


@pytest.fixture(scope="module")
def network(model):
    """Return timm's network with its classifier."""
    network = timm.create_model(model.model, pretrained=False)
    network.load_state_dict(images.state(model))
    return network.eval()


def test_equals_timm_with_its_own_preprocessing(encoder, pixels, network):
    config = timm.data.resolve_model_data_config(network)
    prepare = timm.data.create_transform(**config | {"crop_pct": 1.0}, is_training=False)
    with torch.inference_mode():
        features = network.forward_features(torch.stack([prepare(image) for image in probe.images()]))
        theirs = network.forward_head(features, pre_logits=True)
    found = encoder.embed(pixels, tokens=True)
    assert probe.cosines(found.vectors, theirs.numpy()).min() > 0.9999  # a few pixels round to the other value
    with torch.inference_mode():
        exact = network.forward_features(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(found.vectors, exact.mean((2, 3)), atol=1e-4)
    np.testing.assert_allclose(found.tokens, exact.flatten(2).transpose(1, 2), atol=2e-3, rtol=2e-3)
    assert (found.vectors.dtype, found.tokens.dtype) == (np.float32, np.float16)
    assert found.tokens.shape[1:] == encoder.spec.tokens


def test_sizes_are_timms(model, network):
    config = timm.data.resolve_model_data_config(network)
    assert config["input_size"] == (3, model.size, model.size)
    assert model.spec.tokens == (model.grid**2, network.num_features)


def test_the_renamed_weights_really_classify(network):
    """Shapes would accept two swapped tensors, but then scikit-learn's photo of a temple would not be a palace."""
    config = timm.data.resolve_model_data_config(network)
    assert (config["mean"], config["std"]) == ((0.5,) * 3, (0.5,) * 3)
    china = Image.fromarray(load_sample_images().images[0])
    with torch.inference_mode():
        image = timm.data.create_transform(**config)(china)
        assert network(image[None]).argmax().item() == 698


def test_spec_is_known_and_true(model, encoder):
    spec = model.spec
    assert spec == encoder.spec
    tower = images.build(model, tokens=False)
    assert digest(tower.get_submodule("network").state_dict()) == spec.weights
    assert not any(module.training for module in tower.modules())


def test_a_batch_gives_what_each_gives_alone(encoder, pixels):
    together = encoder.embed(pixels).vectors
    alone = np.concatenate([encoder.embed(one[None]).vectors for one in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-3)


def test_every_engine_passes_the_probe(model, encoder, cache_dir):
    for backend in ("openvino-bf16", "openvino-fp32"):
        assert probe.check(registry.load(encoder.name, backend=backend, cache_dir=cache_dir), encoder.reference_probe())


def test_nothing_in_nothing_out(encoder):
    size = encoder.spec.image.size
    empty = encoder.embed(np.zeros((0, size, size, 3), np.uint8), tokens=True)
    assert empty.vectors.shape == (0, 1280)
    assert empty.tokens.shape == (0, *encoder.spec.tokens)
    assert encoder.embed_texts([]).shape == (0, 1280)


def test_wrong_pixels_are_refused(encoder):
    size = encoder.spec.image.size
    for shape, dtype in (((1, size, size, 3), np.float32), ((size, size, 3), np.uint8), ((1, 3, size, size), np.uint8)):
        with pytest.raises(ValueError, match=rf"\(n, {size}, {size}, 3\)"):
            encoder.embed(np.zeros(shape, dtype))


def test_one_text_is_not_a_list_of_texts(encoder):
    with pytest.raises(ValueError, match="list of texts"):
        encoder.embed_texts("dog")


def test_other_weights_are_refused(tmp_path, monkeypatch):
    model = CONFIGS["lite0"]
    state = read_state(images._checkpoint(model))
    state["_conv_stem.weight"] = state["_conv_stem.weight"] + 1e-3
    torch.save(state, tmp_path / "other.pth")
    monkeypatch.setattr(images, "_checkpoint", lambda _: tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="sha256"):
        images.build(model, tokens=False)
    (tmp_path / "other.pth").unlink()
    with pytest.raises(WeightsError, match="no checkpoint"):
        images.build(model, tokens=False)


RUN = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from pathlib import Path
from embedder import probe, registry
encoder = registry.load("lite0", cache_dir=Path(sys.argv[1]))
probe.check(encoder, encoder.reference_probe())
assert encoder.embed_texts(["a dog"]).shape == (1, 1280)
print("torch" in sys.modules, "timm" in sys.modules, "transformers" in sys.modules)
"""


def test_cold_without_network_then_warm_without_torch(tmp_path):
    runs = [
        subprocess.run(
            [sys.executable, "-W", "error::UserWarning", "-c", RUN, str(tmp_path)], capture_output=True, text=True
        )
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs
    assert [run.stdout.split() for run in runs] == [["True"] * 3, ["False"] * 3]
    assert [run.stderr for run in runs] == ["", ""]
