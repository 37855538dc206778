"""Clips of a sound: parts of one length, spread evenly, at the sampling rate that a network takes."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from embedder.media.audio import Sound
from embedder.media.resample import needed, resample, resampled_length


def clip_starts(duration: float, seconds: float, clips: int) -> list[Fraction]:
    """Return the times (seconds) at which `clips` clips begin, spread evenly over a sound or video.

    The fractions are exactly those of pytorchvideo's ConstantClipsPerVideoSampler, because a rounded division would
    sometimes move a clip by a sample. Its release 0.1.5 divides by `clips`; ImageBind requires a later commit, which
    divides by `clips` − 1.
    """
    last = Fraction(max(duration - seconds, 0))
    return [last / max(clips - 1, 1) * index for index in range(clips)]


def sound_clips(media: Sound, rate: int, seconds: int, clips: int) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of each clip at `rate` Hz, (n,): `seconds` long, or the whole sound if that is shorter."""
    total = resampled_length(media.length, media.rate, rate)
    starts = clip_starts(total / rate, seconds, clips)
    ranges = [(int(start * rate), min(int((start + seconds) * rate), total)) for start in starts]
    sources = [needed(media.length, media.rate, rate, begin, end) for begin, end in ranges]
    for clip, source, part in zip(ranges, sources, media.slices(sources), strict=True):
        yield resample(part, media.rate, rate, *clip, offset=source[0])
