"""A backfill whose encoder decodes JPEGs in batches gives the same vectors and the same failures."""

import numpy as np
import pytest
from helpers.jpegs import Batched, damaged_inside, jpeg, of_kind
from helpers.pictures import photo

from embedder.encoder import JPEG_BATCH
from embedder.media import Limits
from embedder.media.plain_jpegs import KINDS
from services.jobs.backfill import jpegs
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from store import Item, Store, asset_id

FILES = [
    *(of_kind(KINDS[seed % len(KINDS)], 160 + seed, 120, seed) for seed in range(JPEG_BATCH + 20)),
    *(photo(seed) for seed in range(10)),
    *(jpeg(200, 160, seed, orientation=seed + 1) for seed in range(8)),
    jpeg(200, 160, mode="CMYK"),
    jpeg(40, 30),
    damaged_inside(jpeg(320, 240, quality=95)),
]
BROKEN = [jpeg(200 + at, 160, at)[: -300 * at] for at in (1, 2, 3)]


def mixed() -> list[bytes]:
    """Return all files, the broken ones between the good ones."""
    files = [*FILES]
    for at, broken in enumerate(BROKEN):
        files.insert(20 * at + 5, broken)
    return files


@pytest.fixture
def stores(tmp_path) -> list[Store]:
    made = [Store.open(tmp_path / name) for name in ("one_by_one", "batched")]
    for store in made:
        ingest(store, [Item(uri=f"{at}", data=data) for at, data in enumerate(mixed())])
    return made


def test_vectors_and_failures_are_those_of_decoding_one_by_one(stores, lite0):
    encoder = Batched(lite0, side=60)
    single, batched = (backfill(store, each) for store, each in zip(stores, (lite0, encoder), strict=True))
    assert (batched.total, batched.done) == (single.total, single.done) == (len(FILES) + 3, len(FILES))
    failures = [
        [(each["key"], each["reason"], each["message"]) for each in store.quarantine.get().to_pylist()]
        for store in stores
    ]
    assert sorted(failures[0]) == sorted(failures[1])
    assert {key for key, _, _ in failures[1]} == {asset_id(data) for data in BROKEN}
    ids = [asset_id(data) for data in FILES]
    a, b = (store.features("lite0").get(ids)[1].astype(float) for store in stores)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.999
    [decoder] = encoder.decoders
    assert decoder.made == JPEG_BATCH + 20 + 8 + 1
    assert max(decoder.batches) > JPEG_BATCH // 2


def test_the_profile_counts_every_image(stores, lite0):
    encoder = Batched(lite0, side=60)
    done = backfill(stores[1], encoder)
    assert done.profile.items["decode"] == done.total
    assert done.profile.items["prepare"] == done.done
    assert done.profile.stages(done.seconds)["decode"].threads == 2


def test_rows_keep_the_order_of_the_assets_even_if_batches_are_small(stores, lite0, monkeypatch):
    monkeypatch.setattr(jpegs, "BATCH_BYTES", 1)
    encoder = Batched(lite0, side=60)
    backfill(stores[1], encoder)
    assert max(encoder.decoders[0].batches) == 1
    ids = [asset_id(data) for data in FILES[:3]]
    backfill(stores[0], lite0)
    a, b = (store.features("lite0").get(ids)[1].astype(float) for store in stores)
    assert ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min() > 0.999


def test_limits_hold_for_files_in_batches_too(tmp_path, lite0):
    store = Store.open(tmp_path / "store")
    ingest(store, [Item(uri=f"{at}", data=jpeg(200 + at, 160, at)) for at in range(4)])
    done = backfill(store, Batched(lite0), limits=Limits(max_pixels=202 * 160))
    assert (done.done, done.quarantined) == (3, 1)
    assert [each["reason"] for each in store.quarantine.get().to_pylist()] == ["too_many_pixels"]
