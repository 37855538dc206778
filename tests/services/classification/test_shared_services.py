"""Many clients at once on real services: each gets the answer that it gets alone, and no request is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from helpers.serving import served

from services import classification, embedding
from services.processes import Running, free_ports, running
from services.settings import Settings

CLIENTS = 64


def post(path: str, *photos: bytes, **params: Any) -> dict[str, Any]:
    files = [("images", (f"{i}.jpg", photo)) for i, photo in enumerate(photos)]
    return {"method": "POST", "url": path, "params": params, "files": files}


@pytest.fixture(scope="module")
def patient(home) -> Iterator[Running]:
    """Services that refuse no client, however slow the machine is."""
    below, above = free_ports(2)
    changes = {"embedding_port": below, "classification_port": above, "encoders": ("lite0",), "max_wait_seconds": 600}
    changes["embedding_timeout"] = 600.0
    with running(home.settings.model_copy(update=changes)) as started:
        yield started


@pytest.fixture(scope="module")
def requests(photos, china) -> list[dict[str, Any]]:
    """Requests that differ in their number and sizes of files, in heads, encoders and faults."""
    cut, sound = photos[1][: len(photos[1]) // 2], b"RIFF\x24\0\0\0WAVEfmt "
    return [
        *(post("/classify", photo, head="gaussian") for photo in photos),
        post("/classify", *photos, head=["gaussian", "linear"], max_outlier=95),
        post("/classify", china, photos[0], head="linear"),
        post("/classify", photos[0], b"no image", photos[1], head="gaussian"),
        post("/classify", cut, head="gaussian"),
        post("/classify", b"", sound, photos[2], head="linear"),
        post("/classify", photos[3], head="parts"),
        post("/classify", photos[4], head="several"),
        post("/classify", photos[0], head="gaussian", modality="audio"),
        post("/classify", photos[0], head="nobody"),
        post("/search", photos[5], encoder="lite0", k=3),
        post("/search", cut, encoder="lite0", k=3),
    ]


def same(one: object, other: object) -> bool:
    """Return True if two answers are equal, numbers up to the noise of an encoder in batches of other sizes."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one if key != "request_id")
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 0.02 + 0.05 * abs(other)
    return one == other


async def ask(http: httpx.AsyncClient, request: dict[str, Any]) -> list[Any]:
    """Return the status and the answer."""
    answer = await http.request(**request)
    return [answer.status_code, answer.json()]


def calls(url: str) -> tuple[float, float]:
    values = dict(line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines() if line[0] != "#")
    return float(values["headwater_call_items_count"]), float(values["headwater_call_items_sum"])


def test_each_of_many_clients_gets_the_answer_that_it_gets_alone(patient, requests):
    async def impatient(http: httpx.AsyncClient, request: dict[str, Any], seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await http.request(**request)

    async def alone_and_together() -> tuple[Sequence[Any], Sequence[Any], Sequence[float], Sequence[float]]:
        limits = httpx.Limits(max_connections=2 * CLIENTS)
        async with httpx.AsyncClient(base_url=patient.classification_url, timeout=600, limits=limits) as http:
            before = calls(patient.classification_url)
            alone = [await ask(http, request) for request in requests]
            between = calls(patient.classification_url)
            leaving = [impatient(http, requests[i % 8], 0.005 * i) for i in range(CLIENTS // 4)]
            many = [ask(http, requests[i % len(requests)]) for i in range(CLIENTS)]
            together, _ = await asyncio.gather(asyncio.gather(*many), asyncio.gather(*leaving))
        after = calls(patient.classification_url)
        once, again = ([b - a for a, b in zip(*pair, strict=True)] for pair in ((before, between), (between, after)))
        return alone, together, once, again

    alone, together, once, again = asyncio.run(alone_and_together())
    for i, found in enumerate(together):
        assert same(found, alone[i % len(alone)]), (requests[i % len(alone)]["url"], found, alone[i % len(alone)])
    assert again[1] / again[0] > once[1] / once[0]  # more files in a call


@asynccontextmanager
async def running_below(settings: Settings) -> AsyncIterator[None]:
    """Serve the embedding service during the block, without holding up this loop."""
    service = served(embedding.create_app(settings), settings.embedding_port)
    await asyncio.to_thread(service.__enter__)
    yield
    await asyncio.to_thread(service.__exit__, None, None, None)


class Clients:
    """Clients that send the same request again and again.

    Attributes:
        phase: what the test does at the moment; empty to end the clients.
        seen: number of answers by (phase in which a whole request was, status).
    """

    def __init__(self, http: httpx.AsyncClient, request: dict[str, Any], expected: object) -> None:
        self._http, self._request, self._expected = http, request, expected
        self.phase, self.seen = "first", Counter[tuple[str, int]]()

    async def send(self) -> None:
        while begun := self.phase:
            status, answer = await ask(self._http, self._request)
            assert status in (502, 503) or (status == 200 and same(answer, self._expected)), answer
            self.seen["between" if begun != self.phase else begun, status] += 1

    async def until(self, phase: str, status: int, count: int) -> None:
        """Begin a phase. Return when it has so many answers of this status."""
        self.phase = phase
        while self.seen[phase, status] < count:
            await asyncio.sleep(0.01)


def test_a_service_that_restarts_in_the_middle_loses_no_request(home, photos):
    below, above = free_ports(2)
    changes = {"embedding_port": below, "classification_port": above, "calls_before_sharing": 1}
    settings = home.settings.model_copy(update=changes | {"encoders": ("lite0",)})
    request = post("/classify", photos[0], head="gaussian")

    async def ready(http: httpx.AsyncClient) -> None:
        while (await http.get("/health/ready", params={"needs": "media"})).status_code != 200:
            await asyncio.sleep(0.02)

    async def test(url: str) -> Counter[tuple[str, int]]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http, asyncio.TaskGroup() as sending:
            async with running_below(settings):
                await ready(http)
                clients = Clients(http, request, (await ask(http, request))[1])
                for _ in range(12):
                    sending.create_task(clients.send())
                await clients.until("up", 200, 36)
                clients.phase = "stopping"
            await clients.until("down", 502, 36)
            clients.phase = "starting"
            async with running_below(settings):
                await ready(http)
                await clients.until("up again", 200, 36)
                clients.phase = ""
        return clients.seen

    with served(classification.create_app(settings)) as url:
        seen = asyncio.run(asyncio.wait_for(test(url), 300))
    assert {status for phase, status in seen if phase in ("up", "up again")} == {200}
    assert {status for phase, status in seen if phase == "down"} == {502}
