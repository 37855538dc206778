"""The classification service passes on only the errors that its own document has."""

import asyncio
from collections.abc import Iterator

import pytest
from helpers.serving import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from services.classification.embedding import EmbeddingClient
from services.web.document.answers import CALLED, answers_of
from services.web.errors import RemoteProblem


@pytest.fixture(scope="module")
def answering() -> Iterator[tuple[str, list[Response]]]:
    """A server that gives the answers in a list, one after the other."""
    answers: list[Response] = []

    async def answer(_: Request) -> Response:
        return answers.pop()

    with served(Starlette(routes=[Route("/v1/embeddings", answer, methods=["POST"])])) as url:
        yield url, answers


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
def test_an_error_of_the_embedding_service_is_one_of_the_document(answering, sent, code, passed):
    url, answers = answering
    error = {"error": {"code": code, "message": "why", "request_id": "1"}}
    answers.append(HTMLResponse("<html>", sent) if code is None else JSONResponse(error, sent))

    async def ask() -> None:
        async with EmbeddingClient(url, service="embedding") as client:
            await client.embed_texts(["a"], encoder="lite0")

    with pytest.raises(RemoteProblem) as raised:
        asyncio.run(ask())
    assert (raised.value.status, raised.value.code) == passed
    assert all(passed in answers_of(endpoint) for endpoint in CALLED)
