"""COCO, MSR-VTT and Flickr: objects, categories and captions, whole and damaged."""

import json
from pathlib import Path

import pytest
from helpers.datasets import coco, flickr8k, karpathy, msr_vtt, photos, write

from services.jobs.annotations.matching import Some
from services.jobs.datasets.formats import open_dataset, recognised
from store.errors import BadSource


def change(path: Path, **values: object) -> Path:
    """Replace values of the object in a JSON file."""
    return write(path, json.loads(path.read_text()) | values)


@pytest.mark.parametrize("year", ["2017", "2014"])
def test_the_objects_of_coco_are_labels_and_val_is_test(read, tmp_path, year):
    coco(tmp_path, year)
    assert recognised(tmp_path) == "coco"
    found, dataset = read(tmp_path, "coco")
    assert found == {
        "000000000001.jpg": (["person", "dog"], "train"),
        "000000000002.jpg": ([], "train"),
        "000000000003.jpg": (["person"], "train"),
        "000000000004.jpg": (["dog"], "test"),
    }
    assert dataset.problems == {}


def test_the_captions_of_coco_are_another_task_of_the_same_images(read, store, tmp_path):
    coco(tmp_path)
    read(tmp_path, "coco")
    found, dataset = read(tmp_path, "coco-captions")
    assert (store.assets.count(), dataset.captions, dataset.problems) == (4, True, {})
    assert found["000000000004.jpg"] == (["Caption 1 of image 4.", "Caption 2 of image 4."], "test")
    assert {split for _, split in found.values()} == {"train", "test"}


def test_captions_alone_are_recognised_and_karpathys_splits_are_preferred(read, tmp_path):
    coco(tmp_path)
    for part in ("train", "val"):
        (tmp_path / "annotations" / f"instances_{part}2017.json").unlink()
    assert recognised(tmp_path) == "coco-captions"
    splits = {"000000000001.jpg": "restval", "000000000002.jpg": "val", "000000000003.jpg": "test"}
    karpathy(tmp_path / "dataset_coco.json", splits)
    found, dataset = read(tmp_path, "coco-captions")
    told = {"restval": "train", "val": "val", "test": "test"}
    assert found == {name: ([f"Sentence {n} of {name}" for n in (1, 2)], told[split]) for name, split in splits.items()}
    assert dataset.problems == {"files_unlisted": Some(1, f"{tmp_path}/val2017/000000000004.jpg")}


def test_what_coco_lacks_is_counted(read, tmp_path):
    coco(tmp_path)
    (tmp_path / "train2017" / "000000000002.jpg").unlink()
    photos(tmp_path, "train2017/000000000009.jpg", start=30)
    path = tmp_path / "annotations" / "instances_train2017.json"
    marks = json.loads(path.read_text())["annotations"]
    change(
        path, annotations=[*marks, {"image_id": 77, "category_id": 1}, {"image_id": 1, "category_id": 90}, {"id": 5}]
    )
    found, dataset = read(tmp_path, "coco")
    assert found["000000000001.jpg"] == (["person", "dog"], "train")
    assert dataset.problems == {
        "rows_damaged": Some(3, f"{path}, annotations: {{'id': 5}}"),
        "files_missing": Some(1, "000000000002.jpg"),
        "files_unlisted": Some(1, f"{tmp_path}/train2017/000000000009.jpg"),
    }
    assert dataset.loses


def test_an_image_without_captions_is_stored_and_counted(read, store, tmp_path):
    coco(tmp_path)
    change(tmp_path / "annotations" / "captions_val2017.json", annotations=[])
    found, dataset = read(tmp_path, "coco-captions")
    assert (len(found), store.assets.count()) == (3, 4)
    assert dataset.problems == {"files_unlabelled": Some(1, f"{tmp_path}/val2017/000000000004.jpg")}


