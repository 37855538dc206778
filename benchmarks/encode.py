"""Images a second and latency of an encoder's engines, beside the library's own eager fp32, in one process.

`python benchmarks/encode.py [--encoder lite0] [--backends auto openvino-fp32] [--rounds 7]`. The competitors take
turns, round by round, so that what else the machine does falls on all alike; medians are printed. Pixels are ready
before the clock starts.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from embedder import lite, registry
from embedder.spec import ImagePreprocessing

Pixels = NDArray[np.uint8]


def eager(name: str) -> Callable[[Pixels], object]:
    """The library's own module as it comes: fp32, default memory layout, normalising included."""
    if name in lite.RECORDS:
        record = lite.RECORDS[name]
        return _runner(lite.build(record, tokens=False), record.image)
    from embedder import openclip

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
    """Median seconds a call."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(pixels)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(pixels)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--backends", nargs="+", default=["auto", "openvino-fp32", "torch-cpu-fp32"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    encoders = [registry.load(options.encoder, backend=backend) for backend in options.backends]
    runs: dict[str, Callable[[Pixels], object]] = {"eager fp32": eager(options.encoder)}
    runs |= {encoder.backend: encoder.embed for encoder in encoders}
    image = encoders[0].spec.image
    assert image is not None
    for size in options.batches:
        pixels = np.random.default_rng(0).integers(0, 256, (size, image.size, image.size, 3), dtype=np.uint8)
        medians = measure(runs, pixels, options.rounds * (1 if size > 8 else 4))
        for name, seconds in medians.items():
            ratio = medians["eager fp32"] / seconds
            print(
                f"batch {size:3d}  {name:16s} {1000 * seconds:8.1f} ms  {size / seconds:6.0f} images/s  {ratio:5.1f} ×"
            )


if __name__ == "__main__":
    main()
