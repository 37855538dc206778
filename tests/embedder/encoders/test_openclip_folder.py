"""openclip@<folder>: architecture, preprocessing, weights and tokeniser come from the folder alone."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from helpers import clips
from open_clip.transform import PreprocessCfg, image_transform_v2

from embedder import probe, registry
from embedder.encoders import openclip
from embedder.errors import UnknownEncoder, WeightsError

SQUASH = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.25, 0.5), "interpolation": "bilinear", "resize_mode": "squash"}
FILE = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    clips.register(folder)
    return folder


def cosines(a, b):
    return probe.cosines(np.asarray(a, np.float32), np.asarray(b, np.float32))


@pytest.mark.parametrize("backend", ["torch-fp32", "openvino-fp32"])
@pytest.mark.parametrize("name", ["tiny-quickgelu", "map"])
def test_equals_open_clips_own_loading_of_the_folder(home, cache_dir, name, backend):
    folder = clips.save_folder(clips.make(name), name, home / name / "a@b:pooled", file=FILE, **SQUASH)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    prepare = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    encoder = registry.load(f"openclip@{folder}/", backend=backend, cache_dir=cache_dir)
    with torch.inference_mode():
        theirs = model.encode_image(torch.stack([prepare(image) for image in clips.photos()]))
        texts = model.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(list(probe.TEXTS)))
    ours = encoder.embed(np.stack([encoder.prepare(image) for image in clips.photos()]))
    assert cosines(ours.vectors, theirs).min() > 0.9999
    assert cosines(encoder.embed_texts(probe.TEXTS), texts).min() > 0.9999
    assert (encoder.spec.image.crop, encoder.spec.image.interpolation) == ("squash", "bilinear")


def test_a_folders_own_tokeniser_is_used(home, cache_dir):
    folder = clips.save_folder(clips.make("tiny"), "tiny", home / "words", file=FILE)
    clip_s = openclip.blueprint(f"@{folder}").spec
    record = json.loads((folder / "open_clip_config.json").read_text())
    record["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/words"
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="In a folder, its files must be beside the weights"):
        openclip.blueprint(f"@{folder}")
    clips.save_tokeniser(folder)
    encoder = registry.load(f"openclip@{folder}", backend="torch-fp32", cache_dir=cache_dir)
    assert encoder.spec.text != clip_s.text
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(f"local-dir:{folder}")(list(probe.TEXTS))
        texts = model.encode_text(ids)
    assert ids.shape == (3, 12)
    assert cosines(encoder.embed_texts(probe.TEXTS), texts).min() > 0.9999


def test_identity_of_a_folder(home):
    model = clips.make("tiny-quickgelu")
    here = clips.save_folder(model, "tiny-quickgelu", home / "here", file=FILE)
    there = clips.save_folder(model, "tiny-quickgelu", home / "there", file="open_clip_pytorch_model.bin")
    file = clips.save(model, home / "tiny.pt")
    alone = openclip.blueprint(f"@{here}").spec
    assert alone == openclip.blueprint(f"@{there}").spec  # in any place
    named = openclip.blueprint(f"tiny@{here}").spec
    assert named == openclip.blueprint(f"tiny-quickgelu@{file}").spec  # the folder says which activation
    assert named.fingerprint != alone.fingerprint
    # Pinned: names of tables on disk contain it, so it must never change.
    record = (
        '{"embed_dim":24,"text_cfg":{"context_length":12,"heads":2,"layers":2,"vocab_size":49408,"width":32},'
        '"vision_cfg":{"head_width":16,"image_size":64,"layers":3,"patch_size":16,"width":64}}'
    )
    assert alone.architecture == f"open_clip:config-{hashlib.sha256(record.encode()).hexdigest()[:12]}"
    squashed = clips.save_folder(model, "tiny-quickgelu", home / "squashed", file=FILE, **SQUASH)
    assert openclip.blueprint(f"tiny@{squashed}").spec.fingerprint != named.fingerprint


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wide", "vision_cfg.width is 64, not 128; leave"),
        ("tiny-quickgelu", "quick_gelu is False, not True; leave"),
        ("conv", "vision_cfg.image_size is 64, not 160, .*vision_cfg.timm_model_name is None, not test_convnext"),
    ],
)
def test_a_folder_of_another_model_than_named_is_refused(home, name, told):
    folder = clips.save_folder(clips.make("tiny"), "tiny", home / f"not {name}", file=FILE)
    with pytest.raises(WeightsError, match=f"holds another model than {name}: .*{told}"):
        openclip.blueprint(f"{name}@{folder}")


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (None, "has no usable open_clip_config.json.*FileNotFoundError"),
        ("not JSON", r"has no usable open_clip_config.json \(it is not JSON: "),
        ("[]", r"has no usable open_clip_config.json \(it holds a list, "),
        ('{"embed_dim": 24}', "has no usable open_clip_config.json.*'model_cfg'"),
        ('{"model_cfg": {"embed_dim": 24}}', "has no usable open_clip_config.json.*'vision_cfg'"),
        ('{"model_cfg": {"embed_dim": 24, "vision_cfg": {"colour": 3}, "text_cfg": {}}}', "usable.*'colour'"),
        (json.dumps({"model_cfg": clips.CONFIGS["tiny"]}), "has no open_clip_model.safetensors and no"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(tmp_path, record, told):
    if record is not None:
        (tmp_path / "open_clip_config.json").write_text(record)
    with pytest.raises(WeightsError, match=told):
        openclip.blueprint(f"@{tmp_path}")


def test_what_open_clip_cannot_build_is_refused(home):
    folder = clips.save_folder(clips.make("tiny"), "tiny", home / "odd", file=FILE)
    record = json.loads((folder / "open_clip_config.json").read_text())
    record["model_cfg"]["vision_cfg"] = clips.timm_tower("no_such_tower", "avg", "linear")
    (folder / "open_clip_config.json").write_text(json.dumps(record))
    with pytest.raises(WeightsError, match=r"open_clip cannot build local-dir:.*no_such_tower"):
        openclip.blueprint(f"@{folder}")


def test_weights_of_another_model_are_refused(home):
    folder = clips.save_folder(clips.make("wide"), "tiny", home / "mixed", file=FILE)
    with pytest.raises(WeightsError, match="do not fit"):
        openclip.blueprint(f"@{folder}")


def test_a_path_that_is_no_folder_says_so():
    with pytest.raises(WeightsError, match=r"needs a folder with open_clip_config.json; '/no/such' is not a folder"):
        openclip.blueprint("@/no/such")
    with pytest.raises(UnknownEncoder):
        openclip.blueprint("nothing@/no/such")
