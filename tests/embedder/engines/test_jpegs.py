"""JPEGs in batches: torch on the CPU goes the way of the GPU, and gives the pixels of the usual decoding."""

import json

import numpy as np
import pytest
from helpers.jpegs import ORIENTATION, Batched, broken, jpeg, of_kind, repeating_colours
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embedder import probe, registry
from embedder.derived.encoders import DerivedEncoder
from embedder.encoder import HasJpegDecoder, jpeg_decoder
from embedder.engines.cache import Cache
from embedder.engines.jpegs import choice
from embedder.engines.jpegs import decoder as jpegs
from embedder.engines.jpegs.decoder import DeviceJpegs, can_resize
from embedder.media import Limits
from embedder.media.filters import FILTERS
from embedder.media.image import decode, fit
from embedder.media.plain_jpegs import KINDS
from embedder.spec import ImagePreprocessing

ONE = dict.fromkeys(KINDS, 1)


@pytest.fixture(scope="module")
def lite0(cache_dir):
    return registry.load("lite0", cache_dir=cache_dir)


def as_wanted(
    size: int = 64, resize: int = 72, interpolation: str = "bicubic", crop: str = "centre"
) -> ImagePreprocessing:
    return ImagePreprocessing(
        size=size, resize=resize, interpolation=interpolation, crop=crop, mean=(0, 0, 0), std=(1, 1, 1)
    )


def rows(files, p=as_wanted(), **options):  # noqa: B008  # not changed
    decoder = DeviceJpegs(p, options.pop("limits", Limits()), "cpu", options.pop("sides", ONE))
    taken = [decoder.take(data) for data in files]
    assert all(taken)
    return decoder.rows(taken)


def apart(row, data: bytes, p=as_wanted()) -> int:  # noqa: B008
    """Return the largest difference of a row from the usual way, in levels."""
    return int(np.abs(row.astype(int) - fit(decode(data).image, p).astype(int)).max())


@pytest.mark.parametrize("crop", ["centre", "centre-floor", "squash"])
@pytest.mark.parametrize("interpolation", [*FILTERS])
@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_those_of_the_usual_way(kind, interpolation, crop):
    p = as_wanted(interpolation=interpolation, crop=crop)
    sizes = [(1, 1), (2, 3), (37, 81), (72, 72), (640, 480), (481, 641), (640, 480), (1200, 80), (80, 1200)]
    files = [of_kind(kind, *size, seed, quality=60 + 4 * seed) for seed, size in enumerate(sizes)]
    assert max(apart(row, data, p) for row, data in zip(rows(files, p), files, strict=True)) <= 2


def test_nearly_all_pixels_are_equal():
    files = [of_kind(kind, 640, 480, seed) for seed, kind in enumerate(KINDS)]
    p = as_wanted(224, 256)
    pairs = zip(rows(files, p), files, strict=True)
    assert np.mean([np.mean(row != fit(decode(data).image, p)) for row, data in pairs]) < 1e-3


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.integers(1, 100),
    resize=st.integers(1, 100),
    interpolation=st.sampled_from([*FILTERS]),
    crop=st.sampled_from(["centre", "centre-floor", "squash"]),
    orientation=st.integers(0, 8),
)
def test_any_size_crop_and_orientation(width, height, size, resize, interpolation, crop, orientation):
    p = as_wanted(size, resize, interpolation, crop)
    data = jpeg(width, height, orientation=orientation)
    assert apart(rows([data], p)[0], data, p) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_image_is_turned_upright(orientation):
    data = jpeg(320, 200, 1, orientation=orientation, subsampling=0)
    assert apart(rows([data])[0], data) <= 1
    upright = jpeg(320, 200, 1, subsampling=0)
    assert orientation == 1 or apart(rows([data])[0], upright) > 20


def test_an_extreme_aspect_takes_only_the_columns_that_are_kept():
    data = jpeg(3000, 20)
    assert apart(rows([data])[0], data) <= 2


