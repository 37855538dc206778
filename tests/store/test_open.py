import subprocess
import sys
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest
from helpers.paths import ROOT
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Label, Snapshot, Store
from store.errors import NoStore, StoreError, UnknownFeatures, UnknownTask, WrongSchema


def test_an_absent_store_reads_as_empty_and_is_not_made(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "absent")
    assert store.assets.count() == 0
    assert store.assets.exists(["a"]) == set()
    assert list(store.labels.tasks()) == []
    assert store.encoders() == []
    assert store.missing("0" * 64) == []
    assert store.snapshot().versions == {}
    store.optimize()
    assert not (tmp_path / "absent").exists()


def test_a_store_that_must_exist_is_named_when_it_does_not(tmp_path: Path) -> None:
    with pytest.raises(NoStore, match=r"there is no store at .*absent; ingest assets there first") as caught:
        Store.open(tmp_path / "absent", must_exist=True)
    assert caught.value.uri == str(tmp_path / "absent")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"x")
    with pytest.raises(NoStore, match=r"photos has no tables of a store; ingest assets there first") as caught:
        Store.open(tmp_path / "photos", must_exist=True)
    assert caught.value.uri == str(tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.png"]
    Store.open(tmp_path / "absent").assets.add(make_assets(1))
    assert Store.open(tmp_path / "absent", must_exist=True).assets.count() == 1


@pytest.mark.parametrize("must_exist", [True, False])
def test_no_name_is_no_store_and_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, must_exist: bool
) -> None:
    Store.open(tmp_path).assets.add(make_assets(1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NoStore, match=r"^no store is chosen$") as caught:
        Store.open("", must_exist=must_exist)
    assert caught.value.uri == ""
    assert Store.open(".", must_exist=must_exist).assets.count() == 1


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(StoreError, match=r"photo\.jpg is a file"):
        Store.open(tmp_path / "photo.jpg")


def test_unknown_names_say_what_there_is(store: Store) -> None:
    with pytest.raises(UnknownTask, match="tasks in this store: none"):
        store.labels.get("t")
    store.labels.put("cats", [Label("a", ["x"])])
    with pytest.raises(UnknownTask, match="cats"):
        store.labels.get("t")
    store.ensure_features("toy", toy_spec(), PROBE)
    with pytest.raises(UnknownFeatures, match="stored encoders: toy"):
        store.matrix("cats", ["other"])


def test_foreign_tables_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    database = lancedb.connect(tmp_path / "db")
    database.create_table("assets", pa.table({"id": [1, 2], "vector": [1.0, 2.0]}))
    database.create_table("features_0123456789ab", pa.table({"id": ["a"], "vector": [1.0]}))
    store = Store.open(tmp_path / "db")
    with pytest.raises(WrongSchema, match=r"'assets'.*Headwater did not create it"):
        store.assets.add(make_assets(1))
    with pytest.raises(WrongSchema, match="'assets'"):
        store.assets.count()
    with pytest.raises(WrongSchema, match="does not say which encoder"):
        store.encoders()
    assert database.open_table("assets").count_rows() == 2


def test_any_uri_of_lancedb_works(tmp_path: Path) -> None:
    assets = make_assets(3)
    for uri in ("memory://", f"file://{tmp_path}/by-uri"):
        store = Store.open(uri)
        assert store.assets.add(assets).new == 3
        features = store.ensure_features("toy", toy_spec(), PROBE)
        assert features.put([a.id for a in assets], make_vectors(3)) == 3
        assert store.features("toy").rows == 3
        assert store.missing(toy_spec().fingerprint) == []
    assert Store.open(tmp_path / "by-uri").assets.count() == 3


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store.open("~/db").assets.add(make_assets(1))
    assert (tmp_path / "db").is_dir()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99, "at": "2026-01-01", "versions": {}}'])
def test_a_snapshot_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Snapshot.from_json(text)


def test_the_rest_client_of_lancedb_is_imported_at_its_first_use(tmp_path: Path) -> None:
    code = (
        "import sys; from store import Store; from store.lance.rest_client import PACKAGE;"
        "Store.open(sys.argv[1]).optimize(); Store.open(sys.argv[1]).encoders(); import lancedb;"
        "before = f'{PACKAGE}.api' in sys.modules; client = sys.modules[PACKAGE];"
        "print(before, client.ApiClient.__name__, f'{PACKAGE}.api' in sys.modules, hasattr(client, 'nothing'))"
    )
    (tmp_path / "db").mkdir()
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "db")], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False", "ApiClient", "True", "False"], done.stderr
