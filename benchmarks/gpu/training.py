"""Training with gradients and k-means: seconds on the device and on the CPU, for the same work."""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu import part
from benchmarks.gpu.part import Run, line
from classifiers.clustering import kmeans_torch
from classifiers.fit.device import chosen, using
from classifiers.fit.discrimination.adapter import fit_adapter
from classifiers.fit.discrimination.recipe import Recipe
from classifiers.fit.multilabel.bilinear import BilinearClassifier
from classifiers.fit.multilabel.decoder import DecoderClassifier


def measure(run: Run) -> None:
    for device in ("cpu",) if run.small else ("cuda", "cpu"):
        for what, make in WORK.items():
            if run.clock.measured(what=what, on=device) or run.clock.left < 3:
                continue
            work, rows = make(run.small)
            try:
                with using("cuda" if device == "cuda" else "cpu"):
                    if device == "cuda":
                        work()  # the first call pays for the context and for kernels
                    start = time.perf_counter()
                    work()
            except RuntimeError as error:
                run.clock.add(what=what, on=device, rows=rows, note=line(error))
            else:
                run.clock.add(what=what, on=device, rows=rows, seconds=time.perf_counter() - start)


Work = tuple[Callable[[], object], int]


def unit_rows(rows: int) -> NDArray[np.float32]:
    Z = np.random.default_rng(0).standard_normal((rows, 512)).astype(np.float32)
    return Z / np.linalg.norm(Z, axis=1, keepdims=True)


def decoder(small: bool) -> Work:
    """One epoch on tokens of ViT-B/32, 49 × 768, with 80 labels."""
    random, rows = np.random.default_rng(0), 64 if small else 2048
    tokens = random.standard_normal((rows, 49, 768)).astype(np.float16)
    labels = random.random((rows, 80)) < 0.04
    text = random.standard_normal((80, 512)).astype(np.float32)
    return lambda: DecoderClassifier(epochs=1).fit(tokens, labels, text=text), rows


def adapter(small: bool) -> Work:
    """One epoch on vectors of 512 numbers, with a cluster for every fifty rows."""
    Z = unit_rows(500 if small else 50_000)
    centres = Z[:: 5 if small else 50]
    nearest = np.random.default_rng(0).integers(0, len(centres), (len(Z), 8))
    return lambda: fit_adapter(Z, centres, nearest, Recipe(epochs=1)), len(Z)


def bilinear(small: bool) -> Work:
    """Five epochs on vectors of 512 numbers, with 500 labels."""
    random, Z = np.random.default_rng(0), unit_rows(200 if small else 20_000)
    labels = random.random((len(Z), 500)) < 0.02
    text = random.standard_normal((500, 512)).astype(np.float32)
    return lambda: BilinearClassifier(epochs=5).fit(Z, labels, text=text), len(Z)


def kmeans(small: bool) -> Work:
    """25 iterations, a centre for every ten rows. The CPU's figure is of the same code, not of faiss."""
    Z = unit_rows(300 if small else 40_000)

    def work() -> object:
        device = torch.device(chosen(0))  # what `measure` asks for
        return kmeans_torch.kmeans(
            Z, len(Z) // 10, 0, lambda *_: None, iterations=25, most_per_centre=256, device=device
        )

    return work, len(Z)


WORK = {each.__name__: each for each in (kmeans, adapter, decoder, bilinear)}


if __name__ == "__main__":
    part.main("training", __doc__, measure)
