"""Measurements behind choices in `embedder.encoders.lite`: how images are cropped, and which layers stay in fp32.

python -m benchmarks.lite --data FOLDER      with clothing10, caltech99 and flowers5 as Parquet in FOLDER
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.accuracy import LEAST, accuracies
from benchmarks.measure import machine
from embedder import probe, registry
from embedder.encoder import Encoder
from embedder.encoders import lite
from embedder.encoders.lite.configs import CONFIGS
from embedder.engines.cache import Cache
from embedder.engines.graph_encoder import GraphEncoder
from embedder.engines.openvino_engine import OpenVINOEngine
from embedder.media.image import decode
from services.cli import demo_photos
from services.settings import Settings

PHOTOS = 50


def cropped(data: Path) -> None:
    """Print the test accuracy of a Gaussian head with the full short side, and with timm's crop of an eighth."""
    for resize in (224, 256):
        CONFIGS["lite0"] = replace(CONFIGS["lite0"], resize=resize)
        found = accuracies(registry.load("lite0", cache_dir=Settings().cache), data)
        print(f"short side {resize}: " + ", ".join(f"{task} {found[task].accuracy:.3f}" for task in LEAST))


def precisions(encoder: str) -> Iterator[tuple[str, Encoder]]:
    """Yield an encoder in bf16 with fewer and fewer rounded layers, each with a description."""
    cache = Cache(Settings().cache)
    plan = lite.blueprint(encoder)
    assert plan.image.bf16 is not None
    everything = replace(plan.image, bf16=None)
    keep_fp32 = plan.image.bf16.keep_fp32
    graphs = {
        "everything in bf16": everything,
        "first convolutions in fp32": replace(everything, key=f"{everything.key} {keep_fp32}", keep_fp32=keep_fp32),
        "and biases corrected": plan.image,
    }
    for name, graph in graphs.items():
        yield name, GraphEncoder(encoder, replace(plan, image=graph), OpenVINOEngine(cache, "bf16"), cache)


def rounded(name: str, photos: Mapping[str, Sequence[bytes]]) -> None:
    """Print the cosines of single photos' bf16 and fp32 vectors."""
    exact = registry.load(name, backend="torch-cpu-fp32", cache_dir=Settings().cache)
    pixels = {source: np.stack([exact.prepare(decode(data).image) for data in each]) for source, each in photos.items()}
    wanted = {source: exact.embed(each).vectors for source, each in pixels.items()}
    for how, encoder in precisions(name):
        probed = probe.check(encoder, exact.reference_probe(), least_cosine=0)
        print(f"{name}, {how}: cosine to fp32 of the probe {probed:.4f}")
        for source, each in pixels.items():
            cosines = cosine(encoder.embed(each).vectors, wanted[source])
            print(
                f"  {source}: worst {cosines.min():.4f}, median {np.median(cosines):.4f}, "
                f"{(cosines < 0.999).sum()} of {len(cosines)} below 0.999"
            )


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def photos(data: Path) -> dict[str, list[bytes]]:
    """Return photos to test bf16 on, by source: coloured photos, and grey, nearly uniform photos."""
    paths = (data / f"{task}.parquet" for task in ("clothing10", "flowers5"))
    tables = [pq.read_table(path, columns=["image"])["image"] for path in paths]
    coloured = [image for table in tables for image in table.to_pylist()[:PHOTOS]]
    cells = [cell.path.read_bytes() for cell in demo_photos.cells()[: 2 * PHOTOS]]
    return {"clothing10 and flowers5": coloured, "solar cells": cells}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    print(machine())
    for name in CONFIGS:
        rounded(name, photos(data))
    cropped(data)


if __name__ == "__main__":
    main()
