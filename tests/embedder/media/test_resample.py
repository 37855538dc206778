"""Resampling and Kaldi's spectra, compared with torchaudio."""

import numpy as np
import pytest
import torch
from helpers.sounds import tone
from torchaudio.compliance import kaldi
from torchaudio.functional import resample as reference

from embedder.media.mel import kaldi_log_mel
from embedder.media.resample import resample, resampled_length


@pytest.mark.parametrize("rate", [1_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000])
def test_resampling_equals_torchaudios(rate):
    samples = tone(1, rate=rate, seconds=0.31)[:, 0]
    wanted = reference(torch.from_numpy(samples)[None], rate, 16_000)[0].numpy()
    count = resampled_length(len(samples), rate, 16_000)
    assert count == len(wanted)
    np.testing.assert_allclose(resample(samples, rate, 16_000, 0, count), wanted, atol=3e-5)
    np.testing.assert_allclose(resample(samples, rate, 16_000, 1000, 1003), wanted[1000:1003], atol=3e-5)


def test_a_rate_that_shares_no_factor_keeps_a_tone():
    t, new = np.arange(44_101) / 44_101, np.arange(16_000) / 16_000
    found = resample(np.sin(2 * np.pi * 440 * t).astype(np.float32), 44_101, 16_000, 0, 16_000)
    np.testing.assert_allclose(found[100:-100], np.sin(2 * np.pi * 440 * new)[100:-100], atol=5e-3)


@pytest.mark.parametrize("samples", [400, 559, 560, 32_000])
def test_spectra_equal_torchaudios_kaldi(samples):
    x = tone(2, seconds=2.0)[:samples, 0] + np.float32(0.05)
    wanted = kaldi.fbank(
        torch.from_numpy(x)[None],
        htk_compat=True,
        sample_frequency=16_000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_length=25,
        frame_shift=10,
    )
    found = kaldi_log_mel(x, 16_000, bands=128, low=20.0, high=8000.0, window=0.025, hop=0.01)
    assert found.shape == tuple(wanted.shape)
    np.testing.assert_allclose(found, wanted, atol=5e-3)


def test_silence_and_less_than_a_window():
    found = kaldi_log_mel(np.zeros(3, np.float32), 16_000, bands=128, low=20.0, high=8000.0, window=0.025, hop=0.01)
    np.testing.assert_allclose(found, np.full((1, 128), np.log(2.0**-23)), rtol=1e-6)
