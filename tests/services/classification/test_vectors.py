"""Vectors in a request are answered only by heads that read the encoder that made them."""

import asyncio

import httpx
import numpy as np
import pytest
from helpers.toys import ids_of, make_toy, spec_of

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from services.classification import create_app
from services.settings import Settings
from store import Label, Store


@pytest.fixture(scope="module")
def heads(tmp_path_factory) -> tuple[Settings, dict[str, str]]:
    """Two heads that read encoders of the same name, as after a change of the weights; head → fingerprint."""
    folder, fingerprints = tmp_path_factory.mktemp("vectors"), {}
    settings = Settings(store="", heads=folder / "heads", log_level="ERROR")
    toy = make_toy(200, n_classes=3)
    for head in ("old", "new"):
        store, spec = Store.open(folder / head), spec_of(toy.X.shape[1], weights=head)
        store.ensure_features("toy", spec, np.eye(2, toy.X.shape[1], dtype=np.float32)).put(ids_of(200), toy.X)
        store.labels.put("toy", [Label(id_, [label]) for id_, label in zip(ids_of(200), toy.labels, strict=True)])
        train(store, Registry(settings.heads), task="toy", encoders=["toy"], kind="gaussian", name=head)
        fingerprints[head] = spec.fingerprint
    return settings, fingerprints


def classify(settings: Settings, heads: list[str], encoder: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            body = {"vectors": [[0.5] * 12], "encoder": encoder}
            return await http.post("/classify", params={"head": heads}, json=body)

    return asyncio.run(ask())


def test_a_name_that_two_encoders_share_is_refused(heads):
    settings, fingerprints = heads
    refused = classify(settings, ["old", "new"], "toy")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "ambiguous_encoder")
    assert all(each in refused.json()["error"]["message"] for each in fingerprints.values())


def test_one_head_or_a_fingerprint_is_answered(heads):
    settings, fingerprints = heads
    for head, fingerprint in fingerprints.items():
        for encoder in ("toy", fingerprint):
            [item] = classify(settings, [head], encoder).json()["items"]
            assert [answer["head"] for answer in item["answers"]] == [head]
    assert classify(settings, ["new"], fingerprints["old"]).status_code == 409
