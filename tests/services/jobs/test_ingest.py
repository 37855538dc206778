"""Ingest: which labels are stored of what."""

from helpers.pictures import photo

from services.jobs.ingest import ingest
from store import Item, Store, asset_id


def test_none_of_the_labels_is_stored_and_nothing_known_is_not(tmp_path):
    store = Store.open(tmp_path / "headwater.db")
    given = (["cat", "dog"], [], None)
    items = [Item(uri=f"{seed}.png", data=photo(seed), labels=labels) for seed, labels in enumerate(given)]
    done = ingest(store, items, task="animals")
    assert (done.new, done.labelled) == (3, 2)
    stored = {row["id"]: row["labels"] for row in store.labels.get("animals").to_pylist()}
    assert stored == {asset_id(photo(0)): ["cat", "dog"], asset_id(photo(1)): []}
    assert ingest(store, items, task="animals").labelled == 0
