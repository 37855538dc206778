"""CLAP through hf/…: spectra and vectors are compared with transformers' own extractor and network."""

import numpy as np
import pytest
import torch
import transformers
from helpers import hub_models
from helpers.towers import rewrite

from embedder import registry
from embedder.encoders.hf import blueprint, sounds
from embedder.errors import WeightsError
from embedder.media.audio import Sound
from embedder.probe import cosines

RATE = 48_000


def noise(seconds, seed=0):
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tone = np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.3 * np.sin(2 * np.pi * 6000 * t)
    return (0.2 * tone + 0.05 * random.normal(size=len(t))).astype(np.float32)


@pytest.fixture(scope="module", params=["clap", "clap, fused"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clap") / "model"
    return folder, hub_models.save(folder, request.param)


def spectra(folder, samples):
    """Return transformers' spectra of a sound that is not longer than a clip: (channels, frames, bands)."""
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    return extractor(samples, sampling_rate=RATE, return_tensors="np")["input_features"][0]


@pytest.mark.parametrize("seconds", [0.01, 0.21, 0.4, 0.75, 1.0])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_spectra_equal_transformers(saved, tmp_path, seconds, padding):
    folder, _ = saved
    config = (folder / "preprocessor_config.json").read_text().replace('"repeatpad"', f'"{padding}"')
    (tmp_path / "preprocessor_config.json").write_text(config)
    found = sounds.prepare(sounds.Settings.of(tmp_path), Sound(noise(seconds), RATE))
    wanted = spectra(tmp_path, noise(seconds))[0]
    assert found.shape == (3, 1, *wanted.shape)
    np.testing.assert_allclose(found[0, 0], wanted, atol=2e-3)
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize("backend", ["torch-cpu-fp32", "openvino-fp32"])
def test_vectors_equal_transformers(saved, cache_dir, backend):
    folder, model = saved
    encoder = registry.load(f"hf@{folder}", backend=backend, cache_dir=cache_dir)
    samples = [noise(0.3, seed) for seed in range(3)] + [noise(1.0, 9)]
    wanted = torch.from_numpy(np.stack([spectra(folder, each) for each in samples])).float()
    with torch.inference_mode():
        is_longer = torch.zeros(len(samples), 1, dtype=torch.bool)
        vectors = model.get_audio_features(input_features=wanted, is_longer=is_longer).pooler_output.numpy()
    rows = np.stack([encoder.prepare(Sound(each, RATE)) for each in samples])
    found = encoder.embed(rows, modality="audio").vectors
    assert cosines(found, vectors).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-4)


def test_a_long_sound_is_the_mean_of_its_first_middle_and_last_clip(saved):
    folder, _ = saved
    encoder = registry.load(f"hf@{folder}", backend="torch-fp32")
    whole = noise(4.0)
    rows = encoder.prepare(Sound(whole, RATE))
    parts = [whole[start * RATE // 2 :][:RATE] for start in (0, 3, 6)]
    for row, part in zip(rows, parts, strict=True):
        assert np.array_equal(row, encoder.prepare(Sound(part, RATE))[0])
    together = encoder.embed(rows[None], modality="audio").vectors[0]
    alone = [encoder.embed(encoder.prepare(Sound(part, RATE))[None], modality="audio").vectors[0] for part in parts]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-5)


def test_other_rates_are_resampled(saved):
    folder, _ = saved
    settings = sounds.Settings.of(folder)
    t = np.arange(44_100) / 44_100
    tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    same = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
    found, wanted = (sounds.prepare(settings, Sound(*each))[0, 0, 10:-10] for each in ((tone, 44_100), (same, RATE)))
    loud = wanted > wanted.max() - 40
    assert np.abs(found - wanted)[loud].max() < 0.5  # decibels


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"truncation": "cut"}, "truncation 'cut'"),
        ({"padding": "mirror"}, "padding 'mirror'"),
        ({"frequency_max": 30_000}, "frequencies"),
        ({"sampling_rate": 0}, "sampling_rate 0"),
        ({"hop_length": "480"}, "hop_length '480'"),
        ({"max_length_s": 10**9}, "max_length_s"),
    ],
)
def test_other_settings_are_refused(tmp_path, fields, said):
    hub_models.save(tmp_path / "m", "clap")
    rewrite(tmp_path / "m" / "preprocessor_config.json", **fields)
    with pytest.raises(WeightsError, match=said):
        blueprint(tmp_path / "m")
