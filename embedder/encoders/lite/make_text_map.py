"""Make the text maps of lite0, lite1 and lite2: `python -m embedder.encoders.lite.make_text_map [ENCODER…]`.

The script writes ``data/<encoder>_text_map.safetensors`` from what timm and the weight packages ship.

The map is a ridge regression from texts about the 1000 ImageNet classes to the rows of the image network's classifier,
centred and of unit norm: the directions in image space that mean these classes. It maps texts to images, because the
reverse direction would make a few texts the neighbours of everything (hubness: Shigeto et al. 2015; cf. DeViSE, Frome
et al. 2013, and ConSE, Norouzi et al. 2013).
"""

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from embedder.encoders.lite import minilm
from embedder.encoders.lite.configs import CONFIGS
from embedder.encoders.lite.network import state
from embedder.encoders.lite.text_map import artifact
from embedder.engines.imagenet import class_texts

RIDGE = 1.0
"""Strength of the ridge. From 1 to 10, held-out ImageNet classes are recognised equally well (`benchmarks/textmap.py`);
on other images a smaller value is better."""


def ridge(
    X: NDArray[np.float64], Y: NDArray[np.float64], weights: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a weighted ridge regression on centred X (n, d) and Y (n, e). Return (matrix (d, e), centre (d,)).

    The prediction is ``(x − centre) matrix``, without the mean of Y.
    """
    centre = weights @ X / weights.sum()
    mean = weights @ Y / weights.sum()
    A = (X - centre) * weights[:, None]
    matrix = np.linalg.solve(A.T @ (X - centre) + strength * np.eye(X.shape[1]), A.T @ (Y - mean))
    return matrix, centre


def directions(classifier: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return classifier weights (classes, d), centred over the classes and scaled to unit norm."""
    rows = classifier.astype(np.float64)
    rows -= rows.mean(0)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def encode(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return MiniLM's vectors (n, 384), computed in fp32. Texts are batched by length, because padding costs time."""
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
    """The training data of a map, one row per text.

    Attributes:
        vectors: (n, 384) text vectors.
        weights: (n,) weights of the texts.
        classes: (n,) the ImageNet class that each text describes.
    """

    vectors: NDArray[np.float64]
    weights: NDArray[np.float64]
    classes: NDArray[np.int64]


def examples() -> Examples:
    """Return the texts of all ImageNet classes that timm ships, as vectors."""
    rows = [(i, text, weight) for i, some in enumerate(class_texts()) for text, weight in some]
    classes, texts, weights = zip(*rows, strict=True)
    return Examples(encode(texts), np.array(weights), np.array(classes))


def targets(encoder: str) -> NDArray[np.float64]:
    """Return the direction that represents each ImageNet class in an encoder's space, (1000, d)."""
    return directions(state(CONFIGS[encoder])["classifier.weight"].numpy())


def make(encoder: str, e: Examples) -> dict[str, NDArray[np.float16]]:
    """Return the tensors of the artifact: matrix (384, d) and centre (384,)."""
    matrix, centre = ridge(e.vectors, targets(encoder)[e.classes], e.weights, RIDGE)
    return {"matrix": matrix.astype(np.float16), "centre": centre.astype(np.float16)}


def main() -> None:
    e = examples()
    for encoder in sys.argv[1:] or CONFIGS:
        path = artifact(encoder)
        path.parent.mkdir(exist_ok=True)
        save_file(make(encoder, e), path)
        print(f"{path}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
