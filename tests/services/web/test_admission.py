"""The memory of requests is reserved before they are read, and given back whatever happens to them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fastapi import APIRouter, Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from services.settings import Settings
from services.web import receiving
from services.web.admission import FOR_SMALL, SMALL, Admission, Reservation
from services.web.app import Service, make_app
from services.web.errors import Stopping, TooBusy
from services.web.middleware import PIECE
from services.web.uploads import read_uploads
from store import StoreError

LIMIT = 10 * SMALL


class Nothing(Service):
    """A service without a state."""

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    async def ready(self) -> tuple[bool, dict]:
        return True, {}


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3 * SMALL), st.booleans()), max_size=40))
def test_the_memory_in_use_is_that_of_the_requests_under_way_and_within_the_limit(steps):
    admission = Admission(LIMIT)
    requests = [Reservation(admission) for _ in range(5)]
    for which, size, release in steps:
        if release:
            requests[which].release()
        else:
            before = requests[which].bytes
            try:
                requests[which].add(size)
            except TooBusy:
                assert requests[which].bytes == before
                small = before + size <= SMALL
                assert admission.used + size > LIMIT * (1 if small else 1 - FOR_SMALL)
        assert admission.used == sum(each.bytes for each in requests) <= LIMIT
    for each in requests:
        each.release()
        each.release()
    assert admission.used == 0


def test_large_requests_leave_room_for_small_ones():
    admission = Admission(LIMIT)
    Reservation(admission).count(int(LIMIT * (1 - FOR_SMALL)))
    with pytest.raises(TooBusy):
        Reservation(admission).add(SMALL + 1)
    Reservation(admission).add(SMALL)


def test_retry_after_is_about_the_time_that_large_requests_take(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("services.web.admission.time.monotonic", lambda: now[0])
    admission = Admission(LIMIT)
    for _ in range(50):
        held = Reservation(admission)
        held.add(5 * SMALL)
        now[0] += 7
        held.release()
    Reservation(admission).add(5 * SMALL)
    with pytest.raises(TooBusy) as raised:
        Reservation(admission).add(5 * SMALL)
    assert raised.value.headers == {"Retry-After": "7"}


def test_a_service_that_stops_takes_no_more_bodies():
    admission = Admission(LIMIT)
    admission.stopping = True
    with pytest.raises(Stopping):
        Reservation(admission).add(1)


# Whole requests, through the app


def service(**settings: object) -> Nothing:
    return Nothing(Settings(store="", max_body_bytes=2**20, max_bytes_under_way=8 * 2**20, **settings))


Endpoint = Callable[[Request], Awaitable[object]]
START = b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
FORM = b"multipart/form-data; boundary=b"


async def send(to: Nothing, endpoint: Endpoint, messages: list[dict], headers: list[tuple[bytes, bytes]]) -> dict:
    """Send a request, message by message. After the last one the client sends nothing more."""
    router, sent = APIRouter(), {"body": b"", "used": 0, "pieces": []}

    @router.post("/")
    async def answer(request: Request) -> object:
        return await endpoint(request)

    async def receive() -> dict:
        sent["used"] = max(sent["used"], to.admission.used)
        if messages:
            return messages.pop(0)
        return await asyncio.Event().wait()

    async def answered(message: dict) -> None:
        sent["status"] = message.get("status", sent.get("status"))
        sent["headers"] = dict(message.get("headers", sent.get("headers", ())))
        sent["body"] += message.get("body", b"")
        sent["pieces"].append((len(message.get("body", b"")), to.admission.used))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), *headers],
    }
    await make_app(to, router, "t", "t")(scope, receive, answered)
    return sent


async def upload(request: Request) -> int:
    return len(await read_uploads(request, 1))


async def body(request: Request) -> int:
    return len(await request.body())


def piece(content: bytes, *, more: bool = True) -> dict:
    return {"type": "http.request", "body": content, "more_body": more}


def declared(size: int, kind: bytes = FORM) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"content-length", b"%d" % size)]


def test_a_declared_body_reserves_its_size_times_its_factor_and_gives_it_back():
    to = service()
    data = START + b"x" * 500_000 + b"\r\n--b--\r\n"
    sent = asyncio.run(send(to, upload, [piece(data, more=False)], declared(len(data))))
    assert (sent["status"], sent["used"], to.admission.used) == (200, 2 * len(data), 0)


def test_a_body_of_unknown_length_reserves_as_it_arrives():
    to = service()
    messages = [piece(b"x" * 100_000) for _ in range(5)] + [piece(b"", more=False)]
    sent = asyncio.run(send(to, body, messages, [(b"content-type", b"application/json")]))
    assert (sent["status"], sent["used"], to.admission.used) == (200, 4 * 500_000, 0)


def test_what_does_not_fit_is_refused_before_it_is_read():
    to = service()
    Reservation(to.admission).count(7 * 2**20)
    messages = [piece(b"x" * 1000, more=False)]
    sent = asyncio.run(send(to, body, messages, declared(900_000)))
    assert (sent["status"], len(messages)) == (503, 1)
    assert b"too_busy" in sent["body"]
    assert int(sent["headers"][b"retry-after"]) >= 1
    assert to.admission.used == 7 * 2**20


async def broken(request: Request) -> None:
    await request.body()
    raise ZeroDivisionError


async def without_store(request: Request) -> None:
    await request.body()
    raise StoreError("gone")


async def left(request: Request) -> None:
    await request.body()
    raise ClientDisconnect


@pytest.mark.parametrize(("endpoint", "status"), [(broken, 500), (without_store, 503), (left, None)])
def test_the_memory_is_given_back_whatever_the_endpoint_raises(endpoint, status):
    to = service()
    sent = asyncio.run(send(to, endpoint, [piece(b"x" * 1000, more=False)], declared(1000)))
    assert (sent.get("status"), sent["used"] > 0, to.admission.used) == (status, True, 0)


def test_the_memory_is_given_back_when_the_client_leaves_or_the_request_is_cancelled():
    to = service()
    asyncio.run(send(to, upload, [piece(START), {"type": "http.disconnect"}], declared(1000)))
    assert to.admission.used == 0

    async def cancelled() -> None:
        await asyncio.wait_for(send(to, upload, [piece(START)], declared(1000)), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(cancelled())
    assert to.admission.used == 0


@pytest.mark.parametrize("limits", [{"max_receive_seconds": 0.05}, {}])
def test_a_body_that_never_ends_is_answered_408_and_the_connection_closes(monkeypatch, limits):
    monkeypatch.setattr(receiving, "PATIENCE", 0.1)
    to = service(**limits)
    sent = asyncio.run(send(to, upload, [piece(START)], declared(1000)))
    assert (sent["status"], sent["headers"][b"connection"], to.admission.used) == (408, b"close", 0)
    assert b"too_slow" in sent["body"]


def test_a_large_answer_goes_out_in_pieces_and_counts_until_it_is_read():
    async def large(_: Request) -> str:
        return "x" * 2**20

    to = service()
    sent = asyncio.run(send(to, large, [piece(b"", more=False)], []))
    assert len(sent["body"]) == 2**20 + 2
    assert max(size for size, _ in sent["pieces"]) <= PIECE
    assert sent["pieces"][-1][1] >= 2**20
    assert to.admission.used == 0


def test_a_limit_that_the_largest_body_never_fits_is_refused():
    with pytest.raises(ValueError, match="HEADWATER_MAX_BYTES_UNDER_WAY"):
        Settings(max_bytes_under_way=2**20)