BROKEN = broken(320, 240)


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_file_leaves_its_neighbours_their_pixels(damage):
    """The broken one has pixels, if the codec forgives, or none; never does it take a good file with it."""
    good = [jpeg(320, 240, seed) for seed in range(5)]
    files = [*good[:2], BROKEN[damage], *good[2:4], BROKEN[damage], good[4]]
    found = rows(files)
    for at in (0, 1, 3, 4, 6):
        assert apart(found[at], files[at]) <= 2


def strict(files, device):
    """Fail as nvJPEG does, for the whole batch, if it holds a file of 320 × 240."""
    images = DECODE(files, device)
    if any(image.shape == (3, 240, 320) for image in images):
        raise RuntimeError("Error while decoding JPEG images: nvjpegDecodeBatched failed")
    return images


DECODE = jpegs.decode_jpegs


def test_a_batch_that_fails_is_cut_until_only_the_broken_files_are_left(monkeypatch):
    monkeypatch.setattr(jpegs, "decode_jpegs", strict)
    files = [jpeg(*((320, 240) if at in (3, 17, 18) else (200, 240)), at) for at in range(30)]
    found = rows(files)
    assert [at for at, row in enumerate(found) if row is None] == [3, 17, 18]
    assert max(apart(row, data) for row, data in zip(found, files, strict=True) if row is not None) <= 2


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("CUDA error: out of memory"), ValueError("odd")])
def test_a_device_that_fails_leaves_all_files_to_the_cpu(fault, monkeypatch, caplog):
    def failing(files, device):
        raise fault

    monkeypatch.setattr(jpegs, "decode_jpegs", failing)
    assert rows([PHOTO := jpeg(64, 48), PHOTO]) == [None, None]


def test_a_codec_that_finds_another_size_than_the_header_is_not_believed(monkeypatch):
    monkeypatch.setattr(jpegs, "decode_jpegs", lambda files, device: [image[:, 1:] for image in DECODE(files, device)])
    assert rows([jpeg(64, 48)]) == [None]


def test_large_images_are_decoded_in_parts(monkeypatch):
    sizes = []

    def counted(files, device):
        sizes.append(len(files))
        return DECODE(files, device)

    monkeypatch.setattr(jpegs, "decode_jpegs", counted)
    monkeypatch.setattr(jpegs, "_DECODED_PIXELS", 3 * 320 * 240)
    monkeypatch.setattr(jpegs, "_RESIZED_PIXELS", 2 * 320 * 240)
    files = [jpeg(320, 240, seed) for seed in range(7)]
    assert max(apart(row, data) for row, data in zip(rows(files), files, strict=True)) <= 2
    assert sizes == [3, 3, 1]


def test_what_is_taken_follows_limits_sizes_and_kinds():
    def taken(data, sides=ONE, **limits):
        return DeviceJpegs(as_wanted(), Limits(**limits), "cpu", sides).take(data) is not None

    photo = of_kind("4:2:0", 320, 240)
    assert taken(photo)
    assert taken(photo, max_pixels=320 * 240)
    assert not taken(photo, max_pixels=320 * 240 - 1)
    assert not taken(photo, max_side=319)
    assert taken(photo, {"4:2:0": 240})
    assert not taken(photo, {"4:2:0": 241})
    assert not taken(photo, {"4:4:4": 1})
    bomb = photo.replace(b"\x08\x00\xf0\x01\x40", b"\x08\xff\xff\xff\xff")
    assert bomb != photo
    assert not taken(bomb, max_pixels=10**10)


def test_nearest_is_left_to_the_cpu():
    assert not can_resize(as_wanted(interpolation="nearest"))


