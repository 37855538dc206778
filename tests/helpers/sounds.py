"""Generated sounds."""

import io

import numpy as np
import soundfile


def tone(seed: int, seconds: float = 0.5, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """Return samples (n, channels) in float32: three partials of a falling or rising pitch, with a little noise."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = random.uniform(120, 400) * (1 + random.uniform(-0.4, 0.4) * t)
    wave = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / rate) / k for k in (1, 2, 3))
    sound = 0.2 * wave + 0.01 * random.standard_normal(len(t))
    return np.stack([sound * (1 - 0.2 * c) for c in range(channels)], axis=1).astype(np.float32)


def sound(seed: int, form: str = "WAV", *, rate: int = 16_000, subtype: str | None = None, **options) -> bytes:
    """Return the bytes of a sound file with the samples of `tone`."""
    out = io.BytesIO()
    soundfile.write(out, tone(seed, rate=rate, **options), rate, format=form, subtype=subtype)
    return out.getvalue()
