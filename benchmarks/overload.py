"""What clients meet when far more requests arrive than the services can answer, and how soon it is over.

    python -m benchmarks.overload                            # 32, 128 and 512 clients, each service in turn
    python -m benchmarks.overload --clients 512 --times 10   # ten times the capacity

Each client sends its requests on a schedule, or as soon as the one before is answered if that is later. A refusal does
not slow it down. Polite clients beside them wait as long as Retry-After says, and then ask again. Bodies of 60 MB, from
another process, come last.
"""

import argparse
import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from benchmarks.load import Ask
from benchmarks.measure import machine, photo, verdict
from benchmarks.serve import elsewhere, fill
from services.processes import Running, free_ports, running
from services.settings import Settings

MOST_REFUSED_MS, MOST_RECOVERY = 50.0, 1.0
POLITE, LARGE, PATIENCE = 8, 60_000_000, 60.0
PIECE = 256 * 1024
GONE = 0
"""Status of a request whose connection broke."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status of one answer, its seconds from the time at which the request was due, and its Retry-After."""

    status: int
    seconds: float
    retry_after: float = 0.0


class Line:
    """One client: a connection that is opened again when the service has closed it."""

    def __init__(self, ask: Ask) -> None:
        parts = urlsplit(ask.url)
        self._host, self._port = parts.hostname or "", parts.port
        lines = {"Host": parts.netloc, "Content-Length": str(len(ask.body))} | dict(ask.headers)
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head, self._body = f"POST {parts.path}?{parts.query} HTTP/1.1\r\n{head}\r\n".encode(), ask.body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, due: float | None = None) -> Answer:
        """Send the request once, and return its answer."""
        start = time.perf_counter() if due is None else due
        try:
            async with asyncio.timeout(PATIENCE):
                status, headers = await self._exchange()
        except (OSError, EOFError, TimeoutError):
            self.close()
            status, headers = GONE, {}
        if headers.get(b"connection") == b"close":
            self.close()
        return Answer(status, time.perf_counter() - start, float(headers.get(b"retry-after", 0)))

    async def _exchange(self) -> tuple[int, dict[bytes, bytes]]:
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        sending = asyncio.create_task(self._write(writer))
        try:
            status, headers = await self._read(reader)
        finally:
            if not sending.done():  # answered before the body was sent: as curl does, send no more of it
                sending.cancel()
                self.close()
        return status, headers

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        writer.write(self._head + self._body[:PIECE])
        for start in range(PIECE, len(self._body), PIECE):
            await writer.drain()
            writer.write(self._body[start : start + PIECE])

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        pairs = (line.partition(b": ") for line in lines if line)
        headers = {name.lower(): value for name, _, value in pairs}
        await reader.readexactly(int(headers[b"content-length"]))
        return int(first.split()[1]), headers

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams = None


@dataclass
class Storm:
    """Requests that arrive at a rate until a time, and what became of them.

    Attributes:
        waits: (Retry-After that was given first, seconds until the answer was good) of each polite client's request.
    """

    ask: Ask
    until: float
    answers: list[Answer] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)

    async def hurry(self, first: float, period: float) -> None:
        """Send a request each `period` seconds."""
        line, due = Line(self.ask), time.perf_counter() + first
        while due < self.until:
            await asyncio.sleep(due - time.perf_counter())
            self.answers.append(await line.send())
            due = max(due + period, time.perf_counter())
        line.close()

    async def wait_politely(self) -> None:
        """Send a request, and send it again as Retry-After says, until it is answered."""
        line = Line(self.ask)
        while (start := time.perf_counter()) < self.until:
            given = 0.0
            while (answer := await line.send()).status != 200 and time.perf_counter() < self.until + 30:
                self.answers.append(answer)
                given = given or answer.retry_after
                await asyncio.sleep(answer.retry_after or 0.1)
            if given and answer.status == 200:
                self.waits.append((given, time.perf_counter() - start))
            await asyncio.sleep(0.1)
        line.close()


@dataclass(frozen=True)
class Found:
    """What one overload showed: seconds, and MB of resident memory by service."""

    clients: int
    rate: float
    answers: Sequence[Answer]
    waits: Sequence[tuple[float, float]]
    recovery: float


async def recovered(ask: Ask, idle: float, end: float) -> float:
    """Return the seconds after `end` at which one client is served well again.

    That is when the first request begins that takes less than twice `idle` seconds, of five in a row whose median does.
    """
    line, last = Line(ask), list[tuple[float, float]]()
    await asyncio.sleep(end - time.perf_counter())
    while len(last) < 5 or statistics.median(seconds for _, seconds in last) >= 2 * idle:
        begun = time.perf_counter()
        answer = await line.send()
        last = [*last[-4:], (begun, answer.seconds if answer.status == 200 else PATIENCE)]
        if begun > end + PATIENCE:
            break
    line.close()
    return next((begun for begun, seconds in last if seconds < 2 * idle), end + PATIENCE) - end


async def overload(ask: Ask, clients: int, rate: float, seconds: float, idle: float) -> Found:
    """Send `rate` requests a second from `clients` clients for some seconds, and see how the service recovers."""
    storm = Storm(ask, time.perf_counter() + seconds)
    period = clients / rate
    recovery, *_ = await asyncio.gather(
        recovered(ask, idle, storm.until),
        asyncio.gather(*(storm.hurry(period * i / clients, period) for i in range(clients))),
        asyncio.gather(*(storm.wait_politely() for _ in range(POLITE))),
    )
    return Found(clients, rate, storm.answers, storm.waits, recovery)


