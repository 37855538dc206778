"""Ceilings of this machine: memory copies, matrix products, and JPEG decoding alone."""

import io
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from PIL import Image

from benchmarks.gpu import part
from benchmarks.gpu.part import Run, line, seconds
from benchmarks.gpu.photos import SIZES, photos
from embedder.media.image import decode, fit
from embedder.spec import ImagePreprocessing

BATCH = 128
"""JPEGs in one call of a batched decoder."""

COUNTS = {"640×480": 1024, "1920×1080": 256}
"""Photos to decode, by size."""

FOR_NETWORKS = ImagePreprocessing(
    size=224, resize=224, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def measure(run: Run) -> None:
    copies(run)
    products(run)
    for size in SIZES:
        decoders(run, size)


def copies(run: Run) -> None:
    """Bytes read plus bytes written on the device, and bytes from host memory to the device."""
    count = (1 << 22) if run.small else (1 << 32)
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=run.device)
    target = torch.empty_like(source)
    if not run.clock.measured(what="copy on the device"):
        took = seconds(lambda: target.copy_(source), run.device)
        run.clock.add(what="copy on the device", value=2 * count / took / 1e9, unit="GB/s")
    if run.small:
        return
    part_of = target[: 1 << 28]
    for what, host in (("copy from pinned memory", True), ("copy from pageable memory", False)):
        if not run.clock.measured(what=what):
            pixels = torch.randint(0, 255, (1 << 28,), dtype=torch.uint8)
            pixels = pixels.pin_memory() if host else pixels
            took = seconds(lambda p=pixels: part_of.copy_(p, non_blocking=True), run.device)
            run.clock.add(what=what, value=(1 << 28) / took / 1e9, unit="GB/s")


def products(run: Run) -> None:
    """Square matrix products on random numbers: on zeros they can be faster."""
    n = 256 if run.small else 8192
    a, b = (torch.randn(n, n, device=run.device) for _ in range(2))
    for name, multiply in _multipliers(a, b, run.small).items():
        what = f"matrix product {name}"
        if run.clock.measured(what=what):
            continue
        try:
            took = seconds(multiply, run.device, least=0.5)
        except (RuntimeError, ValueError) as error:
            run.clock.add(what=what, note=line(error))
        else:
            run.clock.add(what=what, value=2 * n**3 / took / 1e12, unit="TFLOP/s")


def _multipliers(a: torch.Tensor, b: torch.Tensor, small: bool) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        x, y = a.to(dtype), b.to(dtype)
        found[name] = lambda x=x, y=y: x @ y
    if not small:
        one = torch.ones((), device=a.device)
        x, y = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()
        found["fp8"] = lambda: torch._scaled_mm(x, y, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    return found


def decoders(run: Run, size: str) -> None:
    """Images/s of decoding alone: on all cores, and on the device."""
    files = photos(24 if run.small else COUNTS[size], size)
    on_cores = {
        "Pillow": lambda data: Image.open(io.BytesIO(data)).convert("RGB").load(),
        "simplejpeg": _simplejpeg(),
        "decode and resize for a network, as a backfill does": _as_backfill,
    }
    for name, one in on_cores.items():
        if one and not run.clock.measured(what=f"{name}, all cores", size=size) and run.clock.left > 3:
            run.clock.add(what=f"{name}, all cores", size=size, value=_over_threads(one, files), unit="images/s")
    batched = {"torchvision on the device": _torchvision(run), "torchvision, then resize on the device": _resized(run)}
    for name, many in batched.items():
        if many is None or run.clock.measured(what=name, size=size) or run.clock.left < 3:
            continue
        try:
            run.clock.add(what=name, size=size, value=_in_batches(many, files, run.device), unit="images/s")
        except RuntimeError as error:
            run.clock.add(what=name, size=size, note=line(error))


def _simplejpeg() -> Callable[[bytes], object] | None:
    try:
        import simplejpeg
    except ImportError:
        return None
    return lambda data: simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True)


def _as_backfill(data: bytes) -> object:
    return fit(decode(data, short_side=3 * FOR_NETWORKS.resize).image, FOR_NETWORKS)


def _over_threads(one: Callable[[bytes], object], files: Sequence[bytes]) -> float:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, files[: len(files) // 8]))
        start = time.perf_counter()
        list(pool.map(one, files))
        return len(files) / (time.perf_counter() - start)


def _torchvision(run: Run) -> Callable[[list[torch.Tensor]], object] | None:
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError:
        return None
    return lambda batch: decode_jpeg(batch, ImageReadMode.RGB, device=run.device)


def _resized(run: Run) -> Callable[[list[torch.Tensor]], object] | None:
    """Return decoding followed by an antialiased bicubic resize of each image: the whole preparation but the crop."""
    many = _torchvision(run)
    if many is None:
        return None

    def run_both(batch: list[torch.Tensor]) -> object:
        return [
            torch.nn.functional.interpolate(
                image[None].float(), size=(224, 298), mode="bicubic", antialias=True, align_corners=False
            )
            for image in many(batch)
        ]

    return run_both


def _in_batches(many: Callable[[list[torch.Tensor]], object], files: Sequence[bytes], device: torch.device) -> float:
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    batches = [tensors[i : i + BATCH] for i in range(0, len(tensors), BATCH)]
    many(batches[0])
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for batch in batches:
            many(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(len(files) / (time.perf_counter() - start))
    return statistics.median(rates)


if __name__ == "__main__":
    part.main("ceilings", __doc__, measure)
