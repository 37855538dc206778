"""Heads that answer for stored ids: an empty list, and a store that lacks every encoder."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from helpers.toys import fill, make_toy

from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from services.classification import create_app
from services.settings import Settings
from store import Store

NAMES = [f"toy{i}" for i in range(6)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """A store with vectors of several encoders, and a head for each."""
    folder = tmp_path_factory.mktemp("ids")
    settings = Settings(store=str(folder / "db"), heads=folder / "heads", log_level="ERROR")
    store, toy = Store.open(settings.store), make_toy(200, n_classes=3)
    for name in NAMES:
        fill(store, toy, encoder=name)
        train(store, Registry(settings.heads), task="toy", encoders=[name], kind="gaussian", name=name)
    return settings


def classify(settings: Settings, body: dict, heads: Sequence[str]) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.post("/classify", params={"head": list(heads)}, json=body)

    return asyncio.run(ask())


@pytest.mark.parametrize("body", [{"images": []}, {"ids": []}, {"vectors": [], "encoder": NAMES[0]}])
def test_no_items_are_no_answers(settings, body):
    response = classify(settings, body, NAMES[:1])
    assert (response.status_code, response.json()) == (200, {"items": []})


@pytest.mark.parametrize("first", range(len(NAMES)))
def test_of_several_missing_encoders_the_first_heads_is_named(settings, tmp_path, first):
    empty = settings.model_copy(update={"store": str(tmp_path / "empty")})
    response = classify(empty, {"ids": ["a" * 64]}, NAMES[first:] + NAMES[:first])
    fingerprint = Store.open(settings.store).features(NAMES[first]).fingerprint
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_encoder")
    assert fingerprint in response.json()["error"]["message"]
