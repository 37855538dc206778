"""CIFAR-10 and CIFAR-100 in both versions, whole and damaged."""

import io

import numpy as np
import pytest
from helpers.datasets import CIFAR10, cifar10, cifar100, pixels, python2, records, stored, write
from PIL import Image

from services.jobs.annotations.matching import Some
from services.jobs.datasets.cifar.png import png
from services.jobs.datasets.formats import open_dataset, recognised
from services.jobs.fill import Request, fill
from store import asset_id
from store.errors import BadSource


def image_of(content: bytes) -> np.ndarray:
    """Return the pixels of a file in CIFAR's order: planes red, green and blue."""
    return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1).reshape(-1)


def test_a_png_has_the_pixels_and_the_same_bytes_on_every_machine():
    planes = bytes(7 * i % 256 for i in range(3072))
    assert image_of(png(planes)).tobytes() == planes
    assert asset_id(png(planes)) == "21010fcb80eec9b3faf0b1c5409c3cf08ac136677083757051ac7bd4a95ee12d"


@pytest.mark.parametrize("binary", [False, True], ids=["python", "binary"])
@pytest.mark.parametrize("inner", [True, False], ids=["folder above", "folder"])
def test_cifar10_is_stored_with_its_classes_and_splits(store, tmp_path, binary, inner):
    made = cifar10(tmp_path / "data", binary=binary)
    [folder] = (tmp_path / "data").iterdir()
    root = tmp_path / "data" if inner else folder
    assert recognised(root) == "cifar10"
    dataset = open_dataset(root, "cifar10")
    done = fill(store, Request((), "t"), sources=dataset)
    assert (done.ingested.new, done.ingested.labelled, dataset.problems, dataset.loses) == (12, 12, {}, False)
    ending = ".bin" if binary else ""
    found = stored(store, "t")
    assert found == {
        f"{name}{ending}#{i}": ([CIFAR10[code].decode()], "test" if name == "test_batch" else "train")
        for name, (_, codes) in made.items()
        for i, code in enumerate(codes)
    }
    for row in store.assets.page("image"):
        [(_, content)] = store.assets.contents([row.id])
        name, _, i = row.uri.rpartition("/")[2].partition("#")
        assert np.array_equal(image_of(content), made[name.removesuffix(".bin")][0][int(i)])
    assert fill(store, Request((), "t"), sources=dataset).ingested.new == 0


def test_both_versions_are_the_same_assets(store, tmp_path):
    cifar10(tmp_path / "a")
    cifar10(tmp_path / "b", binary=True)
    fill(store, Request((), "t"), sources=open_dataset(tmp_path / "a", "cifar10"))
    done = fill(store, Request((), "u"), sources=open_dataset(tmp_path / "b", "cifar10"))
    assert (done.ingested.new, done.ingested.known) == (0, 12)


@pytest.mark.parametrize("binary", [False, True], ids=["python", "binary"])
@pytest.mark.parametrize(
    ("name", "labels"), [("cifar100", ["apple", "bear"]), ("cifar100-coarse", ["fruit", "mammals"])]
)
def test_cifar100_has_fine_and_coarse_classes(store, tmp_path, binary, name, labels):
    cifar100(tmp_path, binary=binary)
    assert recognised(tmp_path) == "cifar100"
    fill(store, Request((), "t"), sources=open_dataset(tmp_path, name))
    end = ".bin" if binary else ""
    assert stored(store, "t") == {
        f"train{end}#0": ([labels[0]], "train"),
        f"train{end}#1": ([labels[1]], "train"),
        f"test{end}#0": ([labels[1]], "test"),
    }


def test_missing_and_damaged_batches_are_counted_and_named_and_the_others_are_stored(store, tmp_path):
    cifar10(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_2").unlink()
    (folder / "data_batch_3").write_bytes((folder / "data_batch_3").read_bytes()[:-100])
    write(folder / "data_batch_4", python2({b"labels": [0, 9], b"data": pixels(40, 2)}))
    write(folder / "data_batch_5", python2({b"labels": [0], b"data": pixels(41, 2)}))
    dataset = open_dataset(tmp_path, "cifar10")
    done = fill(store, Request((), "t"), sources=dataset)
    assert done.ingested.new == 2 + 1 + 2
    assert dataset.problems["parts_missing"] == Some(1, str(folder / "data_batch_2"))
    assert dataset.problems["rows_damaged"] == Some(1, f"{folder}/data_batch_4#1: there is no class 9")
    damaged = dataset.problems["parts_damaged"]
    assert (damaged.count, damaged.example.startswith(f"{folder}/data_batch_3 is damaged")) == (2, True)
    assert dataset.loses


def test_a_batch_that_is_cut_or_empty_is_damaged_in_the_binary_version(store, tmp_path):
    cifar10(tmp_path, binary=True)
    folder = tmp_path / "cifar-10-batches-bin"
    write(folder / "data_batch_1.bin", records(pixels(0, 2), [[0, 1]])[:-1])
    write(folder / "data_batch_2.bin", b"")
    dataset = open_dataset(tmp_path, "cifar10")
    fill(store, Request((), "t"), sources=dataset)
    example = f"{folder}/data_batch_1.bin has 6,145 bytes, no multiple of 3,073: it is damaged"
    assert dataset.problems == {"parts_damaged": Some(2, example)}


def test_hostile_names_of_classes_end_the_ingest_before_anything_is_stored(store, tmp_path):
    cifar10(tmp_path)
    write(tmp_path / "cifar-10-batches-py" / "batches.meta", b"cos\nsystem\n(U\x04truetR.")
    with pytest.raises(BadSource, match="which no file of CIFAR does"):
        fill(store, Request((), "t"), sources=open_dataset(tmp_path, "cifar10"))
    assert store.assets.count() == 0


def test_images_of_batches_are_stored_inline_even_by_reference(store, tmp_path):
    cifar10(tmp_path)
    fill(store, Request((), "t", reference=True), sources=open_dataset(tmp_path, "cifar10"))
    ids = [asset.id for asset in store.assets.page("image")]
    assert [asset_id(content) for _, content in store.assets.contents(ids)] == ids
