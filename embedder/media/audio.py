"""Decoding of sounds: turns the bytes of a file into samples. libsndfile runs only after the format and the header
are checked."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from embedder.errors import BadSound
from embedder.media.guard import DEFAULT_MAX_DECODE_SECONDS, Effort, Reserve, confined, reserve_nothing
from embedder.media.sound_files import check_whole, without_extras

READ = "WAV, FLAC, OGG or MP3"
DEFAULT_MAX_SECONDS = 600.0
"""Longest sound that is decoded, seconds."""
DEFAULT_MAX_SAMPLES = 115_200_000
"""Most samples of a sound that are decoded, all channels together: ten minutes of two channels at 96 kHz."""
_IN_MEMORY = 2**22
"""Most samples that are kept in memory: 17 MB, 95 s at 44.1 kHz."""

_SAMPLE_BYTES, _SECOND_BYTES = 8, 150_000
"""Memory for each sample in memory, held twice, and for the spectrum of each second: 100 frames of 48 bands."""

RATES = (1_000, 192_000)
"""Least and greatest sampling rate, Hz: from telemetry to the best studio. Any other comes from a broken header."""
_MOST_CHANNELS = 32
_BLOCK = 65_536
_LOUDEST = 1e9
"""Largest sample, where full scale is 1. Much larger ones overflow when they are squared."""
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


@dataclass(frozen=True, slots=True)
class Sound:
    """A sound of one channel: `samples` float32 (n,), n ≥ 1, full scale ±1; `rate` in Hz."""

    samples: NDArray[np.float32]
    rate: int

    @property
    def length(self) -> int:
        """Number of samples."""
        return len(self.samples)

    def slices(self, ranges: Iterable[tuple[int, int]]) -> Iterator[NDArray[np.float32]]:
        """Yield the samples `begin` to `end` of each range. No `begin` may be less than the one before it.

        A reader of this method needs little memory for a `LongSound` too. Raises BadMedia.
        """
        return (self.samples[begin:end] for begin, end in ranges)


class LongSound(Sound):
    """A sound whose samples are not kept in memory: each call of `slices` decodes the file again.

    The time limit of `decode` holds for each call too, the work of its reader between two slices included.
    """

    _data: bytes
    _length: int
    _max_seconds: float

    def __init__(
        self, data: bytes, rate: int, length: int, max_decode_seconds: float = DEFAULT_MAX_DECODE_SECONDS
    ) -> None:
        values = {"rate": rate, "_data": data, "_length": length, "_max_seconds": max_decode_seconds}
        for name, value in values.items():
            object.__setattr__(self, name, value)  # Sound is frozen

    @property
    def length(self) -> int:
        return self._length

    @property
    def samples(self) -> NDArray[np.float32]:
        """All samples at once; 4 bytes each."""
        return next(self.slices([(0, self.length)]))

    def slices(self, ranges: Iterable[tuple[int, int]]) -> Iterator[NDArray[np.float32]]:
        effort = Effort(self._max_seconds)
        with _opened(self._data) as file:
            parts = _parts(file)
            start, held = 0, np.empty(0, np.float32)
            for begin, end in ranges:
                pieces, stop = [held[begin - start :]], start + len(held)
                while stop < end and (part := next(parts, None)) is not None:
                    if stop + len(part) > begin:
                        pieces.append(part[max(begin - stop, 0) :])
                    stop += len(part)
                    effort.check()
                start, held = begin, np.concatenate(pieces)
                yield held[: end - begin]


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
    with _opened(data) as file:
        return SoundInfo(_MEDIA_TYPES[file.format], file.frames / file.samplerate)


def decode(
    data: bytes,
    *,
    max_seconds: float = DEFAULT_MAX_SECONDS,
    max_samples: int = DEFAULT_MAX_SAMPLES,
    max_decode_seconds: float = DEFAULT_MAX_DECODE_SECONDS,
    reserve: Reserve = reserve_nothing,
) -> Sound:
    """Return the sound in a file's bytes, its channels averaged, at its own rate.

    A sound of more than `_IN_MEMORY` samples becomes a `LongSound`. It is decoded here once too, to find damage.

    Raises BadSound, and nothing else, for bytes that give no sound. Many threads may call it at once.
    """
    kept: list[NDArray[np.float32]] = []
    length, is_sound, effort = 0, True, Effort(max_decode_seconds)
    with _opened(data) as file:
        _check_length(file, max_seconds, max_samples)
        promised, rate = file.frames, file.samplerate
        reserve(int(promised / rate * _SECOND_BYTES) + min(promised, _IN_MEMORY) * _SAMPLE_BYTES)
        for part in _parts(file):
            effort.check()
            length += len(part)
            is_sound = is_sound and bool(np.abs(part).max() <= _LOUDEST)  # False for NaN
            kept = [*kept, part] if length <= _IN_MEMORY else []
    if length < _LEAST_DECODED * promised:
        raise BadSound(
            "truncated", f"only {length:,} of {promised:,} samples could be read; replace it with a whole copy"
        )
    if not length:
        raise BadSound("empty", "the sound has no samples")
    if not is_sound:
        raise BadSound(
            "unsupported", f"the samples contain NaN, infinity or values above {_LOUDEST:g}; save the sound again"
        )
    return Sound(np.concatenate(kept), rate) if kept else LongSound(data, rate, length, max_decode_seconds)


class _File(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from its start to its end.

    GSM 6.10, G.721 and NMS ADPCM cannot seek, and other codecs would decode again after each block to do so. MP3 still
    seeks: libsndfile gives slightly other samples after a seek, and stored vectors were made of these.
    """

    def seekable(self) -> bool:
        return self.format == "MP3" and bool(super().seekable())


