"""The disk under a running service fails: the answer names the fault, and the service works again when it has ended."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import disks
from helpers.blocks import Blocks
from helpers.commands import settings_in
from helpers.pictures import photo
from helpers.toystore import PROBE, toy_spec
from starlette.testclient import TestClient

from embedder import registry
from services.embedding import create_app
from store import Store, asset_id


@contextmanager
def service(folder: Path, cache: Path) -> Iterator[TestClient]:
    """An embedding service without a network, whose store is in `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "load", lambda *_, **__: Blocks())
        app = create_app(settings_in(folder, cache, encoders=("blocks",)))
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
            while client.get("/health/ready").status_code != 200:
                time.sleep(0.02)
            yield client


@pytest.fixture
def http(tmp_path, cache_dir) -> Iterator[TestClient]:
    with service(tmp_path, cache_dir) as client:
        yield client


def post(http: TestClient, seed: int) -> tuple[int, str]:
    """Store a photo with a label; return the status and the code of the error."""
    answer = http.post("/v1/assets?encoder=blocks&task=t&label=x", files={"files": photo(seed)})
    message = answer.json().get("error", {}).get("message", "")
    assert "\n" not in message
    assert ".rs:" not in message
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def embeds(http: TestClient) -> bool:
    return http.post("/v1/embed?encoder=blocks", files={"files": photo(1)}).status_code == 200


def check(store: Store, seeds: list[int]) -> None:
    """Every photo that was acknowledged is there once, with its vector and its label."""
    ids = sorted(asset_id(photo(seed)) for seed in seeds)
    for table in (store.assets.table, store.features("blocks").table, store.labels.table):
        assert sorted(table.read(["id"])["id"].to_pylist()) == ids


def test_a_full_disk(tmp_path, cache_dir):
    with disks.small_disk(tmp_path / "disk") as disk, service(disk, cache_dir) as http:
        assert post(http, 1) == (200, "")
        with disks.full(disk):
            assert post(http, 2) == (507, "disk_full")
            assert embeds(http)
        assert [post(http, 2), post(http, 3)] == [(200, "")] * 2
        check(Store.open(disk / "headwater.db"), [1, 2, 3])


def test_a_read_only_store(http, tmp_path):
    assert post(http, 1) == (200, "")
    with disks.read_only(tmp_path / "headwater.db"):
        assert post(http, 2) == (503, "store_unavailable")
        assert post(http, 1) == (503, "store_unavailable")
        assert embeds(http)
    assert post(http, 2) == (200, "")
    check(Store.open(tmp_path / "headwater.db"), [1, 2])


def test_a_store_that_is_removed_and_restored(http, tmp_path):
    store = tmp_path / "headwater.db"
    assert post(http, 1) == (200, "")
    shutil.copytree(store, tmp_path / "backup")
    shutil.rmtree(store)
    assert post(http, 2) == (503, "store_unavailable")
    assert http.post("/v1/backfills", json={"encoder": "blocks"}).status_code == 202
    assert embeds(http)
    assert not store.exists()
    shutil.copytree(tmp_path / "backup", store)
    assert post(http, 2) == (200, "")
    check(Store.open(store), [1, 2])


def test_a_store_that_is_removed_and_begun_anew(http, tmp_path):
    """The service makes the tables that it needs, although it has seen them before."""
    assert post(http, 1) == (200, "")
    shutil.rmtree(tmp_path / "headwater.db")
    Store.open(tmp_path / "headwater.db").quarantine.put([])
    assert post(http, 2) == (503, "store_unavailable")
    other = Store.open(tmp_path / "headwater.db")
    other.ensure_features("toy", toy_spec(), PROBE)
    assert post(http, 2) == (200, "")
    check(Store.open(tmp_path / "headwater.db"), [2])
