"""Ingest stores the labels that folders, files and earlier runs imply."""

import io
import struct

import numpy as np
from helpers.pictures import photo

from services.jobs.ingest import Ingested, ingest
from store import Item, Store, asset_id
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
