"""Files and labels that lie apart come together in a store, or nothing is stored."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pictures import photo

from services.jobs.annotations.errors import BadAnnotations, Conflicts, NothingMatched
from services.jobs.annotations.matching import Some
from services.jobs.annotations.tables import Columns
from services.jobs.fill import Request, fill
from store import Label, Store, asset_id
from store.errors import BadSource, FrozenSplit

IDS = [asset_id(photo(seed, 8, 8)) for seed in range(6)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "headwater.db")


def photos(folder: Path, *names: str) -> Path:
    """Make the photo `seed` under each name, in order; `name=seed` chooses another one."""
    for at, name in enumerate(names):
        path, _, seed = name.partition("=")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(photo(int(seed or at), 8, 8))
    return folder


def table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def labels_in(store: Store, task: str = "t") -> dict[int, list[str]]:
    """Number of the photo → its labels."""
    return {IDS.index(row["id"]): row["labels"] for row in store.labels.get(task).to_pylist()}


@pytest.mark.parametrize(
    ("rows", "by"),
    [
        (["a/1.jpg", "b/1.jpg", "b/ü 3.JPG"], "path"),
        (["./a/1.jpg", "b\\1.jpg", "b/u\u0308 3.JPG"], "path"),  # as Windows and macOS write them
        (["{root}/a/1.jpg", "file://{root}/b/1.jpg", "{root}/b/ü 3.JPG"], "path"),
        (["p/a/1.jpg", "p/b/1.jpg", "p/b/ü 3.JPG"], "path"),
        (["a/1", "b/1", "ü 3"], "path"),
        (IDS[:3], "path"),
        (["a/1.jpg", IDS[1], "ü 3.JPG"], "path"),
    ],
)
def test_a_row_names_its_file_in_any_way(store, tmp_path, rows, by):
    root = photos(tmp_path / "p", "a/1.jpg", "b/1.jpg", "b/ü 3.JPG")
    keys = [row.format(root=root) for row in rows]
    file = table(tmp_path / "x.csv", "file,label", *(f"{key},{at}" for at, key in enumerate(keys)))
    done = fill(store, Request([root], "t", file))
    assert labels_in(store) == {0: ["0"], 1: ["1"], 2: ["2"]}
    assert (done.matching.matched, done.matching.by, done.matching.left) == (3, by, {})
    # The same over files that are stored already.
    again = fill(store, Request((), "again", file))
    assert (labels_in(store, "again"), again.matching.left) == (labels_in(store), {})


def test_file_names_count_alone_only_if_no_path_fits_and_never_if_they_are_ambiguous(store, tmp_path):
    root = photos(tmp_path / "p", "a/1.jpg", "b/1.jpg", "c/2.jpg", "c/3.jpg")
    rows = ["file,label", r"C:\x\2.jpg,two", "elsewhere/1.jpg,one", "x/3.jpg,three", "y/3.jpg,drei"]
    done = fill(store, Request([root], "t", table(tmp_path / "x.csv", *rows)))
    assert labels_in(store) == {2: ["two"]}
    assert (done.matching.by, done.matching.matched) == ("file name", 1)
    assert done.matching.left["rows_with_several_files"] == Some(3, "line 3: elsewhere/1.jpg")
    rows += ["a/1.jpg,one"]  # now paths fit, so that c/2.jpg is not what is meant
    done = fill(store, Request([root], "u", table(tmp_path / "x.csv", *rows)))
    assert labels_in(store, "u") == {0: ["one"]}


def test_a_row_that_may_not_move_is_named(store, tmp_path):
    root = photos(tmp_path / "p", "1.jpg", "2.jpg")
    fill(store, Request([root], "t", table(tmp_path / "x.csv", "file,label,split", "1.jpg,cat,val", "2.jpg,cat,val")))
    moved = table(tmp_path / "x.csv", "file,label,split", "1.jpg,cat,val", "2.jpg,dog,test")
    with pytest.raises(FrozenSplit, match=rf"^{root}/2.jpg, line 3: 1 assets .* stored as val, now given as test"):
        fill(store, Request([root], "t", moved))
    assert labels_in(store) == {0: ["cat"], 1: ["cat"]}


def test_whatever_is_left_out_is_counted_with_an_example(store, tmp_path):
    root = photos(tmp_path / "p", "1.jpg", "2.jpg", "3.jpg", "a/same.jpg", "b/same.jpg", "Thumbs.db", "x/._1.jpg")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    file = table(
        root / "x.csv", "file,label", "1.jpg,cat", "gone.jpg,cat", ",cat", "2.jpg, ", "same.jpg,cat", "broken.jpg,cat"
    )
    done = fill(store, Request([root], "t", file))
    assert labels_in(store) == {0: ["cat"]}
    assert done.matching.left == {
        "rows_without_file": Some(1, "line 3: gone.jpg"),
        "rows_with_several_files": Some(1, "line 6: same.jpg"),
        "rows_without_name": Some(1, "line 4: "),
        "rows_without_label": Some(1, "line 5: 2.jpg"),
        "files_without_row": Some(3, f"{root}/3.jpg"),
    }
    assert (done.ingested.new, done.ingested.quarantined, dict(done.junk)) == (5, 1, {"Thumbs.db": 1, "._*": 1})
    assert done.classes == {"cat": {store.labels.get("t")["split"][0].as_py(): 1}}


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (["file,label,split", "1.jpg,cat,train", "2.jpg,dog,dev"], BadAnnotations),
        (["file,label", "7.jpg,cat"], NothingMatched),
        (["file,label,split", "1.jpg,cat,val"], FrozenSplit),
        (["file,label", "1.jpg,cat", "2.jpg,dog", "1.jpg,dog"], Conflicts),
        (["file,label", "1.jpg,cat", f"2.jpg,{'x' * 10_000}"], BadAnnotations),
        (["file,label"], BadAnnotations),
    ],
)
def test_one_bad_row_leaves_nothing_stored(store, tmp_path, rows, error):
    root = photos(tmp_path / "p", "1.jpg", "2.jpg")
    store.labels.put("t", [Label(IDS[0], ["old"], "train")])
    with pytest.raises(error):
        fill(store, Request([root], "t", table(tmp_path / "x.csv", *rows)))
    assert store.database.names() == ["labels"]
    assert labels_in(store) == {0: ["old"]}


@pytest.mark.parametrize(
    ("rule", "expected"), [("first", ["cat"]), ("last", ["dog"]), ("both", ["cat", "dog"]), ("error", None)]
)
@pytest.mark.parametrize("sheet", [False, True])
def test_the_same_content_under_two_labels(store, tmp_path, rule, expected, sheet):
    """Both files, or both rows, are named, whatever the rule is. Broken files are alike, and no conflict."""
    root = photos(tmp_path / "p", "cat/a.jpg=0", "dog/b.jpg=0", "dog/c.jpg=1", "cat/d.jpg=2", "cat/again.jpg=2")
    for label in ("cat", "dog"):
        (root / label / "empty.jpg").touch()
    rows = [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.rglob("*.jpg"))]
    file = table(tmp_path / "x.csv", "path,label", *rows) if sheet else None
    request = Request([root], "t", file, on_conflict=rule)
    if expected is None:
        with pytest.raises(Conflicts) as caught:
            fill(store, request)
        assert (caught.value.count, store.database.names()) == (1, [])
        examples = caught.value.examples
    else:
        done = fill(store, request)
        examples = done.examples
        assert (done.conflicts, labels_in(store)) == (1, {0: expected, 1: ["dog"], 2: ["cat"]})
        assert fill(store, request).ingested.labelled == 0
    places = (", line 2", ", line 6") if sheet else ("", "")
    assert examples == [f"{root}/cat/a.jpg{places[0]} (cat) and {root}/dog/b.jpg{places[1]} (dog)"]


def test_the_same_content_in_two_splits_is_a_conflict(store, tmp_path):
    root = photos(tmp_path / "p", "train/cat/a.jpg=0", "test/cat/b.jpg=0", "train/dog/c.jpg=1", "test/dog/d.jpg=2")
    with pytest.raises(Conflicts, match=r"test/cat/b.jpg \(cat, split test\) and .*/a.jpg \(cat, split train\)"):
        fill(store, Request([root], "t"))
    fill(store, Request([root], "t", on_conflict="last"))
    assert {IDS.index(row["id"]): row["split"] for row in store.labels.get("t").to_pylist()}[0] == "train"


def test_rows_of_one_file_are_its_labels_and_folders_give_the_split(store, tmp_path):
    root = photos(tmp_path / "p", "train/1.jpg", "test/2.jpg")
    file = table(tmp_path / "x.csv", "name,label", "1.jpg,cat", "1.jpg,dog", "2.jpg,cat|bird")
    fill(store, Request([root], "t", file, on_conflict="both"))
    assert labels_in(store) == {0: ["cat", "dog"], 1: ["cat", "bird"]}
    assert store.labels.counts("t") == {
        ("cat", "train"): 1,
        ("dog", "train"): 1,
        ("cat", "test"): 1,
        ("bird", "test"): 1,
    }


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_image_folder_of_hugging_face_has_its_own_labels(store, tmp_path, form):
    root = photos(tmp_path / "p", "train/1.jpg", "train/x/2.jpg", "test/3.jpg")
    for split, rows in {"train": [("1.jpg", "cat"), ("x/2.jpg", "dog")], "test": [("3.jpg", "cat")]}.items():
        lines = ["file_name,label", *map(",".join, rows)]
        records = [json.dumps({"file_name": name, "label": label}) for name, label in rows]
        table(root / split / f"metadata.{form}", *(lines if form == "csv" else records))
    done = fill(store, Request([root], "t"))
    assert (labels_in(store), done.ingested.quarantined) == ({0: ["cat"], 1: ["dog"], 2: ["cat"]}, 0)
    assert done.classes == {"cat": {"train": 1, "test": 1}, "dog": {"train": 1}}


def test_metadata_without_labels_leaves_them_to_the_folders(store, tmp_path):
    root = photos(tmp_path / "p", "cat/1.jpg", "dog/2.jpg")
    table(root / "metadata.csv", "file_name,text,width", "cat/1.jpg,a cat,8")
    done = fill(store, Request([root], "t"))
    assert labels_in(store) == {0: ["cat"], 1: ["dog"]}
    assert done.matching is None


def shard(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_shards_of_webdataset(store, tmp_path, mode):
    image = [photo(seed, 8, 8) for seed in range(6)]
    members = {"a/0.jpg": image[0], "a/0.cls": b"cat\n", "a/1.cls": b"7", "a/1.seg.png": image[1], "a/1.png": image[2]}
    members |= {"2.jpg": image[3], "2.json": b'{"labels": ["x", "y"]}', "2.txt": b"a caption"}
    members |= {"3.jpg": image[4], "3.json": b"{", "4.cls": b"lost", ".hidden": b"x"}
    path = shard(tmp_path / "s-000.tar", members, mode)
    done = fill(store, Request([path], "t"))
    assert labels_in(store) == {0: ["cat"], 1: ["7"], 2: ["7"], 3: ["x", "y"]}
    assert (done.ingested.new, done.ingested.quarantined) == (5, 1)
    assert store.quarantine.get()["key"].to_pylist() == [f"{path}#4.cls"]
    rows = table(tmp_path / "x.csv", "file,label", "a/0.jpg,bird", "3.jpg,fish")
    fill(store, Request([path], "other", rows))
    assert labels_in(store, "other") == {0: ["bird"], 4: ["fish"]}


def test_a_damaged_shard_is_refused_before_anything_is_stored(store, tmp_path):
    whole = shard(tmp_path / "s.tar", {f"{seed}.jpg": photo(seed, 64, 64) for seed in range(3)}).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not a tar file" * 99, b""):
        (tmp_path / "s.tar").write_bytes(damaged)
        with pytest.raises(BadSource, match="not a whole tar file"):
            fill(store, Request([tmp_path / "s.tar"], "t"))
    assert store.database.names() == []


def test_parquet_with_paths_alone_is_a_file_of_labels(store, tmp_path):
    root = photos(tmp_path / "p", "1.jpg", "2.jpg")
    rows = {"path": ["1.jpg", "2.jpg"], "labels": [["a", "b"], []], "split": ["train", "valid"]}
    pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    fill(store, Request([root], "t", tmp_path / "x.parquet", Columns(label="labels")))
    assert labels_in(store) == {0: ["a", "b"], 1: []}
    assert store.labels.counts("t") == {("a", "train"): 1, ("b", "train"): 1, ("", "val"): 1}


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        (["2019/a.jpg", "2020/b.jpg"], ["years"]),
        (["2019/a.jpg", "cat/b.jpg", "dog/c.jpg"], []),
        (["train/a.jpg", "cat/b.jpg"], ["splits"]),
        (["a.jpg"], ["no_label"]),
        (["cat/a.jpg"], ["one_class"]),
        (["cat/a.jpg", "dog/b.jpg"], []),
        (["cat/a.jpg", "dog/b.jpg", "labels.csv", "cat/x.csv"], ["table"]),
    ],
)
def test_what_is_probably_not_meant_is_said(store, tmp_path, names, codes):
    assert [warned.code for warned in fill(store, Request([photos(tmp_path / "p", *names)], "t")).warnings] == codes


def groups_in(store: Store) -> dict[int, str | None]:
    """Number of the photo → its group."""
    return {IDS.index(row["id"]): row["group"] for row in store.labels.get("t").to_pylist()}


def test_groups_come_from_a_column_of_the_table(store, tmp_path):
    root = photos(tmp_path / "p", "1.jpg", "2.jpg", "3.jpg")
    rows = ["file,label,speaker", "1.jpg,a,ann", "2.jpg,b,  ", "3.jpg,a,7"]
    done = fill(store, Request([root], "t", table(tmp_path / "l.csv", *rows), group="speaker"))
    assert "group column speaker" in done.matching.understood
    assert groups_in(store) == {0: "ann", 1: None, 2: "7"}
    table(tmp_path / "m.csv", "file,label,who", "2.jpg,b,bob")  # for what is stored already
    fill(store, Request(task="t", labels=tmp_path / "m.csv", group="who"))
    assert groups_in(store) == {0: "ann", 1: "bob", 2: "7"}
    fill(store, Request([root], "t", tmp_path / "l.csv"))  # without a group, the stored one stays
    assert groups_in(store) == {0: "ann", 1: "bob", 2: "7"}


def test_groups_come_from_a_column_of_a_parquet_file(store, tmp_path):
    content = {"image": [photo(seed, 8, 8) for seed in range(3)], "label": ["a", "b", "a"], "site": [4, None, 5]}
    pq.write_table(pa.table(content), tmp_path / "p.parquet")
    fill(store, Request([tmp_path / "p.parquet"], "t", group="site"))
    assert groups_in(store) == {0: "4", 1: None, 2: "5"}
    with pytest.raises(BadSource, match=r"p\.parquet has no column 'speaker' for the groups; its columns are image,"):
        fill(store, Request([tmp_path / "p.parquet"], "t", group="speaker"))


def test_a_group_that_nothing_has_is_an_error_and_nothing_is_stored(store, tmp_path):
    root = photos(tmp_path / "p", "a/1.jpg", "b/2.jpg")
    with pytest.raises(BadSource, match="no labelled row has a group in a column 'speaker'"):
        fill(store, Request([root], "t", group="speaker"))
    rows = table(tmp_path / "l.csv", "file,label,speeker", "1.jpg,a,ann")
    with pytest.raises(BadAnnotations, match="no column 'speaker'; did you mean 'speeker'"):
        fill(store, Request([root], "t", rows, group="speaker"))
    assert store.assets.count() == 0


def test_one_content_in_two_groups_is_a_conflict(store, tmp_path):
    root = photos(tmp_path / "p", "1.jpg=0", "2.jpg=0")
    rows = table(tmp_path / "l.csv", "file,label,site", "1.jpg,a,x", "2.jpg,a,y")
    with pytest.raises(Conflicts, match="group"):
        fill(store, Request([root], "t", rows, group="site"))
    fill(store, Request([root], "t", rows, group="site", on_conflict="last"))
    assert groups_in(store) == {0: "y"}
