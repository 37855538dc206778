"""A decoder of many JPEGs at once. On CUDA it uses nvJPEG, and everything up to the encoder's input runs there."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedder.encoder import JPEG_BATCHES, Stage
from embedder.engines.jpegs.colours import BLOCKS, smoothed
from embedder.media import Limits
from embedder.media.filters import FILTERS, band
from embedder.media.image import Axis, axes
from embedder.media.plain_jpegs import PlainJpeg, plain
from embedder.spec import ImagePreprocessing

if TYPE_CHECKING:
    import torch

log = logging.getLogger("headwater.embedder")

_LARGEST_PIXELS = 32_000_000
"""Largest image that is taken. A progressive JPEG takes 6 bytes a pixel of the computer's memory too."""
_LONGEST_SIDE = 16_384
"""Longest side that is taken, pixels: as much as the decoder in a GPU can have."""
_WEIGHTS = 64
"""Matrices that are kept on the device, one for each length of a side: mostly under 1 MB each, at most 15 MB."""
_DECODED_PIXELS, _RESIZED_PIXELS = 64_000_000, 8_000_000
"""Most pixels that are decoded at once (3 bytes each on the device), and of them resized at once (30 bytes each)."""


def decode_jpegs(files: "list[torch.Tensor]", device: "torch.device") -> "list[torch.Tensor]":
    """Return the images, (3, height, width) uint8 RGB, of JPEGs, each a vector of bytes on the CPU.

    Raises RuntimeError if one of them cannot be decoded.
    """
    import torch
    import torchvision.io

    # The operators below `torchvision.io.decode_jpeg`: they give no warning that it is deprecated.
    rgb = torchvision.io.ImageReadMode.RGB.value
    if device.type == "cuda":
        return list(torch.ops.image.decode_jpegs_cuda(files, rgb, device))
    return [torch.ops.image.decode_jpeg(file, rgb, False) for file in files]


