"""ESC-50, NUS-WIDE and Open Images: lists of files with their labels, whole and damaged."""

import os
from pathlib import Path

import pytest
from helpers.datasets import esc50, nus_wide, open_images, photos, write

from services.jobs.annotations.matching import Some
from services.jobs.datasets.formats import open_dataset, recognised
from store.errors import BadSource


def replace(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_the_folds_of_esc50_are_splits_and_groups(read, store, tmp_path):
    esc50(tmp_path)
    assert recognised(tmp_path) == "esc50"
    found, dataset = read(tmp_path, "esc50")
    splits = {1: "train", 2: "train", 3: "train", 4: "val", 5: "test"}
    names = {0: "dog", 14: "chirping_birds"}
    assert found == {
        f"{fold}-{1000 + fold}-A-{n}.wav": ([name], split)
        for fold, split in splits.items()
        for n, name in names.items()
    }
    assert dataset.problems == {}
    rows = store.labels.get("esc50").to_pylist()
    assert {(row["group"], row["split"]) for row in rows} == {(f"fold {fold}", split) for fold, split in splits.items()}


def test_missing_sounds_damaged_rows_and_other_files_of_esc50_are_counted(read, store, tmp_path):
    path = esc50(tmp_path)
    (tmp_path / "audio" / "2-1002-A-0.wav").unlink()
    (tmp_path / "audio" / "3-1003-A-0.wav").write_bytes(b"RIFF")
    photos(tmp_path, "esc50.gif")
    replace(path, "1-1001-A-14.wav,1,", "1-1001-A-14.wav,6,")
    replace(path, "4-1004-A-0.wav,4,0,dog,False,1004,A", "4-1004-A-0.wav,4")
    found, dataset = read(tmp_path, "esc50")
    assert len(found) == 10 - 4
    assert dataset.problems == {
        "rows_damaged": Some(2, f"{path}: 1-1001-A-14.wav is in fold '6' with the category 'chirping_birds'"),
        "files_missing": Some(1, "2-1002-A-0.wav"),
        "files_unlisted": Some(3, f"{tmp_path}/audio/1-1001-A-14.wav"),
    }
    assert [Path(row["key"]).name for row in store.quarantine.get().to_pylist()] == ["3-1003-A-0.wav"]


def test_a_table_without_its_columns_ends_the_ingest(tmp_path):
    write(esc50(tmp_path), "filename,target\na.wav,0\n")
    with pytest.raises(BadSource, match=r"esc50.csv has no column fold, category: it is damaged or another file"):
        list(open_dataset(tmp_path, "esc50"))


def test_the_concepts_of_nus_wide_are_labels(read, tmp_path):
    nus_wide(tmp_path)
    assert recognised(tmp_path) == "nus-wide"
    found, dataset = read(tmp_path, "nus-wide")
    assert found == {
        "0001_11.jpg": (["clouds", "sky"], "train"),
        "0002_12.jpg": (["animal"], "train"),
        "0001_13.jpg": ([], "train"),
        "0002_14.jpg": (["sky"], "test"),
    }
    assert dataset.problems == {}


def test_tags_that_are_no_concepts_join_the_concepts_of_nus_wide(read, tmp_path):
    nus_wide(tmp_path)
    found, _ = read(tmp_path, "nus-wide-1006")
    assert found == {
        "0001_11.jpg": (["clouds", "sky", "nikon"], "train"),  # the tag sky is the concept sky, which people checked
        "0002_12.jpg": (["animal"], "train"),
        "0001_13.jpg": ([], "train"),
        "0002_14.jpg": (["sky", "sunset"], "test"),
    }


def test_images_that_flickr_has_no_more_are_counted_and_the_labels_of_the_others_stay(read, tmp_path):
    nus_wide(tmp_path)
    (tmp_path / "Flickr" / "actor" / "0001_11.jpg").unlink()
    (tmp_path / "Flickr" / "zoo").rename(tmp_path / "elsewhere")
    found, dataset = read(tmp_path, "nus-wide")
    assert set(found) == {"0002_12.jpg", "0001_13.jpg", "0002_14.jpg"}
    assert dataset.problems == {"files_missing": Some(1, "actor\\0001_11.jpg")}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("Groundtruth/TrainTestLabels/Labels_sky_Train.txt", "1\n0\n0\n", "1\n0\n", "has a line with None, not 0 or 1"),
        ("Groundtruth/TrainTestLabels/Labels_sky_Train.txt", "1\n", "x\n", "has a line with 'x', not 0 or 1"),
        ("ImageList/TrainImagelist.txt", "zoo\\0001_13.jpg", "", "have different numbers of lines .line 3"),
        (
            "NUS_WID_Tags/Train_Tags1k.dat",
            "1\t1\t0",
            "1\t1",
            "Train_Tags1k.dat, line 1 is not a 0 or 1 for each of 3",
        ),
        ("NUS_WID_Tags/Train_Tags1k.dat", "1\t1\t0\t\n", "", "have different numbers of lines"),
    ],
)
def test_lists_of_nus_wide_that_do_not_fit_together_end_the_ingest(read, store, tmp_path, name, old, new, message):
    nus_wide(tmp_path)
    replace(tmp_path / name, old, new)
    with pytest.raises(BadSource, match=message):
        read(tmp_path, "nus-wide-1006")
    assert store.assets.count() == 0


