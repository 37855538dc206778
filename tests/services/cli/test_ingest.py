"""`ingest` and `watch` as a user types them: what they say, and how they end."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pictures import photo

from store import Store, asset_id


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three photos in folders by year, and what else lies in such folders."""
    for seed, name in enumerate(["2019/1.png", "2019/2.png", "2020/3.png"]):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(photo(seed))
    (tmp_path / "photos" / "Thumbs.db").touch()
    return tmp_path / "photos"


def test_ingest_says_what_it_understood(headwater, photos, tmp_path):
    (tmp_path / "labels.csv").write_text("file;class;split\n1.png;cat;train\n2.png;cat;test\n9.png;dog;\n")
    code, out, err = headwater("ingest", "photos", "--task", "t", "--labels", "labels.csv")
    assert (code, err) == (3, "warning: task t has one class, cat: a head needs two or more\n")
    lines = out.splitlines()
    assert lines[:3] == [
        "labels.csv: path column file, label column class, split column split; 2 of 3 rows matched by path",
        "  1 row names no file, e.g. line 4: 9.png",
        f"  1 file has no row, e.g. {photos}/2020/3.png",
    ]
    assert [line.split() for line in lines[-3:]] == [
        ["task", "t:", "1", "class"],
        ["class", "train", "test", "all"],
        ["cat", "1", "1", "2"],
    ]
    assert ["skipped", "1", "Thumbs.db"] in [line.split() for line in lines]
    code, out, _ = headwater("ingest", "--task", "again", "--labels", "labels.csv", "--json")
    told = json.loads(out)
    assert (code, told["labelled"], told["classes"]) == (3, 2, {"cat": {"train": 1, "test": 1}})
    assert told["labels"] == {
        "file": str(tmp_path / "labels.csv"),
        "understood": "path column file, label column class, split column split",
        "rows": 3,
        "matched": 2,
        "by": "path",
        "rows_without_file": {"count": 1, "example": "line 4: 9.png"},
        "files_without_row": {"count": 1, "example": f"{photos}/2020/3.png"},
    }
    assert [warning["code"] for warning in told["warnings"]] == ["one_class"]


def test_years_are_pointed_out_and_a_task_without_labels_is_not_silent(headwater, photos):
    code, _, err = headwater("ingest", "photos", "--task", "t")
    assert (code, "classes 2019, 2020 look like years" in err, "--labels FILE" in err) == (0, True, True)
    code, _, err = headwater("ingest", "photos/2019", "--task", "none")
    assert (code, "task none has no label" in err) == (3, True)
    assert headwater("ingest", "photos/2019")[0] == 0


def test_files_under_two_labels_are_listed_and_a_rule_decides(headwater, photos):
    (photos / "2020" / "copy.png").write_bytes(photo(0))
    code, out, err = headwater("ingest", "photos", "--task", "t")
    pair = f"{photos}/2019/1.png (2019) and {photos}/2020/copy.png (2020)"
    assert (code, out) == (1, "")
    assert err.startswith(f"  {pair}\nerror: 1 file has the same content under different labels, splits or groups")
    assert err.endswith("hint: --on-conflict first, last or both\n")
    code, out, _ = headwater("ingest", "photos", "--task", "t", "--on-conflict", "last")
    assert (code, f"  {pair}\n" in out) == (0, True)


@pytest.mark.parametrize(
    ("rows", "options", "hint"),
    [
        ("a,b,c\n", [], "--path-column NAME, or --id-column NAME"),
        ("file,b,c\n", [], "--label-column NAME"),
        ("file,label\n", ["--split-column", "x"], "--split-column NAME"),
        ("file,label\n7.png,cat\n", [], "--path-column NAME or --id-column NAME"),
        ("file,label,split\n1.png,cat,0\n", [], "--split-column NAME names another column; --split-column none reads"),
    ],
)
def test_the_option_that_mends_a_table_is_named(headwater, photos, tmp_path, rows, options, hint):
    (tmp_path / "x.csv").write_text(rows)
    code, _, err = headwater("ingest", "photos", "--task", "t", "--labels", "x.csv", *options)
    assert (code, f"hint: {hint}" in err) == (1, True), err
    assert not (tmp_path / "headwater.db").exists()


def hugging_face(path: Path, labels: list[int], **columns: list[str]) -> None:
    """Write a Parquet file with the class names cat and dog, and a photo for each label."""
    about = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [photo(seed) for seed in range(len(labels))], "label": labels, **columns})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path)


