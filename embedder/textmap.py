"""The text side of lite0: MiniLM vectors, mapped linearly into the space of the image vectors.

`python -m embedder.textmap` remakes ``data/lite0_text_map.safetensors`` from what timm and the weight packages ship.

The map is ridge regression from texts about the 1000 ImageNet classes to the rows of the image network's classifier,
centred and of unit norm: the directions in image space that mean these classes. It goes from text to images, not
back, because the reverse makes a few texts the neighbours of everything (hubness: Shigeto et al. 2015; cf. DeViSE,
Frome et al. 2013, and ConSE, Norouzi et al. 2013).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder import minilm

if TYPE_CHECKING:
    import torch

ARTIFACT = Path(__file__).parent / "data" / "lite0_text_map.safetensors"
ARTIFACT_SHA256 = "3d49f88afbb4c00ba5f04cbfca929a3a88f0b86972178ea56104b9d2fd68d86d"

TEXT_DIGEST = hashlib.sha256(f"{minilm.WEIGHTS} {minilm.TOKENIZER_SHA256} {ARTIFACT_SHA256}".encode()).hexdigest()
"""Identity of all that a text passes through."""

RIDGE = 3.0
"""Chosen on held-out ImageNet classes."""


def class_texts(index: int) -> list[str]:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    lemmas = info.index_to_description(index).split(", ")
    gloss = info.index_to_description(index, detailed=True).split(": ", 1)[1]
    return [*lemmas, f"a photo of a {lemmas[0]}", gloss]


def ridge(
    X: NDArray[np.float64], Y: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centred ridge regression: (weight (d, e), centre (d,)) such that Y ≈ (X − centre) weight."""
    centre = X.mean(0)
    A = X - centre
    weight = np.linalg.solve(A.T @ A + strength * np.eye(A.shape[1]), A.T @ (Y - Y.mean(0)))
    return weight, centre


def targets(classifier: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of a classifier (classes, d) → what tells the classes apart: less their mean, of unit norm."""
    rows = classifier.astype(np.float64)
    rows -= rows.mean(0)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def encode(texts: Sequence[str]) -> NDArray[np.float64]:
    import torch

    network, tokenise = minilm.build(), minilm.tokeniser()
    with torch.inference_mode():
        parts = [network(*map(torch.from_numpy, tokenise(texts[i : i + 64]))).numpy() for i in range(0, len(texts), 64)]
    return np.concatenate(parts).astype(np.float64)


def make() -> dict[str, NDArray[np.float16]]:
    from embedder import lite

    classifier = lite.state(lite.RECORDS["lite0"])["classifier.weight"].numpy()
    texts = [class_texts(i) for i in range(len(classifier))]
    rows = np.repeat(np.arange(len(classifier)), [len(t) for t in texts])
    weight, centre = ridge(encode([t for each in texts for t in each]), targets(classifier)[rows], RIDGE)
    return {"weight": weight.astype(np.float16), "centre": centre.astype(np.float16)}


def build() -> "torch.nn.Module":
    """(ids, mask) → (vectors (n, 1280),), a frozen fp32 module: MiniLM and the map."""
    import torch
    from safetensors.torch import load

    from embedder import weights

    content = ARTIFACT.read_bytes()
    weights.check_digest(hashlib.sha256(content).hexdigest(), ARTIFACT_SHA256, str(ARTIFACT))
    tensors = load(content)

    class TextSide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sentence = minilm.build()
            self.register_buffer("weight", tensors["weight"].float())
            self.register_buffer("centre", tensors["centre"].float())

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor]:
            return ((self.sentence(ids, mask) - self.centre) @ self.weight,)

    return weights.frozen(TextSide())


def main() -> None:
    from safetensors.numpy import save_file

    ARTIFACT.parent.mkdir(exist_ok=True)
    save_file(make(), ARTIFACT)
    print(f"{ARTIFACT}: ARTIFACT_SHA256 = {hashlib.sha256(ARTIFACT.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
