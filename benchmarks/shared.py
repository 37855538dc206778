"""Throughput, latency and processor time of POST /classify when requests share calls of the embedding service.

    python -m benchmarks.shared                      # lite0
    python -m benchmarks.shared --encoder vit-b-32   # ViT-B/32 with random weights

One embedding service stands behind several classification services, which differ in HEADWATER_CALLS_BEFORE_SHARING
alone; 0 sends a call for each request. They take turns, each with the same number of clients that send one photo a
request, so that whatever else the machine does strikes all of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks import standin
from benchmarks.load import Ask, client
from benchmarks.measure import machine, photo, processor_seconds
from benchmarks.serve import Engine, elsewhere, engine_alone, fill, mean, tell_engine
from services.client import Client
from services.processes import free_ports, running, url_of
from services.settings import Settings
from services.web.errors import RemoteProblem, ServiceDown


@dataclass(frozen=True)
class Round:
    """Figures of one service with a number of clients: answers/s, times of all answers, processor time for a photo.

    Attributes:
        beside: processor time of both services, in milliseconds for a photo.
        clients: the same of the clients, which take it from the services.
        a_call: mean number of photos in a call of the embedding service.
    """

    per_second: float
    milliseconds: Sequence[float]
    beside: float
    clients: float
    a_call: float


class Front:
    """A classification service: its process, its URL, and the request that is sent to it."""

    def __init__(self, pid: int, url: str) -> None:
        self.pid, self.url = pid, url
        self.ask = Ask.post(f"{url}/classify?head=defective", files={"images": ("x.jpg", photo())})


@contextmanager
def front(settings: Settings) -> Iterator[Front]:
    """Run a classification service during the block."""
    command = [sys.executable, "-m", "services.cli", "serve", "classification"]
    process = subprocess.Popen(command, env=settings.environment())
    url = f"http://127.0.0.1:{settings.classification_port}"
    try:
        with Client(url) as http:
            wait_ready(http)
        yield Front(process.pid, url)
    finally:
        process.terminate()
        process.wait()


def wait_ready(http: Client) -> None:
    while True:
        try:
            http.ready(needs=["media"])
            return
        except (ServiceDown, RemoteProblem):
            time.sleep(0.02)


def calls(url: str) -> tuple[float, float]:
    """Return how many calls a classification service has made so far, and how many files were in them."""
    values = dict(line.rsplit(" ", 1) for line in httpx.get(f"{url}/metrics").text.splitlines() if line[0] != "#")
    return float(values["headwater_call_items_count"]), float(values["headwater_call_items_sum"])


def one_round(front: Front, behind: int, clients: int, photos: int) -> Round:
    """Send photos from so many clients. `behind` is the process id of the embedding service."""
    pids, each = (front.pid, behind, os.getpid()), max(1, photos // clients)
    client(front.ask, 3)
    before, used = calls(front.url), [processor_seconds(pid) for pid in pids]
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        seconds = [one for found in pool.map(lambda _: client(front.ask, each), range(clients)) for one in found]
    took, sent = time.perf_counter() - start, len(seconds)
    own, embedding, mine = (1e3 * (processor_seconds(pid) - b) / sent for pid, b in zip(pids, used, strict=True))
    made, files = (after - b for after, b in zip(calls(front.url), before, strict=True))
    return Round(sent / took, [1e3 * one for one in seconds], own + embedding, mine, files / made)


def tell(shared: int, clients: int, rounds: Sequence[Round], engine: Engine, base: Sequence[Round]) -> None:
    """Print the medians of the rounds, and the medians of the ratios to the rounds beside them that share nothing."""
    rates = [each.per_second for each in rounds]
    rate, low, high = statistics.median(rates), min(rates), max(rates)
    times = statistics.median(a.per_second / b.per_second for a, b in zip(rounds, base, strict=True))
    ms = [one for each in rounds for one in each.milliseconds]
    p50, p95 = statistics.median(ms), statistics.quantiles(ms, n=20)[-1]
    beside = statistics.median(each.beside for each in rounds) - engine.processor
    mine, a_call = (statistics.median(column) for column in zip(*((r.clients, r.a_call) for r in rounds), strict=True))
    print(f"{clients:4} clients, {shared} calls before sharing, {a_call:.1f} photos a call: ", end="")
    print(
        f"{rate:.1f} photos/s ({low:.1f} to {high:.1f}), × {times:.2f}, {rate / engine.per_second:.2f} of the engine; ",
        end="",
    )
    print(f"p50 {p50:.1f} ms, p95 {p95:.1f} ms; beside the engine {beside:.2f} ms, clients {mine:.2f} ms", flush=True)


def measure(fronts: Mapping[int, Front], behind: int, options: argparse.Namespace) -> Mapping[int, list[list[Round]]]:
    """Return for each number of clients the rounds of every service, in the order of `fronts`."""
    found: dict[int, list[list[Round]]] = {clients: [[] for _ in fronts] for clients in options.clients}
    for number in range(options.rounds):
        for clients in options.clients:
            turn = list(enumerate(fronts.values()))
            for i, each in turn if number % 2 else reversed(turn):
                found[clients][i].append(one := one_round(each, behind, clients, options.photos))
                print(
                    f"{clients} clients, service {i}: {one.per_second:.1f} photos/s, {one.beside:.2f} ms",
                    file=sys.stderr,
                )
    return found


def run(options: argparse.Namespace, folder: Path) -> None:
    settings = Settings(
        store=str(folder / "headwater.db"),
        heads=folder / "heads",
        encoders=(standin.resolve(options.encoder, folder),),
        embedding_port=free_ports(1)[0],
        max_wait_seconds=600,  # none is refused, however slow the machine is
        embedding_timeout=600,
        log_level="ERROR",
    )
    with elsewhere() as other:
        other.submit(fill, settings).result()
        before = other.submit(engine_alone, settings, options.repeats).result()
    url = url_of(settings.host, settings.embedding_port)
    with ExitStack() as stack:
        ports = free_ports(len(options.sharing))
        changes = [{"calls_before_sharing": shared} for shared in options.sharing]
        own = [
            settings.model_copy(update=change | {"classification_port": port, "embedding_url": url})
            for change, port in zip(changes, ports, strict=True)
        ]
        services = stack.enter_context(running(own[0]))
        behind, first = services.processes["embedding"].pid, services.processes["classification"].pid
        fronts = {own[0].calls_before_sharing: Front(first, services.classification_url)}
        fronts |= {each.calls_before_sharing: stack.enter_context(front(each)) for each in own[1:]}
        found = measure(fronts, behind, options)
    with elsewhere() as other:
        after = other.submit(engine_alone, settings, options.repeats).result()
    tell_engine(engine := mean((before, after)))
    for clients, services_rounds in found.items():
        for shared, rounds in zip(fronts, services_rounds, strict=True):
            tell(shared, clients, rounds, engine, services_rounds[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", default="lite0", help=f"or {standin.NAME}: ViT-B/32 with random weights")
    parser.add_argument("--sharing", type=int, nargs="+", default=[0, 1, 2, 4], help="settings that are compared")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--photos", type=int, default=640, help="requests of all clients together in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=15, help="runs of the engine alone")
    options = parser.parse_args()
    print(machine())
    with TemporaryDirectory() as folder:
        run(options, Path(folder))


if __name__ == "__main__":
    main()
