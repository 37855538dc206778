"""The choice between GPU and CPU for JPEGs: allowed where vectors stay the same, used where it was measured faster."""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedder import cpus, probe
from embedder.encoder import JPEG_BATCH, JPEG_BATCHES, Encoder
from embedder.engines.backend import Backend
from embedder.engines.cache import Cache
from embedder.engines.jpegs.colours import BLOCKS
from embedder.engines.jpegs.decoder import DeviceJpegs, can_resize
from embedder.media import Limits
from embedder.media.image import decode
from embedder.media.plain_jpegs import KINDS, PlainJpeg

log = logging.getLogger("headwater.embedder")

FACTORS = (1.0, 1.25, 1.5, 1.75, 2.0, 3.0)
"""Sizes that are tried: short side of the image ÷ side to which it is resized.

Codecs differ in how they enlarge the colours, see `embedder.engines.jpegs.colours`. The more an image is reduced, the
less of that remains.
"""
_QUALITIES = (75, 85, 95)
_SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
_COUNTS = (1, 4, 16, JPEG_BATCH)
"""Numbers of files at once that are timed."""
_TIMED_SIZE, _TIMED_FILES, _ROUNDS = (640, 480), 256, 3
_NO_PIXELS = -1.0
"""The cosine of JPEGs of which the device decodes not all."""
_MARGIN = 0.05
"""Share by which the GPU must be faster. Less is noise."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was measured for one encoder on one machine.

    Attributes:
        sides: short side (pixels) from which on JPEGs keep their vectors, by kind of JPEG; kinds without one are left
            to the CPU.
        smooth: kinds whose vectors are nearer to those of the CPU if their colours are smoothed.
        cosines: worst cosine at that size, or at the largest tried, by kind.
        fewest: number of files at once from which on the GPU is faster; None if it never is.
        gpu, cpu: images a second, by number of files at once.
    """

    sides: Mapping[str, int]
    smooth: Sequence[str]
    cosines: Mapping[str, float]
    fewest: int | None
    gpu: Mapping[str, float]
    cpu: Mapping[str, float]


def choose_decoder(encoder: Encoder, limits: Limits, cache: Cache) -> DeviceJpegs | None:
    """Return the decoder on the encoder's GPU; None if the CPU should decode. Measured once, then kept in the cache."""
    device, p = device_of(encoder.backend), encoder.spec.image
    lacks_library = importlib.util.find_spec("torchvision") is None
    if limits.jpegs_on_gpu == "off" or device is None or p is None or lacks_library or not can_resize(p):
        return None
    forced = limits.jpegs_on_gpu == "on"
    try:
        folder = cache.folder(
            _key(encoder, limits, device, forced=forced),
            lambda folder: _save(measure(encoder, limits, device, timed=not forced), folder),
        )
        choice = Choice(**json.loads((folder / "choice.json").read_text()))
    except Exception as error:  # torch, CUDA and nvJPEG raise many types; the next process tries again
        log.warning("JPEGs are decoded on the CPU, because the GPU failed (%s: %s).", type(error).__name__, error)
        return None
    if not choice.sides or choice.fewest is None:
        _log_unused(encoder, choice, forced=forced)
        return None
    return DeviceJpegs(p, limits, device, choice.sides, choice.fewest, choice.smooth)


def device_of(backend: str) -> str | None:
    """Return torch's name of the CUDA device in the name of a backend, e.g. ``torch-cuda-bf16``; None for others."""
    device = Backend.named(backend).device
    return device if device and device.startswith("cuda") else None


def measure(encoder: Encoder, limits: Limits, device: str, *, timed: bool = True) -> Choice:
    """Return which JPEGs keep their vectors when `device` decodes them and, if `timed`, how fast it is.

    Raises RuntimeError if the device decodes no JPEG at all, which may pass.
    """
    if encoder.spec.image is None:
        raise ValueError(f"{encoder.name} takes no images")
    sides, smooth, cosines = _allowed(encoder, limits, device)
    if max(cosines.values()) == _NO_PIXELS:
        raise RuntimeError("it decodes no JPEG")
    if not sides or not timed:
        return Choice(sides, smooth, cosines, 1 if sides else None, {}, {})
    kind = "4:2:0" if "4:2:0" in sides else next(iter(sides))
    decoder = DeviceJpegs(encoder.spec.image, limits, device, sides, smooth=smooth)
    gpu, cpu = _speeds(encoder, decoder, limits, _photos(kind, *_large_enough(sides[kind])))
    fewest = None
    for count in reversed(_COUNTS):
        if gpu[str(count)] <= (1 + _MARGIN) * cpu[str(count)]:
            break
        fewest = count
    return Choice(sides, smooth, cosines, fewest, gpu, cpu)


