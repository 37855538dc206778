"""Fused heads answer from the encoders that are there, and name the missing ones and the accuracy lost."""

import httpx
import numpy as np
import pytest

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.spec import EncoderSpec
from services.cli import demo_photos
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.processes import free_ports, running
from services.settings import Settings
from store import Store

OTHER = EncoderSpec(architecture="projection", weights="w", activation="gelu", output="pooled", dim=40)
UNSEEN = 30
"""Assets without a vector of the other encoder."""


@pytest.fixture(scope="module")
def fused(tmp_path_factory, cache_dir, lite0):
    """A store with vectors of lite0, and of an encoder that no service has for all assets but the last."""
    folder, ports = tmp_path_factory.mktemp("fused"), free_ports(2)
    settings = Settings(
        store=str(folder / "db"),
        heads=folder / "heads",
        cache=cache_dir,
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="WARNING",
    )
    store = Store.open(settings.store)
    ingest(store, demo_photos.items(demo_photos.cells()[:240]), task=demo_photos.TASK)
    backfill(store, lite0)
    ids, X = store.features("lite0").get(store.labels.get(demo_photos.TASK)["id"].to_pylist())
    mixed = (X @ np.random.default_rng(0).normal(size=(X.shape[1], 40))).astype(np.float32)
    table = store.ensure_features("other", OTHER, mixed[:2])
    table.put(ids[:-UNSEEN], mixed[:-UNSEEN])
    for name, encoders, kind in (("fused", ["lite0", "other"], "fusion"), ("alone", ["other"], "gaussian")):
        train(store, Registry(settings.heads), task=demo_photos.TASK, encoders=encoders, kind=kind, name=name)
    return settings, ids, X, mixed


@pytest.fixture(scope="module")
def http(fused):
    with running(fused[0]) as services, httpx.Client(base_url=services.classification_url, timeout=60) as client:
        yield client


def ask(http, query, **content):
    response = http.post(f"/classify?{query}", **content)
    assert response.status_code == 200, response.text
    return response.json()["items"]


def test_photos_are_answered_by_the_encoder_that_is_loaded(http, fused, photos):
    settings, *_ = fused
    published = Registry(settings.heads).load("fused")
    for item in ask(http, "head=fused", files=[("images", photo) for photo in photos]):
        [answer] = item["answers"]
        assert answer["missing_encoders"] == ["other"]
        assert answer["accuracy_lost"] == pytest.approx(published.head.loss_without([0]), abs=1e-6)
        assert "prediction_set" not in answer
        assert "outlier_percentile" not in answer


def test_stored_ids_are_answered_from_what_is_stored_of_each(http, fused):
    settings, ids, X, mixed = fused
    published = Registry(settings.heads).load("fused")
    items = ask(http, "head=fused", json={"ids": [ids[0], ids[-1], "0" * 64]})
    both, one = (item["answers"][0] for item in items[:2])
    [expected] = published.answer(np.concatenate([X[0], mixed[0]])[None])
    assert both["probability"] == pytest.approx(expected.probability, abs=1e-5)
    assert both["prediction_set"]["labels"] == list(expected.prediction_set)
    assert "missing_encoders" not in both
    assert "accuracy_lost" not in both
    alone = published.head.only([0]).predict_proba(X[-1:]).max()
    assert one["probability"] == pytest.approx(alone, abs=1e-5)
    assert one["missing_encoders"] == ["other"]
    assert (items[2]["answers"], items[2]["error"]["code"]) == ([], "unknown_id")
    assert [item.get("error") for item in items[:2]] == [None, None]


def test_vectors_of_one_encoder_are_enough(http, fused):
    _, _, _, mixed = fused
    [item] = ask(http, "head=fused", json={"vectors": mixed[:1].tolist(), "encoder": "other"})
    assert item["answers"][0]["missing_encoders"] == ["lite0"]


def test_an_outlier_limit_that_cannot_be_told_is_a_reason_to_abstain(http, photos):
    [item] = ask(http, "head=fused&max_outlier=99", files=[("images", photos[0])])
    assert item["answers"][0]["abstained_for"] == ["no_outlier_score"]


def test_a_head_that_needs_the_missing_encoder_is_refused(http, fused, photos):
    _, ids, *_ = fused
    response = http.post("/classify?head=fused&head=alone", files=[("images", photos[0])])
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_encoder")
    assert "other" in response.json()["error"]["message"]
    [item] = ask(http, "head=fused&head=alone", json={"ids": [ids[0]]})
    assert [answer["head"] for answer in item["answers"]] == ["fused", "alone"]
    items = ask(http, "head=fused&head=alone", json={"ids": [ids[-1]]})
    assert [[answer["head"] for answer in item["answers"]] for item in items] == [["fused"]]
    assert items[0]["error"]["code"] == "unknown_id"
