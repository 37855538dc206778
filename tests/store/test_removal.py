"""Removal of assets: afterwards no table of the store has a row of them, and all other rows are as before."""

import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Label, Quarantined, Store
from store.errors import UnknownId
from store.removal import remove_assets

ASSETS = make_assets(12)
IDS = [asset.id for asset in ASSETS]


def fill(store: Store) -> None:
    store.assets.add(ASSETS)
    store.ensure_features("toy", toy_spec(), PROBE).put(IDS, make_vectors(12))
    store.ensure_features("other", toy_spec("v"), PROBE).put(IDS, make_vectors(12))
    store.ensure_tokens("toy", toy_spec()).put(IDS, np.zeros((12, 3, 4), np.float16))
    for label in "xy":
        store.labels.put("t", [Label(id_, [label]) for id_ in IDS])
    store.labels.put("u", [Label(id_, ["z"]) for id_ in IDS])
    store.quarantine.put([Quarantined(id_, "embed:0", "r") for id_ in IDS])


def bytes_under(store: Store) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path(store.uri).rglob("*")) if path.is_file())


def ids_of_every_table(store: Store) -> dict[str, set[str]]:
    tables = {name: store.database.open(name) for name in store.database.names()}
    keys = {name: "key" if name == "quarantine" else "id" for name in tables}
    return {name: set(table.to_arrow()[keys[name]].to_pylist()) for name, table in tables.items()}


def test_no_table_keeps_a_row_and_no_file_the_bytes(store: Store) -> None:
    fill(store)
    before = ids_of_every_table(store)
    assert len(before) == 7
    assert all(ids == set(IDS) for ids in before.values())
    removed = remove_assets(store, [*IDS[:5], IDS[0]])
    assert set(removed) == set(before)
    assert removed["labels"] == 10
    assert all(ids == set(IDS[5:]) for ids in ids_of_every_table(store).values())
    assert b"image 0" in bytes_under(store)  # an older version has them still
    store.purge()
    assert b"image 0" not in bytes_under(store)
    assert b"image 5" in bytes_under(store)
    assert all(ids == set(IDS[5:]) for ids in ids_of_every_table(store).values())


def test_a_purge_leaves_no_byte_of_one_asset_among_many(store: Store) -> None:
    """Compaction alone would leave the files: less than a tenth of their rows is removed."""
    assets, X = make_assets(400), make_vectors(400)
    store.assets.add(assets)
    features = store.ensure_features("toy", toy_spec(), PROBE)
    features.put([asset.id for asset in assets], X)
    remove_assets(store, [assets[0].id])
    assert b"image 0" in bytes_under(store)
    assert X[0].tobytes() in bytes_under(store)
    store.purge()
    assert b"image 0" not in bytes_under(store)
    assert X[0].tobytes() not in bytes_under(store)
    assert X[399].tobytes() in bytes_under(store)
    assert (store.assets.table.count(), features.table.count()) == (399, 399)


def test_an_unknown_asset_is_named_and_nothing_is_removed(store: Store) -> None:
    fill(store)
    before = store.snapshot().versions
    with pytest.raises(UnknownId, match="f" * 64):
        remove_assets(store, [IDS[0], "f" * 64])
    assert store.snapshot().versions == before


KILLED = """
import os, signal, sys
from store import Store
from store.lance.table import Table
from store.removal import remove_assets
left, whole = int(sys.argv[2]), Table.delete
def delete(self, where):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return whole(self, where)
Table.delete = delete
remove_assets(Store.open(sys.argv[1]), sys.argv[3:])
"""


@pytest.mark.parametrize("deletes", [1, 4, 6])
def test_a_removal_that_was_killed_is_finished_by_the_next(
    start_python: Callable[..., "Popen[str]"], store: Store, deletes: int
) -> None:
    """Whatever is left, the asset itself is still there, so that it can be named again."""
    fill(store)
    killed = start_python(KILLED, store.uri, deletes, *IDS[:3])
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert set(IDS) == store.assets.exists(IDS)
    assert sum(ids == set(IDS) for ids in ids_of_every_table(store).values()) == 7 - deletes
    remove_assets(store, IDS[:3])
    assert all(ids == set(IDS[3:]) for ids in ids_of_every_table(store).values())
