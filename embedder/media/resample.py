"""Sounds at another sampling rate, in NumPy: bandlimited interpolation with a windowed sinc."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_CROSSINGS = 6
"""Zero crossings of the sinc on each side, under a Hann window that ends at the last."""
_ROLLOFF = 0.99
"""Share of the lower Nyquist frequency that passes."""


def resampled_length(samples: int, rate: int, to: int) -> int:
    """How many samples `samples` become."""
    return -(-samples * to // rate)


def resample(samples: NDArray[np.float32], rate: int, to: int, start: int, stop: int) -> NDArray[np.float32]:
    """Samples `start` to `stop` of what `samples` (n,) are at the rate `to`. Before and after them is silence.

    Only what is asked for is computed. Smith, Digital Audio Resampling, with the lengths and the window that
    torchaudio's `resample` has by default.
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
    """(new, taps): of the old samples around each new one; they repeat after `new` samples."""
    cutoff = _ROLLOFF * min(old, new) / old
    reach = math.ceil(_CROSSINGS / cutoff)
    beyond = np.arange(new)[:, None] * old % new / new  # of a new sample, past the old one before it
    t = cutoff * (np.arange(-reach, reach + 2) - beyond)
    window = np.where(np.abs(t) < _CROSSINGS, np.cos(np.pi * t / (2 * _CROSSINGS)) ** 2, 0)
    return np.asarray(cutoff * np.sinc(t) * window, np.float32)
