"""Ingest stores the labels that folders, files and earlier runs imply."""

import io
import os
import struct
import tokenize
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.pictures import photo

import services.jobs.ingest
from services.jobs.ingest import Ingested, ingest
from store import Item, Label, Store, asset_id
from store.errors import BadSplit
from store.interchange import read_sources


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_none_of_the_labels_is_stored_and_nothing_known_is_not(tmp_path):
    store = Store.open(tmp_path / "headwater.db")
    given = (["cat", "dog"], [], None)
    items = [Item(uri=f"{seed}.png", data=photo(seed), labels=labels) for seed, labels in enumerate(given)]
    done = ingest(store, items, task="animals")
    assert (done.new, done.labelled) == (3, 2)
    stored = {row["id"]: row["labels"] for row in store.labels.get("animals").to_pylist()}
    assert stored == {asset_id(photo(0)): ["cat", "dog"], asset_id(photo(1)): []}
    assert ingest(store, items, task="animals").labelled == 0


def test_run_again_it_adds_new_files_and_relabels_moved_ones(tmp_path):
    """The help of the command promises this. The folder's name is the label, and a split once given stays."""
    store, folder = Store.open(tmp_path / "headwater.db"), tmp_path / "photos"

    def run() -> Ingested:
        return ingest(store, read_sources([str(folder)]), task="animals")

    for seed in range(3):
        file = folder / "cat" / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo(seed))
    first = run()
    assert (first.new, first.known, first.labelled) == (3, 0, 3)
    splits = {row["id"]: row["split"] for row in store.labels.get("animals").to_pylist()}
    (folder / "dog").mkdir()
    (folder / "cat" / "1.png").rename(folder / "dog" / "1.png")
    (folder / "dog" / "3.png").write_bytes(photo(3))
    again = run()
    assert (again.new, again.known, again.labelled) == (1, 3, 2)
    rows = {row["id"]: row for row in store.labels.get("animals").to_pylist()}
    assert [rows[asset_id(photo(seed))]["labels"] for seed in range(4)] == [["cat"], ["dog"], ["cat"], ["dog"]]
    assert {id_: rows[id_]["split"] for id_ in splits} == splits
    assert run().labelled == 0


def odd_folder(root: Path) -> dict[str, str]:
    """Make a folder with one photo, a link to one, and what is no file; return the reason for each name that fails."""
    (root / "cat").mkdir(parents=True)
    (root / "cat" / "good.png").write_bytes(photo(0))
    (root / "elsewhere.png").write_bytes(photo(1))
    (root / "cat" / "link.png").symlink_to(root / "elsewhere.png")
    os.mkfifo(root / "cat" / "fifo.png")
    os.mkfifo(root / "cat" / "fifo.parquet")
    (root / "cat" / "zero.png").symlink_to("/dev/zero")
    (root / "cat" / "lost.png").symlink_to("nosuch")
    (root / "cat" / "loop.png").symlink_to("loop.png")
    (root / "cat" / "folder").symlink_to(root)
    with (root / "cat" / "large.png").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (root / "cat" / "text.png").write_text("text")
    return {
        "fifo.png": "not_a_file",
        "fifo.parquet": "not_a_file",
        "zero.png": "not_a_file",
        "folder": "not_a_file",
        "lost.png": "unreadable",
        "loop.png": "unreadable",
        "large.png": "too_large",
        "text.png": "unknown_format",
    }


@pytest.mark.parametrize("reference", [False, True])
def test_what_is_no_file_is_counted_and_blocks_nothing(tmp_path, reference):
    """A link to a file is that file. A link to a folder is not entered: that folder holds everything once more."""
    store, failing = Store.open(tmp_path / "db"), odd_folder(tmp_path / "photos")
    done = ingest(store, read_sources([tmp_path / "photos"]), task="animals", reference=reference)
    assert (done.new, done.labelled, done.quarantined) == (2, 2, len(failing))
    rows = store.quarantine.get("ingest").to_pylist()
    assert {Path(row["key"]).name: row["reason"] for row in rows} == failing
    ids = [asset_id(photo(0)), asset_id(photo(1))]
    assert [data for _, data in store.assets.contents(ids)] == [photo(0), photo(1)]


def test_names_that_are_not_utf8(tmp_path):
    """Such a file is stored under a readable name. No reference to it can be stored."""
    folder = tmp_path / os.fsdecode(b"photos\xff")
    (folder / os.fsdecode(b"caf\xe9")).mkdir(parents=True)
    (folder / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xfe.png")).write_bytes(photo(0))
    for reference in (True, False):
        store = Store.open(tmp_path / f"db{reference}")
        done = ingest(store, read_sources([folder]), task="places", reference=reference)
        assert (done.new, done.quarantined) == ((0, 1) if reference else (1, 0))
    [asset] = store.assets.get([asset_id(photo(0))])
    assert asset.uri.endswith(r"/photos\udcff/caf\udce9/\udcfe.png")
    assert store.labels.get("places")["labels"].to_pylist() == [[r"caf\udce9"]]


def test_rows_of_a_parquet_file_are_stored_with_their_bytes_also_by_reference(tmp_path):
    pq.write_table(pa.table({"image": [photo(0)], "id": ["s3://bucket/x"]}), tmp_path / "a.parquet")
    store = Store.open(tmp_path / "db")
    assert ingest(store, read_sources([tmp_path / "a.parquet"]), reference=True).new == 1
    assert list(store.assets.contents([asset_id(photo(0))])) == [(asset_id(photo(0)), photo(0))]


@pytest.mark.parametrize("split", ["train", "nosuch"])
def test_a_split_that_is_refused_leaves_nothing_stored(tmp_path, split):
    store = Store.open(tmp_path / "db")
    store.labels.put("animals", [Label(asset_id(photo(1)), ["cat"], "test")])
    items = [Item(uri=f"{seed}.png", data=photo(seed), labels=["cat"], split=split) for seed in range(2)]
    with pytest.raises(BadSplit):
        ingest(store, items, task="animals")
    assert store.database.names() == ["labels"]
    assert len(store.labels.get("animals")) == 1


def test_whatever_a_decoder_raises_concerns_its_file_alone(tmp_path, monkeypatch):
    def fail(data, modality=None):
        raise tokenize.TokenError("damaged") if data == photo(1) else StopAsyncIteration

    store = Store.open(tmp_path / "db")
    inspect = services.jobs.ingest.inspect
    monkeypatch.setattr(
        "services.jobs.ingest.inspect", lambda data, *more: inspect(data, *more) if data == photo(0) else fail(data)
    )
    done = ingest(store, [Item(uri=f"{seed}.png", data=photo(seed)) for seed in range(3)])
    assert (done.new, done.quarantined) == (1, 2)


def test_a_damaged_array_leaves_the_others_of_its_ingest(tmp_path):
    store = Store.open(tmp_path / "headwater.db")
    good = [npy(np.full((6, 8), seed, np.float32)) for seed in range(3)]
    bad = b"\x93NUMPY\1\0" + struct.pack("<H", 100) + 100 * b"("  # NumPy raises tokenize.TokenError
    items = [Item(uri=f"{i}.npy", data=data) for i, data in enumerate([*good[:2], bad, good[2]])]
    done = ingest(store, items, modality="depth")
    assert (done.new, done.quarantined) == (3, 1)
    [entry] = store.quarantine.get().to_pylist()
    assert (entry["key"], entry["reason"]) == ("2.npy", "truncated")
    assert "TokenError" in entry["message"]
