"""Helpers of the benchmarks: the machine's state, timing, medians, verdicts, and a photo."""

import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def machine() -> str:
    """Return a line on the processor, its cores and their load, without which a figure means little."""
    gflops = multiply()
    return (
        f"machine: {model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"fp32 matrix product {gflops:.0f} GFLOP/s, Python {platform.python_version()}"
    )


def model() -> str:
    """Return the processor's name."""
    lines = _read("/proc/cpuinfo").splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def multiply(n: int = 2048, repeats: int = 3) -> float:
    """Return the best GFLOP/s of an n × n float32 product: the speed that the machine has now."""
    a = np.random.default_rng(0).standard_normal((n, n), np.float32)
    return 2 * n**3 / min(timed(lambda: a @ a, repeats)) / 1e9


def timed(run: Callable[[], object], repeats: int) -> list[float]:
    """Return the seconds of each of `repeats` calls."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def spread(values: Sequence[float], unit: str = "s", digits: int = 3) -> str:
    """Return the median with the least and the largest value, as text."""
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}, {len(values)} runs)"


def verdict(name: str, figure: float, limit: float, unit: str, *, at_least: bool) -> str:
    """Return a line with the figure and its limit: "ok" if the figure keeps the limit, otherwise "MISS"."""
    holds = figure >= limit if at_least else figure <= limit
    sign = "≥" if at_least else "≤"
    return f"{'ok  ' if holds else 'MISS'} {name}: {figure:.3g} {unit} (must be {sign} {limit:g})"


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process so far, in seconds, from Linux's /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Busy:
    """The share of the machine's processor time that was used since this object was made, from Linux's /proc."""

    def __init__(self) -> None:
        self._idle, self._all = self._read()

    def share(self) -> float:
        idle, everything = self._read()
        return 1 - (idle - self._idle) / (everything - self._all)

    @staticmethod
    def _read() -> tuple[int, int]:
        ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
        return ticks[3] + ticks[4], sum(ticks)


def photo(width: int = 640, height: int = 480) -> bytes:
    """Return a real photo (scikit-learn's china.jpg) as a JPEG of this size in pixels."""
    from sklearn.datasets import load_sample_images

    out = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).resize((width, height)).save(out, "JPEG", quality=90)
    return out.getvalue()


def _read(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""
