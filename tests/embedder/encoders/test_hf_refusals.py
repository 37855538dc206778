"""hf/…: what cannot be loaded as it is meant is refused in one sentence, and no code of a repository is run."""

import json
import re
from dataclasses import replace

import pytest
import torch
from helpers import hub_models
from helpers.towers import rewrite
from safetensors.torch import load_file, save_file

from embedder import registry
from embedder.encoders import hf
from embedder.encoders.hf import blueprint
from embedder.encoders.hf.families import FAMILIES
from embedder.errors import UnknownEncoder, Unsupported, WeightsError


@pytest.fixture
def folder(tmp_path):
    hub_models.save(tmp_path / "model", "dinov2")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "name",
    ["hf/model", "hf/a/b/c", "hf/a/..", "hf/../a", "hf/a/b@", "hf/a/b@../../etc", "hf/a/b@x/../y", "hf/a b/c"],
)
def test_other_names_are_refused(name):
    with pytest.raises(UnknownEncoder, match=r"hf/<owner>/<repository>@<revision>, hf@<folder>"):
        registry.load(name)


@pytest.mark.parametrize("name", ["hf/a/b", "hf/a-1/b.c_d@main", "hf/a/b@refs/pr/3", "hf/a/b@v1.0"])
def test_names_of_the_hub_are_taken(name):
    repository, revision = hf._published(name)
    assert name == f"hf/{repository}" + (f"@{revision}" if revision else "")


def test_every_tensor_must_be_there_and_fit(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    for changed, said in (
        ({name: tensor for name, tensor in state.items() if name != "layernorm.bias"}, r"missing: layernorm\.bias"),
        (state | {"extra.weight": torch.zeros(2)}, r"unexpected: extra\.weight"),
        (state | {"layernorm.bias": torch.zeros(3)}, r"of another shape: layernorm\.bias"),
    ):
        save_file(changed, path)
        with pytest.raises(WeightsError, match=f"do not fit the architecture.*{said}"):
            blueprint(folder)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="is damaged or cannot be read"):
        blueprint(folder)
    path.unlink()
    with pytest.raises(WeightsError, match="no checkpoint at"):
        blueprint(folder)


def test_pickled_weights_are_not_read(folder):
    """They are not even looked at."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"no checkpoint at .*model\.safetensors"):
        blueprint(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "own"}, "type 'own'; supported are clip, "),
        ({"model_type": "own", "auto_map": {"AutoModel": "m.Own"}}, "needs code of its repository, which is never run"),
        ({"model_type": "pe_video"}, "timm/vit_pe_core_"),
        ({"model_type": "pe_audio_video"}, "cannot build: it has no text_config"),
        ({"model_type": "timm_wrapper"}, "give it as timm/<model>"),
        ({"model_type": None, "architecture": "vit_base"}, r"model of timm \(vit_base\)"),
        ({"num_attention_heads": 5}, "do not fit"),
        ({"hidden_act": "nonesuch"}, "cannot build"),
        ({"hidden_size": "64"}, "cannot build"),
    ],
)
def test_other_models_are_refused(folder, fields, said):
    rewrite(folder / "config.json", **fields)
    with pytest.raises(WeightsError, match=said):
        blueprint(folder)


def test_a_model_that_this_version_of_transformers_lacks(folder, monkeypatch):
    """PE-audio came with transformers 5.0; 4.56 is enough for the other families."""
    monkeypatch.setitem(FAMILIES, "dinov2", replace(FAMILIES["dinov2"], model="Dinov2ModelOfTomorrow"))
    with pytest.raises(WeightsError, match=r"transformers \S+ has no Dinov2ModelOfTomorrow; install a newer one"):
        blueprint(folder)


def test_settings_that_choose_code_or_a_precision_are_left_out(folder, tmp_path, monkeypatch):
    """transformers would download kernels, quantise, or import a module of the folder."""
    before = blueprint(folder).spec
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    rewrite(
        folder / "config.json",
        auto_map={"AutoModel": "own.Own", "AutoConfig": "own.Own"},
        attn_implementation="someone/kernels",
        _attn_implementation="someone/kernels",
        quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True},
        dtype="float16",
        torch_dtype="float16",
    )
    assert blueprint(folder).spec == before
    assert not (tmp_path / "ran").exists()


def test_a_tokeniser_with_code_of_its_own_is_refused(tmp_path):
    hub_models.save(tmp_path / "m", "clip")
    (tmp_path / "m" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "m" / "tokenizer.json").unlink()
    rewrite(
        tmp_path / "m" / "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": ["own.Own", "own.Own"]},
    )
    with pytest.raises(WeightsError, match=r"the tokeniser in .* could not be read"):
        blueprint(tmp_path / "m")
    assert not (tmp_path / "ran").exists()


def test_shards_outside_of_the_folder_are_refused(folder, tmp_path):
    path = folder / "model.safetensors"
    path.rename(tmp_path / "elsewhere.safetensors")
    for name in ("../elsewhere.safetensors", str(tmp_path / "elsewhere.safetensors"), "other.bin"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"layernorm.bias": name}}))
        with pytest.raises(WeightsError, match="must give the name of a file in this folder"):
            blueprint(folder)
    (folder / "model.safetensors.index.json").unlink()
    path.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(WeightsError, match="a link to a file outside the folder"):
        blueprint(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image_processor_type": "ConvNextImageProcessor"}, "ConvNextImageProcessor; supported are CLIP"),
        ({"image_processor_type": "Siglip2ImageProcessor"}, "Siglip2ImageProcessor makes patches"),
        ({"do_normalize": False}, "leaves out ['do_normalize']"),
        ({"size": {"height": 56, "width": 64}}, "says size"),
        ({"size": {"longest_edge": 56}}, "says size"),
        ({"resample": 5}, "resample 5"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"crop_size": 80}, "crop_size 80"),
        ({"do_center_crop": False}, "do_center_crop"),
    ],
)
def test_other_preprocessing_is_refused(folder, fields, said):
    rewrite(folder / "preprocessor_config.json", **fields)
    with pytest.raises(WeightsError, match=re.escape(said)):
        blueprint(folder)


def test_images_of_a_size_that_the_network_refuses(tmp_path):
    hub_models.save(tmp_path / "m", "siglip_vision_model")
    rewrite(tmp_path / "m" / "preprocessor_config.json", size={"height": 64, "width": 64})
    with pytest.raises(WeightsError, match="the network takes 56 × 56 pixels"):
        blueprint(tmp_path / "m")
    hub_models.save(tmp_path / "d", "dinov2")
    rewrite(
        tmp_path / "d" / "preprocessor_config.json", size={"shortest_edge": 64}, crop_size={"height": 7, "width": 7}
    )
    with pytest.raises(Unsupported, match=r"does not take inputs of shape \(3, 7, 7\)"):
        blueprint(tmp_path / "d")


def test_processors_saved_together_are_found(tmp_path):
    """transformers 5 saves the settings of all processors of a model in one file."""
    hub_models.save(tmp_path / "m", "siglip")
    before = blueprint(tmp_path / "m").spec
    path = tmp_path / "m" / "preprocessor_config.json"
    (tmp_path / "m" / "processor_config.json").write_text(json.dumps({"image_processor": json.loads(path.read_text())}))
    path.unlink()
    assert blueprint(tmp_path / "m").spec == before


def test_the_licence_of_a_folder_of_your_own_is_not_asked_about(folder):
    hub_models.write_card(folder, "cc-by-nc-4.0")
    assert registry.load(f"hf@{folder}", backend="torch-fp32").spec.dim == 64
