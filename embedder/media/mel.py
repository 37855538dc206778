"""Log-mel spectra, in NumPy. Samples keep their own rate, because windows are given in seconds and bands in Hz."""

from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from embedder.media.audio import Sound

_FLOOR = 1e-10
"""Power of silence: 100 dB below full scale, less than one step of 16 bits."""
_PRE_EMPHASIS = 0.97
_ROWS = 64
"""Frames that are transformed at once, so that memory does not grow with the length of the sound."""
_GROUPS = 64
"""Groups of `_ROWS` frames whose bands are computed at once. Another number would change the rounding."""
_MOST_BINS = 2049
"""Frequencies of a frame that are all computed: those of 96 kHz. Of more, only the ones that a band needs."""


def log_mel(sound: Sound, *, bands: int, low: float, high: float, window: float, hop: float) -> NDArray[np.float32]:
    """Return the natural logarithm of the power in each band, (frames, bands). Less than a window gives one frame.

    Bands are triangles that overlap by half, evenly spaced on O'Shaughnessy's mel scale, 2595 log10(1 + f / 700). Bands
    above half the sampling rate hold silence, so the same settings work for every rate.

    Args:
        low, high: outer ends of the first and the last triangle, Hz.
        window, hop: length and distance of the Hann windows, seconds.
    """
    rate = sound.rate
    length, step = max(round(window * rate), 2), hop * rate
    if sound.length < length:
        sound = Sound(np.pad(sound.samples, (0, length - sound.length)), rate)
    count = 1 + int((sound.length - length) // step)
    starts = np.round(np.arange(count) * step).astype(np.int64)
    weights = _triangles(rate, length, bands, low, high)
    if len(weights) > _MOST_BINS:
        weights = weights[: 1 + np.flatnonzero(weights.any(axis=1))[-1]]
    groups = [starts[i : i + _ROWS] for i in range(0, count, _ROWS)]
    slices = sound.slices((int(group[0]), int(group[-1]) + length) for group in groups)
    powers = (_powers(part, group - group[0], length, len(weights)) for part, group in zip(slices, groups, strict=True))
    bands_of = []
    while some := list(islice(powers, _GROUPS)):
        bands_of.append(np.concatenate(some) @ weights)
    return np.log(np.concatenate(bands_of) + np.float32(_FLOOR))


def kaldi_log_mel(
    samples: NDArray[np.float32], rate: int, *, bands: int, low: float, high: float, window: float, hop: float
) -> NDArray[np.float32]:
    """Return the natural logarithm of the power in each band, (frames, bands), exactly as Kaldi's fbank does.

    Networks that were trained on such features need each detail: the mean of a frame is subtracted, pre-emphasis is
    0.97, the Hann window is symmetric, frames are padded to a power of two, and triangles are linear in mel,
    1127 ln(1 + f / 700). There is no dither and no energy. Samples are ±1, as in torchaudio, not ±32768. Arguments as
    for `log_mel`.
    """
    length, step = int(window * rate), int(hop * rate)
    if len(samples) < length:
        samples = np.pad(samples, (0, length - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::step]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectra = np.fft.rfft((frames - _PRE_EMPHASIS * before) * np.hanning(length), _padded(length))
    powers = np.asarray(np.abs(spectra) ** 2, np.float32) @ _kaldi_triangles(rate, length, bands, low, high)
    return np.asarray(np.log(np.maximum(powers, np.finfo(np.float32).eps)))


@lru_cache
def _kaldi_triangles(rate: int, length: int, bands: int, low: float, high: float) -> NDArray[np.float32]:
    """Return Kaldi's triangles, (bins, bands)."""
    mel, lowest, highest = (1127 * np.log(1 + np.asarray(f) / 700) for f in (_bins(rate, length), low, high))
    edges = np.linspace(lowest, highest, bands + 2)
    position = (mel[:, None] - edges[:-2]) / (edges[1] - edges[0])
    weights = np.maximum(0, np.minimum(position, 2 - position))
    weights[-1] = 0  # Kaldi ignores the bin at half the sampling rate
    return np.asarray(weights, np.float32)


def _bins(rate: int, length: int) -> NDArray[np.float64]:
    return np.asarray(np.fft.rfftfreq(_padded(length), 1 / rate), np.float64)


def _powers(samples: NDArray[np.float32], starts: NDArray[np.int64], length: int, bins: int) -> NDArray[np.float32]:
    """Return the power (frames, bins). A full-scale sine has 3/8 in all, whatever the rate and the padding."""
    frames = samples[starts[:, None] + np.arange(length)] * _hann(length)
    spectra = np.fft.rfft(frames, _padded(length))[:, :bins]
    return np.asarray(np.abs(spectra) ** 2 / (length / 4 * _padded(length)), np.float32)


@lru_cache
def _hann(length: int) -> NDArray[np.float32]:
    return np.hanning(length + 2)[1:-1].astype(np.float32)  # without the two zeros at the ends


def _padded(length: int) -> int:
    return 1 << (length - 1).bit_length()


@lru_cache
def _triangles(rate: int, length: int, bands: int, low: float, high: float) -> NDArray[np.float32]:
    """Return the triangles of `log_mel`, (bins, bands)."""
    frequencies = _bins(rate, length)[:, None]
    edges = _hertz(np.linspace(_mel(low), _mel(high), bands + 2))
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
