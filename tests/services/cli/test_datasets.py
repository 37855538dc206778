"""`ingest` of published data sets as a user types it: what is recognised, what it says, and how it ends."""

import json
import re

import pytest
from helpers.datasets import coco, esc50, flickr8k, imagenet, photos, stored, write
from helpers.paths import ROOT

from services.cli.completion import format_names
from services.jobs.datasets.formats import FORMATS
from store import Store


def test_a_data_set_is_recognised_by_its_files_and_said(headwater, tmp_path):
    esc50(tmp_path / "ESC-50-master")
    code, out, err = headwater("ingest", "ESC-50-master", "--task", "t")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == (
        "format esc50: ESC-50: 50 classes; folds 1 to 3 are train, fold 4 is val, fold 5 is test; each fold is a "
        "group. Recognised by "
        f"{tmp_path}/ESC-50-master/meta/esc50.csv; --format folders turns this off"
    )
    assert [line.split() for line in lines[-4:]] == [
        ["task", "t:", "2", "classes"],
        ["class", "train", "val", "test", "all"],
        ["chirping_birds", "3", "1", "1", "5"],
        ["dog", "3", "1", "1", "5"],
    ]


def test_what_is_missing_is_counted_named_and_makes_the_exit_code_3(headwater, tmp_path):
    imagenet(tmp_path / "imagenet")
    (tmp_path / "imagenet" / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    code, out, _ = headwater("ingest", "imagenet", "-t", "t", "--format", "imagenet")
    assert (code, out.splitlines()[1]) == (3, "  1 listed file is missing, e.g. ILSVRC2012_val_00000002.JPEG")
    assert "Recognised by" not in out
    code, out, _ = headwater("ingest", "imagenet", "-t", "t", "--json")
    told = json.loads(out)
    assert (code, told["classes"]["tench"]) == (3, {"train": 1, "test": 1})
    assert told["format"] == {
        "name": "imagenet",
        "recognised_by": f"{tmp_path}/imagenet/ILSVRC2012_devkit_t12/data/meta.mat",
        "understood": FORMATS["imagenet"].understood,
        "captions": False,
        "problems": {"files_missing": {"count": 1, "example": "ILSVRC2012_val_00000002.JPEG"}},
    }


def test_folders_turns_the_recognition_off(headwater, tmp_path):
    imagenet(tmp_path / "imagenet")
    code, out, _ = headwater("ingest", "imagenet/train", "-t", "t", "--format", "folders")
    assert (code, "n01440764" in out, "format" in out) == (0, True, False)


def test_captions_are_counted_and_not_listed_as_classes(headwater, tmp_path):
    flickr8k(tmp_path / "flickr")
    code, out, err = headwater("ingest", "flickr", "-t", "captions")
    assert (code, err) == (0, "")
    count, note = out.splitlines()[-2:]
    assert count == "task captions: 6 captions of 3 files (test 1, train 1, val 1)"
    assert note.startswith("note: Captions are no classes")
    assert note.endswith("--captions captions")
    assert "Caption 0" not in out
    told = json.loads(headwater("ingest", "flickr", "-t", "captions", "--json")[1])
    assert (told["classes"], told["format"]["captions"], told["known_assets"]) == ({}, True, 3)


def test_without_a_task_the_files_are_stored_without_labels(headwater, tmp_path):
    coco(tmp_path / "coco")
    code, out, _ = headwater("ingest", "coco", "--json")
    told = json.loads(out)
    assert (code, told["new_assets"], told["labelled"], told["format"]["name"]) == (0, 4, 0, "coco")


def test_a_file_of_labels_wins_over_the_recognition(headwater, tmp_path):
    coco(tmp_path / "coco")
    file = "coco/annotations/instances_train2017.json"
    code, out, _ = headwater("ingest", "coco", "-t", "t", "--labels", file)
    assert out.startswith("instances_train2017.json: COCO")
    assert (code, "Recognised by" in out) == (3, False)  # the other files of annotations are no images


def test_a_data_set_without_any_of_its_files_says_what_it_lacks(headwater, tmp_path):
    coco(tmp_path / "coco")
    (tmp_path / "coco" / "train2017").rename(tmp_path / "a")
    (tmp_path / "coco" / "val2017").rename(tmp_path / "b")
    code, _, err = headwater("ingest", "coco", "-t", "t")
    assert code == 1
    assert err.endswith(
        "/coco has none of the files of its data set: 4 listed files are missing, e.g. 000000000001.jpg\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--format", "mnist"], 1, "there is no format 'mnist'; the formats are cifar10, cifar100"),
        (["--format", "coco"], 1, "does not have the files of the format coco; it has the format esc50"),
        (["--format", "esc50", "--labels", "a.csv"], 2, "--format and --labels both say where the labels are"),
        (["--format", "esc50", "other"], 2, "--format needs one folder: that of the data set"),
    ],
)
def test_a_format_that_does_not_fit_is_refused(headwater, tmp_path, arguments, code, message):
    esc50(tmp_path / "data")
    photos(tmp_path / "other", "a/1.jpg")
    ended, _, err = headwater("ingest", "data", "-t", "t", *arguments)
    assert (ended, message in " ".join(err.replace("│", " ").split())) == (code, True), err