def _allowed(encoder: Encoder, limits: Limits, device: str) -> tuple[dict[str, int], list[str], dict[str, float]]:
    """Return `Choice.sides`, `Choice.smooth` and `Choice.cosines`."""
    p = encoder.spec.image
    assert p is not None  # noqa: S101  # `measure` has checked it
    sides, cosines, ways = dict[str, int](), dict[str, float](), dict(_WAYS)
    for factor in FACTORS:
        side = math.ceil(factor * p.resize)
        all_sides = dict.fromkeys(KINDS, side)
        decoders = [DeviceJpegs(p, limits, device, all_sides, smooth=KINDS if way else ()) for way in (False, True)]
        for kind in (each for each in KINDS if each not in sides):
            photos = _photos(kind, 4 * side // 3, side)
            found = {way: _worst(encoder, decoders[way], photos) for way in ways[kind]}
            best = max(found, key=found.__getitem__)
            ways[kind], cosines[kind] = (best,), found[best]
            if found[best] >= probe.LEAST_COSINE:
                sides[kind] = side
    return sides, [kind for kind in sides if ways[kind] == (True,)], cosines


_WAYS: dict[str, tuple[bool, ...]] = {
    kind: (False, True) if kind.partition(" ")[0] in BLOCKS else (False,) for kind in KINDS
}
"""Values of "smoothed" that are tried for each kind of JPEG: both if its colours are halved."""


def _worst(encoder: Encoder, decoder: DeviceJpegs, photos: Sequence[bytes]) -> float:
    """Return the worst cosine between vectors of photos that the device decodes and of those that the CPU decodes."""
    taken = [file for file in map(decoder.take, photos) if file is not None]
    rows = [row for row in decoder.rows(taken) if row is not None]
    if len(rows) < len(photos):
        return _NO_PIXELS
    whole = [encoder.prepare(decode(data).image) for data in photos]
    vectors = encoder.embed(np.stack([*whole, *rows])).vectors
    return float(probe.cosines(vectors[: len(rows)], vectors[len(rows) :]).min())


def _photos(kind: str, width: int, height: int) -> list[bytes]:
    """Return photos of one kind of JPEG, in several qualities."""
    sampling, _, progressive = kind.partition(" ")
    options = {"mode": "L"} if sampling == "grey" else {"subsampling": _SUBSAMPLING[sampling]}
    return [
        probe.photo(width, height, first, quality=quality, progressive=bool(progressive), **options)
        for first, quality in enumerate(_QUALITIES)
    ]


def _large_enough(side: int) -> tuple[int, int]:
    """Return the size of photos for timing: a usual one, or a larger one if it is too small to be taken."""
    width, height = _TIMED_SIZE
    return (width, height) if side <= height else (4 * side // 3, side)


def _speeds(
    encoder: Encoder, decoder: DeviceJpegs, limits: Limits, photos: Sequence[bytes]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return images a second on the GPU and on all threads of the CPU, by number of files at once."""
    files = [photos[at % len(photos)] for at in range(_TIMED_FILES)]
    side = probe.jpeg_side(encoder, limits)

    def on_cpu(data: bytes) -> NDArray[np.uint8]:
        return encoder.prepare(decode(data, short_side=side).image)

    def on_gpu(batch: Sequence[bytes]) -> object:
        return decoder.rows([file for data in batch if isinstance(file := decoder.take(data), PlainJpeg)])

    gpu, cpu = dict[str, float](), dict[str, float]()
    with ThreadPoolExecutor(cpus.usable()) as threads, ThreadPoolExecutor(JPEG_BATCHES) as lanes:
        for count in _COUNTS:
            some = files if count == JPEG_BATCH else files[:count]
            batches = [some[at : at + count] for at in range(0, len(some), count)]
            gpu[str(count)] = len(some) / _best(lambda: [*lanes.map(on_gpu, batches)])  # noqa: B023  # called here
            cpu[str(count)] = len(some) / _best(lambda: [*threads.map(on_cpu, some)])  # noqa: B023
    return gpu, cpu


def _best(run: Callable[[], object]) -> float:
    """Return the shortest time of a few calls, seconds. Other programs can only make it longer."""
    run()
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _key(encoder: Encoder, limits: Limits, device: str, *, forced: bool) -> str:
    """Return a name in the cache: everything that may change the choice."""
    import torch

    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    versions = [importlib.metadata.version(name) for name in ("torch", "torchvision", "pillow")]
    facts = [
        *(encoder.spec.fingerprint, encoder.backend, probe.REVISION, probe.LEAST_COSINE, FACTORS, _COUNTS),
        *(card, versions, cpus.usable(), limits.scale_jpegs, forced),
    ]
    return f"jpegs-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}"


def _save(choice: Choice, folder: Path) -> None:
    (folder / "choice.json").write_text(json.dumps(asdict(choice)))


def _log_unused(encoder: Encoder, choice: Choice, *, forced: bool) -> None:
    level, best = logging.WARNING if forced else logging.INFO, max(choice.cosines.values())
    why = "it is not faster" if choice.sides else f"its pixels change vectors (best cosine {best:.4f})"
    log.log(level, "JPEGs for %s are decoded on the CPU, not on the GPU: %s.", encoder.name, why)
