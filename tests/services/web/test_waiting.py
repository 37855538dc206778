"""A request that would wait too long is refused before its body is read, and told when to come back."""

import asyncio
import heapq
import http.client
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import APIRouter, Request
from hypothesis import given
from hypothesis import strategies as st

from services.calls import Call
from services.processes import free_ports
from services.settings import Settings
from services.web import waiting
from services.web.admission import Admission
from services.web.app import Service, make_app
from services.web.errors import Overloaded, RemoteProblem
from services.web.metrics import Metrics
from services.web.middleware import RequestScope
from services.web.server import make_server
from services.web.tracing import Tracing
from services.web.waiting import LEAST, LONGEST_RETRY, Lane, Lanes, Throughput


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def work(throughput: Throughput, clock: Clock, count: int, seconds: float, at_once: int = 1) -> None:
    for _ in range(count // at_once):
        throughput.begin(at_once)
        clock.now += seconds * at_once
        throughput.end(at_once)


@pytest.mark.parametrize("at_once", [1, 8])
def test_the_rate_is_that_of_the_time_at_work(clock, at_once):
    throughput = Throughput()
    for _ in range(50):
        work(throughput, clock, 80, 0.01, at_once)
        clock.now += 100  # idle
    assert throughput.rate == pytest.approx(100, rel=0.02)
    work(throughput, clock, 160, 0.25, at_once)  # a slower encoder
    assert throughput.rate == pytest.approx(4, rel=0.1)


def test_what_failed_at_once_makes_nothing_look_fast(clock):
    lane = Lane(1.0)
    for _ in range(1000):
        work(lane, clock, 1, 0.02)
        lane.begin()
        lane.end(done=False)
    assert lane.rate == pytest.approx(50, rel=0.02)


@given(st.floats(0.0005, 1.0), st.floats(0.1, 5.0))
def test_as_many_are_under_way_as_are_answered_in_the_longest_wait(seconds, max_wait):
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "time", clock)
        lane = Lane(max_wait)
        work(lane, clock, int(40 / seconds) + 1, seconds)
        while lane.under_way < lane.most:
            lane.check()
            lane.begin()
        with pytest.raises(Overloaded):
            lane.check()
    assert lane.under_way == pytest.approx(max(LEAST, max_wait / seconds), rel=0.02, abs=1)


def test_clients_that_come_back_when_told_are_answered_at_their_second_or_third_try(clock):
    """600 clients come at once to a service that answers 100 a second."""
    lane, tries, waits = Lane(1.0), dict.fromkeys(range(600), 0), []
    work(lane, clock, 3000, 0.01)
    start, free_at = clock.now, clock.now
    events = [(start, 1, client) for client in tries]  # (time, 0 for the end of work and 1 for a request, client)
    while events:
        clock.now, is_request, client = heapq.heappop(events)
        if not is_request:
            lane.end()
            continue
        tries[client] += 1
        try:
            lane.check()
        except Overloaded as error:
            after = int(error.headers["Retry-After"])
            assert 1 <= after <= LONGEST_RETRY
            heapq.heappush(events, (clock.now + after, 1, client))
            continue
        lane.begin()
        free_at = max(free_at, clock.now) + 0.01
        heapq.heappush(events, (free_at, 0, client))
        waits.append(free_at - start)
    assert len(waits) == 600
    assert max(tries.values()) <= 3
    assert max(waits) < 2 * 6.0  # 6 s is what 600 answers take


# Whole requests, on a port


class Slow(Service):
    """A service whose requests take as long as a test wants."""

    def __init__(self) -> None:
        super().__init__(Settings(store="", grace=1.0))
        self.go, self.ended = False, list[str]()

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def ready(self) -> tuple[bool, dict]:
        return True, {}

    def fill(self) -> None:
        """Take every place."""
        for lane in (self.lanes._files, self.lanes._others):
            lane.begin(lane.most)


