"""Untrusted bytes: the right image or BadImage with a helpful sentence, never anything else."""

import io
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image

from embedder.errors import BadImage
from embedder.media.image import decode, inspect


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FLOWER = Image.fromarray(load_sample_image("flower.jpg")).resize((80, 53))
GREY = FLOWER.convert("L")
TURNED = Image.Exif()
TURNED[0x0112] = 6
FILES = {
    "jpeg": encoded(FLOWER, "JPEG", exif=TURNED),
    "jpeg-progressive": encoded(FLOWER, "JPEG", progressive=True),
    "jpeg-grey": encoded(GREY, "JPEG"),
    "jpeg-cmyk": encoded(FLOWER.convert("CMYK"), "JPEG"),
    "png": encoded(FLOWER, "PNG", exif=TURNED),
    "png-grey": encoded(GREY, "PNG"),
    "png-palette": encoded(FLOWER.quantize(64), "PNG", transparency=3),
    "png-animated": encoded(FLOWER, "PNG", save_all=True, append_images=[FLOWER.rotate(90)]),
    "webp": encoded(FLOWER, "WEBP", exif=TURNED),
    "webp-lossless": encoded(FLOWER, "WEBP", lossless=True),
    "webp-animated": encoded(FLOWER, "WEBP", save_all=True, append_images=[FLOWER.rotate(90)]),
    "gif": encoded(FLOWER, "GIF", save_all=True, append_images=[FLOWER.rotate(90)]),
    "bmp": encoded(FLOWER, "BMP"),
    "tiff": encoded(FLOWER, "TIFF"),
    "tiff-lzw": encoded(FLOWER, "TIFF", compression="tiff_lzw"),
    "avif": encoded(FLOWER, "AVIF"),
}
REASONS = {"empty", "not_an_image", "truncated", "too_many_pixels", "unsupported"}


def refusal(data: bytes, **options: int) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, **options)
    assert caught.value.reason in REASONS
    return caught.value


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, bits: int, kind: int, raw: bytes, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = (header, *extra, chunk(b"IDAT", zlib.compress(raw, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("name", FILES)
def test_cut_off_anywhere_is_refused_or_still_whole(name: str) -> None:
    data = FILES[name]
    whole = np.asarray(decode(data).image)
    ends = {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 20, len(data))}
    for end in ends:
        with suppress(BadImage):
            got = decode(data[:end]).image
            assert np.array_equal(np.asarray(got), whole), f"half a picture from {end} of {len(data)} bytes"
        if end < 0.4 * len(data):
            assert refusal(data[:end]).reason in ("empty", "not_an_image", "truncated")


@settings(max_examples=1500)
@given(
    name=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), max_size=6),
    cut=st.floats(0.5, 1),
)
def test_damaged_files_give_a_picture_or_a_refusal(name: str, changes: list[tuple[float, bytes]], cut: float) -> None:
    data = bytearray(FILES[name])
    for place, new in changes:
        # Squared, so that most changes hit headers, where false values do most harm.
        at = int(place**2 * len(data))
        data[at : at + len(new)] = new
    for read in (decode, inspect):
        with suppress(BadImage):  # most damage is refused, some does no harm
            read(bytes(data[: int(cut * len(data)) + 1]))


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:20] for data in FILES.values())]))
def test_any_bytes(tail: bytes, head: bytes) -> None:
    refusal(head + tail)


