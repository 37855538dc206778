"""The encoder `colours`: the share of an image that each colour fills. It uses NumPy, with every method written out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from headwater.embedder import probe
from headwater.embedder.encoder import Embedding, require_modality
from headwater.embedder.media import Media, modality_of
from headwater.embedder.media.image import fit
from headwater.embedder.spec import EncoderSpec, ImagePreprocessing, Modality
from numpy.typing import NDArray
from PIL import Image

LEVELS = 5  # levels of red, of green and of blue
SIZE = 64

IMAGE = ImagePreprocessing(size=SIZE, resize=SIZE, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))

# The spec lists everything that can change a number in a vector; its hash identifies the vectors. When you change the
# code that makes the vectors, raise `revision`, so that old and new vectors are stored apart.
SPEC = EncoderSpec(
    architecture="example:colours",
    weights="none",
    activation="none",
    output="histogram",
    dim=LEVELS**3,
    image=IMAGE,
    revision=1,
)


def histograms(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return square roots of shares (n, LEVELS³) for (n, SIZE, SIZE, 3). Linear heads prefer them to shares."""
    levels = pixels.reshape(len(pixels), SIZE * SIZE, 3).astype(np.int64) * LEVELS // 256
    colours = levels @ (LEVELS**2, LEVELS, 1)
    counts = [np.bincount(image, minlength=SPEC.dim) for image in colours]
    return np.sqrt(np.array(counts, np.float32).reshape(-1, SPEC.dim) / (SIZE * SIZE))


class Colours:
    """Implements `embedder.encoder.Encoder`."""

    name = "colours"
    spec = SPEC
    backend = "numpy"

    def prepare(self, media: Media) -> NDArray[np.uint8]:
        require_modality(self.name, SPEC, modality_of(media))
        assert isinstance(media, Image.Image)
        return fit(media, IMAGE)

    def embed(self, inputs: NDArray[np.uint8], *, modality: Modality = "image", tokens: bool = False) -> Embedding:
        require_modality(self.name, SPEC, modality)
        if tokens:
            raise ValueError(f"{self.name} gives no tokens; ask for vectors only")
        if inputs.dtype != np.uint8 or inputs.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"{self.name} takes uint8 (n, {SIZE}, {SIZE}, 3), not {inputs.dtype} {inputs.shape}")
        return Embedding(histograms(inputs))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise ValueError(f"{self.name} takes no text ({len(texts)} given)")

    def reference_probe(self) -> NDArray[np.float32]:
        return probe.embed(self)


def load(name: str, *, backend: str, cache_dir: Path, threads: int | None) -> Colours:
    """Return the encoder. The entry point names this function. There is one engine, so the arguments have no effect."""
    return Colours()
