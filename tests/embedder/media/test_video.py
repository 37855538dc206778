"""Videos: every frame at its place in every container; broken and too large videos, each with its reason."""

import io
import sys
import weakref

import av
import numpy as np
import pytest
from helpers.pictures import photo
from helpers.sounds import sound
from helpers.videos import ANIMATIONS, FILMS, animation, film, frames
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embedder import media
from embedder.errors import BadMedia
from embedder.media import video
from embedder.media.video import Video


def refusal(data, **limits):
    with pytest.raises(BadMedia) as caught:
        media.decode(data, "video", media.Limits(**limits)).frames([0], Image.Image.copy)
    return caught.value


@pytest.mark.parametrize("form", ANIMATIONS)
def test_animations(form):
    data = animation(form, 12, [100] * 11 + [400])
    assert media.guess(data) == "image"  # the caller must say that it is a video
    clip = media.decode(data, "video")
    assert isinstance(clip, Video)
    assert media.modality_of(clip) == "video"
    assert (clip.count, clip.width, clip.height) == (12, 64, 48)
    assert clip.seconds == pytest.approx(1.5)
    for index, found in zip([11, 0, 5, 5], clip.frames([11, 0, 5, 5], Image.Image.copy), strict=True):
        assert np.abs(np.asarray(found, int) - np.asarray(frames(12)[index])).max() <= 3 * (form == "AVIF")
    info = media.inspect(data, "video")
    assert (info.modality, info.media_type, info.width, info.height) == ("video", f"image/{form.lower()}", 64, 48)
    assert info.seconds == pytest.approx(1.5)


@pytest.mark.parametrize("container", FILMS)
def test_films_frame_by_frame(container):
    data = film(container, 30)
    assert media.guess(data) == "video"
    clip = media.decode(data)
    assert (clip.count, clip.rate, clip.width, clip.height) == (30, 10.0, 64, 48)
    with av.open(io.BytesIO(data)) as file:
        wanted = [np.asarray(frame.to_image()) for frame in file.decode(video=0)]
    assert len(wanted) == 30
    for indices in ([0, 29], [29, 0, 13, 13], [7, 8, 9], range(30)):
        for index, found in zip(indices, clip.frames(indices, Image.Image.copy), strict=True):
            np.testing.assert_array_equal(np.asarray(found), wanted[index])
    kinds = {"mp4": "video/mp4", "mov": "video/quicktime", "webm": "video/webm", "matroska": "video/x-matroska"}
    info = media.inspect(data)
    assert (info.media_type, info.seconds) == (kinds[container], 3.0)


def test_only_what_is_needed_is_decoded(monkeypatch):
    """For the last frame of a long film, decoding begins at the last start, not at the first frame."""
    data, decoded = film("mp4", 200, group=10), []
    real = video._opened

    class Counting:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            return getattr(self.file, name)

        def decode(self, stream):
            for frame in self.file.decode(stream):
                decoded.append(frame.pts)
                yield frame

    from contextlib import contextmanager

    @contextmanager
    def opened(*arguments):
        with real(*arguments) as (file, stream):
            yield Counting(file), stream

    monkeypatch.setattr(video, "_opened", opened)
    clip = media.decode(data)
    assert not decoded
    clip.frames([199], Image.Image.copy)
    assert 1 <= len(decoded) <= 15


@pytest.mark.parametrize("size", [(64, 48), (130, 300), (322, 130), (2, 128), (34, 256)])
def test_a_frame_is_the_one_that_pyav_gives(size):
    """Rows of a frame have padding, and frames are copied some rows at a time."""
    rng = np.random.default_rng(size)
    frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).reformat(
        format="yuv420p"
    )
    np.testing.assert_array_equal(np.asarray(video._image(frame)), np.asarray(frame.to_image()))


def test_one_frame_at_a_time_is_in_memory():
    """The frames of a large video would take gigabytes together."""
    kept = []

    def use(image):
        assert all(ref() is None for ref in kept[:-1])
        kept.append(weakref.ref(image))
        return image.size

    for data in (film("mp4", 30), animation("GIF", 12)):
        kept.clear()
        clip = media.decode(data, "video")
        assert clip.frames(range(10), use) == [(64, 48)] * 10
        assert len(kept) == 10


def test_a_film_that_was_taken_upright_stays_so():
    """Phones write a matrix into the track's header instead of turning their frames."""
    data = bytearray(film("mp4", 3))
    at = data.index(b"tkhd") + 4 + 4 + 4 * 5 + 8 + 8
    turned = [0, 0x10000, 0, -0x10000 & 0xFFFFFFFF, 0, 0, 0, 0, 0x40000000]  # a quarter clockwise
    data[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in turned)
    [plain], [found] = (
        media.decode(film("mp4", 3)).frames([2], Image.Image.copy),
        media.decode(bytes(data)).frames([2], Image.Image.copy),
    )
    np.testing.assert_array_equal(np.asarray(found), np.rot90(np.asarray(plain), -1))


def test_what_is_shown_for_no_time_is_shown_for_a_tenth():
    assert media.decode(animation("GIF", 5, 0), "video").seconds == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("data", "limits", "reason"),
    [
        (b"", {}, "empty"),
        (b"hello", {}, "not_an_image"),
        (photo(1), {}, "unsupported"),
        (sound(1), {}, "not_an_image"),
        (animation("GIF", 12), {"max_pixels": 3000}, "too_many_pixels"),
        (animation("GIF", 12), {"max_seconds": 1.0}, "too_long"),
        (film("mp4", 30), {"max_pixels": 3000}, "too_many_pixels"),
        (film("mp4", 30), {"max_seconds": 2.9}, "too_long"),
        (b"\0\0\0\x18ftypmp42" + bytes(300), {}, "truncated"),
        (b"\x1aE\xdf\xa3" + bytes(300), {}, "truncated"),
    ],
)
def test_what_is_refused(data, limits, reason):
    error = refusal(data, **limits)
    assert error.reason == reason
    assert str(error)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.97])
@pytest.mark.parametrize(
    "make", [*(lambda c=c: film(c, 30) for c in FILMS), *(lambda a=a: animation(a, 12) for a in ANIMATIONS)]
)
def test_what_is_cut_off_is_told(make, share):
    data = make()
    assert refusal(data[: int(share * len(data))]).reason == "truncated"


def test_an_animation_that_would_take_for_ever(monkeypatch):
    monkeypatch.setattr("embedder.media.animation.MOST_DRAWN", 12 * 64 * 48 - 1)
    assert refusal(animation("WEBP", 12)).reason == "too_many_pixels"


def test_without_pyav_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    error = refusal(b"\0\0\0\x18ftypmp42" + bytes(300))
    assert (error.reason, "headwater[imagebind]" in str(error)) == ("unsupported", True)


def test_pictures_with_the_same_box_are_no_films():
    assert media.guess(animation("AVIF", 2)) == "image"
    assert not video.is_video(b"\0\0\0\x18ftypheic" + bytes(30))
    assert not video.is_video(b"\0\0\0\x18ftypM4A " + bytes(30))


FILM = film("mp4", 12)


@given(st.integers(8, len(FILM) - 1), st.integers(0, 255))
def test_one_wrong_byte_never_gets_out_as_another_error(position, value):
    data = bytearray(FILM)
    data[position] = value
    try:
        clip = media.decode(bytes(data), "video")
        clip.frames([0, clip.count - 1], Image.Image.copy)
    except BadMedia:
        pass
