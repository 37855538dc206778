"""Jobs on Ray: the rows and heads of one process, whoever is killed on the way, and nothing left running."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers import binds
from helpers.clusters import command_of, descendants, workers
from helpers.pictures import photo

from classifiers.errors import NotTrainable
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder import registry
from embedder.encoder import Encoder
from embedder.media import Limits
from embedder.spec import EncoderSpec
from services.cli import demo_photos
from services.jobs.backfill.local import backfill
from services.jobs.backfill.plan import Progress
from services.jobs.errors import RayProblem, WorkerFailed
from services.jobs.ingest import ingest
from services.jobs.ray import Workers, loader
from services.jobs.ray import backfill as ray_backfill
from services.jobs.ray.fit import statistics
from services.jobs.ray.worker import Work, Worker
from services.processes import free_ports
from store import Item, Label, Store
from store.errors import NoRoom, StoreError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")  # Ray's own, of its own defaults


def fill(store: Store, count: int) -> Store:
    """Photos of solar cells, and two files that are broken after their headers."""
    items = [Item(uri=str(cell.path), data=cell.path.read_bytes()) for cell in demo_photos.cells()[:count]]
    cut = [Item(uri=f"{seed}.jpg", data=photo(seed, 640, 480, form="JPEG")[:-2000]) for seed in range(2)]
    ingest(store, [*items[:20], cut[0], *items[20:], cut[1]])
    return store


def ids_of(store: Store) -> list[str]:
    return [id_ for some, _ in store.features("lite0").scan() for id_ in some.to_pylist()]


def failures(store: Store) -> list[tuple[object, ...]]:
    rows = store.quarantine.get().to_pylist()
    return sorted((row["key"], row["stage"], row["reason"], row["message"], row["tries"]) for row in rows)


def test_the_rows_are_those_of_the_local_engine(cluster, tmp_path, cache_dir):
    here, there = (fill(Store.open(tmp_path / name), 150) for name in ("here", "there"))
    loading = {"cache_dir": cache_dir}
    encoder = registry.load("lite0", threads=1, **loading)
    seen: list[tuple[int, int]] = []
    local = backfill(here, encoder, tokens=True)
    done = ray_backfill(
        there,
        encoder,
        loader("lite0", **loading),
        cluster,
        tokens=True,
        commit_rows=40,  # whole batches: 64 rows
        on_progress=lambda now: seen.append((now.done, now.quarantined)),
    )
    assert (done.total, done.done, done.quarantined) == (local.total, local.done, local.quarantined) == (152, 150, 2)
    assert (seen[0], seen[-1], len(seen)) == ((0, 0), (150, 2), 4)
    assert str(done.tokens) == str(local.tokens) == "152 × 125 kB = 19.1 MB"
    ids = ids_of(here)
    assert sorted(ids) == sorted(ids_of(there))
    for kind in (Store.features, Store.tokens):
        mine, theirs = (kind(store, "lite0").get(ids)[1] for store in (here, there))
        assert mine.shape[0] == 150
        np.testing.assert_array_equal(mine, theirs)
    assert failures(here) == failures(there)


def test_so_they_are_of_every_modality(cluster, tmp_path, cache_dir):
    """One encoder embeds images, sounds, videos, depth, heat and motion; one image is broken.

    torch gives other last bits in batches of another size, so equal bits show that the batches are cut alike.
    """
    name = f"imagebind/huge@{binds.save(binds.build(), tmp_path / 'small.pth')}"
    here, there = (Store.open(tmp_path / each) for each in ("here", "there"))
    broken = [Item("cut.jpg", photo(1, 640, 480, form="JPEG")[:-2000])]  # behind its header: ingest takes it
    for store in (here, there):
        for modality, files in binds.recordings().items():
            ingest(store, [Item(uri, data, modality=modality) for uri, data in files.items()])
        ingest(store, [*(Item(f"{seed}.png", photo(seed)) for seed in range(40)), *broken])
    loading = {"backend": "torch-fp32", "cache_dir": cache_dir, "accept_noncommercial": True}
    encoder = registry.load(name, threads=1, **loading)
    local = backfill(here, encoder)
    done = ray_backfill(there, encoder, loader(name, **loading), cluster, commit_rows=32)
    assert (done.total, done.done, done.quarantined) == (local.total, local.done, local.quarantined)
    assert (done.quarantined, len(there.assets.modalities())) == (1, 6)
    ids = sorted(id_ for some, _ in here.features(name).scan() for id_ in some.to_pylist())
    mine, theirs = (store.features(name).get(ids)[1] for store in (here, there))
    np.testing.assert_array_equal(mine, theirs)
    assert failures(here) == failures(there)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(cluster, tmp_path, cache_dir, lite0: Encoder):
    store = fill(Store.open(tmp_path / "db"), 300)
    killed: list[int] = []

    def kill_one(now: Progress) -> None:
        if now.done and not killed:
            killed.append(workers("MapWorker")[0])
            os.kill(killed[0], signal.SIGKILL)

    load = loader("lite0", cache_dir=cache_dir)
    done = ray_backfill(store, lite0, load, cluster, commit_rows=32, on_progress=kill_one)
    assert killed
    assert (done.total, done.done, done.quarantined) == (302, 300, 2)
    assert len(ids_of(store)) == len(set(ids_of(store))) == 300
    assert [row[-1] for row in failures(store)] == [1, 1]
    stats = store.features("lite0").table._handle().stats()["fragment_stats"]
    assert stats["num_fragments"] == 1  # ten commits, compacted at the end


def poisoned(threads: int) -> Encoder:
    """An encoder whose network ends the process, as running out of memory does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def test_what_kills_every_worker_ends_the_job(cluster, tmp_path, lite0: Encoder):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers can't import the tests
    store = fill(Store.open(tmp_path / "db"), 3)
    with pytest.raises(WorkerFailed, match=r"a chunk of 5 assets, the first [0-9a-f]{64}, killed its worker 4 times"):
        ray_backfill(store, lite0, poisoned, cluster)
    assert store.features("lite0").rows == 0


