"""Small files of every format, and damage to them."""

import io

import numpy as np
from PIL import Image

from helpers.pictures import photo
from helpers.sounds import sound

WORDS = [b"\0", b"\xff", b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\x80", b"(", b"\n", b"\xff\xd8", b"RIFF"]


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def image(kind: str, mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo(1))).convert(mode).resize((40, 30)).save(out, kind, **options)
    return out.getvalue()


def files() -> dict[str, tuple[bytes, str]]:
    """Return the bytes and the modality of a file of every format, by the name of the format."""
    from helpers.videos import animation, film

    return {
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
