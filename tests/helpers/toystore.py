"""A toy encoder's spec, assets and vectors for small real stores."""

import numpy as np
from numpy.typing import NDArray

from embedder.spec import EncoderSpec
from store import Asset, asset_id

DIM = 8
PROBE = np.eye(3, DIM, dtype=np.float32)


def toy_spec(weights: str = "w", dim: int = DIM, text: str | None = None) -> EncoderSpec:
    return EncoderSpec(
        architecture="toy", weights=weights, activation="gelu", output="pooled", dim=dim, tokens=(3, 4), text=text
    )


def make_assets(n: int, *, start: int = 0) -> list[Asset]:
    contents = [f"image {i}".encode() for i in range(start, start + n)]
    return [
        Asset(id=asset_id(data), uri=f"mem/{i}", modality="image", media_type="image/png", content=data)
        for i, data in enumerate(contents, start)
    ]


def make_vectors(n: int, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((n, dim), np.float32)
