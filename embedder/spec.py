"""What an encoder is, as data. Standard library only: the store and the heads import nothing else of this package."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Self

Fingerprint = str
"""sha256 (64 hex digits) of a spec's canonical JSON: the identity of a vector space."""


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
class EncoderSpec:
    """Everything that can change a number that an encoder gives, and nothing else.

    Names, devices, precisions and backends are not in it: two names of one network share a fingerprint, and
    a precision has to pass the probe instead (see `embedder.probe`).

    Attributes:
        architecture: library and model, e.g. ``timm:tf_efficientnet_lite0``.
        weights: sha256 over the image network's tensors (names, shapes, values), not over a file format.
        activation: which activation the network runs with, e.g. ``quickgelu`` (OpenAI's CLIP) or ``gelu``.
        output: which tensor is taken, e.g. ``pooled`` or ``projected``.
        dim: width d of a vector.
        tokens: (P, F), the number of patch tokens and their width; None when the encoder gives none.
        image: preprocessing of images; None when the encoder takes none.
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
    text: str | None = None
    revision: int = 1
    parent: str | None = None
    adapter: str | None = None

    def canonical_json(self) -> str:
        """The spec as JSON with sorted keys, no spaces and no absent fields.

        Absent (None) fields are left out so that a field added later does not change today's fingerprints.
        """
        present = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(present, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def fingerprint(self) -> Fingerprint:
        return _fingerprint(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `canonical_json`. Raises ValueError for JSON that is not a spec."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if image := fields.get("image"):
                fields["image"] = ImagePreprocessing(
                    **image | {"mean": tuple(image["mean"]), "std": tuple(image["std"])}
                )
            if tokens := fields.get("tokens"):
                fields["tokens"] = tuple(tokens)
            return cls(**fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not an encoder spec: {error}; got {text[:200]!r}") from error


@lru_cache(maxsize=256)
def _fingerprint(spec: EncoderSpec) -> Fingerprint:
    """Remembered, because services ask for it several times a request."""
    return hashlib.sha256(spec.canonical_json().encode()).hexdigest()
