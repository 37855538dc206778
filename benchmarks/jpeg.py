"""Decoding large JPEGs at a fraction of their size: the time that it saves, and the change of the vectors.

    python -m benchmarks.jpeg --data FOLDER      with caltech99.parquet in FOLDER

The vectors are those of pages full of small photos. A page has twice the short side that decoding keeps. Such pages are
sharp to the pixel, unlike photos of a camera, so they are the worst case for decoding at half the size.
"""

import argparse
import io
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.measure import machine, photo, spread, timed, verdict
from embedder import probe, registry
from embedder.encoder import Encoder
from embedder.media.image import decode

ENCODERS = ("lite0", "lite1", "lite2")
MARGINS = (1, 2, probe.KEPT, 4, 6)
PAGES = 16


def camera(width: int = 4000, height: int = 3000) -> bytes:
    """Return a photo of this size in pixels with sensor noise, as a JPEG."""
    pixels = np.asarray(Image.open(io.BytesIO(photo(width, height))), np.float32)
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 1))
    return jpeg(Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)), quality=92)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def page(photographs: list[Image.Image], first: int, side: int) -> bytes:
    """Return a page of `side` × `side` pixels full of photos, starting with number `first`, as a JPEG."""
    whole, pictures, y = Image.new("RGB", (side, side)), cycle(photographs[first:] + photographs[:first]), 0
    while y < side:
        x, row = 0, side
        while x < side:
            picture = next(pictures)
            whole.paste(picture, (x, y))
            x, row = x + picture.width, min(row, picture.height)
        y += row
    return jpeg(whole)


def cosines(encoder: Encoder, files: list[bytes], side: int) -> list[float]:
    """Return, for each file, the cosine between its vectors after decoding at a fraction and at full size."""
    found = []
    for file in files:
        pixels = [encoder.prepare(decode(file, short_side=enough).image) for enough in (None, side)]
        whole, scaled = encoder.embed(np.stack(pixels)).vectors
        found.append(float(whole @ scaled / np.linalg.norm(whole) / np.linalg.norm(scaled)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    column = pq.read_table(parser.parse_args().data / "caltech99.parquet", columns=["image"])["image"]
    photographs = [decode(each).image for each in column.to_pylist()]
    photographs = [each for each in photographs if min(each.size) >= 200]
    print(machine())
    file = camera()
    for name in ENCODERS:
        encoder = registry.load(name)
        side = probe.jpeg_side(encoder)
        print(f"\n{name} on {encoder.backend}: the probe allows a short side of {side} pixels")
        seconds = {
            enough: timed(lambda: encoder.prepare(decode(file, short_side=enough).image), 9)  # noqa: B023  # called here
            for enough in (None, side)
        }
        for enough, each in seconds.items():
            print(f"  4000 × 3000, {'fraction' if enough else 'whole'}: {spread([1e3 * s for s in each], 'ms', 1)}")
        [same] = cosines(encoder, [file], side or 0)
        print(f"  {median(seconds[None]) / median(seconds[side]):.1f} × as fast, cosine {same:.5f}")
        for margin in MARGINS:
            kept = margin * encoder.spec.image.resize if encoder.spec.image else 0
            found = cosines(encoder, [page(photographs, 37 * i, 2 * kept) for i in range(PAGES)], kept)
            print(f"  {kept} pixels kept: cosine {min(found):.5f} at worst, median {median(found):.5f}")
            if margin == probe.KEPT:
                print(verdict("  1 − the worst", 1 - min(found), 1 - probe.LEAST_COSINE, "", at_least=False))


if __name__ == "__main__":
    main()
