"""Preparation of sounds for CLAP (Wu et al. 2023, arXiv 2211.06687), in NumPy, as the repository's settings say.

transformers' extractor cuts a random clip out of a sound that is longer than the network takes. Here, clips are spread
evenly over the sound, and its vector is the mean of theirs; a shorter sound gives the same clip each time.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedder.encoders.sound_clips import sound_clips
from embedder.errors import WeightsError
from embedder.media.audio import Sound
from embedder.spec import AudioPreprocessing
from embedder.weights import hub_folder

CLIPS = 3
_FLOOR = 1e-10
"""Least power of a band, as in transformers: 100 dB below full scale."""
_PADDINGS = ("repeatpad", "repeat", "pad")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of transformers' ClapFeatureExtractor: counts of samples, frequencies in Hz."""

    bands: int
    rate: int
    hop: int
    window: int
    seconds: int
    low: float
    high: float
    padding: str
    fused: bool

    @classmethod
    def of(cls, folder: Path) -> "Settings":
        """Read the settings beside the weights. Raises WeightsError for settings that are missing or not supported."""
        path, fields = hub_folder.processor(folder, "feature_extractor")
        try:
            found = cls(
                bands=whole(fields, "feature_size", 64),
                rate=whole(fields, "sampling_rate", 48_000),
                hop=whole(fields, "hop_length", 480),
                window=whole(fields, "fft_window_size", 1024),
                seconds=whole(fields, "max_length_s", 10),
                low=float(fields.get("frequency_min", 0)),
                high=float(fields.get("frequency_max", 14_000)),
                padding=str(fields.get("padding", "repeatpad")),
                fused=_is_fused(fields.get("truncation", "fusion")),
            )
            found.check()
        except (ValueError, TypeError, OverflowError) as error:
            raise WeightsError(f"{path} cannot be used: {error}; fetch it again") from error
        return found

    def check(self) -> None:
        """Raise ValueError for settings that no sound can be prepared with."""
        if self.padding not in _PADDINGS or not 0 <= self.low < self.high <= self.rate / 2:
            raise ValueError(
                f"it says padding {self.padding!r} and frequencies {self.low:g} to {self.high:g} Hz at {self.rate} Hz; "
                f"supported are {', '.join(_PADDINGS)}, and frequencies up to half the sampling rate"
            )

    @property
    def samples(self) -> int:
        """Number of samples of a clip."""
        return self.rate * self.seconds

    @property
    def frames(self) -> int:
        """Number of spectra of a clip."""
        return 1 + self.samples // self.hop

    @property
    def spec(self) -> AudioPreprocessing:
        """The settings as a part of an encoder's identity."""
        return AudioPreprocessing(
            features=f"clap ({'htk' if self.fused else 'slaney'}, {self.padding})",
            bands=self.bands,
            low=self.low,
            high=self.high,
            window=self.window / self.rate,
            hop=self.hop / self.rate,
            parts=CLIPS,
            rate=self.rate,
            seconds=float(self.seconds),
        )


def whole(fields: dict[str, Any], name: str, usual: int) -> int:
    """Return the whole number in a field, `usual` if the field is missing. Raises ValueError for anything else."""
    value = fields.get(name, usual)
    if not isinstance(value, int) or not 0 < value <= 10**6:
        raise ValueError(f"it says {name} {value!r}; supported is a whole number from 1 to a million")
    return value


def _is_fused(truncation: object) -> bool:
    if truncation not in ("fusion", "rand_trunc"):
        raise ValueError(f"it says truncation {truncation!r}; supported are fusion and rand_trunc")
    return truncation == "fusion"


def prepare(settings: Settings, media: Sound) -> NDArray[np.float32]:
    """Return log-mel spectra in decibels, (clips, 1, frames, bands) float32."""
    clips = sound_clips(media, settings.rate, settings.seconds, CLIPS)
    return np.stack([log_mel(settings, _padded(settings, clip))[None] for clip in clips])


def _padded(settings: Settings, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a whole clip. A shorter one is repeated as often as it fits whole, then followed by silence.

    With padding ``repeat`` the repetition fills the clip; with ``pad`` there is only silence.
    """
    whole = settings.samples // len(samples)
    times = {"repeatpad": whole, "repeat": whole + 1, "pad": 1}[settings.padding]
    repeated = np.tile(samples, times)[: settings.samples]
    return np.pad(repeated, (0, settings.samples - len(repeated)))


def log_mel(settings: Settings, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 10 log10 of the power in each band, (frames, bands), for the samples of a clip.

    Frames are centred on multiples of the hop; the clip is mirrored at its ends. The window is Hann's, periodic.
    """
    n = settings.window
    padded = np.pad(samples.astype(np.float64), n // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n)[:: settings.hop]
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    powers = np.abs(np.fft.rfft(frames * window)) ** 2
    bands = powers @ _triangles(settings)
    return np.asarray(10 * np.log10(np.maximum(bands, _FLOOR)), np.float32)


@lru_cache(maxsize=8)
def _triangles(settings: Settings) -> NDArray[np.float64]:
    """Return triangles in Hz whose corners are evenly spaced on a mel scale, (bins, bands).

    The fused models use O'Shaughnessy's scale; the others Slaney's, which is linear up to 1 kHz, and triangles of
    equal area.
    """
    to_mel, to_hertz = (_htk_mel, _htk_hertz) if settings.fused else (_slaney_mel, _slaney_hertz)
    low, high = to_mel(np.array([settings.low, settings.high]))
    corners = to_hertz(np.linspace(low, high, settings.bands + 2))
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    frequencies = np.fft.rfftfreq(settings.window, 1 / settings.rate)[:, None]
    weights = np.minimum((frequencies - left) / (middle - left), (right - frequencies) / (right - middle))
    area = 1.0 if settings.fused else 2 / (right - left)
    return np.asarray(np.maximum(weights, 0) * area)


def _htk_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2595 * np.log10(1 + hertz / 700))


def _htk_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


_KNEE, _STEP = 1000.0, 200 / 3
"""Slaney's scale: `_STEP` Hz for each mel up to `_KNEE` Hz, then 27 mels for each factor of 6.4."""
_RATIO = np.log(6.4) / 27


def _slaney_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _KNEE / _STEP + np.log(np.maximum(hertz, _KNEE) / _KNEE) / _RATIO
    return np.where(hertz < _KNEE, hertz / _STEP, above)


def _slaney_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    knee = _KNEE / _STEP
    return np.where(mel < knee, mel * _STEP, _KNEE * np.exp(_RATIO * (np.maximum(mel, knee) - knee)))