def _parts(file: _File) -> Iterator[NDArray[np.float32]]:
    """Yield the sound in blocks, its channels averaged; at most as many samples as the header promises."""
    left = file.frames
    while left > 0 and len(block := file.read(min(_BLOCK, left), dtype="float32", always_2d=True)):
        left -= len(block)
        yield block.mean(axis=1)


@contextmanager
def _opened(data: bytes) -> Iterator[_File]:
    """Open the file and check its header. Any error inside the block becomes a BadSound."""
    if not data:
        raise BadSound("empty", "the file is empty")
    if not is_sound(data):
        raise BadSound("unknown_format", f"not a supported sound. Supported: {READ}")
    check_whole(data)
    with confined(BadSound):
        try:
            with _File(BytesIO(without_extras(data))) as file:
                _check_header(file)
                yield file
        except soundfile.LibsndfileError as error:
            raise BadSound("truncated", "the sound is cut off or damaged; replace it with a whole copy") from error


def _check_header(file: _File) -> None:
    if file.format not in _MEDIA_TYPES:
        raise BadSound("unsupported", f"a {file.format} file with an unusual beginning; save it as {READ}")
    if not RATES[0] <= file.samplerate <= RATES[1] or file.channels > _MOST_CHANNELS:
        raise BadSound(
            "unsupported",
            f"{file.samplerate} Hz, {file.channels} channels; supported are {RATES[0]} to {RATES[1]} Hz and at most "
            f"{_MOST_CHANNELS} channels: save the sound again",
        )


def _check_length(file: _File, max_seconds: float, max_samples: int) -> None:
    if file.frames > max_seconds * file.samplerate:
        found, most = f"{file.frames / file.samplerate:.1f} s", f"{max_seconds:g} s"
        raise BadSound("too_long", f"the sound is too long: {found}, at most {most} are decoded; cut it", "max_seconds")
    if file.frames * file.channels > max_samples:
        raise BadSound(
            "too_long",
            f"the sound is too long: {file.frames:,} samples in {file.channels} channels, at most {max_samples:,} in "
            "all channels are decoded; cut it, or save it with a lower rate or fewer channels",
            "max_samples",
        )
