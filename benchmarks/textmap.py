"""Accuracy of the text maps of lite0, lite1 and lite2 on classes that they were not learned from.

    python -m benchmarks.textmap [--data FOLDER]

The first figures are on ImageNet, in five folds of 200 held-out classes: a class's row of the classifier replaces its
images and is matched with 200 texts. With --data, the other figures are zero-shot accuracies on the images of
caltech99.parquet without the split "ood".
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embedder import registry
from embedder.encoders.lite import make_text_map
from embedder.encoders.lite.configs import CONFIGS
from embedder.media.image import decode

PROMPTS = ("{}", "a photo of a {}.")


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def held_out(e: make_text_map.Examples, targets: NDArray[np.float64], strength: float) -> tuple[float, float]:
    """Return the top-1 and top-5 accuracy over five folds."""
    order = np.random.RandomState(0).permutation(len(targets))
    first = np.searchsorted(e.classes, np.arange(len(targets)))  # the name is the first text of a class
    ranks = []
    for fold in (order[i::5] for i in range(5)):
        seen = ~np.isin(e.classes, fold)
        matrix, centre = make_text_map.ridge(e.vectors[seen], targets[e.classes[seen]], e.weights[seen], strength)
        scores = targets[fold] @ unit((e.vectors[first[fold]] - centre) @ matrix).T
        ranks.append((scores > np.diag(scores)[:, None]).sum(1))
    found = np.concatenate(ranks)
    return float((found == 0).mean()), float((found < 5).mean())


def zero_shot(name: str, path: Path) -> float:
    table = pq.read_table(path, columns=["image", "label"], filters=[("split", "!=", "ood")])
    encoder = registry.load(name)
    labels = [str(label) for label in table["label"].to_pylist()]
    names = sorted(set(labels))
    texts = sum(unit(encoder.embed_texts([prompt.format(name) for name in names])) for prompt in PROMPTS)
    images = table["image"].to_pylist()
    right = 0
    for start in range(0, len(images), 32):
        pixels = np.stack([encoder.prepare(decode(data).image) for data in images[start : start + 32]])
        best = (encoder.embed(pixels).vectors @ unit(np.asarray(texts)).T).argmax(1)
        right += sum(names[i] == label for i, label in zip(best, labels[start : start + 32], strict=True))
    return right / len(images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    data = parser.parse_args().data
    e = make_text_map.examples()
    for name in CONFIGS:
        targets = make_text_map.targets(name)
        for strength in (0.1, 0.3, 1.0, 3.0, 10.0):
            top1, top5 = held_out(e, targets, strength)
            print(f"{name}, ridge {strength:4.1f}: 200 unseen ImageNet classes, top-1 {top1:.3f}, top-5 {top5:.3f}")
        if data is not None:
            print(f"{name}: zero-shot on caltech99 {zero_shot(name, data / 'caltech99.parquet'):.3f}")


if __name__ == "__main__":
    main()
