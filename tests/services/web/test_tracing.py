"""Traces: one request is one trace through both real services, and without a collector there is nothing of it."""

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from helpers.collector import Collector, Seen, collecting
from starlette.testclient import TestClient

from services import classification
from services.processes import Running, free_ports, running
from services.web import tracing
from services.web.access.keys import Role, make
from services.web.tracing import FLUSH_SECONDS, UNTRACED, Tracing

CALLER, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, CLIENT, INTERNAL = 2, 3, 1
SECRET, KEY = make("operator", Role.read)


@pytest.fixture
def collector_at(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'headwater[tracing]'")

    def use(url: str) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")

    return use


@contextmanager
def stderr_into(file: Path) -> Iterator[None]:
    """Let processes that are started in the block write their logs into a file."""
    before = os.dup(2)
    with file.open("wb") as opened:
        os.dup2(opened.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@pytest.fixture
def traced(home, collector_at, tmp_path, monkeypatch) -> Iterator[tuple[Collector, Running]]:
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")  # FastAPI's own spans would have queries in them
    embedding, classification = free_ports(2)
    changes = {"embedding_port": embedding, "classification_port": classification, "log_level": "INFO"}
    changes |= {"encoders": ("lite0",), "keys": (KEY.line,)}
    with collecting() as collector:
        collector_at(collector.url)
        with stderr_into(tmp_path / "log"), running(home.settings.model_copy(update=changes)) as services:
            yield collector, services


def ask(services: Running, photos: list[bytes], query: str = "head=linear", **headers: str) -> httpx.Response:
    files = [("images", (f"holiday-{i}.jpg", photo)) for i, photo in enumerate(photos)]
    given = {"Authorization": f"Bearer {SECRET}", **headers}
    return httpx.post(f"{services.classification_url}/classify?{query}", files=files, headers=given, timeout=60)


def shape(spans: list[Seen], parent: str) -> list[object]:
    """The tree below a span: (service, name, tree) of each child, sorted."""
    found = [(each.service, each.name, shape(spans, each.id)) for each in spans if each.parent == parent]
    return sorted(found, key=str)


def test_a_request_is_one_trace_through_both_services(traced, photos, tmp_path):
    """One start of the services for all that needs them, because it takes seconds."""
    collector, services = traced
    trace_of_a_caller(collector, services, photos, tmp_path)
    traces_of_their_own(collector, services, photos)
    assert set(collector.paths) == {"/v1/traces"}
    for private in (b"holiday", SECRET.encode(), b"operator", b"dog", photos[0][:64]):
        assert not any(private in body for body in collector.bodies)


def trace_of_a_caller(collector, services, photos, tmp_path):
    asked = {"traceparent": f"00-{CALLER}-{PARENT}-01", "X-Request-ID": "order-7"}
    assert ask(services, photos[:2], **asked).status_code == 200
    spans = collector.wait(8, CALLER)

    a, b = "headwater-classification", "headwater-embedding"
    stages = [(b, name, []) for name in ("decode", "decode", "encode", "queue")]
    embedding = (a, "POST /v1/embed", [(b, "POST /v1/embed", stages)])
    assert shape(spans, PARENT) == [(a, "POST /classify", [embedding, (a, "head", [])])]
    assert len(spans) == 8
    of = {(each.service, each.name): each for each in spans}
    root, call, remote = of[a, "POST /classify"], of[a, "POST /v1/embed"], of[b, "POST /v1/embed"]
    assert [each.kind for each in (root, call, remote, of[b, "encode"])] == [SERVER, CLIENT, SERVER, INTERNAL]
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": "/classify",
        "http.response.status_code": 200,
        "headwater.request_id": "order-7",
    }
    assert remote.attributes["http.response.status_code"] == 200
    pairs = [("queue", remote), ("encode", remote)]
    inside = [(of[b, name], outer) for name, outer in pairs] + [(remote, call), (call, root), (of[a, "head"], root)]
    # ns. Ends of stages are read from another clock than their lengths; a busy machine may stop a thread in between.
    slack = 100_000_000
    assert all(outer.start - slack <= each.start <= each.end <= outer.end + slack for each, outer in inside)
    assert of[b, "queue"].end <= of[b, "encode"].start + slack

    time.sleep(0.1)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    answered = [line for line in lines if line["message"] == "answered" and line.get("trace_id") == CALLER]
    assert [line["path"] for line in answered] == ["/v1/embed", "/classify"]
    assert not [line for line in lines if line.get("path", "").startswith("/health") and "trace_id" in line]


def traces_of_their_own(collector, services, photos):
    """A request without traceparent begins a trace. A refused one has its status."""
    assert ask(services, photos[:1], "head=nobody", **{"X-Request-ID": "lost"}).status_code == 404
    assert ask(services, photos[:1], "head=words&labels=cat,dog", **{"X-Request-ID": "named"}).status_code == 200
    deadline = time.monotonic() + 20
    while len(found := [each for each in collector.spans if not each.parent]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    roots = {each.attributes["headwater.request_id"]: each for each in found}
    lost, named = roots["lost"], roots["named"]
    assert lost.trace != named.trace
    assert (lost.attributes["http.response.status_code"], lost.failed) == (404, False)
    names = {each.name for each in collector.wait(9, named.trace)}
    assert names == {"POST /classify", "POST /v1/embeddings", "POST /v1/embed", "queue", "decode", "encode", "head"}


def test_without_a_collector_nothing_of_opentelemetry_is_imported():
    code = (
        "import sys, fastapi\n"  # imports the API of opentelemetry itself
        "before = set(sys.modules)\n"
        "from services import classification; from services.settings import Settings\n"
        "from starlette.testclient import TestClient\n"
        "with TestClient(classification.create_app(Settings(store=''))) as http:\n"
        "    assert http.get('http://localhost/heads', headers={'traceparent': sys.argv[1]}).status_code == 200\n"
        "print([name for name in set(sys.modules) - before if name.startswith('opentelemetry')])"
    )
    told = f"00-{CALLER}-{PARENT}-01"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, told], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert "trace_id" not in done.stderr


def test_outside_a_trace_every_function_does_nothing():
    assert tracing.make("any").request({"type": "http"}) is UNTRACED
    assert tracing.carried(len) is len
    assert tracing.watch() is None
    assert (tracing.headers(), tracing.trace_id()) == ({}, "")
    with tracing.span("decode"), tracing.call("GET", "/"):
        assert tracing.trace_id() == ""


@pytest.mark.parametrize(
    "variables",
    [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}],
    ids=lambda each: next(iter(each)),
)
def test_the_standard_variables_switch_traces_off(monkeypatch, variables):
    for name, value in ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} | variables).items():
        monkeypatch.setenv(name, value)
    assert type(tracing.make("any")) is Tracing


