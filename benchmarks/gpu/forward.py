"""Encoders alone, on random pixels: images/s, TFLOP/s, and the share of this card's own bf16 matrix product.

"engine" is this project's engine, from an array of bytes in memory to an array of vectors in memory. All other modes
start from normalised bf16 pixels on the device and leave the vectors there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import fp8, part
from benchmarks.gpu.networks import Net, nets
from benchmarks.gpu.part import Run, seconds
from benchmarks.gpu.record import find
from embedder.engines.torch_engine import TorchEngine

MAIN, OTHERS = 256, (1, 32, 64, 1024)
"""The batch measured first, in all modes, and those measured where time is left."""


@dataclass
class Bench:
    """A network and everything that is timed with it."""

    net: Net
    run: Run

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

    def theirs(self) -> torch.nn.Module:
        return self.net.theirs(self.run.device).to(torch.bfloat16)

    def ours(self) -> torch.nn.Module:
        module = self.net.ours(self.run.device).to(torch.bfloat16)
        for each in module.modules():
            if isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
                each.float()
        return module.to(memory_format=torch.channels_last)

    def modes(self) -> dict[str, Callable[[int], Callable[[], object]]]:
        """Return, by mode, a function that takes a batch and returns the function to time."""
        compiled = {"library, compiled": self.theirs, "compiled": self.ours}
        found: dict[str, Callable[[int], Callable[[], object]]] = {
            "engine": self._engine,
            "library, eager": lambda batch: self._on_device(self.theirs(), batch),
        }
        for mode, make in compiled.items():
            found[mode] = lambda batch, make=make: self._on_device(torch.compile(make()), batch)
        if self.run.device.type == "cuda":
            found["compiled, CUDA graph"] = lambda batch: self._on_device(
                torch.compile(self.ours(), mode="reduce-overhead"), batch
            )
            found["fp8, compiled"] = lambda batch: self._on_device(torch.compile(fp8.converted(self.ours())), batch)
        return found

    def _on_device(self, module: Callable[..., Any], batch: int) -> Callable[[], object]:
        pixels = self.pixels(batch).to(memory_format=torch.channels_last)

        def forward() -> object:
            with torch.inference_mode():
                return module(pixels)

        return forward

    def _engine(self, batch: int) -> Callable[[], object]:
        size, device = self.net.image.size, self.run.device
        engine = TorchEngine(device.type, "bf16", mode="eager" if self.run.small else None)
        run = engine.compile(self.net.graph(device))
        pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        return lambda: run([pixels])


def plan(benches: list[Bench]) -> Iterator[tuple[Bench, str, int]]:
    """Yield what to measure, in the order of its worth: all networks at the main batch, mode by mode, then the rest."""
    small = benches[0].run.small
    for mode in benches[0].modes():
        for bench in benches:
            yield bench, mode, 4 if small else MAIN
    for batch in (1,) if small else OTHERS:
        for mode in ("engine", "library, eager", "compiled, CUDA graph"):
            for bench in benches:
                if mode in bench.modes():
                    yield bench, mode, batch


def measure(run: Run) -> None:
    benches = [Bench(net, run) for net in nets(run.small)]
    for bench, mode, batch in plan(benches):
        facts = {"network": bench.net.name, "mode": mode, "batch": batch}
        if run.clock.measured(**facts) or run.clock.left < (1 if run.small else 12):
            continue
        try:
            one(bench, mode, batch, facts)
        except Exception as error:  # a mode that this network or this torch cannot run is a result too
            run.clock.add(**facts, note=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200])
        if run.device.type == "cuda":
            torch.cuda.empty_cache()
            torch._dynamo.reset()
    agreement(benches, run)


def one(bench: Bench, mode: str, batch: int, facts: dict[str, Any]) -> None:
    forward = bench.modes()[mode](batch)
    clock = bench.run.clock
    took = seconds(forward, bench.run.device, least=0.1 if bench.run.small else 0.4, rounds=3)
    speed = bench.gflop * batch / took / 1e3
    row = {**facts, "ms": 1e3 * took, "images/s": batch / took, "TFLOP/s": speed}
    if (best := ceiling(bench.run)) is not None:
        row["share of bf16 product"] = speed / best
    clock.add(**row)


def ceiling(run: Run) -> float | None:
    """Return this card's bf16 matrix product in TFLOP/s, if the part `ceilings` measured it."""
    row = find(run.clock.rows_of("ceilings"), what="matrix product bf16")
    return None if row is None or "value" not in row else float(row["value"])


def agreement(benches: list[Bench], run: Run) -> None:
    """Add the worst cosine of fp8 and bf16 vectors to fp32 ones, on random pixels and the same weights."""
    for bench in benches:
        facts = {"network": bench.net.name, "mode": "worst cosine to fp32"}
        if run.clock.measured(**facts) or run.clock.left < 5 or run.device.type != "cuda":
            continue
        module, pixels = bench.net.ours(run.device), bench.pixels(32).float()
        with torch.inference_mode():
            exact = module(pixels)[0].double()
            half = module.to(torch.bfloat16)
            rough = half(pixels.to(torch.bfloat16))[0].double()
            eighth = fp8.converted(half)(pixels.to(torch.bfloat16))[0].double()
        cosine = torch.nn.functional.cosine_similarity
        run.clock.add(**facts, bf16=float(cosine(exact, rough).min()), fp8=float(cosine(exact, eighth).min()))


if __name__ == "__main__":
    part.main("forward", __doc__, measure)
