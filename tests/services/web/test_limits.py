"""Limits are enforced while a request is read, a full queue answers at once, and a service that is down is named."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from helpers.pictures import photo

from services.classification import create_app
from services.client import AsyncClient, Client
from services.processes import Running, free_ports, running
from services.settings import Settings
from services.web.errors import PortTaken, RemoteProblem


@pytest.fixture(scope="module")
def tight(home) -> Iterator[Running]:
    """Both services with limits of two items, 300 kB and 400,000 pixels."""
    ports = free_ports(2)
    limits = {"max_items": 2, "max_queue": 2, "max_body_bytes": 300_000, "max_pixels": 400_000}
    settings = home.settings.model_copy(update={"embedding_port": ports[0], "classification_port": ports[1], **limits})
    with running(settings) as started:
        yield started


def post(services: Running, *images: bytes) -> httpx.Response:
    files = [("images", (f"{i}.jpg", data)) for i, data in enumerate(images)]
    return httpx.post(f"{services.classification_url}/classify?head=gaussian", files=files, timeout=60)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_too_many_items_and_too_many_bytes_are_413(tight, photos):
    assert post(tight, photos[0], photos[1]).status_code == 200
    assert [code(post(tight, *[photos[0]] * count)) for count in (3, 4, 5, 40)] == [(413, "too_large")] * 4
    assert code(post(tight, b"\0" * 400_000)) == (413, "too_large")


@pytest.mark.parametrize("service", ["embedding", "classification"])
def test_too_many_fields_are_413_and_a_few_are_refused_by_name(tight, photos, service):
    url = {"embedding": f"{tight.embedding_url}/v1/embed", "classification": f"{tight.classification_url}/classify"}

    def answer(fields: int) -> httpx.Response:
        more, files = {f"field {i}": "x" for i in range(fields)}, {"images": ("a.jpg", photos[0])}
        return httpx.post(url[service], data=more, files=files, timeout=60)

    assert "unknown parameter 'field 0'" in answer(63).json()["error"]["message"]
    assert [code(answer(count)) for count in (66, 67, 200)] == [(413, "too_large")] * 3


START = b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'


def test_a_body_without_a_length_is_cut_off_while_it_is_read(tight):
    """The upload is chunked and never ends. The service answers while the client still sends."""
    host, port = tight.classification_url.removeprefix("http://").split(":")
    piece, sent, answer = b"%x\r\n" % 10_000 + b"x" * 10_000 + b"\r\n", 0, b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /classify?head=gaussian HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + b"%x\r\n" % len(START) + START + b"\r\n"
        )
        while not answer and sent < 50_000_000:
            connection.sendall(piece)
            sent += len(piece)
            answer = _waiting(connection) if sent > 300_000 else b""
    assert b" 413 " in answer.splitlines()[0]


def test_a_client_that_leaves_while_it_sends_is_counted_as_499(tight):
    host, port = tight.classification_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"POST /classify?head=gaussian HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + START
        )
    line = 'headwater_requests_total{method="POST",route="/classify",status="499"} 1.0'
    deadline = time.monotonic() + 20
    while line not in (metrics := httpx.get(f"{tight.classification_url}/metrics").text):
        assert time.monotonic() < deadline, metrics
        time.sleep(0.02)
    assert 'route="/classify",status="500"' not in metrics


def _waiting(connection: socket.socket) -> bytes:
    connection.settimeout(0.05)
    try:
        return connection.recv(4096)
    except TimeoutError:
        return b""
    finally:
        connection.settimeout(20)


def test_too_many_pixels_fail_that_item_alone(tight, photos):
    items = post(tight, photo(1, 1000, 500), photos[0]).json()["items"]
    assert items[0]["error"]["code"] == "too_many_pixels"
    assert "400000" in items[0]["error"]["message"].replace(",", "").replace("_", "")
    assert items[1]["answers"]


def test_a_full_queue_is_503_at_once_with_retry_after(tight, photos):
    """40 clients ask at once, and 2 items fit: some are answered, the others get 503 with Retry-After, none hangs."""

    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=tight.embedding_url, timeout=60) as client:
            files = [("files", ("a.png", photos[0])), ("files", ("b.png", photos[1]))]
            return await asyncio.gather(*(client.post("/v1/embed", files=files) for _ in range(40)))

    answers = asyncio.run(flood())
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(code(answer) == (503, "queue_full") for answer in refused)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert post(tight, photos[0]).status_code == 200


def test_classification_passes_a_full_queue_on(tight, photos):
    async def flood() -> set[tuple[int, str]]:
        async with AsyncClient(tight.classification_url, timeout=60) as client:
            calls = (client.classify(photos[:2], heads=["gaussian"]) for _ in range(40))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return {(each.status, each.code) for each in answers if isinstance(each, RemoteProblem)}

    assert asyncio.run(flood()) <= {(503, "queue_full")}


@contextmanager
def started(settings: Settings) -> Iterator[Running]:
    ports = free_ports(2)
    moved = settings.model_copy(update={"embedding_port": ports[0], "classification_port": ports[1]})
    with running(moved) as services:
        yield services


def ready(services: Running) -> bool:
    return httpx.get(f"{services.classification_url}/health/ready?needs=media", timeout=30).status_code == 200


def test_ready_turns_false_when_the_embedding_service_hangs_and_true_when_it_goes_on(home):
    with started(home.settings) as services:
        services.processes["embedding"].send_signal(signal.SIGSTOP)
        assert not ready(services)
        services.processes["embedding"].send_signal(signal.SIGCONT)
        assert ready(services)


def test_when_the_embedding_service_dies_images_are_502_and_ids_still_answered(home, photos):
    with started(home.settings) as services:
        assert ready(services)
        services.processes["embedding"].kill()
        services.processes["embedding"].wait()
        response = post(services, photos[0])
        assert code(response) == (502, "service_down")
        assert "embedding" in response.json()["error"]["message"]
        assert not ready(services)
        assert httpx.get(f"{services.classification_url}/health/live").status_code == 200
        [known] = home.store.missing("0" * 64)[:1]
        with Client(services.classification_url) as client:
            assert client.classify_ids([known], heads=["gaussian"]).items[0].answers


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_services_stop_cleanly(home, stop):
    with started(home.settings) as services:
        for process in services.processes.values():
            process.send_signal(stop)
        codes = {process.wait(15) for process in services.processes.values()}
    assert codes <= {0, -stop, 128 + stop}


def test_a_taken_port_is_named_before_anything_starts(home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = home.settings.model_copy(update={"embedding_port": taken.getsockname()[1]})
        with pytest.raises(PortTaken, match="HEADWATER_EMBEDDING_PORT"), running(settings):
            raise AssertionError("started on a taken port")


def test_an_encoder_that_cannot_be_loaded_is_live_but_not_ready(home, tmp_path):
    [port] = free_ports(1)
    settings = home.settings.model_copy(
        update={"encoders": ("openclip/ViT-B-32@/no/such/file.pt",), "embedding_port": port}
    )
    command = [sys.executable, "-m", "services.cli", "serve", "embedding"]
    process = subprocess.Popen(command, env=settings.environment(), stderr=subprocess.DEVNULL)
    try:
        reason = _failure(f"http://127.0.0.1:{port}/health/ready")
        assert "/no/such/file.pt" in reason
        url = f"http://127.0.0.1:{port}"
        with Client(url, service="embedding") as client, pytest.raises(RemoteProblem) as raised:
            client.ready()
        assert (raised.value.status, raised.value.code, str(raised.value)) == (503, "not_ready", reason)
        media = told_by(home.settings.model_copy(update={"embedding_url": url}))["media"]
        assert media == {"ready": False, "reason": f"the embedding service is not ready: {reason}"}
        form = {"files": b"x"}, {"encoder": "openclip/ViT-B-32@/no/such/file.pt"}
        refused = httpx.post(f"{url}/v1/embed", files=form[0], params=form[1])
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert int(refused.headers["Retry-After"]) == 2
    finally:
        process.terminate()
        process.wait(15)


def told_by(settings: Settings) -> dict:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await http.get("/health/ready")

    return asyncio.run(ask()).json()


def _failure(url: str) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if failure := httpx.get(url).json()["failure"]:
                return str(failure)
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("no failure was reported")
