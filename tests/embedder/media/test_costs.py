"""Small files that would cost a decoder much time or memory: each is refused or read, at little cost."""

import io
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from helpers.sounds import sound, tone
from helpers.videos import film
from PIL import Image

from embedder import media
from embedder.encoders import melstat
from embedder.encoders.imagebind import prepare
from embedder.errors import BadMedia
from embedder.media import audio

MEGABYTE = 1_000_000
MOST_CPU_SECONDS = 1.0
"""Processor time for any of the files, decoded and inspected. Unchecked, half of them take 1 to 12 seconds."""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FLOWER = Image.fromarray(np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3))
JPEG, PNG, WEBP, GIF = (encoded(FLOWER, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF"))
AT = 13 + 3 * 256  # the first block of the GIF


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(*entries: tuple[int, int, int, int], body: bytes = b"") -> bytes:
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + tags + bytes(4) + body


def wav(extra: bytes) -> bytes:
    data = sound(1)
    return b"RIFF" + struct.pack("<I", len(data) + len(extra) - 8) + data[8:36] + extra + data[36:]


def npy(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + body


def mp4(samples: int) -> bytes:
    """Return a video of a few kilobytes that announces a number of samples of one byte."""
    data = bytearray(film("mp4", 12))
    at = data.index(b"stsz")
    data[at + 8 : at + 16] = struct.pack(">II", 1, samples)
    return bytes(data)


EXIF_SEGMENT = b"\xff\xe1\xff\xffExif\0\0" + b"II*\0\x08\0\0\0" + bytes(65519)
TABLES = b"\xff\xdb" + struct.pack(">H", 2 + 65 * 1008) + (b"\0" + 64 * b"\1") * 1008
ONE_PIXEL = b",\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0"
COSTLY = {
    "JPEG of padding": (JPEG[:2] + 20 * MEGABYTE * b"\xff" + JPEG[2:], None, ""),
    "JPEG of junk": (JPEG[:2] + b"\xff\xfe\0\2" + 20 * MEGABYTE * b"\1" + JPEG[2:], None, ""),
    "JPEG of comments": (JPEG[:2] + 5 * MEGABYTE * b"\xff\xfe\0\2" + JPEG[2:], None, "unsupported"),
    "JPEG of escapes": (JPEG[:2] + b"\xff\xfe\0\2" + 10 * MEGABYTE * b"\xff\0" + JPEG[2:], None, "unsupported"),
    "JPEG of restarts": (JPEG[:2] + 10 * MEGABYTE * b"\xff\xd0" + JPEG[2:], None, "unsupported"),
    "JPEG of EXIF": (JPEG[:2] + 300 * EXIF_SEGMENT + JPEG[2:], None, "unsupported"),
    "JPEG of tables": (JPEG[:2] + 300 * TABLES + JPEG[2:], None, "unsupported"),
    "JPEG without pixels": (JPEG[:2] + 20 * MEGABYTE * b"\xff", None, "truncated"),
    "PNG of chunks": (PNG[:33] + 2 * MEGABYTE * chunk(b"teSt", b"") + PNG[33:], None, "unsupported"),
    "PNG of empty pixels": (PNG[:33] + 2 * MEGABYTE * chunk(b"IDAT", b"") + PNG[33:], None, "unsupported"),
    "PNG of one column": (encoded(Image.new("1", (1, 2 * MEGABYTE)), "PNG"), None, "too_many_pixels"),
    "GIF of comments": (GIF[:AT] + b"!\xfe" + 10 * MEGABYTE * b"\1a" + b"\0" + GIF[AT:], None, "unsupported"),
    "GIF of extensions": (GIF[:AT] + 7 * MEGABYTE * b"!\xfe\0" + GIF[AT:], None, "unsupported"),
    "GIF of zeros": (GIF[:AT] + bytes(20 * MEGABYTE) + GIF[AT:], None, "unsupported"),
    "GIF of frames": (GIF[:AT] + 2 * MEGABYTE * ONE_PIXEL + b";", "video", "unsupported"),
    "WebP of chunks": (WEBP + 2 * MEGABYTE * b"JUNK\0\0\0\0", None, "unsupported"),
    "TIFF of strips": (
        tiff((256, 3, 1, 80), (257, 3, 1, 60), (273, 4, 5 * MEGABYTE, 42), body=bytes(20 * MEGABYTE)),
        None,
        "unsupported",
    ),
    "TIFF of tags": (tiff(*((tag, 3, 1, 0) for tag in range(60_000))), None, "unsupported"),
    "TIFF of one tile": (
        tiff((256, 3, 1, 1), (257, 3, 1, 1), (322, 3, 1, 20_000), (323, 3, 1, 20_000)),
        None,
        "unsupported",
    ),
    "BMP of lines": (
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 1078)
        + struct.pack("<IiiHHIIiiII", 40, 8000, 8000, 1, 8, 1, 0, 0, 0, 256, 0)
        + bytes(1024 + 16_000),
        None,
        "unsupported",
    ),
    "WAV of chunks": (wav(2 * MEGABYTE * b"junk\0\0\0\0"), None, "unsupported"),
    "WAV of comments": (wav(b"LIST" + struct.pack("<I", 20 * MEGABYTE) + 2 * MEGABYTE * b"ICMT\2\0\0\0a\0"), None, ""),
    "MP3 of tags": (
        b"ID3\3\0\0\x08\0\0\0" + 2**24 // 16 * b"TXXX\0\0\0\6\0\0abcdef" + sound(1, "MP3"),
        None,
        "",
    ),
    "NPY of brackets": (npy(9_999 * b"("), "depth", "truncated"),
    "NPY of signs": (npy(9_999 * b"-" + b"1"), "depth", "unsupported"),
    "NPY of one column": (
        npy(b"{'descr':'|u1','fortran_order':False,'shape':(2000000,1)}\n", bytes(2 * MEGABYTE)),
        "depth",
        "too_many_pixels",
    ),
    "CSV of lines": (10 * MEGABYTE * b"1\n", "imu", "too_long"),
    "CSV of nothing": (20 * MEGABYTE * b"\n", "imu", "too_long"),
    "CSV of commas": (20 * MEGABYTE * b",", "imu", "unsupported"),
    "MP4 of samples": (mp4(50 * MEGABYTE), "video", "unsupported"),
    "MP4 of boxes": (film("mp4", 12) + 2 * MEGABYTE * b"\0\0\0\x08free", "video", "unsupported"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_costs_little(name):
    data, modality, reason = COSTLY[name]
    start = time.thread_time()
    try:
        media.decode(data, modality)
        found = ""
    except BadMedia as error:
        found = error.reason
    with suppress(BadMedia):
        media.inspect(data, modality)
    assert (found, time.thread_time() - start < MOST_CPU_SECONDS) == (reason, True)


def test_a_header_without_its_excess_gives_the_same_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(FLOWER.convert("CMYK"), "JPEG", exif=exif, icc_profile=bytes(500))
    comment = b"\xff\xfe\0\x06abcd"
    long = turned[:2] + 500 * comment + 3000 * b"\xff" + turned[2:]
    wanted, found = (media.decode(data) for data in (turned, long))
    assert found.size == (60, 80)
    assert found.tobytes() == wanted.tobytes()


def test_photographs_of_scanners_are_limited_by_pixels_alone():
    wide = encoded(Image.new("L", (65_535, 16)), "PNG")
    assert media.decode(wide).width == 65_535
    with pytest.raises(BadMedia, match="a side may have 65,534") as caught:
        media.decode(wide, limits=media.Limits(max_side=65_534))
    assert (caught.value.reason, caught.value.limit) == ("too_many_pixels", "max_side")


@pytest.fixture
def short_memory(monkeypatch):
    monkeypatch.setattr(audio, "_IN_MEMORY", 100_000)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_long_sounds_give_the_numbers_of_sounds_in_memory(form, rate, short_memory, monkeypatch):
    data = sound(3, form, rate=rate, seconds=21.3)
    streamed = audio.decode(data)
    monkeypatch.setattr(audio, "_IN_MEMORY", 10**9)
    held = audio.decode(data)
    assert (type(streamed), type(held)) == (audio.LongSound, audio.Sound)
    assert streamed.length == held.length
    assert np.array_equal(streamed.samples, held.samples)
    assert np.array_equal(melstat.statistics(streamed), melstat.statistics(held))
    assert np.array_equal(prepare.sound(streamed), prepare.sound(held))


def test_the_time_of_a_reader_counts_too(short_memory):
    streamed = audio.LongSound(sound(4, seconds=10.0), 16_000, 160_000, 0.05)

    def read() -> None:
        for _ in streamed.slices((i, i + 16_000) for i in range(0, 144_000, 16_000)):
            end = time.thread_time() + 0.02
            while time.thread_time() < end:
                pass

    with pytest.raises(BadMedia, match=r"more than 0\.05 s of processor time") as caught:
        read()
    assert (caught.value.reason, caught.value.limit) == ("too_long", "max_decode_seconds")


def test_slices_of_a_long_sound(short_memory):
    data = sound(4, seconds=10.0)
    streamed, samples = audio.decode(data), audio.LongSound(data, 16_000, 160_000).samples
    ranges = [(0, 10), (5, 70_000), (5, 6), (69_999, 150_000), (159_990, 160_500), (170_000, 180_000)]
    for (begin, end), found in zip(ranges, streamed.slices(ranges), strict=True):
        assert np.array_equal(found, samples[begin:end])


def test_memory_does_not_grow_with_the_length_of_a_sound():
    data = io.BytesIO()
    soundfile.write(data, np.tile(tone(5, seconds=10.0, rate=192_000), (8, 1)), 192_000, format="FLAC")
    tracemalloc.start()
    try:
        vector = melstat.statistics(media.decode(data.getvalue()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.isfinite(vector).all()
    assert peak < 60e6  # the samples alone are 61 MB, and were held twice


def test_the_number_of_samples_is_limited():
    data = sound(6, channels=2, seconds=1.0)
    assert media.decode(data, limits=media.Limits(max_samples=32_000))
    with pytest.raises(BadMedia, match="16,000 samples in 2 channels, at most 31,999") as caught:
        media.decode(data, limits=media.Limits(max_samples=31_999))
    assert (caught.value.reason, caught.value.limit) == ("too_long", "max_samples")


@pytest.mark.parametrize(
    ("data", "modality"), [(sound(7), "audio"), (film("mp4", 30), "video"), (film("webm", 30), "video")]
)
def test_processor_time_is_limited(data, modality):
    def read() -> None:
        found = media.decode(data, modality, media.Limits(max_decode_seconds=1e-9))
        found.frames([0], Image.Image.copy)

    with pytest.raises(BadMedia, match="more than 1e-09 s of processor time") as caught:
        read()
    assert (caught.value.reason, caught.value.limit) == ("too_long", "max_decode_seconds")
