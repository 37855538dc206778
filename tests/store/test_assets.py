import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec

import store.tables.assets as assets_module
from store import Added, Asset, Quarantined, Store, asset_id
from store.errors import AmbiguousId, ContentChanged, UnknownId
from store.lance import handles


def test_adding_twice_stores_once(store: Store) -> None:
    assets = make_assets(20)
    assert store.assets.add(assets[:10] + assets[:5]) == Added(new=10, known=5)
    assert store.assets.add(iter(assets)) == Added(new=10, known=10)
    assert store.assets.add([]) == Added(0, 0)
    assert store.assets.count() == 20
    assert store.assets.exists([assets[3].id, "nope"]) == {assets[3].id}


def test_what_was_stored_comes_back(store: Store) -> None:
    full = Asset("a" * 64, "s3://b/x.wav", "audio", "audio/wav", None, None, 1.5, b"\x00\xff")
    store.assets.add([full, *make_assets(2)])
    assert store.assets.get([full.id]) == [dataclasses.replace(full, content=None)]
    with pytest.raises(UnknownId, match="no such asset: nope"):
        store.assets.get(["nope"])
    added = store.assets.table.read(["added_at"])["added_at"][0].as_py()
    assert timedelta(0) <= datetime.now(UTC) - added < timedelta(minutes=1)


def test_contents_keep_the_order_asked_and_errors_stay_alone(store: Store) -> None:
    assets = make_assets(150)  # more than two reads
    store.assets.add(assets)
    asked = [a.id for a in assets[::-1]]
    asked[70:70] = ["nope", asked[0], asked[0]]
    got = list(store.assets.contents(asked))
    contents = {a.id: a.content for a in assets}
    assert [id_ for id_, _ in got] == asked
    for id_, data in got:
        if id_ == "nope":
            assert isinstance(data, UnknownId)
        else:
            assert data == contents[id_]


def test_large_contents_are_read_a_few_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [10] * 8 + [100_000] * 40
    contents = [i.to_bytes(2, "big") + bytes(n - 2) for i, n in enumerate(sizes)]
    assets = [Asset(asset_id(data), "mem", "image", "image/png", content=data) for data in contents]
    store.assets.add(assets)
    read: list[int] = []
    found = handles.rows_of
    monkeypatch.setattr(
        handles, "rows_of", lambda handle, ids, *rest: read.append(len(ids)) or found(handle, ids, *rest)
    )
    monkeypatch.setattr(assets_module, "READ_BYTES", 300_000)
    ids = [a.id for a in assets]
    assert [(id_, len(data)) for id_, data in store.assets.contents(ids)] == list(zip(ids, sizes, strict=True))
    assert read == [8, 16, *[2] * 12]


def test_contents_beyond_the_in_filter(store: Store) -> None:
    assets = make_assets(1500)
    store.assets.add(assets)
    asked = [a.id for a in assets[::-1]] + ["nope"]
    got = list(store.assets.contents(asked))
    assert [data for _, data in got[:-1]] == [a.content for a in assets[::-1]]
    assert isinstance(got[-1][1], UnknownId)


def test_contents_of_an_empty_store(store: Store) -> None:
    [(id_, error)] = store.assets.contents(["a"])
    assert id_ == "a"
    assert isinstance(error, UnknownId)


def test_references_are_read_where_they_are(store: Store, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("good.bin", "changed.bin", "gone.bin")]
    ids = []
    for path in paths:
        path.write_bytes(path.name.encode())
        ids.append(asset_id(path.name.encode()))
    uris = [str(paths[0]), paths[1].as_uri(), str(paths[2])]
    store.assets.add([Asset(i, uri, "image", "image/png") for i, uri in zip(ids, uris, strict=True)])
    paths[1].write_bytes(b"other")
    paths[2].unlink()
    good, changed, gone = (data for _, data in store.assets.contents(ids))
    assert good == b"good.bin"
    assert isinstance(changed, ContentChanged)
    assert "has changed: it is asset" in str(changed)
    assert isinstance(gone, ContentChanged)
    assert "cannot be read" in str(gone)


