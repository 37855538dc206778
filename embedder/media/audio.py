"""Decoding of sounds: turns the bytes of a file into samples. libsndfile runs only after the format and the header
are checked."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from struct import unpack_from

import numpy as np
import soundfile
from numpy.typing import NDArray

from embedder.errors import BadSound

READ = "WAV, FLAC, OGG or MP3"
DEFAULT_MAX_SECONDS = 600.0
"""Longest sound that is decoded, seconds: 0.1 GB of samples at 48 kHz."""

RATES = (1_000, 192_000)
"""Least and greatest sampling rate, Hz: from telemetry to the best studio. Any other comes from a broken header."""
_MOST_CHANNELS = 32
_BLOCK = 65_536
_LEAST_DECODED = 0.98
"""A file that gives less than this share of the samples in its header is cut off. MP3 headers are estimates."""

_MEDIA_TYPES = {
    "WAV": "audio/wav",
    "WAVEX": "audio/wav",
    "RF64": "audio/wav",
    "FLAC": "audio/flac",
    "OGG": "audio/ogg",
    "MP3": "audio/mpeg",
}
_UNKNOWN_SIZE = (0, 0xFFFFFFFF)
"""Sizes written by programs that stream a WAV file and do not fill in its header afterwards."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound of one channel: `samples` float32 (n,), n ≥ 1, full scale ±1; `rate` in Hz."""

    samples: NDArray[np.float32]
    rate: int


@dataclass(frozen=True, slots=True)
class SoundInfo:
    """Facts from the header of a sound file."""

    media_type: str
    seconds: float


def is_sound(data: bytes) -> bool:
    """True if the first bytes are those of a supported format."""
    if data.startswith((b"RIFF", b"RF64")):
        return data[8:12] == b"WAVE"
    return data.startswith((b"fLaC", b"OggS", b"ID3")) or _is_mp3_frame(data)


def _is_mp3_frame(data: bytes) -> bool:
    """True for 11 set bits and a header of allowed values: MPEG audio has no signature."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return False
    version, layer = (data[1] >> 3) & 3, (data[1] >> 1) & 3
    return version != 1 and layer == 1 and data[2] >> 4 != 15 and (data[2] >> 2) & 3 != 3


def inspect(data: bytes) -> SoundInfo:
    """Return media type and duration, from the header alone. Raises BadSound."""
    with _opened(data, math.inf) as file:
        return SoundInfo(_MEDIA_TYPES[file.format], file.frames / file.samplerate)


def decode(data: bytes, *, max_seconds: float = DEFAULT_MAX_SECONDS) -> Sound:
    """Return the sound in a file's bytes, its channels averaged, at its own rate.

    Raises BadSound, and nothing else, for bytes that give no sound. Many threads may call it at once.
    """
    with _opened(data, max_seconds) as file:
        promised, rate = file.frames, file.samplerate
        blocks = file.blocks(_BLOCK, dtype="float32", always_2d=True)
        parts = [block.mean(axis=1) for block in _at_most(blocks, int(max_seconds * rate))]
    samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
    if len(samples) < _LEAST_DECODED * promised:
        raise BadSound(
            "truncated", f"only {len(samples):,} of {promised:,} samples could be read; replace it with a whole copy"
        )
    if not len(samples):
        raise BadSound("empty", "the sound has no samples")
    if not np.isfinite(samples).all():
        raise BadSound("unsupported", "the samples contain NaN or infinity; save the sound again")
    return Sound(samples, rate)


def _at_most(blocks: Iterator[NDArray[np.float32]], limit: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of at most `limit` samples together, whatever the header said. Raises BadSound after that."""
    seen = 0
    for block in blocks:
        seen += len(block)
        if seen > limit:
            raise _too_long(f"more than {limit:,} samples", "at most that many")
        yield block


@contextmanager
def _opened(data: bytes, max_seconds: float) -> Iterator[soundfile.SoundFile]:
    """Open the file and check its header. An error of libsndfile inside the block becomes a BadSound."""
    if not data:
        raise BadSound("empty", "the file is empty")
    if not is_sound(data):
        raise BadSound("unknown_format", f"not a supported sound. Supported: {READ}")
    _check_whole(data)
    try:
        with soundfile.SoundFile(BytesIO(data)) as file:
            _check_header(file, max_seconds)
            yield file
    except soundfile.LibsndfileError as error:
        raise BadSound("truncated", "the sound is cut off or damaged; replace it with a whole copy") from error


def _check_whole(data: bytes) -> None:
    """Raise BadSound for a WAV or OGG file that is cut off: libsndfile would silently read the part that is there."""
    if data.startswith(b"RIFF"):
        (size,) = unpack_from("<I", data, 4)
        if size not in _UNKNOWN_SIZE and size + 8 > len(data) + 1:  # a last odd byte may lack its padding
            raise BadSound(
                "truncated", f"the WAV file has {len(data):,} of {size + 8:,} bytes; replace it with a whole copy"
            )
    elif data.startswith(b"OggS"):
        last = data[data.rfind(b"OggS") :]
        if len(last) < 27 or not last[5] & 4 or len(last) < 27 + last[26] + sum(last[27 : 27 + last[26]]):
            raise BadSound(
                "truncated", f"the OGG file of {len(data):,} bytes lacks its last page; replace it with a whole copy"
            )


def _check_header(file: soundfile.SoundFile, max_seconds: float) -> None:
    if file.format not in _MEDIA_TYPES:
        raise BadSound("unsupported", f"a {file.format} file with an unusual beginning; save it as {READ}")
    if not RATES[0] <= file.samplerate <= RATES[1] or file.channels > _MOST_CHANNELS:
        raise BadSound(
            "unsupported",
            f"{file.samplerate} Hz, {file.channels} channels; supported are {RATES[0]} to {RATES[1]} Hz and at most "
            f"{_MOST_CHANNELS} channels: save the sound again",
        )
    if file.frames > max_seconds * file.samplerate:
        raise _too_long(f"{file.frames / file.samplerate:.1f} s", f"at most {max_seconds:g} s")


def _too_long(found: str, limit: str) -> BadSound:
    return BadSound("too_long", f"the sound is too long: {found}, {limit} are decoded; cut it", "max_seconds")
