"""Wrong data put right, as a user types it: labels, tasks, assets, quarantine, heads, undo."""

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.pictures import photo

from classifiers.published.membership import FILE
from store import Store, asset_id


@pytest.fixture
def pets(headwater, tmp_path) -> Path:
    """A folder with 12 photos of two classes, ingested as the task `pets`."""
    for n in range(12):
        path = tmp_path / "photos" / ["cat", "dog"][n % 2] / f"{n:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(n))
    assert headwater("ingest", tmp_path / "photos", "--task", "pets")[0] == 0
    return tmp_path / "photos"


def of(headwater, *command):
    code, out, err = headwater(*command, "--json")
    assert code == 0, err
    return json.loads(out)


def labels(headwater, task="pets") -> dict[str, list[str]]:
    return {Path(row["uri"]).name: row["labels"] for row in of(headwater, "labels", "list", "-t", task)["labels"]}


def test_a_wrong_label_is_set_and_taken_back_and_its_history_says_so(headwater, pets):
    before = labels(headwater)
    assert of(headwater, "labels", "set", "04.png", "-t", "pets", "-l", " dog ")["changed"] == 1
    assert labels(headwater) == before | {"04.png": ["dog"]}
    rows = of(headwater, "labels", "history", pets / "cat" / "04.png")["history"]
    assert [(row["labels"], row["until"] is None) for row in rows] == [(["cat"], False), (["dog"], True)]
    assert rows[0]["split"] == rows[1]["split"]
    assert (rows[0]["by"], rows[1]["source"]) == ("hand", "hand")
    assert of(headwater, "undo")["restored"] == 1
    assert labels(headwater) == before
    assert of(headwater, "undo")["unlabelled_again"] == 12  # the whole ingest is one change
    code, _, err = headwater("undo")
    assert code == 1
    assert err.startswith("error: no change of labels in this store is left to take back\nhint: `headwater labels hist")


def test_an_asset_leaves_no_trace_and_what_learned_from_it_is_named(headwater, pets):
    assert headwater("backfill")[0] == 0
    trained = of(headwater, "train", "-t", "pets", "-n", "pets")
    head, rows = f"pets@{trained['version']}", of(headwater, "labels", "list", "-t", "pets")["labels"]
    for split, answer in (("train", "yes"), ("test", "no")):
        id_ = next(row["id"] for row in rows if row["split"] == split)
        shown = of(headwater, "assets", "show", id_[:12])
        assert shown["learned_from_it"] == [{"what": "head", "name": head, "learned_from_it": answer}], split
        assert shown["vectors"] == ["lite0"]
    id_ = next(row["id"] for row in rows if row["split"] == "train")
    code, out, _ = headwater("assets", "remove", id_, "--purge")
    assert code == 0
    assert f"head {head} learned from them\n" in out
    assert of(headwater, "assets", "list")["count"] == 11
    code, _, err = headwater("assets", "show", id_)
    assert (code, err.splitlines()[0]) == (1, f"error: no such asset: {id_}; ingest it first")
    old = Path(trained["report"]).parent / FILE
    (pets.parent / old).unlink()  # a head of before there were such files
    other = of(headwater, "assets", "show", rows[-1]["id"] if rows[-1]["id"] != id_ else rows[0]["id"])
    assert [each["learned_from_it"] for each in other["learned_from_it"]] == ["not recorded"]


def test_a_row_that_stops_a_training_is_named_with_the_command_that_mends_it(headwater, pets):
    headwater("backfill")
    of(headwater, "labels", "set", "04.png", "-t", "pets", "-l", "cat", "-l", "dog")
    code, _, err = headwater("train", "-t", "pets", "-n", "pets")
    assert code == 1
    command = err.partition("hint: `headwater ")[2].partition("`")[0].replace("NAME", "cat").split()
    assert headwater(*command)[0] == 0
    assert headwater("train", "-t", "pets", "-n", "pets")[0] == 0


def test_a_split_is_moved_only_on_request(headwater, pets):
    row = of(headwater, "labels", "list", "-t", "pets", "--split", "train")["labels"][0]
    code, _, err = headwater("labels", "set", row["id"], "-t", "pets", "-l", "cat", "--split", "test")
    assert code == 1
    command = err.partition("hint: `headwater ")[2].partition("`")[0].replace("NAME", "cat").split()
    assert "--move-split" in command
    assert headwater(*command)[0] == 0
    assert row["id"] in {
        each["id"] for each in of(headwater, "labels", "list", "-t", "pets", "--split", "test")["labels"]
    }


def test_tasks_are_renamed_and_removed_and_come_back(headwater, pets):
    assert of(headwater, "tasks", "list")["tasks"]["pets"]["rows"] == 12
    assert of(headwater, "tasks", "rename", "pets", "it's animals") == {"task": "it's animals", "labelled": 12}
    assert of(headwater, "tasks", "remove", "it's animals")["removed"] == 12
    code, _, err = headwater("labels", "list", "-t", "pets")
    assert (code, "no labels for task 'pets'" in err) == (1, True)
    assert of(headwater, "undo")["restored"] == 12
    assert list(of(headwater, "tasks", "list")["tasks"]) == ["it's animals"]


