"""Training with gradients, the decoder and the adapter: seconds, and whether the device was used."""

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.gpu import part
from benchmarks.gpu.part import Run
from classifiers.fit.discrimination.adapter import fit_adapter
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.fit.multilabel.decoder import DecoderClassifier


def measure(run: Run) -> None:
    for what, make in {"decoder": decoder, "adapter": adapter}.items():
        if run.clock.measured(what=what) or run.clock.left < 2:
            continue
        train, rows = make(run.small)
        start = time.perf_counter()
        train()
        took = time.perf_counter() - start
        used = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        run.clock.add(what=what, rows=rows, seconds=took, **{"MB on the device": used / 1e6})


def decoder(small: bool) -> tuple[Callable[[], object], int]:
    """One epoch on tokens of ViT-B/32, 49 × 768, with 80 labels."""
    random, rows = np.random.default_rng(0), 64 if small else 2048
    tokens = random.standard_normal((rows, 49, 768)).astype(np.float16)
    labels = random.random((rows, 80)) < 0.04
    text = random.standard_normal((80, 512)).astype(np.float32)
    model = DecoderClassifier(epochs=1)
    return lambda: model.fit(tokens, labels, text=text), rows


def adapter(small: bool) -> tuple[Callable[[], object], int]:
    """One epoch on vectors of 512 numbers, with a cluster for every fifty rows."""
    random, rows = np.random.default_rng(0), 500 if small else 50_000
    Z = random.standard_normal((rows, 512)).astype(np.float32)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    centres = Z[:: 5 if small else 50]
    nearest = random.integers(0, len(centres), (rows, 8))
    return lambda: fit_adapter(Z, centres, nearest, Recipe(epochs=1)), rows


if __name__ == "__main__":
    part.main("training", __doc__, measure)
