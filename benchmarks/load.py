"""Clients that send the same request to a service again and again, each on its own connection.

To measure the service alone, bodies are made before the clock starts, and answers are read but not parsed.
"""

import http.client
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx


@dataclass(frozen=True, slots=True)
class Ask:
    """A request with its body."""

    url: str
    body: bytes
    headers: Mapping[str, str]

    @classmethod
    def post(cls, url: str, **arguments: object) -> "Ask":
        """Return a POST request with the body and content type that httpx makes from `arguments`."""
        request = httpx.Request("POST", url, **arguments)  # type: ignore[arg-type]
        return cls(url, request.read(), {"Content-Type": request.headers["Content-Type"]})


def client(ask: Ask, requests: int) -> list[float]:
    """Return the seconds of each request of one client. Raises RuntimeError for a status other than 200."""
    parts, seconds = urlsplit(ask.url), []
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
    for _ in range(requests):
        start = time.perf_counter()
        connection.request("POST", f"{parts.path}?{parts.query}", ask.body, dict(ask.headers))
        answer = connection.getresponse()
        content = answer.read()
        seconds.append(time.perf_counter() - start)
        if answer.status != 200:
            raise RuntimeError(f"{ask.url} answered {answer.status}: {content[:300]!r}")
    connection.close()
    return seconds


def latencies(ask: Ask, requests: int, warm: int = 20) -> list[float]:
    """Return the milliseconds of each request of one client, after `warm` requests that are not counted."""
    return [1e3 * each for each in client(ask, warm + requests)[warm:]]


def throughput(ask: Ask, clients: int, requests: int) -> float:
    """Return the answers/s with `clients` concurrent clients that send `requests` requests each."""
    client(ask, 3)
    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        done = sum(map(len, pool.map(lambda _: client(ask, requests), range(clients))))
        return done / (time.perf_counter() - start)