def test_a_write_holds_a_bounded_chunk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets_module, "CHUNK_BYTES", 50)
    given = make_assets(30)
    drawn = []

    def draw() -> object:
        for asset in given:
            drawn.append((asset, store.assets.count()))
            yield asset

    assert store.assets.add(draw()).new == 30  # type: ignore[arg-type]  # a generator of assets
    # While the last record is drawn, all but the open chunk (50 bytes, 7 records) is stored already.
    assert drawn[-1][1] >= 30 - 7 - 1


def test_missing_with_tokens_is_what_lacks_either(store: Store) -> None:
    """Tokens are written before vectors: a process killed in between leaves tokens without a vector."""
    assets = make_assets(4)
    store.assets.add(assets)
    ids, fingerprint = [asset.id for asset in assets], toy_spec().fingerprint
    features = store.ensure_features("toy", toy_spec(), PROBE)
    features.put(ids[:2], make_vectors(2))
    assert store.missing(fingerprint, tokens=True) == ids
    store.ensure_tokens("toy", toy_spec()).put(ids[1:3], np.zeros((2, 3, 4)))
    assert store.missing(fingerprint, tokens=True) == [ids[0], ids[2], ids[3]]
    assert store.missing(fingerprint) == ids[2:]


def test_missing_is_an_anti_join_without_quarantine(store: Store) -> None:
    from helpers.toystore import PROBE, make_vectors, toy_spec

    assets = make_assets(10)
    sound = Asset("f" * 64, "x.wav", "audio", "audio/wav")
    store.assets.add([*assets, sound])
    ids = [a.id for a in assets]
    fingerprint = toy_spec().fingerprint
    assert store.missing(fingerprint) == ids
    store.ensure_features("toy", toy_spec(), PROBE).put(ids[:4], make_vectors(4))
    store.quarantine.put([Quarantined(ids[5], f"embed:{fingerprint[:12]}", "truncated", "m")])
    store.quarantine.put([Quarantined(ids[6], "embed:of another", "truncated", "m")])
    assert store.missing(fingerprint) == [ids[4], *ids[6:]]
    assert store.missing(fingerprint, retry_quarantined=True) == ids[4:]
    assert store.missing(fingerprint, tokens=True) == [*ids[:5], *ids[6:]]
    assert store.missing(fingerprint, stage="embed:of another") == [ids[4], ids[5], *ids[7:]]
    assert store.missing(fingerprint, modality="audio") == [sound.id]


def test_quarantine_counts_tries_and_forgets(store: Store) -> None:
    put, get = store.quarantine.put, store.quarantine.get
    assert put([Quarantined("a'b", "ingest", "truncated", "first")]) == 1
    assert put([Quarantined("a'b", "ingest", "empty", "then"), Quarantined("c", "other", "empty", "x")]) == 2
    rows = {row["key"]: row for row in get().to_pylist()}
    assert (rows["a'b"]["tries"], rows["a'b"]["reason"], rows["a'b"]["message"]) == (2, "empty", "then")
    assert rows["c"]["tries"] == 1
    assert rows["c"]["at"].utcoffset() == timedelta(0)
    assert store.quarantine.count("ingest") == 1
    store.quarantine.clear(["a'b", "c", "unknown"], "ingest")
    assert get()["key"].to_pylist() == ["c"]
    assert put([]) == 0


def test_an_asset_is_found_by_id_prefix_path_and_name(store: Store, tmp_path: Path) -> None:
    one, two = (
        Asset(asset_id(bytes([i])), str(tmp_path / f"{name}/it's.jpg"), "image", "image/jpeg", content=bytes([i]))
        for i, name in enumerate("ab")
    )
    store.assets.add([one, two])
    for text in (one.id, one.id[:6], one.uri, "a/it's.jpg"):
        assert store.assets.find(text) == one.id
    for text in (one.id[:5], "other.jpg", "t's.jpg", "", "%", "0" * 64):
        with pytest.raises(UnknownId):
            store.assets.find(text)
    with pytest.raises(AmbiguousId, match=f"{one.id}, {two.id}"):
        store.assets.find("it's.jpg")
    assert store.assets.page("image", start=1, rows=5) == [Asset(**{**dataclasses.asdict(two), "content": None})]
    assert store.assets.page("audio") == []