@pytest.fixture
def slow() -> Iterator[tuple[Slow, int]]:
    service, router, [port] = Slow(), APIRouter(), free_ports(1)

    @router.post("/classify")
    @router.post("/v1/assets")
    async def answer(request: Request) -> str:
        await request.body()
        try:
            while not service.go:
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            service.ended.append("dropped")
            raise
        service.ended.append("answered")
        return "done"

    server = make_server(make_app(service, router, "t", "t"), service.settings, port)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield service, port
    server.should_exit = True
    thread.join()


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def connect(
    port: int, path: str, sent: bytes, length: int, headers: dict[str, str] = FORM
) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest("POST", path)
    for name, value in (headers | {"Content-Length": str(length)}).items():
        connection.putheader(name, value)
    connection.endheaders(sent)
    return connection


def until(condition) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("headers", [FORM, {"Content-Type": "application/json"}, {}])
def test_what_would_wait_is_refused_before_its_body_is_read_and_health_checks_are_not(slow, headers):
    service, port = slow
    service.fill()
    connection = connect(port, "/classify", b"", 1000, headers)
    answer = connection.getresponse()
    assert (answer.status, b'"too_busy"' in answer.read()) == (503, True)
    assert 1 <= int(answer.headers["Retry-After"]) <= LONGEST_RETRY
    assert httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/docs").status_code == 503
    connection.close()


def test_a_body_that_is_not_complete_keeps_nobody_out(slow):
    service, port = slow
    waiting_bodies = [connect(port, "/classify", b"x", 1000) for _ in range(5)]
    time.sleep(0.2)
    assert service.lanes._files.under_way == 0
    complete = connect(port, "/classify", b"x", 1)
    until(lambda: service.lanes._files.under_way == 1)
    for connection in (*waiting_bodies, complete):
        connection.close()
    until(lambda: service.lanes._files.under_way == 0)


@pytest.mark.parametrize(("path", "ended"), [("/classify", "dropped"), ("/v1/assets", "answered")])
def test_work_for_a_client_that_left_is_dropped_unless_it_changes_something(slow, path, ended, caplog):
    service, port = slow
    connection = connect(port, path, b"x", 1)
    until(lambda: service.lanes._files.under_way == 1)
    connection.close()
    time.sleep(0.1)
    if ended == "answered":
        assert not service.ended
        service.go = True
    until(lambda: service.ended == [ended])
    until(lambda: service.lanes._files.under_way == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_the_time_that_the_other_service_said_is_passed_on():
    body = {"error": {"code": "too_busy", "message": "m", "request_id": "r"}}
    for header, seconds in (({"Retry-After": "7"}, 7.0), ({}, 1.0), ({"Retry-After": "Fri, 31 Dec 1999"}, 1.0)):
        with pytest.raises(RemoteProblem) as raised:
            Call("GET", "/", lambda _: None).result(httpx.Response(503, json=body, headers=header))
        assert raised.value.retry_after == seconds


def test_a_client_that_reads_slowly_has_no_place():
    """Its answer is made. As many such clients as may be under way would keep all others out."""
    lanes, admission, sent = Lanes(1.0), Admission(2**30), []

    async def answer(scope, receive, send) -> None:
        await receive()
        assert lane.under_way == 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(2**20)})

    async def run() -> None:
        reads = asyncio.Event()

        async def send(message) -> None:
            sent.append(message["type"])
            if message["type"] == "http.response.body":
                await reads.wait()

        async def receive():
            return {"type": "http.request"}

        limits = {"lanes": lanes, "admission": admission, "max_bytes": 100, "max_seconds": 10.0}
        app = RequestScope(answer, metrics=Metrics(), tracing=Tracing(), **limits)
        task = asyncio.create_task(app(scope, receive, send))
        while "http.response.body" not in sent:
            await asyncio.sleep(0.001)
        assert (lane.under_way, admission.used) == (0, 2**20)
        reads.set()
        await task
        assert (lane.under_way, admission.used) == (0, 0)

    scope = {"type": "http", "method": "GET", "path": "/v1/rows", "headers": []}
    lane = lanes.of(scope)
    asyncio.run(run())
