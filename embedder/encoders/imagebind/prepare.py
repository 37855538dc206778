"""Preparation of decoded assets for ImageBind, in NumPy and Pillow only.

The authors' loaders prepare images, sounds and videos with torchvision, torchaudio and pytorchvideo. The functions here
give the same numbers without these libraries, as the tests show. The authors published no loaders for depth, thermal
images and motion; ours follow the paper (Girdhar et al. 2023, appendix B) and Omnivore (Girdhar et al. 2022), whose
depth preprocessing the paper uses.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.encoders.sound_clips import clip_starts, sound_clips
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.image import fit_plane
from embedder.media.mel import kaldi_log_mel
from embedder.media.video import Video
from embedder.spec import (
    AudioPreprocessing,
    ImagePreprocessing,
    MotionPreprocessing,
    PlanePreprocessing,
    VideoPreprocessing,
)

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
_SECONDS = 2
_RATE = 16_000
_AUDIO_MEAN, _AUDIO_STD = -4.268, 9.138
_SCALE = (
    0.075 * 518.857901
)  # metres × pixels: baseline × focal length of the Kinect that recorded NYU-D, the paper's test set
_MAX_DISPARITY = 75.0

IMAGE = ImagePreprocessing(size=224, resize=224, interpolation="bicubic", mean=_MEAN, std=_STD)
AUDIO = AudioPreprocessing(
    features="kaldi-fbank × 204",
    bands=128,
    low=20.0,
    high=8000.0,
    window=0.025,
    hop=0.01,
    parts=3,
    rate=_RATE,
    seconds=float(_SECONDS),
    mean=_AUDIO_MEAN,
    std=_AUDIO_STD,
)
FRAMES = 204
"""Number of spectra of one clip: 198 of two seconds of sound, then zeros."""
VIDEO = VideoPreprocessing(
    clips=5,
    seconds=float(_SECONDS),
    frames=2,
    crops=3,
    size=224,
    resize=224,
    interpolation="bilinear without antialiasing",
    mean=_MEAN,
    std=_STD,
)
DEPTH = PlanePreprocessing(
    size=224,
    resize=224,
    interpolation="bilinear",
    values="disparity",
    scale=_SCALE,
    most=_MAX_DISPARITY,
    mean=0.0418,
    std=0.0295,
)
THERMAL = PlanePreprocessing(size=224, resize=224, interpolation="bilinear", values="brightness", mean=0.0, std=1.0)
MOTION = MotionPreprocessing(samples=2000, interpolation="linear")


def sound(media: Sound) -> NDArray[np.float32]:
    """Return log-mel spectra (clips, 1, bands, FRAMES) float32. A sound shorter than a clip is padded at its end."""
    found = np.zeros((AUDIO.parts, 1, AUDIO.bands, FRAMES), np.float32)
    for row, samples in zip(found, sound_clips(media, _RATE, _SECONDS, AUDIO.parts), strict=True):
        spectra = kaldi_log_mel(
            samples,
            _RATE,
            bands=AUDIO.bands,
            low=AUDIO.low,
            high=AUDIO.high,
            window=AUDIO.window,
            hop=AUDIO.hop,
        )
        row[0, :, : len(spectra)] = spectra[:FRAMES].T
    return (found - np.float32(_AUDIO_MEAN)) / np.float32(_AUDIO_STD)


def depth(media: Plane) -> NDArray[np.float32]:
    """Return disparities (1, 224, 224) float32. The file holds distances: integers are millimetres, floats metres.

    0 means no reading and counts as far away. Disparities are computed for NYU-D's camera, on which the network was
    trained, so depths from a camera with another field of view appear nearer or farther than they are.
    """
    metres = media.values / np.float32(1 if media.bits is None else 1000)
    with np.errstate(divide="ignore", over="ignore"):
        disparities = np.where(metres > 0, np.float32(_SCALE) / metres, np.float32(0))
    return _normalised(np.minimum(disparities, np.float32(_MAX_DISPARITY)) / np.float32(_MAX_DISPARITY), DEPTH)


def thermal(media: Plane) -> NDArray[np.float32]:
    """Return brightness (1, 224, 224) float32, from 0 to 1.

    Values of 8 bits are brightness already, as in LLVIP, on which the network was trained. Other values are
    temperatures or a camera's counts: the coldest pixel becomes 0 and the hottest 1.
    """
    if media.bits == 8:
        return _normalised(media.values / np.float32(255), THERMAL)
    least, greatest = float(media.values.min()), float(media.values.max())
    return _normalised((media.values.astype(np.float64) - least) / max(greatest - least, 1e-12), THERMAL)


def _normalised(values: NDArray[np.floating], p: PlanePreprocessing) -> NDArray[np.float32]:
    return (fit_plane(values.astype(np.float32), p)[None] - np.float32(p.mean)) / np.float32(p.std)


def motion(media: Motion) -> NDArray[np.float32]:
    """Return 2000 readings of 6 axes, (6, 2000) float32, from the whole file. The network was trained on 5 seconds.

    Accelerations are in m/s² and rotations in rad/s, as in Ego4D; neither is normalised.
    """
    old, new = np.linspace(0, 1, len(media.values)), np.linspace(0, 1, MOTION.samples)
    return np.stack([np.interp(new, old, channel) for channel in media.values.T]).astype(np.float32)


def video(media: Video) -> NDArray[np.uint8]:
    """Return (views, 2, 224, 224, 3) uint8: the first and last frame of each clip, each cropped three times."""
    last = media.count - 1
    chosen = []
    for start in clip_starts(media.seconds, _SECONDS, VIDEO.clips):
        begin, end = (math.ceil(media.rate * time) for time in (start, start + _SECONDS))
        chosen += [min(begin, last), min(max(end - 1, begin), last)]
    cut = media.frames(chosen, _crops)
    pairs = [cut[clip * VIDEO.frames : (clip + 1) * VIDEO.frames] for clip in range(VIDEO.clips)]
    views = product(pairs, range(VIDEO.crops))
    return np.stack([np.stack([squares[crop] for squares in pair]) for pair, crop in views])


def _crops(frame: Image.Image) -> Sequence[NDArray[np.uint8]]:
    """Scale the frame to 224 pixels on the short side, then return three squares along the long side."""
    short, size = min(frame.size), VIDEO.size
    width, height = (int(VIDEO.resize * (length / short)) for length in frame.size)
    x, y = frame.width / width, frame.height / height
    squares = []
    for share in (0.0, 0.5, 1.0):
        left, top = (math.ceil((length - size) * share) for length in (width, height))
        # The authors' resizing reads four pixels, however much it shrinks; Image.resize would smooth over more.
        matrix = (x, 0, x * left, 0, y, y * top)
        square = frame.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        squares.append(np.asarray(square))
    return squares
