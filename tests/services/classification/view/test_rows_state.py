"""The rows of a store that is missing, empty, changes, or does not fit the memory; and the axes of UMAP."""

import asyncio
import shutil
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.serving import served
from helpers.toystore import make_assets

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.spec import imported_spec
from services.classification import create_app
from services.classification.view import axes, columns_of_head, rows
from services.classification.view.columns_cache import SharedResults
from services.classification.view.rows import Asked, pack_rows
from services.client import AsyncClient, Client
from services.settings import Settings
from services.web.admission import Admission, Reservation
from services.web.errors import RemoteProblem
from store import Label, Store
from store.removal import remove_assets

DIM = 6


def settings_of(folder: Path, **changes) -> Settings:
    return Settings(
        store=str(folder / "db"), heads=folder / "heads", jobs=folder / "jobs", log_level="ERROR"
    ).model_copy(update=changes)


@contextmanager
def client_of(settings: Settings) -> Iterator[Client]:
    with served(create_app(settings)) as url, Client(url) as client:
        yield client


def fill(folder: Path, n: int = 60, seed: int = 0) -> Store:
    """Store assets with vectors of two classes, labels, and a head."""
    store, codes = Store.open(str(folder / "db")), np.arange(n) % 2
    assets = make_assets(n)
    store.assets.add(assets)
    table = store.ensure_features(
        "one", imported_spec("one", DIM, source="test", schema="test"), np.empty((0, DIM), np.float32)
    )
    X = np.random.default_rng(seed).standard_normal((n, DIM)) + 3 * codes[:, None]
    table.put([asset.id for asset in assets], X.astype(np.float32))
    store.labels.put("t", [Label(asset.id, [f"class {code}"]) for asset, code in zip(assets, codes, strict=True)])
    if not (folder / "heads" / "g").exists():
        train(store, Registry(folder / "heads"), task="t", encoders=["one"], kind="gaussian", name="g")
    return store


@pytest.mark.parametrize("store", ["", "missing", "empty"])
def test_without_a_store_there_are_no_rows(tmp_path, store):
    fill(tmp_path)
    place = {"": "", "missing": str(tmp_path / "nothing"), "empty": str(tmp_path / "folder")}[store]
    (tmp_path / "folder").mkdir()
    with client_of(settings_of(tmp_path, store=place)) as client:
        found = client.rows(task="t", encoder="one", head="g", axes="lda")
        assert (len(found), found.info.axes, found.ids) == (0, None, [])
        assert {"id", "label", "x", "prediction"} <= set(found.columns)
        assert found.info.labels == ["class 0", "class 1"]
        overview = client.overview()
        assert (overview.store, overview.assets, overview.tasks, overview.encoders) == (False, 0, [], [])
        with pytest.raises(RemoteProblem, match="unknown head"):
            client.rows(head="nobody")
    assert not (tmp_path / "nothing").exists()


def test_a_store_with_assets_alone_has_rows_without_vectors(tmp_path):
    Store.open(str(tmp_path / "db")).assets.add(make_assets(3))
    with client_of(settings_of(tmp_path)) as client:
        assert list(client.rows().columns) == ["id", "modality"]
        for problem in ({"axes": "pca"}, {"encoder": "one"}):
            with pytest.raises(RemoteProblem) as refused:
                client.rows(**problem)
            assert (refused.value.status, refused.value.code) == (404, "unknown_encoder")


def test_changes_count_from_the_next_request_on(tmp_path):
    store = fill(tmp_path)
    with client_of(settings_of(tmp_path)) as client:
        before = client.rows(task="t", head="g")
        store.labels.put("t", [Label(before.ids[0], ["new"])])
        labelled = client.rows(task="t", head="g")
        assert labelled.names("label")[0] == "new"
        assert labelled.info.version == before.info.version
        assert (labelled["x"] == before["x"]).all()
        remove_assets(store, before.ids[:2])
        removed = client.rows(task="t", head="g")
        assert removed.ids == before.ids[2:]
        assert removed.info.version != before.info.version
        assert removed["prediction"].min() >= 0
        store.assets.add(make_assets(1, start=500))
        added = client.rows(task="t", head="g")
        assert (len(added), added["prediction"][-1], added["vector"][-1]) == (59, -1, 0)
        train(store, Registry(tmp_path / "heads"), task="t", encoders=["one"], kind="linear", name="g")
        assert client.rows(head="g").info.head != before.info.head


