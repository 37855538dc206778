"""Large JPEGs are decoded at a fraction of their size if whole pixels allow it and no vector changes."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from embedder import probe, registry
from embedder.encoder import Embedding
from embedder.errors import BadImage
from embedder.media.image import decode

CHINA = Image.fromarray(load_sample_image("china.jpg"))
ORIENTATION = 0x0112


def encoded(width: int, height: int, kind: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    CHINA.resize((width, height), Image.Resampling.LANCZOS).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size", "enough", "decoded"),
    [
        ((800, 640), 80, (100, 80)),
        ((800, 640), 81, (200, 160)),
        ((800, 640), 161, (400, 320)),
        ((800, 640), 321, (800, 640)),
        ((640, 800), 160, (160, 200)),
        ((804, 640), 80, (201, 160)),  # an eighth of 804 is not a whole number
        ((802, 642), 80, (401, 321)),
        ((801, 640), 80, (801, 640)),
    ],
)
def test_the_smallest_size_of_whole_pixels_that_is_enough(size, enough, decoded):
    assert decode(encoded(*size), short_side=enough).image.size == decoded


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120))
def test_the_short_side_is_never_less_than_enough_and_every_pixel_stands_for_as_many(width, height, enough):
    found = decode(encoded(width, height), short_side=enough).image
    part = width // found.width
    assert part in (1, 2, 4, 8)
    assert (found.width * part, found.height * part) == (width, height)
    assert part == 1 or min(found.size) >= enough


def test_the_picture_is_the_same_only_smaller():
    whole, half = (decode(encoded(1280, 960), short_side=side).image for side in (None, 480))
    assert half.size == (640, 480)
    difference = np.asarray(whole.reduce(2), int) - np.asarray(half, int)
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("options", [{"mode": "L"}, {"mode": "CMYK"}, {"progressive": True}, {"subsampling": 0}])
def test_every_kind_of_jpeg(options):
    image = decode(encoded(800, 640, **options), short_side=160).image
    assert (image.mode, image.size) == ("RGB", (200, 160))


def test_upright_all_the_same():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    whole, scaled = (decode(encoded(800, 640, exif=exif), short_side=side).image for side in (None, 160))
    assert (whole.size, scaled.size) == ((640, 800), (160, 200))
    assert np.abs(np.asarray(whole.reduce(4), int) - np.asarray(scaled, int)).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_other_formats_are_decoded_whole(kind):
    assert decode(encoded(800, 640, kind), short_side=80).image.size == (800, 640)


def test_limits_and_damage_are_those_of_the_whole_file():
    data = encoded(800, 640)
    with pytest.raises(BadImage, match="800 × 640") as refused:
        decode(data, max_pixels=800 * 640 - 1, short_side=80)
    assert refused.value.reason == "too_many_pixels"
    with pytest.raises(BadImage) as cut:
        decode(data[: len(data) // 2], short_side=80)
    assert cut.value.reason == "truncated"


@pytest.mark.parametrize("backend", ["auto", "torch-fp32"])
def test_what_the_probe_allows_keeps_the_vectors_of_photographs(cache_dir, backend):
    encoder = registry.load("lite0", backend=backend, cache_dir=cache_dir)
    side = probe.jpeg_side(encoder)
    assert side == probe.KEPT * 224
    data = encoded(2048, 1536, quality=92)
    whole, scaled = (decode(data, short_side=enough).image for enough in (None, side))
    assert (whole.size, scaled.size) == ((2048, 1536), (1024, 768))
    a, b = encoder.embed(np.stack([encoder.prepare(image) for image in (whole, scaled)])).vectors
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= probe.LEAST_COSINE


class Touchy:
    """An encoder in which every change of a pixel changes the whole vector."""

    name = "touchy"

    def __init__(self, encoder):
        self.spec, self.prepare = encoder.spec, encoder.prepare

    def embed(self, inputs):
        seeds = [int(each.sum(dtype=np.int64)) for each in inputs]
        return Embedding(np.stack([np.random.default_rng(seed).normal(size=8).astype(np.float32) for seed in seeds]))


def test_an_encoder_that_minds_gets_whole_pictures(cache_dir):
    assert probe.jpeg_side(Touchy(registry.load("lite0", cache_dir=cache_dir))) is None


def test_an_encoder_that_takes_no_pictures_needs_none():
    assert probe.jpeg_side(registry.load("melstat")) is None