class DeviceJpegs:
    """Implements `embedder.encoder.JpegDecoder` on a device of torch. Many threads may call it at once.

    An image goes through one axis after the other as in `embedder.media.image.fit`: from the same pixels it makes the
    same input but for ties between two levels.
    """

    def __init__(
        self,
        preprocessing: ImagePreprocessing,
        limits: Limits,
        device: str,
        sides: Mapping[str, int],
        fewest: int = 1,
        smooth: Collection[str] = (),
    ) -> None:
        """
        Args:
            device: a device of torch: ``cuda``, ``cuda:1``, or ``cpu``, which shows the same way without a GPU.
            sides: the least short side (pixels) of images that are taken, by kind of JPEG; other kinds are not taken.
            fewest: see `embedder.encoder.JpegDecoder`.
            smooth: kinds of JPEG whose colours are smoothed, because the codec repeats them (`jpegs.colours`).
        """
        import torch

        self.fewest, self.sides, self._smooth = fewest, dict(sides), frozenset(smooth)
        self._p, self._device = preprocessing, torch.device(device)
        self._most_pixels = min(limits.max_pixels, _LARGEST_PIXELS)
        self._longest = min(limits.max_side, _LONGEST_SIDE)
        self._lanes: SimpleQueue[AbstractContextManager[object]] = SimpleQueue()
        for _ in range(JPEG_BATCHES):
            self._lanes.put(_lane(self._device))
        self._weights = lru_cache(maxsize=_WEIGHTS)(self._make_weights)

    def take(self, data: bytes) -> PlainJpeg | None:
        found = plain(data)
        if found is None or found.kind not in self.sides:
            return None
        short, long = sorted((found.width, found.height))
        is_small = short * long <= self._most_pixels and long <= self._longest
        return found if is_small and short >= self.sides[found.kind] else None

    def rows(
        self, files: Sequence[PlainJpeg], stage: Stage = lambda *_: nullcontext()
    ) -> list[NDArray[np.uint8] | None]:
        if not files:
            return []
        try:
            with self._own_lane():
                return self._rows(files, stage)
        except Exception as error:  # CUDA and torch raise many types; the CPU decodes these files
            _log_failure(f"{type(error).__name__}: {error}".partition("\n")[0])
            return [None] * len(files)

    @contextmanager
    def _own_lane(self) -> Iterator[None]:
        lane = self._lanes.get()
        try:
            with lane:
                yield
        finally:
            self._lanes.put(lane)

    def _rows(self, files: Sequence[PlainJpeg], stage: Stage) -> list[NDArray[np.uint8] | None]:
        import torch

        size, done = self._p.size, list[int]()
        with torch.inference_mode():
            pixels = torch.zeros((len(files), size, size, 3), dtype=torch.uint8, device=self._device)
            for part in _parts(files):
                done += self._into(pixels, files, part, stage)
            with stage("prepare", 0):
                rows = self._to_host(pixels).numpy()
        found = set(done)
        return [row if at in found else None for at, row in enumerate(rows)]

    def _into(self, pixels: "torch.Tensor", files: Sequence[PlainJpeg], part: Sequence[int], stage: Stage) -> list[int]:
        """Decode the files at the places `part`, write their inputs to the same places of `pixels`, see `_fit`."""
        with stage("decode", len(part)):
            images = dict(zip(part, self._decoded([files[at] for at in part]), strict=True))
            self._wait()
        with stage("prepare", len(part)):
            done = self._fit(files, images, pixels)
            self._wait()  # the codec does not wait for the kernels that still read the memory given back here
        return done

    def _decoded(self, files: Sequence[PlainJpeg]) -> "list[torch.Tensor | None]":
        """Return the images as stored. The codec fails for a whole batch, so a batch that fails is cut in halves."""
        import torch

        try:
            tensors = [torch.frombuffer(bytearray(file.data), dtype=torch.uint8) for file in files]
            images = decode_jpegs(tensors, self._device)
        except RuntimeError:
            if len(files) == 1:
                return [None]
            half = len(files) // 2
            return self._decoded(files[:half]) + self._decoded(files[half:])
        pairs = zip(files, images, strict=True)
        return [image if image.shape == (3, file.height, file.width) else None for file, image in pairs]

    def _fit(
        self, files: Sequence[PlainJpeg], images: "Mapping[int, torch.Tensor | None]", pixels: "torch.Tensor"
    ) -> list[int]:
        """Write the inputs made from `images` to their places in `pixels`, and return the places."""
        import torch

        groups: dict[tuple[int, int, int, str], list[int]] = defaultdict(list)
        for at, image in images.items():
            if image is not None:
                file = files[at]
                groups[file.width, file.height, file.orientation, file.kind].append(at)
        for places in groups.values():
            first = files[places[0]]
            x, y = axes(first.upright, self._p)
            to = pixels[:, y.pad : y.pad + y.kept, x.pad : x.pad + x.kept]
            step = max(1, _RESIZED_PIXELS // (first.width * first.height))
            for some in (places[start : start + step] for start in range(0, len(places), step)):
                stored = torch.stack([image for at in some if (image := images[at]) is not None])
                upright = _turned(self._smoothed(stored, first.kind), first.orientation)
                to[torch.tensor(some, device=self._device)] = self._resized(upright, x, y)
        return [at for places in groups.values() for at in places]

    def _smoothed(self, images: "torch.Tensor", kind: str) -> "torch.Tensor":
        block = BLOCKS.get(kind.partition(" ")[0])
        return _rounded(smoothed(images.float(), block)) if block and kind in self._smooth else images

    def _resized(self, images: "torch.Tensor", x: Axis, y: Axis) -> "torch.Tensor":
        """Return the crops (n, height, width, 3) of images (n, 3, height, width): columns first."""
        import torch

        (left, across), (top, down) = self._weights(x), self._weights(y)
        used = images[:, :, top : top + down.shape[1], left : left + across.shape[1]]
        wide = _rounded(used.float() @ across.T)
        return _rounded(down @ wide).to(torch.uint8).permute(0, 2, 3, 1)

    def _make_weights(self, axis: Axis) -> "tuple[int, torch.Tensor]":
        import torch

        found = band(axis.length, axis.start, axis.stop, axis.kept, self._p.interpolation)
        columns, weights = (torch.from_numpy(each).to(self._device) for each in (found.columns, found.weights))
        whole = torch.zeros((axis.kept, found.length), device=self._device)
        return found.first, whole.scatter_add_(1, columns, weights)

    def _to_host(self, pixels: "torch.Tensor") -> "torch.Tensor":
        import torch

        if self._device.type != "cuda":
            return pixels
        host = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
        host.copy_(pixels, non_blocking=True)
        self._wait()
        return host

    def _wait(self) -> None:
        import torch

        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()


def can_resize(p: ImagePreprocessing) -> bool:
    """True if this preprocessing can be done by products with matrices."""
    return p.interpolation in FILTERS and p.patches is None


def _lane(device: "torch.device") -> AbstractContextManager[object]:
    """Return a context that can be entered many times, in which the device works on a stream of its own.

    A few streams are used again and again, because torch keeps the freed memory of each stream apart.
    """
    import torch

    if device.type != "cuda":
        return nullcontext()
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return torch.cuda.stream(stream)


def _parts(files: Sequence[PlainJpeg]) -> Iterator[list[int]]:
    """Yield the places of files that are decoded at once."""
    part, held = list[int](), 0
    for at, file in enumerate(files):
        pixels = file.width * file.height
        if part and held + pixels > _DECODED_PIXELS:
            yield part
            part, held = [], 0
        part.append(at)
        held += pixels
    if part:
        yield part


def _rounded(levels: "torch.Tensor") -> "torch.Tensor":
    """Round to whole levels, halves up as Pillow does, in place."""
    return levels.add_(0.5).floor_().clamp_(0, 255)


def _turned(images: "torch.Tensor", orientation: int) -> "torch.Tensor":
    """Return images (n, 3, height, width) upright."""
    if orientation in (5, 6, 7, 8):
        images = images.transpose(2, 3)
    flipped = {2: (3,), 3: (2, 3), 4: (2,), 6: (3,), 7: (2, 3), 8: (2,)}.get(orientation, ())
    return images.flip(flipped) if flipped else images


@lru_cache(maxsize=64)
def _log_failure(why: str) -> None:
    """Log each kind of failure of the device once a process."""
    log.warning("JPEGs of a batch could not be decoded on the GPU (%s). The CPU decodes them.", why)