def test_a_class_number_without_a_name_gives_no_label_and_is_counted(headwater, tmp_path):
    """Python would count -1 from the end, and give these rows the last class."""
    hugging_face(tmp_path / "a.parquet", [0, 1, -1, 2, 7])
    code, out, _ = headwater("ingest", "a.parquet", "--task", "t", "--json")
    told = json.loads(out)
    counts = {name: sum(splits.values()) for name, splits in told["classes"].items()}
    assert (code, told["new_assets"], counts) == (3, 5, {"cat": 1, "dog": 1})
    assert [warning["text"] for warning in told["warnings"]] == [
        f"1 row has -1 or NaN as its label, which means no label, e.g. {tmp_path}/a.parquet#2 (-1)",
        f"2 rows have the number of a class that has no name; they got no label, e.g. {tmp_path}/a.parquet#3 (2)",
    ]
    hugging_face(tmp_path / "b.parquet", [0, 1, -1], image_id=["x", "y", "z"])
    code, _, err = headwater(
        "ingest", "a.parquet", "--task", "table", "--labels", "b.parquet", "--id-column", "image_id"
    )
    assert code == 1
    assert "no row" in err.lower()


@pytest.mark.parametrize("words", ["", "photos --label-column x", "photos --labels x.csv", "--task t"])
def test_options_that_need_others_are_usage_errors(headwater, photos, words):
    assert headwater("ingest", *words.split())[0] == 2


def test_watch_embeds_what_appears_until_it_is_stopped(photos, tmp_path, cache_dir):
    command = [sys.executable, "-m", "services.cli", "watch", "photos", "--task", "t", "--every", "0.1", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = json.loads(process.stdout.readline())
        assert (first["new"], first["labelled"], first["embedded"]) == (3, 3, 3)
        (photos / "2020" / "4.png").write_bytes(photo(4))
        assert json.loads(process.stdout.readline())["embedded"] == 1
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (130, "", "watching photos; Ctrl-C stops\nstopped\n")
    store = Store.open(tmp_path / "headwater.db")
    assert asset_id(photo(4)) in store.features("lite0").ids().to_pylist()


@pytest.mark.slow
def test_two_ingests_at_once_store_everything_once(photos, tmp_path):
    rows = [f"{seed}.png,{'ab'[seed % 2]}" for seed in range(300)]
    for seed in range(300):
        (photos / f"{seed}.png").write_bytes(photo(seed, 16, 12))
    (tmp_path / "x.csv").write_text("\n".join(["file,label", *rows]))
    command = [sys.executable, "-m", "services.cli", "ingest", "photos", "--task", "t", "--labels", "x.csv"]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    store = Store.open(tmp_path / "headwater.db")
    assert len(store.labels.get("t")) == 300
    assert store.assets.count() == len(set(store.assets.ids().to_pylist())) == len(list(photos.rglob("*.png")))


def test_groups_of_a_parquet_file(headwater, tmp_path):
    content = {"image": [photo(seed) for seed in range(4)], "label": ["a", "b", "a", "b"], "site": [1, 1, 2, 2]}
    pq.write_table(pa.table(content), tmp_path / "p.parquet")
    code, _, err = headwater("ingest", "p.parquet", "--group", "site")
    assert (code, "--group needs --task" in err) == (2, True)
    code, _, err = headwater("ingest", "p.parquet", "--task", "t", "--group", "site")
    assert (code, err) == (0, "")
    (store,) = (Store.open(each) for each in tmp_path.glob("*.db"))
    found = store.labels.get("t").to_pylist()
    assert sorted((row["group"], row["labels"][0]) for row in found) == [("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")]
    assert len({(row["group"], row["split"]) for row in found}) == 2


def test_a_column_of_captions_is_recognised_and_not_listed_as_classes(headwater, tmp_path):
    texts = [f"photo number {n} of a small dog" for n in range(24)]
    content = {"image": [photo(n, 16, 12) for n in range(24)], "label": ["dog", "cat"] * 12, "caption": texts}
    pq.write_table(pa.table(content), tmp_path / "p.parquet")
    code, out, err = headwater("ingest", "p.parquet", "-t", "told", "--label-column", "caption")
    assert (code, err, "photo number" in out) == (0, "", False)
    count, note = out.splitlines()[-2:]
    assert count.startswith("task told: 24 captions of 24 files (")
    assert note.startswith("note: the labels look like captions")
    assert note.endswith("--captions told")
    told = json.loads(headwater("ingest", "p.parquet", "-t", "told", "--label-column", "caption", "--json")[1])
    assert (told["captions"], told["classes"]) == (True, {})
    told = json.loads(headwater("ingest", "p.parquet", "-t", "animals", "--json")[1])
    assert (told["captions"], sorted(told["classes"])) == (False, ["cat", "dog"])
