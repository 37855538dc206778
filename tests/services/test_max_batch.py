"""HEADWATER_MAX_BATCH bounds the batches of every job: over HTTP, on the command line, and in the demo."""

import threading
import time

import pytest
from helpers.blocks import Blocks
from helpers.commands import runner, settings_in
from helpers.paced import PacedBlocks
from helpers.pictures import photo
from starlette.testclient import TestClient

from embedder import registry
from embedder.encoder import Pace
from services.cli import demo_photos
from services.cli.commands import demo
from services.embedding import create_app
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.settings import Settings
from store import Item, Store

COUNT, MOST, EACH = 7, 3, [3, 3, 1]


@pytest.fixture
def blocks(monkeypatch) -> Blocks:
    """The encoder that everything loads, whatever the name. It remembers the sizes of its batches."""
    encoder = Blocks()
    monkeypatch.setattr(registry, "load", lambda *_, **__: encoder)
    return encoder


@pytest.fixture
def settings(tmp_path, cache_dir) -> Settings:
    return settings_in(tmp_path, cache_dir, max_batch=MOST, encoders=("blocks",))


@pytest.fixture
def store(settings) -> Store:
    opened = Store.open(settings.store)
    ingest(opened, [Item(f"{seed}.png", photo(seed)) for seed in range(COUNT)])
    return opened


def test_a_backfill_over_http(blocks, settings, store):
    with TestClient(create_app(settings), base_url="http://localhost") as http:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        status = http.post("/v1/backfills", json={"encoder": "blocks"}).json()
        while status["state"] == "running":
            time.sleep(0.02)
            status = http.get(f"/v1/backfills/{status['id']}").json()
    assert (status["state"], status["done"]) == ("done", COUNT)
    assert blocks.batches[-3:] == EACH


def test_condense(blocks, settings, store):
    backfill(store, blocks)
    blocks.batches.clear()
    run = runner(settings.environment())
    run("condense", "--encoder", "blocks", "--components", 2, "--json")
    assert blocks.batches[-3:] == EACH


def test_the_demo(blocks, settings):
    demo._fill(settings, demo_photos.cells()[:COUNT])
    assert blocks.batches[-3:] == EACH


def test_unless_a_number_is_set_a_service_and_its_backfills_send_what_keeps_the_encoder_busy(
    monkeypatch, tmp_path, cache_dir
):
    both = threading.Barrier(2, timeout=20)  # two batches that ran one after the other would time out here
    encoder = PacedBlocks(Pace(50, 2), hold=lambda number: both.wait() if 1 <= number < 5 else None)
    monkeypatch.setattr(registry, "load", lambda *_, **__: encoder)
    settings = settings_in(tmp_path, cache_dir, encoders=("blocks",))
    opened = Store.open(settings.store)
    ingest(opened, [Item(f"{seed}.png", photo(seed, 9, 9)) for seed in range(200)])
    with TestClient(create_app(settings), base_url="http://localhost") as http:
        while http.get("/health/ready").status_code != 200:
            time.sleep(0.02)
        first = encoder.batches.index(1)
        assert encoder.batches[first : first + 7] == [1, 2, 4, 8, 16, 32, 50]  # what a GPU records, then a whole batch
        status = http.post("/v1/backfills", json={"encoder": "blocks"}).json()
        while status["state"] == "running":
            time.sleep(0.02)
            status = http.get(f"/v1/backfills/{status['id']}").json()
    assert (status["state"], status["done"]) == ("done", 200)
    assert encoder.batches[-4:] == [50] * 4
    assert encoder.most_under_way == 2
