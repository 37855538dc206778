"""The backup of docs/operations.md: taken while a backfill writes, restored, and as good as the original."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.pictures import photo
from helpers.toystore import PROBE, make_assets, make_vectors, toy_spec
from numpy.typing import NDArray

from classifiers.published.registry import Registry
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from store import Item, Label, Store
from store.lance.table import Table

SCRIPT = ROOT / "examples" / "backup" / "backup.sh"
TASK, PHOTOS, BATCH = "shapes", 400, 4
COMMAND = (
    "import sys; from services.jobs.backfill import stages; from services.cli import main\n"
    "stages.CHUNK_ROWS = 16; sys.exit(main())"
)
"""`headwater`, whose backfills commit 16 rows at a time and not 512, so that a small store is written for a while."""


def back_up(store: Path, target: Path) -> None:
    subprocess.run(["sh", str(SCRIPT), str(store), str(target)], check=True, capture_output=True, text=True)


def command(folder: Path, *words: str, cache: Path) -> "subprocess.Popen[str]":
    """`headwater` as it is typed in the folder that holds store and heads."""
    env = os.environ | {"HEADWATER_CACHE": str(cache), "HEADWATER_MAX_BATCH": str(BATCH)}
    typed = [sys.executable, "-W", "ignore", "-c", COMMAND, *words]
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    return subprocess.Popen(typed, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(folder: Path, *words: str, cache: Path) -> str:
    process = command(folder, *words, cache=cache)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return out


def vectors(store: Store, fingerprint: str) -> dict[str, NDArray[np.float32]]:
    found, matrix = store.features(fingerprint).get(sorted(rows(store.assets.table)))
    return dict(zip(found, matrix, strict=True))


def rows(table: Table) -> set[str]:
    """The ids of a table. Every column is read, so a missing file is found."""
    return {id_ for batch in table.scan(table.schema.names) for id_ in batch["id"].to_pylist()}


@pytest.fixture
def live(tmp_path, lite0, home) -> Path:
    """A folder with a store of which a tenth is embedded, its labels, and the heads of `home`."""
    folder = tmp_path / "live"
    folder.mkdir()
    store = Store.open(folder / "headwater.db")
    data = [photo(seed, 64, 48, "JPEG") for seed in range(PHOTOS)]
    ingest(store, [Item(uri=f"{i}.jpg", data=each) for i, each in enumerate(data[: PHOTOS // 10])])
    backfill(store, lite0, batch=BATCH)
    ingest(store, [Item(uri=f"{i}.jpg", data=each) for i, each in enumerate(data)])
    store.labels.put(TASK, [Label(id_, ["any"]) for id_ in rows(store.assets.table)])
    shutil.copytree(home.settings.heads, folder / "heads")
    return folder


@pytest.mark.slow
def test_a_backup_during_a_backfill_is_restored_and_answers_as_the_original(live, tmp_path, lite0, cache_dir):
    taken: list[Path] = []
    with command(live, "backfill", "--encoder", "lite0", cache=cache_dir) as running:
        while running.poll() is None:
            taken.append(tmp_path / f"backup-{len(taken)}")
            back_up(live / "headwater.db", taken[-1])
            time.sleep(0.05)
        out, err = running.communicate()
    assert running.returncode == 0, out + err
    done = vectors(Store.open(live / "headwater.db"), lite0.spec.fingerprint)
    assert len(done) == PHOTOS

    sizes = []
    for each in taken:  # every one is whole: its rows can be read, and are rows of the original
        store = Store.open(each)
        found = vectors(store, lite0.spec.fingerprint)
        assert all(np.array_equal(vector, done[id_]) for id_, vector in found.items())
        assert rows(store.labels.table) == set(done)
        sizes.append(len(found))
    assert sizes == sorted(sizes)
    between = [i for i, size in enumerate(sizes) if PHOTOS // 10 < size < PHOTOS]
    assert between, sizes  # at least one was taken while rows were written

    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copytree(taken[between[0]], restored / "headwater.db")
    shutil.copytree(live / "heads", restored / "heads")
    assert json.loads(run(restored, "doctor", "--json", cache=cache_dir))["assets"] == f"{PHOTOS:,}"
    run(restored, "export", "check", cache=cache_dir)
    run(restored, "backfill", "--encoder", "lite0", cache=cache_dir)  # goes on where the backup was taken
    again = vectors(Store.open(restored / "headwater.db"), lite0.spec.fingerprint)
    assert again.keys() == done.keys()
    kept = list(vectors(Store.open(taken[between[0]]), lite0.spec.fingerprint))
    assert len(kept) == sizes[between[0]]
    before, after = (np.stack([each[id_] for id_ in kept]) for each in (done, again))
    assert np.array_equal(before, after)
    assert min(float(again[id_] @ done[id_]) / np.linalg.norm(done[id_]) ** 2 for id_ in done) > 0.999
    old, new = (Registry(folder / "heads").load("linear") for folder in (live, restored))
    assert old.answer(before) == new.answer(after)


def test_backups_while_another_thread_writes_are_all_whole(tmp_path):
    """The rows are small, so that there are hundreds of commits, and compactions that remove what no version needs."""
    path, ended = tmp_path / "s.db", threading.Event()
    store = Store.open(path)

    def write() -> None:
        for start in range(0, 4000, 10):
            assets = make_assets(10, start=start)
            store.assets.add(assets)
            features = store.ensure_features("toy", toy_spec(), PROBE)
            features.put([asset.id for asset in assets], make_vectors(10))
            store.labels.put(TASK, [Label(asset.id, ["a"]) for asset in assets])
            if start % 200 == 190:
                store.optimize(keep=timedelta(seconds=1))
            if ended.is_set():
                return

    with ThreadPoolExecutor(1) as thread:
        writing = thread.submit(write)
        while not (path / "labels.lance").exists():
            time.sleep(0.01)
        sizes = []
        for i in range(8):
            back_up(path, tmp_path / str(i))
            copy = Store.open(tmp_path / str(i))
            tables = copy.labels.table, copy.features(toy_spec().fingerprint).table, copy.assets.table
            labels, embedded, assets = map(rows, tables)
            assert labels <= embedded <= assets
            sizes.append(len(assets))
        ended.set()
        writing.result()
    assert len(set(sizes)) > 4  # most were taken between different commits
    assert sizes == sorted(sizes)


def test_a_backup_does_not_write_into_an_older_one_and_names_a_fault(tmp_path):
    store = Store.open(tmp_path / "s.db")
    ingest(store, [Item(uri="a.jpg", data=photo(1, 8, 8, "JPEG"))])
    back_up(tmp_path / "s.db", tmp_path / "copy")
    assert Store.open(tmp_path / "copy").assets.count() == 1
    for target in ("copy", "nowhere/copy"):
        with pytest.raises(subprocess.CalledProcessError):
            back_up(tmp_path / "s.db", tmp_path / target)
