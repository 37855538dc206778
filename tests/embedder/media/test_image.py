"""Every type of intact image file is decoded correctly."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from embedder.media.image import ImageInfo, decode, inspect

CHINA = Image.fromarray(load_sample_image("china.jpg"))
MEDIA = {
    "JPEG": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tiff",
    "AVIF": "avif",
}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = decode(data).image
    assert image.mode == "RGB"
    return np.asarray(image)


def colour(data: bytes) -> tuple[int, ...]:
    """Return the colour of an image of one colour."""
    (only,) = {tuple(pixel) for pixel in pixels(data).reshape(-1, 3).tolist()}
    return only


def png(width: int, height: int, bits: int, kind: int, raw: bytes, *extra: bytes) -> bytes:
    """Return a PNG that Pillow cannot write, made by hand."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = (header, *extra, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(kind: str) -> None:
    assert np.array_equal(pixels(encoded(CHINA, kind)), np.asarray(CHINA))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(compression: str) -> None:
    assert np.array_equal(pixels(encoded(CHINA, "TIFF", compression=compression)), np.asarray(CHINA))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_give_nearly_the_pixels_back(kind: str) -> None:
    error = pixels(encoded(CHINA, kind, quality=90)).astype(int) - np.asarray(CHINA)
    assert np.abs(error).mean() < 4


@pytest.mark.parametrize("kind", MEDIA)
def test_header_alone_tells_type_and_size(kind: str) -> None:
    data = encoded(CHINA.crop((0, 0, 50, 30)), kind)
    assert inspect(data) == ImageInfo(f"image/{MEDIA[kind]}", 50, 30)
    assert decode(data).media_type == f"image/{MEDIA[kind]}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone(kind: str, orientation: int) -> None:
    quadrants = np.zeros((32, 48, 3), np.uint8)
    quadrants[:16, :24], quadrants[:16, 24:], quadrants[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # The pixels that a camera stores for the upright image `quadrants`, by the EXIF 2.3 table of tag 0x0112.
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](quadrants)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif)
    assert (inspect(data).width, inspect(data).height) == (48, 32)
    assert np.abs(pixels(data).astype(int) - quadrants).mean() < 12  # lossy formats smear the edges


def test_orientation_behind_the_pixels_of_a_png_is_found() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png(3, 1, 8, 0, bytes(4))
    data = data[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + data[-12:]
    assert (inspect(data).width, inspect(data).height) == (1, 3)
    assert decode(data).image.size == (1, 3)


@pytest.mark.parametrize(
    ("dtype", "kind"), [("<u2", "PNG"), (">u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF"), ("<i4", "TIFF")]
)
def test_16_bit_grey_is_scaled_not_clipped(dtype: str, kind: str) -> None:
    ramp = np.arange(65536).reshape(256, 256)
    got = pixels(encoded(Image.fromarray(ramp.astype(dtype)), kind))
    assert np.array_equal(got, np.repeat((ramp // 256)[:, :, None], 3, axis=2))


def test_16_bit_grey_tiff_whose_zero_is_white() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    got = pixels(encoded(Image.fromarray(ramp), "TIFF", tiffinfo={262: 0}))
    assert np.array_equal(got[:, :, 0], 255 - ramp // 256)


def test_grey_and_colour_of_16_bits_are_scaled_alike() -> None:
    levels = [0x0000, 0x12FF, 0x8000, 0xFFFF]
    grey = png(4, 1, 16, 0, b"\0" + struct.pack(">4H", *levels))
    colours = png(4, 1, 16, 2, b"\0" + b"".join(struct.pack(">3H", v, v, v) for v in levels))
    assert np.array_equal(pixels(grey), pixels(colours))
    assert pixels(grey)[0, :, 0].tolist() == [0x00, 0x12, 0x80, 0xFF]


def test_black_and_white() -> None:
    bits = np.array([[True, False, True]])
    assert pixels(encoded(Image.fromarray(bits), "PNG"))[:, :, 0].tolist() == [[255, 0, 255]]


TRANSPARENT = {
    "RGBA": encoded(Image.new("RGBA", (5, 5), (200, 0, 0, 0)), "PNG"),
    "RGBA-webp": encoded(Image.new("RGBA", (5, 5), (200, 0, 0, 0)), "WEBP", lossless=True),
    "RGBA-16": png(1, 1, 16, 6, bytes(9)),
    "LA": encoded(Image.new("LA", (5, 5), (0, 0)), "PNG"),
    "LA-tiff": encoded(Image.new("LA", (5, 5), (0, 0)), "TIFF"),
    "La-tiff": encoded(Image.new("LA", (5, 5), (0, 0)), "TIFF").replace(
        struct.pack("<HHIH", 338, 3, 1, 2),
        struct.pack("<HHIH", 338, 3, 1, 1),  # ExtraSamples: alpha is premultiplied
    ),
    "PA-tiff": encoded(Image.new("PA", (5, 5), (0, 0)), "TIFF"),
    "P-index": encoded(Image.new("P", (5, 5), 0), "PNG", transparency=0),
    "P-table": encoded(Image.new("P", (5, 5), 0), "PNG", transparency=bytes(1)),
    "P-gif": encoded(Image.new("P", (5, 5), 0), "GIF", transparency=0),
    "RGB-key": encoded(Image.new("RGB", (5, 5), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
    "L-key": encoded(Image.new("L", (5, 5), 7), "PNG", transparency=7),
    "L-16-key": png(1, 1, 16, 0, b"\0\x01\x02", chunk(b"tRNS", b"\x01\x02")),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_becomes_white(name: str) -> None:
    assert colour(TRANSPARENT[name]) == (255, 255, 255)


def test_half_transparent_is_half_white() -> None:
    assert colour(encoded(Image.new("RGBA", (5, 5), (0, 100, 200, 51)), "PNG")) == (204, 224, 244)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("ink", "seen"),
    [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), (255, 255, 255))],
)
def test_inks(kind: str, ink: tuple[int, ...], seen: tuple[int, ...]) -> None:
    # Pillow writes CMYK JPEGs as Adobe does: inverted, and marked as such.
    assert colour(encoded(Image.new("CMYK", (16, 16), ink), kind)) == pytest.approx(seen, abs=2)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_several_pictures_the_first_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), name) for name in ("red", "blue", "lime")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert colour(data) == pytest.approx((255, 0, 0), abs=3)


def test_of_a_stereo_jpeg_the_first_picture_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), name) for name in ("red", "blue")]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert decode(data).media_type == "image/jpeg"
    assert colour(data) == pytest.approx((255, 0, 0), abs=3)


@pytest.mark.parametrize("kind", MEDIA)
def test_one_pixel(kind: str) -> None:
    data = encoded(Image.new("RGB", (1, 1), "white"), kind)
    assert colour(data) == pytest.approx((255, 255, 255), abs=3)
