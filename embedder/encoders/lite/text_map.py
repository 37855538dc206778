"""The text side of lite0, lite1 and lite2: MiniLM vectors, mapped linearly into the space of the image vectors.

The maps are committed files; `embedder.encoders.lite.make_text_map` makes them.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from embedder.encoders.lite import minilm

if TYPE_CHECKING:
    import torch


def artifact(encoder: str) -> Path:
    """Return the path of an encoder's committed map."""
    return Path(__file__).parent / "data" / f"{encoder}_text_map.safetensors"


def digest(artifact_sha256: str) -> str:
    """Return the identity of everything that turns a text into a vector: MiniLM, its tokeniser and the map."""
    return hashlib.sha256(f"{minilm.WEIGHTS} {minilm.TOKENIZER_SHA256} {artifact_sha256}".encode()).hexdigest()


def build(encoder: str, artifact_sha256: str) -> "torch.nn.Module":
    """Return a frozen fp32 module: (ids, mask) → (vectors (n, d),). Raises WeightsError, also for a changed map."""
    import torch
    from safetensors.torch import load

    from embedder.weights.checkpoint import check_digest, frozen

    content = artifact(encoder).read_bytes()
    check_digest(hashlib.sha256(content).hexdigest(), artifact_sha256, str(artifact(encoder)))
    tensors = load(content)

    class TextSide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sentence = minilm.build()
            self.register_buffer("matrix", tensors["matrix"].float())
            self.register_buffer("centre", tensors["centre"].float())

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor]:
            return ((self.sentence(ids, mask) - self.centre) @ self.matrix,)

    return frozen(TextSide())
