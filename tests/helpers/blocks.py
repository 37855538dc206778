"""An encoder without a network, with tokens, for tests of jobs and services that move vectors about."""

from typing import Any

import numpy as np

from embedder import probe
from embedder.encoder import Embedding
from embedder.spec import EncoderSpec, ImagePreprocessing

HALF = (0.5, 0.5, 0.5)
IMAGE = ImagePreprocessing(size=8, resize=8, interpolation="bicubic", mean=HALF, std=HALF)


class Blocks:
    """An encoder without a network: its tokens are the mean colours of the four quarters of an image."""

    name, backend = "blocks", "none"
    spec = EncoderSpec(
        architecture="blocks", weights="w", activation="none", output="pooled", dim=12, image=IMAGE, tokens=(4, 3)
    )

    def __init__(self) -> None:
        self.batches: list[int] = []

    def prepare(self, media: Any) -> np.ndarray:
        return np.asarray(media.resize((8, 8)))

    def embed(self, inputs: np.ndarray, *, modality: str = "image", tokens: bool = False) -> Embedding:
        self.batches.append(len(inputs))
        quarters = inputs.reshape(-1, 2, 4, 2, 4, 3).mean(axis=(2, 4)).reshape(-1, 4, 3)
        return Embedding(quarters.reshape(-1, 12).astype(np.float32), quarters.astype(np.float16) if tokens else None)

    def reference_probe(self) -> np.ndarray:
        return probe.embed(self)