TABLES = {
    "by name": ("t.csv", b"file,label,split\n00.png,x,\n01.png,y|z,\n"),
    "by path, with a byte order mark": ("t.csv", b"\xef\xbb\xbfpath,label\r\ncat/00.png,x\r\ndog/01.png,y|z\r\n"),
    "UTF-16": ("t.csv", "file;label\n00.png;x\n01.png;y|z\n".encode("utf-16")),
    "JSON": ("t.json", b'[{"image": "00.png", "tags": ["x"]}, {"image": "01.png", "tags": ["y", "z"]}]'),
    "COCO": (
        "t.json",
        b"""{"images": [{"id": 1, "file_name": "00.png"}, {"id": 2, "file_name": "01.png"}],
        "categories": [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}, {"id": 3, "name": "z"}], "annotations":
        [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 2}, {"image_id": 2, "category_id": 3}]}""",
    ),
    "JSON lines": ("t.jsonl", b'{"file": "00.png", "label": "x"}\n\n{"file": "01.png", "label": ["y", "z"]}\n'),
}
BAD = {
    "other columns": ("t.csv", b"a,b\n1,2\n", r"hold the path; its columns are a, b.*--path-column NAME"),
    "a column that is not there": ("t.csv", b"file,label\n00.png,x\n", r"has no column 'x'"),
    "no row": ("t.csv", b"file,label\n", "has no rows"),
    "an unknown file": ("t.csv", b"file,label\n00.png,x\nnone.png,x\n", "1 row names no file, e.g. line 3: none.png"),
    "spaces": ("t.csv", b"file,label\n00.png,x\n01.png,   \n", "1 row has no label, e.g. line 3: 01.png"),
    "a long label": ("t.csv", b"file,label\n00.png," + b"x" * 10_000, "10,000 characters"),
    "two labels for one": ("t.csv", b"file,label\n00.png,x\n00.png,y\n", "same content under different labels"),
    "another number of cells": ("t.csv", b"file,label\n00.png,x,y\n", "line 2 has 3 fields"),
    "no JSON": ("t.jsonl", b"{", "line 1 is not JSON"),
    "no object": ("t.jsonl", b"[1]\n", "line 1 is not a JSON object"),
    "no Parquet": ("t.parquet", b"PAR1", "not a Parquet file"),
    "another format": ("t.xlsx", b"", "no file of labels that can be read"),
    "no split": ("t.csv", b"file,label,split\n00.png,x,fold1\n", "line 2: there is no split 'fold1'"),
    "a missing file": ("", b"", "none.csv does not exist"),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_labels_stored_assets(headwater, pets, table):
    name, content = TABLES[table]
    (pets / name).write_bytes(content)
    assert of(headwater, "labels", "import", pets / name, "-t", "new")["changed"] == 2
    assert labels(headwater, "new") == {"00.png": ["x"], "01.png": ["y", "z"]}
    assert of(headwater, "labels", "import", pets / name, "-t", "new")["changed"] == 0
    assert of(headwater, "undo")["unlabelled_again"] == 2


def test_a_table_names_the_groups_too(headwater, pets):
    (pets / "t.csv").write_text("file,label,camera\n00.png,x,left\n01.png,y,right\n")
    assert of(headwater, "labels", "import", pets / "t.csv", "-t", "new", "--group", "camera")["changed"] == 2
    [first] = Store.open(pets.parent / "headwater.db").labels.of(asset_id(photo(0)), "new")
    assert (first.labels, first.group) == (["x"], "left")
    code, _, err = headwater("labels", "import", pets / "t.csv", "-t", "new", "--group", "site")
    assert (code, "no column 'site'" in err) == (1, True), err
    of(headwater, "undo")


def test_bad_tables_are_refused_in_one_line_and_nothing_is_written(headwater, pets):
    for what, (name, content, message) in BAD.items():
        if name:
            (pets / name).write_bytes(content)
        column = ("--label-column", "x") if "that is not there" in what else ()
        code, _, err = headwater("labels", "import", pets / (name or "none.csv"), "-t", "new", *column)
        assert (code, err.count("error: ")) == (1, 1), (what, err)
        assert re.search(message, err, re.S), (what, err)
    assert list(of(headwater, "tasks", "list")["tasks"]) == ["pets"]


def test_the_quarantine_is_listed_tried_again_and_cleared(headwater, pets):
    broken = pets / "cat" / "broken.png"
    broken.write_bytes(photo(77)[:50])
    shutil.copy(broken, pets / "dog" / "other.png")
    assert headwater("ingest", pets, "-t", "pets")[0] == 3
    listed = of(headwater, "quarantine", "list")
    assert {Path(row["uri"]).name for row in listed["quarantine"]} == {"broken.png", "other.png"}
    broken.write_bytes(photo(77))
    code, out, _ = headwater("quarantine", "retry", "--json")
    assert (code, json.loads(out)["tried"], json.loads(out)["left"]) == (3, 2, 1)
    assert of(headwater, "assets", "list")["count"] == 13
    assert of(headwater, "quarantine", "clear", "--stage", "embed:0")["removed"] == 0
    assert of(headwater, "quarantine", "clear")["removed"] == 1
    assert of(headwater, "quarantine", "list")["count"] == 0


def test_versions_and_heads_are_removed_and_an_alias_protects_its_version(headwater, pets):
    headwater("backfill")
    old, new = (
        of(headwater, "train", "-t", "pets", "-n", "pets", "--set", f"shrinkage=0.{s}")["version"] for s in "12"
    )
    assert headwater("heads", "promote", "pets", "production", old)[0] == 0
    code, _, err = headwater("heads", "remove", f"pets@{old}")
    assert (code, "is production" in err, "headwater heads promote pets production" in err) == (1, True, True)
    assert headwater("heads", "remove", "pets")[0] == 2
    assert of(headwater, "heads", "remove", "pets@latest")["removed"] == new
    assert of(headwater, "heads", "list")["pets"] == {"versions": [old], "aliases": {"latest": old, "production": old}}
    assert of(headwater, "heads", "remove", "pets", "--all")["removed"] == old
    assert of(headwater, "heads", "list") == {}
