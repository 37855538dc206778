"""Encoders alone, on random pixels: images/s, TFLOP/s, and the share of this card's own bf16 matrix product.

"engine" is this project's engine in bf16, from an array of bytes in memory to an array of vectors in memory, with as
many batches under way as it asks for. "engine, fp8" is the same with its linear layers in fp8. All other modes start
from normalised bf16 pixels on the device and leave the vectors there.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import part
from benchmarks.gpu.networks import Net, nets
from benchmarks.gpu.part import Run, line, rounds
from benchmarks.gpu.record import find
from embedder import probe
from embedder.encoder import Run as Network
from embedder.engines.fp8 import quantise
from embedder.engines.torch_engine import TorchEngine
from embedder.spec import ImagePreprocessing

MAIN, OTHERS = 256, (1, 8, 32, 64, 1024)
"""The batch measured first, in all modes, and those measured where time is left."""
MODES = ("engine", "library, eager", "library, compiled", "engine, fp8", "engine, fp8 in all blocks")

WITH_FP8 = ("ViT-L/14", "ViT-H/14")


class EveryBlock(TorchEngine):
    """The engine in fp8, whatever it takes from the cosines: it shows what fp8 could bring."""

    def _quantise(self, network: torch.nn.Module, image: ImagePreprocessing) -> None:
        pixels = torch.zeros((2, image.size, image.size, 3), dtype=torch.uint8, device=self.device).random_(0, 256)
        with torch.inference_mode():
            quantise(network, lambda: network(pixels)[0], math.inf)


@dataclass
class Bench:
    """A network and everything that is timed with it."""

    net: Net
    run: Run
    _made: dict[str, Network] = field(default_factory=dict)

    @cached_property
    def gflop(self) -> float:
        """Floating-point operations of one image in GFLOP; an addition and a multiplication are two."""
        module, fused = self.net.theirs(self.run.device), torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # the counter does not see into the fused attention
        try:
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                module(self.pixels(1).to(torch.float32))
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
        return counter.get_total_flops() / 1e9

    def pixels(self, batch: int) -> torch.Tensor:
        size = self.net.image.size
        return torch.randn(batch, 3, size, size, device=self.run.device).to(torch.bfloat16)

    def engine(self, mode: str) -> Network:
        """Return the network on this project's engine; the same one at each call. fp8 is only for CUDA."""
        if mode not in self._made:
            device = self.run.device.type
            engine = {
                "engine": lambda: TorchEngine(device, "bf16", mode="eager" if self.run.small else None),
                "engine, fp8": lambda: TorchEngine(device, "fp8"),
                "engine, fp8 in all blocks": lambda: EveryBlock(device, "fp8"),
            }[mode]()
            self._made[mode] = engine.compile(self.net.graph(self.run.device))
        return self._made[mode]

    def rounds(self, mode: str, batch: int) -> list[float]:
        """Return the seconds of a batch in several rounds."""
        least = 0.1 if self.run.small else 0.4
        if mode.startswith("engine"):
            size = self.net.image.size
            pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
            lanes = self.engine(mode).pace.lanes if batch > 1 else 1
            return overlapped(lambda: self.engine(mode)([pixels]), lanes, least)
        module = self.net.theirs(self.run.device).to(torch.bfloat16)
        forward = torch.compile(module) if mode == "library, compiled" else module
        pixels = self.pixels(batch).to(memory_format=torch.channels_last)

        def once() -> object:
            with torch.inference_mode():
                return forward(pixels)

        return rounds(once, self.run.device, least=least)


def overlapped(run: Callable[[], object], lanes: int, least: float) -> list[float]:
    """Return the seconds of a call in five rounds, with `lanes` calls at once. Two calls are not counted."""
    run()
    start = time.perf_counter()
    run()
    calls, found = lanes * max(2, round(least / 5 / (time.perf_counter() - start))), []
    with ThreadPoolExecutor(lanes) as pool:
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(lambda _: run(), range(calls)))
            found.append((time.perf_counter() - start) / calls)
    return found


def plan(benches: list[Bench]) -> Iterator[tuple[Bench, str, int]]:
    """Yield what to measure, in the order of its worth: the large networks in all modes, the others, other batches."""
    small = benches[0].run.small
    main = 4 if small else MAIN
    for bench in benches:
        for mode in MODES[:3] if small or bench.net.name not in WITH_FP8 else MODES:
            yield bench, mode, main
    for bench in benches:
        for batch in (1,) if small else OTHERS:
            yield bench, "engine", batch
    for bench in benches:
        yield bench, "library, eager", 1


def measure(run: Run) -> None:
    benches = [Bench(net, run) for net in nets(run.small)]
    for bench, mode, batch in plan(benches):
        facts = {"network": bench.net.name, "mode": mode, "batch": batch}
        if run.clock.measured(**facts) or run.clock.left < (1 if run.small else 12):
            continue
        try:
            one(bench, mode, batch, facts)
        except Exception as error:  # a mode that this network or this torch cannot run is a result too
            run.clock.add(**facts, note=line(error))
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
    agreement(benches, run)


def one(bench: Bench, mode: str, batch: int, facts: dict[str, Any]) -> None:
    times, clock = bench.rounds(mode, batch), bench.run.clock
    took = statistics.median(times)
    speed = bench.gflop * batch / took / 1e3
    row = {**facts, "ms": 1e3 * took, "images/s": batch / took, "TFLOP/s": speed}
    row["spread"] = (max(times) - min(times)) / took
    if (best := ceiling(bench.run)) is not None:
        row["share of bf16 product"] = speed / best
    clock.add(**row)


def ceiling(run: Run) -> float | None:
    """Return this card's bf16 matrix product in TFLOP/s, if the part `ceilings` measured it."""
    row = find(run.clock.rows_of("ceilings"), what="matrix product bf16")
    return None if row is None or "value" not in row else float(row["value"])


def agreement(benches: list[Bench], run: Run) -> None:
    """Add the worst cosine of the engines' vectors to fp32 ones, on random pixels and the same weights."""
    for bench in benches:
        facts = {"network": bench.net.name, "mode": "worst cosine to fp32"}
        if run.clock.measured(**facts) or run.clock.left < 5 or run.device.type != "cuda" or not bench._made:
            continue
        size = bench.net.image.size
        pixels = np.random.default_rng(1).integers(0, 256, (32, size, size, 3), dtype=np.uint8)
        exact = TorchEngine("cuda", "fp32", mode="eager").compile(bench.net.graph(run.device))([pixels])[0]
        found = {mode: bench.engine(mode)([pixels])[0] for mode in bench._made}
        run.clock.add(**facts, **{mode: float(probe.cosines(exact, vectors).min()) for mode, vectors in found.items()})


if __name__ == "__main__":
    part.main("forward", __doc__, measure)
