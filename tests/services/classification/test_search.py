"""Search compares a query with stored vectors only if both come from the same encoder."""

import asyncio
from dataclasses import replace

import httpx
import numpy as np
import pytest

from services.classification import create_app
from store import Store


def search(settings, **params) -> tuple[int, dict]:
    """Return the answer of a classification service with `settings`: to an image if `params` has one."""
    image = params.pop("image", None)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
            if image is None:
                return await http.get("/search", params=params)
            return await http.post("/search", params=params, files={"images": image})

    response = asyncio.run(ask())
    return response.status_code, response.json()


@pytest.fixture
def settings(home, services):
    """Settings of a classification service beside the running embedding service."""
    return home.settings.model_copy(update={"embedding_url": services.embedding_url})


@pytest.mark.parametrize("query", ["image", "text"])
def test_stored_vectors_of_another_encoder_with_the_same_name_are_not_compared(settings, tmp_path, lite0, china, query):
    store, spec = Store.open(tmp_path / "db"), replace(lite0.spec, weights="others")
    table = store.ensure_features("lite0", spec, lite0.reference_probe())
    table.put(["a" * 64], np.ones((1, spec.dim), np.float32))
    content = {"image": china, "text": "a palace"}[query]
    status, told = search(settings.model_copy(update={"store": store.uri}), encoder="lite0", **{query: content})
    assert (status, told["error"]["code"]) == (409, "wrong_fingerprint")
    assert all(
        part in told["error"]["message"] for part in ("lite0", spec.fingerprint, "backfill", "HEADWATER_ENCODERS")
    )


def test_the_start_of_a_fingerprint_names_the_encoder_for_every_query(settings, home, lite0, china):
    known = home.store.missing("0" * 64)[0]
    for query in ({"image": china}, {"text": "a palace"}, {"id": known}):
        by_name, *others = (
            search(settings, encoder=name, k=3, **query)
            for name in ("lite0", lite0.spec.fingerprint[:8], lite0.spec.fingerprint)
        )
        assert by_name[0] == 200, by_name
        assert others == [by_name, by_name]


def test_a_text_that_is_a_broken_file_is_refused_as_one(settings):
    status, told = search(settings, encoder="lite0", text="data:image/png;base64,AAAA")
    assert (status, told["error"]["code"]) == (422, "unknown_format")


@pytest.mark.parametrize("query", [{"image": b"never embedded"}, {"text": "a palace"}, {"id": "0" * 64}])
def test_an_encoder_without_stored_vectors_is_named_with_those_that_have_some(settings, query):
    status, told = search(settings, encoder="melstat", **query)
    assert (status, told["error"]["code"]) == (404, "unknown_encoder")
    assert "no vectors of encoder 'melstat' are stored; stored encoders: lite0" in told["error"]["message"]


def test_a_search_takes_one_file(services, photos):
    files = [("images", ("a.jpg", photos[0])), ("files", ("b.jpg", photos[1]))]
    url = f"{services.classification_url}/search?encoder=lite0"
    refused = httpx.post(url, files=files, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "bad_request")
    assert "2 files in one request" in refused.json()["error"]["message"]
