"""The text side of lite0, lite1 and lite2: MiniLM vectors, mapped linearly into the space of the image vectors.

`python -m embedder.encoders.lite.textmap [ENCODER…]` remakes ``data/<encoder>_text_map.safetensors`` from what timm and
the weight packages ship.

The map is ridge regression from texts about the 1000 ImageNet classes to the rows of the image network's classifier,
centred and of unit norm: the directions in image space that mean these classes. It goes from text to images, not
back, because the reverse makes a few texts the neighbours of everything (hubness: Shigeto et al. 2015; cf. DeViSE,
Frome et al. 2013, and ConSE, Norouzi et al. 2013).
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.encoders.lite import minilm

if TYPE_CHECKING:
    import torch
    from timm.data import ImageNetInfo


def artifact(encoder: str) -> Path:
    """The committed map of an encoder."""
    return Path(__file__).parent / "data" / f"{encoder}_text_map.safetensors"


def digest(artifact_sha256: str) -> str:
    """Identity of all that a text passes through on the way to an encoder's space."""
    return hashlib.sha256(f"{minilm.WEIGHTS} {minilm.TOKENIZER_SHA256} {artifact_sha256}".encode()).hexdigest()


RIDGE = 1.0
"""On held-out ImageNet classes (`benchmarks/textmap.py`) 1 to 10 do equally well; less is better for other pictures."""


def class_texts(info: "ImageNetInfo", index: int) -> list[tuple[str, float]]:
    """English texts for an ImageNet class, and how much each counts; the weights of a class add up to 1."""
    name, *synonyms = info.index_to_description(index).split(", ")
    gloss = info.index_to_description(index, detailed=True).split(": ", 1)[1]
    texts = {name: 2.0, f"a photo of a {name}.": 2.0, f"{name}: {gloss}": 2.0, gloss: 1.0}
    texts |= {synonym: 1.0 for synonym in synonyms if synonym not in texts}
    total = sum(texts.values())
    return [(text, weight / total) for text, weight in texts.items()]


def ridge(
    X: NDArray[np.float64], Y: NDArray[np.float64], weights: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted ridge regression on centred X (n, d) and Y (n, e): (matrix (d, e), centre (d,)).

    The prediction is ``(x − centre) matrix``, without the mean of Y.
    """
    centre = weights @ X / weights.sum()
    mean = weights @ Y / weights.sum()
    A = (X - centre) * weights[:, None]
    matrix = np.linalg.solve(A.T @ (X - centre) + strength * np.eye(X.shape[1]), A.T @ (Y - mean))
    return matrix, centre


def directions(classifier: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rows of a classifier (classes, d) → what tells the classes apart: less their mean, of unit norm."""
    rows = classifier.astype(np.float64)
    rows -= rows.mean(0)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def encode(texts: Sequence[str]) -> NDArray[np.float64]:
    """MiniLM's vectors (n, 384), in fp32 torch. Short texts with short ones: padding costs time."""
    import torch

    network, tokenise = minilm.build(), minilm.tokeniser()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.empty((len(texts), minilm.DIM))
    with torch.inference_mode():
        for start in range(0, len(order), 128):
            rows = order[start : start + 128]
            vectors[rows] = network(*map(torch.from_numpy, tokenise([texts[i] for i in rows]))).numpy()
    return vectors


@dataclass(frozen=True, slots=True)
class Examples:
    """What a map is learned from: vectors (n, 384) and weights (n,) of texts, and the class that each tells of."""

    vectors: NDArray[np.float64]
    weights: NDArray[np.float64]
    classes: NDArray[np.int64]


def examples() -> Examples:
    """Texts of all ImageNet classes, from what timm and the weight packages ship."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    rows = [(i, text, weight) for i in range(1000) for text, weight in class_texts(info, i)]
    classes, texts, weights = zip(*rows, strict=True)
    return Examples(encode(texts), np.array(weights), np.array(classes))


def targets(encoder: str) -> NDArray[np.float64]:
    """What the texts of each class are to mean in an encoder's space, (1000, d)."""
    from embedder.encoders import lite

    return directions(lite.state(lite.RECORDS[encoder])["classifier.weight"].numpy())


def make(encoder: str, e: Examples) -> dict[str, NDArray[np.float16]]:
    """The tensors of the artifact: matrix (384, d) and centre (384,)."""
    matrix, centre = ridge(e.vectors, targets(encoder)[e.classes], e.weights, RIDGE)
    return {"matrix": matrix.astype(np.float16), "centre": centre.astype(np.float16)}


def build(encoder: str, artifact_sha256: str) -> "torch.nn.Module":
    """(ids, mask) → (vectors (n, d),), a frozen fp32 module: MiniLM and the encoder's map. Raises WeightsError."""
    import torch
    from safetensors.torch import load

    from embedder.weights import checkpoint as weights

    content = artifact(encoder).read_bytes()
    weights.check_digest(hashlib.sha256(content).hexdigest(), artifact_sha256, str(artifact(encoder)))
    tensors = load(content)

    class TextSide(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sentence = minilm.build()
            self.register_buffer("matrix", tensors["matrix"].float())
            self.register_buffer("centre", tensors["centre"].float())

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor]:
            return ((self.sentence(ids, mask) - self.centre) @ self.matrix,)

    return weights.frozen(TextSide())


def main() -> None:
    from safetensors.numpy import save_file

    from embedder.encoders import lite

    e = examples()
    for encoder in sys.argv[1:] or lite.RECORDS:
        path = artifact(encoder)
        path.parent.mkdir(exist_ok=True)
        save_file(make(encoder, e), path)
        print(f"{path}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
