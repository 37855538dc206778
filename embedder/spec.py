"""Specs: an encoder's identity as data. Standard library only, because the store and the heads import this module."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, Self, get_args

Fingerprint = str
"""sha256 (64 hex digits) of a spec's canonical JSON: the identity of a vector space."""

Modality = Literal["image", "audio", "depth", "thermal", "imu", "video"]
"""The modality of an asset. Texts are not assets: they are embedded on demand."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocessing:
    """The preprocessing of images: the way from decoded RGB pixels to the network's input.

    The short side is resized to `resize` pixels. With `crop` ``squash``, both sides are resized to it. Then the
    centre `size` × `size` is cut out, scaled to [0, 1] and normalised per channel with `mean` and `std`. If the
    centre starts between two pixels, ``centre-floor`` uses the lower one, as transformers does; the other values use
    the even one, as torchvision does.

    With crop ``patches``, an image keeps its shape: it is resized to as many patches of `size` × `size` pixels as
    `patches` allows, see `embedder.media.patches`. `resize` is then the side of a square image, pixels.
    """

    size: int
    resize: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: str = "centre"
    patches: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a prepared image, uint8: (size, size, 3), or (patches + 1, 3 size²) if images keep their shape."""
        return (self.size, self.size, 3) if self.patches is None else (self.patches + 1, 3 * self.size**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPreprocessing:
    """The preprocessing of sounds: the way from decoded samples to a mel spectrogram, or to the frames of a waveform.

    Attributes:
        features: name of the code that makes the features, e.g. ``mel-statistics``.
        bands: number of bands of the mel scale, from `low` to `high` Hz; 0 for a waveform.
        window, hop: length and distance of the frames, seconds.
        parts: number of equal parts, or of clips, that a sound is cut into.
        rate: sampling rate that samples are converted to first, Hz; None keeps the file's rate.
        seconds: duration of a clip, for a waveform of all clips together; None if parts divide the whole sound.
        mean, std: mean and deviation that normalise the values; None if they are not normalised.
    """

    features: str
    bands: int
    low: float
    high: float
    window: float
    hop: float
    parts: int
    rate: int | None = None
    seconds: float | None = None
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanePreprocessing:
    """The preprocessing of depth maps and thermal images.

    The short side is resized to `resize` and the centre `size` × `size` is cut out. `mean` is subtracted, then the
    values are divided by `std`.

    Attributes:
        values: conversion of the file's values before that: ``disparity`` for depths, or ``brightness``.
        scale, most: for disparities: min(`scale` / depth, `most`) / `most`; `scale` in metres × pixels.
    """

    size: int
    resize: int
    interpolation: str
    values: str
    mean: float
    std: float
    scale: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionPreprocessing:
    """The preprocessing of motion: `interpolation` of the file's readings to `samples` readings."""

    samples: int
    interpolation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPreprocessing:
    """The preprocessing of videos: `clips` × `crops` views, whose vectors are averaged.

    Clips of `seconds` are spread evenly over the video. Each gives `frames` frames, its first and last among them. The
    short side is resized to `resize`, and `crops` squares of `size` are spread along the long side. Pixels are scaled
    and normalised as for images.
    """

    clips: int
    seconds: float
    frames: int
    crops: int
    size: int
    resize: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMPORTED = "imported:"
"""Start of the architecture of encoders without a network: their vectors were imported."""

_PREPROCESSING: dict[Modality, Callable[..., Any]] = {
    "image": ImagePreprocessing,
    "audio": AudioPreprocessing,
    "depth": PlanePreprocessing,
    "thermal": PlanePreprocessing,
    "imu": MotionPreprocessing,
    "video": VideoPreprocessing,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """Everything that can change the numbers of an encoder, and nothing else.

    Names, devices, precisions and backends are not part of it: two names of one network share a fingerprint, and a
    precision has to pass the probe instead (see `embedder.probe`).

    Attributes:
        architecture: library and model, e.g. ``timm:tf_efficientnet_lite0``.
        weights: sha256 over the image network's tensors (names, shapes, values), not over a file format.
        activation: which activation the network runs with, e.g. ``quickgelu`` (OpenAI's CLIP) or ``gelu``.
        output: the tensor that is returned, e.g. ``pooled`` or ``projected``; it also names the layer of the tokens if
            that is not the last one, e.g. ``projected + penultimate tokens``.
        dim: width d of a vector.
        tokens: (P, F), number and width of the patch tokens; None if the encoder gives none.
        image, audio, depth, thermal, imu, video: preprocessing of this modality; None if the encoder does not take it.
        text: sha256 over everything that turns a text into a vector; None if the encoder takes no text.
        revision: raised when our own code changes the numbers.
        parent: fingerprint of the parent of a derived encoder; None for other encoders.
        adapter: digest of the adapter or condenser of a derived encoder; None for other encoders.
    """

    architecture: str
    weights: str
    activation: str
    output: str
    dim: int
    tokens: tuple[int, int] | None = None
    image: ImagePreprocessing | None = None
    audio: AudioPreprocessing | None = None
    text: str | None = None
    revision: int = 1
    parent: str | None = None
    adapter: str | None = None
    depth: PlanePreprocessing | None = None
    thermal: PlanePreprocessing | None = None
    imu: MotionPreprocessing | None = None
    video: VideoPreprocessing | None = None

    def canonical_json(self) -> str:
        """Return the spec as JSON with sorted keys, no spaces and no absent fields.

        Absent (None) fields are left out, so that a field added later does not change today's fingerprints.
        """
        return json.dumps(_present(asdict(self)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def fingerprint(self) -> Fingerprint:
        """Identity of the vector space: sha256 of `canonical_json`."""
        return _fingerprint(self)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities that the encoder takes, not counting text."""
        return tuple(each for each in MODALITIES if getattr(self, each) is not None)

    @property
    def has_network(self) -> bool:
        """False for imported vectors, and for encoders derived from them: nothing can be embedded."""
        return not self.architecture.startswith(IMPORTED)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse what `canonical_json` returned. Raises ValueError for JSON that is not a spec."""
        try:
            fields: dict[str, Any] = json.loads(text)
            for modality, preprocessing in _PREPROCESSING.items():
                if found := fields.get(modality):
                    fields[modality] = preprocessing(
                        **{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
                    )
            if tokens := fields.get("tokens"):
                fields["tokens"] = tuple(tokens)
            return cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not an encoder spec: {error}; got {text[:200]!r}") from error


def imported_spec(name: str, dim: int, *, source: str, schema: str) -> EncoderSpec:
    """Return the spec of imported vectors: what was declared about them, because no network is known.

    Args:
        name: name of the encoder.
        source: what made the vectors, as the user declares it.
        schema: description of the vectors in the imported file, e.g. ``embedding: 512 floats``.
    """
    digest = hashlib.sha256(json.dumps([source, schema]).encode()).hexdigest()
    return EncoderSpec(architecture=IMPORTED + name, weights=digest, activation="unknown", output=source, dim=dim)


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields without those that are None, in preprocessing too."""
    inner = {name: _present(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in inner.items() if value is not None}


@lru_cache(maxsize=256)
def _fingerprint(spec: EncoderSpec) -> Fingerprint:
    """Return the fingerprint. It is remembered, because services read it several times a request."""
    return hashlib.sha256(spec.canonical_json().encode()).hexdigest()