def test_a_collector_without_the_extra_is_one_warning_and_no_traces(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING):
        assert type(tracing.make("any")) is Tracing
    [record] = caplog.records
    assert "pip install 'headwater[tracing]'" in record.getMessage()


def test_a_collector_that_hangs_does_not_hold_up_the_end_of_a_service(collector_at):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        collector_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        made = tracing.make("any")
        made.request({"type": "http", "method": "GET", "headers": []}).end("GET", "/heads", 200, "id")
        start = time.monotonic()
        made.stop()
        assert time.monotonic() - start < FLUSH_SECONDS + 0.5


def test_a_call_that_fails_is_a_failed_span_without_its_message(home, collector_at, photos):
    with collecting() as collector:
        collector_at(collector.url)
        [closed] = free_ports(1)
        settings = home.settings.model_copy(update={"embedding_url": f"http://127.0.0.1:{closed}"})
        with TestClient(classification.create_app(settings), base_url="http://localhost") as http:
            files = {"images": ("holiday.jpg", photos[0])}
            told = {"traceparent": f"00-{CALLER}-{PARENT}-01"}
            assert http.post("/classify?head=linear", files=files, headers=told).status_code == 502
        call, root = sorted(collector.wait(2, CALLER), key=lambda span: span.name != "POST /v1/embed")
    assert (call.parent, root.parent) == (root.id, PARENT)
    assert call.failed
    assert call.attributes == {"error.type": "ServiceDown"}
    assert root.failed
    assert root.attributes["error.type"] == "502"
    assert not any(str(closed).encode() in body for body in collector.bodies)


@pytest.mark.parametrize(
    "told",
    [
        [b"nonsense"],
        [f"00-{'0' * 32}-{PARENT}-01".encode()],
        [f"00-{CALLER}-{PARENT}-01".encode(), f"00-{CALLER}-{PARENT}-01".encode()],
        [b"\xff" * 100],
        [f"00-{CALLER}-{PARENT}-01".encode() * 1000],
    ],
    ids=["nonsense", "zeros", "twice", "bytes", "long"],
)
def test_a_malformed_traceparent_begins_a_new_trace(collector_at, told):
    with collecting() as collector:
        collector_at(collector.url)
        made = tracing.make("any")
        headers = [(b"traceparent", each) for each in told]
        span = made.request({"type": "http", "method": "GET", "headers": headers})
        trace = tracing.trace_id()
        span.end("GET", "/heads", 200, "id")
        assert tracing.trace_id() == ""
        [seen] = collector.wait(1, trace)
        made.stop()
    assert (seen.parent, seen.name) == ("", "GET /heads")
    assert trace != CALLER