@pytest.mark.parametrize(
    ("data", "reason", "told"),
    [
        (b"", "empty", "^the file is empty$"),
        (b"hello, world", "not_an_image", r"^not a supported image\. Supported: JPEG, PNG"),
        (b"BM is how this text begins, by chance", "not_an_image", r"^not a supported image\. Supported"),
        (b"\n <!DOCTYPE html><html>404</html>", "not_an_image", "a web page"),
        (b"%PDF-1.7 ...", "not_an_image", "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not_an_image", "a PostScript document"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "not_an_image", "but a HEIC image, which must be converted"),
        (bytes(1000), "not_an_image", r"^not a supported image\. Supported"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, reason: str, told: str) -> None:
    with pytest.raises(BadImage, match=told) as caught:
        decode(data)
    assert caught.value.reason == reason
    with pytest.raises(BadImage, match=told):
        inspect(data)


def test_a_bomb_is_refused_from_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = png(30_000, 30_000, 1, 0, bytes(3751 * 30_000))
    assert len(bomb) < 200_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("pixels were decoded"))
    error = refusal(bomb)
    assert error.reason == "too_many_pixels"
    assert "30000 × 30000 = 900,000,000 pixels; at most 64,000,000 are decoded; scale it down" in str(error)
    assert error.limit == "max_pixels"
    assert inspect(bomb).width == 30_000


@pytest.mark.parametrize("name", FILES)
def test_the_pixel_limit_is_a_setting(name: str) -> None:
    pixels = inspect(FILES[name]).width * inspect(FILES[name]).height
    assert decode(FILES[name], max_pixels=pixels)
    assert refusal(FILES[name], max_pixels=pixels - 1).reason == "too_many_pixels"


def test_bombs_that_hide_behind_a_small_header() -> None:
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 20_000, 20_000, 0) + b"\x02\x02\x4c\x01\0;"
    assert refusal(screen + frame).reason == "too_many_pixels"
    canvas = struct.pack("<I", 10) + bytes(4) + b"\xfe\x3f\0\xfe\x3f\0"
    assert refusal(b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + canvas).reason == "too_many_pixels"
    data = FILES["jpeg-progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    error = refusal(data[:-2] + 100 * last + data[-2:])
    assert (error.reason, "scans; at most 100 are decoded" in str(error)) == ("unsupported", True)
    assert decode(data[:-2] + 10 * last + data[-2:])


def test_more_scans_of_a_baseline_jpeg_take_no_time() -> None:
    """Its first scan has all components, so libjpeg decodes no other one. The scans of others are counted."""
    data = FILES["jpeg"]
    scan = data[data.rindex(b"\xff\xda") : -2]
    hostile = data[:-2] + 3_000 * scan + data[-2:]
    start = time.process_time()
    with suppress(BadImage):
        decode(hostile)
    assert time.process_time() - start < 0.2
    first = data.rindex(b"\xff\xda") + 4
    partly = bytearray(data)
    partly[first - 2 : first + 1] = b"\0\x08\x01"  # a scan of one component
    del partly[first + 3 : first + 7]
    assert "scans; at most 100 are decoded" in str(refusal(bytes(partly[:-2]) + 100 * scan + data[-2:]))


def test_long_texts_in_a_png_do_not_matter() -> None:
    plain = png(2, 1, 8, 0, b"\0\x10\x20")
    texts = (
        chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000))),
        chunk(b"tEXt", b"k\0" + 70_000_000 * b"x"),
    )
    assert decode(png(2, 1, 8, 0, b"\0\x10\x20", *texts)).image.tobytes() == decode(plain).image.tobytes()


def test_wrong_check_sums_in_a_png() -> None:
    text = bytearray(png(2, 1, 8, 0, b"\0\x10\x20", chunk(b"tEXt", b"key\0value")))
    text[text.index(b"value")] ^= 1
    assert decode(bytes(text)).image.size == (2, 1)  # not part of the image
    pixels = bytearray(FILES["png-grey"])
    pixels[len(pixels) // 2] ^= 1
    with pytest.raises(BadImage, match="wrong check sum in its IDAT chunk; replace it with a whole copy") as caught:
        decode(bytes(pixels))
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (encoded(Image.new("F", (3, 3)), "TIFF"), "mode 'F' have no one right 8-bit image"),
        (encoded(Image.new("LAB", (3, 3)), "TIFF"), "mode 'LAB' have no one right 8-bit image"),
        (
            encoded(Image.fromarray(np.array([[-1, 70_000]], np.int32)), "TIFF"),
            "from -1 to 70000; 0 to 65535",
        ),
        (png(1, 1, 8, 0, bytes(2), chunk(b"CgBI", bytes(4))), "needs its chunk b'CgBI'"),
    ],
)
def test_sound_files_without_one_right_picture(data: bytes, told: str) -> None:
    error = refusal(data)
    assert error.reason == "unsupported"
    assert told in str(error)


def test_a_codec_out_of_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: object) -> None:
        raise MemoryError("no 10 GB left")

    monkeypatch.setattr("PIL.Image.core.new", exhausted)
    error = refusal(FILES["tiff"])
    assert (error.reason, "no 10 GB left" in str(error)) == ("too_many_pixels", True)


BROKEN_EXIF = encoded(
    FLOWER,
    "JPEG",
    exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x0e\x01\x02\0\xff\0\0\0\xff",
)


def test_broken_metadata_does_not_spoil_the_picture() -> None:
    assert decode(BROKEN_EXIF).image.size in (FLOWER.size, FLOWER.size[::-1])
    animated = bytearray(FILES["png-animated"])
    animated[animated.index(b"acTL") + 4] = 0xFF
    assert decode(bytes(animated)).image.size == FLOWER.size


def test_many_threads_at_once() -> None:
    wanted = {name: decode(data).image.tobytes() for name, data in FILES.items()}
    start = threading.Barrier(4)

    def work(_: int) -> None:
        start.wait(20)
        for name, data in FILES.items():
            assert decode(data).image.tobytes() == wanted[name]
            refusal(data[: len(data) // 4])
            decode(BROKEN_EXIF)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
