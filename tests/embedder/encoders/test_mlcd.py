"""mlcd/… is compared with transformers' own forward pass and preprocessing, on small random towers."""

import re

import numpy as np
import pytest
import torch
import transformers
from helpers.towers import mlcd, rewrite
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from embedder import probe, registry
from embedder.encoders.mlcd import CONFIGS, blueprint
from embedder.errors import WeightsError

KINDS = ("MLCDVision", "CLIPVision")


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Return (folder, model) by type of tower."""
    root = tmp_path_factory.mktemp("mlcd")
    return {kind: (root / kind, mlcd(root / kind, kind)) for kind in KINDS}


@pytest.fixture
def folder(tmp_path):
    """Return a folder that the test may change."""
    mlcd(tmp_path / "tower")
    return tmp_path / "tower"


def pictures():
    """Return photos and the probe's images, cut so that every remainder of resizing and cropping occurs."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [*photos, *(photos[0].crop((0, 0, 301 + 17 * i, 200)) for i in range(8)), *probe.images()]


def theirs(folder, model, images):
    """Return transformers' pooler output and last hidden state, for inputs of its own processor."""
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    with torch.inference_mode():
        return model(pixel_values=processor(images=images, return_tensors="pt")["pixel_values"])


def cosines(a, b):
    return probe.cosines(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32", "torch-cpu-bf16", "openvino-bf16"])
def test_equals_transformers(towers, cache_dir, kind, backend):
    folder, model = towers[kind]
    encoder = registry.load(f"mlcd@{folder}", backend=backend, cache_dir=cache_dir)
    assert encoder.backend == backend
    images = pictures()
    expected = theirs(folder, model, images)
    found = encoder.embed(np.stack([encoder.prepare(image) for image in images]), tokens=True)
    least = 0.9999 if backend.endswith("fp32") else 0.999
    assert cosines(found.vectors, expected.pooler_output).min() > least
    np.testing.assert_allclose(
        np.linalg.norm(found.vectors, axis=1), expected.pooler_output.norm(dim=1), rtol=1e-2
    )  # raw, not unit
    # Tokens: the last layer's patches after the final norm, row by row, without the class token.
    with torch.inference_mode():
        tokens = model.post_layernorm(expected.last_hidden_state[:, 1:]).numpy()
    assert found.tokens.shape == tokens.shape == (len(images), *encoder.spec.tokens) == (len(images), 16, 64)
    assert cosines(found.tokens.reshape(-1, 64), tokens.reshape(-1, 64)).min() > least


@pytest.mark.parametrize("kind", KINDS)
def test_preprocessing_is_transformers_to_the_pixel(towers, kind):
    folder, _ = towers[kind]
    encoder = registry.load(f"mlcd@{folder}", backend="torch-fp32")
    processor = transformers.CLIPImageProcessorPil.from_pretrained(folder, do_rescale=False, do_normalize=False)
    for image in pictures():
        wanted = processor(images=image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        difference = np.abs(encoder.prepare(image).astype(int) - wanted.astype(int))
        assert difference.max() <= 2  # ties of two grey levels, in each of the two passes
        assert difference.mean() < 0.05


def test_the_spec_tells_what_changes_numbers(towers, folder):
    specs = {kind: blueprint(f"mlcd@{path}").spec for kind, (path, _) in towers.items()}
    assert (specs["MLCDVision"].activation, specs["CLIPVision"].activation) == ("gelu", "quickgelu")
    before = blueprint(f"mlcd@{folder}").spec
    assert before == specs["MLCDVision"]
    changes = [
        ("config.json", {"layer_norm_eps": 1e-6}),
        ("config.json", {"hidden_act": "quick_gelu"}),
        ("config.json", {"rope_parameters": {"rope_type": "axial", "rope_theta": 100.0}}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5, 0.5]}),
    ]
    found = {before.fingerprint, *(rewritten(folder, name, fields) for name, fields in changes)}
    assert len(found) == 6
    clip, _ = towers["CLIPVision"]  # there, heads change no shape
    assert rewritten(clip, "config.json", {"num_attention_heads": 2}) != specs["CLIPVision"].fingerprint


def rewritten(folder, name, fields):
    """Return the fingerprint with some fields of a file changed."""
    path = folder / name
    before = path.read_text()
    rewrite(path, **fields)
    try:
        return blueprint(f"mlcd@{folder}").spec.fingerprint
    finally:
        path.write_text(before)