def test_a_worker_that_disagrees_with_the_table_may_not_write(cluster, tmp_path, cache_dir, lite0: Encoder):
    store = fill(Store.open(tmp_path / "db"), 3)
    store.ensure_features("lite0", lite0.spec, np.roll(lite0.reference_probe(), 1, axis=1))
    with pytest.raises(WorkerFailed, match=r"does not give the stored vectors: .* \(worker on "):
        ray_backfill(store, lite0, loader("lite0", cache_dir=cache_dir), cluster)
    assert store.features("lite0").rows == 0


def test_a_node_that_has_no_store_under_that_path_is_named(tmp_path, cache_dir):
    """Photos alone make no store: without its tables, a worker has nothing to compare its encoder with."""
    (tmp_path / "photos").mkdir()
    for name in ("nowhere", "photos"):
        work = Work(str(tmp_path / name), loader("lite0", cache_dir=cache_dir), False, 1, 1, Limits())
        with pytest.raises(StoreError, match=rf"no store at .*{name} on .*; every node of the cluster must reach"):
            Worker(work, None)._embed("image", ["a"])


def test_what_the_cluster_cannot_do_is_told(cluster, tmp_path, cache_dir, lite0: Encoder):
    store, load = fill(Store.open(tmp_path / "db"), 1), loader("lite0", cache_dir=cache_dir)
    for wanted in (Workers(cluster.address, gpus=1), Workers(cluster.address, cpus=64)):
        with pytest.raises(RayProblem, match="its nodes have: 2 CPUs and 0 GPUs"):
            ray_backfill(store, lite0, load, wanted)
    for nonsense in ({"cpus": 0}, {"gpus": -1}, {"count": 0}):
        with pytest.raises(RayProblem, match="at least 1 worker"):
            Workers(**nonsense)


def test_a_disk_without_room_stops_the_job_before_any_row(cluster, tmp_path, cache_dir, lite0: Encoder, monkeypatch):
    store, load = fill(Store.open(tmp_path / "db"), 3), loader("lite0", cache_dir=cache_dir)
    usage = shutil.disk_usage(store.uri)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2 * 5 * 5120 - 1))
    with pytest.raises(NoRoom, match=r"5 × 5.12 kB = 25.6 kB need 51.2 kB"):
        ray_backfill(store, lite0, load, cluster)
    assert store.features("lite0").rows == 0


def command(store: Store, cache_dir: Path, *arguments: object) -> "subprocess.Popen[str]":
    options = ["--engine", "ray", "--store", store.uri, "--json", *map(str, arguments)]
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", "backfill", *options],
        env=os.environ | {"HEADWATER_CACHE": str(cache_dir)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]", code: int = 0) -> dict[str, object]:
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return json.loads(out) if code in (0, 3) else {}


