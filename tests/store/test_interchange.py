import shutil
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from embedder import folders
from store import Asset, Label, Quarantined, Store, interchange
from store.errors import BadSource, BadSplit, FeaturesMismatch, NoExport

ASSETS = make_assets(30)
IDS = [a.id for a in ASSETS]


@pytest.fixture
def filled(store: Store, tmp_path: Path) -> Store:
    store.assets.add([*ASSETS, Asset("f" * 64, f"{tmp_path}/./far/away.wav", "audio", "audio/wav", seconds=0.5)])
    store.labels.put("t", [Label(id_, ["x", "y"][: i % 3], source="here") for i, id_ in enumerate(IDS)])
    store.quarantine.put([Quarantined("bad.jpg", "ingest", "truncated", "message")] * 2)
    store.ensure_features("toy", toy_spec(), make_vectors(3), dtype="float16").put(IDS, make_vectors(30))
    tokens = np.random.default_rng(0).standard_normal((5, 3, 4))
    store.ensure_tokens("toy", toy_spec()).put(IDS[:5], tokens)
    return store


def take(store: Store, folder: Path) -> dict[str, int]:
    """Import an export of the store `filled`, which has an asset by reference."""
    return interchange.import_parquet(store, folder, trust_references=True, roots=[folder.parent])


def dump(store: Store) -> dict[str, list[tuple[object, ...]]]:
    tables = [store.assets.table, store.labels.table, store.quarantine.table]
    tables += [store.features("toy").table, store.tokens("toy").table]
    return {
        table.name: sorted(map(repr, table.read(table.schema.names).to_pylist()))  # type: ignore[misc]  # rows as text
        for table in tables
    }


def test_everything_comes_back(filled: Store, tmp_path: Path) -> None:
    written = interchange.export_parquet(filled, tmp_path / "out")
    assert sorted(written.values()) == [1, 5, 30, 30, 31]
    files = [path.name for path in (tmp_path / "out").iterdir()]
    assert sorted(files) == sorted([".lock", *(f"{name}.parquet" for name in written)])
    other = Store.open(tmp_path / "other")
    assert take(other, tmp_path / "out") == written
    assert dump(other) == dump(filled)
    assert other.features("toy").spec == toy_spec()
    assert other.features("toy").dtype == "float16"
    np.testing.assert_array_equal(other.features("toy").probe, make_vectors(3))
    # Again: nothing is new.
    assert set(take(other, tmp_path / "out").values()) == {0}
    assert dump(other) == dump(filled)


def test_parquet_is_readable_without_us(filled: Store, tmp_path: Path) -> None:
    interchange.export_parquet(filled, tmp_path)
    table = pq.read_table(tmp_path / f"features_{toy_spec().fingerprint[:12]}.parquet")
    X = np.array(table["vector"].to_pylist(), np.float16)
    order = [IDS.index(id_) for id_ in table["id"].to_pylist()]
    np.testing.assert_array_equal(X, make_vectors(30).astype(np.float16)[order])


def test_import_merges_newer_labels_and_keeps_splits(filled: Store, tmp_path: Path) -> None:
    interchange.export_parquet(filled, tmp_path / "out")
    filled.labels.put("t", [Label(IDS[0], ["later"])])
    take(filled, tmp_path / "out")
    labels = {row["id"]: row["labels"] for row in filled.labels.get("t").to_pylist()}
    assert labels[IDS[0]] == ["later"]
    other = Store.open(tmp_path / "other")
    other.labels.put("t", [Label(IDS[1], ["x"], "ood")])
    with pytest.raises(BadSplit, match="stored as ood, now given as"):
        take(other, tmp_path / "out")


