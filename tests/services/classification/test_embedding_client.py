"""The classification service passes on only the errors that its own document has."""

import asyncio

import httpx
import pytest

from services.classification.embedding import EmbeddingClient
from services.web.document.answers import CALLED, answers_of
from services.web.errors import RemoteProblem


@pytest.mark.parametrize(
    ("sent", "code", "passed"),
    [
        (404, "unknown_encoder", (404, "unknown_encoder")),
        (503, "queue_full", (503, "queue_full")),
        (429, "too_many_requests", (429, "too_many_requests")),
        (422, "unknown_format", (422, "unknown_format")),
        (401, "bad_key", (502, "service_refused")),
        (404, "not_found", (502, "unexpected_answer")),
        (418, "teapot", (502, "unexpected_answer")),
        (504, None, (502, "unexpected_answer")),
    ],
)
def test_an_error_of_the_embedding_service_is_one_of_the_document(sent, code, passed):
    body = (
        b"<html>"
        if code is None
        else f'{{"error": {{"code": "{code}", "message": "why", "request_id": "1"}}}}'.encode()
    )

    async def ask() -> None:
        client = EmbeddingClient("http://localhost:1", service="embedding")
        answer = httpx.MockTransport(lambda _: httpx.Response(sent, content=body))
        client._http = httpx.AsyncClient(base_url="http://localhost:1", transport=answer)
        await client.embed_texts(["a"], encoder="lite0")

    with pytest.raises(RemoteProblem) as raised:
        asyncio.run(ask())
    assert (raised.value.status, raised.value.code) == passed
    assert all(passed in answers_of(endpoint) for endpoint in CALLED)