def test_the_exports_of_annotation_tools_in_cocos_layout_are_not_coco(tmp_path):
    coco(tmp_path)
    for path in sorted((tmp_path / "annotations").iterdir()):
        path.rename(path.with_name(path.name.replace("2017", "").replace("train", "default")))
    assert recognised(tmp_path) is None


def test_two_years_of_coco_are_not_mixed(read, store, tmp_path):
    coco(tmp_path)
    coco(tmp_path, "2014")
    with pytest.raises(BadSource, match="has the annotations of several years, which divide the same images"):
        read(tmp_path, "coco")
    assert store.assets.count() == 0


@pytest.mark.parametrize("name", ["coco", "coco-captions", "msr-vtt"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON at character"),
        (lambda _: "[]", r"lists no (images|videos): it is damaged or another file"),
        (lambda _: "<html>", "is not JSON at character 1: it is neither an array nor an object"),
        (lambda _: "\0\0", "is not JSON|is not in the encoding"),
    ],
)
def test_a_damaged_file_of_annotations_ends_the_ingest_and_is_named(read, store, tmp_path, name, damage, message):
    files = {"coco": "annotations/instances_val2017.json", "coco-captions": "annotations/captions_val2017.json"}
    (msr_vtt if name == "msr-vtt" else coco)(tmp_path)
    path = tmp_path / files.get(name, "train_val_videodatainfo.json")
    path.write_text(damage(path.read_text()))
    with pytest.raises(BadSource, match=message) as raised:
        read(tmp_path, name)
    assert str(path) in str(raised.value)
    assert store.assets.count() == 0


def test_captions_are_cleaned_and_those_that_are_none_are_counted(read, tmp_path):
    coco(tmp_path)
    path = tmp_path / "annotations" / "captions_val2017.json"
    texts = ["  A dog\n runs. ", "A dog runs.", "", 7, "long " * 400]
    change(path, annotations=[{"image_id": 4, "caption": text} for text in texts])
    found, dataset = read(tmp_path, "coco-captions")
    assert found["000000000004.jpg"] == (["A dog runs."], "test")
    assert dataset.problems == {
        "rows_damaged": Some(2, f"{path}, image 4: a caption is empty"),
        "captions_too_long": Some(1, f"{path}, image 4: {'long ' * 8}…"),
    }


def test_msr_vtt_has_captions_and_categories(read, store, tmp_path):
    msr_vtt(tmp_path)
    assert recognised(tmp_path) == "msr-vtt"
    found, dataset = read(tmp_path, "msr-vtt")
    splits = {"video0": "train", "video1": "val", "video2": "test"}
    assert found == {
        f"{name}.mp4": ([f"caption {n} of {name}" for n in (1, 2)], split) for name, split in splits.items()
    }
    assert (dataset.captions, dataset.problems) == (True, {})
    found, dataset = read(tmp_path, "msr-vtt-categories")
    assert {name: labels for name, (labels, _) in found.items()} == {
        "video0.mp4": ["vehicles/autos"],
        "video1.mp4": ["music"],
        "video2.mp4": ["advertisement"],
    }
    assert (dataset.captions, store.assets.modalities()) == (False, {"video": 3})


def test_what_msr_vtt_lacks_is_counted(read, tmp_path):
    msr_vtt(tmp_path)
    (tmp_path / "videos" / "all" / "video1.mp4").unlink()
    path = tmp_path / "test_videodatainfo.json"
    told = json.loads(path.read_text())
    videos = [{"video_id": "video2", "split": "test", "category": 20}, {"video_id": "video3", "split": "later"}]
    change(path, videos=videos, sentences=[*told["sentences"], {"video_id": "video8", "caption": "x"}])
    found, dataset = read(tmp_path, "msr-vtt-categories")
    assert set(found) == {"video0.mp4"}
    assert dataset.problems["files_missing"] == Some(1, "video1")
    damaged = dataset.problems["rows_damaged"]
    assert (damaged.count, damaged.example.startswith(f"{path}, videos: {{'video_id': 'video3'")) == (3, True)