def test_every_kind_keeps_the_vectors_of_lite0(lite0, monkeypatch):
    monkeypatch.setattr(choice, "FACTORS", (1.0,))
    found = choice.measure(lite0, Limits(), "cpu", timed=False)
    assert found.sides == dict.fromkeys(KINDS, lite0.spec.image.resize)
    assert min(found.cosines.values()) > 0.9999
    assert found.fewest == 1
    assert found.smooth == []


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(640, 480), (481, 641), (301, 299)])
def test_colours_that_a_codec_repeats_are_smoothed(progressive, size, monkeypatch):
    monkeypatch.setattr(jpegs, "decode_jpegs", repeating_colours)
    p, exif = as_wanted(224, 224), Image.Exif()
    exif[ORIENTATION] = 6
    options = {"quality": 90, "subsampling": 2, "progressive": progressive}
    files = [probe.photo(*size, first, exif=exif.tobytes() if first else b"", **options) for first in range(3)]

    def squares(smooth) -> float:
        decoder = DeviceJpegs(p, Limits(), "cpu", ONE, smooth=smooth)
        found = decoder.rows([decoder.take(data) for data in files])
        wanted = [fit(decode(data).image, p) for data in files]
        return float(np.mean([(a.astype(int) - b.astype(int)) ** 2 for a, b in zip(found, wanted, strict=True)]))

    assert squares(KINDS) < 0.5
    assert squares(KINDS) < squares(()) / 3


def test_smoothing_makes_jpegs_of_halved_colours_keep_their_vectors(lite0, monkeypatch):
    """With the colours repeated, as nvJPEG does, only larger images would."""
    monkeypatch.setattr(jpegs, "decode_jpegs", repeating_colours)
    monkeypatch.setattr(choice, "FACTORS", (1.0,))
    monkeypatch.setattr(choice, "KINDS", ("4:4:4", "4:2:0"))
    found = choice.measure(lite0, Limits(), "cpu", timed=False)
    assert found.smooth == ["4:2:0"]
    assert found.cosines["4:2:0"] >= probe.LEAST_COSINE
    monkeypatch.setattr(choice, "_WAYS", {"4:4:4": (False,), "4:2:0": (False,)})
    found = choice.measure(lite0, Limits(), "cpu", timed=False)
    assert found.cosines["4:2:0"] < probe.LEAST_COSINE


def blurred(files, device):
    """Enlarge colours less well than the CPU's codec: every second pixel is as its neighbour."""
    return [image[:, :, ::2].repeat_interleave(2, 2)[:, :, : image.shape[2]] for image in DECODE(files, device)]


def test_a_codec_of_other_pixels_takes_only_sizes_at_which_vectors_stay_the_same(lite0, monkeypatch):
    monkeypatch.setattr(choice, "FACTORS", (1.0, 3.0))
    monkeypatch.setattr(jpegs, "decode_jpegs", blurred)
    found = choice.measure(lite0, Limits(), "cpu", timed=False)
    assert all(side > lite0.spec.image.resize for side in found.sides.values())
    assert all(found.cosines[kind] >= probe.LEAST_COSINE for kind in found.sides)
    black = lambda files, device: [0 * image for image in DECODE(files, device)]  # noqa: E731
    monkeypatch.setattr(jpegs, "decode_jpegs", black)
    assert choice.measure(lite0, Limits(), "cpu", timed=False).sides == {}


def test_the_faster_way_is_chosen_by_the_number_of_files(lite0, monkeypatch):
    def speeds(gpu, cpu):
        by_count = [dict(zip(map(str, choice._COUNTS), each, strict=True)) for each in (gpu, cpu)]
        monkeypatch.setattr(choice, "_speeds", lambda *_: tuple(by_count))
        return choice.measure(lite0, Limits(), "cpu").fewest

    monkeypatch.setattr(choice, "FACTORS", (1.0,))
    assert speeds([900] * 4, [100] * 4) == 1
    assert speeds([90, 300, 900, 9000], [100, 300, 300, 300]) == 16
    assert speeds([900, 900, 900, 100], [100] * 4) is None
    assert speeds([104] * 4, [100] * 4) is None


def test_the_speeds_of_both_ways_are_measured(lite0, monkeypatch):
    monkeypatch.setattr(choice, "_TIMED_FILES", 64)
    monkeypatch.setattr(choice, "_ROUNDS", 1)
    monkeypatch.setattr(choice, "FACTORS", (2.0,))
    found = choice.measure(lite0, Limits(), "cpu")
    for speeds in (found.gpu, found.cpu):
        assert {*speeds} == {"1", "4", "16", "64"}
        assert all(speed > 0 for speed in speeds.values())


