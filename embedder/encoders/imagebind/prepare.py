"""From decoded assets to ImageBind's inputs. NumPy and Pillow only: what torchvision, torchaudio and pytorchvideo do to
pictures, sounds and videos in the authors' loaders is done here without them, and equal where the tests say so.

The authors published no loaders of depth, thermal images and motion. What is done to those is our choice, after the
paper (Girdhar et al. 2023, appendix B) and Omnivore (Girdhar et al. 2022), whose depth preprocessing it follows.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.image import fit_plane
from embedder.media.mel import kaldi_log_mel
from embedder.media.resample import resample, resampled_length
from embedder.media.video import Clip
from embedder.spec import AudioPreprocessing, ImagePreprocessing, MotionPreprocessing, PlanePreprocessing
from embedder.spec import VideoPreprocessing as Video

_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
_SECONDS = 2
_RATE = 16_000
_AUDIO_MEAN, _AUDIO_STD = -4.268, 9.138
_SCALE = 0.075 * 518.857901  # baseline × focal length of the Kinect of NYU-D, on which the paper tests
_MOST = 75.0

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
"""Spectra of a clip: 198 of two seconds, then zeros."""
VIDEO = Video(
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
    most=_MOST,
    mean=0.0418,
    std=0.0295,
)
THERMAL = PlanePreprocessing(size=224, resize=224, interpolation="bilinear", values="brightness", mean=0.0, std=1.0)
MOTION = MotionPreprocessing(samples=2000, interpolation="linear")


def clip_starts(duration: float, seconds: float, clips: int) -> list[Fraction]:
    """Seconds at which `clips` clips begin that are spread from a sound's or a video's first second to its last.

    Exactly pytorchvideo's ConstantClipsPerVideoSampler: a rounded division would now and then move a clip by a sample.
    Its release 0.1.5 divides by `clips`; ImageBind asks for a later commit, and later versions divide as here.
    """
    last = Fraction(max(duration - seconds, 0))
    return [last / max(clips - 1, 1) * index for index in range(clips)]


def sound(media: Sound) -> NDArray[np.float32]:
    """(clips, 1, bands, FRAMES) float32. A sound shorter than a clip fills the beginning of each."""
    total = resampled_length(len(media.samples), media.rate, _RATE)
    found = np.zeros((AUDIO.parts, 1, AUDIO.bands, FRAMES), np.float32)
    for row, start in zip(found, clip_starts(total / _RATE, _SECONDS, AUDIO.parts), strict=True):
        begin, end = int(start * _RATE), int((start + _SECONDS) * _RATE)
        samples = resample(media.samples, media.rate, _RATE, begin, min(end, total))
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
    """(1, 224, 224): disparities. The file holds distances: whole numbers are millimetres, fractions metres.

    0 stands for no reading, and counts as far away. Disparities are those of NYU-D's camera, whose scale the network
    knows; depths from a camera with another field of view come out nearer or farther than they are.
    """
    metres = media.values / np.float32(1 if media.bits is None else 1000)
    with np.errstate(divide="ignore", over="ignore"):
        disparities = np.where(metres > 0, np.float32(_SCALE) / metres, np.float32(0))
    return _normalised(np.minimum(disparities, np.float32(_MOST)) / np.float32(_MOST), DEPTH)


def thermal(media: Plane) -> NDArray[np.float32]:
    """(1, 224, 224) from 0 to 1. Values of 8 bits are brightness already, as in LLVIP, which the network learned from.

    Any other are temperatures, or a camera's counts: the coldest pixel becomes 0 and the hottest 1.
    """
    if media.bits == 8:
        return _normalised(media.values / np.float32(255), THERMAL)
    least, greatest = float(media.values.min()), float(media.values.max())
    return _normalised((media.values.astype(np.float64) - least) / max(greatest - least, 1e-12), THERMAL)


def _normalised(values: NDArray[np.floating], p: PlanePreprocessing) -> NDArray[np.float32]:
    return (fit_plane(values.astype(np.float32), p)[None] - np.float32(p.mean)) / np.float32(p.std)


def motion(media: Motion) -> NDArray[np.float32]:
    """(6, 2000). The file holds one clip, whatever its rate, of about 5 seconds, as the network was trained on.

    Accelerations in m/s², rotations in rad/s, as Ego4D has them; both raw.
    """
    old, new = np.linspace(0, 1, len(media.values)), np.linspace(0, 1, MOTION.samples)
    return np.stack([np.interp(new, old, channel) for channel in media.values.T]).astype(np.float32)


def video(media: Clip) -> NDArray[np.uint8]:
    """(views, 2, 224, 224, 3) uint8: of each clip its first and last frame, cut out three times."""
    last = media.count - 1
    chosen = []
    for start in clip_starts(media.seconds, _SECONDS, VIDEO.clips):
        begin, end = (math.ceil(media.rate * time) for time in (start, start + _SECONDS))
        chosen += [min(begin, last), min(max(end - 1, begin), last)]
    cut = [_crops(frame) for frame in media.frames(chosen)]
    pairs = [cut[clip * VIDEO.frames : (clip + 1) * VIDEO.frames] for clip in range(VIDEO.clips)]
    views = product(pairs, range(VIDEO.crops))
    return np.stack([np.stack([squares[crop] for squares in pair]) for pair, crop in views])


def _crops(frame: Image.Image) -> Sequence[NDArray[np.uint8]]:
    """Three squares along the long side, of the frame scaled to 224 pixels on the short side."""
    short, size = min(frame.size), VIDEO.size
    width, height = (int(VIDEO.resize * (length / short)) for length in frame.size)
    x, y = frame.width / width, frame.height / height
    squares = []
    for share in (0.0, 0.5, 1.0):
        left, top = (math.ceil((length - size) * share) for length in (width, height))
        # Image.resize would smooth: the authors' resizing looks at four pixels, however much it shrinks.
        matrix = (x, 0, x * left, 0, y, y * top)
        square = frame.transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        squares.append(np.asarray(square))
    return squares