def test_released_forms_are_read(folder):
    """Older files have a prefix, position_ids and model_type mlcd, and may be sharded and in bf16."""
    fingerprint = blueprint(f"mlcd@{folder}").spec.fingerprint
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {f"vision_model.{name}": tensor for name, tensor in state.items()}
    old["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    names = sorted(old)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: old[key] for key in keys}, folder / file)
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text("{}")
    rewrite(folder / "model.safetensors.index.json", **index)
    rewrite(folder / "config.json", model_type="mlcd", rope_parameters=None, dtype="bfloat16")
    assert blueprint(f"mlcd@{folder}").spec.fingerprint == fingerprint


def test_without_a_preprocessor_configuration_clips_is_taken(folder):
    told = blueprint(f"mlcd@{folder}").spec
    (folder / "preprocessor_config.json").unlink()
    assert blueprint(f"mlcd@{folder}").spec == told
    assert (told.image.size, told.image.resize, told.image.interpolation) == (56, 56, "bicubic")
    assert told.image.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"do_center_crop": False}, "do_center_crop"),
        ({"resample": 5}, "resample 5"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"crop_size": {"height": 64, "width": 64}}, "crop_size 64"),
        ({"crop_size": {"height": 56, "width": 64}}, "crop_size"),
        ({"size": {"height": 56, "width": 64}}, "size"),
        ({"size": {"longest_edge": 56}}, "size"),
    ],
)
def test_other_preprocessing_is_refused(folder, fields, said):
    rewrite(folder / "preprocessor_config.json", **fields)
    with pytest.raises(WeightsError, match=re.escape(said)):
        blueprint(f"mlcd@{folder}")


def test_bad_weights_are_refused(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    for changed, said in (
        ({name: tensor for name, tensor in state.items() if name != "class_pos_emb"}, "class_pos_emb"),
        (state | {"head.weight": torch.zeros(2)}, "head.weight"),
        (state | {"post_layernorm.bias": torch.zeros(3)}, "post_layernorm.bias"),
    ):
        save_file(changed, path)
        with pytest.raises(WeightsError, match=f"do not fit(.|\n)*{said}"):
            blueprint(f"mlcd@{folder}")
    path.unlink()
    with pytest.raises(WeightsError, match="no checkpoint at"):
        blueprint(f"mlcd@{folder}")


def test_other_folders_are_refused(folder):
    rewrite(folder / "config.json", model_type="siglip_vision_model")
    with pytest.raises(WeightsError, match="siglip_vision_model"):
        blueprint(f"mlcd@{folder}")
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        blueprint(f"mlcd@{folder}")
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json"):
        blueprint(f"mlcd@{folder}")


def test_a_folder_of_another_tower_than_named_is_refused(folder):
    with pytest.raises(WeightsError, match="448, 14 and 1664; its folder says 56, 14 and 64"):
        blueprint(f"mlcd/bigG-patch14-448@{folder}")


FULL = {
    "base-patch32-224": ("CLIPVision", {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}, 12),
    "large-patch14-336": ("CLIPVision", {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}, 16),
    # 4 of its 48 layers, because all take 7 GB
    "bigG-patch14-448": ("MLCDVision", {"hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 4}, 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("identity", FULL)
def test_the_released_sizes_equal_transformers(tmp_path, identity):
    kind, fields, heads = FULL[identity]
    config = CONFIGS[identity]
    folder = tmp_path / "tower"
    shape = {"image_size": config.size, "patch_size": config.patch, "num_attention_heads": heads}
    model = mlcd(folder, kind, **fields, **shape)
    images = pictures()[:2]
    expected = theirs(folder, model, images).pooler_output
    for backend, least in (("torch-cpu-fp32", 0.9999), ("openvino-fp32", 0.9999), ("openvino-bf16", 0.999)):
        encoder = registry.load(f"mlcd/{identity}@{folder}", backend=backend, cache_dir=tmp_path / "cache")
        found = encoder.embed(np.stack([encoder.prepare(image) for image in images]), tokens=True)
        assert cosines(found.vectors, expected).min() > least, backend
        assert found.tokens.shape == (2, (config.size // config.patch) ** 2, config.dim)
