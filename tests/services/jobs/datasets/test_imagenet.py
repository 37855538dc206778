"""ImageNet: the development kit, the copy at Kaggle, and what may be missing."""

import pytest
from helpers.datasets import NAMES, SYNSETS, imagenet, photos, write

from services.jobs.annotations.class_names import distinct_names
from services.jobs.annotations.matching import Some
from services.jobs.datasets.formats import open_dataset, recognised
from store.errors import BadSource

TRAIN = {f"{wnid}_1.JPEG": ([name], "train") for wnid, name in zip(SYNSETS, NAMES, strict=True)}


def val(*numbers: int) -> dict[str, tuple[list[str], str]]:
    """Return the labels of the validation images 1, 2, … with these classes; 0 for an image without one."""
    return {f"ILSVRC2012_val_{i:08}.JPEG": ([NAMES[n - 1]], "test") for i, n in enumerate(numbers, 1) if n}


def test_the_development_kit_names_the_classes_and_labels_the_validation_images(read, tmp_path):
    imagenet(tmp_path)
    assert recognised(tmp_path) == "imagenet"
    found, dataset = read(tmp_path, "imagenet")
    assert found == TRAIN | val(4, 1, 1, 2)
    assert dataset.problems == {}


def test_the_copy_at_kaggle_is_read_alike(read, tmp_path):
    folder = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    imagenet(folder)
    (folder / "ILSVRC2012_devkit_t12").rename(tmp_path.parent / f"{tmp_path.name}-kit")
    photos(folder / "test", "ILSVRC2012_test_00000001.JPEG", start=50)
    write(tmp_path / "LOC_synset_mapping.txt", "".join(f"{wnid} {words}\n" for wnid, words in SYNSETS.items()))
    rows = [f"ILSVRC2012_val_{i:08},{wnid} 1 2 3 4 {wnid} 5 6 7 8 " for i, wnid in enumerate(list(SYNSETS)[:4], 1)]
    write(tmp_path / "LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *rows]))
    found, dataset = read(tmp_path, "imagenet")
    assert (found, dataset.problems) == (TRAIN | val(1, 2, 3, 4), {})


def test_validation_images_that_were_moved_into_folders_of_classes_need_no_ground_truth(read, tmp_path):
    imagenet(tmp_path, ())
    (tmp_path / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt").unlink()
    photos(tmp_path / "val", "n01440764/ILSVRC2012_val_00000001.JPEG", start=60)
    found, dataset = read(tmp_path, "imagenet")
    assert (found, dataset.problems) == (TRAIN | val(1), {})


def test_a_missing_image_does_not_move_the_labels_of_the_others(read, tmp_path):
    imagenet(tmp_path)
    (tmp_path / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    photos(tmp_path, "val/other.JPEG", "train/n99999999/a.JPEG", "train/n99999999/b.JPEG", start=70)
    found, dataset = read(tmp_path, "imagenet")
    assert found == TRAIN | val(4, 0, 1, 2)
    assert dataset.problems == {
        "files_unlisted": Some(2, f"{tmp_path}/train/n99999999"),
        "files_missing": Some(1, "ILSVRC2012_val_00000002.JPEG"),
        "files_unlabelled": Some(1, f"{tmp_path}/val/other.JPEG"),
    }


def test_a_class_that_does_not_exist_and_a_missing_ground_truth_are_counted(read, tmp_path):
    imagenet(tmp_path, (4, 7, 1))
    found, dataset = read(tmp_path, "imagenet")
    assert found == TRAIN | val(4, 0, 1)
    assert dataset.problems["rows_damaged"] == Some(1, "ILSVRC2012_val_00000002 has the class 7")
    truth = tmp_path / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.unlink()
    dataset = open_dataset(tmp_path, "imagenet")
    assert [item.split for item in dataset] == ["train"] * 5
    missing = f"{truth.parent}: LOC_val_solution.csv, or meta.mat with {truth.name}"
    first = f"{tmp_path}/val/ILSVRC2012_val_00000001.JPEG"
    assert dataset.problems == {"parts_missing": Some(1, missing), "files_unlabelled": Some(3, first)}


def test_training_images_alone_are_read_and_the_missing_part_is_named(read, tmp_path):
    imagenet(tmp_path)
    (tmp_path / "val").rename(tmp_path.parent / f"{tmp_path.name}-val")
    found, dataset = read(tmp_path, "imagenet")
    assert (found, dataset.problems) == (TRAIN, {"parts_missing": Some(1, str(tmp_path / "val"))})


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file" + bytes(200), b"\x00" * 1000], ids=len)
def test_damaged_names_of_classes_end_the_ingest(read, store, tmp_path, content):
    imagenet(tmp_path)
    write(tmp_path / "ILSVRC2012_devkit_t12" / "data" / "meta.mat", content)
    with pytest.raises(BadSource, match="is damaged, or not of ImageNet's development kit"):
        read(tmp_path, "imagenet")
    assert store.assets.count() == 0


def test_a_line_without_words_is_named(tmp_path):
    imagenet(tmp_path)
    (tmp_path / "ILSVRC2012_devkit_t12").rename(tmp_path.parent / f"{tmp_path.name}-kit2")
    write(tmp_path / "synset_words.txt", "n01440764 tench, Tinca tinca\nn01443537\n")
    with pytest.raises(BadSource, match=r"synset_words.txt, line 2 has no WordNet id and words: 'n01443537'"):
        list(open_dataset(tmp_path, "imagenet"))


def test_numbers_of_the_ground_truth_mean_nothing_without_the_list_that_numbers_the_classes(tmp_path):
    """The lines of `synset_words.txt` are in another order than the numbers of the development kit."""
    imagenet(tmp_path)
    data = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    (data / "ILSVRC2012_validation_ground_truth.txt").rename(tmp_path / "ILSVRC2012_validation_ground_truth.txt")
    (data / "meta.mat").unlink()
    write(tmp_path / "synset_words.txt", "".join(f"{wnid} {words}\n" for wnid, words in SYNSETS.items()))
    dataset = open_dataset(tmp_path, "imagenet")
    assert {item.split for item in dataset} == {"train"}
    assert dataset.problems["parts_missing"].example.startswith(f"{tmp_path}: LOC_val_solution.csv, or meta.mat with")
    assert (dataset.problems["files_unlabelled"].count, dataset.loses) == (4, True)


def test_a_blank_or_missing_line_of_the_ground_truth_moves_no_label(read, tmp_path):
    imagenet(tmp_path)
    truth = tmp_path / "ILSVRC2012_devkit_t12" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("4\n\n1\n")
    found, dataset = read(tmp_path, "imagenet")
    assert found == TRAIN | val(4, 0, 1)
    assert dataset.problems == {
        "rows_damaged": Some(1, "ILSVRC2012_val_00000002 has the class "),
        "files_unlabelled": Some(2, f"{tmp_path}/val/ILSVRC2012_val_00000002.JPEG"),
    }


def test_names_are_distinct():
    words = {"a": "x, y", "b": "x, z", "c": "w", "d": "w"}
    assert distinct_names({id_: text[0] for id_, text in words.items()}, words) == {
        "a": "x, y",
        "b": "x, z",
        "c": "w (c)",
        "d": "w (d)",
    }
