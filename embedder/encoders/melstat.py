"""`melstat`: statistics of a sound's log-mel spectrum. It has no weights and needs no torch, so sounds work everywhere.

These features are a classic of audio classification before learned ones: mean and deviation over time of spectral bands
(Aucouturier & Pachet 2004), here in parts of the sound, so that order counts. Learned features have to beat it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder import probe
from embedder.encoder import Embedding, Encoder, require_modality
from embedder.media import Media, modality_of
from embedder.media.audio import Sound
from embedder.media.mel import log_mel
from embedder.spec import AudioPreprocessing, EncoderSpec, Modality

NAME = "melstat"
AUDIO = AudioPreprocessing(features="mel-statistics", bands=48, low=50.0, high=8000.0, window=0.025, hop=0.01, parts=4)
DIM = AUDIO.bands * (2 * AUDIO.parts + 1)
SPEC = EncoderSpec(
    architecture="headwater:melstat",
    weights="none",
    activation="none",
    output="statistics",
    dim=DIM,
    audio=AUDIO,
)


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None) -> Encoder:  # noqa: ARG001
    """Return the encoder. It has one engine, NumPy, so the arguments change nothing."""
    return MelStatistics()


def statistics(sound: Sound) -> NDArray[np.float32]:
    """Return a vector (DIM,): mean and standard deviation of each band in each part, then each band's mean change.

    The change is absolute, from one frame to the next.
    """
    a = AUDIO
    spectrum = log_mel(sound, bands=a.bands, low=a.low, high=a.high, window=a.window, hop=a.hop).astype(np.float64)
    edges = np.linspace(0, len(spectrum), a.parts + 1)
    bounds = zip(np.floor(edges[:-1]).astype(int), np.ceil(edges[1:]).astype(int), strict=True)
    parts = [spectrum[start:stop] for start, stop in bounds]  # a frame that an edge cuts belongs to both parts
    moments = [moment for part in parts for moment in (part.mean(axis=0), part.std(axis=0))]
    change = np.abs(np.diff(spectrum, axis=0)).mean(axis=0) if len(spectrum) > 1 else np.zeros(a.bands)
    return np.concatenate([*moments, change]).astype(np.float32)


class MelStatistics:
    """Implements `embedder.encoder.Encoder`. `prepare` computes the vectors, because it runs on many threads."""

    name = NAME
    spec = SPEC
    backend = "numpy"

    def prepare(self, media: Media) -> NDArray[np.float32]:
        require_modality(NAME, SPEC, modality_of(media))
        assert isinstance(media, Sound)  # noqa: S101  # for the type checker
        return statistics(media)

    def embed(self, inputs: NDArray[np.float32], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        require_modality(NAME, SPEC, modality)
        if tokens:
            raise ValueError(f"{NAME} gives no tokens; ask for vectors only")
        if inputs.dtype != np.float32 or inputs.ndim != 2 or inputs.shape[1] != DIM:
            raise ValueError(
                f"{NAME} takes float32 of shape (n, {DIM}), as prepare() makes them, not {inputs.dtype} {inputs.shape}"
            )
        return Embedding(inputs.copy())

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise ValueError(f"{NAME} takes no text ({len(texts)} given); use an encoder with a text side, e.g. lite0")

    def reference_probe(self) -> NDArray[np.float32]:
        return probe.embed(self)
