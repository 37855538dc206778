"""The inputs of ImageBind's towers are compared with values computed by hand."""

from fractions import Fraction

import numpy as np
import pytest
from helpers.binds import loaders
from PIL import Image

from embedder import media, probe
from embedder.encoders.imagebind import prepare
from embedder.media.arrays import Motion, Plane
from embedder.media.audio import Sound
from embedder.media.video import Video


def test_clips_are_spread_from_the_first_second_to_the_last():
    assert prepare.clip_starts(10.0, 2, 3) == [0, 4, 8]
    assert prepare.clip_starts(4.5, 2, 5) == [Fraction(k, 8) * 5 for k in range(5)]
    assert prepare.clip_starts(1.3, 2, 3) == [0, 0, 0]
    assert prepare.clip_starts(9.0, 2, 1) == [0]


def test_a_short_sound_fills_the_beginning_of_every_clip():
    found = prepare.sound(Sound(np.full(800, 0.1, np.float32), 16_000))
    assert (found.shape, found.dtype) == ((3, 1, 128, 204), np.float32)
    silence, padding = (np.log(2.0**-23) + 4.268) / 9.138, 4.268 / 9.138
    np.testing.assert_allclose(found[:, 0, :, :3], silence, rtol=1e-5)  # a constant 0.1 minus its mean, in 3 windows
    np.testing.assert_allclose(found[:, 0, :, 3:], padding, rtol=1e-6)
    assert prepare.sound(Sound(np.ones(1, np.float32), 192_000)).shape == (3, 1, 128, 204)


def test_depths_become_the_disparities_of_a_kinect():
    metres = np.full((224, 224), 2.0, np.float32)
    metres[:, 100:] = 0  # no reading
    metres[:, 150:] = 0.1  # nearer than the greatest disparity, 75 pixels
    found = prepare.depth(Plane("depth", metres))
    assert (found.shape, found.dtype) == ((1, 224, 224), np.float32)
    assert found[0, 0, 0] == pytest.approx((0.075 * 518.857901 / 2 / 75 - 0.0418) / 0.0295)
    assert found[0, 0, 100] == pytest.approx(-0.0418 / 0.0295)
    assert found[0, 0, 223] == pytest.approx((1 - 0.0418) / 0.0295)
    np.testing.assert_allclose(prepare.depth(Plane("depth", 1000 * metres, 16)), found, rtol=1e-5)


def test_heat_is_brightness_of_8_bits_or_spread_over_what_there_is():
    grey = np.tile(np.arange(224, dtype=np.float32), (224, 1))
    np.testing.assert_allclose(prepare.thermal(Plane("thermal", grey, 8))[0], grey / 255, rtol=1e-6)
    kelvin = Plane("thermal", 290 + grey / 10)
    np.testing.assert_allclose(prepare.thermal(kelvin)[0], grey / 223, atol=1e-5)
    np.testing.assert_allclose(prepare.thermal(Plane("thermal", 7000 + grey, 16))[0], grey / 223, atol=1e-5)
    assert not prepare.thermal(Plane("thermal", grey * 0 + 300)).any()


def test_planes_are_scaled_by_their_short_side_and_cut_in_the_middle():
    steps = np.repeat(np.arange(4, dtype=np.float32), 224)[None].repeat(448, 0)  # 448 × 896 → 224 × 448 → 224 × 224
    found = prepare.thermal(Plane("thermal", steps, 8))[0] * 255
    np.testing.assert_allclose(found[:, [1, 110, 113, 222]], [[1, 1, 2, 2]] * 224, atol=1e-5)
    assert prepare.thermal(Plane("thermal", np.ones((2, 100_000), np.float32))).shape == (1, 224, 224)


def test_whole_numbers_are_remembered():
    import io

    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 1500, np.uint16)).save(out, "PNG")
    assert media.decode(out.getvalue(), "depth").bits in (16, 32)
    for dtype, bits in ((np.uint8, 8), (np.int16, 16), (np.float32, None)):
        out = io.BytesIO()
        np.save(out, np.ones((4, 4), dtype))
        assert media.decode(out.getvalue(), "thermal").bits == bits


def test_motion_is_stretched_over_two_thousand_readings():
    line = np.arange(5)[:, None] * np.arange(1, 7, dtype=np.float32)
    found = prepare.motion(Motion(line))
    assert (found.shape, found.dtype) == ((6, 2000), np.float32)
    np.testing.assert_allclose(found, np.linspace(0, 4, 2000) * np.arange(1, 7)[:, None], rtol=1e-5)
    same = np.random.default_rng(0).normal(size=(2000, 6)).astype(np.float32)
    np.testing.assert_allclose(prepare.motion(Motion(same)), same.T, atol=1e-6)
    assert prepare.motion(Motion(line[:1])).shape == (6, 2000)


def clip(count, rate, width=224, height=224):
    """Return a video whose frames hold their own number."""
    pictures = [Image.new("RGB", (width, height), (index, 0, 0)) for index in range(count)]
    return Video(count, rate, width, height, "none", lambda wanted: ((index, pictures[index]) for index in wanted))


@pytest.mark.parametrize(
    ("count", "rate", "wanted"),
    [
        (100, 10.0, [(0, 19), (20, 39), (40, 59), (60, 79), (80, 99)]),
        (10, 10.0, [(0, 9)] * 5),
        (1, 10.0, [(0, 0)] * 5),
        (
            3,
            0.25,
            [(0, 0), (1, 1), (2, 2), (2, 2), (2, 2)],
        ),  # 12 s: clips after the last frame use that frame
    ],
)
def test_first_and_last_frame_of_each_clip(count, rate, wanted):
    found = prepare.video(clip(count, rate))
    assert (found.shape, found.dtype) == ((15, 2, 224, 224, 3), np.uint8)
    assert found[::3, :, 0, 0, 0].tolist() == [list(pair) for pair in wanted]
    assert (found == found[:, :, :1, :1]).all()


def test_crops_are_the_authors(monkeypatch):
    import torch

    crop = loaders(monkeypatch).uniform_crop
    for size in ((448, 224), (224, 301), (224, 224)):
        pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
        planes = torch.from_numpy(pixels).permute(2, 0, 1).float()
        for index, found in enumerate(prepare._crops(Image.fromarray(pixels))):
            np.testing.assert_array_equal(found, crop(planes, 224, index)[0].permute(1, 2, 0))


def test_a_probe_of_video_moves():
    [moving] = probe.samples("video")
    views = prepare.video(moving)
    assert moving.seconds == 4.0
    assert np.abs(views[0, 0].astype(int) - views[0, 1]).mean() > 10
