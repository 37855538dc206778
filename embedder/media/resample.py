"""Resampling of sounds, in NumPy: bandlimited interpolation with a windowed sinc."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_CROSSINGS = 6
"""Zero crossings of the sinc on each side. A Hann window ends at the last one."""
_ROLLOFF = 0.99
"""Share of the lower Nyquist frequency that passes."""


def resampled_length(samples: int, rate: int, to: int) -> int:
    """Return the number of samples that `samples` samples at `rate` become at the rate `to`."""
    return -(-samples * to // rate)


def resample(samples: NDArray[np.float32], rate: int, to: int, start: int, stop: int) -> NDArray[np.float32]:
    """Resample `samples` (n,) from `rate` to `to` (Hz) and return the new samples `start` to `stop`.

    The sound counts as silent before its first sample and after its last. Only the returned samples are computed.
    The method is Smith's, Digital Audio Resampling, with the default lengths and window of torchaudio's `resample`.
    """
    if rate == to:
        return samples[start:stop]
    divisor = math.gcd(rate, to)
    old, new = rate // divisor, to // divisor
    weights = _weights(old, new)
    taps = weights.shape[1]
    at = np.arange(start, stop)
    first = at * old // new - (taps // 2 - 1)
    padded = np.pad(samples, taps)
    inside = np.clip(first + taps, 0, len(padded) - taps)[:, None] + np.arange(taps)
    return np.asarray(np.einsum("nt,nt->n", padded[inside], weights[at % new]))


@lru_cache(maxsize=16)
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Return the weights of the old samples around each new sample, (new, taps). They repeat after `new` samples."""
    cutoff = _ROLLOFF * min(old, new) / old
    reach = math.ceil(_CROSSINGS / cutoff)
    beyond = np.arange(new)[:, None] * old % new / new  # distance of a new sample from the old one before it
    t = cutoff * (np.arange(-reach, reach + 2) - beyond)
    window = np.where(np.abs(t) < _CROSSINGS, np.cos(np.pi * t / (2 * _CROSSINGS)) ** 2, 0)
    return np.asarray(cutoff * np.sinc(t) * window, np.float32)