def test_a_local_and_a_ray_backfill_at_once_store_every_vector_once(cluster, tmp_path, cache_dir):
    """Both start with all ids missing. The local one commits 512 rows at a time, between the commits of the other."""
    store = Store.open(tmp_path / "db")
    ingest(store, [Item(uri=f"{seed}.png", data=photo(seed, 24, 16)) for seed in range(1100)])
    both = [
        command(store, cache_dir, "--ray-address", cluster.address, "--commit-rows", 32),
        command(store, cache_dir, "--engine", "local"),
    ]
    told = [finish(process) for process in both]
    assert [one["missing"] for one in told][1] == 1100
    ids = ids_of(store)
    assert len(ids) == len(set(ids)) == 1100


def test_a_stopped_driver_is_resumed_and_leaves_no_process(tmp_path, cache_dir, lite0: Encoder):
    """The command is killed, then terminated, each time with its own cluster; the local engine embeds the rest."""
    store = Store.open(tmp_path / "db")
    ingest(store, [Item(uri=f"{seed}.png", data=photo(seed, 24, 16)) for seed in range(2000)])
    done = 0
    for how in (signal.SIGKILL, signal.SIGTERM):
        process = command(store, cache_dir, "--commit-rows", 32)
        wait_for_rows(process, store, done)
        family = descendants(process.pid)
        assert any("MapWorker" in command_of(pid) for pid in family)
        process.send_signal(how)
        finish(process, -9 if how is signal.SIGKILL else 130)
        wait_for_the_end(family)
        ids = ids_of(store)
        assert done < len(ids) == len(set(ids)) < 2000
        done = len(ids)
    assert backfill(store, lite0).done == 2000 - done
    assert len(ids_of(store)) == len(set(ids_of(store))) == 2000


def wait_for_rows(process: "subprocess.Popen[str]", store: Store, before: int) -> None:
    while process.poll() is None:
        if any(table.rows > before for table in Store.open(store.uri).encoders()):
            return
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def wait_for_the_end(pids: list[int]) -> None:
    """Ray ends its processes within seconds after the one that started them (but for two agents, after a minute)."""
    for _ in range(300):
        left = [name for pid in pids for name in ("MapWorker", "raylet", "gcs_server") if name in command_of(pid)]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(left)


@pytest.mark.parametrize("params", [{}, {"covariance": "full"}, {"project": "pca", "dims": 5, "covariance": "diag"}])
def test_statistics_of_shares_make_the_head_of_one_process(cluster, tmp_path, params):
    """Fragments have odd sizes, some rows have no label, and some labels have no row."""
    store, random = Store.open(tmp_path / "db"), np.random.default_rng(0)
    X = random.standard_normal((3000, 16)).astype(np.float32) + 5
    spec = EncoderSpec(architecture="toy", weights="w", activation="gelu", output="pooled", dim=16)
    features = store.ensure_features("toy", spec, np.eye(1, 16, dtype=np.float32))
    for start, end in pairwise((0, 7, 400, 1500, 2900)):
        features.put([f"{i:04d}" for i in range(start, end)], X[start:end])
    X[::3, 0] += 2
    store.labels.put(
        "t", [Label(f"{i:04d}", ["ab"[i % 3 == 0]], ["train", "val"][i % 5 == 0]) for i in range(100, 3000)]
    )
    common = {"task": "t", "encoders": ["toy"], "params": params}
    registry = Registry(tmp_path / "heads")
    alone = train(store, registry, name="alone", **common)
    with statistics(cluster) as elsewhere:
        together = train(store, registry, name="together", elsewhere=elsewhere, **common)
        with pytest.raises(NotTrainable, match="only heads of kind gaussian on one encoder"):
            train(store, registry, name="x", kind="linear", elsewhere=elsewhere, task="t", encoders=["toy"])
    mine, theirs = (registry.load(each.name) for each in (alone, together))
    for name in ("counts", "sums", "second"):
        one, other = (getattr(head.head.statistics, name) for head in (mine, theirs))
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8 * np.abs(one).max())
    assert mine.manifest.training_ids == theirs.manifest.training_ids
    assert mine.manifest.counts == theirs.manifest.counts
    assert mine.head.statistics.rows == 2240
    assert alone.report.summaries()["val"].keys() == together.report.summaries()["val"].keys()


def test_no_cluster_at_the_address_is_one_line(tmp_path, cache_dir):
    store = fill(Store.open(tmp_path / "db"), 1)
    process = command(store, cache_dir, "--ray-address", f"127.0.0.1:{free_ports(1)[0]}")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err.startswith("error: no Ray cluster at 127.0.0.1:")) == (1, True), err
    assert "Traceback" not in err
