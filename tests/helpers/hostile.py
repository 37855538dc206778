"""Hostile requests, the answers to them, and a well-behaved client that measures how it is served meanwhile."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from urllib.parse import quote

import httpx

PATIENCE = 60.0
"""Seconds after which a hostile client gives up."""


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def _status(answer: bytes) -> str:
    """Return status and code of a raw HTTP answer, "closed" if the connection closed without one.

    A client that still sends when the service closes the connection may lose the body: then the status alone.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return "closed"
    try:
        return f"{head.split()[1].decode()} {json.loads(body)['error']['code']}"
    except (ValueError, KeyError, IndexError):
        return head.split()[1].decode()


def _read(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
            if b"\r\n\r\n" in answer and answer.rstrip().endswith((b"}", b"0")):
                break
    except (TimeoutError, ConnectionError):
        pass
    return answer


def raw(url: str, head: bytes, body: Iterator[bytes] | None = None, pause: float = 0.0) -> str:
    """Send a request as bytes and return its status and code."""
    with socket.create_connection(_address(url), timeout=PATIENCE) as connection:
        try:
            connection.sendall(head)
            for piece in body or ():
                connection.sendall(piece)
                time.sleep(pause)
        except (ConnectionError, TimeoutError):
            pass
        return _status(_read(connection))


def _post(url: str, content: bytes, kind: str = "application/json") -> str:
    try:
        answer = httpx.post(url, content=content, headers={"Content-Type": kind}, timeout=PATIENCE)
    except httpx.TransportError as error:
        return type(error).__name__
    return _code(answer)


def _code(answer: httpx.Response) -> str:
    if answer.is_success:
        items = answer.json().get("items") or answer.json().get("data") or [{}]
        codes = {(item.get("error") or {}).get("code", "ok") for item in items}
        return f"{answer.status_code} {'+'.join(sorted(codes))}"
    try:
        return f"{answer.status_code} {answer.json()['error']['code']}"
    except ValueError:
        return f"{answer.status_code}"


def _form(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def _zeros(length: int) -> Iterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="x"\r\n\r\n'
    for _ in range(length >> 20):
        yield bytes(2**20)


@dataclass(frozen=True)
class Target:
    """The URLs of both services."""

    embedding: str
    classification: str

    @property
    def classify(self) -> str:
        return f"{self.classification}/classify?head=gaussian"

    # Every method below is an attack. It returns the status and the code of the answer.

    def ids_of_100_000_characters(self) -> str:
        return _post(self.classify, json.dumps({"ids": [f"{i:0100000}" for i in range(256)]}).encode())

    def text_of_60_mb(self) -> str:
        body = json.dumps({"model": "lite0", "input": "cat dog " * 7_500_000}).encode()
        return _post(f"{self.embedding}/v1/embeddings", body)

    def texts_of_200_kb(self) -> str:
        body = json.dumps({"model": "lite0", "input": ["cat dog " * 25_000] * 256}).encode()
        return _post(f"{self.embedding}/v1/embeddings", body)

    def vectors_of_66_mb(self) -> str:
        row = "[" + ",".join(["0.1"] * 16_500) + "]"
        return _post(self.classify, ('{"encoder":"lite0","vectors":[' + ",".join([row] * 1000) + "]}").encode())

    def numbers_where_texts_belong(self) -> str:
        return _post(f"{self.embedding}/v1/embeddings", b'{"model":"lite0","input":[1' + b",1" * 1_000_000 + b"]}")

    def half_a_million_unknown_fields(self) -> str:
        fields = ",".join(f'"{i}":1' for i in range(500_000))
        return _post(self.classify, ('{"ids":[],' + fields + "}").encode())

    def field_name_of_60_mb(self) -> str:
        return _post(self.classify, b'{"ids":[],"' + b"x" * 60_000_000 + b'":1}')

    def base64_of_60_mb(self) -> str:
        return _post(self.classify, b'{"images":[{"base64":"' + b"A" * 60_000_000 + b'"}]}')

    def labels_of_256_times_100_characters(self) -> str:
        labels = ",".join((f"a brightly coloured thing {i} . , ".replace(",", ";") * 9)[:100] for i in range(256))
        url = f"{self.classification}/classify?head=named&labels={quote(labels, safe=',')}"
        return _post(url, b'{"ids":["' + b"0" * 64 + b'"]}')

    def header_of_150_mb(self) -> str:
        head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "
        return raw(self.classification, head, (b"x" * 2**20 for _ in range(150)))

    def a_million_headers(self) -> str:
        head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        return raw(self.classification, head, (b"a: b\r\n" * 100_000 for _ in range(10)))

    def part_header_of_60_mb(self) -> str:
        start = b'--b\r\nContent-Disposition: form-data; name="images"; filename="'
        body = start + b"x" * 60_000_000 + b'"\r\n\r\nx\r\n--b--\r\n'
        return _post(self.classify, body, "multipart/form-data; boundary=b")

    def json_that_never_ends(self) -> str:
        head = _form("/classify?head=gaussian", 60 * 2**20 + 1000).replace(b"multipart/form-data", b"application/json")
        return raw(self.classification, head, (b" " * 2**20 for _ in range(60)))

    def form_that_never_ends(self) -> str:
        return raw(self.classification, _form("/classify?head=gaussian", 60 * 2**20 + 1000), _zeros(60 * 2**20))

    def form_of_the_embedding_service_that_never_ends(self) -> str:
        return raw(self.embedding, _form("/v1/embed?encoder=lite0", 60 * 2**20 + 1000), _zeros(60 * 2**20))

    def body_of_one_byte_a_second(self) -> str:
        slow = chain(_zeros(0), (b"-" for _ in range(40)))
        return raw(self.classification, _form("/classify?head=gaussian", 1000), slow, 1.0)

    def headers_of_one_byte_a_second(self) -> str:
        head = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
        return raw(self.classification, head, (b"x" for _ in range(40)), 1.0)

    def pipelined_requests(self) -> str:
        many = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5_000
        return raw(self.classification, many, (many for _ in range(20)))


ATTACKS = [name for name in vars(Target) if not name.startswith("_") and name != "classify"]
REPEATED = {"json_that_never_ends": 10, "headers_of_one_byte_a_second": 20, "body_of_one_byte_a_second": 10}
"""Attacks that need several clients at once."""


def attack(target: Target, names: Sequence[str] = ATTACKS) -> Mapping[str, list[tuple[float, str]]]:
    """Run the attacks at once in a process of their own. Return the seconds and the outcomes of each."""
    command = [sys.executable, "-m", "helpers.hostile", target.embedding, target.classification, *names]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: Mapping[str, list[tuple[float, str]]] = json.loads(done.stdout)
    return found


def main(embedding: str, classification: str, *names: str) -> None:
    """Run the attacks at once, and print the seconds and the outcomes of each as JSON."""
    target, found = Target(embedding, classification), {name: [] for name in names}

    def run(name: str) -> None:
        start = time.perf_counter()
        outcome = getattr(target, name)()
        found[name].append((time.perf_counter() - start, outcome))

    threads = [threading.Thread(target=run, args=(name,)) for name in names for _ in range(REPEATED.get(name, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(found))


@dataclass
class Client:
    """A well-behaved client. It classifies one photo after the other."""

    url: str
    photo: bytes
    seconds: list[float] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)

    @contextmanager
    def asking(self, pause: float = 0.05) -> Iterator[None]:
        """Ask in the background until the block ends."""
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=PATIENCE) as http:
                while not stop.wait(pause):
                    self.ask(http)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def ask(self, http: httpx.Client) -> None:
        start = time.perf_counter()
        try:
            outcome = _code(http.post(self.url, files=[("images", ("a.jpg", self.photo))]))
        except httpx.TransportError as error:
            outcome = type(error).__name__
        self.seconds.append(time.perf_counter() - start)
        self.outcomes.append(outcome)

    def percentile(self, part: float) -> float:
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(part * len(self.seconds)))]


def peak_bytes(pid: int) -> int:
    """Return the largest resident memory of a process since it started."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
