"""Backfills lose nothing and store nothing twice; broken items are in quarantine. `tests/faults` kills backfills."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import runner
from helpers.faults import decoder_fails, preparation_fails
from helpers.pictures import photo
from helpers.sounds import sound
from threadpoolctl import threadpool_limits

from embedder import cpus, registry
from embedder.encoder import Encoder
from embedder.errors import ProbeMismatch
from embedder.media.image import decode
from services.jobs.backfill.disk_space import Size, require_room
from services.jobs.backfill.local import backfill, open_features
from services.jobs.backfill.prefetch import LEAST, Bound, map_ahead, read_ahead
from services.jobs.ingest import ingest
from store import Item, Store, asset_id
from store.errors import NoRoom


def command(store: Store | str, cache_dir: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    uri = store if isinstance(store, str) else store.uri
    environment = os.environ | {"HEADWATER_CACHE": str(cache_dir)}
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", *arguments, "--store", uri, "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "headwater.db")


def put(store: Store, *images: tuple[str, bytes]) -> None:
    ingest(store, [Item(uri=uri, data=data) for uri, data in images])


def test_vectors_are_those_of_the_encoder(store, lite0: Encoder):
    put(store, *((f"{seed}.png", photo(seed)) for seed in range(40)))
    done = backfill(store, lite0)
    assert (done.total, done.done, done.quarantined) == (40, 40, 0)
    for seed in (0, 39):
        [_], X = store.features("lite0").get([asset_id(photo(seed))])
        wanted = lite0.embed(np.stack([lite0.prepare(decode(photo(seed)).image)])).vectors[0]
        assert X[0] @ wanted / np.linalg.norm(X[0]) / np.linalg.norm(wanted) > 0.9999


def test_the_profile_accounts_for_every_item_and_second(store, lite0: Encoder):
    put(store, *((f"{seed}.png", photo(seed)) for seed in range(70)), ("cut.jpg", photo(2, form="JPEG")[:-200]))
    done = backfill(store, lite0, threads=3)
    assert done.profile.items == {"read": 71, "decode": 71, "prepare": 70, "encode": 70, "write": 70}
    stages = done.profile.stages(done.seconds)
    assert list(stages) == ["read", "decode", "prepare", "encode", "write"]
    assert [each.threads for each in stages.values()] == [1, 3, 3, 1, 1]
    for name in ("read", "encode", "write"):
        assert stages[name].busy + stages[name].waiting == pytest.approx(done.seconds)
        assert stages[name].per_second == pytest.approx(done.profile.items[name] / stages[name].busy)
    pool = stages["decode"]
    assert pool.busy + stages["prepare"].busy + pool.waiting == pytest.approx(3 * done.seconds)
    limit, share = done.profile.limit(done.seconds)
    assert limit in ("read", "decode and prepare", "encode", "write")
    assert 0 < share <= 1


@pytest.mark.parametrize("count", [1, 5])
def test_every_usable_cpu_decodes_unless_another_number_is_asked_for(store, lite0: Encoder, monkeypatch, count):
    monkeypatch.setattr(cpus, "usable", lambda: count)
    assert backfill(store, lite0).profile.decoders == count
    assert backfill(store, lite0, threads=3).profile.decoders == 3


def test_reading_ahead_keeps_the_order_and_never_runs_far_ahead():
    taken: list[int] = []
    items = read_ahead((taken.append(i) or i for i in range(1000)), Bound(10))
    for i in range(995):
        assert next(items) == i
        assert len(taken) <= i + 20
    assert list(items) == list(range(995, 1000))


def test_reading_ahead_hands_on_errors_and_leaves_no_thread():
    def failing():
        yield from range(15)
        raise OSError("disk gone")

    before, items = threading.active_count(), read_ahead(failing(), Bound(10))
    with pytest.raises(OSError, match="disk gone"):
        list(items)
    left = read_ahead(iter(range(100)), Bound(10))
    assert next(left) == 0
    left.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(("items", "size", "most"), [(8, 1, 8), (100, 10, 9), (100, 1000, LEAST)])
def test_what_waits_is_bounded_in_number_and_in_bytes(items, size, most):
    """The bound is 100 bytes. An item has one byte, and its result `size` bytes more."""
    begun: list[int] = []
    contents = [bytes([i]) for i in range(90)]
    bound = Bound(items, 100, lambda held: 1 if isinstance(held, bytes) else size)
    with ThreadPoolExecutor(2) as pool:
        for i, found in enumerate(map_ahead(pool, lambda item: begun.append(1) or item[0], contents, bound)):
            assert found == i
            assert len(begun) <= i + 1 + most
    assert len(begun) == 90


def test_reading_ahead_is_bounded_in_bytes():
    steps: list[int] = []
    contents = [b"x" * 30] * 10 + [b"y" * 1000] * 3
    assert list(read_ahead(iter(contents), Bound(64, 100, len), lambda items, _: steps.append(items))) == contents
    assert steps == [4, 4, 3, 1, 1, 0]


def test_tokens_are_stored_when_asked_for(store, lite0: Encoder):
    put(store, *((f"{seed}.png", photo(seed)) for seed in range(3)))
    assert backfill(store, lite0).done == 3
    assert backfill(store, lite0, tokens=True).done == 3
    [_], T = store.tokens("lite0").get(store.missing("0" * 64)[:1])
    [_], X = store.features("lite0").get(store.missing("0" * 64)[:1])
    np.testing.assert_allclose(T[0].astype(np.float32).mean(axis=0), X[0], atol=0.05)
    assert backfill(store, lite0, tokens=True).total == 0


def test_the_size_of_tokens_is_told_before_they_are_made(cache_dir, store, lite0: Encoder):
    put(store, *((f"{seed}.png", photo(seed)) for seed in range(3)))
    told: list[tuple[int, str]] = []
    backfill(store, lite0, tokens=True, on_progress=lambda now: told.append((now.done, str(now.tokens))))
    assert told[0] == (0, "3 × 125 kB = 376 kB")  # 49 × 1,280 × 2 bytes each
    put(store, ("3.png", photo(3)))
    run = runner({"HEADWATER_CACHE": str(cache_dir), "HEADWATER_STORE": store.uri})
    _, err = run("backfill", "--tokens", "--json")
    assert "tokens will take 1 × 125 kB = 125 kB" in err


def test_a_disk_without_room_is_told_before_anything_is_embedded(store, lite0: Encoder, monkeypatch):
    put(store, *((f"{seed}.png", photo(seed)) for seed in range(3)))
    usage = shutil.disk_usage(store.uri)
    for tokens, free, fits in (
        (False, 30_720, True),
        (False, 30_719, False),
        (True, 783_360, True),
        (True, 783_359, False),
    ):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        if fits:
            require_room(store, [Size(3, 5120), *([Size(3, 125_440)] if tokens else [])])
            continue
        with pytest.raises(NoRoom, match=r"3 × 5.12 kB = 15.4 kB.*make room"):
            backfill(store, lite0, tokens=tokens)
    assert store.features("lite0").rows == 0
    assert require_room(Store.open("memory://elsewhere"), [Size(10**9, 10**6)]) is None


def test_broken_items_go_to_quarantine_and_come_back_when_mended(store, lite0: Encoder, tmp_path):
    """One file is deleted and one is cut off after its header, so both fail only when they are embedded."""
    moved, cut = tmp_path / "moved.png", photo(2, 640, 480, form="JPEG")[:-2000]
    moved.write_bytes(photo(1))
    ingest(store, [Item(uri=str(moved))], reference=True)
    put(store, ("good.png", photo(3)), ("cut.jpg", cut), ("empty.jpg", b""))
    moved.unlink()
    done = backfill(store, lite0)
    assert (done.done, done.quarantined) == (1, 2)
    rows = {row["reason"]: row for row in store.quarantine.get().to_pylist()}
    assert set(rows) == {"empty", "truncated", "unreadable"}
    assert rows["empty"]["key"] == "empty.jpg"
    assert str(moved) in rows["unreadable"]["message"]
    assert backfill(store, lite0).total == 0
    moved.write_bytes(photo(1))
    again = backfill(store, lite0, retry_quarantined=True)
    assert (again.done, again.quarantined) == (1, 1)
    tries = {row["reason"]: row["tries"] for row in store.quarantine.get().to_pylist()}
    assert tries == {"empty": 1, "truncated": 2}


def rows(store: Store, encoder: Encoder) -> int:
    found = {table.fingerprint: table.rows for table in Store.open(store.uri).encoders()}
    return found.get(encoder.spec.fingerprint, 0)


def test_the_command_tells_where_the_time_went(cache_dir, store):
    put(store, *((f"{seed}.png", photo(seed, 24, 16)) for seed in range(40)))
    run = runner({"HEADWATER_CACHE": str(cache_dir), "HEADWATER_STORE": store.uri})
    told = json.loads(run("backfill", "--profile", "--json")[0])
    assert set(told["profile"]) == {"read", "decode", "prepare", "encode", "write"}
    assert set(told["profile"]["encode"]) == {"threads", "busy", "waiting", "per_second"}
    assert told["limit"] in ("read", "decode and prepare", "encode", "write")


def test_two_backfills_at_once_store_every_vector_once(cache_dir, tmp_path):
    store = Store.open(tmp_path / "headwater.db")
    put(store, *((f"{seed}.png", photo(seed, 24, 16)) for seed in range(300)))
    processes = [command(store, cache_dir, "backfill") for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
    ids = [id_ for batch, _ in store.features("lite0").scan() for id_ in batch.to_pylist()]
    assert len(ids) == len(set(ids)) == 300


def test_ctrl_c_ends_with_130_and_what_is_written_stays(cache_dir, lite0, tmp_path):
    store = Store.open(tmp_path / "headwater.db")
    put(store, *((f"{seed}.png", photo(seed, 24, 16)) for seed in range(1100)))
    process = command(store, cache_dir, "backfill")
    while process.poll() is None and rows(store, lite0) == 0:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    assert 0 < rows(store, lite0) < 1100


def test_an_encoder_that_disagrees_with_its_table_may_not_write(store, lite0: Encoder):
    """The table looks as if other weights had made it under the same fingerprint."""
    reference = lite0.reference_probe()
    store.ensure_features("lite0", lite0.spec, np.roll(reference, 1, axis=1))
    with pytest.raises(ProbeMismatch):
        open_features(store, lite0)
    put(store, ("a.png", photo(1)))
    with pytest.raises(ProbeMismatch):
        backfill(store, lite0)
    assert store.features("lite0").rows == 0


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="BLAS has one thread here, whatever is asked")
def test_threads_of_blas_change_no_bit(tmp_path, cache_dir):
    """`melstat` is a matrix product in NumPy: with 2 threads instead of 1, last bits differ in one of 60 sounds."""
    sounds = [Item(uri=f"{seed}.wav", data=sound(seed)) for seed in range(120)]
    melstat = registry.load("melstat", cache_dir=cache_dir)
    found = []
    for threads in (1, 2):
        store = Store.open(tmp_path / str(threads))
        ingest(store, sounds)
        with threadpool_limits(threads, user_api="blas"):
            assert backfill(store, melstat).done == 120
        found.append(store.features("melstat").get(store.missing("0" * 64, modality="audio"))[1])
    np.testing.assert_array_equal(*found)


def test_a_telephone_recording_is_embedded(store):
    kinds = ("GSM610", "G721_32", "NMS_ADPCM_16")
    recordings = [sound(seed, subtype=kind, rate=8_000) for seed, kind in enumerate(kinds)]
    put(store, *((f"{at}.wav", data) for at, data in enumerate([sound(9), *recordings])))
    done = backfill(store, registry.load("melstat"))
    assert (done.done, done.quarantined) == (4, 0)


@pytest.mark.parametrize("fault", [ValueError(), KeyError("odd"), SystemError(), RecursionError(), MemoryError()])
@pytest.mark.parametrize("fails", [decoder_fails, preparation_fails])
def test_a_fault_of_any_class_costs_one_asset(store, fault, fails, monkeypatch):
    put(store, *((f"{seed}.wav", sound(seed)) for seed in range(3)), ("odd.wav", sound(4, seconds=0.77)))
    encoder = registry.load("melstat")
    fails(monkeypatch, round(0.77 * 16_000), fault)
    done = backfill(store, encoder)
    assert (done.done, done.quarantined) == (3, 1)
    [entry] = store.quarantine.get().to_pylist()
    assert entry["key"] == asset_id(sound(4, seconds=0.77))
    assert type(fault).__name__ in entry["message"]
    monkeypatch.undo()
    assert backfill(store, encoder, retry_quarantined=True).done == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_of_the_program_ends_a_backfill(store, stop, monkeypatch):
    put(store, ("odd.wav", sound(4)))
    decoder_fails(monkeypatch, 8_000, stop())
    with pytest.raises(stop):
        backfill(store, registry.load("melstat"))