async def one_client(ask: Ask, requests: int = 50) -> float:
    """Return the median seconds of one client."""
    line = Line(ask)
    for _ in range(10):
        await line.send()
    seconds = [(await line.send()).seconds for _ in range(requests)]
    line.close()
    return statistics.median(seconds)


async def capacity(ask: Ask, clients: int = 32, requests: int = 20) -> float:
    """Return the good answers/s of clients that each wait for their answers."""

    async def send() -> None:
        line = Line(ask)
        for _ in range(requests):
            await line.send()
        line.close()

    start = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(clients)))
    return clients * requests / (time.perf_counter() - start)


def spread(answers: Sequence[Answer], name: str) -> str:
    """Return the number of answers, and their median and 95th percentile."""
    if not answers:
        return f"{name} none"
    ms = sorted(1e3 * each.seconds for each in answers)
    return f"{name} {len(ms)}, p50 {statistics.median(ms):.0f} ms, p95 {ms[int(0.95 * len(ms))]:.0f} ms"


def tell(name: str, found: Found, seconds: float) -> None:
    """Print what the overload showed."""
    served = [each for each in found.answers if each.status == 200]
    refused = [each for each in found.answers if each.status == 503]
    others = Counter(each.status for each in found.answers if each.status not in (200, 503))
    print(f"{name}, {found.clients} clients, {found.rate:.0f} requests/s:")
    print(f"  {spread(served, 'served')} ({len(served) / seconds:.0f}/s); {spread(refused, 'refused')}", end="")
    print(f"; others {dict(others)}" if others else "")
    if found.waits:
        given, true = zip(*found.waits, strict=True)
        print(f"  polite clients: {len(given)} refused, told {statistics.median(given):.1f} s at the median", end=", ")
        print(f"served after {statistics.median(true):.1f} s (at most told {max(given):.0f}, served {max(true):.1f})")
    if refused:
        median = 1e3 * statistics.median(each.seconds for each in refused)
        print("  " + verdict("refused, median", median, MOST_REFUSED_MS, "ms", at_least=False))
    print("  " + verdict("recovery", found.recovery, MOST_RECOVERY, "s", at_least=False), flush=True)


def memory(services: Running) -> str:
    """Return the resident memory of both services now, and the largest since they started."""
    return ", ".join(
        f"{name} {megabytes(process.pid, 'VmRSS'):.0f} MB (peak {megabytes(process.pid, 'VmHWM'):.0f})"
        for name, process in services.processes.items()
    )


def megabytes(pid: int, field: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


async def measure(services: Running, options: argparse.Namespace) -> None:
    """Overload each service with each number of clients, then with large bodies."""
    files = {"files": {"images": ("x.jpg", photo())}}
    asks = {
        "classification": Ask.post(f"{services.classification_url}/classify?head=defective", **files),
        "embedding": Ask.post(f"{services.embedding_url}/v1/embed", **files),
    }
    print(f"memory at first: {memory(services)}")
    for name, ask in asks.items():
        await capacity(ask)
        idle, most = await one_client(ask), await capacity(ask)
        print(f"{name}: one client {idle * 1e3:.1f} ms, 32 clients {most:.0f} photos/s", flush=True)
        for clients in options.clients:
            tell(name, await overload(ask, clients, options.times * most, options.seconds, idle), options.seconds)
            print(f"  memory: {memory(services)}", flush=True)
        found = await overload_beside(ask, options.seconds, idle)
        tell(f"{name}, photos beside bodies of {LARGE / 1e6:.0f} MB", found, options.seconds)
        print(f"  memory: {memory(services)}", flush=True)
    await asyncio.sleep(2)
    print(f"memory 2 s later: {memory(services)}; one client {await one_client(ask) * 1e3:.1f} ms")


async def overload_beside(ask: Ask, seconds: float, idle: float) -> Found:
    """Send photos while another process sends large bodies. Return what became of the photos."""
    with elsewhere() as other:
        await asyncio.wrap_future(other.submit(send_large, ask.url, 0.0))  # the process has started
        storm = Storm(ask, time.perf_counter() + seconds)
        large = asyncio.wrap_future(other.submit(send_large, ask.url, storm.until))
        _, recovery = await asyncio.gather(
            asyncio.gather(*(storm.hurry(0.1 * i, 0.1 * POLITE) for i in range(POLITE))),
            recovered(ask, idle, storm.until),
        )
        answers = await large
    parts = (spread([each for each in answers if each.status == status], str(status)) for status in (200, 503, GONE))
    print(f"large bodies: {'; '.join(parts)}")
    return Found(POLITE, 10, storm.answers, storm.waits, recovery)


def send_large(url: str, until: float, clients: int = 32) -> list[Answer]:
    """Send large bodies four times a second from each of many clients, until a time of `perf_counter`."""

    async def send() -> list[Answer]:
        ask = Ask.post(url, files={"images": ("x.jpg", photo() + bytes(LARGE))})
        storm = Storm(ask, until)
        await asyncio.gather(*(storm.hurry(i / clients / 4, 0.25) for i in range(clients)))
        return storm.answers

    return asyncio.run(send())


def run(options: argparse.Namespace, folder: Path) -> None:
    ports = free_ports(2)
    settings = Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        encoders=("lite0",),
        embedding_port=ports[0],
        classification_port=ports[1],
        log_level="ERROR",
    )
    with elsewhere() as other:
        other.submit(fill, settings).result()
    with running(settings) as services:
        asyncio.run(measure(services, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--times", type=float, default=4.0, help="requests that arrive, as a multiple of the capacity")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each overload")
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()
