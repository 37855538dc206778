"""JPEGs in batches on a GPU: pixels near those of the CPU, broken files alone, vectors kept.

Run with ``pytest -m gpu -s``: rates are printed, not judged.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.jpegs import broken, jpeg, of_kind
from helpers.towers import timm_tower

from embedder import cpus, probe, registry
from embedder.encoder import JPEG_BATCH
from embedder.engines.jpegs import choice
from embedder.engines.jpegs.decoder import DeviceJpegs
from embedder.media import Limits
from embedder.media.image import decode, fit
from embedder.media.plain_jpegs import KINDS
from embedder.spec import ImagePreprocessing

pytestmark = pytest.mark.gpu

P = ImagePreprocessing(size=224, resize=256, interpolation="bicubic", mean=(0, 0, 0), std=(1, 1, 1))
NO_COLOURS_HALVED = ("grey", "grey progressive", "4:4:4", "4:4:4 progressive")
"""Kinds in which codecs need not enlarge colours, so that pixels are equal but for rounding."""


def decoder(p=P, smooth=KINDS) -> DeviceJpegs:
    return DeviceJpegs(p, Limits(), "cuda", dict.fromkeys(KINDS, 1), smooth=smooth)


def rows(files, of: DeviceJpegs | None = None):
    of = of or decoder()
    taken = [of.take(data) for data in files]
    assert all(taken)
    return of.rows(taken)


def differences(row, data: bytes, p=P) -> np.ndarray:
    return np.abs(row.astype(int) - fit(decode(data).image, p).astype(int))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(640, 480), (481, 641), (256, 256), (1920, 1080), (37, 81), (2000, 200)])
def test_pixels_are_near_those_of_the_cpu(kind, size):
    files = [of_kind(kind, *size, seed, quality=75 + 5 * seed) for seed in range(4)]
    plain = [differences(row, data) for row, data in zip(rows(files, decoder(smooth=())), files, strict=True)]
    found = [differences(row, data) for row, data in zip(rows(files), files, strict=True)]
    print(
        f"\n{kind} {size}: mean {np.mean(found):.3f}, worst {np.max(found)} levels; not smoothed {np.mean(plain):.3f}"
    )
    assert np.mean(found) < (0.6 if kind in NO_COLOURS_HALVED else 4)
    assert np.max(found) <= 4 or kind not in NO_COLOURS_HALVED


@pytest.mark.parametrize("crop", ["centre", "centre-floor", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_the_device_resizes_as_the_cpu_does(interpolation, crop, monkeypatch):
    """From equal pixels: both decode on the CPU."""
    from embedder.engines.jpegs import decoder as module

    on_cpu = module.decode_jpegs
    monkeypatch.setattr(
        module, "decode_jpegs", lambda files, device: [x.to(device) for x in on_cpu(files, torch.device("cpu"))]
    )
    p = ImagePreprocessing(size=224, resize=256, interpolation=interpolation, crop=crop, mean=(0, 0, 0), std=(1, 1, 1))
    of = decoder(p, smooth=())
    files = [jpeg(300 + 7 * seed, 500 - 9 * seed, seed, orientation=seed % 9) for seed in range(20)]
    assert max(differences(row, data, p).max() for row, data in zip(rows(files, of), files, strict=True)) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_image_is_turned_upright(orientation):
    data = jpeg(640, 480, 1, orientation=orientation, subsampling=0)
    assert differences(rows([data])[0], data).mean() < 1


BROKEN = broken(640, 480)


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_file_leaves_its_neighbours_their_pixels(damage):
    good = [jpeg(640, 480, seed, subsampling=0) for seed in range(5)]
    files = [*good[:2], BROKEN[damage], *good[2:4], BROKEN[damage], good[4]]
    found = rows(files)
    print(f"\n{damage}: {'no pixels' if found[2] is None else 'pixels'}")
    for at in (0, 1, 3, 4, 6):
        assert differences(found[at], files[at]).mean() < 1


def test_batches_at_once_on_several_threads_do_not_mix():
    of = decoder()
    batches = [[jpeg(640, 480, seed + at, subsampling=0) for seed in range(16)] for at in range(8)]
    with ThreadPoolExecutor(4) as threads:
        for found, files in zip(threads.map(lambda some: rows(some, of), batches * 4), batches * 4, strict=True):
            assert max(differences(row, data).mean() for row, data in zip(found, files, strict=True)) < 1


def test_the_memory_of_many_large_images_is_bounded():
    of, files = decoder(), [jpeg(4000, 3000, seed) for seed in range(4)] * 16
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    assert all(row is not None for row in rows(files, of))
    peak = torch.cuda.max_memory_allocated() - before
    print(f"\n64 images of 12 million pixels: {peak / 2**20:.0f} MiB")
    assert peak < 2**30


@pytest.mark.parametrize("name", ["lite0", "timm/test_vit@{folder}/vit.safetensors"])
def test_vectors_are_kept_where_the_choice_says_so(name, tmp_path):
    timm_tower(Path(tmp_path / "vit.safetensors"), "test_vit")
    encoder = registry.load(name.format(folder=tmp_path), backend="torch-cuda-fp32-eager", cache_dir=tmp_path / "cache")
    found = choice.measure(encoder, Limits(), "cuda")
    print(f"\n{found}")
    assert found.sides, "no kind of JPEG keeps its vectors on this GPU"
    for kind, side in found.sides.items():
        size = (4 * side // 3 + 11, side + 5)
        files = [of_kind(kind, *size, seed, quality=80) for seed in range(5)]
        whole = np.stack([encoder.prepare(decode(data).image) for data in files])
        got = np.stack(rows(files, decoder(encoder.spec.image, found.smooth)))
        cosines = probe.cosines(encoder.embed(whole).vectors, encoder.embed(got).vectors)
        print(f"{kind}: {cosines.min():.5f}")
        assert cosines.min() > 0.995
    assert encoder.jpeg_decoder(Limits(jpegs_on_gpu="off")) is None
    assert encoder.jpeg_decoder(Limits(jpegs_on_gpu="on")) is not None


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080)])
def test_rates(size):
    of, files = decoder(), [probe.photo(*size, seed % 5, quality=85 + seed % 10) for seed in range(32)] * 16

    def gpu(some):
        return of.rows([of.take(data) for data in some])

    batches = [files[at : at + JPEG_BATCH] for at in range(0, len(files), JPEG_BATCH)]
    for lanes in (1, 2):
        with ThreadPoolExecutor(lanes) as threads:
            [*threads.map(gpu, batches[:2])]
            start = time.perf_counter()
            [*threads.map(gpu, batches)]
            print(f"\n{size}: {len(files) / (time.perf_counter() - start):.0f} images/s on the GPU, {lanes} lanes")
    start = time.perf_counter()
    [of.take(data) for data in files]
    print(f"headers: {1e6 * (time.perf_counter() - start) / len(files):.1f} µs each")
    with ThreadPoolExecutor(cpus.usable()) as threads:
        start = time.perf_counter()
        [*threads.map(lambda data: fit(decode(data, short_side=3 * P.resize).image, P), files[:256])]
        print(f"{256 / (time.perf_counter() - start):.0f} images/s on {cpus.usable()} CPU threads")
