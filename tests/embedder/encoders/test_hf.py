"""hf/… is compared with transformers' own forward pass, processors and tokenisers, on a small model of each family."""

import json

import numpy as np
import pytest
import torch
import transformers
from helpers import hub_models
from helpers.hub_models import MODELS
from helpers.towers import rewrite
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images
from tokenizers import Tokenizer, normalizers

from embedder import probe, registry
from embedder.encoders.hf import blueprint
from embedder.encoders.hf.families import FAMILIES
from embedder.probe import cosines

IMAGES = [name for name in MODELS if not name.startswith(("clap", "siglip2", "pe_audio"))]
TEXTS = [name for name, model in MODELS.items() if model.has_text and not name.startswith("pe_audio")]
WORDS = ["a photo of a dog", "solar cell", "dog dog dog a b c d e f g h i j k l m n o p q r s t u v w x y z"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return (folder, transformers' model) by name; each model is saved once."""
    root, made = tmp_path_factory.mktemp("hf"), {}

    def saved(name):
        if name not in made:
            made[name] = (root / name, hub_models.save(root / name, name))
        return made[name]

    return saved


def pictures():
    """Return photos and the probe's images, cut so that remainders of resizing and cropping occur."""
    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [*photos, *(photos[0].crop((0, 0, 301 + 17 * i, 200)) for i in range(4)), *probe.images()]


def theirs(folder, **changes):
    """Return transformers' own processor for images, on Pillow where it has one."""
    kind = MODELS[folder.name].processor
    pillow = getattr(transformers, f"{kind}Pil", None) or getattr(transformers, kind)
    return pillow.from_pretrained(folder, **changes)


def outputs(name, model, pixels):
    """Return transformers' vectors, and the patch tokens by a route of the test's own."""
    with torch.inference_mode():
        if hasattr(model, "get_image_features"):
            vectors = model.get_image_features(pixel_values=pixels).pooler_output
            found = model.vision_model(pixel_values=pixels)
        elif name == "vit":
            found = model.vit(pixel_values=pixels)
            vectors = found.last_hidden_state[:, 0]
        else:
            found = model(pixel_values=pixels)
            vectors = found.pooler_output
        count = (pixels.shape[-1] // 32) ** 2 if name == "dinov3_convnext" else (pixels.shape[-1] // 14) ** 2
        tokens = found.last_hidden_state[:, -count:]  # patches come last in every family
        if "clip" in name or "mlcd" in name:
            tokens = getattr(model, "vision_model", model).post_layernorm(tokens)
    return vectors.numpy(), tokens.numpy()


def test_every_family_is_tested():
    """Images that keep their shape and sounds have files of their own."""
    tested = {name.partition(",")[0] for name in MODELS}
    assert tested | {"mlcd"} == {key.partition(" ")[0] for key in FAMILIES}  # mlcd is another name of mlcd_vision_model


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32", "openvino-bf16", "torch-cpu-bf16"])
def test_images_equal_transformers(saved, cache_dir, name, backend):
    folder, model = saved(name)
    encoder = registry.load(f"hf@{folder}", backend=backend, cache_dir=cache_dir)
    images = pictures()
    pixels = theirs(folder)(images=images, return_tensors="pt")["pixel_values"]
    vectors, tokens = outputs(name, model, pixels)
    found = encoder.embed(np.stack([encoder.prepare(image) for image in images]), tokens=True)
    least = 0.9999 if backend.endswith("fp32") else 0.999
    assert found.vectors.shape == vectors.shape == (len(images), encoder.spec.dim)
    assert cosines(found.vectors, vectors).min() > least
    lengths = np.linalg.norm(found.vectors, axis=1), np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(*lengths, rtol=2e-2)  # raw, not unit
    assert found.tokens.shape[1:] == encoder.spec.tokens == tokens.shape[1:]
    width = tokens.shape[-1]
    assert np.median(cosines(found.tokens.reshape(-1, width), tokens.reshape(-1, width))) > least


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_the_repositorys_processor(saved, name):
    folder, _ = saved(name)
    encoder = registry.load(f"hf@{folder}", backend="torch-fp32")
    raw = theirs(folder, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    for image in pictures():
        wanted = np.asarray(raw(images=image, return_tensors="np")["pixel_values"][0]).transpose(1, 2, 0) * 255
        difference = np.abs(encoder.prepare(image) - wanted)
        # DINOv3's resizes in floating point; Pillow 13 squashes in another order, and so rounds elsewhere.
        assert difference.max() <= 2.01
        assert difference.mean() < 0.3


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32"])
def test_texts_equal_transformers(saved, cache_dir, name, backend):
    folder, model = saved(name)
    encoder = registry.load(f"hf@{folder}", backend=backend, cache_dir=cache_dir)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    padding = "longest" if name.startswith("clap") else "max_length"
    ids = tokenizer(WORDS, padding=padding, max_length=16, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        kept = {key: ids[key] for key in ("input_ids", "attention_mask")}
        vectors = model.get_text_features(**kept).pooler_output.numpy()
    found = encoder.embed_texts(WORDS)
    assert cosines(found, vectors).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-3)


def test_a_tokeniser_without_a_mask_gives_none(tmp_path):
    """SigLIP's tokenisers say so, because it was trained to see its padding."""
    model = hub_models.save(tmp_path / "m", "siglip")
    rewrite(tmp_path / "m" / "tokenizer_config.json", model_input_names=["input_ids"])
    fast = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")
    encoder = registry.load(f"hf@{tmp_path / 'm'}", backend="torch-fp32")
    ids = fast(WORDS, padding="max_length", max_length=16, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        vectors = model.get_text_features(input_ids=ids["input_ids"]).pooler_output.numpy()
    assert cosines(encoder.embed_texts(WORDS), vectors).min() > 0.9999


def test_a_tokeniser_is_read_as_it_is_saved(tmp_path):
    """transformers 5 builds Gemma's tokeniser anew, without the lower case that SigLIP 2's repositories save."""
    folder = tmp_path / "m"
    hub_models.save(folder, "siglip")
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    own.normalizer = normalizers.Lowercase()
    own.save(str(folder / "tokenizer.json"))
    rewrite(folder / "tokenizer_config.json", tokenizer_class="GemmaTokenizerFast", add_bos_token=False)
    encoder = registry.load(f"hf@{folder}", backend="torch-fp32")
    (ids, mask) = encoder.blueprint.tokeniser()(["A Photo OF a DOG"])
    wanted = own.encode("a photo of a dog").ids
    assert ids[0].tolist() == wanted + [0] * (16 - len(wanted))
    assert mask.sum() == len(wanted)


def test_configurations_of_older_versions_are_read(tmp_path):
    """They repeat each part, name its type, and list the defaults of every setting that a model can have."""
    folder = tmp_path / "m"
    hub_models.save(folder, "clip")
    before = blueprint(folder).spec
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    general = {"add_cross_attention": False, "architectures": None, "top_k": 50, "torch_dtype": None, "dropout": 0.0}
    general |= {"_name_or_path": "", "return_dict": True, "use_cache": True, "use_bfloat16": False, "temperature": 1.0}
    for part in ("text", "vision"):
        fields[f"{part}_config"] |= general | {"model_type": f"clip_{part}_model"}
        fields[f"{part}_config_dict"] = fields[f"{part}_config"] | {"model_type": f"clip_{part}_model"}
    fields |= {
        "transformers_version": None,
        "torch_dtype": "float32",
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6,
    }
    path.write_text(json.dumps(fields))
    state = load_file(folder / "model.safetensors")
    for part, length in (("text", 16), ("vision", 17)):
        state[f"{part}_model.embeddings.position_ids"] = torch.arange(length)[None]
    save_file(state, folder / "model.safetensors")
    assert blueprint(folder).spec == before


def test_equal_weights_have_one_fingerprint_whatever_the_file(tmp_path):
    """A prefix of the names and a classifier change nothing."""
    hub_models.save(tmp_path / "m", "dinov2")
    before = blueprint(tmp_path / "m").spec
    path = tmp_path / "m" / "model.safetensors"
    state = load_file(path)
    other = {f"dinov2.{name}": tensor for name, tensor in state.items()}
    other |= {"classifier.weight": torch.zeros(3, 128), "classifier.bias": torch.zeros(3)}
    save_file(other, path)
    assert blueprint(tmp_path / "m").spec == before
    state["layernorm.bias"] = state["layernorm.bias"] + 1e-3
    save_file(state, path)
    assert blueprint(tmp_path / "m").spec.weights != before.weights


def test_facts_that_shapes_do_not_show_are_part_of_the_identity(tmp_path):
    hub_models.save(tmp_path / "m", "dinov3_vit")
    path = tmp_path / "m" / "config.json"
    before, content = blueprint(tmp_path / "m").spec.fingerprint, path.read_text()
    found = {before}
    for fields in ({"num_attention_heads": 2}, {"layer_norm_eps": 1e-3}, {"hidden_act": "relu"}, {"rope_theta": 50.0}):
        rewrite(path, **fields)
        found.add(blueprint(tmp_path / "m").spec.fingerprint)
        path.write_text(content)
    assert len(found) == 5
    rewrite(path, transformers_version="4.56.0", dtype="bfloat16", architectures=["Other"])
    assert blueprint(tmp_path / "m").spec.fingerprint == before


def test_a_text_side_is_part_of_the_identity(tmp_path):
    hub_models.save(tmp_path / "m", "clip")
    before = blueprint(tmp_path / "m").spec
    (tmp_path / "m" / "tokenizer.json").write_text(
        (tmp_path / "m" / "tokenizer.json").read_text().replace('"dog": 42', '"dig": 42')
    )
    after = blueprint(tmp_path / "m").spec
    assert after.text != before.text
    assert after.weights == before.weights
    path = tmp_path / "m" / "config.json"
    rewrite(path, text_config=json.loads(path.read_text())["text_config"] | {"eos_token_id": 3})
    assert blueprint(tmp_path / "m").spec.text not in (before.text, after.text)
