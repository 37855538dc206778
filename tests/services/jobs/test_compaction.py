"""Every job that writes many small commits compacts the tables at its end. An interrupted job does not."""

import time

import numpy as np
import pytest
from helpers.blocks import Blocks
from helpers.commands import settings_in
from helpers.pictures import photo
from starlette.testclient import TestClient

from classifiers.fit.discrimination.recipe import Recipe
from embedder import registry
from services.embedding import create_app
from services.jobs.adapt import AdaptRequest, adapt
from services.jobs.backfill.local import backfill
from services.jobs.cluster import ClusterRequest, cluster
from services.jobs.ingest import ingest
from store import Features, Item, Store
from store.lance.handles import SMALL_FRAGMENTS
from store.lance.table import Table

COUNT = 2 * SMALL_FRAGMENTS


def fragments(table: Table) -> int:
    found: int = table._handle().stats()["fragment_stats"]["num_fragments"]
    return found


def photos(count: int) -> list[Item]:
    return [Item(f"{seed}.png", photo(seed)) for seed in range(count)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store.open(tmp_path / "headwater.db")


@pytest.fixture
def vectors(store) -> Features:
    """A table of vectors that was written one row at a time, in a store with three photos that have none."""
    ingest(store, photos(3))
    blocks, rng = Blocks(), np.random.default_rng(0)
    features = store.ensure_features(blocks.name, blocks.spec, blocks.reference_probe())
    for i in range(COUNT):
        features.put([f"{i:064x}"], rng.normal(size=(1, 12)).astype(np.float32))
    assert fragments(features.table) == COUNT
    return features


def test_ingest(store, monkeypatch):
    monkeypatch.setattr("services.jobs.ingest.CHUNK_ITEMS", 1)
    ingest(store, photos(COUNT))
    assert fragments(store.assets.table) == 1


def test_backfill(store, vectors):
    assert backfill(store, Blocks()).done == 3
    assert fragments(vectors.table) == 1


def test_cluster_and_adapt(store, vectors, tmp_path, monkeypatch):
    monkeypatch.setattr("store.tables.labels._CHUNK", 1)
    cluster(store, tmp_path, ClusterRequest(encoder="blocks", task="found", clusters=3))
    assert (fragments(store.labels.table), fragments(vectors.table)) == (1, 1)
    monkeypatch.setattr("services.jobs.derived.COMMIT_BYTES", 1)
    done = adapt(store, AdaptRequest(encoder="blocks", recipe=Recipe(epochs=1), clusters=3), tmp_path, tmp_path)
    assert (done.written, fragments(store.features(done.name).table)) == (COUNT, 1)


def test_an_interrupted_job_ends_without_compacting(store, vectors):
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(store, Blocks(), on_progress=interrupt)
    assert fragments(vectors.table) == COUNT


def test_over_http_a_backfill_compacts_and_a_stored_file_does_not(tmp_path, cache_dir, store, vectors, monkeypatch):
    monkeypatch.setattr(registry, "load", lambda *_, **__: Blocks())
    settings = settings_in(tmp_path, cache_dir, encoders=("blocks",))
    with TestClient(create_app(settings), base_url="http://localhost") as http:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        answer = http.post("/v1/assets?encoder=blocks", files={"files": photo(3)})
        assert (answer.status_code, answer.json()["new"]) == (200, 1)
        assert fragments(Store.open(settings.store).features("blocks").table) == COUNT + 1
        status = http.post("/v1/backfills", json={"encoder": "blocks"}).json()
        while status["state"] == "running":
            time.sleep(0.02)
            status = http.get(f"/v1/backfills/{status['id']}").json()
    assert status["state"] == "done"
    assert fragments(Store.open(settings.store).features("blocks").table) == 1
