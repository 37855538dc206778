"""Networks for training: all parameters that are saved learn, and what is saved is an encoder with their vectors."""

import pytest
import torch
from helpers.towers import openclip, timm_tower

from embedder import probe, registry
from embedder.trainable import HasTrainable
from embedder.weights.checkpoint import digest


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trainable")
    timm_tower(folder / "vit.safetensors")
    timm_tower(folder / "net.safetensors", "test_efficientnet")
    openclip(folder, "trained-vit")
    clip = f"openclip/trained-vit@{folder}/trained-vit.safetensors"
    return {
        "timm": f"timm/test_vit@{folder}/vit.safetensors",
        "timm map": f"timm/test_efficientnet@{folder}/net.safetensors",
        "openclip": clip,
        "openclip pooled": f"{clip}:pooled:penultimate",
    }


def load(name, cache_dir):
    return registry.load(name, backend="torch-cpu-fp32", cache_dir=cache_dir)


@pytest.mark.parametrize("kind", ["timm", "timm map", "openclip", "openclip pooled"])
def test_an_untouched_network_is_saved_as_the_same_encoder(names, kind, cache_dir, tmp_path):
    encoder = load(names[kind], cache_dir)
    assert isinstance(encoder, HasTrainable)
    tower = encoder.trainable()
    tower.write(tmp_path)
    again = load(tower.name(tmp_path), cache_dir)
    assert again.spec == encoder.spec
    assert tower.image == encoder.spec.image
    assert {path.suffix for path in tmp_path.iterdir()} <= {".safetensors", ".json"}


@pytest.mark.parametrize("kind", ["timm", "openclip", "openclip pooled"])
def test_a_trained_network_is_saved_as_it_is_now(names, kind, cache_dir, tmp_path):
    encoder = load(names[kind], cache_dir)
    tower = encoder.trainable()
    before = digest(tower.module.state_dict())
    pixels = torch.randn(2, 3, tower.image.size, tower.image.size)
    optimiser = torch.optim.SGD([each for each in tower.module.parameters() if each.requires_grad], lr=1e-3)
    tower.module(pixels)[0].square().sum().backward()
    optimiser.step()
    assert digest(tower.module.state_dict()) != before
    tower.write(tmp_path)
    again = load(tower.name(tmp_path), cache_dir)
    assert again.spec.fingerprint != encoder.spec.fingerprint
    tower.module.eval()
    with torch.inference_mode():
        built = again.blueprint.image.build()(pixels)[0]
        torch.testing.assert_close(built, tower.module(pixels)[0])
    assert probe.embed(load(names[kind], cache_dir)).shape == probe.embed(again).shape


def test_lite_is_saved_as_timms_network_with_its_weights(cache_dir, tmp_path):
    encoder = load("lite0", cache_dir)
    tower = encoder.trainable()
    tower.write(tmp_path)
    again = load(tower.name(tmp_path), cache_dir)
    assert again.spec.weights == encoder.spec.weights
    assert again.spec.image == tower.image
    pixels = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(again.blueprint.image.build()(pixels), encoder.blueprint.image.build()(pixels))