def test_import_refuses_what_it_cannot_trust(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(BadSource, match="is not a folder"):
        interchange.import_parquet(filled, out)
    out.mkdir()
    with pytest.raises(BadSource, match="has no Parquet files"):
        interchange.import_parquet(filled, out)
    (out / "assets.parquet").write_bytes(b"no parquet")
    with pytest.raises(BadSource, match="is not a Parquet file"):
        interchange.import_parquet(filled, out)
    pq.write_table(pa.table({"id": ["a"]}), out / "assets.parquet")
    with pytest.raises(BadSource, match="has the columns id, not id, uri"):
        interchange.import_parquet(filled, out)
    (out / "assets.parquet").rename(out / "holiday.parquet")
    with pytest.raises(BadSource, match="not tables of a store: holiday"):
        interchange.import_parquet(filled, out)


def test_import_checks_contents_and_encoders(filled: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    interchange.export_parquet(filled, out)
    table = pq.read_table(out / "assets.parquet")
    content = pa.array([b"changed", *table["content"].to_pylist()[1:]], pa.large_binary())
    pq.write_table(
        table.set_column(table.schema.get_field_index("content"), "content", content), out / "assets.parquet"
    )
    with pytest.raises(BadSource, match="is damaged: the content of asset"):
        interchange.import_parquet(Store.open(tmp_path / "a"), out)
    (out / "assets.parquet").unlink()
    other = Store.open(tmp_path / "b")
    other.ensure_features("toy", toy_spec(), PROBE, dtype="float16")
    with pytest.raises(FeaturesMismatch, match="probe"):
        interchange.import_parquet(other, out)


def test_export_of_nothing(store: Store, tmp_path: Path) -> None:
    assert interchange.export_parquet(store, tmp_path / "out") == {}
    shutil.rmtree(tmp_path / "out")


EXPORT = """
import sys
from store import Store, interchange
store = Store.open(sys.argv[1])
store.assets.count()
print(flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[3])):
    interchange.export_parquet(store, sys.argv[2])
"""


def make_stores(folder: Path, count: int) -> list[Store]:
    """Return stores of which each has rows of its own in the tables that all have."""
    stores = [Store.open(folder / str(i)) for i in range(count)]
    for i, store in enumerate(stores):
        assets = make_assets(10 + i, start=100 * i)
        store.assets.add(assets)
        store.labels.put("t", [Label(asset.id, [str(i)]) for asset in assets])
    return stores


def of_one_store(out: Path) -> str:
    """Return which store an export shows. All of its files must show the same one."""
    labels = pq.read_table(out / "labels.parquet")
    assert set(labels["id"].to_pylist()) == set(pq.read_table(out / "assets.parquet")["id"].to_pylist())
    [shown] = {name for names in labels["labels"].to_pylist() for name in names}
    return str(shown)


def test_exports_into_one_folder_at_once_do_not_mix(tmp_path: Path, start_python: Callable[..., "Popen[str]"]) -> None:
    out = tmp_path / "out"
    workers = [start_python(EXPORT, store.uri, out, 30) for store in make_stores(tmp_path, 3)]
    for worker in workers:
        assert worker.stdout is not None
        worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    while any(worker.poll() is None for worker in workers):
        with folders.lock(out / ".lock"):
            if len(list(out.glob("*.parquet"))) == 2:
                of_one_store(out)
        time.sleep(0.005)
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert of_one_store(out) in "012"
    assert sorted(path.name for path in out.iterdir()) == [".lock", "assets.parquet", "labels.parquet"]


INTERRUPTED = """
import os, sys
from store import Store, interchange
replace = os.replace
def once(*paths):
    replace(*paths)
    os._exit(9)
os.replace = once
interchange.export_parquet(Store.open(sys.argv[1]), sys.argv[2])
"""


def test_no_import_takes_the_files_of_two_exports(tmp_path: Path, start_python: Callable[..., "Popen[str]"]) -> None:
    """An export over another one ends after its first file. The kills in `tests/faults` hit every other moment."""
    out, (one, two) = tmp_path / "out", make_stores(tmp_path, 2)
    interchange.export_parquet(one, out)
    worker = start_python(INTERRUPTED, two.uri, out)
    worker.communicate(timeout=60)
    assert worker.returncode == 9
    folders.remove_leftovers(out)  # what the next export does first; it may be killed then
    with pytest.raises(NoExport, match="holds files of two exports"):
        interchange.import_parquet(Store.open(tmp_path / "new"), out)
    interchange.export_parquet(two, out)
    assert interchange.import_parquet(Store.open(tmp_path / "new"), out)["assets"] == 11
