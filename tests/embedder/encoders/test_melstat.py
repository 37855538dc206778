"""Log-mel spectra against scipy's transform and values computed by hand, and the statistics of melstat."""

import numpy as np
import pytest
from helpers.sounds import tone
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from embedder import probe, registry
from embedder.encoders.melstat import DIM, SPEC, statistics
from embedder.errors import BadMedia
from embedder.media.audio import Sound
from embedder.media.mel import log_mel

SETTINGS = {"bands": 40, "low": 100.0, "high": 4000.0, "window": 0.032, "hop": 0.01}


@pytest.fixture(scope="module")
def encoder():
    return registry.load("melstat")


def test_spectra_equal_scipys(monkeypatch):
    samples = tone(1, seconds=1.0)[:, 0]
    length, step = 512, 160
    transform = ShortTimeFFT(hann(length + 2)[1:-1], hop=step, fs=16_000)
    count = 1 + (len(samples) - length) // step
    first = transform.stft(samples, p0=2, p1=2 + count, k_offset=length // 2 - 2 * step)
    powers = np.abs(first) ** 2 / (length / 2) ** 2
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([100, 4000]) / 700)), 42) / 2595) - 1)
    wanted = np.empty((count, 40))
    for band, (left, middle, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        triangle = np.interp(transform.f, [left, middle, right], [0, 1, 0], left=0, right=0)
        wanted[:, band] = np.log(triangle @ powers + 1e-10)
    monkeypatch.setattr("embedder.media.mel._ROWS", 7)  # the size of a pass changes nothing
    np.testing.assert_allclose(log_mel(Sound(samples, 16_000), **SETTINGS), wanted, atol=1e-4)


def test_a_full_scale_tone_has_a_known_power():
    t = np.arange(16_000) / 16_000
    spectrum = log_mel(Sound(np.sin(2 * np.pi * 1000 * t).astype(np.float32), 16_000), **SETTINGS)
    np.testing.assert_allclose(np.exp(spectrum).sum(axis=1), 0.375, rtol=0.01)  # triangles add up to one
    assert (spectrum.argmax(axis=1) == spectrum[0].argmax()).all()


@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_one_sound_at_several_rates_has_nearly_one_spectrum(rate):
    t, wanted = np.arange(rate) / rate, np.arange(16_000) / 16_000
    low, reference = (
        log_mel(
            Sound((0.3 * np.sin(2 * np.pi * 440 * x) + 0.1 * np.sin(2 * np.pi * 1310 * x)).astype(np.float32), r),
            **SETTINGS,
        )
        for x, r in ((t, rate), (wanted, 16_000))
    )
    loud = reference[5] > -8
    assert np.abs(low[5] - reference[5])[loud].max() < 0.25


@pytest.mark.parametrize("samples", [1, 100, 513])
def test_short_sounds_have_one_frame(samples):
    assert log_mel(Sound(np.ones(samples, np.float32), 16_000), **SETTINGS).shape == (1, 40)


def test_statistics_by_hand():
    sound = Sound(tone(3, seconds=0.73)[:, 0], 16_000)
    a = SPEC.audio
    spectrum = log_mel(sound, bands=a.bands, low=a.low, high=a.high, window=a.window, hop=a.hop).astype(np.float64)
    assert len(spectrum) == 71
    parts = [spectrum[0:18], spectrum[17:36], spectrum[35:54], spectrum[53:71]]
    wanted = np.concatenate(
        [m for p in parts for m in (p.mean(0), p.std(0))] + [np.abs(np.diff(spectrum, axis=0)).mean(0)]
    )
    found = statistics(sound)
    assert (found.shape, found.dtype) == ((DIM,), np.float32)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sound", [Sound(np.zeros(5, np.float32), 8_000), Sound(np.ones(1, np.float32), 192_000)])
def test_the_smallest_sounds_have_finite_statistics(sound):
    assert np.isfinite(statistics(sound)).all()


def test_the_encoder_keeps_its_contract(encoder):
    prepared = np.stack([encoder.prepare(sound) for sound in probe.sounds()])
    before = prepared.copy()
    found = encoder.embed(prepared, modality="audio").vectors
    assert (found.shape, found.dtype) == ((3, DIM), np.float32)
    assert np.array_equal(prepared, before)
    assert np.array_equal(found[1:2], encoder.embed(prepared[1:2], modality="audio").vectors)
    assert encoder.embed(prepared[:0], modality="audio").vectors.shape == (0, DIM)
    assert probe.check(encoder, encoder.reference_probe()) > 0.999999
    assert SPEC.modalities == ("audio",)
    for wrong in (prepared.astype(np.float64), prepared[:, 1:], prepared[0]):
        with pytest.raises(ValueError, match="as prepare"):
            encoder.embed(wrong, modality="audio")
    with pytest.raises(BadMedia, match="melstat takes sounds; this file is an image"):
        encoder.prepare(probe.images()[0])
    with pytest.raises(BadMedia, match="this file is an image"):
        encoder.embed(prepared)
    with pytest.raises(ValueError, match="no tokens"):
        encoder.embed(prepared, modality="audio", tokens=True)
    with pytest.raises(ValueError, match="takes no text"):
        encoder.embed_texts(["hello"])


def test_an_image_encoder_refuses_sounds(cache_dir):
    lite0 = registry.load("lite0", cache_dir=cache_dir)
    with pytest.raises(BadMedia, match=r"^lite0 takes images; this file is a sound$") as caught:
        lite0.prepare(probe.sounds()[0])
    assert caught.value.reason == "wrong_modality"
    with pytest.raises(BadMedia, match="this file is a sound"):
        lite0.embed(np.zeros((1, 4), np.float32), modality="audio")