def test_duplicates_with_different_labels_are_conflicts_as_everywhere(headwater, tmp_path):
    path = esc50(tmp_path / "data")
    sounds = tmp_path / "data" / "audio"
    write(sounds / "5-1005-A-14.wav", (sounds / "5-1005-A-0.wav").read_bytes())
    code, _, err = headwater("ingest", path.parent.parent.name, "-t", "t")
    assert (code, "1 file has the same content under different labels" in err) == (1, True)
    code, *_ = headwater("ingest", "data", "-t", "t", "--on-conflict", "both")
    found = stored(Store.open(tmp_path / "headwater.db"), "t")
    assert (code, found["5-1005-A-0.wav"]) == (0, (["dog", "chirping_birds"], "test"))


def test_the_names_of_formats_are_completed():
    assert format_names("cifar") == ["cifar10", "cifar100", "cifar100-coarse"]
    assert format_names("fo") == ["folders"]


def test_the_docs_have_a_row_for_each_format():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    section = text.partition("#### Data sets in their published form")[2].partition("\n### ")[0]
    told = [
        name for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(.*?)`", cell)
    ]
    assert told == ["--format", *FORMATS]


def test_predict_reads_a_data_set_as_ingest_does_and_its_labels_are_the_truth(headwater, tmp_path):
    esc50(tmp_path / "esc")
    headwater("ingest", "esc", "-t", "t")
    headwater("backfill", "-e", "melstat")
    assert headwater("train", "-t", "t", "-e", "melstat", "--name", "h")[0] == 0
    (tmp_path / "esc" / "audio" / "5-1005-A-0.wav").unlink()
    code, out, err = headwater("predict", "esc", "--head", "h", "--json")
    told = json.loads(out)
    assert (code, told["predicted"], told["with_a_truth"]) == (3, 9, 9), err
    assert (told["format"]["name"], told["format"]["problems"]["files_missing"]["count"]) == ("esc50", 1)
    assert {row["truth"] for row in told["predictions"]} == {"dog", "chirping_birds"}
    code, out, _ = headwater("predict", "esc", "--head", "h", "--format", "folders", "--json")
    assert {row["truth"] for row in json.loads(out)["predictions"]} == {"audio"}
    (tmp_path / "esc" / "meta" / "esc50.csv").unlink()
    write(tmp_path / "esc" / "captions.txt", "image,caption\n5-1005-A-14.wav,A bird sings .\n")
    code, out, err = headwater("predict", "esc", "--head", "h", "--json")
    assert (json.loads(out)["predicted"], json.loads(out)["with_a_truth"]) == (1, 0)  # captions are no truth


def test_watch_refuses_a_data_set_whose_labels_are_no_folders(headwater, tmp_path):
    imagenet(tmp_path / "imagenet")
    code, _, err = headwater("watch", "imagenet", "-t", "t")
    assert (code, "holds a published data set of the format imagenet" in err, "headwater ingest" in err) == (
        1,
        True,
        True,
    )
    assert not (tmp_path / "headwater.db").exists()
