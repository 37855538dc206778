"""A cascade asks the expensive encoder only for images on which the cheap one is uncertain; real services."""

import httpx
import numpy as np
import pytest

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.derived.adapter import Adapter
from embedder.derived.encoders import DerivedEncoder
from embedder.derived.stored import StoredAdapter
from embedder.encoder import Encoder
from services.cli import demo_photos
from services.jobs.backfill.local import backfill
from services.jobs.ingest import ingest
from services.processes import free_ports, running
from services.settings import Settings
from store import Store, asset_id

THRESHOLD = 0.8


def projection(lite0: Encoder, X: np.ndarray) -> StoredAdapter:
    """Return an adapter that makes an encoder of lite0 with 32 random directions of the vectors X (n, d), less their
    mean. It loads in a moment."""
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    weight = np.random.default_rng(0).normal(size=(32, X.shape[1])).astype(np.float32)
    return StoredAdapter(lite0.name, lite0.spec.fingerprint, Adapter({"mean": rows.mean(axis=0), "weight": weight}))


@pytest.fixture(scope="module")
def settings(tmp_path_factory, cache_dir, lite0) -> Settings:
    """A store of photos with vectors of two encoders, a cascade over both, and a head on the second one."""
    folder, ports = tmp_path_factory.mktemp("cascade"), free_ports(2)
    store, heads = Store.open(folder / "db"), Registry(folder / "heads")
    ingest(store, demo_photos.items(demo_photos.cells()[:160]), task=demo_photos.TASK)
    backfill(store, lite0)
    stored = projection(lite0, np.concatenate([X for _, X in store.features("lite0").scan()]))
    stored.save(folder / "adapters")
    backfill(store, DerivedEncoder(lite0, stored))
    params = {"rule": "cascade", "costs": [1, 3], "threshold": THRESHOLD}
    both = ["lite0", stored.name]
    train(store, heads, task=demo_photos.TASK, encoders=both, kind="fusion", name="cascade", params=params)
    train(store, heads, task=demo_photos.TASK, encoders=[stored.name], name="expensive")
    return Settings(
        store=str(folder / "db"),
        heads=folder / "heads",
        adapters=folder / "adapters",
        cache=cache_dir,
        encoders=tuple(both),
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="WARNING",
    )


@pytest.fixture(scope="module")
def services(settings):
    with running(settings) as started:
        yield started


def ask(services, query: str, files) -> list[dict]:
    response = httpx.post(f"{services.classification_url}/classify?{query}", files=files, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()["items"]


def embedded(services) -> float:
    """Return the number of items embedded so far by the embedding service; one image by two encoders counts as two."""
    lines = httpx.get(f"{services.embedding_url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('headwater_items_total{outcome="ok"}'))


@pytest.fixture(scope="module")
def expected(settings):
    """Photos not close to a threshold, the full cascade's answers for them, and True where the first step is unsure."""
    photos = [cell.path.read_bytes() for cell in demo_photos.cells()[:160] if cell.split == "test"][:24]
    store, published = Store.open(settings.store), Registry(settings.heads).load("cascade")
    X = [store.features(name).get([asset_id(photo) for photo in photos])[1] for name in settings.encoders]
    first = published.stopped_before([published.steps[0]])
    sure = first.head.predict_proba(X[0]).max(axis=1)
    answers = published.answer(np.concatenate(X, axis=1))
    clear = [i for i, said in enumerate(answers) if abs(sure[i] - THRESHOLD) > 0.02 and said.probability > 0.53]
    unsure = first.unsure(X[0])[clear]
    assert 0 < unsure.sum() < len(unsure), "some photos must stop at the first step, and some go on"
    return [photos[i] for i in clear], [answers[i] for i in clear], unsure


def test_only_unsure_images_reach_the_second_encoder(services, expected):
    photos, whole, unsure = expected
    before = embedded(services)
    files = [("images", ("p.png", photo)) for photo in photos] + [("images", ("broken.jpg", b"\xff\xd8\xff"))]
    items = ask(services, "head=cascade", files)
    assert embedded(services) - before == len(photos) + unsure.sum()
    assert (items[-1]["answers"], items[-1]["error"]["code"], items[-1]["name"]) == ([], "truncated", "broken.jpg")
    for item, answer, went_on, photo in zip(items, whole, unsure, photos, strict=False):
        [found] = item["answers"]
        assert (item["id"], item["name"]) == (asset_id(photo), "p.png")
        assert found["label"] == answer.label
        assert found["probability"] == pytest.approx(answer.probability, abs=0.02)
        assert found["prediction_set"]["coverage"] == 0.9
        assert found.get("asked_encoders") == (None if went_on else ["lite0"])
        assert ("outlier_percentile" in found) == went_on
        assert "missing_encoders" not in found


def test_a_limit_on_outliers_and_a_head_that_needs_it_bring_the_second_encoder_for_all(services, expected):
    photos, *_ = expected
    files = [("images", photo) for photo in photos]
    for query in ("head=cascade&max_outlier=99.9", "head=cascade&head=expensive", "head=expensive&head=cascade"):
        for item in ask(services, query, files):
            [found] = [answer for answer in item["answers"] if answer["head"] == "cascade"]
            assert "asked_encoders" not in found
            assert "outlier_percentile" in found


def test_without_the_second_encoder_the_first_answers_for_all_and_says_so(settings, expected):
    photos, _, unsure = expected
    ports = free_ports(2)
    alone = {"encoders": ("lite0",), "embedding_port": ports[0], "classification_port": ports[1]}
    with running(settings.model_copy(update=alone)) as services:
        items = ask(services, "head=cascade", [("images", photo) for photo in photos])
        assert all(item["answers"][0]["missing_encoders"] == [settings.encoders[1]] for item in items)
        sure = [photo for photo, went_on in zip(photos, unsure, strict=True) if not went_on]
        [item] = ask(services, "head=cascade", [("images", sure[0])])
        assert item["answers"][0]["asked_encoders"] == ["lite0"], "nothing was missing: the cascade was sure"
        [item] = ask(services, "head=cascade", [("images", b"no image")])
        assert item["error"]["code"] == "unknown_format"
