"""POST /v1/embed with a packed body answers as it does for a form, item by item and error by error."""

import re

import httpx
import numpy as np
import pytest

from services.web.media_types import PACKED
from services.web.packed import pack_files, unpack_batch


@pytest.fixture(scope="module")
def http(services):
    with httpx.Client(base_url=services.embedding_url, timeout=60) as client:
        yield client


def send(http, body: bytes, **options) -> httpx.Response:
    return http.post("/v1/embed", content=body, headers={"Content-Type": PACKED}, **options)


def test_each_item_has_its_vector_or_its_own_problem_as_in_a_form(http, photos):
    files = [("a.jpg", photos[0]), ("b.jpg", b"nothing"), ("c.jpg", photos[1]), ("d.jpg", b"")]
    answer = send(http, pack_files(files, encoder="lite0")).raise_for_status()
    assert answer.headers["content-type"] == PACKED
    found = unpack_batch(answer.content)
    form = http.post("/v1/embed", files=[("files", file) for file in files]).raise_for_status().json()
    assert (found.encoder, found.fingerprint) == (form["encoder"], form["fingerprint"])
    for item, other in zip(found.items, form["items"], strict=True):
        assert (item.id, item.name) == (other["id"], other["name"])
        if item.error is None:
            np.testing.assert_allclose(item.vector, other["vector"], atol=1e-5)
        else:
            assert item.error.model_dump() == other["error"]
    assert [item.error and item.error.code for item in found.items] == [None, "unknown_format", None, "empty"]


@pytest.mark.parametrize(
    ("body", "params", "status", "code", "why"),
    [
        (b"\0", {}, 422, "bad_request", "the packed body cannot be read: it has 1 bytes"),
        (pack_files([("a", b"1")], encoder="lite0"), {"tokens": True}, 422, "bad_request", "leave the query out"),
        (pack_files([("a", b"1")], encoder="none"), {}, 404, "unknown_encoder", "lite0"),
        (pack_files([("a", b"1")] * 300, encoder="lite0"), {}, 413, "too_large", "300 items in one request"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused_as_any_other(http, body, params, status, code, why):
    refused = send(http, body, params=params)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (status, code)
    assert why in error["message"]


def test_it_is_counted_as_the_endpoint_that_it_is(http, photos):
    series = 'headwater_requests_total{method="POST",route="/v1/embed",status="200"}'

    def count() -> float:
        found = re.search(rf"^{re.escape(series)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0

    before = count()
    send(http, pack_files([("a.jpg", photos[0])], encoder="lite0")).raise_for_status()
    assert count() == before + 1
