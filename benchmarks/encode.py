"""Speed and latency of an encoder's engines, compared with the library's own eager fp32 in the same process.

    python -m benchmarks.encode [--encoder lite0] [--backends auto openvino-fp32] [--rounds 7]

Default encoders: lite0, and ViT-B/32 with random weights (`benchmarks.standin`). The engines take turns, round by
round, so that other load on the machine affects all of them; medians are printed. Pixels are ready before the clock
starts. On a GPU: --backends torch-cuda-fp16 torch-cuda-fp16-compile torch-cuda-bf16-compile.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import standin
from benchmarks.measure import machine, verdict
from embedder import registry
from embedder.encoders.lite import network
from embedder.encoders.lite.configs import CONFIGS
from embedder.spec import ImagePreprocessing
from services.settings import Settings

Pixels = NDArray[np.uint8]

LEAST_RATIO = {"lite0": 7.0, standin.NAME: 2.3}
"""Least ratio of the default CPU engine's speed to the library's eager fp32, in the largest batch."""


def eager(name: str) -> Callable[[Pixels], object]:
    """Return the library's own module, unchanged: fp32, default memory layout, normalisation included."""
    if name in CONFIGS:
        config = CONFIGS[name]
        return _runner(network.build(config, tokens=False), config.image)
    from embedder.encoders import openclip

    plan = openclip.blueprint(name.partition("/")[2])
    assert plan.spec.image is not None
    return _runner(plan.image.build(), plan.spec.image)


def _runner(module: torch.nn.Module, image: ImagePreprocessing) -> Callable[[Pixels], object]:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (image.mean, image.std))

    def run(pixels: Pixels) -> object:
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            return module((x.float() / 255 - mean) / std)

    return run


def measure(runs: dict[str, Callable[[Pixels], object]], pixels: Pixels, rounds: int) -> dict[str, float]:
    """Return the median time of a call in seconds, {name: seconds}."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(pixels)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(pixels)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def compare(name: str, encoder: str, options: argparse.Namespace) -> None:
    """Print the figures of one encoder for each batch size, and the verdict on the first backend."""
    encoders = [registry.load(encoder, backend=each, cache_dir=Settings().cache) for each in options.backends]
    runs: dict[str, Callable[[Pixels], object]] = {"eager fp32": eager(encoder)}
    runs |= {each.backend: each.embed for each in encoders}
    image = encoders[0].spec.image
    assert image is not None
    for size in sorted(options.batches):
        pixels = np.random.default_rng(0).integers(0, 256, (size, image.size, image.size, 3), dtype=np.uint8)
        medians = measure(runs, pixels, options.rounds * (1 if size > 8 else 4))
        for backend, seconds in medians.items():
            ratio = medians["eager fp32"] / seconds
            print(
                f"{name}, batch {size:3d}  {backend:22s} {1000 * seconds:8.1f} ms  {size / seconds:6.0f} images/s  "
                f"{ratio:5.2f} ×"
            )
    if name in LEAST_RATIO:
        ratio = medians["eager fp32"] / medians[encoders[0].backend]
        print(verdict(f"{name}, {encoders[0].backend} ÷ eager fp32", ratio, LEAST_RATIO[name], "×", at_least=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", nargs="+", default=[*LEAST_RATIO])
    parser.add_argument("--backends", nargs="+", default=["auto", "openvino-fp32", "torch-cpu-fp32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        for name in options.encoder:
            compare(name, standin.resolve(name, Path(folder)), options)


if __name__ == "__main__":
    main()