def test_flickr8k_has_captions_and_the_splits_of_its_lists(read, tmp_path):
    flickr8k(tmp_path)
    assert recognised(tmp_path) == "flickr"
    found, dataset = read(tmp_path, "flickr")
    splits = {"1000_aa.jpg": "train", "1001_bb.jpg": "val", "1002_cc.jpg": "test"}
    assert found == {name: ([f"Caption {n} of {name} ." for n in (0, 1)], split) for name, split in splits.items()}
    assert dataset.problems == {}


FORMS = {
    "results.csv": (
        "image_name| comment_number| comment\n"
        "1000.jpg| 0| Two men , one | with a hat .\n1000.jpg| 1| Two men , standing .\n"
        "2199.jpg| 4   A dog runs .\n2199.jpg| 0| A dog .\n"
    ),
    "captions.txt": (
        "image,caption\n"
        '1000.jpg,"Two men , one | with a hat ."\n1000.jpg,Two men , standing .\n2199.jpg\n2199.jpg,A dog .\n'
    ),
    "results_20130124.token": (
        "1000.jpg#0\tTwo men , one | with a hat .\n1000.jpg#1\tTwo men , standing .\n2199.jpg\n2199.jpg#0\tA dog .\n"
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_flickr30k_and_copies_have_captions_without_splits_and_a_damaged_line_is_counted(read, store, tmp_path, name):
    write(tmp_path / name, FORMS[name])
    photos(tmp_path / "flickr30k_images", "1000.jpg", "2199.jpg")
    assert recognised(tmp_path) == "flickr"
    found, dataset = read(tmp_path, "flickr")
    assert {key: labels for key, (labels, _) in found.items()} == {
        "1000.jpg": ["Two men , one | with a hat .", "Two men , standing ."],
        "2199.jpg": ["A dog ."],
    }
    line = 3 if name.endswith("token") else 4
    assert dataset.problems["rows_damaged"].count == 1
    assert dataset.problems["rows_damaged"].example.startswith(f"{tmp_path}/{name}, line {line}: 2199.jpg")


def test_the_splits_by_karpathy_are_preferred_for_flickr30k(read, tmp_path):
    write(tmp_path / "results.csv", FORMS["results.csv"])
    karpathy(tmp_path / "dataset_flickr30k.json", {"1000.jpg": "val", "2199.jpg": "test", "3000.jpg": "train"})
    photos(tmp_path / "flickr30k-images", "1000.jpg", "2199.jpg")
    found, dataset = read(tmp_path, "flickr")
    assert {name: split for name, (_, split) in found.items()} == {"1000.jpg": "val", "2199.jpg": "test"}
    assert dataset.problems == {"files_missing": Some(1, "3000.jpg")}


@pytest.mark.parametrize("entry", [7, {}, {"filename": "a.jpg", "split": "later", "sentences": []}, {"sentences": "x"}])
def test_an_entry_of_karpathys_file_that_is_none_is_counted(read, tmp_path, entry):
    path = karpathy(tmp_path / "dataset_flickr8k.json", {"1000.jpg": "val"})
    change(path, images=[*json.loads(path.read_text())["images"], entry])
    photos(tmp_path, "1000.jpg")
    found, dataset = read(tmp_path, "flickr")
    assert (set(found), dataset.problems["rows_damaged"].count) == ({"1000.jpg"}, 1)


def test_files_of_the_same_name_of_something_else_are_not_recognised(tmp_path):
    write(tmp_path / "results.csv", "epoch,loss\n1,2\n")
    write(tmp_path / "captions.txt", "hello\n")
    photos(tmp_path, "cat/1.jpg", "dog/2.jpg")
    assert recognised(tmp_path) is None
    with pytest.raises(BadSource, match="does not have the files of the format flickr; give the folder"):
        open_dataset(tmp_path, "flickr")
