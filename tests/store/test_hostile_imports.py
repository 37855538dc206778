"""An export from a stranger: nothing in it is believed, and an import that is refused leaves nothing stored."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

from store import Asset, Label, Quarantined, Store, StoreError, interchange
from store.errors import BadSource, UntrustedReferences

ASSETS = make_assets(20)
IDS = [asset.id for asset in ASSETS]
FEATURES = f"features_{toy_spec().fingerprint[:12]}"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A good export, to be spoilt."""
    store = Store.open(tmp_path / "theirs")
    store.assets.add(ASSETS)
    store.labels.put("t", [Label(id_, ["x"], "train") for id_ in IDS])
    store.quarantine.put([Quarantined("a", "ingest", "empty")])
    store.ensure_features("toy", toy_spec(), PROBE).put(IDS, make_vectors(20))
    interchange.export_parquet(store, tmp_path / "export")
    return tmp_path / "export"


def change(path: Path, column: str, values: Callable[[list[object]], object]) -> None:
    """Write the Parquet file again with other values in the last row of a column."""
    table = pq.read_table(path)
    field = table.schema.field(column).with_nullable(True)
    if pa.types.is_list(field.type):
        field = field.with_type(pa.list_(field.type.value_type))  # whose elements may be null
    column_values = table[column].to_pylist()
    new = pa.array([*column_values[:-1], values(column_values)], field.type)
    pq.write_table(table.set_column(table.schema.names.index(column), field, new), path)


def refer(export: Path, uri: str) -> None:
    """Let the last asset of the export have no bytes, but a uri."""
    change(export / "assets.parquet", "content", lambda _: None)
    change(export / "assets.parquet", "uri", lambda _: uri)


def refused(export: Path, folder: Path, **options: object) -> str:
    """Import and return the reason for the refusal. Nothing of the import may be stored."""
    store = Store.open(folder)
    with pytest.raises(StoreError) as caught:
        interchange.import_parquet(store, export, **options)  # type: ignore[arg-type]
    assert store.database.names() == []
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite_identity(path: Path, edit: Callable[[dict[str, object]], object]) -> None:
    table = pq.read_table(path)
    record = json.loads((table.schema.metadata or {})[b"headwater"])
    changed = edit(record)
    pq.write_table(table.replace_schema_metadata({"headwater": changed}), path)


def _resize(path: Path) -> None:
    table = pq.read_table(path)
    narrow = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(60, np.float32)), 3)
    pq.write_table(table.set_column(1, table.schema.names[1], narrow), path)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "bytes of another asset": (lambda e: change(e / "assets.parquet", "content", lambda _: b"x"), "that digest"),
    "no modality": (lambda e: change(e / "assets.parquet", "modality", lambda _: None), "rows without modality"),
    "a strange modality": (lambda e: change(e / "assets.parquet", "modality", lambda _: "z" * 10**6), "modality 'zz"),
    "no id": (lambda e: change(e / "assets.parquet", "id", lambda _: None), "rows without id"),
    "a strange split": (lambda e: change(e / "labels.parquet", "split", lambda _: "mine"), "no split 'mine'"),
    "no task": (lambda e: change(e / "labels.parquet", "task", lambda _: ""), "must not be empty"),
    "an empty label": (lambda e: change(e / "labels.parquet", "labels", lambda _: [""]), "non-empty strings"),
    "a label that is null": (lambda e: change(e / "labels.parquet", "labels", lambda _: [None]), "rows without labels"),
    "NaN": (lambda e: change(e / f"{FEATURES}.parquet", "vector", lambda v: [np.nan] * 8), "not finite"),
    "infinity": (lambda e: change(e / f"{FEATURES}.parquet", "vector", lambda v: [np.inf] * 8), "not finite"),
    "another width": (lambda e: _resize(e / f"{FEATURES}.parquet"), "is damaged"),
    "no identity": (lambda e: rewrite_identity(e / f"{FEATURES}.parquet", lambda r: "[]"), "does not say which"),
    "brackets": (lambda e: rewrite_identity(e / f"{FEATURES}.parquet", lambda r: "[" * 10**6), "does not say which"),
    "a probe that is none": (
        lambda e: rewrite_identity(e / f"{FEATURES}.parquet", lambda r: json.dumps(r | {"probe_shape": [24]})),
        "no matrix of finite numbers",
    ),
    "another name": (lambda e: (e / f"{FEATURES}.parquet").rename(e / "features_x.parquet"), "was renamed"),
    "a FIFO": (lambda e: (e / "labels.parquet").unlink() or os.mkfifo(e / "labels.parquet"), "but a FIFO"),
    "a folder": (lambda e: (e / "tokens_x.parquet").mkdir(), "but a folder"),
    "another table's columns": (
        lambda e: shutil.copy(e / "labels.parquet", e / "quarantine.parquet"),
        "has the columns id, task",
    ),
    "a cut file": (lambda e: os.truncate(e / "labels.parquet", 200), "not a Parquet file"),
}