def test_a_store_that_was_made_again_is_read_anew(tmp_path):
    """The versions of its tables are those of the old one."""
    fill(tmp_path)
    with client_of(settings_of(tmp_path)) as client:
        before = client.rows(task="t", encoder="one"), client.overview()
        shutil.rmtree(tmp_path / "db")
        fill(tmp_path, seed=1)
        after = client.rows(task="t", encoder="one"), client.overview()
    assert before[0].ids == after[0].ids
    assert not np.allclose(before[0]["x"], after[0]["x"])
    assert before[1].version != after[1].version


def test_the_same_columns_asked_for_at_once_are_computed_once(tmp_path, monkeypatch):
    fill(tmp_path)
    calls, go, answer = [], threading.Event(), columns_of_head.answer_briefly

    def counted(*given):
        calls.append(given)
        assert go.wait(10)
        return answer(*given)

    monkeypatch.setattr(columns_of_head, "answer_briefly", counted)

    async def ask(url: str) -> None:
        async with AsyncClient(url) as client:
            asked = [asyncio.create_task(client.rows(head="g", columns=["prediction"])) for _ in range(8)]
            await asyncio.sleep(0.3)
            go.set()
            found = await asyncio.gather(*asked)
            assert {each["prediction"].tobytes() for each in found} == {found[0]["prediction"].tobytes()}

    with served(create_app(settings_of(tmp_path))) as url:
        asyncio.run(ask(url))
    assert len(calls) == 1


def test_an_answer_that_does_not_fit_the_memory_is_refused_before_it_is_computed(tmp_path):
    store = fill(tmp_path)
    store.assets.add(make_assets(20_000, start=1000))
    small = settings_of(tmp_path, max_body_bytes=2**17, max_bytes_under_way=2**20)
    app = create_app(small)
    with served(app) as url, Client(url) as client:
        with pytest.raises(RemoteProblem) as refused:
            client.rows(task="t", head="g")
        assert (refused.value.status, refused.value.code) == (503, "too_busy")
        assert len(client.rows(columns=["modality"])) == 20_060
        deadline = time.monotonic() + 10
        while app.state.service.admission.used and time.monotonic() < deadline:
            time.sleep(0.01)  # the memory is given back after the last byte is sent
        assert app.state.service.admission.used == 0


@pytest.mark.parametrize("columns", [None, ["x", "prediction"]])
def test_the_memory_of_an_answer_is_reserved(tmp_path, columns):
    store, head = fill(tmp_path), Registry(tmp_path / "heads").load("g")
    store.labels.put("t", [Label(id_, list("abcdefgh")) for id_ in store.assets.ids().to_pylist()])
    reserved = Reservation(Admission(2**20))
    asked = Asked("t", "one", head, columns=columns)
    packed = asyncio.run(pack_rows(SharedResults(), store, asked, reserved))
    assert packed.nbytes - 4096 < reserved.bytes <= packed.nbytes + 60 * asked.row_bytes
    assert len(b"".join(packed.pieces())) == packed.nbytes


def test_umap_that_takes_long_is_answered_later(tmp_path, monkeypatch):
    """A stand-in for the package, which is not among the dependencies, waits until it is let go."""
    fill(tmp_path)
    go = threading.Event()

    class Umap:
        def __init__(self, **_):
            pass

        def fit_transform(self, X):
            assert go.wait(20)
            return X[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap, __spec__=types.SimpleNamespace()))
    monkeypatch.setattr(rows, "PATIENCE", 0.2)
    with client_of(settings_of(tmp_path)) as client:
        with pytest.raises(RemoteProblem, match="being computed") as refused:
            client.rows(encoder="one", axes="umap")
        assert (refused.value.status, refused.value.code, refused.value.retry_after) == (503, "axes_not_ready", 10)
        assert client.rows(encoder="one").info.axes.kind == "pca"
        go.set()
        monkeypatch.setattr(rows, "PATIENCE", 20.0)
        found = client.rows(encoder="one", axes="umap")
        assert found.info.axes.kind == "umap"
        assert np.isfinite(found["x"]).all()
        monkeypatch.setattr(axes, "UMAP_ROWS", 59)
        with pytest.raises(RemoteProblem, match="at most 59 vectors, and 60 are stored"):
            client.rows(encoder="one", axes="umap")


def test_axes_of_a_large_table_are_those_of_rows_spread_over_it(tmp_path, monkeypatch):
    """The second half of the rows lies elsewhere: axes of the first rows alone would not show it."""
    fill(tmp_path, 600)
    with client_of(settings_of(tmp_path)) as client:
        whole = client.rows(encoder="one")
    monkeypatch.setattr(axes, "SAMPLE_ROWS", 200)
    with client_of(settings_of(tmp_path)) as client:
        sampled = client.rows(encoder="one")
    assert np.corrcoef(whole["x"], sampled["x"])[0, 1] > 0.98
