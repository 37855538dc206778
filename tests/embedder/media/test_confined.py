"""Damaged files of every format: only BadMedia comes out, whatever class of error the decoder raises."""

import struct
import tokenize
from contextlib import suppress

import numpy as np
import pytest
from helpers.damage import damaged, files
from helpers.pictures import photo
from helpers.sounds import sound
from PIL import Image

from embedder import media
from embedder.errors import BadMedia

FILES = files()


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
