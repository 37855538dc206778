"""Backfills of an encoder with several lanes: its batches overlap, and the rows stay in order."""

import threading

import numpy as np
import pytest
from helpers.blocks import Blocks
from helpers.paced import PacedBlocks
from helpers.pictures import photo

from embedder.encoder import Pace
from embedder.media import DEFAULT_LIMITS
from embedder.media.image import decode
from services.jobs.backfill import stages
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from store import Item, Store, asset_id


@pytest.fixture
def store(tmp_path):
    opened = Store.open(tmp_path / "headwater.db")
    ingest(opened, [Item(uri=f"{seed}.png", data=photo(seed)) for seed in range(20)])
    return opened


def reference(encoder, seed):
    return Blocks().embed(encoder.prepare(decode(photo(seed)).image)[None]).vectors[0]


def check(store, encoder):
    ids, X = store.features("blocks").get([asset_id(photo(seed)) for seed in range(20)])
    wanted = {asset_id(photo(seed)): reference(encoder, seed) for seed in range(20)}
    assert len(ids) == 20
    for id_, x in zip(ids, X, strict=True):
        np.testing.assert_allclose(x, wanted[id_], rtol=1e-6)


def test_as_many_batches_are_under_way_as_there_are_lanes(store):
    both = threading.Barrier(2, timeout=20)  # two batches that ran one after the other would time out here
    encoder = PacedBlocks(Pace(4, 2), lambda number: both.wait() if number < 4 else None)
    done = backfill(store, encoder)
    assert done.done == 20
    assert encoder.batches[-5:] == [4] * 5
    assert encoder.most_under_way == 2
    check(store, encoder)


def test_with_one_lane_a_batch_waits_for_the_one_before(store):
    encoder = PacedBlocks(Pace(4, 1))
    backfill(store, encoder)
    assert encoder.most_under_way == 1
    check(store, encoder)


def test_batches_that_end_in_another_order_keep_their_rows(store):
    later = threading.Event()

    def second_first(number):
        if number == 0:
            assert later.wait(20)
        elif number == 1:
            later.set()

    encoder = PacedBlocks(Pace(4, 2), second_first)
    assert backfill(store, encoder).done == 20
    check(store, encoder)


@pytest.mark.parametrize(("lanes", "batch", "sizes"), [(2, 0, [8, 8, 4]), (2, 15, [15, 5]), (1, 3, [3] * 6 + [2])])
def test_the_size_of_a_batch_is_the_encoders_own_unless_one_is_named(store, lanes, batch, sizes):
    encoder = PacedBlocks(Pace(8, lanes))
    backfill(store, encoder, batch=batch)
    assert encoder.batches[-len(sizes) :] == sizes


def test_the_encoding_threads_are_as_many_as_the_lanes_and_busy_no_longer_than_the_run(store):
    encoder = PacedBlocks(Pace(2, 3), hold=lambda number: threading.Event().wait(0.02))
    done = backfill(store, encoder)
    encode = done.profile.stages(done.seconds)["encode"]
    assert encode.threads == 3
    assert 0 < encode.busy <= 3 * done.seconds
    assert encode.busy + encode.waiting == pytest.approx(3 * done.seconds)
    assert done.profile.limit(done.seconds)[1] <= 1


def test_a_failing_batch_ends_the_backfill_and_leaves_no_thread(store):

    def third_fails(number):
        if number == 2:
            raise RuntimeError("device gone")

    encoder = PacedBlocks(Pace(4, 2), third_fails)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="device gone"):
        backfill(store, encoder)
    assert threading.active_count() == before
    encoder._hold = lambda number: None
    backfill(store, encoder)
    check(store, encoder)


@pytest.mark.parametrize(("batch", "ahead", "step"), [(32, 128, 64), (1024, 2048, 1024)])
def test_two_batches_may_wait_for_the_encoder(store, monkeypatch, batch, ahead, step):
    bounds = []

    def noted(*arguments):
        bounds.append(arguments[-1])
        return iter(())

    monkeypatch.setattr(stages, "map_ahead", noted)
    monkeypatch.setattr(stages, "read_ahead", lambda items, bound, note: bounds.append(bound))
    encoder = PacedBlocks(Pace(batch, 2))
    job = stages.Job(store, encoder, None, None, batch=0, limits=DEFAULT_LIMITS)
    job.__dict__["short_side"] = None
    job.prepared(None, "image", ["a"])
    assert [(bound.items, bound.bytes) for bound in bounds] == [(step, step << 20), (ahead, ahead << 21)]
