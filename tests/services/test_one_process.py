"""Both services in one process answer as they do in two, and stop as they do in two."""

import base64
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from helpers.pictures import jpeg

from services.processes import Running, free_ports, running
from services.settings import Settings


def moved(settings: Settings, **update: object) -> Settings:
    embedding, classification = free_ports(2)
    ports = {"embedding_port": embedding, "classification_port": classification}
    return settings.model_copy(update=ports | update)


@pytest.fixture(scope="module")
def together(home) -> Iterator[Running]:
    with running(moved(home.settings), one_process=True) as started:
        yield started


def classify(content: object = None, **params: object) -> dict:
    return {"method": "POST", "url": "/classify", "params": params} | (content or {})


def files(*photos: bytes) -> dict:
    return {"files": [("images", (f"{i}.jpg", photo)) for i, photo in enumerate(photos)]}


def test_every_answer_is_that_of_two_processes(home, services, together, photos):
    assert together.processes["embedding"] is together.processes["classification"]
    encoded = [{"base64": base64.b64encode(photos[0]).decode()}, {"base64": "?", "name": "b.jpg"}]
    known = home.store.assets.ids()[:2].to_pylist()
    requests = [
        classify(files(*photos), head="gaussian"),
        classify(files(photos[0], b"no image", photos[1]), head=["gaussian", "linear"], max_outlier=95),
        classify(files(b""), head="gaussian"),
        classify({"json": {"images": encoded}}, head="gaussian"),
        classify({"json": {"ids": known}}, head="gaussian"),
        classify(files(*photos[:2]), head="parts"),
        classify(files(photos[0]), head="words", labels="cracked, whole"),
        classify(files(photos[0]), head="gaussian", modality="audio"),
        classify(files(photos[0]), head="nothing"),
        {"method": "GET", "url": "/search", "params": {"encoder": "lite0", "text": "a crack", "k": 3}},
        {"method": "POST", "url": "/search", "params": {"encoder": "lite0"}, "files": {"images": photos[0]}},
        {"method": "GET", "url": "/health/ready", "params": {"needs": ["media", "ids"]}},
    ]
    for request in requests:
        apart, one = (ask(url.classification_url, request) for url in (services, together))
        assert one == apart, request["url"]


def ask(url: str, request: dict) -> tuple[int, object]:
    answer = httpx.request(**request | {"url": url + request["url"]}, timeout=60)
    body = answer.json()
    if "error" in body:
        body["error"].pop("request_id")
    return answer.status_code, body


def test_the_embedding_service_answers_on_its_own_port(services, together, photos):
    apart, one = (
        httpx.post(f"{url.embedding_url}/v1/embed", params={"encoder": "lite0"}, files={"files": photos[0]}).json()
        for url in (services, together)
    )
    np.testing.assert_array_equal(one["items"][0]["vector"], apart["items"][0]["vector"])


def test_a_head_of_an_encoder_that_is_not_loaded(home, photos):
    settings = moved(home.settings, encoders=("melstat",))
    with running(settings, one_process=True) as started:
        status, body = ask(started.classification_url, classify(files(photos[0]), head="gaussian"))
    assert (status, body["error"]["code"]) == (404, "unknown_encoder")
    assert "melstat" in body["error"]["message"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_both_stop(home, stop):
    """The classification service drains first; the embedding service stays until it has ended."""
    large = jpeg(np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8))
    answers = []
    with running(moved(home.settings), one_process=True) as started:
        asking = threading.Thread(
            target=lambda: answers.append(
                ask(started.classification_url, classify(files(*[large] * 6), head="gaussian"))
            )
        )
        asking.start()
        time.sleep(0.5)
        start, process = time.monotonic(), started.processes["embedding"]
        process.send_signal(stop)
        assert process.wait(home.settings.grace + 5) in (0, -stop, 128 + stop)
        asking.join()
    assert time.monotonic() - start < home.settings.grace
    [(status, body)] = answers
    assert (status, len(body["items"])) == (200, 6)


@pytest.mark.parametrize("taken", ["embedding_port", "classification_port"])
def test_a_taken_port_ends_both(home, taken):
    settings = moved(home.settings)
    with socket.create_server(("127.0.0.1", getattr(settings, taken))):
        command = [sys.executable, "-m", "services.cli", "serve", "both"]
        done = subprocess.run(command, env=settings.environment(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 3  # as of one service: uvicorn's exit code for a failed start
    assert b"address already in use" in done.stderr
    assert b"Traceback" not in done.stderr


def test_one_port_is_refused_for_two_services():
    command = [sys.executable, "-m", "services.cli", "serve", "both", "--port", "8000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "HEADWATER_CLASSIFICATION_PORT" in done.stderr
