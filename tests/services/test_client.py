"""Both clients have the same methods and give the same answers; what they raise says what to do."""

import asyncio
import inspect
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import httpx
import numpy as np
import pytest
from helpers.serving import answering

from services.classification import create_app
from services.client import AsyncClient, Client
from services.settings import Settings
from services.web.errors import RemoteProblem, ServiceDown


def methods(kind: type) -> dict[str, inspect.Signature]:
    own = {name for name in vars(kind) if not name.startswith("_")} - {"close", "aclose"}
    return {name: inspect.signature(getattr(kind, name)) for name in own}


def test_both_have_the_same_documented_methods():
    assert methods(Client) == methods(AsyncClient)
    assert set(methods(Client)) >= {"embed", "classify", "search", "ready"}
    for kind in (Client, AsyncClient):
        assert all(getattr(kind, name).__doc__ for name in methods(kind))
        assert all(inspect.iscoroutinefunction(getattr(kind, name)) == (kind is AsyncClient) for name in methods(kind))


def test_both_answer_alike(services, home, photos):
    known = home.store.missing("0" * 64)[:2]

    def calls(client):
        return [
            client.classify(photos[:2], heads=["gaussian", "linear"], top_k=1),
            client.classify_ids(known, heads=["gaussian"], sets="aps", coverage=0.8),
            client.heads(),
            client.search(photos[0], encoder="lite0", k=3),
            client.search(id=known[0], encoder="lite0", k=3),
            client.search(text="a solar cell", encoder="lite0", k=3),
            client.ready(),
        ]

    async def awaited():
        async with AsyncClient(services.classification_url, timeout=60) as client:
            return [await each for each in calls(client)]

    with Client(services.classification_url, timeout=60) as client:
        blocking = calls(client)
    assert blocking == asyncio.run(awaited())
    assert [len(found.hits) for found in blocking[3:6]] == [3, 3, 3]


def test_texts_and_files_of_the_embedding_service(services, china):
    async def awaited():
        async with AsyncClient(services.embedding_url, timeout=60) as client:
            return await client.embed_texts(["a", "b"], encoder="lite0"), await client.embed([china], encoder="lite0")

    with Client(services.embedding_url, service="embedding", timeout=60) as client:
        texts, files = client.embed_texts(["a", "b"], encoder="lite0"), client.embed([china], encoder="lite0")
    others, again = asyncio.run(awaited())
    assert texts.shape == (2, 1280)
    np.testing.assert_allclose(texts, others, rtol=1e-4, atol=1e-4)
    assert (files.encoder, files.items[0].id) == (again.encoder, again.items[0].id)


def test_a_label_with_a_comma_is_refused_before_it_becomes_two(china):
    with Client("http://127.0.0.1:9") as client, pytest.raises(ValueError, match="'red, blue' contains a comma"):
        client.classify([china], labels=["green", "red, blue"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_proxy_is_not_asked_for_a_service_on_this_machine(services, monkeypatch, host):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Client(services.embedding_url.replace("127.0.0.1", host)) as client:
        assert client.ready()["ready"]


NOTHING = r"^the embedding service at http://127\.0\.0\.1:9/? does not answer \(connection refused\)$"


def test_nothing_there_is_named_with_its_url():
    with Client("http://127.0.0.1:9", service="embedding") as client, pytest.raises(ServiceDown, match=NOTHING):
        client.ready()


def test_nothing_there_is_named_by_the_other_client_too():
    async def ask() -> None:
        async with AsyncClient("http://127.0.0.1:9", service="embedding") as client:
            await client.ready()

    with pytest.raises(ServiceDown, match=NOTHING):
        asyncio.run(ask())


def test_a_service_that_takes_too_long_is_said_to():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Client(url, timeout=0.2) as client, pytest.raises(ServiceDown, match=r"does not answer \(timed out\)$"):
            client.ready()


class Stranger(BaseHTTPRequestHandler):
    """Another program, which answers every request with a page of its own. The first part of the path is the status."""

    page = b"<h1>a page\n\nof its own</h1>"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass


class Lists(Stranger):
    """A program that answers JSON of its own."""

    page = b'["a list", "of its own"]'


CALLS: dict[str, Callable[[Client], object]] = {
    "embed": lambda client: client.embed([b"x"], encoder="lite0"),
    "embed_texts": lambda client: client.embed_texts(["a"], encoder="lite0"),
    "encoders": lambda client: client.encoders(),
    "load_encoder": lambda client: client.load_encoder("a"),
    "unload_encoder": lambda client: client.unload_encoder("a"),
    "classify": lambda client: client.classify([b"x"]),
    "classify_ids": lambda client: client.classify_ids(["a"]),
    "heads": lambda client: client.heads(),
    "promote": lambda client: client.promote("a", "b", "c"),
    "search": lambda client: client.search(text="a", encoder="lite0"),
    "overview": lambda client: client.overview(),
    "rows": lambda client: client.rows(),
    "ready": lambda client: client.ready(),
    "thumbnails": lambda client: client.thumbnails(["a"]),
    "asset": lambda client: client.asset("a"),
    "store_files": lambda client: client.store_files([b"x"]),
    "labels": lambda client: client.labels("t"),
    "set_labels": lambda client: client.set_labels("t", {"a": ["x"]}),
    "remove_labels": lambda client: client.remove_labels("t", ["a"]),
    "label_history": lambda client: client.label_history("a"),
    "undo": lambda client: client.undo(),
    "start_job": lambda client: client.start_job("backfill"),
    "jobs": lambda client: client.jobs(),
    "job": lambda client: client.job("a"),
    "cancel_job": lambda client: client.cancel_job("a"),
    "job_result": lambda client: client.job_result("a"),
}


@pytest.mark.parametrize("kind", [Stranger, Lists])
@pytest.mark.parametrize(("sent", "status"), [(200, 502), (302, 502), (404, 404), (503, 503)])
@pytest.mark.parametrize("call", CALLS)
def test_an_answer_of_another_program_is_shown_in_one_line(kind, sent, status, call):
    with answering(kind) as url, Client(f"{url}/{sent}") as client, pytest.raises(RemoteProblem) as caught:
        CALLS[call](client)
    assert (caught.value.status, caught.value.code) == (status, "unexpected_answer")
    told = str(caught.value)
    assert told.startswith(f"{url}/{sent}/")
    assert f"answered {sent} " in told
    assert "of its own" in told
    assert "text/html" in told
    assert "\n" not in told


def test_every_call_is_tried_on_another_program():
    assert set(CALLS) == set(methods(Client))


def test_a_classification_service_beside_another_program_is_not_ready_for_files(tmp_path):
    async def ask(embedding_url: str) -> httpx.Response:
        app = create_app(Settings(store="", heads=tmp_path, embedding_url=embedding_url))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            return await http.get("/health/ready?needs=media")

    with answering(Stranger) as url:
        response = asyncio.run(ask(f"{url}/200"))
    assert response.status_code == 503
    assert "<h1>a page of its own</h1>" in response.json()["media"]["reason"]
