"""Resampling of sounds, in NumPy: bandlimited interpolation with a windowed sinc."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_CROSSINGS = 6
"""Zero crossings of the sinc on each side. A Hann window ends at the last one."""
_ROLLOFF = 0.99
"""Share of the lower Nyquist frequency that passes."""
_AT_ONCE = 4_096
"""New samples that are computed at once, in little memory."""


def resampled_length(samples: int, rate: int, to: int) -> int:
    """Return the number of samples that `samples` samples at `rate` become at the rate `to`."""
    return -(-samples * to // rate)


def needed(samples: int, rate: int, to: int, start: int, stop: int) -> tuple[int, int]:
    """Return which of `samples` old samples (begin, end) the new samples `start` to `stop` are made of."""
    if rate == to:
        return start, stop
    old, new, taps = _ratio(rate, to)
    begin, end = (at * old // new - (taps // 2 - 1) for at in (start, stop - 1))
    return min(max(begin, 0), samples), min(max(end + taps, 0), samples)


def resample(
    samples: NDArray[np.float32], rate: int, to: int, start: int, stop: int, *, offset: int = 0
) -> NDArray[np.float32]:
    """Resample `samples` (n,) from `rate` to `to` (Hz) and return the new samples `start` to `stop`.

    `samples` begin with the sound's sample number `offset` and hold those that are `needed`. The sound counts as silent
    before its first sample and after its last. Only the returned samples are computed.
    The method is Smith's, Digital Audio Resampling, with the default lengths and window of torchaudio's `resample`.
    """
    if rate == to:
        return samples[start - offset : stop - offset]
    old, new, taps = _ratio(rate, to)
    weights = _weights(old, new)
    padded = np.pad(samples, taps)
    found = np.empty(max(stop - start, 0), np.float32)
    for done in range(0, len(found), _AT_ONCE):
        at = np.arange(start + done, min(start + done + _AT_ONCE, stop))
        first = at * old // new - (taps // 2 - 1) - offset
        inside = np.clip(first + taps, 0, len(padded) - taps)[:, None] + np.arange(taps)
        np.einsum("nt,nt->n", padded[inside], weights[at % new], out=found[done : done + len(at)])
    return found


def _ratio(rate: int, to: int) -> tuple[int, int, int]:
    """Return how many old samples last as long as how many new ones, and how many old ones make a new one."""
    divisor = math.gcd(rate, to)
    old, new = rate // divisor, to // divisor
    return old, new, _weights(old, new).shape[1]


@lru_cache(maxsize=16)
def _weights(old: int, new: int) -> NDArray[np.float32]:
    """Return the weights of the old samples around each new sample, (new, taps). They repeat after `new` samples."""
    cutoff = _ROLLOFF * min(old, new) / old
    reach = math.ceil(_CROSSINGS / cutoff)
    beyond = np.arange(new)[:, None] * old % new / new  # distance of a new sample from the old one before it
    t = cutoff * (np.arange(-reach, reach + 2) - beyond)
    window = np.where(np.abs(t) < _CROSSINGS, np.cos(np.pi * t / (2 * _CROSSINGS)) ** 2, 0)
    return np.asarray(cutoff * np.sinc(t) * window, np.float32)
