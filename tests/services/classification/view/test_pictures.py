"""Pictures of files of every modality: upright, small, of the right content, and within the limits of decoding."""

import io
import wave
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from helpers.sounds import sound
from helpers.videos import animation, film, frames
from PIL import Image

from embedder.errors import BadMedia
from embedder.media import DEFAULT_LIMITS
from embedder.media.guard import reserve_nothing
from services.classification.view.pictures import Picture, draw, to_wav


def drawn(data: bytes, modality: str = "image", side: int = 256, reserve=reserve_nothing, **limits) -> Picture:
    return draw(data, modality, side, replace(DEFAULT_LIMITS, **limits), reserve)


def pixels(picture: Picture) -> np.ndarray:
    image = Image.open(io.BytesIO(picture.data))
    assert (image.get_format_mimetype(), image.size) == (picture.media_type, (picture.width, picture.height))
    return np.asarray(image.convert("RGB"), np.float32)


def saved(image: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo(china) -> Image.Image:
    return Image.open(io.BytesIO(china)).convert("RGB")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("side", [128, 512])
def test_a_photo_is_the_one_that_pillow_makes_small(photo, form, side):
    found = drawn(saved(photo, form), side=side)
    assert (found.media_type, found.width) == ("image/jpeg", side)
    assert found.height == pytest.approx(side * photo.height / photo.width, abs=1)
    expected = photo.resize((found.width, found.height), Image.Resampling.LANCZOS)
    assert np.abs(pixels(found) - np.asarray(expected, np.float32)).mean() < (12 if form == "GIF" else 8)


def test_no_picture_is_enlarged_and_none_has_a_side_of_0(photo):
    small = photo.crop((0, 0, 40, 30))
    assert (drawn(saved(small, "PNG")).width, drawn(saved(small, "PNG")).height) == (40, 30)
    line = drawn(saved(Image.new("RGB", (4000, 3)), "PNG"), side=128)
    assert (line.width, line.height) == (128, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_upright_and_says_nothing_of_the_place(photo, orientation):
    """The corner that is bright in the upright picture is bright in the small one, whatever the file's orientation."""
    upright = Image.new("RGB", (300, 200))
    upright.paste((255, 255, 255), (0, 0, 150, 100))
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "secret place"
    stored = upright.transpose(turned[orientation]) if orientation > 1 else upright
    found = drawn(saved(stored, "JPEG", exif=exif), side=128)
    assert (found.width, found.height) == (128, 85)
    shades = pixels(found).mean(axis=2)
    assert shades[:30, :50].min() > 230
    assert max(shades[60:].max(), shades[:, 80:].max()) < 25
    assert b"secret" not in found.data
    assert dict(Image.open(io.BytesIO(found.data)).getexif()) == {}


@pytest.mark.parametrize("size", [(4032, 3024), (4031, 3023)])
def test_of_a_jpeg_of_12_million_pixels_only_a_fraction_is_decoded(photo, size):
    asked: list[int] = []
    found = drawn(saved(photo.resize(size), "JPEG"), reserve=asked.append)
    assert (found.width, found.height) == (256, 192)
    assert max(asked) < size[0] * size[1] * 8 / 60  # an eighth of each side
    expected = np.asarray(photo.resize((256, 192)), np.float32)
    assert np.abs(pixels(found) - expected).mean() < 6


def written(samples: np.ndarray, rate: int, form: str = "WAV", **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples.astype(np.float32), rate, format=form, **options)
    return file.getvalue()


def test_a_sound_is_drawn_as_its_waveform():
    samples = np.concatenate([np.zeros(8000), 0.2 * np.sin(np.arange(8000) / 5)])
    found = drawn(written(samples, 8000), "audio")
    assert (found.media_type, found.width, found.height) == ("image/png", 256, 128)
    ink = (pixels(found).mean(axis=2) < 128).sum(axis=0)
    assert ink[:126].max() <= 2
    assert ink[130:].min() > 120


@pytest.mark.parametrize("samples", [1, 2, 200])
def test_a_sound_of_fewer_samples_than_the_picture_has_columns_is_drawn(samples):
    assert drawn(written(np.full(samples, 0.5), 8000), "audio").width == 256


def test_of_a_long_sound_all_is_drawn_and_a_minute_is_played():
    data = written(np.zeros(100 * 48_000), 48_000, "FLAC")  # more samples than decoding keeps in memory
    assert drawn(data, "audio").width == 256
    with wave.open(io.BytesIO(to_wav(data, DEFAULT_LIMITS, reserve_nothing))) as played:
        assert (played.getnchannels(), played.getsampwidth(), played.getnframes()) == (1, 2, 60 * 48_000)


def test_a_sound_is_played_as_it_is():
    data = written(np.array([0, 0.5, -0.5, 2, -2]), 44_100, subtype="FLOAT")
    with wave.open(io.BytesIO(to_wav(data, DEFAULT_LIMITS, reserve_nothing))) as played:
        assert played.getframerate() == 44_100
        found = np.frombuffer(played.readframes(5), "<i2")
    assert found.tolist() == [0, 16383, -16383, 32767, -32767]
    with pytest.raises(BadMedia, match="not a supported sound"):
        to_wav(npy(np.zeros(3)), DEFAULT_LIMITS, reserve_nothing)


@pytest.mark.parametrize("data", [film("mp4", 10), animation("GIF", 10), animation("WEBP", 10)])
def test_a_video_is_shown_by_its_first_frame(data):
    first = np.asarray(frames(10)[0].convert("RGB"), np.float32)
    assert np.abs(pixels(drawn(data, "video")) - first).mean() < 8


@pytest.mark.parametrize("modality", ["depth", "thermal"])
def test_a_plane_is_drawn_in_shades_of_grey(modality):
    ramp = np.tile(np.linspace(-1e30, 1e30, 600, dtype=np.float32), (400, 1))
    shades = pixels(drawn(npy(ramp), modality)).mean(axis=(0, 2))
    assert shades.shape == (256,)
    assert (np.diff(shades) > -3).all()
    assert (shades[0], shades[-1]) == (pytest.approx(0, abs=5), pytest.approx(255, abs=5))
    assert pixels(drawn(npy(np.full((5, 5), 7.0)), modality)).shape == (5, 5, 3)


def test_motion_is_drawn_as_six_curves():
    values = np.zeros((1000, 6))
    values[:, 2] = np.sin(np.arange(1000) / 3)
    ink = pixels(drawn(npy(values), "imu")).mean(axis=(1, 2)) < 230
    strips = ink[: 6 * 42].reshape(6, 42).sum(axis=1)
    assert strips.argmax() == 2
    assert strips[2] > 30
    assert max(np.delete(strips, 2)) <= 2


@pytest.mark.parametrize(
    ("data", "modality", "limits", "reason"),
    [
        (b"", "image", {}, "empty"),
        (b"<svg onload='alert(1)'/>", "image", {}, "not_an_image"),
        (saved(Image.new("RGB", (2000, 2000)), "PNG"), "image", {"max_pixels": 1_000_000}, "too_many_pixels"),
        (saved(Image.new("RGB", (300, 2)), "PNG"), "image", {"max_side": 200}, "too_many_pixels"),
        (saved(Image.new("RGB", (500, 500)), "JPEG")[:900], "image", {}, "truncated"),
        (sound(1), "audio", {"max_seconds": 0.1}, "too_long"),
        (sound(1)[:200], "audio", {}, "truncated"),
        (film("mp4", 10)[:500], "video", {}, "truncated"),
        (npy(np.zeros((9, 9))), "imu", {}, "unsupported"),
        (saved(Image.new("RGB", (9, 9)), "PNG"), "depth", {}, "unsupported"),
    ],
)
def test_what_cannot_be_drawn_is_a_bad_media_and_nothing_else(data, modality, limits, reason):
    with pytest.raises(BadMedia) as caught:
        drawn(data, modality, **limits)
    assert caught.value.reason == reason
