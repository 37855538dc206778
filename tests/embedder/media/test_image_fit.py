"""`fit` equals torchvision's Resize and CenterCrop on Pillow images, for the short side and for both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from embedder.errors import BadImage
from embedder.media.image import fit
from embedder.spec import ImagePreprocessing

CHINA = Image.fromarray(load_sample_image("china.jpg"))


def settings_of(size: int, resize: int, interpolation: str = "bicubic", crop: str = "centre") -> ImagePreprocessing:
    return ImagePreprocessing(
        size=size, resize=resize, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1), crop=crop
    )


def torchvisions(image: Image.Image, p: ImagePreprocessing) -> np.ndarray:
    resize = transforms.Resize(p.resize, InterpolationMode(p.interpolation))
    return np.asarray(transforms.CenterCrop(p.size)(resize(image)))


def squashed(image: Image.Image, p: ImagePreprocessing) -> np.ndarray:
    """Squash as timm's crop mode does, and as open_clip's resize mode does if size and resize are equal."""
    resize = transforms.Resize((p.resize, p.resize), InterpolationMode(p.interpolation))
    return np.asarray(transforms.CenterCrop(p.size)(resize(image)))


def rows_first(image: Image.Image, p: ImagePreprocessing) -> np.ndarray:
    """Resize and crop with the passes in the order of all Pillow versions before 13."""
    how = InterpolationMode(p.interpolation)
    width, height = transforms.Resize(p.resize, how)(image).size
    wide = transforms.Resize((image.height, width), how)(image)
    return np.asarray(transforms.CenterCrop(p.size)(transforms.Resize((height, width), how)(wide)))


sides = st.integers(1, 320)


@settings(max_examples=300)
@given(
    width=sides,
    height=sides,
    resize=st.integers(1, 160),
    size=st.integers(1, 160),
    interpolation=st.sampled_from(["bicubic", "bilinear", "lanczos"]),
)
def test_fit_is_torchvisions(width: int, height: int, resize: int, size: int, interpolation: str) -> None:
    image, p = CHINA.crop((100, 100, 100 + width, 100 + height)), settings_of(size, resize, interpolation)
    if max(width, height) * resize > 20_000 * min(width, height):
        p = settings_of(size, 32, interpolation)  # larger sizes: torchvision would compute the whole long side
    got = fit(image, p).astype(int)
    # Pillow keeps the box in float32: an exact tie of two grey levels may round differently, once in each pass.
    assert np.abs(got - rows_first(image, p)).max() <= 2
    # Pillow 13 resizes some upright shapes columns first, which rounds and clips overshoot at other places.
    if height <= width:
        assert np.abs(got - torchvisions(image, p)).max() <= 2


@settings(max_examples=200)
@given(
    width=sides,
    height=sides,
    resize=st.integers(1, 160),
    size=st.none() | st.integers(1, 160),
    interpolation=st.sampled_from(["bicubic", "bilinear", "lanczos"]),
)
def test_fit_squashes_as_torchvision(
    width: int, height: int, resize: int, size: int | None, interpolation: str
) -> None:
    image = CHINA.crop((100, 100, 100 + width, 100 + height))
    p = settings_of(size or resize, resize, interpolation, crop="squash")
    got = fit(image, p).astype(int)
    # Rows first whatever the shape, as all Pillow versions before 13 did.
    wide = image.resize((resize, height), Image.Resampling[interpolation.upper()])
    assert np.abs(got - squashed(wide, p)).max() <= 2
    if height <= width:
        assert np.abs(got - squashed(image, p)).max() <= 2


@pytest.mark.parametrize(("width", "height"), [(640, 427), (427, 640), (256, 256)])
@pytest.mark.parametrize(("size", "interpolation"), [(224, "bicubic"), (256, "bilinear"), (384, "bicubic")])
def test_fit_squashes_everyday_sizes_exactly(width: int, height: int, size: int, interpolation: str) -> None:
    image, p = CHINA.resize((width, height)), settings_of(size, size, interpolation, crop="squash")
    wide = image.resize((size, height), Image.Resampling[interpolation.upper()])
    difference = np.abs(fit(image, p).astype(int) - squashed(wide if height > width else image, p))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.001
    assert np.abs(fit(image, p).astype(int) - squashed(image, p)).mean() < 0.2  # the order of passes changes rounding


@settings(max_examples=100)
@given(width=sides, height=sides, resize=st.integers(1, 160), size=st.integers(1, 160))
def test_fit_with_nearest_takes_pixels_of_the_picture_at_torchvisions_places(
    width: int, height: int, resize: int, size: int
) -> None:
    # Coordinates as colours. An exact tie between two neighbours may go to either.
    grid = np.stack([*np.meshgrid(np.arange(width) % 256, np.arange(height) % 256), np.ones((height, width))], axis=2)
    image, p = Image.fromarray(grid.astype(np.uint8)), settings_of(size, min(resize, 40), "nearest")
    difference = np.abs(fit(image, p).astype(int) - torchvisions(image, p)) % 255
    assert difference.max() <= 1


@pytest.mark.parametrize(("width", "height"), [(640, 427), (427, 640), (500, 333), (256, 256), (225, 224)])
@pytest.mark.parametrize(("size", "resize"), [(224, 224), (224, 256), (240, 274), (336, 336)])
def test_fit_of_everyday_sizes_is_exact(width: int, height: int, size: int, resize: int) -> None:
    image, p = CHINA.resize((width, height)), settings_of(size, resize)
    difference = np.abs(fit(image, p).astype(int) - torchvisions(image, p))
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.001


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (1, 3_000_000), (3_000_000, 1)])
def test_fit_of_extreme_shapes_computes_only_what_it_keeps(shape: tuple[int, int]) -> None:
    # The whole resized image would be 224 × 4,480,000: a gigapixel.
    ramp = np.linspace(0, 255, max(shape)).astype(np.uint8).reshape(shape)
    got = fit(Image.fromarray(ramp).convert("RGB"), settings_of(224, 224))
    assert got.shape == (224, 224, 3)
    assert np.abs(got.astype(int) - 127).max() <= 1  # the middle of the ramp


@pytest.mark.parametrize(
    ("image", "p", "told"),
    [
        (Image.new("L", (4, 4)), settings_of(2, 2), "fit takes RGB images, got mode 'L'"),
        (
            CHINA,
            settings_of(2, 2, "area"),
            "interpolation 'area'.*known: nearest, bilinear, bicubic, lanczos",
        ),
        (CHINA, settings_of(2, 2, crop="corner"), "crop 'corner'.*centre, squash"),
    ],
)
def test_fit_refuses_what_it_does_not_know(image: Image.Image, p: ImagePreprocessing, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        fit(image, p)
    assert not isinstance(caught.value, BadImage)  # the caller's fault, not the image's
