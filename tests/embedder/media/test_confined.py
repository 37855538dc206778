"""Damaged files of every format: only BadMedia comes out, whatever class of error the decoder raises."""

import io
import struct
import tokenize
from contextlib import suppress

import numpy as np
import pytest
from helpers.pictures import photo
from helpers.sounds import sound
from helpers.videos import animation, film
from PIL import Image

from embedder import media
from embedder.errors import BadMedia


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def image(kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo(1))).convert(mode).resize((40, 30)).save(out, kind, **options)
    return out.getvalue()


FILES: dict[str, tuple[bytes, str]] = {
    **{kind: (image(kind), "image") for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")},
    "JPEG, progressive": (image("JPEG", progressive=True, icc_profile=bytes(300)), "image"),
    "PNG, grey": (image("PNG", "I;16"), "depth"),
    **{
        f"TIFF, {name}": (image("TIFF", compression=name), "image")
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
    **{form: (sound(1, form, seconds=0.2), "audio") for form in ("WAV", "FLAC", "OGG", "MP3", "RF64")},
    **{
        f"WAV, {name}": (sound(1, subtype=name, rate=8_000, seconds=0.2), "audio")
        for name in ("GSM610", "G721_32", "NMS_ADPCM_24", "IMA_ADPCM", "MS_ADPCM", "ULAW", "FLOAT", "PCM_24")
    },
    "OGG, Opus": (sound(1, "OGG", subtype="OPUS", seconds=0.2), "audio"),
    "NPY, depth": (npy(np.linspace(0, 9, 48).reshape(6, 8)), "depth"),
    "NPY, imu": (npy(np.ones((20, 6), np.float32)), "imu"),
    "CSV": (b"ax,ay,az,gx,gy,gz\n" + 20 * b"1,2.5,-3e1,4,5,6\n", "imu"),
    **{f"animated {form}": (animation(form, 5), "video") for form in ("GIF", "WEBP", "PNG")},
    **{form: (film(form, 12), "video") for form in ("mp4", "webm", "mov")},
}
WORDS = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"(",
    b"\n",
    b"\xff\xd8",
    b"RIFF",
]


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Return a copy with some bytes changed, cut out, doubled, or cut off. Most changes hit the header."""
    for _ in range(random.integers(1, 5)):
        at = int(random.random() ** random.integers(1, 4) * len(data))
        size = int(random.integers(1, 40))
        kind = random.integers(6)
        if kind == 0:
            data = data[:at] + data[at + size :]
        elif kind == 1:
            data = data[:at] + data[at : at + size] + data[at:]
        elif kind == 2 and random.random() < 0.3:
            data = data[: max(at, 8)]
        else:
            new = WORDS[random.integers(len(WORDS))] if kind < 5 else random.bytes(size)
            data = data[:at] + new + data[at + len(new) :]
    return data


@pytest.mark.parametrize("name", FILES)
def test_damage_gives_an_asset_or_a_bad_media(name):
    data, modality = FILES[name]
    media.decode(data, modality)  # the whole file is an asset
    random = np.random.default_rng(struct.unpack("<I", name.encode()[:4].ljust(4))[0])
    limits = media.Limits(max_pixels=4_000_000)
    for _ in range(25):
        bytes_ = damaged(data, random)
        with suppress(BadMedia):
            found = media.decode(bytes_, modality, limits)
            if isinstance(found, media.Video):
                found.frames([0, found.count - 1], Image.Image.copy)
        with suppress(BadMedia):
            media.inspect(bytes_, modality)
        with suppress(BadMedia):
            media.inspect(bytes_)


FAULTS = [
    ValueError("a"),
    MemoryError(),
    SystemError("error return without exception set"),
    RecursionError("b"),
    KeyError("c"),
    struct.error("d"),
    tokenize.TokenError("e"),
    OSError("f"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize(
    ("data", "place"), [(sound(1), "soundfile.SoundFile.read"), (photo(1), "PIL.ImageFile.ImageFile.load")]
)
def test_a_fault_of_any_class_is_of_this_file(fault, data, place, monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise fault

    monkeypatch.setattr(place, fail)
    with pytest.raises(BadMedia) as caught:
        media.decode(data)
    assert caught.value.reason in ("truncated", "unsupported", "too_many_pixels")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_of_the_program_passes(stop, monkeypatch):
    def fail(*args: object, **options: object) -> None:
        raise stop

    monkeypatch.setattr("soundfile.SoundFile.read", fail)
    with pytest.raises(stop):
        media.decode(sound(1))


def test_the_class_of_the_fault_is_named():
    with pytest.raises(BadMedia, match="TokenError") as caught:
        media.decode(b"\x93NUMPY\1\0" + struct.pack("<H", 100) + 100 * b"(", "depth")
    assert caught.value.reason == "truncated"
