"""Predictions on Ray: the file of one process, byte for byte, whoever is killed or stopped on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.clusters import command_of, descendants, workers
from helpers.pictures import photo

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.spec import imported_spec
from services.jobs.errors import NoRay, WorkerFailed
from services.jobs.predict import files, stored
from services.jobs.predict.answers import Engine, PredictRequest, local
from services.jobs.predict.files import FileRows
from services.jobs.predict.job import Predicted, predict_files, predict_stored
from services.jobs.predict.stored import StoredRows
from services.jobs.ray import Workers, predicting
from services.jobs.ray.predict import AHEAD, require_reachable
from services.jobs.ray.predict_worker import Done, Predictor, PublishedFiles, Work
from services.processes import free_ports
from services.web.release import own_version
from store import Asset, Item, Label, Quarantined, Store, asset_id
from store.schema import NO_FILE
from store.sources import Sources, read_sources

pytestmark = pytest.mark.slow

N, DIM = 80_000, 8
FRAGMENTS = (0, 33_000, 33_001, 55_500, N)
"""Several shares of 32,768 rows, which do not end where fragments end."""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Store, Registry]:
    """Vectors in fragments of odd sizes with removed rows, a second encoder without every fifth, and several heads."""
    folder = tmp_path_factory.mktemp("ray_predict")
    store, registry = Store.open(folder / "headwater.db"), Registry(folder / "heads")
    ids = [asset_id(str(i).encode()) for i in range(N)]
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, N)
    store.assets.add(Asset(id_, f"/photos/{i % 3}/{i}.jpg", NO_FILE, "image/jpeg") for i, id_ in enumerate(ids))
    for name, step in (("one", 1), ("two", 5)):
        spec = imported_spec(name, DIM, source="test", schema="test")
        table = store.ensure_features(name, spec, np.empty((0, DIM), np.float32))
        X = (rng.standard_normal((3, DIM))[codes] + rng.standard_normal((N, DIM))).astype(np.float32)
        for start, end in pairwise(FRAGMENTS):
            rows = [i for i in range(start, end) if step == 1 or i % step]
            if rows:
                table.put([ids[i] for i in rows], X[rows])
    removed = ", ".join(f"'{id_}'" for id_ in [*ids[40_000:40_100], *ids[5::997]])
    store.features("one").table.delete(f"id IN ({removed})")
    store.labels.put("t", [Label(ids[i], [f"class {codes[i]}"]) for i in range(3000)])
    store.labels.put("several", [Label(ids[i], ["a", "b", "c"][: codes[i]]) for i in range(3000)])
    for kind, task, encoders in (
        ("gaussian", "t", ["one"]),
        ("linear", "t", ["one"]),
        ("labelwise", "several", ["one"]),
        ("fusion", "t", ["one", "two"]),
    ):
        train(store, registry, task=task, encoders=encoders, kind=kind, name=kind)
    return store, registry


def on_ray(cluster: Workers, registry: Registry, name: str) -> Engine:
    return partial(predicting, cluster, registry.path(name))


def counts(done: Predicted) -> tuple[object, ...]:
    return done.rows, done.source_rows, done.total, done.without_vector, done.with_truth, done.right, done.failures


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("gaussian", "parquet"),
        ("gaussian", "csv"),
        ("linear", "parquet"),
        ("labelwise", "jsonl"),
        ("fusion", "parquet"),
    ],
)
def test_the_file_is_that_of_the_local_engine(made, cluster, tmp_path, name, ending):
    store, registry = made
    head, request = registry.load(name), PredictRequest(top_k=2)
    here, there = (tmp_path / f"{each}.{ending}" for each in ("here", "there"))
    one = predict_stored(store, head, request, here)
    two = predict_stored(store, head, request, there, engine=on_ray(cluster, registry, name))
    assert counts(one) == counts(two)
    assert one.rows > 79_000
    assert here.read_bytes() == there.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [here.name, there.name]


def test_chosen_rows_and_two_cpus_each_give_the_same_file(made, cluster, tmp_path):
    store, registry = made
    head = registry.load("gaussian")
    request = PredictRequest(task="t", where="uri LIKE '/photos/1/%'", names_only=True, sets="aps")
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    one = predict_stored(store, head, request, here)
    two = predict_stored(store, head, request, there, engine=on_ray(replace(cluster, cpus=2), registry, "gaussian"))
    assert counts(one) == counts(two)
    assert 900 < one.rows <= 1000
    assert here.read_bytes() == there.read_bytes()


def test_a_killed_worker_is_replaced_and_the_file_is_the_same(made, cluster, tmp_path):
    store, registry = made
    head, killed = registry.load("gaussian"), list[int]()

    def kill_one() -> None:
        for _ in range(3000):
            if found := workers("Predictor.answer"):
                killed.append(found[0])
                os.kill(found[0], signal.SIGKILL)
                return
            time.sleep(0.01)

    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    predict_stored(store, head, PredictRequest(), here)
    killer = threading.Thread(target=kill_one)
    killer.start()
    predict_stored(store, head, PredictRequest(), there, engine=on_ray(cluster, registry, "gaussian"))
    killer.join()
    assert killed
    assert here.read_bytes() == there.read_bytes()


@pytest.mark.parametrize("ray_first", [True, False])
def test_a_stopped_run_goes_on_with_either_engine(made, cluster, tmp_path, monkeypatch, ray_first):
    """The parts that the first engine finished are kept. Rows that are added meanwhile are not predicted."""
    store, registry = made
    head, out = registry.load("fusion"), tmp_path / "p.parquet"
    monkeypatch.setattr(stored, "PART_ROWS", 16_384)
    engines = [on_ray(cluster, registry, "fusion"), local]
    first, second = engines if ray_first else reversed(engines)
    predict_stored(store, head, PredictRequest(), tmp_path / "whole.parquet")

    def stop(progress: Predicted) -> None:
        if progress.source_rows >= 32_768:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_stored(store, head, PredictRequest(), out, stop, first)
    assert not out.exists()
    later = asset_id(b"later")
    store.features("one").put([later], np.zeros((1, DIM), np.float32))
    try:
        done = predict_stored(store, head, PredictRequest(), out, engine=second)
    finally:
        store.features("one").table.delete(f"id = '{later}'")
    assert 32_768 <= done.resumed < 60_000
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


class Poison:
    """Opens rows by ending the process, as running out of memory does."""

    def open(self, *_: object) -> StoredRows:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def test_what_kills_every_worker_ends_the_job(made, cluster, tmp_path, monkeypatch):
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import the tests
    store, registry = made
    monkeypatch.setattr(stored, "StoreOpener", lambda *_: Poison())
    with pytest.raises(WorkerFailed, match="the worker of some rows was lost, and up to 3 more tries did not help"):
        predict_stored(
            store,
            registry.load("gaussian"),
            PredictRequest(),
            tmp_path / "p.parquet",
            engine=on_ray(replace(cluster, count=1), registry, "gaussian"),
        )


def test_a_worker_without_the_store_names_its_machine(made, cluster, tmp_path, monkeypatch):
    store, registry = made
    real = stored.StoreOpener
    monkeypatch.setattr(stored, "StoreOpener", lambda _, *others: real(str(tmp_path / "nowhere"), *others))
    with pytest.raises(WorkerFailed, match=r"no store at .*nowhere on .*; every node .* must reach .*\(worker on "):
        predict_stored(
            store,
            registry.load("gaussian"),
            PredictRequest(),
            tmp_path / "p.parquet",
            engine=on_ray(cluster, registry, "gaussian"),
        )


def test_a_worker_with_another_release_or_other_files_does_not_answer(made):
    store, registry = made
    head = registry.load("gaussian")
    rows = StoredRows(store, head, store.snapshot(), None, None)
    work = Work(rows.opener, PublishedFiles.read(registry.path("gaussian")), PredictRequest(), 1, own_version())
    good = Predictor(work).answer((0, 10))
    assert (good.problem, sum(batch.num_rows for each in good.answers() for batch in each.batches)) == ("", 10)
    other = replace(work, release="0.0")
    assert "install the same version on every node" in Predictor(other).answer((0, 10)).problem
    arrays = bytearray(work.head.files["head.safetensors"])
    arrays[-1] ^= 1
    damaged = replace(work, head=replace(work.head, files={**work.head.files, "head.safetensors": bytes(arrays)}))
    assert "head.safetensors has digest" in Predictor(damaged).answer((0, 10)).problem
    renamed = replace(work, head=replace(work.head, version=registry.path("linear").name))
    assert "it was changed" in Predictor(renamed).answer((0, 10)).problem


def test_a_file_that_only_the_worker_cannot_read_ends_the_job(tmp_path):
    (tmp_path / "there.jpg").write_bytes(photo(1))

    def done(name: str, reason: str) -> Done:
        failed = [Quarantined(str(tmp_path / name), files.STAGE, reason, "No such file")]
        return Done(parts=[(0, 1, failed)], host="node-2")

    require_reachable(done("gone.jpg", files.UNREADABLE))
    require_reachable(done("there.jpg", "too_large"))
    with pytest.raises(WorkerFailed, match=r"on node-2 cannot read .*there\.jpg, .* every node"):
        require_reachable(done("there.jpg", files.UNREADABLE))


@pytest.fixture(scope="module")
def photos(home, tmp_path_factory) -> Path:
    """Class folders of stored photos, new photos, a broken one, one that is no photo, and two in a Parquet file."""
    folder = tmp_path_factory.mktemp("photos")
    for number, cell in enumerate(home.cells[:200]):
        path = folder / cell.label / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cell.path.read_bytes())
    for seed in range(150):
        (folder / "intact" / f"new {seed}.png").write_bytes(photo(seed, 40, 30))
    (folder / "cut.jpg").write_bytes(photo(1, 640, 480, form="JPEG")[:-2000])
    (folder / "notes.txt").write_text("no photo")
    (folder / "nowhere.jpg").symlink_to(folder / "missing.jpg")
    table = pa.table({"image": [photo(900), photo(901)], "label": ["intact", "defective"]})
    pq.write_table(table, folder / "more.parquet")
    return folder


@pytest.mark.parametrize(("name", "empty"), [("gaussian", False), ("several", False), ("linear", True)])
def test_files_of_folders_give_the_file_of_the_local_engine(home, photos, cluster, tmp_path, monkeypatch, name, empty):
    """Parts of one share show how far the workers are ahead of the file."""
    registry = Registry(home.settings.heads)
    store = Store.open(tmp_path / "empty.db") if empty else home.store
    head, request, lead, read = registry.load(name), PredictRequest(), 0, 0
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    monkeypatch.setattr(files, "PART_ROWS", 1)
    one = predict_files(read_sources([photos]), store, head, request, here, home.settings)
    shares = FileRows.shares

    def counted(rows: FileRows, start: int) -> Iterator[list[Item]]:
        nonlocal read
        for share in shares(rows, start):
            read += 1
            yield share

    def lagging(progress: Predicted) -> None:
        nonlocal lead
        lead = max(lead, read - progress.source_rows // files.FILES)

    monkeypatch.setattr(FileRows, "shares", counted)
    engine = on_ray(cluster, registry, name)
    two = predict_files(read_sources([photos]), store, head, request, there, home.settings, lagging, engine)
    assert counts(one) == counts(two)
    assert here.read_bytes() == there.read_bytes()
    assert one.failures.counts == {"truncated": 1, "unknown_format": 1, "unreadable": 1}
    assert one.rows == 352
    assert read == 12
    assert lead <= AHEAD * 2  # workers
    assert not (tmp_path / "empty.db").exists()


def test_a_worker_whose_encoder_disagrees_does_not_answer(home, lite0, tmp_path):
    registry = Registry(home.settings.heads)
    store = Store.open(tmp_path / "db")
    store.ensure_features("lite0", lite0.spec, np.roll(lite0.reference_probe(), 1, axis=1))
    rows = FileRows(Sources(()), registry.load("gaussian"), store, home.settings.loading, home.settings.limits)
    work = Work(rows.opener, PublishedFiles.read(registry.path("gaussian")), PredictRequest(), 1, own_version())
    assert "does not give the stored vectors" in Predictor(work).answer([Item("1.png", photo(1))]).problem
    lost = replace(work, opener=replace(rows.opener, store=str(tmp_path / "nowhere")))
    assert "every node of the cluster must reach the store" in Predictor(lost).answer([]).problem


def test_no_cluster_is_told_before_anything_is_written(made, tmp_path):
    store, registry = made
    nobody = Workers(f"127.0.0.1:{free_ports(1)[0]}")
    out = tmp_path / "p.parquet"
    with pytest.raises(NoRay):
        predict_stored(
            store, registry.load("gaussian"), PredictRequest(), out, engine=on_ray(nobody, registry, "gaussian")
        )
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_process_and_the_command_goes_on(made, tmp_path):
    """The command has a cluster of its own, is stopped while workers answer, and runs again."""
    store, registry = made
    command = ["predict", "--head", "gaussian", "--store", store.uri, "--heads", str(registry.root)]
    command += ["--engine", "ray", "--out", "p.parquet", "--json"]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "services.cli", *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    stopped = start()
    family: list[int] = []
    while stopped.poll() is None:
        family = descendants(stopped.pid)
        if any("Predictor" in command_of(pid) for pid in family):
            stopped.send_signal(signal.SIGINT)
            break
        time.sleep(0.02)
    _, err = stopped.communicate(timeout=120)
    assert (stopped.returncode, "Traceback" in err) == (130, False), err
    deadline = time.monotonic() + 30
    while left := [command_of(pid) for pid in family if "Predictor" in command_of(pid) or "raylet" in command_of(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert not (tmp_path / "p.parquet").exists()
    again = start()
    out, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert json.loads(out)["predicted"] == pq.read_metadata(tmp_path / "p.parquet").num_rows > 79_000
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]
