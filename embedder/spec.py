"""What an encoder is, as data. Standard library only: the store and the heads import nothing else of this package."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, Self, get_args

Fingerprint = str
"""sha256 (64 hex digits) of a spec's canonical JSON: the identity of a vector space."""

Modality = Literal["image", "audio", "depth", "thermal", "imu", "video"]
"""What an asset is. Texts are no assets: they are embedded when they are asked for."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePreprocessing:
    """How decoded RGB pixels become the network's input.

    The short side is resized to `resize` pixels, or with `crop` ``squash`` both sides, whatever the picture's
    shape; then the centre `size` × `size` is cut out, scaled to [0, 1] and normalised per channel with `mean` and
    `std`. Where the centre lies between two pixels, ``centre-floor`` takes the lower, as transformers does, the others
    the even one, as torchvision does.
    """

    size: int
    resize: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: str = "centre"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPreprocessing:
    """How decoded samples become the network's input: a mel spectrogram.

    Attributes:
        features: which code makes them, e.g. ``mel-statistics``.
        bands: of the mel scale, from `low` to `high` Hz.
        window, hop: of a frame, seconds.
        parts: into how many equal parts of time, or clips, a sound is cut.
        rate: to which samples are brought first, Hz; None for whatever rate a file has.
        seconds: of a clip; None for whatever a part takes.
        mean, std: of the values, for networks that were trained on normalised ones.
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
    """How a depth map or a thermal image becomes the network's input.

    The short side is resized to `resize`, the centre `size` × `size` is cut out, less `mean`, over `std`.

    Attributes:
        values: what is made of the file's values first: ``disparity`` of depths, or ``brightness``.
        scale, most: of disparities, metres × pixels: `scale` over the depth, at most `most`, then over `most`.
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
    """How motion becomes the network's input: `samples` readings, by `interpolation` between those of the file."""

    samples: int
    interpolation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPreprocessing:
    """How a video becomes the network's input: `clips` × `crops` views of it, whose vectors are averaged.

    Clips of `seconds` are spread evenly over the video; of each, `frames` frames, the first and the last among them.
    The short side is resized to `resize`; `crops` squares of `size` are spread along the long side. Then as images.
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
    """Everything that can change a number that an encoder gives, and nothing else.

    Names, devices, precisions and backends are not in it: two names of one network share a fingerprint, and
    a precision has to pass the probe instead (see `embedder.probe`).

    Attributes:
        architecture: library and model, e.g. ``timm:tf_efficientnet_lite0``.
        weights: sha256 over the image network's tensors (names, shapes, values), not over a file format.
        activation: which activation the network runs with, e.g. ``quickgelu`` (OpenAI's CLIP) or ``gelu``.
        output: which tensor is taken, e.g. ``pooled`` or ``projected``; where tokens are not of the last layer,
            of which, e.g. ``projected + penultimate tokens``.
        dim: width d of a vector.
        tokens: (P, F), the number of patch tokens and their width; None when the encoder gives none.
        image, audio, depth, thermal, imu, video: preprocessing of each; None when the encoder takes none of it.
        text: sha256 over all that a text passes through; None when the encoder takes no text.
        revision: ours; raised when our own code changes the numbers.
        parent: of a derived encoder, the fingerprint of the encoder whose vectors are adapted; None for any other.
        adapter: of a derived encoder, the digest of the adapter.
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
        """The spec as JSON with sorted keys, no spaces and no absent fields.

        Absent (None) fields are left out so that a field added later does not change today's fingerprints.
        """
        return json.dumps(_present(asdict(self)), sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def fingerprint(self) -> Fingerprint:
        return _fingerprint(self)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the encoder takes beside text."""
        return tuple(each for each in MODALITIES if getattr(self, each) is not None)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `canonical_json`. Raises ValueError for JSON that is not a spec."""
        try:
            fields: dict[str, Any] = json.loads(text)
            for modality, kind in _PREPROCESSING.items():
                if found := fields.get(modality):
                    fields[modality] = kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})
            if tokens := fields.get("tokens"):
                fields["tokens"] = tuple(tokens)
            return cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not an encoder spec: {error}; got {text[:200]!r}") from error


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is None, in preprocessing too."""
    inner = {name: _present(value) if isinstance(value, dict) else value for name, value in fields.items()}
    return {name: value for name, value in inner.items() if value is not None}


@lru_cache(maxsize=256)
def _fingerprint(spec: EncoderSpec) -> Fingerprint:
    """Remembered, because services ask for it several times a request."""
    return hashlib.sha256(spec.canonical_json().encode()).hexdigest()
