"""Preparation of sounds for PE-audio (Vyas et al. 2025, arXiv 2512.19687), as the repository's settings say.

The network takes waveforms of any length, a multiple of its hop. transformers pads a batch with silence, which changes
the last frames of a shorter sound, because its codec has no mask. Here sounds of one length pass the network together,
so each has the vector that transformers gives it alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder.encoders.hf.sounds import whole
from embedder.encoders.sound_clips import sound_clips
from embedder.errors import WeightsError
from embedder.media.audio import Sound
from embedder.media.resample import resampled_length
from embedder.spec import AudioPreprocessing
from embedder.weights import hub_folder

SECONDS = 30
"""Duration of the longest sound that is taken whole."""
CLIPS = 3
"""Clips of a longer sound, which last `SECONDS` together."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of transformers' PeAudioFeatureExtractor: sampling rate in Hz, and samples of a frame."""

    rate: int
    hop: int

    @classmethod
    def of(cls, folder: Path, hop: int) -> "Settings":
        """Read the settings beside the weights. Raises WeightsError for settings that are missing or not supported.

        Args:
            hop: samples of a frame, as the network has them.
        """
        path, fields = hub_folder.processor(folder, "feature_extractor")
        try:
            found = cls(rate=whole(fields, "sampling_rate", 48_000), hop=whole(fields, "hop_length", 1920))
            channels, silence = fields.get("feature_size", 1), fields.get("padding_value", 0)
            if (channels, silence, found.hop) != (1, 0, hop):
                raise ValueError(
                    f"it says feature_size {channels}, padding_value {silence} and hop_length {found.hop}; supported "
                    f"are 1, 0, and {hop} as in the network"
                )
        except (ValueError, TypeError) as error:
            raise WeightsError(f"{path} cannot be used: {error}; fetch it again") from error
        return found

    @property
    def frames(self) -> int:
        """Most frames of a prepared sound."""
        return CLIPS * math.ceil(self.rate * (SECONDS // CLIPS) / self.hop)

    @property
    def spec(self) -> AudioPreprocessing:
        """The settings as a part of an encoder's identity."""
        return AudioPreprocessing(
            features="waveform (reflected)",
            bands=0,
            low=0.0,
            high=self.rate / 2,
            window=self.hop / self.rate,
            hop=self.hop / self.rate,
            parts=CLIPS,
            rate=self.rate,
            seconds=float(SECONDS),
        )


def prepare(settings: Settings, media: Sound) -> NDArray[np.float32]:
    """Return the frames of a sound, (1 + most frames, hop) float32.

    The first row begins with the number of frames of a clip and the number of clips: one if the sound lasts at most
    `SECONDS`, otherwise `CLIPS`, spread evenly. Then come the frames of the clips; what is left is 0.
    """
    is_long = resampled_length(media.length, media.rate, settings.rate) > settings.rate * SECONDS
    clips = CLIPS if is_long else 1
    parts = [_framed(part, settings.hop) for part in sound_clips(media, settings.rate, SECONDS // clips, clips)]
    found = np.zeros((1 + settings.frames, settings.hop), np.float32)
    found[0, :2] = len(parts[0]), clips
    found[1 : 1 + clips * len(parts[0])] = np.concatenate(parts)
    return found


def _framed(samples: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    """Return whole frames, (frames, hop). The end is mirrored, as transformers' extractor does it."""
    return np.pad(samples, (0, -len(samples) % hop), "reflect").reshape(-1, hop)


def cut(prepared: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Yield the clips of n prepared sounds, by length: the sound of each clip (m,), and the clips (m, frames, hop).

    Clips that come together last `SECONDS` at most, because the codec's first layers need much memory for each sample.
    """
    lengths, counts = prepared[:, 0, :2].astype(int).T
    for length in np.unique(lengths):
        own = np.flatnonzero(lengths == length)
        sounds = np.repeat(own, counts[own])
        clips = np.concatenate([prepared[i, 1 : 1 + counts[i] * length].reshape(counts[i], length, -1) for i in own])
        most = max(1, (prepared.shape[1] - 1) // length)
        for start in range(0, len(clips), most):
            yield sounds[start : start + most], clips[start : start + most]
