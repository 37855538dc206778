"""PE-audio through hf/…: waveforms, vectors and texts are compared with transformers' own extractor and network."""

import json

import numpy as np
import pytest
import torch
import transformers
from helpers import hub_models
from helpers.hub_models import MODELS
from helpers.towers import rewrite

from embedder import registry
from embedder.encoders.hf import blueprint, waves
from embedder.errors import WeightsError
from embedder.media.audio import Sound
from embedder.probe import cosines

RATE, HOP = 8_000, 160
WORDS = ["a photo of a dog", "solar cell", "dog dog dog a b c d e f g h i j k l m n o p q r s t u v w x y z"]
LENGTHS = (1, 100, 160, 2_000, 8_000, 8_001)
"""Samples of the sounds. The first three have one frame."""


@pytest.fixture(scope="module", params=[name for name in MODELS if name.startswith("pe_audio")])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pe") / "model"
    return folder, hub_models.save(folder, request.param)


def noise(samples, seed=0):
    random = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    return (0.3 * np.sin(2 * np.pi * (200 + 500 * t) * t) + 0.1 * random.normal(size=samples)).astype(np.float32)


def wave(folder, samples):
    """Return transformers' waveform of a sound, (1, 1, n)."""
    extractor = transformers.PeAudioFeatureExtractor.from_pretrained(folder)
    return torch.from_numpy(np.asarray(extractor(samples, sampling_rate=RATE)["input_values"]))


def vector(folder, model, samples):
    """Return transformers' vector of one sound: for a model of frames, the mean of their vectors."""
    with torch.inference_mode():
        found = getattr(model, "audio_model", model).get_audio_embeds(wave(folder, samples))[0].numpy()
    return found.mean(0) if found.ndim == 2 else found


def embed(encoder, sounds):
    return encoder.embed(np.stack([encoder.prepare(Sound(each, RATE)) for each in sounds]), modality="audio").vectors


@pytest.mark.parametrize("length", LENGTHS)
def test_waveforms_equal_transformers(tmp_path, length):
    transformers.PeAudioFeatureExtractor(**hub_models.WAVES).save_pretrained(tmp_path)
    found = waves.prepare(waves.Settings.of(tmp_path, HOP), Sound(noise(length), RATE))
    wanted = wave(tmp_path, noise(length)).numpy().reshape(-1, HOP)
    assert found[0, :2].tolist() == [len(wanted), 1]
    np.testing.assert_array_equal(found[1 : len(wanted) + 1], wanted)
    assert not found[len(wanted) + 1 :].any()


@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32"])
def test_vectors_equal_transformers_whatever_the_lengths_in_a_batch(saved, cache_dir, backend):
    folder, model = saved
    encoder = registry.load(f"hf@{folder}", backend=backend, cache_dir=cache_dir)
    sounds = [noise(length, seed) for seed, length in enumerate((*LENGTHS, *LENGTHS[3:]))]
    found, wanted = embed(encoder, sounds), np.stack([vector(folder, model, each) for each in sounds])
    assert cosines(found, wanted).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(wanted, axis=1), rtol=1e-3)  # raw
    np.testing.assert_allclose(found, np.concatenate([embed(encoder, [each]) for each in sounds]), atol=1e-4)


def test_texts_equal_transformers(saved, cache_dir):
    """transformers' `get_text_audio_embeds` fails in version 5.23, so the whole model runs."""
    folder, model = saved
    encoder = registry.load(f"hf@{folder}", backend="torch-cpu-fp32", cache_dir=cache_dir)
    fast = transformers.AutoTokenizer.from_pretrained(folder)
    ids = fast(WORDS, padding=True, max_length=16, truncation=True, return_tensors="pt")
    kept = {key: ids[key] for key in ("input_ids", "attention_mask")}
    whole = getattr(model, "audio_model", model)
    with torch.inference_mode():
        wanted = whole(**kept, input_values=torch.zeros(1, 1, HOP)).text_audio_embeds.numpy()
    found = encoder.embed_texts(WORDS)
    assert cosines(found, wanted).min() > 0.9999
    np.testing.assert_allclose(found, np.concatenate([encoder.embed_texts([text]) for text in WORDS]), atol=1e-4)


def test_a_sound_of_more_than_30_seconds_becomes_three_clips():
    settings, whole = waves.Settings(RATE, HOP), noise(50 * RATE)
    assert waves.prepare(settings, Sound(whole[: 30 * RATE], RATE))[0, :2].tolist() == [1500, 1]
    found = waves.prepare(settings, Sound(whole, RATE))
    assert found.shape == (1501, HOP)
    assert found[0, :2].tolist() == [500, 3]
    clips = np.stack([whole[start * RATE :][: 10 * RATE] for start in (0, 20, 40)])
    np.testing.assert_array_equal(found[1:].reshape(3, -1), clips)


@pytest.mark.slow
def test_its_vector_is_the_mean_of_theirs(tmp_path):
    hub_models.save(tmp_path / "m", "pe_audio")
    encoder = registry.load(f"hf@{tmp_path / 'm'}", backend="torch-fp32")
    whole = noise(50 * RATE)
    found = embed(encoder, [whole[: 30 * RATE], whole])
    clips = [whole[start * RATE :][: 10 * RATE] for start in (0, 20, 40)]
    np.testing.assert_allclose(found[1], embed(encoder, clips).mean(0), atol=1e-4)
    np.testing.assert_allclose(found[0], embed(encoder, [whole[: 30 * RATE]])[0], atol=1e-4)


def test_the_audio_model_inside_of_an_audio_video_model_is_the_same_encoder(tmp_path):
    model = hub_models.save(tmp_path / "m", "pe_audio_video")
    found = blueprint(tmp_path / "m").spec
    model.audio_model.save_pretrained(tmp_path / "m")
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "pe_audio"
    assert blueprint(tmp_path / "m").spec == found


def test_a_model_of_frames_has_an_identity_of_its_own(tmp_path):
    hub_models.save(tmp_path / "m", "pe_audio, frames")
    frames = blueprint(tmp_path / "m").spec
    rewrite(tmp_path / "m" / "config.json", architectures=["PeAudioModel"])
    pooled = blueprint(tmp_path / "m").spec
    assert (frames.weights, frames.text) == (pooled.weights, pooled.text)
    assert frames.fingerprint != pooled.fingerprint


def test_settings_beside_those_of_other_processors_are_found(tmp_path):
    """PE's repositories keep them in processor_config.json."""
    settings = transformers.PeAudioFeatureExtractor(**hub_models.WAVES).to_dict()
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": settings}))
    assert waves.Settings.of(tmp_path, HOP) == waves.Settings(RATE, HOP)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"hop_length": 320}, "hop_length 320; supported are 1, 0, and 160 as in the network"),
        ({"feature_size": 2}, "feature_size 2"),
        ({"padding_value": 0.5}, r"padding_value 0\.5"),
        ({"sampling_rate": 0}, "sampling_rate 0"),
    ],
)
def test_other_settings_are_refused(tmp_path, fields, said):
    transformers.PeAudioFeatureExtractor(**hub_models.WAVES | fields).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=said):
        waves.Settings.of(tmp_path, HOP)
