import errno
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from store import Item
from store.errors import BadSource
from store.interchange import read_files, read_folder, read_parquet, read_sources


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def seen(items: object, root: Path) -> list[tuple[str, list[str] | None, str | None]]:
    return [(str(Path(i.uri).relative_to(root)), i.labels, i.split) for i in items]  # type: ignore[attr-defined]


def test_class_folders(tmp_path: Path) -> None:
    make(tmp_path, "dog/1.jpg", "cat/deep/2.jpg", "cat/.hidden.jpg", ".git/x", "loose.png", "cat/notes.txt")
    items = list(read_folder(tmp_path))
    assert seen(items, tmp_path) == [
        ("cat/deep/2.jpg", ["cat"], None),
        ("cat/notes.txt", ["cat"], None),
        ("dog/1.jpg", ["dog"], None),
        ("loose.png", None, None),
    ]
    assert items[0].data is None
    assert items[0].read() == b"cat/deep/2.jpg"


def test_a_link_to_nothing_is_an_item_that_cannot_be_read(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.jpg")
    (tmp_path / "cat" / "2.jpg").symlink_to(tmp_path / "nosuch")
    (tmp_path / "cat" / "3.jpg").symlink_to(tmp_path / "cat" / "1.jpg")
    _, lost, linked = read_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        lost.read()
    assert linked.read() == b"cat/1.jpg"


def test_split_folders(tmp_path: Path) -> None:
    make(tmp_path, "train/cat/1.jpg", "Validation/dog/2.jpg", "test/3.jpg")
    assert seen(read_folder(tmp_path), tmp_path) == [
        ("Validation/dog/2.jpg", ["dog"], "val"),
        ("test/3.jpg", None, "test"),
        ("train/cat/1.jpg", ["cat"], "train"),
    ]
    make(tmp_path, "bird/4.jpg")  # now `train` is a class like any other
    assert ("train/cat/1.jpg", ["train"], None) in seen(read_folder(tmp_path), tmp_path)


def test_parquet_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "id": ["p", "q", None],
            "image": [b"1", b"2", None],
            "label": ["cat", None, "dog"],
            "split": ["train", None, "valid"],
        }
    )
    pq.write_table(table, path)
    assert list(read_parquet(path)) == [
        Item(f"{path}#p", b"1", ["cat"], "train", "image"),
        Item(f"{path}#q", b"2", None, None, "image"),
        Item(f"{path}#2", b"", ["dog"], "val", "image"),
    ]
    pq.write_table(pa.table({"image": [b"1", b"2", b"3"], "labels": [["a", "b"], [], None]}), path)
    assert [item.labels for item in read_parquet(path)] == [["a", "b"], [], None]


def test_labels_of_a_parquet_file_are_in_the_column_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {"image": [b"1", b"2"], "labels": [["a"], []], "caption": ["A cat.", None], "tags": [["x", "y"], []]}
    )
    pq.write_table(table, path)
    assert [item.labels for item in read_sources([path], label="caption")] == [["A cat."], None]
    assert [item.labels for item in read_sources([tmp_path], label="tags")] == [["x", "y"], []]
    with pytest.raises(BadSource, match=r"no column 'words' for the labels; its columns are image, labels, caption"):
        list(read_sources([path], label="words"))
    (tmp_path / "photo.jpg").write_bytes(b"1")
    with pytest.raises(BadSource, match=r"photo\.jpg is no Parquet file, so it has no column 'tags'"):
        list(read_sources([tmp_path], label="tags"))


def test_parquet_of_hugging_face(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [{"bytes": b"1", "path": "x.jpg"}], "label": [1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path)
    assert list(read_parquet(path)) == [Item(f"{path}#0", b"1", ["dog"], None, "image")]
    pq.write_table(table, path)
    assert list(read_parquet(path)) == [Item(f"{path}#0", b"1", ["1"], None, "image")]


@pytest.mark.parametrize("modality", ["audio", "depth", "thermal", "imu"])
def test_the_column_says_the_modality(tmp_path: Path, modality: str) -> None:
    pq.write_table(pa.table({modality: [b"1"], "label": ["dog"]}), tmp_path / "a.parquet")
    assert [(i.data, i.labels, i.modality) for i in read_parquet(tmp_path / "a.parquet")] == [(b"1", ["dog"], modality)]


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(BadSource, match="is not a Parquet file"):
        list(read_parquet(path))
    pq.write_table(pa.table({"picture": [b"1"]}), path)
    with pytest.raises(BadSource, match=r"one column named image, audio, .* its columns are picture"):
        list(read_parquet(path))
    pq.write_table(pa.table({"image": [b"1"], "depth": [b"1"]}), path)
    with pytest.raises(BadSource, match=r"one column named .* its columns are image, depth"):
        list(read_parquet(path))
    pq.write_table(pa.table({"image": ["text"]}), path)
    with pytest.raises(BadSource, match="holds str"):
        list(read_parquet(path))
    pq.write_table(pa.table({"image": [b"1"], "split": ["dev"]}), path)
    with pytest.raises(BadSource, match="no split 'dev'"):
        list(read_parquet(path))


def test_sources_of_every_kind(tmp_path: Path) -> None:
    make(tmp_path, "photos/cat/1.jpg", "2.jpg")
    pq.write_table(pa.table({"image": [b"1"], "label": ["dog"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b"3"]}), tmp_path / "photos" / "b.parquet")
    given = [tmp_path / "photos", tmp_path / "a.parquet", str(tmp_path / "2.jpg")]
    assert [(Path(i.uri).name, i.labels) for i in read_sources(given)] == [
        ("b.parquet#0", None),
        ("1.jpg", ["cat"]),
        ("a.parquet#0", ["dog"]),
        ("2.jpg", None),
    ]
    assert [i.uri for i in read_files(["x.jpg"])] == [str(Path.cwd() / "x.jpg")]
    with pytest.raises(BadSource, match=r"gone does not exist"):
        read_sources([tmp_path / "gone"])
    with pytest.raises(BadSource, match="is not a folder"):
        list(read_folder(tmp_path / "2.jpg"))


def test_junk_is_skipped_and_counted_but_not_if_it_is_named(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.jpg", "Thumbs.db", "cat/THUMBS.DB", "cat/._1.jpg", ".DS_Store", "readme.txt", "readme.jpg")
    make(tmp_path, "__MACOSX/cat/1.jpg", ".git/x", "desktop.ini/2.jpg")
    sources = read_sources([tmp_path])
    for _ in range(2):  # the counts are those of one iteration
        assert [Path(item.uri).name for item in sources] == ["1.jpg", "readme.jpg"]
        assert sources.junk == {
            "Thumbs.db": 1,
            "THUMBS.DB": 1,
            "._*": 1,
            ".DS_Store": 1,
            "readme.txt": 1,
            "__MACOSX": 1,
            "desktop.ini": 1,
        }
    assert [Path(item.uri).name for item in read_sources([tmp_path / "readme.txt"])] == ["readme.txt"]
    left_out = read_sources([tmp_path], [tmp_path / "readme.jpg"])
    assert [Path(item.uri).name for item in left_out] == ["1.jpg"]


def test_a_folder_that_may_not_be_read_is_an_item_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "cat/1.jpg", "cat/secret/2.jpg", "dog/3.jpg")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("store.walk.os.scandir", refusing)
    items = list(read_folder(tmp_path))
    assert seen(items, tmp_path) == [
        ("cat/1.jpg", ["cat"], None),
        ("cat/secret", ["cat"], None),
        ("dog/3.jpg", ["dog"], None),
    ]
    with pytest.raises(PermissionError, match="secret"):
        items[1].read()