class OnGpu:
    """An encoder that says it runs on a GPU."""

    def __init__(self, encoder):
        self._encoder, self.backend = encoder, "torch-cuda-fp16-compile"

    def __getattr__(self, name):
        return getattr(self._encoder, name)


@pytest.fixture
def on_cpu(monkeypatch):
    """Let the decoder of an encoder that says it runs on a GPU run on the CPU."""
    monkeypatch.setattr(choice, "device_of", lambda backend: "cpu" if "cuda" in backend else None)


def test_the_choice_is_kept_in_the_cache(lite0, on_cpu, monkeypatch, tmp_path):
    measured = []

    def measure(encoder, limits, device, *, timed):
        measured.append(timed)
        return choice.Choice(ONE, ["4:2:0"], ONE, 4, {}, {})

    monkeypatch.setattr(choice, "measure", measure)
    for _ in range(2):
        decoder = choice.choose_decoder(OnGpu(lite0), Limits(), Cache(tmp_path))
        assert (decoder.fewest, decoder.sides) == (4, ONE)
    assert measured == [True]
    choice.choose_decoder(OnGpu(lite0), Limits(jpegs_on_gpu="on"), Cache(tmp_path))
    assert measured == [True, False]
    [file, _] = tmp_path.glob("jpegs-*/choice.json")
    assert json.loads(file.read_text())["fewest"] in (1, 4)


def test_the_cpu_decodes_if_it_should_or_must(lite0, on_cpu, monkeypatch, tmp_path, caplog):
    def chosen(encoder, cache=tmp_path, **limits):
        return choice.choose_decoder(encoder, Limits(**limits), Cache(cache))

    assert chosen(lite0) is None
    assert chosen(OnGpu(lite0), jpegs_on_gpu="off") is None
    monkeypatch.setattr(choice, "measure", lambda *_, **__: choice.Choice({}, [], ONE, None, {}, {}))
    assert chosen(OnGpu(lite0), jpegs_on_gpu="on") is None
    assert "its pixels change vectors (best cosine 1.0000)" in caplog.text


def test_a_device_that_decodes_nothing_is_tried_again_by_the_next_process(lite0, on_cpu, monkeypatch, tmp_path, caplog):
    def full(files, device):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(choice, "FACTORS", (1.0,))
    with monkeypatch.context() as patch:
        patch.setattr(jpegs, "decode_jpegs", full)
        assert choice.choose_decoder(OnGpu(lite0), Limits(jpegs_on_gpu="on"), Cache(tmp_path)) is None
    assert "the GPU failed (RuntimeError: it decodes no JPEG)" in caplog.text
    assert choice.choose_decoder(OnGpu(lite0), Limits(jpegs_on_gpu="on"), Cache(tmp_path)) is not None


@pytest.mark.parametrize(
    ("backend", "device"),
    [
        ("torch-cuda-fp16-compile", "cuda"),
        ("torch-cuda:1-bf16", "cuda:1"),
        ("torch-cpu-fp32", None),
        ("openvino-bf16", None),
    ],
)
def test_the_device_is_the_encoders(backend, device):
    assert choice.device_of(backend) == device


def test_encoders_have_the_decoder_of_their_engine_and_derived_ones_ask_for_themselves(lite0):
    assert isinstance(lite0, HasJpegDecoder)
    assert jpeg_decoder(lite0, Limits()) is None  # on the CPU
    asked = []

    class Parent(Batched):
        def jpeg_decoder(self, limits, user=None):
            asked.append(user)
            return super().jpeg_decoder(limits, user)

    derived = object.__new__(DerivedEncoder)
    derived.parent = Parent(lite0)
    assert jpeg_decoder(derived, Limits()) is derived.parent.decoders[0]
    assert asked == [derived]