@pytest.mark.parametrize("how", SPOILERS)
def test_what_is_wrong_in_any_table_is_found_before_anything_is_written(export: Path, tmp_path: Path, how: str) -> None:
    spoil, reason = SPOILERS[how]
    spoil(export)
    assert reason in refused(export, tmp_path / "ours")


def test_a_good_export_is_taken_as_a_whole(export: Path, tmp_path: Path) -> None:
    assert interchange.import_parquet(Store.open(tmp_path / "ours"), export)["assets"] == 20


@pytest.mark.parametrize("position", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", ["assets", "labels", FEATURES])
def test_bytes_changed_anywhere_are_refused_or_harmless(
    export: Path, tmp_path: Path, name: str, position: float
) -> None:
    """Twenty bytes of one file are overwritten. What is stored has the right digests, splits and numbers."""
    path = export / f"{name}.parquet"
    data = bytearray(path.read_bytes())
    at = int(len(data) * position)
    data[at : at + 20] = np.random.default_rng(at).bytes(20)
    path.write_bytes(bytes(data))
    store = Store.open(tmp_path / "ours")
    try:
        interchange.import_parquet(store, export)
    except StoreError:
        assert store.database.names() == []
        return
    contents = store.assets.contents(store.assets.ids().to_pylist())
    assert all(isinstance(content, bytes) for _, content in contents)
    assert np.isfinite(store.features(toy_spec().fingerprint).get(IDS)[1]).all()


def test_a_frozen_split_is_found_before_anything_is_written(export: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "ours")
    store.labels.put("t", [Label(IDS[-1], ["x"], "test")])
    with pytest.raises(StoreError, match="stored as test, now given as train"):
        interchange.import_parquet(store, export)
    assert store.database.names() == ["labels"]
    assert len(store.labels.get("t")) == 1


URIS = [
    "/etc/hostname",
    "../theirs",
    "s3://bucket/x?endpoint_override=http://127.0.0.1:1",
    "file://host/x",
    "https://x/y",
]


@pytest.mark.parametrize("uri", ["photos/a.jpg", *URIS])
def test_references_are_not_taken_unless_they_are_trusted(export: Path, tmp_path: Path, uri: str) -> None:
    refer(export, uri)
    with pytest.raises(UntrustedReferences, match="has assets by reference"):
        interchange.import_parquet(Store.open(tmp_path / "a"), export)
    reason = refused(export, tmp_path / "b")
    assert uri in reason
    assert "Export a store that holds the bytes" in reason


@pytest.mark.parametrize("uri", URIS)
def test_trusted_references_stay_on_this_machine_and_below_the_root(export: Path, tmp_path: Path, uri: str) -> None:
    refer(export, uri)
    reason = refused(export, tmp_path / "ours", trust_references=True)
    assert "leads out of" in reason or "only refer to a local file" in reason


def test_a_trusted_reference_is_read_below_the_root_only(export: Path, tmp_path: Path) -> None:
    photo = export / "photos" / "a.jpg"
    photo.parent.mkdir()
    photo.write_bytes(ASSETS[-1].content or b"")
    refer(export, "photos/a.jpg")
    store = Store.open(tmp_path / "ours")
    interchange.import_parquet(store, export, trust_references=True)
    [asset] = store.assets.get([IDS[-1]])
    assert asset.uri == f"{export}/./photos/a.jpg"
    assert [data for _, data in store.assets.contents(IDS)] == [each.content for each in ASSETS]
    photo.rename(tmp_path / "elsewhere")
    photo.symlink_to(tmp_path / "elsewhere")  # the right bytes, but outside
    *_, (_, data) = store.assets.contents(IDS)
    assert "passes the link" in str(data)


def test_a_fifo_or_a_device_is_refused_and_does_not_block(export: Path, tmp_path: Path) -> None:
    os.mkfifo(export / "fifo")
    (export / "zero").symlink_to("/dev/zero")
    for uri, reason in (("fifo", "not a regular file"), ("zero", "leads out of")):
        refer(export, uri)
        assert reason in refused(export, tmp_path / "ours", trust_references=True)
    refer(export, "/dev/zero")
    assert "not a regular file" in refused(export, tmp_path / "ours", trust_references=True, roots=["/dev"])


def test_an_import_changes_no_reference_that_is_stored(export: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jpg"
    own.write_bytes(ASSETS[-1].content or b"")
    store = Store.open(tmp_path / "ours")
    store.assets.add([Asset(IDS[-1], str(own), "image", "image/png")])
    refer(export, "photos/other.jpg")
    assert interchange.import_parquet(store, export, trust_references=True)["assets"] == 19
    assert store.assets.get([IDS[-1]])[0].uri == str(own)


def test_bad_source_is_what_a_caller_can_catch() -> None:
    assert issubclass(UntrustedReferences, BadSource)
