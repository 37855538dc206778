"""Random crops: the same for the same seed, epoch and image, within their bounds, and mirrored half of the time."""

import numpy as np
import pytest
from PIL import Image

from embedder.spec import ImagePreprocessing
from services.jobs.tune.crops import _box, random_crop, random_of

HALF = (0.5, 0.5, 0.5)
SQUARE = ImagePreprocessing(size=8, resize=8, interpolation="bicubic", mean=HALF, std=HALF)


def crops(image, count=40, least=0.3, epoch=0):
    return [random_crop(image, SQUARE, least, random_of(0, epoch, f"{i:064x}"[::-1])) for i in range(count)]


def ramp():
    """Return an image whose red grows from left to right."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, 60)
    return Image.fromarray(pixels)


def test_a_crop_depends_on_seed_epoch_and_image_only():
    assert np.array_equal(crops(ramp()), crops(ramp()))
    assert not np.array_equal(crops(ramp()), crops(ramp(), epoch=1))
    assert len({crop.tobytes() for crop in crops(ramp())}) > 30


def test_half_of_the_crops_are_mirrored():
    rising = [int(crop[0, -1, 0]) > int(crop[0, 0, 0]) for crop in crops(ramp(), 200)]
    assert 70 < sum(rising) < 130


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (64, 64), (300, 2), (1, 50), (1, 1)])
def test_a_box_is_inside_the_image_and_large_enough(size):
    random = np.random.default_rng(0)
    for left, top, right, bottom in (_box(size, 0.5, random) for _ in range(200)):
        width, height = right - left, bottom - top
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        if max(size) < 2 * min(size):  # otherwise the middle of the image is taken
            assert width * height >= 0.5 * size[0] * size[1] - 0.5 * (width + height) - 1
            assert (width - 1) / (height + 1) < 4 / 3
            assert (height - 1) / (width + 1) < 4 / 3
