"""The command line that all parts share, and helpers to time work on a device."""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu.record import Clock, Record


@dataclass(frozen=True)
class Run:
    """One run of a part.

    Attributes:
        clock: the time budget, and where rows are added.
        small: dry run on the CPU.
        device: cuda, or cpu in a dry run.
    """

    clock: Clock
    small: bool

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.small else "cuda")


def main(name: str, description: str | None, measure: Callable[[Run], None]) -> None:
    """Read the command line of the part `name`, and measure."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    measure(Run(Clock(Record.of(options.out), name, options.seconds), options.small))


def seconds(run: Callable[[], object], device: torch.device, *, least: float = 0.3) -> float:
    """Return the median of `rounds`."""
    return statistics.median(rounds(run, device, least=least))


def rounds(run: Callable[[], object], device: torch.device, *, least: float = 0.3, count: int = 5) -> list[float]:
    """Return the seconds of a call in each of `count` rounds, after two calls that are not counted.

    On CUDA each round runs the work as often as fits into its part of `least` seconds, between two events of the
    device, so that launching is not counted where the device is the slower side.
    """
    for _ in range(2):
        run()
    once = _timed(run, device, 1)
    calls = max(1, min(100, round(least / count / max(once, 1e-6))))
    return [_timed(run, device, calls) for _ in range(count)]


def _timed(run: Callable[[], object], device: torch.device, count: int) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(count):
            run()
        return (time.perf_counter() - start) / count
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / count


def line(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:200]
