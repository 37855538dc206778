"""Whatever happens to the files of a data set, reading it ends with items or with an error that names a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.datasets import (
    cifar10,
    cifar100,
    coco,
    esc50,
    flickr8k,
    imagenet,
    karpathy,
    msr_vtt,
    nus_wide,
    open_images,
    write,
)

from services.jobs.datasets.formats import FORMATS, open_dataset
from services.jobs.datasets.listed import MEDIA
from store.errors import BadSource


def flickr30k(folder: Path) -> None:
    karpathy(folder / "dataset_flickr30k.json", {"1.jpg": "train", "2.jpg": "test"})


def results(folder: Path) -> None:
    write(folder / "results.csv", "image_name| comment_number| comment\n1.jpg| 0| A man .\n1.jpg| 1| A hat .\n")


MAKERS: list[tuple[str, Callable[[Path], object]]] = [
    ("cifar10", cifar10),
    ("cifar10", lambda folder: cifar10(folder, binary=True)),
    ("cifar100", cifar100),
    ("cifar100-coarse", cifar100),
    ("imagenet", imagenet),
    ("esc50", esc50),
    ("coco", coco),
    ("coco-captions", coco),
    ("nus-wide", nus_wide),
    ("nus-wide-1006", nus_wide),
    ("openimages", open_images),
    ("openimages-absent", open_images),
    ("msr-vtt", msr_vtt),
    ("msr-vtt-categories", msr_vtt),
    ("flickr", flickr8k),
    ("flickr", flickr30k),
    ("flickr", results),
]


def damaged(content: bytes, random: np.random.Generator) -> Iterator[bytes]:
    """Yield a file cut, emptied, with changed bytes, with bytes of no text, and with a part of it twice."""
    for share in (0.3, 0.9, 0.999):
        yield content[: int(len(content) * share)]
    yield b""
    yield b"\0" * 50
    yield b"\xff\xfe\xfd" + content
    yield content[: len(content) // 2] + content
    for _ in range(4):
        changed = np.frombuffer(content, np.uint8).copy()
        changed[random.integers(0, len(changed), 1 + len(changed) // 50)] = random.integers(0, 256)
        yield changed.tobytes()


@pytest.mark.parametrize(("name", "make"), MAKERS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(MAKERS)])
def test_damage_to_any_file_is_counted_or_named(tmp_path, name, make):
    make(tmp_path)
    whole = len(list(open_dataset(tmp_path, name)))
    random = np.random.default_rng(0)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix.lower() not in MEDIA):
        content = path.read_bytes()
        for variant in damaged(content, random):
            path.write_bytes(variant)
            told, found = "", 0
            try:
                dataset = open_dataset(tmp_path, name)
                found = len(list(dataset))
                told = " ".join(dataset.found)
            except BadSource as error:
                told = str(error)
            assert found >= whole or str(tmp_path) in told, (path, variant)
        path.write_bytes(content)
    assert len(list(open_dataset(tmp_path, name))) == whole


def test_every_format_is_damaged():
    assert {name for name, _ in MAKERS} == set(FORMATS)