def test_a_missing_file_of_labels_of_nus_wide_is_named(tmp_path):
    nus_wide(tmp_path)
    (tmp_path / "Groundtruth" / "TrainTestLabels" / "Labels_sky_Test.txt").unlink()
    with pytest.raises(BadSource, match=r"has no Labels_sky_Test.txt: download it"):
        list(open_dataset(tmp_path, "nus-wide"))


def test_the_verified_labels_of_open_images(read, tmp_path):
    open_images(tmp_path)
    assert recognised(tmp_path) == "openimages"
    found, dataset = read(tmp_path, "openimages")
    assert found == {
        "00aa.jpg": (["Bicycle", "Person"], "train"),
        "00bb.jpg": ([], "train"),
        "00cc.jpg": (["Dog, pet"], "val"),
        "00dd.jpg": (["/m/0unnamed", "Person"], "test"),
    }
    assert (dataset.problems, dataset.loses) == ({"classes_unnamed": Some(1, "/m/0unnamed")}, False)
    absent, _ = read(tmp_path, "openimages-absent")
    assert absent["00aa.jpg"] == absent["00bb.jpg"] == (["Dog, pet"], "train")
    assert absent["00cc.jpg"] == ([], "val")


def test_what_open_images_lacks_is_counted_once_an_image(read, tmp_path):
    open_images(tmp_path)
    (tmp_path / "train" / "00aa.jpg").unlink()
    photos(tmp_path, "train/00ff.jpg", start=9)
    labels = tmp_path / "test-annotations-human-imagelabels.csv"
    replace(labels, "00dd,verification,/m/01g317,1", "00dd,verification,/m/01g317,0.7")
    rows = "ImageID,Source,LabelName,Confidence\n00ee,verification,/m/0199g,1\n"
    write(tmp_path / "mine-annotations-human-imagelabels.csv", rows)
    photos(tmp_path, "mine/00ee.jpg", start=11)
    found, dataset = read(tmp_path, "openimages")
    assert set(found) == {"00bb.jpg", "00cc.jpg", "00dd.jpg", "00ee.jpg"}
    assert dataset.problems == {
        "files_missing": Some(1, "00aa"),
        "rows_damaged": Some(1, f"{labels}: 00dd has the confidence '0.7'"),
        "files_unlisted": Some(1, f"{tmp_path}/train/00ff.jpg"),
        "classes_unnamed": Some(1, "/m/0unnamed"),
    }


def test_a_label_that_is_verified_as_present_and_as_absent_is_neither(read, tmp_path):
    open_images(tmp_path)
    path = tmp_path / "oidv6-train-annotations-human-imagelabels.csv"
    path.write_text(path.read_text() + "00bb,crowdsource-verification,/m/0bt9lr,1\n")
    found, dataset = read(tmp_path, "openimages")
    assert found["00bb.jpg"] == ([], "train")
    assert dataset.problems["labels_contradicted"] == Some(1, "00bb /m/0bt9lr")
    assert read(tmp_path, "openimages-absent")[0]["00bb.jpg"] == ([], "train")


def test_the_tables_of_open_images_may_lie_as_on_its_server(read, tmp_path):
    open_images(tmp_path)
    for part in ("oidv6-train", "validation", "test"):
        name = f"{part}-annotations-human-imagelabels.csv"
        folder = tmp_path / "2018_04" / part.removeprefix("oidv6-")
        folder.mkdir(parents=True)
        (tmp_path / name).rename(folder / name)
    assert recognised(tmp_path) == "openimages"
    assert len(read(tmp_path, "openimages")[0]) == 4


def test_a_folder_that_cannot_be_read_is_counted_and_of_two_files_of_one_name_the_first_counts(
    read, tmp_path, monkeypatch
):
    esc50(tmp_path)
    photos(tmp_path, "copy/5-1005-A-0.wav")
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, dataset = read(tmp_path, "esc50")
    assert found["5-1005-A-0.wav"] == (["dog"], "test")
    assert dataset.problems == {
        "parts_damaged": Some(1, f"[Errno 13] Permission denied: '{tmp_path}/locked'"),
        "files_unlisted": Some(1, f"{tmp_path}/copy/5-1005-A-0.wav"),
    }


def test_the_names_of_the_classes_may_have_no_first_line_and_must_be_there(read, tmp_path):
    open_images(tmp_path)
    path = replace(tmp_path / "oidv7-class-descriptions.csv", "LabelName,DisplayName\n", "/m/7,Person\n")
    found, _ = read(tmp_path, "openimages")
    assert found["00cc.jpg"] == (["Dog, pet"], "val")
    assert found["00aa.jpg"] == (["Bicycle", "Person (/m/01g317)"], "train")  # another class has the same name
    write(path, "<html>")
    with pytest.raises(BadSource, match="has no ids and names of classes, like /m/0199g,Bicycle"):
        list(open_dataset(tmp_path, "openimages"))
    path.unlink()
    with pytest.raises(BadSource, match=r"has no \*class-descriptions\*.csv, the names of the classes"):
        list(open_dataset(tmp_path, "openimages"))
