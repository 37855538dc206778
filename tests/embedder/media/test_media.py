"""Files of any modality: guessed by their bytes, or read as the modality that is named; arrays; refusals."""

import io
import pickle

import numpy as np
import pytest
from helpers.pictures import photo
from helpers.sounds import sound
from PIL import Image

from embedder import media
from embedder.errors import BadMedia
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound

DEPTH = np.linspace(0, 65_000, 48 * 64).reshape(48, 64)


def npy(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def refusal(data, modality=None, **limits):
    with pytest.raises(BadMedia) as caught:
        media.decode(data, modality, media.Limits(**limits))
    return caught.value


def test_the_first_bytes_tell_pictures_from_sounds():
    assert media.guess(photo(1)) == "image"
    assert {media.guess(sound(1, form)) for form in ("WAV", "FLAC", "OGG", "MP3")} == {"audio"}
    assert isinstance(media.decode(photo(1)), Image.Image)
    assert isinstance(media.decode(sound(1)), Sound)
    found = media.inspect(sound(1, seconds=2.0))
    assert (found.modality, found.media_type, found.seconds, found.width) == ("audio", "audio/wav", 2.0, None)
    found = media.inspect(photo(1, width=90))
    assert (found.modality, found.media_type, found.width, found.seconds) == ("image", "image/png", 90, None)


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"", "empty", "the file is empty"),
        (
            b"<html>no</html>",
            "unknown_format",
            r"^not a supported image, sound or video, but a web page\. Supported: .*JPEG.*WAV, FLAC, OGG or MP3",
        ),
        (npy(DEPTH), "unknown_format", "depth, thermal or imu"),
        (b"ax,ay,az,gx,gy,gz\n1,2,3,4,5,6\n", "unknown_format", "not a supported image, sound or video"),
    ],
)
def test_bytes_that_do_not_say_what_they_are(data, reason, message):
    with pytest.raises(BadMedia, match=message) as caught:
        media.decode(data)
    assert caught.value.reason == reason


@pytest.mark.parametrize("modality", ["depth", "thermal"])
@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (npy(DEPTH.astype(np.float32)), DEPTH),
        (npy(DEPTH.astype(np.uint16)[:, :, None]), DEPTH.astype(np.uint16)),
        (npy(np.asfortranarray(DEPTH)), DEPTH),
        (png(DEPTH.astype(np.uint16)), DEPTH.astype(np.uint16)),
        (png((DEPTH / 256).astype(np.uint8)), (DEPTH / 256).astype(np.uint8)),
    ],
)
def test_planes(modality, data, wanted):
    found = media.decode(data, modality)
    assert isinstance(found, Plane)
    assert (found.modality, media.modality_of(found)) == (modality, modality)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, wanted, rtol=1e-6)
    info = media.inspect(data, modality)
    assert (info.width, info.height, info.modality) == (64, 48, modality)


CSV = "ax,ay,az,gx,gy,gz\n" + "\n".join(",".join(f"{row + column / 8}" for column in range(6)) for row in range(20))
WALK = np.arange(20)[:, None] + np.arange(6) / 8


@pytest.mark.parametrize(
    "data",
    [npy(WALK), npy(WALK.T), CSV.encode(), CSV.partition("\n")[2].encode(), b"\xef\xbb\xbf" + CSV.encode()],
)
def test_motions(data):
    found = media.decode(data, "imu")
    assert isinstance(found, Motion)
    assert media.modality_of(found) == "imu"
    np.testing.assert_allclose(found.values, WALK, rtol=1e-6)
    assert media.inspect(data, "imu").media_type in ("text/csv", "application/x-npy")


@pytest.mark.parametrize(
    ("data", "modality", "reason"),
    [
        (npy(np.zeros((4, 4, 3))), "depth", "unsupported"),
        (npy(np.zeros(7)), "thermal", "unsupported"),
        (npy(np.full((3, 3), np.inf)), "depth", "unsupported"),
        (npy(np.full((3, 3), 1e300)), "depth", "unsupported"),
        (npy(np.zeros((3, 3), complex)), "depth", "unsupported"),
        (npy(np.zeros((0, 3))), "depth", "empty"),
        (npy(np.zeros((300, 300))), "depth", "too_many_pixels"),
        (npy(DEPTH)[:-900], "depth", "truncated"),
        (npy(DEPTH)[:40], "depth", "truncated"),
        (photo(1), "depth", "unsupported"),
        (photo(1)[:-30], "depth", "truncated"),
        (sound(1), "depth", "not_an_image"),
        (npy(np.zeros((5, 7))), "imu", "unsupported"),
        (b"a,b\n1,2\n", "imu", "unsupported"),
        (b"1,2,3,4,5,6\n1,2\n", "imu", "unsupported"),
        (b"1,2,3,4,5,x\n", "imu", "unsupported"),
        (b"ax,ay\n", "imu", "empty"),
        (b"\xff\xfe\x00", "imu", "unknown_format"),
        (photo(1), "audio", "unknown_format"),
        (sound(1), "image", "not_an_image"),
        (photo(1), "video", "unsupported"),
    ],
)
def test_what_is_refused(data, modality, reason):
    error = refusal(data, modality, max_pixels=60_000)
    assert error.reason == reason
    assert str(error)


def test_nothing_is_ever_unpickled():
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    data = npy(np.array([Bomb()], dtype=object), allow_pickle=True)
    assert refusal(data, "depth").reason == "unsupported"
    assert refusal(pickle.dumps(Bomb()), "imu").reason in ("unsupported", "unknown_format")


def test_a_header_that_lies_costs_nothing():
    header = npy(np.zeros((2, 2), np.float32)).replace(b"(2, 2), ", b"(9999999, 9999999), ").replace(b" " * 12, b"", 1)
    assert refusal(header, "depth").reason in ("too_many_pixels", "truncated")
