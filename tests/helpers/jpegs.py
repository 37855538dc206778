"""JPEGs of every kind, and an encoder whose JPEGs are decoded in batches by torch on the CPU."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from embedder import probe
from embedder.encoder import Encoder
from embedder.engines.jpegs.decoder import DeviceJpegs
from embedder.media import DEFAULT_LIMITS, Limits
from embedder.media.plain_jpegs import KINDS

ORIENTATION = 0x0112
SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def jpeg(width: int, height: int, seed: int = 0, *, mode: str = "RGB", orientation: int = 0, **saved: Any) -> bytes:
    """Return one of the probe's images as a JPEG of this size; `orientation` 0 writes no EXIF."""
    image, file = probe.images()[seed % 5].resize((width, height)).convert(mode), io.BytesIO()
    if orientation:
        saved["exif"] = Image.Exif()
        saved["exif"][ORIENTATION] = orientation
    image.save(file, "JPEG", **saved)
    return file.getvalue()


def of_kind(kind: str, width: int, height: int, seed: int = 0, **saved: Any) -> bytes:
    """Return a JPEG of one of `plain_jpegs.KINDS`."""
    sampling, _, progressive = kind.partition(" ")
    options = {"mode": "L"} if sampling == "grey" else {"subsampling": SUBSAMPLING[sampling]}
    return jpeg(width, height, seed, progressive=bool(progressive), **options, **saved)


def damaged_inside(data: bytes) -> bytes:
    """Return the JPEG with noise in the middle of its pixels; header and end marker are whole."""
    noise = np.random.RandomState(0).randint(1, 255, len(data) // 4, np.uint8).tobytes()
    at = len(data) // 2
    return data[:at] + noise + data[at + len(noise) :]


def broken(width: int, height: int) -> dict[str, bytes]:
    """Return JPEGs that are damaged in different ways behind a whole header, with an end marker."""
    whole = jpeg(width, height)
    return {
        "noise inside": damaged_inside(jpeg(width, height, quality=95)),
        "no tables": whole.replace(b"\xff\xc4", b"\xff\xfe"),
        "pixels left out": whole[:2000] + b"\xff\xd9",
    }


def repeating_colours(files: list[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Decode JPEGs as `decode_jpegs` does on a GPU: the halved colours of 4:2:0 are repeated, not interpolated."""
    return [_repeating(file.numpy().tobytes()) for file in files]


def _repeating(data: bytes) -> torch.Tensor:
    whole, halved = (Image.open(io.BytesIO(data)) for _ in range(2))
    if whole.layer[0][1:3] != (2, 2):
        return torch.from_numpy(np.array(whole.convert("RGB"))).permute(2, 0, 1)
    whole.draft("YCbCr", whole.size)
    halved.draft("YCbCr", (halved.width // 2, halved.height // 2))  # there, the codec need not enlarge the colours
    y, small = np.asarray(whole)[..., 0].astype(float), np.asarray(halved)[..., 1:].astype(float) - 128
    cb, cr = np.moveaxis(small.repeat(2, 0).repeat(2, 1)[: whole.height, : whole.width], 2, 0)
    levels = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb])
    return torch.from_numpy(np.clip(np.floor(levels + 0.5), 0, 255).astype(np.uint8))


class Batched:
    """An encoder whose JPEGs are decoded in batches: implements `HasJpegDecoder` by torch on the CPU."""

    def __init__(self, encoder: Encoder, *, fewest: int = 1, side: int = 1) -> None:
        self._encoder, self._fewest, self._side = encoder, fewest, side
        self.decoders: list[Counting] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def jpeg_decoder(self, limits: Limits = DEFAULT_LIMITS, user: Encoder | None = None) -> "Counting":
        sides = dict.fromkeys(KINDS, self._side)
        assert self._encoder.spec.image is not None
        self.decoders.append(Counting(self._encoder.spec.image, limits, "cpu", sides, self._fewest))
        return self.decoders[-1]


class Counting(DeviceJpegs):
    """Counts its batches and the files that it has made rows of."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batches, self.made = list[int](), 0

    def rows(self, files, *stage):
        rows = super().rows(files, *stage)
        self.batches.append(len(files))
        self.made += sum(row is not None for row in rows)
        return rows
